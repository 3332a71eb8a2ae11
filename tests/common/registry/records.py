"""Records of every type, made from the axes and values that the types declare."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from calib_jax._core import records
from calib_jax.io import files

from .kit import public_names

PUBLIC_RECORDS = {
    name: kind
    for name, kind in public_names().items()
    if isinstance(kind, type) and records.is_record(kind)
}

_SIZES = {
    "num_bins": 4,
    "K": 4,
    "N": 5,
    "B": 3,
    "M": 3,
    "C": 2,
    "D": 3,
    "G": 3,
    "Q": 2,
    "digits": 4,
}
_SPECIAL = [0.0, -0.0, 1e-45, -1e-40, np.inf, -np.inf, np.nan, -np.nan, 0.1, 1 / 3]
_SPECIAL += [-1e30, 3.4e38]
_DTYPES = [jnp.float32, jnp.bfloat16, jnp.int32, bool, jnp.float16]
_BY_RULE = {
    records.ASCENDING.expected: lambda n: np.r_[-np.inf, 0.1, 0.1, np.full(n, np.inf)],
    records.PERMUTATION.expected: lambda n: np.arange(n)[::-1].astype(np.int32),
    records.COUNT.expected: lambda n: np.resize([0, 2**31 - 1, 7], n).astype(np.int32),
    records.NON_NEGATIVE.expected: lambda n: np.resize([0, np.inf, np.nan, 1e-45], n),
    records.POSITIVE.expected: lambda n: np.resize([1e-6, 1 / 3, np.nan], n),
    records.SHARE.expected: lambda n: np.resize([0.0, 1.0, 1 / 3], n),
}


def record(kind: type, number: int = 0, before: tuple[int, ...] = ()) -> Any:
    """A sound record; others with other numbers.

    Its arrays have their axes after those of the batch, `before`. They hold what their
    rules ask for, and otherwise special values in dtypes that differ.
    """
    axes, rules = kind.__axes__, kind.__values__
    values: dict[str, Any] = {}
    for place, field in enumerate(dataclasses.fields(kind)):
        kinds, turn = files._kinds(field), number + place
        shape = (*before, *map(_size, (axes[field.name] or "").split()))
        if not kinds:
            value = _tree(turn)
        elif field.default is None and number % 2:
            value = None
        elif records.is_record(kinds[0]):
            value = record(kinds[0], turn, shape)
        elif kinds[0] in (bool, int, float):
            value = kinds[0]([0.1, np.nan, -1.5][turn % 3] if kinds[0] is float else -1)
        elif np.ndarray in kinds:
            wide = [np.array(_SPECIAL), np.array([2**62 + 1, -1])][turn % 2]
            value = np.resize(wide, shape)
        else:
            value = _array(shape, turn, rules.get(field.name))
        values[field.name] = value
    return kind(**values)


def _size(axis: str) -> int:
    word, offset = records._split(axis)
    return (int(word) if word.isdigit() else _SIZES[word]) + offset


def _array(shape: tuple[int, ...], turn: int, rule: Any = None) -> jax.Array:
    if rule is not None:
        last = shape[-1] if shape else 1
        values = _BY_RULE[rule.expected](last)[:last]
        values = np.broadcast_to(values if shape else values[0], shape)
        return jnp.asarray(values, values.dtype if values.dtype.kind == "i" else "f")
    dtype = _DTYPES[turn % len(_DTYPES)]
    whole = dtype in (jnp.int32, bool)
    with np.errstate(over="ignore"):
        values = np.array([-(2**31), 2**31 - 1, 0, 1] if whole else _SPECIAL)
        return jnp.asarray(np.resize(values.astype(dtype), shape))


def _tree(turn: int) -> Any:
    """What a field of any shape holds: arrays, trees of them, records, nothing."""
    router = record(cj.Router, turn, (2,))
    return [
        _array((2, 3), turn),
        {"b": _array((), turn), "a": (_array((1,), turn), [None])},
        router,
        (router.bins, {"empty": ()}),
    ][turn % 4]
