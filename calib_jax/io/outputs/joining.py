"""Labels of another file, joined to rows by their ids or their order."""

import collections
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..responses import shown
from .left_out import LeftOut
from .rows import Rows, is_empty, outcomes


class Given(NamedTuple):
    """What a file of labels says.

    Attributes:
      path: of the file.
      ids: None if it has none.
      values: a label or an outcome for each, or an object with one for each question.
      are_outcomes: True if it says whether answers are right.
      samples: number of samples of each task, if ids have numbers of samples behind.
      notes: sentences for the user.
    """

    path: Path
    ids: list[str] | None
    values: Sequence[Any]
    are_outcomes: bool
    samples: Mapping[str, int] | None = None
    notes: Sequence[str] = ()


def name_samples(
    rows: Rows, given: Given, repeats: str | None, left_out: LeftOut
) -> Rows:
    """Puts the number of the sample behind a task's id, where tasks have several.

    Args:
      rows: with an id of each task in each of its rows, in the order of the samples.
      given: results of samples.
      repeats: as in `read_outputs`: which sample of each task is kept; None for all.
      left_out: the other samples are counted there.

    Returns:
      The rows, of one sample or of all.

    Raises:
      ValueError: if a task has not as many rows as samples, or if they are in files
        whose names do not count them.
    """
    counts, path = collections.Counter(rows.ids), left_out.path
    samples = given.samples or {}
    if all(num == 1 for num in samples.values()):
        if repeats is not None and any(counts[task] > 1 for task in samples):
            raise ValueError(
                f"repeats: {given.path} has one sample of each task, and {path} has "
                "several answers: which of them was tested is not known; keep that one."
            )
        return rows
    for task in counts:
        if task in samples and counts[task] != samples[task]:
            raise ValueError(
                f"{given.path}: task {shown(task)} has {samples[task]} samples, and "
                f"{counts[task]} rows of {path} are left of it: samples are joined by "
                "their order, so keep one answer for each."
            )
    _check_files(rows, samples, path)
    seen: collections.Counter[str] = collections.Counter()
    named = []
    for one in rows.ids:
        named.append(f"{one}/{seen[one]}" if one in samples else one)
        seen[one] += 1
    tasks, rows.ids = rows.ids, named
    several = sum(samples.get(task, 1) > 1 for task in counts)
    if repeats is None:
        if several:
            rows.notes.append(
                f"{len(tasks)} rows are samples of {len(counts)} tasks. Those of one "
                "task are alike: intervals are too narrow, and no promise holds. For "
                "one sample of each task pass repeats='first'."
            )
        return rows
    kept = {
        task: 0 if repeats == "first" else samples.get(task, 1) - 1 for task in counts
    }
    other = [
        name != f"{task}/{kept[task]}" and task in samples
        for name, task in zip(named, tasks, strict=True)
    ]
    return rows.drop(np.array(other, bool), "another sample of a task", left_out)


_DIGITS = re.compile(r"([0-9]+)")


def _check_files(rows: Rows, samples: Mapping[str, int], path: Path) -> None:
    """Samples of one task are in one file, or in files counted by one number."""
    files: dict[str, dict[int, None]] = {}
    for row, task in enumerate(rows.ids):
        if task in samples:
            files.setdefault(task, {})[rows.places.file(row)] = None
    counted = False
    for task, numbers in files.items():
        if len(numbers) < 2:
            continue
        names = [rows.places.file_name(one) for one in numbers]
        parts = list(zip(*map(_DIGITS.split, names), strict=False))
        differ = [k for k, part in enumerate(parts) if len(set(part)) > 1]
        same_length = len({len(_DIGITS.split(one)) for one in names}) == 1
        counts = {one.lstrip("0") for one in parts[differ[0]]} if differ else set()
        if (
            not same_length
            or [k % 2 for k in differ] != [1]
            or len(counts) < len(names)
        ):
            raise ValueError(
                f"{path}: samples of task {shown(task)} are in files whose names do "
                f"not count them, such as {shown(names[0])} and {shown(names[-1])}: "
                "they are joined by their order, so write all samples of a task into "
                "one file, or name the files by one number."
            )
        counted = True
    if counted:
        rows.notes.append(
            "Samples of a task are in several files, and are joined in the order of "
            "the numbers in their names."
        )


