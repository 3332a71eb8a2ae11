"""Calibrated on other questions, or on other classes.

Shapes: S splits, M models, P pairs, C classes, n
examples of a half, L of them with padding.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from benchmarks.kit import outputs
from benchmarks.kit.halves import LEAST_CLASSES, Halves, random_classes
from benchmarks.kit.outputs import Outputs

from . import judging
from .judging import NONE, PLATT, Sample
from .study import Advance, Settings, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worth:
    """Results of one way to calibrate, on test examples.

    Attributes:
      error: float32 `[S, M]`, ECE.
      recovered: float32 `[S, P]`, APGR of the router fitted on the same examples.
    """

    error: np.ndarray
    recovered: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """A task to judge on.

    Attributes:
      models: names.
      pairs: int32 `[P, 2]`, the small model first.
      gap: float64 `[S, P]`, test accuracy of the large minus that of the small model.
      stated: stated confidences, and their router from the calibration half (UC).
      sources: calibrated on another task, by its name; under the target's own name, on
        its calibration half.
      published: calibrated on the split published for that, or None.
      num_published: examples in it.
    """

    models: tuple[str, ...]
    pairs: np.ndarray
    gap: np.ndarray
    stated: Worth
    sources: Mapping[str, Worth]
    published: Worth | None
    num_published: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A task of several classes, judged on the examples of half of the classes.

    Attributes:
      models: names.
      pairs: int32 `[P, 2]`.
      num_classes: C.
      num_fitted: int64 `[S]`, calibration examples.
      gap: float64 `[S, P]`.
      stated: stated confidences, and their router from examples of all classes.
      all_classes: a temperature and a router from examples of all classes.
      other_classes: the same from as many examples of the other classes only.
    """

    models: tuple[str, ...]
    pairs: np.ndarray
    num_classes: int
    num_fitted: np.ndarray
    gap: np.ndarray
    stated: Worth
    all_classes: Worth
    other_classes: Worth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Results on shift of the task.

    Attributes:
      targets: `Target` by task, of every task whose cost is known.
      held_out: `HeldOut` by task, of every task with logits of many classes.
    """

    targets: Mapping[str, Target]
    held_out: Mapping[str, HeldOut]


def transferable(study: Study) -> list[str]:
    """Tasks that the same models answered, and whose confidence is one number."""
    return [name for name, task in study.tasks.items() if task.cost is not None]


def divisible(study: Study) -> list[str]:
    """Tasks with logits of many classes."""
    return [
        name
        for name, task in study.tasks.items()
        if task.logits is not None and task.logits.shape[-1] >= LEAST_CLASSES
    ]


def num_steps(study: Study) -> int:
    return len(transferable(study)) + len(divisible(study))


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Carries calibration from task to task and from classes to classes."""
    names = transferable(study)
    published = {name: _published(study, name) for name in names}
    sizes = [study.halves[name].test.rows.shape[1] for name in names]
    sizes += [each.num_examples for each in published.values() if each is not None]
    length = judging.length_for(max(sizes, default=1))

    def half(name: str, test: bool) -> Sample:
        halves = study.halves[name]
        rows = (halves.test if test else halves.calibration).rows
        return judging.sample(study.tasks[name], rows, length)

    fitted = {name: half(name, False) for name in names}
    targets, held_out = {}, {}
    for name in names:
        targets[name] = _target(
            study, name, fitted, half(name, True), published[name], length
        )
        advance(study.tasks[name].title)
    for name in divisible(study):
        task, halves = study.tasks[name], study.halves[name]
        held_out[name] = _held_out(task, halves, study.settings)
        advance(f"{task.title}, classes")
    return Numbers(targets=targets, held_out=held_out)


def _published(study: Study, name: str) -> Outputs | None:
    """The split published for calibration, where there is one."""
    files = outputs.descriptions()[name].get("other_files", ())
    if not files or not all((study.folder / file).is_file() for file in files):
        return None
    return outputs.read(study.folder, name, published=True)


def _pairs(task: Outputs) -> np.ndarray:
    return np.array(task.small_large, np.int32)


def _worth(
    confidence: tuple[np.ndarray, np.ndarray],
    seen_where: np.ndarray,
    new: Sample,
    where: np.ndarray,
    pairs: np.ndarray,
    num_bins: int,
) -> list[Worth]:
    """Judges Z fits `[S, Z, M, L]`, of the calibration and the test examples."""
    binning = judging.equal_count(num_bins)
    (error,) = judging.errors(confidence[1], [new.correct], where, binning)
    recovered, _ = judging.cascade(
        confidence[0], seen_where, confidence[1], new.correct, where, pairs, binning
    )
    return [
        Worth(error=error[:, z, :, 0], recovered=recovered[:, z, :, 0])
        for z in range(error.shape[1])
    ]


def _target(
    study: Study,
    name: str,
    fitted: Mapping[str, Sample],
    new: Sample,
    published: Outputs | None,
    length: int,
) -> Target:
    task = study.tasks[name]
    pairs = _pairs(task)

    def worth(calibrator: str, seen: Sample) -> Worth:
        confidence = judging.calibrate(calibrator, seen, seen.where, new)
        num_bins = study.settings.num_bins
        return _worth(confidence, seen.where, new, new.where, pairs, num_bins)[0]

    other, num_published = None, 0
    if published is not None:
        num_published = published.num_examples
        # All splits calibrate on the same examples: only the test examples differ.
        rows = np.tile(np.arange(num_published), (len(new.rows), 1))
        other = worth(PLATT, judging.sample(published, rows, length))
    return Target(
        models=task.models,
        pairs=pairs,
        gap=judging.gaps(new.correct, new.where, pairs),
        stated=worth(NONE, fitted[name]),
        sources={
            source: worth(PLATT, seen)
            for source, seen in fitted.items()
            if study.tasks[source].models == task.models
        },
        published=other,
        num_published=num_published,
    )


def _held_out(task: Outputs, halves: Halves, settings: Settings) -> HeldOut:
    if task.logits is None or task.label is None:
        raise ValueError(f"{task.name}: expected logits, got the answers alone.")
    splits = judging.splits_of(halves)
    rows = halves.calibration.rows[splits], halves.test.rows[splits]
    length = judging.length_for(rows[0].shape[1])
    seen, new = (judging.sample(task, half, length) for half in rows)
    num_classes = task.logits.shape[-1]
    chosen = random_classes(settings.seed, num_classes, len(seen.rows))
    # Calibrated on examples of the chosen classes, judged on those of the others.
    inside = np.take_along_axis(chosen, task.label[seen.rows], axis=1)[:, None]
    outside = ~np.take_along_axis(chosen, task.label[new.rows], axis=1)[:, None]
    some, where = seen.where & inside, new.where & outside
    counts = some.sum(axis=-1)
    # As many from all classes: the first ones, since the rows are in random order.
    first = seen.where & (np.arange(length) < counts[..., None])
    fitted = np.concatenate([first, some], axis=1)
    confidence = judging.calibrate_logits(task, seen, fitted, new)
    pairs = _pairs(task)
    both = np.broadcast_to(where, fitted.shape)
    all_classes, other_classes = _worth(
        confidence, fitted, new, both, pairs, settings.num_bins
    )
    (stated,) = _worth(
        judging.calibrate(NONE, seen, first, new),
        first,
        new,
        where,
        pairs,
        settings.num_bins,
    )
    return HeldOut(
        models=task.models,
        pairs=pairs,
        num_classes=num_classes,
        num_fitted=counts[:, 0],
        gap=judging.gaps(new.correct, where, pairs),
        stated=stated,
        all_classes=all_classes,
        other_classes=other_classes,
    )
