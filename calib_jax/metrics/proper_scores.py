r"""Proper scores of one confidence and its outcome, and the parts of the Brier score.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import CONFIDENCE, Confidence, Outcome, Weights
from ..binning import tables
from ..binning.tables import ReliabilityTable


@records.record()
class BrierDecomposition(records.Result):
    """The parts of a Brier score: reliability - resolution + uncertainty + within_bin.

    Attributes:
      reliability: float32 scalar, mean squared gap between the mean confidence and the
        mean outcome of a bin; 0 is best.
      resolution: float32 scalar, variance of the bins' mean outcomes; more is better.
      uncertainty: float32 scalar, `v (1 - v)` of the mean outcome v of all rows, which
        no model changes.
      within_bin: float32 scalar, what means of bins leave out: the variance of the
        confidences in a bin less twice their covariance with the outcomes.
    """

    reliability: jax.Array
    resolution: jax.Array
    uncertainty: jax.Array
    within_bin: jax.Array


def brier_score(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Brier score of one confidence and its outcome, the mean :math:`(c - v)^2`.

    It scores the confidence of the answer given. The multi-class Brier score, of a
    whole distribution over classes, also counts the classes that were not answered.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`.

    Returns:
      float32 scalar; NaN without a valid row, or with a valid NaN or value outside its
      range.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Examples:
      >>> print(brier_score([0.9, 0.4], [1, 0]).round(3))
      0.085
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    return _mean_loss(*rows, loss=tables.squared_gap)


def log_loss(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Log loss of one confidence and its outcome, in nats.

    .. math:: -v \log c - (1 - v) \log (1 - c)

    averaged over the rows. It scores the confidence of the answer given. The
    multi-class log loss, of a whole distribution over classes, is the mean negative
    log-probability of the label instead.

    Args, errors and NaN as for `brier_score`.

    Returns:
      float32 scalar in nats; inf if a confidence of 0 or 1 is wrong.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Good, "Rational decisions", 1952.

    Examples:
      >>> print(log_loss([0.5, 1.0], [1, 1]).round(3))
      0.347
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    return _mean_loss(*rows, loss=_log_loss)


def brier_decomposition(table: ReliabilityTable) -> BrierDecomposition:
    r"""The Brier score of the rows of a table, in four parts that add up to it.

    .. math:: \mathrm{reliability} &= \sum_b \tfrac{W_b}{W} (\bar c_b - \bar v_b)^2 \\
       \mathrm{resolution} &= \sum_b \tfrac{W_b}{W} (\bar v_b - \bar v)^2 \\
       \mathrm{uncertainty} &= \bar v (1 - \bar v) \\
       \mathrm{within\_bin} &= \sum_b \tfrac{W_b}{W} \left(\overline{(c - v)^2}_b -
       (\bar c_b - \bar v_b)^2 - \bar v_b (1 - \bar v_b)\right)

    `brier_score` of the rows is reliability - resolution + uncertainty + within_bin,
    apart from rounding, on any bins. With few or wide bins `within_bin` is not small:
    for right and wrong answers it is the sum of Stephenson's two within-bin components,
    and partial credit makes it smaller by the variance that outcomes of 0 and 1 would
    have had. Use it to tell a model that is miscalibrated (reliability) from one that
    does not tell right from wrong (resolution); reliability is biased upwards as an ECE
    is.

    Args:
      table: `ReliabilityTable` of confidences, with entries `[..., num_bins]`: of rows,
        or read off a stream.

    Returns:
      `BrierDecomposition` with entries `[...]`; NaN for a table without rows, with a
      NaN, or of other scores, which a mean outside `[0, 1]` or a squared error above 1
      shows. `within_bin` alone is NaN where the squared error of the table was not
      computed, as for draws of `bootstrap_reliability`.

    Raises:
      ValueError: for another type.

    References:
      Murphy, "A new vector partition of the probability score", 1973; Stephenson,
      Coelho and Jolliffe, "Two extra components in the Brier score decomposition",
      2008.

    Examples:
      >>> import calib_jax as cj
      >>> bins, scores = cj.equal_width_bins(2), [0.9, 0.2, 0.6, 0.4]
      >>> parts = brier_decomposition(cj.reliability_table(bins, scores, [1, 0, 1, 0]))
      >>> print(parts.reliability.round(3), parts.resolution, parts.uncertainty)
      0.076 0.25 0.25
      >>> print(parts.within_bin.round(3))
      0.016
      >>> print(cj.brier_score(scores, [1, 0, 1, 0]).round(3))
      0.093
    """
    checks.instance("table", table, ReliabilityTable, batched=True)
    return _decomposition(table)


def _log_loss(scores: jax.Array, outcomes: jax.Array) -> jax.Array:
    # A certain and right answer loses nothing, and has a finite derivative.
    right = jnp.where((scores == 0) & (outcomes == 0), 1.0, scores)
    wrong = jnp.where((scores == 1) & (outcomes == 1), 0.0, scores)
    return -outcomes * jnp.log(right) - (1 - outcomes) * jnp.log1p(-wrong)


@dispatch.core(static=["loss"], rows=["scores", "outcomes", "where", "weights"])
def _mean_loss(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    losses = loss(*masking.clean_rows(valid, 0.5, scores, outcomes))
    weight, _ = masking.scaled_weights(losses.shape[0], weights, valid)
    total, weighted = reduce.sum_rows(
        lambda rows, live: tuple(
            jnp.where(live, x, 0.0) for x in (rows[1], rows[0] * rows[1])
        ),
        (losses, weight),
        valid,
    )
    return masking.ratio(weighted, total)


@dispatch.core
def _decomposition(table: ReliabilityTable) -> BrierDecomposition:
    # A bin without rows has mean 0, so it is inside.
    inside = CONFIDENCE.holds(table.confidence) & CONFIDENCE.holds(table.outcome)
    # The means of other scores may be inside by chance. A NaN was not computed, and
    # rounding is clipped.
    inside = inside & ~(table.squared_error > 1 + 1e-5)
    outcome = jnp.where(inside, table.outcome, jnp.nan)
    total = jnp.sum(table.weight, axis=-1)

    def mean(values: jax.Array) -> jax.Array:
        return masking.ratio(jnp.sum(table.weight * values, axis=-1), total)

    every = mean(outcome)
    reliability = (table.confidence - outcome) ** 2
    within = table.squared_error - reliability - outcome * (1 - outcome)
    return BrierDecomposition(
        reliability=mean(reliability),
        resolution=mean((outcome - every[..., None]) ** 2),
        uncertainty=every * (1 - every),
        within_bin=mean(within),
    )
