"""Pool adjacent violators: the non-decreasing means with the least squared error.

Shapes: N rows in ascending order of their scores, tied ones by falling outcome: these
are pooled in any case, so ties need no care. The rows are cut in lanes. Each lane is
pooled with a stack, one row after the other and all lanes side by side; then
neighbouring groups of lanes are joined in pairs until one is left. A join pools the end
of one group with the start of the next, and bisections find how much of both, so any
rows take O(N) steps along the lanes and a few hundred for each join.

Sums of weights are `(high, low)` pairs of float32, and are added outwards from where
groups meet: nothing cancels, whatever the range of the weights. A block of rows with
weights is five numbers: how many rows, then the high parts of the sums of weights and
of weighted outcomes, then the low parts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import exact, reduce, transforms

Pair = tuple[jax.Array, jax.Array]
# Lanes of at most so many rows count in halves of a uint32.
_MOST_STEPS = 2**15
_MOST_LANES, _STEPS_OF_ACCELERATORS = 2**11, 2**6
# More than any mean.
_NO_MEAN = np.float32(2)


@dataclasses.dataclass(frozen=True)
class _Lanes:
    """How N rows are cut, `number` lanes of `steps` rows each.

    A lane has room for `depth` blocks, a power of two, of which block k of lane p is in
    place `k * number + p`. There are at most `num_blocks` in the end.
    """

    num_rows: int
    number: int
    steps: int
    depth: int
    num_blocks: int

    @classmethod
    def of(cls, num_rows: int, *, counts: bool) -> "_Lanes":
        """For rows that count as right or wrong, or have weights."""
        if transforms.platform() == "cpu":
            number = min(_MOST_LANES, 2 ** (num_rows.bit_length() // 2))
        else:
            number = _power_of_two(-(-num_rows // _STEPS_OF_ACCELERATORS))
        number = max(number, _power_of_two(-(-num_rows // _MOST_STEPS)))
        steps = -(-num_rows // number)
        most = most_blocks if counts else lambda num_rows: num_rows
        return cls(num_rows, number, steps, _power_of_two(most(steps)), most(num_rows))


def _power_of_two(least: int) -> int:
    return 2 ** (least - 1).bit_length()


def most_blocks(num_rows: int) -> int:
    """No fewer than the blocks of so many rows that are right or wrong.

    The means of blocks differ and are fractions of numbers of rows. There are no more
    than d (d + 1) / 2 + 1 fractions of at most d rows, and N / d blocks of more.
    """
    few = max(round(num_rows ** (1 / 3)), 1)
    return min(num_rows, few * (few + 1) // 2 + 1 + num_rows // few)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pooled:
    """All blocks in ascending order, `[B]`, and how many there are.

    Attributes:
      number: int32 scalar.
      first: int32, the first row; the number of valid rows in entries not used.
      mean: float32, correctly rounded but for 1e-13; 0 in entries not used.
      weight: float32; 0 in entries not used.
    """

    number: jax.Array
    first: jax.Array
    mean: jax.Array
    weight: jax.Array

    def padded(self, length: int) -> "Pooled":
        """With room for more blocks."""
        more = 0, length - self.first.shape[0]
        return Pooled(
            self.number,
            jnp.pad(self.first, more, mode="edge"),
            jnp.pad(self.mean, more),
            jnp.pad(self.weight, more),
        )


def pool_counts(right: jax.Array, num_valid: jax.Array) -> Pooled:
    """Blocks of the first `num_valid` rows of bool `[N]`, N at least 1."""
    lanes = _Lanes.of(right.shape[0], counts=True)

    def block(place: jax.Array) -> jax.Array:
        # The number of right answers, and of all.
        return jnp.where(right[place], jnp.uint32(0x10001), jnp.uint32(1))[None]

    def at_least(first: jax.Array, second: jax.Array) -> jax.Array:
        (a, m), (b, n) = ((x[0] >> 16, x[0] & 0xFFFF) for x in (first, second))
        return a * n >= b * m

    size, packed = _pool_lanes(block, num_valid, lanes, jnp.add, at_least)
    right_rows, rows = packed >> 16, packed & 0xFFFF
    blocks = jnp.concatenate([rows, rows, right_rows]).astype(jnp.float32)
    return _join(size, jnp.pad(blocks, ((0, 2), (0, 0))), num_valid, lanes)


def pool_weights(
    outcomes: jax.Array, weights: jax.Array | None, num_valid: jax.Array
) -> Pooled:
    """Blocks of the first `num_valid` rows of outcomes and weights float32 `[N]`."""
    lanes = _Lanes.of(outcomes.shape[0], counts=False)

    def block(place: jax.Array) -> jax.Array:
        outcome = outcomes[place]
        weight = jnp.ones_like(outcome) if weights is None else weights[place]
        total, rest = exact.multiply(weight, outcome)
        one, none = jnp.ones_like(outcome), jnp.zeros_like(outcome)
        return jnp.stack([one, weight, total, none, rest])

    def pooled(first: jax.Array, second: jax.Array) -> jax.Array:
        sums = _add((first[1:3], first[3:]), (second[1:3], second[3:]))
        return jnp.concatenate([first[:1] + second[:1], *sums])

    def at_least(first: jax.Array, second: jax.Array) -> jax.Array:
        means = [_mean((sums[1:3], sums[3:])) for sums in (first, second)]
        return ~_less(*means)

    size, blocks = _pool_lanes(block, num_valid, lanes, pooled, at_least)
    return _join(size, blocks, num_valid, lanes)


def _add(first: Pair, second: Pair) -> Pair:
    high, error = exact.two_sum(first[0], second[0])
    return exact.two_sum(high, error + (first[1] + second[1]))


def _mean(sums: Pair) -> Pair:
    """The mean of pairs `[2, ...]`, sums of weights and of weighted outcomes."""
    high, low = sums
    return exact.divide((high[1], low[1]), (high[0], low[0]))


def _less(first: Pair, second: Pair) -> jax.Array:
    (a, c), (b, d) = first, second
    return (a < b) | ((a == b) & (c < d))


def _take(flat: jax.Array, parts: int, place: jax.Array) -> jax.Array:
    """The entries `[parts, ...]` at a place of each part of an array."""
    # Single entries are gathered and scattered much faster than slices.
    return flat.at[_places(flat, parts, place)].get(mode="clip")


def _places(flat: jax.Array, parts: int, place: jax.Array) -> jax.Array:
    start = jnp.arange(parts, dtype=jnp.int32) * (flat.shape[0] // parts)
    return start.reshape(parts, *[1] * place.ndim) + place[None]


def _pool_lanes(
    block: Callable[[jax.Array], jax.Array],
    num_valid: jax.Array,
    lanes: _Lanes,
    pooled: Callable[[jax.Array, jax.Array], jax.Array],
    at_least: Callable[[jax.Array, jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Pools each lane on its own.

    Args:
      block: from rows int32 `[number]` to blocks of one row each, `[parts, number]`.
      num_valid: int32 scalar.
      lanes: how rows are cut.
      pooled: from two blocks to both as one.
      at_least: whether the mean of the first block is at least that of the second.

    Returns:
      int32 `[number]`, the number of blocks of each lane, and the blocks
      `[parts, depth * number]`.
    """
    number, depth = lanes.number, lanes.depth
    lane = jnp.arange(number, dtype=jnp.int32)
    start = lane * lanes.steps
    length = jnp.clip(num_valid - start, 0, lanes.steps)

    def read(count: jax.Array) -> jax.Array:
        return block(jnp.minimum(start + count, lanes.num_rows - 1))

    def push(stack: jax.Array, size: jax.Array, top: jax.Array) -> jax.Array:
        place = _places(stack, parts, size * number + lane)
        place = jnp.where((size < depth)[None], place, stack.shape[0])
        return stack.at[place.reshape(-1)].set(top.reshape(-1), mode="drop")

    def step(state: Any) -> Any:
        _, count, size, top, stack = state
        new = read(count)
        below = _take(stack, parts, jnp.maximum(size - 1, 0) * number + lane)
        # Once in memory they are not gathered again wherever they are used.
        new, below = lax.optimization_barrier((new, below))
        unread = count < length
        # Adjacent violators may be pooled in any order, so the block is compared with
        # those on both sides.
        falls = (size > 0) & at_least(below, top)
        absorbs = unread & at_least(top, new)
        pushes = unread & ~absorbs & ~falls
        stack = push(stack, jnp.where(pushes, size, depth), top)
        top = jnp.where(falls[None], pooled(below, top), top)
        joined = jnp.where(absorbs[None], pooled(top, new), top)
        top = jnp.where(pushes[None], new, joined)
        count = count + (absorbs | pushes).astype(jnp.int32)
        size = size + pushes.astype(jnp.int32) - falls.astype(jnp.int32)
        return jnp.any(unread | falls), count, size, top, stack

    size = jnp.zeros(number, jnp.int32)
    top = read(size)
    parts = top.shape[0]
    stack = jnp.zeros(parts * depth * number, top.dtype)
    state = jnp.bool_(True), jnp.ones_like(size), size, top, stack
    state = transforms.carry(step, state)
    _, _, size, top, stack = lax.while_loop(lambda state: state[0], step, state)
    stack = push(stack, size, top).reshape(parts, depth * number)
    return jnp.where(length > 0, size + 1, 0), stack


