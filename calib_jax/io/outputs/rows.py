"""Rows as a reader found them, before they are checked, labelled and put in order."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..responses import shown
from .left_out import LeftOut, Places

#: Kinds of values, as `kind=` names them, and the fields of `Outputs` that hold them.
KINDS = {
    "logits": "logits",
    "log_probabilities": "log_probabilities",
    "probabilities": "log_probabilities",
    "scores": "scores",
}
# Rounding may add as much to a probability, a log-probability or a sum of either.
ROUNDING = 1e-6
# So many entries are looked at together.
_BLOCK = 2**22


@dataclasses.dataclass(eq=False, kw_only=True)
class Rows:
    """What one reader found; lists and arrays have an entry for each row.

    Attributes:
      format: name of the format.
      kind: one of `KINDS`.
      values: floating `[N, C]`, or `[N]` for scores.
      places: where each row stands.
      ids: of the rows.
      has_ids: False if the file has none, and they are the numbers of the rows.
      num_read: number of rows in the file, in whose order labels without ids are.
      bases: of decisions, the ids of the responses; None where these are the ids.
      questions: of decisions, beside them.
      options: of each row, with their types: text, bool or int.
      by_name: whether a label that is a number names an option, or counts from 0.
      class_where: bool `[N, C]`, the options that a row has; None for all.
      labels: as the file has them; None, or None in a row, where it has none.
      outcomes: float `[N]`, NaN where unknown.
      predictions: as the file has them, like labels.
      groups, cost, texts: as in `Outputs`.
      notes: sentences for the user.
    """

    format: str
    kind: str
    values: np.ndarray
    places: Places
    ids: Sequence[str]
    has_ids: bool = True
    num_read: int = 0
    bases: Sequence[str] | None = None
    questions: Sequence[str] | None = None
    options: Sequence[tuple[Any, ...]] | None = None
    by_name: bool = False
    class_where: np.ndarray | None = None
    labels: Sequence[Any] | np.ndarray | None = None
    outcomes: np.ndarray | None = None
    predictions: Sequence[Any] | np.ndarray | None = None
    groups: Sequence[str] | None = None
    cost: np.ndarray | None = None
    texts: Sequence[str] | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> "Rows":
        """Some of the rows, in the order given."""
        changes: dict[str, Any] = {"places": self.places.take(rows)}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                changes[field.name] = value[rows]
            elif isinstance(value, (list, tuple)) and field.name != "notes":
                changes[field.name] = [value[row] for row in rows.tolist()]
        return dataclasses.replace(self, **changes)

    def drop(self, bad: np.ndarray, reason: str, left_out: LeftOut) -> "Rows":
        """Without rows that are bad."""
        if not bad.any():
            return self
        for row in np.flatnonzero(bad).tolist():
            left_out.drop(reason, self.places.name(row))
        return self.take(np.flatnonzero(~bad))

    def row_name(self, row: int) -> str:
        """The row in messages."""
        name = self.places.name(row)
        return f"{name}, id {shown(self.ids[row])}" if self.has_ids else name


_YES = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "": np.nan}


def outcomes(
    cells: Sequence[Any], path: Path, name_of: Callable[[int], str]
) -> np.ndarray:
    """Outcomes as float64 `[N]` in [0, 1], NaN where there is none.

    Raises:
      ValueError: for anything else, naming the first row.
    """
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            text = cell.strip().lower() if isinstance(cell, str) else cell
            if text is not None:
                found[row] = _YES[text] if text in _YES else float(text)
        except (TypeError, ValueError, OverflowError):
            found[row] = np.inf
        if not (np.isnan(found[row]) or 0 <= found[row] <= 1):
            raise ValueError(
                f"{path}: expected outcomes in [0, 1], got {shown(cell)} "
                f"({name_of(row)})."
            )
    return found


def choices_of(rows: Rows) -> tuple[str, ...] | None:
    """The names of the options, if all rows have the same."""
    options = rows.options
    # Rows of one question share the object, or differ.
    if not options or any(other is not options[0] for other in options):
        return None
    return names_of(options[0])


def names_of(options: tuple[Any, ...]) -> tuple[str, ...]:
    """Options as text; a text that reads like another option gets quotation marks."""
    plain = [one if isinstance(one, str) else json.dumps(one) for one in options]
    return tuple(
        json.dumps(one) if isinstance(one, str) and plain.count(one) > 1 else name
        for one, name in zip(options, plain, strict=True)
    )


def checked(rows: Rows, left_out: LeftOut) -> Rows:
    """Rows whose values are what their kind says.

    Raises:
      ValueError: for values outside the kind's domain, naming the first row.
    """
    values = rows.values
    if rows.kind == "scores":
        with np.errstate(over="ignore"):
            rows.values = np.asarray(values, np.float32)
        bad = ~np.isfinite(rows.values)
        return rows.drop(bad, "a score that is NaN or infinite", left_out)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"{left_out.path}: expected {rows.kind} [N, C] with a column for each of "
            f"two classes or more, got {list(values.shape)}; one number a row is "
            "kind='scores'."
        )
    rows = rows.drop(_any(values, np.isnan), "a NaN among the values", left_out)
    _check_domain(rows, left_out)
    if rows.kind == "logits":
        if rows.values.dtype.itemsize > 4 or rows.values.dtype.kind in "iub":
            with np.errstate(over="ignore"):
                rows.values = rows.values.astype(np.float32)
        rows = rows.drop(_any(rows.values, np.isposinf), "a logit of +inf", left_out)
    else:
        rows.values = _log_probabilities(rows)
    nothing = ~_any(rows.values, lambda block: block > -np.inf)
    return rows.drop(nothing, "no option has a probability", left_out)


def _check_domain(rows: Rows, left_out: LeftOut) -> None:
    if rows.kind == "logits" or not len(rows):
        return
    if rows.kind == "log_probabilities":
        bad, expected = _any(rows.values, lambda x: x > ROUNDING), "at most 0"
    else:
        bad = _any(rows.values, lambda x: (x < -ROUNDING) | (x > 1 + ROUNDING))
        expected = "in [0, 1]"
    if bad.any():
        row = int(np.argmax(bad))
        shown = np.array2string(
            np.asarray(rows.values[row], float), precision=4, threshold=6
        )
        raise ValueError(
            f"{left_out.path}: expected {rows.kind} {expected}, got "
            f"{' '.join(shown.split())} ({rows.row_name(row)}); if they are another "
            "kind, say so with kind=."
        )
    if rows.kind == "probabilities":
        _check_sums(rows, left_out)


def _check_sums(rows: Rows, left_out: LeftOut) -> None:
    """Probabilities of one answer each add up to 1, or to less if some are not kept."""
    num_classes = rows.values.shape[1]
    sums = np.concatenate(
        [np.asarray(part, float).sum(axis=1) for part in _blocks(rows.values)]
    )
    # Two decimals are off by 0.005 each.
    slack = 0.01 + 0.005 * min(num_classes, 8)
    row = int(np.argmax(sums))
    if sums[row] > 1 + slack:
        raise ValueError(
            f"{left_out.path}: expected probabilities that add up to 1, got a sum of "
            f"{sums[row]:.4g} ({rows.row_name(row)}): of labels that do not exclude "
            "each other, read one column at a time, with kind='scores'."
        )
    few = sums < 1 - slack
    if few.any():
        row = int(np.argmax(few))
        rows.notes.append(
            f"The probabilities of {int(few.sum())} of {len(rows)} rows add up to less "
            f"than 1 (first: {sums[row]:.3g} in {rows.row_name(row)}); they are kept "
            "as they are."
        )


def _log_probabilities(rows: Rows) -> np.ndarray:
    """float32 `[N, C]`; notes say how many are -inf."""
    found = np.empty(rows.values.shape, np.float32)
    start = 0
    for block in _blocks(rows.values):
        wide = np.asarray(block, np.float64)
        if rows.kind == "probabilities":
            with np.errstate(divide="ignore"):
                wide = np.log(np.clip(wide, 0.0, 1.0))
        found[start : start + len(block)] = np.minimum(wide, 0.0)
        start += len(block)
    zero = found == -np.inf
    if rows.class_where is not None:
        zero &= rows.class_where
    bad = zero.any(axis=1)
    if bad.any():
        rows.notes.append(
            f"{int(bad.sum())} of {len(rows)} rows have an option of probability 0 "
            f"(first: {rows.row_name(int(np.argmax(bad)))}); its log-probability is "
            "-inf, which a fit refuses where it is the label's."
        )
    return found


def _any(values: np.ndarray, test: Callable[[Any], np.ndarray]) -> np.ndarray:
    """bool `[N]`: rows with a value for which the test holds."""
    parts = [test(block).any(axis=1) for block in _blocks(values)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Views of some rows each: an array of a file's bytes stays on the disk."""
    size = max(1, _BLOCK // max(1, values[:1].size))
    return [values[start : start + size] for start in range(0, len(values), size)]


def unique(rows: Rows, repeats: str | None, left_out: LeftOut) -> Rows:
    """Rows with each id once.

    Raises:
      ValueError: if rows of one id differ and `repeats` does not say which to keep.
    """
    if len(set(rows.ids)) == len(rows):
        return rows
    firsts: dict[str, int] = {}
    again = [(row, firsts.setdefault(one, row)) for row, one in enumerate(rows.ids)]
    again = [(row, first) for row, first in again if row != first]
    equal = np.zeros(len(rows), bool)
    dropped = np.zeros(len(rows), bool)
    last = dict(firsts)
    other: list[tuple[int, int]] = []
    for row, first in again:
        if _same(rows, row, first):
            equal[row] = True
        else:
            other.append((row, first))
            dropped[last[rows.ids[row]] if repeats == "last" else row] = True
            last[rows.ids[row]] = row
    if other and repeats is None:
        row, first = other[0]
        ids = len({rows.ids[row] for row, _ in other})
        raise ValueError(
            f"{left_out.path}: id {shown(rows.ids[row])} has different values in "
            f"{rows.places.name(first)} and {rows.places.name(row)} ({ids} such ids): "
            'reruns, epochs or several answers; keep one of each with repeats="first" '
            'or "last".'
        )
    which = "an earlier" if repeats == "last" else "a later"
    keep = ~dropped
    rows.drop(equal & keep, "the same row once more", left_out)
    rows.drop(dropped, f"{which} row of the same id, with other values", left_out)
    return rows.take(np.flatnonzero(keep & ~equal))


def _same(rows: Rows, row: int, first: int) -> bool:
    parts = (rows.values, rows.labels, rows.outcomes, rows.predictions, rows.texts)
    return all(part is None or np.array_equal(part[row], part[first]) for part in parts)
