r"""Drift between a reference and new rows: of confidences, and of what they mean.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws; one problem, many by
`jax.vmap`. Bins are held fixed. Both sets of rows are samples. Without drift they are
exchangeable: given the pooled rows, any N of them are equally likely to be the new
ones. Drawing from that null gives p-values that are exact for any number of rows and
draws.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from .._core.domains import Confidence
from ..binning import bin_sums
from ..binning.bins import Bins
from ..metrics import intervals
from ..metrics.intervals import CalibrationErrorInterval
from ..stats.intervals import Counts
from . import samples


@records.record(axes={"reference_count": "num_bins", "count": "num_bins"})
class OccupancyDrift:
    """How new confidences fall into the bins, compared with a reference.

    Attributes:
      reference_count: int32 `[num_bins]`, reference rows.
      count: int32 `[num_bins]`, new rows.
      stability_index: float32 scalar, population stability index (PSI), at least 0.
      null_index: float32 scalar, its mean without drift for these numbers of rows.
      p_value: float32 scalar, probability of this index or more without drift.
      outside_share: float32 scalar, share of new rows whose score lies outside the
        range of the reference.
      num_reference: int32 scalar, valid reference rows.
      counts: `Counts`: valid new rows, bins with rows of either sample, masked rows of
        both.
    """

    reference_count: jax.Array
    count: jax.Array
    stability_index: jax.Array
    null_index: jax.Array
    p_value: jax.Array
    outside_share: jax.Array
    num_reference: jax.Array
    counts: Counts


@records.record(axes={"bin_change": "num_bins"})
class CalibrationDrift:
    """Whether confidence still means what it meant, from labelled rows.

    Attributes:
      change: float32 scalar, mean outcome minus confidence of the new rows, minus the
        same in these bins of the reference; over bins that hold rows of both.
      p_value: float32 scalar, probability of a change this large in either direction
        without drift.
      bin_change: float32 `[num_bins]`, the change in each bin; 0 where either is empty.
      bin_p_value: float32 scalar, probability of changes this large in the bins, in any
        directions, without drift.
      reference: `CalibrationErrorInterval` of the reference rows.
      new: `CalibrationErrorInterval` of the new rows.
      num_compared: int32 scalar, new rows in bins that hold reference rows.
    """

    change: jax.Array
    p_value: jax.Array
    bin_change: jax.Array
    bin_p_value: jax.Array
    reference: CalibrationErrorInterval
    new: CalibrationErrorInterval
    num_compared: jax.Array


def occupancy_drift(
    key: jax.Array,
    bins: Bins,
    reference_scores: ArrayLike,
    scores: ArrayLike,
    *,
    num_resamples: int = 1000,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> OccupancyDrift:
    r"""Do new confidences fall into the bins like a reference's? Needs no labels.

    .. math:: \mathrm{PSI} = \sum_b (q_b - p_b) \log \frac{q_b}{p_b}

    over the bins that hold rows of either sample, with p and q the shares of reference
    and new rows, after adding half a row to each bin. PSI is positive even without
    drift, on average by `null_index`, so the usual limits of 0.1 and 0.25 mean little
    with few rows. The p-value,
    :math:`(1 + \#\{\mathrm{PSI}^* \ge \mathrm{PSI}\}) / (1 + D)` over multivariate
    hypergeometric draws of the pooled counts, is exact for bins that come from other
    rows, such as a router's bins, with the rows on which it was judged as reference.

    If the bins were cut from the reference itself, the reference is spread evenly by
    construction and nothing is guaranteed: with few reference rows per bin, false
    alarms are more frequent than they should be (`benchmarks/alarms`, section 1). The
    p-value is exact over references too: a reference reused for many batches may by
    chance alarm on most of them. `init_monitor` is exact in either case, for one
    stream.

    New rows like the R reference rows fall outside their range with an average share of
    at most 2 / (R + 1). The running time grows with the smaller sample, which is drawn
    row by row.

    Args:
      key: a JAX random key.
      bins: `Bins`, from other rows, such as `router.bins`.
      reference_scores: floating `[R]`, confidences.
      scores: floating `[N]`, new confidences, calibrated like the reference.
      num_resamples: static number of draws D, at least 1.
      reference_where: optional bool `[R]`.
      where: optional bool `[N]`.

    Returns:
      `OccupancyDrift`; its floats are NaN if either sample has no valid row, or a valid
      row is NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Lewis, "An Introduction to Credit Scoring", 1994 (PSI); Phipson and Smyth,
      "Permutation p-values should never be zero", 2010.

    Examples:
      >>> import calib_jax
      >>> bins, scores = calib_jax.equal_width_bins(4), jnp.linspace(0.0, 1.0, 400)
      >>> same = occupancy_drift(jax.random.key(0), bins, scores, scores[::4])
      >>> print(f"{same.stability_index:.2f}, by chance {same.null_index:.2f}")
      0.00, by chance 0.04
      >>> worse = occupancy_drift(jax.random.key(0), bins, scores, scores[:250:4])
      >>> print(f"{worse.stability_index:.2f}, p = {worse.p_value:.3f}")
      0.98, p = 0.001
    """
    random = checks.key("key", key)
    checks.instance("bins", bins, Bins)
    earlier = checks.floats("reference_scores", reference_scores, axes="[R]")
    later = checks.floats("scores", scores)
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    masks = samples.same_rows(
        {"reference_scores": earlier}, {"scores": later}, reference_where, where
    )
    return _occupancy_drift(random, bins, earlier, later, masks, num_resamples=size)


def calibration_drift(
    key: jax.Array,
    bins: Bins,
    reference_scores: ArrayLike,
    reference_outcomes: ArrayLike,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_resamples: int = 1000,
    confidence_level: ArrayLike = 0.95,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> CalibrationDrift:
    r"""Are answers at a confidence right as often as in a reference? Needs few labels.

    This answers two questions. Are the confidences calibrated, now or on the reference?
    See the p-values of `new` and `reference`, from `calibration_error_interval`. And
    have outcomes drifted? New rows are compared with reference rows of the same bin,
    whether or not confidences are calibrated: given how many rows of a bin are right,
    any of them are equally likely to be the new ones. Draws from that null give a
    p-value for the sum over bins (Mantel-Haenszel), which has power with few labels if
    new answers are wrong more often overall,

    .. math:: \left| \sum_b \left(k_b - n_b \frac{k_b + l_b}{n_b + r_b}
        - \frac{n_b r_b}{n_b + r_b} (\bar s_b - \bar t_b)\right) \right|

    where k of n new and l of r reference rows are right, with mean confidences s and t,
    and another for the sum of the squares of these terms over their variances. Choose
    one p-value in advance, or use twice the smaller (Bonferroni).

    Both are exact where all confidences in a bin are equal. Otherwise they assume that
    outcomes rise with confidence within a bin, as calibrated ones do: confidences may
    then shift, and false alarms stay about as rare as they should be
    (`benchmarks/alarms`, section 1). Draws are whole numbers of rows and the third term
    is not, so up to half a row of it is taken back. With confidences that were never
    calibrated, a shift within a bin can pass for a change; narrow bins, 15 or more,
    make it small.

    Args, errors and NaN as for `occupancy_drift`, and also:

    Args:
      reference_scores: floating `[R]`, confidences in `[0, 1]`.
      scores: floating `[N]`, new confidences in `[0, 1]`.
      reference_outcomes: bool `[R]`, whether each is correct.
      outcomes: bool `[N]`, whether each is correct; `where` may select labelled rows.
      confidence_level: floating scalar in `(0, 1)`, of the two intervals; may be
        traced.

    Returns:
      `CalibrationDrift`; its floats are NaN also if no bin holds rows of both.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a confidence on the host
        outside `[0, 1]`; in a device array it counts as NaN.

    References:
      Mantel and Haenszel, "Statistical aspects of the analysis of data from
      retrospective studies of disease", 1959; Mehta, Patel and Gray, "Computing an
      exact confidence interval for the common odds ratio in several 2 x 2 contingency
      tables", 1985 (the null given the margins).

    Examples:
      >>> import calib_jax
      >>> bins, scores = calib_jax.equal_width_bins(4), jnp.linspace(0.0, 1.0, 1000)
      >>> before, after = (jnp.arange(1000) % k > 0 for k in (10, 2))
      >>> found = calibration_drift(
      ...     jax.random.key(0), bins, scores, before, scores[::10], after[::5][:100]
      ... )
      >>> print(f"{found.change:.2f}, p = {found.p_value:.3f}")
      -0.40, p = 0.001
    """
    random = checks.key("key", key)
    checks.instance("bins", bins, Bins)
    earlier = checks.floats("reference_scores", reference_scores, axes="[R]")
    right = checks.bools("reference_outcomes", reference_outcomes, axes="[R]")
    later = checks.floats("scores", scores)
    right_now = checks.bools("outcomes", outcomes)
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    alpha = checks.error_rate("confidence_level", confidence_level)
    masks = samples.same_rows(
        {"reference_scores": earlier, "reference_outcomes": right},
        {"scores": later, "outcomes": right_now},
        reference_where,
        where,
    )
    return _calibration_drift(
        random,
        bins,
        earlier,
        right,
        later,
        right_now,
        alpha,
        *masks,
        num_resamples=size,
    )


def _rows_in_bins(
    bins: Bins, scores: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Rows in each bin, int32 `[num_bins]`, and whether a valid score is NaN."""
    table = bin_sums.bin_means(bins, scores, (scores,), where, None)
    return table.count, jnp.any(jnp.isnan(table.means))


