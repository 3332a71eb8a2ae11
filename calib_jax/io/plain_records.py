"""Records as plain JSON objects: numbers and lists of numbers by name, and back.

Unlike the files of `save` they name no types and dtypes, so whoever reads one has to
know what it is. Floating numbers are float32, in the fewest digits that restore it.
"""

import dataclasses
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .._core import plain, records
from . import json_numbers
from .responses import shown

Record = TypeVar("Record")

_WHOLE = (records.COUNT, records.PERMUTATION)
_FLAGS = ("feasible", "same_rows")
# Unknown fields that a message names.
_NUM_NAMED = 5


def write(record: Any) -> dict[str, Any]:
    """A record of numbers, lists, matrices, None and such records, for `json.dumps`."""
    return {
        field.name: _written(getattr(record, field.name))
        for field in dataclasses.fields(record)
    }


def _written(value: Any) -> Any:
    if value is None:
        return None
    return write(value) if records.is_record(value) else numbers(value)


def numbers(value: Any) -> Any:
    """Numbers or bools of an array, a scalar, `[N]` or a list of rows.

    Floating ones are float32.
    """
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array.tolist()
    if array.ndim == 2:
        return [numbers(row) for row in array]
    found = list(map(json_numbers.write, plain.floats(array.astype(np.float32))))
    return found if array.ndim else found[0]


def read(name: str, kind: type[Record], part: Any) -> Record:
    """The record of a type that `write` wrote, with arrays of float32, int32 and bool.

    Raises:
      ValueError: where anything is missing, unknown, of another type, or does not fit
        the rest; it says where, after the name.
    """
    found = _read(name, kind, part)
    records.check_axes(name, found)
    records.check(name, found)
    return found


def _read(name: str, kind: Any, part: Any) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    check_fields(name, part, fields)
    found: dict[str, Any] = {}
    for key, field in fields.items():
        place, kinds = f"{name}.{key}", typing.get_args(field.type) or (field.type,)
        if part[key] is None and type(None) in kinds:
            found[key] = None
        elif records.is_record(kinds[0]):
            found[key] = _read(place, kinds[0], part[key])
        else:
            whole = kind.__values__.get(key) in _WHOLE
            dtype = np.int32 if whole else bool if key in _FLAGS else np.float32
            rank = len(kind.__axes__[key].split())
            read_one = matrix if rank == 2 else array
            found[key] = jax.device_put(read_one(place, part[key], dtype))
    return kind(**found)


def array(name: str, part: Any, dtype: Any) -> np.ndarray:
    """An array of a dtype, a scalar or `[N]`, that `numbers` wrote."""
    values = part if isinstance(part, list) else [part]
    found = json_numbers.to_array(name, values, np.dtype(dtype))
    return found if isinstance(part, list) else found.reshape(())


def matrix(name: str, part: Any, dtype: Any) -> np.ndarray:
    """An array of rows that `numbers` wrote."""
    rows = part if isinstance(part, list) else [part]
    found = [array(f"{name}[{i}]", row, dtype) for i, row in enumerate(rows)]
    if not rows or found[0].ndim != 1 or len({row.shape for row in found}) > 1:
        raise ValueError(f"{name}: expected a list of rows of one length.")
    return np.stack(found)


def check_fields(name: str, part: Any, fields: Iterable[str]) -> None:
    """Raises `ValueError` unless a JSON object has these fields and no others."""
    if not isinstance(part, dict):
        raise ValueError(f"{name}: expected an object, got {shown(part)}.")
    wanted = list(fields)
    missing = [key for key in wanted if key not in part]
    if missing:
        raise ValueError(f"{name}: expected the fields {', '.join(missing)}, too.")
    unknown = [key for key in part if key not in wanted]
    if unknown:
        said = ", ".join(map(shown, unknown[:_NUM_NAMED]))
        if len(unknown) > _NUM_NAMED:
            said += f" and {len(unknown) - _NUM_NAMED:,} more"
        raise ValueError(
            f"{name}: unknown fields {said}; read files of a newer "
            "release with that release, and keep notes of your own in another file."
        )
