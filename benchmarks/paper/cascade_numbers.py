"""Results of the cascades of a small and a large model.

Shapes: S splits, P pairs, B bins, L allowed losses. An axis of length 2 before
the pairs is the kind of confidence, UC and CC (`routing`).
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

import calib_jax as cj
from benchmarks.kit.halves import take

from . import routing
from .study import Advance, Study


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskNumbers:
    """The pairs of one task, on the test halves.

    Attributes:
      pairs: names, "small → large".
      gap: float64 `[S, P]`, accuracy of the large model minus that of the small one.
      recovered: float32 `[S, 2, P]`, APGR.
      area: float32 `[S, 2, P]`, mean over all shares of the accuracy above random
        routing.
      gap_interval: float64 `[P, 2]`, bootstrap of the first split.
      recovered_interval: float64 `[3, P, 2]`, of UC, of CC and of CC minus UC.
      area_interval: float64 `[3, P, 2]`, likewise.
      calls_saved: float32 `[S, 2, P, L]`, share of inputs kept small, for the K that
        loses no more than allowed on the calibration half.
      change: float32 `[S, 2, P, L]`, accuracy minus that of the large model alone.
      dollars_saved: float64 `[S, 2, P, L]`, share of the cost of the large model alone,
        or None; the small model is always paid for.
      curve: `CascadeCurve` of arrays `[2, P, ...]`, of the first split.
    """

    pairs: tuple[str, ...]
    gap: np.ndarray
    recovered: np.ndarray
    area: np.ndarray
    gap_interval: np.ndarray
    recovered_interval: np.ndarray
    area_interval: np.ndarray
    calls_saved: np.ndarray
    change: np.ndarray
    dollars_saved: np.ndarray | None
    curve: cj.CascadeCurve

    @property
    def clear(self) -> np.ndarray:
        """bool `[P]`, whether the large model is clearly the better one."""
        return self.gap_interval[:, 0] > 0


Numbers = Mapping[str, TaskNumbers]


def num_steps(study: Study) -> int:
    return len(_tasks(study))


def _tasks(study: Study) -> list[str]:
    return [name for name, task in study.tasks.items() if task.small_large]


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Routes every small-large pair of every task."""
    numbers = {}
    for name in _tasks(study):
        numbers[name] = _evaluate_task(study, name)
        advance(study.tasks[name].title)
    return numbers


def _evaluate_task(study: Study, name: str) -> TaskNumbers:
    task = study.tasks[name]
    tally = routing.tally(study, name, task.small_large)
    seen = routing.read(tally.routers, tally.calibration)
    read = routing.read(tally.routers, tally.test)
    drawn = routing.read(routing.first_split(tally.routers), tally.draws)
    curve, num_small_bins = read.curve, seen.num_small_bins
    dollars_saved = None
    if tally.spent is not None:
        # Weighted by dollars, the share kept small is the share saved.
        kept = routing.read(tally.routers, tally.spent).curve.small_share
        cost = take(task.cost, study.halves[name].test.rows).sum(-1, dtype=np.float64)
        small, large = np.transpose(task.small_large)
        extra = (cost[:, small] / cost[:, large])[:, None, :, None]
        dollars_saved = routing.at(kept, num_small_bins) - extra
    accuracy = routing.at(curve.accuracy, num_small_bins)
    return TaskNumbers(
        pairs=tuple(
            f"{task.models[small]} → {task.models[large]}"
            for small, large in task.small_large
        ),
        gap=(curve.large_accuracy - curve.small_accuracy)[:, 0],
        recovered=read.recovered,
        area=read.area,
        gap_interval=routing.interval(drawn.curve.gain[:, 0, :, 0]),
        recovered_interval=_intervals(drawn.recovered),
        area_interval=_intervals(drawn.area),
        calls_saved=routing.at(curve.small_share, num_small_bins),
        change=accuracy - curve.large_accuracy[..., None],
        dollars_saved=dollars_saved,
        curve=jax.tree.map(lambda array: array[0], curve),
    )


def _intervals(draws: np.ndarray) -> np.ndarray:
    """Intervals of UC, CC and their difference, `[3, P, 2]`, from `[D, 2, P]`."""
    uncalibrated, calibrated = draws[:, 0], draws[:, 1]
    both = [uncalibrated, calibrated, calibrated - uncalibrated]
    return routing.interval(np.stack(both, axis=1))
