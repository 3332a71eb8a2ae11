"""Data frames in one JSON document, as pandas writes them, as rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..responses import MalformedError, shown
from . import timm

_SPLIT = ({"columns", "data"}, {"columns", "index", "data"})


def rows(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rows of a frame; of any other object itself.

    A frame has names of columns and a list for each row (orient="split"), or an object
    for each file that timm's inference.py was given (orient="index").

    Raises:
      responses.MalformedError: for a row of another length.
    """
    if set(value) in _SPLIT and isinstance(value["data"], list):
        columns = value["columns"]
        if not (
            isinstance(columns, list)
            and all(isinstance(name, str) for name in columns)
            and len(set(columns)) == len(columns)
        ):
            raise MalformedError(f"columns: expected names, got {shown(columns)}")
        for row in value["data"]:
            if not isinstance(row, list) or len(row) != len(columns):
                raise MalformedError(
                    f"data: expected rows of {len(columns)} cells, got {shown(row)}"
                )
            yield dict(zip(columns, row, strict=True))
    elif _is_by_file(value):
        for name, row in value.items():
            yield {"filename": name, **row}
    else:
        yield value


def _is_by_file(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(
        isinstance(row, Mapping) and timm.is_row(row) for row in value.values()
    )
