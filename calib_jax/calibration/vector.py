"""Vector scaling: each class has a scale and a bias of its own.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import NonNegative, Weights
from ..confidence import classes
from . import reports, softmax_regression, temperature
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
    strength: ArrayLike = 0.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Vector, FitReport]:
    """To be written."""
    rows = temperature.checked_rows(logits, labels, where, weights, class_where)
    checks.solver(solver)
    params, report = _fit_vector(
        *rows, checks.scalar("strength", strength), solver=solver
    )
    given = logits, labels, where, weights, class_where
    reports.warn_of_failure("fit_vector", report, given)
    return params, report


@dispatch.core(
    static=["solver"],
    rows=["logits N C", "labels", "where", "weights", "class_where N C"],
    passes=dispatch.Passes.MANY,
)
def _fit_vector(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
    strength: NonNegative,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Vector, FitReport]:
    problem = softmax_regression.prepare(
        logits, labels, where, weights, class_where, strength, matrix=False
    )
    scale, bias, report = softmax_regression.fit(problem, solver, matrix=False)
    return Vector(scale=scale, bias=bias), report


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def apply_vector(
    params: Vector, logits: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    scaled = params.scale * logits.astype(jnp.float32) + params.bias
    return classes.softmax(scaled, jnp.float32(1), class_where)