def _join(
    size: jax.Array, blocks: jax.Array, num_valid: jax.Array, lanes: _Lanes
) -> Pooled:
    """The blocks of all lanes together, from those of each.

    Entries are numbered from lane to lane, `width` for each: a power of two, as few as
    the fullest lane needs.
    """
    number, length = lanes.number, lanes.depth * lanes.number
    lane = jnp.arange(number, dtype=jnp.int32)
    shift = 32 - lax.clz(jnp.maximum(jnp.max(size) - 1, 0))
    width = jnp.int32(1) << shift
    means, bounds, sums, whole = _entries(size, blocks, width, lanes)

    def place_of(entry: jax.Array) -> jax.Array:
        return (entry & (width - 1)) * number + (entry >> shift)

    def join(level: jax.Array, state: Any) -> Any:
        means, bounds, outside, whole = state
        # Each lane finds what its pair of groups pools.
        start = (lane >> (level + 1)) << (level + 1 + shift)
        middle = start + (width << level)
        stop = middle + (width << level)

        def mean_at(entry: jax.Array) -> Pair:
            found = _take(means[: 2 * length], 2, place_of(entry))
            return found[0], found[1]

        def pool(left: jax.Array, right: jax.Array) -> Pair:
            """Sums from an entry of the left group to before one of the right."""
            entry = jnp.stack([right - 1, left])
            place = place_of(entry) + np.array([[0], [length]], np.int32)
            inside = _take(sums, 4, place)
            beyond = _take(
                outside, 4, (entry >> shift) + np.array([[0], [number]], np.int32)
            )
            some = jnp.stack([right > middle, left < middle])
            high, low = _add((inside[:2], inside[2:]), (beyond[:2], beyond[2:]))
            high, low = (jnp.where(some[None], x, 0.0) for x in (high, low))
            return _add((high[:, 0], low[:, 0]), (high[:, 1], low[:, 1]))

        def search(state: Any) -> Any:
            """Halves the left group, then the right one, then pools what was found.

            A block of the left is pooled if its mean is at least that of the higher
            ones on the left and the lower ones on the right together; the first one on
            the right that is not pooled has at least the mean of all before it. The
            block itself is in neither mean: its weight might hide that of others.
            """
            part, low, high, left, right, _ = state
            at = (low + high) >> 1
            mean = mean_at(at)
            first, after = _take(bounds, 2, place_of(at))
            lower = _first(
                lambda entry: ~_less(mean_at(entry), mean),
                jnp.where(part == 0, middle, stop),
                stop,
            )
            found = pool(
                jnp.where(part == 0, after, left),
                jnp.select([part == 0, part == 1], [lower, first], right),
            )
            holds = ~_less(mean, _mean(found))
            more = low < high
            low, high = (
                jnp.where(more & ~holds, at + 1, low),
                jnp.where(more & holds, at, high),
            )
            ends = low >= high
            left = jnp.where(ends & (part == 0), low, left)
            right = jnp.where(ends & (part == 1), low, right)
            low = jnp.where(ends & (part == 0), middle, low)
            high = jnp.where(ends & (part == 0), stop, high)
            return part + ends.astype(jnp.int32), low, high, left, right, found

        none = jnp.zeros((2, number), jnp.float32)
        state = jnp.zeros_like(lane), start, middle, start, stop, (none, none)
        state = transforms.carry(search, state)
        *_, left, right, found = lax.while_loop(
            lambda state: jnp.any(state[0] < 3), search, state
        )
        next_mean = mean_at(middle)
        meets = ~_less(mean_at(middle - 1), next_mean) & (next_mean[0] < _NO_MEAN)
        right = jnp.where(meets, right, 0)
        new = jnp.stack([*_mean(found), found[0][0]]), jnp.stack([left, right])

        def fill(k: jax.Array, state: Any) -> Any:
            entry = lane * width + k
            inside = ((entry >= left) & (entry < right))[None]
            return tuple(
                _put_row(
                    flat, k, jnp.where(inside, row, _row(flat, len(row), k, number))
                )
                for flat, row in zip(state, new, strict=True)
            )

        means, bounds = lax.fori_loop(0, width, fill, (means, bounds))
        other = whole[:, lane ^ (1 << level)]
        # Lanes on the right have more before them, and those on the left after them.
        is_right = (lane >> level) & 1 == 1
        gains = jnp.stack([is_right, ~is_right])
        old = outside.reshape(4, 2, number)
        added = jnp.concatenate(
            _add((old[:2], old[2:]), (other[:2, None], other[2:, None]))
        )
        outside = jnp.where(gains[None], added, old).reshape(-1)
        whole = jnp.concatenate(_add((whole[:2], whole[2:]), (other[:2], other[2:])))
        return means, bounds, outside, whole

    state = means, bounds, jnp.zeros(8 * number, jnp.float32), whole
    state = transforms.carry(lambda state: join(jnp.int32(0), state), state)
    levels = np.int32(0), np.int32(number.bit_length() - 1)
    means, bounds, *_ = lax.fori_loop(*levels, join, state)
    return _listed(means, bounds, size, blocks[0], num_valid, width, lanes)


