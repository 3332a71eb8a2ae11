"""`python -m calib_jax.demo demo` is the command `calib-jax demo`."""

import sys

from . import main

sys.exit(main())
