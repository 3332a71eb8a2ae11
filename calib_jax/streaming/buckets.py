"""Summaries of scores in buckets, for tables, routers and curves.

Shapes: N examples in a batch, `num_buckets` buckets of a score. Results read off a
summary (`readings`) are cut at boundaries of buckets and come with a bound on the
difference.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce
from .._core.domains import Confidence, Outcome, Weights
from ..binning import bin_sums, search, tables
from ..binning.bins import Bins
from .states import BucketSummary, CascadeSummary, ReliabilitySummary

DEFAULT_NUM_BUCKETS = 4096
# Digits of at most 2^11, summed over this many buckets, still fit an int32.
MAX_BUCKETS = 2**19


def score_buckets(num_buckets: int = DEFAULT_NUM_BUCKETS) -> Bins:
    r"""Fixed buckets of a score in `[0, 1]`, as fine near 1 as near 0.

    Edges are evenly spaced in log-odds, :math:`\log (c / (1 - c))`, from 2^-24 to 1 -
    2^-24, the greatest float32 below 1. Scores of exactly 0 and exactly 1 have buckets
    of their own. Near 1, float32 numbers lie further apart than the edges: there each
    number has its own bucket, and some buckets stay empty.

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
    edges = np.concatenate([[np.finfo(np.float32).tiny], inner, [1.0]])
    return Bins(edges=jnp.asarray(edges, "float32"))


def init_reliability(buckets: Bins | None = None) -> ReliabilitySummary:
    """An empty summary, to be updated with scores and outcomes.

    Args:
      buckets: optional `Bins` with edges `[num_buckets - 1]`; default
        `score_buckets()`. With frozen bins, such as those of a calibration half, the
        table of these bins is exact.

    Returns:
      `ReliabilitySummary`.

    Raises:
      ValueError: where `buckets` is not `Bins`, or has more than 2^19 of them.

    References:
      Guo et al. 2017, arXiv 1706.04599, section 2.

    Examples:
      >>> import calib_jax
      >>> print(init_reliability(calib_jax.equal_width_bins(2)).least)
      [inf inf]
    """
    return ReliabilitySummary(**_no_rows(buckets, 3))


def init_cascade(buckets: Bins | None = None) -> CascadeSummary:
    """An empty summary, to be updated with the outputs of two models.

    Args:
      buckets: optional `Bins` of the small model's confidence, with edges
        `[num_buckets - 1]`; default `score_buckets()`. With the bins of a router, the
        curve of that router is exact.

    Returns:
      `CascadeSummary`.

    Raises:
      ValueError: where `buckets` is not `Bins`, or has more than 2^19 of them.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1.

    Examples:
      >>> import calib_jax
      >>> print(init_cascade(calib_jax.equal_width_bins(2)).greatest)
      [-inf -inf]
    """
    return CascadeSummary(**_no_rows(buckets, 5))


def _no_rows(buckets: Bins | None, num_quantities: int) -> dict[str, Any]:
    buckets = score_buckets() if buckets is None else buckets
    checks.instance("buckets", buckets, Bins)
    if buckets.num_bins > MAX_BUCKETS:
        raise ValueError(
            f"buckets: expected at most {MAX_BUCKETS}, got {buckets.num_bins}."
        )
    least = jnp.full(buckets.num_bins, jnp.inf, jnp.float32)
    return {
        # A copy, so that a loop may donate the summary without losing the caller's.
        "buckets": Bins(edges=jnp.array(buckets.edges, copy=True)),
        "sums": bin_sums.init(buckets.num_bins, num_quantities),
        "least": least,
        "greatest": -least,
    }


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
      scores: floating `[N]`, confidences in `[0, 1]`, or any score that the buckets
        are for; the calibration error of other scores than confidences is NaN.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, such as the mask of a padded last batch.
      weights: optional non-negative `[N]`.

    Returns:
      `ReliabilitySummary` of the rows so far and the valid rows of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype, or a host outcome or weight
        outside its range.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> state = update_reliability(init_reliability(), [0.9, 0.4], [1, 0])
      >>> print(state.least.min(), state.greatest.max())
      0.4 0.9
    """
    checks.instance("state", state, ReliabilitySummary)
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return _update_reliability(state, *rows)


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
      large_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, such as the mask of a padded last batch.
      weights: optional non-negative `[N]`.

    Returns:
      `CascadeSummary` of the rows so far and the valid rows of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype, or a host value outside its
        range.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> state = init_cascade()
      >>> state = update_cascade(state, [0.2, 0.8], [0.9, 0.7], [0, 1], [1, 1])
      >>> print(state.least.min(), state.greatest.max())
      0.2 0.8
    """
    checks.instance("state", state, CascadeSummary)
    confidences = {
        "small_confidence": small_confidence,
        "large_confidence": large_confidence,
    }
    (small, large), by_small, by_large, mask = checks.two_models(
        confidences, small_outcome, large_outcome, where
    )
    weight = checks.weights("weights", weights)
    checks.same_shape(small_confidence=small, weights=weight)
    return _update_cascade(state, small, large, by_small, by_large, mask, weight)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _update_reliability(
    state: ReliabilitySummary,
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> Any:
    return add_scores(state, scores, outcomes, where, weights)


@dispatch.core(
    rows=[
        "small_confidence",
        "large_confidence",
        "small_outcome",
        "large_outcome",
        "where",
        "weights",
    ]
)
def _update_cascade(
    state: CascadeSummary,
    small_confidence: Confidence,
    large_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> Any:
    squared = (large_outcome - small_outcome) ** 2
    confidences, outcomes = (
        (small_confidence, large_confidence),
        (small_outcome, large_outcome),
    )
    return add_rows(state, (*confidences, *outcomes, squared), where, weights)


def add_scores(
    state: ReliabilitySummary,
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> Any:
    """The core of `update_reliability`."""
    squared = tables.squared_gap(scores, outcomes)
    return add_rows(state, (scores, outcomes, squared), where, weights)


def add_rows(
    state: BucketSummary,
    quantities: tuple[jax.Array, ...],
    where: jax.Array | None,
    weights: jax.Array | None,
) -> Any:
    """Adds rows by their quantities, the first of which is the score of the buckets."""
    quantities, weights = lax.stop_gradient((quantities, weights))
    index = search.bin_of(state.buckets.edges, quantities[0])
    valid = masking.valid_rows(index.shape[0], where, weights)
    ends = (state.least, state.greatest)
    ends = reduce.ends_of_bins(ends, index, quantities[0], valid)
    least, greatest = (search.without_subnormals(end) for end in ends)
    sums = bin_sums.update(state.sums, index, quantities, where, weights)
    return dataclasses.replace(state, sums=sums, least=least, greatest=greatest)
