"""Parameters, routers, results and states of streams as plain JSON, and back.

A file is text that any language reads: a format name and version, the kind of record,
and its arrays with dtype and shape. Floating numbers are written with enough digits to
restore every bit; inf and NaN, which JSON lacks, are strings. Nothing is pickled.
"""

import dataclasses
import json
import math
import os
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core import records
from . import cascade_files, host, json_numbers, writing

_FORMAT = "calib_jax"
_VERSION = 1

_DTYPES = {
    np.dtype(dtype).name: np.dtype(dtype)
    for dtype in (
        *(bool, np.int8, np.int16, np.int32, np.int64),
        *(np.uint8, np.uint16, np.uint32, np.uint64),
        *(np.float16, jnp.bfloat16, np.float32, np.float64),
    )
}
_ARRAYS = (jax.Array, np.ndarray, np.generic)


def save(path: str | os.PathLike[str], params: Any) -> None:
    """Writes fitted parameters, a router, a result or a state to a JSON file.

    The file is written completely or not at all: a temporary file next to it is moved
    into place, so a failure leaves an existing file unchanged.

    Args:
      path: of the file; an existing one is replaced.
      params: any of the library's types of arrays, whatever function returned it:
        parameters (`Temperature`, `Platt`, `Isotonic`), `FitReport`, `Bins`, tables,
        `Router` and other routers, curves, `Selection`, intervals, drifts, audits; and
        the states of streams (summaries, `DriftMonitor`, `DecodingSummary`), which go
        on from the file to the same bits. Batches of them made by `jax.vmap` too.
        Arrays are bool, integer or floating, of up to 64 bits.

    Raises:
      ValueError: for anything else, traced arrays, values that `load` would refuse, and
        what is not a path.
      OSError: if the file cannot be written.

    Examples:
      >>> import pathlib
      >>> import tempfile
      >>> from calib_jax import Temperature
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "temperature.json"
      >>> save(path, Temperature(temperature=jnp.float32(1.5)))
      >>> print(load(path).temperature)
      1.5
    """
    save_with_input(path, params, None)


