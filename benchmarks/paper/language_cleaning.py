"""Labels made wrong in three ways, and what experts find of them: language models.

Shapes: M models, N examples.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from benchmarks.kit import flags, report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Claim, Section

from . import flag_counts, flag_figures
from .flag_counts import Counts, FlagNumbers
from .flag_figures import PEER
from .study import Advance, Study

UNIFORM, BY_CLASS, CONFIDENT = "uniformly", "by class", "where experts err"
KINDS = (UNIFORM, BY_CLASS, CONFIDENT)

# Of the streams of random numbers, after the seed of the study; those of the splits
# are numbered from 0, and no other stream may be one of them.
_SEED = 1010


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseNumbers:
    """One task with labels flipped in one way.

    Attributes:
      num_wanted: labels that were to be flipped.
      num_flipped: labels that were.
      found: `FlagNumbers`, the flipped labels being the wrong ones.
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
      task: with labels and logits.
      halves: of the same task.
      kind: one of `KINDS`.
      share: of the labels to flip.
      seed: of the choice of rows and classes.
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
    """Rows where all experts name one wrong answer, surest first, and the answer."""
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
    """What the methods find of the flipped labels."""
    title = "Cleaning labels with language models"
    if not numbers:
        blocks = ["No task with the logits of experts is in the folder."]
        return Section(title=title, blocks=blocks)
    blocks, figures = [_METHODS], {}
    for name, task in numbers.items():
        figure = "cleaning-language" + (f"-{name}" if len(numbers) > 1 else "")
        panels = {
            f"flipped {kind}": (noise.found, _largest(noise.found))
            for kind, noise in task.items()
        }
        figures[figure] = functools.partial(flag_figures.draw_panels, panels)
        blocks += [
            f"### {study.tasks[name].title}",
            _noise(study, name, task),
            report.table(*_table(task)),
            report.figure(
                figure,
                f"{study.tasks[name].title}: precision against the share of labels "
                f"flagged by {len(_all_experts(study.tasks[name]))} experts, by the "
                "way in which labels were flipped.",
            ),
        ]
    return Section(
        title=title,
        blocks=blocks,
        figures=figures,
        claims=[_claim(study, numbers)],
        numbers=numbers,
    )


_METHODS = (
    "Here no person judged the labels, so some are made wrong: to another option at "
    "random; by class, each class to one fixed other class; and where experts err, to "
    "the one wrong answer on which all experts agree, most confident first (by the "
    "least calibrated confidence over them) where there are more than wanted. The "
    "experts are then calibrated on the flipped labels, which is what a user has, on "
    "one half for the other as above. "
    "Precision and recall are of the flipped labels. The labels as published are "
    "noisy themselves, and wherever a method flags a published label that is wrong it "
    "counts against the method: precision is a lower bound."
)


def _largest(found: FlagNumbers) -> int:
    return max(range(len(found.experts)), key=lambda group: len(found.experts[group]))


def _noise(study: Study, name: str, task: Mapping[str, NoiseNumbers]) -> str:
    parts = [
        f"{kind} {noise.num_flipped:,}"
        + (
            f" (of {noise.num_wanted:,} wanted: there are no more such labels)"
            if noise.num_flipped < noise.num_wanted
            else ""
        )
        for kind, noise in task.items()
    ]
    experts = ", ".join(
        study.tasks[name].models[model] for model in _all_experts(study.tasks[name])
    )
    return (
        f"Labels flipped, of {study.tasks[name].num_examples:,}: {'; '.join(parts)}. "
        f"Experts: {experts}; smaller groups are in `results.json` by name. Cells are "
        "the number of flags, and precision / recall in %; Method 2 at the K with "
        "about half the flags of Method 1. Where experts err, the "
        "flipped label is what every expert says: nothing contradicts it, so Methods "
        "1 and 2 cannot find any of them, however confident the experts are."
    )


def _table(task: Mapping[str, NoiseNumbers]) -> tuple[list[str], list[list[str]]]:
    header = ["flipped, experts", "Method 1", "Method 2", "Method 3", PEER]
    rows = []
    for kind, noise in task.items():
        found = noise.found
        for group, names in enumerate(found.experts):
            sure = _cell(found.sure(group, matched=False))
            rows.append(
                [
                    f"{kind}, {len(names)}",
                    _cell(found.method_1[group]),
                    f"K = {found.half[group]}: {sure}",
                    _cell(found.method_3[group]),
                    _cell(found.peer[0, group]),
                ]
            )
    return header, rows


def _cell(count: Counts) -> str:
    precision, recall = report.percent(count.precision), report.percent(count.recall)
    return f"{count.flagged:,}, {precision} / {recall}"


def _claim(study: Study, numbers: Numbers) -> Claim:
    cases, found = [], []
    for name, task in numbers.items():
        for kind, noise in task.items():
            share = noise.num_flipped / noise.found.num_examples
            counts = [
                noise.found.sure(group, matched=False)
                for group in range(len(noise.found.experts))
            ]
            # Contradiction cannot find what every expert says: not a matter of luck.
            if kind != CONFIDENT:
                cases += [count.low > share for count in counts]
            values = ", ".join(report.percent(count.precision) for count in counts)
            found.append(
                f"{study.tasks[name].title}, flipped {kind}: {values} against "
                f"{report.percent(share)} at random"
            )
    return Claim(
        "Language models that contradict a label with high confidence find wrong "
        "labels",
        report.verdict(sum(map(bool, cases)), len(cases)),
        f"Method 2 is more precise than flags at random for {sum(map(bool, cases))} of "
        f"{len(cases)} groups of experts and kinds of noise (without labels flipped to "
        "what every expert says, of which it finds none by construction); precision in "
        f"%: {'; '.join(found)}",
    )
