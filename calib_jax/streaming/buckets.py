r"""Summaries of a stream: fixed in size, updated by batches, merged in any order.

Shapes: N examples of a batch, `num_buckets` buckets of a score. A summary holds exact
integer sums in each bucket, so that merging is associative and commutative bit for bit,
over batches, devices and processes, and counts are exact up to 2^40 rows. What is read
off it (`calib_jax.streaming`) is cut at the boundaries of buckets, and comes with a
bound on what that changed.
"""

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .. import binning
from .._core import checks, dispatch, exact, masking, reduce
from ..binning import bin_sums
from ..binning.bins import Bins

DEFAULT_NUM_BUCKETS = 4096
# Sums over all buckets of digits of at most 2^11 are added up as int32.
MAX_BUCKETS = 2**19


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReliabilitySummary:
    """Exact sums of scores and outcomes in buckets of the score.

    Attributes:
      buckets: `Bins` of `num_buckets` buckets; edges are NaN after merging summaries of
        different buckets, and so is all that is read off such a one.
      sums: `BinSums` of two quantities: score, outcome.
      least: float32 `[num_buckets]`, least score of each bucket; +inf in an empty one.
      greatest: float32 `[num_buckets]`, the greatest; -inf in an empty one.
    """

    buckets: Bins
    sums: bin_sums.BinSums
    least: jax.Array
    greatest: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeSummary:
    """Exact sums of two models' confidences and outcomes in buckets of the small one's.

    Attributes:
      buckets: `Bins` of `num_buckets` buckets; edges are NaN after merging summaries of
        different buckets, and so is all that is read off such a one.
      sums: `BinSums` of five quantities: confidence of the small and of the large
        model, outcome of the small and of the large one, squared difference of these.
      least: float32 `[num_buckets]`, least small confidence of each bucket; +inf in an
        empty one.
      greatest: float32 `[num_buckets]`, the greatest; -inf in an empty one.
    """

    buckets: Bins
    sums: bin_sums.BinSums
    least: jax.Array
    greatest: jax.Array


Summary = TypeVar("Summary", ReliabilitySummary, CascadeSummary)


def score_buckets(num_buckets: int = DEFAULT_NUM_BUCKETS) -> Bins:
    r"""Fixed buckets of a score in `[0, 1]`, as fine near 1 as near 0.

    Their edges are evenly spaced in log-odds, :math:`\log (c / (1 - c))`, between those
    of 2^-24 and of 1 - 2^-24, the greatest float32 below 1. Scores of exactly 0 and
    exactly 1 have buckets of their own. Near 1 float32 numbers lie further apart than
    edges, so that each has a bucket of its own and some buckets stay empty.

    Args:
      num_buckets: static number of buckets, at least 3.

    Returns:
      `Bins` with `num_buckets` bins.

    Raises:
      ValueError: for a wrong count.

    References:
      Ben-Haim and Tom-Tov, "A streaming parallel decision tree algorithm", 2010, for
      mergeable histograms; here the buckets are fixed.

    Examples:
      >>> print(score_buckets(6).edges)
      [1.1754944e-38 5.9604645e-08 5.0000000e-01 9.9999994e-01 1.0000000e+00]
    """
    size = checks.static_int("num_buckets", num_buckets, minimum=3)
    greatest = np.log(2.0**24 - 1)
    inner = 1 / (1 + np.exp(-np.linspace(-greatest, greatest, size - 3)))
    ends = [np.finfo(np.float32).tiny], [1.0]
    return Bins(edges=jnp.asarray(np.concatenate([ends[0], inner, ends[1]]), "float32"))


