"""Sums over the first K bins of a router and over the rest, for every K at once.

Shapes: N rows, `num_bins` bins, K from 0 to num_bins, Q quantities, L levels of a loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core import dispatch, exact, masking, records, reduce
from .._core.domains import Confidence
from ..binning import bin_sums, search
from ..stats import binomial
from .routers import Router

# Losses in [0, 1] other than 0, 1/2 and 1 are rounded up to one of this many levels.
NUM_LEVELS = 513


def sum_for_every_k(
    order: jax.Array,
    small: jax.Array | None = None,
    large: jax.Array | None = None,
    *,
    axis: int = 0,
) -> jax.Array:
    """Sums `small` over the first K bins and `large` over the other bins, for every K.

    Args:
      order: int32 `[num_bins]`, the bins in the order in which they are kept small.
      small: array with one entry for each bin along `axis`; None adds nothing.
      large: like `small`; at least one of the two is given.
      axis: the axis of the bins.

    Returns:
      The sums, with `num_bins + 1` entries along `axis`; sums of integers are exact.
    """

    def ordered(values: jax.Array) -> jax.Array:
        return jnp.take(values, order, axis=axis, mode="clip")

    def cumulate(values: jax.Array) -> jax.Array:
        pad = [(int(k == axis % values.ndim), 0) for k in range(values.ndim)]
        return jnp.pad(jnp.cumsum(values, axis=axis, dtype=values.dtype), pad)

    parts = []
    if small is not None:
        parts.append(cumulate(ordered(small)))
    if large is not None:
        from_the_end = cumulate(jnp.flip(ordered(large), axis))
        parts.append(jnp.flip(from_the_end, axis))
    return sum(parts[1:], parts[0])


@records.record("num_bins+1", axes={"totals": None, "same_rows": ""})
class FirstBins(records.Result):
    """Exact sums over rows, for every K; NaN throughout with a valid NaN confidence.

    Attributes:
      kept: float32 `[num_bins + 1]`, rows in the first K bins.
      totals: two float32 `[Q, num_bins + 1]`, the high and low parts of each sum.
      same_rows: bool scalar, whether the rows reproduce the router's table exactly and
        fill at least two bins.
    """

    kept: jax.Array
    totals: binomial.Pair
    same_rows: jax.Array

    @property
    def rows(self) -> jax.Array:
        return self.kept[-1]

    def mean(self, total: jax.Array) -> jax.Array:
        """A total over the number of rows; NaN without rows."""
        return masking.ratio(total, self.rows)

    def described(self) -> dict[str, Any]:
        """The fields of a `Selection` that describe the rows."""
        rows = jnp.where(jnp.isnan(self.rows), 0.0, self.rows)
        return {
            "large_share": 1 - self.mean(self.kept),
            "num_rows": rows.astype(jnp.int32),
            "same_rows": self.same_rows,
        }


@dispatch.core(rows=["small_confidence", "small", "large", "where"])
def sum_rows(
    router: Router,
    small_confidence: Confidence,
    small: tuple[jax.Array, ...],
    large: tuple[jax.Array, ...],
    where: jax.Array | None,
) -> FirstBins:
    """Sums over the rows in the first K bins, and over the others.

    Args:
      router: `Router`.
      small_confidence: float32 `[N]`.
      small: quantities, float32 or bool `[N]`, summed over the first K bins.
      large: quantities summed over the other bins; in `totals` they follow `small`.
      where: optional bool `[N]`.
    """
    quantities = *small, *large, small_confidence
    state, table = bin_sums.bin_sums_and_means(
        router.bins, small_confidence, quantities, where, None
    )
    digits = exact.normalise(state.sums[1:-1])
    cut = 1 + len(small)
    sums = jnp.concatenate(
        [
            sum_for_every_k(router.order, digits[:cut], axis=1),
            sum_for_every_k(router.order, large=digits[cut:], axis=1),
        ]
    )
    high, low = exact.to_float(exact.normalise(sums))
    mean_confidence = table.means[-1]
    high = jnp.where(jnp.any(jnp.isnan(mean_confidence)), jnp.nan, high)
    same = (table.count == router.table.count) & (
        mean_confidence == router.table.small_confidence
    )
    return FirstBins(
        kept=high[0],
        totals=(high[1:], low[1:]),
        same_rows=jnp.all(same) & (jnp.sum(table.count > 0, dtype=jnp.int32) > 1),
    )


def count_levels(
    router: Router,
    confidence: jax.Array,
    level: jax.Array,
    num_levels: int,
    where: jax.Array | None,
) -> jax.Array:
    """int32 `[num_bins, L]`, rows by bin and by their level, int32 `[N]`."""

    def cell(block: Any) -> jax.Array:
        confidence, level = block
        index = search.bin_of(router.bins.edges, confidence)
        inside = jnp.clip(level, 0, num_levels - 1)
        return jnp.where(index < 0, -1, index * num_levels + inside)

    size = router.order.shape[0]
    counts = reduce.count_rows(cell, (confidence, level), size * num_levels, where)
    return counts.reshape(size, num_levels)


def level_of(loss: jax.Array) -> jax.Array:
    """int32 `[N]`, the first of `NUM_LEVELS` levels that is not below a loss."""
    return jnp.ceil(loss * (NUM_LEVELS - 1)).astype(jnp.int32)


def values_of(num_levels: int) -> jax.Array:
    """float32 `[L]`, from 0 to 1."""
    return jnp.arange(num_levels, dtype=jnp.float32) / np.float32(num_levels - 1)
