"""Sheets on which people judge flagged labels, written out and read back.

A sheet is a CSV file that spreadsheet programs open and save: UTF-8 with a byte order
mark, one line for each row to audit, an empty column for the answer. Everything here
runs on the host.
"""

import csv
import dataclasses
import enum
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike

from . import _checks


class ReviewAnswer(enum.IntEnum):
    """What a person may say of a given label, of which every expert has another one."""

    #: The given label is wrong ("wrong" on the sheet).
    WRONG = 0
    #: What the label names is there, and what an expert names is too ("both").
    BOTH = 1
    #: Only the given label is right ("right").
    RIGHT = 2
    #: It cannot be told ("cannot tell").
    CANNOT_TELL = 3

    @property
    def word(self) -> str:
        """As it stands on the sheet."""
        return self.name.lower().replace("_", " ")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReviewSheet:
    """The answers on a sheet, in its order.

    Attributes:
      rows: int32 `[n]`, of the data.
      labels: int32 `[n]`, as given.
      answers: int32 `[n]`, `ReviewAnswer`; -1 where there is none yet.
      counts: int32 `[4]`, rows with each answer, in the order of `ReviewAnswer`; what
        `audited_rates` takes.
      num_blank: rows not yet audited.
    """

    rows: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    counts: np.ndarray
    num_blank: int


def write_review_sheet(
    path: str | os.PathLike[str],
    rows: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    confidences: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
) -> None:
    """Writes a sheet of rows to audit, with what each expert says of them.

    The columns are `item` and `of` (the line's number and how many there are), `row`,
    `given`, for each expert M `expert_M` and `confidence_M`, then `check` and `answer`.
    With class names `given_name` and `expert_M_name` stand beside the numbers. Answers
    are "wrong", "both", "right" or "cannot tell"; an empty one is not audited yet. More
    columns, such as for a picture or a remark, may be added.

    Names that begin as a formula does are written with an apostrophe before, so that no
    spreadsheet computes them.

    Args:
      path: where to; a file that exists is never overwritten, since it may hold
        answers.
      rows: integer `[n]`, rows to audit, such as `audit_sample` draws; negative ones
        are left out.
      labels: integer `[N]`, as given, of all rows.
      predictions: integer `[M, N]`, of the experts.
      confidences: floating `[M, N]`, of the experts, calibrated.
      class_names: optional name of every class.

    Raises:
      ValueError: for a wrong rank, shape or dtype, a row beyond N, a row twice, or a
        class without a name.
      FileExistsError: where the file exists.
      OSError: where the file cannot be written.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (the four answers).

    Examples:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "sheet.csv"
      >>> write_review_sheet(path, [1], [0, 2], [[0, 1]], [[0.5, 0.9]])
      >>> print(path.read_text("utf-8-sig").strip())
      item,of,row,given,expert_1,confidence_1,check,answer
      1,1,1,2,1,0.9000,1107067116,
    """
    given = {
        "labels": _checks.integers("labels", labels),
        "predictions": _checks.integers(
            "predictions", predictions, rank=2, axes="[M, N]"
        ),
        "confidences": _checks.floats(
            "confidences", confidences, rank=2, axes="[M, N]"
        ),
    }
    _checks.same_columns(**given)
    label, predicted, confidence = map(np.asarray, given.values())
    if predicted.shape != confidence.shape:
        raise ValueError(
            "predictions, confidences: expected a row for each expert, got "
            f"{list(predicted.shape)} and {list(confidence.shape)}."
        )
    row = np.asarray(_checks.integers("rows", rows, axes="[n]"))
    row = row[row >= 0]
    if row.size and row.max() >= len(label):
        raise ValueError(
            f"rows: expected rows below N = {len(label)}, got {row.max()}."
        )
    if len(set(row.tolist())) < len(row):
        raise ValueError("rows: expected every row once, got one of them twice.")
    names = _Names(class_names)
    experts = range(1, len(predicted) + 1)
    header = ["item", "of", "row", "given", *names.column("given_name")]
    for m in experts:
        header += [f"expert_{m}", *names.column(f"expert_{m}_name"), f"confidence_{m}"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*header, "check", "answer"])
    for item, r in enumerate(row.tolist(), start=1):
        named = int(label[r])
        cells = [item, len(row), r, named, *names.of("labels", named)]
        for m in experts:
            answer = int(predicted[m - 1, r])
            cells += [answer, *names.of("predictions", answer)]
            cells.append(f"{confidence[m - 1, r]:.4f}")
        writer.writerow([*cells, _check(item, len(row), r, named), ""])
    # "x" fails where there is a file.
    with open(path, "x", encoding="utf-8-sig", newline="") as file:
        file.write(text.getvalue())


