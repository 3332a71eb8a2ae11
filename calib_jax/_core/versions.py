"""Versions of this library and of those that compute for it."""

import platform

import jax
import numpy as np
import scipy

# The package's metadata, `calib_jax.__version__` and the site read it here, so that a
# checkout which is not installed knows its version too. `python -m release` changes it.
VERSION = "0.1.0"


def of_libraries() -> dict[str, str]:
    """Names and versions, for files that say what wrote them."""
    return {"calib_jax": VERSION, "jax": jax.__version__, "numpy": np.__version__}


def of_all() -> dict[str, str]:
    """Names and versions of the same, of Python and of SciPy."""
    python = {"python": platform.python_version()}
    return {**python, **of_libraries(), "scipy": scipy.__version__}
