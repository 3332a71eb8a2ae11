"""The one way to reduce over examples.

Sums, minima, histograms and per-bin sums over rows are all a `fold` over blocks, and
what is computed of each row of a matrix goes through `map_rows` or `map_and_sum_rows`.
Here, and nowhere else, is decided how rows are cut into blocks, what the platform
changes, and how sharded rows are treated:

- Rows `[N, ...]` are seen as `[lanes, N / lanes, ...]`, the number of lanes being what
  N and the number of devices have in common. Rows sharded over devices keep whole lanes
  on each device; blocks are cut along the second axis, which is not sharded, so that
  no row leaves its device and only the results are summed across devices.
- Blocks are small enough to stay in cache, so that nothing of the size of the rows is
  allocated. The last block starts early and masks the rows already seen: no padding,
  no copy.
- float32 sums are compensated across blocks; counts and per-bin sums are integers
  (`_exact`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import exact

Rows = Any  # A pytree of arrays that share their first axis, the examples.


def map_rows(function: Callable[[Rows], Any], rows: Rows) -> Any:
    """`function(rows)`, computed in blocks, so that nothing of the rows' size is held.

    Args:
      function: from a block of rows `[block, ...]` to a pytree of arrays `[block]`.
      rows: pytree of arrays `[N, ...]`.

    Returns:
      The pytree with arrays `[N]`.
    """
    return map_and_sum_rows(lambda block, *_: (function(block), ()), rows)[0]


def map_and_sum_rows(
    function: Callable[[Rows, jax.Array, jax.Array], tuple[Any, Any]],
    rows: Rows,
    valid: jax.Array | None = None,
) -> tuple[Any, Any]:
    """`map_rows` and `sum_rows` of the two results of a function, in one pass.

    The function is given a block of rows, which of them are valid, and which of these
    were not seen before: the first result may depend on the rows and on the former
    only, as the last it gives for a row is kept.
    """
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    live = jax.ShapeDtypeStruct((1,), bool)
    outputs, quantities = jax.eval_shape(function, _sample(rows), live, live)
    leaves, structure = jax.tree.flatten(quantities)
    if num_rows == 0:
        nothing = jax.tree.map(lambda x: jnp.zeros(0, x.dtype), outputs)
        return nothing, jax.tree.map(lambda x: jnp.float32(0), quantities)
    lanes, length, size = _blocks(rows)

    def both(*block: Any) -> tuple[Any, jax.Array]:
        outputs, quantities = function(*block)
        return outputs, _sums(quantities)

    each = both if lanes == 1 else jax.vmap(both)
    axis = 0 if lanes == 1 else 1

    def visit(state: Any, start: jax.Array, first_new: jax.Array) -> Any:
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
    """The sum of each of some arrays `[block]`, as one vector."""
    sums = [jnp.sum(quantity) for quantity in jax.tree.leaves(quantities)]
    return jnp.stack(sums) if sums else jnp.zeros(0, jnp.float32)


def sum_rows(
    function: Callable[[Rows, jax.Array], Any],
    rows: Rows,
    valid: jax.Array | None = None,
    every: int | jax.Array = 1,
) -> Any:
    """Sums `function(rows, live)` over the examples, in float32 with compensation.

    Args:
      function: from a block of rows `[block, ...]`, and which of them count, bool
        `[block]`, to a pytree of float32 arrays `[block]`, 0 for the other rows. One
        weight that is 0 there costs less than a choice for each array.
      rows: pytree of arrays `[N, ...]`.
      valid: optional bool `[N]`.
      every: 2 visits every other block only, and so on (`thinnings`); may be traced.

    Returns:
      The pytree with a float32 scalar for each array; 0 where no row is valid.
    """
    sample = _sample(rows)
    live = jax.ShapeDtypeStruct((1,), bool)
    quantities, structure = jax.tree.flatten(jax.eval_shape(function, sample, live))

    def of_block(block: Rows, live: jax.Array) -> jax.Array:
        return _sums(function(block, live))

    sums = sum_blocks(of_block, (len(quantities),), rows, valid, every)
    return jax.tree.unflatten(structure, list(sums))


def sum_blocks(
    function: Callable[[Rows, jax.Array], jax.Array],
    shape: tuple[int, ...],
    rows: Rows,
    valid: jax.Array | None = None,
    every: int | jax.Array = 1,
) -> jax.Array:
    """The same from a function that sums a block itself, to a float32 array `shape`."""

    def step(sums: Any, block: Rows, live: jax.Array) -> Any:
        total, error = exact.two_sum(sums[0], function(block, live))
        return total, sums[1] + error

    zero = jnp.zeros(shape, jnp.float32)
    totals, errors = fold(step, (zero, zero), rows, valid, every)
    return jnp.sum(totals, axis=0) + jnp.sum(errors, axis=0)


def least_of_rows(function: Callable[[Rows], Any], rows: Rows) -> Any:
    """Minimum of `function(rows)` over the examples; +inf where there are none.

    Args:
      function: from a block of rows `[block, ...]` to a pytree of float32 arrays
        `[block]`. It may see a row twice.
      rows: pytree of arrays `[N, ...]`.

    Returns:
      The pytree with a float32 scalar for each array. It has no derivative.
    """
    sample = _sample(rows)
    quantities, structure = jax.tree.flatten(jax.eval_shape(function, sample))

    def step(least: jax.Array, block: Rows, live: jax.Array) -> jax.Array:
        values = jax.tree.leaves(function(block))
        return jnp.minimum(least, jnp.stack([jnp.min(value) for value in values]))

    nothing = jnp.full(len(quantities), jnp.inf, jnp.float32)
    least = jnp.min(fold(step, nothing, lax.stop_gradient(rows), None), axis=0)
    return jax.tree.unflatten(structure, list(least))


def thinnings(rows: Rows, num_rows: Sequence[int]) -> tuple[int, ...]:
    """The `every` of `sum_rows` for which about so many rows are visited, or more.

    Descending, and none for more than a third of the rows, or a half where these are a
    few blocks: nothing where they are fewer still.
    """
    lanes, length, size = _blocks(rows)
    most = -(-length // max(size, 1)) // 2
    strides = {min(most, max(3, lanes * length // number)) for number in num_rows}
    return tuple(sorted((every for every in strides if every > 1), reverse=True))


def count_rows(
    function: Callable[[Rows], jax.Array],
    rows: Rows,
    length: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Histogram int32 `[length]` of `function(rows)`, an integer for each example.

    Integers outside `[0, length)` are not counted.
    """

    def step(counts: jax.Array, block: Rows, live: jax.Array) -> jax.Array:
        # A negative index would wrap around; `length` is out of range and dropped.
        index = jnp.where(live, function(block), length)
        index = jnp.where(index < 0, length, index)
        return counts.at[index].add(1, mode="drop")

    counts = fold(step, jnp.zeros(length, jnp.int32), rows, valid)
    return jnp.sum(counts, axis=0, dtype=jnp.int32)


