"""All labels ranked by how wrong they look: the one call that cleans a dataset.

Shapes: M models, N examples, C classes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import arrays, checks, dispatch, records
from ..stats.intervals import Interval
from . import pools, ranked_precision, shared_errors
from .shared_errors import SharedErrors

# Standard errors below chance from which on labels are not those of these models.
_CERTAIN = 5.0


@records.record(
    "N",
    axes={"predictions": "M N", "confidences": "M N"},
    values={"order": records.PERMUTATION, "score": records.SHARE},
)
class RankedLabels(records.Result):
    """All labels, and which to look at first.

    Attributes:
      order: int32 `[N]`, row numbers, the most suspect label first; rows without a
        score come last.
      score: float32 `[N]` in `[0, 1]`, in the order of the rows: the probability that
        the given label is not the one, as the models together see it. NaN for a row
        that is masked, holds NaN or has a label outside `[0, C)`.
      suggestion: int32 `[N]`, the class that the models together find most probable:
        the given label where they agree with it, and where there is no score.
      predictions: int32 `[M, N]`, each model's own answer; -1 without a score.
      confidences: float32 `[M, N]` in `[0, 1]`, how sure each is of it, calibrated; NaN
        without a score.
      expected_precision: float32 `[N]`, the share of wrong labels to expect among the
        first k in `order`, at place k - 1; NaN from the first row without a score on,
        and everywhere with one model.
      expected_lower: float32 `[N]`, lower end of its interval.
      expected_upper: float32 `[N]`, upper end.
    """

    order: jax.Array
    score: jax.Array
    suggestion: jax.Array
    predictions: jax.Array
    confidences: jax.Array
    expected_precision: jax.Array
    expected_lower: jax.Array
    expected_upper: jax.Array


def find_label_issues(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> RankedLabels:
    r"""Ranks labels by how probable it is that they are wrong.

    Every label is suspect, so none is trusted to calibrate by. The rows are parted into
    two halves, and each half is judged by parameters fitted to the given labels of the
    other one: a row's own label has no say in its score. The models are pooled,

    .. math:: p_{ik} \propto \prod_m p_{mik}^{w_m}, \quad w_m \ge 0, \quad
        s_i = 1 - p_{i, y_i}

    with the weights that make the given labels of the other half most likely. With one
    model this is temperature scaling, w = 1 / T; with several, a weak or redundant one
    gets little weight. Labels are ordered by their log-probability, which still tells
    labels apart whose scores round to 1.

    The score counts every mistake of the models as a wrong label. What share of the
    first labels is wrong is another question, which `expected_precision` answers by
    `fit_shared_errors`: models make mistakes together, and what the rows leave open is
    in its interval. Of one model it is NaN: calibrated to the given labels, a model
    counts wrong labels as its own mistakes. A model given twice, or a copy of it at
    another temperature, makes the interval narrower with nothing known: give models
    that were made apart.

    Halves go by a hash of the probabilities: rows may come in any order. Equal rows
    alternate between the halves. A probability of 0 counts as half of the least
    positive one of its model, or as 1e-30 if that is larger. The fit has a penalty
    worth about one row, which pulls the weights to 1 / M: with few rows, calibration
    changes little.

    Args:
      probabilities: floating `[N, C]` or `[M, N, C]`, rows that sum to 1 (up to 0.01),
        from models that were not trained on these labels: cross-validated, for
        example.
      labels: integer `[N]` in `[0, C)`, as given; a negative one is unknown and gets
        no score.
      confidence_level: floating scalar in `(0, 1)`, of the intervals of the expected
        precision; may be traced.
      where: optional bool `[N]`; masked rows are not ranked.

    Returns:
      `RankedLabels`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or on the host a confidence level
        outside `(0, 1)`, a label of C or more, a probability outside `[0, 1]`, a row
        that does not sum to 1, two equal models, or labels that every model contradicts
        more often than chance would. In device arrays a row that is out of range gets
        no score, and the last two go unnoticed.

    References:
      Heskes, "Selecting Weighting Factors in Logarithmic Opinion Pools", 1998;
      Northcutt et al., "Confident Learning", 2021, arXiv 1911.00068 (cross-validated
      probabilities, ranking by self-confidence); Hao et al. 2026, arXiv 2601.07965.

    Examples:
      >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]]
      >>> ranked = find_label_issues(probabilities, [0, 0, 1, 1])
      >>> print(ranked.order, ranked.suggestion)
      [2 1 3 0] [0 0 0 1]
      >>> print(ranked.expected_precision)  # One model cannot tell.
      [nan nan nan nan]
    """
    parts, label, mask = _checked(probabilities, labels, where)
    alpha = checks.error_rate("confidence_level", confidence_level)
    sound, half, least = pools.look(parts, label, mask)
    floors = pools.lowest(least, sound)
    alone = [
        _judged((part,), label, sound, half, floors[m : m + 1])
        for m, part in enumerate(parts)
    ]
    pooled = alone[0]
    if len(parts) > 1:
        pooled = _judged(parts, label, sound, half, floors)
    predictions, confidences = (
        jnp.stack([one[place] for one in alone]) for place in (1, 2)
    )
    predictions = jnp.where(sound[None], predictions, -1)
    confidences = jnp.where(sound[None], confidences, jnp.nan)
    shared = None
    if len(parts) > 1:
        shared = shared_errors.fit_shared_errors(
            confidences, predictions == label[None], where=sound
        )
    found = _ranked(
        pooled[0],
        pooled[3],
        pooled[1],
        label,
        predictions,
        confidences,
        sound,
        shared,
        alpha,
        num_classes=parts[0].shape[1],
    )
    return dataclasses.replace(found, predictions=predictions, confidences=confidences)


def _judged(parts: Any, label: Any, sound: Any, half: Any, floors: Any) -> Any:
    """The pool of some models on each half, fitted on the other one."""
    weights = [
        pools.fit(parts, label, sound & (half != side), floors) for side in (0, 1)
    ]
    return pools.judge(parts, label, half, jnp.stack(weights), floors)


def _checked(
    probabilities: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[tuple[jax.Array, ...], jax.Array, jax.Array | None]:
    """The probabilities of each model, labels and mask."""
    name, expected = "probabilities", "a floating array [N, C] or [M, N, C]"
    array, _ = arrays.from_any(name, probabilities, expected)
    if array.ndim not in (2, 3) or 0 in array.shape[:-2]:
        hint = " Probabilities come first, labels second." if array.ndim == 1 else ""
        raise ValueError(
            f"{name}: expected {expected} of at least one model, got "
            f"{np.dtype(array.dtype).name}{list(array.shape)}.{hint}"
        )
    mask = checks.mask("where", where)
    label = checks.class_numbers("labels", labels)
    if array.ndim == 3 and array.shape[1:2] != label.shape:
        raise ValueError(
            f"{name}: expected {expected} with a row for each of the {len(label)} "
            f"labels, got {np.dtype(array.dtype).name}{list(array.shape)}."
        )
    models = [array] if array.ndim == 2 else [array[m] for m in range(len(array))]
    parts = tuple(checks.probabilities(name, model, mask) for model in models)
    checks.same_rows(probabilities=parts[0], labels=label, where=mask)
    kept = None if isinstance(mask, jax.Array) else mask
    if isinstance(mask, jax.Array):
        return parts, label, mask
    for number, model in enumerate(models):
        _check_sums(model, kept, "" if len(models) == 1 else f" of model {number}")
    if isinstance(label, np.ndarray):
        over = label >= parts[0].shape[1]
        over = over if kept is None else over & kept
        if over.any():
            row = int(np.argmax(over))
            raise ValueError(
                f"labels: expected classes from 0 to {parts[0].shape[1] - 1}, one for "
                f"each column of the probabilities, row {row} holds {label[row]}. "
                "Number the classes from 0; a negative label is unknown."
            )
        known = label >= 0 if kept is None else (label >= 0) & kept
        _check_models(models, label, known)
    return parts, label, mask


def _check_models(models: Any, label: np.ndarray, known: np.ndarray) -> None:
    """No two models may be one, and some model must know something of the labels."""
    if not known.any() or not all(isinstance(model, np.ndarray) for model in models):
        return
    for number, model in enumerate(models):
        for earlier in range(number):
            if np.array_equal(models[earlier][known], model[known]):
                raise ValueError(
                    f"probabilities: models {earlier} and {number} are the same; give "
                    "each model once. A copy knows nothing more, but would make the "
                    "expected precision look more certain."
                )
    given = np.bincount(label[known], minlength=models[0].shape[1]) / known.sum()
    most = 0.0
    for model in models:
        answer = model[known].argmax(axis=1)
        taken = np.bincount(answer, minlength=model.shape[1]) / len(answer)
        # Answers in another order would agree with so many labels.
        chance = float(taken @ given)
        agreement = float(np.mean(answer == label[known]))
        most = max(most, agreement)
        spread = np.sqrt(chance * (1 - chance) / len(answer))
        if agreement >= chance - _CERTAIN * spread:
            return
    raise ValueError(
        f"labels: the models agree with at most {100 * most:.1f}% of them, fewer than "
        "by chance. Are the classes numbered from 1, or in another order than the "
        "columns of the probabilities?"
    )


def _check_sums(model: Any, kept: np.ndarray | None, whose: str) -> None:
    if not isinstance(model, np.ndarray):
        return
    sums = model.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > pools.ROUNDING
    wrong = wrong if kept is None else wrong & kept
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"probabilities: expected rows that sum to 1, row {row}{whose} sums to "
            f"{sums[row]:.4g}. Pass those of all classes, by scaled_softmax of logits."
        )


@dispatch.core(
    static=["num_classes"],
    rows=[
        "log_own",
        "log_share",
        "best",
        "labels",
        "predictions M N",
        "confidences M N",
        "where",
    ],
)
def _ranked(
    log_own: jax.Array,
    log_share: jax.Array,
    best: jax.Array,
    labels: jax.Array,
    predictions: jax.Array,
    confidences: jax.Array,
    where: jax.Array,
    shared: SharedErrors | None,
    alpha: jax.Array,
    *,
    num_classes: int,
) -> RankedLabels:
    num_rows = labels.shape[0]
    key = jnp.where(where, log_own, jnp.inf)
    row = jnp.arange(num_rows, dtype=jnp.int32)
    unknown = (~where).astype(jnp.int32)
    _, _, order = jax.lax.sort((unknown, key, row), num_keys=3)
    unknown_share = jnp.full((num_rows,), jnp.nan, jnp.float32)
    ranked = Interval(estimate=unknown_share, lower=unknown_share, upper=unknown_share)
    if shared is not None:
        ranked = ranked_precision.expect(
            shared,
            confidences.T[order],
            (predictions != labels[None]).T[order],
            jnp.where(best == labels, jnp.nan, log_share)[order],
            where[order],
            alpha,
            num_classes,
        )
    blank = jnp.zeros((0, num_rows), jnp.float32)
    return RankedLabels(
        order=order,
        score=jnp.where(where, -jnp.expm1(log_own), jnp.nan),
        suggestion=jnp.where(where, best, labels),
        predictions=blank.astype(jnp.int32),
        confidences=blank,
        expected_precision=ranked.estimate,
        expected_lower=ranked.lower,
        expected_upper=ranked.upper,
    )
