"""Cumulative errors of rows in the order of a score, ties shared evenly.

Where answers are right or wrong and rows have no weights, score and error share an
integer (`binning.sorting`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._core import masking, reduce, transforms
from ..binning import search, sorting

# Up to this many rows one way of sorting is enough, and a smaller program.
_FEW_ROWS = 2**16


class Points(NamedTuple):
    """What holds after each row, float32 `[N]`; rows that do not count come last."""

    score: jax.Array
    coverage: jax.Array
    risk: jax.Array


def errors_of(
    outcomes: jax.Array, weights: jax.Array | None, valid: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """Error of each row, 0 where it does not count and NaN where anything is; weights.

    Args:
      outcomes: float32 or bool `[N]`.
      weights: optional float32 `[N]`.
      valid: bool `[N]`.
    """
    error = jnp.where(valid, 1 - outcomes.astype(jnp.float32), 0.0)
    if weights is None:
        return error, None
    (weights,) = masking.clean_rows(valid, 0.0, weights)
    weight, _ = masking.scaled_weights(error.shape[0], weights, valid)
    return jnp.where(jnp.isnan(weight), jnp.nan, error), weight


def by_score(
    scores: jax.Array,
    error: jax.Array,
    weight: jax.Array | None,
    valid: jax.Array,
    whole: jax.Array,
) -> Points:
    """The highest score first; `whole` says whether every error is 0 or 1."""
    # Ascending as scores descend. A row that does not count comes last.
    key = jnp.where(valid, ~search.sort_key(scores), sorting.NO_ROW)
    if weight is None and not transforms.at_most(scores.shape[0], _FEW_ROWS):
        key, error = _sort_long(key, error, whole)
    else:
        key, error, weight = _sort(key, error, weight)
    count = jnp.sum(valid, dtype=jnp.int32)
    coverage, risk = _shared(key, error, weight, count)
    last = jnp.arange(key.shape[0], dtype=jnp.int32) >= count
    key = jnp.where(last, key[jnp.maximum(count - 1, 0)], key)
    return Points(score=search.from_key(~key), coverage=coverage, risk=risk)


def by_error(
    error: jax.Array, weight: jax.Array | None, valid: jax.Array, whole: jax.Array
) -> Points:
    """The least error first, as no score could do better."""

    def sorted_by_error() -> tuple[jax.Array, jax.Array]:
        points = by_score(-error, error, weight, valid, jnp.bool_(False))
        return points.coverage, points.risk

    def counted() -> tuple[jax.Array, jax.Array]:
        count = jnp.sum(valid, dtype=jnp.int32)
        wrong = jnp.sum(error == 1, dtype=jnp.int32)
        row = jnp.arange(1, error.shape[0] + 1, dtype=jnp.int32)
        row = jnp.minimum(row, count)
        so_far = jnp.maximum(row - (count - wrong), 0)
        return _ratio(row, count), _ratio(so_far, row)

    if weight is None and not transforms.at_most(error.shape[0], _FEW_ROWS):
        coverage, risk = lax.cond(whole, counted, sorted_by_error)
    else:
        coverage, risk = sorted_by_error()
    return Points(score=-error, coverage=coverage, risk=risk)


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """The quotient of counts, rounded correctly: 4 / 5 is 0.8, as a user types it."""
    return masking.ratio(part.astype(jnp.float32), whole.astype(jnp.float32))


def _sort(key: jax.Array, error: jax.Array, weight: jax.Array | None) -> Any:
    if weight is None:
        return *lax.sort((key, error), num_keys=1), None
    return lax.sort((key, error, weight), num_keys=1)


@jax.custom_jvp
def _sort_long(
    key: jax.Array, error: jax.Array, whole: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`_sort` of many rows: as single integers, if errors are 0 or 1."""

    def packed() -> tuple[jax.Array, jax.Array]:
        ordered, wrong = sorting.by_key(key, error == 1, key != sorting.NO_ROW)
        counts = wrong & (ordered != sorting.NO_ROW)
        return ordered, counts.astype(jnp.float32)

    return lax.cond(whole, packed, lambda: _sort(key, error, None)[:2])


@_sort_long.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    # Bits have no derivative with respect to errors.
    key, error, _ = primals
    return jax.jvp(lambda error: _sort(key, error, None)[:2], (error,), (tangents[1],))


def _shared(
    key: jax.Array, error: jax.Array, weight: jax.Array | None, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Coverage and risk after each row; rows of a tie share its error and weight."""
    size = key.shape[0]
    row = jnp.arange(size, dtype=jnp.int32)
    begins = (row == 0) | (key != jnp.roll(key, 1))
    ends = (row == size - 1) | (key != jnp.roll(key, -1))
    first = lax.cummax(jnp.where(begins, row, 0))
    last = lax.cummin(jnp.where(ends, row, size - 1), reverse=True)
    # Where in its tie a row is, in (0, 1].
    place = _ratio(row + 1 - first, last + 1 - first)

    def after(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The sum after each row, and after all of them."""
        before = reduce.sums_before(values)
        so_far = before + values
        start, stop = before[first], so_far[last]
        return start + place * (stop - start), so_far[-1]

    if weight is None:
        wrong, _ = after(error)
        answered = jnp.minimum(row + 1, count)
        some = jnp.maximum(answered, 1).astype(jnp.float32)
        return _ratio(answered, count), wrong / some
    wrong, _ = after(error * weight)
    answered, total = after(weight)
    coverage = jnp.minimum(masking.ratio(answered, total), 1.0)
    return coverage, masking.ratio(wrong, answered)
