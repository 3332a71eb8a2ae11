r"""Error bars of what a cascade achieves.

Shapes: N examples, D draws, `num_bins` bins. One problem; many by `jax.vmap`. Routers
are held fixed, as fitted on other rows; the estimand is what they would achieve on the
population from which the rows are exchangeable draws. Every draw takes the same rows
for both models, so that what is compared is paired.
"""

import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from ..binning import bin_sums
from ..binning.bin_sums import BinMeans
from ..binning.tables import ReliabilityTable
from ..stats import intervals, resampling
from ..stats.intervals import Interval
from . import curves
from .curves import CascadeCurve
from .routers import Router


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeInterval:
    """What a cascade achieves, each with its interval.

    Attributes:
      small_share: `Interval` of `[num_bins + 1]`, share answered by the small model.
      accuracy: `Interval` of `[num_bins + 1]`, mean outcome for every K.
      over_large: `Interval` of `[num_bins + 1]`, accuracy less that of the large model.
      recovered: `Interval` of `[num_bins + 1]`, PGR.
      average_recovered: `Interval` of a scalar, APGR.
      outcome_advantage: `Interval` of `[num_bins]`, mean outcome of the large model
        less that of the small one in each bin; 0 in a bin without rows.
      num_rows: int32 scalar, rows that count.
      num_bins: int32 scalar, bins that hold rows.
      num_tied: int32 scalar, rows whose confidence another row has too.
      num_masked: int32 scalar, rows that `where` leaves out.
    """

    small_share: Interval
    accuracy: Interval
    over_large: Interval
    recovered: Interval
    average_recovered: Interval
    outcome_advantage: Interval
    num_rows: jax.Array
    num_bins: jax.Array
    num_tied: jax.Array
    num_masked: jax.Array


def cascade_interval(
    key: jax.Array,
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    num_draws: int = 1000,
    error_probability: ArrayLike = 0.05,
    where: ArrayLike | None = None,
) -> CascadeInterval:
    r"""The curve of a cascade, PGR, APGR and advantages of bins, with error bars.

    Intervals are of each number by itself: a curve as a whole lies inside its intervals
    less often. Those of PGR and APGR are the central :math:`1 - \alpha` of bootstrap
    draws of the rows. Both divide by the gap between the models: where draws have a gap
    of either sign their intervals are wide, as they must be. Of a K whose bins hold no
    row on which the models differ, every draw has the same PGR, and its interval says
    nothing.

    Draws of few rows that differ, or are wrong, vary too little, so that means of rows
    have adjusted normal intervals,

    .. math:: \tilde x \pm z \sqrt{(\tilde s - \tilde x^2) / (n + a)}, \quad
        \tilde x = \frac{b + \sum_i x_i}{n + a}, \;
        \tilde s = \frac{c + \sum_i x_i^2}{n + a}, \;
        z = \Phi^{-1}(1 - \alpha / 2)

    An accuracy, and a share of rows, is given :math:`z^2 / 2` right rows and as many
    wrong ones (:math:`a = z^2`, :math:`b = c = z^2 / 2`). Of what one model has over
    the other on the same rows, either wins one row more (:math:`a = c = 2`,
    :math:`b = 0`).

    Args:
      key: a JAX random key; the same one pairs calls on the same rows.
      router: `Router`, fitted on other rows.
      small_confidence: floating `[N]`, calibrated as those of the fit.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: the same for the large model's answer.
      num_draws: static number of draws, at least 1; 2 / error_probability or more.
      error_probability: floating scalar, with which an interval may miss; may be
        traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `CascadeInterval`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or without rows.

    References:
      Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Ong et
      al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2 (PGR and APGR); Agresti and
      Coull, "Approximate is better than 'exact' for interval estimation of binomial
      proportions", 1998; Bonett and Price, "Adjusted Wald confidence interval for a
      difference of binomial proportions based on paired data", 2012.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> confidence = jnp.tile(jnp.array([0.1, 0.9]), 500)
      >>> small, large = jnp.arange(1000) % 4 > 1, jnp.arange(1000) % 4 > 0
      >>> found = cascade_interval(jax.random.key(0), router, confidence, small, large)
      >>> loss = found.over_large
      >>> print(f"{loss.estimate[1]:.2f}, {loss.lower[1]:.2f} to {loss.upper[1]:.2f}")
      -0.25, -0.28 to -0.22
    """
    random = checks.key("key", key)
    checks.instance("router", router, Router)
    confidence, small, large, mask, alpha, size = arguments(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        num_draws,
        error_probability,
        where,
    )
    return _cascade_interval(
        random, router, confidence[0], small, large, alpha, mask, num_draws=size
    )


def arguments(
    confidences: dict[str, ArrayLike],
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    num_draws: int,
    error_probability: ArrayLike,
    where: ArrayLike | None,
) -> tuple[Any, ...]:
    """All but key and routers, checked and converted."""
    given = checks.two_models(confidences, small_outcome, large_outcome, where)
    if given[1].shape[0] == 0:
        raise ValueError("small_outcome: expected N > 0 examples to draw from, got 0.")
    size = checks.static_int("num_draws", num_draws, minimum=1)
    return *given, checks.scalar("error_probability", error_probability), size


