"""Fitted parameters, bins, routers, tables and curves as plain JSON, and back.

A file is text that any language reads: a format name and version, the kind of object,
and its arrays with dtype and shape. Floating numbers are written with enough digits to
restore every bit; inf and NaN, which JSON lacks, are strings. Nothing is pickled.
"""

import dataclasses
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import binning, confidence
from ..binning import bin_sums
from ..binning.tables import ReliabilityTable
from ..calibration import histogram, platt, reports, temperature
from ..cascade import chains, curves, routers
from ..cleaning import experts, label_issues
from ..cleaning.curves import CleaningCurve

_FORMAT = "calib_jax"
_VERSION = 1

# What can be saved, by name.
_KINDS = {
    kind.__name__: kind
    for kind in (
        binning.Bins,
        temperature.Temperature,
        platt.Platt,
        histogram.Histogram,
        routers.AdvantageTable,
        curves.CascadeCurve,
        routers.Router,
        chains.Chain,
        CleaningCurve,
        experts.ExpertBins,
        label_issues.LabelIssues,
        confidence.Top1,
        reports.FitReport,
        bin_sums.BinSums,
        ReliabilityTable,
    )
}
_DTYPES = {
    np.dtype(dtype).name: np.dtype(dtype)
    for dtype in (bool, np.int32, np.float32, np.float16, jnp.bfloat16)
}
_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def save(path: str | os.PathLike[str], params: Any) -> None:
    """Writes parameters, bins, a router, a table or a curve to a JSON file.

    The file is written completely or not at all: a temporary file next to it is moved
    into place, so a failure leaves an existing file unchanged.

    Args:
      path: of the file; an existing one is replaced.
      params: `Temperature`, `Platt`, `Histogram`, `FitReport`, `Bins`,
        `ReliabilityTable`, `AdvantageTable`, `Router`, `CascadeCurve`, `Chain`,
        `ExpertBins`, `CleaningCurve`, `LabelIssues` or `Top1`, with arrays of float32,
        bfloat16, float16, int32 or bool.

    Raises:
      ValueError: for anything else.
      OSError: if the file cannot be written.

    Examples:
      >>> path = Path(tempfile.mkdtemp()) / "temperature.json"
      >>> save(path, temperature.Temperature(temperature=jnp.float32(1.5)))
      >>> print(load(path).temperature)
      1.5
    """
    content = {"format": _FORMAT, "version": _VERSION, **_encode("params", params)}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    target = Path(path)
    handle, temporary = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Temporary files are private: give it the permissions of the old or a new file.
        mask = os.umask(0)
        os.umask(mask)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~mask
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str]) -> Any:
    """Reads what `save` wrote, bit for bit.

    Args:
      path: a file written by `save`.

    Returns:
      What was saved, with JAX arrays of the same dtypes.

    Raises:
      ValueError: for any other file: not JSON, another format or version, unknown,
        missing or extra parts, or numbers that do not fit their dtype.
      OSError: if the file cannot be read.

    Examples:
      >>> path = Path(tempfile.mkdtemp()) / "bins.json"
      >>> save(path, binning.equal_width_bins(2))
      >>> print(load(path).edges)
      [0.5]
    """
    try:
        content = json.loads(
            Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a JSON file written by save ({error})."
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{path}: expected a file written by calib_jax.save.")
    version = content.get("version")
    if type(version) is not int or version != _VERSION:
        raise ValueError(
            f"{path}: expected version {_VERSION}, got {version!r}; read files of a "
            "newer release with that release."
        )
    body = {k: v for k, v in content.items() if k not in ("format", "version")}
    try:
        return _decode("params", body)
    except (OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _encode(name: str, value: Any) -> dict[str, Any]:
    kind = type(value).__name__
    if _KINDS.get(kind) is type(value):
        fields = {
            field.name: _encode_part(f"{name}.{field.name}", getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
        return {"kind": kind, "fields": fields}
    raise ValueError(f"{name}: expected one of {', '.join(_KINDS)}, got {kind}.")


def _encode_part(name: str, value: Any) -> Any:
    if value is None:
        return None
    if dataclasses.is_dataclass(value):
        return _encode(name, value)
    if isinstance(value, jax.core.Tracer) or not hasattr(value, "dtype"):
        raise ValueError(f"{name}: expected an array, got {type(value).__name__}.")
    array = np.asarray(value)
    if array.dtype.name not in _DTYPES:
        raise ValueError(
            f"{name}: expected {', '.join(_DTYPES)}, got {array.dtype.name}."
        )
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "values": [_number(item) for item in array.ravel().tolist()],
    }


def _number(item: Any) -> Any:
    if isinstance(item, float) and not math.isfinite(item):
        return "nan" if math.isnan(item) else "inf" if item > 0 else "-inf"
    return item


def _decode(name: str, part: Any) -> Any:
    if not isinstance(part, dict) or set(part) != {"kind", "fields"}:
        raise ValueError(f"{name}: expected 'kind' and 'fields'.")
    kind = _KINDS.get(part["kind"]) if isinstance(part["kind"], str) else None
    if kind is None:
        raise ValueError(f"{name}: unknown kind {part['kind']!r}.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(part["fields"], dict) or set(part["fields"]) != set(fields):
        raise ValueError(f"{name}: expected the fields {', '.join(fields)}.")
    values: dict[str, Any] = {}
    for key, value in part["fields"].items():
        place, field = f"{name}.{key}", fields[key]
        optional = field.default is None
        nested = field.type if isinstance(field.type, type) else None
        if value is None and optional:
            values[key] = None
        elif nested is not None and nested in _KINDS.values():
            values[key] = _decode(place, value)
            if type(values[key]) is not nested:
                raise ValueError(f"{place}: expected {nested.__name__}.")
        else:
            values[key] = _decode_array(place, value)
    return kind(**values)


def _decode_array(name: str, part: Any) -> jax.Array:
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
    numbers = [_read_number(name, value, dtype) for value in values]
    with np.errstate(over="raise"):
        try:
            array = np.array(numbers, np.float64 if dtype.kind not in "bi" else dtype)
            array = array.astype(dtype).reshape(shape)
        except (FloatingPointError, OverflowError):
            raise ValueError(f"{name}: a value does not fit {dtype.name}.") from None
    return jnp.asarray(array)


def _read_number(name: str, value: Any, dtype: np.dtype) -> Any:
    wanted = {"b": bool, "i": int}.get(dtype.kind)
    if wanted is not None:
        if type(value) is wanted:
            return value
    elif isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    elif type(value) in (int, float) and abs(value) < math.inf:
        return float(value)
    raise ValueError(f"{name}: expected {dtype.name} values, got {value!r}.")
