"""The single numbers of results under flat names, as trackers take them."""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any

from .._core import plain


def scalars(results: Any) -> dict[str, float]:
    """The single numbers of results by name, for a tracker of experiments.

    Args:
      results: a dict of results and numbers, whose keys begin the names; lists and
        tuples count their entries, and dicts may hold such dicts. Or one result. Texts
        and None are left out.

    Returns:
      Python floats by name, True being 1.0; NaN and the infinities stay. The names are
      paths such as `fit/loss`. For a result they are its attributes that are one
      number, and those of results inside; its arrays and lists are left out.

    Raises:
      ValueError: for an array that is not one number and stands alone, a number
        without a name, two with the same name, dates, bytes, masked values, a result
        without a single number, and under `jax.jit` and `jax.vmap`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import calib_jax as cj
      >>> platt = cj.Platt(slope=jnp.float32(0.1), intercept=jnp.float32(2))
      >>> scalars({"ece": jnp.float32(0.03), "platt": platt})
      {'ece': 0.03, 'platt/slope': 0.1, 'platt/intercept': 2.0}
    """
    found: dict[str, float] = {}
    for name, value in _walk("", results, given=True):
        if not name:
            raise ValueError(
                'results: expected names, got one number: pass {"ece": number}.'
            )
        if name in found:
            raise ValueError(
                f"{name}: expected one number with this name, got two: rename one."
            )
        found[name] = value
    return found


def _walk(name: str, value: Any, given: bool) -> Iterator[tuple[str, float]]:
    """The numbers of a value, which the caller gave or a result has inside."""
    below = f"{name}/" if name else ""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _walk(f"{below}{key}", entry, given)
    elif isinstance(value, (list, tuple)):
        for key, entry in enumerate(value if given else ()):
            yield from _walk(f"{below}{key}", entry, given)
    elif dataclasses.is_dataclass(value):
        found = [
            pair
            for field, part in plain.fields(value)
            for pair in _walk(f"{below}{field.name}", part, False)
        ]
        if given and not found:
            raise _expected(name, f"a {type(value).__name__} of arrays")
        yield from found
    elif value is None or isinstance(value, (str, enum.Enum)):
        return
    elif isinstance(value, int):
        # NumPy makes an object of one beyond 64 bits.
        try:
            yield name, float(value)
        except OverflowError:
            raise ValueError(
                f"{name}: expected a number below 1.8e308, got a larger integer."
            ) from None
    else:
        array = plain.host_array(value)
        if array.ndim == 0:
            if array.dtype.kind != "U":
                yield name, plain.floats(array)[0]
        elif given:
            raise _expected(name, f"an array of shape {list(array.shape)}")


def _expected(name: str, got: str) -> ValueError:
    return ValueError(
        f"{name or 'results'}: expected a number, or a result that has one, got {got}: "
        "take one entry of it, or log its to_dict() or a figure as a file."
    )
