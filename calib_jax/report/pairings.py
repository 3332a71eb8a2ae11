"""Two models on a task: what a cascade of them recovers, and what each K achieves.

The large model's answer is taken wherever it is asked, as in the paper. Shapes: N
joined rows, K from 0 to num_bins.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..binning import bins
from ..binning.bins import DEFAULT_NUM_BINS
from ..cascade import routers
from ..io.outputs import Outputs
from . import pairs, points
from .on_tasks import Fits, Halved
from .points import JudgedRows

# Shares of large calls at which each pair is shown.
SHARES = (0.25, 0.5, 0.75)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Pairing:
    """An ordered pair of models on a task, on the rows that they share.

    Numbers are None where the pair was not fitted.

    Attributes:
      task: its name.
      small: the model that is asked first.
      large: the model that is asked for the rest.
      num_rows: rows that both have.
      small_accuracy: of the small model, on the half that is judged.
      large_accuracy: of the large model.
      gap: accuracy of the large model minus that of the small one.
      gap_standard_error: its standard error, of paired rows.
      apgr: average performance gap recovered by routing; None if both are equally
        accurate.
      apgr_lower: lower end of its interval, at the report's confidence level.
      apgr_upper: upper end.
      fitted_gap: gap in accuracy on the fitting half, where pairs are chosen.
      fitted_gap_standard_error: its standard error.
      fitted_apgr: APGR there, or None.
      accuracy_at_25: accuracy with at most 25% of inputs sent to the large model, on
        the half that is judged; K is from the other half.
      accuracy_at_50: likewise with 50%.
      accuracy_at_75: likewise with 75%.
      why_not: why the pair was not fitted, or None.
    """

    task: str
    small: str
    large: str
    num_rows: int | None = None
    small_accuracy: float | None = None
    large_accuracy: float | None = None
    gap: float | None = None
    gap_standard_error: float | None = None
    apgr: float | None = None
    apgr_lower: float | None = None
    apgr_upper: float | None = None
    fitted_gap: float | None = None
    fitted_gap_standard_error: float | None = None
    fitted_apgr: float | None = None
    accuracy_at_25: float | None = None
    accuracy_at_50: float | None = None
    accuracy_at_75: float | None = None
    why_not: str | None = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class MeanPair:
    """An ordered pair of models on all tasks that both have.

    Attributes:
      small: the model that is asked first.
      large: the model that is asked for the rest.
      num_tasks: their tasks.
      gap: mean gap in accuracy over the tasks, on the halves that are judged.
      gap_standard_error: its standard error, of paired rows.
      apgr: share of this gap that is recovered: the mean of each task's APGR times its
        gap, divided by the mean gap; None where the gap is less than twice its
        standard error.
      fitted_apgr: the same on the fitting halves. The pair with the largest one is the
        one to name: the largest `apgr` of many is partly luck.
    """

    small: str
    large: str
    num_tasks: int
    gap: float
    gap_standard_error: float
    apgr: float | None
    fitted_apgr: float | None


class Routed(NamedTuple):
    """The rows of a pair in the order in which a router keeps them; host arrays.

    Attributes:
      small: name of the model that is asked first.
      large: name of the other.
      place: int `[N]`, place of each row's bin in the order of the router, 0 for the
        bin that is kept small first: K keeps those below K.
      small_outcome: float64 `[N]`.
      large_outcome: float64 `[N]`.
      first: numbers of the rows that the router was fitted on.
      second: numbers of the rows to judge on.
    """

    small: str
    large: str
    place: np.ndarray
    small_outcome: np.ndarray
    large_outcome: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def right(self, num_small_bins: int, rows: np.ndarray) -> np.ndarray:
        """Float64, whether the cascade is right in some rows."""
        kept = self.place[rows] < num_small_bins
        return np.where(kept, self.small_outcome[rows], self.large_outcome[rows])

    def every_k(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Mean of `values` `[N]` over some rows, where they are kept, for every K."""
        sums = np.bincount(self.place[rows], values[rows], DEFAULT_NUM_BINS)
        return np.concatenate([[0.0], np.cumsum(sums)]) / len(rows)

    def accuracies(self, rows: np.ndarray) -> np.ndarray:
        """Accuracy on some rows for every K."""
        gain = self.every_k(rows, self.small_outcome - self.large_outcome)
        return float(np.mean(self.large_outcome[rows])) + gain

    def apgr(self, rows: np.ndarray) -> float | None:
        """Average performance gap recovered on some rows; None without a gap."""
        gain = self.every_k(rows, self.small_outcome - self.large_outcome)
        gap = -float(gain[-1])
        if gap == 0:
            return None
        widths, recovered = np.diff(self.small_shares(rows)), gain + gap
        return float(np.sum(widths * (recovered[1:] + recovered[:-1])) / (2 * gap))

    def small_shares(self, rows: np.ndarray) -> np.ndarray:
        """Share of some rows that the small model answers, for every K."""
        return self.every_k(rows, np.ones(len(self.place)))


