r"""Audits: how many flagged labels are wrong, from some that a person has looked at.

Rows are drawn from the flagged ones at random, without replacement, and each answer is
counted. What is said of the flagged rows then holds whatever the models, the flags and
the labels are: the only chance is that of the draw.

Shapes: N rows, n of them audited, A answers that an audit may give.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from ..stats import binomial, bounds, hypergeometric

# Whole numbers up to 2^24 are halved so often.
_HALVINGS = 25
# Of a product of two float32 numbers, of which one is a rounded decimal.
_ROUNDING = 2.0**-22


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AuditedRate:
    """A rate among the flagged rows, and bounds on it; of A answers, each `[A]`.

    Attributes:
      estimate: float32 scalar, the rate among the audited; NaN where there are none.
      lower: float32 scalar, one-sided bound.
      upper: float32 scalar, likewise.
      num_audited: int32 scalar.
    """

    estimate: jax.Array
    lower: jax.Array
    upper: jax.Array
    num_audited: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AuditPlan:
    """How many rows to audit.

    Attributes:
      num_audited: int32 scalar; -1 where no number up to the largest one suffices.
      num_wrong: int32 scalar, so many of them have to be found wrong, at least; -1
        likewise.
      chance: float32 scalar, with which as many are; NaN likewise.
      possible: bool scalar.
    """

    num_audited: jax.Array
    num_wrong: jax.Array
    chance: jax.Array
    possible: jax.Array


def sample_audit(
    key: jax.Array,
    flagged: ArrayLike,
    num_audited: int,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Flagged rows to audit: a simple random sample without replacement.

    The rows come in random order, so that the first of them are a sample as well: who
    audits from the top may stop early, if what was found has no say in when. A sample
    of each stratum, such as a bin of confidence, is one of `flagged & (stratum == k)`.

    Args:
      key: a JAX random key.
      flagged: bool `[N]`.
      num_audited: static number of rows, at least 1.
      where: optional bool `[N]`; masked rows are not drawn.

    Returns:
      int32 `[num_audited]`, rows; -1 at the end where fewer are flagged.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Cochran, "Sampling Techniques", 1977, chapter 2.

    Examples:
      >>> flagged = jnp.arange(10) % 3 == 0
      >>> print(jnp.sort(sample_audit(jax.random.key(0), flagged, 6)))
      [-1 -1  0  3  6  9]
    """
    random = checks.key("key", key)
    flags = checks.bools("flagged", flagged)
    size = checks.static_int("num_audited", num_audited, minimum=1)
    mask = checks.mask("where", where)
    checks.same_shape(flagged=flags, where=mask)
    return _audit_sample(random, flags, mask, size=size)


def audited_precision(
    num_wrong: ArrayLike,
    num_audited: ArrayLike,
    error_probability: ArrayLike = 0.05,
    *,
    num_flagged: ArrayLike | None = None,
) -> AuditedRate:
    r"""Precision of flags from an audit of some, with exact one-sided bounds.

    Of F flagged labels W are wrong, and k of the n audited. The lower bound is that of
    the least W under which so many are not too unlikely,

    .. math:: \min\{W : P(X \ge k) > \delta\} / F, \quad
        X \sim \mathrm{Hypergeometric}(F, W, n)

    so that the precision W / F of *these* flags is below it with a probability of at
    most `error_probability`; likewise the upper bound. Where all are audited both are
    the precision. Without `num_flagged` the bounds are those of `clopper_pearson`: for
    all flags that the same method would raise on rows of the same distribution, and
    valid, though wider, for these ones too.

    Args:
      num_wrong: integer scalar k, from 0 to n, or any other answer's count.
      num_audited: integer scalar n, from 0 to F.
      error_probability: floating scalar in `(0, 1)`; may be traced.
      num_flagged: optional integer scalar F up to 2^24, of which the audited ones are
        a simple random sample (`sample_audit`).

    Returns:
      `AuditedRate`; bounds 0 and 1 without audited rows, NaN for counts that cannot be
      and an `error_probability` that is none.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
      Case of the Binomial", 1934; Wright, "Exact Confidence Bounds when Sampling from
      Small Finite Universes", 1991.

    Examples:
      >>> found = audited_precision(45, 50, num_flagged=200)
      >>> print(f"{found.estimate:.2f}, at least {found.lower:.3f}")
      0.90, at least 0.815
      >>> print(f"of all such flags at least {audited_precision(45, 50).lower:.3f}")
      of all such flags at least 0.801
    """
    wrong = checks.integers("num_wrong", num_wrong, rank=0, axes="scalar")
    audited = checks.integers("num_audited", num_audited, rank=0, axes="scalar")
    error = checks.floats("error_probability", error_probability, rank=0, axes="")
    return _audited_rate(wrong, audited, error, _optional_count(num_flagged))


