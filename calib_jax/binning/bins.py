"""Bins of scores: equal-count or equal-width edges, and the bin of a score.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`.

A bin is a function of the score alone: bin `k` is `edges[k - 1] <= score < edges[k]`, a
score equal to an edge goes up, and tied scores share a bin. So a table never depends on
the order of its rows, and looking up a score always finds the bin that counted it. In
return, bins of heavily tied scores differ in size and may be empty. Scores are any
floating numbers; those below the smallest normal float32 (1.2e-38) in size count as 0.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from . import order_statistics, search

DEFAULT_NUM_BINS = 15


@records.record(axes={"edges": "num_bins-1"}, values={"edges": records.ASCENDING})
class Bins(records.Result):
    """Bins of a score, given by their inner edges.

    Attributes:
      edges: float32 `[num_bins - 1]`, ascending; +inf for bins that are not used.
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
    """Bins that hold equally many of the valid scores.

    The sorted scores are split evenly, with one more row in each of the first
    `n mod num_bins` bins (as `numpy.array_split`); edge `k` is the score at which bin
    `k` starts. An edge at or beyond the last of the `n` valid scores is +inf. NaN
    scores are left out, and weights never move edges.

    Args:
      scores: floating `[N]`.
      num_bins: number of bins, at least 1. With `max_bins` it may be an integer array,
        which is clipped to `[1, max_bins]`.
      where: optional bool `[N]`, the rows that count.
      max_bins: optional static number of bins of the result, so that `num_bins` may be
        traced and batched; unused edges are +inf.

    Returns:
      `Bins`, `max_bins` of them if given and `num_bins` otherwise.

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
    edges = order_statistics.equal_count_edges(array, count, mask, max_bins=max_bins)
    return Bins(edges=edges)


def cut_evenly(scores: jax.Array, num_bins: int, where: jax.Array | None) -> Bins:
    """`equal_count_bins` of arrays that were checked, for use inside other cores."""
    edges = order_statistics.equal_count_edges(
        scores, jnp.int32(num_bins), where, max_bins=num_bins
    )
    return Bins(edges=edges)


def given_or_cut(
    bins: Bins | None,
    scores: jax.Array,
    num_bins: int,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> Bins:
    """The given bins, or else bins of equal count, for use inside other cores.

    A row of weight 0 is a removed row, for the edges too.
    """
    if bins is not None:
        return bins
    if weights is not None:
        where = masking.valid_rows(scores.shape[0], where, weights)
    return cut_evenly(scores, num_bins, where)


def checked_size(bins: Bins | None, num_bins: int) -> int:
    """Static number of bins: of those given, or else to be cut."""
    if bins is None:
        return checks.static_int("num_bins", num_bins, minimum=1)
    checks.instance("bins", bins, Bins)
    return bins.num_bins


def equal_width_bins(
    num_bins: int = DEFAULT_NUM_BINS, *, lower: float = 0.0, upper: float = 1.0
) -> Bins:
    """Bins of equal width from `lower` to `upper`.

    Args:
      num_bins: static number of bins, at least 1.
      lower: lower end of the first bin.
      upper: upper end of the last bin, above `lower`.

    Returns:
      `Bins` with `num_bins` bins; scores beyond the ends fall in the end bins.

    Raises:
      ValueError: if `num_bins < 1` or `upper <= lower`.

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
    """Index of the bin of each score: the number of edges at or below it.

    Args:
      bins: `Bins`.
      scores: floating `[...]`.

    Returns:
      int32 `[...]` in `[0, num_bins - 1]`; scores beyond the ends fall in the end bins,
      and NaN gives -1.

    Raises:
      ValueError: for a wrong dtype, or if `bins` is not a `Bins`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II.

    Examples:
      >>> print(bin_index(equal_width_bins(2), [0.1, 0.5, 0.9, float("nan")]))
      [ 0  1  1 -1]
    """
    checks.instance("bins", bins, Bins)
    array = checks.floats("scores", scores, rank=range(9), axes="[...]")
    return search.bin_of(bins.edges, array)


@dispatch.core(rows_of="scores")
def in_first_bins(
    bins: Bins, order: jax.Array, scores: jax.Array, num_first: jax.Array
) -> jax.Array:
    """Whether each score falls in one of the first `num_first` bins of an order.

    Args:
      bins: `Bins`.
      order: int32 `[num_bins]`, a permutation of the bins.
      scores: float32 `[...]`; NaN gives False, and so does a NaN edge.
      num_first: int32 scalar.

    Returns:
      bool `[...]`.
    """
    position = jnp.arange(order.shape[0], dtype=jnp.int32)
    chosen = jnp.zeros(order.shape, bool).at[order].set(position < num_first)
    index = search.bin_of(bins.edges, scores)
    return chosen[index] & (index >= 0)


def searches(bins: Bins) -> bool:
    """Whether scores are looked up by a search, because there are many edges.

    A search is fastest over all scores at once, comparisons block by block.
    """
    return bins.edges.shape[0] > search.FEW_EDGES