class Join:
    """Labels of another file for rows, all of them or one block after another."""

    def __init__(self, given: Given, path: Path) -> None:
        """Labels, and what the rows are of, for messages."""
        self._given, self._path = given, path
        self._by_id: Mapping[str, Any] = (
            _ByOrder(given.values) if given.ids is None else _by_id(given)
        )
        self._ids_meet = self._any = False
        self._first_ids: Sequence[str] = ()
        self._unused = set(self._by_id) if given.ids is not None else set()

    def check_length(self, num_read: int) -> None:
        """Raises `ValueError` if labels without ids are not one for each row."""
        # What was left out counts too.
        if self._given.ids is None and num_read != len(self._by_id):
            raise ValueError(
                f"{self._given.path}: {len(self._by_id)} labels for {num_read} rows of "
                f"{self._path}, and no ids to join them by: give both ids, or one "
                "label for each row that was read."
            )

    def rows(self, rows: Rows, left_out: LeftOut) -> Rows:
        """Rows with their labels, without those that have none."""
        given, bases = self._given, rows.bases or rows.ids
        if (given.ids is None) == rows.has_ids:
            one, other = given.path, self._path
            if given.ids is None:
                one, other = other, one
            raise ValueError(
                f"{one} has ids and {other} has none: give both ids, or neither."
            )
        values = _values(rows, bases, self._by_id)
        missing = np.array([is_empty(cell) for cell in values])
        if not self._any and given.ids is not None:
            self._first_ids = self._first_ids or rows.ids[:4]
            both = (*rows.ids, *bases)
            self._ids_meet |= any(one in self._by_id for one in both)
        self._any |= not missing.all()
        self._unused.difference_update(bases, rows.ids)
        if given.are_outcomes:
            found = outcomes(values, given.path, rows.row_name)
            rows.outcomes, rows.labels = found, None
        else:
            rows.labels, rows.outcomes = _as_array(values), None
        return rows.drop(missing, f"no label in {given.path.name}", left_out)

    def end(self) -> list[str]:
        """A note on labels of no row; raises `ValueError` if no row had one."""
        num = len(self._by_id)
        if not self._any:
            why = "ids meet, and have no label, or one for another question"
            if not self._ids_meet and self._given.ids is not None:
                why = f"its ids are {first(self._by_id)}, and those of the rows "
                why += first(self._first_ids)
            raise ValueError(
                f"{self._given.path}: none of its {num} labels is for a row of "
                f"{self._path}: {why}."
            )
        if self._unused:
            return [f"{len(self._unused)} of {num} labels are for none of the rows."]
        return []


class _ByOrder(Mapping[str, Any]):
    """Labels by the numbers of their rows."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        if 0 <= (number := int(key)) < len(self._values):
            return self._values[number]
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self._values)))

    def __len__(self) -> int:
        return len(self._values)


def join(rows: Rows, given: Given, left_out: LeftOut) -> Rows:
    """Rows with the labels of another file, without those that have none there."""
    joining = Join(given, left_out.path)
    if not rows.has_ids:
        joining.check_length(rows.num_read)
    found = joining.rows(rows, left_out)
    found.notes.extend([*given.notes, *joining.end()])
    return found


def first(ids: Iterable[str]) -> str:
    """The first ids for a message."""
    found = [shown(one) for one in itertools.islice(ids, 4)]
    return ", ".join(found[:3]) + (" and so on" if len(found) > 3 else "")


def _values(rows: Rows, bases: Sequence[str], by_id: Mapping[str, Any]) -> list[Any]:
    """The label of each row: of its id, or of its question under the response's id."""
    if rows.questions is None:
        return [by_id.get(one) for one in rows.ids]
    several = len(set(rows.questions)) > 1
    found = []
    for one, base, question in zip(rows.ids, bases, rows.questions, strict=True):
        value = by_id.get(one, by_id.get(base))
        if isinstance(value, Mapping):
            value = value.get(question)
        elif several and one not in by_id:
            value = None
        found.append(value)
    return found


def _as_array(values: list[Any]) -> list[Any] | np.ndarray:
    """Whole numbers as an array, which is faster to look through."""
    whole = all(type(value) is int and abs(value) < 2**62 for value in values)
    return np.array(values, np.int64) if whole else values


def _by_id(given: Given) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for identity, value in zip(given.ids or (), given.values, strict=True):
        if found.setdefault(identity, value) != value:
            raise ValueError(
                f"{given.path}: id {shown(identity)} has the labels "
                f"{shown(found[identity])} and {shown(value)}; keep one of them."
            )
    return found
