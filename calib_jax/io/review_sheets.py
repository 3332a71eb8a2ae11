"""Sheets on which people judge flagged labels: written out and read back.

A sheet is a CSV file for spreadsheet programs: UTF-8 with a byte order mark, one line
per row to audit, an empty column for the answer. Everything here runs on the host.
"""

import collections
import csv
import dataclasses
import enum
import io
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from .._core import checks, domains, plain
from . import cells, host

#: What the command `calib-jax clean` calls its sheet.
NAME = "review.csv"


class ReviewAnswer(enum.IntEnum):
    """A person's answer about a given label that every expert contradicts."""

    #: The given label is wrong ("wrong" on the sheet).
    WRONG = 0
    #: The given label is right, and so is an expert's answer ("both").
    BOTH = 1
    #: Only the given label is right ("right").
    RIGHT = 2
    # : Nobody can tell ("cannot tell").
    CANNOT_TELL = 3

    @property
    def word(self) -> str:
        """As written on the sheet."""
        return self.name.lower().replace("_", " ")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReviewSheet(plain.Result):
    """The answers on a sheet, in its order.

    Attributes:
      rows: int32 `[n]`, row numbers in the data.
      labels: int32 `[n]`, as given.
      answers: int32 `[n]`, `ReviewAnswer`; -1 where blank.
      counts: int32 `[4]`, rows with each answer, in the order of `ReviewAnswer`; pass
        them to `audit_bounds`, with their sum as `num_audited`.
      num_blank: rows not yet audited.
      num_skipped: blank rows above an answered one, in the order in which the sheet was
        written. If there are any, somebody chose which rows to answer: the answers are
        not a random sample and no bound holds.
    """

    rows: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    counts: np.ndarray
    num_blank: int
    num_skipped: int


def write_review_sheet(
    path: str | os.PathLike[str],
    rows: ArrayLike,
    labels: ArrayLike,
    predictions: ArrayLike,
    confidences: ArrayLike,
    *,
    class_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> None:
    """Writes a sheet of rows to audit, with each expert's answer.

    The columns are `item` and `of` (number of the line and of lines), `row`, `given`,
    for each expert M `expert_M` and `confidence_M`, then `check` and `answer`. Class
    names add `given_name` and `expert_M_name` next to the numbers, and ids a column
    `id`, which is not read back. Answers are "wrong",
    "both", "right" or "cannot tell"; empty means not audited yet. You may add columns,
    such as for a picture or a remark. Without rows to audit the only line is item 0 of
    0.

    Names and ids that look like formulas, also behind spaces and line ends, get an
    apostrophe in front, so that spreadsheets do not evaluate them.

    Args:
      path: of the new file; an existing file is never overwritten, because it may hold
        answers.
      rows: integer `[n]`, rows to audit, such as `sample_audit` draws; negative ones
        are left out.
      labels: integer `[N]`, as given, of all rows.
      predictions: integer `[M, N]`, of the experts.
      confidences: floating `[M, N]` in `[0, 1]`, of the experts, calibrated; NaN where
        there is none.
      class_names: optional names of all classes.
      ids: optional texts that identify all N rows to the people who audit them.

    Raises:
      ValueError: for a wrong rank, shape or dtype, traced arrays, a row beyond N, a row
        twice, a class beyond int32 or without a name, a name or an id that is not
        Unicode, another number of ids than of rows, a confidence outside `[0, 1]`, or
        what is not a path. Nothing is written then.
      FileExistsError: if the file exists.
      OSError: if the file cannot be written.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (the four answers).

    Examples:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "sheet.csv"
      >>> write_review_sheet(path, [1], [0, 2], [[0, 1]], [[0.5, 0.9]])
      >>> print(path.read_text("utf-8-sig").strip())
      item,of,row,given,expert_1,confidence_1,check,answer
      1,1,1,2,1,0.9000,1794305143,
    """
    target = host.path("path", path)
    checks.on_host("confidences", confidences)
    given = {
        "labels": host.class_numbers("labels", labels),
        "predictions": host.class_numbers(
            "predictions", predictions, rank=2, axes="[M, N]"
        ),
        "confidences": checks.floats("confidences", confidences, rank=2, axes="[M, N]"),
    }
    checks.same_columns(**given)
    label, predicted, confidence = map(np.asarray, given.values())
    if predicted.shape != confidence.shape:
        raise ValueError(
            "predictions, confidences: expected a row for each expert, got "
            f"{list(predicted.shape)} and {list(confidence.shape)}."
        )
    checks.in_domain(domains.CONFIDENCE, confidences=confidence)
    row = host.integers("rows", rows, axes="[n]")
    row = row[row >= 0]
    if row.size and row.max() >= len(label):
        raise ValueError(
            f"rows: expected rows below N = {len(label)}, got {row.max()}."
        )
    if len(set(row.tolist())) < len(row):
        raise ValueError("rows: expected every row once, got a row twice.")
    names = _Names(class_names)
    given_ids = None if ids is None else _texts("ids", "row", ids)
    if given_ids is not None and len(given_ids) != len(label):
        raise ValueError(
            f"ids: expected one for each of N = {len(label)} rows, got "
            f"{len(given_ids)}."
        )
    id_column = [] if given_ids is None else ["id"]
    experts = range(1, len(predicted) + 1)
    header = ["item", "of", "row", *id_column, "given", *names.column("given_name")]
    for m in experts:
        header += [f"expert_{m}", *names.column(f"expert_{m}_name"), f"confidence_{m}"]
    sheet = _sheet_check(zip(row.tolist(), label[row].tolist(), strict=True))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*header, "check", "answer"])
    for item, r in enumerate(row.tolist(), start=1):
        named = int(label[r])
        identity = [] if given_ids is None else [cells.text(given_ids[r])]
        line = [item, len(row), r, *identity, named, *names.of("labels", named)]
        for m in experts:
            answer = int(predicted[m - 1, r])
            line += [answer, *names.of("predictions", answer)]
            line.append(f"{confidence[m - 1, r]:.4f}")
        writer.writerow([*line, sheet ^ _check(item, len(row), r, named), ""])
    if not row.size:
        # A sheet without any line would look like one that lost its lines.
        start = [*_NOTHING[:3], *([""] * len(id_column)), _NOTHING[3]]
        blank = [""] * (len(header) - len(start))
        writer.writerow([*start, *blank, sheet ^ _check(*_NOTHING), ""])
    # Mode "x" fails if the file exists.
    with target.open("x", encoding="utf-8-sig", newline="") as file:
        file.write(text.getvalue())


