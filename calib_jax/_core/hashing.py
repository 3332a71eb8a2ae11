"""Parts of the rows that go by their values, and so not by their order.

Shapes: N examples, C classes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def mixed(values: jax.Array, seed: jax.Array) -> jax.Array:
    """A hash of the leading bits of each row, uint32 `[N]`.

    Args:
      values: floating `[N, C]`.
      seed: integer `[N]`, hashed with the rows: their labels, or an earlier hash.
    """
    # Both zeros are one number, and rounding elsewhere in the last bits of the values
    # moves hardly any row to another part.
    bits = lax.bitcast_convert_type(values.astype(jnp.float32) + 0.0, jnp.uint32)
    bits = (bits + 0x800) >> 12
    factors = np.arange(values.shape[1], dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    mixed = bits * (factors * np.uint32(0x9E3779B1))[None]
    mixed = (mixed ^ (mixed >> 15)) * np.uint32(0x85EBCA77)
    total = jnp.sum(mixed, axis=1, dtype=jnp.uint32)
    total = (total + seed.astype(jnp.uint32)) * np.uint32(0xC2B2AE3D)
    return (total ^ (total >> 13)) * np.uint32(0x27D4EB2F)


def part(hashed: jax.Array, num_parts: int) -> jax.Array:
    """The part of each row, int32 `[N]` in `[0, num_parts)`, by its hash."""
    return ((hashed >> 16) % np.uint32(num_parts)).astype(jnp.int32)


def number_among_equals(hashed: jax.Array, where: jax.Array) -> jax.Array:
    """How many earlier rows have the same hash, int32 `[N]`.

    Rows that do not count, where is False, come after those that do.
    """
    row = jnp.arange(hashed.shape[0], dtype=jnp.int32)
    ignored = (~where).astype(jnp.int32)
    value, _, order = lax.sort((hashed, ignored, row), num_keys=3)
    first = value != value[jnp.maximum(row - 1, 0)]
    start = lax.cummax(jnp.where(first, row, 0))
    return jnp.zeros_like(row).at[order].set(row - start)
