"""Log loss and Brier score of all classes, over a stream of logits.

Shapes: N examples in a batch, C classes. The losses of each row are float32, and their
sums are exact.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, class_axis, dispatch, masking, reduce
from .._core.domains import Weights
from ..binning import bin_sums
from ..calibration import temperature
from .states import ClassLossSummary


def init_class_losses() -> ClassLossSummary:
    """An empty summary, to be updated with logits and labels.

    Returns:
      `ClassLossSummary`.

    Raises:
      ValueError: never.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> print(multiclass_log_loss(init_class_losses()))
      nan
    """
    return ClassLossSummary(sums=bin_sums.init(1, 2))


def update_class_losses(
    state: ClassLossSummary,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
) -> ClassLossSummary:
    """Adds a batch of class logits to a summary.

    Args:
      state: `ClassLossSummary`.
      logits: floating `[N, C]`; -inf is an impossible class.
      labels: integer `[N]` in `[0, C)`; a valid row with another label makes the
        results NaN.
      where: optional bool `[N]`, such as the mask of a padded last batch.
      weights: optional non-negative `[N]`; weight 2 is the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that count.

    Returns:
      `ClassLossSummary` of the rows so far and the valid rows of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype, or a negative host weight.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> state = update_class_losses(init_class_losses(), [[2.0, 0.0]], [0])
      >>> state = update_class_losses(state, [[0.0, 0.0]], [1])
      >>> print(multiclass_log_loss(state).round(3))
      0.41
    """
    checks.instance("state", state, ClassLossSummary)
    rows = temperature.checked_rows(logits, labels, where, weights, class_where)
    return _update(state, *rows)


def multiclass_log_loss(state: ClassLossSummary) -> jax.Array:
    r"""Mean negative log-probability of the label over a summary, in nats.

    Args:
      state: `ClassLossSummary` with sums `[4, 2, digits]`.

    Returns:
      float32 scalar, that of `calib_jax.metrics.multiclass_log_loss` apart from
      rounding; inf where a label has logit -inf or is a masked class; NaN without a
      valid row, or with a valid NaN or label outside `[0, C)`.

    Raises:
      ValueError: for a wrong type.

    References:
      Good, "Rational decisions", 1952.

    Examples:
      >>> state = update_class_losses(init_class_losses(), [[0.0, 0.0]], [1])
      >>> print(multiclass_log_loss(state).round(3))
      0.693
    """
    checks.instance("state", state, ClassLossSummary)
    return _mean(state, jnp.int32(0))


def multiclass_brier_score(state: ClassLossSummary) -> jax.Array:
    r"""Mean squared distance from the label over a summary, 0 to 2.

    Args:
      state: `ClassLossSummary` with sums `[4, 2, digits]`.

    Returns:
      float32 scalar, that of `calib_jax.metrics.multiclass_brier_score` apart from
      rounding; NaN without a valid row, or with a valid NaN or label outside `[0, C)`.

    Raises:
      ValueError: for a wrong type.

    References:
      Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Examples:
      >>> state = update_class_losses(init_class_losses(), [[0.0, 0.0]], [1])
      >>> print(multiclass_brier_score(state))
      0.5
    """
    checks.instance("state", state, ClassLossSummary)
    return _mean(state, jnp.int32(1))


@dispatch.core(
    rows=["logits N C", "labels", "where", "weights", "class_where N C"],
)
def _update(
    state: ClassLossSummary,
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
) -> ClassLossSummary:
    logits, weights = lax.stop_gradient((logits, weights))
    by_row = class_where is not None and class_where.shape == logits.shape

    def losses(rows: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        block, label, *classes = rows
        return _losses(block, label, classes[0] if by_row else class_where)

    rows = (logits, labels, class_where) if by_row else (logits, labels)
    quantities = reduce.map_rows(losses, rows)
    index = jnp.zeros(labels.shape, jnp.int32)
    sums = bin_sums.update(state.sums, index, quantities, where, weights)
    return dataclasses.replace(state, sums=sums)


def _losses(
    logits: jax.Array, labels: jax.Array, class_where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Log loss and squared distance of each row, NaN for a label not in `[0, C)`."""
    maximum = masking.class_maximum(logits, class_where)
    below = masking.below_maximum(logits, maximum, class_where)
    own = masking.take_last(below, labels)
    exponentials = jnp.exp(below)
    (total,) = class_axis.sum_classes(exponentials)
    place = lax.broadcasted_iota(jnp.int32, below.shape, 1)
    hot = (place == labels[:, None]).astype(jnp.float32)
    gaps = exponentials / total[:, None] - hot
    (distance,) = class_axis.sum_classes(gaps**2)
    # A class that is out is at -1e30.
    loss = jnp.where(own < -1e29, jnp.inf, jnp.log(total) - own)
    return loss, jnp.where(jnp.isnan(own), jnp.nan, distance)


@dispatch.core
def _mean(state: ClassLossSummary, number: jax.Array) -> jax.Array:
    table = bin_sums.compute(state.sums)
    log_loss, brier_score = table.means[:, 0]
    # Exact sums have no infinity. What else makes a log loss NaN shows in both.
    endless = jnp.isnan(log_loss) & ~jnp.isnan(brier_score)
    log_loss = jnp.where(endless, jnp.inf, log_loss)
    mean = jnp.stack([log_loss, brier_score])[number]
    return jnp.where(table.weight[0] > 0, mean, jnp.nan)
