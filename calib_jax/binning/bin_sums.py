"""Exact sums in bins, from which every table is computed.

Shapes: N examples, Q quantities of each example, `num_bins` bins. States of batches,
devices or processes are added by `merge`, in any order and grouping, to the same bits,
because the sums are integers. `bin_sums_and_means` is the same for arrays in memory.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._core import dispatch, exact, masking, records, reduce, transforms
from . import search
from .bins import Bins, searches

# Bins whose weights are smaller than this on average have no mean.
_LEAST_WEIGHT = 2.0**-100


@records.record(axes={"sums": "Q+2 num_bins+1 digits"})
class BinSums(records.Result):
    """Exact sums in each bin.

    Attributes:
      sums: int32 `[2 + Q, num_bins + 1, digits]`: number of rows, weights, and Q
        weighted quantities, of each bin and, last, of rows outside every bin (NaN
        scores).
    """

    sums: jax.Array


@records.record("num_bins", axes={"means": "Q num_bins"})
class BinMeans(records.Result):
    """Counts and means of each bin.

    Attributes:
      count: int32 `[num_bins]`, rows; at most 2^31 - 1.
      weight: float32 `[num_bins]`, sum of weights; equal to `count` without weights.
      means: float32 `[Q, num_bins]`, weighted means, correctly rounded; 0 in a bin
        without rows, NaN in every bin if a valid row is outside all of them, and in one
        whose weights are below 1e-30 on average.
    """

    count: jax.Array
    weight: jax.Array
    means: jax.Array


def init(num_bins: int, num_quantities: int) -> BinSums:
    """The empty state, for Q quantities.

    Examples:
      >>> print(compute(init(2, 1)).count)
      [0 0]
    """
    shape = (2 + num_quantities, num_bins + 1, exact.LENGTH)
    return BinSums(sums=jnp.zeros(shape, jnp.int32))


@dispatch.core
def update(
    state: BinSums,
    index: jax.Array,
    quantities: Sequence[jax.Array],
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
) -> BinSums:
    """Adds rows to a state.

    Args:
      state: `BinSums` of Q quantities.
      index: int32 `[N]` from `bin_index`; -1 is outside every bin.
      quantities: Q float32 or bool arrays `[N]`.
      where: optional bool `[N]`.
      weights: optional non-negative float32 `[N]`.

    Returns:
      `BinSums`.

    Examples:
      >>> state = update(init(2, 1), jnp.array([0, 1, 1]), [jnp.array([1.0, 2.0, 4.0])])
      >>> print(compute(merge(state, state)).means)
      [[1. 3.]]
    """
    num_rows, num_bins = index.shape[0], state.sums.shape[1] - 1

    def sums_of(index: jax.Array, num_bins: int) -> jax.Array:
        sums = _sums_of_rows(
            lambda index: index, index, quantities, where, weights, num_bins=num_bins
        )
        return _with_weights(sums, weights)

    if not transforms.at_most(num_rows, num_bins - 1):
        return merge(state, BinSums(sums=sums_of(index, num_bins)))
    # Bringing the sums of all bins to canonical form would take most of the time of a
    # batch of fewer rows.
    none = num_bins + 1
    valid = masking.valid_rows(num_rows, where, weights)
    place = jnp.where(valid, jnp.where(index < 0, num_bins, index), none)
    held, row = held_bins(place, none)
    rows = sums_of(row, num_rows)[:, :num_rows]
    sums = exact.normalise(state.sums.at[:, held].get(mode="clip") + rows)
    return BinSums(sums=state.sums.at[:, held].set(sums, mode="drop"))


def held_bins(place: jax.Array, none: int) -> tuple[jax.Array, jax.Array]:
    """The bins that hold rows, so that few rows update only these.

    Sharded rows are gathered: fewer numbers than the sums that devices exchange anyway.

    Args:
      place: int32 `[N]`, the bin of each row; `none` for a row that does not count.
      none: a number greater than any bin.

    Returns:
      int32 `[N]`, the bins, each once, ascending but for `none` in the entries left
      over; and int32 `[N]`, the entry that holds the bin of each row.
    """
    held = jnp.sort(place)
    row = jnp.searchsorted(held, place).astype(jnp.int32)
    first = jnp.pad(held[:-1], (1, 0), constant_values=-1) < held
    return jnp.where(first, held, none), row


@jax.jit
def merge(first: BinSums, second: BinSums) -> BinSums:
    """Merges two states: associative and commutative, bit for bit."""
    return BinSums(sums=exact.normalise(first.sums + second.sums))


@jax.jit
def compute(state: BinSums) -> BinMeans:
    """Counts, weights and means of each bin."""
    high, low = exact.to_float(state.sums)
    in_no_bin = high[0, -1] > 0
    count, weight = high[0, :-1], high[1, :-1]
    # Rounded correctly, so that equal means of different bins are equal numbers.
    means, _ = exact.divide(
        (high[2:, :-1], low[2:, :-1]), (high[1:2, :-1], low[1:2, :-1])
    )
    # Products of weights and quantities below 2^-126 count as 0.
    unknown = in_no_bin | (weight < count * _LEAST_WEIGHT)
    return BinMeans(
        count=exact.to_count(count, low[0, :-1]),
        weight=weight,
        means=jnp.where(unknown, jnp.nan, means),
    )


def _sums_of_rows(
    bin_of: Callable[[jax.Array], jax.Array],
    keys: jax.Array,
    quantities: Sequence[jax.Array],
    where: jax.Array | None,
    weights: jax.Array | None,
    *,
    num_bins: int,
) -> jax.Array:
    """The sums of a `BinSums`, not yet canonical; without weights, none of weights.

    `bin_of(keys)` is called block by block, so nothing of the size of the rows is made.
    """

    def values(block: Any) -> tuple[jax.Array, Sequence[jax.Array]]:
        keys, quantities, weights = block
        index = bin_of(keys)
        index = jnp.where(index < 0, num_bins, index)
        if weights is None:
            return index, quantities
        # A row of weight 0 is a removed row; no bin has this number.
        valid = masking.valid_rows(weights.shape[0], None, weights)
        index = jnp.where(valid, index, num_bins + 1)
        return index, [weights, *(weights * x.astype(jnp.float32) for x in quantities)]

    rows = (keys, tuple(quantities), weights)
    return reduce.sum_bins(values, rows, num_bins + 1, where)


def _with_weights(sums: jax.Array, weights: jax.Array | None) -> jax.Array:
    """The sums of a `BinSums`: without weights, every row weighs 1."""
    return sums if weights is not None else jnp.concatenate([sums[:1], sums])


@jax.custom_batching.custom_vmap
def _sums_in_bins(edges: jax.Array, rows: Any) -> jax.Array:
    """Like `_sums_of_rows`, from edges and (scores, quantities, where, weights)."""
    scores, quantities, where, weights = rows
    bins = Bins(edges=edges)

    # Among many edges, all scores are searched for at once.
    early = searches(bins)
    return _sums_of_rows(
        lambda keys: keys if early else search.bin_of(edges, keys),
        search.bin_of(edges, scores) if early else scores,
        quantities,
        where,
        weights,
        num_bins=bins.num_bins,
    )


@_sums_in_bins.def_vmap
def _sums_in_many_bins(
    size: int, batched: Any, edges: jax.Array, rows: Any
) -> tuple[jax.Array, bool]:
    """Many bins of the same rows: one pass, over the cells cut by all edges together.

    The exact sums of the cells of a bin add up to the sums of the bin.
    """
    if any(jax.tree.leaves(batched[1])):
        axes = jax.tree.map(lambda varies: 0 if varies else None, batched)
        return jax.vmap(_sums_in_bins.fun, axes, axis_size=size)(edges, rows), True
    cuts = jnp.sort(edges.reshape(-1))
    cells = jnp.moveaxis(_sums_in_bins(cuts, rows), 1, 0)
    # Sums of the cells before each: differences are right even if integers wrap around.
    # The last cell holds the rows outside every bin.
    in_none = cells[-1]
    total, before = lax.scan(
        lambda upto, cell: (upto + cell, upto), 0 * in_none, cells[:-1]
    )
    before = jnp.concatenate([before, total[None]])

    def of_bins(edges: jax.Array) -> jax.Array:
        first = 1 + jnp.searchsorted(cuts, edges, side="left").astype(jnp.int32)
        ends = jnp.pad(first, 1, constant_values=(0, cuts.shape[0] + 1))
        parts = before[ends[1:]] - before[ends[:-1]]
        return jnp.moveaxis(jnp.concatenate([parts, in_none[None]]), 0, 1)

    return lax.map(of_bins, edges), True


def bin_means(
    bins: Bins,
    scores: jax.Array,
    quantities: Sequence[jax.Array],
    where: jax.Array | None,
    weights: jax.Array | None,
) -> BinMeans:
    """Weighted means of quantities in the bins of a score."""
    return bin_sums_and_means(bins, scores, quantities, where, weights)[1]


def bin_sums_and_means(
    bins: Bins,
    scores: jax.Array,
    quantities: Sequence[jax.Array],
    where: jax.Array | None,
    weights: jax.Array | None,
) -> tuple[BinSums, BinMeans]:
    """Like `bin_means`, with the exact sums behind the means, not yet canonical."""
    # Like compute(update(init(...), ...)), without the canonical form in between.
    rows = jax.lax.stop_gradient((scores, tuple(quantities), where, weights))
    sums = _sums_in_bins(lax.stop_gradient(bins.edges), rows)
    sums = _with_weights(sums, weights)
    table = compute(BinSums(sums=sums))
    index = search.bin_of(bins.edges, scores)
    valid = masking.valid_rows(index.shape[0], where, weights)
    weight, means = with_derivative(
        table.weight, table.means, index, tuple(quantities), valid, weights
    )
    return BinSums(sums=sums), dataclasses.replace(table, weight=weight, means=means)


@jax.custom_jvp
def with_derivative(
    weight: jax.Array,
    means: jax.Array,
    index: jax.Array,
    quantities: tuple[jax.Array, ...],
    valid: jax.Array,
    weights: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Weight and means unchanged, with the derivatives that integer sums lack."""
    return weight, means


