"""Reductions over examples, in blocks of rows.

Sums, minima, histograms and per-bin sums are all a `fold` over blocks; functions of one
row go through `map_rows` or `map_and_sum_rows`. Only this module decides how rows are
cut into blocks, what depends on the platform, and how sharded rows are treated:

- Rows `[N, ...]` are viewed as `[lanes, N / lanes, ...]`, where the number of lanes is
  the greatest common divisor of N and the number of devices in their mesh. Each device
  holds whole lanes of sharded rows. Blocks are cut along the second axis, which is not
  sharded, so no row leaves its device and only results are summed across devices.
- Blocks are small enough for the cache, so nothing of the size of the rows is
  allocated. The last block starts early and masks the rows already seen, which needs
  neither padding nor a copy.
- float32 sums are compensated across blocks; counts and per-bin sums are integers
  (`exact`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import exact, transforms

RowTree = Any  # A pytree of arrays that share their first axis, the examples.


def map_rows(function: Callable[[RowTree], Any], rows: RowTree) -> Any:
    """`function(rows)`, computed in blocks to hold nothing else of the rows' size.

    Args:
      function: from a block of rows `[block, ...]` to a pytree of arrays `[block]`.
      rows: pytree of arrays `[N, ...]`.

    Returns:
      The pytree with arrays `[N]`.
    """
    return map_and_sum_rows(lambda block, *_: (function(block), ()), rows)[0]


def map_and_sum_rows(
    function: Callable[[RowTree, jax.Array, jax.Array], tuple[Any, Any]],
    rows: RowTree,
    valid: jax.Array | None = None,
) -> tuple[Any, Any]:
    """`map_rows` and `sum_rows` of the two results of a function, in one pass.

    The function gets a block of rows, which of them are valid, and which of the valid
    ones were not seen before. Its first result must not depend on the last, because a
    row may be seen twice and its last result is kept.
    """
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    live = jax.ShapeDtypeStruct((1,), bool)
    outputs, quantities = jax.eval_shape(function, _sample(rows), live, live)
    leaves, structure = jax.tree.flatten(quantities)
    if num_rows == 0:
        nothing = jax.tree.map(lambda x: jnp.zeros(0, x.dtype), outputs)
        return nothing, jax.tree.map(lambda x: jnp.float32(0), quantities)
    if is_one_block(rows):
        results, quantities = function(rows, *[_live(rows, valid)] * 2)
        return results, jax.tree.map(jnp.sum, quantities)
    lanes, length, size = _blocks(rows)

    def both(*block: Any) -> tuple[Any, jax.Array]:
        outputs, quantities = function(*block)
        return outputs, _sums(quantities)

    each = both if lanes == 1 else jax.vmap(both)
    axis = 0 if lanes == 1 else 1

    def visit(state: Any, start: Any, first_new: Any) -> Any:
        results, total, error = state
        block = _take_live(rows, valid, lanes, start, size, first_new)
        new, part = each(*block)
        results = jax.tree.map(
            lambda result, new: lax.dynamic_update_slice_in_dim(
                result, new, start, axis
            ),
            results,
            new,
        )
        total, rest = exact.two_sum(total, part)
        return results, total, error + rest

    shape = () if lanes == 1 else (lanes,)
    zeros = jnp.zeros((*shape, len(leaves)), jnp.float32)
    blank = jax.tree.map(lambda x: jnp.zeros((*shape, length), x.dtype), outputs)
    results, total, error = _each_block(visit, (blank, zeros, zeros), length, size)
    sums = (total + error).reshape(lanes, -1).sum(0)
    results = jax.tree.map(lambda x: x.reshape(num_rows), results)
    return results, jax.tree.unflatten(structure, list(sums))


def _sums(quantities: Any) -> jax.Array:
    """The sums of arrays `[block]`, as one vector."""
    sums = [jnp.sum(quantity) for quantity in jax.tree.leaves(quantities)]
    return jnp.stack(sums) if sums else jnp.zeros(0, jnp.float32)


def sum_rows(
    function: Callable[[RowTree, jax.Array], Any],
    rows: RowTree,
    valid: jax.Array | None = None,
    every: int | jax.Array = 1,
) -> Any:
    """Sums `function(rows, live)` over the examples, in float32 with compensation.

    Args:
      function: from a block of rows `[block, ...]` and a mask, bool `[block]`, to a
        pytree of float32 arrays `[block]` that are 0 for masked rows. Setting one
        weight to 0 costs less than masking each array.
      rows: pytree of arrays `[N, ...]`.
      valid: optional bool `[N]`.
      every: 2 visits every second block only, and so on (`thinnings`); may be traced.

    Returns:
      The pytree with a float32 scalar for each array; 0 if no row is valid.
    """
    if is_one_block(rows):
        return jax.tree.map(jnp.sum, function(rows, _live(rows, valid)))
    sample = _sample(rows)
    live = jax.ShapeDtypeStruct((1,), bool)
    quantities, structure = jax.tree.flatten(jax.eval_shape(function, sample, live))

    def of_block(block: RowTree, live: jax.Array) -> jax.Array:
        return _sums(function(block, live))

    sums = sum_blocks(of_block, (len(quantities),), rows, valid, every)
    return jax.tree.unflatten(structure, list(sums))


def sum_blocks(
    function: Callable[[RowTree, jax.Array], jax.Array],
    shape: tuple[int, ...],
    rows: RowTree,
    valid: jax.Array | None = None,
    every: int | jax.Array = 1,
) -> jax.Array:
    """`sum_rows` for a function that sums its block to a float32 array of `shape`."""
    if is_one_block(rows):
        return function(rows, _live(rows, valid))

    def step(sums: Any, block: RowTree, live: jax.Array) -> Any:
        total, error = exact.two_sum(sums[0], function(block, live))
        return total, sums[1] + error

    zero = jnp.zeros(shape, jnp.float32)
    totals, errors = fold(step, (zero, zero), rows, valid, every)
    # An infinite sum has no rounding error, but NaN in its place.
    errors = jnp.where(jnp.isinf(totals), 0.0, errors)
    return jnp.sum(totals, axis=0) + jnp.sum(errors, axis=0)


def least_of_rows(function: Callable[[RowTree], Any], rows: RowTree) -> Any:
    """Minimum of `function(rows)` over the examples; +inf without examples.

    Args:
      function: from a block of rows `[block, ...]` to a pytree of float32 arrays
        `[block]`; it may get a row twice.
      rows: pytree of arrays `[N, ...]`.

    Returns:
      The pytree with a float32 scalar for each array. It has no derivative.
    """
    if is_one_block(rows):
        return jax.tree.map(jnp.min, function(lax.stop_gradient(rows)))
    sample = _sample(rows)
    quantities, structure = jax.tree.flatten(jax.eval_shape(function, sample))

    def step(least: jax.Array, block: RowTree, live: jax.Array) -> jax.Array:
        values = jax.tree.leaves(function(block))
        return jnp.minimum(least, jnp.stack([jnp.min(value) for value in values]))

    nothing = jnp.full(len(quantities), jnp.inf, jnp.float32)
    least = jnp.min(fold(step, nothing, lax.stop_gradient(rows), None), axis=0)
    return jax.tree.unflatten(structure, list(least))


def thinnings(rows: RowTree, num_rows: Sequence[int]) -> tuple[int, ...]:
    """Values of `every`, descending, that visit about `num_rows` rows or a few more.

    None visits more than a third of the rows, or half of them if they are a few blocks.
    With fewer blocks the result is empty.
    """
    lanes, length, size = _blocks(rows)
    if not isinstance(length, int):
        return ()
    most = -(-length // max(size, 1)) // 2
    strides = {min(most, max(3, lanes * length // number)) for number in num_rows}
    return tuple(sorted((every for every in strides if every > 1), reverse=True))


def count_rows(
    function: Callable[[RowTree], jax.Array],
    rows: RowTree,
    length: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Histogram int32 `[length]` of `function(rows)`, an integer per example.

    Integers outside `[0, length)` are not counted.
    """

    def step(counts: jax.Array, block: RowTree, live: jax.Array) -> jax.Array:
        # A negative index would wrap around, while `length` is dropped.
        index = jnp.where(live, function(block), length)
        index = jnp.where(index < 0, length, index)
        return counts.at[index].add(1, mode="drop")

    counts = fold(step, jnp.zeros(length, jnp.int32), rows, valid)
    return jnp.sum(counts, axis=0, dtype=jnp.int32)


