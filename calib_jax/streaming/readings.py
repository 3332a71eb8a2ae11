r"""Tables, calibration error, router and curve, read off a summary of a stream.

Shapes: `num_buckets` buckets of the summary, `num_bins` bins of the result. Only the
bucket of a row is known, not its place in it, so bins of equal count are cut at
boundaries of buckets: a row may be counted one bin too high if an exact cut would
divide its bucket. Everything else is exact. Where no cut divides a bucket (heavily tied
scores, or frozen bins as buckets) the tables equal those of the functions for arrays,
bit for bit.
"""

import jax
import jax.numpy as jnp

from .. import metrics
from .._core import checks, dispatch, exact, reduce
from .._core.domains import CONFIDENCE
from ..binning import bin_sums, search, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from ..cascade import curves
from ..cascade.routers import AdvantageTable, Router
from . import gap_bounds
from .results import Reading
from .states import BucketSummary, CascadeSummary, ReliabilitySummary

# So that products of a bin's number and half a count fit an int32.
_MAX_BINS = 2**12
_HALF_BITS = 19


def reliability_table(
    state: ReliabilitySummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> Reading:
    r"""The reliability table of a summary.

    Edge k of the bins of equal count is the least score of the bucket that holds the
    score at which `calib_jax.equal_count_bins` cuts.

    Args:
      state: `ReliabilitySummary` with sums `[5, num_buckets + 1, digits]`.
      num_bins: static number of fresh equal-count bins, at most 4096; not used if
        `bins` are given.
      bins: optional `Bins` to use as they are; `bins=state.buckets` gives the exact
        table of the buckets themselves.

    Returns:
      `Reading` of a `ReliabilityTable`. For confidences, and apart from rounding, the
      bound is on :math:`\sum_b |G_b - G_b^{exact}| / W`, the differences between the
      gaps of all bins, as at `expected_calibration_error`, but whatever their signs.
      The bound does not cover `squared_error`, whose weighted mean over all bins is
      exact: the Brier score of the rows.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 and Figure 1.

    Examples:
      >>> from calib_jax import streaming
      >>> state, outcomes = streaming.init_reliability(), [1, 0, 1, 0]
      >>> state = streaming.update_reliability(state, [0.9, 0.2, 0.6, 0.4], outcomes)
      >>> result = reliability_table(state, 2)
      >>> print(result.value.outcome, result.bins.edges, result.error_bound)
      [0. 1.] [0.6] 0.0
    """
    checks.instance("state", state, ReliabilitySummary)
    return _reliability(state, bins, num_bins=_num_bins(num_bins, bins))


def expected_calibration_error(
    state: ReliabilitySummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> Reading:
    r"""The expected calibration error of a summary, with a bound.

    The error is :math:`\sum_b |G_b| / W` with :math:`G_b = \sum_{i \in b} w_i (c_i -
    v_i)`. Only rows in a bucket that a cut divides can be in another bin than by an
    exact cut; then one G loses what another gains, in the bucket j at most

    .. math:: M_j = \max\left(\max c_j \sum_{i \in j} w_i (1 - v_i), \;
       (1 - \min c_j) \sum_{i \in j} w_i v_i\right)

    because :math:`c - v = c (1 - v) - v (1 - c)`. So for scores and outcomes in
    `[0, 1]`, and apart from rounding, the distance from
    `calib_jax.expected_calibration_error` of the same rows is at most

    .. math:: |\mathrm{ECE} - \mathrm{ECE}_{exact}|
       \le \min\left(2 \sum_{j \in D} M_j / W, \; 1\right)

    where D are the divided buckets. Buckets that hold one distinct score, and buckets
    cut at their first row, are not divided, because no row moves then. The error bound
    returned is smaller still where both bins at a cut are overconfident, or both
    underconfident, by more than their rows can change: then their absolute gaps add up
    to the same. If `bins` are given, D are the buckets that their edges divide.

    Args, errors and NaN as for `reliability_table`.

    Returns:
      `Reading` of a float32 scalar, NaN without a valid row, or with a valid NaN or
      score outside `[0, 1]`.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3; Hao et al. 2026, arXiv 2601.07965,
      section 2 (bins of equal count).

    Examples:
      >>> from calib_jax import streaming
      >>> state, outcomes = streaming.init_reliability(), [1, 0, 1, 0]
      >>> state = streaming.update_reliability(state, [0.9, 0.2, 0.6, 0.4], outcomes)
      >>> error = expected_calibration_error(state, 2)
      >>> print(error.value.round(3), error.error_bound)
      0.275 0.0
    """
    checks.instance("state", state, ReliabilitySummary)
    return _calibration_error(state, bins, num_bins=_num_bins(num_bins, bins))


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
    return _router(state, bins, num_bins=_num_bins(num_bins, bins))


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


def _num_bins(num_bins: int, bins: Bins | None) -> int:
    if bins is not None:
        checks.instance("bins", bins, Bins)
        return 1
    return checked_num_bins(num_bins)


def checked_num_bins(num_bins: int) -> int:
    """A static number of bins, not more than counts of a stream can be cut into."""
    size = checks.static_int("num_bins", num_bins, minimum=1)
    if size > _MAX_BINS:
        raise ValueError(f"num_bins: expected at most {_MAX_BINS}, got {size}.")
    return size


@dispatch.core(static=["num_bins"])
def _reliability(
    state: ReliabilitySummary, bins: Bins | None, *, num_bins: int
) -> Reading:
    return _table_and_bound(state, bins, num_bins)[0]


@dispatch.core(static=["num_bins"])
def _calibration_error(
    state: ReliabilitySummary, bins: Bins | None, *, num_bins: int
) -> Reading:
    reading, bound = _table_and_bound(state, bins, num_bins)
    # A bucket without rows has the ends inf and -inf.
    inside = CONFIDENCE.holds(state.least) & CONFIDENCE.holds(state.greatest)
    inside = jnp.all(inside | (state.least > state.greatest))
    value = metrics.calibration_errors.expected_gap(reading.value)
    value = jnp.where(inside, value, jnp.nan)
    return Reading(value=value, error_bound=bound, bins=reading.bins)


def _table_and_bound(
    state: ReliabilitySummary, bins: Bins | None, num_bins: int
) -> tuple[Reading, jax.Array]:
    """The table with its bound, and the bound on the calibration error."""
    edges = jnp.append(state.least, jnp.float32(jnp.inf))
    fresh = bins is None
    bins, sums, divisions = _binned(state, bins, edges, num_bins)
    table = tables.table_of_means(bin_sums.compute(sums))
    total = jnp.sum(table.weight)
    (weight, right), _ = exact.to_float(state.sums.sums[1:4:2, :-1])
    # By how much the rows of a bucket may raise and lower the gap of a bin, at most.
    moves = (divisions > 0) & (total != 0)
    total = jnp.where(total == 0, 1.0, total)
    rise = jnp.where(moves, state.greatest * (weight - right) / total, 0.0)
    fall = jnp.where(moves, (1 - state.least) * right / total, 0.0)
    every = 2 * jnp.sum(jnp.maximum(rise, fall))
    # The absolute gaps of all bins add up to 1 at most, before and after.
    reading = Reading(value=table, error_bound=jnp.minimum(every, 2.0), bins=bins)
    every = jnp.minimum(every, 1.0)
    # A bucket is counted in the bin above a fresh cut, but below a given edge.
    first = search.bin_of(bins.edges, state.least)
    cut = jnp.where(divisions > 0, first - 1 if fresh else first, bins.num_bins)
    rise, fall = (
        jnp.zeros(bins.edges.shape, jnp.float32).at[cut].add(part, mode="drop")
        for part in ((rise, fall) if fresh else (fall, rise))
    )
    gap = table.weight * (table.confidence - table.outcome)
    bound = gap_bounds.bound_of_cuts(gap / total, rise, fall)
    several = jnp.any(divisions > 1)
    return reading, jnp.where(several, every, jnp.minimum(bound, every))


@dispatch.core(static=["num_bins"])
def _router(state: CascadeSummary, bins: Bins | None, *, num_bins: int) -> Reading:
    edges = jnp.pad(state.buckets.edges, 1, constant_values=(-jnp.inf, jnp.inf))
    bins, in_bins, divisions = _binned(state, bins, edges, num_bins)
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
    share = _share_at_risk(state, divisions)
    return Reading(value=router, error_bound=2 * share, bins=bins)


@dispatch.core
def _curve(state: CascadeSummary, router: Router) -> Reading:
    in_bins, divisions = _in_bins(state, router.bins)
    sums = in_bins.sums[jnp.array([0, 1, 4, 5])]
    means = bin_sums.compute(bin_sums.BinSums(sums=sums)).means
    bad = jnp.any(jnp.isnan(means))
    curve = curves.curve_of_sums(sums[1:], router.order, bad)
    return Reading(value=curve, error_bound=_share_at_risk(state, divisions))


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


def _binned(
    state: BucketSummary,
    bins: Bins | None,
    edges: jax.Array,
    num_bins: int,
) -> tuple[Bins, bin_sums.BinSums, jax.Array]:
    """Given bins or bins of equal count, their sums, and how many edges divide each
    bucket, int32 `[num_buckets]`.

    Fresh bins start at one of the `edges` `[num_buckets + 1]`: where each bucket
    starts, then +inf.
    """
    if bins is not None:
        return bins, *_in_bins(state, bins)
    bucket, divisions = _cuts(state, num_bins)
    bins = Bins(edges=edges[bucket])
    return bins, _in_bins(state, bins)[0], divisions


def _cuts(state: BucketSummary, num_bins: int) -> tuple[jax.Array, jax.Array]:
    """The bucket of each cut into bins of equal count, and how many divide each bucket.

    Returns:
      int32 `[num_bins - 1]`, which is num_buckets for cuts beyond the last row, and
      int32 `[num_buckets]`.
    """
    high, low = (jnp.pad(half, (1, 0)) for half in _counts_upto(state))
    start_high, start_low = _starts(high[-1], low[-1], num_bins)
    passed = (high[None, 1:] < start_high[:, None]) | (
        (high[None, 1:] == start_high[:, None]) & (low[None, 1:] <= start_low[:, None])
    )
    bucket = jnp.sum(passed, axis=1, dtype=jnp.int32)
    at_first = (high[bucket] == start_high) & (low[bucket] == start_low)
    divides = (~at_first).astype(jnp.int32)
    divisions = jnp.zeros(state.least.shape, jnp.int32)
    divisions = divisions.at[bucket].add(divides, mode="drop")
    return bucket, jnp.where(state.least < state.greatest, divisions, 0)


def _counts_upto(
    state: BucketSummary,
) -> tuple[jax.Array, jax.Array]:
    """Rows up to and in each bucket: int32 high and low of `high * 2^19 + low`."""
    # An exact sum of ones has digits of 12 bits from ONE_PLACE on, and 1 is 2^5 there.
    counts = state.sums.sums[0, :-1]
    digits = counts[:, exact.ONE_PLACE : exact.ONE_PLACE + 5]
    low = digits[:, 0] + (digits[:, 1] << 12)
    high = digits[:, 2] + (digits[:, 3] << 12) + (digits[:, 4] << 24)
    # Canonical digits may be negative, of positive sums too.
    high, low = high + (low >> 24), (low & (2**24 - 1)) // exact.ONE_DIGIT
    # In parts of at most 12 bits the sum over 2^19 buckets fits an int32.
    parts = jnp.stack([low & (2**12 - 1), low >> 12, high])
    low, middle, high = parts + reduce.sums_before(parts)
    middle = middle + (low >> 12)
    low = (low & (2**12 - 1)) + ((middle & (2**7 - 1)) << 12)
    return high + (middle >> 7), low


def _starts(
    high: jax.Array, low: jax.Array, num_bins: int
) -> tuple[jax.Array, jax.Array]:
    """The rank at which each bin but the first starts, as in `equal_count_bins`.

    In two halves, because counts pass 2^31.
    """
    k = jnp.arange(1, num_bins, dtype=jnp.int32)
    rest = ((high % num_bins) << _HALF_BITS) + low
    start = k * (rest // num_bins) + jnp.minimum(k, rest % num_bins)
    start_high = k * (high // num_bins) + (start >> _HALF_BITS)
    return start_high, start & (2**_HALF_BITS - 1)


def _in_bins(state: BucketSummary, bins: Bins) -> tuple[bin_sums.BinSums, jax.Array]:
    """The sums of the buckets whose least score is in each bin, and how many edges
    divide each bucket."""
    sums = state.sums.sums
    first = search.bin_of(bins.edges, state.least)
    last = search.bin_of(bins.edges, state.greatest)
    place = jnp.append(first, jnp.int32(bins.num_bins))
    shape = (sums.shape[0], bins.num_bins + 1, sums.shape[2])
    result = jnp.zeros(shape, jnp.int32).at[:, place].add(sums)
    # After a merge of different buckets: a row outside every bin makes all means NaN.
    bad = jnp.any(jnp.isnan(state.buckets.edges))
    result = result.at[0, -1, exact.ONE_PLACE].add(jnp.where(bad, exact.ONE_DIGIT, 0))
    some = state.least < state.greatest
    divisions = jnp.where(some, jnp.abs(last - first), 0)
    return bin_sums.BinSums(sums=result), divisions


def _share_at_risk(state: BucketSummary, divisions: jax.Array) -> jax.Array:
    """Share of the rows, by weight, in buckets that an edge divides."""
    # NaN where sums of weights exceed float32.
    sums = state.sums.sums[1]
    every = jnp.sum(sums[:-1], axis=0, keepdims=True, dtype=jnp.int32)
    weight, _ = exact.to_float(jnp.concatenate([sums[:-1], every]))
    weight, total = weight[:-1], weight[-1]
    part = jnp.sum(jnp.where(divisions > 0, weight, 0.0))
    return jnp.where(total == 0, 0.0, part / jnp.where(total == 0, 1.0, total))


def _variance(weight: jax.Array, squares: jax.Array, sums: jax.Array) -> jax.Array:
    """Mean square less squared mean, in twice float32 because they nearly cancel."""
    high, low = exact.to_float(jnp.stack([squares, sums, weight]))
    above = (high[:2], low[:2])
    (square, mean), rest = exact.divide(above, (high[2:], low[2:]))
    product, product_rest = exact.multiply(mean, mean)
    rest = rest[0] - product_rest - 2 * mean * rest[1]
    return jnp.maximum((square - product) + rest, 0.0)
