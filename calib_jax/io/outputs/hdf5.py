"""HDF5 files: arrays in groups. Nothing is read from other files or unpacked unseen."""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import array_files
from .array_files import LARGEST, ArrayFile
from .left_out import MOST_ROWS

# So many arrays and groups are looked at, so deep, and names are so long.
_MOST_OBJECTS = 10**5
_DEEPEST = 16
_LONGEST_NAME = 1000
# Filters by number: those of every HDF5 library, and h5py's own LZF. Others are
# libraries that HDF5 would load.
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_FILTERS = {_DEFLATE, _SHUFFLE, _FLETCHER, _LZF}
# Bytes of a checksum behind a chunk.
_CHECKSUM = 4
# A chunk of LZF may become so many times as large, and at most so large.
_LZF_EXPANSION = 100
_LARGE_CHUNK = 2**28


def read(path: Path) -> ArrayFile:
    """The arrays of a file; names of those in groups are paths, such as `a/b/probs`."""
    try:
        import h5py
    except ImportError:
        raise array_files.missing("h5py", path) from None
    with array_files.named(path), h5py.File(path, "r") as file:
        shapes = dict(_walk(path, file))
    if not shapes:
        raise ValueError(f"{path}: holds no arrays.")

    def cut(name: str, rows: Any) -> Any:
        with h5py.File(path, "r") as file:
            dataset = file[name]
            _check(path, name, dataset)
            array = dataset[rows if dataset.shape else ()]
        if array.dtype.kind == "S":
            return np.char.decode(array, "utf-8", "replace")
        return array_files.typed(array)

    return ArrayFile(path, shapes, lambda name: cut(name, ()), cut, grouped=True)


def _walk(path: Path, file: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all arrays, in the order of the names."""
    import h5py

    seen = {_address(file)}
    rest = [("", file)]
    num_objects = 0
    while rest:
        prefix, group = rest.pop()
        inner = []
        for name in group:
            full = f"{prefix}{name}"
            num_objects += 1
            if num_objects > _MOST_OBJECTS:
                raise ValueError(f"{path}: holds more than {_MOST_OBJECTS:,} arrays.")
            if len(full) > _LONGEST_NAME or full.count("/") > _DEEPEST:
                raise ValueError(
                    f"{path}: the name {full[:60]!r} and so on is longer than "
                    f"{_LONGEST_NAME} letters, or deeper than {_DEEPEST} groups."
                )
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(
                    f"{path}: {full} is a link, and links are not followed: copy what "
                    "it points to into the file."
                )
            found = group[name]
            if isinstance(found, h5py.Group):
                if _address(found) in seen:
                    raise ValueError(f"{path}: the group {full} is there twice.")
                seen.add(_address(found))
                inner.append((f"{full}/", found))
            elif isinstance(found, h5py.Dataset):
                yield full, found.shape or ()
        rest += reversed(inner)


def _address(group: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(group.id).addr)


def _check(path: Path, name: str, dataset: Any) -> None:
    """Before anything is unpacked.

    Raises:
      ValueError: for what is not numbers or text of one length, is in other files, is
        missing in part, or would be larger than it may be.
    """
    import h5py

    if dataset.dtype.kind == "O" and h5py.check_string_dtype(dataset.dtype):
        # In a damaged file HDF5 may look for it without an end.
        raise ValueError(
            f"{path}: {name} holds texts of any length, which are not read from HDF5: "
            f"write numpy.char.encode({name}), which have one."
        )
    if dataset.dtype.kind not in "biufS":
        raise ValueError(
            f"{path}: {name} holds objects, records or lists ({dataset.dtype}), which "
            "are not read; save an array of numbers or of text."
        )
    if dataset.is_virtual or dataset.external:
        raise ValueError(
            f"{path}: {name} has its numbers in other files, which are not opened: "
            "copy them into this one."
        )
    filters = _filters(path, name, dataset)
    size = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    # Decoded, a text of fixed length takes four bytes a letter.
    wide = 4 if dataset.dtype.kind == "S" else 1
    if (largest := max(wide * size, chunk)) > LARGEST:
        raise array_files.too_large(path, name, largest)
    if dataset.dtype.kind == "S" and dataset.size > MOST_ROWS:
        raise ValueError(f"{path}: {name} holds more than {MOST_ROWS:,} texts.")
    stored, whole = dataset.id.get_storage_size(), path.stat().st_size
    if stored > whole:
        raise ValueError(f"{path}: {name} claims {stored} bytes, the file has {whole}.")
    missing = size and not stored
    if dataset.chunks:
        grid = zip(dataset.shape, dataset.chunks, strict=True)
        num_chunks = math.prod(-(-length // step) for length, step in grid)
        missing |= dataset.id.get_num_chunks() < num_chunks
    if missing:
        # HDF5 would fill in zeros.
        raise ValueError(
            f"{path}: {name} was not written, or not to its end: write the file again."
        )
    array_files.check_ratio(path, name, max(size, chunk), stored)
    if filters & {_DEFLATE, _LZF}:
        _check_chunks(path, name, dataset, chunk, filters, whole)


def _filters(path: Path, name: str, dataset: Any) -> set[int]:
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(k)[0] for k in range(plan.get_nfilters())]
    if not set(filters) <= _FILTERS or len(set(filters)) < len(filters):
        raise ValueError(
            f"{path}: {name} is packed with a filter that is not read here ({filters});"
            ' write it with compression="gzip", or unpacked.'
        )
    if _DEFLATE in filters and _LZF in filters:
        raise ValueError(f"{path}: {name} is packed twice; write it with one filter.")
    return set(filters)


def _check_chunks(
    path: Path, name: str, dataset: Any, chunk: int, filters: set[int], whole: int
) -> None:
    """Raises `ValueError` if a packed chunk would not become what a chunk is.

    HDF5 takes any size: more fills the memory, and behind less it reads what is there.
    """
    sizes = (chunk, chunk + _CHECKSUM) if _FLETCHER in filters else (chunk,)
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    if sum(info.size for info in found) > whole:
        raise ValueError(f"{path}: {name} has chunks that stand in one place.")
    for info in found:
        if info.filter_mask:
            fits = info.size in sizes
        elif _LZF in filters:
            fits = info.size * _LZF_EXPANSION <= _LARGE_CHUNK
        else:
            _, packed = dataset.id.read_direct_chunk(info.chunk_offset)
            unpacker = zlib.decompressobj()
            fits = len(unpacker.decompress(packed, sizes[-1] + 1)) in sizes
            fits &= unpacker.eof
        if not fits:
            raise ValueError(
                f"{path}: {name} has a chunk that does not unpack to its {chunk} "
                'bytes: it is damaged, or too large for LZF; write it with "gzip".'
            )
