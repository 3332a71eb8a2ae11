"""Files of arrays: npy, npz, safetensors and parquet. Nothing in them is executed."""

import contextlib
import functools
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import names

# An array that is unpacked is at most so large: a small file can claim any size. An npy
# or safetensors file is as large as its arrays, and has no limit.
LARGEST = 2**32
# Arrays above the second size that were packed into less than this share are no data.
_BOMB = 100, 2**28
# NumPy reads no longer header of an array.
_LONGEST_HEADER = 10_000
# The array with the names of several models.
_MODELS = "models"
# So many rows of a table are unpacked together.
_ROWS = 2**12
# So many bytes of a packed column are held while it is unpacked.
_BUFFER = 2**20
# Types of Arrow.
_LISTS = ("list", "large_list", "fixed_size_list")
_TEXTS = ("string", "large_string")


class ArrayFile:
    """The arrays of a file, by name; an only array of an npy file is called "".

    Attributes:
      shapes: of each array, as far as it is known.
    """

    def __init__(
        self,
        path: Path,
        shapes: dict[str, Any],
        read: Callable[[str], Any],
        cut: Callable[[str, slice], Any] | None = None,
    ) -> None:
        """What the file holds.

        Args:
          path: of the file.
          shapes: of each array.
          read: an array by its name.
          cut: some rows of an array, of which those before were cut already; None if a
            file is unpacked as a whole.
        """
        self.path, self.shapes, self._read, self._cut = path, shapes, read, cut

    def parts(self, size: int) -> Iterator[tuple[float, "ArrayFile"]]:
        """The arrays with so many rows at a time, and which share these end."""
        if (cut := self._cut) is None:
            raise ValueError(
                f"{self.path}: is unpacked as a whole: read it with read_outputs, or "
                "save large arrays as npy, safetensors or parquet."
            )
        num_rows = max((shape[0] for shape in self.shapes.values() if shape), default=0)
        for start in range(0, num_rows, size):
            rows = slice(start, start + size)
            shapes = {
                name: (len(range(*rows.indices(shape[0]))), *shape[1:]) if shape else ()
                for name, shape in self.shapes.items()
            }
            read = functools.partial(lambda rows, name: cut(name, rows), rows)
            yield min(1.0, rows.stop / num_rows), ArrayFile(self.path, shapes, read)

    def read(self, name: str) -> Any:
        """An array, or a list of texts and None.

        Raises:
          ValueError: if it is damaged, too large, or holds Python objects.
        """
        with _named(self.path):
            found = self._read(name)
            # A file of a hundred bytes may claim as many rows of nothing as it likes.
            if isinstance(found, np.ndarray) and found.ndim and not found.nbytes:
                if len(found):
                    raise ValueError(
                        f"{self.path}: {name or 'the array'} has rows without a number."
                    )
            return found


def of_model(file: ArrayFile, model: str | int | None) -> ArrayFile:
    """The arrays of one model, if the array `models` has the names of M of them.

    These are the first axis of arrays `[M, N]` or `[M, N, C]`. Arrays `[N]` are of all.

    Raises:
      ValueError: if it is not said which model, or none or several have the name.
    """
    shape = file.shapes.get(_MODELS)
    several = {
        name
        for name, other in file.shapes.items()
        if shape is not None
        and len(shape) == 1
        and len(other) > 1
        and other[0] == shape[0]
    }
    if not several:
        if model is None:
            return file
        raise ValueError(
            f"model: {file.path} has no array models with the names of several."
        )
    models = list(map(str, file.read(_MODELS).tolist()))
    shown = names.shown(models)
    if model is None:
        raise ValueError(
            f"{file.path}: holds {len(models)} models: {shown}; say which, with model=."
        )
    if isinstance(model, str):
        found = [number for number, one in enumerate(models) if one == model]
        if not found and model.isdecimal():
            # The command line has no numbers; a name that looks like one goes first.
            found = [int(model)] if int(model) < len(models) else []
    else:
        found = [model] if 0 <= model < len(models) else []
    if len(found) != 1:
        raise ValueError(
            f"model: {file.path} has {len(found) or 'no'} models {model!r}; it has "
            f"{shown}. Numbers count from 0."
        )
    number = found[0]
    shapes = {
        name: other[1:] if name in several else other
        for name, other in file.shapes.items()
        if name != _MODELS
    }

    def read(name: str) -> Any:
        array = file.read(name)
        return array[number] if name in several else array

    return ArrayFile(file.path, shapes, read)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Any error of a reader as one line that names the file."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except MemoryError:
        raise ValueError(f"{path}: does not fit into memory.") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith(f"{path}: "):
            raise ValueError(reason) from None
        raise ValueError(
            f"{path}: cannot be read ({reason[:300].rstrip('.')}): it is damaged or "
            "cut off; write or copy it again."
        ) from None


def _too_large(path: Path, name: str, size: int) -> ValueError:
    return ValueError(
        f"{path}: {name or 'the array'} would take {size / 2**30:.1f} GiB, and at most "
        f"{LARGEST >> 30} GiB are unpacked; save large arrays as npy or safetensors."
    )


