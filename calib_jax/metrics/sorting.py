"""Rows sorted by confidence, for measures that need no bins.

Shapes: N examples. Integers sort several times faster than floats, and those without
further arrays faster still: a bool shares an integer with its score.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..binning import search

# Above every score: 31 bits hold a confidence, which has no sign.
NO_ROW = np.uint32(0x7FFFFFFF)


def by_confidence(
    scores: jax.Array, values: jax.Array, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Rows by ascending score, tied ones in any order, and rows not valid last.

    Args:
      scores: float32 `[N]`, not negative.
      values: `[N]`, float32 or bool, which is faster.
      valid: bool `[N]`.

    Returns:
      uint32 `[N]`, a key of each score, `NO_ROW` for a row that is not valid; and the
      values in that order.
    """
    key = search.sort_key(lax.stop_gradient(scores)) & NO_ROW
    key = jnp.where(valid, key, NO_ROW)
    if values.dtype == bool:
        packed = lax.sort((key << 1) | values.astype(jnp.uint32), is_stable=False)
        return packed >> 1, (packed & 1) == 1
    key, values = lax.sort((key, values), num_keys=1, is_stable=False)
    return key, values


def score_of(key: jax.Array) -> jax.Array:
    """The score of a key of `by_confidence`; NaN for `NO_ROW`."""
    return lax.bitcast_convert_type(key, jnp.float32)


def ends_of_ties(key: jax.Array) -> jax.Array:
    """Bool `[N]`: the last of each block of tied scores."""
    last = jnp.arange(key.shape[0], dtype=jnp.int32) == key.shape[0] - 1
    return (key != jnp.roll(key, -1)) | last
