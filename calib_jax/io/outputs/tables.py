"""Rows from named arrays or columns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import array_files, checking, generated, hdf5, names, parquet_files, timm
from .array_files import ArrayFile
from .content import Content
from .left_out import LeftOut, Places
from .rows import KINDS, ROUNDING, Rows, is_empty, outcomes, text
from .text_tables import CsvTable, JsonTable

# The array with the names of the C classes.
_CHOICES = "choices"
# Columns of numbers; the others may hold text.
_NUMBERS = (*KINDS, "values", "cost")

Table = ArrayFile | CsvTable | JsonTable


def of(looked: Content) -> Table:
    """The table that a file is."""
    path = looked.paths[0]
    if looked.format == "jsonl":
        return JsonTable(looked.first, looked.lines)
    if len(looked.paths) > 1:
        raise ValueError(f"{path.parent}: expected a file of format {looked.format}.")
    if looked.format == "csv":
        return CsvTable(path, looked.watch)
    if looked.format == "hdf5":
        return hdf5.read(path)
    if looked.format == "parquet":
        return parquet_files.parquet(path)
    return getattr(array_files, looked.format)(path)


def read(
    table: Table,
    *,
    format: str,
    kind: str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    model: str | int | None,
    places: Places,
    left_out: LeftOut,
) -> Rows:
    """Rows of the arrays or columns that names tell.

    Raises:
      ValueError: if names do not tell, or lengths differ.
    """
    path = left_out.path
    if isinstance(table, ArrayFile):
        table = generated.scored(array_files.of_model(table, model))
    elif model is not None:
        raise ValueError(f"model: {format} files hold one model, got {model!r}.")
    known, plan, notes = _plan(table, kind, columns, left_out)
    if isinstance(table, ArrayFile):
        notes = [*table.notes, *notes]
    found = _read(table, plan, places, left_out)
    field = next(name for name in (*KINDS, "values") if name in found)
    values = found.pop(field)
    if isinstance(values, list):
        values = np.asarray(values, object)
    floating = jnp.issubdtype(values.dtype, jnp.floating)
    if not (floating or values.dtype.kind in "iub") or values.ndim not in (1, 2):
        raise ValueError(
            f"{path}: expected numbers [N] or [N, C], got {values.dtype.name}"
            f"{list(values.shape)}" + ("." if values.ndim else "; it holds no rows.")
        )
    if isinstance(table, ArrayFile):
        places.add_rows(len(values))
    given = [names.plain(name) for name in names_of(table)]
    beside = found.get("labels", found.get("predictions"))
    timm.check(left_out, given, values, known == "logits", beside)
    if "predictions" not in found and timm.names_prediction(
        given, cells(found.get("labels", ()))
    ):
        found["predictions"] = found.pop("labels")
        notes.append(
            "The column label is taken for the predicted class, as timm's inference.py "
            "writes it; right classes come from labels=."
        )
    if known is None and values.ndim == 2:
        raise _ask(path, plan[field])
    if known is None and not floating:
        raise ValueError(
            f"{path}: expected floating numbers, got {values.dtype.name}"
            f"{list(values.shape)}; pass a file of labels alone with labels=."
        )
    scale = None
    if values.ndim == 1 and kind in (None, "scores"):
        known = "scores"
        if kind is None:
            scale = names.scale_name(str(plan[field]))
            _check_scale(path, str(plan[field]), values, places)
    of_class_one = values.ndim == 1 and kind == "probabilities"
    if of_class_one:
        values = np.asarray(values, np.float64)
        values = np.stack([1 - values, values], axis=1)
        notes.append("Each number is taken for the probability of class 1 of two.")
    if values.ndim == 2 and known == "scores":
        raise ValueError(
            f"{path}: expected scores [N], got {list(values.shape)}: say kind= if each "
            "column is a class; of several models, save their names as an array models."
        )
    for name, column in found.items():
        if shape(column) != (len(values),):
            raise ValueError(
                f"{path}: expected {name} [N] of N = {len(values)} rows as in {field}, "
                f"got {list(shape(column))}."
            )
    left_out.check(len(values))
    options = None
    if isinstance(table, JsonTable) and values.ndim == 2:
        options = table.options.get(str(plan[field]))
    if isinstance(table, ArrayFile) and values.ndim == 2:
        options = _names_of_classes(table, values.shape[1])
    if isinstance(table, JsonTable) and table.later:
        notes.append(
            f"Not read, as the first line has none: {names.shown(table.later)}."
        )
    ids = texts(found["ids"]) if "ids" in found else None
    if ids is not None and "" in ids:
        raise ValueError(
            f"{path}: {places.name(ids.index(''))} has no id; give one to all rows, or "
            "leave out the column."
        )
    return Rows(
        format=format,
        kind=str(known),
        values=values,
        scale=scale,
        places=places,
        has_ids=ids is not None,
        num_read=places.num_read,
        ids=texts(places.rows) if ids is None else ids,
        options=None if options is None else [options] * len(values),
        labels=_labels(found.get("labels")),
        predictions=_labels(found.get("predictions")),
        outcomes=outcomes(cells(found["outcomes"]), path, places.name)
        if "outcomes" in found
        else None,
        groups=texts(found["groups"]) if "groups" in found else None,
        cost=np.asarray(found["cost"], np.float64) if "cost" in found else None,
        of_class_one=of_class_one,
        of_tokens=isinstance(table, ArrayFile) and table.of_tokens,
        model=table.model if isinstance(table, ArrayFile) else "",
        task=table.task if isinstance(table, ArrayFile) else "",
        notes=notes,
    )


def _names_of_classes(table: ArrayFile, num_classes: int) -> tuple[str, ...] | None:
    """What the array `choices [C]` calls the classes; None without one of text."""
    if table.shapes.get(_CHOICES) != (num_classes,):
        return None
    found = table.read(_CHOICES)
    if not isinstance(found, np.ndarray) or found.dtype.kind != "U":
        return None
    named = tuple(found.tolist())
    if len(set(named)) < num_classes:
        raise ValueError(
            f"{table.path}: {_CHOICES} names two classes alike; give each its own name."
        )
    return named


def _check_scale(path: Path, name: str, values: np.ndarray, places: Places) -> None:
    """Raises `ValueError` if one number a row is not what its name says."""
    low, high = names.scale(name)
    numbers = np.asarray(values, np.float64)
    bad = (numbers < low - ROUNDING) | (numbers > high + ROUNDING)
    bad &= np.isfinite(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        expected = "at most 0" if low == -np.inf else "in [0, 1]"
        percent = 1 < numbers[row] <= 100
        raise ValueError(
            f"{path}: expected {name} {expected}, got {numbers[row]:g} "
            f"({places.name(row)}); "
            + (checking.PERCENT[:-1] + ", or, " if percent else "")
            + 'if it is on another scale, say kind="scores".'
        )


def _ask(path: Any, name: str | list[str]) -> ValueError:
    named = "the array" if isinstance(name, list) or not name else name
    return ValueError(
        f"{path}: {named} [N, C] may be logits, log_probabilities or probabilities, "
        'which its values cannot tell: say which, with kind="logits" or another.'
    )


def _plan(
    table: Table,
    kind: str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
    left_out: LeftOut,
) -> tuple[str | None, names.Plan, list[str]]:
    if isinstance(table, CsvTable) and table.bare and columns is None:
        several = len(table.names) > 1
        return kind, {kind or "values": table.names if several else "0"}, []
    shapes = table.shapes if isinstance(table, ArrayFile) else {}
    return names.plan(left_out.path, names_of(table), kind, columns, shapes)


def names_of(table: Table) -> list[str]:
    return list(table.shapes) if isinstance(table, ArrayFile) else table.names


def _read(
    table: Table,
    plan: names.Plan,
    places: Places,
    left_out: LeftOut,
) -> dict[str, Any]:
    wanted = {
        field: [column] if isinstance(column, str) else column
        for field, column in plan.items()
    }
    if isinstance(table, ArrayFile):
        read = {name: table.read(name) for name in sum(wanted.values(), [])}
    else:
        numbers = [n for field in wanted if field in _NUMBERS for n in wanted[field]]
        others = [n for field in wanted if field not in _NUMBERS for n in wanted[field]]
        ids = wanted["ids"][0] if "ids" in wanted else None
        read = table.read(numbers, others, places, left_out, ids)
        left_out.check(len(places))
    found = {}
    for field, columns in wanted.items():
        parts = [read[name] for name in columns]
        if isinstance(plan[field], str):
            found[field] = one_a_row(parts[0])
            continue
        if any(len(shape(part)) != 1 for part in parts):
            raise ValueError(
                f"{left_out.path}: expected one number in each row of "
                f"{', '.join(columns[:3])}."
            )
        found[field] = one_a_row(np.stack(parts, axis=1))
    return found


def texts(column: Any) -> list[str]:
    return [text(cell) for cell in cells(column)]


def shape(column: Any) -> tuple[int, ...]:
    """Of an array, or of a list of cells, which as an array of text may be huge."""
    return (len(column),) if isinstance(column, list) else np.shape(column)


def one_a_row(column: Any) -> Any:
    """`[N, 1]` as `[N]`."""
    shape_of = shape(column)
    return column[:, 0] if len(shape_of) == 2 and shape_of[1] == 1 else column


def cells(column: Any) -> Any:
    return column.tolist() if isinstance(column, np.ndarray) else column


def _labels(column: Any) -> Any:
    """Whole numbers as an array, all else as it is; None where there is none."""
    if column is None or (isinstance(column, np.ndarray) and column.dtype.kind in "iu"):
        return column
    return [None if is_empty(cell) else cell for cell in cells(column)]
