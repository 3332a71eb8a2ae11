r"""Calibration errors without bins: cumulative differences of confidence and outcome.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`. With the rows
sorted by confidence, ties together, the difference after each score s is

.. math:: D(s) = \frac{1}{W} \sum_{i :\, c_i \le s} w_i (c_i - v_i).

A miscalibrated range of confidences is a slope of D, however narrow it is, so nothing
depends on a choice of bins. Sums are float32 in pieces, within 1e-6 of the exact ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce, transforms
from .._core.domains import Confidence, Outcome, Weights
from ..binning import search, sorting

# Up to this many rows one way of sorting is enough, and a smaller program.
_FEW_ROWS = 2**16


class Extremes(NamedTuple):
    """The extremes of D, 0 included, and its standard deviation under calibration.

    Attributes:
      highest: float32 scalar, at least 0.
      lowest: float32 scalar, at most 0.
      deviation: float32 scalar, sqrt(sum w^2 c (1 - c)) / W.
    """

    highest: jax.Array
    lowest: jax.Array
    deviation: jax.Array


def kolmogorov_smirnov_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Largest absolute cumulative difference, :math:`\max_s |D(s)|` (KS error).

    It is at least the gap of mean confidence and accuracy, and at most the ECE on bins
    that have an edge where D is largest. Even a calibrated model has a KS error above
    0, of the order of sqrt(mean c (1 - c) / N): `kolmogorov_smirnov_test` says whether
    it is more. Overconfidence at some scores and underconfidence at others cancel in
    part, which `kuiper_calibration_error` does not allow. All rows are sorted, so
    sharded rows are gathered.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN or value
      outside its range.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Arrieta-Ibarra et al., "Metrics of calibration for probabilistic predictions",
      2022, arXiv 2205.09680; Gupta et al., "Calibration of neural networks using
      splines", 2021, arXiv 2006.12800.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(kolmogorov_smirnov_calibration_error(scores, outcomes).round(3))
      0.15
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return of_rows(*rows, reading=largest_distance)


def kuiper_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Range of the cumulative difference, :math:`\max_s D(s)^+ + \max_s D(s)^-`.

    It is the largest absolute sum of gaps over any interval of scores, divided by W:
    from the KS error to twice it, and at most the ECE on bins that have the ends of
    that interval among their edges.

    Args, errors and NaN as for `kolmogorov_smirnov_calibration_error`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Arrieta-Ibarra et al., "Metrics of calibration for probabilistic predictions",
      2022, arXiv 2205.09680.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(kuiper_calibration_error(scores, outcomes).round(3))
      0.15
      >>> print(kuiper_calibration_error([0.2, 0.4, 0.9], [1, 0, 0]).round(3))
      0.433
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return of_rows(*rows, reading=width)


def largest_distance(extremes: Extremes) -> jax.Array:
    """The Kolmogorov-Smirnov statistic, unscaled."""
    return jnp.maximum(extremes.highest, -extremes.lowest)


def width(extremes: Extremes) -> jax.Array:
    """The Kuiper statistic, unscaled."""
    return extremes.highest - extremes.lowest


@dispatch.core(static=["reading"], rows=["scores", "outcomes", "where", "weights"])
def of_rows(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    reading: Callable[[Extremes], Any],
) -> Any:
    """What `reading` makes of the extremes of the cumulative differences of rows."""
    if scores.shape[0] == 0:
        nothing = jnp.full((), jnp.nan, jnp.float32)
        return reading(Extremes(nothing, nothing, nothing))
    valid = masking.valid_rows(scores.shape[0], where, weights)
    scores, outcomes = masking.clean_rows(valid, 0, scores, outcomes)
    weight, _ = masking.scaled_weights(scores.shape[0], weights, valid)

    def sums(rows: tuple[jax.Array, ...], live: jax.Array) -> tuple[jax.Array, ...]:
        score, outcome, weight = rows
        weight = jnp.where(live, weight, 0.0)
        claimed = weight**2 * (score * (1 - score))
        return weight, claimed, weight * (score - outcome.astype(jnp.float32))

    total, claimed, gap = reduce.sum_rows(sums, (scores, outcomes, weight), valid)
    if weights is None:
        ends = _ends_of_answers(scores, outcomes, valid)
    else:
        gaps = weight * (scores - outcomes.astype(jnp.float32))
        ends = _ends_of_gaps(scores, jnp.where(valid, gaps, 0.0), valid)
    # A NaN in any row is one in the sums.
    known = (total > 0) & ~jnp.isnan(claimed + gap)
    total = jnp.where(known, total, jnp.nan)
    return reading(
        Extremes(ends[0] / total, ends[1] / total, jnp.sqrt(claimed) / total)
    )


def _ends_of_gaps(scores: jax.Array, gaps: jax.Array, valid: jax.Array) -> Any:
    """Highest and lowest sum of gaps up to the end of a block of tied scores."""
    key = search.sort_key(lax.stop_gradient(scores))
    return _ends_of_sums(*sorting.by_key(key, gaps, valid))


@jax.custom_jvp
def _ends_of_answers(scores: jax.Array, outcomes: jax.Array, valid: jax.Array) -> Any:
    """The same without weights: right and wrong answers share a key with the score."""
    few = transforms.at_most(scores.shape[0], _FEW_ROWS)
    if outcomes.dtype == bool:
        return _ends_of_bools(scores, outcomes, valid)
    if few:
        return _ends_of_gaps(scores, scores - outcomes, valid)
    return lax.cond(
        jnp.all((outcomes == 0) | (outcomes == 1)),
        lambda: _ends_of_bools(scores, outcomes == 1, valid),
        lambda: _ends_of_gaps(scores, scores - outcomes, valid),
    )


@_ends_of_answers.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    # A key has no derivative with respect to its score.
    scores, outcomes, valid = primals
    gaps = scores - outcomes.astype(jnp.float32)
    change = tangents[0] if outcomes.dtype == bool else tangents[0] - tangents[1]
    return jax.jvp(lambda gaps: _ends_of_gaps(scores, gaps, valid), (gaps,), (change,))


def _ends_of_bools(scores: jax.Array, right: jax.Array, valid: jax.Array) -> Any:
    key = search.sort_key(scores)
    key, right = sorting.by_key(key, right, valid, all_high=True)
    gaps = search.from_key(key) - right.astype(jnp.float32)
    return _ends_of_sums(key, jnp.where(key == sorting.NO_ROW, 0.0, gaps))


def _ends_of_sums(key: jax.Array, gaps: jax.Array) -> tuple[jax.Array, jax.Array]:
    upto = reduce.sums_before(gaps) + gaps
    upto = jnp.where(sorting.ends_of_ties(key), upto, 0.0)
    return jnp.maximum(jnp.max(upto), 0.0), jnp.minimum(jnp.min(upto), 0.0)
