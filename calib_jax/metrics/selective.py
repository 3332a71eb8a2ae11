r"""Selective prediction: how often a model is wrong, if it may leave questions open.

Shapes: N examples. The most confident answers are given first. Risk is the share of the
answers given that are wrong, 1 minus their mean outcome; coverage is the share of
examples that are answered. Tied scores are answered together: each row of a tie counts
with the mean error and the mean weight of its tie, so that nothing depends on the order
of the rows. All rows are sorted, so sharded rows are gathered. With answers left out as
one more model of a chain, with prices, see `calib_jax.cascade.with_abstaining`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce, transforms
from .._core.domains import Outcome, Weights
from . import counting, ordered_errors


@records.record(
    "N",
    axes={"least_area": "", "num_rows": "", "whole": ""},
    values={"num_rows": records.COUNT},
)
class RiskCoverageCurve(records.Result):
    """Risk and coverage as more and more answers are given, one point per row.

    Rows that do not count repeat the last point. Without a valid row, or with a valid
    NaN, all numbers but `num_rows` are NaN.

    Attributes:
      coverage: float32 `[N]`, ascending to 1, the share of examples answered.
      risk: float32 `[N]` in `[0, 1]`, the mean error of the answers given.
      threshold: float32 `[N]`, descending, the score of the last answer given. Answers
        with a score at or above it are given; inside a tie, a random part of the tie.
      least_area: float32 scalar, the area under the curve of the same errors, if all
        of them came last.
      num_rows: int32 scalar, how many rows count; None with weights.
      whole: bool scalar, whether each outcome is 0 or 1.
    """

    coverage: jax.Array
    risk: jax.Array
    threshold: jax.Array
    least_area: jax.Array
    num_rows: jax.Array | None
    whole: jax.Array


def risk_coverage_curve(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> RiskCoverageCurve:
    r"""Risk against coverage, the most confident answers first.

    .. math:: \mathrm{coverage}_k = \frac kn, \quad
        \mathrm{risk}_k = \frac1k \sum_{i \le k} (1 - v_i)

    It shows what a threshold on the score would do. Only the order of the scores
    counts, so a calibrated score has the same curve as the raw one, unless calibration
    makes ties. To promise a risk on new examples, use `coverage_at_risk` with a
    confidence level: the best point of a curve looks better than it is.

    Args:
      scores: floating `[N]`, any numbers; higher is more confident.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct;
        a partly correct answer is an error in part.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`.

    Returns:
      `RiskCoverageCurve`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host outcome or weight outside
        its range.

    References:
      El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification",
      2010; Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks",
      2017, arXiv 1705.08500.

    Examples:
      >>> curve = risk_coverage_curve([0.9, 0.4, 0.6, 0.4], [1, 1, 0, 0])
      >>> print(curve.coverage, curve.risk.round(3))
      [0.25 0.5  0.75 1.  ] [0.  0.5 0.5 0.5]
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return _curve_of_rows(*rows)


def area_under_risk_coverage(
    scores: ArrayLike | RiskCoverageCurve,
    outcomes: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean risk over all coverages (AURC).

    .. math:: \mathrm{AURC} = \frac1n \sum_k \mathrm{risk}_k
        = \frac1n \sum_k \frac1k \sum_{i \le k} (1 - v_i)

    Lower is better. It mixes two things, how often the model is wrong and how well the
    scores tell when, and an error among the most confident answers counts in the mean
    of every coverage: `area_under_generalised_risk_coverage` weighs errors more evenly.

    Args:
      scores: floating `[N]`, any numbers; or a `RiskCoverageCurve`, alone.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; the mean over k is weighted as well. A
        weight is a share of the rows, not a number of repetitions: a row repeated w
        times is w steps of the mean, a row of weight w is one. The two differ by about
        1 / N, little beside the sampling error, so bootstrap weights
        (`calib_jax.bootstrap`) do for a hundred rows or more.

    Returns:
      float32 scalar in `[0, 1]`, within 1e-6 for up to 10 million rows; NaN without a
      valid row, or with a valid NaN or value outside its range. Derivatives with
      respect to scores are 0.

    Raises:
      ValueError: for a wrong rank, shape or dtype, a host outcome or weight outside its
        range, or rows beside a curve.

    References:
      Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
      Classifiers", 2019, arXiv 1805.08206.

    Examples:
      >>> print(area_under_risk_coverage([0.9, 0.4, 0.6, 0.3], [1, 1, 0, 0]).round(4))
      0.3333
    """
    return _area(
        Area(_mean_risk, counting.mean_share), scores, outcomes, where, weights
    )


def excess_area_under_risk_coverage(
    scores: ArrayLike | RiskCoverageCurve,
    outcomes: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""AURC minus the least AURC that any scores could have (E-AURC).

    The least is that of the same errors in ascending order, wrong answers last, which
    is computed exactly, not by its usual approximation :math:`r + (1 - r) \log(1 - r)`.
    0 is for scores that rank every right answer above every wrong one.

    Args, errors and NaN as for `area_under_risk_coverage`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, a host outcome or weight outside its
        range, or rows beside a curve.

    References:
      Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
      Classifiers", 2019, arXiv 1805.08206.

    Examples:
      >>> scores, outcomes = [0.9, 0.4, 0.6, 0.3], [1, 1, 0, 0]
      >>> print(excess_area_under_risk_coverage(scores, outcomes).round(4))
      0.125
    """
    return _area(
        Area(_excess_risk, counting.excess_mean_share), scores, outcomes, where, weights
    )


def area_under_generalised_risk_coverage(
    scores: ArrayLike | RiskCoverageCurve,
    outcomes: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean over all coverages of the share answered wrongly (AUGRC).

    .. math:: \mathrm{AUGRC} = \frac1n \sum_k \mathrm{coverage}_k \, \mathrm{risk}_k
        = \frac1n \sum_k \frac1n \sum_{i \le k} (1 - v_i)

    The probability that an example is answered and the answer is wrong, at a coverage
    chosen at random. Each error counts by its rank alone, so for one model it orders
    scores as `calib_jax.area_under_roc` does; between models it also rewards accuracy.

    Args, errors and NaN as for `area_under_risk_coverage`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, a host outcome or weight outside its
        range, or rows beside a curve.

    References:
      Traub et al., "Overcoming Common Flaws in the Evaluation of Selective
      Classification Systems", 2024, arXiv 2407.01032.

    Examples:
      >>> scores, outcomes = [0.9, 0.4, 0.6, 0.3], [1, 1, 0, 0]
      >>> print(area_under_generalised_risk_coverage(scores, outcomes))
      0.25
    """
    return _area(
        Area(_mean_joint_risk, counting.mean_count), scores, outcomes, where, weights
    )


class Area(NamedTuple):
    """How an area is read off a curve, and off rows that are right or wrong."""

    of_curve: Callable[[RiskCoverageCurve], jax.Array]
    of_counts: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def _area(
    area: Area,
    scores: ArrayLike | RiskCoverageCurve,
    outcomes: ArrayLike | None,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> jax.Array:
    """Checks the arguments and runs the core of one of the areas."""
    if isinstance(scores, RiskCoverageCurve):
        checks.instance("scores", scores, RiskCoverageCurve)
        given = {"outcomes": outcomes, "where": where, "weights": weights}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name}: expected None beside a RiskCoverageCurve, got "
                    f"{type(value).__name__}."
                )
        return _area_of_curve(scores, area=area)
    if outcomes is None:
        raise ValueError(
            "outcomes: expected an array [N] of outcomes, or a RiskCoverageCurve in "
            "place of scores and outcomes, got None."
        )
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return _area_of_rows(*rows, area=area)


def _curve(
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> RiskCoverageCurve:
    num_rows = scores.shape[0]
    valid = masking.valid_rows(num_rows, where, weights)
    if num_rows == 0:
        nothing, unknown = jnp.zeros(0, jnp.float32), jnp.full((), jnp.nan, jnp.float32)
        return RiskCoverageCurve(
            coverage=nothing,
            risk=nothing,
            threshold=nothing,
            least_area=unknown,
            num_rows=jnp.int32(0) if weights is None else None,
            whole=jnp.bool_(True),
        )
    error, weight = ordered_errors.errors_of(outcomes, weights, valid)
    count = jnp.sum(valid, dtype=jnp.int32)
    whole = jnp.all((error == 0) | (error == 1))
    unknown = jnp.any(valid & jnp.isnan(scores) | jnp.isnan(error)) | (count == 0)
    points = ordered_errors.by_score(
        lax.stop_gradient(scores), error, weight, valid, whole
    )
    least = ordered_errors.by_error(error, weight, valid, whole)
    coverage, risk, threshold, least_area = (
        jnp.where(unknown, jnp.nan, part)
        for part in (
            points.coverage,
            points.risk,
            points.score,
            _steps(least.coverage, least.risk),
        )
    )
    return RiskCoverageCurve(
        coverage=coverage,
        risk=risk,
        threshold=threshold,
        least_area=least_area,
        num_rows=count if weights is None else None,
        whole=whole,
    )


def _steps(coverage: jax.Array, heights: jax.Array) -> jax.Array:
    """The area below steps that end at each coverage."""
    return reduce.pairwise_sum(jnp.diff(coverage, prepend=0.0) * heights)


def _mean_risk(curve: RiskCoverageCurve) -> jax.Array:
    return _steps(curve.coverage, curve.risk)


def _excess_risk(curve: RiskCoverageCurve) -> jax.Array:
    return jnp.maximum(_mean_risk(curve) - curve.least_area, 0.0)


def _mean_joint_risk(curve: RiskCoverageCurve) -> jax.Array:
    return _steps(curve.coverage, curve.coverage * curve.risk)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _curve_of_rows(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> RiskCoverageCurve:
    return _curve(scores, outcomes, where, weights)


@dispatch.core(static=["area"], rows=["scores", "outcomes", "where", "weights"])
def _area_of_rows(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    area: Area,
) -> jax.Array:
    size, is_bool = scores.shape[0], outcomes.dtype == bool
    few = size != 0 and transforms.at_most(size, counting.MOST_ROWS)
    if few and is_bool and weights is None:
        return area.of_counts(scores, ~outcomes, masking.valid_rows(size, where))
    return known(area.of_curve, _curve(scores, outcomes, where, weights))


@dispatch.core(static=["area"])
def _area_of_curve(scores: RiskCoverageCurve, *, area: Area) -> jax.Array:
    return known(area.of_curve, scores)


def known(value: Callable[..., jax.Array], curve: RiskCoverageCurve) -> jax.Array:
    """What is read off a curve; NaN for one without rows."""
    # Over no rows a sum would be 0.
    if curve.coverage.shape[0] == 0:
        return jnp.full((), jnp.nan, jnp.float32)
    return value(curve)
