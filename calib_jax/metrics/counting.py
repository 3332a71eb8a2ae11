"""Counts of right and wrong answers in the order of their scores.

Sorted rows are cut in pieces, which are read side by side, one row of each at a time,
and are joined at the end: nothing else of the size of the rows is written.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import exact, masking, transforms
from ..binning import search, sorting

# With more rows there are too many pieces to compare all pairs of them.
MOST_ROWS = 2**27
# Twice the pairs in a piece of this length fit an int32.
_MOST_STEPS = 2**15
# So many terms of a harmonic sum are added one by one.
_NUM_TERMS = 8


class _Row(NamedTuple):
    """One row of each piece."""

    position: jax.Array
    key: jax.Array
    flag: jax.Array
    live: jax.Array


class _Pieces(NamedTuple):
    """Sorted rows, `[pieces, steps]`, of which the first `num_valid` count."""

    packed: sorting.Packed
    num_valid: jax.Array

    @classmethod
    def of(cls, key: jax.Array, flag: jax.Array, valid: jax.Array) -> "_Pieces":
        packed = sorting.pack(lax.stop_gradient(key), flag, valid)
        num_rows = packed.rows.shape[0]
        pieces = 2 ** min(11, num_rows.bit_length() // 2)
        pieces = max(pieces, 2 ** (-(-num_rows // _MOST_STEPS) - 1).bit_length())
        steps = -(-num_rows // pieces)
        more = 0, pieces * steps - num_rows
        rows = jnp.pad(packed.rows, more, constant_values=sorting.NO_ROW)
        packed = packed._replace(rows=rows.reshape(pieces, steps))
        return cls(packed, jnp.sum(valid, dtype=jnp.int32))

    @property
    def shape(self) -> tuple[int, int]:
        number, steps = self.packed.rows.shape
        return number, steps

    def starts(self) -> jax.Array:
        """The position of the first row of each piece, int32 `[pieces]`."""
        number, steps = self.shape
        return jnp.arange(number, dtype=jnp.int32) * steps

    def row(self, step: int | jax.Array) -> _Row:
        """The rows at a step, `[pieces]`."""
        rows = lax.dynamic_index_in_dim(self.packed.rows, step, 1, keepdims=False)
        return self._read(rows, self.starts() + step)

    def at(self, position: jax.Array) -> _Row:
        """The rows in given positions."""
        rows = self.packed.rows.reshape(-1).at[position].get(mode="clip")
        return self._read(rows, position)

    def num_flags(self) -> jax.Array:
        """How many rows of each piece have a bool that is True, int32 `[pieces]`."""
        _, steps = self.shape
        position = self.starts()[:, None] + jnp.arange(steps, dtype=jnp.int32)[None]
        flag = (self.packed.rows & 1 == 1) & (position < self.num_valid)
        return jnp.sum(flag, axis=1, dtype=jnp.int32)

    def _read(self, rows: jax.Array, position: jax.Array) -> _Row:
        live = position < self.num_valid
        key = self.packed.key_of(rows, position)
        return _Row(position, key, (rows & 1 == 1) & live, live)


def share_of_pairs(scores: jax.Array, flag: jax.Array, valid: jax.Array) -> jax.Array:
    """The share of pairs of a True and a False row in which the True one has the higher
    score; ties count one half.

    Numbers of pairs are exact up to 2^48.

    Args:
      scores: float32 `[N]`, N from 1 to `MOST_ROWS`.
      flag: bool `[N]`.
      valid: bool `[N]`.

    Returns:
      float32 scalar; NaN without a pair, or with a valid NaN.
    """
    pieces = _Pieces.of(search.sort_key(scores), flag, valid)
    number, steps = pieces.shape
    first = pieces.row(0).key

    # True rows are right answers here, and False ones wrong.
    def read(step: jax.Array, state: Any) -> Any:
        key, right, wrong, tied, tied_first, pairs = state
        row = pieces.row(step)
        is_right = row.flag.astype(jnp.int32)
        is_wrong = (~row.flag & row.live).astype(jnp.int32)
        wrong = wrong + is_wrong
        tied = jnp.where(key == row.key, tied, 0) + is_wrong
        pairs = pairs + is_right * (2 * wrong - tied)
        tied_first = tied_first + jnp.where(row.key == first, is_right, 0)
        return row.key, right + is_right, wrong, tied, tied_first, pairs

    zeros = jnp.zeros(number, jnp.int32)
    state = (first, *[zeros] * 5)
    state = transforms.carry(lambda state: read(jnp.int32(0), state), state)
    last, right, wrong, tied, tied_first, pairs = lax.fori_loop(
        np.int32(0), np.int32(steps), read, state
    )
    # Wrong answers of the pieces before each, and those that tie with its first score.
    before = jnp.tril(jnp.ones((number, number), bool), -1)
    ties = before & (first[:, None] == last[None])
    below = jnp.sum(jnp.where(before, wrong[None], 0), axis=1, dtype=jnp.int32)
    tied = jnp.sum(jnp.where(ties, tied[None], 0), axis=1, dtype=jnp.int32)
    products = [
        (pairs, 1),
        *((right * part, 2 * unit) for part, unit in _halves(below)),
        *((-tied_first * part, unit) for part, unit in _halves(tied)),
    ]
    terms = [_as_pair(product, unit) for product, unit in products]
    high, low = exact.sum_pairs(
        (
            jnp.concatenate([first for first, _ in terms]),
            jnp.concatenate([rest for _, rest in terms]),
        ),
        axis=0,
    )
    counts = (jnp.sum(count, dtype=jnp.int32) for count in (right, wrong))
    (rights, rest), (wrongs, other) = (_as_pair(count) for count in counts)
    every, error = exact.multiply(rights, wrongs)
    every, error = exact.two_sum(every, error + (rights * other + rest * wrongs))
    share, _ = exact.divide((high, low), (2 * every, 2 * error))
    return jnp.where((every == 0) | _unknown(scores, valid), jnp.nan, share)


def _unknown(scores: jax.Array, valid: jax.Array) -> jax.Array:
    nothing = jnp.sum(valid, dtype=jnp.int32) == 0
    return nothing | jnp.any(valid & jnp.isnan(scores))


def _halves(count: jax.Array) -> list[tuple[jax.Array, int]]:
    """A count below 2^30 in halves whose products with a number of steps fit an int32,
    and their units."""
    return [(count & 0x7FFF, 1), (count >> 15, 2**15)]


def _as_pair(count: jax.Array, unit: int = 1) -> tuple[jax.Array, jax.Array]:
    """An integer of at most 2^30 in a unit, rounded to float32, and the rest."""
    high = count.astype(jnp.float32)
    low = (count - high.astype(jnp.int32)).astype(jnp.float32)
    return unit * high, unit * low


def mean_share(scores: jax.Array, flag: jax.Array, valid: jax.Array) -> jax.Array:
    r"""The mean over k of the share of True rows among the k of highest scores.

    A tie of rows a + 1 to a + m, of which e are True after W others, adds

    .. math:: \sum_{j=1}^m \frac{W + j e / m}{a + j}
        = e + (W - a e / m) \sum_{j=1}^m \frac1{a + j}

    to the sum over k, as if each of its rows were True in part.

    Args and NaN as for `share_of_pairs`, but without a pair it is a number.
    """
    pieces = _Pieces.of(~search.sort_key(scores), flag, valid)
    number, steps = pieces.shape
    num_valid = pieces.num_valid
    # A piece may start inside a tie, whose False rows come first.
    first = pieces.row(0)
    begin, begin_true = _bisect(
        lambda row: (
            (row.key < first.key[None])
            | ((row.key == first.key[None]) & ~row.flag & np.array([[False], [True]]))
        ),
        pieces,
    )
    wrong = pieces.num_flags()
    before = jnp.tril(jnp.ones((number, number), bool), -1)
    wrong = jnp.sum(jnp.where(before, wrong[None], 0), axis=1, dtype=jnp.int32)
    before_tie = wrong - jnp.maximum(first.position - begin_true, 0)

    def closed(tie: Any, position: jax.Array, wrong: jax.Array) -> jax.Array:
        """What a tie adds that ends before a position."""
        begin, before, harmonic = tie
        size = jnp.maximum(position - begin, 1).astype(jnp.float32)
        gained = (wrong - before).astype(jnp.float32)
        slope = begin.astype(jnp.float32) * (gained / size)
        return gained + (before.astype(jnp.float32) - slope) * harmonic

    def end(state: Any, row: _Row) -> Any:
        """Ends the tie if the next row has another key."""
        key, wrong, tie, total, error = state
        position = row.position
        ends = (key != row.key) & (position <= num_valid)
        added = jnp.where(ends, closed(tie, position, wrong), 0.0)
        total, rest = exact.two_sum(total, added)
        new = position, wrong, jnp.zeros_like(total)
        tie = tuple(jnp.where(ends, a, b) for a, b in zip(new, tie, strict=True))
        return row.key, wrong, tie, total, error + rest

    def read(step: jax.Array, state: Any) -> Any:
        row = pieces.row(step)
        key, wrong, (begin, before, harmonic), *sums = end(state, row)
        harmonic = harmonic + 1 / (row.position + 1).astype(jnp.float32)
        wrong = wrong + row.flag.astype(jnp.int32)
        return key, wrong, (begin, before, harmonic), *sums

    zeros = jnp.zeros(number, jnp.float32)
    tie = begin, before_tie, _harmonic(begin, first.position)
    state = first.key, wrong, tie, zeros, zeros
    state = transforms.carry(lambda state: read(jnp.int32(0), state), state)
    state = lax.fori_loop(np.int32(0), np.int32(steps), read, state)
    # The row after the last of a piece is the first of the next.
    key = jnp.append(first.key[1:], sorting.NO_ROW)
    after = first._replace(position=first.position + steps, key=key)
    *_, total, error = end(state, after)
    total, rest = exact.sum_pairs((total, error), axis=0)
    mean = (total + rest) / num_valid.astype(jnp.float32)
    return jnp.where(_unknown(scores, valid), jnp.nan, mean)


def excess_mean_share(
    scores: jax.Array, flag: jax.Array, valid: jax.Array
) -> jax.Array:
    """`mean_share` minus the least that it could be, with all True rows last."""
    mean = mean_share(scores, flag, valid)
    every, some = (jnp.sum(x, dtype=jnp.int32) for x in (valid, valid & flag))
    before = (every - some).astype(jnp.float32) * _harmonic(every - some, every)
    least = (some.astype(jnp.float32) - before) / every.astype(jnp.float32)
    return jnp.maximum(mean - least, 0.0)


def mean_count(scores: jax.Array, flag: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean over k of the number of True rows among the k of highest scores, divided
    by the number of all rows.

    A True row counts with each row that follows it: with True ones by their number, and
    with False ones where they have the lower score.
    """
    every, some = (
        jnp.sum(x, dtype=jnp.int32).astype(jnp.float32) for x in (valid, valid & flag)
    )
    share, rest = masking.ratio(some, every), masking.ratio(every - some, every)
    pairs = share_of_pairs(scores, flag, valid)
    pairs = jnp.where((share > 0) & (rest > 0), pairs, 0.0)
    mean = share * (0.5 * (share + 1 / every) + rest * pairs)
    return jnp.where(_unknown(scores, valid), jnp.nan, mean)


