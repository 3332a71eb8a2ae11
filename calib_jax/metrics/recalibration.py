"""How much of a loss is miscalibration, and how much would stay after recalibration.

Shapes: N examples, C classes. Functions take one problem; batch with `jax.vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, class_axis, dispatch, masking, records, reduce
from .._core.domains import Weights
from ..calibration import temperature
from ..calibration.reports import FitStatus


@records.record()
class CalibrationRefinement(records.Result):
    """The parts of a log loss.

    Attributes:
      loss: float32 scalar, in nats.
      calibration: float32 scalar, what recalibration takes away; slightly negative
        where there is nothing to take.
      refinement: float32 scalar, what stays: `loss - calibration`.
    """

    loss: jax.Array
    calibration: jax.Array
    refinement: jax.Array


def calibration_refinement(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    num_folds: int = 5,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CalibrationRefinement:
    r"""Log loss of classes as a part that recalibration removes and a part that stays.

    .. math:: \mathrm{refinement} = -\frac1W \sum_i w_i
       \log \mathrm{softmax}(z_i / T_{f(i)})_{y_i}, \quad
       \mathrm{calibration} = \mathrm{loss} - \mathrm{refinement}

    The temperature of a fold, T, is fitted to the rows of all other folds, so no row is
    judged by a temperature that has seen it. The refinement says how good a model can
    become by `fit_temperature`: compare models, and choose the epoch at which to stop
    training, by it rather than by the loss, and calibrate afterwards. It is not a
    calibration error in units of confidence; that is `expected_calibration_error`.

    Valid rows go to the folds in turn, which needs rows in random order. Fits without a
    finite optimum use the end of their range, as `fit_temperature` does: where the
    largest logit is right in all rows of the other folds (T = 1e-6), a wrong row costs
    about a million nats, so use fewer folds or more rows.

    Args:
      logits: floating `[N, C]`; log-probabilities are valid logits.
      labels: integer `[N]` in `[0, C)`.
      num_folds: static number of folds, at least 2.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; 0 removes a row.

    Returns:
      `CalibrationRefinement`; NaN with fewer than two valid rows, or where a valid row
      holds what `fit_temperature` calls `INVALID_VALUES`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a negative host weight.

    References:
      Berta, Holzmueller, Jordan and Bach, "Rethinking Early Stopping: Refine, Then
      Calibrate", 2025, arXiv 2501.19195.

    Examples:
      >>> logits = [[4.0, 0.0], [3.0, 0.0], [5.0, 0.0]] * 6
      >>> parts = calibration_refinement(logits, [0, 0, 1, 0, 0, 0] * 3)
      >>> print(f"{parts.loss:.3f} = {parts.calibration:.3f} + {parts.refinement:.3f}")
      0.858 = 0.280 + 0.578
    """
    rows = temperature.checked_rows(logits, labels, where, weights, None)
    folds = checks.static_int("num_folds", num_folds, minimum=2)
    return _calibration_refinement(*rows[:4], num_folds=folds)


@dispatch.core(
    static=["num_folds"],
    rows=["logits N C", "labels", "where", "weights"],
    passes=dispatch.Passes.FEW,
)
def _calibration_refinement(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_folds: int,
) -> CalibrationRefinement:
    num_rows = logits.shape[0]
    valid = masking.valid_rows(num_rows, where, weights)
    fold = masking.dealt(valid, num_folds)

    def fit(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        others = valid & (fold != number)
        params, report = temperature.fit_rows(
            logits, labels, others, weights, None, solver=None
        )
        return params.temperature, report.status

    fitted, status = jax.vmap(fit)(jnp.arange(num_folds, dtype=jnp.int32))
    weight, _ = masking.scaled_weights(num_rows, weights, valid)
    rows = {
        "logits": logits,
        "label": masking.take_last(logits, labels),
        "inverse": (1 / fitted)[fold],
        "weight": weight,
    }

    def losses(block: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        logits, label, weight = masking.clean_rows(
            live, 0, block["logits"], block["label"], block["weight"]
        )
        maximum = lax.stop_gradient(masking.class_maximum(logits, None))
        below = masking.below_maximum(logits, maximum, None)
        inverse = block["inverse"]
        sums = class_axis.sum_classes(jnp.exp(below), jnp.exp(inverse[:, None] * below))
        label = label - maximum
        each = [jnp.log(sums[0]) - label, jnp.log(sums[1]) - inverse * label]
        return weight, *(weight * loss for loss in each)

    total, loss, refinement = reduce.sum_rows(losses, rows, valid)
    failed = (status == FitStatus.INVALID_VALUES) | (status == FitStatus.MAX_STEPS)
    known = ~jnp.any(failed) & (jnp.sum(valid, dtype=jnp.int32) >= 2)
    loss, refinement = (
        jnp.where(known, masking.ratio(part, total), jnp.nan)
        for part in (loss, refinement)
    )
    return CalibrationRefinement(
        loss=loss, calibration=loss - refinement, refinement=refinement
    )
