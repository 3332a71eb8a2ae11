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

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch
from . import order_statistics, search

DEFAULT_NUM_BINS = 15


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
    array = checks.floats("scores", scores)
    mask = checks.mask("where", where)
    checks.same_shape(scores=array, where=mask)
    if max_bins is None:
        max_bins = checks.static_int("num_bins", num_bins, minimum=1)
        count = jnp.asarray(max_bins, jnp.int32)
    else:
        max_bins = checks.static_int("max_bins", max_bins, minimum=1)
        count = checks.traced_int("num_bins", num_bins, minimum=1, maximum=max_bins)
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
    size = checks.static_int("num_bins", num_bins, minimum=1)
    lower = checks.static_float("lower", lower)
    upper = checks.static_float("upper", upper)
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
    checks.instance("bins", bins, Bins)
    return _bin_index(bins.edges, checks.floats("scores", scores))


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


def searches(bins: Bins) -> bool:
    """Whether scores are searched for, best all together, for want of few edges."""
    return bins.edges.shape[0] > search.FEW_EDGES


@dispatch.core(static=["max_bins"])
def _equal_count_edges(
    scores: jax.Array, num_bins: jax.Array, where: jax.Array | None, *, max_bins: int
) -> jax.Array:
    if max_bins == 1:
        return jnp.zeros(0, jnp.float32)
    rows = lax.stop_gradient((scores, where))
    found = order_statistics.extent(rows)
    count, _ = found
    num_bins = jnp.clip(num_bins, 1, max_bins)
    k = jnp.arange(1, max_bins, dtype=jnp.int32)
    # k times the quotient cannot overflow where k < num_bins.
    used = k < num_bins
    start = jnp.where(used, k, 0) * (count // num_bins) + jnp.minimum(
        k, count % num_bins
    )
    ranks = jnp.where(used, start, scores.shape[0])
    return order_statistics.order_statistics(rows, found, ranks)


@dispatch.core(rows_of="scores")
def _bin_index(edges: jax.Array, scores: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(scores), -1, search.count_at_or_below(edges, scores))


@dispatch.core(rows_of="scores")
def _in_first_bins(
    edges: jax.Array, order: jax.Array, scores: jax.Array, num_first: jax.Array
) -> jax.Array:
    position = jnp.arange(order.shape[0], dtype=jnp.int32)
    chosen = jnp.zeros(order.shape, bool).at[order].set(position < num_first)
    index = search.count_at_or_below(edges, scores)
    return chosen[index] & ~jnp.isnan(scores)
