r"""Accuracy of a cascade on new rows without labels.

Shapes: R labelled reference rows, N new rows, `num_bins` bins, K from 0 to num_bins. No
estimate without labels holds for every shift. The two here make different assumptions;
if they differ by more than their intervals, one assumption is wrong.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records
from .._core.domains import Confidence, Outcome
from ..binning import bin_sums
from ..binning.bin_sums import BinMeans
from ..cascade import first_bins
from ..cascade.routers import Router
from ..stats import intervals
from ..stats.intervals import Counts, Interval
from . import samples

# Rows with the overall mean outcome that are added to each bin to estimate its rate.
_PRIOR_ROWS = 2.0


@records.record(
    axes={
        "small_share": "num_bins+1",
        "by_confidence": "num_bins+1",
        "by_bins": "num_bins+1",
    }
)
class EstimatedAccuracy(records.Result):
    """Share and accuracy on new rows, for 0 to num_bins bins kept small.

    At K = 0 the large model answers everything, at K = num_bins the small one.

    Attributes:
      small_share: `Interval` of `[num_bins + 1]`, share of the population answered by
        the small model.
      by_confidence: `Interval` of `[num_bins + 1]`, accuracy if confidences are
        calibrated.
      by_bins: `Interval` of `[num_bins + 1]`, accuracy if answers in each bin are as
        accurate as in the reference.
      num_reference: int32 scalar, valid reference rows.
      num_unseen: int32 scalar, new rows in bins without reference rows.
      counts: `Counts`: valid new rows, bins that hold new rows, masked rows of both
        samples.
    """

    small_share: Interval
    by_confidence: Interval
    by_bins: Interval
    num_reference: jax.Array
    num_unseen: jax.Array
    counts: Counts


def estimated_accuracy(
    router: Router,
    reference_confidence: ArrayLike,
    reference_small_outcome: ArrayLike,
    reference_large_outcome: ArrayLike,
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    *,
    confidence_level: ArrayLike = 0.95,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> EstimatedAccuracy:
    r"""Accuracy of a cascade, and of each model, on new rows without labels.

    The estimand is the accuracy on the population from which the new rows are
    exchangeable draws. It is estimated in two ways. The reference must not have been
    used to calibrate or to choose K.

    *By confidence*: the mean calibrated confidence of the answers given. This assumes
    that confidences are still calibrated. The interval (Student's t) covers the noise
    of the new rows, not that of the calibration.

    *By bins*: the reference accuracy :math:`\bar v_b` in each bin, of the model that
    answers there, weighted by the bin's share of new rows,

    .. math:: \sum_b \frac{m_b}{N} \bar v_b, \quad
        s^2 = \frac{\sum_b (m_b / N) \bar v_b^2 - (\sum_b (m_b / N) \bar v_b)^2}{N - 1}
        + \sum_b \left(\frac{m_b}{N}\right)^2 \frac{s_b^2}{r_b}

    This assumes that outcomes within a bin are like the reference, calibrated or not.
    The interval is Wilson's, with Student's quantile and the number of rows that gives
    this variance, which has the noise of both samples. A bin without reference rows
    counts as one half, plus or minus one half.

    Both intervals are approximate: they cover less than their level where nearly all
    answers are right, or wrong; those by confidence with few new rows (one new row
    gives no interval), those by bins with few reference rows of the rarer outcome or
    where confidences shift far within a bin. `benchmarks/alarms` measures how much.

    If the models confer, pass the conferred outcomes as `reference_large_outcome`, and
    as `large_confidence` that of the answer taken, calibrated again: the surer of two
    confidences is a little too sure.

    The share of large-model calls on new rows is observed, and so is their cost.
    Neither estimate holds if answers become wrong at the same confidence;
    `calibration_drift` detects that from a few labels.

    Args:
      router: `Router`; its bins and order are used as they are.
      reference_confidence: floating `[R]` in `[0, 1]`, of the small model, calibrated.
      reference_small_outcome: bool, integer or floating `[R]` in `[0, 1]`.
      reference_large_outcome: `[R]`, like `reference_small_outcome` for the large
        model.
      small_confidence: floating `[N]` in `[0, 1]`, of the small model on new rows,
        calibrated.
      large_confidence: floating `[N]` in `[0, 1]`, of the large model; NaN where it was
        not asked. `by_confidence` is NaN for every K that would have asked it there.
      confidence_level: floating scalar in `(0, 1)`, of each interval; may be traced.
      reference_where: optional bool `[R]`.
      where: optional bool `[N]`.

    Returns:
      `EstimatedAccuracy`; its floats are NaN if either sample has no valid row, or a
      valid row is NaN in anything but `large_confidence`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a value on the host outside
        `[0, 1]`; in a device array it counts as NaN.

    References:
      Garg et al., "Leveraging unlabeled data to predict out-of-distribution
      performance", 2022, arXiv 2201.04234 (average confidence); Holt and Smith, "Post
      stratification", 1979; Franco et al., "Comparative study of confidence intervals
      for proportions in complex sample surveys", 2019 (Wilson's interval with an
      effective number of rows).

    Examples:
      >>> import calib_jax
      >>> small, large = jnp.linspace(0.2, 1.0, 800), jnp.full(800, 0.9)
      >>> router = calib_jax.fit_router(small, large, num_bins=4)
      >>> right = jnp.arange(800.0) % 10 < 10 * small
      >>> found = estimated_accuracy(
      ...     router, small, right, jnp.arange(800) % 10 > 0, small[:600], large[:600]
      ... )
      >>> for one in (found.by_bins, found.by_confidence):
      ...     two = one.lower[2], one.upper[2]
      ...     print(f"{one.estimate[2]:.2f}, {two[0]:.2f} to {two[1]:.2f}")
      0.85, 0.82 to 0.88
      0.83, 0.83 to 0.84
    """
    checks.instance("router", router, Router)
    reference = (
        checks.floats("reference_confidence", reference_confidence, axes="[R]"),
        checks.outcomes("reference_small_outcome", reference_small_outcome, axes="[R]"),
        checks.outcomes("reference_large_outcome", reference_large_outcome, axes="[R]"),
    )
    new = (
        checks.floats("small_confidence", small_confidence),
        checks.floats("large_confidence", large_confidence),
    )
    alpha = checks.error_rate("confidence_level", confidence_level)
    masks = samples.same_rows(
        {
            "reference_confidence": reference[0],
            "reference_small_outcome": reference[1],
            "reference_large_outcome": reference[2],
        },
        {"small_confidence": new[0], "large_confidence": new[1]},
        reference_where,
        where,
        {
            "reference_confidence": domains.CONFIDENCE,
            "reference_small_outcome": domains.OUTCOME,
            "reference_large_outcome": domains.OUTCOME,
            "small_confidence": domains.CONFIDENCE,
            "large_confidence": domains.CONFIDENCE,
        },
    )
    return _estimated_accuracy(
        router.order,
        _table(router, *reference, masks[0]),
        _table(router, new[0], *new, masks[1]),
        alpha,
        jnp.int32(reference[0].shape[0] + new[0].shape[0]),
    )


@dispatch.core(rows=["scores", "first", "second", "where"])
def _table(
    router: Router,
    scores: Confidence,
    first: Outcome,
    second: Outcome,
    where: jax.Array | None,
) -> tuple[BinMeans, jax.Array]:
    """Means in bins, of both values and of their squares, and number of valid rows."""
    values = first, second, first**2, second**2
    table = bin_sums.bin_means(router.bins, scores, values, where, None)
    valid = masking.valid_rows(scores.shape[0], where)
    return table, jnp.sum(valid, dtype=jnp.int32)


def _by_confidence(
    table: BinMeans,
    share: jax.Array,
    order: jax.Array,
    rows: jax.Array,
    quantile: jax.Array,
) -> Interval:
    """From the means of both confidences, and of their squares, in bins."""
    parts = share[None, None] * table.means.reshape(2, 2, -1)
    small, large = jnp.moveaxis(parts, 1, 0)
    mean, square = first_bins.sum_for_every_k(order, small, large, axis=1)
    variance = jnp.maximum(square - mean**2, 0.0) / jnp.maximum(rows - 1, 1.0)
    reach = quantile * jnp.sqrt(variance)
    return Interval(
        estimate=mean,
        lower=jnp.clip(mean - reach, 0.0, 1.0),
        upper=jnp.clip(mean + reach, 0.0, 1.0),
    )


def _by_bins(
    seen: BinMeans,
    share: jax.Array,
    order: jax.Array,
    rows: jax.Array,
    quantile: jax.Array,
) -> Interval:
    """From the mean outcomes of both models, and of their squares, in bins."""
    count = seen.weight
    total = jnp.maximum(jnp.sum(count), 1.0)
    mean = jnp.where((count > 0)[None], seen.means[:2], 0.5)
    # Shrink each bin's rate towards the overall rate, which is never 0 or 1.
    every = (jnp.sum(count[None] * seen.means[:2], axis=1) + 1) / (total + 2)
    rate = (count[None] * mean + _PRIOR_ROWS * every[:, None]) / (
        count[None] + _PRIOR_ROWS
    )
    rate = jnp.where((count > 0)[None], rate, 0.5)
    # Partial credit varies less than right and wrong answers of the same mean.
    less = jnp.where((count > 0)[None], mean - seen.means[2:4], 0.0)
    spread = jnp.maximum(rate * (1 - rate) - less, 1e-3 * rate * (1 - rate))
    error = share[None] ** 2 * spread / jnp.maximum(count, 1.0)[None]

    # Both models at once, in sums for every K.
    parts = share[None, None] * jnp.stack([mean, rate, rate**2])
    small, large = jnp.moveaxis(jnp.concatenate([parts, error[None]]), 1, 0)
    estimate, around, square, errors = first_bins.sum_for_every_k(
        order, small, large, axis=1
    )
    variance = jnp.maximum(square - around**2, 0.0) / jnp.maximum(rows - 1, 1.0)
    variance = variance + errors
    return intervals.wilson_of_quantile(
        estimate,
        around * (1 - around) / variance,
        quantile,
    )


@dispatch.core
def _estimated_accuracy(
    order: jax.Array,
    reference: tuple[BinMeans, jax.Array],
    new: tuple[BinMeans, jax.Array],
    alpha: jax.Array,
    num_given: jax.Array,
) -> EstimatedAccuracy:
    """From the tables of both samples."""
    (seen, num_reference), (table, num_rows) = reference, new
    total = jnp.sum(table.weight)
    rows = jnp.maximum(total, 1.0)
    share = table.weight / rows
    quantile = intervals.student_quantile(total, alpha)
    kept = first_bins.sum_for_every_k(order, share)
    found = {
        "small_share": intervals.wilson(kept, rows, alpha),
        "by_confidence": _by_confidence(table, share, order, rows, quantile),
        "by_bins": _by_bins(seen, share, order, rows, quantile),
    }
    was_bad = jnp.any(jnp.isnan(seen.means)) | (jnp.sum(seen.weight) == 0)
    is_bad = jnp.any(jnp.isnan(table.means[0])) | (total == 0)
    bad = {"small_share": is_bad, "by_confidence": is_bad, "by_bins": was_bad | is_bad}
    return EstimatedAccuracy(
        **{
            name: jax.tree.map(
                lambda leaf, n=name: jnp.where(bad[n], jnp.nan, leaf), one
            )
            for name, one in found.items()
        },
        num_reference=jnp.array(num_reference, copy=True),
        num_unseen=jnp.sum(jnp.where(seen.count == 0, table.count, 0), dtype=jnp.int32),
        counts=samples.count_rows(num_reference, num_rows, num_given, table.count),
    )
