r"""What a cascade saves against always asking the large model, with error bars.

Shapes: N examples, D resamples, `num_bins` bins. One problem; many by `jax.vmap`. The
router and K are held fixed, as chosen on other rows. Costs are in any one unit.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from .._core.domains import Confidence, NonNegative
from ..binning import bin_sums
from ..stats import intervals, resampling
from ..stats.intervals import Counts, Interval
from . import intervals as cascade_intervals
from . import routers
from .intervals import Table
from .routers import Router

# Mean costs of the small model, of the large model, and of the large model on rows
# kept small and on rows sent on.
Means = tuple[jax.Array, ...]


@records.record("")
class CascadeSavings(records.Result):
    """What a cascade saves against always asking the large model, with intervals.

    Attributes:
      calls_saved: `Interval` of a scalar in `[0, 1]`, share of inputs for which the
        large model is not called.
      cost: `Interval` of a scalar, mean cost of an input in the cascade.
      cost_saved: `Interval` of a scalar, mean cost of an input if only the large model
        is asked, minus `cost`; negative where asking the small model costs more than it
        saves.
      cost_saved_share: `Interval` of a scalar, `cost_saved` divided by the large
        model's mean cost; NaN where the large model costs nothing.
      accuracy: `Interval` of a scalar, mean outcome of the cascade.
      accuracy_change: `Interval` of a scalar, `accuracy` minus the large model's.
      counts: `Counts` of the rows.
    """

    calls_saved: Interval
    cost: Interval
    cost_saved: Interval
    cost_saved_share: Interval
    accuracy: Interval
    accuracy_change: Interval
    counts: Counts


def cascade_savings(
    key: jax.Array,
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    num_small_bins: int | jax.Array,
    *,
    small_cost: ArrayLike,
    large_cost: ArrayLike,
    conferred_outcome: ArrayLike | None = None,
    num_resamples: int = 1000,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> CascadeSavings:
    r"""Calls and cost that a cascade saves, and how its accuracy changes.

    The small model is asked for every input, the large model for those outside the K
    bins kept small. With :math:`s_i = 1` where input i is kept,

    .. math:: \mathrm{cost} = \frac 1N \sum_i a_i + (1 - s_i) b_i, \quad
        \mathrm{saved} = \frac 1N \sum_i s_i b_i - a_i, \quad
        \mathrm{share} = \frac{\sum_i s_i b_i - a_i}{\sum_i b_i}

    for costs :math:`a_i` of the small and :math:`b_i` of the large model. Evaluate on
    rows on which K was not chosen: on those, the chosen K looks better than it is.

    Each interval is for one number on its own. Calls, accuracy and its change have the
    intervals of `calib_jax.cascade_interval`. With one price for each model, costs are
    linear in the calls saved and so are the ends of their intervals. With costs for
    each row they are percentile intervals of resampled rows, which draw both models'
    costs together, widened to hold that linear interval at mean costs: few kept rows
    vary too little when resampled.

    Args:
      key: a JAX random key; the same key pairs calls on the same rows. Prices need no
        resampling and leave it unused.
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]` in `[0, 1]`, calibrated as in the fit.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      num_small_bins: the paper's K, 0 to num_bins; may be traced, and one out of range
        then keeps nothing small.
      small_cost: floating scalar or `[N]`, at least 0, cost of asking the small model.
      large_cost: floating scalar or `[N]`, at least 0, in the same unit, cost of asking
        the large model; for rows kept small too.
      conferred_outcome: optional `[N]`, outcome of the answer where both models were
        asked, from an arbiter fitted on other rows: see `calib_jax.cascade_curve`.
      num_resamples: static number of resamples, at least 1 and better at least
        2 / (1 - confidence_level).
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      where: optional bool `[N]`.

    Returns:
      `CascadeSavings`; NaN without a valid row, or with a valid NaN confidence or
      outcome. A valid NaN cost makes the three costs NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype, count or confidence level, values on
        the host out of range, or without rows.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 3.2; Chen et al., "FrugalGPT", 2023,
      arXiv 2305.05176 (cost saved at equal accuracy); Efron and Tibshirani, "An
      Introduction to the Bootstrap", 1993, chapter 13.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> confidence = jnp.tile(jnp.array([0.1, 0.9]), 500)
      >>> small, large = jnp.arange(1000) % 4 > 1, jnp.arange(1000) % 4 > 0
      >>> found = cascade_savings(
      ...     jax.random.key(0),
      ...     router,
      ...     confidence,
      ...     small,
      ...     large,
      ...     1,
      ...     small_cost=1.0,
      ...     large_cost=10.0,
      ... )
      >>> saved = found.cost_saved_share
      >>> print(f"{saved.estimate:.0%}, {saved.lower:.0%} to {saved.upper:.0%}")
      40%, 37% to 43%
    """
    random = checks.key("key", key)
    checks.instance("router", router, Router)
    confidence, small, large, mask, error, size = cascade_intervals.arguments(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        num_resamples,
        confidence_level,
        where,
    )
    answer = checks.conferred("conferred_outcome", conferred_outcome, small)
    budget = routers.checked_budget(router, num_small_bins)
    costs = {
        name: checks.floats(name, value, rank=(0, 1), axes="[N] or a scalar")
        for name, value in (("small_cost", small_cost), ("large_cost", large_cost))
    }
    by_row = {name: cost for name, cost in costs.items() if cost.ndim}
    means, drawn = None, None
    if by_row:
        checks.same_shape(small_confidence=confidence[0], **by_row)
        each = [_for_each_row(cost, confidence[0]) for cost in costs.values()]
        rows = router, confidence[0], budget, *each, mask
        means = _mean_costs(*rows)
        drawn = _draw(random, *rows, num_resamples=size)
    return _cascade_savings(
        router.order,
        cascade_intervals.tabulate(router, confidence[0], small, large, answer, mask),
        budget,
        *((None, None) if by_row else costs.values()),
        means,
        drawn,
        error,
        jnp.int32(small.shape[0]),
    )


def _for_each_row(cost: jax.Array, rows: jax.Array) -> jax.Array:
    if cost.ndim:
        return cost
    xp = np if isinstance(cost, np.ndarray) else jnp
    return xp.broadcast_to(cost, rows.shape)


def _kept(
    router: Router, confidence: jax.Array, num_small_bins: jax.Array
) -> jax.Array:
    """int32 `[N]`: 1 for rows kept small, 0 for rows sent on, -1 for NaN."""
    num_bins = router.bins.num_bins
    place = routers.place_in_order(router, confidence)
    kept = place < routers.in_range(num_small_bins, num_bins)
    return jnp.where(place == num_bins, -1, kept.astype(jnp.int32))


@dispatch.core(rows=["small_confidence", "small_cost", "large_cost", "where"])
def _mean_costs(
    router: Router,
    small_confidence: Confidence,
    num_small_bins: jax.Array,
    small_cost: NonNegative,
    large_cost: NonNegative,
    where: jax.Array | None,
) -> Means:
    kept = _kept(router, small_confidence, num_small_bins)
    state = bin_sums.update(
        bin_sums.init(2, 2), kept, (small_cost, large_cost), where, None
    )
    found = bin_sums.compute(state)
    weight = masking.ratio(found.weight, jnp.sum(found.weight))
    by_small, by_large = found.means
    small, large = jnp.sum(weight * by_small), jnp.sum(weight * by_large)
    # Where no row is kept, or none sent on, the best guess is the mean of all.
    sent_on, if_kept = jnp.where(found.count > 0, by_large, large)
    means = small, large, if_kept, sent_on
    return tuple(jnp.where(jnp.isnan(small + large), jnp.nan, m) for m in means)


@dispatch.core(static=["num_resamples"], passes=dispatch.Passes.MANY)
def _draw(
    key: jax.Array,
    router: Router,
    small_confidence: Confidence,
    num_small_bins: jax.Array,
    small_cost: NonNegative,
    large_cost: NonNegative,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> tuple[jax.Array, jax.Array]:
    """Rows `[D, 2]` and sums of both costs `[D, 2, 2]`, of rows sent on and kept."""
    return resampling.sums_of_draws(
        key,
        _kept(router, small_confidence, num_small_bins),
        (small_cost, large_cost),
        where,
        None,
        2,
        num_resamples,
    )


@dispatch.core
def _cascade_savings(
    order: jax.Array,
    seen: Table,
    num_small_bins: jax.Array,
    small_cost: NonNegative | None,
    large_cost: NonNegative | None,
    means: Means | None,
    drawn: tuple[jax.Array, jax.Array] | None,
    error: jax.Array,
    num_given: jax.Array,
) -> CascadeSavings:
    budget = jnp.maximum(routers.in_range(num_small_bins, order.shape[0]), 0)
    found = jax.tree.map(
        lambda leaf: leaf[budget], cascade_intervals.for_every_k(order, seen, error)
    )
    saved = found["small_share"]
    if means is None:
        assert small_cost is not None and large_cost is not None
        means = small_cost, large_cost, large_cost, large_cost
    costs = _linear(saved, *means)
    if drawn is not None:
        estimates = {name: cost.estimate for name, cost in costs.items()}
        resampled = intervals.by_name(
            intervals.interval_of_draws(estimates, _costs_of_draws(*drawn), error)
        )
        costs = {name: _hull(costs[name], resampled[name]) for name in costs}
    return CascadeSavings(
        calls_saved=saved,
        **costs,
        accuracy=found["accuracy"],
        accuracy_change=found["over_large"],
        counts=cascade_intervals.count_rows(seen, num_given),
    )


def _linear(
    saved: Interval,
    small: jax.Array,
    large: jax.Array,
    if_kept: jax.Array,
    sent_on: jax.Array,
) -> dict[str, Interval]:
    """Costs as linear functions of the calls saved, at mean costs."""

    def cost_saved(share: jax.Array) -> jax.Array:
        return share * if_kept - small

    def cost(share: jax.Array) -> jax.Array:
        return small + (1 - share) * sent_on

    def part(share: jax.Array) -> jax.Array:
        return masking.ratio(cost_saved(share), large)

    falling = Interval(estimate=saved.estimate, lower=saved.upper, upper=saved.lower)
    return {
        "cost": jax.tree.map(cost, falling),
        "cost_saved": jax.tree.map(cost_saved, saved),
        "cost_saved_share": jax.tree.map(part, saved),
    }


def _costs_of_draws(count: jax.Array, sums: jax.Array) -> dict[str, jax.Array]:
    """The three costs `[D]` of resamples, from `_draw`."""
    rows = jnp.sum(count, axis=1).astype(jnp.float32)
    small, large = jnp.sum(sums, axis=2).T
    sent_on, if_kept = sums[:, 1].T
    # A resample may hold masked rows only: 0 / 0.
    return {
        "cost": (small + sent_on) / rows,
        "cost_saved": (if_kept - small) / rows,
        "cost_saved_share": masking.ratio(if_kept - small, large),
    }


def _hull(first: Interval, second: Interval) -> Interval:
    """The smallest interval that holds both, around the first estimate."""
    return Interval(
        estimate=first.estimate,
        lower=jnp.minimum(first.lower, second.lower),
        upper=jnp.maximum(first.upper, second.upper),
    )
