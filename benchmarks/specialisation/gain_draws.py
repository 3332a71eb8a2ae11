"""Permuted differences of two models' outcomes, for the tests of the gain.

Shapes: N rows, D draws, G groups.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from calib_jax.stats import resampling


def sums_at(place: jax.Array, values: jax.Array, size: int) -> jax.Array:
    """`[size + 1]`, sums of values by place; the last entry is not used."""
    return jnp.zeros(size + 1, jnp.float32).at[place].add(values)


def draw(
    key: jax.Array,
    d: jax.Array,
    valid: jax.Array,
    group: jax.Array,
    place: jax.Array,
    gain: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    num_bins: int,
    num_groups: int,
    num_draws: int,
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, jax.Array]]:
    """Gains `[D]` with permuted bins, and agreements `[D]` with permuted signs.

    Args:
      key: a JAX random key.
      d: float32 `[N]`, differences of outcomes, 0 in invalid rows.
      valid: bool `[N]`.
      group: int32 `[N]`, G where no other row is in the group.
      place: int32 `[N]`, position of the bin.
      gain: function from differences and positions to the gain.

    Returns:
      Both, and the agreement of the actual signs with its scale.
    """
    # Rows that take part come first; the permuted values are put there.
    every = jnp.argsort(~valid).astype(jnp.int32)
    differing = jnp.argsort(d == 0).astype(jnp.int32)
    group, size = group[differing], jnp.abs(d)[differing]
    sign, live = jnp.sign(d)[differing], size > 0
    mean = jnp.sum(sign) / jnp.maximum(jnp.sum(live, dtype=jnp.float32), 1.0)
    grouped = jnp.where(group < num_groups, size, 0.0)
    weight = sums_at(group, grouped, num_groups)
    squares = jnp.sum(grouped**2)

    def agreement(sign: jax.Array) -> jax.Array:
        """Sum of products of deviations from the mean, over pairs of rows in one group.

        For outcomes of 0 or 1 every sum over rows is an integer.
        """
        apart = sums_at(group, grouped * sign, num_groups) - mean * weight
        own = (1 + mean**2) * squares - 2 * mean * jnp.sum(grouped**2 * sign)
        return jnp.sum(apart**2) - own

    d, here = d[every], valid[every]
    place = jnp.where(valid, place, num_bins)[every]
    up = jnp.float32(1.0)

    def one(draw: jax.Array) -> tuple[jax.Array, jax.Array]:
        words = jax.random.bits(
            jax.random.fold_in(key, draw), (2, d.shape[0]), jnp.uint32
        )
        bins = _shuffled(words[0], here, place, num_bins.bit_length())
        signs = _shuffled(words[1], live, (sign > 0).astype(jnp.int32), 1)
        bins = jnp.where(here, bins, num_bins)
        # Rows that do not differ have size 0, so their sign does not matter.
        return gain(d, bins), agreement(jnp.where(signs > 0, up, -up))

    gains, agreements = resampling.in_batches(
        jax.vmap(one), num_draws, resampling.most_at_once(d.shape[0])
    )
    return gains, agreements, (agreement(sign), jnp.sum(weight**2))


def _shuffled(
    words: jax.Array, live: jax.Array, codes: jax.Array, num_bits: int
) -> jax.Array:
    """Codes `[N]` of `num_bits` bits in random order, live rows first.

    Code and random bits share one word, since XLA on the CPU sorts a second array far
    more slowly.
    """
    code = codes.astype(jnp.uint32)
    keys = (words >> (num_bits + 1) << num_bits) | code
    keys = keys | jnp.where(live, jnp.uint32(0), jnp.uint32(2**31))
    return (lax.sort(keys) & jnp.uint32(2**num_bits - 1)).astype(jnp.int32)
