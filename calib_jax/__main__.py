"""`python -m calib_jax` is the command `calib-jax`."""

import sys

from .cli import main

sys.exit(main())
