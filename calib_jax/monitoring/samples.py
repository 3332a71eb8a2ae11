"""A reference sample and a new one: their rows, and draws from both pooled.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws. Rows are drawn by random
bits and in whole numbers, so that draws are exact to one part in 2^32 for any number of
rows.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, domains, transforms
from ..stats import random_words, resampling
from ..stats.intervals import Counts

# Statistics this close to each other, relatively, count as equal.
_EQUAL = 1e-5
# Random words of each draw that are held at once; a byte of a word takes a row.
_WORDS = 256
_SMALL_SHARE = 1 / 64

Masks = tuple[jax.Array | None, jax.Array | None]


def same_rows(
    reference: Mapping[str, jax.Array],
    new: Mapping[str, jax.Array],
    reference_where: ArrayLike | None,
    where: ArrayLike | None,
    limits: Mapping[str, domains.Domain] | None = None,
) -> Masks:
    """Checks that each sample's arrays agree in shape; returns both masks.

    Values of the host are checked here, where they have the names of the arguments of a
    public function, against the domains of some of them.
    """
    before = checks.mask("reference_where", reference_where, axes="[R]")
    after = checks.mask("where", where)
    checks.same_shape(**reference, reference_where=before)
    checks.same_shape(**new, where=after)
    given = {**reference, **new, "reference_where": before, "where": after}
    domains.check_host(given, limits or {})
    return before, after


def count_rows(
    num_reference: jax.Array,
    num_rows: jax.Array,
    num_given: jax.Array,
    rows_in_bins: jax.Array,
) -> Counts:
    """`Counts` of new rows, with the masked rows of either sample.

    Args:
      num_reference: int32 scalar, valid reference rows.
      num_rows: int32 scalar, valid new rows.
      num_given: int32 scalar, rows of both samples, masked ones included.
      rows_in_bins: int32 `[num_bins]`.
    """
    return Counts(
        num_rows=jnp.array(num_rows, copy=True),
        num_masked=num_given - num_reference - num_rows,
        num_bins=jnp.sum(rows_in_bins > 0, dtype=jnp.int32),
    )


def draw_cells(
    key: jax.Array, cells: jax.Array, num_taken: jax.Array, num_resamples: int
) -> jax.Array:
    """Rows taken without replacement, from the cells of several groups.

    First every row is taken on its own with a chance near the share wanted, a multiple
    of 1 / 256, by a random byte. Given how many these are, all sets of as many rows are
    equally likely. The few rows still missing are then taken one by one, or those too
    many are put back, so that draws are exact.

    Args:
      key: a JAX random key.
      cells: int32 `[G, C]`, rows in each cell of each group.
      num_taken: int32 `[G]`, how many rows of each group are taken.
      num_resamples: static number of draws D.

    Returns:
      int32 `[D, G, C]`, counts of the rows taken.
    """
    total = jnp.sum(cells, axis=1, dtype=jnp.int32)
    # The rows left are as random as the rows taken: draw the fewer of both.
    few = jnp.minimum(num_taken, total - num_taken)
    chance = few.astype(jnp.float32) / jnp.maximum(total, 1).astype(jnp.float32)
    # A byte a row takes longer than to take a small share of them one by one.
    chance = jnp.where(chance < _SMALL_SHARE, 0.0, jnp.round(256 * chance))
    chance = chance.astype(jnp.int32)
    taken = _take_by_chance(key, cells, chance, num_resamples)

    missing = few[None] - jnp.sum(taken, axis=2, dtype=jnp.int32)
    more = (missing > 0)[:, :, None]
    moved = _take_one_by_one(
        key, jnp.where(more, cells[None] - taken, taken), jnp.abs(missing)
    )
    taken = taken + jnp.where(more, moved, -moved)
    return jnp.where((few == num_taken)[None, :, None], taken, cells[None] - taken)


def _take_by_chance(
    key: jax.Array, cells: jax.Array, chance: jax.Array, num_resamples: int
) -> jax.Array:
    """How many rows of each cell `[D, G, C]` are taken with a chance of k in 256.

    Independently of each other, with k int32 `[G]`, from 0 to 128.
    """
    rows, shape = cells.reshape(-1), cells.shape
    chances = jnp.broadcast_to(chance[:, None], shape).reshape(-1)
    # The words of a cell follow each other; only its last one stands for fewer rows.
    end = jnp.cumsum((rows + 3) >> 2, dtype=jnp.int32)
    start = end - ((rows + 3) >> 2)
    draws = jnp.arange(num_resamples, dtype=jnp.uint32)

    def block(number: jax.Array, count: jax.Array) -> jax.Array:
        place = number * _WORDS + jnp.arange(_WORDS, dtype=jnp.int32)
        inside = (place[:, None] >= start[None]) & (place[:, None] < end[None])
        # Rows left at each word, or a few less than none, and their chance.
        left = jnp.where(inside, rows[None] - 4 * (place[:, None] - start[None]), 0)
        left = jnp.sum(left, axis=1, dtype=jnp.int32)[None]
        below = jnp.sum(jnp.where(inside, chances[None], 0), axis=1, dtype=jnp.int32)
        words = random_words.words_by_number(key, draws, _WORDS, place[0])
        taken = jnp.zeros(words.shape, jnp.float32)
        for byte in range(4):
            number = ((words >> 8 * byte) & 255).astype(jnp.int32)
            took = (number < below[None]) & (byte < left)
            taken = taken + took.astype(jnp.float32)
        found = lax.dot_general(
            taken,
            inside.astype(jnp.float32),
            (((1,), (0,)), ((), ())),
            precision=lax.Precision.HIGHEST,
        )
        return count + found.astype(jnp.int32)

    count = jnp.zeros((num_resamples, rows.shape[0]), jnp.int32)
    count = transforms.carry(lambda count: block(jnp.int32(0), count), count)
    num_words = jnp.where(jnp.any(chance > 0), end[-1], 0)
    num_blocks = (num_words + _WORDS - 1) // _WORDS
    return lax.fori_loop(0, num_blocks, block, count).reshape(-1, *shape)


def _take_one_by_one(
    key: jax.Array, cells: jax.Array, num_taken: jax.Array
) -> jax.Array:
    """Rows taken without replacement from cells `[D, G, C]`, `[D, G]` of each group."""
    upto = jnp.cumsum(cells, axis=2, dtype=jnp.int32)
    shape = num_taken.shape

    def take(step: jax.Array, left: jax.Array) -> jax.Array:
        draw = (jnp.uint32(2**31) + jnp.uint32(step))[None]
        words = random_words.words_by_number(key, draw, math.prod(shape)).reshape(shape)
        size = jnp.maximum(upto[:, :, -1] - step, 1)
        row = resampling.scale(words, size).astype(jnp.int32)
        row = jnp.where(step < num_taken, row, 2**31 - 1)
        return left - (left > row[:, :, None]).astype(jnp.int32)

    left = transforms.carry(lambda left: take(jnp.int32(0), left), upto)
    left = lax.fori_loop(0, jnp.max(num_taken), take, left)
    return jnp.diff(upto - left, axis=2, prepend=0)


def p_value(statistics: jax.Array) -> jax.Array:
    """The p-value of the first of `[1 + D]` statistics, at least 0, among all of them.

    One program must have computed all of them: the p-value is then exact for any
    function of the counts, rounding included.
    """
    observed = statistics[0]
    return resampling.p_value(statistics[1:], observed, _EQUAL * observed)
