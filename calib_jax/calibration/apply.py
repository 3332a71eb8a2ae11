"""Applying a fitted calibrator.

Fit on one half of the data and evaluate on the other: on the half it was fitted to,
every calibrator looks better than it is.
"""

import typing
from typing import Any

import jax
from jax.typing import ArrayLike

from .._core import checks
from ..confidence import classes
from .beta import Beta, apply_beta
from .dirichlet import Dirichlet, apply_dirichlet
from .ensemble_temperature import EnsembleTemperature, apply_ensemble_temperature
from .histogram import Histogram, apply_histogram
from .isotonic import Isotonic, apply_isotonic
from .platt import Platt, apply_platt
from .temperature import Temperature
from .vector import Vector, apply_vector

#: Parameters that take logits of classes, and those that take a score.
OfClasses = Temperature | Vector | Dirichlet | EnsembleTemperature
OfScores = Platt | Histogram | Isotonic | Beta
Calibrator = OfClasses | OfScores

CALIBRATORS: tuple[type, ...] = typing.get_args(Calibrator)
_APPLY: dict[type, Any] = {
    Platt: apply_platt,
    Histogram: apply_histogram,
    Isotonic: apply_isotonic,
    Beta: apply_beta,
    Vector: apply_vector,
    EnsembleTemperature: apply_ensemble_temperature,
}


def calibrate(
    params: Calibrator,
    x: ArrayLike,
    *,
    class_where: ArrayLike | None = None,
) -> jax.Array:
    """Calibrated confidence of logits or scores.

    Args:
      params: the first result of a fit.
      x: floating logits `[..., C]` for a `Temperature`, `Vector`, `Dirichlet` or
        `EnsembleTemperature`; confidences `[...]` in `[0, 1]` for a `Beta`; scores
        `[...]` for the others.
      class_where: optional bool `[C]` or `[..., C]`, for logits only, and not for a
        `Dirichlet`, whose classes need all of each other.

    Returns:
      float32 in `[0, 1]`: class probabilities `[..., C]` of logits (for the largest
      alone at a `Temperature` use `top1(logits, params)`), `[...]` of scores. NaN gives
      NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or kind of parameters, or a host
        confidence outside `[0, 1]`.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> two, one = jax.numpy.float32(2.0), jax.numpy.float32(1.0)
      >>> params = Platt(slope=two, intercept=-one)
      >>> print([f"{c:.3f}" for c in calibrate(params, [0.0, 0.5, 1.0])])
      ['0.269', '0.500', '0.731']
    """
    if class_where is not None and not isinstance(params, OfClasses):
        raise ValueError(
            "class_where: expected None, because scores have no classes, got a mask."
        )
    checks.instance("params", params, *CALIBRATORS)
    if isinstance(params, OfScores):
        scores = checks.floats("x", x, rank=range(9), axes="[...]")
        return _APPLY[type(params)](_converted(params), scores)
    logits = checks.logits("x", x, rank=range(1, 9), axes="[..., C]")
    if isinstance(params, Temperature):
        temperature = checks.scalar("temperature", params.temperature)
        mask = checks.class_mask(class_where, logits)
        return classes.softmax(logits, temperature, mask)
    if isinstance(params, (Vector, Dirichlet)):
        size = params.bias.shape[-1]
        if logits.shape[-1] != size:
            raise ValueError(
                f"x: expected logits of the {size} classes that were fitted, got "
                f"{logits.shape[-1]} classes."
            )
    if isinstance(params, Dirichlet):
        if class_where is not None:
            raise ValueError(
                "class_where: expected None for a Dirichlet, whose classes need all of "
                "each other, got a mask."
            )
        return apply_dirichlet(params, logits)
    mask = checks.class_mask(class_where, logits)
    return _APPLY[type(params)](_converted(params), logits, mask)


def _converted(params: Any) -> Any:
    """Parameters whose scalars, which may be made by hand, are float32 scalars."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf
            if getattr(leaf, "ndim", 0)
            else checks.scalar("params" + jax.tree_util.keystr(path), leaf)
        ),
        params,
    )
