r"""Drift between a reference and new rows: of confidences, and of what they mean.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws; one problem, many by
`jax.vmap`. Bins are held fixed. Both sets of rows are samples. Without drift they are
exchangeable: given the pooled rows, any N of them are equally likely to be the new
ones. Drawing from that null gives p-values that are exact for any number of rows and
draws.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, masking, records
from ..binning import bin_sums
from ..binning.bins import Bins
from ..metrics import intervals
from ..metrics.intervals import CalibrationErrorInterval
from ..stats.intervals import Counts
from . import samples


@records.record(axes={"reference_count": "num_bins", "count": "num_bins"})
class OccupancyDrift(records.Result):
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


class StabilityIndex(NamedTuple):
    """How far counts in bins are from those of a reference; float32 scalars.

    Attributes:
      estimate: population stability index (PSI), at least 0.
      null: its mean without drift for these numbers of rows.
      p_value: probability of this index or more without drift.
    """

    estimate: jax.Array
    null: jax.Array
    p_value: jax.Array


@records.record(axes={"bin_change": "num_bins"})
class CalibrationDrift(records.Result):
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
    at most 2 / (R + 1).

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
    everywhere = np.float32(-np.inf), np.float32(np.inf)
    before = _read_sample(bins, earlier, masks[0], *everywhere)
    after = _read_sample(bins, later, masks[1], before.least, before.greatest)
    drawn = _draw_new_rows(random, before.count, after.count, num_resamples=size)
    num_given = jnp.int32(earlier.shape[0] + later.shape[0])
    return _occupancy_drift(before, after, drawn, num_given)


def stability_index(
    key: jax.Array,
    reference_count: np.ndarray,
    count: np.ndarray,
    *,
    num_resamples: int,
) -> StabilityIndex:
    """The index and test of `occupancy_drift`, where only counts are known.

    Args:
      key: a JAX random key.
      reference_count: int32 `[num_bins]` on the host, reference rows in each bin.
      count: int32 `[num_bins]` on the host, new rows.
      num_resamples: static number of draws.

    Raises:
      ValueError: if either has no row, or there are 2^31 rows or more in all.
    """
    totals = [int(np.asarray(x, np.int64).sum()) for x in (reference_count, count)]
    if not (min(totals) > 0 and sum(totals) < 2**31):
        raise ValueError(
            "reference_count, count: expected a row in each and fewer than 2^31 in "
            f"all, got {totals[0]} and {totals[1]}."
        )
    before, after = jax.device_put((np.int32(reference_count), np.int32(count)))
    drawn = _draw_new_rows(key, before, after, num_resamples=num_resamples)
    return _tested(before, after, drawn)


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
        dict.fromkeys(["reference_scores", "scores"], domains.CONFIDENCE),
    )
    keys = _three_keys(random)
    given = (earlier, right, masks[0]), (later, right_now, masks[1])
    tables = [
        intervals.table_of_rows(bins, scores, answers.astype(jnp.float32), mask)
        for scores, answers, mask in given
    ]
    change, p_value, bin_change, bin_p_value, num_compared = _compare(
        keys[0], tables[0][0], tables[1][0], num_resamples=size
    )
    before, after = (
        intervals.interval_of_table(
            one, bins, scores, table, alpha, mask, num_resamples=size
        )
        for one, table, (scores, _, mask) in zip(keys[1:], tables, given, strict=True)
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


@records.record(axes={"count": "num_bins"})
class _Sample(records.Result):
    """What is read from the scores of one sample.

    Attributes:
      count: int32 `[num_bins]`, rows in each bin.
      num_rows: int32 scalar, valid rows.
      bad: bool scalar, whether a valid score is NaN.
      least: float32 scalar, the least valid score; inf without rows.
      greatest: float32 scalar, the greatest; -inf without rows.
      num_outside: int32 scalar, valid rows beyond the ends given.
    """

    count: jax.Array
    num_rows: jax.Array
    bad: jax.Array
    least: jax.Array
    greatest: jax.Array
    num_outside: jax.Array


@dispatch.core(rows=["scores", "where"])
def _read_sample(
    bins: Bins,
    scores: jax.Array,
    where: jax.Array | None,
    least: jax.Array,
    greatest: jax.Array,
) -> _Sample:
    valid = masking.valid_rows(scores.shape[0], where)
    table = bin_sums.bin_means(bins, scores, (scores,), where, None)
    outside = valid & ((scores < least) | (scores > greatest))
    return _Sample(
        count=table.count,
        num_rows=jnp.sum(valid, dtype=jnp.int32),
        bad=jnp.any(jnp.isnan(table.means)),
        least=-jnp.max(-scores, where=valid, initial=-jnp.inf),
        greatest=jnp.max(scores, where=valid, initial=-jnp.inf),
        num_outside=jnp.sum(outside, dtype=jnp.int32),
    )


@dispatch.core(static=["num_resamples"], passes=dispatch.Passes.ALL_OPTIMISED)
def _draw_new_rows(
    key: jax.Array, before: jax.Array, after: jax.Array, *, num_resamples: int
) -> jax.Array:
    """New rows in each bin without drift, int32 `[D, num_bins]`."""
    num_taken = jnp.sum(after, dtype=jnp.int32)[None]
    return samples.draw_cells(key, (before + after)[None], num_taken, num_resamples)[
        :, 0
    ]


@dispatch.core
def _occupancy_drift(
    reference: _Sample, new: _Sample, drawn: jax.Array, num_given: jax.Array
) -> OccupancyDrift:
    pooled = reference.count + new.count
    index = _tested(reference.count, new.count, drawn)
    share = new.num_outside / jnp.maximum(new.num_rows, 1)
    bad = reference.bad | new.bad | (new.num_rows == 0) | (reference.num_rows == 0)
    values = {
        "stability_index": index.estimate,
        "null_index": index.null,
        "p_value": index.p_value,
        "outside_share": share.astype(jnp.float32),
    }
    return OccupancyDrift(
        reference_count=jnp.array(reference.count, copy=True),
        count=jnp.array(new.count, copy=True),
        **{name: jnp.where(bad, jnp.nan, value) for name, value in values.items()},
        num_reference=jnp.array(reference.num_rows, copy=True),
        counts=samples.count_rows(reference.num_rows, new.num_rows, num_given, pooled),
    )


@dispatch.core
def _tested(before: jax.Array, after: jax.Array, drawn: jax.Array) -> StabilityIndex:
    """The index of the new rows int32 `[num_bins]` among those of draws."""
    pooled = before + after
    index = jax.vmap(lambda count: _stability_index(pooled - count, count))(
        jnp.concatenate([after[None], drawn])
    )
    return StabilityIndex(index[0], jnp.mean(index[1:]), samples.p_value(index))


def _stability_index(before: jax.Array, after: jax.Array) -> jax.Array:
    """PSI of counts int32 `[num_bins]`, leaving out bins that are empty in both."""
    used = before + after > 0
    shares = []
    for count in (before, after):
        more = jnp.where(used, count.astype(jnp.float32) + 0.5, 0.0)
        shares.append(more / jnp.maximum(jnp.sum(more), 1.0))
    first, second = (jnp.where(used, share, 1.0) for share in shares)
    return jnp.sum((second - first) * jnp.log(second / first))


@dispatch.core
def _three_keys(key: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jax.random.split(key, 3))


def _compare(
    key: jax.Array,
    before: bin_sums.BinMeans,
    after: bin_sums.BinMeans,
    *,
    num_resamples: int,
) -> tuple[jax.Array, ...]:
    """Change, its p-value, changes of bins `[num_bins]`, theirs, and rows compared."""
    drawn = _draw_right(key, before, after, num_resamples=num_resamples)
    return _change(before, after, drawn)


def _margins(
    before: bin_sums.BinMeans, after: bin_sums.BinMeans
) -> tuple[jax.Array, ...]:
    """What draws are given: rows of bins that hold rows of both samples, right answers
    among them, new rows among them, and right answers of these, int32 `[num_bins]`."""
    both = (before.count > 0) & (after.count > 0)
    # The mean is accurate enough to give back the whole number of right answers.
    was_right, is_right = (
        jnp.round(table.weight * table.means[1]) for table in (before, after)
    )
    right = jnp.stack([was_right + is_right, is_right])
    right = jnp.where(jnp.isnan(right), 0.0, right).astype(jnp.int32)
    given = before.count + after.count, right[0], after.count, right[1]
    return tuple(jnp.where(both, count, 0) for count in given)


@dispatch.core(static=["num_resamples"], passes=dispatch.Passes.MANY)
def _draw_right(
    key: jax.Array,
    before: bin_sums.BinMeans,
    after: bin_sums.BinMeans,
    *,
    num_resamples: int,
) -> jax.Array:
    """Right answers of new rows in each bin without drift, int32 `[D, num_bins]`."""
    pooled, all_right, taken, _ = _margins(before, after)
    cells = jnp.stack([all_right, pooled - all_right], axis=1)
    return samples.draw_cells(key, cells, taken, num_resamples)[:, :, 0]


@dispatch.core
def _change(
    before: bin_sums.BinMeans, after: bin_sums.BinMeans, drawn: jax.Array
) -> tuple[jax.Array, ...]:
    pooled, all_right, taken, right = _margins(before, after)
    bad = jnp.any(jnp.isnan(jnp.stack([before.means[:2], after.means[:2]])))
    both = pooled > 0

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
    score, outcome = after.means[:2] - before.means[:2]
    higher = jnp.where(both, score, 0.0)
    counts = jnp.concatenate([right[None], drawn])
    off = counts.astype(jnp.float32) - expected[None]
    lift = jnp.zeros_like(off).at[0].set(higher * (n * ((t - n) / some)))
    p_value, bin_p_value = map(samples.p_value, jax.vmap(measure)(off, lift))
    bin_change = jnp.where(both, outcome - higher, 0.0)
    compared = jnp.sum(taken, dtype=jnp.int32)
    change = jnp.sum(n * bin_change) / jnp.maximum(jnp.sum(n), 1.0)
    bad = bad | (compared == 0)
    floats = (change, p_value, bin_change, bin_p_value)
    return *(jnp.where(bad, jnp.nan, value) for value in floats), compared
