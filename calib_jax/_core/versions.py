"""Versions of this library and of those that compute for it."""

import importlib.metadata
import platform

import jax
import numpy as np
import scipy

try:
    VERSION = importlib.metadata.version("calib_jax")
except importlib.metadata.PackageNotFoundError:
    # A source tree on the path, not installed.
    VERSION = "0+unknown"


def of_libraries() -> dict[str, str]:
    """Names and versions, for files that say what wrote them."""
    return {"calib_jax": VERSION, "jax": jax.__version__, "numpy": np.__version__}


def of_all() -> dict[str, str]:
    """Names and versions of the same, of Python and of SciPy."""
    python = {"python": platform.python_version()}
    return {**python, **of_libraries(), "scipy": scipy.__version__}
