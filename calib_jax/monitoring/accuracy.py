r"""How accurate a cascade is on new rows whose labels nobody knows.

Shapes: R labelled reference rows, N new rows, `num_bins` bins, K from 0 to num_bins.
Nothing without labels holds for every shift. Here are two estimates, each with what it
supposes; where they differ by more than their intervals, one of them is wrong.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from ..binning import bin_sums
from ..binning.bin_sums import BinMeans
from ..cascade.routers import Router
from ..stats import intervals
from ..stats.intervals import Interval

# Rows of the mean outcome that are added to the mean of a bin, where it stands for the
# probability behind it.
_PRIOR_ROWS = 2.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class EstimatedAccuracy:
    """What a cascade does on new rows, for 0 to num_bins bins kept small.

    At K = 0 the large model answers everything, at K = num_bins the small one.

    Attributes:
      small_share: `Interval` of `[num_bins + 1]`, share of the population answered by
        the small model.
      by_confidence: `Interval` of `[num_bins + 1]`, accuracy if confidences are
        calibrated.
      by_bins: `Interval` of `[num_bins + 1]`, accuracy if in each bin it is that of the
        reference.
      num_rows: int32 scalar, new rows that count.
      num_reference: int32 scalar, reference rows that count.
      num_bins: int32 scalar, bins that hold new rows.
      num_unseen: int32 scalar, new rows in bins without reference rows.
      num_tied: int32 scalar, new rows whose confidence another new row has too.
      num_masked: int32 scalar, rows of either that a mask leaves out.
    """

    small_share: Interval
    by_confidence: Interval
    by_bins: Interval
    num_rows: jax.Array
    num_reference: jax.Array
    num_bins: jax.Array
    num_unseen: jax.Array
    num_tied: jax.Array
    num_masked: jax.Array


def estimated_accuracy(
    router: Router,
    reference_confidence: ArrayLike,
    reference_small_outcome: ArrayLike,
    reference_large_outcome: ArrayLike,
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    *,
    error_probability: ArrayLike = 0.05,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> EstimatedAccuracy:
    r"""Accuracy of a cascade, and of each model, on new rows without labels.

    The estimand is the accuracy on the population from which the new rows are
    exchangeable draws, two ways. The reference must have been used neither to calibrate
    nor to choose K.

    *By confidence* it is the mean calibrated confidence of the answers given, which
    supposes that confidences are still calibrated. The interval, of Student's
    distribution, has the noise of the new rows, not that of the calibration.

    *By bins* it is what the reference shows in each bin, :math:`\bar v_b` of the model
    that answers, weighted by the share of the new rows in it,

    .. math:: \sum_b \frac{m_b}{N} \bar v_b, \quad
        s^2 = \frac{\sum_b (m_b / N) \bar v_b^2 - (\sum_b (m_b / N) \bar v_b)^2}{N - 1}
        + \sum_b \left(\frac{m_b}{N}\right)^2 \frac{s_b^2}{r_b}

    which supposes that outcomes given the bin are those of the reference, calibrated or
    not. The interval is Wilson's with as many rows as give its variance, which has the
    noise of both samples, and Student's quantile. A bin without reference rows counts
    as one half, give or take one half.

    Of 2 to 20 new rows intervals of 95 % by confidence cover 89 to 97 %, those by bins,
    which are wide, more than 96 %; one row has none. By bins they cover less where
    confidences shift far within a bin (82 % in `benchmarks/alarms`, section 2).
    Where nearly all answers are right, or wrong, both intervals cover less than they
    say: the first with fifty new rows, the second with fewer than some ten reference
    rows of the rarer kind (`benchmarks/alarms`).

    The share of large-model calls on the new rows is seen, and so is what they cost.
    Neither estimate holds where answers become wrong at the same confidence:
    `calibration_drift` tells from a few labels.

    Args:
      router: `Router`; its bins and order are used as they are.
      reference_confidence: floating `[R]`, of the small model, calibrated.
      reference_small_outcome: bool, integer or floating `[R]` in `[0, 1]`.
      reference_large_outcome: the same for the large model's answer.
      small_confidence: floating `[N]`, of the small model on new rows, calibrated.
      large_confidence: floating `[N]`, of the large model; NaN where it was not asked,
        which makes those K of `by_confidence` NaN that would have asked it.
      error_probability: floating scalar, with which an interval may miss; may be
        traced.
      reference_where: optional bool `[R]`; masked rows may hold anything.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `EstimatedAccuracy`; its floats are NaN without a valid row in either, or with a
      valid NaN but for `large_confidence`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

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
    alpha = checks.floats("error_probability", error_probability, rank=0, axes="")
    masks = (
        checks.mask("reference_where", reference_where, axes="[R]"),
        checks.mask("where", where),
    )
    checks.same_shape(
        reference_confidence=reference[0],
        reference_small_outcome=reference[1],
        reference_large_outcome=reference[2],
        reference_where=masks[0],
    )
    checks.same_shape(small_confidence=new[0], large_confidence=new[1], where=masks[1])
    return _estimated_accuracy(router, reference, new, alpha, *masks)


def _kept_and_rest(both: jax.Array, order: jax.Array) -> jax.Array:
    """Sums `[num_bins + 1]`: of the first K bins the small, of the others the large.

    Args:
      both: float32 `[2, num_bins]`, of the small and of the large model.
      order: int32 `[num_bins]`, of the router.
    """
    small, large = both[0][order], both[1][order]
    first = jnp.pad(jnp.cumsum(small), (1, 0))
    return first + jnp.pad(jnp.cumsum(large[::-1])[::-1], (0, 1))