def is_blank(path: Path) -> bool:
    """Whether a sheet has no answer, and no column but those that were written.

    Raises:
      ValueError: if it is not a sheet, or a damaged one.
      OSError: if it cannot be read.
    """
    sheet = read_review_sheet(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file))
    known = all(_WRITTEN.fullmatch(name) for name in header)
    return known and sheet.num_blank == len(sheet.answers)


def read_review_sheet(path: str | os.PathLike[str]) -> ReviewSheet:
    """Reads the answers on a sheet of `write_review_sheet`.

    Spreadsheets may save it with semicolons or tabs, with lines in another order, and
    without trailing empty answers. Case and spaces around an answer do not matter. The
    numbers in `check` show which sheet a line belongs to, so read sheets one by one.

    Args:
      path: of the sheet.

    Returns:
      `ReviewSheet` with arrays `[n]`.

    Raises:
      ValueError: for missing or repeated columns, missing or repeated lines, and, with
        their numbers, lines with an unknown answer, a changed row or label, or from
        another sheet; and for what is not a path.
      OSError: if the file cannot be read.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (the four answers).

    Examples:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "sheet.csv"
      >>> write_review_sheet(path, [1, 0], [0, 2], [[3, 1]], [[0.5, 0.9]])
      >>> first, second, third = path.read_text("utf-8-sig").splitlines()
      >>> _ = path.write_text("\\n".join([first, second + "wrong", third]))
      >>> sheet = read_review_sheet(path)
      >>> print(sheet.rows, sheet.answers, sheet.counts, sheet.num_blank)
      [1 0] [ 0 -1] [1 0 0 0] 1
    """
    source = host.path("path", path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 at byte {error.start}; save it as CSV UTF-8."
        ) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [name for name in (*_NUMBERS, "answer") if name not in header]
    if missing:
        raise ValueError(f"{path}: missing column {', '.join(missing)}.")
    twice = [name for name in (*_NUMBERS, "answer") if header.count(name) > 1]
    if twice:
        raise ValueError(
            f"{path}: expected one column {twice[0]}, got {header.count(twice[0])}; "
            "rename or remove the others."
        )
    place = {name: header.index(name) for name in (*_NUMBERS, "answer")}
    found, numbers, bad = [], [], []
    for line in reader:
        if not any(cell.strip() for cell in line):
            continue
        try:
            found.append(_read_line(line, place))
            numbers.append(reader.line_num)
        except ValueError as error:
            bad.append((reader.line_num, str(error)))
    if not found and not bad:
        raise ValueError(f"{path}: expected a line for each item, got none.")
    sheet = _sheet_of(found)
    bad += [
        (number, "item, row or given label was changed, or is from another sheet")
        for number, one in zip(numbers, found, strict=True)
        if one.sheet != sheet
    ]
    if bad:
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        named = "; ".join(
            f"line {number}: {error}" for number, error in sorted(bad)[:5]
        )
        raise ValueError(f"{path}: {named}{more}.")
    expected = found[0].of
    found = [line for line in found if line.of]
    items = sorted(line.item for line in found)
    if items != list(range(1, expected + 1)):
        lost = sorted(set(range(1, expected + 1)) - set(items))[:5]
        raise ValueError(
            f"{path}: expected each of {expected} items once, got {len(items)} lines"
            + (f" without item {', '.join(map(str, lost))}." if lost else ".")
        )
    in_order = sorted(found, key=lambda line: line.item)
    if sheet != _sheet_check((line.row, line.given) for line in in_order):
        raise ValueError(f"{path}: rows or given labels were changed.")
    answers = np.array([line.answer for line in found], np.int32)
    last = max((line.item for line in found if line.answer >= 0), default=0)
    return ReviewSheet(
        rows=np.array([line.row for line in found], np.int32),
        labels=np.array([line.given for line in found], np.int32),
        answers=answers,
        counts=np.bincount(answers[answers >= 0], minlength=len(ReviewAnswer)).astype(
            np.int32
        ),
        num_blank=int(np.sum(answers < 0)),
        num_skipped=last - int(np.sum(answers >= 0)),
    )


