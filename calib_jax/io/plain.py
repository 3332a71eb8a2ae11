"""Results as plain data for JSON: numbers, texts, lists and dicts."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import numpy as np

Plain = Mapping[str, "Plain"] | list["Plain"] | str | float | int | bool | None


def plain(value: Any) -> Plain:
    """Dataclasses, mappings, sequences and arrays as plain data.

    NaN and the infinities, which JSON lacks, become None. A number has the fewest
    digits that restore it in its own dtype. A field of a dataclass with the metadata
    `{"plain": False}` is left out.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if dataclasses.is_dataclass(value):
        fields = [
            field
            for field in dataclasses.fields(value)
            if field.metadata.get("plain", True)
        ]
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    array = np.asarray(value)
    if array.ndim:
        return [plain(entry) for entry in array]
    if array.dtype.kind in "iub":
        return array.item()
    if array.dtype.kind in "US":
        return str(array)
    return float(str(array)) if np.isfinite(array) else None
