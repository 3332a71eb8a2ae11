"""Dirichlet calibration: a matrix and a bias on the log-probabilities.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import dispatch, records
from ..confidence import classes
from .reports import FitReport


@records.record(axes={"matrix": "C C", "bias": "C"})
class Dirichlet:
    """Parameters of Dirichlet calibration: `softmax(matrix log p + bias)`.

    Attributes:
      matrix: float32 `[C, C]`; entry `[k, j]` is what class k gets from the
        log-probability of class j.
      bias: float32 `[C]`, in logits; its mean is 0.
    """

    matrix: jax.Array
    bias: jax.Array


def fit_dirichlet(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    strength: float | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Dirichlet, FitReport]:
    """To be built."""
    raise NotImplementedError


@dispatch.core(rows=["logits N ... C"], rows_of="logits")
def apply_dirichlet(params: Dirichlet, logits: jax.Array) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    mixed = jnp.dot(log_p, params.matrix.T, precision=lax.Precision.HIGHEST)
    return classes.softmax(mixed + params.bias, jnp.float32(1), None)
