"""Reductions over the class axis, in a form that XLA vectorises on the CPU.

Shapes: `[..., C]`, with any number of leading axes. On the CPU, XLA writes out what two
reductions share, and does not vectorise one loop of several reductions over a long
axis. It does if each has only a few entries to combine, side by side. So the axis is
cut into a few long pieces, which are combined first. Accelerators lose nothing by it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import masking

# So few are not cut into pieces.
_FEW_CLASSES = 16
# From here on a CPU is quicker to look for a maximum and then for its place.
_MANY_CLASSES = 512


class Reduction(NamedTuple):
    """An associative operation, its neutral element, and the reduction of an axis."""

    operation: Callable[[Any, Any], Any]
    neutral: float | int
    along: Callable[..., jax.Array]


# A maximum must not meet NaN; see `masking.nan_as_infinity`.
SUM = Reduction(lax.add, 0.0, jnp.sum)
MAX = Reduction(lax.max, -np.inf, jnp.max)
_FIRST = Reduction(lax.min, np.iinfo(np.int32).max, jnp.min)


def reduce_classes(
    reductions: Sequence[Reduction],
    terms: Sequence[jax.Array],
    *,
    whole: bool = False,
) -> tuple[jax.Array, ...]:
    """Reduces several terms `[..., C]` over their last axis, in one loop.

    Args:
      reductions: Q reductions, one per term. Only sums have derivatives.
      terms: Q arrays `[..., C]`.
      whole: whether the axis is reduced as it is, which is slower and less to compile.

    Returns:
      Q arrays `[...]`.
    """
    reductions = tuple(reductions)
    if whole:
        return _reduce_together(reductions, -1, *terms)
    pieces, rest = _cut(terms)
    if pieces is None:
        return _reduce_together(reductions, -1, *rest)
    parts = _reduce_together(reductions, -2, *pieces)
    results = [
        r.along(part, axis=-1) for r, part in zip(reductions, parts, strict=True)
    ]
    if rest is not None:
        few = _reduce_together(reductions, -1, *rest)
        both = zip(reductions, results, few, strict=True)
        results = [r.operation(first, second) for r, first, second in both]
    return lax.optimization_barrier(tuple(results))


def sum_classes(*terms: jax.Array) -> tuple[jax.Array, ...]:
    """Sums of several terms `[..., C]` over their last axis, by `reduce_classes`."""
    return reduce_classes([SUM] * len(terms), terms)


@jax.custom_jvp
def largest_class(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maximum of `[..., C]` over the last axis, and the first position that has it.

    Equals `jnp.max` and `jnp.argmax`, which are many times slower on the CPU, except
    that NaN counts as +inf.

    Args:
      values: float32 `[..., C]`.

    Returns:
      float32 `[...]`, and int32 `[...]`, which is C if all values are -inf.
    """
    length = values.shape[-1]
    place = lax.broadcasted_iota(jnp.int32, values.shape, values.ndim - 1)
    values = masking.nan_as_infinity(values)
    if length < _MANY_CLASSES:
        largest, first = _largest_and_place(values, place)
    else:
        largest, first = lax.platform_dependent(
            values, place, cpu=_largest_then_place, default=_largest_and_place
        )
    return largest, jnp.where(largest > -jnp.inf, first, length)


def _largest_then_place(
    values: jax.Array, place: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Reads the values twice, the second time from the cache."""
    (largest,) = reduce_classes([MAX], [values])
    place = jnp.where(values == largest[..., None], place, values.shape[-1])
    (first,) = reduce_classes([_FIRST], [place])
    return largest, first


def _largest_and_place(
    values: jax.Array, place: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Reads the values once."""
    length = values.shape[-1]
    neutral = (np.float32(-np.inf), np.int32(length))

    def larger(first: Any, second: Any) -> Any:
        (value, place), (other, other_place) = first, second
        ahead = (value > other) | ((value == other) & (place < other_place))
        return lax.select(ahead, value, other), lax.select(ahead, place, other_place)

    def reduced(parts: Any, axis: int) -> Any:
        return lax.reduce(parts, neutral, larger, (axis,))

    pieces, rest = _cut((values, place))
    if pieces is None:
        return reduced(rest, values.ndim - 1)
    parts = lax.optimization_barrier(reduced(pieces, values.ndim - 1))
    largest = jnp.max(parts[0], axis=-1)
    at_largest = parts[0] == largest[..., None]
    first = jnp.min(jnp.where(at_largest, parts[1], length), axis=-1)
    if rest is not None:
        largest, first = larger((largest, first), reduced(rest, values.ndim - 1))
    return largest, first


@largest_class.defjvp
def _derivative_of_largest(primals: Any, tangents: Any) -> Any:
    largest, first = largest_class(*primals)
    (change,) = tangents
    place = lax.broadcasted_iota(jnp.int32, change.shape, change.ndim - 1)
    moved = jnp.sum(jnp.where(place == first[..., None], change, 0.0), axis=-1)
    return (largest, first), (moved, np.zeros(first.shape, jax.dtypes.float0))


def _cut(terms: Sequence[jax.Array]) -> tuple[Any, Any]:
    """Terms `[..., C]` as `[..., pieces, C / pieces]`, and the classes left over.

    With few classes the first is None; with no class left over the second is.
    """
    length = terms[0].shape[-1]
    if length <= _FEW_CLASSES:
        return None, tuple(terms)
    num_pieces = min(8, length // 16)
    size = length // num_pieces
    cut = num_pieces * size
    shape = (*terms[0].shape[:-1], num_pieces, size)
    pieces = tuple(term[..., :cut].reshape(shape) for term in terms)
    return pieces, tuple(term[..., cut:] for term in terms) if cut < length else None


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _reduce_together(
    reductions: tuple[Reduction, ...], axis: int, *terms: jax.Array
) -> tuple[jax.Array, ...]:
    """Reduces all terms over a short axis in one loop."""

    def combine(first: Any, second: Any) -> Any:
        both = zip(reductions, first, second, strict=True)
        return tuple(reduction.operation(a, b) for reduction, a, b in both)

    neutral = tuple(
        np.array(r.neutral, term.dtype)
        for r, term in zip(reductions, terms, strict=True)
    )
    results = lax.reduce(terms, neutral, combine, (axis % terms[0].ndim,))
    # Fused with what follows, the loop would not be vectorised.
    return lax.optimization_barrier(tuple(results))


@_reduce_together.defjvp
def _derivative_of_sums(
    reductions: tuple[Reduction, ...], axis: int, primals: Any, tangents: Any
) -> Any:
    assert all(reduction == SUM for reduction in reductions)
    changes = tuple(jnp.sum(tangent, axis=axis) for tangent in tangents)
    return _reduce_together(reductions, axis, *primals), changes