def sum_bins(
    function: Callable[[Rows], tuple[jax.Array, Sequence[jax.Array]]],
    rows: Rows,
    num_bins: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Exact sums of values in each bin, the number of rows first.

    Args:
      function: from a block of rows to the bin of each, int32 `[block]` in
        `[0, num_bins)`, and Q float32 arrays `[block]`; bool ones are counted, which is
        faster.
      rows: pytree of arrays `[N, ...]`.
      num_bins: static number of bins.
      valid: optional bool `[N]`.

    Returns:
      int32 `[1 + Q, num_bins, exact.LENGTH]`, exact (`_exact`) but not yet canonical:
      the sum of ones, then of each of the values.
    """
    sample = _sample(rows)
    shape = (1 + len(jax.eval_shape(function, sample)[1]), num_bins, exact.LENGTH)

    def add(sums: jax.Array, block: Rows, live: jax.Array) -> jax.Array:
        index, values = function(block)
        index = jnp.where(live, index, num_bins)
        return exact.carry(sums + exact.sums_in_bins(index, values, num_bins))

    # Carrying costs as much as the rows of a block where there are many bins.
    least = min(math.prod(shape), exact.MAX_ADDENDS)
    sums = fold(add, jnp.zeros(shape, jnp.int32), rows, valid, least=least)
    return jnp.sum(sums, axis=0, dtype=jnp.int32)


def ends_of_bins(
    ends: tuple[jax.Array, jax.Array],
    index: jax.Array,
    values: jax.Array,
    valid: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Least and greatest value of each bin, those so far taken in.

    Args:
      ends: float32 `[num_bins]` twice, so far; +inf and -inf in a bin without rows.
      index: int32 `[N]`, the bin of each row; one out of range is in none.
      values: float32 `[N]`.
      valid: bool `[N]`.

    Returns:
      float32 `[num_bins]` twice.
    """
    num_bins = ends[0].shape[0]

    def widen(ends: Any, block: Rows, live: jax.Array) -> Any:
        place, value = block
        place = jnp.where(live & (place >= 0), place, num_bins)
        least = ends[0].at[place].min(value, mode="drop")
        return least, ends[1].at[place].max(value, mode="drop")

    least, greatest = fold(widen, ends, (index, values), valid)
    return jnp.min(least, axis=0), jnp.max(greatest, axis=0)


def fold(
    step: Callable[[Any, Rows, jax.Array], Any],
    initial: Any,
    rows: Rows,
    valid: jax.Array | None,
    every: int | jax.Array = 1,
    *,
    least: int = 1,
    entries: int = 1,
) -> Any:
    """Folds `step(state, block, live)` over blocks of rows, every lane on its own.

    Args:
      step: from a state, a block of rows and which of them count and were not seen
        before, bool `[block]`, to the next state.
      initial: the first state, a pytree of arrays.
      rows: pytree of arrays `[N, ...]`.
      valid: optional bool `[N]`.
      every: as for `sum_rows`.
      least: rows that a block should have at least.
      entries: numbers that `step` makes of a row, where more than the row has.

    Returns:
      The last state, every array with a leading axis `[lanes]`.
    """
    if jax.tree.leaves(rows)[0].shape[0] == 0:
        return jax.tree.map(lambda x: x[None], initial)
    lanes, length, size = _blocks(rows, least, entries)
    if lanes > 1:
        step = jax.vmap(step)
        initial = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (lanes, *x.shape)), initial
        )

    def visit(state: Any, start: jax.Array, first_new: jax.Array) -> Any:
        block, _, live = _take_live(rows, valid, lanes, start, size, first_new)
        return step(state, block, live)

    state = _each_block(visit, initial, length, size, every)
    return state if lanes > 1 else jax.tree.map(lambda x: x[None], state)


