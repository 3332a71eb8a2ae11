"""A saved calibrator or cascade, applied to new outputs without labels.

Shapes: N rows.
"""

import collections
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..calibration.apply import Calibrator, OfClasses
from ..calibration.dirichlet import Dirichlet
from ..calibration.vector import Vector
from ..cascade import arbiters
from ..io import files, json_lines
from ..io.cascade_records import CascadeRecord
from ..io.outputs import Outputs
from ..io.outputs.record import join
from ..io.outputs.servers import NAME as ANSWERS
from ..io.responses import shown
from . import methods, scoring
from .methods import Takes
from .records import class_values

# A stream's bytes that are asked for at once.
_BLOCK = 2**18


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Served:
    """What a record serves.

    Attributes:
      name: of its file.
      params: of the calibrator, of a cascade that of the small model.
      taken: what scores or logits they take, in words, or None where the file does not
        say it.
      cascade: `CascadeRecord`, or None for a calibrator alone, as the large model has.
    """

    name: str
    params: Calibrator
    taken: str | None
    cascade: CascadeRecord | None


class Decisions(NamedTuple):
    """What a record says of new outputs.

    Attributes:
      ids: N texts.
      confidence: float32 `[N]`, calibrated; NaN where a row has no number.
      small: bool `[N]`, whether the small model's answer is kept, False for NaN, or
        None for a calibrator alone.
    """

    ids: tuple[str, ...]
    confidence: np.ndarray
    small: np.ndarray | None


class Answers(NamedTuple):
    """Whose answers to take, once the large model was asked.

    Attributes:
      decisions: `Decisions` on the small model's outputs.
      large_confidence: float32 `[N]`, calibrated; NaN where the large model was not
        asked, or has no number.
      answers: N times "small" or "large", or None where an input is sent on and the
        large model's file does not have it.
    """

    decisions: Decisions
    large_confidence: np.ndarray
    answers: tuple[str | None, ...]


def load(path: str | os.PathLike[str]) -> Served:
    """Reads a `cascade.json` or a `calibration.json`.

    Raises:
      ValueError: for any other file.
      OSError: if it cannot be read.
    """
    record, taken = files.load_with_input(path)
    name = os.path.basename(os.path.abspath(path))
    if isinstance(record, CascadeRecord):
        return of_record(record, name)
    if not isinstance(record, Calibrator):
        raise ValueError(
            f"{path}: expected a cascade.json or a calibration.json, got a "
            f"{type(record).__name__}."
        )
    return Served(name=name, params=record, taken=taken, cascade=None)


def of_record(record: CascadeRecord, name: str) -> Served:
    """A cascade that was read before."""
    return Served(
        name=name,
        params=record.small_params,
        taken=record.small_input,
        cascade=record,
    )


def decide(served: Served, outputs: Outputs) -> Decisions:
    """Calibrated confidences of new outputs, and which of them stay small.

    Decisions are looked up in the steps that the record holds, so they are the same
    wherever it is served.

    Args:
      served: from `load`.
      outputs: of the model that the calibrator was fitted on; labels are not needed.

    Returns:
      `Decisions`.

    Raises:
      ValueError: if the calibrator takes something else than these outputs hold.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "calibration.json"
      >>> cj.save(path, cj.Platt(slope=np.float32(2), intercept=np.float32(0)))
      >>> outputs = cj.io.Outputs(
      ...     ids=("a", "b"), format="csv", kind="scores", scores=np.float32([0, 1])
      ... )
      >>> print(decide(load(path), outputs).confidence.round(2))
      [0.5  0.88]
    """
    if outputs.scores is not None and np.isnan(outputs.scores).all():
        # Rows without a number may be of any outputs.
        keep = None if served.cascade is None else np.zeros(len(outputs), bool)
        return Decisions(outputs.ids, np.asarray(outputs.scores, np.float32), keep)
    _check(served, outputs)
    rows = scoring.read(outputs)
    confidence = scoring.calibrated(served.params, outputs, *rows)
    if served.cascade is None:
        return Decisions(outputs.ids, confidence, None)
    if isinstance(served.params, OfClasses):
        x = confidence
    else:
        takes = methods.taken_by(served.params)
        x = scoring.inputs(takes, outputs, *rows[:2])
    return Decisions(outputs.ids, confidence, served.cascade.keep_small(x))