@dispatch.core(static=["num_resamples"])
def _occupancy_drift(
    key: jax.Array,
    bins: Bins,
    reference: jax.Array,
    scores: jax.Array,
    masks: samples.Masks,
    *,
    num_resamples: int,
) -> OccupancyDrift:
    before, was_bad = _rows_in_bins(bins, reference, masks[0])
    after, is_bad = _rows_in_bins(bins, scores, masks[1])
    pooled = before + after
    num_taken = jnp.sum(after, dtype=jnp.int32)
    drawn = samples.draw_rows(key, pooled, num_taken, num_resamples)
    index = jax.vmap(lambda count: _stability_index(pooled - count, count))(
        jnp.concatenate([after[None], drawn])
    )

    counts, num_reference = samples.count_rows(reference, scores, masks, pooled)
    was_valid = masking.valid_rows(reference.shape[0], masks[0])
    valid = masking.valid_rows(scores.shape[0], masks[1])
    least, greatest = (
        -jnp.max(-reference, where=was_valid, initial=-jnp.inf),
        jnp.max(reference, where=was_valid, initial=-jnp.inf),
    )
    outside = valid & ((scores < least) | (scores > greatest))
    share = jnp.sum(outside, dtype=jnp.int32) / jnp.maximum(counts.num_rows, 1)
    bad = was_bad | is_bad | (counts.num_rows == 0) | (num_reference == 0)
    values = {
        "stability_index": index[0],
        "null_index": jnp.mean(index[1:]),
        "p_value": samples.p_value(index),
        "outside_share": share.astype(jnp.float32),
    }
    return OccupancyDrift(
        reference_count=before,
        count=after,
        **{name: jnp.where(bad, jnp.nan, value) for name, value in values.items()},
        num_reference=num_reference,
        counts=counts,
    )