def sort_or_count(
    sorting: Callable[..., jax.Array],
    counting: Callable[..., jax.Array],
    few: bool,
    rows: Rows,
    *rest: Any,
) -> jax.Array:
    """Runs the way to select among rows that suits where they are; both give the same.

    Sorting gathers rows that are sharded, which under `jax.jit` cannot be known: with
    several devices they are counted. The CPU sorts slowly, but few rows sort as fast as
    they are counted, by a smaller program, and where not `few` are looked for counting
    is no faster.
    """
    if jax.device_count() > 1:
        return counting(rows, *rest)
    if jax.tree.leaves(rows)[0].shape[0] <= _FEW_ROWS or not few:
        return sorting(rows, *rest)
    return lax.platform_dependent(rows, *rest, cpu=counting, default=sorting)


def counted_bits(few: bool) -> int:
    """Bits of a key that are told apart by one round of counting.

    Many, for few rounds; but all the counts have to stay in the cache, and go from
    device to device.
    """
    if not few:
        return 8
    return 13 if jax.device_count() == 1 else 11


def pairwise_sum(values: jax.Array) -> jax.Array:
    """Sum over the last axis in pieces of 64, whose error does not grow with length."""
    while values.shape[-1] > 64:
        pad = -values.shape[-1] % 64
        values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, pad)])
        values = jnp.sum(values.reshape(*values.shape[:-1], -1, 64), axis=-1)
    return jnp.sum(values, axis=-1)


def sums_before(values: jax.Array) -> jax.Array:
    """Sum of what stands before each entry of the last axis, in pieces of 32.

    The error hardly grows with length. Products with a triangle of ones are a small
    program, while that of `jnp.cumsum` takes seconds to compile for many entries.
    Sharded entries are gathered.
    """
    length = values.shape[-1]
    size = min(length, 32)
    if length > size:
        pad = -length % size
        values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, pad)])
        pieces = values.reshape(*values.shape[:-1], -1, size)
        before = sums_before(jnp.sum(pieces, axis=-1))[..., None]
        sums = before + sums_before(pieces)
        return sums.reshape(values.shape)[..., :length]
    earlier = jnp.triu(jnp.ones((size, size), values.dtype), 1)
    return jnp.dot(values, earlier, precision=lax.Precision.HIGHEST)


