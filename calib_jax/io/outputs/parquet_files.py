"""Files of parquet: columns of numbers, of text, and of lists of one length."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import array_files, names
from .array_files import ArrayFile, missing, named, too_large

# So many rows of a table are unpacked together.
_ROWS = 2**12
# So many bytes of a packed column are held while it is unpacked.
_BUFFER = 2**20
# Types of Arrow.
_LISTS = ("list", "large_list", "fixed_size_list")
_TEXTS = ("string", "large_string")


def parquet(path: Path) -> ArrayFile:
    """Columns of numbers or text, and of lists of numbers of one length."""
    try:
        import pyarrow
        import pyarrow.parquet as package
    except ImportError:
        raise missing("pyarrow", path) from None
    with named(path), package.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        num_rows = metadata.num_rows
        names.check_once(path, schema.names)
        shapes: dict[str, Any] = {
            field.name: (num_rows, None) if _is(field.type, _LISTS) else (num_rows,)
            for field in schema
        }

    def read(name: str) -> Any:
        if (size := _unpacked(metadata, name)) > array_files.LARGEST:
            raise too_large(path, name, size)
        batches, size = [], 0
        # A long text that many rows have is kept once.
        texts = [name] if _is(schema.field(name).type, _TEXTS) else []
        with package.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(_ROWS, columns=[name]):
                batches.append(batch.column(0))
                size += batches[-1].nbytes
                if size > array_files.LARGEST:
                    raise too_large(path, name, size)
            kind = file.schema_arrow.field(name).type
        return _of_arrow(path, name, pyarrow.chunked_array(batches, kind))

    batches_of: dict[str, Iterator[Any]] = {}
    last: dict[str, tuple[slice, Any]] = {}

    def cut(name: str, rows: slice) -> Any:
        """The next rows of a column, each of which is unpacked once."""
        if name not in batches_of:
            batches_of[name] = _batches(path, name, rows.stop - rows.start)
        if name not in last or last[name][0] != rows:
            last[name] = rows, next(batches_of[name])
        return _of_arrow(path, name, last[name][1])

    return ArrayFile(path, shapes, read, cut)


def _batches(path: Path, name: str, size: int) -> Iterator[Any]:
    """So many rows of a column of parquet at a time.

    Raises:
      ValueError: for lists that claim far more numbers than the file could hold.
    """
    import pyarrow
    import pyarrow.parquet as package

    with package.ParquetFile(path) as file:
        metadata, kind = file.metadata, file.schema_arrow.field(name).type
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            unpacked, ratio = 8 * column.num_values, array_files.BOMB[0]
            most = max(array_files.LARGEST, ratio * column.total_compressed_size)
            if (
                _is(kind, _LISTS)
                and f"{column.path_in_schema}.".startswith(f"{name}.")
                and unpacked > most
            ):
                raise ValueError(
                    f"{path}: {name} is more than {ratio} times as large unpacked, "
                    "which outputs are not; save it as npy if it is right."
                )
    texts = [name] if _is(kind, _TEXTS) else []
    # Otherwise the packed column of a whole group of rows is held.
    bounded = {"buffer_size": _BUFFER, "pre_buffer": False}
    with package.ParquetFile(path, read_dictionary=texts, **bounded) as file:
        held, num_rows = [], 0
        # A batch may end where a group of rows does.
        for batch in file.iter_batches(size, columns=[name]):
            held.append(batch.column(0))
            num_rows += len(batch)
            while num_rows >= size:
                over = num_rows - size
                last = held[-1]
                held[-1] = last.slice(0, len(last) - over)
                yield pyarrow.chunked_array(held)
                held, num_rows = [last.slice(len(last) - over)], over
        if num_rows:
            yield pyarrow.chunked_array(held)


def _unpacked(metadata: Any, name: str) -> int:
    """What a column takes, as the file says: equal values are stored once."""
    size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if f"{column.path_in_schema}.".startswith(f"{name}."):
                size += max(column.total_uncompressed_size, 8 * column.num_values)
    return size


def _is(kind: Any, names: Iterable[str]) -> bool:
    """Whether a type of Arrow is one of these."""
    import pyarrow

    return any(getattr(pyarrow.types, f"is_{name}")(kind) for name in names)


def _of_arrow(path: Path, name: str, column: Any) -> Any:
    import pyarrow.compute

    if _is(column.type, ["dictionary"]):
        if _is(column.type.value_type, _TEXTS):
            return _texts(column)
        column = column.cast(column.type.value_type)
    if _is(column.type, _LISTS):
        if column.null_count:
            raise ValueError(
                f"{path}: {name} has {column.null_count} rows without a list."
            )
        flat = pyarrow.chunked_array(
            [chunk.flatten() for chunk in column.chunks], column.type.value_type
        )
        lengths = pyarrow.compute.list_value_length(column).unique().to_pylist()
        if len(lengths) > 1:
            raise ValueError(
                f"{path}: expected {name} in lists of one length, got "
                f"{min(lengths)} to {max(lengths)} numbers."
            )
        numbers = np.asarray(flat.to_numpy())
        return numbers.reshape(len(column), -1 if len(column) else 0)
    some_bools = column.null_count and _is(column.type, ["boolean"])
    if some_bools or _is(column.type, _TEXTS):
        return column.to_pylist()
    # Where numbers are missing they become floats, and NaN there.
    return np.asarray(column.to_numpy())


def _texts(column: Any) -> list[str | None]:
    """Rows of one text share it."""
    found: list[str | None] = []
    known: dict[str, str] = {}
    for chunk in column.chunks:
        texts = [known.setdefault(one, one) for one in chunk.dictionary.to_pylist()]
        indices = chunk.indices.to_pylist()
        found += [None if one is None else texts[one] for one in indices]
    return found
