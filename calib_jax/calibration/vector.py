"""Vector scaling: each class has a scale and a bias of its own.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. The fitted
parameters are differentiable with respect to logits and weights (implicit function
theorem); their derivatives are NaN if the status is INVALID_VALUES or MAX_STEPS. With a
strength chosen by cross-validation, a reverse-mode derivative raises an error.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import NonNegative, Weights
from ..confidence import classes
from . import reports, strengths, temperature
from .reports import FitReport


@records.record("C")
class Vector(records.Result):
    """Parameters of vector scaling: logits become `scale * logits + bias`.

    Attributes:
      scale: float32 `[C]`.
      bias: float32 `[C]`, in logits; its mean over the classes that were labels is 0.
    """

    scale: jax.Array
    bias: jax.Array


def fit_vector(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    strength: ArrayLike | None = 0.0,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Vector, FitReport]:
    r"""A scale and a bias for each class, by maximum likelihood.

    .. math:: \min_{s, b} \; -\frac{1}{W} \sum_i w_i \log
       \mathrm{softmax}(s \circ z_i + b)_{y_i}
       + \frac{\lambda}{C} \sum_k \left[ (s_k - \bar s)^2 + b_k^2 \right]

    with a bias of mean 0, because a number added to all classes changes nothing. A
    strength :math:`\lambda` pulls the scales towards their mean and the biases towards
    0, which is temperature scaling. Use it where a model favours some classes; with few
    rows for a class it fits noise, so give a strength, or None: then one of 100, 10, 1,
    0.1, 0.01, 0.001 and 0.0001 is taken by cross-validation, as by `fit_dirichlet`.

    `SEPARABLE` says that there is no optimum. With a strength that is so where every
    label has a largest logit, or every label a smallest one; without (strength 0),
    where the loss falls without end along some direction, as for a class that is
    nobody's label: it gets the bias -1e6, a probability of 0, and the mean of the other
    scales. Otherwise the parameters are those where the loss hardly falls any more. If
    all labels are the same class, and there is no strength or no other class
    (`ONE_CLASS`), without a valid row (`CONSTANT`) and with `INVALID_VALUES`, such as
    logits whose squares overflow, the scales are 1. All parameters are kept in
    `[-1e6, 1e6]`.

    The loss is within 1e-6 of that of the best parameters (relative, or 2e-7 in
    all), and where the rows determine these well the probabilities are right to 1e-5,
    or to 1e-4 with more than 50 classes.

    Args:
      logits: floating `[N, C]`; -inf is an impossible class.
      labels: integer `[N]` in `[0, C)`.
      strength: non-negative scalar, :math:`\lambda`; None chooses one.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that count. A class that
        never does has the mean of the scales and bias 0.
      solver: optax gradient transformation over a vector `[2 C + 1]`, in coordinates
        in which the Hessian at the start is near the identity; None is Newton's method
        with conjugate gradients. Build it once, because each new one is compiled again.

    Returns:
      `Vector` and `FitReport`. Its loss is without the penalty; its gradient is with
      it, in the coordinates of the solver, and its steps include those that were
      halved.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a negative host weight or
        strength.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599,
      section 4.2.

    Examples:
      >>> logits = [[2.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 3.0]]
      >>> params, report = fit_vector(logits, [0, 1, 0, 0, 1])
      >>> print(params.scale.round(2), params.bias.round(2))
      [0.94 0.28] [-0.08  0.08]
    """
    rows = temperature.checked_rows(logits, labels, where, weights, class_where)
    checks.solver(solver)
    scalar = None if strength is None else checks.scalar("strength", strength)
    params, report = _fit_vector(*rows, scalar, solver=solver)
    given = logits, labels, strength, where, weights, class_where
    reports.warn_of_failure("fit_vector", report, given, classes=rows)
    return params, report


@dispatch.core(
    static=["solver"],
    rows=["logits N C", "labels", "where", "weights", "class_where N C"],
    passes=dispatch.Passes.FEW_BY_MUCH,
)
def _fit_vector(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
    strength: NonNegative | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Vector, FitReport]:
    scale, bias, _, report = strengths.fit(
        logits, labels, where, weights, class_where, strength, solver, matrix=False
    )
    return Vector(scale=scale, bias=bias), report


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def apply_vector(
    params: Vector, logits: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    shape = (1,) * (logits.ndim - 1) + params.scale.shape
    scale, bias = params.scale.reshape(shape), params.bias.reshape(shape)
    logits = logits.astype(jnp.float32)
    # An impossible class stays one, whatever its scale, and a masked one may hold NaN.
    out = logits == -jnp.inf
    out = out if class_where is None else out | ~class_where
    # An infinite logit is invalid, whatever its scale.
    inside = jnp.where(out, 0.0, jnp.where(logits == jnp.inf, jnp.nan, logits))
    scaled = jnp.where(out, -jnp.inf, scale * inside + bias)
    return classes.softmax(scaled, jnp.float32(1), class_where)