def read_review_sheet(path: str | os.PathLike[str]) -> ReviewSheet:
    """Reads the answers on a sheet of `write_review_sheet`.

    Spreadsheets may save it with semicolons or tabs, and lines in another order.
    Capital letters and spaces around an answer do not matter.

    Args:
      path: of the sheet.

    Returns:
      `ReviewSheet` with arrays `[n]`.

    Raises:
      ValueError: for a sheet with missing columns or lines, or with lines whose answer
        is none of the four or whose row or label was changed, with their numbers.
      OSError: where the file cannot be read.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (the four answers).

    Examples:
      >>> import tempfile
      >>> path = Path(tempfile.mkdtemp()) / "sheet.csv"
      >>> write_review_sheet(path, [1, 0], [0, 2], [[3, 1]], [[0.5, 0.9]])
      >>> first, second, third = path.read_text("utf-8-sig").splitlines()
      >>> _ = path.write_text("\\n".join([first, second + "wrong", third]))
      >>> sheet = read_review_sheet(path)
      >>> print(sheet.rows, sheet.answers, sheet.counts, sheet.num_blank)
      [1 0] [ 0 -1] [1 0 0 0] 1
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: no UTF-8 at byte {error.start}; save it as CSV UTF-8."
        ) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [name for name in (*_NUMBERS, "answer") if name not in header]
    if missing:
        raise ValueError(f"{path}: missing column {', '.join(missing)}.")
    place = {name: header.index(name) for name in (*_NUMBERS, "answer")}
    found, bad = [], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            found.append(_read_line(cells, place))
        except ValueError as error:
            bad.append(f"line {reader.line_num}: {error}")
    if bad:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise ValueError(f"{path}: {'; '.join(bad[:5])}{more}.")
    items = sorted(item for item, *_ in found)
    expected = found[0][1] if found else 0
    if items != list(range(1, expected + 1)):
        lost = sorted(set(range(1, expected + 1)) - set(items))[:5]
        raise ValueError(
            f"{path}: expected each of {expected} items once, got {len(items)} lines"
            + (f" without item {', '.join(map(str, lost))}." if lost else ".")
        )
    answers = np.array([answer for *_, answer in found], np.int32)
    return ReviewSheet(
        rows=np.array([row for _, _, row, *_ in found], np.int32),
        labels=np.array([given for *_, given, _ in found], np.int32),
        answers=answers,
        counts=np.bincount(answers[answers >= 0], minlength=len(ReviewAnswer)).astype(
            np.int32
        ),
        num_blank=int(np.sum(answers < 0)),
    )


# Columns whose numbers are read back.
_NUMBERS = ("item", "of", "row", "given", "check")
_ANSWERS = {answer.word: answer.value for answer in ReviewAnswer} | {"": -1}


def _read_line(cells: list[str], place: dict[str, int]) -> tuple[int, ...]:
    """Item, number of items, row, given label and answer."""
    if len(cells) <= max(place.values()):
        raise ValueError("too few columns")
    numbers = []
    for name in _NUMBERS:
        cell = cells[place[name]].strip()
        if not cell.lstrip("-").isdecimal():
            raise ValueError(f"{name} is no whole number: {cell!r}")
        numbers.append(int(cell))
    *line, check = numbers
    if check != _check(*line):
        raise ValueError("item, row or given label was changed")
    answer = " ".join(cells[place["answer"]].lower().split())
    if answer not in _ANSWERS:
        words = ", ".join(repr(word) for word in _ANSWERS if word)
        raise ValueError(f"unknown answer {answer!r}; expected {words} or none")
    return *line, _ANSWERS[answer]


def _check(item: int, of: int, row: int, given: int) -> int:
    """A number that is another one if any of these is."""
    return zlib.crc32(f"{item},{of},{row},{given}".encode())


class _Names:
    """Names of classes, if there are any."""

    def __init__(self, names: Sequence[str] | None) -> None:
        if names is not None and (
            isinstance(names, str) or not all(isinstance(name, str) for name in names)
        ):
            raise ValueError(f"class_names: expected a list of names, got {names!r}.")
        self.names = names

    def column(self, name: str) -> list[str]:
        return [] if self.names is None else [name]

    def of(self, argument: str, number: int) -> list[str]:
        if self.names is None:
            return []
        if number >= len(self.names):
            raise ValueError(
                f"class_names: expected a name for each class, got {len(self.names)} "
                f"and a class {number} in {argument}."
            )
        # A negative prediction is none.
        name = self.names[number] if number >= 0 else ""
        return [f"'{name}" if name.startswith(("=", "+", "-", "@", "\t")) else name]
