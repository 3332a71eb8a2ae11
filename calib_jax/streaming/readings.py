r"""What a summary of a stream says: tables, calibration error, router and curve.

Shapes: `num_buckets` buckets of the summary, `num_bins` bins of what is read off it.
Rows are known to their bucket, not within it, so that bins of equal count are cut at
boundaries of buckets: a row that stands in the bucket that an exact cut would divide
may be counted one bin too high. Everything else is exact, and the tables are bit for
bit those of the functions on arrays wherever no cut divides a bucket: with heavily tied
scores, and with frozen bins as buckets.
"""

import dataclasses

import jax
import jax.numpy as jnp

from .. import binning, metrics
from .._core import checks, dispatch, exact
from ..binning import bin_sums
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from ..binning.tables import ReliabilityTable
from ..cascade import curves
from ..cascade.routers import AdvantageTable, Router
from .summaries import CascadeSummary, ReliabilitySummary

# So that products of a bin's number and half a count fit an int32.
_MAX_BINS = 2**12
_HALF_BITS = 19


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Streamed:
    """A number read off a summary.

    Attributes:
      value: float32 scalar.
      error_bound: float32 scalar, how far the value may be from that of the function on
        arrays.
    """

    value: jax.Array
    error_bound: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedReliability:
    """A reliability table read off a summary.

    Attributes:
      table: `ReliabilityTable`.
      bins: `Bins` of the table.
      error_bound: float32 scalar, how far the calibration error of the table may be
        from that of the table of exact bins.
    """

    table: ReliabilityTable
    bins: Bins
    error_bound: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedRouter:
    """A router read off a summary.

    Attributes:
      router: `Router`.
      error_bound: float32 scalar, how far the weighted mean size of the advantage over
        its bins may be from that of exact bins; half of it bounds the share of rows
        that stand in another bin.
    """

    router: Router
    error_bound: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedCurve:
    """A cascade curve read off a summary.

    Attributes:
      curve: `CascadeCurve`.
      error_bound: float32 scalar, how far any accuracy, gain or share of the curve may
        be from that of `calib_jax.cascade_curve` on the rows.
    """

    curve: curves.CascadeCurve
    error_bound: jax.Array


