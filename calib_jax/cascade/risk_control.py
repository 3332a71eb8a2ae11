r"""Choosing K, the number of bins kept small, so that a promise holds on new inputs.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins. The functions here
bound the risk of every K on rows that neither the router nor the calibration has seen,
and choose one. The inputs kept small with K bins are among those kept with K + 1, so no
correction for the number of candidates is needed. A promise holds for new inputs from
the distribution of these rows, drawn independently (or exchangeably), whatever the
models. Except for costs, always calling the large model (K = 0) is never a solution,
since it meets every target and saves nothing; use it where the target is not feasible.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact
from .._core.domains import Confidence, Difference, NonNegative, Outcome, Share
from ..stats import binomial, bounds
from . import first_bins
from .first_bins import FirstBins
from .routers import Router
from .selection import Selection, select

# Tests start where this many times the rows needed without an error are expected.
_START_ROWS = 4


def control_regret(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_regret: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose expected regret is within a limit (conformal risk control).

    Regret is how much better the large model's answer would have been on inputs kept
    small, and 0 otherwise. Wins of the small model do not offset it. It can only grow
    with K, so

    .. math:: \hat K = \max\left\{K : \frac{\sum_i 1[i \in S_K] \,
        (v_i^{large} - v_i^{small})_+ + 1}{n + 1} \le \alpha\right\}

    keeps the expected regret of a new input within the limit, for every n. The
    expectation is also over the rows to choose on: no single choice is promised.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      max_regret: floating scalar in `[0, 1]`, an accuracy; may be traced.
      where: optional bool `[N]`.

    Returns:
      `Selection`; every K whose bins hold a valid NaN is NaN and not chosen. None is
      for a limit that is NaN, or traced and out of range, here and below.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or numbers on the host out of range.

    References:
      Angelopoulos et al., "Conformal Risk Control", 2022, arXiv 2208.02814, theorem 1.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_regret(
      ...     router, small[:399], small[:399] > 0.6, jnp.ones(399, bool), 0.05
      ... )
      >>> print(chosen.num_small_bins, chosen.bound[1:4])
      1 [0.003 0.103 0.353]
    """
    confidence, small, large, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, where
    )
    level = checks.scalar("max_regret", max_regret)
    return _control_regret(router, confidence, small, large, level, mask)


