"""Bins of scores: equal-count or equal-width edges, and the bin of a score.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`.

A bin is a function of the score alone: bin `k` is `edges[k - 1] <= score < edges[k]`, a
score equal to an edge goes up, and tied scores share a bin. A table therefore never
depends on the order of its rows, and looking up a training value always finds the bin
that counted it; in return, bins of heavily tied scores are unequal and may be empty.
Scores are any floating numbers; those smaller in size than the smallest normal float32
(1.2e-38) count as 0.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from . import _checks, _reduce

DEFAULT_NUM_BINS = 15
# So many edges are compared with each value; among more it is searched for.
_FEW_EDGES = 32
_TABLE_BITS = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Bins:
    """Bins of a score, given by their inner edges.

    Attributes:
      edges: float32 `[num_bins - 1]`, ascending; +inf for bins that hold nothing.
    """

    edges: jax.Array

    @property
    def num_bins(self) -> int:
        """Number of bins, one more than edges."""
        return self.edges.shape[-1] + 1


def equal_count_bins(
    scores: ArrayLike,
    num_bins: int | jax.Array = DEFAULT_NUM_BINS,
    *,
    where: ArrayLike | None = None,
    max_bins: int | None = None,
) -> Bins:
    """Cuts the valid scores, in ascending order, into bins of equal count.

    The edges are order statistics: edge `k` is the score at which bin `k` starts when
    the `n` valid scores are split evenly, the first `n mod num_bins` bins being one
    longer (as `numpy.array_split`). A cut at or beyond `n` has edge +inf. NaN scores
    are left out. Weights never move edges.

    Args:
      scores: floating `[N]`.
      num_bins: number of bins, at least 1; an integer array where `max_bins` is given,
        and then clipped to `[1, max_bins]`.
      where: optional bool `[N]`; masked scores take no part.
      max_bins: optional static number of bins of the result, so that `num_bins` may be
        traced and batched; edges that are not used are +inf.

    Returns:
      `Bins` with `max_bins` or else `num_bins` bins.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 (N = 15 bins of equal count).

    Examples:
      >>> bins = equal_count_bins([0.1, 0.2, 0.3, 0.4, 0.5], num_bins=2)
      >>> print(bins.edges, bin_index(bins, [0.3, 0.4]))
      [0.4] [0 1]
    """
    array = _checks.floats("scores", scores)
    mask = _checks.mask("where", where)
    _checks.same_shape(scores=array, where=mask)
    if max_bins is None:
        max_bins = _checks.static_int("num_bins", num_bins, minimum=1)
        count = jnp.asarray(max_bins, jnp.int32)
    else:
        max_bins = _checks.static_int("max_bins", max_bins, minimum=1)
        count = _checks.traced_int("num_bins", num_bins, minimum=1, maximum=max_bins)
    return Bins(edges=_equal_count_edges(array, count, mask, max_bins=max_bins))


def equal_width_bins(
    num_bins: int = DEFAULT_NUM_BINS, *, lower: float = 0.0, upper: float = 1.0
) -> Bins:
    """Bins of equal width between two bounds.

    Args:
      num_bins: static number of bins, at least 1.
      lower: lower end of the first bin.
      upper: upper end of the last bin, above `lower`.

    Returns:
      `Bins` with `num_bins` bins; scores beyond the ends fall in the end bins.

    Raises:
      ValueError: where `num_bins < 1` or `upper <= lower`.

    References:
      Guo et al. 2017, arXiv 1706.04599, section 2 (bins of equal width).

    Examples:
      >>> bins = equal_width_bins(4)
      >>> print(bins.edges, bin_index(bins, [-1.0, 0.25, 2.0]))
      [0.25 0.5  0.75] [0 1 3]
    """
    size = _checks.static_int("num_bins", num_bins, minimum=1)
    lower = _checks.static_float("lower", lower)
    upper = _checks.static_float("upper", upper)
    if not lower < upper:
        raise ValueError(f"upper: expected above lower = {lower}, got {upper}.")
    fractions = [(lower * (size - k) + upper * k) / size for k in range(1, size)]
    return Bins(edges=jnp.asarray(fractions, jnp.float32).reshape(size - 1))


def bin_index(bins: Bins, scores: ArrayLike) -> jax.Array:
    """The bin of each score: the number of edges at or below it.

    Args:
      bins: `Bins`.
      scores: floating `[N]`.

    Returns:
      int32 `[N]` in `[0, num_bins - 1]`; scores beyond the ends fall in the end bins,
      and NaN gives -1, which is in no bin.

    Raises:
      ValueError: for a wrong rank or dtype, or where `bins` are no `Bins`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II.

    Examples:
      >>> print(bin_index(equal_width_bins(2), [0.1, 0.5, 0.9, float("nan")]))
      [ 0  1  1 -1]
    """
    _checks.instance("bins", bins, Bins)
    return _bin_index(bins.edges, _checks.floats("scores", scores))


def in_first_bins(
    bins: Bins, order: jax.Array, scores: jax.Array, num_first: jax.Array
) -> jax.Array:
    """Whether a score falls in one of the first `num_first` bins of an order.

    Args:
      bins: `Bins`.
      order: int32 `[num_bins]`, a permutation of the bins.
      scores: float32 `[N]`; NaN is in no bin.
      num_first: int32 scalar.

    Returns:
      bool `[N]`.
    """
    return _in_first_bins(bins.edges, order, scores, num_first)


@jax.custom_batching.custom_vmap
def _order_statistics(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
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
    few = ranks.shape[0] <= _FEW_EDGES
    return _reduce.sort_or_count(
        _select_by_sorting, _select_by_counting, few, rows, extent, ranks
    )


@_order_statistics.def_vmap
def _many_order_statistics(
    size: int, batched: Any, rows: Any, extent: Any, ranks: jax.Array
) -> tuple[jax.Array, bool]:
    if any(jax.tree.leaves(batched[:2])):
        axes = jax.tree.map(lambda varies: 0 if varies else None, batched)
        select = jax.vmap(_order_statistics.fun, axes, axis_size=size)
        return select(rows, extent, ranks), True
    every = jnp.sort(ranks.reshape(-1))
    found = _order_statistics(rows, extent, every)
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
    count, ends = _reduce.fold(step, nothing, rows, None)
    return jnp.sum(count, dtype=jnp.int32), jnp.min(ends, axis=0)


def _select_by_sorting(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    if rows[0].shape[0] == 0:
        return jnp.full(ranks.shape, jnp.inf, jnp.float32)
    # Integers sort several times faster than floats. The first bit makes signed ones.
    last = jnp.uint32(0xFFFFFFFF)
    key = jnp.where(_valid(rows), sort_key(rows[0]), last) ^ jnp.uint32(0x80000000)
    ordered = jnp.sort(lax.bitcast_convert_type(key, jnp.int32))
    found = jnp.take(ordered, ranks, mode="clip")
    found = lax.bitcast_convert_type(found, jnp.uint32) ^ jnp.uint32(0x80000000)
    return jnp.where(ranks < extent[0], from_key(found), jnp.inf)


def _select_by_counting(rows: Any, extent: Any, ranks: jax.Array) -> jax.Array:
    num_ranks = ranks.shape[0]
    count, ends = extent
    lowest, unknown = key_range(ends)

    def refine(state: Any) -> Any:
        """Finds some more bits of each key, and the rank among its equals."""
        prefix, within, unknown = state
        counts = count_digits(rows, lowest, prefix, unknown)
        # Ranks that share a prefix share the counts of the first of them.
        first = _count_at_or_below(prefix, prefix, strictly=True)
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
    return jnp.where(ranks < count, from_key(lowest + found), jnp.inf)


def digit_bits(num_ranks: int) -> int:
    """How many bits of so many keys a round of counting finds."""
    return _reduce.counted_bits(num_ranks <= _FEW_EDGES)


def key_range(ends: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lowest key, and how many bits keys exceed it by, of the ends of `extent`."""
    lowest, highest = sort_key(ends[0]), sort_key(-ends[1])
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
        rest = (sort_key(block[0]) - lowest) >> (unknown - bits)
        digit = rest & ((jnp.uint32(1) << bits) - 1)
        # Keys that share the bits found so far are the candidates.
        place = _find(prefix, rest >> bits) * width + digit.astype(jnp.int32)
        return jnp.where(_valid(block), place, -1)

    counts = _reduce.count_rows(place, rows, num_ranks * width)
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


