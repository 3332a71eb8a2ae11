"""Zip files of inspect_ai: the header, and then one sample after another.

Source: log/_recorders/eval.py and log/_recorders/chunked/format.py in inspect_ai of
UKGovernmentBEIS/inspect_ai. Its own reader is not used: it holds all samples with all
their events at once, and up to version 0.3.285 it does not read the second layout
below, which its own converter writes.

A log has `header.json` when its run has ended, and `_journal/start.json` from the
start. A sample is `samples/{id}_epoch_{epoch}.json`, or a folder of that name with
`sample.json`, `metadata.json`, and lists in parts, of which only `attachments` are
read. Of several members with one name the last counts.
"""

import collections
import copy
import importlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from .. import json_lines, responses
from . import array_files

# Zip's number for zstd, which Python reads from 3.14 on.
_ZSTD = 93
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, _ZSTD)
_HEADERS = ("header.json", "_journal/start.json")
# An id may have slashes, as HumanEval/0.
_SAMPLE = re.compile(r"samples/.*_epoch_[0-9]+(\.json|/sample\.json)", re.DOTALL)
_ATTACHMENTS = re.compile(
    r"(?P<folder>samples/.*_epoch_[0-9]+/)attachments/(?P<start>[0-9]{1,9})\.json",
    re.DOTALL,
)
# Members above the second size in all that were packed into less than this share of it
# are no logs.
_BOMB = 100, 2**28
# No member is larger.
_LARGEST = json_lines.LONGEST_LINE
# So many bytes are unpacked together.
_PART = 2**20

_Unpack = Callable[[BinaryIO], BinaryIO]


def is_log(path: Path) -> bool:
    """Whether a zip file has members called as those of a log."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except Exception:
        # It is damaged, which the reader of arrays says.
        return False
    return any(one in _HEADERS or _SAMPLE.fullmatch(one) for one in members)


def lines_of(
    path: Path, watch: json_lines.Watch | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The header with number 0, then the samples, counted from 1, as they are stored.

    Raises:
      ValueError: for a damaged file, one without a header, and one with a member of
        more than 256 MiB, or that is more than 100 times as large unpacked.
      ImportError: if it is compressed with zstd, and nothing can unpack that.
    """
    with _opened(path) as archive:
        members = _Members(path, archive)
        header = next((name for name in _HEADERS if name in members.infos), None)
        if header is None:
            raise ValueError(
                f"{path}: has samples of inspect_ai and neither {_HEADERS[0]} nor "
                f"{_HEADERS[1]}, which name the model: copy the log again."
            )
        yield 0, members.header(header)
        samples = [name for name in members.infos if _SAMPLE.fullmatch(name)]
        for number, name in enumerate(samples, start=1):
            yield number, members.sample(name)
            if watch is not None:
                watch(members.infos[name].compress_size)
        if watch is not None:
            read = sum(members.infos[name].compress_size for name in samples)
            watch(max(0, path.stat().st_size - read))


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _damaged(path, "the zip file", error) from None


def _damaged(path: Path, name: str, error: Exception | str) -> ValueError:
    reason = " ".join(str(error).split())[:200].rstrip(".") or "no reason given"
    return ValueError(
        f"{path}: {name} cannot be unpacked ({reason}): it is damaged or cut off; copy "
        "the log again."
    )