def sum_bins(
    function: Callable[[RowTree], tuple[jax.Array, Sequence[jax.Array]]],
    rows: RowTree,
    num_bins: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Number of rows, then exact sum of each value, in each bin.

    Args:
      function: from a block of rows to the bin of each, int32 `[block]` in
        `[0, num_bins)`, and Q arrays `[block]`, float32 or bool, which is faster.
      rows: pytree of arrays `[N, ...]`.
      num_bins: static number of bins.
      valid: optional bool `[N]`.

    Returns:
      int32 `[1 + Q, num_bins, exact.LENGTH]`, not yet canonical (`exact`).
    """
    sample = _sample(rows)
    shape = (1 + len(jax.eval_shape(function, sample)[1]), num_bins, exact.LENGTH)

    def add(sums: jax.Array, block: RowTree, live: jax.Array) -> jax.Array:
        index, values = function(block)
        index = jnp.where(live, index, num_bins)
        return exact.carry(sums + exact.sums_in_bins(index, values, num_bins))

    # With many bins, carrying costs as much as the rows of a block.
    least = min(math.prod(shape), exact.MAX_ADDENDS)
    sums = fold(add, jnp.zeros(shape, jnp.int32), rows, valid, least=least)
    return jnp.sum(sums, axis=0, dtype=jnp.int32)


def ends_of_bins(
    ends: tuple[jax.Array, jax.Array],
    index: jax.Array,
    values: jax.Array,
    valid: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Least and greatest value of each bin, over these rows and those so far.

    Args:
      ends: float32 `[num_bins]` twice, so far; +inf and -inf in a bin without rows.
      index: int32 `[N]`, the bin of each row; a row out of range is in none.
      values: float32 `[N]`.
      valid: bool `[N]`.

    Returns:
      float32 `[num_bins]` twice.
    """
    num_bins = ends[0].shape[0]

    def widen(ends: Any, block: RowTree, live: jax.Array) -> Any:
        place, value = block
        place = jnp.where(live & (place >= 0), place, num_bins)
        least = ends[0].at[place].min(value, mode="drop")
        return least, ends[1].at[place].max(value, mode="drop")

    least, greatest = fold(widen, ends, (index, values), valid)
    return jnp.min(least, axis=0), jnp.max(greatest, axis=0)


def fold(
    step: Callable[[Any, RowTree, jax.Array], Any],
    initial: Any,
    rows: RowTree,
    valid: jax.Array | None,
    every: int | jax.Array = 1,
    *,
    least: int = 1,
    entries: int = 1,
) -> Any:
    """Folds `step(state, block, live)` over blocks of rows, for each lane separately.

    Args:
      step: from a state, a block of rows, and which of them are valid and were not seen
        before, bool `[block]`, to the next state.
      initial: the first state, a pytree of arrays.
      rows: pytree of arrays `[N, ...]`.
      valid: optional bool `[N]`.
      every: as for `sum_rows`.
      least: number of rows that a block should at least have.
      entries: numbers that `step` makes per row, if more than the row has.

    Returns:
      The last state, with a leading axis `[lanes]` for every array.
    """
    if jax.tree.leaves(rows)[0].shape[0] == 0:
        return jax.tree.map(lambda x: x[None], initial)
    lanes, length, size = _blocks(rows, least, entries)
    if lanes > 1:
        step = jax.vmap(step)
        initial = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (lanes, *x.shape)), initial
        )

    def visit(state: Any, start: Any, first_new: Any) -> Any:
        block, _, live = _take_live(rows, valid, lanes, start, size, first_new)
        return step(state, block, live)

    state = _each_block(visit, initial, length, size, every)
    return state if lanes > 1 else jax.tree.map(lambda x: x[None], state)