def _reach(rows: jax.Array, alpha: jax.Array) -> jax.Array:
    """Student's quantile beyond which alpha lies, for a spread estimated from rows.

    From three degrees of freedom on by Cornish-Fisher, of which the first two are far.
    NaN for fewer than two rows.
    """
    z = -ndtri(0.5 * alpha)
    n, square = jnp.maximum(rows - 1, 1.0), z**2
    terms = (
        (square + 1) / 4,
        ((5 * square + 16) * square + 3) / 96,
        (((3 * square + 19) * square + 17) * square - 15) / 384,
        ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945)
        / 92160,
    )
    reach = z * (1 + sum(term / n ** (k + 1) for k, term in enumerate(terms)))
    reach = jnp.where(n == 2, (1 - alpha) / jnp.sqrt(alpha * (1 - 0.5 * alpha)), reach)
    reach = jnp.where(n == 1, 1 / jnp.tan(0.5 * np.float32(np.pi) * alpha), reach)
    return jnp.where(rows > 1, reach, jnp.nan)


def _by_confidence(
    table: BinMeans, share: jax.Array, order: jax.Array, alpha: jax.Array
) -> Interval:
    """Of means of both confidences and of their squares in bins."""
    mean = _kept_and_rest(share[None] * table.means[:2], order)
    square = _kept_and_rest(share[None] * table.means[2:4], order)
    rows = jnp.sum(table.weight)
    variance = jnp.maximum(square - mean**2, 0.0) / jnp.maximum(rows - 1, 1.0)
    reach = _reach(rows, alpha) * jnp.sqrt(variance)
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
    alpha: jax.Array,
) -> Interval:
    """Of mean outcomes of both models and of their squares in bins."""
    count = seen.weight
    total = jnp.maximum(jnp.sum(count), 1.0)
    mean = jnp.where((count > 0)[None], seen.means[:2], 0.5)
    # No rate is taken to be 0 or 1, and each bin's to be a little like all others'.
    every = (jnp.sum(count[None] * seen.means[:2], axis=1) + 1) / (total + 2)
    rate = (count[None] * mean + _PRIOR_ROWS * every[:, None]) / (
        count[None] + _PRIOR_ROWS
    )
    rate = jnp.where((count > 0)[None], rate, 0.5)
    # What a rate leaves open, less what partial credit varies less.
    less = jnp.where((count > 0)[None], mean - seen.means[2:4], 0.0)
    spread = jnp.maximum(rate * (1 - rate) - less, 1e-3 * rate * (1 - rate))
    error = share[None] ** 2 * spread / jnp.maximum(count, 1.0)[None]

    estimate = _kept_and_rest(share[None] * mean, order)
    around = _kept_and_rest(share[None] * rate, order)
    square = _kept_and_rest(share[None] * rate**2, order)
    variance = jnp.maximum(square - around**2, 0.0) / jnp.maximum(rows - 1, 1.0)
    variance = variance + _kept_and_rest(error, order)
    return intervals.wilson(
        estimate, around * (1 - around) / variance, _reach(rows, alpha)
    )


@dispatch.core
def _estimated_accuracy(
    router: Router,
    reference: tuple[jax.Array, ...],
    new: tuple[jax.Array, jax.Array],
    error_probability: jax.Array,
    reference_where: jax.Array | None,
    where: jax.Array | None,
) -> EstimatedAccuracy:
    _, *outcomes = reference
    seen = bin_sums.bin_means(
        router.bins,
        reference[0],
        (*outcomes, *(outcome**2 for outcome in outcomes)),
        reference_where,
        None,
    )
    table = bin_sums.bin_means(
        router.bins, new[0], (*new, *(part**2 for part in new)), where, None
    )
    rows = jnp.sum(table.weight)
    share = table.weight / jnp.maximum(rows, 1.0)
    kept = jnp.pad(jnp.cumsum(share[router.order]), (1, 0))
    found = {
        "small_share": intervals.wilson(
            kept, jnp.maximum(rows, 1.0), ndtri(0.5 * error_probability)
        ),
        "by_confidence": _by_confidence(table, share, router.order, error_probability),
        "by_bins": _by_bins(
            seen, share, router.order, jnp.maximum(rows, 1.0), error_probability
        ),
    }
    was_bad = jnp.any(jnp.isnan(seen.means)) | (jnp.sum(seen.weight) == 0)
    is_bad = jnp.any(jnp.isnan(table.means[0])) | (rows == 0)
    bad = {"small_share": is_bad, "by_confidence": is_bad, "by_bins": was_bad | is_bad}
    valid, was_valid = (
        masking.valid_rows(part.shape[0], mask, None)
        for part, mask in ((new[0], where), (reference[0], reference_where))
    )
    return EstimatedAccuracy(
        **{
            name: jax.tree.map(
                lambda leaf, n=name: jnp.where(bad[n], jnp.nan, leaf), one
            )
            for name, one in found.items()
        },
        num_rows=jnp.sum(valid, dtype=jnp.int32),
        num_reference=jnp.sum(was_valid, dtype=jnp.int32),
        num_bins=jnp.sum(table.count > 0, dtype=jnp.int32),
        num_unseen=jnp.sum(jnp.where(seen.count == 0, table.count, 0), dtype=jnp.int32),
        num_tied=intervals.num_tied(new[0], valid),
        num_masked=jnp.sum(~valid, dtype=jnp.int32)
        + jnp.sum(~was_valid, dtype=jnp.int32),
    )