def seen_and_drawn(
    key: jax.Array,
    router: Router,
    confidence: jax.Array,
    small: jax.Array,
    large: jax.Array,
    where: jax.Array | None,
    num_draws: int,
) -> tuple[CascadeCurve, CascadeCurve, BinMeans]:
    """The curve of the rows, those of draws with an axis of draws first, and in bins
    both outcomes, the gain by the large model, and the squares of all three.
    """
    parts = small, large, large - small
    state, table = bin_sums.bin_sums_and_means(
        router.bins, confidence, (*parts, *(part**2 for part in parts)), where, None
    )
    bad = jnp.any(jnp.isnan(table.means))
    curve = curves.curve_of_sums(state.sums[1:4], router.order, bad)

    def tables(outcome: jax.Array) -> ReliabilityTable:
        return resampling.bootstrap_reliability(
            key, router.bins, confidence, outcome, num_draws, where=where
        )

    def draw(by_small: ReliabilityTable, by_large: ReliabilityTable) -> CascadeCurve:
        # A draw may take masked rows only: 0 / 0.
        weight = by_small.weight / jnp.minimum(jnp.sum(by_small.weight), 1.0)
        return curves.curve_of_means(
            weight, by_small.outcome, by_large.outcome, router.order
        )

    # Of both outcomes the same rows are taken, counted only once.
    both = jax.vmap(tables)(jnp.stack([small, large]))
    drawn = jax.vmap(draw)(
        *(jax.tree.map(operator.itemgetter(k), both) for k in (0, 1))
    )
    return curve, drawn, table


def ends_of_gain(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_probability: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The ends for a mean of paired differences, with a row more won by either side."""
    ends = _adjusted(total, squares + 2, rows + 2, error_probability)
    return jnp.clip(ends[0], -1.0, 1.0), jnp.clip(ends[1], -1.0, 1.0)


def _of_mean(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_probability: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The ends for a mean in [0, 1], with some rows more of either end."""
    more = ndtri(0.5 * error_probability) ** 2
    half = 0.5 * more
    ends = _adjusted(total + half, squares + half, rows + more, error_probability)
    return jnp.clip(ends[0], 0.0, 1.0), jnp.clip(ends[1], 0.0, 1.0)


def _adjusted(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_probability: jax.Array
) -> tuple[jax.Array, jax.Array]:
    mean, square = total / rows, squares / rows
    deviation = jnp.sqrt(jnp.maximum(square - mean**2, 0.0) / rows)
    reach = -ndtri(0.5 * error_probability) * deviation
    return mean - reach, mean + reach


@dispatch.core(static=["num_draws"])
def _cascade_interval(
    key: jax.Array,
    router: Router,
    confidence: jax.Array,
    small: jax.Array,
    large: jax.Array,
    error_probability: jax.Array,
    where: jax.Array | None,
    *,
    num_draws: int,
) -> CascadeInterval:
    def read(curve: CascadeCurve) -> dict[str, jax.Array]:
        return {
            "recovered": curves.performance_gap_recovered(curve),
            "average_recovered": curves.average_performance_gap_recovered(curve),
        }

    seen, drawn, table = seen_and_drawn(
        key, router, confidence, small, large, where, num_draws
    )
    found = intervals.interval_of_draws(
        read(seen), jax.vmap(read)(drawn), error_probability
    )

    sums = table.weight[None] * table.means
    ends = ends_of_gain(sums[2], sums[5], table.weight, error_probability)
    advantage = Interval(estimate=table.means[2], lower=ends[0], upper=ends[1])
    num_rows = jnp.sum(table.count, dtype=jnp.int32).astype(jnp.float32)
    none = jnp.isnan(seen.accuracy)
    sums = jnp.stack([table.weight, *sums])[:, router.order]
    kept = jnp.pad(jnp.cumsum(sums, axis=1), [(0, 0), (1, 0)])
    rows, by_small, _, gain, small_squares, _, gain_squares = kept
    _, _, all_large, _, _, large_squares, _ = kept[:, -1:] - kept

    number = jnp.arange(none.shape[0], dtype=jnp.int32)
    no_small, all_small = number == 0, number == number.shape[0] - 1

    def interval(
        estimate: jax.Array,
        ends: tuple[jax.Array, jax.Array],
        known: jax.Array | bool = False,
    ) -> Interval:
        lower, upper = (jnp.where(none | known, estimate, end) for end in ends)
        return Interval(estimate=estimate, lower=lower, upper=upper)

    correct = by_small + all_large, small_squares + large_squares
    over = jnp.where(none, jnp.nan, -gain / num_rows)
    valid = masking.valid_rows(confidence.shape[0], where, None)
    return CascadeInterval(
        **intervals.by_name(found),
        small_share=interval(
            seen.small_share,
            _of_mean(rows, rows, num_rows, error_probability),
            no_small | all_small,
        ),
        accuracy=interval(
            seen.accuracy, _of_mean(*correct, num_rows, error_probability)
        ),
        # Without bins kept small the large model answers everything.
        over_large=interval(
            over,
            ends_of_gain(-gain, gain_squares, num_rows, error_probability),
            no_small,
        ),
        outcome_advantage=jax.tree.map(
            lambda leaf: jnp.where(none[0], jnp.nan, leaf), advantage
        ),
        **intervals.counts(valid, confidence, table.count),
    )
