r"""Do experts err together more often than chance would have it?

Several experts clean labels the better, the less their errors have to do with each
other: a right label is flagged by all only where all of them are wrong. Needed are rows
of which it is known who is wrong.

Shapes: M experts, N examples.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce
from ..stats.intervals import Interval

# Joint errors: of fewer the normal approximation is too narrow.
_FEW = 5.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ExpertDependence:
    """How often experts err, and err together.

    Attributes:
      error_rate: float32 `[M]`, of each expert.
      joint_error_rate: float32 scalar, share of rows on which all are wrong.
      lift: `Interval` of a scalar, that over the product of the error rates; 1 if
        experts err independently of each other.
      pair_lift: float32 `[M, M]`, the same of every two; of an expert with itself
        1 / error_rate, as much as it can be.
      correlation: float32 `[M, M]`, Pearson's of the errors of every two (phi).
      num_joint_errors: int32 scalar, rows on which all are wrong.
      num_rows: int32 scalar, rows that count.
      num_masked: int32 scalar, rows that `where` leaves out.
      lift_given_confidence: `Interval` of a scalar, joint errors over those that the
        confidences say to expect of independent experts; None without confidences.
    """

    error_rate: jax.Array
    joint_error_rate: jax.Array
    lift: Interval
    pair_lift: jax.Array
    correlation: jax.Array
    num_joint_errors: jax.Array
    num_rows: jax.Array
    num_masked: jax.Array
    lift_given_confidence: Interval | None = None


def expert_dependence(
    wrong: ArrayLike,
    confidences: ArrayLike | None = None,
    *,
    error_probability: ArrayLike = 0.05,
    where: ArrayLike | None = None,
) -> ExpertDependence:
    r"""Observed joint errors of experts against those of independent ones.

    .. math:: L = \frac{P(\text{all wrong})}{\prod_m P(m \text{ wrong})}, \quad
        L_c = \frac{\sum_i 1[\text{all wrong on } i]}{\sum_i \prod_m (1 - c_{mi})}

    L exceeds 1 already where all experts find the same examples hard. What they share
    beyond what their confidences know of it is :math:`L_c`, the one that counts for
    cleaning: the false flags that `expected_false_flags` expects of independent experts
    are as many times too few. That of one class is the same with `where=labels == k`.

    Intervals are of the score kind: all L for which the joint errors are within so many
    standard errors,

    .. math:: (\hat L - L)^2 \le z^2 \left( \frac{L}{N \prod_m p_m} +
        \frac{L^2 B}{N} \right), \quad B = \sum_{ml} \frac{p_{ml}}{p_m p_l} -
        \sum_m \frac 2{p_m} - (M - 1)^2

    with the observed error rates p of experts and of pairs, and likewise for
    :math:`L_c`. Where fewer than 5 joint errors are expected of independent experts
    their number is Poisson's rather than normal: each end is then the outer one of this
    interval and of Byar's approximation to the exact interval of a Poisson mean, over
    the expected number. They are approximate, and hold where there is no joint error at
    all.

    Args:
      wrong: bool `[M, N]`, whether each expert is wrong, as far as is known: where
        given labels are taken for the truth, those that are wrong count as errors of
        all experts, and the lift is too high.
      confidences: optional floating `[M, N]`, calibrated to the same labels, so that
        1 minus them is how probable an error is.
      error_probability: floating scalar, with which an interval may miss; may be
        traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `ExpertDependence`; NaN, between 0 and inf, where an expert is never wrong.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or fewer than two experts.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3, assumes independence; Kuncheva and
      Whitaker, "Measures of Diversity in Classifier Ensembles", 2003; Koopman,
      "Confidence Intervals for the Ratio of Two Binomial Proportions", 1984 (score
      intervals); Breslow and Day, "Statistical Methods in Cancer Research", volume 2,
      1987, equations 2.11 and 2.12 (Byar's approximation).

    Examples:
      >>> wrong = jnp.stack([jnp.arange(1000) % 5 == 0, jnp.arange(1000) % 10 < 2])
      >>> found = expert_dependence(wrong)
      >>> print(found.error_rate, f"together {found.joint_error_rate:.2f}")
      [0.2 0.2] together 0.10
      >>> lift = found.lift
      >>> print(f"{lift.estimate:.2f}, {lift.lower:.2f} to {lift.upper:.2f}")
      2.50, 2.18 to 2.80
    """
    errors = checks.bools("wrong", wrong, rank=2, axes="[M, N]")
    given = confidences
    if given is not None:
        given = checks.floats("confidences", given, rank=2, axes="[M, N]")
    alpha = checks.floats("error_probability", error_probability, rank=0, axes="")
    mask = checks.mask("where", where)
    checks.same_shape(wrong=errors, confidences=given)
    checks.same_columns(wrong=errors, where=mask)
    if errors.shape[0] < 2:
        raise ValueError(
            f"wrong: expected two experts or more, got {list(errors.shape)}."
        )
    return _expert_dependence(errors, given, alpha, mask)


@dispatch.core
def _expert_dependence(
    wrong: jax.Array,
    confidences: jax.Array | None,
    error_probability: jax.Array,
    where: jax.Array | None,
) -> ExpertDependence:
    size = wrong.shape[0]
    valid = masking.valid_rows(wrong.shape[1], where, None)

    def products(rows: tuple, live: jax.Array) -> jax.Array:
        """Of the experts' errors, that of all, its expected value, and 1."""
        errors, confidence = rows
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

    rows = (wrong.T, None if confidences is None else confidences.T)
    sums = reduce.sum_blocks(products, (size + 3, size + 3), rows, valid)
    joint, expected, total = sums[-3, -1], sums[-2, -1], sums[-1, -1]
    some = jnp.where(total > 0, total, jnp.nan)
    rate, pairs = sums[:size, -1] / some, sums[:size, :size] / some
    product = jnp.prod(rate)
    both = rate[:, None] * rate[None]
    spread = rate * (1 - rate)
    z = ndtri(0.5 * error_probability)

    excess = jnp.sum(pairs / both) - jnp.sum(2 / rate) - (size - 1) ** 2
    alone = some * product
    lift = _interval(joint, alone, 1 / alone, excess / some, z)
    given = None
    if confidences is not None:
        square, cross = sums[-2, -2] / expected**2, sums[-3, -2] / expected
        given = _interval(joint, expected, (1 - 2 * cross) / expected, square, z)
    return ExpertDependence(
        error_rate=rate,
        joint_error_rate=joint / some,
        lift=lift,
        pair_lift=pairs / both,
        correlation=(pairs - both) / jnp.sqrt(spread[:, None] * spread[None]),
        num_joint_errors=joint.astype(jnp.int32),
        num_rows=jnp.sum(valid, dtype=jnp.int32),
        num_masked=jnp.sum(~valid, dtype=jnp.int32),
        lift_given_confidence=given,
    )


def _byar(count: jax.Array, z: jax.Array) -> jax.Array:
    """An end of the interval of a Poisson mean, by Wilson and Hilferty's cube root."""
    some = jnp.maximum(count, 1.0)
    return some * jnp.maximum(1 - 1 / (9 * some) + z / (3 * jnp.sqrt(some)), 0.0) ** 3


def _interval(
    joint: jax.Array,
    expected: jax.Array,
    linear: jax.Array,
    quadratic: jax.Array,
    z: jax.Array,
) -> Interval:
    """All L with `(joint / expected - L)^2` at most `z^2 (linear L + quadratic L^2)`.

    Of few expected errors at least that of Byar. z is that of the lower end.
    """
    ratio = joint / expected
    first = 1 - z**2 * quadratic
    half = ratio + 0.5 * z**2 * linear
    root = jnp.sqrt(jnp.maximum(half**2 - first * ratio**2, 0.0))
    # Without cancellation: the product of both roots is ratio^2 / first.
    upper = jnp.where(first > 0, (half + root) / first, jnp.inf)
    lower = ratio**2 / (half + root)
    few = expected < _FEW
    lower = jnp.where(few, jnp.minimum(lower, _byar(joint, z) / expected), lower)
    upper = jnp.where(few, jnp.maximum(upper, _byar(joint + 1, -z) / expected), upper)
    # An expert that is never wrong leaves the ratio open.
    unknown = ~jnp.isfinite(ratio)
    return Interval(
        estimate=jnp.where(unknown, jnp.nan, ratio),
        lower=jnp.where(unknown | (ratio == 0), 0.0, lower),
        upper=jnp.where(unknown, jnp.inf, upper),
    )