def audited_rates(
    counts: ArrayLike,
    error_probability: ArrayLike = 0.05,
    *,
    num_flagged: ArrayLike | None = None,
) -> AuditedRate:
    """The rate of every answer of an audit, each as `audited_precision`.

    Each bound holds by itself; all 2 A together with a probability of at least
    1 - 2 A `error_probability`.

    Args:
      counts: integer `[A]`, audited rows with each answer, such as the paper's four of
        `read_review_sheet`; those not yet audited are in none.
      error_probability: floating scalar in `(0, 1)`; may be traced.
      num_flagged: as for `audited_precision`.

    Returns:
      `AuditedRate` with arrays `[A]`; all NaN if one count cannot be.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (the four answers).

    Examples:
      >>> found = audited_rates([30, 10, 5, 5], num_flagged=400)
      >>> print(found.estimate.round(1), found.lower.round(2))
      [0.6 0.2 0.1 0.1] [0.48 0.12 0.04 0.04]
    """
    number = checks.integers("counts", counts, axes="[A]")
    error = checks.floats("error_probability", error_probability, rank=0, axes="")
    return _audited_rates(number, error, _optional_count(num_flagged))


def audit_size(
    min_precision: ArrayLike,
    expected: ArrayLike,
    error_probability: ArrayLike = 0.05,
    chance: ArrayLike = 0.9,
    *,
    num_flagged: ArrayLike | None = None,
    max_audited: int = 2000,
) -> AuditPlan:
    """How many flagged rows to audit so that a bound is likely to be reached.

    The least n for which the lower bound of `audited_precision` is at least
    `min_precision` with a probability of `chance` or more, if the precision is the
    expected one. What is expected may be wrong either way, and if the precision is less
    the chance is: plan on two standard errors less than `expected_precision` says,
    `found.precision - 2 * found.standard_error`, or on less still where its assumptions
    are in doubt. Since counts are whole numbers a slightly
    larger n may have slightly less of a chance.

    Args:
      min_precision: floating scalar in `[0, 1]`, the wanted lower bound; may be traced.
      expected: floating scalar in `[0, 1]`, the precision that is expected; may be
        traced. With `num_flagged` it is rounded down to a whole number of these.
      error_probability: floating scalar in `(0, 1)`, of the bound; may be traced.
      chance: floating scalar in `(0, 1)`; may be traced.
      num_flagged: as for `audited_precision`; as many are audited at most.
      max_audited: static largest number that is tried, at least 1.

    Returns:
      `AuditPlan`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Clopper and Pearson 1934 and Wright 1991, as for `audited_precision`.

    Examples:
      >>> plan = audit_size(0.8, 0.9, max_audited=300)
      >>> print(plan.num_audited, plan.num_wrong, f"{plan.chance:.2f}")
      112 97 0.91
      >>> print(audit_size(0.8, 0.9, num_flagged=200, max_audited=200).num_audited)
      68
    """
    scalars = {
        "min_precision": min_precision,
        "expected": expected,
        "error_probability": error_probability,
        "chance": chance,
    }
    numbers = [checks.floats(k, v, rank=0, axes="") for k, v in scalars.items()]
    size = checks.static_int("max_audited", max_audited, minimum=1)
    return _num_to_audit(*numbers, _optional_count(num_flagged), max_audited=size)


def _optional_count(value: ArrayLike | None) -> jax.Array | None:
    if value is None:
        return None
    return checks.integers("num_flagged", value, rank=0, axes="scalar")


@dispatch.core(static=["size"])
def _audit_sample(
    key: jax.Array, flagged: jax.Array, where: jax.Array | None, *, size: int
) -> jax.Array:
    valid = masking.valid_rows(flagged.shape[0], where, None) & flagged
    bits = jax.random.bits(key, flagged.shape, jnp.uint32)
    row = jnp.arange(flagged.shape[0], dtype=jnp.int32)
    *_, row = lax.sort((~valid, bits, jnp.where(valid, row, -1)), num_keys=2)
    return jnp.pad(row[:size], (0, max(size - row.shape[0], 0)), constant_values=-1)