def large_confidence(served: Served, outputs: Outputs) -> np.ndarray:
    """Calibrated confidences float32 `[N]` of the large model of a cascade.

    Raises:
      ValueError: if the record is of one model, or its calibrator takes something else.
    """
    record = served.cascade
    if record is None or record.large_params is None:
        kind = "calibrator" if record is None else "cascade without large_params"
        raise ValueError(
            f"{served.name}: is a {kind}, so that outputs of a large model cannot be "
            "weighed; give the small model's alone."
        )
    large = dataclasses.replace(
        served, params=record.large_params, taken=record.large_input, cascade=None
    )
    return decide(large, outputs).confidence


def answer(served: Served, small: Outputs, large: Outputs) -> Answers:
    """Whose answers a cascade takes, from new outputs of both models.

    Args:
      served: a cascade, from `load`.
      small: of the small model.
      large: of the large model, for all of these inputs or those sent on; each id once.

    Returns:
      `Answers`, for each row of the small model.

    Raises:
      ValueError: if calibrators take something else than these outputs hold, or the
        files are of other inputs.
    """
    found, asked = decide(served, small), large_confidence(served, large)
    place = {one: row for row, one in enumerate(large.ids)}
    if len(place) < len(large):
        seen = collections.Counter(large.ids).most_common(1)[0][0]
        raise ValueError(
            f"{large.name}: id {shown(seen)} is there more than once, so it is unclear "
            "which answer to weigh. Keep one row of each id."
        )
    # Raises where the files are of other inputs.
    join(small, large)
    rows = np.array([place.get(one, -1) for one in small.ids])
    confidence = np.where(rows < 0, np.float32(np.nan), asked[rows])
    assert served.cascade is not None and found.small is not None
    by_large = np.ones(len(rows), bool)
    if served.cascade.arbiter is not None:
        by_large = np.asarray(
            arbiters.prefer_large(served.cascade.arbiter, found.confidence, confidence)
        )
    answers = np.where(found.small | ~by_large, "small", "large").astype(object)
    answers[~found.small & (rows < 0)] = None
    return Answers(found, confidence, tuple(answers.tolist()))


def _check(served: Served, outputs: Outputs) -> None:
    takes, wanted = methods.taken_by(served.params), served.taken
    values = class_values(outputs)
    if wanted is None or not wanted.startswith(methods.TAKEN):
        # Not said, or in words of whoever wrote it: the shape is what can be checked.
        of_options = takes is Takes.OPTIONS
        fits = of_options == (values is not None)
        wanted = wanted or methods.IN_GENERAL[takes]
    else:
        fits = methods.fits(wanted, outputs, takes)
    kind = type(served.params).__name__
    if not fits:
        # Of answers of servers there are options only where these are named.
        unnamed = takes is Takes.OPTIONS and outputs.format == ANSWERS
        what = (
            "pass choices= with the texts of the options that it was fitted on."
            if unnamed and values is None
            else "give outputs like those that it was fitted on, under the same name."
        )
        raise ValueError(
            f"{outputs.name}: holds {methods.taken(outputs, Takes.OPTIONS)}, but the "
            f"{kind} calibrator of {served.name} takes {wanted}: {what}"
        )
    if isinstance(served.params, Vector | Dirichlet):
        size, some = served.params.bias.shape[0], outputs.class_where is not None
        if values.shape[1] != size or (some and isinstance(served.params, Dirichlet)):
            raise ValueError(
                f"{outputs.name}: has {values.shape[1]} options"
                f"{', not all of them in every row' if some else ''}, but the {kind} "
                f"calibrator of {served.name} was fitted on {size}."
            )


def available_lines(stream: Any, name: str) -> Iterator[list[bytes]]:
    """The lines of a binary stream, as many together as have arrived.

    Args:
      stream: with `read1`, such as `sys.stdin.buffer`.
      name: of it, for messages.

    Raises:
      ValueError: for a line that is too long.
    """
    parts: list[bytes] = []
    size = 0
    while block := stream.read1(_BLOCK):
        end = block.rfind(b"\n") + 1
        if not end:
            parts.append(block)
            size += len(block)
            if size > json_lines.LONGEST_LINE:
                most = json_lines.LONGEST_LINE >> 20
                raise ValueError(f"{name}: a line is longer than {most} MiB.")
            continue
        whole = b"".join([*parts, block[:end]])
        parts, size = [block[end:]], len(block) - end
        # Not splitlines: texts may contain other separators.
        yield whole.split(b"\n")[:-1]
    if rest := b"".join(parts):
        yield [rest]