def npy(path: Path) -> ArrayFile:
    """One array, which is read from the disk as it is used."""
    with _named(path):
        with path.open("rb") as file:
            shape, dtype, start = _header(file, path.name)
        if dtype.hasobject:
            raise _pickled(path, "the array")
        size, has = math.prod(shape) * dtype.itemsize, path.stat().st_size - start
        if size > has:
            raise ValueError(f"{path}: the array claims {size} bytes and has {has}.")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return ArrayFile(
        path,
        {"": array.shape},
        lambda _: _typed(array),
        lambda _, rows: _typed(array[rows] if array.ndim else array),
    )


def npz(path: Path) -> ArrayFile:
    """The arrays of numpy.savez; each is looked at before any memory is taken."""
    with _named(path), zipfile.ZipFile(path) as archive:
        found = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        if not found:
            members = ", ".join(archive.namelist()[:5]) or "nothing"
            hint = "save arrays with numpy.savez"
            if "header.json" in archive.namelist():
                hint = "logs of inspect_ai are not read"
            elif any(name.startswith("xl/") for name in archive.namelist()):
                hint = "save a sheet of Excel as CSV"
            raise ValueError(
                f"{path}: expected arrays of numpy.savez, got a zip file with "
                f"{members}; {hint}."
            )
        shapes = {name: _member(archive, info)[0] for name, info in found.items()}

    def read(name: str) -> np.ndarray:
        info = found[name]
        with zipfile.ZipFile(path) as archive:
            shape, dtype, start = _member(archive, info)
            if dtype.hasobject:
                raise _pickled(path, name)
            size = math.prod(shape) * dtype.itemsize
            if size > LARGEST:
                raise _too_large(path, name, size)
            ratio, large = _BOMB
            if size > large and size > ratio * info.compress_size:
                raise ValueError(
                    f"{path}: {name} is more than {ratio} times as large unpacked, "
                    "which outputs are not; save it as npy if it is right."
                )
            if start + size != info.file_size:
                raise ValueError(
                    f"{path}: {name} claims {size} bytes and has "
                    f"{info.file_size - start}."
                )
            with archive.open(info) as member:
                return _typed(np.lib.format.read_array(member, allow_pickle=False))

    return ArrayFile(path, shapes, read)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    with archive.open(info) as member:
        return _header(member, info.filename)


def _header(file: Any, name: str) -> Any:
    """Shape and dtype of an array, and where its numbers start."""
    version = np.lib.format.read_magic(file)
    start = file.tell()
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"{name}: version {version} is not known")
    # NumPy would unpack the header first, and then look at its length.
    length = int.from_bytes(file.read(2 * version[0]), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(
            f"{name}: a header of {length} bytes, longer than {_LONGEST_HEADER}"
        )
    file.seek(start)
    shape, _, dtype = reader(file)
    return shape, dtype, file.tell()


def _typed(array: np.ndarray) -> np.ndarray:
    """The array; NumPy saves bfloat16 as two bytes of no type."""
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array.view(jnp.bfloat16) if array.dtype == np.dtype("V2") else array


def _pickled(path: Path, name: str) -> ValueError:
    return ValueError(
        f"{path}: {name} holds Python objects (a pickle), which are never loaded; save "
        "an array of numbers or of text."
    )


def missing(package: str, path: Path) -> ImportError:
    """What to install, in one line."""
    return ImportError(
        f"{path}: reading it needs {package}, which is not installed: "
        "pip install 'calib-jax[report]'."
    )


def safetensors(path: Path) -> ArrayFile:
    """Tensors; bfloat16 and float16 stay what they are."""
    try:
        import safetensors as package
    except ImportError:
        raise missing("safetensors", path) from None
    with _named(path), package.safe_open(path, framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}

    def read(name: str) -> np.ndarray:
        # NumPy knows bfloat16 through ml_dtypes, which jax has imported.
        with package.safe_open(path, framework="numpy") as file:
            return np.asarray(file.get_tensor(name))

    def cut(name: str, rows: slice) -> np.ndarray:
        with package.safe_open(path, framework="numpy") as file:
            if not shapes[name]:
                return np.asarray(file.get_tensor(name))
            start, stop, _ = rows.indices(shapes[name][0])
            if start == stop:
                return np.zeros((0, *shapes[name][1:]), np.float32)
            return np.asarray(file.get_slice(name)[start:stop])

    return ArrayFile(path, shapes, read, cut)


def parquet(path: Path) -> ArrayFile:
    """Columns of numbers or text, and of lists of numbers of one length."""
    try:
        import pyarrow
        import pyarrow.parquet as package
    except ImportError:
        raise missing("pyarrow", path) from None
    with _named(path), package.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema_arrow
        num_rows = metadata.num_rows
        names.check_once(path, schema.names)
        shapes: dict[str, Any] = {
            field.name: (num_rows, None) if _is(field.type, _LISTS) else (num_rows,)
            for field in schema
        }

    def read(name: str) -> Any:
        if (size := _unpacked(metadata, name)) > LARGEST:
            raise _too_large(path, name, size)
        batches, size = [], 0
        # A long text that many rows have is kept once.
        texts = [name] if _is(schema.field(name).type, _TEXTS) else []
        with package.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(_ROWS, columns=[name]):
                batches.append(batch.column(0))
                size += batches[-1].nbytes
                if size > LARGEST:
                    raise _too_large(path, name, size)
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
            unpacked, ratio = 8 * column.num_values, _BOMB[0]
            if (
                _is(kind, _LISTS)
                and f"{column.path_in_schema}.".startswith(f"{name}.")
                and unpacked > max(LARGEST, ratio * column.total_compressed_size)
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
