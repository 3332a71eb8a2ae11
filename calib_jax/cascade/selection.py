"""Choosing K, the number of bins kept small, on calibration data.

Functions read a `CascadeCurve` of the calibration half and return K for
`calib_jax.use_small`; what the cascade then does is judged on the other half.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks
from .curves import CascadeCurve


def num_small_bins_for_large_share(
    curve: CascadeCurve, max_large_share: ArrayLike
) -> jax.Array:
    """The smallest K whose share of large-model calls is within a budget.

    Args:
      curve: `CascadeCurve` of calibration data.
      max_large_share: floating scalar in `[0, 1]`; may be traced.

    Returns:
      int32 scalar K; -1 where no K is within the budget.

    Raises:
      ValueError: where `curve` is no `CascadeCurve` or the budget no scalar.

    Examples:
      >>> curve = CascadeCurve(
      ...     small_share=jnp.array([0.0, 0.4, 1.0]),
      ...     accuracy=jnp.array([0.9, 0.92, 0.7]),
      ...     small_accuracy=jnp.array(0.7),
      ...     large_accuracy=jnp.array(0.9),
      ... )
      >>> print(num_small_bins_for_large_share(curve, 0.7))
      1
    """
    checks.instance("curve", curve, CascadeCurve)
    budget = checks.floats("max_large_share", max_large_share, rank=0, axes="")
    # A share of exactly the budget is within it, whatever float32 makes of 1 minus it.
    share = 1.0 - curve.small_share.astype(jnp.float32)
    return _first_true(share <= budget + 1e-6)


def num_small_bins_for_accuracy(
    curve: CascadeCurve, min_accuracy: ArrayLike
) -> jax.Array:
    """The largest K that reaches an accuracy: the fewest large-model calls.

    Args:
      curve: `CascadeCurve` of calibration data.
      min_accuracy: floating scalar in `[0, 1]`; may be traced. `curve.large_accuracy`
        asks for no loss.

    Returns:
      int32 scalar K; -1 where no K reaches it.

    Raises:
      ValueError: where `curve` is no `CascadeCurve` or the accuracy no scalar.

    Examples:
      >>> curve = CascadeCurve(
      ...     small_share=jnp.array([0.0, 0.4, 1.0]),
      ...     accuracy=jnp.array([0.9, 0.92, 0.7]),
      ...     small_accuracy=jnp.array(0.7),
      ...     large_accuracy=jnp.array(0.9),
      ... )
      >>> print(num_small_bins_for_accuracy(curve, curve.large_accuracy))
      1
    """
    checks.instance("curve", curve, CascadeCurve)
    least = checks.floats("min_accuracy", min_accuracy, rank=0, axes="")
    return _last_true(curve.accuracy.astype(jnp.float32) >= least)


def best_num_small_bins(curve: CascadeCurve) -> jax.Array:
    """The K of highest accuracy, the largest of equals: for two large models.

    Args:
      curve: `CascadeCurve` of calibration data.

    Returns:
      int32 scalar K; -1 where the curve is NaN.

    Raises:
      ValueError: where `curve` is no `CascadeCurve`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Table 2.

    Examples:
      >>> curve = CascadeCurve(
      ...     small_share=jnp.array([0.0, 0.4, 1.0]),
      ...     accuracy=jnp.array([0.9, 0.92, 0.88]),
      ...     small_accuracy=jnp.array(0.88),
      ...     large_accuracy=jnp.array(0.9),
      ... )
      >>> print(best_num_small_bins(curve))
      1
    """
    checks.instance("curve", curve, CascadeCurve)
    return _last_true(curve.accuracy == jnp.max(curve.accuracy))


@jax.jit
def _first_true(values: jax.Array) -> jax.Array:
    first = jnp.argmax(values).astype(jnp.int32)
    return jnp.where(jnp.any(values), first, -1)


@jax.jit
def _last_true(values: jax.Array) -> jax.Array:
    from_end = _first_true(values[::-1])
    return jnp.where(from_end < 0, -1, values.shape[0] - 1 - from_end)
