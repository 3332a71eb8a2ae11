"""Arguments that are read on the host: paths, whole numbers as they were given."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from .._core import arrays, checks


def path(name: str, value: Any) -> Path:
    """A path that the system can take."""
    try:
        found = Path(value)
        if "\0" in str(found):
            raise ValueError("it holds a null character")
        os.fsencode(found)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected the path of a file, got {value!r} ({error})."
        ) from None
    return found


def integers(name: str, value: ArrayLike, *, axes: str = "[N]") -> Any:
    """Whole numbers as they were given, however large."""
    checks.on_host(name, value)
    narrow = checks.integers(name, value, axes=axes)
    given, _ = arrays.from_any(name, value, f"an integer array {axes}")
    return np.asarray(given if given.size else narrow)


def class_numbers(
    name: str, value: ArrayLike, *, rank: int = 1, axes: str = "[N]"
) -> Any:
    """Numbers of classes, as int32."""
    checks.on_host(name, value)
    # On a device, numbers beyond int32 would become -1.
    given = np.asarray(value) if isinstance(value, jax.Array) else value
    return np.asarray(checks.class_numbers(name, given, rank=rank, axes=axes))
