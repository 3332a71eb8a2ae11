"""Every calibrator (Table 4), on calibration sets of every size.

Shapes: S splits, Z sizes, M models, P pairs, n examples of a half.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs
from benchmarks.kit.report import Draw

from . import ablation_figures, judging
from .ablation_figures import Panel
from .judging import HISTOGRAM, NONE, PLATT, TEMPERATURE
from .study import Settings, Study

# Sizes smaller than the calibration half of a task are used, and the whole half.
SIZES = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One calibrator on the test half.

    Attributes:
      error: float32 `[S, Z, M]`, ECE.
      recovered: float32 `[S, Z, P]`, APGR.
      filled: float32 `[S, Z, P]`, bins of the router that hold calibration examples.
    """

    error: np.ndarray
    recovered: np.ndarray
    filled: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeNumbers:
    """One task.

    Attributes:
      models: names.
      pairs: int32 `[P, 2]`, the small model first.
      sizes: int32 `[Z]`, calibration examples; the last is the whole half.
      gap: float64 `[S, P]`, test accuracy of the large minus that of the small model.
      judged: `Judged` by calibrator.
    """

    models: tuple[str, ...]
    pairs: np.ndarray
    sizes: np.ndarray
    gap: np.ndarray
    judged: Mapping[str, Judged]

    @property
    def default(self) -> str:
        """The calibrator that all other sections use."""
        return TEMPERATURE if TEMPERATURE in self.judged else PLATT


def evaluate(outputs: Outputs, halves: Halves, settings: Settings) -> SizeNumbers:
    """Fits every calibrator on the first examples of every calibration half."""
    splits = judging.splits_of(halves)
    calibration, test = halves.calibration.rows[splits], halves.test.rows[splits]
    num_splits, count = calibration.shape
    length = judging.length_for(count)
    seen = judging.sample(outputs, calibration, length)
    new = judging.sample(outputs, test, length)
    sizes = np.array([*(size for size in SIZES if size < count), count], np.int32)
    pairs = np.array(outputs.small_large, np.int32)
    # The rows are in random order, so that the first ones are a random sample.
    first = np.arange(length) < sizes[:, None]
    first = np.broadcast_to(first, (num_splits, *first.shape))
    where = np.broadcast_to(new.where, first.shape)
    binning = judging.equal_count(settings.num_bins)
    judged = {}
    for calibrator in (NONE, HISTOGRAM, PLATT, TEMPERATURE):
        if calibrator != TEMPERATURE:
            confidence = judging.calibrate(calibrator, seen, first, new)
        elif outputs.logits is not None:
            confidence = judging.calibrate_logits(outputs, seen, first, new)
        else:
            continue
        recovered, filled = judging.cascade(
            confidence[0], first, confidence[1], new.correct, where, pairs, binning
        )
        (error,) = judging.errors(confidence[1], [new.correct], where, binning)
        judged[calibrator] = Judged(
            error=error[..., 0],
            recovered=recovered[..., 0],
            filled=filled[..., 0],
        )
    return SizeNumbers(
        models=outputs.models,
        pairs=pairs,
        sizes=sizes,
        gap=judging.gaps(new.correct, new.where, pairs),
        judged=judged,
    )


# "A few hundred" means at most this.
_FEW = 500


def values(study: Study, numbers: Mapping[str, SizeNumbers]) -> dict[str, Any]:
    """Tables and evidence by their names in the template."""
    found = {}
    for name, task in numbers.items():
        recovered = _recovered(task, task.default)
        if np.isfinite(recovered).all():
            found[study.tasks[name].title] = int(task.sizes[_enough(recovered)])
    return {
        "size_table": _table(study, numbers),
        "few": _FEW,
        "num_few": sum(size <= _FEW for size in found.values()),
        "enough": [f"{size:,} ({title})" for title, size in found.items()],
    }


def _recovered(task: SizeNumbers, calibrator: str) -> np.ndarray:
    """Mean APGR `[Z]`."""
    return judging.over_clear_pairs(task.judged[calibrator].recovered, task.gap)


def _enough(recovered: np.ndarray) -> int:
    """The first size from which all are as good as the last."""
    far = np.flatnonzero(~(np.abs(recovered - recovered[-1]) <= judging.TOLERANCE))
    return int(far[-1]) + 1 if len(far) else 0


def _table(study: Study, numbers: Mapping[str, SizeNumbers]) -> str:
    def enough(row: _Row, cell: Callable[[int], str]) -> str:
        return cell(_enough(row[2])) if np.isfinite(row[2]).all() else "-"

    return report.table(
        [
            ("task, calibrator", lambda row: row[0]),
            (f"APGR with {SIZES[0]}", lambda row: report.number(row[2][0])),
            ("with all", lambda row: report.number(row[2][-1])),
            ("all", lambda row: report.thousands(row[1][-1])),
            (
                "enough",
                lambda row: enough(row, lambda z: report.thousands(row[1][z])),
            ),
            (f"ECE with {SIZES[0]}", lambda row: report.number(row[3][0])),
            (
                "with enough",
                lambda row: enough(row, lambda z: report.number(row[3][z])),
            ),
            ("with all", lambda row: report.number(row[3][-1])),
        ],
        [
            (
                f"{study.tasks[name].title}, {calibrator}",
                task.sizes,
                _recovered(task, calibrator),
                judged.error.mean(axis=(0, 2)),
            )
            for name, task in numbers.items()
            for calibrator, judged in task.judged.items()
        ],
    )


# A label, sizes, and APGR and ECE at each of them.
_Row = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def figures(study: Study, numbers: Mapping[str, SizeNumbers]) -> dict[str, Draw]:
    """The drawing functions by name."""

    def recovered(task: SizeNumbers) -> dict[str, np.ndarray]:
        return {calibrator: _recovered(task, calibrator) for calibrator in task.judged}

    def error(task: SizeNumbers) -> dict[str, np.ndarray]:
        return {
            calibrator: judged.error.mean(axis=(0, 2))
            for calibrator, judged in task.judged.items()
        }

    return {
        name: functools.partial(
            ablation_figures.draw,
            [
                Panel(title=study.tasks[task].title, x=each.sizes, lines=lines(each))
                for task, each in numbers.items()
            ],
            "calibration examples",
            y_label,
        )
        for name, y_label, lines in (
            ("size-apgr", "APGR", recovered),
            ("size-ece", "ECE", error),
        )
    }
