r"""Dirichlet calibration: a matrix and a bias on the log-probabilities.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. With a
given strength, the fitted parameters are differentiable with respect to logits and
weights (implicit function theorem); their derivatives are NaN if the status is
INVALID_VALUES or MAX_STEPS. With a strength chosen by cross-validation, a reverse-mode
derivative raises an error.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce, transforms
from .._core.domains import NonNegative, Weights
from ..confidence import classes
from . import reports, softmax_fits, temperature
from .reports import FitReport

# Strengths to choose from, by the number of classes: from nearly a diagonal matrix to
# hardly any penalty.
_GRID = np.array([100, 10, 1, 0.1, 0.01], np.float32)
_NUM_FOLDS = 3


@records.record(
    axes={"matrix": "C C", "bias": "C", "strength": ""},
    values={"strength": records.NON_NEGATIVE},
)
class Dirichlet:
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
       + \frac{1}{C} \sum_k b_k^2 \right]

    with :math:`p_i` the softmax of row i of the logits. The penalty is that of the
    paper (ODIR), with one strength :math:`\lambda` for both of its parts. It leaves the
    diagonal free, so a strong one leaves a scale for each class, and a weak one lets
    each class borrow from every other: C (C + 1) numbers, which need many rows for each
    class. With few rows, or for a better confidence of the top class alone, take
    `fit_temperature` or `fit_vector`.

    Without a strength, one of C times 100, 10, 1, 0.1 and 0.01 is taken by
    cross-validation with three folds: from the first on, as long as each next one
    lowers the loss of the rows left out. Weaker penalties are not tried after that,
    because their fits take longest. What fold a row is in depends on its logits and
    label alone: neither on its place nor on the other rows, and copies of a row are in
    one fold. That takes 7 to 16 fits in place of one.

    `SEPARABLE` says that the loss falls without end along some direction. So it does
    for a class that is nobody's label: it gets the bias -1e6, a row of zeros in the
    matrix, and no part in the penalty. Otherwise the parameters are those where the
    loss hardly falls any more. If all labels are the same class (`ONE_CLASS`), without
    a valid row (`CONSTANT`) and with `INVALID_VALUES` the matrix is the identity.

    The loss, with its penalty, is within 1e-6 (relative) of that of the best
    parameters. More than 100 parameters are found less closely than few: the
    probabilities are then right to about 1e-4.

    Args:
      logits: floating `[N, C]`, finite: a class of probability 0 has no logarithm. Log
        probabilities are valid logits.
      labels: integer `[N]` in `[0, C)`.
      strength: optional non-negative scalar, :math:`\lambda`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      solver: optax gradient transformation over a vector `[C * C + C]`, in coordinates
        in which the Hessian at the start is near the identity; None is Newton's method
        with conjugate gradients. Build it once, because each new one is compiled again.

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

    Examples:
      >>> logits = [[2.0, 0.0], [1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 3.0]]
      >>> params, report = fit_dirichlet(logits, [0, 1, 0, 0, 1], strength=0.1)
      >>> print([f"{x:.2f}" for x in params.matrix.diagonal()])
      ['0.60', '0.52']
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
    def prepared(where: jax.Array | None, strength: jax.Array) -> softmax_fits.Problem:
        return softmax_fits.prepare(
            logits, labels, where, weights, None, strength, matrix=True
        )

    def fit(
        problem: softmax_fits.Problem, roughly: jax.Array | bool = False
    ) -> tuple[Dirichlet, FitReport]:
        matrix, bias, report = softmax_fits.fit(
            problem, solver, matrix=True, roughly=roughly
        )
        strength = problem.data["strength"]
        return Dirichlet(matrix=matrix, bias=bias, strength=strength), report

    if strength is not None:
        return fit(prepared(where, strength))
    num_rows, size = logits.shape
    rows = {"logits": logits, "label": labels}
    fold = reduce.map_rows(lambda block: _fold(**block), lax.stop_gradient(rows))
    valid = masking.valid_rows(num_rows, where, weights)
    num_fits = len(_GRID) * _NUM_FOLDS

    def next_fit(carry: Any) -> Any:
        # The last fit is that of all rows, so that one program does them all.
        number, total, least, chosen, found, _, _ = carry
        last, place, part = (
            number == num_fits,
            number // _NUM_FOLDS,
            number % _NUM_FOLDS,
        )
        held_out = ~last & (fold == part)
        strength = size * jnp.asarray(_GRID)[lax.select(last, chosen, place)]
        problem = prepared(valid & ~held_out, strength)
        # A fold starts where it ended with the strength before.
        matrix, bias = (leaf[part] for leaf in found)
        problem = softmax_fits.started(problem, matrix, bias, ~last & (place > 0))
        params, report = fit(problem, ~last)
        found = jax.tree.map(
            lambda leaves, leaf: leaves.at[part].set(leaf),
            found,
            (params.matrix, params.bias),
        )
        total = total + softmax_fits.total_loss(
            problem, params.matrix, params.bias, valid & held_out
        )
        whole = part == _NUM_FOLDS - 1
        better = whole & (total < least)
        least = lax.select(better, total, least)
        chosen = lax.select(better, place, chosen)
        total = jnp.where(whole, 0.0, total)
        following = jnp.where(whole & ~better, num_fits, number + 1)
        number = lax.select(last, number + 1, following)
        return number, total, least, chosen, found, params, report

    shapes = jax.eval_shape(lambda: fit(prepared(where, jnp.float32(1))))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    found = (
        jnp.zeros((_NUM_FOLDS, size, size), jnp.float32),
        jnp.zeros((_NUM_FOLDS, size), jnp.float32),
    )
    zero = jnp.int32(0)
    carry = zero, jnp.float32(0), jnp.float32(jnp.inf), zero, found, *nothing
    carry = transforms.carry(next_fit, carry)
    *_, params, report = lax.while_loop(
        lambda carry: carry[0] <= num_fits, next_fit, carry
    )
    return params, report


def _fold(logits: jax.Array, label: jax.Array) -> jax.Array:
    """The fold of each row, int32 `[N]`, by a hash of its bits."""
    # Both zeros are one number.
    bits = lax.bitcast_convert_type(logits.astype(jnp.float32) + 0.0, jnp.uint32)
    factors = np.arange(logits.shape[1], dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    mixed = bits * (factors * np.uint32(0x9E3779B1))[None]
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA77)
    total = jnp.sum(mixed, axis=1, dtype=jnp.uint32)
    total = (total + label.astype(jnp.uint32)) * np.uint32(0xC2B2AE3D)
    total = (total ^ (total >> 13)) * np.uint32(0x27D4EB2F)
    return ((total >> 16) % np.uint32(_NUM_FOLDS)).astype(jnp.int32)


@dispatch.core(rows=["logits N ... C"], rows_of="logits")
def apply_dirichlet(params: Dirichlet, logits: jax.Array) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    mixed = jnp.dot(log_p, params.matrix.T, precision=lax.Precision.HIGHEST)
    bias = params.bias.reshape((1,) * (logits.ndim - 1) + params.bias.shape)
    return classes.softmax(mixed + bias, jnp.float32(1), None)