def _audited(
    wrong: jax.Array, audited: jax.Array, error: jax.Array, total: jax.Array | None
) -> AuditedRate:
    k, n = wrong.astype(jnp.float32), audited.astype(jnp.float32)
    known = (k >= 0) & (k <= n) & (error > 0) & (error < 1)
    if total is None:
        lower = bounds.lower_rate(k, n, error)
        upper = bounds.upper_rate(k, n, error)
    else:
        flagged = total.astype(jnp.float32)
        known = known & (n <= flagged)
        some = jnp.maximum(flagged, 1.0)
        lower = _least_wrong(k, n, flagged, error) / some
        # As many of the audited are not wrong, of the rest that are not either.
        upper = 1 - _least_wrong(n - k, n, flagged, error) / some
    estimate = jnp.where(n > 0, k / jnp.maximum(n, 1.0), jnp.nan)
    return AuditedRate(
        estimate=jnp.where(known, estimate, jnp.nan),
        lower=jnp.where(known, lower, jnp.nan),
        upper=jnp.where(known, upper, jnp.nan),
        num_audited=audited,
    )


def _least_wrong(
    found: jax.Array, audited: jax.Array, total: jax.Array, error: jax.Array
) -> jax.Array:
    """The least number of wrong ones of all under which `found` is not too unlikely."""

    def unlikely(wrong: jax.Array) -> jax.Array:
        upper = hypergeometric.tails(found - 1, audited, wrong, total)[1]
        return upper <= error

    return _least_whole(found, total - audited + found, lambda w: ~unlikely(w))


def _least_whole(
    low: jax.Array, high: jax.Array, holds: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """The least whole number in `[low, high]` of which a statement holds, else `high`.

    The statement is monotone: False up to some number, and True from there on.
    """

    def halve(_: jax.Array, ends: binomial.Pair) -> binomial.Pair:
        low, high = ends
        middle = jnp.floor(low + 0.5 * (high - low))
        true = holds(middle)
        return (
            jnp.where(true, low, jnp.minimum(middle + 1, high)),
            jnp.where(true, middle, high),
        )

    return lax.fori_loop(0, _HALVINGS, halve, (low, high))[1]


@dispatch.core
def _audited_rate(
    wrong: jax.Array, audited: jax.Array, error: jax.Array, total: jax.Array | None
) -> AuditedRate:
    return _audited(wrong, audited, error, total)


@dispatch.core
def _audited_rates(
    counts: jax.Array, error: jax.Array, total: jax.Array | None
) -> AuditedRate:
    audited = jnp.sum(counts, dtype=jnp.int32)
    # No rate is known of a total that a negative count is part of.
    counts = jnp.where(jnp.any(counts < 0), -1, counts)
    return jax.vmap(lambda count: _audited(count, audited, error, total))(counts)


@dispatch.core(static=["max_audited"])
def _num_to_audit(
    min_precision: jax.Array,
    expected: jax.Array,
    error: jax.Array,
    chance: jax.Array,
    total: jax.Array | None,
    *,
    max_audited: int,
) -> AuditPlan:
    if total is None:
        most = jnp.float32(np.inf)

        def upper(k: jax.Array, n: jax.Array, rate: jax.Array) -> jax.Array:
            return binomial.tails(k - 1, n, (rate, jnp.zeros_like(rate)))[1]

        refuted, true = min_precision, expected
    else:
        flagged = most = total.astype(jnp.float32)

        def upper(k: jax.Array, n: jax.Array, rate: jax.Array) -> jax.Array:
            return hypergeometric.tails(k - 1, n, rate, flagged)[1]

        # Bounds are whole numbers over `flagged`; what is one but for rounding does.
        least_bound = jnp.ceil(min_precision * flagged * (1 - _ROUNDING))
        refuted = jnp.maximum(least_bound - 1, 0.0)
        true = jnp.floor(expected * flagged * (1 + _ROUNDING))

    def of_number(n: jax.Array) -> tuple[jax.Array, jax.Array]:
        # So many wrong ones are too unlikely if the precision is less.
        least = _least_whole(
            jnp.zeros_like(n), n + 1, lambda k: upper(k, n, refuted) <= error
        )
        # Every bound is 0 at least.
        least = jnp.where(min_precision > 0, least, 0.0)
        return least, jnp.where(least <= n, upper(least, n, true), 0.0)

    number = jnp.arange(1, max_audited + 1, dtype=jnp.int32)
    drawn = number.astype(jnp.float32)
    least, reached = jax.vmap(of_number)(jnp.minimum(drawn, jnp.maximum(most, 1.0)))
    enough = (reached >= chance) & (drawn <= most)
    place = jnp.argmax(enough)
    possible = jnp.any(enough)
    return AuditPlan(
        num_audited=jnp.where(possible, number[place], -1),
        num_wrong=jnp.where(possible, least[place].astype(jnp.int32), -1),
        chance=jnp.where(possible, reached[place], jnp.nan),
        possible=possible,
    )
