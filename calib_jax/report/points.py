"""What a cascade achieves with every K, and how many rows its promise needs.

Shapes: N rows, `num_bins` bins, K from 0 to num_bins.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..cascade import curves, intervals, routers, savings, selection
from ..cascade.intervals import CascadeInterval
from ..cascade.routers import Router
from ..cascade.savings import CascadeSavings
from ..cascade.selection import Selection
from ..stats import bounds
from ..stats.intervals import Interval

# How many times as many rows are looked at for whether they would suffice.
_MORE_ROWS = 2.0 ** np.arange(0.25, 10.1, 0.25)


class JudgedRows(NamedTuple):
    """What a cascade is judged on, under the names of the functions that judge it.

    Attributes:
      small_confidence: float32 `[N]`, calibrated.
      small_outcome: float32 or bool `[N]`.
      large_outcome: float32 or bool `[N]`.
      conferred_outcome: float32 or bool `[N]`, of the answers that are taken where both
        models were asked, or None where they are the large model's.
    """

    small_confidence: np.ndarray
    small_outcome: np.ndarray
    large_outcome: np.ndarray
    conferred_outcome: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Point:
    """What a cascade achieves with K bins kept small, on the rows that K is chosen on.

    Attributes:
      num_small_bins: K.
      small_share: share of inputs that the small model answers: large calls saved.
      accuracy: of the cascade.
      accuracy_interval: its lower and upper end.
      accuracy_change: accuracy minus that of always asking the large model.
      accuracy_change_interval: its lower and upper end.
      drop_bound: the largest loss of accuracy that cannot be excluded at the report's
        confidence level; what the promise compares with its limit. 0 at K = 0
        without an arbiter.
      cost: mean cost of an input, or None without costs. At K = 0 without an arbiter
        the small model is not asked.
      cost_saved_share: cost saved as a share of always asking the large model, or None.
      cost_saved_share_interval: its lower and upper end, or None.
      allowed: whether the promise holds for this K. K = 0 is not tested, and needs no
        promise if the large model decides.
    """

    num_small_bins: int
    small_share: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_change: float
    accuracy_change_interval: tuple[float, float]
    drop_bound: float
    cost: float | None
    cost_saved_share: float | None
    cost_saved_share_interval: tuple[float, float] | None
    allowed: bool


def with_outcomes(router: Router, rows: JudgedRows, over: np.ndarray) -> Router:
    """A router whose table has outcomes, which a later check compares with.

    Args:
      router: fitted on the rows.
      rows: with the outcomes of answers that are taken where both models were asked.
      over: float32 `[N]`, the confidence whose advantage the router orders its bins by.
    """
    asked = rows.conferred_outcome
    table = routers.advantage_table(
        router.bins,
        rows.small_confidence,
        over,
        small_outcome=rows.small_outcome,
        large_outcome=rows.large_outcome if asked is None else asked,
    )
    return dataclasses.replace(router, table=table)


def interval(
    key: jax.Array, router: Router, rows: JudgedRows, confidence_level: float
) -> CascadeInterval:
    """What a cascade achieves; advantages of bins are those of answers that are taken
    where both models were asked."""
    found = intervals.cascade_interval(
        key, router, confidence_level=confidence_level, **rows._asdict()
    )
    if rows.conferred_outcome is None:
        return found
    taken = intervals.cascade_interval(
        key,
        router,
        *rows[:2],
        rows.conferred_outcome,
        confidence_level=confidence_level,
    )
    return dataclasses.replace(found, outcome_advantage=taken.outcome_advantage)


def with_large_alone(found: CascadeInterval, alone: CascadeInterval) -> CascadeInterval:
    """The first with K = 0 of the second, in which no arbiter decides."""

    def first(one: Interval, other: Interval) -> Interval:
        return jax.tree.map(
            lambda values, start: np.concatenate([start[:1], values[1:]]), one, other
        )

    return dataclasses.replace(
        found,
        small_share=first(found.small_share, alone.small_share),
        accuracy=first(found.accuracy, alone.accuracy),
        over_large=first(found.over_large, alone.over_large),
        pgr=first(found.pgr, alone.pgr),
    )


def for_every_k(
    key: jax.Array,
    router: Router,
    rows: JudgedRows,
    each: tuple[Any, Any],
    confidence_level: float,
) -> list[CascadeSavings] | None:
    """What is saved for every K, or None without costs."""
    if each[0] is None:
        return None
    prices = [np.asarray(one, np.float32) for one in each]
    return [
        jax.device_get(
            savings.cascade_savings(
                key,
                router,
                num_small_bins=jnp.int32(budget),
                **rows._asdict(),
                small_cost=prices[0],
                large_cost=prices[1],
                confidence_level=confidence_level,
            )
        )
        for budget in range(router.bins.num_bins + 1)
    ]


def of(
    interval: CascadeInterval,
    chosen: Selection,
    saved: list[CascadeSavings] | None,
    *,
    confers: bool,
) -> tuple[Point, ...]:
    """What every K achieves, K = 0 first.

    Args:
      interval: of the cascade.
      chosen: for K.
      saved: what every K saves, or None.
      confers: whether an arbiter decides where both models were asked.
    """
    interval, chosen = jax.device_get((interval, chosen))
    bound = np.asarray(chosen.bound)
    shares, accuracies, changes = (
        np.asarray(one.estimate)
        for one in (interval.small_share, interval.accuracy, interval.over_large)
    )
    found = []
    for budget in range(len(bound)):
        part = None if saved is None else saved[budget].cost_saved_share
        share = None if part is None else _finite(part.estimate)
        ends = (
            None
            if share is None or part is None
            else (short(part.lower), short(part.upper))
        )
        cost = None if saved is None else short(saved[budget].cost.estimate)
        if saved is not None and not budget and not confers:
            # Always asking the large model takes no small one.
            cost = short(saved[0].cost.estimate + saved[0].cost_saved.estimate)
            share, ends = (None, None) if share is None else (0.0, (0.0, 0.0))
        found.append(
            Point(
                num_small_bins=budget,
                small_share=short(shares[budget]),
                accuracy=short(accuracies[budget]),
                accuracy_interval=_pair(interval.accuracy, budget),
                accuracy_change=short(changes[budget]),
                accuracy_change_interval=_pair(interval.over_large, budget),
                drop_bound=short(bound[budget]) if budget or confers else 0.0,
                cost=cost,
                cost_saved_share=share,
                cost_saved_share_interval=ends,
                allowed=int(confers) <= budget <= int(chosen.num_small_bins),
            )
        )
    return tuple(found)


def plain_choice(router: Router, rows: JudgedRows, max_drop: float) -> int:
    """The K of the fewest large calls that loses no more on these rows, or 0."""
    curve = curves.cascade_curve(router, **rows._asdict())
    target = np.clip(float(curve.large_accuracy) - max_drop, 0.0, 1.0)
    plain = selection.choose_num_small_bins(curve, min_accuracy=np.float32(target))
    return int(plain.num_small_bins)


# One program for all numbers of rows.
_betting = jax.jit(jax.vmap(bounds.betting, in_axes=(0, None, None)))


def rows_needed(
    router: Router,
    rows: JudgedRows,
    max_drop: float,
    confidence_level: float,
    num_rows: int,
    chosen: Selection,
) -> int | None:
    """Rows, two digits of them, with which one bin kept small would pass the test."""
    if bool(chosen.feasible) or bool(chosen.same_rows):
        return None
    lost = losses(rows, np.asarray(routers.use_small(router, rows[0], 1)))
    levels, counts = np.unique((lost + 1) / 2, return_counts=True)
    p_values = np.asarray(
        _betting(
            (_MORE_ROWS[:, None] * counts).astype(np.float32),
            levels.astype(np.float32),
            np.float32((max_drop + 1) / 2),
        )
    )
    passes = np.flatnonzero(p_values <= 1 - confidence_level)
    if not passes.size:
        return None
    needed = num_rows * float(_MORE_ROWS[passes[0]])
    step = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / step) * step


def losses(rows: JudgedRows, kept: np.ndarray) -> np.ndarray:
    """Float32 `[N]`, how much better the large model's answer is than the cascade's.

    Args:
      rows: with outcomes of both models.
      kept: bool `[N]`, where the small model's answer is kept.
    """
    _, small, large, conferred = rows
    asked = large if conferred is None else conferred
    taken = np.where(kept, small, asked)
    return large.astype(np.float32) - taken.astype(np.float32)


def _pair(interval: Interval, place: int) -> tuple[float, float]:
    lower, upper = np.asarray(interval.lower), np.asarray(interval.upper)
    return short(lower[place]), short(upper[place])


def short(value: Any) -> float:
    """A float32 with the fewest digits that restore it."""
    return float(str(np.float32(value)))


def _finite(value: Any) -> float | None:
    return short(value) if np.isfinite(value) else None
