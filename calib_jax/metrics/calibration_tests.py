r"""Tests of perfect calibration that need no bins.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`. Under the null
each outcome is right with probability equal to its score, independently. For right and
wrong answers p-values hold in large samples: below alpha in a share alpha of them, and
in fewer where scores are tied. Partial credit varies less than this null, so tests of
it reject too seldom. A p-value says whether there is an error, not how large it is:
with enough rows every model fails.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import Confidence, Outcome, Weights
from . import brownian, cumulative


@records.record(values={"p_value": records.SHARE})
class CalibrationTest(records.Result):
    """A test of perfect calibration.

    Attributes:
      statistic: float32 scalar, in standard deviations; 0 in the middle of the null.
      p_value: float32 scalar, probability of a statistic at least as far out if the
        model is calibrated.
    """

    statistic: jax.Array
    p_value: jax.Array


def kolmogorov_smirnov_test(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationTest:
    r"""Tests calibration by the largest cumulative difference.

    The statistic is `kolmogorov_smirnov_calibration_error` divided by :math:`\sigma =
    \sqrt{\sum_i w_i^2 c_i (1 - c_i)} / W`. Under the null the cumulative difference is
    in the limit a Brownian motion on [0, 1], and p is the probability that it goes as
    far. It finds errors of one sign best: `kuiper_test` those of two.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`, importances: weight 2 is not the row twice.

    Returns:
      `CalibrationTest`; NaN without a valid row, or with a valid NaN or value outside
      its range. If all confidences are 0 or 1, p is 1 if none of them is wrong, else 0.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Arrieta-Ibarra et al., "Metrics of calibration for probabilistic predictions",
      2022, arXiv 2205.09680; Tygert, "Calibration of P-values for calibration and for
      deviation of a subpopulation from the full population", 2022, arXiv 2202.00100.

    Examples:
      >>> scores = jnp.linspace(0.0, 1.0, 100)
      >>> test = kolmogorov_smirnov_test(scores, scores > 0.5)
      >>> print(f"{test.statistic:.2f}, p = {test.p_value:.4f}")
      3.05, p = 0.0046
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return cumulative.of_rows(*rows, reading=_distance_test)


def kuiper_test(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationTest:
    r"""Tests calibration by the range of the cumulative difference.

    The statistic is `kuiper_calibration_error` divided by the :math:`\sigma` of
    `kolmogorov_smirnov_test`, and p is the probability that a Brownian motion on [0, 1]
    has a range as large.

    Args, errors and NaN as for `kolmogorov_smirnov_test`.

    Returns:
      `CalibrationTest`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Arrieta-Ibarra et al., "Metrics of calibration for probabilistic predictions",
      2022, arXiv 2205.09680; Tygert 2022, arXiv 2202.00100.

    Examples:
      >>> scores = jnp.linspace(0.0, 1.0, 100)
      >>> test = kuiper_test(scores, scores > 0.5)
      >>> print(f"{test.statistic:.2f}, p = {test.p_value:.4f}")
      3.05, p = 0.0093
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return cumulative.of_rows(*rows, reading=_range_test)


def spiegelhalter_test(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationTest:
    r"""Tests calibration by the Brier score, which has a known mean under the null.

    .. math:: z = \frac{\sum_i w_i (v_i - c_i) (1 - 2 c_i)}
       {\sqrt{\sum_i w_i^2 (1 - 2 c_i)^2 c_i (1 - c_i)}}

    is standard normal in the limit; above 0 the Brier score is larger than the
    confidences promise, as it is for an overconfident model. The p-value is two-sided.
    It cannot see an error that leaves the Brier score as promised: rows of confidence
    one half do not count.

    Args, errors and NaN as for `kolmogorov_smirnov_test`.

    Returns:
      `CalibrationTest`; NaN also where all confidences are 0, 1/2 or 1, unless one of
      them is certain and wrong.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Spiegelhalter, "Probabilistic prediction in patient management and clinical
      trials", 1986.

    Examples:
      >>> scores = jnp.linspace(0.0, 1.0, 100)
      >>> test = spiegelhalter_test(scores, scores > 0.5)
      >>> print(f"{test.statistic:.2f}, p = {test.p_value:.5f}")
      -4.54, p = 0.00001
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    return _spiegelhalter(*rows)


def _distance_test(extremes: cumulative.Extremes) -> CalibrationTest:
    distance = cumulative.largest_distance(extremes)
    statistic = _in_deviations(distance, extremes.deviation, jnp.float32(0))
    p_value = brownian.distance_exceeds(statistic)
    return CalibrationTest(statistic=statistic, p_value=p_value)


def _range_test(extremes: cumulative.Extremes) -> CalibrationTest:
    width = cumulative.width(extremes)
    statistic = _in_deviations(width, extremes.deviation, jnp.float32(0))
    p_value = brownian.range_exceeds(statistic)
    return CalibrationTest(statistic=statistic, p_value=p_value)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _spiegelhalter(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> CalibrationTest:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    scores, outcomes = masking.clean_rows(valid, 0.5, scores, outcomes)
    weight, _ = masking.scaled_weights(scores.shape[0], weights, valid)

    def sums(rows: tuple[jax.Array, ...], live: jax.Array) -> tuple[jax.Array, ...]:
        score, outcome, weight = rows
        weight = jnp.where(live, weight, 0.0)
        slope = weight * (1 - 2 * score)
        return weight, slope * (outcome - score), slope**2 * (score * (1 - score))

    rows = scores, outcomes, weight
    total, excess, claimed = reduce.sum_rows(sums, rows, valid)
    excess = jnp.where(total > 0, excess, jnp.nan)
    statistic = _in_deviations(excess, jnp.sqrt(claimed), jnp.float32(jnp.nan))
    p_value = jnp.where(
        jnp.isnan(statistic), jnp.nan, 2 * brownian.upper_tail(jnp.abs(statistic))
    )
    return CalibrationTest(statistic=statistic, p_value=p_value)


def _in_deviations(
    value: jax.Array, deviation: jax.Array, neither: jax.Array
) -> jax.Array:
    """The quotient; infinite where only the deviation is 0, `neither` if both are."""
    certain = deviation == 0
    quotient = value / jnp.where(certain, 1.0, deviation)
    infinite = jnp.where(value == 0, neither, value * jnp.inf)
    return jnp.where(certain, infinite, quotient)
