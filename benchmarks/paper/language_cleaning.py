"""Labels made wrong in three ways, and what language models find of them.

Shapes: M models, N examples.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.kit import flags, report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Section

from . import flag_counts, flag_figures, text
from .flag_counts import Counts, FlagNumbers
from .flag_figures import PEER
from .study import Advance, Study

UNIFORM, BY_CLASS, CONFIDENT = "uniformly", "by class", "where experts err"
KINDS = (UNIFORM, BY_CLASS, CONFIDENT)

# Numbers of the random streams, after the seed of the study. Those of the splits start
# at 0, and must not be used again here.
_SEED = 1010


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseNumbers:
    """One task with labels flipped in one way.

    Attributes:
      num_wanted: labels to flip.
      num_flipped: labels that were flipped.
      found: `FlagNumbers`, where the flipped labels are the wrong ones.
    """

    num_wanted: int
    num_flipped: int
    found: FlagNumbers


# By task, then by kind of noise.
Numbers = Mapping[str, Mapping[str, NoiseNumbers]]


def num_steps(study: Study) -> int:
    return len(_names(study)) * len(KINDS)


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Flips labels, calibrates on the flipped ones as a user would, and flags."""
    settings = study.settings
    numbers = {}
    for name in _names(study):
        task, halves = study.tasks[name], study.halves[name]
        numbers[name] = {}
        for kind in KINDS:
            labels = flip(task, halves, kind, settings.flipped_share, settings.seed)
            flipped = labels != task.label
            noisy = dataclasses.replace(
                task,
                label=labels,
                correct=task.prediction == labels,
                is_error=flipped,
                is_judged=np.ones_like(flipped),
            )
            numbers[name][kind] = NoiseNumbers(
                num_wanted=_wanted(task, settings.flipped_share),
                num_flipped=int(flipped.sum()),
                found=flag_counts.evaluate(
                    noisy, halves, settings.num_bins, flags.FILTERS[:1]
                ),
            )
            advance(f"{task.title}, {kind}")
    return numbers


def _names(study: Study) -> list[str]:
    return [
        name
        for name, task in study.tasks.items()
        if task.experts and task.logits is not None and task.is_error is None
    ]


def _wanted(task: Outputs, share: float) -> int:
    return round(share * task.num_examples)


def flip(
    task: Outputs, halves: Halves, kind: str, share: float, seed: int
) -> np.ndarray:
    """Labels `[N]`, some of them wrong.

    Args:
      task: one with labels and logits.
      halves: those of the same task.
      kind: one of `KINDS`.
      share: share of the labels to flip.
      seed: for the choice of rows and classes.
    """
    labels, count = task.label.copy(), _wanted(task, share)
    if kind == CONFIDENT:
        rows, answers = _confidently_wrong(task, halves)
        labels[rows[:count]] = answers[:count]
        return labels
    num_classes = task.logits.shape[-1]
    rng = np.random.default_rng((seed, _SEED, KINDS.index(kind)))
    rows = rng.permutation(task.num_examples)[:count]
    if kind == UNIFORM:
        shift = rng.integers(1, num_classes, count)
    else:
        shift = rng.integers(1, num_classes, num_classes)[labels[rows]]
    labels[rows] = (labels[rows] + shift) % num_classes
    return labels


def _confidently_wrong(task: Outputs, halves: Halves) -> tuple[np.ndarray, np.ndarray]:
    """Rows where all experts give one wrong answer, surest first, and the answer."""
    experts = list(_all_experts(task))
    answer = task.prediction[experts]
    agreed = np.all((answer == answer[0]) & (answer != task.label), axis=0)
    least = flags.cross_fit(task, halves).confidence[experts].min(axis=0)
    rows = np.flatnonzero(agreed)
    rows = rows[np.argsort(-least[rows], kind="stable")]
    return rows, answer[0, rows]


def _all_experts(task: Outputs) -> tuple[int, ...]:
    return max(task.experts, key=len)


def describe(study: Study, numbers: Numbers) -> Section:
    """How many of the flipped labels the methods find."""
    several = len(numbers) > 1
    names = {
        name: f"cleaning-language{f'-{name}' if several else ''}" for name in numbers
    }
    return text.section(
        "language_cleaning",
        study,
        numbers,
        figures={
            names[name]: functools.partial(
                flag_figures.draw_panels,
                {
                    f"flipped {kind}": (noise.found, _largest(noise.found))
                    for kind, noise in task.items()
                },
            )
            for name, task in numbers.items()
        },
        figure_names=names,
        num_examples={name: study.tasks[name].num_examples for name in numbers},
        experts={
            name: [study.tasks[name].models[m] for m in _all_experts(study.tasks[name])]
            for name in numbers
        },
        tables={name: _table(task) for name, task in numbers.items()},
        **_evidence(study, numbers),
    )


def _largest(found: FlagNumbers) -> int:
    return max(range(len(found.experts)), key=lambda group: len(found.experts[group]))


def _table(task: Mapping[str, NoiseNumbers]) -> str:
    def sure(row: tuple[str, FlagNumbers, int]) -> str:
        _, found, group = row
        return f"K = {found.half[group]}: {_cell(found.sure(group, matched=False))}"

    return report.table(
        [
            (
                "flipped, experts",
                lambda row: f"{row[0]}, {len(row[1].experts[row[2]])}",
            ),
            ("Method 1", lambda row: _cell(row[1].method_1[row[2]])),
            ("Method 2", sure),
            ("Method 3", lambda row: _cell(row[1].method_3[row[2]])),
            (PEER, lambda row: _cell(row[1].peer[0, row[2]])),
        ],
        [
            (kind, noise.found, group)
            for kind, noise in task.items()
            for group in range(len(noise.found.experts))
        ],
    )


def _cell(count: Counts) -> str:
    precision, recall = report.percent(count.precision), report.percent(count.recall)
    return f"{count.flagged:,}, {precision} / {recall}"


def _evidence(study: Study, numbers: Numbers) -> dict[str, Any]:
    """Evidence for the claim, over all groups of experts and kinds of noise."""
    cases, found = [], []
    for name, task in numbers.items():
        for kind, noise in task.items():
            share = noise.num_flipped / noise.found.num_examples
            counts = [
                noise.found.sure(group, matched=False)
                for group in range(len(noise.found.experts))
            ]
            # Contradiction can never find a label that every expert agrees with.
            if kind != CONFIDENT:
                cases += [bool(count.low > share) for count in counts]
            values = ", ".join(report.percent(count.precision) for count in counts)
            found.append(
                f"{study.tasks[name].title}, flipped {kind}: {values} against "
                f"{report.percent(share)} at random"
            )
    return {"num_above": sum(cases), "num_cases": len(cases), "found": found}
