"""Anything that holds numbers, as a NumPy or JAX array.

Arrays of the host become NumPy arrays and stay on the host until a core runs, so that
their values can be looked at without waiting for a device. `checks` copies them: a
caller may overwrite a buffer before an asynchronous program has read it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PLAIN = (bool, int, float, complex, str, np.generic)
_STRINGS = " Convert it with .astype(float)."
_NAMES = " Number the classes, such as by np.unique(labels, return_inverse=True)[1]."
# What to do about arrays of a kind that holds no numbers.
_HINTS = {
    "O": " Mask or remove missing values, number classes that are strings, and convert "
    "it with .astype.",
    "U": _STRINGS,
    "S": _STRINGS,
    "T": _STRINGS,
    "void16": " NumPy reads saved bfloat16 as raw bytes: pass .view(jnp.bfloat16).",
}


def from_any(name: str, value: Any, expected: str) -> tuple[Any, bool]:
    """The value as an array, and whether it had a dtype of its own.

    Takes JAX arrays and what offers `__jax_array__`, NumPy arrays and scalars, what
    offers `to_numpy`, `__array__` or DLPack (pandas, polars, torch on the CPU), and
    Python numbers and nested lists. Arrays of the host are not copied where they can
    be read as they are.

    Args:
      name: of the argument, for errors.
      value: anything.
      expected: what the argument has to be, for errors.

    Raises:
      ValueError: for a NumPy masked array that masks anything, and for what is not an
        array of numbers or bools.
    """
    if not isinstance(value, jax.Array) and hasattr(value, "__jax_array__"):
        value = value.__jax_array__()
    if isinstance(value, np.generic):
        # A NumPy scalar counts as a Python number.
        value = value.item()
    stated = not isinstance(value, (*_PLAIN, list, tuple))
    try:
        array = value if isinstance(value, jax.Array) else _to_numpy(value)
    except _MaskedError as error:
        raise ValueError(
            f"{name}: expected {expected}, got a masked array with {error} masked "
            f"entries. Pass {name}.data, and the rows to keep as where=."
        ) from None
    except Exception as error:
        # What fails to convert raises errors of many types.
        raise ValueError(
            f"{name}: expected {expected}, got {_type(value)}, which is not an array "
            f"({error})."
        ) from error
    if not (array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number)):
        got, hint = _type(value), ""
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = (f".{field.name}" for field in dataclasses.fields(value))
            hint = f" Pass an array of it: {', '.join(names)}."
        elif array.ndim:
            got = f"{got} of {array.dtype.name}"
            # A structured array is a void of another length.
            kind = getattr(array.dtype, "kind", "").replace("V", array.dtype.name)
            hint = _HINTS.get(kind, "")
            if hint == _STRINGS and name in ("labels", "predictions", "suggestion"):
                hint = _NAMES
        raise ValueError(f"{name}: expected {expected}, got {got}.{hint}")
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array, stated


class _MaskedError(Exception):
    """A masked array; says how many entries it masks."""


def _to_numpy(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        if masked := int(np.ma.count_masked(value)):
            raise _MaskedError(masked)
        value = value.data
    if isinstance(value, (list, tuple)):
        leaves = jax.tree.leaves(value)
        if any(isinstance(leaf, jax.Array) for leaf in leaves):
            return jnp.asarray(value)
        if not all(isinstance(leaf, _PLAIN) for leaf in leaves):
            value = [_to_numpy(part) for part in value]
        return np.asarray(value)
    if hasattr(value, "detach"):
        # A torch tensor with gradients refuses to become an array.
        value = value.detach()
    if hasattr(value, "to_numpy"):
        array = np.asarray(value.to_numpy())
        if array.dtype == object and array.ndim == 2 and hasattr(value, "iloc"):
            # A pandas frame of nullable columns, each of which has numbers.
            columns = range(array.shape[1])
            array = np.stack([value.iloc[:, k].to_numpy() for k in columns], axis=1)
        return array
    if hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
        try:
            return np.asarray(value)
        except TypeError:
            if not hasattr(value, "__dlpack__"):
                raise
    # NumPy has no bfloat16 of its own, and torch knows no other.
    if hasattr(value, "contiguous"):
        value = value.contiguous()
    return np.asarray(jax.dlpack.from_dlpack(value))


def _type(value: Any) -> str:
    kind = type(value)
    if value is None:
        return "None"
    module = kind.__module__.partition(".")[0]
    return kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
