"""Labels: from the file itself or another one, as numbers of options."""

import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..responses import shown
from . import inspect_logs, servers
from .left_out import LeftOut
from .rows import BOOLS, Rows, is_empty, names_of, outcomes


class Given(NamedTuple):
    """What a file of labels says.

    Attributes:
      path: of the file.
      ids: None if it has none.
      values: a label or an outcome for each, or an object with one for each question.
      are_outcomes: True if it says whether answers are right.
    """

    path: Path
    ids: list[str] | None
    values: Sequence[Any]
    are_outcomes: bool


def join(rows: Rows, given: Given, left_out: LeftOut) -> Rows:
    """Rows with the labels of another file, without those that have none there."""
    bases = rows.bases or rows.ids
    if given.ids is None and not rows.has_ids:
        # By order: what was left out counts too.
        if rows.num_read != len(given.values):
            raise ValueError(
                f"{given.path}: {len(given.values)} labels for {rows.num_read} rows of "
                f"{left_out.path}, and no ids to join them by: give both ids, or one "
                "label for each row that was read."
            )
        by_id = {str(row): value for row, value in enumerate(given.values)}
    elif given.ids is None or not rows.has_ids:
        one, other = given.path, left_out.path
        if given.ids is None:
            one, other = other, one
        raise ValueError(
            f"{one} has ids and {other} has none: give both ids, or neither."
        )
    else:
        by_id = _by_id(given)
    values = _values(rows, bases, by_id)
    missing = np.array([is_empty(cell) for cell in values])
    if missing.all() and len(rows):
        why = f"its ids are {_first(by_id)}, and those of the rows {_first(rows.ids)}"
        if not by_id.keys().isdisjoint([*rows.ids, *bases]):
            why = "ids meet, and have no label, or one for another question"
        raise ValueError(
            f"{given.path}: none of its {len(by_id)} labels is for a row of "
            f"{left_out.path}: {why}."
        )
    unused = len(by_id.keys() - set(bases) - set(rows.ids))
    if unused and rows.has_ids:
        rows.notes.append(f"{unused} of {len(by_id)} labels are for none of the rows.")
    if given.are_outcomes:
        rows.outcomes, rows.labels = outcomes(values, given.path, rows.row_name), None
    else:
        rows.labels, rows.outcomes = _as_array(values), None
    return rows.drop(missing, f"no label in {given.path.name}", left_out)


def _first(ids: Iterable[str]) -> str:
    """The first ids for a message."""
    found = [shown(one) for one in itertools.islice(ids, 4)]
    return ", ".join(found[:3]) + (" and so on" if len(found) > 3 else "")


def _values(rows: Rows, bases: Sequence[str], by_id: dict[str, Any]) -> list[Any]:
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


def numbered(rows: Rows, left_out: LeftOut) -> Rows:
    """Rows with labels and predictions as numbers of options, and outcomes.

    Rows without a label are left out if others have one. A label is -1 nowhere, a
    prediction where the file has none.
    """
    if rows.labels is not None:
        missing = _missing(rows.labels)
        if missing.any() and {1} == {one for one in rows.labels if one != -1}:
            raise ValueError(
                f"{left_out.path}: labels are 1 and -1, which says that there is none: "
                "count classes from 0, or call outcomes correct and write 0 and 1."
            )
        rows = rows.drop(missing & ~missing.all(), "no label", left_out)
        if missing.all():
            rows.labels = None
    if rows.outcomes is not None:
        missing = np.isnan(rows.outcomes)
        rows = rows.drop(missing & ~missing.all(), "no outcome", left_out)
        if missing.all():
            rows.outcomes = None
    if rows.of_class_one and rows.outcomes is not None:
        raise ValueError(
            f"{left_out.path}: kind='probabilities' takes one number a row for the "
            "probability of class 1, and outcomes say which answers are right: leave "
            "it out if the number is the confidence in the answer, or give labels, 0 "
            "or 1, for outcomes."
        )
    left_out.check(len(rows))
    spoken = rows.format in (servers.NAME, inspect_logs.NAME)
    if rows.kind == "scores" and rows.labels is not None and spoken:
        raise ValueError(
            f"{left_out.path}: without choices= an answer has a score, and no option "
            f"that a label ({_first(dict.fromkeys(map(str, rows.labels)))}) could be "
            "compared to: pass choices= with the texts of all options, or outcomes, "
            "called correct, for labels."
        )
    if rows.kind == "scores" and rows.options is None:
        _name_classes(rows, left_out.path)
    for name in ("labels", "predictions"):
        given = getattr(rows, name)
        if given is not None:
            setattr(rows, name, _numbers(name, given, rows, left_out.path))
    if rows.kind == "scores" and rows.labels is not None:
        rows = _compared(rows, left_out)
    _note_one_class(rows)
    return rows


