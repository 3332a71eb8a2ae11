"""Saved outputs: calibrated on some questions or classes, used on others.

Shapes: S splits, n rows.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from benchmarks.kit import outputs
from benchmarks.kit.halves import LEAST_CLASSES, random_classes
from benchmarks.kit.outputs import Outputs

from .measure import Judged, Rows, judge, platt

# Positions in the ladder of models, of tasks that have one.
_PAIRS = ((0, 2), (2, 4))
# Most rows of each part: all tasks share one program.
_MOST = 1000
_SEED = 2050


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """The task a cascade comes from, and the one it is used on.

    Attributes:
      source: name of the task that calibrates.
      target: name of the task of the new rows; the source itself where classes are new.
      pair: positions of both models.
      title: to print.
    """

    source: str
    target: str
    pair: tuple[int, int]
    title: str

    @property
    def of_classes(self) -> bool:
        return self.source == self.target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted:
    """The results of one shift.

    Attributes:
      shift: which.
      num_reference: rows of the reference.
      num_rows: new rows, without the shift and with it.
      judged: `Judged` with entries `[S, 2, ...]`, without the shift and with it.
    """

    shift: Shift
    num_reference: int
    num_rows: tuple[int, int]
    judged: Judged


def shifts(folder: Path) -> list[Shift]:
    """Every shift whose files are in the folder."""
    described = outputs.descriptions()
    found = [name for name in described if outputs.present(folder, described[name])]
    questions = [name for name in found if described[name]["reader"] == "correct"]
    made = []
    for source in questions:
        for target in questions:
            if source == target:
                continue
            titles = [described[name]["title"] for name in (source, target)]
            names = list(described[source]["models"].values())
            for pair in _PAIRS:
                small, large = (names[k] for k in pair)
                title = f"{' to '.join(titles)}: {small}, {large}"
                made.append(Shift(source=source, target=target, pair=pair, title=title))
    for name in found:
        if described[name]["reader"] == "probabilities":
            task = outputs.read(folder, name)
            if task.logits is not None and task.logits.shape[-1] >= LEAST_CLASSES:
                pair = task.small_large[-1]
                small, large = (task.models[k] for k in pair)
                title = f"{task.title}, other classes: {small}, {large}"
                made.append(Shift(source=name, target=name, pair=pair, title=title))
    return made


def measure(
    folder: Path, shift: Shift, seed: int, num_splits: int, num_batches: int
) -> Shifted:
    """Judges every split of one shift."""
    source, target = (outputs.read(folder, n) for n in (shift.source, shift.target))
    every = []
    for split in range(num_splits):
        rng = np.random.default_rng((seed, _SEED, split))
        old, new = rng.permutation(source.num_examples), np.arange(target.num_examples)
        if shift.of_classes and source.label is not None:
            num_classes = int(source.label.max()) + 1
            chosen = random_classes(seed, num_classes, num_splits)[split]
            old, new = (
                old[chosen[source.label[old]] == kind] for kind in (True, False)
            )
        else:
            new = rng.permutation(new)
        parts = np.array_split(old, 3)
        key = jax.random.key(rng.integers(2**31))
        every.append(_judge(key, source, target, shift.pair, parts, new, num_batches))
    judged = jax.tree.map(lambda *leaves: np.stack(leaves), *every)
    return Shifted(
        shift=shift,
        num_reference=min(len(parts[1]), _MOST),
        num_rows=(min(len(parts[2]), _MOST), min(len(new), _MOST)),
        judged=judged,
    )


def _judge(
    key: jax.Array,
    source: Outputs,
    target: Outputs,
    pair: tuple[int, int],
    parts: list[np.ndarray],
    new: np.ndarray,
    num_batches: int,
) -> Judged:
    models = list(pair)

    def take(task: Outputs, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = rows[:_MOST]
        missing = _MOST - len(rows)
        padded = np.pad(rows, (0, missing))
        where = np.arange(_MOST) < len(rows)
        return task.score[models][:, padded], task.correct[models][:, padded], where

    params = platt(*take(source, parts[0]))

    def rows_of(task: Outputs, rows: np.ndarray) -> Rows:
        score, correct, where = take(task, rows)
        confidence = jax.vmap(cj.calibrate)(params, score)
        return Rows(
            small=confidence[0],
            large=confidence[1],
            small_right=jnp.asarray(correct[0]),
            large_right=jnp.asarray(correct[1]),
            where=jnp.asarray(where),
        )

    calibration, reference, same = (rows_of(source, part) for part in parts)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), same, rows_of(target, new))
    judged = judge(key, calibration, reference, both, num_batches=num_batches)
    return jax.tree.map(np.asarray, judged)
