r"""Audits: how many flagged labels are wrong, judged from a random sample of them.

Shapes: N rows. Rows are drawn at random from the flagged ones, without replacement, and
people judge them. The only randomness is in the draw, so the bounds hold whatever the
models, the flags and the labels are. `audit_bounds` and `audit_size` run on the host,
in float64, and return NumPy arrays; they take no traced values.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from ..stats import tails

# A product with a rounded decimal is this close to the whole number it stands for.
_ROUNDING = 2.0**-22


@records.record()
class AuditBounds(records.Result):
    """A rate among the flagged rows with bounds; arrays of one shape.

    Attributes:
      estimate: float64, the rate among the audited rows; NaN without any.
      lower: float64, one-sided bound.
      upper: float64, one-sided bound.
      num_audited: int64.
    """

    estimate: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    num_audited: np.ndarray


@records.record()
class AuditPlan(records.Result):
    """How many rows to audit.

    Attributes:
      num_audited: how many; the largest number allowed if even that is not enough.
      num_wrong: how many of them must be found wrong for the bound to be reached; one
        more than `num_audited` if no audit of this size reaches it.
      chance: probability of finding that many.
      feasible: whether any number up to `max_audited` gives the chance asked for.
    """

    num_audited: int
    num_wrong: int
    chance: float
    feasible: bool


def sample_audit(
    key: jax.Array,
    flagged: ArrayLike,
    num_audited: int,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Flagged rows to audit: a simple random sample without replacement.

    The rows come in random order, so the first of them are a random sample too: an
    audit from the top may stop early, as long as the decision to stop does not depend
    on the answers. For a sample of a stratum, such as a bin of confidence, pass
    `flagged & (stratum == k)`.

    Args:
      key: a JAX random key.
      flagged: bool `[N]`.
      num_audited: static number of rows, at least 1.
      where: optional bool `[N]`; masked rows are not drawn.

    Returns:
      int32 `[num_audited]`, row numbers; -1 at the end where fewer rows are flagged.

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
    return _sample_audit(random, flags, mask, size=size)


def audit_bounds(
    num_wrong: ArrayLike,
    num_audited: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    *,
    num_flagged: ArrayLike | None = None,
) -> AuditBounds:
    r"""Precision of flags from an audit of some of them, with exact one-sided bounds.

    W of F flagged labels are wrong, and k of the n audited ones. The lower bound is the
    smallest W for which finding k is not too unlikely,

    .. math:: \min\{W : P(X \ge k) > \delta\} / F, \quad
        X \sim \mathrm{Hypergeometric}(F, W, n), \quad \delta = 1 - \text{level}

    and exceeds the precision W / F of *these* flags with probability at most
    :math:`\delta`; the upper bound likewise. Once all are audited both bounds are the
    precision. Without `num_flagged` these are the Clopper-Pearson bounds for all flags
    that the same method would raise on rows from the same distribution; they hold for
    these flags too, but are wider.

    Counts of any other answer, such as the four of `read_review_sheet`, give the rate
    of that answer. Each bound holds on its own; all 2 A bounds of A answers hold
    together with probability at least :math:`1 - 2 A \delta`.

    Args:
      num_wrong: integer k, from 0 to n; this and the other arguments may be arrays that
        broadcast.
      num_audited: integer n, from 0 to F.
      confidence_level: floating, in `(0, 1)`, of each bound.
      num_flagged: optional integer F, of which the audited rows are a simple random
        sample (`sample_audit`).

    Returns:
      `AuditBounds`; 0 and 1 without audited rows, NaN for impossible counts.

    Raises:
      ValueError: for traced arguments, other dtypes, shapes that do not broadcast, or a
        level outside `(0, 1)`.

    References:
      Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
      Case of the Binomial", 1934; Wright, "Exact Confidence Bounds when Sampling from
      Small Finite Universes", 1991.

    Examples:
      >>> found = audit_bounds(45, 50, num_flagged=200)
      >>> print(f"{found.estimate:.2f}, at least {found.lower:.3f}")
      0.90, at least 0.815
      >>> print(f"of all such flags at least {audit_bounds(45, 50).lower:.3f}")
      of all such flags at least 0.801
      >>> answers = audit_bounds(np.array([30, 10, 5, 5]), 50, num_flagged=400)
      >>> print(answers.estimate.round(1), answers.lower.round(2))
      [0.6 0.2 0.1 0.1] [0.48 0.12 0.04 0.04]
    """
    given = {
        "num_wrong": tails.counts("num_wrong", num_wrong),
        "num_audited": tails.counts("num_audited", num_audited),
        "confidence_level": tails.error_rate("confidence_level", confidence_level),
    }
    if num_flagged is not None:
        given["num_flagged"] = tails.counts("num_flagged", num_flagged)
    wrong, audited, error, *total = tails.broadcast(**given)
    if total:
        lower, upper = _hypergeometric_bounds(wrong, audited, error, total[0])
    else:
        lower, upper = tails.binomial_bounds(wrong, audited, error)
    known = ~np.isnan(lower) & (audited > 0)
    return AuditBounds(
        estimate=np.where(known, wrong / np.maximum(audited, 1), np.nan),
        lower=lower,
        upper=upper,
        num_audited=audited.copy(),
    )


def audit_size(
    min_precision: float,
    expected: float,
    confidence_level: float = 0.95,
    chance: float = 0.9,
    *,
    num_flagged: int | None = None,
    max_audited: int = 2000,
) -> AuditPlan:
    """How many flagged rows to audit so that a bound is likely to be reached.

    The smallest n for which the lower bound of `audit_bounds` reaches `min_precision`
    with probability `chance` or more, if the precision is the expected one. If the
    precision is lower, so is the chance. Plan on two standard errors less than
    `expected_precision` says, `found.precision - 2 * found.standard_error`, or on even
    less where its assumptions are in doubt. Because counts are whole numbers, a
    slightly larger n may have a slightly smaller chance.

    Args:
      min_precision: in `[0, 1]`, the lower bound to reach.
      expected: in `[0, 1]`, the expected precision. With `num_flagged` it is rounded
        down to a whole number of flags.
      confidence_level: in `(0, 1)`, of the bound.
      chance: in `(0, 1)`.
      num_flagged: as for `audit_bounds`; no more than these are audited.
      max_audited: the largest number to try, at least 1.

    Returns:
      `AuditPlan`; look at `feasible`.

    Raises:
      ValueError: for traced arguments, arrays, or values outside these ranges.

    References:
      Clopper and Pearson 1934 and Wright 1991, as for `audit_bounds`.

    Examples:
      >>> plan = audit_size(0.8, 0.9, max_audited=300)
      >>> print(plan.num_audited, plan.num_wrong, f"{plan.chance:.2f}")
      112 97 0.91
      >>> print(audit_size(0.8, 0.9, num_flagged=200, max_audited=200).num_audited)
      68
    """
    wanted = _share("min_precision", min_precision)
    rate = _share("expected", expected)
    likely = _share("chance", chance)
    if not 0 < likely < 1:
        raise ValueError(f"chance: expected a number in (0, 1), got {likely}.")
    error = float(
        _scalar(
            "confidence_level", tails.error_rate("confidence_level", confidence_level)
        )
    )
    most = checks.static_int("max_audited", max_audited, minimum=1)
    refuted, true, total = wanted, rate, None
    if num_flagged is not None:
        total = int(_scalar("num_flagged", tails.counts("num_flagged", num_flagged)))
        total = checks.static_int("num_flagged", total, minimum=0)
        most = min(most, total)
        # Bounds are whole numbers over `total`, up to rounding.
        refuted = max(math.ceil(wanted * total * (1 - _ROUNDING)) - 1, 0)
        true = min(math.floor(rate * total * (1 + _ROUNDING)), total)

    def at_least(k: int, n: int, of: float) -> float:
        if total is None:
            return float(tails.binomial_at_least(k, n, of))
        return tails.hypergeometric_at_least(k, n, int(of), total)

    # The fewest wrong labels that refute a lower precision: one more audited row raises
    # this number by at most one. A bound of 0 needs none.
    needed, reached = 1 if wanted > 0 else 0, 0.0
    for n in range(1, most + 1):
        if wanted > 0 and tails.exceeds(at_least(needed, n, refuted), error):
            needed += 1
        reached = at_least(needed, n, true) if needed <= n else 0.0
        if reached >= likely:
            return AuditPlan(
                num_audited=n, num_wrong=needed, chance=reached, feasible=True
            )
    return AuditPlan(num_audited=most, num_wrong=needed, chance=reached, feasible=False)


@dispatch.core(static=["size"])
def _sample_audit(
    key: jax.Array, flagged: jax.Array, where: jax.Array | None, *, size: int
) -> jax.Array:
    valid = masking.valid_rows(flagged.shape[0], where) & flagged
    bits = jax.random.bits(key, flagged.shape, jnp.uint32)
    row = jnp.arange(flagged.shape[0], dtype=jnp.int32)
    *_, row = lax.sort((~valid, bits, jnp.where(valid, row, -1)), num_keys=2)
    return jnp.pad(row, (0, size), constant_values=-1)[:size]


def _hypergeometric_bounds(
    wrong: np.ndarray, audited: np.ndarray, error: np.ndarray, total: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds; each distinct case is computed once."""
    cases: dict[tuple[int, int, float, int], tuple[float, float]] = {}
    columns = [x.ravel().tolist() for x in (wrong, audited, error, total)]
    rows = list(zip(*columns, strict=True))
    for case in rows:
        k, n, delta, flagged = case
        if not 0 <= k <= n <= flagged:
            cases[case] = math.nan, math.nan
        elif case not in cases:
            # The labels that are not wrong have a lower bound as well.
            least = tails.least_special(k, n, flagged, delta)
            least_right = tails.least_special(n - k, n, flagged, delta)
            some = max(flagged, 1)
            cases[case] = least / some, (some - least_right) / some
    found = np.array([cases[case] for case in rows]).reshape(*wrong.shape, 2)
    return found[..., 0], found[..., 1]


def _scalar(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim:
        raise ValueError(
            f"{name}: expected a scalar, got {array.dtype.name}{list(array.shape)}."
        )
    return array


def _share(name: str, value: float) -> float:
    number = float(_scalar(name, tails.probabilities(name, value)))
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {number}.")
    return number
