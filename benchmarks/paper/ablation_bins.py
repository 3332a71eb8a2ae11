"""The number and the kind of bins (Table 5).

Shapes: S splits, M models, P pairs, B numbers of bins.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Draw

from . import ablation_figures, judging
from .ablation_figures import Panel
from .judging import Binning
from .study import Settings, Study

COUNTS = (5, 10, 15, 20, 30, 50, 75, 100)
# The number at which both kinds are compared, and the range in which the choice is
# called free.
_USUAL, _FREE = 15, (10, 50)
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
      gap: float64 `[S, P]`, test accuracy of the large minus that of the small model.
      binned: `Binned` by kind of bins.
    """

    counts: np.ndarray
    gap: np.ndarray
    binned: Mapping[str, Binned]


def draw_outcomes(seed: int, confidence: np.ndarray) -> np.ndarray:
    """Outcomes `[S, M, n]` drawn with exactly the stated probabilities."""
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
        # There is one fit per split.
        return Binned(**{key: part[:, 0][..., chosen] for key, part in parts.items()})

    return BinNumbers(
        counts=np.array(COUNTS, np.int32),
        gap=judging.gaps(correct, where, pairs),
        binned={EQUAL_COUNT: half(False), EQUAL_WIDTH: half(True)},
    )


def values(study: Study, numbers: Mapping[str, BinNumbers]) -> dict[str, Any]:
    """Tables and evidence by their names in the template."""

    def table(header: str, rows: Sequence[_Row], *more: Any) -> str:
        bins = [
            (str(count), lambda row, b=b: report.number(row[1][b]))
            for b, count in enumerate(COUNTS)
        ]
        return report.table([(header, lambda row: row[0]), *bins, *more], rows)

    titles = {name: study.tasks[name].title for name in numbers}
    return {
        "counts": COUNTS,
        "bin_table": table(
            "task, bins: APGR",
            [
                (f"{titles[name]}, {kind}", _recovered(task, kind), binned)
                for name, task in numbers.items()
                for kind, binned in task.binned.items()
            ],
            (
                "filled (%)",
                lambda row: report.percent(
                    row[2].filled[..., -1].mean() / COUNTS[-1], 0
                ),
            ),
        ),
        "bin_error_table": table(
            "task, bins: ECE",
            [
                (f"{titles[name]}, {label}", error)
                for name, task in numbers.items()
                for label, error in _errors(task).items()
            ],
        ),
        **_evidence(numbers),
    }


# A label, and a value for each number of bins.
_Row = tuple[str, np.ndarray, *tuple[Any, ...]]


def _recovered(task: BinNumbers, kind: str) -> np.ndarray:
    """Mean APGR `[B]`."""
    recovered = np.moveaxis(task.binned[kind].recovered, -1, 1)
    return judging.over_clear_pairs(recovered, task.gap)


def _errors(task: BinNumbers) -> dict[str, np.ndarray]:
    """Mean ECE `[B]` by kind of bins, and the ECE by chance."""
    return {
        label: error.mean(axis=(0, 1))
        for kind, binned in task.binned.items()
        for label, error in (
            (kind, binned.error),
            (f"{kind}, by chance", binned.chance_error),
        )
    }


def figures(study: Study, numbers: Mapping[str, BinNumbers]) -> dict[str, Draw]:
    """The drawing functions by name."""

    def panels(lines: Callable[[BinNumbers], Mapping[str, np.ndarray]]) -> list[Panel]:
        return [
            Panel(title=study.tasks[name].title, x=task.counts, lines=lines(task))
            for name, task in numbers.items()
        ]

    def recovered(task: BinNumbers) -> dict[str, np.ndarray]:
        return {kind: _recovered(task, kind) for kind in task.binned}

    return {
        name: functools.partial(
            ablation_figures.draw,
            panels(lines),
            "number of bins",
            y_label,
        )
        for name, y_label, lines in (
            ("bins-apgr", "APGR", recovered),
            ("bins-ece", "ECE", _errors),
        )
    }


def _evidence(numbers: Mapping[str, BinNumbers]) -> dict[str, Any]:
    """Evidence for the claims on the number of bins and their kind."""
    counts = np.array(COUNTS)
    free = (counts >= _FREE[0]) & (counts <= _FREE[1])
    means = {
        kind: np.array([_recovered(task, kind) for task in numbers.values()])
        for kind in (EQUAL_COUNT, EQUAL_WIDTH)
    }
    # A task without a usable pair is left out.
    known = np.isfinite(means[EQUAL_COUNT]).all(axis=1)
    if not known.any():
        return {}
    fresh, even = (means[kind][known] for kind in (EQUAL_COUNT, EQUAL_WIDTH))
    ranges = np.ptp(fresh[:, free], axis=1)
    differ = (fresh - even)[:, COUNTS.index(_USUAL)]

    def growth(name: str) -> np.ndarray:
        errors = [getattr(task.binned[EQUAL_COUNT], name) for task in numbers.values()]
        return np.array([(error[..., -1] - error[..., 0]).mean() for error in errors])

    return {
        "free": _FREE,
        "ranges": ranges,
        "flat": int(np.sum(ranges <= judging.TOLERANCE)),
        "growth": growth("error"),
        "chance_growth": growth("chance_error"),
        "usual": _USUAL,
        "kinds_differ": differ,
        "num_equal_count": int(np.sum(differ >= 0)),
    }
