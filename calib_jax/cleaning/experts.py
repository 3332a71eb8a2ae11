r"""Flags: labels that every model contradicts.

Shapes: M models (experts), N examples, `num_bins` bins. These are the first two methods
of the paper's Algorithm 2: every model contradicts the label (1), and does so with high
confidence (2); the third, and a score to rank labels by, are in `label_issues`.
`repairs` turns flags into a repaired dataset. `top1` returns a negative prediction for
an invalid row; it contradicts nothing. A negative label, such as -1 or -100 for
"unknown", is not a class: nothing contradicts it, and it is never flagged.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import Confidence, Outcome
from ..binning import bin_sums, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins, cut_evenly, in_first_bins
from ..binning.tables import ReliabilityTable


@records.record(
    "M", axes={"order": "M num_bins"}, values={"order": records.PERMUTATION}
)
class ExpertBins(records.Result):
    """Confidence bins of each expert, ordered by accuracy.

    Attributes:
      bins: `Bins` with edges `[M, num_bins - 1]`.
      table: `ReliabilityTable` with entries `[M, num_bins]`, on the validation data;
        its squared errors are not computed and NaN.
      order: int32 `[M, num_bins]`, bins by descending accuracy; ties go to the bin of
        higher confidence, empty bins come last.
    """

    bins: Bins
    table: ReliabilityTable
    order: jax.Array


def top1_disagreement(predictions: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Method 1: labels that every model contradicts.

    Args:
      predictions: integer `[M, N]`; a negative one contradicts nothing.
      labels: integer `[N]`, as given; a negative one is not contradicted.

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
    predicted = checks.class_numbers("predictions", predictions, rank=2, axes="[M, N]")
    label = checks.class_numbers("labels", labels)
    checks.same_columns(predictions=predicted, labels=label)
    return _contradicted(predicted, label)


def fit_expert_bins(
    confidences: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
) -> ExpertBins:
    """Confidence bins of each expert, ordered by accuracy on validation data.

    Args:
      confidences: floating `[M, N]`, calibrated confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[M, N]` in `[0, 1]`, whether each prediction
        is correct, on data whose labels are trusted.
      num_bins: static number of equal-count bins per expert.
      where: optional bool `[N]`.

    Returns:
      `ExpertBins`; with a valid NaN the expert's table holds NaN, and its order means
      nothing.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or values on the host outside
        `[0, 1]`; in a device array they count as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 2, method 2.

    Examples:
      >>> experts = fit_expert_bins([[0.2, 0.4, 0.9, 0.8]], [[0, 0, 1, 1]], num_bins=2)
      >>> print(experts.order, experts.table.outcome)
      [[1 0]] [[0. 1.]]
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    outcome = checks.outcomes("outcomes", outcomes, rank=2, axes="[M, N]")
    mask = checks.mask("where", where)
    checks.same_shape(confidences=confidence, outcomes=outcome)
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
    """Method 2: labels that every model contradicts, each from one of its K best bins.

    Args:
      experts: `ExpertBins` of the M models.
      predictions: integer `[M, N]`; a negative one contradicts nothing.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated as in the fit; NaN is in
        none of the bins.
      labels: integer `[N]`, as given; a negative one is not contradicted.
      num_top_bins: the paper's K, 0 to num_bins; may be traced. Fewer bins flag fewer
        labels, with higher precision; a traced K out of range flags none.
      consensus: whether the models must also agree on one other class.

    Returns:
      bool `[N]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a confidence on the host
        outside `[0, 1]`; in a device array it counts as NaN.

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
    predicted, confidence, label = checked_answers(predictions, confidences, labels)
    if predicted.shape[0] != experts.order.shape[0]:
        raise ValueError(
            f"predictions: expected a row for each of the {experts.order.shape[0]} "
            f"experts, got {list(predicted.shape)}."
        )
    budget = checks.traced_int(
        "num_top_bins", num_top_bins, minimum=0, maximum=experts.bins.num_bins
    )
    return _surely_contradicted(
        experts,
        predicted,
        confidence,
        label,
        budget,
        np.asarray(checks.flag("consensus", consensus)),
    )


def checked_answers(
    predictions: ArrayLike, confidences: ArrayLike, labels: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Predictions and confidences `[M, N]` of the experts, and labels `[N]`."""
    predicted = checks.class_numbers("predictions", predictions, rank=2, axes="[M, N]")
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    label = checks.class_numbers("labels", labels)
    checks.same_shape(predictions=predicted, confidences=confidence)
    checks.same_columns(predictions=predicted, labels=label)
    if predicted.shape[0] == 0:
        raise ValueError("predictions: expected at least one expert, got [0, N].")
    return predicted, confidence, label


def contradicts(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    """Bool `[M, N]`: valid predictions other than the given label, a class too."""
    classes = (predictions >= 0) & (labels >= 0)[None]
    return (predictions != labels[None]) & classes


@dispatch.core(rows=["predictions M N", "labels"], rows_of="labels")
def _contradicted(predictions: jax.Array, labels: jax.Array) -> jax.Array:
    some = predictions.shape[0] > 0
    return jnp.all(contradicts(predictions, labels), axis=0) & some


@dispatch.core(static=["num_bins"], rows=["confidences M N", "outcomes M N", "where"])
def _fit_expert_bins(
    confidences: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    *,
    num_bins: int,
) -> ExpertBins:
    def fit(rows: tuple[jax.Array, jax.Array]) -> ExpertBins:
        confidence, outcome = rows
        bins = cut_evenly(confidence, num_bins, where)
        table = tables.gaps_of_rows(bins, confidence, outcome, where, None)
        order = bin_sums.bin_order(table.count, -table.outcome)
        return ExpertBins(bins=bins, table=table, order=order)

    # One expert after the other: sums of several at once take longer on a CPU.
    return jax.lax.map(fit, (confidences, outcomes))


@dispatch.core(rows=["predictions M N", "confidences M N", "labels"], rows_of="labels")
def _surely_contradicted(
    experts: ExpertBins,
    predictions: jax.Array,
    confidences: Confidence,
    labels: jax.Array,
    num_top_bins: jax.Array,
    consensus: jax.Array,
) -> jax.Array:
    # The host refuses a K beyond the bins; a traced one flags nothing.
    beyond = num_top_bins > experts.bins.num_bins
    sure = jax.vmap(in_first_bins, (0, 0, 0, None))(
        experts.bins, experts.order, confidences, jnp.where(beyond, 0, num_top_bins)
    )
    agreed = jnp.all(predictions == predictions[:1], axis=0) | ~consensus
    return _contradicted(predictions, labels) & jnp.all(sure, axis=0) & agreed
