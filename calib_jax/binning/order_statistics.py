"""Scores of given ranks, by sorting or by counting the bits of their keys.

Here and in the functions below, `rows` are scores float32 `[N]`, whose NaN are ignored,
and an optional mask bool `[N]`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import dispatch, reduce, transforms
from . import search

# Up to this many rows, sorting is about as fast as counting, and a smaller program.
_FEW_ROWS = 2**13
# From here on a round of counting takes longer than reading its counts.
_MANY_ROWS = 2**18


@dispatch.core(static=["max_bins"], rows=["scores", "where"])
def equal_count_edges(
    scores: jax.Array, num_bins: jax.Array, where: jax.Array | None, *, max_bins: int
) -> jax.Array:
    """Edges float32 `[max_bins - 1]` of `num_bins` bins of equal count, then +inf."""
    if max_bins == 1:
        return jnp.zeros(0, jnp.float32)
    rows = lax.stop_gradient((scores, where))
    found = extent(rows)
    count, _ = found
    num_bins = jnp.clip(num_bins, 1, max_bins)
    k = jnp.arange(1, max_bins, dtype=jnp.int32)
    # Limited to k < num_bins, k times the quotient cannot overflow.
    used = k < num_bins
    start = jnp.where(used, k, 0) * (count // num_bins) + jnp.minimum(
        k, count % num_bins
    )
    ranks = jnp.where(used, start, scores.shape[0])
    return order_statistics(rows, found, ranks)


@jax.custom_batching.custom_vmap
def order_statistics(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    """The scores of given ranks, 0 being the smallest.

    Two methods give the same floats. One sorts, which gathers sharded rows and is the
    smaller program. The other maps scores to integers of the same order and finds their
    bits in rounds, by counting among the scores that share the bits found so far;
    counts add up across blocks and devices, so rows stay where they are. On a mesh of
    several devices rows are counted, because whether they are sharded is unknown under
    `jax.jit`. One device sorts, except that a CPU, which sorts slowly, counts many rows
    for few ranks. Under `jax.vmap` over the ranks of the same scores, all ranks are
    selected at once.

    Args:
      rows: scores and mask.
      extent: the result of `extent(rows)`.
      ranks: int32 `[K]`, ascending, K at least 1.

    Returns:
      float32 `[K]`; +inf for ranks at or beyond the number of valid scores.
    """
    counting, sorting = _select_by_counting, _select_by_sorting
    if transforms.num_devices(rows) > 1:
        return counting(rows, extent, ranks)
    if (
        transforms.at_most(rows[0].shape[0], _FEW_ROWS)
        or ranks.shape[0] > search.FEW_EDGES
    ):
        return sorting(rows, extent, ranks)
    return lax.platform_dependent(rows, extent, ranks, cpu=counting, default=sorting)


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
    """Number of valid rows, int32, and float32 `[2]`: least score and least -score."""

    def step(extent: Any, block: Any, live: jax.Array) -> Any:
        valid = _valid(block)
        ends = [jnp.where(valid, x, jnp.inf) for x in (block[0], -block[0])]
        # A float sum is exact here and faster than an integer sum.
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
    # Integers sort several times faster than floats; flipping the first bit makes
    # them signed.
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
    most = digit_bits(num_ranks, transforms.num_devices(rows), rows[0].shape[0])

    def refine(state: Any) -> Any:
        """Finds more bits of each key, and its rank among keys that share them."""
        prefix, within, unknown = state
        counts = count_digits(rows, lowest, prefix, unknown, most)
        # Ranks that share a prefix share the counts of the first of them.
        first = search.count_at_or_below(prefix, prefix, strictly=True)
        counts = counts.reshape(num_ranks, -1, 2 ** (most // 2))
        # First find the group of counts that holds the rank, then the count within it.
        sums = jnp.dot(counts, np.ones(counts.shape[2], np.int32))
        group, within = _find_rank(sums[first], within)
        digit, within = _find_rank(counts[first, group], within)
        digit = (group * counts.shape[2] + digit).astype(jnp.uint32)
        bits = jnp.minimum(unknown, most)
        return (prefix << bits) + digit, within, unknown - bits

    state = (jnp.zeros(num_ranks, jnp.uint32), jnp.minimum(ranks, count), unknown)
    state = transforms.carry(refine, state)
    found, _, _ = lax.while_loop(lambda state: state[2] > 0, refine, state)
    return jnp.where(ranks < count, search.from_key(lowest + found), jnp.inf)


def digit_bits(num_ranks: int, num_devices: int = 1, num_rows: int = 0) -> int:
    """Bits of each key that one round of counting finds.

    More bits need fewer rounds, but all counts have to stay in the cache and travel
    between devices. Over many rows two rounds of 15 bits find any score in [0, 1].
    """
    if num_ranks > search.FEW_EDGES:
        return 8
    if num_devices > 1:
        return 11
    return 13 if transforms.at_most(num_rows, _MANY_ROWS) else 15


def key_range(ends: jax.Array) -> tuple[jax.Array, jax.Array]:
    """From the ends that `extent` gives: the lowest key, and the bits of the range."""
    lowest, highest = search.sort_key(ends[0]), search.sort_key(-ends[1])
    return lowest, 32 - lax.clz(jnp.where(highest > lowest, highest - lowest, 0))


def count_digits(
    rows: Any, lowest: jax.Array, prefix: jax.Array, unknown: jax.Array, most: int
) -> jax.Array:
    """One round of counting; counts add up over blocks of rows.

    Args:
      rows: scores and mask.
      lowest: uint32 scalar, subtracted from all keys.
      prefix: uint32 `[K]`, ascending, the first bits of the keys to be found.
      unknown: uint32 scalar, the number of bits still unknown.
      most: static number of bits that a round finds, from `digit_bits`.

    Returns:
      int32 `[K, 2^most]`: the number of keys with each prefix, by the value of their
      next `most` bits (or fewer, if fewer are unknown). Among equal prefixes the first
      has the counts.
    """
    num_ranks = prefix.shape[0]
    width = 2**most
    bits = jnp.minimum(unknown, most)

    def place(block: Any) -> jax.Array:
        rest = (search.sort_key(block[0]) - lowest) >> (unknown - bits)
        digit = rest & ((jnp.uint32(1) << bits) - 1)
        # Only keys that share the bits found so far are counted.
        place = search.find(prefix, rest >> bits) * width + digit.astype(jnp.int32)
        return jnp.where(_valid(block), place, -1)

    counts = reduce.count_rows(place, rows, num_ranks * width)
    return counts.reshape(num_ranks, width)


def _find_rank(counts: jax.Array, rank: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which of the counts `[K, L]` holds each rank `[K]`, and the rank within it.

    A rank beyond all counts is in the last.
    """
    size = counts.shape[1]
    # A product and one reduction compile to a smaller program than a cumsum.
    upto = jnp.dot(counts, np.triu(np.ones((size, size), np.int32)))[:, :-1]
    below = upto <= rank[:, None]
    number, before = lax.reduce(
        (below.astype(jnp.int32), jnp.where(below, upto, 0)),
        (np.int32(0), np.int32(0)),
        lambda a, b: (a[0] + b[0], jnp.maximum(a[1], b[1])),
        (1,),
    )
    return number, rank - before
