r"""Calibration errors: how far confidence is from correctness, over bins.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`: over models and
temperatures, and over numbers of bins with `equal_count_bins(..., max_bins=...)`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from .._core.domains import CONFIDENCE, Confidence, Outcome, Weights
from ..binning import bin_sums, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins, checked_size, given_or_cut
from ..binning.tables import ReliabilityTable


def expected_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Weighted mean gap between confidence and outcome over bins (ECE).

    .. math:: \mathrm{ECE} = \sum_b \frac{W_b}{W} \left| \bar c_b - \bar v_b \right|

    Bins of equal count are cut from the valid scores, unless `bins` are given, such as
    those of the calibration half: the two ECEs differ. Even a perfectly calibrated
    model has an ECE above 0, of the order of sqrt(num_bins / N), so only compare ECEs
    with equal N and number of bins. Derivatives treat the bins as fixed.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      num_bins: static number of fresh equal-count bins; not used if `bins` are given.
      bins: optional `Bins` to use unchanged.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; they never move edges, but 0 removes a row.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN or value
      outside its range.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3; Hao et al. 2026, arXiv 2601.07965,
      section 2 (bins of equal count).

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(expected_calibration_error(scores, outcomes, num_bins=2).round(3))
      0.275
    """
    return _gap_in_bins(expected_gap, scores, outcomes, num_bins, bins, where, weights)


def maximum_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Largest gap between confidence and outcome in any bin that holds rows (MCE).

    Args, errors and NaN as for `expected_calibration_error`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 5.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(maximum_calibration_error(scores, outcomes, num_bins=2).round(3))
      0.3
    """
    return _gap_in_bins(_largest_gap, scores, outcomes, num_bins, bins, where, weights)


def root_mean_square_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Root of the weighted mean squared gap over bins (RMS calibration error).

    .. math:: \sqrt{\sum_b \frac{W_b}{W} (\bar c_b - \bar v_b)^2}

    It is at least the ECE, and counts one large gap more than several small ones. Like
    the ECE it is above 0 for a calibrated model; `debiased_calibration_error` takes
    that part out.

    Args, errors and NaN as for `expected_calibration_error`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Hendrycks et al., "Deep anomaly detection with outlier exposure", 2019, arXiv
      1812.04606; Kumar, Liang and Ma 2019, arXiv 1909.10155.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> error = root_mean_square_calibration_error(scores, outcomes, num_bins=2)
      >>> print(error.round(3))
      0.276
    """
    return _gap_in_bins(
        _root_mean_square_gap, scores, outcomes, num_bins, bins, where, weights
    )


