"""Choosing K within a budget, or by calibrated confidence: what needs no labels.

Shapes: N rows to choose on, `num_bins` bins, K from 0 to num_bins.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks
from ..stats import binomial
from . import first_bins
from .first_bins import FirstBins
from .risk_control import Selection, least_means, select
from .routers import Router


def control_cost(
    router: Router,
    small_confidence: ArrayLike,
    small_cost: ArrayLike,
    large_cost: ArrayLike,
    max_cost: ArrayLike,
    cost_limit: ArrayLike,
    error_probability: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> Selection:
    r"""The smallest K whose mean cost is within a budget; no labels are needed.

    An input costs what the small model does, and where it is sent on what the large one
    does besides. Costs of 0 and 1 make this the share of large-model calls. The cost
    only falls as K grows, so that no correction for the number of K is needed. Without
    an error probability the promise supposes that the small model alone is within the
    budget for sure, as it is where only large calls cost: else the mean over the rows
    to choose on is kept only if an impossible target costs nothing.

    Args:
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated on other rows.
      small_cost: floating `[N]`, at least 0, in any unit, such as US dollars.
      large_cost: floating `[N]`, in the same unit.
      max_cost: floating scalar, the mean cost of an input; may be traced.
      cost_limit: floating scalar, what both models together can cost at most for any
        input, known beforehand (such as a limit of tokens times their price); may be
        traced. Dearer rows make the choice impossible.
      error_probability: None keeps the mean cost of a new input within the budget on
        average over the rows to choose on (conformal risk control); a floating scalar
        in `(0, 1)` keeps it with a probability of at least 1 less this
        (`calib_jax.stats.betting_p_value`; costs are rounded up to 1 / 512 of the
        limit).
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `Selection`; K = 0 is an answer where the budget allows it. Impossible with a
      valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

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
    both = small + large
    # A sum of prices may be rounded to the other side of the limit that is their sum.
    quantities = small, large, both > limit * np.float32(1 + 2.0**-21)
    sums = first_bins.sum_first_bins(router, confidence, quantities, mask)
    if error_probability is None:
        return _by_cost(sums, None, level, limit, None)
    error = checks.scalar("error_probability", error_probability)
    kept, sent = (
        first_bins.count_levels(
            router,
            confidence,
            first_bins.level_of(cost / limit),
            mask,
            levels=first_bins.NUM_LEVELS,
        )
        for cost in (small, both)
    )
    return _by_cost(sums, (kept, sent), level, limit, error)


def choose_by_confidence(router: Router, max_loss: ArrayLike) -> Selection:
    r"""The largest K whose expected loss of accuracy is within a limit, without labels.

    What the calibrated confidences of the router's own rows say, and no guarantee: it
    is as right as they are calibrated in the bins that are kept small.

    .. math:: \sum_{b \in S_K} \frac{W_b}{W} a_b \le \alpha, \quad
        a_b = \bar c_b^{\,large} - \bar c_b^{\,small}

    For the confidences of other rows without labels, give the router of
    `fit_router(small, large, bins=router.bins)`, whose order is theirs too.

    Args:
      router: `Router` of `[num_bins]` bins.
      max_loss: floating scalar in `[-1, 1]`, an accuracy; may be traced.

    Returns:
      `Selection`, whose `bound` is its `risk` and whose rows are the router's;
      impossible where its table is NaN.

    Raises:
      ValueError: where `router` is no `Router` or `max_loss` no scalar.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1; Jitkrittum et al., "When Does
      Confidence-Based Cascade Deferral Suffice?", 2023, arXiv 2307.02764.

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.0, 1.0, 400), jnp.full(400, 0.7)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> chosen = choose_by_confidence(router, 0.03)
      >>> print(chosen.num_small_bins, chosen.risk.round(3))
      2 [ 0.    -0.044 -0.025  0.056  0.2  ]
    """
    checks.instance("router", router, Router)
    level = checks.scalar("max_loss", max_loss)
    return _by_expected_loss(router, level)


@jax.jit
def _by_cost(
    sums: FirstBins,
    counts: tuple[jax.Array, jax.Array] | None,
    level: jax.Array,
    limit: jax.Array,
    error: jax.Array | None,
) -> Selection:
    by_small, by_large, too_dear = binomial.to_float(sums.totals)
    total = by_small[-1] + (by_large[-1] - by_large)
    if counts is None or error is None:
        bound = (total + limit) / (sums.rows + 1)
    else:
        kept, sent = (first_bins.before(part) for part in counts)
        bound = limit * least_means(kept + (sent[-1:] - sent), error)
    bound = jnp.where(jnp.isnan(total), jnp.nan, bound)
    bound = jnp.where(too_dear[-1] > 0, jnp.inf, bound)
    # The smallest K from which on none fails.
    fails = ~(bound <= level)
    passes = jnp.cumsum(fails[::-1], dtype=jnp.int32)[::-1] == 0
    risk = first_bins.over(total, sums.rows)
    return select(sums, passes, level, bound[-1], risk, bound, smallest=True)


@jax.jit
def _by_expected_loss(router: Router, level: jax.Array) -> Selection:
    table, order = router.table, router.order
    weight, advantage = table.weight[order], table.advantage[order]
    kept, lost = (
        jnp.pad(jnp.cumsum(part), (1, 0)) for part in (weight, weight * advantage)
    )
    sums = FirstBins(kept=kept, totals=(lost, lost), same_rows=jnp.zeros((), bool))
    risk = first_bins.over(lost, kept[-1])
    passes = (risk <= level) & (jnp.arange(risk.shape[0]) > 0)
    chosen = select(sums, passes, level, jnp.min(risk[1:]), risk, risk)
    # Rows, where a weight is a sum of weights.
    return dataclasses.replace(chosen, num_rows=jnp.sum(table.count, dtype=jnp.int32))
