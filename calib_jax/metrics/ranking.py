"""How well scores rank right answers above wrong ones.

Shapes: N examples. The area under the ROC curve is found by sorting. Where
answers are right or wrong and rows have no weights, pairs are counted exactly. Partly
correct answers and weights take a sort of floats, which is slower.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce, transforms
from .._core.domains import Outcome, Weights
from ..binning import search
from ..binning.tables import ReliabilityTable
from . import counting

# Up to this many rows one of the two methods is enough, and a smaller program.
_FEW_ROWS = 2**16


def area_under_roc(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Probability that a right answer has a higher score than a wrong one (AUROC).

    .. math:: P(s_i > s_j) + \tfrac12 P(s_i = s_j), \quad i \sim w v, j \sim w (1 - v)

    It measures how well scores separate right answers from wrong ones, not whether they
    are calibrated: only the order of the scores counts, so derivatives with respect to
    scores are 0. Random scores give 0.5. A partly correct answer counts in part on both
    sides. Pairs of right and wrong answers without weights are counted exactly. All
    rows are sorted, so sharded rows are gathered.

    Args, errors and NaN as for `brier_score`, but scores may be any numbers, infinite
    ones too.

    Returns:
      float32 scalar in `[0, 1]`; NaN also without a right or without a wrong answer.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host outcome or weight outside
        its range.

    References:
      Hanley and McNeil, "The meaning and use of the area under a receiver operating
      characteristic (ROC) curve", 1982.

    Examples:
      >>> print(area_under_roc([0.9, 0.4, 0.6, 0.4], [1, 1, 0, 0]))
      0.625
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return _area_of_rows(*rows)


def rank_correlation(table: ReliabilityTable) -> jax.Array:
    r"""Whether mean outcome rises with mean confidence: Spearman's rho over bins.

    .. math:: \rho = \frac{\sum_b r_b q_b}{\sqrt{\sum_b r_b^2 \sum_b q_b^2}}

    where r and q are the ranks of the bins by mean confidence and by mean outcome,
    minus their mean; equal means share a rank. Each bin that holds rows counts once.

    Args:
      table: `ReliabilityTable` with entries `[num_bins]`.

    Returns:
      float32 scalar in `[-1, 1]`; NaN with fewer than two bins that hold rows, if all
      of these share one mean confidence or one mean outcome, or with a NaN in one.

    Raises:
      ValueError: for another type.

    References:
      Spearman, "The proof and measurement of association between two things", 1904;
      Hao et al. 2026, arXiv 2601.07965, section 2 (accuracy rises with confidence).

    Examples:
      >>> import calib_jax as cj
      >>> bins, scores = cj.equal_width_bins(4), [0.1, 0.4, 0.6, 0.9]
      >>> table = cj.reliability_table(bins, scores, [0, 1, 0, 1])
      >>> print(rank_correlation(table).round(3))
      0.447
    """
    checks.instance("table", table, ReliabilityTable)
    return _rank_correlation(table)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _area_of_rows(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> jax.Array:
    """The core of `area_under_roc`, with outcomes float32 or bool."""
    num_rows = scores.shape[0]
    if num_rows == 0:
        return jnp.full((), jnp.nan, jnp.float32)
    valid = masking.valid_rows(num_rows, where, weights)
    scores = lax.stop_gradient(scores)
    counts = weights is None and transforms.at_most(num_rows, counting.MOST_ROWS)
    if counts and outcomes.dtype == bool:
        return counting.share_of_pairs(scores, outcomes, valid)
    outcomes = outcomes.astype(jnp.float32)
    if counts and not transforms.at_most(num_rows, _FEW_ROWS):
        return _by_either(scores, outcomes, valid)
    return _by_weighing(scores, outcomes, valid, weights)


@jax.custom_jvp
def _by_either(scores: jax.Array, outcomes: jax.Array, valid: jax.Array) -> jax.Array:
    whole = jnp.all(~valid | (outcomes == 0) | (outcomes == 1))
    return lax.cond(
        whole,
        lambda: counting.share_of_pairs(scores, outcomes == 1, valid),
        lambda: _by_weighing(scores, outcomes, valid, None),
    )


@_by_either.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    # Counts have no derivative with respect to outcomes.
    scores, outcomes, valid = primals
    return jax.jvp(
        lambda outcomes: _by_weighing(scores, outcomes, valid, None),
        (outcomes,),
        (tangents[1],),
    )


def _by_weighing(
    scores: jax.Array,
    outcomes: jax.Array,
    valid: jax.Array,
    weights: jax.Array | None,
) -> jax.Array:
    """For any outcomes and weights, in float32."""
    scores, outcomes = masking.clean_rows(valid, 0.5, scores, outcomes)
    weight = jnp.ones(scores.shape, jnp.float32) if weights is None else weights
    weight = jnp.where(valid, jnp.where(jnp.isnan(scores), jnp.nan, weight), 0.0)
    # Right and wrong answers are each scaled by their largest weight, so that no sum
    # overflows; by its root twice, since XLA multiplies by 1 / largest, which may be
    # subnormal.
    parts = jnp.stack([weight * outcomes, weight * (1 - outcomes)])
    scale = lax.rsqrt(jnp.max(parts, axis=1, keepdims=True))
    parts = parts * scale * scale
    scores, *sorted_parts = lax.sort((scores, *parts), num_keys=1)
    parts = jnp.stack(sorted_parts)
    before = reduce.sums_before(parts)
    below = before / (before[:, -1:] + parts[:, -1:])
    # At the first of tied scores: for right answers the wrong ones below, and vice
    # versa. NaN scores have NaN weights, so it does not matter that none of them tie.
    position = jnp.arange(scores.shape[0], dtype=jnp.int32)
    first = jnp.where(scores == jnp.roll(scores, 1), 0, position)
    below = below[::-1, lax.cummax(first)]
    won, lost = reduce.pairwise_sum(parts * below) / reduce.pairwise_sum(parts)
    return jnp.clip(0.5 + 0.5 * (won - lost), 0.0, 1.0)


@dispatch.core
def _rank_correlation(table: ReliabilityTable) -> jax.Array:
    used = table.count > 0
    pairs = used[:, None] & used[None, :]

    def ranks(means: jax.Array) -> jax.Array:
        """Twice the rank minus its mean: how many are below, less how many above."""
        # Integer keys: XLA may recompute a float mean for each side of a comparison,
        # fused and rounded differently, so that equal means would differ.
        key = search.sort_key(means)
        above = (key[:, None] > key[None, :]) & pairs
        rank = jnp.sum(above, axis=1, dtype=jnp.int32)
        rank = (rank - jnp.sum(above, axis=0, dtype=jnp.int32)).astype(jnp.float32)
        return jnp.where(jnp.any(used & jnp.isnan(means)), jnp.nan, rank)

    confidence, outcome = ranks(table.confidence), ranks(table.outcome)
    spread = jnp.sum(confidence**2) * jnp.sum(outcome**2)
    return jnp.clip(jnp.sum(confidence * outcome) / jnp.sqrt(spread), -1.0, 1.0)