def searches(bins: Bins) -> bool:
    """Whether scores are searched for, best all together, for want of few edges."""
    return bins.edges.shape[0] > _FEW_EDGES


def _find(prefixes: jax.Array, values: jax.Array) -> jax.Array:
    """The first of the ascending prefixes that equals each value, or else -1."""
    if prefixes.shape[0] > _FEW_EDGES:
        first = _count_at_or_below(prefixes, values, strictly=True)
        return jnp.where(prefixes.at[first].get(mode="clip") == values, first, -1)
    # A sum over the prefixes vectorises, unlike a look at what was found.
    repeated = jnp.pad(prefixes[1:] == prefixes[:-1], (1, 0))
    # Values have fewer bits than this one.
    once = jnp.where(repeated, jnp.uint32(0xFFFFFFFF), prefixes)
    found = jnp.full(values.shape, -1, jnp.int32)
    for number in range(prefixes.shape[0]):
        found = found + jnp.where(once[number] == values, number + 1, 0)
    return found


def _count_at_or_below(
    edges: jax.Array, values: jax.Array, *, strictly: bool = False
) -> jax.Array:
    """How many of the ascending edges are at or (strictly) below each value."""
    if edges.shape[0] > _FEW_EDGES:
        if values.shape[0] >= 2**_TABLE_BITS and edges.dtype == jnp.float32:
            return _search_from_table(edges, values)
        side = "left" if strictly else "right"
        return jnp.searchsorted(edges, values, side=side).astype(jnp.int32)
    # Comparing with every edge vectorises; with many a search does less work. One by
    # one, since the compiler would write out the edges for all values of a block.
    compare = jnp.less if strictly else jnp.less_equal
    below = jnp.zeros(values.shape, jnp.int32)
    for number in range(edges.shape[0]):
        below = below + compare(edges[number], values).astype(jnp.int32)
    return below


