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
from jax import lax
from jax.typing import ArrayLike

from . import _checks, _reduce

DEFAULT_NUM_BINS = 15
# So many edges are compared with each value; among more it is searched for.
_FEW_EDGES = 64
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


def order_statistics(
    scores: jax.Array, ranks: jax.Array, where: jax.Array | None = None
) -> jax.Array:
    """The scores of given ranks, 0 being the smallest: the one selection function.

    Two ways that give the same floats. A sort, where one accelerator holds all rows, or
    a single device few, or many ranks are asked for. Else the bits of the scores,
    mapped to integers of the same order, are counted in rounds of some bits, each
    round only among the scores that share the bits found so far; counts add up across
    blocks and devices, so that rows stay where they are. Many sets of ranks of the same
    scores, by `jax.vmap`, are one selection.

    Args:
      scores: float32 `[N]`; NaN is left out.
      ranks: int32 `[K]`, ascending.
      where: optional bool `[N]`.

    Returns:
      float32 `[K]`; +inf for ranks at or beyond the number of valid scores.
    """
    valid = ~jnp.isnan(scores)
    if where is not None:
        valid = valid & where
    if ranks.shape[0] == 0:
        return jnp.zeros(0, jnp.float32)
    return _select(lax.stop_gradient((scores, valid)), ranks)


@jax.custom_batching.custom_vmap
def _select(rows: tuple[jax.Array, jax.Array], ranks: jax.Array) -> jax.Array:
    scores, valid = rows
    few = ranks.shape[0] <= _FEW_EDGES
    return _reduce.sort_or_count(
        _select_by_sorting, _select_by_counting, few, scores, ranks, valid
    )


@_select.def_vmap
def _select_many(
    size: int, batched: Any, rows: tuple[jax.Array, jax.Array], ranks: jax.Array
) -> tuple[jax.Array, bool]:
    if any(batched[0]):
        axes = jax.tree.map(lambda varies: 0 if varies else None, batched)
        return jax.vmap(_select.fun, axes, axis_size=size)(rows, ranks), True
    every = jnp.sort(ranks.reshape(-1))
    found = _select(rows, every)
    return found[jnp.searchsorted(every, ranks)], True


def _select_by_sorting(
    scores: jax.Array, ranks: jax.Array, valid: jax.Array
) -> jax.Array:
    if scores.shape[0] == 0:
        return jnp.full(ranks.shape, jnp.inf, jnp.float32)
    count = jnp.sum(valid, dtype=jnp.int32)
    # Integers sort several times faster than floats. The first bit makes signed ones.
    last = jnp.uint32(0xFFFFFFFF)
    key = jnp.where(valid, sort_key(scores), last) ^ jnp.uint32(0x80000000)
    ordered = jnp.sort(lax.bitcast_convert_type(key, jnp.int32))
    found = jnp.take(ordered, ranks, mode="clip")
    found = lax.bitcast_convert_type(found, jnp.uint32) ^ jnp.uint32(0x80000000)
    return jnp.where(ranks < count, from_key(found), jnp.inf)


