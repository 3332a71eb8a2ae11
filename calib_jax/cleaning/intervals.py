"""Precision and recall of flags where the truth is known, with error bars.

Shapes: N examples.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce
from ..stats.intervals import Interval, counts, wilson


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CleaningInterval:
    """How good a set of flags is, each number with its interval.

    Attributes:
      flagged_share: `Interval` of a scalar, share of the rows that are flagged.
      precision: `Interval` of a scalar, share of the flagged rows that are errors.
      recall: `Interval` of a scalar, share of the errors that are flagged.
      num_rows: int32 scalar, rows that count.
      num_flagged: int32 scalar, of these.
      num_tied: int32 scalar, rows whose score another row has too; None without scores.
      num_masked: int32 scalar, rows that `where` leaves out.
    """

    flagged_share: Interval
    precision: Interval
    recall: Interval
    num_rows: jax.Array
    num_flagged: jax.Array
    num_tied: jax.Array | None = None
    num_masked: jax.Array


def cleaning_interval(
    flagged: ArrayLike,
    is_error: ArrayLike,
    *,
    scores: ArrayLike | None = None,
    error_probability: ArrayLike = 0.05,
    where: ArrayLike | None = None,
) -> CleaningInterval:
    r"""Precision and recall of flags, where the truth is known, with error bars.

    Wilson's interval of a proportion p of n rows,

    .. math:: \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4n^2}}{1 + z^2 / n},
        \quad z = \Phi^{-1}(1 - \alpha / 2)

    which unlike draws of the rows has a width where all flagged rows are errors. Two
    methods on the same rows are compared by `bootstrap_interval` of the difference.

    Args:
      flagged: bool `[N]`.
      is_error: bool, integer or floating `[N]` in `[0, 1]`, whether the label is wrong.
      scores: optional floating `[N]`, from which the flags were cut; only counted.
      error_probability: floating scalar, with which an interval may miss; may be
        traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `CleaningInterval`; a share of no rows is NaN, in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Wilson, "Probable inference, the law of succession, and statistical inference",
      1927; Brown, Cai and DasGupta, "Interval estimation for a binomial proportion",
      2001.

    Examples:
      >>> flagged, is_error = jnp.arange(100) < 20, jnp.arange(100) % 20 < 10
      >>> found = cleaning_interval(flagged, is_error).precision
      >>> print(f"{found.estimate:.2f}, {found.lower:.2f} to {found.upper:.2f}")
      0.50, 0.30 to 0.70
    """
    flags = checks.bools("flagged", flagged)
    errors = checks.outcomes("is_error", is_error)
    alpha = checks.scalar("error_probability", error_probability)
    mask = checks.mask("where", where)
    score = None if scores is None else checks.floats("scores", scores)
    checks.same_shape(flagged=flags, is_error=errors, scores=score, where=mask)
    return _cleaning_interval(flags, errors, score, alpha, mask)


@dispatch.core
def _cleaning_interval(
    flagged: jax.Array,
    is_error: jax.Array,
    scores: jax.Array | None,
    error_probability: jax.Array,
    where: jax.Array | None,
) -> CleaningInterval:
    valid = masking.valid_rows(flagged.shape[0], where, None)

    def of_rows(rows: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        flag, error = rows
        flag = (live & flag).astype(jnp.float32)
        error = jnp.where(live, error, 0.0)
        return live.astype(jnp.float32), flag, error, jnp.where(flag > 0, error, 0.0)

    rows, flags, errors, found = reduce.sum_rows(of_rows, (flagged, is_error), valid)
    z = ndtri(0.5 * error_probability)

    def of_whole(part: jax.Array, whole: jax.Array) -> Interval:
        some, none = jnp.where(whole > 0, whole, 1.0), whole == 0
        one = wilson(part / some, some, z)
        return Interval(
            estimate=jnp.where(none, jnp.nan, one.estimate),
            lower=jnp.where(none, 0.0, one.lower),
            upper=jnp.where(none, 1.0, one.upper),
        )

    return CleaningInterval(
        flagged_share=of_whole(flags, rows),
        precision=of_whole(found, flags),
        recall=of_whole(found, errors),
        num_flagged=jnp.sum(valid & flagged, dtype=jnp.int32),
        **counts(valid, scores),
    )
