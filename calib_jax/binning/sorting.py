"""Rows in the order of integer keys of their scores.

Shapes: N examples. Integers sort several times faster than floats, and those without
further arrays faster still: a bool shares an integer with 31 bits of its key. Keys that
differ in the first bit, such as those of scores below 0 and others, are sorted apart;
most often all rows have the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# The key of a row that is not valid, which no score but NaN has.
NO_ROW = np.uint32(0xFFFFFFFF)
_FIRST_BIT = np.uint32(0x80000000)


class Packed(NamedTuple):
    """Rows by ascending key, those of a tie with False first; rows not valid last.

    Attributes:
      rows: uint32 `[N]`, 31 bits of the key and the bool; all bits in rows not valid.
      num_low: int32 scalar, the number of rows whose key starts with a bit of 0.
    """

    rows: jax.Array
    num_low: jax.Array

    def key_of(self, rows: jax.Array, position: jax.Array) -> jax.Array:
        """The keys, uint32, of rows in positions."""
        return (rows >> 1) | jnp.where(position < self.num_low, 0, _FIRST_BIT)

    def keys(self) -> jax.Array:
        """uint32 `[N]`, `NO_ROW` for a row that is not valid."""
        return self.key_of(self.rows, jnp.arange(self.rows.shape[0], dtype=jnp.int32))


def pack(
    key: jax.Array, flag: jax.Array, valid: jax.Array, *, all_high: bool = False
) -> Packed:
    """Sorts rows of key uint32 `[N]` and bool `[N]`, N at least 1.

    `all_high` says that every key starts with a bit of 1, for a smaller program.
    """
    packed = jnp.where(valid, (key << 1) | flag.astype(jnp.uint32), NO_ROW)
    if all_high:
        return Packed(lax.sort(packed, is_stable=False), jnp.int32(0))
    is_low = valid & (key < _FIRST_BIT)
    num_low = jnp.sum(is_low, dtype=jnp.int32)
    both = (num_low > 0) & (num_low < jnp.sum(valid, dtype=jnp.int32))
    # Low rows that are sorted apart leave their places at the start.
    rows = jnp.where(is_low & both, 0, packed)
    rows = lax.sort(rows, is_stable=False)
    low = lax.cond(
        both,
        lambda: lax.sort(jnp.where(is_low, packed, NO_ROW), is_stable=False),
        lambda: rows,
    )
    position = jnp.arange(key.shape[0], dtype=jnp.int32)
    return Packed(jnp.where(position < num_low, low, rows), num_low)


def by_key(
    key: jax.Array, values: jax.Array, valid: jax.Array, *, all_high: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Rows by ascending key, tied ones in any order, and rows not valid last.

    Args:
      key: uint32 `[N]`, such as `search.sort_key` of scores.
      values: `[N]`, float32 or bool, which is faster.
      valid: bool `[N]`.
      all_high: as for `pack`; true of scores that are never negative.

    Returns:
      uint32 `[N]`, the keys, `NO_ROW` for a row that is not valid; and the values in
      that order.
    """
    if values.dtype == bool:
        packed = pack(key, values, valid, all_high=all_high)
        return packed.keys(), (packed.rows & 1) == 1
    key = jnp.where(valid, key, NO_ROW)
    key, values = lax.sort((key, values), num_keys=1, is_stable=False)
    return key, values


def ends_of_ties(key: jax.Array) -> jax.Array:
    """Bool `[N]`: the last of each block of tied rows."""
    last = jnp.arange(key.shape[0], dtype=jnp.int32) == key.shape[0] - 1
    return (key != jnp.roll(key, -1)) | last
