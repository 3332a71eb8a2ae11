"""Looking up values among ascending edges, and integers that sort as floats do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import dispatch, transforms

# Up to this many edges each value is compared with all of them; beyond, it is searched.
FEW_EDGES = 32
# Fewer values are searched for without a table.
_FEW_VALUES = 2**16
# First bits of the keys of 1/2, -1/2 and NaN.
_CELL_SHIFT = 16
_HALF, _MINUS_HALF, _LAST = (
    np.uint32(bits >> _CELL_SHIFT) for bits in (0xBF000000, 0x40FFFFFF, 0xFFFFFFFF)
)
_NUM_CELLS = int(_LAST + _HALF - _MINUS_HALF) + 1


@dispatch.core(rows=["scores N ..."], rows_of="scores")
def bin_of(edges: jax.Array, scores: jax.Array) -> jax.Array:
    """Bins int32 `[...]` of scores among edges `[num_bins - 1]`; NaN gives -1.

    So does any score where an edge is NaN, as after summaries that differed.
    """
    unknown = jnp.isnan(scores) | jnp.any(jnp.isnan(edges))
    return jnp.where(unknown, -1, count_at_or_below(edges, scores))


def find(prefixes: jax.Array, values: jax.Array) -> jax.Array:
    """Index of the first ascending prefix that equals each value; -1 if none does."""
    if prefixes.shape[0] > FEW_EDGES:
        first = count_at_or_below(prefixes, values, strictly=True)
        return jnp.where(prefixes.at[first].get(mode="clip") == values, first, -1)
    # A sum over the prefixes vectorises, unlike a gather of the prefixes found.
    repeated = jnp.pad(prefixes[1:] == prefixes[:-1], (1, 0))
    # No value has all 32 bits set.
    once = jnp.where(repeated, jnp.uint32(0xFFFFFFFF), prefixes)
    shape = -1, *[1] * values.ndim
    number = jnp.arange(1, once.shape[0] + 1, dtype=jnp.int32).reshape(shape)
    equal = once.reshape(shape) == values[None]
    return jnp.sum(jnp.where(equal, number, 0), axis=0, dtype=jnp.int32) - 1


def count_at_or_below(
    edges: jax.Array, values: jax.Array, *, strictly: bool = False
) -> jax.Array:
    """How many of the ascending edges are at or (strictly) below each value."""
    if edges.shape[0] > FEW_EDGES:
        few = transforms.at_most(values.size, _FEW_VALUES - 1)
        if not few and not strictly and edges.dtype == jnp.float32:
            return _search_from_table(edges, values)
        side = "left" if strictly else "right"
        return jnp.searchsorted(edges, values, side=side).astype(jnp.int32)
    # Comparing with every edge vectorises; a search does less work when there are many.
    compare = jnp.less if strictly else jnp.less_equal
    below = compare(edges.reshape(-1, *[1] * values.ndim), values[None])
    return jnp.sum(below, axis=0, dtype=jnp.int32)


def _search_from_table(edges: jax.Array, values: jax.Array) -> jax.Array:
    """`count_at_or_below` for many edges and even more values.

    A table finds the edges in the cell of a value. The first of them, or all equal to
    it, are passed in one step; a binary search goes on among the rest, in as many steps
    as needed by the cell with most edges.
    """
    keys, wanted = sort_key(edges), sort_key(values)
    num_edges = keys.shape[0]
    below = jnp.searchsorted(_cell(edges), jnp.arange(_NUM_CELLS + 1, dtype=jnp.int32))
    after = jnp.searchsorted(keys, keys, side="right")
    below, after = below.astype(jnp.int32), after.astype(jnp.int32)
    rest = below[1:] - after.at[below[:-1]].get(mode="clip")
    widest = jnp.maximum(jnp.max(rest), 0)

    def passes(upto: jax.Array) -> jax.Array:
        return (upto <= num_edges) & (keys.at[upto - 1].get(mode="clip") <= wanted)

    low = below[_cell(values)]
    low = jnp.where(passes(low + 1), after.at[low].get(mode="clip"), low)

    def ahead(state: Any) -> Any:
        low, step = state
        return jnp.where(passes(low + step), low + step, low), step >> 1

    # The largest power of two up to the number of edges.
    state = low, jnp.where(widest > 0, 1 << (31 - lax.clz(widest)), 0)
    state = transforms.carry(ahead, state)
    return lax.while_loop(lambda state: state[1] > 0, ahead, state)[0]


def _cell(values: jax.Array) -> jax.Array:
    """int32 that never fall as values rise, and are as fine near 1 as near 0.

    They are the first bits of a value below one half, and of its distance from 1 above.
    """
    low = sort_key(values) >> _CELL_SHIFT
    high = sort_key(values - 1) >> _CELL_SHIFT
    cell = jnp.where(values < 0.5, low, high + (_HALF - _MINUS_HALF))
    return cell.astype(jnp.int32)


def without_subnormals(scores: jax.Array) -> jax.Array:
    """The scores as they are compared: -0.0 and subnormal numbers are 0."""
    tiny = jnp.finfo(jnp.float32).tiny
    return jnp.where(jnp.abs(scores) < tiny, jnp.float32(0), scores)


def sort_key(scores: jax.Array) -> jax.Array:
    """uint32 keys in the order of the scores; -0.0 and subnormals count as 0."""
    bits = lax.bitcast_convert_type(without_subnormals(scores), jnp.uint32)
    negative = bits >> 31 == 1
    return jnp.where(negative, ~bits, bits | jnp.uint32(0x80000000))


def from_key(key: jax.Array) -> jax.Array:
    """The score of a `sort_key`."""
    positive = key >> 31 == 1
    bits = jnp.where(positive, key & jnp.uint32(0x7FFFFFFF), ~key)
    return lax.bitcast_convert_type(bits, jnp.float32)
