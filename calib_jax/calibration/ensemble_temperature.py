"""Ensemble temperature scaling: a mixture of three distributions.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. The
temperature is differentiable as that of `fit_temperature` is; the weights are not, and
their derivatives are NaN.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import dispatch, masking, records, reduce, transforms
from .._core.domains import Weights
from ..confidence import classes
from . import reports, solvers, temperature
from .reports import FitReport, FitStatus

_MAX_STEPS = 100
# A step that moves no weight by more, or that lowers the loss by less, is the last.
_TOLERANCE, _LEAST_FALL = 1e-6, 1e-11
_EDGES = ((0, 1), (0, 2), (1, 2))


@records.record(
    axes={"weights": "3"},
    values={"temperature": records.POSITIVE, "weights": records.SHARE},
)
class EnsembleTemperature(records.Result):
    """Parameters of ensemble temperature scaling.

    Attributes:
      temperature: float32 scalar in `[1e-6, 1e6]`.
      weights: float32 `[3]`, of the probabilities at this temperature, of those at
        temperature 1, and of the uniform distribution over the possible classes of a
        row; they add up to 1.
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
    r"""Temperature of least loss, then the mixture of least loss.

    .. math:: p_{ik} = w_1 \, \mathrm{softmax}(z_i / T)_k
       + w_2 \, \mathrm{softmax}(z_i)_k + w_3 / C_i

    with :math:`C_i` the possible classes of row i: neither masked nor of logit -inf,
    whose probability stays 0.

    T is that of `fit_temperature`. The three weights, at least 0 with sum 1, then
    minimise the negative log-likelihood of the labels, which is convex in them; those
    that do not help are exactly 0. It never reorders the classes of a row, so accuracy
    stays as it is. Use it where a temperature alone leaves some rows far too confident:
    the uniform part is a floor under every probability. At T = 1 the first two parts
    are equal, and how they share their weight means nothing.

    The statuses are those of `fit_temperature`. With `ZERO_LIMIT` and `INFINITE_LIMIT`
    the weights are the best ones for the temperature at the end of its range;
    `INVALID_VALUES` and no valid row give T = 1 and weights 1, 0, 0. The loss reported
    is that of the mixture, and the steps are those of the temperature.

    Args:
      logits: floating `[N, C]`; -inf is an impossible class.
      labels: integer `[N]` in `[0, C)`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that count.

    Returns:
      `EnsembleTemperature` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a negative host weight.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Zhang, Kailkhura and Han, "Mix-n-Match: Ensemble and Compositional Methods for
      Uncertainty Calibration in Deep Learning", 2020, arXiv 2003.07329.

    Examples:
      >>> logits = [[9.0, 0.0], [4.0, 0.0], [3.0, 0.0], [0.0, 9.0], [0.0, 3.0]]
      >>> params, report = fit_ensemble_temperature(logits, [0, 1, 0, 1, 1])
      >>> print(params.temperature.round(2), params.weights.round(2))
      3.48 [1. 0. 0.]
    """
    rows = temperature.checked_rows(logits, labels, where, weights, class_where)
    params, report = _fit_ensemble_temperature(*rows)
    given = logits, labels, where, weights, class_where
    reports.warn_of_failure("fit_ensemble_temperature", report, given, classes=rows)
    return params, report


@dispatch.core(
    rows=["logits N C", "labels", "where", "weights", "class_where N C"],
    passes=dispatch.Passes.FEW_BY_MUCH,
)
def _fit_ensemble_temperature(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
) -> tuple[EnsembleTemperature, FitReport]:
    params, found = temperature.fit_rows(
        logits, labels, where, weights, class_where, solver=None
    )
    num_rows = logits.shape[0]
    valid = masking.valid_rows(num_rows, where, weights)
    rows: dict[str, Any] = {"logits": logits, "label": labels}
    shared = class_where is None or class_where.shape[0] != num_rows or num_rows == 1
    rows |= {} if shared else {"class_where": class_where}
    factors = 1 / lax.stop_gradient(params.temperature), np.float32(1)

    def of_labels(block: Any) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Probabilities of the label, in units of the largest, and the logarithm of
        that."""
        mask = block.get("class_where", class_where if shared else None)
        x = block["logits"].astype(jnp.float32)
        inside = x != -jnp.inf
        inside = inside if mask is None else inside & mask
        index = jnp.arange(x.shape[1], dtype=jnp.int32)
        target = inside & (block["label"][:, None] == index[None])
        below = jnp.where(inside, x, -jnp.inf)
        below = jnp.where(inside, x - jnp.max(below, axis=1, keepdims=True), 0.0)
        label = jnp.sum(jnp.where(target, below, 0.0), axis=1)
        logs = []
        for factor in factors:
            terms = jnp.where(inside, jnp.exp(factor * below), 0.0)
            logs.append(factor * label - jnp.log(jnp.sum(terms, axis=1)))
        logs.append(-jnp.log(jnp.sum(inside, axis=1, dtype=jnp.float32)))
        largest = functools.reduce(jnp.maximum, logs)
        return tuple(jnp.exp(log - largest) for log in logs), largest

    shares, largest = reduce.map_rows(of_labels, lax.stop_gradient(rows))
    weight = jnp.ones(num_rows, jnp.float32)
    if weights is not None:
        weight, _ = masking.scaled_weights(num_rows, lax.stop_gradient(weights), valid)
    parts = {"shares": shares, "largest": largest, "weight": weight}
    searched = (found.status != FitStatus.INVALID_VALUES) & jnp.any(valid)
    mixture, settled = _mixture(parts, valid, searched)
    loss, gradient, _ = _moments(mixture, parts, valid)
    (status,) = reports.first_case(
        (searched & found.converged & ~settled, FitStatus.MAX_STEPS),
        (True, found.status),
    )
    # At the optimum the derivative is -1 by each weight above 0, and at least that by
    # the others.
    off = jnp.where(mixture > 0, jnp.abs(gradient + 1), jnp.maximum(-1 - gradient, 0))
    report = FitReport(
        converged=found.converged & settled,
        num_steps=found.num_steps,
        loss=jnp.where(searched, loss, jnp.nan),
        gradient_norm=jnp.where(searched, jnp.max(off), jnp.nan),
        status=status,
    )
    # Without the term it would seem not to depend on the rows: a derivative of 0.
    moved = mixture + 0.0 * params.temperature
    mixture = reports.undefined(moved, jnp.array(True), mixture)
    params = EnsembleTemperature(temperature=params.temperature, weights=mixture)
    return params, lax.stop_gradient(report)


def _moments(
    mixture: jax.Array, parts: Any, valid: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Loss, gradient `[3]` and Hessian `[3, 3]` by the weights of the mixture."""

    def of_block(block: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        weight = jnp.where(live, block["weight"], 0.0)
        shares = [jnp.where(live, share, 1.0) for share in block["shares"]]
        largest = jnp.where(live, block["largest"], 0.0)
        whole = sum(w * share for w, share in zip(mixture, shares, strict=True))
        whole = jnp.maximum(whole, 1e-30)
        ratios = [share / whole for share in shares]
        first = [weight * ratio for ratio in ratios]
        second = [first[i] * ratios[j] for i in range(3) for j in range(i, 3)]
        return weight, weight * (largest + jnp.log(whole)), *first, *second

    total, loss, *sums = reduce.sum_rows(of_block, parts, valid)
    total = jnp.maximum(total, 1e-30)
    first, (xx, xy, xz, yy, yz, zz) = sums[:3], sums[3:]
    hessian = jnp.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz]).reshape(3, 3)
    return -loss / total, -jnp.stack(first) / total, hessian / total


