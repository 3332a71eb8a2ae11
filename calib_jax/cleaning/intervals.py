"""Precision and recall of flags where the truth is known, with error bars.

Shapes: N examples.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import Outcome
from ..stats import intervals
from ..stats.intervals import Counts, Interval


@records.record()
class CleaningInterval(records.Result):
    """How good a set of flags is, each number with its interval.

    Attributes:
      flagged_share: `Interval` of a scalar, share of rows flagged.
      precision: `Interval` of a scalar, share of flagged rows that are errors.
      recall: `Interval` of a scalar, share of errors that are flagged.
      num_flagged: int32 scalar.
      counts: `Counts` of the rows.
    """

    flagged_share: Interval
    precision: Interval
    recall: Interval
    num_flagged: jax.Array
    counts: Counts


def cleaning_interval(
    flagged: ArrayLike,
    is_error: ArrayLike,
    *,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> CleaningInterval:
    r"""Precision and recall of flags with intervals, where the truth is known.

    Wilson's interval for a proportion p of n rows,

    .. math:: \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4n^2}}{1 + z^2 / n},
        \quad z = \Phi^{-1}(1 - \alpha / 2)

    Unlike a bootstrap, it has a width even where all flagged rows are errors. To
    compare two methods on the same rows, use `bootstrap_interval` of the difference.

    Args:
      flagged: bool `[N]`.
      is_error: bool, integer or floating `[N]` in `[0, 1]`, whether the label is wrong.
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      where: optional bool `[N]`.

    Returns:
      `CleaningInterval`; a share of no rows is NaN with the interval `[0, 1]`, one that
      a valid NaN enters is NaN throughout.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or an `is_error` on the host outside
        `[0, 1]`; in a device array it counts as NaN.

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
    alpha = checks.error_rate("confidence_level", confidence_level)
    mask = checks.mask("where", where)
    checks.same_shape(flagged=flags, is_error=errors, where=mask)
    return _cleaning_interval(flags, errors, alpha, mask)


@dispatch.core
def _cleaning_interval(
    flagged: jax.Array,
    is_error: Outcome,
    alpha: jax.Array,
    where: jax.Array | None,
) -> CleaningInterval:
    valid = masking.valid_rows(flagged.shape[0], where)

    def of_rows(rows: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        flag, error = rows
        flag = (live & flag).astype(jnp.float32)
        error = jnp.where(live, error, 0.0)
        return live.astype(jnp.float32), flag, error, jnp.where(flag > 0, error, 0.0)

    rows, flags, errors, found = reduce.sum_rows(of_rows, (flagged, is_error), valid)

    def of_whole(part: jax.Array, whole: jax.Array) -> Interval:
        none = whole == 0
        some = jnp.where(none, 1.0, whole)
        one = intervals.wilson(part / some, some, alpha)
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
        counts=intervals.count_rows(valid),
    )
