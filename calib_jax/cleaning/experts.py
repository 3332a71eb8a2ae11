r"""Cleaning: which given labels are wrong, by models that contradict them.

Shapes: M models (experts), N examples, `num_bins` bins. The first two methods of the
paper's Algorithm 2: (1) every model contradicts the label; (2) and does so with high
confidence. The third is `calib_jax.confident_learning`. Each gives flags `[N]` and a
suggested label; `repair_labels` turns these into a repaired dataset.

A negative prediction is what `top1` gives for an invalid row; it contradicts nothing. A
negative label is compared as any other: leave rows without a label out beforehand.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import binning
from .._core import checks, dispatch, masking
from ..binning import bin_sums, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins, in_first_bins
from ..binning.tables import ReliabilityTable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ExpertBins:
    """Confidence bins of each expert, and which of them are the most accurate.

    Attributes:
      bins: `Bins` with edges `[M, num_bins - 1]`.
      table: `ReliabilityTable` with entries `[M, num_bins]`, on the validation data.
      order: int32 `[M, num_bins]`, bins by descending accuracy; of equal ones that of
        higher confidence first, empty bins last.
    """

    bins: Bins
    table: ReliabilityTable
    order: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CleaningCurve:
    """Precision and recall as the threshold on a score falls, one point for each row.

    Attributes:
      threshold: float32 `[N]`, descending; rows with a score at or above it are
        flagged.
      flagged_share: float32 `[N]`, share of the rows that are flagged, in `[0, 1]`.
      precision: float32 `[N]`, share of the flagged rows that are errors.
      recall: float32 `[N]`, share of the errors that are flagged; NaN without errors.
    """

    threshold: jax.Array
    flagged_share: jax.Array
    precision: jax.Array
    recall: jax.Array


def top1_disagreement(predictions: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Method 1: labels that every model contradicts.

    Args:
      predictions: integer `[M, N]`; a negative one contradicts nothing.
      labels: integer `[N]`, as given.

    Returns:
      bool `[N]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 2, method 1.

    Examples:
      >>> print(top1_disagreement([[1, 2, 0], [1, 0, 0]], [0, 0, 0]))
      [ True False False]
    """
    predicted = checks.integers("predictions", predictions, rank=2, axes="[M, N]")
    label = checks.integers("labels", labels)
    checks.same_columns(predictions=predicted, labels=label)
    return _contradicted(predicted, label)


