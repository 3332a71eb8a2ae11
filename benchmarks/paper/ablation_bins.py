"""How many bins, and of which kind (Table 5).

Shapes: S splits, M models, P pairs, B numbers of bins.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Claim, Draw

from . import ablation_figures, judging
from .ablation_figures import Panel
from .judging import Binning
from .study import Settings, Study

COUNTS = (5, 10, 15, 20, 30, 50, 75, 100)
EQUAL_COUNT, EQUAL_WIDTH = "equal count", "equal width"

_SEED = 1020


@dataclasses.dataclass(frozen=True, kw_only=True)
class Binned:
    """One kind of bins, on the test half, with calibrated confidences.

    Attributes:
      error: float32 `[S, M, B]`, ECE.
      chance_error: float32 `[S, M, B]`, the ECE if each answer were correct with
        exactly the calibrated probability: one draw of outcomes a split.
      recovered: float32 `[S, P, B]`, APGR.
      filled: float32 `[S, P, B]`, bins of the router that hold calibration examples.
    """

    error: np.ndarray
    chance_error: np.ndarray
    recovered: np.ndarray
    filled: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class BinNumbers:
    """One task.

    Attributes:
      counts: int32 `[B]`, numbers of bins.
      gap: float64 `[S, P]`, test accuracy of the large less that of the small model.
      binned: `Binned` by kind of bins.
    """

    counts: np.ndarray
    gap: np.ndarray
    binned: Mapping[str, Binned]


def draw_outcomes(seed: int, confidence: np.ndarray) -> np.ndarray:
    """Outcomes `[S, M, n]` of models that are right as often as they say."""
    return np.random.default_rng((seed, _SEED)).random(confidence.shape) < confidence


def evaluate(outputs: Outputs, halves: Halves, settings: Settings) -> BinNumbers:
    """Measures with every number of bins of both kinds."""
    splits = judging.splits_of(halves)
    seen, new = halves.calibration, halves.test
    length = judging.length_for(new.rows.shape[1])

    def padded(values: np.ndarray) -> np.ndarray:
        values = values[splits]
        return np.pad(values, [(0, 0), (0, 0), (0, length - values.shape[-1])])

    confidence = padded(seen.calibrated)[:, None], padded(new.calibrated)[:, None]
    correct = padded(new.correct)
    outcomes = padded(draw_outcomes(settings.seed, new.calibrated))
    where = np.arange(length) < new.rows.shape[1]
    where = np.broadcast_to(where, (len(correct), 1, length))
    pairs = np.array(outputs.small_large, np.int32)
    binning = Binning(
        counts=np.array(2 * COUNTS, np.int32),
        equal_width=np.repeat([False, True], len(COUNTS)),
    )
    recovered, filled = judging.cascade(
        confidence[0], where, confidence[1], correct, where, pairs, binning
    )
    error, chance_error = judging.errors(
        confidence[1], [correct, outcomes], where, binning
    )
    parts = {
        "error": error,
        "chance_error": chance_error,
        "recovered": recovered,
        "filled": filled,
    }

    def half(equal_width: bool) -> Binned:
        chosen = binning.equal_width == equal_width
        # There is one fit a split.
        return Binned(**{key: part[:, 0][..., chosen] for key, part in parts.items()})

    return BinNumbers(
        counts=np.array(COUNTS, np.int32),
        gap=judging.gaps(correct, where, pairs),
        binned={EQUAL_COUNT: half(False), EQUAL_WIDTH: half(True)},
    )


def blocks(study: Study, numbers: Mapping[str, BinNumbers]) -> list[str]:
    """Two tables and two figures."""
    bins = [str(count) for count in COUNTS]
    return [
        "APGR of the calibration-aware router by its number of bins, mean over splits "
        "and pairs. Bins of equal count are cut at quantiles of the small model's "
        "calibrated confidence, bins of equal width between 0 and 1, where many hold "
        "no example: *filled* is the share that do, at the most bins.",
        report.table(
            ["task, bins: APGR", *bins, "filled (%)"],
            [
                [
                    f"{study.tasks[name].title}, {kind}",
                    *map(report.number, _recovered(task, kind)),
                    report.percent(binned.filled[..., -1].mean() / COUNTS[-1], 0),
                ]
                for name, task in numbers.items()
                for kind, binned in task.binned.items()
            ],
        ),
        report.figure(
            "bins-apgr",
            "APGR against the number of bins (logarithmic), mean over splits and "
            "pairs: where a line is flat, the number of bins does not matter.",
        ),
        "ECE of the calibrated confidences on the test half by number of bins, mean "
        "over splits and models. *By chance* is the ECE of outcomes drawn once a split "
        "with exactly the calibrated probabilities: what a perfectly calibrated model "
        "shows. It grows with the number of bins, since fewer examples average out in "
        "each: that ECE grows is no sign of worse calibration.",
        report.table(
            ["task, bins: ECE", *bins],
            [
                [
                    f"{study.tasks[name].title}, {label}",
                    *map(report.number, values.mean(axis=(0, 1))),
                ]
                for name, task in numbers.items()
                for kind, binned in task.binned.items()
                for label, values in (
                    (kind, binned.error),
                    (f"{kind}, by chance", binned.chance_error),
                )
            ],
        ),
        report.figure(
            "bins-ece",
            "ECE against the number of bins (logarithmic), mean over splits and "
            "models, and what a perfectly calibrated model shows by chance.",
        ),
    ]


def _recovered(task: BinNumbers, kind: str) -> np.ndarray:
    """Mean APGR `[B]`."""
    recovered = np.moveaxis(task.binned[kind].recovered, -1, 1)
    return judging.over_clear_pairs(recovered, task.gap)


def figures(study: Study, numbers: Mapping[str, BinNumbers]) -> dict[str, Draw]:
    """The drawing functions by name."""

    def panels(lines: Callable[[BinNumbers], Mapping[str, np.ndarray]]) -> list[Panel]:
        return [
            Panel(title=study.tasks[name].title, x=task.counts, lines=lines(task))
            for name, task in numbers.items()
        ]

    def recovered(task: BinNumbers) -> dict[str, np.ndarray]:
        return {kind: _recovered(task, kind) for kind in task.binned}

    def error(task: BinNumbers) -> dict[str, np.ndarray]:
        return {
            label: values.mean(axis=(0, 1))
            for kind, binned in task.binned.items()
            for label, values in (
                (kind, binned.error),
                (f"{kind}, by chance", binned.chance_error),
            )
        }

    return {
        name: functools.partial(
            ablation_figures.draw,
            panels(lines),
            "number of bins",
            y_label,
        )
        for name, y_label, lines in (
            ("bins-apgr", "APGR", recovered),
            ("bins-ece", "ECE", error),
        )
    }


# The numbers of bins over which the choice is called free, and how far APGR may move.
_FREE, _TOLERANCE = (10, 50), 0.01


def claims(numbers: Mapping[str, BinNumbers]) -> list[Claim]:
    """The number of bins and their kind."""
    counts = np.array(COUNTS)
    free = (counts >= _FREE[0]) & (counts <= _FREE[1])
    means = {
        kind: np.array([_recovered(task, kind) for task in numbers.values()])
        for kind in (EQUAL_COUNT, EQUAL_WIDTH)
    }
    # A task without a pair to judge by takes no part.
    known = np.isfinite(means[EQUAL_COUNT]).all(axis=1)
    if not known.any():
        return []
    fresh, even = (means[kind][known] for kind in (EQUAL_COUNT, EQUAL_WIDTH))
    ranges = np.ptp(fresh[:, free], axis=1)
    flat = int(np.sum(ranges <= _TOLERANCE))
    at = int(np.flatnonzero(counts == 15)[0])
    better = int(np.sum(fresh[:, at] >= even[:, at]))
    growth = np.array(
        [
            (binned.error[..., -1] - binned.error[..., 0]).mean()
            for task in numbers.values()
            for binned in [task.binned[EQUAL_COUNT]]
        ]
    )
    chance = np.array(
        [
            (binned.chance_error[..., -1] - binned.chance_error[..., 0]).mean()
            for task in numbers.values()
            for binned in [task.binned[EQUAL_COUNT]]
        ]
    )
    return [
        Claim(
            "Calibration-aware routing does not depend much on the number of bins",
            report.verdict(flat, len(ranges)),
            f"from {_FREE[0]} to {_FREE[1]} equal-count bins the mean APGR of a task "
            f"moves by {report.number(ranges.min())} to {report.number(ranges.max())}, "
            f"by {_TOLERANCE} at most in {flat} of {len(ranges)} tasks; meanwhile from "
            f"{COUNTS[0]} to {COUNTS[-1]} bins ECE grows by "
            f"{report.number(np.median(growth))} in the median task, of which chance "
            f"alone explains {report.number(np.median(chance))}",
        ),
        Claim(
            f"At {COUNTS[at]} bins, equal-count bins route at least as well as "
            "equal-width ones",
            report.verdict(better, len(fresh)),
            f"so in {better} of {len(fresh)} tasks; mean APGR differs by "
            f"{report.number((fresh - even)[:, at].min())} to "
            f"{report.number((fresh - even)[:, at].max())}",
        ),
    ]
