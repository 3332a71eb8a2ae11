"""Where rows stand in their files, and which of them are left out, and why."""

import collections
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# So many places are named of each reason, and so many reasons.
_NUM_PLACES = 5
_NUM_REASONS = 20
#: More rows are not read: a small file may repeat one as often as it likes.
MOST_ROWS = 10**8


class Place(NamedTuple):
    """A line, counted from 1, or a row, counted from 0, of one of the files read.

    Attributes:
      file: which of them.
      number: of the line or row.
      order: of all rows read, those that are malformed too, by which labels are joined
        where there are no ids.
    """

    file: int
    number: int
    order: int = 0


_SIZE = len(Place._fields)


class Places:
    """The place of each row, and its name in messages.

    Attributes:
      num_read: how many rows were read, those that are left out too.
    """

    def __init__(self, paths: Sequence[Path], unit: str) -> None:
        self.paths, self.unit = paths, unit
        self.num_read = 0
        folder = os.path.commonpath([path.parent for path in paths])
        self._names = [path.relative_to(folder).as_posix() for path in paths]
        # Of one place after another.
        self._numbers = array("q")

    def __len__(self) -> int:
        return len(self._numbers) // _SIZE

    def add(self, place: Place) -> None:
        self._check(len(self) + 1)
        self._numbers.extend(place)

    @property
    def rows(self) -> list[int]:
        """The number of each row that is kept, among those that were read."""
        return self._numbers[_SIZE - 1 :: _SIZE].tolist()

    def add_rows(self, num_rows: int) -> None:
        """Adds rows of the only file, behind those that were read."""
        self._check(num_rows)
        self._numbers = array("q", [0]) * (_SIZE * num_rows)
        places = np.asarray(self._numbers).reshape(-1, _SIZE)
        places[:, 1:] = self.num_read + np.arange(num_rows)[:, None]
        self.num_read += num_rows

    def forget(self) -> None:
        """Begins the next block of a stream: its rows are counted on."""
        self._numbers = array("q")

    def _check(self, num_rows: int) -> None:
        if num_rows > MOST_ROWS:
            raise ValueError(
                f"{self.paths[0]}: holds more than {MOST_ROWS:,} rows: read a part of "
                "them."
            )

    def take(self, rows: np.ndarray) -> "Places":
        """The places of some rows, in their order."""
        taken = Places(self.paths, self.unit)
        places = np.asarray(self._numbers).reshape(-1, _SIZE)
        taken._numbers = array("q", places[rows].tobytes())
        taken.num_read = self.num_read
        return taken

    def file(self, row: int) -> int:
        return self._numbers[_SIZE * row]

    def file_name(self, file: int) -> str:
        """The path of a file below the folder of all."""
        return self._names[file]

    def stem(self, place: Place) -> str | None:
        """The name of one of several files, which is an id where a line has none.

        Files of several folders have the folder in front.
        """
        if len(self.paths) < 2:
            return None
        name = self._names[place.file].removesuffix(".gz")
        return name.rpartition(".")[0] or name

    def name(self, row: int) -> str:
        return self.name_of(Place(*self._numbers[_SIZE * row :][:_SIZE]))

    def name_of(self, place: Place) -> str:
        name = f"{self.unit} {place.number}"
        if len(self.paths) > 1:
            name = f"{self._names[place.file]} {name}"
        return name


_Judge = Callable[[Mapping[Any, int]], str | None]


class NoRowError(ValueError):
    """Nothing is left to calibrate; `dropped` and `dropped_at` are as in `Outputs`."""

    def __init__(
        self,
        message: str,
        dropped: Mapping[str, int],
        dropped_at: Mapping[str, tuple[str, ...]],
    ) -> None:
        super().__init__(message)
        self.dropped, self.dropped_at = dropped, dropped_at


class LeftOut:
    """Counts rows that are left out by reason, and keeps the places of the first.

    With `in_blocks` rows are those of a stream, a block at a time.

    Attributes:
      path: what is read, for messages.
      counts: the number of rows of each reason.
      places: names of the first places of each reason.
      keeps_missing: whether rows without a value are kept, with NaN, and only counted.
    """

    def __init__(
        self,
        path: Path,
        *,
        drop_malformed: bool,
        keeps_missing: bool = False,
        in_blocks: bool = False,
    ) -> None:
        self.path, self.keeps_missing = path, keeps_missing
        self.counts: collections.Counter[str] = collections.Counter()
        self.places: dict[str, list[str]] = {}
        self._drop_malformed = drop_malformed
        self._malformed: list[str] = []
        self._num_malformed = 0
        self._in_blocks = in_blocks
        self._of_all: dict[str, tuple[collections.Counter[Any], _Judge]] = {}

    def drop(self, reason: str, place: str) -> None:
        """A row that says nothing of confidence, such as a failed request."""
        if reason not in self.counts and len(self.counts) >= _NUM_REASONS:
            reason = "other reasons"
        self.counts[reason] += 1
        places = self.places.setdefault(reason, [])
        if len(places) < _NUM_PLACES:
            places.append(place)

    def refuse(self, reason: str, place: str) -> None:
        """A line that is not what it should be."""
        if self._drop_malformed:
            self.drop(f"malformed: {reason}", place)
            return
        self._num_malformed += 1
        if len(self._malformed) < _NUM_PLACES:
            self._malformed.append(f"{place}: {reason}")

    def judge(self, name: str, counts: Mapping[Any, int], judge: _Judge) -> None:
        """Raises `ValueError` for what only all rows of the file say together.

        Args:
          name: of the question.
          counts: how many rows, of these or of this block, say what.
          judge: the message for such counts of all rows, or None. Of blocks it is asked
            by `end`.
        """
        of_all, _ = self._of_all.get(name, (collections.Counter(), judge))
        of_all.update(counts)
        self._of_all[name] = of_all, judge
        if not self._in_blocks:
            self.end()

    def end(self) -> None:
        """Raises `ValueError` if what blocks counted together is wrong."""
        for counts, judge in self._of_all.values():
            if message := judge(counts):
                raise ValueError(message)

    def check(self, num_rows: int) -> None:
        """Raises `ValueError` if lines were malformed, or if no row is left."""
        if self._num_malformed:
            more = self._num_malformed - len(self._malformed)
            end = f"; and {more} more" if more else ""
            raise ValueError(
                f"{self.path}: malformed {'; '.join(self._malformed)}{end}. Fix them, "
                "or leave them out with drop_malformed=True."
            )
        if not num_rows:
            raise NoRowError(
                f"{self.path}: no row is left to calibrate: "
                f"{self.summary() or 'it holds none'}.",
                dict(self.counts),
                {reason: tuple(at) for reason, at in self.places.items()},
            )

    def summary(self) -> str:
        return "; ".join(
            f"{count} x {reason} (first: {self.places[reason][0]})"
            for reason, count in self.counts.most_common()
        )
