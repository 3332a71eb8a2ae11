"""A reference sample and a new one: their rows, and draws from both pooled.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws. Rows are drawn one at a
time from those left, in whole numbers, so that draws are exact to one part in 2^32 for
any number of rows.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, masking
from ..stats import resampling
from ..stats.intervals import Counts

# Statistics this close to each other, relatively, count as equal.
_EQUAL = 1e-5
# Rows whose random numbers are drawn together.
_ROWS, _ROWS_OF_BINS = 64, 8

Masks = tuple[jax.Array | None, jax.Array | None]


def same_rows(
    reference: Mapping[str, jax.Array],
    new: Mapping[str, jax.Array],
    reference_where: ArrayLike | None,
    where: ArrayLike | None,
) -> Masks:
    """Checks that each sample's arrays agree in shape; returns both masks."""
    before = checks.mask("reference_where", reference_where, axes="[R]")
    after = checks.mask("where", where)
    checks.same_shape(**reference, reference_where=before)
    checks.same_shape(**new, where=after)
    return before, after


def count_rows(
    reference: jax.Array, new: jax.Array, masks: Masks, rows_in_bins: jax.Array
) -> tuple[Counts, jax.Array]:
    """`Counts` of new rows, with masked rows of either sample, and reference rows."""
    was_valid, valid = (
        masking.valid_rows(rows.shape[0], mask)
        for rows, mask in zip((reference, new), masks, strict=True)
    )
    num_reference, num_rows = (
        jnp.sum(part, dtype=jnp.int32) for part in (was_valid, valid)
    )
    counts = Counts(
        num_rows=num_rows,
        num_masked=reference.shape[0] - num_reference + new.shape[0] - num_rows,
        num_bins=jnp.sum(rows_in_bins > 0, dtype=jnp.int32),
    )
    return counts, num_reference


def draw_rows(
    key: jax.Array, pooled: jax.Array, num_taken: jax.Array, num_resamples: int
) -> jax.Array:
    """Multivariate hypergeometric draws of counts.

    Args:
      key: a JAX random key.
      pooled: int32 `[num_bins]`, rows.
      num_taken: int32 scalar, how many of them are taken without replacement.
      num_resamples: static number of draws D.

    Returns:
      int32 `[D, num_bins]`, counts of the rows taken.
    """
    total = jnp.sum(pooled, dtype=jnp.int32)
    # The rows left are as random as the rows taken: draw the fewer of both.
    few = jnp.minimum(num_taken, total - num_taken)
    upto = jnp.cumsum(pooled, dtype=jnp.int32)

    def take(step: jax.Array, words: jax.Array, left: jax.Array) -> jax.Array:
        row = resampling.scale(words, jnp.maximum(total - step, 1)).astype(jnp.int32)
        return left - ((left > row) & (step < few)).astype(jnp.int32)

    left = jnp.broadcast_to(upto[None], (num_resamples, upto.shape[0]))
    left = _each_row(key, take, left, few, (num_resamples, 1), _ROWS)
    taken = jnp.diff(upto[None] - left, axis=1, prepend=0)
    return jnp.where(few == num_taken, taken, pooled[None] - taken)


def draw_right(
    key: jax.Array,
    right: jax.Array,
    pooled: jax.Array,
    num_taken: jax.Array,
    num_resamples: int,
) -> jax.Array:
    """Hypergeometric draws in each bin.

    Args:
      key: a JAX random key.
      right: int32 `[num_bins]`, right answers.
      pooled: int32 `[num_bins]`, rows.
      num_taken: int32 `[num_bins]`, how many of these are taken.
      num_resamples: static number of draws D.

    Returns:
      int32 `[D, num_bins]`, right answers among the rows taken.
    """
    few = jnp.minimum(num_taken, pooled - num_taken)
    shape = (num_resamples, pooled.shape[0])

    def take(step: jax.Array, words: jax.Array, left: jax.Array) -> jax.Array:
        row = resampling.scale(words, jnp.maximum(pooled - step, 1)[None])
        taken = (row.astype(jnp.int32) < left) & (step < few)[None]
        return left - taken.astype(jnp.int32)

    left = jnp.broadcast_to(right[None], shape)
    left = _each_row(key, take, left, jnp.max(few), shape, _ROWS_OF_BINS)
    return jnp.where((few == num_taken)[None], right[None] - left, left)


def _each_row(
    key: jax.Array,
    take: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    left: jax.Array,
    num_rows: jax.Array,
    shape: tuple[int, int],
    block: int,
) -> jax.Array:
    """What is left after taking every row, drawing random numbers in blocks."""

    def several(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, left = state
        words = jax.random.bits(
            jax.random.fold_in(key, first), (block, *shape), jnp.uint32
        )
        left = lax.fori_loop(
            0, block, lambda k, left: take(first + k, words[k], left), left
        )
        return first + block, left

    start = jnp.int32(0), left
    return lax.while_loop(lambda state: state[0] < num_rows, several, start)[1]


def p_value(statistics: jax.Array) -> jax.Array:
    """The p-value of the first of `[1 + D]` statistics, at least 0, among all of them.

    One program must have computed all of them: the p-value is then exact for any
    function of the counts, rounding included.
    """
    observed = statistics[0]
    return resampling.p_value(statistics[1:], observed, _EQUAL * observed)
