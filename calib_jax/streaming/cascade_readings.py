r"""Router and curve, read off a summary of a stream.

Shapes: `num_buckets` buckets of the summary, `num_bins` bins of the result. Bins are
cut at boundaries of buckets, as in `readings`.
"""

import jax
import jax.numpy as jnp

from .._core import checks, dispatch, exact
from ..binning import bin_sums
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from ..cascade import curves
from ..cascade.routers import AdvantageTable, Router
from . import cuts
from .results import Reading
from .states import CascadeSummary


def fit_router(
    state: CascadeSummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> Reading:
    r"""The router of Algorithm 1, fitted to a summary.

    Its edges are boundaries of buckets, so its curve on any summary of the same buckets
    is exact, including one of held-out data. Its table also holds the outcomes. Their
    standard error is exact for outcomes 0 and 1; with partial credit its variance is
    within 2e-7 of the mean squared difference.

    The bound is on :math:`\sum_b (W_b / W) |a_b|`, with a the advantage, for the reason
    given at `expected_calibration_error`; half of it bounds the share of rows that are
    in another bin. If it is 0, the bins have the order of `calib_jax.fit_router`;
    otherwise bins of nearly equal advantage may change places.

    Args:
      state: `CascadeSummary` with sums `[7, num_buckets + 1, digits]`.
      num_bins: static number of fresh equal-count bins of the small confidence, at most
        4096; not used if `bins` are given.
      bins: optional `Bins` to use as they are.

    Returns:
      `Reading` of a `Router`.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> from calib_jax import streaming
      >>> state, large = streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], [1, 1, 1, 1]
      >>> state = streaming.update_cascade(state, small, large, right, right)
      >>> result = fit_router(state, 2)
      >>> print(result.value.order, result.error_bound)
      [1 0] 0.0
    """
    checks.instance("state", state, CascadeSummary)
    return _router(state, bins, num_bins=cuts.size_of(num_bins, bins))


def cascade_curve(state: CascadeSummary, router: Router) -> Reading:
    r"""Accuracy against share of a router, on the rows of a summary.

    If an edge of the router divides a bucket, the whole bucket is counted in the bin of
    its least score. Each of its rows may then be answered by the other model, which
    changes a share by the row's weight and an accuracy by at most that. The bound, on
    every accuracy, gain and share of the curve, is the share of rows in such buckets.
    It is 0 if edges are boundaries of buckets, as they are from `fit_router` with the
    same buckets. The accuracies of both models alone are always exact, so with
    :math:`e` the bound and :math:`g` the gap between them PGR is within :math:`e / |g|`
    at each number of bins; for APGR see `average_performance_gap_recovered`.

    Args:
      state: `CascadeSummary` with sums `[7, num_buckets + 1, digits]`, of the rows to
        judge the router by.
      router: `Router`.

    Returns:
      `Reading` of a `CascadeCurve`, NaN without a valid row or with a valid NaN.

    Raises:
      ValueError: for a wrong type.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2.

    Examples:
      >>> from calib_jax import streaming
      >>> state, large = streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], ([0, 0, 1, 1], [1, 1, 1, 1])
      >>> state = streaming.update_cascade(state, small, large, *right)
      >>> result = cascade_curve(state, fit_router(state, 2).value)
      >>> print(result.value.small_share, result.value.accuracy, result.error_bound)
      [0.  0.5 1. ] [1.  1.  0.5] 0.0
    """
    checks.instance("state", state, CascadeSummary)
    checks.instance("router", router, Router)
    return _curve(state, router)


def average_performance_gap_recovered(state: CascadeSummary, router: Router) -> Reading:
    r"""APGR of a router on the rows of a summary, with a bound.

    With :math:`e` the bound of `cascade_curve`, :math:`g` the gap in accuracy between
    the models and V the total variation of PGR over the curve,

    .. math:: |\mathrm{APGR} - \mathrm{APGR}_{exact}| \le e / |g| + e V

    Args, errors and NaN as for `cascade_curve`.

    Returns:
      `Reading` of a float32 scalar, NaN where
      `calib_jax.average_performance_gap_recovered` is.

    Raises:
      ValueError: for a wrong type.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2.

    Examples:
      >>> from calib_jax import streaming
      >>> state, large = streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], ([0, 0, 1, 1], [1, 1, 1, 1])
      >>> state = streaming.update_cascade(state, small, large, *right)
      >>> router = fit_router(state, 2).value
      >>> result = average_performance_gap_recovered(state, router)
      >>> print(result.value, result.error_bound)
      0.75 0.0
    """
    checks.instance("state", state, CascadeSummary)
    checks.instance("router", router, Router)
    return _average_gap_recovered(state, router)


@dispatch.core(static=["num_bins"])
def _router(state: CascadeSummary, bins: Bins | None, *, num_bins: int) -> Reading:
    edges = jnp.pad(state.buckets.edges, 1, constant_values=(-jnp.inf, jnp.inf))
    bins, in_bins, divisions = cuts.binned(state, bins, edges, num_bins)
    sums = in_bins.sums
    sums = jnp.concatenate([sums, sums[5:6] - sums[4:5]])
    table = bin_sums.compute(bin_sums.BinSums(sums=sums))
    means = table.means
    variance = _variance(sums[1, :-1], *sums[6:, :-1])
    variance = jnp.where(jnp.isnan(means[5]), jnp.nan, variance)
    advantage = means[1] - means[0]
    router = Router(
        bins=bins,
        table=AdvantageTable(
            count=table.count,
            weight=table.weight,
            small_confidence=means[0],
            large_confidence=means[1],
            advantage=advantage,
            small_outcome=means[2],
            large_outcome=means[3],
            outcome_advantage=means[5],
            outcome_advantage_standard_error=jnp.sqrt(
                variance / jnp.where(table.weight > 0, table.weight, 1.0)
            ),
        ),
        order=bin_sums.bin_order(table.count, advantage),
    )
    share = cuts.share_at_risk(state, divisions)
    return Reading(value=router, error_bound=2 * share, bins=bins)


@dispatch.core
def _curve(state: CascadeSummary, router: Router) -> Reading:
    in_bins, divisions = cuts.in_bins(state, router.bins)
    sums = in_bins.sums[jnp.array([0, 1, 4, 5])]
    means = bin_sums.compute(bin_sums.BinSums(sums=sums)).means
    bad = jnp.any(jnp.isnan(means))
    curve = curves.curve_of_sums(sums[1:], router.order, bad)
    return Reading(value=curve, error_bound=cuts.share_at_risk(state, divisions))


@dispatch.core
def _average_gap_recovered(state: CascadeSummary, router: Router) -> Reading:
    reading = _curve(state, router)
    curve, share = reading.value, reading.error_bound
    pgr = curves.pgr_of(curve)
    gap = jnp.abs(curve.large_accuracy - curve.small_accuracy)
    variation = jnp.sum(jnp.abs(jnp.diff(pgr)))
    bound = share / jnp.where(gap > 0, gap, 1.0) + share * variation
    return Reading(
        value=curves.apgr_of(curve),
        error_bound=jnp.where(gap > 0, bound, jnp.nan),
    )


def _variance(weight: jax.Array, squares: jax.Array, sums: jax.Array) -> jax.Array:
    """Mean square less squared mean, in twice float32 because they nearly cancel."""
    high, low = exact.to_float(jnp.stack([squares, sums, weight]))
    above = (high[:2], low[:2])
    (square, mean), rest = exact.divide(above, (high[2:], low[2:]))
    product, product_rest = exact.multiply(mean, mean)
    rest = rest[0] - product_rest - 2 * mean * rest[1]
    return jnp.maximum((square - product) + rest, 0.0)