def routed(small: Halved, large: Halved) -> tuple[Routed, routers.Router]:
    """The router of two models whose rows are joined."""
    first, second = small.first, small.second
    confidence = small.fitted.confidence
    router = routers.fit_router(
        confidence[first], large.fitted.confidence[first], num_bins=DEFAULT_NUM_BINS
    )
    return Routed(
        small.outputs.model,
        large.outputs.model,
        place_in(router, confidence),
        np.asarray(small.fitted.outcome, np.float64),
        np.asarray(large.fitted.outcome, np.float64),
        first,
        second,
    ), router


def place_in(router: routers.Router, confidence: np.ndarray) -> np.ndarray:
    """Place of each row's bin in the order of a router."""
    order = np.asarray(router.order)
    places = np.empty(len(order), np.intp)
    places[order] = np.arange(len(order))
    return places[np.asarray(bins.bin_index(router.bins, confidence))]


def of(
    small: Outputs, large: Outputs, fits: Fits, seed: int, confidence_level: float
) -> Pairing:
    """What a cascade of two models recovers on a task, or why it is not known."""
    names: dict[str, Any] = {
        "task": small.task,
        "small": small.model,
        "large": large.model,
    }
    num_rows = None
    try:
        joined = pairs.joined(small, large)
        num_rows = len(joined[0])
        halved = tuple(map(fits.of, joined))
    except ValueError as error:
        return Pairing(**names, num_rows=num_rows, why_not=str(error))
    found, router = routed(*halved)
    first, second = found.first, found.second
    interval = points.interval(
        jax.random.key(seed),
        router,
        JudgedRows(
            small_confidence=halved[0].fitted.confidence[second],
            small_outcome=halved[0].fitted.outcome[second],
            large_outcome=halved[1].fitted.outcome[second],
            conferred_outcome=None,
        ),
        confidence_level,
    )
    accuracies = found.accuracies(second)
    gains = found.large_outcome - found.small_outcome
    # Few bins kept small are many large calls.
    large_shares = 1 - found.small_shares(first)
    at_share = [
        float(accuracies[np.flatnonzero(large_shares <= share + 1e-9)[0]])
        for share in SHARES
    ]
    estimate, lower, upper = (
        _known(getattr(interval.apgr, name)) for name in ("estimate", "lower", "upper")
    )
    return Pairing(
        **names,
        num_rows=num_rows,
        small_accuracy=float(accuracies[-1]),
        large_accuracy=float(accuracies[0]),
        gap=float(np.mean(gains[second])),
        gap_standard_error=standard_error(gains[second]),
        apgr=estimate,
        apgr_lower=lower,
        apgr_upper=upper,
        fitted_gap=float(np.mean(gains[first])),
        fitted_gap_standard_error=standard_error(gains[first]),
        fitted_apgr=found.apgr(first),
        accuracy_at_25=at_share[0],
        accuracy_at_50=at_share[1],
        accuracy_at_75=at_share[2],
    )


def means(found: Sequence[Pairing]) -> tuple[MeanPair, ...]:
    """Each ordered pair on its tasks together, the best on the fitting halves first.

    Those whose gap may be chance on one of the halves stand last: a share of a small
    gap is easily large.
    """
    by_pair: dict[tuple[str, str], list[Pairing]] = collections.defaultdict(list)
    for one in found:
        if one.why_not is None:
            by_pair[one.small, one.large].append(one)
    rows = [_mean(*names, some) for names, some in by_pair.items()]
    return tuple(
        sorted(
            rows,
            key=lambda one: (
                one.apgr is None or one.fitted_apgr is None,
                -(one.fitted_apgr or 0.0),
                one.small,
                one.large,
            ),
        )
    )


def _mean(small: str, large: str, some: Sequence[Pairing]) -> MeanPair:
    gap, error, apgr = _recovered(
        [(one.gap, one.gap_standard_error, one.apgr) for one in some]
    )
    *_, fitted_apgr = _recovered(
        [
            (one.fitted_gap, one.fitted_gap_standard_error, one.fitted_apgr)
            for one in some
        ]
    )
    return MeanPair(
        small=small,
        large=large,
        num_tasks=len(some),
        gap=gap,
        gap_standard_error=error,
        apgr=apgr,
        fitted_apgr=fitted_apgr,
    )


def _recovered(rows: Sequence[tuple[Any, Any, Any]]) -> tuple[float, float, Any]:
    """Mean gap, its standard error, and the share of it that is recovered, or None."""
    gaps, errors = (
        np.array(some, np.float64) for some in [*zip(*rows, strict=True)][:2]
    )
    gap, error = float(gaps.mean()), float(np.sqrt((errors**2).sum()) / len(rows))
    # Without a gap there is no APGR, and nothing to recover.
    recovered = float(np.mean([(apgr or 0.0) * gap for gap, _, apgr in rows]))
    return gap, error, recovered / gap if gap > 2 * error else None


def standard_error(values: np.ndarray) -> float:
    """Standard error of a mean over rows."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def _known(value: jax.Array) -> float | None:
    found = points.short(value)
    return found if np.isfinite(found) else None
