"""Files of outputs that are larger than memory, a block of rows at a time."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._core import checks
from .. import host
from . import (
    array_files,
    content,
    joining,
    label_files,
    labelling,
    reading,
    tables,
    tools,
)
from .array_files import ArrayFile
from .asked import Asked
from .left_out import LeftOut, NoRowError
from .record import PER_ROW, Outputs
from .rows import Rows, choices_of
from .text_tables import CsvTable


def stream_outputs(
    path: str | os.PathLike[str],
    *,
    size: int = 65536,
    kind: str | None = None,
    format: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    choices: Sequence[str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    model: str | None = None,
    smoothing: float | None = None,
    drop_malformed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> "OutputsStream":
    """A file of outputs as blocks of rows: no more than one block is in memory.

    Blocks have the rows that `read_outputs` gives, in the order of the file. Of JSON
    lines (`jsonl`, `lm-eval`, `answers`, `decisions`), of `csv` and of `parquet` the
    rows of one block are parsed at a time; of `npy` and `safetensors` they are slices.
    Other formats are unpacked as a whole, and refused.

    Ids are not compared, because all of them would have to be kept: a row that is in
    the file twice counts twice. What `read_outputs` decides by all rows has to come out
    the same in each block, or it is an error: whether labels are names or numbers of
    options, and which options a question has. A block behind the first may have an
    error in it, and some show in all rows alone, so results stand once a pass has come
    to its end.

    Args:
      path: of a file, or of a folder with files of JSON lines.
      size: static number of rows of a block; only the last one has fewer. A block takes
        about 60 bytes for each of its numbers while it is parsed.
      kind: what the numbers are, where names do not say it, as for `read_outputs`.
      format: the name of a format, likewise.
      labels: path of a file with right options or outcomes, joined by ids or by order.
        It is read as a whole.
      choices: texts of the options, as for `read_outputs`.
      columns: names of arrays or columns, likewise.
      model: the name of the model whose answers are read, where a file has several.
      smoothing: the share of an even distribution that is mixed into probabilities.
      drop_malformed: whether malformed lines are left out; otherwise they raise.
      progress: called with the number of bytes read so far and in all, in each pass.

    Returns:
      `OutputsStream`: each `iter()` reads the file anew and gives `Outputs` of `size`
      rows.

    Raises:
      ValueError: for a size below 1, and as `read_outputs`, for a format that is
        unpacked as a whole, and where blocks do not agree; most of it while the file is
        read.
      ImportError: if reading parquet or safetensors needs a package that is missing.
      OSError: if the file cannot be read.

    Examples:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "outputs.csv"
      >>> _ = path.write_text("logit_0,logit_1,label\\n2,0,0\\n0,3,1\\n1,0,1\\n")
      >>> stream = stream_outputs(path, size=2)
      >>> for outputs in stream:
      ...     print(outputs.ids, outputs.labels)
      ('0', '1') [0 1]
      ('2',) [1]
      >>> for logits, labels in stream.blocks():
      ...     print(logits.shape, labels.shape)
      (2, 2) (2,)
      (1, 2) (1,)
    """
    reading.check_progress(progress)
    if model is not None and (not isinstance(model, str) or model.isdecimal()):
        raise ValueError(
            f"model: expected a name, since blocks do not count models, got {model!r}."
        )
    return OutputsStream(
        host.path("path", path),
        checks.static_int("size", size, minimum=1),
        reading.asked_of(
            {
                "kind": kind,
                "format": format,
                "choices": choices,
                "columns": columns,
                "model": model,
                "smoothing": smoothing,
                "drop_malformed": drop_malformed,
                "unique": False,
            }
        ),
        None if labels is None else host.path("labels", labels),
        progress,
    )


class OutputsStream:
    """What `stream_outputs` returns: an iterable of `Outputs` that starts anew.

    Fields that no row of a block has are None there, such as `predictions`. Notes are
    those of a block's own rows, and `dropped` is empty: the stream has the counts.

    Attributes:
      num_rows: how many rows the last whole pass gave; 0 before one.
      dropped: how many it left out, by reason.
      dropped_at: for each reason the places of the first five.
      notes: sentences on all of its rows.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        asked: Asked,
        labels: Path | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._path, self._size, self._asked = path, size, asked
        self._labels, self._progress = labels, progress
        self._given: joining.Given | None = None
        self.num_rows = 0
        self.dropped: Mapping[str, int] = {}
        self.dropped_at: Mapping[str, tuple[str, ...]] = {}
        self.notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"OutputsStream({str(self._path)!r}, size={self._size})"

    def __iter__(self) -> Iterator[Outputs]:
        held: list[Outputs] = []
        for part in self._parts():
            held.append(part)
            while sum(map(len, held)) >= self._size:
                whole = _concatenated(held)
                yield _cut(whole, slice(0, self._size))
                held = [_cut(whole, slice(self._size, None))]
                del whole
        if sum(map(len, held)):
            yield _concatenated(held)

    def blocks(self) -> "OutputsBlocks":
        """The blocks that `calib_jax.streaming.blocks.fit_temperature` takes.

        Returns:
          An iterable, which starts anew too, of tuples (values, labels) of NumPy
          arrays: `logits` or `log_probabilities` `[n, C]` with `labels` `[n]`, or
          `scores` `[n]` with `outcomes` `[n]`. An option that a row lacks has -inf.
          Iterating raises `ValueError` if the file says no labels or outcomes.
        """
        return OutputsBlocks(self)

    def _parts(self) -> Iterator[Outputs]:
        """The rows of so many lines, or of a slice of arrays."""
        asked, path = self._asked, self._path
        left_out = LeftOut(path, drop_malformed=asked.drop_malformed, in_blocks=True)
        name = os.path.basename(os.path.abspath(path))
        seen, notes, num_rows, num_joined = _Seen(path), [], 0, 0
        with reading.printable_errors():
            if self._labels is not None and self._given is None:
                self._given = label_files.read(self._labels)
                if any(num > 1 for num in (self._given.samples or {}).values()):
                    raise ValueError(
                        f"{self._labels}: has several samples of a task, which are "
                        "joined by their order in the whole file: read it with "
                        "read_outputs."
                    )
            join = None if self._given is None else joining.Join(self._given, path)
            looked = content.look(
                path,
                asked.format,
                left_out,
                progress=self._progress,
                named=asked.named,
            )
            if looked.unread:
                notes.append(reading.note_of_unread(looked.unread))
                looked = looked._replace(unread=())
        parts = _parts_of(looked, self._size, asked.model, self._progress)
        while True:
            with reading.printable_errors():
                looked.places.forget()
                if (part := next(parts, None)) is None:
                    break
                lines, table = part
                try:
                    rows = reading.checked_rows(
                        looked._replace(lines=lines),
                        table or tables.of,
                        asked,
                        left_out,
                    )
                    if join is not None:
                        num_joined += len(rows)
                        rows = join.rows(rows, left_out)
                        left_out.check(len(rows))
                    rows = labelling.numbered(rows, left_out, seen.known)
                except NoRowError:
                    # Its reasons are counted; one model's answers may be in others.
                    continue
                seen.check(rows)
                num_rows += len(rows)
                found = reading.outputs_of(name, rows, left_out, asked.smoothing)
            yield dataclasses.replace(found, dropped={}, dropped_at={})
        with reading.printable_errors():
            if join is not None and num_joined:
                join.check_length(looked.places.num_read)
                notes += join.end()
            left_out.end()
            if asked.model is not None and not (num_rows or left_out.counts):
                raise ValueError(f"model: {path} has no answers of {asked.model!r}.")
            left_out.check(num_rows)
        self.num_rows, self.notes = num_rows, tuple(notes)
        self.dropped = dict(left_out.counts)
        self.dropped_at = {one: tuple(at) for one, at in left_out.places.items()}


