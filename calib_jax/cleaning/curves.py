"""How good a ranking of labels is, where the truth is known.

Shapes: N examples.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from .._core.domains import Outcome, Weights


@records.record("N")
class CleaningCurve(records.Result):
    """Precision and recall as the threshold on a score falls, one point per row.

    Attributes:
      threshold: float32 `[N]`, descending; rows scoring at or above it are flagged.
      flagged_share: float32 `[N]`, share of rows flagged, in `[0, 1]`.
      precision: float32 `[N]`, share of flagged rows that are errors.
      recall: float32 `[N]`, share of errors that are flagged; NaN without errors.
    """

    threshold: jax.Array
    flagged_share: jax.Array
    precision: jax.Array
    recall: jax.Array


def cleaning_curve(
    score: ArrayLike,
    is_error: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CleaningCurve:
    """Precision and recall against the share flagged, where the truth is known.

    Rows are flagged in order of falling score, tied rows together. Leave out rows that
    no method would flag with `where`, or give them score -inf: these come last. NaN
    scores count as -inf. All rows are sorted, so sharded rows are gathered.

    Args:
      score: floating `[N]`; higher is more suspect.
      is_error: bool, integer or floating `[N]` in `[0, 1]`, whether the label is wrong.
      where: optional bool `[N]`; for each masked row one point at the end repeats the
        last one.
      weights: optional non-negative `[N]`.

    Returns:
      `CleaningCurve`; NaN without a valid row. If a valid `is_error` or weight is NaN,
      so are shares and recall, and precision from that row on.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or values on the host out of range;
        in a device array they count as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 4 (its "detection rate" is the flagged
      share).

    Examples:
      >>> curve = cleaning_curve([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
      >>> print(curve.flagged_share, curve.precision.round(2))
      [0.25 0.75 0.75 1.  ] [1.   0.67 0.67 0.5 ]
    """
    scores = checks.floats("score", score)
    errors = checks.outcomes("is_error", is_error)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(score=scores, is_error=errors, where=mask, weights=weight)
    return _cleaning_curve(scores, errors, mask, weight)


@dispatch.core(rows=["score", "is_error", "where", "weights"])
def _cleaning_curve(
    score: jax.Array,
    is_error: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> CleaningCurve:
    valid = masking.valid_rows(score.shape[0], where, weights)
    weight = jnp.ones(score.shape, jnp.float32) if weights is None else weights
    weight = jnp.where(valid, weight, 0.0)
    error = jnp.where(valid, weight * is_error, 0.0)
    # Ascending in minus the score; masked rows come last.
    key = jnp.where(jnp.isnan(score), jnp.inf, -score)
    _, key, weight, error = jax.lax.sort(
        ((~valid).astype(jnp.int32), key, weight, error), num_keys=2
    )
    num_rows = score.shape[0]
    if num_rows == 0:
        empty = jnp.zeros(0, jnp.float32)
        return CleaningCurve(
            threshold=empty, flagged_share=empty, precision=empty, recall=empty
        )
    position = jnp.arange(num_rows, dtype=jnp.int32)
    last_valid = jnp.maximum(jnp.sum(valid, dtype=jnp.int32) - 1, 0)
    # Tied rows share the point at the end of their block.
    ends = (position >= last_valid) | (key != jnp.roll(key, -1))
    end = jax.lax.cummin(jnp.where(ends, position, num_rows), reverse=True)
    end = jnp.minimum(end, last_valid)
    flagged, found = jnp.cumsum(weight)[end], jnp.cumsum(error)[end]
    total, errors_total = jnp.sum(weight), jnp.sum(error)

    return CleaningCurve(
        threshold=jnp.where(total > 0, -key[end], jnp.nan),
        flagged_share=masking.ratio(flagged, total),
        precision=masking.ratio(found, flagged),
        recall=masking.ratio(found, errors_total),
    )
