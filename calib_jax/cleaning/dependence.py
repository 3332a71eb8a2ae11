r"""Do experts err together more often than by chance?

All experts flag a right label only where all of them are wrong, so several experts
clean labels better the less their errors are related. Measuring that takes rows whose
right answers are known.

Shapes: M experts, N examples.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import Confidence
from ..stats import intervals
from ..stats.intervals import Counts, Interval

# With fewer expected joint errors the normal approximation is too narrow.
_FEW = 5.0


@records.record(axes={"error_rate": "M", "pair_lift": "M M", "correlation": "M M"})
class ExpertDependence(records.Result):
    """How often experts err, and err together.

    Attributes:
      error_rate: float32 `[M]`, of each expert.
      joint_error_rate: float32 scalar, share of rows on which all are wrong.
      lift: `Interval` of a scalar, `joint_error_rate` over the product of the error
        rates; 1 if experts err independently.
      pair_lift: float32 `[M, M]`, the same for each pair; 1 / error_rate, the maximum,
        for an expert with itself.
      correlation: float32 `[M, M]`, Pearson correlation of each pair's errors (phi).
      num_joint_errors: int32 scalar, rows on which all are wrong.
      counts: `Counts` of the rows.
      lift_given_confidence: `Interval` of a scalar, joint errors over the number that
        the confidences predict for independent experts; None without confidences.
    """

    error_rate: jax.Array
    joint_error_rate: jax.Array
    lift: Interval
    pair_lift: jax.Array
    correlation: jax.Array
    num_joint_errors: jax.Array
    counts: Counts
    lift_given_confidence: Interval | None = None


def expert_dependence(
    outcomes: ArrayLike,
    confidences: ArrayLike | None = None,
    *,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> ExpertDependence:
    r"""Joint errors of experts, compared with what independent experts would make.

    .. math:: L = \frac{P(\text{all wrong})}{\prod_m P(m \text{ wrong})}, \quad
        L_c = \frac{\sum_i 1[\text{all wrong on } i]}{\sum_i \prod_m (1 - c_{mi})}

    L exceeds 1 as soon as all experts find the same examples hard. :math:`L_c` measures
    what they share beyond what their confidences reveal, and is the one that matters
    for cleaning: expect :math:`L_c` times as many false flags as `expected_false_flags`
    predicts for independent experts. For one class, pass `where=labels == k`.

    Intervals are score intervals: all L for which the joint errors are within z
    standard errors,

    .. math:: (\hat L - L)^2 \le z^2 \left( \frac{L}{N \prod_m p_m} +
        \frac{L^2 B}{N} \right), \quad B = \sum_{ml} \frac{p_{ml}}{p_m p_l} -
        \sum_m \frac 2{p_m} - (M - 1)^2

    with the observed error rates p of experts and of pairs, and likewise for
    :math:`L_c`. Where independent experts would make fewer than 5 joint errors, their
    number is closer to Poisson than to normal: each end is then the outer one of this
    interval and of Byar's approximation to the exact interval of a Poisson mean,
    divided by the expected number. The intervals are approximate, and are valid without
    any joint error.

    Args:
      outcomes: bool `[M, N]`, whether each expert is right. If given labels stand in
        for the truth, wrong labels count as errors of all experts, and the lift is too
        high.
      confidences: optional floating `[M, N]` in `[0, 1]`, calibrated to the same
        labels, so that 1 minus a confidence is the probability of an error.
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      where: optional bool `[N]`.

    Returns:
      `ExpertDependence`; lifts are NaN with the interval `[0, inf]` where an expert is
      never wrong, and the one given confidences also with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, fewer than two experts, or a
        confidence on the host outside `[0, 1]`; in a device array it counts as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3, assumes independence; Kuncheva and
      Whitaker, "Measures of Diversity in Classifier Ensembles", 2003; Koopman,
      "Confidence Intervals for the Ratio of Two Binomial Proportions", 1984 (score
      intervals); Breslow and Day, "Statistical Methods in Cancer Research", volume 2,
      1987, equations 2.11 and 2.12 (Byar's approximation).

    Examples:
      >>> outcomes = jnp.stack([jnp.arange(1000) % 5 > 0, jnp.arange(1000) % 10 >= 2])
      >>> found = expert_dependence(outcomes)
      >>> print(found.error_rate, f"together {found.joint_error_rate:.2f}")
      [0.2 0.2] together 0.10
      >>> lift = found.lift
      >>> print(f"{lift.estimate:.2f}, {lift.lower:.2f} to {lift.upper:.2f}")
      2.50, 2.18 to 2.80
    """
    right = checks.bools("outcomes", outcomes, rank=2, axes="[M, N]")
    given = confidences
    if given is not None:
        given = checks.floats("confidences", given, rank=2, axes="[M, N]")
    alpha = checks.error_rate("confidence_level", confidence_level)
    mask = checks.mask("where", where)
    checks.same_shape(outcomes=right, confidences=given)
    checks.same_columns(outcomes=right, where=mask)
    if right.shape[0] < 2:
        raise ValueError(
            f"outcomes: expected two experts or more, got {list(right.shape)}."
        )
    return _expert_dependence(right, given, alpha, mask)


@dispatch.core
def _expert_dependence(
    outcomes: jax.Array,
    confidences: Confidence | None,
    alpha: jax.Array,
    where: jax.Array | None,
) -> ExpertDependence:
    size = outcomes.shape[0]
    valid = masking.valid_rows(outcomes.shape[1], where)

    def products(rows: tuple, live: jax.Array) -> jax.Array:
        """Products of each expert's error, the joint error, its expectation, and 1."""
        right, confidence = rows
        errors = ~right
        expected = jnp.zeros(live.shape, jnp.float32)
        if confidence is not None:
            expected = jnp.prod(1 - confidence, axis=1)
        together = jnp.all(errors, axis=1).astype(jnp.float32)
        columns = [together, expected, jnp.ones_like(expected)]
        block = jnp.concatenate(
            [errors.astype(jnp.float32), jnp.stack(columns, axis=1)], axis=1
        )
        block = jnp.where(live[:, None], block, 0.0)
        return jnp.matmul(block.T, block, precision=lax.Precision.HIGHEST)

    rows = (outcomes.T, None if confidences is None else confidences.T)
    sums = reduce.sum_blocks(products, (size + 3, size + 3), rows, valid)
    joint, expected, total = sums[-3, -1], sums[-2, -1], sums[-1, -1]
    some = jnp.where(total > 0, total, jnp.nan)
    rate, pairs = sums[:size, -1] / some, sums[:size, :size] / some
    product = jnp.prod(rate)
    both = rate[:, None] * rate[None]
    spread = rate * (1 - rate)
    excess = jnp.sum(pairs / both) - jnp.sum(2 / rate) - (size - 1) ** 2
    alone = some * product
    lift = _interval(joint, alone, 1 / alone, excess / some, alpha)
    given = None
    if confidences is not None:
        square, cross = sums[-2, -2] / expected**2, sums[-3, -2] / expected
        given = _interval(joint, expected, (1 - 2 * cross) / expected, square, alpha)
    return ExpertDependence(
        error_rate=rate,
        joint_error_rate=joint / some,
        lift=lift,
        pair_lift=pairs / both,
        correlation=(pairs - both) / jnp.sqrt(spread[:, None] * spread[None]),
        num_joint_errors=joint.astype(jnp.int32),
        counts=intervals.count_rows(valid),
        lift_given_confidence=given,
    )


def _interval(
    joint: jax.Array,
    expected: jax.Array,
    linear: jax.Array,
    quadratic: jax.Array,
    alpha: jax.Array,
) -> Interval:
    """All L with `(joint / expected - L)^2` at most `z^2 (linear L + quadratic L^2)`.

    With few expected errors, at least as wide as Byar's interval.
    """
    z = ndtri(0.5 * alpha)
    ratio = joint / expected
    first = 1 - z**2 * quadratic
    half = ratio + 0.5 * z**2 * linear
    root = jnp.sqrt(jnp.maximum(half**2 - first * ratio**2, 0.0))
    # The product of both roots is ratio^2 / first, which avoids a cancellation.
    upper = jnp.where(first > 0, (half + root) / first, jnp.inf)
    lower = ratio**2 / (half + root)
    few, ends = expected < _FEW, intervals.byar(joint, alpha)
    lower = jnp.where(few, jnp.minimum(lower, ends[0] / expected), lower)
    upper = jnp.where(few, jnp.maximum(upper, ends[1] / expected), upper)
    # With an expert that is never wrong the ratio is unknown.
    unknown = ~jnp.isfinite(ratio)
    lower = jnp.where(unknown | (ratio == 0), 0.0, lower)
    upper = jnp.where(unknown, jnp.inf, upper)
    no_level = jnp.isnan(alpha)
    return Interval(
        estimate=jnp.where(unknown, jnp.nan, ratio),
        lower=jnp.where(no_level, jnp.nan, lower),
        upper=jnp.where(no_level, jnp.nan, upper),
    )