def pairwise_sum(values: jax.Array) -> jax.Array:
    """Sum over the last axis in pieces of 64; the error does not grow with length."""
    longest = _longest(values)
    while longest > 64:
        values = jnp.sum(_in_pieces(values, 64), axis=-1)
        longest = -(-longest // 64)
    return jnp.sum(values, axis=-1)


def sums_before(values: jax.Array, longest: int | None = None) -> jax.Array:
    """Sum of all entries before each entry of the last axis, in pieces of 32.

    The error hardly grows with length. Products with a triangle of ones compile to a
    small program, while `jnp.cumsum` of many entries takes seconds to compile. Sharded
    entries are gathered. `longest` is a bound on a symbolic length.
    """
    length, size = values.shape[-1], 32
    longest = longest or _longest(values)
    if longest > size:
        pieces = _in_pieces(values, size)
        totals = jnp.sum(pieces, axis=-1, dtype=values.dtype)
        before = sums_before(totals, -(-longest // size))
        sums = before[..., None] + sums_before(pieces)
        return sums.reshape(*values.shape[:-1], -1)[..., :length]
    earlier = jnp.triu(jnp.ones((length, length), values.dtype), 1)
    return jnp.dot(values, earlier, precision=lax.Precision.HIGHEST)


def _longest(values: jax.Array) -> int:
    """The length of the last axis, or a bound on it if it is symbolic."""
    length = values.shape[-1]
    return length if isinstance(length, int) else 2**31


def _in_pieces(values: jax.Array, size: int) -> jax.Array:
    """Entries `[..., L]` as `[..., pieces, size]`, the last piece filled with 0."""
    length = values.shape[-1]
    num_pieces = -(-length // size)
    pad = [(0, 0)] * (values.ndim - 1) + [(0, num_pieces * size - length)]
    return jnp.pad(values, pad).reshape(*values.shape[:-1], num_pieces, size)


# Largest number of rows in a block, and of float32 entries if rows are vectors: a few
# megabytes fit the cache of a CPU, while accelerators want fewer and larger blocks.
_CPU_BLOCK_ROWS, _CPU_BLOCK_ENTRIES = 2**15, 2**19
_BLOCK_ROWS, _BLOCK_ENTRIES = exact.MAX_ADDENDS, 2**26
# Long loops are vectorised best over multiples of this length.
_MULTIPLE = 512


def _blocks(rows: RowTree, least: int = 1, entries: int = 1) -> tuple[int, int, int]:
    """Number of lanes, rows per lane, and rows per block (about `least` or more)."""
    arrays = jax.tree.leaves(rows)
    num_rows = arrays[0].shape[0]
    lanes = 1
    if isinstance(num_rows, int):
        lanes = math.gcd(num_rows, transforms.num_devices(rows))
    entries = max(entries, *(math.prod(array.shape[1:]) for array in arrays))
    cpu = transforms.platform() == "cpu"
    most_rows = _CPU_BLOCK_ROWS if cpu else _BLOCK_ROWS
    most_entries = _CPU_BLOCK_ENTRIES if cpu else _BLOCK_ENTRIES
    length = num_rows // lanes
    most = max(least, min(most_rows, most_entries // (max(entries, 1) * lanes)))
    return lanes, length, _block_size(length, most)


def is_one_block(rows: RowTree) -> bool:
    """Whether nothing is to be added up across blocks or lanes."""
    lanes, length, size = _blocks(rows)
    return isinstance(length, int) and lanes == 1 and 0 < length == size


def _live(rows: RowTree, valid: jax.Array | None) -> jax.Array:
    """The mask of rows that are one block."""
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    return jnp.ones(num_rows, bool) if valid is None else valid


def _block_size(length: int, most: int) -> int:
    """Rows per block: blocks are as even as possible, and of a round length."""
    if not isinstance(length, int):
        return jax.core.min_dim(length, most)
    if length <= most:
        return length
    num_blocks = -(-length // most)
    size = -(-length // num_blocks)
    if size >= 8 * _MULTIPLE:
        size = -(-size // _MULTIPLE) * _MULTIPLE
    return min(size, length)


def _each_block(
    visit: Callable[[Any, int | jax.Array, int | jax.Array], Any],
    state: Any,
    length: int,
    size: int,
    every: int | jax.Array = 1,
) -> Any:
    """Calls `visit(state, start, first_new)` for each block; one block needs no loop.

    The last block starts early enough to be whole; its rows before `first_new` were
    seen already.
    """
    if size == length:
        return visit(state, 0, 0)

    def body(number: jax.Array, state: Any) -> Any:
        first_new = jnp.asarray(number, jnp.int32) * (every * size)
        return visit(state, jnp.minimum(first_new, length - size), first_new)

    num_blocks = -(-length // size)
    state = transforms.carry(lambda state: body(jnp.int32(0), state), state)
    return lax.fori_loop(0, -(-num_blocks // every), body, state)


def _sample(rows: RowTree) -> RowTree:
    """Shapes and dtypes of one row."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), rows
    )


def _take_live(
    rows: RowTree,
    valid: jax.Array | None,
    lanes: int,
    start: int | jax.Array,
    size: int,
    first_new: int | jax.Array,
) -> tuple[RowTree, jax.Array, jax.Array]:
    """A block of every lane, which rows are valid, and which of those are new."""
    block, block_valid = _take((rows, valid), lanes, start, size)
    shape = (size,) if lanes == 1 else (lanes, size)
    block_valid = jnp.ones(shape, bool) if valid is None else block_valid
    if isinstance(first_new, int):
        # The only block.
        return block, block_valid, block_valid
    new = jnp.arange(size, dtype=jnp.int32) >= first_new - start
    return block, block_valid, block_valid & jnp.broadcast_to(new, shape)


def _take(rows: RowTree, lanes: int, start: int | jax.Array, size: int) -> RowTree:
    """A block of every lane: `[lanes, size, ...]`, or `[size, ...]` for a single lane.

    An axis of one lane would keep XLA from vectorising on the CPU.
    """

    def take(array: jax.Array) -> jax.Array:
        axis = 0
        if lanes > 1:
            array = array.reshape(lanes, array.shape[0] // lanes, *array.shape[1:])
            axis = 1
        if array.shape[axis] == size:
            return array
        if array.dtype.itemsize > 2 or not jnp.issubdtype(array.dtype, jnp.floating):
            return lax.dynamic_slice_in_dim(array, start, size, axis)
        # On the CPU, XLA slices 16-bit floats by converting the whole array. Integers
        # are sliced as they are; the barrier keeps the cast inside the loop.
        array, begin = lax.optimization_barrier((array, start))
        bits = lax.bitcast_convert_type(array, jnp.uint16)
        block = lax.dynamic_slice_in_dim(bits, begin, size, axis)
        return lax.bitcast_convert_type(block, array.dtype)

    return jax.tree.map(take, rows)
