"""Draws of counts without replacement, and p-values of them.

Shapes: `num_bins` bins, D draws. Rows are taken one by one from what is left, by whole
numbers, so that draws are exact, to a part in 2^32, however few or many rows there are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..stats import resampling

# Statistics within this of each other, relative, count as equal: they are rounded.
_EQUAL = 1e-5
# Rows for which random numbers are drawn together.
_ROWS, _ROWS_OF_BINS = 64, 8


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

    def take(step: jax.Array, words: jax.Array, left: jax.Array) -> jax.Array:
        row = resampling.scale(words, jnp.maximum(total - step, 1)).astype(jnp.int32)
        return left - ((left > row) & (step < few)).astype(jnp.int32)

    left = jnp.broadcast_to(upto[None], (num_draws, upto.shape[0]))
    left = _each_row(key, take, left, few, (num_draws, 1), _ROWS)
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

    def take(step: jax.Array, words: jax.Array, left: jax.Array) -> jax.Array:
        row = resampling.scale(words, jnp.maximum(pooled - step, 1)[None])
        taken = (row.astype(jnp.int32) < left) & (step < few)[None]
        return left - taken.astype(jnp.int32)

    left = jnp.broadcast_to(right[None], shape)
    left = _each_row(key, take, left, jnp.max(few), shape, _ROWS_OF_BINS)
    return jnp.where((few == num_taken)[None], right[None] - left, left)


def _each_row(
    key: jax.Array,
    take: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    left: jax.Array,
    num_rows: jax.Array,
    shape: tuple[int, int],
    block: int,
) -> jax.Array:
    """What is left after `take` of every row; some are drawn together, to be quick."""

    def several(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, left = state
        words = jax.random.bits(
            jax.random.fold_in(key, first), (block, *shape), jnp.uint32
        )
        left = lax.fori_loop(
            0, block, lambda k, left: take(first + k, words[k], left), left
        )
        return first + block, left

    start = jnp.int32(0), left
    return lax.while_loop(lambda state: state[0] < num_rows, several, start)[1]


def p_value(statistics: jax.Array) -> jax.Array:
    """Of `[1 + D]`, at least 0: that of the rows, and those of draws.

    One program has to have computed all of them: any function of counts then gives a
    p-value that is exact, a rounded one too.
    """
    reached = statistics >= np.float32(1 - _EQUAL) * statistics[0]
    return jnp.mean(reached.astype(jnp.float32))
