r"""Whether confidence still means what it meant, from a few labelled rows.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws. One problem; many by
`jax.vmap`. Bins are held fixed, and both sets of rows are samples.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch
from ..binning import bin_sums
from ..binning.bins import Bins
from ..metrics import intervals
from ..metrics.intervals import CalibrationErrorInterval
from . import urns


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationDrift:
    """Whether confidence means what it meant, by labelled rows.

    Attributes:
      change: float32 scalar, mean outcome less confidence of the new rows, less what
        it is in the same bins of the reference; over the bins that hold rows of both.
      p_value: float32 scalar, of such a change in either direction without drift.
      bin_change: float32 `[num_bins]`, the same in each bin; 0 where either is empty.
      bin_p_value: float32 scalar, of such changes in bins, which may be in different
        directions.
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


def calibration_drift(
    key: jax.Array,
    bins: Bins,
    reference_scores: ArrayLike,
    reference_outcomes: ArrayLike,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_draws: int = 1000,
    error_probability: ArrayLike = 0.05,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> CalibrationDrift:
    r"""Whether outcomes at the same confidence are those of a reference; a few labels.

    Two questions apart. Whether the confidences are calibrated now, or ever were, is
    the p-value of `new` and of `reference`, from `calibration_error_interval`. Whether
    outcomes have drifted compares new rows with reference rows of the same bin, right
    or wrong confidences alike: given how many rows of each bin are right, any of them
    may be the new ones. Draws of that give a p-value of the sum over bins
    (Mantel-Haenszel), which has power with few labels if new answers are wrong more
    often on the whole,

    .. math:: \left| \sum_b \left(k_b - n_b \frac{k_b + l_b}{n_b + r_b}
        - \frac{n_b r_b}{n_b + r_b} (\bar s_b - \bar t_b)\right) \right|

    for k of n new and l of r reference rows being right, with mean confidences s and t,
    and another of the sum of the squares of these terms over their variances. Of both
    p-values one may be chosen beforehand; the smaller one counts twice.

    Both are exact where all confidences in a bin are equal. Else they suppose that
    within a bin outcomes rise as confidence does, which holds if it is calibrated:
    confidences may then shift, and false alarms are about as rare as they should be,
    with 5 bins too (`benchmarks/alarms`, section 1). What the third term adds is not a
    whole number of rows, as draws are, so that up to half a row of it is taken back.
    Of confidences that were never calibrated a
    shift within a bin can pass for a change; narrow bins, 15 or more, leave little of
    it.

    Args:
      key: a JAX random key.
      bins: `Bins` of the scores, from other rows.
      reference_scores: floating `[R]`, confidences in `[0, 1]`.
      reference_outcomes: bool `[R]`, whether each is correct.
      scores: floating `[N]`, new confidences, calibrated as those of the reference.
      outcomes: bool `[N]`, whether each is correct.
      num_draws: static number of draws D, at least 1.
      error_probability: floating scalar, of the two intervals; may be traced.
      reference_where: optional bool `[R]`; masked rows may hold anything.
      where: optional bool `[N]`, such as that of the rows that are labelled; masked
        rows may hold anything.

    Returns:
      `CalibrationDrift`; its floats are NaN without a bin that holds rows of both, or
      with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

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
    size = checks.static_int("num_draws", num_draws, minimum=1)
    alpha = checks.floats("error_probability", error_probability, rank=0, axes="")
    masks = (
        checks.mask("reference_where", reference_where, axes="[R]"),
        checks.mask("where", where),
    )
    checks.same_shape(
        reference_scores=earlier, reference_outcomes=right, reference_where=masks[0]
    )
    checks.same_shape(scores=later, outcomes=right_now, where=masks[1])
    keys = jax.random.split(random, 3)
    change, p_value, bin_change, bin_p_value, num_compared = _compare(
        keys[0], bins, (earlier, right), (later, right_now), *masks, num_draws=size
    )
    reference, new = (
        intervals.interval_of_rows(
            at, bins, score, outcome, alpha, of, num_resamples=size
        )
        for at, score, outcome, of in (
            (keys[1], earlier, right.astype(jnp.float32), masks[0]),
            (keys[2], later, right_now.astype(jnp.float32), masks[1]),
        )
    )
    return CalibrationDrift(
        change=change,
        p_value=p_value,
        bin_change=bin_change,
        bin_p_value=bin_p_value,
        reference=reference,
        new=new,
        num_compared=num_compared,
    )


@dispatch.core(static=["num_draws"])
def _compare(
    key: jax.Array,
    bins: Bins,
    reference: tuple[jax.Array, jax.Array],
    new: tuple[jax.Array, jax.Array],
    reference_where: jax.Array | None,
    where: jax.Array | None,
    *,
    num_draws: int,
) -> tuple[jax.Array, ...]:
    """Change, its p-value, `[num_bins]` of bins, its p-value, and rows compared."""
    rows, right, scored, means, bad = [], [], [], [], jnp.bool_(False)
    for (scores, outcomes), mask in ((reference, reference_where), (new, where)):
        table = bin_sums.bin_means(bins, scores, (scores, outcomes), mask, None)
        bad = bad | jnp.any(jnp.isnan(table.means))
        rows.append(table.count)
        # A mean of so many rows is near enough for its whole number of them.
        total = jnp.round(table.weight * table.means[1])
        right.append(jnp.where(jnp.isnan(total), 0.0, total).astype(jnp.int32))
        scored.append(table.means[0])
        means.append(table.means[1])
    both = (rows[0] > 0) & (rows[1] > 0)
    pooled, all_right, taken = (
        jnp.where(both, count, 0) for count in (rows[0] + rows[1], sum(right), rows[1])
    )
    drawn = urns.draw_right(key, all_right, pooled, taken, num_draws)

    n, t, k = (x.astype(jnp.float32) for x in (taken, pooled, all_right))
    some = jnp.maximum(t, 1.0)
    expected = n * (k / some)
    spread = expected * ((t - k) / some) * ((t - n) / jnp.maximum(t - 1, 1.0))
    weight = jnp.where(spread > 0, 1 / jnp.where(spread > 0, spread, 1.0), 0.0)

    def measure(off: jax.Array, lift: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Draws are whole numbers apart, what is lifted lies between: half of one less.
        def less(value: jax.Array, lift: jax.Array) -> jax.Array:
            return jnp.maximum(jnp.abs(value) - jnp.minimum(jnp.abs(lift), 0.5), 0.0)

        change = less(jnp.sum(off - lift), jnp.sum(lift))
        return change, jnp.sum(weight * less(off - lift, lift) ** 2)

    # What is right more often since confidence is higher within the bin is no change.
    higher = jnp.where(both, scored[1] - scored[0], 0.0)
    counts = jnp.concatenate([jnp.where(both, right[1], 0)[None], drawn])
    off = counts.astype(jnp.float32) - expected[None]
    lift = jnp.zeros_like(off).at[0].set(higher * (n * ((t - n) / some)))
    p_value, bin_p_value = map(urns.p_value, jax.vmap(measure)(off, lift))
    bin_change = jnp.where(both, means[1] - means[0] - higher, 0.0)
    compared = jnp.sum(taken, dtype=jnp.int32)
    change = jnp.sum(n * bin_change) / jnp.maximum(jnp.sum(n), 1.0)
    bad = bad | (compared == 0)
    floats = (change, p_value, bin_change, bin_p_value)
    return *(jnp.where(bad, jnp.nan, value) for value in floats), compared