def fit_expert_bins(
    confidences: ArrayLike,
    correct: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
) -> ExpertBins:
    """Confidence bins of each expert and their order by accuracy, on validation data.

    Args:
      confidences: floating `[M, N]`, calibrated confidences in `[0, 1]`.
      correct: bool, integer or floating `[M, N]` in `[0, 1]`, whether each prediction
        is correct on data whose labels are trusted.
      num_bins: static number of equal-count bins of each expert.
      where: optional bool `[N]`; masked examples may hold anything.

    Returns:
      `ExpertBins`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 2, method 2.

    Examples:
      >>> experts = fit_expert_bins([[0.2, 0.4, 0.9, 0.8]], [[0, 0, 1, 1]], num_bins=2)
      >>> print(experts.order, experts.table.outcome)
      [[1 0]] [[0. 1.]]
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    outcome = checks.outcomes("correct", correct, rank=2, axes="[M, N]")
    mask = checks.mask("where", where)
    checks.same_shape(confidences=confidence, correct=outcome)
    checks.same_columns(confidences=confidence, where=mask)
    size = checks.static_int("num_bins", num_bins, minimum=1)

    return _fit_expert_bins(confidence, outcome, mask, num_bins=size)


def high_confidence_disagreement(
    experts: ExpertBins,
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    num_top_bins: int | jax.Array,
    *,
    consensus: bool = False,
) -> jax.Array:
    """Method 2: labels that every model contradicts from one of its K best bins.

    Args:
      experts: `ExpertBins` of the M models.
      predictions: integer `[M, N]`; a negative one contradicts nothing.
      confidences: floating `[M, N]`, calibrated as those of the fit; NaN is in no bin.
      labels: integer `[N]`, as given.
      num_top_bins: the paper's K, 0 to num_bins; may be traced. Fewer bins flag fewer
        labels with more precision.
      consensus: whether the models must also name the same other class.

    Returns:
      bool `[N]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 2, method 2.

    Examples:
      >>> experts = fit_expert_bins([[0.2, 0.4, 0.9, 0.8]], [[0, 0, 1, 1]], num_bins=2)
      >>> predictions, confidences, labels = [[1, 1]], [[0.9, 0.3]], [0, 0]
      >>> print(
      ...     high_confidence_disagreement(experts, predictions, confidences, labels, 1)
      ... )
      [ True False]
    """
    checks.instance("experts", experts, ExpertBins)
    predicted = checks.integers("predictions", predictions, rank=2, axes="[M, N]")
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    label = checks.integers("labels", labels)
    checks.same_shape(predictions=predicted, confidences=confidence)
    checks.same_columns(predictions=predicted, labels=label)
    if predicted.shape[0] != experts.order.shape[0]:
        raise ValueError(
            f"predictions: expected a row for each of the {experts.order.shape[0]} "
            f"experts, got {list(predicted.shape)}."
        )
    budget = checks.traced_int(
        "num_top_bins", num_top_bins, minimum=0, maximum=experts.bins.num_bins
    )
    return _surely_contradicted(
        experts, predicted, confidence, label, budget, jnp.asarray(bool(consensus))
    )


def label_issue_score(
    predictions: ArrayLike, confidences: ArrayLike, labels: ArrayLike
) -> jax.Array:
    r"""How surely every expert contradicts a label: a score to rank labels by.

    .. math:: s_i = \min_m \begin{cases} c_{mi} & \hat y_{mi} \ne y_i \\
        -c_{mi} & \hat y_{mi} = y_i \end{cases}

    Labels that all contradict come first, by the least of their confidences; it is the
    score of `cleaning_curve` for methods 1 and 2 of any threshold.

    Args:
      predictions: integer `[M, N]`; a negative one agrees for certain.
      confidences: floating `[M, N]`, calibrated confidences in `[0, 1]`.
      labels: integer `[N]`, as given.

    Returns:
      float32 `[N]` in `[-1, 1]`; NaN where the confidence of a prediction is.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3.

    Examples:
      >>> predictions, confidences = [[1, 1], [2, 0]], [[0.75, 0.5], [0.5, 0.25]]
      >>> print(label_issue_score(predictions, confidences, [0, 0]))
      [ 0.5  -0.25]
    """
    predicted = checks.integers("predictions", predictions, rank=2, axes="[M, N]")
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    label = checks.integers("labels", labels)
    checks.same_shape(predictions=predicted, confidences=confidence)
    checks.same_columns(predictions=predicted, labels=label)
    return _label_issue_score(predicted, confidence, label)


def suggest_labels(
    predictions: ArrayLike,
    confidences: ArrayLike,
    labels: ArrayLike,
    flagged: ArrayLike,
) -> jax.Array:
    """Suggested labels for methods 1 and 2: the most confident expert's prediction.

    Args:
      predictions: integer `[M, N]`.
      confidences: floating `[M, N]`, calibrated, so that experts compare.
      labels: integer `[N]`, as given.
      flagged: bool `[N]`.

    Returns:
      int32 `[N]`: where flagged, the prediction of the most confident expert that
      contradicts the label (the first of equals); else the given label.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3 (corrected labels).

    Examples:
      >>> predictions, confidences = [[1, 1], [2, 0]], [[0.6, 0.9], [0.8, 0.9]]
      >>> print(suggest_labels(predictions, confidences, [0, 0], [True, False]))
      [2 0]
    """
    predicted = checks.integers("predictions", predictions, rank=2, axes="[M, N]")
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    label = checks.integers("labels", labels)
    flags = checks.bools("flagged", flagged)
    checks.same_shape(predictions=predicted, confidences=confidence)
    checks.same_shape(labels=label, flagged=flags)
    checks.same_columns(predictions=predicted, labels=label)
    return _suggest_labels(predicted, confidence, label, flags)


def repair_labels(
    labels: ArrayLike, flagged: ArrayLike, suggestion: ArrayLike, *, drop: bool = False
) -> jax.Array:
    """The repaired dataset: flagged labels replaced, or the rows to keep.

    Args:
      labels: integer `[N]`, as given.
      flagged: bool `[N]`.
      suggestion: integer `[N]`.
      drop: whether flagged rows are to be dropped rather than relabelled.

    Returns:
      int32 `[N]` labels; with `drop` a bool `[N]` mask of the rows to keep, which
      serves as `where=` anywhere in this library.

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

    Rows are flagged by falling score, tied ones together. A row that no method would
    flag is left out by `where`, or has score -inf: such rows come last. NaN scores
    count as -inf. The curve is a sort of all rows, so sharded rows are gathered.

    Args:
      score: floating `[N]`; higher is more suspect.
      is_error: bool, integer or floating `[N]` in `[0, 1]`, whether the label is wrong.
      where: optional bool `[N]`; masked rows may hold anything. As many points at the
        end repeat the last one.
      weights: optional non-negative `[N]`.

    Returns:
      `CleaningCurve`; NaN without a valid row.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 4, whose "detection rate" is the flagged
      share.

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


def _contradicts(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    return (predictions != labels[None]) & (predictions >= 0)


@jax.jit
def _contradicted(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    some = predictions.shape[0] > 0
    return jnp.all(_contradicts(predictions, labels), axis=0) & some


@dispatch.core(static=["num_bins"])
def _fit_expert_bins(
    confidences: jax.Array,
    correct: jax.Array,
    where: jax.Array | None,
    *,
    num_bins: int,
) -> ExpertBins:
    def fit(confidence: jax.Array, outcome: jax.Array) -> ExpertBins:
        bins = binning.equal_count_bins(confidence, num_bins, where=where)
        table = tables.reliability_table(bins, confidence, outcome, where=where)
        order = bin_sums.bin_order(table.count, -table.outcome)
        return ExpertBins(bins=bins, table=table, order=order)

    return jax.vmap(fit)(confidences, correct)


@dispatch.core(rows_of="labels")
def _surely_contradicted(
    experts: ExpertBins,
    predictions: jax.Array,
    confidences: jax.Array,
    labels: jax.Array,
    num_top_bins: jax.Array,
    consensus: jax.Array,
) -> jax.Array:
    sure = jax.vmap(in_first_bins, (0, 0, 0, None))(
        experts.bins, experts.order, confidences, num_top_bins
    )
    agreed = jnp.all(predictions == predictions[:1], axis=0) | ~consensus
    return _contradicted(predictions, labels) & jnp.all(sure, axis=0) & agreed


@jax.jit
def _label_issue_score(
    predictions: jax.Array, confidences: jax.Array, labels: jax.Array
) -> jax.Array:
    agrees = predictions == labels[None]
    signed = jnp.where(agrees, -confidences, confidences)
    return jnp.min(jnp.where(predictions < 0, -1.0, signed), axis=0)


@jax.jit
def _suggest_labels(
    predictions: jax.Array,
    confidences: jax.Array,
    labels: jax.Array,
    flagged: jax.Array,
) -> jax.Array:
    contradicts = _contradicts(predictions, labels)
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
    # Ascending in minus the score, masked rows after all others.
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
    # Each row stands at the end of its block of ties: the nearest end at or after it.
    ends = (position >= last_valid) | (key != jnp.roll(key, -1))
    end = jax.lax.cummin(jnp.where(ends, position, num_rows), reverse=True)
    end = jnp.minimum(end, last_valid)
    flagged, found = jnp.cumsum(weight)[end], jnp.cumsum(error)[end]
    total, errors_total = jnp.sum(weight), jnp.sum(error)

    def ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
        return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), jnp.nan)

    return CleaningCurve(
        threshold=jnp.where(total > 0, -key[end], jnp.nan),
        flagged_share=ratio(flagged, total),
        precision=ratio(found, flagged),
        recall=ratio(found, errors_total),
    )
