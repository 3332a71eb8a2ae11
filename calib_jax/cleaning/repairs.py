"""Repairs: suggested labels, the repaired dataset, and how good a ranking is.

Shapes: M models (experts), N examples.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from . import experts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CleaningCurve:
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


def suggest_labels(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    flagged: ArrayLike,
) -> jax.Array:
    """Suggested labels for methods 1 and 2: the prediction of the surest expert.

    Args:
      predictions: integer `[M, N]`.
      confidences: floating `[M, N]`, calibrated, so that experts are comparable.
      labels: integer `[N]`, as given.
      flagged: bool `[N]`.

    Returns:
      int32 `[N]`: where flagged, the prediction of the most confident expert that
      contradicts the label (the first one on ties); otherwise the given label.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (corrected labels).

    Examples:
      >>> predictions, confidences = [[1, 1], [2, 0]], [[0.6, 0.9], [0.8, 0.9]]
      >>> print(suggest_labels(predictions, confidences, [0, 0], [True, False]))
      [2 0]
    """
    answers = experts.checked_answers(predictions, confidences, labels)
    flags = checks.bools("flagged", flagged)
    checks.same_shape(labels=answers[2], flagged=flags)
    return _suggest_labels(*answers, flags)


def repair_labels(
    labels: ArrayLike, flagged: ArrayLike, suggestion: ArrayLike, *, drop: bool = False
) -> jax.Array:
    """The repaired dataset: flagged labels replaced, or a mask of rows to keep.

    Args:
      labels: integer `[N]`, as given.
      flagged: bool `[N]`.
      suggestion: integer `[N]`.
      drop: whether to drop flagged rows instead of relabelling them.

    Returns:
      int32 `[N]` labels; with `drop` a bool `[N]` mask of the rows to keep, to pass as
      `where=` anywhere in this library.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3.

    Examples:
      >>> print(repair_labels([3, 4], [True, False], [5, 6]))
      [5 4]
      >>> print(repair_labels([3, 4], [True, False], [5, 6], drop=True))
      [False  True]
    """
    label = checks.integers("labels", labels)
    flags = checks.bools("flagged", flagged)
    suggested = checks.integers("suggestion", suggestion)
    checks.same_shape(labels=label, flagged=flags, suggestion=suggested)
    return ~flags if drop else jnp.where(flags, suggested, label)


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
      `CleaningCurve`; NaN without a valid row.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

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


@jax.jit
def _suggest_labels(
    predictions: jax.Array,
    confidences: jax.Array,
    labels: jax.Array,
    flagged: jax.Array,
) -> jax.Array:
    contradicts = experts.contradicts(predictions, labels)
    confidence = jnp.where(contradicts, jnp.nan_to_num(confidences, nan=-1.0), -2.0)
    best = jnp.max(confidence, axis=0)[None]
    model = jax.lax.broadcasted_iota(jnp.int32, predictions.shape, 0)
    first = jnp.min(jnp.where(confidence == best, model, len(predictions)), axis=0)
    chosen = jnp.sum(
        jnp.where(model == first[None], predictions, 0), axis=0, dtype=jnp.int32
    )
    return jnp.where(flagged & jnp.any(contradicts, axis=0), chosen, labels)


@dispatch.core
def _cleaning_curve(
    scores: jax.Array,
    errors: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> CleaningCurve:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    weight = jnp.ones(scores.shape, jnp.float32) if weights is None else weights
    weight = jnp.where(valid, weight, 0.0)
    error = jnp.where(valid, weight * errors, 0.0)
    # Ascending in minus the score; masked rows come last.
    key = jnp.where(jnp.isnan(scores), jnp.inf, -scores)
    _, key, weight, error = jax.lax.sort(
        ((~valid).astype(jnp.int32), key, weight, error), num_keys=2
    )
    num_rows = scores.shape[0]
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