# Names of columns that are written.
_WRITTEN = re.compile(
    r"item|of|row|id|given(_name)?|expert_\d+(_name)?|confidence_\d+|check|answer"
)
# Columns of numbers that are read back.
_NUMBERS = ("item", "of", "row", "given", "check")
_ANSWERS = {answer.word: answer.value for answer in ReviewAnswer} | {"": -1}


# Item, number of items, row and given label on the only line of an empty sheet.
_NOTHING = (0, 0, -1, -1)


class _Line(NamedTuple):
    item: int
    of: int
    row: int
    given: int
    #: A number that is the same on all lines of a sheet.
    sheet: int
    answer: int


def _read_line(cells: list[str], place: dict[str, int]) -> _Line:
    if len(cells) <= max(place[name] for name in _NUMBERS):
        raise ValueError("too few columns")
    numbers = []
    for name in _NUMBERS:
        cell = cells[place[name]].strip()
        if not cell.lstrip("-").isdecimal():
            raise ValueError(f"{name} is not a whole number: {cell!r}")
        numbers.append(int(cell))
    item, of, row, given, check = numbers
    # Spreadsheets may leave out empty cells at the end of a line.
    cell = cells[place["answer"]] if len(cells) > place["answer"] else ""
    answer = " ".join(cell.lower().split())
    if answer not in _ANSWERS:
        words = ", ".join(repr(word) for word in _ANSWERS if word)
        raise ValueError(f"unknown answer {answer!r}; expected {words} or none")
    sheet = check ^ _check(item, of, row, given)
    return _Line(item, of, row, given, sheet, _ANSWERS[answer])


def _check(item: int, of: int, row: int, given: int) -> int:
    """A number that changes if any of these does."""
    return zlib.crc32(f"{item},{of},{row},{given}".encode())


def _sheet_check(lines: Iterable[tuple[int, int]]) -> int:
    """A number from all rows and given labels of a sheet, in its order."""
    return zlib.crc32(";".join(f"{row},{given}" for row, given in lines).encode())


def _sheet_of(lines: list[_Line]) -> int | None:
    """The sheet's number on more than half of the lines; None if there is none."""
    counts = collections.Counter(line.sheet for line in lines).most_common(1)
    return next((sheet for sheet, count in counts if 2 * count > len(lines)), None)


def _texts(argument: str, what: str, given: Sequence[str]) -> list[str]:
    """Names of classes or rows, checked."""
    word = {"class_names": "names"}.get(argument, argument)
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"{argument}: expected a list of {word}, got {given!r}.")
    for number, one in enumerate(given):
        try:
            one.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(
                f"{argument}: expected {word} in Unicode, got {one!r} for {what} "
                f"{number}, which UTF-8 cannot write."
            ) from None
    return list(given)


class _Names:
    """Optional class names."""

    def __init__(self, names: Sequence[str] | None) -> None:
        self.names = None if names is None else _texts("class_names", "class", names)

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
        # A negative prediction has no name.
        name = self.names[number] if number >= 0 else ""
        return [cells.text(name)]