def _stability_index(before: jax.Array, after: jax.Array) -> jax.Array:
    """PSI of counts int32 `[num_bins]`, leaving out bins that are empty in both."""
    used = before + after > 0
    shares = []
    for count in (before, after):
        more = jnp.where(used, count.astype(jnp.float32) + 0.5, 0.0)
        shares.append(more / jnp.maximum(jnp.sum(more), 1.0))
    first, second = (jnp.where(used, share, 1.0) for share in shares)
    return jnp.sum((second - first) * jnp.log(second / first))


@dispatch.core(static=["num_resamples"])
def _calibration_drift(
    key: jax.Array,
    bins: Bins,
    reference_scores: Confidence,
    reference_outcomes: jax.Array,
    scores: Confidence,
    outcomes: jax.Array,
    alpha: jax.Array,
    reference_where: jax.Array | None,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> CalibrationDrift:
    reference, new = (reference_scores, reference_outcomes), (scores, outcomes)
    masks = reference_where, where
    keys = jax.random.split(key, 3)
    change, p_value, bin_change, bin_p_value, num_compared = _compare(
        keys[0], bins, reference, new, masks, num_resamples=num_resamples
    )
    before, after = (
        intervals.interval_of_rows(
            one,
            bins,
            confidence,
            right.astype(jnp.float32),
            alpha,
            mask,
            num_resamples=num_resamples,
        )
        for one, (confidence, right), mask in zip(
            keys[1:], (reference, new), masks, strict=True
        )
    )
    return CalibrationDrift(
        change=change,
        p_value=p_value,
        bin_change=bin_change,
        bin_p_value=bin_p_value,
        reference=before,
        new=after,
        num_compared=num_compared,
    )


def _compare(
    key: jax.Array,
    bins: Bins,
    reference: tuple[jax.Array, jax.Array],
    new: tuple[jax.Array, jax.Array],
    masks: samples.Masks,
    *,
    num_resamples: int,
) -> tuple[jax.Array, ...]:
    """Change, its p-value, changes of bins `[num_bins]`, theirs, and rows compared."""
    rows, right, scored, means, bad = [], [], [], [], jnp.bool_(False)
    for (scores, outcomes), mask in zip((reference, new), masks, strict=True):
        table = bin_sums.bin_means(bins, scores, (scores, outcomes), mask, None)
        bad = bad | jnp.any(jnp.isnan(table.means))
        rows.append(table.count)
        # The mean is accurate enough to give back the whole number of right answers.
        total = jnp.round(table.weight * table.means[1])
        right.append(jnp.where(jnp.isnan(total), 0.0, total).astype(jnp.int32))
        scored.append(table.means[0])
        means.append(table.means[1])
    both = (rows[0] > 0) & (rows[1] > 0)
    pooled, all_right, taken = (
        jnp.where(both, count, 0) for count in (rows[0] + rows[1], sum(right), rows[1])
    )
    drawn = samples.draw_right(key, all_right, pooled, taken, num_resamples)

    n, t, k = (x.astype(jnp.float32) for x in (taken, pooled, all_right))
    some = jnp.maximum(t, 1.0)
    expected = n * (k / some)
    spread = expected * ((t - k) / some) * ((t - n) / jnp.maximum(t - 1, 1.0))
    weight = jnp.where(spread > 0, 1 / jnp.where(spread > 0, spread, 1.0), 0.0)

    def measure(off: jax.Array, lift: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Draws are whole numbers and the lift is not: take up to half a row back.
        def less(value: jax.Array, lift: jax.Array) -> jax.Array:
            return jnp.maximum(jnp.abs(value) - jnp.minimum(jnp.abs(lift), 0.5), 0.0)

        change = less(jnp.sum(off - lift), jnp.sum(lift))
        return change, jnp.sum(weight * less(off - lift, lift) ** 2)

    # Being right more often because confidence is higher in the bin is not a change.
    higher = jnp.where(both, scored[1] - scored[0], 0.0)
    counts = jnp.concatenate([jnp.where(both, right[1], 0)[None], drawn])
    off = counts.astype(jnp.float32) - expected[None]
    lift = jnp.zeros_like(off).at[0].set(higher * (n * ((t - n) / some)))
    p_value, bin_p_value = map(samples.p_value, jax.vmap(measure)(off, lift))
    bin_change = jnp.where(both, means[1] - means[0] - higher, 0.0)
    compared = jnp.sum(taken, dtype=jnp.int32)
    change = jnp.sum(n * bin_change) / jnp.maximum(jnp.sum(n), 1.0)
    bad = bad | (compared == 0)
    floats = (change, p_value, bin_change, bin_p_value)
    return *(jnp.where(bad, jnp.nan, value) for value in floats), compared
