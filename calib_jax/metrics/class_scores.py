r"""Scores of a whole distribution over classes.

Shapes: N examples, C classes. Functions take one problem; batch with `jax.vmap`.
Probabilities are read in blocks of rows or class by class, in float32, float16 or
bfloat16 as they are. Rows are taken as they are given: nothing divides by their sum.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, class_axis, dispatch, masking, reduce
from .._core.domains import CONFIDENCE, Weights
from ..binning import tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins, checked_size, given_or_cut
from . import calibration_errors


def multiclass_log_loss(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean negative log-probability of the label (cross-entropy, NLL), in nats.

    .. math:: -\frac{1}{W} \sum_i w_i \log p_{i y_i}

    It judges the probability of the label alone. From logits, pass
    `scaled_softmax(logits)`; a probability that was rounded to 0 then gives inf, where
    the log-softmax would not.

    Args:
      probabilities: floating `[N, C]`, in `[0, 1]`; rows that do not add up to 1 are
        taken as they are.
      labels: integer `[N]`, in `[0, C)`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`.

    Returns:
      float32 scalar in nats; inf where a label has probability 0; NaN without a valid
      row, or with a valid NaN, value outside its range or label outside `[0, C)`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Good, "Rational decisions", 1952.

    Examples:
      >>> print(multiclass_log_loss([[0.5, 0.5], [0.0, 1.0]], [0, 1]).round(3))
      0.347
    """
    rows = _checked_rows(probabilities, labels, where, weights)
    return _mean_class_loss(*rows, loss=_log_loss_of_label)


def multiclass_brier_score(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Brier score of a distribution over classes: 0 is best, 2 is worst.

    .. math:: \frac{1}{W} \sum_i w_i \sum_k (p_{ik} - [k = y_i])^2

    The sum runs over all classes, as in Brier's paper. For two classes it is twice
    `brier_score` of the probability of one of them; libraries that report half of it,
    or the mean over classes, show smaller numbers.

    Args, errors and NaN as for `multiclass_log_loss`: rows that do not add up to 1 are
    taken as they are.

    Returns:
      float32 scalar in `[0, 2]` where rows add up to 1.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Examples:
      >>> print(multiclass_brier_score([[0.5, 0.5], [0.0, 1.0]], [0, 1]))
      0.25
    """
    rows = _checked_rows(probabilities, labels, where, weights)
    return _mean_class_loss(*rows, loss=_squared_distance)


def classwise_calibration_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean over the classes of the ECE of each class's probability.

    .. math:: \frac{1}{C} \sum_k \sum_b \frac{W_{bk}}{W}
       \left| \bar p_{bk} - \bar y_{bk} \right|

    where :math:`\bar y_{bk}` is the share of class k among the rows whose :math:`p_k`
    is in bin b. Each class gets bins of equal count of its own, which is the adaptive
    calibration error of Nixon et al., unless `bins` are given:
    `bins=equal_width_bins(15)` gives the class-wise ECE of most papers, their static
    calibration error. The latter is smaller where there are many classes, because
    nearly all probabilities are then in the first bin. With many classes both are small
    for any model: compare models on the same classes only, and use
    `expected_calibration_error` of `top1` for the answers given.

    Args:
      probabilities: floating `[N, C]`, in `[0, 1]`; rows that do not add up to 1 are
        taken as they are.
      labels: integer `[N]`, in `[0, C)`.
      num_bins: static number of fresh equal-count bins; not used if `bins` are given.
      bins: optional `Bins` to use unchanged for every class.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; they never move edges, but 0 removes a row.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN, value
      outside its range or label outside `[0, C)`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Kull et al., "Beyond temperature scaling", 2019, arXiv 1910.12656;
      Nixon et al., "Measuring calibration in deep learning", 2019, arXiv 1904.01685.

    Examples:
      >>> probabilities = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
      >>> error = classwise_calibration_error(probabilities, [0, 0, 1, 1], num_bins=2)
      >>> print(error.round(3))
      0.25
    """
    rows = _checked_rows(probabilities, labels, where, weights)
    size = checked_size(bins, num_bins)
    return _classwise_error(*rows, bins, num_bins=size)


def _checked_rows(
    probabilities: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]:
    mask = checks.mask("where", where)
    weight = checks.weights("weights", weights)
    array = checks.probabilities("probabilities", probabilities, mask, weight)
    label = checks.integers("labels", labels)
    checks.same_rows(probabilities=array, labels=label, where=mask, weights=weight)
    return array, label, mask, weight


def _log_loss_of_label(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    (total,) = class_axis.sum_classes(probabilities)
    loss = -jnp.log(masking.take_last(probabilities, labels))
    # NaN of any class shows.
    return jnp.where(jnp.isnan(total), jnp.nan, loss)


def _squared_distance(probabilities: jax.Array, labels: jax.Array) -> jax.Array:
    place = lax.broadcasted_iota(jnp.int32, probabilities.shape, 1)
    # The sum of p^2 - 2 p_y + 1 would lose the digits of a small distance.
    gaps = probabilities - (place == labels[:, None]).astype(jnp.float32)
    (distance,) = class_axis.sum_classes(gaps**2)
    return distance


def _is_class(labels: jax.Array, num_classes: int) -> jax.Array:
    return (labels >= 0) & (labels < num_classes)


@dispatch.core(
    static=["loss"], rows=["probabilities N C", "labels", "where", "weights"]
)
def _mean_class_loss(
    probabilities: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    num_rows, num_classes = probabilities.shape
    valid = masking.valid_rows(num_rows, where, weights)
    weight, _ = masking.scaled_weights(num_rows, weights, valid)

    def sums(rows: tuple[jax.Array, ...], live: jax.Array) -> tuple[jax.Array, ...]:
        # Masked rows may hold anything, for the derivative too.
        values = jnp.where(live[:, None], rows[0].astype(jnp.float32), 0.5)
        losses = loss(CONFIDENCE.confine(values), rows[1])
        losses = jnp.where(_is_class(rows[1], num_classes), losses, jnp.nan)
        return tuple(jnp.where(live, x, 0.0) for x in (rows[2], rows[2] * losses))

    total, weighted = reduce.sum_rows(sums, (probabilities, labels, weight), valid)
    return masking.ratio(weighted, total)


@dispatch.core(
    static=["num_bins"], rows=["probabilities N C", "labels", "where", "weights"]
)
def _classwise_error(
    probabilities: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    bins: Bins | None,
    *,
    num_bins: int,
) -> jax.Array:
    valid = masking.valid_rows(labels.shape[0], where, weights)
    known = jnp.all(~valid | _is_class(labels, probabilities.shape[1]))

    def error_of(number: jax.Array) -> jax.Array:
        # One class at a time, so that nothing as large as the probabilities is made.
        column = jnp.full(labels.shape, number, jnp.int32)
        scores = CONFIDENCE.confine(masking.take_last(probabilities, column))
        cut = given_or_cut(bins, scores, num_bins, where, weights)
        table = tables.gaps_of_rows(cut, scores, labels == number, where, weights)
        return calibration_errors.expected_gap(table)

    numbers = jnp.arange(probabilities.shape[1], dtype=jnp.int32)
    return jnp.where(known, jnp.mean(lax.map(error_of, numbers)), jnp.nan)
