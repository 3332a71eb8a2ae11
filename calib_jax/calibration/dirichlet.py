"""Dirichlet calibration: a matrix and a bias on the log-probabilities.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import NonNegative, Weights
from ..confidence import classes
from . import reports, softmax_regression, temperature
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
    strength: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Dirichlet, FitReport]:
    """To be written."""
    rows = temperature.checked_rows(logits, labels, where, weights, None)[:4]
    checks.solver(solver)
    given = None if strength is None else checks.scalar("strength", strength)
    params, report = _fit_dirichlet(*rows, given, solver=solver)
    reports.warn_of_failure("fit_dirichlet", report, logits, labels, where, weights)
    return params, report


@dispatch.core(
    static=["solver"],
    rows=["logits N C", "labels", "where", "weights"],
    passes=dispatch.Passes.MANY,
)
def _fit_dirichlet(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    strength: NonNegative | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Dirichlet, FitReport]:
    problem = softmax_regression.prepare(
        logits, labels, where, weights, None, strength, matrix=True
    )
    matrix, bias, report = softmax_regression.fit(problem, solver, matrix=True)
    return Dirichlet(matrix=matrix, bias=bias), report


@dispatch.core(rows=["logits N ... C"], rows_of="logits")
def apply_dirichlet(params: Dirichlet, logits: jax.Array) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    mixed = jnp.dot(log_p, params.matrix.T, precision=lax.Precision.HIGHEST)
    return classes.softmax(mixed + params.bias, jnp.float32(1), None)
