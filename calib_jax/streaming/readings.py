r"""Tables, calibration error and Brier score, read off a summary of a stream.

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
from .._core import checks, dispatch, exact
from .._core.domains import CONFIDENCE
from ..binning import bin_sums, search, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from . import cuts, gap_bounds
from .results import Reading
from .states import ReliabilitySummary


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
    return _reliability(state, bins, num_bins=cuts.size_of(num_bins, bins))


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
    return _calibration_error(state, bins, num_bins=cuts.size_of(num_bins, bins))


def brier_score(state: ReliabilitySummary) -> Reading:
    r"""The Brier score of a summary, the mean :math:`(c - v)^2`, exact.

    Args:
      state: `ReliabilitySummary` with sums `[5, num_buckets + 1, digits]`.

    Returns:
      `Reading` of a float32 scalar, NaN without a valid row, or with a valid NaN or
      score outside `[0, 1]`; its bound is 0.

    Raises:
      ValueError: for a wrong type.

    References:
      Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Examples:
      >>> from calib_jax import streaming
      >>> state = streaming.update_reliability(
      ...     streaming.init_reliability(), [0.9, 0.4], [1, 0]
      ... )
      >>> print(brier_score(state).value.round(3))
      0.085
    """
    checks.instance("state", state, ReliabilitySummary)
    return _brier_score(state)


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
    value = metrics.calibration_errors.expected_gap(reading.value)
    value = jnp.where(_holds_confidences(state), value, jnp.nan)
    return Reading(value=value, error_bound=bound, bins=reading.bins)


@dispatch.core
def _brier_score(state: ReliabilitySummary) -> Reading:
    every = Bins(edges=jnp.zeros(0, jnp.float32))
    table = bin_sums.compute(cuts.in_bins(state, every)[0])
    known = _holds_confidences(state) & (table.weight[0] > 0)
    value = jnp.where(known, table.means[2, 0], jnp.nan)
    return Reading(value=value, error_bound=jnp.float32(0))


def _holds_confidences(state: ReliabilitySummary) -> jax.Array:
    # A bucket without rows has the ends inf and -inf.
    inside = CONFIDENCE.holds(state.least) & CONFIDENCE.holds(state.greatest)
    return jnp.all(inside | (state.least > state.greatest))


def _table_and_bound(
    state: ReliabilitySummary, bins: Bins | None, num_bins: int
) -> tuple[Reading, jax.Array]:
    """The table with its bound, and the bound on the calibration error."""
    edges = jnp.append(state.least, jnp.float32(jnp.inf))
    fresh = bins is None
    bins, sums, divisions = cuts.binned(state, bins, edges, num_bins)
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
