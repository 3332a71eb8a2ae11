"""Rows of parquet files with nested columns, a few at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import array_files, names

# So many rows with nested columns are unpacked together, and so many entries of lists.
_RECORDS, _ENTRIES = 2**8, 2**20


def top_names(path: Path) -> list[str]:
    """The names of a parquet file's columns; nothing if it cannot be read."""
    try:
        import pyarrow.parquet as package

        return list(package.read_schema(path).names)
    except Exception:
        # Whoever reads it says so.
        return []


def records(path: Path, wanted: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Rows of a parquet file with nested columns, as objects, one after another.

    Args:
      path: of the file.
      wanted: parts of columns such as `"doc.id"`; those that it lacks are left out.

    Raises:
      ValueError: if it is damaged, or too large when it is unpacked.
    """
    try:
        import pyarrow.parquet as package
    except ImportError:
        raise array_files.missing("pyarrow", path) from None
    with array_files.named(path):
        with package.ParquetFile(path) as file:
            metadata, schema = file.metadata, file.schema
            names.check_once(path, file.schema_arrow.names)
        leaves = [schema.column(number) for number in range(metadata.num_columns)]
        parts = [
            part
            for part in wanted
            if any(f"{leaf.path}.".startswith(f"{part}.") for leaf in leaves)
        ]
        for part in parts:
            if (size := _size(metadata, part)) > array_files.LARGEST:
                raise array_files.too_large(path, part, size)
        # A long text that many rows have is kept once.
        texts = [one.path for one in leaves if one.physical_type == "BYTE_ARRAY"]
        with package.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(_RECORDS, columns=parts):
                yield from _objects(path, batch)


def _size(metadata: Any, part: str) -> int:
    """What a part takes, as the file says: equal values are stored once."""
    size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for leaf in map(group.column, range(group.num_columns)):
            if f"{leaf.path_in_schema}.".startswith(f"{part}."):
                size += max(leaf.total_uncompressed_size, 8 * leaf.num_values)
    return size


def _objects(path: Path, batch: Any) -> Iterator[dict[str, Any]]:
    num_rows = batch.num_rows
    if sum(map(_num_entries, batch.columns)) > _ENTRIES:
        if num_rows < 2:
            raise ValueError(f"{path}: a row has more than {_ENTRIES:,} entries.")
        half = num_rows // 2
        yield from _objects(path, batch.slice(0, half))
        yield from _objects(path, batch.slice(half))
        return
    columns = [_cells(column) for column in batch.columns]
    for cells in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, cells, strict=True))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind)


def _num_entries(column: Any) -> int:
    """How many values lists have, at all depths."""
    import pyarrow.types as types

    if types.is_struct(column.type):
        return sum(map(_num_entries, column.flatten()))
    if _is_list(column.type):
        inner = column.flatten()
        return len(inner) + _num_entries(inner)
    return 0


def _cells(column: Any) -> list[Any]:
    """The values of a column, where equal texts are one object."""
    import pyarrow.compute
    import pyarrow.types as types

    if types.is_struct(column.type):
        parts = {
            field.name: _cells(pyarrow.compute.struct_field(column, field.name))
            for field in column.type
        }
        rows = zip(*parts.values(), strict=True) if parts else [()] * len(column)
        return [dict(zip(parts, row, strict=True)) for row in rows]
    if _is_list(column.type):
        inner, start, found = _cells(column.flatten()), 0, []
        for length in pyarrow.compute.list_value_length(column).to_pylist():
            found.append(None if length is None else inner[start : start + length])
            start += length or 0
        return found
    if types.is_dictionary(column.type):
        used = pyarrow.compute.unique(column.indices.drop_null())
        taken = column.dictionary.take(used).to_pylist()
        texts = dict(zip(used.to_pylist(), taken, strict=True))
        return [texts.get(one) for one in column.indices.to_pylist()]
    return list(column.to_pylist())