def reliability_table(
    state: ReliabilitySummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> StreamedReliability:
    r"""The reliability table of the rows of a summary.

    Edge k of the bins of equal count is the least score of the bucket that holds the
    score at which `calib_jax.equal_count_bins` cuts.

    Args:
      state: `ReliabilitySummary` with sums `[4, num_buckets + 1, digits]`.
      num_bins: static number of fresh equal-count bins, at most 4096; not used where
        `bins` are given.
      bins: optional `Bins` to use as they are. The buckets of the summary themselves,
        `bins=state.buckets`, give the table of exactly these.

    Returns:
      `StreamedReliability`; its bound is that of `expected_calibration_error`.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 and Figure 1.

    Examples:
      >>> import calib_jax
      >>> state, outcomes = calib_jax.streaming.init_reliability(), [1, 0, 1, 0]
      >>> scores = [0.9, 0.2, 0.6, 0.4]
      >>> state = calib_jax.streaming.update_reliability(state, scores, outcomes)
      >>> result = reliability_table(state, 2)
      >>> print(result.table.outcome, result.bins.edges, result.error_bound)
      [0. 1.] [0.6] 0.0
    """
    checks.instance("state", state, ReliabilitySummary)
    return _reliability(state, bins, num_bins=_num_bins(num_bins, bins))


def expected_calibration_error(
    state: ReliabilitySummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> Streamed:
    r"""The expected calibration error of the rows of a summary, with a bound.

    The bound is on the distance from `calib_jax.expected_calibration_error` of the same
    rows, apart from rounding, for scores and outcomes in `[0, 1]`:

    .. math:: |\mathrm{ECE} - \mathrm{ECE}_{exact}|
       \le \min\left(2 \sum_{j \in D} W_j / W, \; 1\right)

    where D are the buckets that a cut divides: not one that holds one distinct score,
    nor one at whose first row the cut is, since no row moves then. Proof. The error
    is :math:`\sum_b |G_b| / W` with :math:`G_b = \sum_{i \in b} w_i (c_i - v_i)`. Only
    rows of the buckets in D stand in another bin, and one that does changes two of the
    G, each by at most its weight. With `bins` given, D are the buckets that their
    edges divide.

    Args:
      state: `ReliabilitySummary` with sums `[4, num_buckets + 1, digits]`.
      num_bins: static number of fresh equal-count bins, at most 4096; not used where
        `bins` are given.
      bins: optional `Bins` to use as they are.

    Returns:
      `Streamed`; the value is NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3; Hao et al. 2026, arXiv 2601.07965,
      section 2 (bins of equal count).

    Examples:
      >>> import calib_jax
      >>> state, outcomes = calib_jax.streaming.init_reliability(), [1, 0, 1, 0]
      >>> scores = [0.9, 0.2, 0.6, 0.4]
      >>> state = calib_jax.streaming.update_reliability(state, scores, outcomes)
      >>> error = expected_calibration_error(state, 2)
      >>> print(error.value.round(3), error.error_bound)
      0.275 0.0
    """
    result = reliability_table(state, num_bins, bins=bins)
    return Streamed(
        value=metrics.calibration_error_of_table(result.table),
        error_bound=result.error_bound,
    )


def fit_router(
    state: CascadeSummary,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
) -> StreamedRouter:
    r"""The router of Algorithm 1 of the rows of a summary.

    Its edges are boundaries of buckets, so that the curve of this router on any summary
    of the same buckets is exact: on held-out data read as a stream, too. Its table also
    holds the outcomes; their standard error is exact for outcomes 0 and 1, and that of
    partial credit has its variance to 2e-7 of the mean squared difference.

    The bound is on :math:`\sum_b (W_b / W) |a_b|`, a the advantage, as for the
    calibration error with the large confidence in place of the outcome. Where it is 0
    the order of bins is that of `calib_jax.fit_router`; else bins of nearly the same
    advantage may change places.

    Args:
      state: `CascadeSummary` with sums `[7, num_buckets + 1, digits]`.
      num_bins: static number of fresh equal-count bins of the small confidence, at most
        4096; not used where `bins` are given.
      bins: optional `Bins` to use as they are.

    Returns:
      `StreamedRouter`.

    Raises:
      ValueError: for a wrong type or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> import calib_jax
      >>> state, large = calib_jax.streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], [1, 1, 1, 1]
      >>> state = calib_jax.streaming.update_cascade(state, small, large, right, right)
      >>> result = fit_router(state, 2)
      >>> print(result.router.order, result.error_bound)
      [1 0] 0.0
    """
    checks.instance("state", state, CascadeSummary)
    return _router(state, bins, num_bins=_num_bins(num_bins, bins))


def cascade_curve(state: CascadeSummary, router: Router) -> StreamedCurve:
    r"""Accuracy against share of a router on the rows of a summary.

    A bucket whose scores an edge of the router divides is counted where its least score
    is. Each of its rows may so be answered by the other model, which changes a share by
    its weight and an accuracy by at most that: the bound is the share of the rows in
    such buckets. It is 0 where edges are boundaries of buckets, as those of
    `fit_router` with the same buckets, and where the router's bins are the
    buckets. The accuracies of both models alone are always exact, so that with
    :math:`e` the bound and :math:`g` the gap between them PGR is within :math:`e / |g|`
    at each number of bins; for APGR see `average_performance_gap_recovered`.

    Args:
      state: `CascadeSummary` with sums `[7, num_buckets + 1, digits]`, of the rows to
        judge the router by.
      router: `Router`.

    Returns:
      `StreamedCurve`; the curve is NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong type.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2.

    Examples:
      >>> import calib_jax
      >>> state, large = calib_jax.streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], ([0, 0, 1, 1], [1, 1, 1, 1])
      >>> state = calib_jax.streaming.update_cascade(state, small, large, *right)
      >>> result = cascade_curve(state, fit_router(state, 2).router)
      >>> print(result.curve.small_share, result.curve.accuracy, result.error_bound)
      [0.  0.5 1. ] [1.  1.  0.5] 0.0
    """
    checks.instance("state", state, CascadeSummary)
    checks.instance("router", router, Router)
    return _curve(state, router)


def average_performance_gap_recovered(
    state: CascadeSummary, router: Router
) -> Streamed:
    r"""APGR of a router on the rows of a summary, with a bound.

    With :math:`e` the bound of `cascade_curve`, :math:`g` the gap in accuracy
    between the models and V how far PGR goes up and down in all over the curve,

    .. math:: |\mathrm{APGR} - \mathrm{APGR}_{exact}| \le e / |g| + e V

    Args:
      state: `CascadeSummary` with sums `[7, num_buckets + 1, digits]`, of the rows to
        judge the router by.
      router: `Router`.

    Returns:
      `Streamed`; the value is NaN as that of
      `calib_jax.average_performance_gap_recovered`.

    Raises:
      ValueError: for a wrong type.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2.

    Examples:
      >>> import calib_jax
      >>> state, large = calib_jax.streaming.init_cascade(), [0.7, 0.9, 0.8, 0.9]
      >>> small, right = [0.2, 0.3, 0.8, 0.9], ([0, 0, 1, 1], [1, 1, 1, 1])
      >>> state = calib_jax.streaming.update_cascade(state, small, large, *right)
      >>> router = fit_router(state, 2).router
      >>> result = average_performance_gap_recovered(state, router)
      >>> print(result.value, result.error_bound)
      0.75 0.0
    """
    result = cascade_curve(state, router)
    curve = result.curve
    recovered = curves.performance_gap_recovered(curve)
    gap = jnp.abs(curve.large_accuracy - curve.small_accuracy)
    movement = jnp.sum(jnp.abs(jnp.diff(recovered)))
    bound = result.error_bound / jnp.where(gap > 0, gap, 1.0)
    return Streamed(
        value=curves.average_performance_gap_recovered(curve),
        error_bound=jnp.where(gap > 0, bound + result.error_bound * movement, jnp.nan),
    )


def _num_bins(num_bins: int, bins: Bins | None) -> int:
    if bins is not None:
        checks.instance("bins", bins, Bins)
        return 1
    return checked_num_bins(num_bins)


def checked_num_bins(num_bins: int) -> int:
    """A static number of bins that counts of a stream can be cut into."""
    size = checks.static_int("num_bins", num_bins, minimum=1)
    if size > _MAX_BINS:
        raise ValueError(f"num_bins: expected at most {_MAX_BINS}, got {size}.")
    return size


@dispatch.core(static=["num_bins"])
def _reliability(
    state: ReliabilitySummary, bins: Bins | None, *, num_bins: int
) -> StreamedReliability:
    if bins is None:
        bucket, share = _cuts(state, num_bins)
        ends = jnp.append(state.least, jnp.float32(jnp.inf))
        bins = Bins(edges=ends[bucket])
        sums, _ = _in_bins(state, bins)
    else:
        sums, share = _in_bins(state, bins)
    table = bin_sums.compute(sums)
    return StreamedReliability(
        table=ReliabilityTable(
            count=table.count,
            weight=table.weight,
            confidence=table.means[0],
            outcome=table.means[1],
        ),
        bins=bins,
        error_bound=jnp.minimum(2 * share, 1.0),
    )


@dispatch.core(static=["num_bins"])
def _router(
    state: CascadeSummary, bins: Bins | None, *, num_bins: int
) -> StreamedRouter:
    if bins is None:
        bucket, share = _cuts(state, num_bins)
        ends = jnp.pad(state.buckets.edges, 1, constant_values=(-jnp.inf, jnp.inf))
        bins = Bins(edges=ends[bucket])
        state_sums, _ = _in_bins(state, bins)
    else:
        state_sums, share = _in_bins(state, bins)
    sums = state_sums.sums
    sums = jnp.concatenate([sums, sums[5:6] - sums[4:5]])
    table = bin_sums.compute(bin_sums.BinSums(sums=sums))
    means = table.means
    variance = _variance(sums[1, :-1], *sums[6:, :-1])
    variance = jnp.where(jnp.isnan(means[5]), jnp.nan, variance)
    advantage = means[1] - means[0]
    return StreamedRouter(
        router=Router(
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
        ),
        error_bound=2 * share,
    )


@dispatch.core
def _curve(state: CascadeSummary, router: Router) -> StreamedCurve:
    binned, share = _in_bins(state, router.bins)
    sums = binned.sums[jnp.array([0, 1, 4, 5])]
    means = bin_sums.compute(bin_sums.BinSums(sums=sums)).means
    bad = jnp.any(jnp.isnan(means))
    return StreamedCurve(
        curve=curves.curve_of_sums(sums[1:], router.order, bad), error_bound=share
    )


def _cuts(
    state: ReliabilitySummary | CascadeSummary, num_bins: int
) -> tuple[jax.Array, jax.Array]:
    """The bucket of each cut into bins of equal count, and the share of rows at risk.

    Returns:
      int32 `[num_bins - 1]`, num_buckets for cuts beyond the last row, and the share of
      rows in buckets that a cut divides.
    """
    high, low = (jnp.pad(half, (1, 0)) for half in _counts_upto(state))
    start_high, start_low = _starts(high[-1], low[-1], num_bins)
    passed = (high[None, 1:] < start_high[:, None]) | (
        (high[None, 1:] == start_high[:, None]) & (low[None, 1:] <= start_low[:, None])
    )
    bucket = jnp.sum(passed, axis=1, dtype=jnp.int32)
    at_first = (high[bucket] == start_high) & (low[bucket] == start_low)
    several = state.least < state.greatest
    divided = jnp.zeros(several.shape, bool).at[bucket].max(~at_first, mode="drop")
    return bucket, jnp.sum(jnp.where(several & divided, _share(state), 0.0))


def _counts_upto(
    state: ReliabilitySummary | CascadeSummary,
) -> tuple[jax.Array, jax.Array]:
    """Rows of each bucket and those before it, as int32 `high * 2^19 + low`."""
    # An exact sum of ones has digits of 12 bits from ONE_PLACE on, and 1 is 2^5 there.
    counts = state.sums.sums[0, :-1]
    digits = counts[:, exact.ONE_PLACE : exact.ONE_PLACE + 5]
    low = digits[:, 0] + (digits[:, 1] << 12)
    high = digits[:, 2] + (digits[:, 3] << 12) + (digits[:, 4] << 24)
    # Canonical digits may be negative, of positive sums too.
    high, low = high + (low >> 24), (low & (2**24 - 1)) // exact.ONE_DIGIT
    # Parts of at most 12 bits, so that those of 2^19 buckets add up to an int32.
    parts = jnp.stack([low & (2**12 - 1), low >> 12, high], axis=1)
    parts = jnp.cumsum(parts, axis=0, dtype=jnp.int32)
    middle = parts[:, 1] + (parts[:, 0] >> 12)
    low = (parts[:, 0] & (2**12 - 1)) + ((middle & (2**7 - 1)) << 12)
    return parts[:, 2] + (middle >> 7), low


def _starts(
    high: jax.Array, low: jax.Array, num_bins: int
) -> tuple[jax.Array, jax.Array]:
    """The rank at which each bin but the first starts, from the number of rows.

    The numbers of `binning.equal_count_bins`, in two halves, since counts pass 2^31.
    """
    k = jnp.arange(1, num_bins, dtype=jnp.int32)
    rest = ((high % num_bins) << _HALF_BITS) + low
    start = k * (rest // num_bins) + jnp.minimum(k, rest % num_bins)
    start_high = k * (high // num_bins) + (start >> _HALF_BITS)
    return start_high, start & (2**_HALF_BITS - 1)


def _in_bins(
    state: ReliabilitySummary | CascadeSummary, bins: Bins
) -> tuple[bin_sums.BinSums, jax.Array]:
    """The sums of the buckets whose least score is in each bin, and the share of rows
    in buckets that an edge divides."""
    sums = state.sums.sums
    first = binning.bin_index(bins, state.least)
    last = binning.bin_index(bins, state.greatest)
    place = jnp.append(first, jnp.int32(bins.num_bins))
    shape = (sums.shape[0], bins.num_bins + 1, sums.shape[2])
    result = jnp.zeros(shape, jnp.int32).at[:, place].add(sums)
    # Summaries of different buckets were merged: all means are NaN where a row is in no
    # bin.
    bad = jnp.any(jnp.isnan(state.buckets.edges))
    result = result.at[0, -1, exact.ONE_PLACE].add(jnp.where(bad, exact.ONE_DIGIT, 0))
    divided = (state.least < state.greatest) & (first != last)
    at_risk = jnp.where(divided, _share(state), 0.0)
    return bin_sums.BinSums(sums=result), jnp.sum(at_risk)


def _share(state: ReliabilitySummary | CascadeSummary) -> jax.Array:
    """Share of the rows in each bucket, by weight; 0 where there are none."""
    sums = state.sums.sums[1, :-1]
    every = jnp.sum(sums, axis=0, keepdims=True, dtype=jnp.int32)
    weight, _ = exact.to_float(jnp.concatenate([sums, every]))
    weight, total = weight[:-1], weight[-1]
    # NaN where sums of weights exceed float32.
    return jnp.where(total == 0, 0.0, weight / jnp.where(total == 0, 1.0, total))


def _variance(weight: jax.Array, squares: jax.Array, sums: jax.Array) -> jax.Array:
    """Mean square less squared mean, in twice float32, which leaves enough of it."""
    high, low = exact.to_float(jnp.stack([squares, sums, weight]))
    above = (high[:2], low[:2])
    (square, mean), rest = exact.divide(above, (high[2:], low[2:]))
    product, product_rest = exact.multiply(mean, mean)
    rest = rest[0] - product_rest - 2 * mean * rest[1]
    return jnp.maximum((square - product) + rest, 0.0)