class _Members:
    """The members of a log.

    Attributes:
      infos: by name; the last one of a name counts, as for inspect_ai.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self.infos = {info.filename: info for info in archive.infolist()}
        self._size, self._packed = 0, path.stat().st_size
        methods = {info.compress_type for info in self.infos.values()}
        if other := methods.difference(_METHODS):
            raise ValueError(
                f"{path}: is a zip file of method {min(other)}, which inspect_ai does "
                "not write: convert the log with it again."
            )
        self._unpack = _of_zstd(path) if _ZSTD in methods else None
        self._attachments = collections.defaultdict[str, dict[int, str]](dict)
        for name in self.infos:
            if part := _ATTACHMENTS.fullmatch(name):
                self._attachments[part["folder"]][int(part["start"])] = name

    def header(self, name: str) -> Any:
        try:
            found = self._value(name)
        except responses.MalformedError as error:
            raise _damaged(self._path, name, error) from None
        if not isinstance(found, Mapping):
            raise _damaged(self._path, name, "expected an object")
        return found

    def sample(self, name: str) -> Any:
        """A sample as text, or as an object if it is a folder; or why it is not."""
        if not name.endswith("/sample.json"):
            return self._bytes(name)
        try:
            return self._of_folder(name)
        except responses.MalformedError as error:
            return error

    def _of_folder(self, name: str) -> Any:
        data, folder = self._bytes(name), name.removesuffix("sample.json")
        found = _value(data)
        if not isinstance(found, dict):
            return found
        if (metadata := f"{folder}metadata.json") in self.infos:
            found["metadata"] = self._value(metadata)
        if b"attachment://" in data:
            found["attachments"] = self._texts(folder)
        return found

    def _texts(self, folder: str) -> dict[str, Any]:
        """Attachments by number: each part is called by that of its first."""
        parts, found = self._attachments[folder], dict[str, Any]()
        if sum(self.infos[name].file_size for name in parts.values()) > _LARGEST:
            raise self._too_large(f"{folder}attachments")
        for start, name in parts.items():
            part = self._value(name)
            if not isinstance(part, list):
                raise responses.MalformedError(
                    f"{name}: expected a list, got {responses.shown(part)}"
                )
            found.update((str(start + k), text) for k, text in enumerate(part))
        return found

    def _value(self, name: str) -> Any:
        """The JSON value of a member."""
        try:
            return _value(self._bytes(name))
        except responses.MalformedError as error:
            raise responses.MalformedError(f"{name}: {error}") from None

    def _bytes(self, name: str) -> bytes:
        info = self.infos[name]
        if info.file_size > _LARGEST:
            raise self._too_large(name)
        try:
            if info.compress_type == _ZSTD and self._unpack is not None:
                # What is packed, as it stands: Python before 3.14 knows no zstd.
                packed = cast(Any, copy.copy(info))
                packed.compress_type = zipfile.ZIP_STORED
                packed.file_size, packed.CRC = info.compress_size, None
                with self._archive.open(packed) as file:
                    data = self._parts(info, self._unpack(cast(BinaryIO, file)))
                if zlib.crc32(data) != info.CRC:
                    raise _damaged(self._path, name, "its checksum is another")
            else:
                with self._archive.open(info) as file:
                    data = self._parts(info, cast(BinaryIO, file))
        except (ValueError, OSError) as error:
            if str(error).startswith(f"{self._path}: "):
                raise
            raise _damaged(self._path, name, error) from None
        except Exception as error:
            # Of zipfile, zlib or zstd, which have their own errors.
            raise _damaged(self._path, name, error) from None
        return data

    def _parts(self, info: zipfile.ZipInfo, file: BinaryIO) -> bytes:
        """All of a member, in parts: it may be larger than it says."""
        parts, size = [], 0
        while part := file.read(_PART):
            parts.append(part)
            size += len(part)
            if size > info.file_size:
                break
        if size != info.file_size:
            raise ValueError(f"expected {info.file_size} bytes, got {size} or more")
        self._size += size
        ratio, large = _BOMB
        if self._size > large and self._size > ratio * self._packed:
            raise ValueError(
                f"{self._path}: is more than {ratio} times as large unpacked, which "
                "logs are not."
            )
        return b"".join(parts)

    def _too_large(self, name: str) -> ValueError:
        return ValueError(f"{self._path}: {name} is longer than {_LARGEST >> 20} MiB.")


def _value(data: bytes) -> Any:
    values = responses.values_of_line(data)
    return values[0] if len(values) == 1 else values


def _of_zstd(path: Path) -> _Unpack:
    """What unpacks zstd: Python, or the package zstandard."""
    try:
        return cast(_Unpack, importlib.import_module("compression.zstd").ZstdFile)
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise array_files.missing("zstandard", path) from None

    def unpack(file: BinaryIO) -> BinaryIO:
        # A log has several frames where it is long.
        return cast(
            BinaryIO,
            zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
        )

    return unpack
