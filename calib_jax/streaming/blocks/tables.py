"""Tables of data larger than memory, read block by block.

Shapes: N examples in all, n in a block. Results equal those of the functions for
arrays, bit for bit.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._core import checks, dispatch
from ..._core.domains import CONFIDENCE, OUTCOME, Domain
from ...binning import order_statistics, search
from ...binning.bins import DEFAULT_NUM_BINS, Bins
from ...binning.tables import ReliabilityTable
from .. import buckets, readings
from ..states import ReliabilitySummary
from .passes import Blocks, Passes


def reliability_table(
    blocks: Blocks,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
    progress: bool = False,
) -> tuple[ReliabilityTable, Bins]:
    """The reliability table of more rows than fit in memory, and its bins.

    Equal to `calib_jax.reliability_table` with the bins of
    `calib_jax.equal_count_bins`, bit for bit. Blocks are read four times, or once if
    `bins` are given. Counts are exact beyond 2^31 rows.

    Args:
      blocks: `Blocks` of (scores, outcomes) or (scores, outcomes, where): floating
        `[n]`; bool, integer or floating `[n]` in `[0, 1]`; and bool `[n]`.
      num_bins: static number of fresh equal-count bins; not used if `bins` are
        given.
      bins: optional `Bins` to use as they are.
      progress: whether to show a progress bar; needs rich.

    Returns:
      `(ReliabilityTable, Bins)`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, traced arrays, a host value
        outside its range, blocks that can be read only once, or other outcomes in a
        later pass.
      ImportError: for a progress bar without rich.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 and Figure 1.

    Examples:
      >>> from calib_jax.streaming.blocks import from_arrays
      >>> blocks = from_arrays(np.array([0.2, 0.6, 0.8]), np.array([0, 1, 0]), size=2)
      >>> table, bins = reliability_table(blocks, num_bins=2)
      >>> print(table.count, table.outcome, bins.edges)
      [2 1] [0.5 0. ] [0.8]
    """
    limits = {"outcomes": OUTCOME}
    state, bins = _summary(blocks, num_bins, bins, progress, limits)
    return readings.reliability_table(state, bins=bins).value, bins


def expected_calibration_error(
    blocks: Blocks,
    num_bins: int = DEFAULT_NUM_BINS,
    *,
    bins: Bins | None = None,
    progress: bool = False,
) -> jax.Array:
    """The expected calibration error of more rows than fit in memory.

    Equal to `calib_jax.expected_calibration_error`, bit for bit.

    Args, errors and NaN as for `reliability_table`.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, traced arrays, a host value
        outside its range, blocks that can be read only once, or other outcomes in a
        later pass.
      ImportError: for a progress bar without rich.

    References:
      Guo et al. 2017, arXiv 1706.04599, equation 3.

    Examples:
      >>> from calib_jax.streaming.blocks import from_arrays
      >>> scores, outcomes = np.array([0.9, 0.2, 0.6, 0.4]), np.array([1, 0, 1, 0])
      >>> blocks = from_arrays(scores, outcomes, size=3)
      >>> print(expected_calibration_error(blocks, num_bins=2).round(3))
      0.275
    """
    limits = {"scores": CONFIDENCE, "outcomes": OUTCOME}
    state, bins = _summary(blocks, num_bins, bins, progress, limits)
    return readings.expected_calibration_error(state, bins=bins).value


def _summary(
    blocks: Blocks,
    num_bins: int,
    bins: Bins | None,
    progress: bool,
    limits: Mapping[str, Domain],
) -> tuple[ReliabilitySummary, Bins]:
    """A summary with the given bins, or those of equal count, as buckets."""
    passes = Passes(blocks, ("scores", "outcomes"), progress, limits)
    if bins is None:
        size = checks.static_int("num_bins", num_bins, minimum=1)
        bins = _equal_count_bins(passes, size)
    checks.instance("bins", bins, Bins)
    checks.on_host("bins", bins)
    state = buckets.init_reliability(bins)
    return passes.fold(buckets.update_reliability, state, "table"), bins


def _equal_count_bins(passes: Passes, num_bins: int) -> Bins:
    """The bins of `binning.equal_count_bins`, found in a few passes.

    Each pass narrows the range in which each edge lies, by counting.
    """
    nothing = np.int64(0), np.full(2, np.inf, np.float32)
    # In NumPy's int64, because there may be more than 2^31 rows.
    count, ends = _fold_scores(
        lambda found, new: (found[0] + new[0], np.minimum(found[1], new[1])),
        _extent_of_block,
        nothing,
        passes,
        "bins, range",
    )
    cuts = np.arange(1, num_bins)
    starts = cuts * (count // num_bins) + np.minimum(cuts, count % num_bins)
    within, prefix = np.minimum(starts, count), np.zeros(num_bins - 1, np.uint32)
    lowest, unknown = map(np.asarray, order_statistics.key_range(jnp.asarray(ends)))
    most = order_statistics.digit_bits(num_bins - 1)
    while num_bins > 1 and unknown > 0:
        counts = _fold_scores(
            np.add,
            functools.partial(_count_block, lowest, prefix, unknown, most=most),
            np.zeros((num_bins - 1, 1), np.int64),
            passes,
            f"bins, {unknown} bits left",
        )
        # Ranks that share a prefix share the counts of the first of them.
        upto = np.cumsum(counts, axis=1)[np.searchsorted(prefix, prefix), :-1]
        below = upto <= within[:, None]
        within = within - np.max(np.where(below, upto, 0), axis=1, initial=0)
        bits = np.minimum(unknown, np.uint32(most))
        prefix = (prefix << bits) + np.sum(below, axis=1, dtype=np.uint32)
        unknown = unknown - bits
    edges = search.from_key(jnp.asarray(lowest + prefix))
    return Bins(edges=jnp.where(starts < count, edges, jnp.float32(jnp.inf)))


def _fold_scores(
    add: Callable[[Any, Any], Any],
    function: Callable[[jax.Array, jax.Array], Any],
    initial: Any,
    passes: Passes,
    description: str,
) -> Any:
    """Adds up a function of the scores and mask of each block, in NumPy."""

    def step(state: Any, scores: Any, outcomes: Any, *, where: Any) -> Any:
        score = checks.floats("scores", scores)
        # Not used here, but invalid ones should fail in the first pass.
        checks.outcomes("outcomes", outcomes)
        new = jax.tree.map(np.asarray, function(score, jnp.asarray(where)))
        return add(state, new)

    return passes.fold(step, initial, description)


@dispatch.core
def _extent_of_block(scores: jax.Array, mask: jax.Array) -> Any:
    return order_statistics.extent((scores, mask))


@dispatch.core(static=["most"])
def _count_block(
    lowest: jax.Array,
    prefix: jax.Array,
    unknown: jax.Array,
    scores: jax.Array,
    mask: jax.Array,
    *,
    most: int,
) -> jax.Array:
    rows = scores, mask
    return order_statistics.count_digits(rows, lowest, prefix, unknown, most)
