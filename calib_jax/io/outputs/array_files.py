"""Files of arrays: npy, npz and safetensors. Nothing in them is executed."""

import contextlib
import functools
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import names

# An array that is unpacked is at most so large: a small file can claim any size. An npy
# or safetensors file is as large as its arrays, and has no limit.
LARGEST = 2**32
# Arrays above the second size that were packed into less than this share are no data.
BOMB = 100, 2**28
# NumPy reads no longer header of an array.
_LONGEST_HEADER = 10_000
# The array with the names of several models.
_MODELS = "models"
# Rows of arrays with several axes are read in blocks of so many bytes.
_BLOCK = 2**22


class ArrayFile:
    """The arrays of a file, by name; an only array of an npy file is called "".

    Attributes:
      shapes: of each array, as far as it is known.
      grouped: whether a slash in a name stands between a group and what is in it.
      model, task: which ones the arrays are of, if the file has several.
      of_tokens: whether scores are of generated tokens.
      notes: sentences for the user.
    """

    def __init__(
        self,
        path: Path,
        shapes: dict[str, Any],
        read: Callable[[str], Any],
        cut: Callable[[str, slice], Any] | None = None,
        *,
        grouped: bool = False,
        model: str = "",
        task: str = "",
    ) -> None:
        """What the file holds.

        Args:
          path: of the file.
          shapes: of each array.
          read: an array by its name.
          cut: some rows of an array, of which those before were cut already; None if a
            file is unpacked as a whole.
          grouped, model, task: as the attributes.
        """
        self.path, self.shapes, self._read, self._cut = path, shapes, read, cut
        self.grouped, self.model, self.task = grouped, model, task
        self.of_tokens = False
        self.notes: list[str] = []

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
            part = ArrayFile(self.path, shapes, read, model=self.model, task=self.task)
            yield min(1.0, rows.stop / num_rows), part

    def read(self, name: str) -> Any:
        """An array, or a list of texts and None.

        Raises:
          ValueError: if it is damaged, too large, or holds Python objects.
        """
        with named(self.path):
            found = self._read(name)
            # A file of a hundred bytes may claim as many rows of nothing as it likes.
            if isinstance(found, np.ndarray) and found.ndim and not found.nbytes:
                if len(found):
                    raise ValueError(
                        f"{self.path}: {name or 'the array'} has rows without a number."
                    )
            return found

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """An array in blocks of rows, where a file can be read so; errors of `read`."""
        if self._cut is None:
            yield self.read(name)
            return
        num_rows, *inner = self.shapes[name]
        step = max(1, _BLOCK // max(1, 8 * math.prod(inner)))
        with named(self.path):
            for start in range(0, num_rows, step):
                yield self._cut(name, slice(start, start + step))


def of_model(file: ArrayFile, model: str | int | None) -> ArrayFile:
    """The arrays of one model.

    If the array `models` has the names of M of them, these are the first axis of arrays
    `[M, N]` or `[M, N, C]`, and arrays `[N]` are of all. If arrays are in groups, each
    with its own, a model is the path of one.

    Raises:
      ValueError: if it is not said which model, or none or several have the name.
    """
    if file.model:
        # It is one model's already.
        return file
    if file.grouped and any("/" in name for name in file.shapes):
        return _of_group(file, model)
    several = _of_several(file)
    if not several:
        if model is None:
            return file
        raise ValueError(
            f"model: {file.path} has no array models with the names of several."
        )
    models = models_of(file)
    number = _which(file.path, models, model)
    shapes = {
        name: other[1:] if name in several else other
        for name, other in file.shapes.items()
        if name != _MODELS
    }

    def read(name: str) -> Any:
        array = file.read(name)
        return array[number] if name in several else array

    return ArrayFile(file.path, shapes, read, model=models[number])


def _of_group(file: ArrayFile, model: str | int | None) -> ArrayFile:
    """The arrays of one group; without a model those that are in none, if any are."""
    groups, inner = _groups(file), models_of(file)
    if model is None and ("" in groups or len(inner) == 1):
        group = "" if "" in groups else inner[0]
    else:
        group = inner[_which(file.path, inner, model)]
    prefix = f"{group}/" if group else ""
    shapes = {
        name.removeprefix(prefix): shape
        for name, shape in file.shapes.items()
        if name.rpartition("/")[0] == group
    }
    task, _, name = group.rpartition("/")
    found = ArrayFile(
        file.path,
        shapes,
        lambda name: file.read(prefix + name),
        None
        if (cut := file._cut) is None
        else lambda name, rows: cut(prefix + name, rows),
        model=name,
        task=task,
    )
    if not group:
        found.notes.append(
            f"Groups of the file that were not read: {names.shown(inner)}."
        )
    return found


def _which(path: Path, models: list[str], model: str | int | None) -> int:
    """The number of the model that is asked for."""
    shown = names.shown(models)
    if model is None:
        raise ValueError(
            f"{path}: holds {len(models)} models: {shown}; say which, with model=."
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
            f"model: {path} has {len(found) or 'no'} models {model!r}; it has "
            f"{shown}. Numbers count from 0."
        )
    return found[0]


def models_of(file: ArrayFile) -> list[str]:
    """The names of several models: of groups, or in the array `models`; or nothing."""
    if file.grouped:
        return [one for one in _groups(file) if one]
    return list(map(str, file.read(_MODELS).tolist())) if _of_several(file) else []


def _groups(file: ArrayFile) -> list[str]:
    """The paths of groups that hold arrays, "" for those in none."""
    return list(dict.fromkeys(one.rpartition("/")[0] for one in file.shapes))


def _of_several(file: ArrayFile) -> set[str]:
    """The arrays that have an entry for each of several models."""
    shape = file.shapes.get(_MODELS)
    return {
        name
        for name, other in file.shapes.items()
        if shape is not None
        and len(shape) == 1
        and len(other) > 1
        and other[0] == shape[0]
    }


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
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


def too_large(path: Path, name: str, size: int) -> ValueError:
    return ValueError(
        f"{path}: {name or 'the array'} would take {size / 2**30:.1f} GiB, and at most "
        f"{LARGEST >> 30} GiB are unpacked; save large arrays as npy or safetensors."
    )


def check_ratio(path: Path, name: str, size: int, packed: int) -> None:
    """Raises `ValueError` if an array is far larger than what it was packed into."""
    ratio, large = BOMB
    if size > large and size > ratio * packed:
        raise ValueError(
            f"{path}: {name} is more than {ratio} times as large unpacked, which "
            "outputs are not; save it as npy if it is right."
        )


def npy(path: Path) -> ArrayFile:
    """One array, which is read from the disk as it is used."""
    with named(path):
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
        lambda _: typed(array),
        lambda _, rows: typed(array[rows] if array.ndim else array),
    )


def npz(path: Path) -> ArrayFile:
    """The arrays of numpy.savez; each is looked at before any memory is taken."""
    with named(path), zipfile.ZipFile(path) as archive:
        found = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        if not found:
            members = ", ".join(archive.namelist()[:5]) or "nothing"
            hint = "save arrays with numpy.savez"
            if any(name.startswith("xl/") for name in archive.namelist()):
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
                raise too_large(path, name, size)
            check_ratio(path, name, size, info.compress_size)
            if start + size != info.file_size:
                raise ValueError(
                    f"{path}: {name} claims {size} bytes and has "
                    f"{info.file_size - start}."
                )
            with archive.open(info) as member:
                return typed(np.lib.format.read_array(member, allow_pickle=False))

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


def typed(array: np.ndarray) -> np.ndarray:
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
    with named(path), package.safe_open(path, framework="numpy") as file:
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