def init_reliability(buckets: Bins | None = None) -> ReliabilitySummary:
    """The summary of no rows, to be updated with scores and outcomes.

    Args:
      buckets: optional `Bins` with edges `[num_buckets - 1]`; `score_buckets()` where
        not given. With frozen bins, such as those of a calibration half, their table is
        exact.

    Returns:
      `ReliabilitySummary`.

    Raises:
      ValueError: where `buckets` are no `Bins`, or more than 2^19.

    References:
      Guo et al. 2017, arXiv 1706.04599, section 2.

    Examples:
      >>> print(init_reliability(binning.equal_width_bins(2)).least)
      [inf inf]
    """
    buckets, sums, least = _no_rows(buckets, 2)
    return ReliabilitySummary(buckets=buckets, sums=sums, least=least, greatest=-least)


def init_cascade(buckets: Bins | None = None) -> CascadeSummary:
    """The summary of no rows, to be updated with the outputs of two models.

    Args:
      buckets: optional `Bins` of the small model's confidence, with edges
        `[num_buckets - 1]`; `score_buckets()` where not given. With the bins of a
        router, its curve is exact.

    Returns:
      `CascadeSummary`.

    Raises:
      ValueError: where `buckets` are no `Bins`, or more than 2^19.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1.

    Examples:
      >>> print(init_cascade(binning.equal_width_bins(2)).greatest)
      [-inf -inf]
    """
    buckets, sums, least = _no_rows(buckets, 5)
    return CascadeSummary(buckets=buckets, sums=sums, least=least, greatest=-least)


def _no_rows(
    buckets: Bins | None, num_quantities: int
) -> tuple[Bins, bin_sums.BinSums, jax.Array]:
    buckets = score_buckets() if buckets is None else buckets
    checks.instance("buckets", buckets, Bins)
    if buckets.num_bins > MAX_BUCKETS:
        raise ValueError(
            f"buckets: expected at most {MAX_BUCKETS}, got {buckets.num_bins}."
        )
    least = jnp.full(buckets.num_bins, jnp.inf, jnp.float32)
    # Edges of its own, so that a loop may donate the summary and leave the caller's.
    buckets = Bins(edges=jnp.array(buckets.edges, copy=True))
    return buckets, bin_sums.init(buckets.num_bins, num_quantities), least


