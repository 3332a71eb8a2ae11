"""Files of labels or outcomes, to be joined to outputs."""

from pathlib import Path

from . import code_results, content, tables
from .array_files import ArrayFile
from .joining import Given
from .left_out import LeftOut
from .names import NAMES, plain, shown

# The best names first.
_LABELS = (*NAMES["labels"], "answer", "answers", "correct_answer", "noisy_label")


def read(path: Path) -> Given:
    """The labels or outcomes of a file.

    Raises:
      ValueError: if names do not tell which column holds them, or a line is malformed.
    """
    left_out = LeftOut(path, drop_malformed=False)
    looked = content.look(path, None, left_out, outputs=False)
    if code_results.are_results(looked.first):
        given = code_results.read(path, (line for _, line in looked.lines))
        left_out.check(len(given.values))
        return given
    table = tables.of(looked)
    names = tables.names_of(table)
    wanted, are_outcomes = _column(path, names)
    ids = next((n for one in NAMES["ids"] for n in names if plain(n) == one), None)
    both = [name for name in (wanted, ids) if name is not None]
    if isinstance(table, ArrayFile):
        found = {name: table.read(name) for name in both}
    else:
        found = table.read([], both, looked.places, left_out)
        left_out.check(len(looked.places))
    found[wanted] = tables.one_a_row(found[wanted])
    values = tables.cells(found[wanted])
    shape = tables.shape(found[wanted])
    if len(shape) != 1:
        raise ValueError(f"{path}: expected labels [N], got {list(shape)}.")
    if are_outcomes is None:
        # Numbers alone: whole ones are classes, and others say how right an answer is.
        types = set(map(type, values))
        are_outcomes = types == {bool} or (
            float in types and types <= {bool, int, float}
        )
    texts = None if ids is None else tables.texts(found[ids])
    if texts is not None and len(texts) != len(values):
        raise ValueError(f"{path}: {len(texts)} ids for {len(values)} labels.")
    if texts is None and not isinstance(table, ArrayFile):
        # Rows are joined by order: an empty one has its number, and no label.
        by_row = dict(zip(looked.places.rows, values, strict=True))
        values = [by_row.get(row) for row in range(looked.places.num_read)]
    return Given(path, texts, values, are_outcomes)


def _column(path: Path, names: list[str]) -> tuple[str, bool | None]:
    """The column, and whether it holds outcomes; None where no name says it."""
    for synonyms, are_outcomes in ((_LABELS, False), (NAMES["outcomes"], True)):
        matches = [name for name in names if plain(name) in synonyms]
        if len(matches) > 1:
            raise ValueError(
                f"{path}: {' and '.join(matches)} may all be the labels; keep one."
            )
        if matches:
            return matches[0], are_outcomes
    if len(names) == 1:
        return names[0], None
    raise ValueError(
        f"{path}: expected a column label, answer or correct, got {shown(names)}."
    )