def save_with_input(
    path: str | os.PathLike[str], params: Any, taken: str | None
) -> None:
    """As `save`, with a line of text on what scores or logits the parameters take."""
    target = host.path("path", path)
    part = _encode_record("params", params)
    records.check("params", params)
    content = {"format": _FORMAT, "version": _VERSION, **part}
    if taken is not None:
        content["input"] = taken
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    writing.write_text(target, text)


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote, bit for bit.

    Args:
      path: a file written by `save`.

    Returns:
      What was saved, with arrays of the same dtypes and bits (of a NaN, its sign). They
      are JAX arrays, or NumPy arrays where they are documented as such, and where they
      have 64 bits and JAX is in 32-bit mode.

    Raises:
      ValueError: for any other file: not JSON, another format or version, unknown,
        missing or extra parts, numbers that do not fit their dtype, and parts that do
        not fit each other: arrays of other shapes, edges that do not ascend, an order
        that leaves out a bin, negative counts; and for what is not a path.
      OSError: if the file cannot be read.

    Examples:
      >>> import pathlib
      >>> import tempfile
      >>> from calib_jax import equal_width_bins
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "bins.json"
      >>> save(path, equal_width_bins(2))
      >>> print(load(path).edges)
      [0.5]
    """
    return load_with_input(path)[0]


def load_with_input(path: str | os.PathLike[str]) -> tuple[Any, str | None]:
    """As `load`, with what the file says of the input of its parameters, or None."""
    source = host.path("path", path)
    try:
        content = json_numbers.parse(source.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a JSON file written by save or save_cascade ({error})."
        ) from error
    if cascade_files.is_cascade(content):
        record = cascade_files.read(path, content)
        return record, record.small_input
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path}: expected a file written by calib_jax.save.")
    version = content.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(
            f"{path}: expected version {_VERSION}, got {version!r}; read files of a "
            "newer release with that release."
        )
    other = ("format", "version", "input")
    body = {k: v for k, v in content.items() if k not in other}
    taken = content.get("input")
    if taken is not None and not (isinstance(taken, str) and taken.isprintable()):
        raise ValueError(f"{path}: input: expected one line of text, got {taken!r}.")
    try:
        params = _decode_record("params", body)
        records.check("params", params)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    return params, taken


def _encode_record(name: str, value: Any) -> dict[str, Any]:
    kind = type(value)
    if records.KINDS.get(kind.__name__) is not kind:
        raise ValueError(
            f"{name}: expected parameters, a result or a state of calib_jax, such as a "
            f"Router, got {kind.__name__}. Save each to a file of its own, and plain "
            "arrays with numpy.savez."
        )
    fields = {}
    for field in dataclasses.fields(value):
        place, part = f"{name}.{field.name}", getattr(value, field.name)
        _check_kind(place, part, field)
        fields[field.name] = _encode(place, part)
    return {"kind": kind.__name__, "fields": fields}


def _encode(name: str, value: Any) -> Any:
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float:
        return json_numbers.write(value)
    if isinstance(value, _ARRAYS):
        return _encode_array(name, value)
    if records.is_record(type(value)):
        return _encode_record(name, value)
    if type(value) in (list, tuple):
        parts = [_encode(f"{name}[{i}]", part) for i, part in enumerate(value)]
        return parts if type(value) is list else {"tuple": parts}
    if type(value) is dict and all(type(key) is str for key in value):
        return {"dict": {k: _encode(f"{name}[{k!r}]", v) for k, v in value.items()}}
    raise ValueError(
        f"{name}: expected arrays in lists, tuples and dicts with keys of text, got "
        f"{type(value).__name__}."
    )


def _encode_array(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name}: expected an array, got a traced one.")
    if value.dtype.name not in _DTYPES:
        raise ValueError(
            f"{name}: expected {', '.join(_DTYPES)}, got {value.dtype.name}."
        )
    array = np.asarray(value)
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "values": [json_numbers.write(item) for item in array.ravel().tolist()],
    }


def _kinds(field: dataclasses.Field[Any]) -> tuple[Any, ...]:
    """Types that a field may hold; empty for any tree of arrays."""
    kinds: tuple[Any, ...] = (field.type,)
    if isinstance(field.type, types.UnionType):
        kinds = typing.get_args(field.type)
    some = Any not in kinds and all(isinstance(kind, type) for kind in kinds)
    return kinds if some else ()


def _check_kind(name: str, value: Any, field: dataclasses.Field[Any]) -> None:
    kinds = _kinds(field)
    if not kinds or type(value) in kinds or (value is None and field.default is None):
        return
    array = {jax.Array, np.ndarray} & {*kinds}
    if array and isinstance(value, _ARRAYS):
        return
    expected = "an array" if array else kinds[0].__name__
    raise ValueError(f"{name}: expected {expected}, got {type(value).__name__}.")


def _decode_record(name: str, part: Any) -> Any:
    if not isinstance(part, dict) or set(part) != {"kind", "fields"}:
        raise ValueError(f"{name}: expected 'kind' and 'fields'.")
    kind = records.KINDS.get(part["kind"]) if isinstance(part["kind"], str) else None
    if kind is None:
        raise ValueError(f"{name}: unknown kind {part['kind']!r}.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(part["fields"], dict) or set(part["fields"]) != set(fields):
        raise ValueError(f"{name}: expected the fields {', '.join(fields)}.")
    values: dict[str, Any] = {}
    for key, field in fields.items():
        place = f"{name}.{key}"
        host = np.ndarray in _kinds(field)
        values[key] = _decode(place, part["fields"][key], host=host)
        _check_kind(place, values[key], field)
    return kind(**values)


def _decode(name: str, part: Any, *, host: bool = False) -> Any:
    if part is None or type(part) in (bool, int):
        return part
    if type(part) in (float, str):
        return json_numbers.read(name, part, np.dtype(float))
    if isinstance(part, list):
        return [_decode(f"{name}[{i}]", item) for i, item in enumerate(part)]
    match part:
        case {"kind": _, "fields": _}:
            return _decode_record(name, part)
        case {"tuple": list(items), **rest} if not rest:
            return tuple(_decode(name, items))
        case {"dict": dict(items), **rest} if not rest:
            return {k: _decode(f"{name}[{k!r}]", v) for k, v in items.items()}
    return _decode_array(name, part, host=host)


def _decode_array(name: str, part: Any, *, host: bool) -> jax.Array | np.ndarray:
    if not isinstance(part, dict) or set(part) != {"dtype", "shape", "values"}:
        raise ValueError(f"{name}: expected 'dtype', 'shape' and 'values'.")
    dtype = _DTYPES.get(part["dtype"]) if isinstance(part["dtype"], str) else None
    if dtype is None:
        raise ValueError(f"{name}: unknown dtype {part['dtype']!r}.")
    shape, values = part["shape"], part["values"]
    if not isinstance(shape, list) or not all(
        type(size) is int and size >= 0 for size in shape
    ):
        raise ValueError(f"{name}: expected a shape, got {shape!r}.")
    if not isinstance(values, list) or len(values) != math.prod(shape):
        raise ValueError(f"{name}: expected {math.prod(shape)} values.")
    array = json_numbers.to_array(name, values, dtype).reshape(shape)
    # Without 64-bit mode JAX would narrow them.
    host = host or jax.dtypes.canonicalize_dtype(dtype) != dtype
    return array if host else jnp.asarray(array)
