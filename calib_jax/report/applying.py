"""A saved calibrator or cascade, applied to new outputs without labels.

Shapes: N rows.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from ..calibration.apply import calibrate
from ..calibration.histogram import Histogram
from ..calibration.platt import Platt
from ..calibration.temperature import Temperature
from ..io import files, json_lines
from ..io.cascade_records import CascadeRecord
from ..io.outputs import Outputs
from . import scoring
from .records import class_values

# A stream's bytes that are asked for at once.
_BLOCK = 2**18
_CALIBRATORS = (Platt, Histogram, Temperature)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Served:
    """What a record serves.

    Attributes:
      name: of its file.
      params: of the calibrator, of a cascade that of the small model.
      taken: what scores or logits they take, in words, or None where the file does not
        say it.
      cascade: `CascadeRecord`, or None for a calibrator alone.
    """

    name: str
    params: Platt | Histogram | Temperature
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
    if not isinstance(record, _CALIBRATORS):
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
      >>> cj.save(path, Platt(slope=np.float32(2), intercept=np.float32(0)))
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
    score, _, prediction = scoring.read(outputs)
    params = served.params
    if isinstance(params, Temperature):
        values, real = class_values(outputs), outputs.class_where
        confidence = score = scoring.top_confidence(params, values, real, prediction)
    else:
        confidence = np.asarray(jax.device_get(calibrate(params, score)))
    if served.cascade is None:
        return Decisions(outputs.ids, confidence, None)
    return Decisions(outputs.ids, confidence, served.cascade.keep_small(score))


def _check(served: Served, outputs: Outputs) -> None:
    of_classes = isinstance(served.params, Temperature)
    wanted = served.taken
    if wanted is None or not wanted.startswith(scoring.TAKEN):
        # Not said, or in words of whoever wrote it: the shape is what can be checked.
        fits = of_classes == (class_values(outputs) is not None)
        wanted = wanted or (scoring.OF_OPTIONS if of_classes else scoring.OF_ANSWER)
    else:
        fits = scoring.takes(wanted, outputs, of_classes)
    if not fits:
        raise ValueError(
            f"{outputs.name}: holds {scoring.taken(outputs, True)}, but the "
            f"{type(served.params).__name__} calibrator of {served.name} takes "
            f"{wanted}: give outputs like those that it was fitted on, under the same "
            "name."
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
