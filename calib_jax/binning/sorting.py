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

from .._core import transforms

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


def pack(key: jax.Array, flag: jax.Array, valid: jax.Array) -> Packed:
    """Sorts rows of key uint32 `[N]` and bool `[N]`, N at least 1."""
    packed = jnp.where(valid, (key << 1) | flag.astype(jnp.uint32), NO_ROW)
    is_low = valid & (key < _FIRST_BIT)
    num_low = jnp.sum(is_low, dtype=jnp.int32)
    has_high = jnp.any(valid & (key >= _FIRST_BIT))
    position = jnp.arange(key.shape[0], dtype=jnp.int32)

    def sort(part: jax.Array, found: jax.Array) -> jax.Array:
        # Rows that are sorted apart come last in the first part, and first in the next.
        here = jnp.where(part == 0, is_low, ~is_low)
        apart = jnp.where(part == 0, NO_ROW, np.uint32(0))
        rows = lax.sort(jnp.where(here, packed, apart), is_stable=False)
        return jnp.where((part == 1) & (position < num_low), found, rows)

    first = jnp.where(num_low > 0, 0, 1)
    last = jnp.where(has_high, 2, 1)
    rows = jnp.full(key.shape, NO_ROW)
    rows = transforms.carry(lambda rows: sort(jnp.int32(0), rows), rows)
    return Packed(lax.fori_loop(first, last, sort, rows), num_low)


def by_key(
    key: jax.Array, values: jax.Array, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Rows by ascending key, tied ones in any order, and rows not valid last.

    Args:
      key: uint32 `[N]`, such as `search.sort_key` of scores.
      values: `[N]`, float32 or bool, which is faster.
      valid: bool `[N]`.

    Returns:
      uint32 `[N]`, the keys, `NO_ROW` for a row that is not valid; and the values in
      that order.
    """
    if values.dtype == bool:
        packed = pack(key, values, valid)
        return packed.keys(), (packed.rows & 1) == 1
    key = jnp.where(valid, key, NO_ROW)
    key, values = lax.sort((key, values), num_keys=1, is_stable=False)
    return key, values


def ends_of_ties(key: jax.Array) -> jax.Array:
    """Bool `[N]`: the last of each block of tied rows."""
    last = jnp.arange(key.shape[0], dtype=jnp.int32) == key.shape[0] - 1
    return (key != jnp.roll(key, -1)) | last
