"""Numbers as JSON has them; inf and NaN, which it lacks, are strings."""

import json
import math
import sys
from typing import Any

import numpy as np

_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "-nan": -math.nan}


def write(item: Any) -> Any:
    """A number, or the word for it."""
    if isinstance(item, float) and not math.isfinite(item):
        word = "nan" if math.isnan(item) else "inf"
        return word if math.copysign(1, item) > 0 else f"-{word}"
    return item


def read(name: str, value: Any, dtype: np.dtype) -> Any:
    """The number or bool that was written, or `ValueError` if it is none for a dtype.

    Whether the dtype can hold it is left to `to_array`.
    """
    wanted = {"b": bool, "i": int, "u": int}.get(dtype.kind)
    if wanted is not None:
        if type(value) is wanted:
            return value
    elif isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    elif type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    raise ValueError(f"{name}: expected {dtype.name} values, got {value!r}.")


def to_array(name: str, values: list[Any], dtype: np.dtype) -> np.ndarray:
    """An array `[N]` of JSON values, each of which fits the dtype."""
    numbers = [read(name, value, dtype) for value in values]
    with np.errstate(over="raise"):
        try:
            array = np.array(numbers, np.float64 if dtype.kind not in "biu" else dtype)
            return array.astype(dtype)
        except (FloatingPointError, OverflowError):
            raise ValueError(f"{name}: a value does not fit {dtype.name}.") from None


def parse(text: str) -> Any:
    """The content of JSON text; `ValueError` for words such as NaN."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
