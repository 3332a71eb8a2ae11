"""Rows as a reader found them, before they are checked, labelled and put in order."""

import collections
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
# Rounding may add as much to a probability or a log-probability.
ROUNDING = 1e-6


@dataclasses.dataclass(eq=False, kw_only=True)
class Rows:
    """What one reader found; lists and arrays have an entry for each row.

    Attributes:
      format: name of the format.
      kind: one of `KINDS`.
      values: floating `[N, C]`, or `[N]` for scores.
      places: where each row stands.
      scale: of scores, as in `Outputs`.
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
      groups, cost, texts, fingerprints: as in `Outputs`.
      of_class_one: as in `Outputs`.
      of_tokens: whether scores are of generated tokens, beside which no label stands.
      model, task: as in `Outputs`.
      zeros: what a log-probability of -inf says, for a note.
      decided: what all rows together decide, by name, and the answers that fit them: in
        a stream one has to fit all blocks.
      notes: sentences for the user.
    """

    format: str
    kind: str
    values: np.ndarray
    places: Places
    ids: Sequence[str]
    scale: str | None = None
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
    fingerprints: Sequence[str] | None = None
    of_class_one: bool = False
    of_tokens: bool = False
    model: str = ""
    task: str = ""
    zeros: str = "an option of probability 0"
    decided: dict[str, frozenset[Any]] = dataclasses.field(default_factory=dict)
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


def padded(given: Sequence[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Lists of values of options as `[N, C]`, and which are there, as `class_where`.

    Places of options that a row lacks are the last, and hold -inf.
    """
    sizes = np.array([len(row) for row in given])
    class_where = np.arange(sizes.max()) < sizes[:, None]
    values = np.full(class_where.shape, -np.inf)
    for row, numbers in enumerate(given):
        values[row, : len(numbers)] = numbers
    return values, None if class_where.all() else class_where


#: Texts that are numbers, without case.
BOOLS = {"true": 1, "false": 0}
_YES = {**BOOLS, "yes": 1, "no": 0}


def is_empty(cell: Any) -> bool:
    """Whether a file says nothing here: null, NaN, or no text."""
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def text(cell: Any) -> str:
    """An id or a group as text, a whole number as such; "" where there is none."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if is_empty(cell) else str(cell)


def outcomes(
    cells: Sequence[Any], path: Path, name_of: Callable[[int], str]
) -> np.ndarray:
    """Outcomes as float64 `[N]` in [0, 1], NaN where there is none.

    Raises:
      ValueError: for anything else, naming the first row.
    """
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if is_empty(cell):
            continue
        try:
            word = cell.strip().lower() if isinstance(cell, str) else cell
            found[row] = _YES[word] if word in _YES else float(word)
        except (TypeError, ValueError, OverflowError):
            found[row] = np.inf
        if not (np.isnan(found[row]) or 0 <= found[row] <= 1):
            raise ValueError(
                f"{path}: expected outcomes in [0, 1], true or false, got "
                f"{shown(cell)} ({name_of(row)})."
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
    counts = collections.Counter(plain)
    return tuple(
        json.dumps(one) if isinstance(one, str) and counts[one] > 1 else name
        for one, name in zip(options, plain, strict=True)
    )
