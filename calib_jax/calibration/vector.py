"""Vector scaling: each class has a scale and a bias of its own.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from .._core import dispatch, records
from ..confidence import classes
from .reports import FitReport


@records.record("C")
class Vector:
    """Parameters of vector scaling: logits become `scale * logits + bias`.

    Attributes:
      scale: float32 `[C]`.
      bias: float32 `[C]`, in logits; its mean is 0.
    """

    scale: jax.Array
    bias: jax.Array


def fit_vector(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    strength: float | None = 0.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Vector, FitReport]:
    """To be built."""
    raise NotImplementedError


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def apply_vector(
    params: Vector, logits: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    scaled = params.scale * logits.astype(jnp.float32) + params.bias
    return classes.softmax(scaled, jnp.float32(1), class_where)
