"""Confident learning, and a score that ranks labels by how wrong they look.

Confident learning is the paper's third method, from one model's probabilities. The
score is for its first two, which are in `experts`.

Shapes: N examples, C classes, M models (experts).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import (
    checks,
    class_axis,
    dispatch,
    domains,
    exact,
    masking,
    records,
    reduce,
)
from .._core.domains import Confidence
from . import experts


@records.record("N", axes={"thresholds": "C"})
class LabelIssues(records.Result):
    """What confident learning finds.

    Attributes:
      flagged: bool `[N]`, labels that are probably wrong.
      suggestion: int32 `[N]`, what the label should be; the given label where not
        flagged.
      thresholds: float32 `[C]`, mean probability of each class among rows with that
        label; +inf for a class without rows.
    """

    flagged: jax.Array
    suggestion: jax.Array
    thresholds: jax.Array


def confident_learning(
    probabilities: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> LabelIssues:
    r"""Method 3: labels where another class exceeds its own threshold.

    .. math:: t_k = \mathrm{mean}\{p_{ik} : y_i = k\}, \quad
       \hat y_i = \arg\max_{k :\, p_{ik} > t_k} p_{ik}, \quad
       \text{flagged where } \hat y_i \ne y_i

    A row without a candidate keeps its label; ties go to the first candidate; a class
    without rows is never a candidate. A row with a NaN, or with a label outside
    `[0, C)`, is not flagged and enters no threshold.

    Args:
      probabilities: floating `[N, C]`, in `[0, 1]`, from a model that was not trained
        on these labels.
      labels: integer `[N]`, as given.
      where: optional bool `[N]`; masked rows are not flagged.

    Returns:
      `LabelIssues`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a probability on the host outside
        `[0, 1]`; in a device array it counts as NaN.

    References:
      Northcutt et al., "Confident Learning", 2021, arXiv 1911.00068; Hao et al. 2026,
      arXiv 2601.07965, Algorithm 2, method 3.

    Examples:
      >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.2, 0.8]]
      >>> issues = confident_learning(probabilities, [0, 0, 1, 1])
      >>> print(issues.flagged, issues.suggestion)
      [False False  True False] [0 0 0 1]
    """
    rows = checked_rows(probabilities, labels, where)
    return issues_and_candidates(*rows)[0]


def label_issue_score(
    predictions: ArrayLike, confidences: ArrayLike, labels: ArrayLike
) -> jax.Array:
    r"""How confidently all experts contradict a label: a score to rank labels by.

    .. math:: s_i = \min_m \begin{cases} c_{mi} & \hat y_{mi} \ne y_i \\
        -c_{mi} & \hat y_{mi} = y_i \end{cases}

    Labels that all experts contradict come first, ordered by the smallest confidence.
    Use it as the score of `cleaning_curve` for methods 1 and 2.

    Args:
      predictions: integer `[M, N]`; a negative one counts as certain agreement.
      confidences: floating `[M, N]`, calibrated confidences in `[0, 1]`.
      labels: integer `[N]`, as given.

    Returns:
      float32 `[N]` in `[-1, 1]`; NaN where the confidence of a prediction is NaN, and
      for a negative label. `cleaning_curve` puts NaN last.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a confidence on the host outside
        `[0, 1]`; in a device array it counts as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.3.

    Examples:
      >>> predictions, confidences = [[1, 1], [2, 0]], [[0.75, 0.5], [0.5, 0.25]]
      >>> print(label_issue_score(predictions, confidences, [0, 0]))
      [ 0.5  -0.25]
    """
    return _label_issue_score(
        *experts.checked_answers(predictions, confidences, labels)
    )


def checked_rows(
    probabilities: ArrayLike, labels: ArrayLike, where: ArrayLike | None = None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Probabilities `[N, C]`, labels `[N]` and an optional mask `[N]`."""
    mask = checks.mask("where", where)
    array = checks.probabilities("probabilities", probabilities, mask)
    label = checks.class_numbers("labels", labels)
    checks.same_rows(probabilities=array, labels=label, where=mask)
    return array, label, mask


def issues_and_candidates(
    probabilities: jax.Array, labels: jax.Array, where: jax.Array | None
) -> tuple[LabelIssues, jax.Array, jax.Array]:
    """Issues, usable rows, and the best candidate of each (C if there is none).

    In three programs: the exact sums, which take longest to compile, see few numbers.
    """
    num_classes = probabilities.shape[1]
    usable, own = _usable_rows(probabilities, labels, where)
    strict, thresholds = _thresholds(own, labels, usable, num_classes=num_classes)
    flagged, suggestion, candidates = _beaten_labels(
        probabilities, labels, usable, strict
    )
    issues = LabelIssues(flagged=flagged, suggestion=suggestion, thresholds=thresholds)
    return issues, usable, candidates


@dispatch.core(rows=["probabilities N C", "labels", "kept"], rows_of="labels")
def _usable_rows(
    probabilities: jax.Array, labels: jax.Array, kept: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Rows without a value outside its domain, and the probability of each label."""
    # Block by block, since the ends of a whole array would be as large as it is.
    usable = reduce.map_rows(
        lambda block: jnp.all(domains.CONFIDENCE.holds(block), axis=1),
        lax.stop_gradient(probabilities),
    )
    usable = usable & (labels >= 0) & (labels < probabilities.shape[1])
    own = domains.CONFIDENCE.confine(masking.take_last(probabilities, labels))
    return usable if kept is None else usable & kept, own


# Exact sums of many classes would take long without optimisations.
@dispatch.core(
    static=["num_classes"],
    rows=["own", "labels", "where"],
    passes=dispatch.Passes.MANY,
)
def _thresholds(
    own: jax.Array, labels: jax.Array, where: jax.Array, *, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Thresholds for a strict comparison, and the thresholds themselves.

    A probability exceeds the exact mean if and only if it exceeds the largest float32
    number at or below that mean.
    """
    sums = reduce.sum_bins(
        lambda rows: (rows[0], (rows[1],)), (labels, own), num_classes, where
    )
    (count, total), (rest, error) = exact.to_float(sums)
    high, low = exact.divide((total, error), (count, rest))
    strict = jnp.where(low < 0, jnp.nextafter(high, jnp.float32(-jnp.inf)), high)
    missing = count == 0
    return jnp.where(missing, jnp.inf, strict), jnp.where(missing, jnp.inf, high)


@dispatch.core(rows=["probabilities N C", "labels", "usable"], rows_of="labels")
def _beaten_labels(
    probabilities: jax.Array,
    labels: jax.Array,
    usable: jax.Array,
    thresholds: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Flags, suggestions, and the best candidate of each row (C if there is none)."""

    def best(block: jax.Array) -> jax.Array:
        values = block.astype(jnp.float32)
        candidates = jnp.where(values > thresholds[None], values, -jnp.inf)
        return class_axis.largest_class(candidates)[1]

    chosen = reduce.map_rows(best, probabilities)
    flagged = usable & (chosen < probabilities.shape[1]) & (chosen != labels)
    return flagged, jnp.where(flagged, chosen, labels), chosen


@dispatch.core(rows=["predictions M N", "confidences M N", "labels"], rows_of="labels")
def _label_issue_score(
    predictions: jax.Array, confidences: Confidence, labels: jax.Array
) -> jax.Array:
    agrees = predictions == labels[None]
    signed = jnp.where(agrees, -confidences, confidences)
    score = jnp.min(jnp.where(predictions < 0, -1.0, signed), axis=0)
    return jnp.where(labels < 0, jnp.nan, score)