def _search_from_table(edges: jax.Array, values: jax.Array) -> jax.Array:
    """The same for many edges and more values: a binary search among the edges that
    share a value's first bits, with as many steps as the fullest of such groups needs.
    """
    keys, wanted = sort_key(edges), sort_key(values)
    shift = 32 - _TABLE_BITS
    prefixes = jnp.arange(2**_TABLE_BITS + 1, dtype=jnp.uint32)
    below = jnp.searchsorted(keys >> shift, prefixes).astype(jnp.int32)
    group = (wanted >> shift).astype(jnp.int32)
    widest = jnp.max(below[1:] - below[:-1])

    def halve(state: Any) -> Any:
        low, high, width = state
        middle = (low + high) >> 1
        up = (low < high) & (keys.at[middle].get(mode="clip") <= wanted)
        low = jnp.where(up, middle + 1, low)
        return low, jnp.where(up, high, jnp.minimum(middle, high)), width >> 1

    state = below[group], below[group + 1], widest
    low, _, _ = lax.while_loop(lambda state: state[2] > 0, halve, state)
    return low


def sort_key(scores: jax.Array) -> jax.Array:
    """uint32 of the same order; -0.0 and subnormal numbers are taken as 0."""
    tiny = jnp.finfo(jnp.float32).tiny
    normal = jnp.where(jnp.abs(scores) < tiny, 0.0, scores)
    bits = lax.bitcast_convert_type(normal, jnp.uint32)
    negative = bits >> 31 == 1
    return jnp.where(negative, ~bits, bits | jnp.uint32(0x80000000))


def from_key(key: jax.Array) -> jax.Array:
    """The number of a `sort_key`."""
    positive = key >> 31 == 1
    bits = jnp.where(positive, key & jnp.uint32(0x7FFFFFFF), ~key)
    return lax.bitcast_convert_type(bits, jnp.float32)


@_reduce.core(static=["max_bins"])
def _equal_count_edges(
    scores: jax.Array, num_bins: jax.Array, where: jax.Array | None, *, max_bins: int
) -> jax.Array:
    if max_bins == 1:
        return jnp.zeros(0, jnp.float32)
    rows = lax.stop_gradient((scores, where))
    found = extent(rows)
    count, _ = found
    num_bins = jnp.clip(num_bins, 1, max_bins)
    k = jnp.arange(1, max_bins, dtype=jnp.int32)
    # k times the quotient cannot overflow where k < num_bins.
    used = k < num_bins
    start = jnp.where(used, k, 0) * (count // num_bins) + jnp.minimum(
        k, count % num_bins
    )
    ranks = jnp.where(used, start, scores.shape[0])
    return _order_statistics(rows, found, ranks)


@_reduce.core(rows_of="scores")
def _bin_index(edges: jax.Array, scores: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(scores), -1, _count_at_or_below(edges, scores))


@_reduce.core(rows_of="scores")
def _in_first_bins(
    edges: jax.Array, order: jax.Array, scores: jax.Array, num_first: jax.Array
) -> jax.Array:
    position = jnp.arange(order.shape[0], dtype=jnp.int32)
    chosen = jnp.zeros(order.shape, bool).at[order].set(position < num_first)
    index = _count_at_or_below(edges, scores)
    return chosen[index] & ~jnp.isnan(scores)