def _harmonic(start: jax.Array, stop: jax.Array) -> jax.Array:
    """The sum of 1 / k for k in (start, stop], by Euler's formula."""
    start, stop = start.astype(jnp.float32), stop.astype(jnp.float32)
    terms = [1 / (start + k) - 1 / (stop + k) for k in range(1, _NUM_TERMS + 1)]
    low, high = start + _NUM_TERMS, stop + _NUM_TERMS
    between = jnp.log1p((high - low) / low) + 0.5 * (1 / high - 1 / low)
    return sum(terms, between - (1 / high**2 - 1 / low**2) / 12)


def _bisect(holds: Any, pieces: _Pieces) -> jax.Array:
    """The first positions int32 `[2, pieces]` at which something does not hold."""
    number, steps = pieces.shape
    num_bits = (number * steps).bit_length()

    def ahead(bit: jax.Array, low: jax.Array) -> jax.Array:
        upto = low + (1 << (num_bits - 1 - bit))
        passes = (upto <= number * steps) & holds(pieces.at(upto - 1))
        return jnp.where(passes, upto, low)

    low = jnp.zeros((2, number), jnp.int32)
    low = transforms.carry(lambda low: ahead(jnp.int32(0), low), low)
    return lax.fori_loop(np.int32(0), np.int32(num_bits), ahead, low)
