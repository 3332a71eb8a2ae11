"""What a risk-coverage curve says within a limit, and what it promises of new rows.

Shapes: N points of a curve.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch
from .._core.domains import Share
from ..stats import binomial, bounds
from .selective import RiskCoverageCurve, known

# Coverages that are tested for a guarantee.
_NUM_TESTS = 50
# The least number above 0 that is not a subnormal; those count as 0.
_LEAST = np.finfo(np.float32).tiny


def coverage_at_risk(
    curve: RiskCoverageCurve,
    risk: ArrayLike,
    *,
    confidence_level: ArrayLike | None = None,
) -> jax.Array:
    r"""The largest coverage at which the risk is within a limit.

    Without a confidence level, of the examples of the curve: the risk of new examples
    at the same threshold is higher about half of the time.

    With a confidence level, the largest coverage that passes a test on the risk of new
    examples. 50 coverages, 2%, 4%, ... 100%, are tested, each at an error rate of
    :math:`(1 - \text{confidence\_level}) / 50`, so that with a probability of at least
    `confidence_level` over the examples of the curve, the chosen one keeps the promise

    .. math:: E[1 - v \mid s > u] \le \text{risk},

    where u is the next lower score of the curve; u is -inf at a coverage of 1.
    `threshold_at_risk` returns the least score above u. Given u the rows above it are
    independent rows of the distribution of such rows, so their number of errors is
    binomial. Partly correct answers are tested by Hoeffding and Bentkus. It holds for
    independent rows that were not used to make the scores, up to 2^24 of them, whatever
    the model. The share of new examples that are answered is the coverage in
    expectation, up to 1 / n.

    Args:
      curve: `RiskCoverageCurve`; without weights for a confidence level.
      risk: floating scalar in `[0, 1]`; may be traced.
      confidence_level: optional floating scalar in `(0, 1)`; may be traced.

    Returns:
      float32 scalar in `[0, 1]`, an entry of `curve.coverage` `[N]`; 0 if none is
      within the limit, NaN for a curve of NaN.

    Raises:
      ValueError: for a wrong type, rank or dtype, a host number out of range, or a
        confidence level for a curve with weights.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500 (selection with guaranteed risk; its search by bisection is
      replaced by a fixed grid, for which the union bound holds).

    Examples:
      >>> import calib_jax as cj
      >>> scores = jnp.linspace(0.0, 1.0, 1000)
      >>> curve = cj.metrics.risk_coverage_curve(scores, scores > 0.4)
      >>> print(coverage_at_risk(curve, 0.1).round(3))
      0.666
      >>> print(coverage_at_risk(curve, 0.1, confidence_level=0.95).round(3))
      0.64
    """
    return _coverage_at_risk(*_limits(curve, risk, confidence_level))


def threshold_at_risk(
    curve: RiskCoverageCurve,
    risk: ArrayLike,
    *,
    confidence_level: ArrayLike | None = None,
) -> jax.Array:
    r"""The score from which to answer, so that the risk is within a limit.

    Answers with a score at or above it are given. It is the least float32 above u, the
    highest score of the curve that is left open:

    .. math:: t = \min \{ s : s > u \}

    With a confidence level these are the answers of which `coverage_at_risk` makes its
    promise for new examples. Without one it describes the examples of the curve, and
    the risk of new examples is higher about half of the time. A tie is answered as a
    whole or not at all, so that fewer may be answered than `coverage_at_risk` says
    without a confidence level, which counts a random part of a tie.

    Args:
      curve: `RiskCoverageCurve` of N points; without weights for a confidence level.
      risk: floating scalar in `[0, 1]`; may be traced.
      confidence_level: optional floating scalar in `(0, 1)`; may be traced.

    Returns:
      float32 scalar, to compare with float32 scores: -inf where all are answered, inf
      where none is, NaN for a curve of NaN.

    Raises:
      ValueError: for a wrong type, rank or dtype, a host number out of range, or a
        confidence level for a curve with weights.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500.

    Examples:
      >>> import calib_jax as cj
      >>> scores = jnp.float32([0.9, 0.75, 0.75, 0.5, 0.25])
      >>> curve = cj.metrics.risk_coverage_curve(scores, [1, 1, 1, 0, 1])
      >>> print(scores >= threshold_at_risk(curve, 0.1))
      [ True  True  True False False]
      >>> print(threshold_at_risk(curve, 0.2))
      -inf
    """
    return _threshold_at_risk(*_limits(curve, risk, confidence_level))


def risk_at_coverage(curve: RiskCoverageCurve, coverage: ArrayLike) -> jax.Array:
    r"""The risk if at least a share of the examples is answered.

    Args:
      curve: `RiskCoverageCurve`.
      coverage: floating scalar in `[0, 1]`; may be traced.

    Returns:
      float32 scalar, the entry of `curve.risk` `[N]` at the smallest coverage that is
      at least this; NaN for a curve of NaN.

    Raises:
      ValueError: for a wrong type, rank or dtype, or a host number out of range.

    References:
      Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017,
      arXiv 1705.08500.

    Examples:
      >>> import calib_jax as cj
      >>> curve = cj.metrics.risk_coverage_curve([0.9, 0.4, 0.6, 0.3], [1, 1, 0, 0])
      >>> print(risk_at_coverage(curve, 0.7).round(3))
      0.333
    """
    checks.instance("curve", curve, RiskCoverageCurve)
    return _risk_at_coverage(curve, checks.scalar("coverage", coverage))


def _limits(
    curve: RiskCoverageCurve, risk: ArrayLike, confidence_level: ArrayLike | None
) -> tuple[RiskCoverageCurve, jax.Array, jax.Array | None]:
    """Checked: a curve, the limit and the error rate of a promise."""
    checks.instance("curve", curve, RiskCoverageCurve)
    limit = checks.scalar("risk", risk)
    if confidence_level is None:
        return curve, limit, None
    error = checks.error_rate("confidence_level", confidence_level)
    if curve.num_rows is None:
        raise ValueError(
            "confidence_level: expected None for a curve with weights, whose rows are "
            "not equally many draws."
        )
    return curve, limit, error


@dispatch.core
def _coverage_at_risk(
    curve: RiskCoverageCurve, risk: Share, error: jax.Array | None
) -> jax.Array:
    def largest(curve: RiskCoverageCurve) -> jax.Array:
        if error is not None:
            last = _last_promised(curve, risk, error)
        else:
            last = _last(curve.risk <= risk)
        found = jnp.where(last < 0, 0.0, curve.coverage[last])
        return jnp.where(_unknown(curve, risk, error), jnp.nan, found)

    return known(largest, curve)


@dispatch.core
def _threshold_at_risk(
    curve: RiskCoverageCurve, risk: Share, error: jax.Array | None
) -> jax.Array:
    def least(curve: RiskCoverageCurve) -> jax.Array:
        if error is not None:
            last = _last_promised(curve, risk, error)
        else:
            ends = curve.threshold != jnp.roll(curve.threshold, -1)
            last = _last((curve.risk <= risk) & ends.at[-1].set(True))
        # Rows that do not count repeat the last point.
        every = curve.coverage[last] == curve.coverage[-1]
        found = _next(curve.threshold.at[last + 1].get(mode="clip"))
        found = jnp.where(every, -jnp.inf, found)
        found = jnp.where(last < 0, jnp.inf, found)
        return jnp.where(_unknown(curve, risk, error), jnp.nan, found)

    return known(least, curve)


@dispatch.core
def _risk_at_coverage(curve: RiskCoverageCurve, coverage: Share) -> jax.Array:
    def first(curve: RiskCoverageCurve) -> jax.Array:
        place = jnp.searchsorted(curve.coverage, coverage)
        risk = curve.risk.at[place].get(mode="clip")
        return jnp.where(jnp.isnan(coverage), jnp.nan, risk)

    return known(first, curve)


def _last(within: jax.Array) -> jax.Array:
    """The number of the last row within a limit, -1 if none is."""
    row = jnp.arange(within.shape[0], dtype=jnp.int32)
    return jnp.max(jnp.where(within, row, -1))


def _last_promised(
    curve: RiskCoverageCurve, risk: jax.Array, error: jax.Array
) -> jax.Array:
    """The last row of the largest coverage that passes its test, -1 if none does."""
    number = np.arange(1, _NUM_TESTS + 1, dtype=np.int32)
    count = curve.num_rows
    assert count is not None
    # number * count / _NUM_TESTS, without an overflow.
    each, rest = count // _NUM_TESTS, count % _NUM_TESTS
    tested = number * each + number * rest // _NUM_TESTS
    # Rows above the next lower score; all of them at last.
    lower = curve.threshold.at[tested].get(mode="clip")
    above = jnp.searchsorted(-curve.threshold, -lower).astype(jnp.int32)
    above = jnp.where(tested == count, count, above)
    answered = above.astype(jnp.float32)
    last = above - 1
    wrong = curve.risk[jnp.maximum(last, 0)] * answered
    wrong = jnp.where(curve.whole, jnp.round(wrong), wrong)

    p_value = jax.vmap(
        lambda wrong, answered: bounds.hoeffding_bentkus(
            binomial.pair(wrong), answered, risk, binary=curve.whole
        )
    )
    passes = (p_value(wrong, answered) <= error / _NUM_TESTS) | (risk >= 1)
    return jnp.max(jnp.where(passes, last, -1))


def _next(score: jax.Array) -> jax.Array:
    """The least score above one, as scores are sorted: subnormals count as 0."""
    found = lax.nextafter(score, jnp.float32(jnp.inf))
    found = jnp.where(score == 0, _LEAST, found)
    return jnp.where(score == -_LEAST, 0.0, found)


def _unknown(
    curve: RiskCoverageCurve, risk: jax.Array, error: jax.Array | None
) -> jax.Array:
    return jnp.isnan(curve.coverage[-1] + risk + (0.0 if error is None else error))
