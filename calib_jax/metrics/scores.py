r"""How far confidence is from correctness: calibration errors, proper scores, ranking.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`: over models and
temperatures, and over numbers of bins with `equal_count_bins(..., max_bins=...)`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce
from .._core.domains import CONFIDENCE, Confidence, Outcome, Weights
from ..binning import search, tables
from ..binning.bins import DEFAULT_NUM_BINS, Bins, checked_size, given_or_cut
from ..binning.tables import ReliabilityTable
from . import ranking


def expected_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Weighted mean gap between confidence and outcome over bins (ECE).

    .. math:: \mathrm{ECE} = \sum_b \frac{W_b}{W} \left| \bar c_b - \bar v_b \right|

    Bins of equal count are cut from the valid scores, unless `bins` are given, such as
    those of the calibration half: the two ECEs differ. Even a perfectly calibrated
    model has an ECE above 0, of the order of sqrt(num_bins / N), so only compare ECEs
    with equal N and number of bins. Derivatives treat the bins as fixed.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      num_bins: static number of fresh equal-count bins; not used if `bins` are given.
      bins: optional `Bins` to use unchanged.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; they never move edges, but 0 removes a row.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN or value
      outside its range.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3; Hao et al. 2026, arXiv 2601.07965,
      section 2 (bins of equal count).

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(expected_calibration_error(scores, outcomes, num_bins=2).round(3))
      0.275
    """
    return _gap_in_bins(expected_gap, scores, outcomes, num_bins, bins, where, weights)


def maximum_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Largest gap between confidence and outcome in any bin that holds rows (MCE).

    Args, errors and NaN as for `expected_calibration_error`.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 5.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(maximum_calibration_error(scores, outcomes, num_bins=2).round(3))
      0.3
    """
    return _gap_in_bins(_largest_gap, scores, outcomes, num_bins, bins, where, weights)


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
    return ranking.area_under_roc(*rows)


def calibration_error_of_table(table: ReliabilityTable) -> jax.Array:
    r"""The expected calibration error of a reliability table.

    .. math:: \mathrm{ECE} = \sum_b \frac{W_b}{W} \left| \bar c_b - \bar v_b \right|

    `expected_calibration_error` is this number for the table of its bins. It needs no
    examples, so it suits tables of many draws, models or devices.

    Args:
      table: `ReliabilityTable` of confidences, with entries `[..., num_bins]`.

    Returns:
      float32 `[...]` in `[0, 1]`; NaN for a table without rows, with a NaN, or of other
      scores, whose means are not in `[0, 1]`.

    Raises:
      ValueError: for another type.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3.

    Examples:
      >>> import calib_jax as cj
      >>> bins, scores = cj.equal_width_bins(2), [0.9, 0.2, 0.6, 0.4]
      >>> table = cj.reliability_table(bins, scores, [1, 0, 1, 0])
      >>> print(calibration_error_of_table(table).round(3))
      0.275
    """
    checks.instance("table", table, ReliabilityTable, batched=True)
    return expected_gap(table)


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


def _gap_in_bins(
    gap: Callable[[ReliabilityTable], jax.Array],
    scores: ArrayLike,
    outcomes: ArrayLike,
    num_bins: int,
    bins: Bins | None,
    where: ArrayLike | None,
    weights: ArrayLike | None,
) -> jax.Array:
    """Checks the arguments and runs the core that both calibration errors share."""
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    size = checked_size(bins, num_bins)
    return _gap_of_rows(*rows, bins, num_bins=size, gap=gap)


@dispatch.core(
    static=["num_bins", "gap"], rows=["scores", "outcomes", "where", "weights"]
)
def _gap_of_rows(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    bins: Bins | None,
    *,
    num_bins: int,
    gap: Callable[[ReliabilityTable], jax.Array],
) -> jax.Array:
    bins = given_or_cut(bins, scores, num_bins, where, weights)
    return gap(tables.gaps_of_rows(bins, scores, outcomes, where, weights))


def _gaps(table: ReliabilityTable) -> jax.Array:
    """Absolute gap of each bin `[..., num_bins]`, with the same bits in any program.

    XLA would compute a plain difference from means that it has not rounded.
    """
    larger = jnp.maximum(table.confidence, table.outcome)
    return larger - jnp.minimum(table.confidence, table.outcome)


@dispatch.core
def expected_gap(table: ReliabilityTable) -> jax.Array:
    """The core of `calibration_error_of_table`."""
    # A bin without rows has mean 0, so it is inside.
    gaps = jnp.where(CONFIDENCE.holds(table.confidence), _gaps(table), jnp.nan)
    gaps = jnp.sum(table.weight * gaps, axis=-1)
    return masking.ratio(gaps, jnp.sum(table.weight, axis=-1))


@dispatch.core
def _largest_gap(table: ReliabilityTable) -> jax.Array:
    gap = _gaps(table)
    # Over many bins the CPU's maximum skips NaN.
    shown = (jnp.sum(table.weight) > 0) & ~jnp.any(jnp.isnan(gap))
    return jnp.where(shown, jnp.max(gap), jnp.nan)


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
