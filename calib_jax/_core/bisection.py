"""Bisection of an interval, with a fixed number of steps so that it can be batched."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


def bisect(
    too_low: Callable[[jax.Array], jax.Array],
    low: jax.Array,
    high: jax.Array,
    *,
    num_halvings: int,
) -> jax.Array:
    """Where a condition stops holding, as the middle of the last interval.

    Args:
      too_low: from float32 `[...]` to bool `[...]`, True below the result.
      low: float32 `[...]`, lower end of the first interval.
      high: float32 `[...]`, upper end of the first interval.
      num_halvings: static number of steps, each of which halves the interval.

    Returns:
      float32 `[...]`.
    """

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        below = too_low(middle)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = lax.fori_loop(0, num_halvings, halve, (low, high))
    return 0.5 * (low + high)