def _row(flat: jax.Array, parts: int, k: jax.Array, number: int) -> jax.Array:
    """Entry k of each lane, `[parts, number]`."""
    return lax.dynamic_slice_in_dim(flat.reshape(parts, -1), k * number, number, 1)


def _put_row(flat: jax.Array, k: jax.Array, row: jax.Array) -> jax.Array:
    row = jnp.atleast_2d(row)
    parts, number = row.shape
    flat = flat.reshape(parts, -1)
    return lax.dynamic_update_slice_in_dim(flat, row, k * number, 1).reshape(-1)


def _entries(
    size: jax.Array, blocks: jax.Array, width: jax.Array, lanes: _Lanes
) -> tuple[jax.Array, ...]:
    """What is known of each entry, in flat arrays, and of each lane.

    Returns:
      Mean (high and low part), which never falls along the entries of a lane, and
      weight of the block that an entry is in; those not used repeat the last one.
      The first entry of that block, and the first after it.
      The four sums up to and with each entry, from the start of its lane and from its
      end.
      The four sums of each lane, `[4, number]`.
    """
    number, length = lanes.number, lanes.depth * lanes.number
    lane = jnp.arange(number, dtype=jnp.int32)
    flat = blocks.reshape(-1)

    def step(k: jax.Array, state: Any) -> Any:
        means, bounds, sums, running, last = state
        ends = k, width - 1 - k
        rows = jnp.stack([_row(flat, 5, at, number)[1:] for at in ends], 1)
        rows = jnp.where(jnp.stack([at < size for at in ends])[None], rows, 0.0)
        pair = rows[:2, 0], rows[2:, 0]
        running = jnp.concatenate(
            _add((running[:2], running[2:]), (rows[:2], rows[2:]))
        )
        new = jnp.stack([*_mean(pair), pair[0][0]])
        last = jnp.where((k < size)[None], new, last)
        means = _put_row(means, k, last)
        first = jnp.minimum(k, size - 1)
        after = jnp.where(k < size - 1, k + 1, width)
        bounds = _put_row(bounds, k, (lane * width)[None] + jnp.stack([first, after]))
        for side, at in enumerate(ends):
            place = np.int32(0), np.int32(side), at * number
            new = running[:, side : side + 1]
            sums = lax.dynamic_update_slice(sums, new, place)
        return means, bounds, sums, running, last

    state = (
        jnp.zeros(3 * length, jnp.float32),
        jnp.zeros(2 * length, jnp.int32),
        jnp.zeros((4, 2, length), jnp.float32),
        jnp.zeros((4, 2, number), jnp.float32),
        jnp.full((3, number), _NO_MEAN),
    )
    state = transforms.carry(lambda state: step(jnp.int32(0), state), state)
    means, bounds, sums, running, _ = lax.fori_loop(0, width, step, state)
    return means, bounds, sums.reshape(-1), running[:, 0]


