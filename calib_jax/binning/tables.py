"""Reliability tables: mean confidence and mean outcome in each bin.

Shapes: N examples, `num_bins` bins.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import Outcome, Weights
from . import bin_sums
from .bins import Bins


@records.record(
    "num_bins",
    values={
        "count": records.COUNT,
        "weight": records.NON_NEGATIVE,
        "squared_error": records.NON_NEGATIVE,
    },
)
class ReliabilityTable(records.Result):
    """Mean confidence and mean outcome of a model in each bin.

    Attributes:
      count: int32 `[num_bins]`, number of rows.
      weight: float32 `[num_bins]`, sum of weights; equals `count` without weights.
      confidence: float32 `[num_bins]`, mean score; 0 in an empty bin.
      outcome: float32 `[num_bins]`, mean outcome; 0 in an empty bin.
      squared_error: float32 `[num_bins]`, mean of (score - outcome)^2; 0 in an empty
        bin. NaN in every bin where it was not computed: in the tables of
        `bootstrap_reliability` and of `fit_expert_bins`, which take less time so.
    """

    count: jax.Array
    weight: jax.Array
    confidence: jax.Array
    outcome: jax.Array
    squared_error: jax.Array


def reliability_table(
    bins: Bins,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> ReliabilityTable:
    """Mean confidence, mean outcome and mean squared error in each bin.

    The means come from exact sums, so reordering the rows changes no bit. A NaN score
    in a valid row makes all means NaN; an outcome that is NaN or outside `[0, 1]` makes
    the mean outcome and squared error of its bin NaN.

    Args:
      bins: `Bins` of the scores.
      scores: floating `[N]`, confidences in `[0, 1]` or any other scores.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.

    Returns:
      `ReliabilityTable`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host outcome or weight outside
        its range.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 and Figure 1.

    Examples:
      >>> import calib_jax
      >>> bins = calib_jax.equal_width_bins(2)
      >>> table = reliability_table(bins, [0.2, 0.6, 0.8], [False, True, False])
      >>> print(table.count, table.confidence, table.outcome)
      [1 2] [0.2 0.7] [0.  0.5]
    """
    checks.instance("bins", bins, Bins)
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    return table_of_rows(bins, *rows)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def table_of_rows(
    bins: Bins,
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> ReliabilityTable:
    """The core of `reliability_table`."""
    quantities = scores, outcomes, squared_gap(scores, outcomes)
    return table_of_means(bin_sums.bin_means(bins, scores, quantities, where, weights))


def gaps_of_rows(
    bins: Bins,
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> ReliabilityTable:
    """The table without squared errors: what calibration errors need, in less time."""
    quantities = scores, outcomes
    return table_of_means(bin_sums.bin_means(bins, scores, quantities, where, weights))


def squared_gap(scores: jax.Array, outcomes: jax.Array) -> jax.Array:
    """(score - outcome)^2 of each row, for outcomes float32 or bool."""
    return (scores - outcomes.astype(jnp.float32)) ** 2


def table_of_means(table: bin_sums.BinMeans) -> ReliabilityTable:
    """The table of the means of scores, of outcomes and, if known, of their gaps'
    squares."""
    confidence, outcome, *squared = table.means
    unknown = jnp.full(confidence.shape, jnp.nan, jnp.float32)
    return ReliabilityTable(
        count=table.count,
        weight=table.weight,
        confidence=confidence,
        outcome=outcome,
        squared_error=squared[0] if squared else unknown,
    )
