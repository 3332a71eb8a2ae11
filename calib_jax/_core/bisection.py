"""Bisection of an interval, with a fixed number of steps so that it can be batched."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from . import transforms

Ends = tuple[jax.Array, jax.Array]


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

    def halve(low: jax.Array, high: jax.Array) -> jax.Array:
        return 0.5 * (low + high)

    return halve(*narrow(too_low, halve, low, high, num_halvings=num_halvings))


def narrow(
    too_low: Callable[[jax.Array], jax.Array],
    middle_of: Callable[[jax.Array, jax.Array], jax.Array],
    low: jax.Array,
    high: jax.Array,
    *,
    num_halvings: int,
) -> Ends:
    """Both ends of the last interval of a bisection, of numbers of any dtype.

    Args:
      too_low: as for `bisect`.
      middle_of: where to cut an interval, from its ends.
      low: lower end of the first interval.
      high: upper end of the first interval.
      num_halvings: static number of steps.
    """

    def step(ends: Ends) -> Ends:
        low, high = ends
        middle = middle_of(low, high)
        below = too_low(middle)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = transforms.carry(step, (low, high))
    return lax.fori_loop(0, num_halvings, lambda _, ends: step(ends), ends)
