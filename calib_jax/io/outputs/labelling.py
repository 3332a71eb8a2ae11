"""Labels: from the file itself or another one, as numbers of options."""

import itertools
import re
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..responses import shown
from . import inspect_logs, servers
from .joining import first
from .left_out import LeftOut
from .rows import BOOLS, Rows, names_of


def numbered(
    rows: Rows, left_out: LeftOut, known: Collection[str] = frozenset()
) -> Rows:
    """Rows with labels and predictions as numbers of options, and outcomes.

    Rows without a label are left out if others have one. A label is -1 nowhere, a
    prediction where the file has none.

    Args:
      rows: all, or a block of a stream.
      left_out: counts those that are left out.
      known: what earlier blocks had: "labels", "outcomes".
    """
    if rows.labels is None and "labels" in known:
        rows.labels = [None] * len(rows)
    if rows.labels is not None:
        missing = _missing(rows.labels)
        left_out.judge("labels of 1", _ones(rows.labels, missing), _two(left_out.path))
        if missing.all() and "labels" not in known:
            rows.labels = None
        else:
            rows = rows.drop(missing, "no label", left_out)
    if rows.outcomes is None and "outcomes" in known and rows.labels is None:
        rows.outcomes = np.full(len(rows), np.nan)
    if rows.outcomes is not None:
        missing = np.isnan(rows.outcomes)
        if missing.all() and "outcomes" not in known:
            rows.outcomes = None
        else:
            rows = rows.drop(missing, "no outcome", left_out)
    if rows.of_class_one and rows.outcomes is not None:
        raise ValueError(
            f"{left_out.path}: kind='probabilities' takes one number a row for the "
            "probability of class 1, and outcomes say which answers are right: leave "
            "it out if the number is the confidence in the answer, or give labels, 0 "
            "or 1, for outcomes."
        )
    left_out.check(len(rows))
    if rows.of_tokens and rows.labels is not None:
        raise ValueError(
            f"{left_out.path}: a score of generated tokens has no option that a label "
            f"({first(dict.fromkeys(map(str, rows.labels)))}) could be compared to: "
            "give outcomes, called correct, for labels."
        )
    spoken = rows.format in (servers.NAME, inspect_logs.NAME)
    if rows.kind == "scores" and rows.labels is not None and spoken:
        raise ValueError(
            f"{left_out.path}: without choices= an answer has a score, and no option "
            f"that a label ({first(dict.fromkeys(map(str, rows.labels)))}) could be "
            "compared to: pass choices= with the texts of all options, or outcomes, "
            "called correct, for labels."
        )
    if rows.kind == "scores" and rows.options is None:
        _name_classes(rows, left_out)
    for name in ("labels", "predictions"):
        given = getattr(rows, name)
        if given is not None:
            setattr(rows, name, _numbers(name, given, rows, left_out.path))
    if rows.kind == "scores" and rows.labels is not None:
        rows = _compared(rows, left_out)
    _note_one_class(rows)
    return rows


def _ones(labels: Sequence[Any] | np.ndarray, missing: np.ndarray) -> dict[str, int]:
    if isinstance(labels, np.ndarray):
        one, other = labels == 1, (labels != 1) & (labels != -1)
        counts = int(one.sum()), int(other.sum())
    else:
        counts = (
            sum(one == 1 for one in labels),
            sum(one not in (1, -1) for one in labels),
        )
    return {"missing": int(missing.sum()), "one": counts[0], "other": counts[1]}


def _two(path: Path) -> Callable[[Mapping[str, int]], str | None]:
    return lambda of_all: (
        f"{path}: labels are 1 and -1, which says that there is none: count classes "
        "from 0, or call outcomes correct and write 0 and 1."
        if of_all["missing"] and of_all["one"] and not of_all["other"]
        else None
    )


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


def _name_classes(rows: Rows, left_out: LeftOut) -> None:
    """Classes of scores that have text for labels and predictions: what occurs."""
    if rows.predictions is None:
        return
    predictions = _texts(rows.predictions)
    labels = _texts([] if rows.labels is None else rows.labels)
    if not predictions or labels is None:
        return
    counts = {(True, one): 1 for one in predictions}
    counts |= {(False, one): 1 for one in labels}
    left_out.judge("names of classes", counts, _named_alike(left_out.path))
    names = sorted({*predictions, *labels})
    if not all(map(_is_number, names)):
        rows.options = [tuple(names)] * len(rows)


def _named_alike(path: Path) -> Callable[[Mapping[Any, int]], str | None]:
    """A judge of how often what is predicted (True) or a label (False)."""

    def judge(of_all: Mapping[Any, int]) -> str | None:
        predictions = {name for predicted, name in of_all if predicted}
        labels = {name for predicted, name in of_all if not predicted}
        names = predictions | labels
        numbers = [all(map(_is_number, one)) for one in (predictions, labels)]
        folded = {name.casefold() for name in names}
        if not labels or all(numbers):
            return None
        if not any(numbers) and len(folded) == len(names) and predictions & labels:
            return None
        return (
            f"{path}: predictions are like {shown(min(predictions))}, and labels like "
            f"{shown(min(labels))}: write both alike, or pass choices=, or outcomes, "
            "called correct, for labels."
        )

    return judge


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
        rows.decided[_AS_NAMES.format(name)] = frozenset({"numbers"})
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
_AS_NAMES = "whether {} are names or numbers of options"


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
    fitting = frozenset(itertools.compress(("names", "numbers"), fit))
    rows.decided[_AS_NAMES.format(name)] = fitting
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
    """Rows of scores with outcomes: whether the prediction is the label.

    Without predictions a score is that of class 1 if one of all is below 0.5.
    """
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
    message = (
        f"{left_out.path}: labels of 0 and 1 beside scores of 0.5 to 1 may be classes, "
        "or say which answers are right: call them correct, or pass "
        "columns={'outcomes': ...}, if 1 is right, and else add a column prediction."
    )
    outside = ~((rows.values >= 0.5) & (rows.values <= 1))
    left_out.judge(
        "scores of class 1",
        {"outside": int(outside.sum())},
        lambda of_all: None if of_all["outside"] else message,
    )
    rows.notes.append(
        "Scores without predictions: each is taken for the score of class 1, and a "
        "label of 1 for the outcome 1; if labels are right classes, add a column "
        "prediction."
    )
    rows.of_class_one = True
    rows.outcomes = labels.astype(np.float64)
    return rows