# Of fewer rows it may be chance that all have the same label.
_FEW = 10


def _note_one_class(rows: Rows) -> None:
    """Adds a note if all labels, or all outcomes, are the same."""
    for name in ("labels", "outcomes"):
        given = np.asarray(getattr(rows, name))
        if len(rows) >= _FEW and given.ndim and (given == given[0]).all():
            rows.notes.append(
                f"All {len(rows)} {name} are {given[0]:g}: there is little to learn "
                "from them; is this the right column, and are these all rows?"
            )


def _missing(labels: Sequence[Any] | np.ndarray) -> np.ndarray:
    if isinstance(labels, np.ndarray):
        return labels == -1
    return np.array([one is None or (type(one) is int and one == -1) for one in labels])


def _name_classes(rows: Rows, path: Path) -> None:
    """Classes of scores that have text for labels and predictions: what occurs."""
    if rows.predictions is None:
        return
    predictions = _texts(rows.predictions)
    labels = _texts([] if rows.labels is None else rows.labels)
    if not predictions or labels is None:
        return
    names = sorted({*predictions, *labels})
    numbers = [all(map(_is_number, one)) for one in (predictions, labels)]
    if all(numbers):
        return
    folded = {name.casefold() for name in names}
    if labels and (
        any(numbers) or len(folded) < len(names) or not {*predictions} & {*labels}
    ):
        raise ValueError(
            f"{path}: predictions are like {shown(min(predictions))}, and labels like "
            f"{shown(min(labels))}: write both alike, or pass choices=, or outcomes, "
            "called correct, for labels."
        )
    rows.options = [tuple(names)] * len(rows)


def _is_number(text: str) -> bool:
    return text.lower() in BOOLS or _whole.fullmatch(text) is not None


def _texts(given: Sequence[Any] | np.ndarray) -> set[str] | None:
    """What occurs, or None if not all of it is text."""
    if not all(one is None or isinstance(one, str) for one in given):
        return None
    return {one.strip() for one in given if one is not None}


# A whole number, also as a column of floats has it in CSV.
_whole = re.compile(r"(-?\d{1,11})(\.0*)?", re.ASCII)


def _numbers(
    name: str, given: Sequence[Any] | np.ndarray, rows: Rows, path: Path
) -> np.ndarray:
    if isinstance(given, np.ndarray) and not rows.by_name:
        found = np.asarray(given, np.int64)
    else:
        found = _read(name, given, rows, path)
    if rows.kind == "scores":
        limit = max(map(len, rows.options)) if rows.options else 2**31 - 1
    else:
        limit = rows.values.shape[1]
    least = -1 if name == "predictions" else 0
    bad = (found < least) | (found >= limit)
    if rows.options is not None:
        bad |= found >= np.array([len(one) for one in rows.options])
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{path}: {name}: got {shown(_plain(given[row]))} in {rows.row_name(row)}; "
            + _expected(rows, row, limit)
        )
    return found.astype(np.int32)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _expected(rows: Rows, row: int, limit: int) -> str:
    if rows.options is not None and len(rows.options[row]):
        names = names_of(rows.options[row])
        more = " and so on" if len(names) > 8 else ""
        return f"expected one of {', '.join(names[:8])}{more}."
    if rows.kind == "scores":
        return "expected numbers of classes, counted from 0, or texts in all rows."
    return (
        f"expected a number from 0 to {limit - 1}, as options are counted from 0; for "
        "text pass choices= in the order of the columns."
    )


_WRONG = -2


