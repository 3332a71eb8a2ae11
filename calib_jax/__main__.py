"""`python -m calib_jax` is the command `calib-jax`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
