"""Results as plain data: numbers, texts, lists and dicts."""

import dataclasses
import enum
import math
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Plain = Mapping[str, "Plain"] | list["Plain"] | str | float | int | bool | None


class Result:
    """A dataclass that becomes plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and tables; it waits for the values of a device.

        NaN and the infinities are None, because JSON lacks them.

        Returns:
          The attributes by name: Python numbers, bools and texts, a list for each axis
          of an array, such a dict for a result inside, and a status by its name. Floats
          have only the digits that restore them in their own dtype.

        Raises:
          ValueError: under `jax.jit` and `jax.vmap`.

        Examples:
          >>> import jax.numpy as jnp
          >>> import calib_jax as cj
          >>> cj.Platt(slope=jnp.float32(0.1), intercept=jnp.float32(jnp.inf)).to_dict()
          {'slope': 0.1, 'intercept': None}
        """
        return {field.name: _field(field, part) for field, part in fields(self)}


def plain(value: Any) -> Plain:
    """A result, or a tree of them, of arrays, texts and None, as `Result.to_dict`."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, int):
        return value
    if dataclasses.is_dataclass(value):
        return {field.name: _field(field, part) for field, part in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, FunctionType):
        return value.__name__
    array = host_array(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.tolist()
    return _nested(array, [x if math.isfinite(x) else None for x in floats(array)])


def fields(value: Any) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields of a dataclass that its plain data have, and their values.

    One with the metadata `{"plain": False}` is left out.
    """
    for field in dataclasses.fields(value):
        if field.metadata.get("plain", True):
            yield field, getattr(value, field.name)


def coded(names: type[enum.IntEnum]) -> Any:
    """A field of a dataclass whose numbers stand for the names of an enum."""
    return dataclasses.field(metadata={"names": names})


def _field(field: dataclasses.Field, value: Any) -> Plain:
    names = field.metadata.get("names")
    if names is None:
        return plain(value)
    known = {int(one): one.name.lower() for one in names}
    array = host_array(value)
    return _nested(array, [known.get(x, x) for x in array.ravel().tolist()])


def _nested(array: np.ndarray, items: list[Any]) -> Any:
    """Items of an array as lists of its shape."""
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(array.shape).tolist()


def floats(array: np.ndarray) -> list[float]:
    """The numbers of an array, in the fewest digits that restore them in its dtype."""
    if array.dtype == np.float64 or not jnp.issubdtype(array.dtype, jnp.floating):
        return array.ravel().astype(np.float64).tolist()
    return list(map(float, map(str, array.ravel())))


def host_array(value: Any) -> np.ndarray:
    """An array of numbers, bools or texts on the host, or `ValueError`."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            "expected numbers, got a traced array: return it from the function under "
            "jax.jit or jax.vmap first."
        )
    if np.ma.is_masked(value):
        raise ValueError(
            "expected numbers, got a masked array: fill it, as with .filled(numpy.nan)."
        )
    array = np.asarray(value)
    kinds = jnp.floating, jnp.integer, jnp.bool_, np.str_
    # A timedelta is an integer to NumPy.
    if array.dtype.kind == "m" or not any(
        jnp.issubdtype(array.dtype, kind) for kind in kinds
    ):
        got = f"an array of {array.dtype}" if hasattr(value, "dtype") else ""
        raise ValueError(
            f"expected numbers or texts, got {got or type(value).__name__}."
        )
    return array
