"""Ensemble temperature scaling: a mixture of three distributions.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import dispatch, records
from ..confidence import classes
from .reports import FitReport


@records.record(
    axes={"weights": "3"},
    values={"temperature": records.POSITIVE, "weights": records.SHARE},
)
class EnsembleTemperature:
    """Parameters of ensemble temperature scaling.

    Attributes:
      temperature: float32 scalar in `[1e-6, 1e6]`.
      weights: float32 `[3]`, of the probabilities at this temperature, of those at
        temperature 1, and of the uniform distribution; they add up to 1.
    """

    temperature: jax.Array
    weights: jax.Array


def fit_ensemble_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
) -> tuple[EnsembleTemperature, FitReport]:
    """To be built."""
    raise NotImplementedError


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def apply_ensemble_temperature(
    params: EnsembleTemperature, logits: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    tempered = classes.softmax(logits, params.temperature, class_where)
    raw = classes.softmax(logits, jnp.float32(1), class_where)
    allowed = jnp.ones(raw.shape, bool) if class_where is None else class_where
    allowed = jnp.broadcast_to(allowed, raw.shape)
    uniform = allowed / jnp.sum(allowed, axis=-1, keepdims=True)
    first, second, third = params.weights
    return first * tempered + second * raw + third * uniform
