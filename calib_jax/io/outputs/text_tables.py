"""Tables of text: CSV, and JSON lines with a column in each field."""

import contextlib
import csv
import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import json_lines
from ..responses import MalformedError, json_value, shown
from . import names
from .left_out import LeftOut, Place, Places
from .rows import is_empty

# So many names behind the first line are kept.
_NUM_LATER = 20


class _Columns:
    """Cells of the columns that are kept: numbers as floats, all else as it is.

    A column of numbers may hold a list in each row, or an object with a number for each
    option.

    Args:
      numbers: names of columns of numbers.
      others: of other columns.
      ids: of the column with ids, which each row must have.
      keeps_missing: whether a row without the numbers of the others is one of NaN.

    Attributes:
      options: of each column of objects, in the order of the first row.
    """

    def __init__(
        self,
        numbers: list[str],
        others: list[str],
        ids: str | None,
        keeps_missing: bool,
    ) -> None:
        self._ids, self._keeps_missing = ids, keeps_missing
        self._num_rows = 0
        self._missing: dict[str, list[int]] = {name: [] for name in numbers}
        self.numbers = {name: array("d") for name in numbers}
        self.widths: dict[str, int] = {}
        self.options: dict[str, tuple[str, ...]] = {}
        self.others: dict[str, list[Any]] = {name: [] for name in others}

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row, or raises `MalformedError` and adds nothing."""
        found = {name: self._cells(name, row.get(name)) for name in self.numbers}
        for name in self.others:
            other = row.get(name)
            # Labels of decisions are an object with one for each question.
            if isinstance(other, list) or (
                isinstance(other, dict) and name != "labels"
            ):
                few = "; of the most likely classes? Write all (--topk 0) or one"
                raise MalformedError(
                    f"{name}: expected one value, got {shown(other)}"
                    + (few if isinstance(other, list) else "")
                )
        if self._ids is not None and is_empty(row.get(self._ids)):
            raise MalformedError(f"{self._ids}: expected an id, got none")
        for name, numbers in found.items():
            if numbers is None:
                self._missing[name].append(self._num_rows)
            else:
                self.numbers[name].extend(numbers)
        for name, cells in self.others.items():
            cells.append(row.get(name))
        self._num_rows += 1

    def expect(self, first: Mapping[str, Any]) -> None:
        """Takes the forms of columns from a row that is not added."""
        for name in self.numbers:
            # A row that is malformed is refused where it stands.
            with contextlib.suppress(MalformedError):
                self._cells(name, first.get(name))

    def _cells(self, name: str, cell: Any) -> list[float] | None:
        """The numbers of a row, or None if it has none and may lack them."""
        if self._keeps_missing and (is_empty(cell) or cell in ([], {})):
            return None
        numbers = _numbers(name, self._listed(name, cell))
        width = len(numbers) if isinstance(numbers, list) else 0
        if self.widths.setdefault(name, width) != width:
            raise MalformedError(
                f"{name}: expected {self.widths[name] or 'one'} numbers as in the "
                f"first row, got {width or 'one'}"
            )
        return numbers if isinstance(numbers, list) else [numbers]

    def _listed(self, name: str, cell: Any) -> Any:
        """The numbers of an object in the order of the options."""
        if not isinstance(cell, dict):
            return cell
        options = self.options.setdefault(name, tuple(cell))
        if set(options) != set(cell):
            raise MalformedError(f"{name}: expected the options of the first row")
        return [cell[option] for option in options]

    def arrays(self) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.others)
        for name, numbers in self.numbers.items():
            width = self.widths.get(name, 0)
            values = np.frombuffer(numbers, np.float64) if numbers else np.zeros(0)
            values = values.reshape(-1, width) if width else values
            if missing := self._missing[name]:
                there = np.ones(self._num_rows, bool)
                there[missing] = False
                kept, values = values, np.full((len(there), *values.shape[1:]), np.nan)
                values[there] = kept
            found[name] = values
        return found


def _numbers(name: str, cell: Any) -> float | list[float]:
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        text = cell.strip()
        # As NumPy prints an array.
        printed = "," not in text and text[-1] == "]"
        cell = text[1:-1].split() if printed else json_value(text, 0)[0]
    if isinstance(cell, list):
        if not cell:
            raise MalformedError(f"{name}: expected numbers, got an empty list")
        return [_number(name, one) for one in cell]
    return _number(name, cell)


def _number(name: str, cell: Any) -> float:
    if cell is None or cell == "":
        return np.nan
    try:
        # Python takes 1_0 for ten.
        if isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell):
            raise ValueError
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        text = cell.strip() if isinstance(cell, str) else ""
        hint = ": write 0.93 for 93%" if text.endswith("%") else ""
        if "," in text:
            hint = ": write it with a point, and none between thousands"
        raise MalformedError(
            f"{name}: expected a number, got {shown(cell)}{hint}"
        ) from None


class JsonTable:
    """JSON objects of one form, one a line.

    Attributes:
      names: of the columns.
      options: names of the numbers in a column of objects, once it is read.
      later: names that the first line lacks, up to a number, once it is read.
    """

    def __init__(
        self, first: Mapping[str, Any], lines: Iterable[tuple[Place, Mapping[str, Any]]]
    ) -> None:
        self.names, self._first, self._lines = list(first), first, lines
        self.options: dict[str, tuple[str, ...]] = {}
        self.later: list[str] = []

    def read(
        self,
        numbers: list[str],
        others: list[str],
        places: Places,
        left_out: LeftOut,
        ids: str | None = None,
    ) -> dict[str, Any]:
        found = _Columns(numbers, others, ids, left_out.keeps_missing)
        found.expect(self._first)
        known = set(self.names)
        for place, line in self._lines:
            if len(self.later) < _NUM_LATER and not line.keys() <= known:
                self.later += [name for name in line if name not in known]
                known.update(self.later)
            try:
                for name in numbers:
                    if name not in line:
                        raise MalformedError(f"has no {name!r}, unlike the first line")
                found.add(line)
            except MalformedError as error:
                left_out.refuse(str(error), places.name_of(place))
            else:
                places.add(place)
        self.options = found.options
        return found.arrays()


class CsvTable:
    """A file of comma-, semicolon- or tab-separated values with names on top.

    Attributes:
      names: of the columns; of an array without a header only numbers: "0", "1", ...
      bare: True without a header.
    """

    def __init__(self, path: Path, watch: json_lines.Watch | None = None) -> None:
        self.path, self._watch = path, watch
        header = next((cells for _, cells in self._rows() if _holds(cells)), None)
        if header is None:
            raise ValueError(f"{path}: is empty.")
        self.bare = all(map(_is_number, header))
        self.names = (
            [str(number) for number in range(len(header))]
            if self.bare
            else [cell.strip() for cell in header]
        )
        names.check_once(path, self.names)
        self._left: Iterator[tuple[int, tuple[int, list[str]]]] | None = None
        self._part: Iterable[tuple[int, tuple[int, list[str]]]] | None = None

    def part(self, size: int) -> bool:
        """Whether rows are left; then `read` gives those of the next lines."""
        self._left = enumerate(self._body()) if self._left is None else self._left
        first = next(self._left, None)
        if first is None:
            return False
        self._part = itertools.chain([first], itertools.islice(self._left, size - 1))
        return True

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header."""
        rows = self._rows(self._watch)
        if not self.bare:
            next(cells for _, cells in rows if _holds(cells))
        # A blank line is a row only where a row has one cell.
        return ((n, cells) for n, cells in rows if cells or len(self.names) == 1)

    def _rows(
        self, watch: json_lines.Watch | None = None
    ) -> Iterator[tuple[int, list[str]]]:
        """Cells of each row, with the line in which it ends."""
        with json_lines.open_bytes(self.path, watch) as file:
            lines = json_lines.lines_of(self.path, file)
            text = (_text(self.path, number, line) for number, line in lines)
            first = next(text, "")
            rows = csv.reader(
                itertools.chain([first], text),
                delimiter=max(",;\t", key=first.count),
                skipinitialspace=True,
            )
            while True:
                try:
                    cells = next(rows, None)
                except csv.Error as error:
                    reason = str(error)
                    if reason.startswith("new-line"):
                        reason = "lines end in \\r alone; save it with \\n"
                    raise ValueError(
                        f"{self.path}: line {rows.line_num}: {reason}."
                    ) from None
                if cells is None:
                    return
                yield rows.line_num, cells

    def read(
        self,
        numbers: list[str],
        others: list[str],
        places: Places,
        left_out: LeftOut,
        ids: str | None = None,
    ) -> dict[str, Any]:
        found = _Columns(numbers, others, ids, left_out.keeps_missing)
        part = enumerate(self._body()) if self._part is None else self._part
        for row, (number, cells) in part:
            place = Place(0, number, row)
            if not _holds(cells):
                continue
            # Those behind the last row are none: spreadsheets save them.
            for _ in range(row - places.num_read):
                left_out.drop("an empty row", f"before line {number}")
            places.num_read = row + 1
            try:
                if len(cells) != len(self.names):
                    raise MalformedError(
                        f"{len(cells)} cells, and {len(self.names)} columns"
                    )
                stripped = map(str.strip, cells)
                found.add(dict(zip(self.names, stripped, strict=True)))
            except MalformedError as error:
                left_out.refuse(str(error), places.name_of(place))
            else:
                places.add(place)
        return found.arrays()


def _text(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: line {number} is not UTF-8 at byte {error.start}; save it as CSV "
            "UTF-8."
        ) from None


def _holds(cells: list[str]) -> bool:
    return any(map(str.strip, cells))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
