"""Sums and counts of rows over the first K bins of a router, for every K at once.

Shapes: N rows, `num_bins` bins, K from 0 to num_bins, Q quantities, L levels of a loss.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import binning
from .._core import dispatch, exact, reduce
from ..binning import bin_sums
from ..stats import binomial
from .routers import Router

# Values of a loss in [0, 1] that are told apart where it is not only 0, 1/2 or 1; what
# is between two counts as the greater.
NUM_LEVELS = 513


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FirstBins:
    """Sums over the rows of the first K bins.

    Attributes:
      kept: float32 `[num_bins + 1]`, rows; NaN throughout where a valid row is in no
        bin.
      totals: float32 `[Q, num_bins + 1]` twice, high and low part of the exact sum of
        each quantity.
      same_rows: bool scalar, whether the rows, in two bins or more, repeat the router's
        table exactly.
    """

    kept: jax.Array
    totals: binomial.Pair
    same_rows: jax.Array

    @property
    def rows(self) -> jax.Array:
        return self.kept[-1]


@dispatch.core
def sum_first_bins(
    router: Router,
    confidence: jax.Array,
    quantities: tuple[jax.Array, ...],
    where: jax.Array | None,
) -> FirstBins:
    """The sums of Q quantities `[N]`, float32 or bool."""
    state, table = bin_sums.bin_sums_and_means(
        router.bins, confidence, (confidence, *quantities), where, None
    )
    sums = exact.normalise(state.sums[1:])[:, router.order]
    sums = jnp.pad(sums, [(0, 0), (1, 0), (0, 0)])
    first = exact.normalise(jnp.cumsum(sums, axis=1, dtype=jnp.int32))
    high, low = exact.to_float(first)
    high = jnp.where(jnp.any(jnp.isnan(table.means[0])), jnp.nan, high)
    same = (table.count == router.table.count) & (
        table.means[0] == router.table.small_confidence
    )
    return FirstBins(
        kept=high[0],
        totals=(high[2:], low[2:]),
        same_rows=jnp.all(same) & (jnp.sum(table.count > 0, dtype=jnp.int32) > 1),
    )


@dispatch.core(static=["levels"])
def count_levels(
    router: Router,
    confidence: jax.Array,
    place: jax.Array,
    where: jax.Array | None,
    *,
    levels: int,
) -> jax.Array:
    """int32 `[num_bins, L]`, rows by bin, in the router's order, and `place`, `[N]`."""

    def cell(block: Any) -> jax.Array:
        confidence, place = block
        index = binning.bin_index(router.bins, confidence)
        inside = jnp.clip(place, 0, levels - 1)
        return jnp.where(index < 0, -1, index * levels + inside)

    size = router.order.shape[0]
    counts = reduce.count_rows(cell, (confidence, place), size * levels, where)
    return counts.reshape(size, levels)[router.order]


def level_of(loss: jax.Array) -> jax.Array:
    """int32 `[N]`, the first of `NUM_LEVELS` levels that is no less than a loss."""
    return jnp.ceil(loss * (NUM_LEVELS - 1)).astype(jnp.int32)


def values_of(levels: int) -> jax.Array:
    """float32 `[L]`, from 0 to 1."""
    return jnp.arange(levels, dtype=jnp.float32) / np.float32(levels - 1)


def before(counts: jax.Array) -> jax.Array:
    """`[num_bins + 1, L]`, the counts of the first K bins."""
    return jnp.cumsum(jnp.pad(counts, [(1, 0), (0, 0)]), axis=0, dtype=jnp.int32)


def over(total: jax.Array, rows: jax.Array) -> jax.Array:
    """A mean; NaN without rows."""
    return jnp.where(rows > 0, total / jnp.where(rows > 0, rows, 1.0), jnp.nan)
