r"""An interval and a test for the expected calibration error, on bins held fixed.

Shapes: N examples. One problem; many by `jax.vmap`.

The estimand is the calibration error of the population on the given bins,

.. math:: \theta = \sum_b |\delta_b|, \quad
    \delta_b = \mathrm{E}[(c - v) \, 1\{c \in b\}].

Its estimate from rows is biased upwards, most where the model is calibrated, and no
interval can be short everywhere: many small gaps cannot be distinguished from noise
(Cai and Low). So this interval is bias-aware (Armstrong and Kolesar): it uses an
estimate with a small, bounded bias and leaves room for that bound.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import bisection, checks, dispatch, masking, records, reduce
from .._core.domains import Confidence, Outcome
from ..binning import bin_sums, search
from ..binning.bins import Bins
from ..stats import intervals, random_words, resampling
from ..stats.intervals import Counts

# A gap of y standard errors, whose true value is u, is estimated as
#   |y| - 8/7 exp(-3/2 y^2) standard errors,
# whose expectation differs from |u| by at most 0.227, and by hardly anything from u = 4
# on. How far the expectation is above and below |u|, and the variance, are bounded by
# the expectations of
#   0.51 exp(-2 y^2),  2.03 y^2 exp(-1.4 y^2)  and  1 + 2.69 y^4 exp(-1.15 y^2),
# which are small in bins whose gap is clear.
_SHRINK, _SHRINK_RATE = 8 / 7, 1.5
_ABOVE, _ABOVE_RATE = 0.51, 2.0
_BELOW, _BELOW_RATE = 2.03, 1.4
_SPREAD, _SPREAD_RATE = 2.69, 1.15

# Prior rows added to each bin's variance: their variance is the one its confidences
# claim or, if larger, that of the bin with one more right and one more wrong answer.
_PRIOR_ROWS = 2.0
_LARGEST_GAP = 50.0
_BISECTIONS = 30
# Up to this many effective bins the interval for few bins is used. From this many
# standard errors on the sign of a gap counts as known. Draws of the bins' errors, and
# their key, which is not the number of any draw under the null.
_FEW_BINS, _KNOWN_SIGN, _ERROR_DRAWS, _ERROR_KEY = 4.0, 2.5, 4000, 2**32 - 1
# With few bins, the share of the error rate spent at the lower end if no sign is known;
# half if all are.
_AT_LOWER_END = 0.8
# Fewer rare outcomes than this are too few for a normal bound.
_RARE = 4.5
# A drawn error this close to the estimate counts as equal: both are rounded.
_EQUAL = 1e-6
_ROOT_HALF = np.float32(np.sqrt(0.5))


@records.record()
class CalibrationErrorInterval(records.Result):
    """An expected calibration error, its interval, and a test of calibration.

    Attributes:
      estimate: float32 scalar, the ECE of the rows on these bins, in `[0, 1]`.
      null_error: float32 scalar, mean ECE of a perfectly calibrated model with the same
        confidences.
      null_quantile: float32 scalar, the quantile of that model's ECE at the confidence
        level.
      p_value: float32 scalar, probability under perfect calibration of an ECE at least
        as large as the estimate.
      debiased: float32 scalar, a less biased estimate of the population's error.
      lower: float32 scalar, lower end; 0 unless calibration is rejected.
      upper: float32 scalar, upper end.
      counts: `Counts` of the rows, and of the bins that hold some.
    """

    estimate: jax.Array
    null_error: jax.Array
    null_quantile: jax.Array
    p_value: jax.Array
    debiased: jax.Array
    lower: jax.Array
    upper: jax.Array
    counts: Counts


def calibration_error_interval(
    key: jax.Array,
    bins: Bins,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_resamples: int = 1000,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> CalibrationErrorInterval:
    r"""ECE with an interval, a debiased estimate, and a test of perfect calibration.

    The estimand is the population's ECE on these bins, :math:`\theta = \sum_b
    |\mathrm{E}[(c - v) 1\{c \in b\}]|`. Rows are exchangeable draws from the
    population, and the bins come from other rows: cut them from the calibration half.
    Sharded rows stay on their devices.

    *Test.* Under the null, each outcome is right with probability equal to its score.
    Drawing outcomes this way, with the scores given, shows the ECE of a perfectly
    calibrated model, and :math:`p = (1 + \#\{\mathrm{ECE}^* \ge \mathrm{ECE}\}) /
    (1 + D)` is exact for right and wrong outcomes. Partial credit varies less than this
    null with the same mean.

    *Interval.* It is a normal interval with room for bias, :math:`\hat\theta - B_+ -
    c s` to :math:`\hat\theta + B_- + c s`, where :math:`\hat\theta` is `debiased`
    before it is clipped at 0, :math:`B_\pm` bound its bias, and :math:`\Phi(c + (B_+ +
    B_-) / s) - \Phi(-c) = 1 - \alpha`. It covers the estimand with probability about
    :math:`1 - \alpha` where the gaps of bins are several standard errors, and more
    where they are smaller. It starts at 0 where :math:`p > \alpha / 2`, so for a
    calibrated model it covers 0 with probability at least :math:`1 - \alpha / 2`,
    exactly. Coverage of an error above 0 is approximate: `benchmarks/intervals`
    measures it.

    *Few bins.* Bounds on expectations say little where fewer than about four bins carry
    the noise. There the interval is :math:`\mathrm{ECE} - q` to :math:`\mathrm{ECE} + z
    s`. The upper end holds because :math:`|\delta| - |\hat\delta|` is at most the error
    of :math:`\hat\delta`; q is a quantile of the sum of the bins' errors, or of their
    absolute values where :math:`|\hat\delta|` is not clear of 0. Both kinds of interval
    are shifted by the skewness of rare outcomes.

    *Rare outcomes.* Where all rows of a bin are right, or all are wrong, nothing is
    seen of the rarer outcome. Both ends leave room for as many as an exact binomial
    bound allows for all such bins together, :math:`1 - (\alpha / 2)^{1 / n}` of their n
    rows. Where up to four are seen, in all bins whose confidences claim more, they may
    be too many by luck: the upper end leaves room for as few as a binomial bound
    allows.

    Args:
      key: a JAX random key, for the draws under the null.
      bins: `Bins` of the scores, from other rows.
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      num_resamples: static number of draws D, at least 1; with fewer than
        2 / (1 - confidence_level) the test cannot reject, and `lower` is 0.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`, the rows that count.

    Returns:
      `CalibrationErrorInterval`; its floats are NaN without a valid row, or with a
      valid NaN or value outside `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape, dtype, count or level, or a host score or
        outcome outside `[0, 1]`.

    References:
      Armstrong and Kolesar, "Optimal inference in a class of regression models", 2018;
      Cai and Low, "Testing composite hypotheses, Hermite polynomials and optimal
      estimation of a nonsmooth functional", 2011; Clopper and Pearson, 1934; Zou and
      Donner, "Construction of confidence limits about effect measures", 2008 (joining
      the parts of an interval); Brocker and Smith, "Increasing the
      reliability of reliability diagrams", 2007 (draws under the null).

    Examples:
      >>> import calib_jax as cj
      >>> bins, scores = cj.equal_width_bins(5), jnp.linspace(0.5, 1.0, 1000)
      >>> outcomes = jnp.arange(1000) % 2
      >>> error = calibration_error_interval(jax.random.key(0), bins, scores, outcomes)
      >>> print(f"{error.estimate:.2f}, calibrated {error.null_error:.2f}")
      0.25, calibrated 0.02
      >>> print(f"{error.lower:.2f} to {error.upper:.2f}, p = {error.p_value:.3f}")
      0.21 to 0.29, p = 0.001
    """
    random = checks.key("key", key)
    checks.instance("bins", bins, Bins)
    score, outcome, mask, _ = checks.scored_rows(scores, outcomes, where)
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    error_rate = checks.error_rate("confidence_level", confidence_level)
    return interval_of_rows(
        random, bins, score, outcome, error_rate, mask, num_resamples=size
    )


def interval_of_rows(
    key: jax.Array,
    bins: Bins,
    scores: jax.Array,
    outcomes: jax.Array,
    error_rate: jax.Array,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> CalibrationErrorInterval:
    """`calibration_error_interval` without its checks.

    Three programs: what is read from the rows, and the interval, run once and compile
    quickly, while the draws take time. Only the last one knows their number.
    """
    table = table_of_rows(bins, scores, outcomes, where)
    return interval_of_table(
        key, bins, scores, table, error_rate, where, num_resamples=num_resamples
    )


def interval_of_table(
    key: jax.Array,
    bins: Bins,
    scores: jax.Array,
    table: tuple[bin_sums.BinMeans, jax.Array],
    error_rate: jax.Array,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> CalibrationErrorInterval:
    """`interval_of_rows` from their `table_of_rows`."""
    # Words of other keys depend on how many rows there are.
    draw = _draw if random_words.is_default(key) else _draw_as_they_are
    drawn = draw(key, bins, scores, where, num_resamples=num_resamples)
    return _interval(*table, *drawn, error_rate, jnp.int32(scores.shape[0]))


@dispatch.core(rows=["scores", "outcomes", "where"])
def table_of_rows(
    bins: Bins, scores: Confidence, outcomes: Outcome, where: jax.Array | None
) -> tuple[bin_sums.BinMeans, jax.Array]:
    """Means in bins, and the number of valid rows: of confidences, outcomes, squared
    gaps, and variances that confidences claim and that partial outcomes lack."""
    valid = masking.valid_rows(scores.shape[0], where)
    scores, outcomes = masking.clean_rows(valid, 0.5, scores, outcomes)
    squares, partial = (scores - outcomes) ** 2, outcomes * (1 - outcomes)
    claimed = jnp.maximum(scores * (1 - scores), 0.0)
    values = scores, outcomes, squares, claimed, partial
    table = bin_sums.bin_means(bins, scores, values, valid, None)
    return table, jnp.sum(valid, dtype=jnp.int32)


def _draw_rows(
    key: jax.Array,
    bins: Bins,
    scores: Confidence,
    where: jax.Array | None,
    *,
    num_resamples: int,
) -> tuple[jax.Array, jax.Array]:
    """Right answers in each bin, int32 `[D, num_bins]`, if rows are right as often as
    their scores say; and errors in standard errors, of bins and of their shares."""
    num_rows, num_bins = scores.shape[0], bins.num_bins
    index = search.bin_of(bins.edges, scores)
    index = masking.fill(index, where, -1)
    bin_number = jnp.arange(num_bins, dtype=jnp.int32)

    def step(
        count: jax.Array, block: tuple[jax.Array, ...], live: jax.Array
    ) -> jax.Array:
        place, right = block
        inside = (place[:, None] == bin_number[None]) & live[:, None]
        # Counts of one block are small enough to be exact.
        found = lax.dot_general(
            right.astype(jnp.float32),
            inside.astype(jnp.float32),
            (((0,), (0,)), ((), ())),
            precision=lax.Precision.HIGHEST,
        )
        return count + found.astype(jnp.int32)

    def batch(draws: jax.Array) -> jax.Array:
        words = random_words.words_of_draws(key, draws, num_rows)
        right = random_words.uniforms(words) < scores[None]
        count = jnp.zeros((draws.shape[0], num_bins), jnp.int32)
        count = reduce.fold(step, count, (index, right.T), None, entries=num_bins)
        return jnp.sum(count, axis=0, dtype=jnp.int32)

    most = resampling.most_at_once(num_rows)
    right = resampling.in_batches(batch, num_resamples, most)
    shape = _ERROR_DRAWS, num_bins + 1
    words = random_words.words_of_draws(
        key, jnp.array([_ERROR_KEY], jnp.uint32), math.prod(shape)
    )
    return right, random_words.normals(words).reshape(shape)


_draw, _draw_as_they_are = (
    dispatch.core(
        _draw_rows, static=["num_resamples"], rows=rows, passes=dispatch.Passes.MANY
    )
    for rows in (["scores", "where"], [])
)


@dispatch.core
def _interval(
    table: bin_sums.BinMeans,
    num_valid: jax.Array,
    right: jax.Array,
    errors: jax.Array,
    error_rate: jax.Array,
    num_given: jax.Array,
) -> CalibrationErrorInterval:
    """The interval, from the results of `table_of_rows` and of `_draw`."""
    num_rows = jnp.sum(table.count, dtype=jnp.int32)
    bad = (num_rows == 0) | jnp.any(jnp.isnan(table.means)) | jnp.isnan(error_rate)
    total = jnp.maximum(num_rows, 1).astype(jnp.float32)
    confidence, outcome = table.means[:2]
    share, gap = table.weight / total, confidence - outcome
    estimate = jnp.sum(share * jnp.abs(gap))

    expected = table.weight * confidence
    null = jnp.sum(jnp.abs(expected[None] - right.astype(jnp.float32)), axis=1) / total
    p_value = resampling.p_value(null, estimate, _EQUAL)

    debiased, lower, upper = _ends(errors, table, share, gap, total, error_rate)
    lower = jnp.where(p_value <= 0.5 * error_rate, lower, 0.0)
    values = {
        "estimate": estimate,
        "null_error": jnp.mean(null),
        "null_quantile": jnp.quantile(null, 1 - error_rate),
        "p_value": p_value,
        "debiased": debiased,
        "lower": lower,
        "upper": upper,
    }
    return CalibrationErrorInterval(
        **{name: jnp.where(bad, jnp.nan, value) for name, value in values.items()},
        counts=Counts(
            num_rows=jnp.array(num_valid, copy=True),
            num_masked=num_given - num_valid,
            num_bins=jnp.sum(table.count > 0, dtype=jnp.int32),
        ),
    )


def _ends(
    drawn: jax.Array,
    table: bin_sums.BinMeans,
    share: jax.Array,
    gap: jax.Array,
    total: jax.Array,
    error_rate: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The debiased estimate and both ends of the interval, before the test.

    `drawn` are the errors of `_draw`, float32 `[draws, num_bins + 1]`.
    """
    _, outcome, square, claimed, _ = table.means
    rows = table.weight
    # One right and one wrong answer are added, so that no variance is 0.
    around = (rows * outcome + 1) / (rows + 2)
    prior = jnp.maximum(claimed, around * (1 - around))
    added = _PRIOR_ROWS * prior
    spread = rows * jnp.maximum(square - gap**2, 0.0) + added
    variance = spread / (jnp.maximum(rows, 1.0) - 1 + _PRIOR_ROWS)
    error = jnp.sqrt(rows * variance) / total

    found = share * jnp.abs(gap)
    gaps = jnp.minimum(found / jnp.where(error > 0, error, 1.0), _LARGEST_GAP)
    y = gaps**2

    def bounded(
        height: float, rate: float, power: jax.Array | float = 1.0
    ) -> jax.Array:
        return height * power * jnp.exp(-rate * y)

    estimate = jnp.sum(found - error * bounded(_SHRINK, _SHRINK_RATE))
    above = jnp.sum(error * bounded(_ABOVE, _ABOVE_RATE))
    below = jnp.sum(error * bounded(_BELOW, _BELOW_RATE, y))
    # If only the added rows suggest any noise, as among few rows that are all right,
    # there may have been no noise to subtract.
    made_up = (added / spread) ** 2
    below = below + jnp.sum(error * bounded(_SHRINK, _SHRINK_RATE) * made_up)
    of_gaps = jnp.sum(error**2 * (1 + bounded(_SPREAD, _SPREAD_RATE, y**2)))
    # The number of rows in each bin is random too.
    clear = jnp.sqrt(jnp.maximum(gap**2 - variance / jnp.maximum(rows, 1.0), 0.0))
    of_shares = jnp.sum(share * clear**2) - jnp.sum(share * clear) ** 2
    of_shares = jnp.maximum(of_shares, 0.0) / total
    deviation = jnp.sqrt(of_gaps + of_shares)
    room = (above + below) / jnp.where(deviation > 0, deviation, 1.0)
    reach = _critical_value(room, error_rate) * deviation

    # These bounds hold on average over bins. With few bins, the ECE is too large by at
    # most the absolute errors of the bins, or the errors themselves where the sign of
    # the gap is known; it is too small by at most what it would be if all signs were
    # known. Where they are not, the upper end misses less often, and the lower end may
    # miss more.
    squares = error**2
    noise = jnp.sum(squares)
    few = jnp.sum(error) ** 2 < _FEW_BINS * noise
    known = gaps > _KNOWN_SIGN
    off = jnp.where(known[None], drawn[:, 1:], jnp.abs(drawn[:, 1:])) * error[None]
    off = jnp.sum(off, axis=1) + drawn[:, 0] * jnp.sqrt(of_shares)
    some = jnp.where(noise > 0, noise, 1.0)
    of_known = jnp.sum(jnp.where(known, squares, 0.0)) / some
    part = _AT_LOWER_END - (_AT_LOWER_END - 0.5) * of_known
    off = jnp.quantile(off, 1 - error_rate * part)
    quantile = intervals.normal_quantile(error_rate)
    seen = jnp.sum(found)
    most = seen + quantile * jnp.sqrt(noise + of_shares)
    lower = jnp.where(few, seen - off, estimate - above - reach)
    upper = jnp.where(few, most, estimate + below + reach)

    # Rare answers, right or wrong, are more skewed than a normal variable. The shift is
    # that of Wilson's interval for a proportion, and half a row for whole outcomes.
    # Where the sign of a gap is not known, the skew may be upwards.
    skewness, weight = 2 * around - 1, squares / some
    sign = jnp.sign(gap) * lax.erf(gaps * _ROOT_HALF)
    sure = jnp.sum(weight * sign * skewness)
    unsure = jnp.sum(weight * (1 - jnp.abs(sign)) * jnp.abs(skewness))
    shift, half = 0.5 * quantile**2 / total, 0.5 / total
    lower = lower + shift * sure - half * jnp.abs(sure)
    upper = upper + shift * (sure + unsure) + half * (jnp.abs(sure) + unsure)
    lower, upper = _allow_for_rare(
        table, gap, found, squares, of_shares, total, error_rate, lower, upper
    )
    estimate = jnp.maximum(estimate, 0.0)
    return estimate, jnp.clip(lower, 0.0, estimate), jnp.clip(upper, estimate, 1.0)


def _allow_for_rare(
    table: bin_sums.BinMeans,
    gap: jax.Array,
    found: jax.Array,
    squares: jax.Array,
    of_shares: jax.Array,
    total: jax.Array,
    error_rate: jax.Array,
    lower: jax.Array,
    upper: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Both ends, with room for outcomes too rare for normal bounds.

    Where all rows of a bin are right, or all are wrong, the others are rare, but their
    rate need not be 0. Their share of all rows is bounded as in one sample of all such
    bins (Clopper-Pearson for a count of 0), at half the error rate.

    Where a bin has few rare outcomes and claims more, their rate may be lower still. It
    is bounded as in one sample of all such bins, if these are few together.

    Args:
      table: means in each bin, and its rows.
      gap: float32 `[num_bins]`, confidence less outcome.
      found: float32 `[num_bins]`, share of the rows times the absolute gap.
      squares: float32 `[num_bins]`, variance of each bin's part of the ECE.
      of_shares: float32 scalar, variance of the ECE from the number of rows in bins.
      total: float32 scalar, rows of all bins.
      error_rate: float32 scalar.
      lower: float32 scalar, lower end by normal bounds.
      upper: float32 scalar, upper end by normal bounds.
    """
    rows, (_, outcome, square, _, partial) = table.weight, table.means
    rare = rows * jnp.minimum(outcome, 1 - outcome)
    alike = (rows > 0) & (rare == 0)
    scarce = (rows > 0) & (partial == 0) & (rare < _RARE)
    scarce = scarce & (jnp.sign(gap) == jnp.sign(0.5 - outcome))
    count = jnp.sum(jnp.where(scarce, rare, 0.0))
    few = count < _RARE
    count = jnp.where(few, count, 0.0)
    inside = jnp.stack([alike, alike | (scarce & few)])
    # Confidences and numbers of rows vary even where outcomes do not.
    varies = jnp.maximum(square - gap**2, 0.0) - outcome * (1 - outcome)
    varies = jnp.maximum(varies, 0.0) * rows**2 / jnp.maximum(rows - 1, 1.0)
    size, variance, rest = jnp.sum(
        jnp.stack(
            [
                jnp.where(inside, rows[None], 0.0),
                jnp.where(inside, varies[None], 0.0),
                jnp.where(inside, 0.0, squares[None]),
            ]
        ),
        axis=2,
    )
    chance = intervals.normal_quantile(error_rate) ** 2
    chance = chance * (variance / total**2 + of_shares * size / total)
    # The normal bounds are those of the noise of the other bins.
    noise = jnp.sum(squares)
    rest = rest / jnp.where(noise > 0, noise, 1.0)

    unseen = -jnp.expm1(jnp.log(0.5 * error_rate) / jnp.maximum(size[0], 1.0))
    unseen = unseen * size[0] / total
    # They close the gap of a bin before they open one on the other side.
    more = unseen - 2 * jnp.min(jnp.where(alike, found, jnp.inf))
    # From a Poisson mean to a binomial share by Bol'shev's approximation.
    least = intervals.byar(count, error_rate)[0]
    least = least / (1 - 0.5 * (count - 1 - least) / jnp.maximum(size[1], 1.0))
    room = jnp.maximum(jnp.stack([more, (count - least) / total]), 0.0)

    seen = jnp.sum(found)
    below, above = jnp.maximum(seen - lower, 0.0), jnp.maximum(upper - seen, 0.0)
    below = below**2 * rest[0] + unseen**2 + chance[0]
    above = jnp.max(above**2 * rest + room**2 + chance)
    return seen - jnp.sqrt(below), seen + jnp.sqrt(above)


def _critical_value(room: jax.Array, error_rate: jax.Array) -> jax.Array:
    r"""The c of :math:`\Phi(-c) + \Phi(-c - r) = \alpha`."""

    def too_low(value: jax.Array) -> jax.Array:
        both = jnp.stack([value, value + room])
        return 0.5 * jnp.sum(lax.erfc(both * _ROOT_HALF), axis=0) > error_rate

    low, high = (intervals.normal_quantile(k * error_rate) for k in (2, 1))
    return bisection.bisect(too_low, low, high, num_halvings=_BISECTIONS)