def _mixture(
    parts: Any, valid: jax.Array, enabled: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The weights of least loss, and whether they are found.

    Every step goes to the optimum of the quadratic model inside the simplex, or half
    of the way, and so on, until the loss no longer rises there. (Expectation and
    maximisation needs a thousand passes and more where the parts are alike.)
    """

    def advance(carry: Any) -> Any:
        base, step, slope, steps, _, _ = carry
        mixture = base + step
        _, gradient, hessian = _moments(mixture, parts, valid)
        accepted = jnp.sum(gradient * step) <= 0.9 * jnp.abs(slope)
        best = _best_of_model(mixture, gradient, hessian)
        fresh = best - mixture
        fall = -jnp.sum(gradient * fresh)
        size = jnp.max(jnp.abs(fresh))
        settled = accepted & ((size <= _TOLERANCE) | (fall <= _LEAST_FALL))
        finished = settled | (steps >= _MAX_STEPS)
        base = jnp.where(finished & ~settled, base, jnp.where(accepted, mixture, base))
        step = jnp.where(accepted, fresh, 0.5 * step)
        slope = jnp.where(accepted, -fall, slope)
        return base, step, slope, steps + 1, settled, finished

    third = jnp.full(3, 1 / 3, jnp.float32)
    none = jnp.zeros(3, jnp.float32)
    carry = third, none, jnp.float32(jnp.inf), jnp.int32(0), ~enabled, ~enabled
    carry = transforms.carry(advance, carry)
    base, step, _, _, settled, _ = lax.while_loop(
        lambda carry: ~carry[-1], advance, carry
    )
    first = jnp.array([1.0, 0.0, 0.0], jnp.float32)
    mixture = jnp.where(enabled, jnp.clip(base + step, 0.0, 1.0), first)
    return mixture / jnp.sum(mixture), settled & enabled


def _best_of_model(
    mixture: jax.Array, gradient: jax.Array, hessian: jax.Array
) -> jax.Array:
    """Weights of least quadratic model: inside, on an edge or at a corner."""
    # So that equal parts keep their weights.
    hessian = hessian + 1e-6 * jnp.eye(3, dtype=jnp.float32)
    zero = jnp.zeros(3, jnp.float32)
    slopes = gradient - _dot(hessian, mixture)
    found = []
    for i, j in _EDGES:
        along = zero.at[i].set(1.0).at[j].set(-1.0)
        start = zero.at[j].set(1.0)
        bend = _dot(along, _dot(hessian, along))
        share = -_dot(along, slopes + _dot(hessian, start)) / jnp.maximum(bend, 1e-30)
        found.append(start + jnp.clip(share, 0.0, 1.0) * along)
    basis = jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]], jnp.float32)
    step = solvers.newton_step(
        _dot(basis, gradient), _dot(basis, _dot(hessian, basis.T))
    )
    inside = mixture + _dot(step, basis)
    found.append(inside)
    points = jnp.stack(found)
    moved = points - mixture[None]
    values = _dot(moved, gradient) + 0.5 * jnp.sum(moved * _dot(moved, hessian), axis=1)
    feasible = jnp.all(points >= 0, axis=1)
    return points[jnp.argmin(jnp.where(feasible, values, jnp.inf))]


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def apply_ensemble_temperature(
    params: EnsembleTemperature, logits: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """Probabilities float32 `[..., C]` of logits `[..., C]`."""
    tempered = classes.softmax(logits, params.temperature, class_where)
    raw = classes.softmax(logits, jnp.float32(1), class_where)
    allowed = logits != -jnp.inf
    allowed = allowed if class_where is None else allowed & class_where
    count = jnp.sum(allowed, axis=-1, keepdims=True, dtype=jnp.float32)
    uniform = jnp.where(allowed, 1 / count, 0.0)
    first, second, third = params.weights
    return first * tempered + second * raw + third * uniform
