r"""Choosing K so that the mean cost of new inputs stays within a budget.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins. The promise is as in
`risk_control`, but always calling the large model (K = 0) is a solution where the
budget allows it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch
from .._core.domains import Confidence, NonNegative
from ..stats import binomial
from . import first_bins, risk_control
from .first_bins import FirstBins
from .routers import Router
from .selection import Selection, select


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


@dispatch.core(
    static=["betting"],
    rows=["small_confidence", "small_cost", "large_cost", "where"],
)
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
        bound = jnp.where(
            unknown, jnp.nan, risk_control.bound_of_mean(cost, cost_limit, sums.rows)
        )
    else:
        means = risk_control.least_means(
            first_bins.sum_for_every_k(order, *counts), error
        )
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
