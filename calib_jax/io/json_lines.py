"""The lines of a file of JSON lines, or the values of one indented JSON document."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from . import host, responses

# No line is longer, nor any single document, gzipped or not: a server's answer with the
# whole vocabulary at each token takes ten million bytes a token.
LONGEST_LINE = 2**28
LONGEST_DOCUMENT = 2**30
# No more bytes of blank lines stand in a row: gzipped they take a thousandth.
LONGEST_BLANK = 2**28


def numbered(lines: Any) -> tuple[str, Iterator[tuple[int, Any]]]:
    """The source's name for messages, and its lines with their numbers."""
    expected = "lines: expected a path, or an iterable of JSON lines"
    if isinstance(lines, str) and lines.lstrip()[:1] in ("{", "["):
        raise ValueError(
            f"{expected}; a string is taken as a path: .splitlines() it, or put it in a"
            " list if it is one response."
        )
    if isinstance(lines, (str, os.PathLike)):
        return str(lines), of_file(host.path("lines", lines))
    if isinstance(lines, (bytes, Mapping)) or not isinstance(lines, Iterable):
        raise ValueError(
            f"{expected}, got {type(lines).__name__}; put one response in a list."
        )
    return "lines", enumerate(lines, start=1)


Watch = Callable[[int], None]


def of_file(path: Path, watch: Watch | None = None) -> Iterator[tuple[int, Any]]:
    """The lines of a file, or the values of a document, with their numbers.

    Args:
      path: of the file.
      watch: told how many bytes were read, each time that some were.

    Raises:
      ValueError: for a damaged gzip file, and for a line or document that is too long.
    """
    number = 0
    with open_bytes(path, watch) as file:
        for number, line in lines_of(path, file):
            if not (bare := line.removeprefix(b"\xef\xbb\xbf").strip()):
                continue
            # A response of one line ends as it begins.
            if bare[:1] == b"[" or (bare[:1] == b"{" and bare[-1:] != b"}"):
                rest = unpacked(path, file.read, LONGEST_DOCUMENT + 1, number)
                if len(rest) > LONGEST_DOCUMENT:
                    raise _too_long(path, "a JSON document", LONGEST_DOCUMENT)
                yield from _of_document(number, line + rest)
                return
            yield number, line
            break
        yield from lines_of(path, file, number)


def open_bytes(path: Path, watch: Watch | None = None) -> BinaryIO:
    """A file, unpacked if it is gzipped: its first bytes say so, not its name."""
    file = io.BufferedReader(_Watched(path, watch), 2**16)
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    packed = gzip.GzipFile(fileobj=file)
    # Closed with it.
    cast(Any, packed).myfileobj = file
    return cast(BinaryIO, packed)


class _Watched(io.FileIO):
    """A file that tells how many bytes are read from it."""

    def __init__(self, path: Path, watch: Watch | None) -> None:
        super().__init__(path)
        self._watch = watch

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        if count and self._watch is not None:
            self._watch(count)
        return count


def lines_of(
    path: Path, file: BinaryIO, number: int = 0
) -> Iterator[tuple[int, bytes]]:
    """Lines behind the given number of them: texts may contain other separators."""
    blank = 0
    while line := unpacked(path, file.readline, LONGEST_LINE + 1, number):
        number += 1
        if len(line) > LONGEST_LINE:
            raise _too_long(path, f"line {number}", LONGEST_LINE)
        blank = blank + len(line) if line.isspace() else 0
        if blank > LONGEST_BLANK:
            raise _too_long(path, f"the gap before line {number}", LONGEST_BLANK)
        yield number, line


def unpacked(
    path: Path, read: Callable[[int], bytes], size: int, number: int = 0
) -> bytes:
    """Bytes that `read` gives, after so many lines."""
    try:
        return read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: gzip is damaged after line {number} ({error}): copy it again."
        ) from error


def _too_long(path: Path, what: str, limit: int) -> ValueError:
    return ValueError(f"{path}: {what} is longer than {limit >> 20} MiB.")


def _of_document(number: int, data: bytes) -> Iterator[tuple[int, Any]]:
    """JSON values in a row, or in one array, with the lines they start in.

    One value is held at a time. If the first is broken these are lines after all.
    """
    try:
        text = data.decode("utf-8-sig")
        start = _next(text, 0, "[")
        responses.json_value(text, start)
    except ValueError:  # MalformedError and UnicodeDecodeError
        yield from enumerate(data.split(b"\n"), start=number)
        return
    counted = 0
    while start < len(text):
        number += text.count("\n", counted, start)
        counted = start
        try:
            value, start = responses.json_value(text, start)
        except responses.MalformedError as error:
            reason = f"{error}; the rest of the file is not read"
            yield number, responses.MalformedError(reason)
            return
        yield number, value
        start = _next(text, start, ",]")
    if text.lstrip()[0] == "[" and text.rstrip()[-1] != "]":
        yield number, responses.MalformedError("not JSON, the array does not end")


def _next(text: str, start: int, skipped: str) -> int:
    """The place of the next value."""
    while start < len(text) and (text[start].isspace() or text[start] in skipped):
        start += 1
    return start
