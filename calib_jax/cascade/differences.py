r"""How much better one router is than another, with error bars.

Shapes: N examples, D draws, `num_bins` bins. One problem; many by `jax.vmap`. Estimands
are those of `calib_jax.cascade_interval`, of two routers on the same rows.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from ..stats import intervals
from ..stats.intervals import Interval
from . import curves
from . import intervals as cascade_intervals
from .curves import CascadeCurve
from .routers import Router


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RouterDifference:
    """How much more a first router achieves than a second, each with its interval.

    Attributes:
      accuracy: `Interval` of `[num_bins + 1]`, difference of mean outcomes where the
        small model answers a share k / num_bins.
      area: `Interval` of a scalar, mean of that difference over all shares.
      average_recovered: `Interval` of a scalar, difference of APGR: the area over the
        gap between the models.
      num_rows: int32 scalar, rows that count.
      num_bins: int32 `[2]`, bins of the first and of the second router that hold rows.
      num_tied: int32 `[2]`, rows whose first, and whose second, confidence another row
        has too.
      num_masked: int32 scalar, rows that `where` leaves out.
    """

    accuracy: Interval
    area: Interval
    average_recovered: Interval
    num_rows: jax.Array
    num_bins: jax.Array
    num_tied: jax.Array
    num_masked: jax.Array


def router_difference_interval(
    key: jax.Array,
    first: Router,
    second: Router,
    first_confidence: ArrayLike,
    second_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    num_draws: int = 1000,
    error_probability: ArrayLike = 0.05,
    where: ArrayLike | None = None,
) -> RouterDifference:
    r"""How much better one router is than another on the same rows, with error bars.

    As of calibrated against raw confidences (the paper's CC against UC). Curves are
    compared at equal shares, linear between their points, which is what keeping part of
    a bin at random achieves. Both routers see the same draws of the rows, of which the
    central :math:`1 - \alpha` is taken.

    Args, errors and NaN as for `cascade_interval`, but of two routers of as many bins,
    `first` and `second`, with the confidences `[N]` that each routes by.

    Returns:
      `RouterDifference`, of the first less the second.

    Raises:
      ValueError: as `cascade_interval`, or for routers of different numbers of bins.

    References:
      Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Hao et
      al. 2026, arXiv 2601.07965, Figure 2 (calibrated and uncalibrated routing).

    Examples:
      >>> import calib_jax
      >>> good = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> bad = calib_jax.fit_router([0.2, 0.8], [0.1, 0.9], num_bins=2)
      >>> c = jnp.tile(jnp.array([0.1, 0.9]), 500)
      >>> small, large = jnp.arange(1000) % 2 == 1, jnp.arange(1000) % 8 > 0
      >>> more = router_difference_interval(
      ...     jax.random.key(0), good, bad, c, c, small, large
      ... ).average_recovered
      >>> print(f"{more.estimate:.1f}, {more.lower:.1f} to {more.upper:.1f}")
      0.5, 0.5 to 0.5
    """
    random = checks.key("key", key)
    checks.instance("first", first, Router)
    checks.instance("second", second, Router)
    confidences, small, large, mask, alpha, size = cascade_intervals.arguments(
        {"first_confidence": first_confidence, "second_confidence": second_confidence},
        small_outcome,
        large_outcome,
        num_draws,
        error_probability,
        where,
    )
    if first.bins.num_bins != second.bins.num_bins:
        raise ValueError(
            f"second: expected a router of {first.bins.num_bins} bins, as the first "
            f"has, got {second.bins.num_bins}; fit both with one num_bins."
        )
    return _cascade_difference_interval(
        random, (first, second), confidences, small, large, alpha, mask, num_draws=size
    )


@dispatch.core(static=["num_draws"])
def _cascade_difference_interval(
    key: jax.Array,
    routers: tuple[Router, Router],
    confidences: tuple[jax.Array, jax.Array],
    small: jax.Array,
    large: jax.Array,
    error_probability: jax.Array,
    where: jax.Array | None,
    *,
    num_draws: int,
) -> RouterDifference:
    num_bins = routers[0].bins.num_bins
    share = jnp.arange(num_bins + 1, dtype=jnp.float32) / num_bins

    def read(both: CascadeCurve) -> dict[str, jax.Array]:
        """Of two curves, the first less the second."""

        def of_one(curve: CascadeCurve) -> dict[str, jax.Array]:
            return {
                "accuracy": jnp.interp(share, curve.small_share, curve.accuracy),
                "area": jnp.trapezoid(curve.accuracy, curve.small_share),
                "average_recovered": curves.average_performance_gap_recovered(curve),
            }

        found = jax.vmap(of_one)(both)
        return jax.tree.map(lambda leaf: leaf[0] - leaf[1], found)

    router, confidence = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        *zip(routers, confidences, strict=True),
    )
    seen, drawn, table = jax.vmap(
        lambda router, confidence: cascade_intervals.seen_and_drawn(
            key, router, confidence, small, large, where, num_draws
        )
    )(router, confidence)
    draws = jax.vmap(read, 1)(drawn)
    valid = masking.valid_rows(small.shape[0], where, None)
    found = intervals.interval_of_draws(read(seen), draws, error_probability)
    counts = jax.vmap(intervals.counts, (None, 0, 0))(valid, confidence, table.count)
    # Both have the same rows.
    counts |= intervals.counts(valid)
    return RouterDifference(**intervals.by_name(found), **counts)
