r"""Dirichlet calibration: a matrix and a bias on the log-probabilities.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. With a
given strength, the fitted parameters are differentiable with respect to logits and
weights (implicit function theorem); their derivatives are NaN if the status is
INVALID_VALUES or MAX_STEPS. With a strength chosen by cross-validation, a reverse-mode
derivative raises an error.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import NonNegative, Weights
from ..confidence import classes
from . import reports, strengths, temperature
from .reports import FitReport


@records.record(
    axes={"matrix": "C C", "bias": "C", "strength": ""},
    values={"strength": records.NON_NEGATIVE},
)
class Dirichlet(records.Result):
    """Parameters of Dirichlet calibration: `softmax(matrix log p + bias)`.

    Attributes:
      matrix: float32 `[C, C]`; entry `[k, j]` is what class k gets from the
        log-probability of class j.
      bias: float32 `[C]`, in logits; its mean over the classes that were labels is 0.
      strength: float32 scalar, of the penalty that was used.
    """

    matrix: jax.Array
    bias: jax.Array
    strength: jax.Array


def fit_dirichlet(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    strength: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Dirichlet, FitReport]:
    r"""Matrix and bias on the log-probabilities, by penalised maximum likelihood.

    .. math:: \min_{A, b} \; -\frac{1}{W} \sum_i w_i \log
       \mathrm{softmax}(A \log p_i + b)_{y_i}
       + \lambda \left[ \frac{1}{C (C - 1)} \sum_{k \ne j} A_{kj}^2
       + \frac{1}{C} \sum_k \left( (A_{kk} - \bar a)^2 + b_k^2 \right) \right]

    with :math:`p_i` the softmax of row i of the logits and :math:`\bar a` the mean of
    the diagonal. The penalty is that of the paper (ODIR), with one strength
    :math:`\lambda` for all of its parts, and also of how far the diagonal is from its
    mean, as in structured matrix scaling. So a strong one is temperature scaling, and a
    weak one lets each class borrow from every other: C (C + 1) numbers, which need many
    rows for each class. Sensible strengths are C / 100 to 100 C, and the time grows as
    the square of C. For a better confidence of the top class alone, take
    `fit_temperature`.

    Without a strength, one of C times 1000, 100, 10, ... 0.001 is taken by
    cross-validation with three folds: from the first on, as long as each next one
    lowers the loss of the rows left out. Weaker penalties are not tried after that,
    because their fits take longest. What fold a row is in depends on its logits and
    label alone: neither on its place nor on the other rows, and copies of a row are in
    one fold. That takes 7 to 22 fits in place of one.

    `SEPARABLE` says that there is no optimum. With a strength that is so where every
    label has a largest logit, or every label a smallest one; without (strength 0),
    where the loss falls without end along some direction, as for a class that is
    nobody's label: it gets the bias -1e6 and a row of zeros in the matrix. Otherwise
    the parameters are those where the loss hardly falls any more. If all labels are the
    same class, and there is no strength or no other class (`ONE_CLASS`), without a
    valid row (`CONSTANT`) and with `INVALID_VALUES`, such as logits whose squares
    overflow, the matrix is the identity.

    The loss, with its penalty, is within 1e-6 of that of the best parameters (relative,
    or 2e-7 in all). More than 100 parameters are found less closely than few: the
    probabilities are then right to about 1e-4.

    Args:
      logits: floating `[N, C]`, finite: a class of probability 0 has no logarithm. Log
        probabilities are valid logits.
      labels: integer `[N]` in `[0, C)`.
      strength: optional non-negative scalar, :math:`\lambda`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      solver: optax gradient transformation over a vector `[C * C + C + 1]`, in
        coordinates in which the Hessian at the start is near the identity; None is
        Newton's method with conjugate gradients. Build it once, because each new one is
        compiled again.

    Returns:
      `Dirichlet`, with the strength taken, and `FitReport` of the fit of all rows. Its
      loss is without the penalty; its gradient is with it, in the coordinates of the
      solver, and its steps include those that were halved.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a negative host weight or
        strength.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Kull et al., "Beyond temperature scaling: Obtaining well-calibrated multiclass
      probabilities with Dirichlet calibration", 2019, arXiv 1910.12656.
      Berta, Holzmüller, Jordan and Bach, "Structured Matrix Scaling for Multi-Class
      Calibration", 2025, arXiv 2511.03685.

    Examples:
      >>> logits = [[2.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 3.0]]
      >>> params, report = fit_dirichlet(logits, [0, 1, 0, 0, 1], strength=0.1)
      >>> print([f"{x:.2f}" for x in params.matrix.diagonal()])
      ['0.58', '0.55']
    """
    given = temperature.checked_rows(logits, labels, where, weights, None)[:4]
    checks.solver(solver)
    scalar = None if strength is None else checks.scalar("strength", strength)
    params, report = _fit_dirichlet(*given, scalar, solver=solver)
    rows = logits, labels, strength, where, weights
    reports.warn_of_failure("fit_dirichlet", report, rows, classes=given)
    return params, report


@dispatch.core(
    static=["solver"],
    rows=["logits N C", "labels", "where", "weights"],
    passes=dispatch.Passes.FEW_BY_MUCH,
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
    matrix, bias, strength, report = strengths.fit(
        logits, labels, where, weights, None, strength, solver, matrix=True
    )
    return Dirichlet(matrix=matrix, bias=bias, strength=strength), report


@dispatch.core(rows=["logits N ... C"], rows_of="logits")
def apply_dirichlet(params: Dirichlet, logits: jax.Array) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    mixed = jnp.dot(log_p, params.matrix.T, precision=lax.Precision.HIGHEST)
    bias = params.bias.reshape((1,) * (logits.ndim - 1) + params.bias.shape)
    return classes.softmax(mixed + bias, jnp.float32(1), None)