def control_accuracy_drop(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    max_drop: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    *,
    betting: bool = True,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose loss of accuracy is within a limit (Learn then Test).

    The loss is net: how much less accurate the cascade is than the large model alone.

    .. math:: E[1[x \in S_K] \, (v^{large} - v^{small})] \le \alpha

    With a probability of at least `confidence_level` over the rows to choose on, the
    chosen K meets the limit. K = 1, 2, ... are tested in this order, each at the full
    level, until one fails. A K beyond the limit can only be chosen if the first such K
    passes its test, which has a probability of at most `1 - confidence_level`. A
    negative limit asks for a gain. Bool outcomes make the test faster; other
    differences are rounded up to a multiple of 1 / 256.

    Args, errors and NaN as for `control_regret`, and also:

    Args:
      max_drop: floating scalar in `[-1, 1]`, an accuracy; may be traced.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      betting: static; test by `calib_jax.stats.betting_p_value` or, if False, by
        `calib_jax.stats.hoeffding_bentkus_p_value`, which is weaker where the two
        models mostly agree. Both take the loss as (difference + 1) / 2.

    Returns:
      `Selection`; `bound` is the smallest limit that each K would pass on its own.

    Raises:
      ValueError: for a wrong rank, shape, dtype or confidence level.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052, section 2
      (fixed-sequence testing).

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_accuracy_drop(
      ...     router, small[:399], small[:399] > 0.6, jnp.ones(399, bool), 0.05
      ... )
      >>> print(chosen.num_small_bins, chosen.bound[:3])
      1 [0.01 0.01 0.15]
    """
    confidence, small, large, mask = _pair_rows(
        router, small_confidence, small_outcome, large_outcome, where
    )
    level = checks.scalar("max_drop", max_drop)
    error = checks.error_rate("confidence_level", confidence_level)
    sums, counts = _sum_differences(
        router, confidence, small, large, mask, betting=betting
    )
    return _control_accuracy_drop(sums, counts, router.order, level, error)


def control_small_error(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    max_error: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The largest K whose small model is rarely wrong where it answers.

    .. math:: P(v^{small} = 0 \mid x \in S_K) \le \alpha

    With a probability of at least `confidence_level` over the rows to choose on, the
    chosen K meets the limit. Given the number of rows in S_K, the number of errors
    among them is binomial, and `bound` is its upper Clopper-Pearson bound. K is tested
    in ascending order, each at the full level, until one fails. The first bins may hold
    too few rows to show anything, so the sequence starts at the first K that, by the
    counts of the router's own table, can expect four times the rows needed without a
    single error.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_outcome: bool `[N]`, whether the small model's answer is correct.
      max_error: floating scalar in `[0, 1]`; may be traced.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`.

    Returns:
      `Selection`; not feasible with a valid NaN confidence. At K = 0 the risk is 0 and
      the bound 1.

    Raises:
      ValueError: for a wrong rank, shape, dtype or confidence level, or numbers on the
        host out of range.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500; Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = control_small_error(router, small[:399], small[:399] > 0.6, 0.2)
      >>> print(chosen.num_small_bins, chosen.bound.round(2))
      1 [1.   0.03 0.25 0.52 0.64]
    """
    checks.instance("router", router, Router)
    confidence = checks.floats("small_confidence", small_confidence)
    outcome = checks.bools("small_outcome", small_outcome)
    mask = checks.mask("where", where)
    checks.same_shape(small_confidence=confidence, small_outcome=outcome, where=mask)
    level = checks.scalar("max_error", max_error)
    error = checks.error_rate("confidence_level", confidence_level)
    sums = first_bins.sum_rows(router, confidence, (~outcome,), (), mask)
    return _control_small_error(sums, router, level, error)


def control_cost(
    router: Router,
    small_confidence: ArrayLike,
    small_cost: ArrayLike,
    large_cost: ArrayLike,
    max_cost: ArrayLike,
    cost_limit: ArrayLike,
    confidence_level: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The smallest K whose mean cost is within a budget; no labels are needed.

    Every input costs what the small model costs, and inputs sent on cost what the large
    model costs in addition. With costs of 0 and 1 this is the share of large-model
    calls. The cost can only fall as K grows, so no correction for the number of K is
    needed.

    Without a confidence level the promise assumes that the small model alone is certain
    to be within the budget, as when only large calls cost anything.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_cost: floating `[N]`, at least 0, in any unit, such as US dollars.
      large_cost: floating `[N]`, at least 0, in the same unit.
      max_cost: floating scalar, at least 0, the mean cost of an input; may be traced.
      cost_limit: floating scalar, the most that both models together can cost for any
        input, known in advance (such as a limit of tokens times their price); may be
        traced. A row above it makes every budget infeasible.
      confidence_level: None keeps the expected cost of a new input within the budget,
        on average over the rows to choose on (conformal risk control); a floating
        scalar in `(0, 1)` keeps it with at least this probability
        (`calib_jax.stats.betting_p_value`; costs are rounded up to 1 / 512 of the
        limit). May be traced.
      where: optional bool `[N]`.

    Returns:
      `Selection`; K = 0 is a solution where the budget allows it. Not feasible with a
      valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or confidence level, or numbers on the
        host out of range.

    References:
      Angelopoulos et al., "Conformal Risk Control", 2022, arXiv 2208.02814; Bates et
      al., "Risk-Controlling Prediction Sets", 2021, arXiv 2101.02703.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> costs = jnp.zeros(399), jnp.ones(399)
      >>> chosen = control_cost(router, small[:399], *costs, 0.6, 1.0)
      >>> print(chosen.num_small_bins, chosen.bound.round(2))
      2 [1.   0.75 0.5  0.25 0.  ]
    """
    checks.instance("router", router, Router)
    confidence = checks.floats("small_confidence", small_confidence)
    small = checks.floats("small_cost", small_cost)
    large = checks.floats("large_cost", large_cost)
    mask = checks.mask("where", where)
    checks.same_shape(
        small_confidence=confidence, small_cost=small, large_cost=large, where=mask
    )
    level = checks.scalar("max_cost", max_cost)
    limit = checks.scalar("cost_limit", cost_limit)
    error = None
    if confidence_level is not None:
        error = checks.error_rate("confidence_level", confidence_level)
    sums, counts = _sum_costs(
        router, confidence, small, large, limit, mask, betting=error is not None
    )
    return _control_cost(sums, counts, router.order, level, limit, error)


def _pair_rows(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    where: ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    checks.instance("router", router, Router)
    (confidence,), small, large, mask = checks.two_models(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    if small.dtype != large.dtype:
        small, large = small.astype(jnp.float32), large.astype(jnp.float32)
    return confidence, small, large, mask


def _least_means(counts: jax.Array, error: jax.Array) -> jax.Array:
    """The least mean loss that betting excludes `[S]`, of counts of levels `[S, L]`."""
    values = first_bins.values_of(counts.shape[1])
    means = jax.vmap(
        lambda count: binomial.least_float(
            lambda mean: bounds.betting(count, values, mean) <= error
        )[0]
    )(counts.astype(jnp.float32))
    return jnp.where(jnp.isnan(error), jnp.nan, means)


def _bound_of_mean(total: binomial.Pair, most: jax.Array, rows: jax.Array) -> jax.Array:
    """The mean with one more row at the most, rounded once: equal to a limit or not."""
    most = jnp.broadcast_to(-most, total[0].shape)
    added = binomial.minus(total, binomial.pair(most))
    return exact.divide(added, binomial.pair(rows + 1))[0]


def _in_sequence(passes: jax.Array, tested: jax.Array) -> jax.Array:
    """Which K pass before the first that is tested and fails, `[num_bins + 1]`."""
    fails = tested & ~passes
    return tested & (jnp.cumsum(fails, dtype=jnp.int32) == 0)


@dispatch.core
def _control_regret(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    max_regret: Share,
    where: jax.Array | None,
) -> Selection:
    small, large = small_outcome, large_outcome
    regret = large & ~small if small.dtype == bool else jnp.maximum(large - small, 0.0)
    sums = first_bins.sum_rows(router, small_confidence, (regret,), (), where)
    high, low = sums.totals[0][0], sums.totals[1][0]
    bound = _bound_of_mean((high, low), jnp.float32(1), sums.rows)
    return select(
        (bound <= max_regret) & (jnp.arange(bound.shape[0]) > 0),
        level=max_regret,
        min_feasible_level=bound[1],
        risk=sums.mean(high),
        bound=bound,
        **sums.described(),
    )


@dispatch.core(static=["betting"])
def _sum_differences(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    where: jax.Array | None,
    *,
    betting: bool,
) -> tuple[FirstBins, jax.Array | None]:
    """Sums of both outcomes, and for betting int32 `[num_bins, L]`, rows by loss."""
    small, large = small_outcome, large_outcome
    sums = first_bins.sum_rows(router, small_confidence, (small, large), (), where)
    if not betting:
        return sums, None
    # The loss in [0, 1] is half the difference plus one half.
    if small.dtype == bool:
        place, size = 1 + large.astype(jnp.int32) - small.astype(jnp.int32), 3
    else:
        place = first_bins.level_of(0.5 * (large - small) + 0.5)
        size = first_bins.NUM_LEVELS
    return sums, first_bins.count_levels(router, small_confidence, place, size, where)


# A separate program, so that the bisections are not recompiled for every number of
# rows.
@dispatch.core
def _control_accuracy_drop(
    sums: FirstBins,
    counts: jax.Array | None,
    order: jax.Array,
    max_drop: Difference,
    error: jax.Array,
) -> Selection:
    by_small, by_large = zip(*sums.totals, strict=True)
    lost = binomial.minus(by_large, by_small)
    if counts is not None:
        # Rows that the large model answers differ by 0.
        rows = jnp.sum(counts, axis=1, dtype=jnp.int32)
        even = jnp.zeros_like(counts).at[:, counts.shape[1] // 2].set(rows)
        mean = _least_means(first_bins.sum_for_every_k(order, counts, even), error)
    else:
        half, rest = (0.5 * part for part in lost)
        rows = jnp.broadcast_to(-0.5 * sums.rows, half.shape)
        total = binomial.minus((half, rest), binomial.pair(rows))
        mean = jax.vmap(
            lambda high, low: binomial.least_float(
                lambda mean: (
                    bounds.hoeffding_bentkus((high, low), sums.rows, mean) <= error
                )
            )[0]
        )(*total)
    drop = binomial.to_float(lost)
    bound = jnp.where(jnp.isnan(drop) | jnp.isnan(error), jnp.nan, 2 * mean - 1)
    return select(
        _in_sequence(bound <= max_drop, jnp.arange(bound.shape[0]) > 0),
        level=max_drop,
        min_feasible_level=bound[1],
        risk=sums.mean(drop),
        bound=bound,
        **sums.described(),
    )


@dispatch.core
def _control_small_error(
    sums: FirstBins, router: Router, max_error: Share, error: jax.Array
) -> Selection:
    wrong = binomial.to_float(sums.totals)[0]
    bound = jax.vmap(lambda k, n: bounds.upper_rate(k, n, error))(wrong, sums.kept)
    bound = jnp.where(jnp.isnan(wrong), jnp.nan, bound)
    # The smallest target at which each K is the first one tested. It may depend on the
    # router's own rows, but not on those to choose on.
    count = router.table.count.astype(jnp.float32)
    seen = first_bins.sum_for_every_k(router.order, count)[1:]
    expected = sums.rows * seen / jnp.maximum(seen[-1], 1.0)
    start = -jnp.expm1(_START_ROWS * jnp.log(error) / jnp.maximum(expected, 1e-6))
    start = jnp.pad(start, (1, 0), constant_values=jnp.inf)
    first = jnp.maximum(bound, start)[1:]
    least = jnp.min(jnp.where(first < start[:-1], first, 1.0))
    return select(
        _in_sequence(bound <= max_error, start <= max_error),
        level=max_error,
        min_feasible_level=jnp.where(jnp.isnan(sums.rows), jnp.nan, least),
        risk=wrong / jnp.maximum(sums.kept, 1.0),
        bound=bound,
        **sums.described(),
    )


@dispatch.core(static=["betting"])
def _sum_costs(
    router: Router,
    small_confidence: Confidence,
    small_cost: NonNegative,
    large_cost: NonNegative,
    cost_limit: NonNegative,
    where: jax.Array | None,
    *,
    betting: bool,
) -> tuple[FirstBins, tuple[jax.Array, ...] | None]:
    """Sums of costs, and for betting rows by cost, if kept small and if sent on."""
    both = small_cost + large_cost
    # The sum of two prices may be rounded to just above a limit that is their sum.
    too_high = both > cost_limit * np.float32(1 + 2.0**-21)
    sums = first_bins.sum_rows(
        router, small_confidence, (small_cost, too_high), (large_cost,), where
    )
    if not betting:
        return sums, None
    return sums, tuple(
        first_bins.count_levels(
            router,
            small_confidence,
            first_bins.level_of(cost / cost_limit),
            first_bins.NUM_LEVELS,
            where,
        )
        for cost in (small_cost, both)
    )


@dispatch.core
def _control_cost(
    sums: FirstBins,
    counts: tuple[jax.Array, ...] | None,
    order: jax.Array,
    max_cost: NonNegative,
    cost_limit: NonNegative,
    error: jax.Array | None,
) -> Selection:
    by_small, num_too_high, by_large = zip(*sums.totals, strict=True)
    # The small model answers every input first.
    every = tuple(jnp.broadcast_to(-part[-1], part.shape) for part in by_small)
    cost = binomial.minus(by_large, (every[0], every[1]))
    # At K = 0 every row is in the sums: a NaN anywhere makes the cost unknown.
    unknown = jnp.isnan(cost[0][0])
    total = jnp.where(unknown, jnp.nan, cost[0])
    if counts is None or error is None:
        bound = jnp.where(unknown, jnp.nan, _bound_of_mean(cost, cost_limit, sums.rows))
    else:
        means = _least_means(first_bins.sum_for_every_k(order, *counts), error)
        bound = jnp.where(unknown, jnp.nan, cost_limit * means)
    bound = jnp.where(num_too_high[0][-1] > 0, jnp.inf, bound)
    # The smallest K from which no K fails.
    fails = ~(bound <= max_cost)
    return select(
        jnp.cumsum(fails[::-1], dtype=jnp.int32)[::-1] == 0,
        smallest=True,
        level=max_cost,
        min_feasible_level=bound[-1],
        risk=sums.mean(total),
        bound=bound,
        **sums.described(),
    )
