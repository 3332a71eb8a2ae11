r"""Abstaining in a chain of models: no answer as one more model, the last.

Shapes: M models, N examples. Its confidence is what it is worth not to answer, between
a wrong answer, 0, and a right one, 1, and its price is that of whoever answers instead,
or nothing.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks
from .chain_curves import ChainCurve


def with_abstaining(
    confidences: ArrayLike,
    outcomes: ArrayLike,
    costs: ArrayLike,
    worth: ArrayLike,
    cost: ArrayLike = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Abstaining as one more model, the last, for `fit_chain` and `chain_curve`.

    A right answer is worth 1, a wrong one 0, and none `worth`. The advantage of
    abstaining in a bin of the last model is then

    .. math:: a_b = \lambda - \bar c_b

    so that its bins are passed on in ascending order of confidence, whatever the worth,
    and passing on those with :math:`a_b > 0` is Chow's rule. `accuracy` of the chain's
    curve is the mean worth, which `best_within_cost` makes as large as the budget
    allows; `selective_accuracy` is that of the answers that are given.

    Args:
      confidences: floating `[M, N]`.
      outcomes: bool, integer or floating `[M, N]` in `[0, 1]`.
      costs: floating `[M, N]`.
      worth: floating scalar in `[0, 1]`, of no answer; may be traced.
      cost: floating scalar, price of whoever answers instead, 0 for nobody; may be
        traced.

    Returns:
      Confidences, outcomes and costs, float32 `[M + 1, N]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Chow, "On Optimum Recognition Error and Reject Tradeoff", 1970.

    Examples:
      >>> import calib_jax
      >>> rows = with_abstaining([[0.9, 0.4]], [[1, 0]], [[2.0, 2.0]], 0.6)
      >>> chain = calib_jax.cascade.fit_chain(rows[0], num_bins=2)
      >>> curve = calib_jax.cascade.chain_curve(chain, *rows)
      >>> kept = calib_jax.cascade.best_within_cost(curve, 2.0).num_kept_bins
      >>> print(kept, calib_jax.cascade.chain_answers(chain, rows[0], kept))
      [1] [0 1]
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    outcome = checks.outcomes("outcomes", outcomes, rank=2, axes="[M, N]")
    price = checks.floats("costs", costs, rank=2, axes="[M, N]")
    checks.same_shape(confidences=confidence, outcomes=outcome, costs=price)
    value = checks.floats("worth", worth, rank=0, axes="")
    further = checks.floats("cost", cost, rank=0, axes="")
    return _with_abstaining(confidence, outcome, price, value, further)


def selective_accuracy(curve: ChainCurve) -> tuple[jax.Array, jax.Array]:
    """Coverage, and accuracy among the answers given, where the last model abstains.

    Args:
      curve: `ChainCurve` of a chain whose last model is that of `with_abstaining`.

    Returns:
      Coverage, the share of inputs that are answered, and their mean outcome, float32
      `[combinations]`; the latter NaN where nothing is answered.

    Raises:
      ValueError: where `curve` is no `ChainCurve`.

    References:
      El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification",
      2010 (risk and coverage).

    Examples:
      >>> import calib_jax
      >>> rows = with_abstaining([[0.9, 0.4]], [[1, 0]], [[2.0, 2.0]], 0.6)
      >>> chain = calib_jax.cascade.fit_chain(rows[0], num_bins=2)
      >>> curve = calib_jax.cascade.chain_curve(chain, *rows)
      >>> coverage, accuracy = selective_accuracy(curve)
      >>> print(coverage, accuracy)
      [0.  0.5 1. ] [nan 1.  0.5]
    """
    checks.instance("curve", curve, ChainCurve)
    return _selective_accuracy(curve)


@jax.jit
def _with_abstaining(
    confidence: jax.Array,
    outcome: jax.Array,
    costs: jax.Array,
    worth: jax.Array,
    cost: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def add(rows: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.concatenate([rows, jnp.full_like(rows[:1], value)])

    return add(confidence, worth), add(outcome, worth), add(costs, cost)


@jax.jit
def _selective_accuracy(curve: ChainCurve) -> tuple[jax.Array, jax.Array]:
    coverage = jnp.sum(curve.share[:-1], axis=0)
    some = jnp.where(coverage > 0, coverage, jnp.nan)
    return coverage, jnp.sum(curve.right_share[:-1], axis=0) / some