def _listed(
    means: jax.Array,
    bounds: jax.Array,
    size: jax.Array,
    rows: jax.Array,
    num_valid: jax.Array,
    width: jax.Array,
    lanes: _Lanes,
) -> Pooled:
    """The blocks that are left, one after the other."""
    number, most = lanes.number, lanes.num_blocks
    lane = jnp.arange(number, dtype=jnp.int32)

    def is_first(k: jax.Array) -> jax.Array:
        first = _row(bounds, 2, k, number)[0] == lane * width + k
        return ((k < size) & first).astype(jnp.int32)

    count = jnp.zeros(number, jnp.int32)
    count = transforms.carry(lambda count: count + is_first(jnp.int32(0)), count)
    count = lax.fori_loop(0, width, lambda k, count: count + is_first(k), count)

    def step(k: jax.Array, state: Any) -> Any:
        place, row, first, mean, weight = state
        found = is_first(k)
        at = jnp.where(found == 1, place, most)
        high, _, new = _row(means, 3, k, number)
        first = first.at[at].set(row, mode="drop")
        mean = mean.at[at].set(high, mode="drop")
        weight = weight.at[at].set(new, mode="drop")
        row = row + _row(rows, 1, k, number)[0].astype(jnp.int32)
        return place + found, row, first, mean, weight

    state = (
        reduce.sums_before(count),
        lane * lanes.steps,
        jnp.full(most, num_valid, jnp.int32),
        jnp.zeros(most, jnp.float32),
        jnp.zeros(most, jnp.float32),
    )
    state = transforms.carry(lambda state: step(jnp.int32(0), state), state)
    _, _, first, mean, weight = lax.fori_loop(0, width, step, state)
    return Pooled(jnp.sum(count, dtype=jnp.int32), first, mean, weight)


def _first(
    holds: Callable[[jax.Array], jax.Array], start: jax.Array, stop: jax.Array
) -> jax.Array:
    """The first place from start on where a condition holds, and stop if it never does;
    once it holds it does so up to stop."""

    def halve(ends: Any) -> Any:
        low, high = ends
        middle = (low + high) >> 1
        found, more = holds(middle), low < high
        high = jnp.where(more & found, middle, high)
        return jnp.where(more & ~found, middle + 1, low), high

    ends = transforms.carry(halve, (start, stop))
    return lax.while_loop(lambda ends: jnp.any(ends[0] < ends[1]), halve, ends)[0]