def debiased_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Root of the mean squared gap over bins, less what noise adds to it.

    .. math:: \sqrt{\max\left(\sum_b \frac{n_b}{n} \left((\bar c_b - \bar v_b)^2 -
       \frac{\overline{v^2}_b - \bar v_b^2}{n_b - 1}\right), 0\right)}

    The term subtracted is the squared standard error of the mean outcome, for right and
    wrong answers :math:`\bar v_b (1 - \bar v_b) / (n_b - 1)`. On bins from other rows
    the square is then unbiased for a recalibrator with one confidence in each bin, and
    nearly so for others. A bin of one row has no standard error, so it is left out, and
    n is the number of rows in the other bins. It takes no weights, because repeated
    rows are not independent: a bootstrap of this number would be wrong. For an interval
    take that of the ECE, `calibration_error_interval`.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      num_bins: static number of fresh equal-count bins; not used if `bins` are given.
      bins: optional `Bins` to use unchanged.
      where: optional bool `[N]`, the rows that count.

    Returns:
      float32 scalar in `[0, 1]`, 0 where the debiased square is negative; NaN without a
      bin of two valid rows, or with a valid NaN or value outside its range.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Kumar, Liang and Ma, "Verified uncertainty calibration", 2019, arXiv 1909.10155,
      section 5.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.9, 0.2, 0.9, 0.2], [1, 0, 1, 0, 0, 1]
      >>> print(debiased_calibration_error(scores, outcomes, num_bins=2))
      0.0
      >>> print(debiased_calibration_error([0.9, 0.9], [0, 0], num_bins=1))
      0.9
    """
    rows = checks.scored_rows(scores, outcomes, where, keep_bool=True)[:3]
    size = checked_size(bins, num_bins)
    return _debiased_error(*rows, bins, num_bins=size)


def calibration_error_of_table(table: ReliabilityTable) -> jax.Array:
    r"""The expected calibration error of a reliability table.

    .. math:: \mathrm{ECE} = \sum_b \frac{W_b}{W} \left| \bar c_b - \bar v_b \right|

    `expected_calibration_error` is this number for the table of its bins. It needs no
    examples, so it suits tables of many draws, models or devices.

    Args:
      table: `ReliabilityTable` of confidences, with entries `[..., num_bins]`.

    Returns:
      float32 `[...]` in `[0, 1]`; NaN for a table without rows, with a NaN, or of other
      scores, whose means are not in `[0, 1]`.

    Raises:
      ValueError: for another type.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3.

    Examples:
      >>> import calib_jax as cj
      >>> bins, scores = cj.equal_width_bins(2), [0.9, 0.2, 0.6, 0.4]
      >>> table = cj.reliability_table(bins, scores, [1, 0, 1, 0])
      >>> print(calibration_error_of_table(table).round(3))
      0.275
    """
    checks.instance("table", table, ReliabilityTable, batched=True)
    return expected_gap(table)


def _gap_in_bins(
    gap: Callable[[ReliabilityTable], jax.Array],
    scores: ArrayLike,
    outcomes: ArrayLike,
    num_bins: int,
    bins: Bins | None,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> jax.Array:
    """Checks the arguments and runs the core that both calibration errors share."""
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    size = checked_size(bins, num_bins)
    return _gap_of_rows(*rows, bins, num_bins=size, gap=gap)


@dispatch.core(
    static=["num_bins", "gap"], rows=["scores", "outcomes", "where", "weights"]
)
def _gap_of_rows(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    bins: Bins | None,
    *,
    num_bins: int,
    gap: Callable[[ReliabilityTable], jax.Array],
) -> jax.Array:
    bins = given_or_cut(bins, scores, num_bins, where, weights)
    return gap(tables.gaps_of_rows(bins, scores, outcomes, where, weights))


def _gaps(table: ReliabilityTable) -> jax.Array:
    """Absolute gap of each bin `[..., num_bins]`, with the same bits in any program.

    XLA would compute a plain difference from means that it has not rounded.
    """
    larger = jnp.maximum(table.confidence, table.outcome)
    return larger - jnp.minimum(table.confidence, table.outcome)


@dispatch.core
def expected_gap(table: ReliabilityTable) -> jax.Array:
    """The core of `calibration_error_of_table`."""
    # A bin without rows has mean 0, so it is inside.
    gaps = jnp.where(CONFIDENCE.holds(table.confidence), _gaps(table), jnp.nan)
    gaps = jnp.sum(table.weight * gaps, axis=-1)
    return masking.ratio(gaps, jnp.sum(table.weight, axis=-1))


@dispatch.core
def _largest_gap(table: ReliabilityTable) -> jax.Array:
    gap = _gaps(table)
    # Over many bins the CPU's maximum skips NaN.
    shown = (jnp.sum(table.weight) > 0) & ~jnp.any(jnp.isnan(gap))
    return jnp.where(shown, jnp.max(gap), jnp.nan)


@dispatch.core
def _root_mean_square_gap(table: ReliabilityTable) -> jax.Array:
    squares = jnp.sum(table.weight * _gaps(table) ** 2)
    return jnp.sqrt(masking.ratio(squares, jnp.sum(table.weight)))


@dispatch.core(static=["num_bins"], rows=["scores", "outcomes", "where"])
def _debiased_error(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    bins: Bins | None,
    *,
    num_bins: int,
) -> jax.Array:
    bins = given_or_cut(bins, scores, num_bins, where, None)
    quantities = [scores, outcomes]
    if outcomes.dtype != bool:
        quantities.append(outcomes**2)
    table = bin_sums.bin_means(bins, scores, quantities, where, None)
    # The square of a bool is itself.
    confidence, outcome, square = table.means[0], table.means[1], table.means[-1]
    gap = confidence - outcome
    others = jnp.maximum(table.count - 1, 1).astype(jnp.float32)
    noise = jnp.maximum(square - outcome**2, 0.0) / others
    debiased = jnp.where(table.count == 1, 0.0 * gap, gap**2 - noise)
    # What is NaN shows in a bin of one row, too.
    weight = jnp.where(table.count == 1, 0.0, table.weight)
    mean = masking.ratio(jnp.sum(weight * debiased), jnp.sum(weight))
    return jnp.sqrt(jnp.where(mean < 0, 0.0, mean))
