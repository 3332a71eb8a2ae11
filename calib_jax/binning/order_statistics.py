"""Scores of given ranks, by sorting or by counting the bits of their keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import reduce
from . import search


@jax.custom_batching.custom_vmap
def order_statistics(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    """The scores of given ranks, 0 being the smallest: the one selection function.

    Two ways that give the same floats. A sort, where one accelerator holds all rows, or
    a single device few, or many ranks are asked for. Else the bits of the scores,
    mapped to integers of the same order, are counted in rounds of some bits, each
    round only among the scores that share the bits found so far; counts add up across
    blocks and devices, so that rows stay where they are. Many sets of ranks of the same
    scores, by `jax.vmap`, are one selection.

    Args:
      rows: scores float32 `[N]`, where NaN is left out, and optional bool `[N]`.
      extent: what `extent` says of the rows.
      ranks: int32 `[K]`, ascending, K at least 1.

    Returns:
      float32 `[K]`; +inf for ranks at or beyond the number of valid scores.
    """
    few = ranks.shape[0] <= search.FEW_EDGES
    return reduce.sort_or_count(
        _select_by_sorting, _select_by_counting, few, rows, extent, ranks
    )


@order_statistics.def_vmap
def _many_order_statistics(
    size: int, batched: Any, rows: Any, extent: Any, ranks: jax.Array
) -> tuple[jax.Array, bool]:
    if any(jax.tree.leaves(batched[:2])):
        axes = jax.tree.map(lambda varies: 0 if varies else None, batched)
        select = jax.vmap(order_statistics.fun, axes, axis_size=size)
        return select(rows, extent, ranks), True
    every = jnp.sort(ranks.reshape(-1))
    found = order_statistics(rows, extent, every)
    return found[jnp.searchsorted(every, ranks)], True


def _valid(rows: Any) -> jax.Array:
    scores, where = rows
    return ~jnp.isnan(scores) if where is None else ~jnp.isnan(scores) & where


def extent(rows: Any) -> tuple[jax.Array, jax.Array]:
    """Number of valid rows int32, and float32 `[2]`: least score and least -score."""

    def step(extent: Any, block: Any, live: jax.Array) -> Any:
        valid = _valid(block)
        ends = [jnp.where(valid, x, jnp.inf) for x in (block[0], -block[0])]
        # A float sum is exact here, and faster than one of integers.
        number = jnp.sum((valid & live).astype(jnp.float32))
        return (
            extent[0] + number.astype(jnp.int32),
            jnp.minimum(extent[1], jnp.stack([jnp.min(end) for end in ends])),
        )

    nothing = jnp.int32(0), jnp.full(2, jnp.inf, jnp.float32)
    count, ends = reduce.fold(step, nothing, rows, None)
    return jnp.sum(count, dtype=jnp.int32), jnp.min(ends, axis=0)


def _select_by_sorting(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    if rows[0].shape[0] == 0:
        return jnp.full(ranks.shape, jnp.inf, jnp.float32)
    # Integers sort several times faster than floats. The first bit makes signed ones.
    last = jnp.uint32(0xFFFFFFFF)
    key = jnp.where(_valid(rows), search.sort_key(rows[0]), last) ^ jnp.uint32(
        0x80000000
    )
    ordered = jnp.sort(lax.bitcast_convert_type(key, jnp.int32))
    found = jnp.take(ordered, ranks, mode="clip")
    found = lax.bitcast_convert_type(found, jnp.uint32) ^ jnp.uint32(0x80000000)
    return jnp.where(ranks < extent[0], search.from_key(found), jnp.inf)


def _select_by_counting(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    num_ranks = ranks.shape[0]
    count, ends = extent
    lowest, unknown = key_range(ends)

    def refine(state: Any) -> Any:
        """Finds some more bits of each key, and the rank among its equals."""
        prefix, within, unknown = state
        counts = count_digits(rows, lowest, prefix, unknown)
        # Ranks that share a prefix share the counts of the first of them.
        first = search.count_at_or_below(prefix, prefix, strictly=True)
        counts = counts.reshape(num_ranks, -1, 2 ** (digit_bits(num_ranks) // 2))
        # First which of the sums of so many holds the rank, then which of its counts.
        sums = jnp.dot(counts, np.ones(counts.shape[2], np.int32))
        group, within = _find_rank(sums[first], within)
        digit, within = _find_rank(counts[first, group], within)
        digit = (group * counts.shape[2] + digit).astype(jnp.uint32)
        bits = jnp.minimum(unknown, digit_bits(num_ranks))
        return (prefix << bits) + digit, within, unknown - bits

    state = (jnp.zeros(num_ranks, jnp.uint32), jnp.minimum(ranks, count), unknown)
    found, _, _ = lax.while_loop(lambda state: state[2] > 0, refine, state)
    return jnp.where(ranks < count, search.from_key(lowest + found), jnp.inf)


def digit_bits(num_ranks: int) -> int:
    """How many bits of so many keys a round of counting finds."""
    return reduce.counted_bits(num_ranks <= search.FEW_EDGES)


def key_range(ends: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lowest key, and how many bits keys exceed it by, of the ends of `extent`."""
    lowest, highest = search.sort_key(ends[0]), search.sort_key(-ends[1])
    return lowest, 32 - lax.clz(jnp.where(highest > lowest, highest - lowest, 0))


def count_digits(
    rows: Any, lowest: jax.Array, prefix: jax.Array, unknown: jax.Array
) -> jax.Array:
    """A round of counting, whose counts add up over blocks of rows.

    Args:
      rows: scores float32 `[N]`, where NaN is left out, and optional bool `[N]`.
      lowest: uint32 scalar, from which keys are counted.
      prefix: uint32 `[K]`, ascending, the first bits of the keys looked for.
      unknown: uint32 scalar, how many bits are still unknown.

    Returns:
      int32 `[K, 2^digit_bits(K)]`, keys with each prefix by their next bits, at most
      `digit_bits(K)` of them; of equal prefixes the first has the counts.
    """
    num_ranks = prefix.shape[0]
    width = 2 ** digit_bits(num_ranks)
    bits = jnp.minimum(unknown, digit_bits(num_ranks))

    def place(block: Any) -> jax.Array:
        rest = (search.sort_key(block[0]) - lowest) >> (unknown - bits)
        digit = rest & ((jnp.uint32(1) << bits) - 1)
        # Keys that share the bits found so far are the candidates.
        place = search.find(prefix, rest >> bits) * width + digit.astype(jnp.int32)
        return jnp.where(_valid(block), place, -1)

    counts = reduce.count_rows(place, rows, num_ranks * width)
    return counts.reshape(num_ranks, width)


def _find_rank(counts: jax.Array, rank: jax.Array) -> tuple[jax.Array, jax.Array]:
    """In which of the counts `[K, L]` a rank `[K]` lies, and its rank there.

    One beyond all of them lies in the last.
    """
    size = counts.shape[1]
    # As products and a single reduction these are a small program, unlike a cumsum.
    upto = jnp.dot(counts, np.triu(np.ones((size, size), np.int32)))[:, :-1]
    below = upto <= rank[:, None]
    number, before = lax.reduce(
        (below.astype(jnp.int32), jnp.where(below, upto, 0)),
        (np.int32(0), np.int32(0)),
        lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])),
        (1,),
    )
    return number, rank - before