def _select_by_counting(
    scores: jax.Array, ranks: jax.Array, valid: jax.Array
) -> jax.Array:
    def refine(
        number: jax.Array, state: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        prefix, within = state
        counts = count_digits(prefix, number, scores, valid)
        return next_digits(prefix, within, counts)

    count = jnp.sum(valid, dtype=jnp.int32)
    state = (jnp.zeros(ranks.shape, jnp.uint32), jnp.minimum(ranks, count))
    key, _ = lax.fori_loop(0, num_rounds(ranks.shape[0]), refine, state)
    return jnp.where(ranks < count, from_key(key), jnp.inf)


def num_rounds(num_ranks: int) -> int:
    """Rounds of counting that find all 32 bits of so many keys."""
    return -(-32 // _digit_bits(num_ranks))


def _digit_bits(num_ranks: int) -> int:
    # Few rounds, but counts of a size that stays small beside the rows.
    return 11 if num_ranks <= 512 else 8


def count_digits(
    prefix: jax.Array, number: jax.Array, scores: jax.Array, valid: jax.Array
) -> jax.Array:
    """A round of counting, whose counts add up over blocks of scores.

    Args:
      prefix: uint32 `[K]`, ascending, the first bits of the keys looked for.
      number: int32 scalar, how many rounds went before.
      scores: float32 `[N]`.
      valid: bool `[N]`, False for NaN.

    Returns:
      int32 `[K, 2^bits]`, keys with each prefix by their next bits; of equal prefixes
      the first has the counts.
    """
    num_ranks = prefix.shape[0]
    bits = _digit_bits(num_ranks)
    shift = ((num_rounds(num_ranks) - 1 - number) * bits).astype(jnp.uint32)

    def place(rows: tuple[jax.Array]) -> jax.Array:
        rest = sort_key(rows[0]) >> shift
        digit = (rest & jnp.uint32(2**bits - 1)).astype(jnp.int32)
        # Keys that share the bits found so far are the candidates.
        group, found = _find(prefix, rest >> bits)
        return jnp.where(found, group * 2**bits + digit, -1)

    counts = _reduce.count_rows(place, (scores,), num_ranks * 2**bits, valid)
    return counts.reshape(num_ranks, 2**bits)


def next_digits(prefix: Any, within: Any, counts: Any) -> tuple[Any, Any]:
    """Longer prefixes, and the rank of each key among those that share it.

    Args:
      prefix: uint32 `[K]`, as for `count_digits`.
      within: integer `[K]`, the rank of each key among those that share its prefix.
      counts: integer `[K, 2^bits]`, the sum of `count_digits`. All three of JAX, or all
        of NumPy where counts may exceed int32.

    Returns:
      uint32 `[K]` and integer `[K]`.
    """
    xp, width = counts.__array_namespace__(), counts.shape[1]
    upto = xp.cumsum(counts, axis=1, dtype=counts.dtype)
    # Ranks that share a prefix share the counts of the first of them.
    upto = upto[xp.asarray(_count_at_or_below(prefix, prefix, strictly=True))]
    below = upto <= within[:, None]
    within = within - xp.max(xp.where(below, upto, 0), axis=1)
    digit = xp.sum(below, axis=1, dtype=xp.uint32)
    # A rank beyond the number of rows finds no digit; its key is not used.
    return prefix * width + xp.minimum(digit, xp.uint32(width - 1)), within


def _find(prefixes: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many of the ascending prefixes are below each value, and if one equals it."""
    if prefixes.shape[0] > _FEW_EDGES:
        below = _count_at_or_below(prefixes, values, strictly=True)
        return below, prefixes.at[below].get(mode="clip") == values
    # Both from one sum, which vectorises, unlike a look at what was found.
    most = 2 * _FEW_EDGES
    below = (prefixes[:, None] < values[None]).astype(jnp.int32)
    equal = (prefixes[:, None] == values[None]).astype(jnp.int32)
    code = jnp.sum(below + most * equal, axis=0, dtype=jnp.int32)
    return code & (most - 1), code >= most


def _count_at_or_below(
    edges: jax.Array, values: jax.Array, *, strictly: bool = False
) -> jax.Array:
    """How many of the ascending edges are at or (strictly) below each value."""
    side = "left" if strictly else "right"
    # Comparing with every edge vectorises; with many a search does less work.
    if edges.shape[0] <= _FEW_EDGES:
        method = "compare_all"
    elif values.shape[0] < 2**_TABLE_BITS or edges.dtype != jnp.float32:
        method = "scan"
    else:
        return _search_from_table(edges, values)
    return jnp.searchsorted(edges, values, side=side, method=method).astype(jnp.int32)


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
    valid = ~jnp.isnan(scores)
    if where is not None:
        valid = valid & where
    count = jnp.sum(valid, dtype=jnp.int32)
    num_bins = jnp.clip(num_bins, 1, max_bins)
    k = jnp.arange(1, max_bins, dtype=jnp.int32)
    # k times the quotient cannot overflow where k < num_bins.
    used = k < num_bins
    start = jnp.where(used, k, 0) * (count // num_bins) + jnp.minimum(
        k, count % num_bins
    )
    ranks = jnp.where(used, start, scores.shape[0])
    return order_statistics(scores, ranks, where)


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