class OutputsBlocks:
    """What `OutputsStream.blocks` returns."""

    def __init__(self, stream: OutputsStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for outputs in self._stream:
            what = "labels" if outputs.scores is None else "outcomes"
            right = getattr(outputs, what)
            if right is None:
                raise ValueError(
                    f"{outputs.name}: has no {what}, which a block needs: pass labels="
                )
            yield np.asarray(_values(outputs)), right


_Lines = Iterator[Any]
_TableOf = Callable[[content.Content], tables.Table]


def _parts_of(
    looked: content.Content,
    size: int,
    model: str | int | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[_Lines, _TableOf | None]]:
    """Lines of JSON, or a table of some rows."""
    tool = tools.BY_NAME.get(looked.format)
    if looked.format == "jsonl" or (tool is not None and tool.in_blocks):
        for first in looked.lines:
            lines = itertools.chain([first], itertools.islice(looked.lines, size - 1))
            yield lines, None
        return
    if tool is not None:
        raise ValueError(
            f"{looked.paths[0]}: rows of a file of {tool.name} depend on others in it: "
            "read it with read_outputs."
        )
    table = tables.of(looked)
    if isinstance(table, CsvTable):
        while table.part(size):
            yield iter(()), lambda _: table
    elif isinstance(table, ArrayFile):
        total = looked.paths[0].stat().st_size
        table = array_files.of_model(table, model)
        for done, part in table.parts(size):
            yield iter(()), functools.partial(lambda part, _: part, part)
            if progress is not None:
                progress(int(total * done), total)


class _Seen:
    """What earlier blocks were, so that no answer depends on where a file is cut.

    Attributes:
      known: as for `labelling.numbered`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: set[str] = set()
        self._decided: dict[str, frozenset[Any]] = {}

    def check(self, rows: Rows) -> None:
        """Raises `ValueError` if a block is another than those before."""
        given = {
            "labels": rows.labels is not None,
            "outcomes": rows.outcomes is not None,
        }
        self.known |= {name for name, there in given.items() if there}
        same: dict[str, Any] = {
            "whether there are labels": given["labels"],
            "whether there are outcomes": given["outcomes"],
            "whether scores are those of class 1": rows.of_class_one,
            "the kind of values": (rows.kind, rows.scale),
        }
        if rows.values.ndim == 2 and rows.format not in tools.BY_NAME:
            same["the number of classes"] = rows.values.shape[1]
        if rows.kind == "scores":
            same["the names of classes (pass choices=)"] = choices_of(rows)
        each = {name: frozenset({value}) for name, value in same.items()}
        for name, fitting in (each | rows.decided).items():
            fitting &= self._decided.setdefault(name, fitting)
            if not fitting:
                up_to = f"those up to {rows.places.name(len(rows) - 1)}"
                how, more = f"{up_to} do not agree", ", or with a larger size="
                if not rows.decided.get(name, True):
                    how, more = f"{up_to} are not enough", ""
                if name == "the model":
                    more = ", or one model's answers with model="
                raise ValueError(
                    f"{self._path}: {name}: only all rows tell, and {how}: read the "
                    f"file with read_outputs{more}."
                )
            self._decided[name] = fitting


# What stands for a field that a block has not.
_NOTHING: Mapping[str, Any] = {
    "predictions": np.int32(-1),
    "cost": np.nan,
    "class_where": True,
    "log_probabilities": -np.inf,
}


def _concatenated(parts: Sequence[Outputs]) -> Outputs:
    """All rows of some outputs."""
    if len(parts) == 1:
        return parts[0]
    changes: dict[str, Any] = {}
    shapes = [np.shape(_values(part)) for part in parts]
    width = max(shape[-1] for shape in shapes)
    narrow = len(shapes[0]) == 2 and any(shape[-1] < width for shape in shapes)
    for name in PER_ROW:
        given = [getattr(part, name) for part in parts]
        if name == "class_where" and narrow:
            given = [
                np.ones(shape, bool) if one is None else one
                for one, shape in zip(given, shapes, strict=True)
            ]
        first = next((one for one in given if one is not None), None)
        if first is None:
            continue
        if isinstance(first, tuple):
            rows = [
                ("",) * len(part) if one is None else one
                for one, part in zip(given, parts, strict=True)
            ]
            changes[name] = tuple(itertools.chain(*rows))
            continue
        filled = [
            np.full((len(part), *first.shape[1:]), _NOTHING[name], first.dtype)
            if one is None
            else one
            for one, part in zip(given, parts, strict=True)
        ]
        if first.ndim == 2:
            lacks = False if name == "class_where" else -np.inf
            filled = [_widened(one, width, lacks) for one in filled]
        changes[name] = np.concatenate(filled)
    same = {part.choices for part in parts}
    notes = dict.fromkeys(itertools.chain(*(part.notes for part in parts)))
    return dataclasses.replace(
        parts[0],
        **changes,
        choices=parts[0].choices if len(same) == 1 else None,
        notes=tuple(notes),
    )


def _values(outputs: Outputs) -> Any:
    every = outputs.logits, outputs.log_probabilities, outputs.scores
    return next(one for one in every if one is not None)


def _widened(array: np.ndarray, width: int, nothing: Any) -> np.ndarray:
    """With columns of options that rows lack."""
    if array.shape[1] == width:
        return array
    found = np.full((len(array), width), nothing, array.dtype)
    found[:, : array.shape[1]] = array
    return found


def _cut(outputs: Outputs, rows: slice) -> Outputs:
    """Some rows, of memory of their own."""
    if rows.indices(len(outputs))[:2] == (0, len(outputs)):
        return outputs
    changes: dict[str, Any] = {}
    for name in PER_ROW:
        if (value := getattr(outputs, name)) is not None:
            part = value[rows]
            changes[name] = np.array(part) if isinstance(part, np.ndarray) else part
    return dataclasses.replace(outputs, **changes)
