"""Anything that holds numbers, as a NumPy or JAX array.

Arrays of the host become NumPy arrays and stay on the host until a core runs, so that
their values can be looked at without waiting for a device. They are copies, because a
caller may overwrite a buffer before an asynchronous program has read it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def from_any(name: str, value: Any, expected: str) -> tuple[Any, bool]:
    """The value as an array, and whether it had a dtype of its own.

    Takes JAX arrays and what offers `__jax_array__`, NumPy arrays and scalars, what
    offers `to_numpy`, `__array__` or DLPack (pandas, polars, torch on the CPU), and
    Python numbers and nested lists.

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
    if isinstance(value, jax.Array):
        return value, True
    if isinstance(value, np.generic):
        # A NumPy scalar counts as a Python number.
        value = value.item()
    if isinstance(value, np.ma.MaskedArray):
        masked = int(np.ma.count_masked(value))
        if masked:
            raise ValueError(
                f"{name}: expected {expected}, got a masked array with {masked} masked "
                f"entries. Pass {name}.data, and the rows to keep as where=."
            )
        value = value.data
    stated = not isinstance(value, (bool, int, float, complex, str, list, tuple))
    try:
        array = _to_numpy(value)
    except Exception as error:
        # What fails to convert raises errors of many types.
        raise ValueError(
            f"{name}: expected {expected}, got {_type(value)}, which is not an array "
            f"({error})."
        ) from error
    if isinstance(array, jax.Array):
        return array, stated
    if not (array.dtype.kind in "biufc" or jnp.issubdtype(array.dtype, jnp.number)):
        hint = ""
        if array.dtype == object and array.shape:
            hint = (
                " Missing values and mixed types have no number: remove or mask them."
            )
        raise ValueError(
            f"{name}: expected {expected}, got {_type(value)} of {array.dtype.name}."
            f"{hint}"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array, stated


def _to_numpy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)) and any(
        isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)
    ):
        return jnp.asarray(value)
    if hasattr(value, "detach"):
        # A torch tensor with gradients refuses to become an array.
        value = value.detach()
    if hasattr(value, "to_numpy"):
        return np.asarray(value.to_numpy())
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.asarray(jax.dlpack.from_dlpack(value))
    try:
        return np.asarray(value)
    except TypeError:
        if not hasattr(value, "__dlpack__"):
            raise
        # NumPy has no bfloat16 of its own, and torch knows no other.
        return np.asarray(jax.dlpack.from_dlpack(value))


def _type(value: Any) -> str:
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    return kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
