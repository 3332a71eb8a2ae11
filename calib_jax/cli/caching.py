"""Compiled programs are kept between runs of a command, by JAX's compilation cache.

Only commands turn it on: the library leaves the configuration of a process alone.
"""

import os
import tempfile

import jax
import platformdirs

# Every program is kept, however fast it compiled: the many small ones add up.
_LEAST_SECONDS = 0.0


def turn_on() -> str:
    """Keeps programs in the user's cache folder, or where JAX was told to.

    Returns:
      A line for the terminal: where they are kept, or why they are not.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return "Compiled programs are not kept, as JAX was told."
    told = jax.config.values["jax_compilation_cache_dir"]
    if told:
        return f"Compiled programs are kept in {told}, the folder that JAX was given."
    folder = platformdirs.user_cache_path("calib_jax") / "programs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        return f"Compiled programs are not kept: cannot write to {folder} ({why})."
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    return f"Compiled programs are kept in {folder}; --no-cache turns this off."


def turn_off() -> str:
    """Keeps no programs, whatever JAX was told; returns a line that says so."""
    jax.config.update("jax_enable_compilation_cache", False)
    return "Compiled programs are not kept."