@with_derivative.defjvp
def _derivative_of_means(primals: Any, tangents: Any) -> Any:
    weight, means, index, quantities, valid, weights = primals
    by_quantities, by_weights = tangents[3], tangents[5]
    # -1 is outside every bin, not the last bin.
    place = jnp.where(valid & (index >= 0), index, weight.shape[0])

    def in_bins(rows: jax.Array) -> jax.Array:
        rows = jnp.where(valid, rows, 0.0)
        return jnp.zeros(weight.shape, rows.dtype).at[place].add(rows, mode="drop")

    moved = []
    for quantity, change in zip(quantities, by_quantities, strict=True):
        # Booleans have no derivative.
        change = (
            change if quantity.dtype != bool else jnp.zeros(index.shape, jnp.float32)
        )
        clean = jnp.where(valid, quantity.astype(jnp.float32), 0.0)
        rows = change if weights is None else weights * change + by_weights * clean
        moved.append(in_bins(rows))
    by_weight = jnp.zeros_like(weight) if weights is None else in_bins(by_weights)
    some = jnp.where(weight > 0, weight, 1.0)
    by_means = (jnp.stack(moved) - means * by_weight[None]) / some[None]
    return (weight, means), (by_weight, by_means)


@jax.jit
def bin_order(count: jax.Array, key: jax.Array) -> jax.Array:
    """Bins by ascending key, equal keys by falling confidence, empty bins last.

    Args:
      count: int32 `[num_bins]`, rows.
      key: float32 `[num_bins]`.

    Returns:
      int32 `[num_bins]`, a permutation of the bins.
    """
    position = jnp.arange(count.shape[0], dtype=jnp.int32)
    return jnp.lexsort((-position, key, count == 0)).astype(jnp.int32)
