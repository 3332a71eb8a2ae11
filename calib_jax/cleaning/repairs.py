"""Repairs: suggested labels and the repaired dataset.

Shapes: M models (experts), N examples.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch
from .._core.domains import Confidence
from . import experts


def suggest_labels(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    flagged: ArrayLike,
) -> jax.Array:
    """Suggested labels for methods 1 and 2: the prediction of the surest expert.

    Args:
      predictions: integer `[M, N]`.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated, so that experts are
        comparable; an expert whose confidence is NaN suggests nothing.
      labels: integer `[N]`, as given.
      flagged: bool `[N]`.

    Returns:
      int32 `[N]`: where flagged, the prediction of the most confident expert that
      contradicts the label (the first one on ties); the given label otherwise, and
      where none contradicts it, such as a negative one.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a confidence on the host outside
        `[0, 1]`; in a device array it counts as NaN.

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
    label = checks.class_numbers("labels", labels)
    flags = checks.bools("flagged", flagged)
    suggested = checks.class_numbers("suggestion", suggestion)
    checks.same_shape(labels=label, flagged=flags, suggestion=suggested)
    if checks.flag("drop", drop):
        return _kept(flags)
    return _repaired(label, flags, suggested)


@dispatch.core(
    rows=["predictions M N", "confidences M N", "labels", "flagged"], rows_of="labels"
)
def _suggest_labels(
    predictions: jax.Array,
    confidences: Confidence,
    labels: jax.Array,
    flagged: jax.Array,
) -> jax.Array:
    contradicts = experts.contradicts(predictions, labels)
    confidence = jnp.where(contradicts & (confidences >= 0), confidences, -1.0)
    best = jnp.max(confidence, axis=0)[None]
    model = jax.lax.broadcasted_iota(jnp.int32, predictions.shape, 0)
    first = jnp.min(jnp.where(confidence == best, model, len(predictions)), axis=0)
    chosen = jnp.sum(
        jnp.where(model == first[None], predictions, 0), axis=0, dtype=jnp.int32
    )
    return jnp.where(flagged & (best[0] >= 0), chosen, labels)


@dispatch.core(rows=["flagged"], elementwise=True)
def _kept(flagged: jax.Array) -> jax.Array:
    return jnp.logical_not(flagged)


@dispatch.core(rows=["labels", "flagged", "suggestion"], elementwise=True)
def _repaired(
    labels: jax.Array, flagged: jax.Array, suggestion: jax.Array
) -> jax.Array:
    return jnp.where(flagged, suggestion, labels)
