"""Applying a fitted calibrator.

Fit on a calibration half and judge on the other half: on its own half every calibrator
looks better than it is.
"""

import functools
from typing import Any

import jax
from jax.typing import ArrayLike

from .. import confidence
from .._core import checks
from .histogram import Histogram, apply_histogram
from .platt import Platt, apply_platt
from .temperature import Temperature


@functools.singledispatch
def _calibrate(params: Any, x: ArrayLike, class_where: ArrayLike | None) -> jax.Array:
    raise ValueError(
        "params: expected Temperature, Platt or Histogram, what a fit returns first, "
        f"got {type(params).__name__}."
    )


def calibrate(
    params: Temperature | Platt | Histogram,
    x: ArrayLike,
    *,
    class_where: ArrayLike | None = None,
) -> jax.Array:
    """Calibrated confidence of logits or scores.

    Args:
      params: what a fit returned first.
      x: floating logits `[..., C]` for a `Temperature`, scores `[N]` for the others.
      class_where: optional bool `[C]` or `[..., C]`, for a `Temperature` only.

    Returns:
      float32 in `[0, 1]`: class probabilities `[..., C]` for a temperature (the largest
      alone: `top1(logits, params.temperature)`), `[N]` for a score. NaN gives NaN.

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
        raise ValueError("class_where: expected None, since scores have no classes.")
    return _calibrate(params, x, class_where)


@_calibrate.register
def _(params: Temperature, x: ArrayLike, class_where: ArrayLike | None) -> jax.Array:
    logits = checks.logits("x", x, rank=range(1, 9), axes="[..., C]")
    return confidence.scaled_softmax(
        logits, params.temperature, class_where=class_where
    )


@_calibrate.register
def _(params: Platt, x: ArrayLike, class_where: None) -> jax.Array:
    return apply_platt(params, checks.floats("x", x))


@_calibrate.register
def _(params: Histogram, x: ArrayLike, class_where: None) -> jax.Array:
    return apply_histogram(params, checks.floats("x", x))
