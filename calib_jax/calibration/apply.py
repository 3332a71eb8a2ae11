"""Applying a fitted calibrator.

Fit on one half of the data and evaluate on the other: on the half it was fitted to,
every calibrator looks better than it is.
"""

import jax
from jax.typing import ArrayLike

from .._core import checks
from ..confidence import classes
from .histogram import Histogram, apply_histogram
from .platt import Platt, apply_platt
from .temperature import Temperature


def calibrate(
    params: Temperature | Platt | Histogram,
    x: ArrayLike,
    *,
    class_where: ArrayLike | None = None,
) -> jax.Array:
    """Calibrated confidence of logits or scores.

    Args:
      params: the first result of a fit.
      x: floating logits `[..., C]` for a `Temperature`, scores `[...]` for the others.
      class_where: optional bool `[C]` or `[..., C]`, for a `Temperature` only.

    Returns:
      float32 in `[0, 1]`: class probabilities `[..., C]` for a `Temperature` (for the
      largest alone use `top1(logits, params)`), `[...]` for the others. NaN gives NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or kind of parameters.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> two, one = jax.numpy.float32(2.0), jax.numpy.float32(1.0)
      >>> params = Platt(slope=two, intercept=-one)
      >>> print([f"{c:.3f}" for c in calibrate(params, [0.0, 0.5, 1.0])])
      ['0.269', '0.500', '0.731']
    """
    if class_where is not None and not isinstance(params, Temperature):
        raise ValueError(
            "class_where: expected None, because scores have no classes, got a mask."
        )
    checks.instance("params", params, Temperature, Platt, Histogram)
    if isinstance(params, Temperature):
        logits = checks.logits("x", x, rank=range(1, 9), axes="[..., C]")
        temperature = checks.scalar("temperature", params.temperature)
        mask = checks.class_mask(class_where, logits)
        return classes.softmax(logits, temperature, mask)
    scores = checks.floats("x", x, rank=range(9), axes="[...]")
    if isinstance(params, Platt):
        slope = checks.scalar("params.slope", params.slope)
        intercept = checks.scalar("params.intercept", params.intercept)
        return apply_platt(Platt(slope=slope, intercept=intercept), scores)
    return apply_histogram(params, scores)