def update_reliability(
    state: ReliabilitySummary,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> ReliabilitySummary:
    """Adds a batch to a summary; in a loop, jit it and donate the state.

    Args:
      state: `ReliabilitySummary`.
      scores: floating `[N]`, confidences in `[0, 1]`, or what the buckets are of.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, such as that of a padded last batch.
      weights: optional non-negative `[N]`.

    Returns:
      `ReliabilitySummary` of the rows so far and the valid ones of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> state = update_reliability(init_reliability(), [0.9, 0.4], [1, 0])
      >>> print(state.least.min(), state.greatest.max())
      0.4 0.9
    """
    checks.instance("state", state, ReliabilitySummary)
    score = checks.floats("scores", scores)
    outcome = checks.outcomes("outcomes", outcomes)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(scores=score, outcomes=outcome, where=mask, weights=weight)
    return _update(state, (score, outcome), mask, weight)


def update_cascade(
    state: CascadeSummary,
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CascadeSummary:
    """Adds a batch of two models' outputs to a summary.

    Args:
      state: `CascadeSummary`.
      small_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      large_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: the same of the large model's answer.
      where: optional bool `[N]`, such as that of a padded last batch.
      weights: optional non-negative `[N]`.

    Returns:
      `CascadeSummary` of the rows so far and the valid ones of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> state = init_cascade()
      >>> state = update_cascade(state, [0.2, 0.8], [0.9, 0.7], [0, 1], [1, 1])
      >>> print(bin_sums.compute(state.sums).count.sum())
      2
    """
    checks.instance("state", state, CascadeSummary)
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    by_small = checks.outcomes("small_outcome", small_outcome)
    by_large = checks.outcomes("large_outcome", large_outcome)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(
        small_confidence=small,
        large_confidence=large,
        small_outcome=by_small,
        large_outcome=by_large,
        where=mask,
        weights=weight,
    )
    squared = (by_large - by_small) ** 2
    return _update(state, (small, large, by_small, by_large, squared), mask, weight)


def merge(first: Summary, second: Summary) -> Summary:
    """The summary of the rows of both: associative and commutative, bit for bit.

    Args:
      first: `ReliabilitySummary` or `CascadeSummary` with sums `[2 + Q, num_buckets +
        1, digits]`.
      second: one of the same type with the same buckets.

    Returns:
      A summary of the type of both.

    Raises:
      ValueError: for another type or number of buckets.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> state = update_reliability(init_reliability(), [0.9, 0.4], [1, 0])
      >>> print(bin_sums.compute(merge(state, state).sums).count.sum())
      4
    """
    checks.instance("first", first, ReliabilitySummary, CascadeSummary)
    checks.instance("second", second, type(first))
    if first.buckets.num_bins != second.buckets.num_bins:
        raise ValueError(
            f"second: expected {first.buckets.num_bins} buckets, as first, got "
            f"{second.buckets.num_bins}."
        )
    return _merge(first, second)


def psum(state: Summary, axis_name: str | tuple[str, ...]) -> Summary:
    """The summary of the rows of all devices, on every device.

    For use inside `jax.shard_map`, `jax.pmap` or a named `jax.vmap`, where each device
    updates a summary of its own; rows sharded under plain `jax.jit` need none.

    Args:
      state: `ReliabilitySummary` or `CascadeSummary` with sums `[2 + Q, num_buckets +
        1, digits]`, of the device's own rows.
      axis_name: name of the mapped axis, or several.

    Returns:
      A summary of the same type, the same on every device.

    Raises:
      ValueError: for another type.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> def summarise(scores, outcomes):
      ...     state = update_reliability(init_reliability(), scores, outcomes)
      ...     return psum(state, "devices")
      >>> scores, outcomes = jnp.array([[0.9], [0.4]]), jnp.array([[1], [0]])
      >>> states = jax.vmap(summarise, axis_name="devices")(scores, outcomes)
      >>> print(states.least.min(axis=1))
      [0.4 0.4]
    """
    checks.instance("state", state, ReliabilitySummary, CascadeSummary)
    edges = lax.pmin(state.buckets.edges, axis_name)
    differ = (edges != state.buckets.edges).astype(jnp.int32)
    differ = lax.pmax(differ, axis_name) > 0
    sums = exact.normalise(lax.psum(state.sums.sums, axis_name))
    return dataclasses.replace(
        state,
        buckets=Bins(edges=jnp.where(differ, jnp.nan, edges)),
        sums=bin_sums.BinSums(sums=sums),
        least=lax.pmin(state.least, axis_name),
        greatest=lax.pmax(state.greatest, axis_name),
    )


@dispatch.core
def _update(
    state: Summary,
    quantities: tuple[jax.Array, ...],
    where: jax.Array | None,
    weights: jax.Array | None,
) -> Summary:
    """Rows with their quantities, the first of which is the score of the buckets."""
    quantities, weights = lax.stop_gradient((quantities, weights))
    index = binning.bin_index(state.buckets, quantities[0])
    # Binning takes -0.0 and subnormal numbers as 0.
    tiny = jnp.finfo(jnp.float32).tiny
    score = jnp.where(jnp.abs(quantities[0]) < tiny, jnp.float32(0), quantities[0])

    valid = masking.valid_rows(index.shape[0], where, weights)
    ends = (state.least, state.greatest)
    least, greatest = reduce.ends_of_bins(ends, index, score, valid)
    return dataclasses.replace(
        state,
        sums=bin_sums.update(
            state.sums, index, quantities, where=where, weights=weights
        ),
        least=least,
        greatest=greatest,
    )


@dispatch.core
def _merge(first: Summary, second: Summary) -> Summary:
    edges, other = first.buckets.edges, second.buckets.edges
    return dataclasses.replace(
        first,
        buckets=Bins(edges=jnp.where(edges == other, edges, jnp.nan)),
        sums=bin_sums.merge(first.sums, second.sums),
        least=jnp.minimum(first.least, second.least),
        greatest=jnp.maximum(first.greatest, second.greatest),
    )