# A block of rows, and of float32 entries where rows are vectors: a few megabytes on
# the CPU, where a larger one would leave the cache; accelerators want fewer, larger.
_CPU_BLOCK_ROWS, _CPU_BLOCK_ENTRIES = 2**15, 2**19
_BLOCK_ROWS, _BLOCK_ENTRIES = exact.MAX_ADDENDS, 2**26
_FEW_ROWS = 4096
# Long loops over other lengths are vectorised worse.
_MULTIPLE = 512


def _blocks(rows: Rows, least: int = 1, entries: int = 1) -> tuple[int, int, int]:
    """Number of lanes, rows of a lane, and rows of a block, about `least` or more."""
    arrays = jax.tree.leaves(rows)
    num_rows = arrays[0].shape[0]
    lanes = math.gcd(num_rows, jax.device_count())
    entries = max(entries, *(math.prod(array.shape[1:]) for array in arrays))
    cpu = jax.default_backend() == "cpu"
    most_rows = _CPU_BLOCK_ROWS if cpu else _BLOCK_ROWS
    most_entries = _CPU_BLOCK_ENTRIES if cpu else _BLOCK_ENTRIES
    length = num_rows // lanes
    most = max(least, min(most_rows, most_entries // (max(entries, 1) * lanes)))
    return lanes, length, _block_size(length, most)


def _block_size(length: int, most: int) -> int:
    """Rows of each block: as even as can be, and a round number of several."""
    if length <= most:
        return length
    num_blocks = -(-length // most)
    size = -(-length // num_blocks)
    if size >= 8 * _MULTIPLE:
        size = -(-size // _MULTIPLE) * _MULTIPLE
    return min(size, length)


def _each_block(
    visit: Callable[[Any, jax.Array, jax.Array], Any],
    state: Any,
    length: int,
    size: int,
    every: int | jax.Array = 1,
) -> Any:
    """Calls `visit(state, start, first_new)` for each block, without a loop for one.

    The last block starts early enough to be whole; rows before `first_new` were seen.
    """
    if size == length:
        return visit(state, jnp.int32(0), jnp.int32(0))

    def body(number: jax.Array, state: Any) -> Any:
        first_new = jnp.asarray(number, jnp.int32) * (every * size)
        return visit(state, jnp.minimum(first_new, length - size), first_new)

    num_blocks = -(-length // size)
    return lax.fori_loop(0, -(-num_blocks // every), body, state)


def _sample(rows: Rows) -> Rows:
    """Shapes of one row."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), rows
    )


def _take_live(
    rows: Rows,
    valid: jax.Array | None,
    lanes: int,
    start: jax.Array,
    size: int,
    first_new: jax.Array,
) -> tuple[Rows, jax.Array, jax.Array]:
    """A block of every lane, which rows are valid, and which of these are also new."""
    block, block_valid = _take((rows, valid), lanes, start, size)
    shape = (size,) if lanes == 1 else (lanes, size)
    block_valid = jnp.ones(shape, bool) if valid is None else block_valid
    new = jnp.arange(size, dtype=jnp.int32) >= first_new - start
    return block, block_valid, block_valid & jnp.broadcast_to(new, shape)


def _take(rows: Rows, lanes: int, start: jax.Array, size: int) -> Rows:
    """A block of every lane: `[lanes, size, ...]`, or `[size, ...]` of a single one.

    An axis of one lane would keep the CPU's compiler from vectorising.
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
        # XLA's CPU compiler slices 16-bit floats by converting the whole array; as
        # integers they stay, and tied to the loop by a barrier so does the cast.
        array, begin = lax.optimization_barrier((array, start))
        bits = lax.bitcast_convert_type(array, jnp.uint16)
        block = lax.dynamic_slice_in_dim(bits, begin, size, axis)
        return lax.bitcast_convert_type(block, array.dtype)

    return jax.tree.map(take, rows)
