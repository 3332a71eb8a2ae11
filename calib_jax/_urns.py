"""Draws of counts without replacement, and p-values of them.

Shapes: `num_bins` bins, D draws. Rows are taken one by one from what is left, by whole
numbers, so that the draws are exact however few or many rows there are.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# Statistics of draws within this of that of the rows count as equal: both are rounded.
_EQUAL = 1e-5


def draw_rows(
    key: jax.Array, pooled: jax.Array, num_taken: jax.Array, num_draws: int
) -> jax.Array:
    """Multivariate hypergeometric draws of counts.

    Args:
      key: a JAX random key.
      pooled: int32 `[num_bins]`, rows.
      num_taken: int32 scalar, how many of them are taken without replacement.
      num_draws: static number of draws D.

    Returns:
      int32 `[D, num_bins]`, counts of the rows taken.
    """
    total = jnp.sum(pooled, dtype=jnp.int32)
    # Rows left are as random as rows taken: the fewer are drawn, one by one.
    few = jnp.minimum(num_taken, total - num_taken)
    upto = jnp.cumsum(pooled, dtype=jnp.int32)

    def take(state: Any) -> Any:
        step, left = state
        word = jax.random.fold_in(key, step)
        row = jax.random.randint(word, (num_draws, 1), 0, total - step, jnp.int32)
        return step + 1, left - (left > row).astype(jnp.int32)

    left = jnp.broadcast_to(upto[None], (num_draws, upto.shape[0]))
    _, left = lax.while_loop(lambda state: state[0] < few, take, (jnp.int32(0), left))
    taken = jnp.diff(upto[None] - left, axis=1, prepend=0)
    return jnp.where(few == num_taken, taken, pooled[None] - taken)


def draw_right(
    key: jax.Array,
    right: jax.Array,
    pooled: jax.Array,
    num_taken: jax.Array,
    num_draws: int,
) -> jax.Array:
    """Hypergeometric draws in each bin: int32 `[D, num_bins]`, right ones among those
    taken; all arguments int32 `[num_bins]`."""
    few = jnp.minimum(num_taken, pooled - num_taken)
    shape = (num_draws, pooled.shape[0])

    def take(state: Any) -> Any:
        step, left = state
        word, bound = jax.random.fold_in(key, step), jnp.maximum(pooled - step, 1)
        row = jax.random.randint(word, shape, 0, bound[None], jnp.int32)
        return step + 1, left - ((row < left) & (step < few)[None]).astype(jnp.int32)

    left = jnp.broadcast_to(right[None], shape)
    most = jnp.max(few)
    _, left = lax.while_loop(lambda state: state[0] < most, take, (jnp.int32(0), left))
    return jnp.where((few == num_taken)[None], right[None] - left, left)


def p_value(drawn: jax.Array, found: jax.Array) -> jax.Array:
    reached = drawn >= found - _EQUAL * jnp.maximum(jnp.abs(found), 1.0)
    reached = jnp.sum(reached, dtype=jnp.int32).astype(jnp.float32)
    return (1 + reached) / (1 + drawn.shape[0])