def _read(
    name: str, given: Sequence[Any] | np.ndarray, rows: Rows, path: Path
) -> np.ndarray:
    """int64 `[N]`: all cells read as names, or all as numbers, never a mixture.

    Entries are -1 where there is no cell, and `_WRONG` where it is no option.
    """
    cells = given.tolist() if isinstance(given, np.ndarray) else given

    def column(read: Callable[[Any, tuple[Any, ...]], int]) -> np.ndarray:
        options: Sequence[Any] = rows.options or [()] * len(rows)
        found = array("q")
        # Long texts are the same in many rows.
        known: dict[tuple[Any, int], int] = {}
        for cell, of_row in zip(cells, options, strict=True):
            if not isinstance(cell, str):
                found.append(-1 if cell is None else read(cell, of_row))
                continue
            key = cell, id(of_row)
            if key not in known:
                known[key] = read(cell, of_row)
            found.append(known[key])
        return np.array(found, np.int64)

    if rows.options is None:
        return column(_by_number)
    names = column(_ByName(rows.by_name))
    if rows.by_name:
        return names
    numbers = column(_by_number)
    fit = [not (one == _WRONG).any() for one in (names, numbers)]
    if all(fit) and (differ := names != numbers).any():
        row = int(np.argmax(differ))
        raise ValueError(
            f"{path}: {name}: {shown(cells[row])} in {rows.row_name(row)} may be the "
            f"option of that name or the one of that number, counted from 0: give "
            "numbers as such, in a file of JSON lines or of arrays."
        )
    if fit[0] == fit[1]:
        return names if (names >= 0).any() else numbers
    return names if fit[0] else numbers


class _ByName:
    """The number of the option that a cell names, or `_WRONG`."""

    def __init__(self, typed: bool) -> None:
        self.typed = typed
        # Rows of one question share the options.
        self._known: dict[int, Any] = {}

    def __call__(self, cell: Any, options: tuple[Any, ...]) -> int:
        if isinstance(cell, (list, Mapping)):
            return _WRONG
        if not (self.typed or isinstance(cell, str)):
            return _WRONG
        if id(options) not in self._known:
            self._known[id(options)] = (
                {(type(one), one): number for number, one in enumerate(options)},
                # In a CSV file True and 3 are text, too.
                {str(one): number for number, one in reversed([*enumerate(options)])},
            )
        typed, texts = self._known[id(options)]
        if isinstance(cell, float) and cell.is_integer():
            cell = int(cell)
        if (type(cell), cell) in typed:
            return typed[type(cell), cell]
        text = str(cell).strip()
        whole = _whole.fullmatch(text)
        for one in (text, text.capitalize(), text.lower(), whole[1] if whole else text):
            if one in texts:
                return texts[one]
        return _WRONG


def _by_number(cell: Any, options: tuple[Any, ...]) -> int:
    """The number that a cell is, or `_WRONG`."""
    text = str(cell).strip().lower()
    if not options and text in BOOLS:
        return BOOLS[text]
    found = _whole.fullmatch(text)
    number = _WRONG if found is None else int(found[1])
    return number if 0 <= number < (len(options) or np.inf) else _WRONG


def _compared(rows: Rows, left_out: LeftOut) -> Rows:
    """Rows of scores with outcomes: whether the prediction is the label."""
    if rows.predictions is not None:
        none = np.asarray(rows.predictions) < 0
        rows = rows.drop(none, "no prediction beside a label", left_out)
        left_out.check(len(rows))
    labels = np.asarray(rows.labels)
    if rows.predictions is not None:
        found = (np.asarray(rows.predictions) == labels).astype(np.float64)
        if rows.outcomes is not None and (differ := found != rows.outcomes).any():
            first = rows.row_name(int(np.argmax(differ)))
            rows.notes.append(
                f"Outcomes and labels do not agree on {int(differ.sum())} of "
                f"{len(labels)} rows (first: {first}); labels are taken."
            )
        rows.outcomes = found
        return rows
    if rows.outcomes is not None:
        return rows
    if labels.max(initial=0) > 1:
        raise ValueError(
            f"{left_out.path}: scores without predictions: with labels of several "
            "classes nothing says which answers are right; add a column prediction, or "
            "outcomes (correct: 0 or 1)."
        )
    if ((rows.values >= 0.5) & (rows.values <= 1)).all():
        raise ValueError(
            f"{left_out.path}: labels of 0 and 1 beside scores of 0.5 to 1 may be "
            "classes, or say which answers are right: call them correct, or pass "
            "columns={'outcomes': ...}, if 1 is right, and else add a column "
            "prediction."
        )
    rows.notes.append(
        "Scores without predictions: each is taken for the score of class 1, and a "
        "label of 1 for the outcome 1; if labels are right classes, add a column "
        "prediction."
    )
    rows.of_class_one = True
    rows.outcomes = labels.astype(np.float64)
    return rows
