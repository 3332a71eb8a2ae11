"""States of a stream, and how two of them are merged.

Shapes: `num_buckets` buckets of a score, G grid points of a temperature, Q quantities.
A state holds exact integer sums (`_core.exact`), so combining states is associative and
commutative bit for bit over batches, devices and processes, and counts are exact up to
2^40 rows.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from .._core import checks, dispatch, exact, records
from ..binning.bin_sums import BinSums
from ..binning.bins import Bins


@records.record(
    axes={"least": "num_bins", "greatest": "num_bins"},
    values={"buckets": records.OR_NAN},
)
class BucketSummary(records.Result):
    """Exact sums of some quantities in buckets of a score.

    Attributes:
      buckets: `Bins` of `num_buckets` buckets. Edges on which merged summaries differed
        are NaN, and so is everything read off the result.
      sums: `BinSums` of the quantities.
      least: float32 `[num_buckets]`, least score of each bucket; +inf if it is empty.
      greatest: float32 `[num_buckets]`, the greatest; -inf if it is empty.
    """

    buckets: Bins
    sums: BinSums
    least: jax.Array
    greatest: jax.Array


@records.record()
class ReliabilitySummary(BucketSummary):
    """Exact sums of score, outcome and squared error, in buckets of the score.

    Attributes as for `BucketSummary`: `buckets`, `sums`, `least` and `greatest`.
    """


@records.record()
class CascadeSummary(BucketSummary):
    """Exact sums of two models' outputs in buckets of the small model's confidence.

    Five quantities: confidence of the small and of the large model, outcome of the
    small and of the large model, and the squared difference of the outcomes. Attributes
    as for `BucketSummary`: `buckets`, `sums`, `least` and `greatest`.
    """


@records.record(
    "G",
    axes={"totals": "3 digits", "curves": "3 G digits"},
    values={"log_temperatures": records.ASCENDING._replace(nan=True)},
)
class TemperatureSummary(records.Result):
    """The negative log-likelihood on a grid of temperatures.

    Attributes:
      log_temperatures: float32 `[G]`, ascending; NaN where merged grids differed.
      totals: int32 `[3, digits]`, exact sums of the weight, of the weight times
        (largest logit - label's logit), and of the weight times (mean logit - label's
        logit); not finite after an invalid row.
      curves: int32 `[3, G, digits]`, exact sums of the loss in nats and of its first
        (sign turned) and second derivative by 1 / T.
    """

    log_temperatures: jax.Array
    totals: jax.Array
    curves: jax.Array


@records.record("2 num_bins", axes={"sums": ""})
class PlattSummary(records.Result):
    """Exact moments of right and wrong answers in buckets of any score.

    A bucket holds the float32 numbers that share their first bits: sign, exponent and,
    with 8192 buckets, 4 bits more. Its width is then 1/16 to 1/32 of its scores.

    Attributes:
      sums: `BinSums` of five quantities: the outcome, and the products of x and of x^2
        with the outcome and with one minus the outcome, where x in `[0, 1)` is the
        position of a score in its bucket.
      least: float32 `[2, num_buckets]`, least score of the right and of the wrong
        answers in each bucket; +inf if there are none.
      greatest: float32 `[2, num_buckets]`, the greatest; -inf if there are none.
    """

    sums: BinSums
    least: jax.Array
    greatest: jax.Array


@records.record()
class ClassLossSummary(records.Result):
    """Exact sums of the log loss and of the Brier score of all classes.

    Attributes:
      sums: `BinSums` of the two quantities, in one bin.
    """

    sums: BinSums


Summary = TypeVar(
    "Summary",
    ReliabilitySummary,
    CascadeSummary,
    TemperatureSummary,
    PlattSummary,
    ClassLossSummary,
)
_KINDS = Summary.__constraints__


def merge(first: Summary, second: Summary) -> Summary:
    """Merges two summaries: associative and commutative, bit for bit.

    Args:
      first: a summary: `ReliabilitySummary` or `CascadeSummary` with sums `[2 + Q,
        num_buckets + 1, digits]`, `TemperatureSummary`, `PlattSummary` or
        `ClassLossSummary`.
      second: a summary of the same type, with the same buckets or grid.

    Returns:
      A summary of that type.

    Raises:
      ValueError: for another type, or another number of buckets or grid points.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> from calib_jax import streaming
      >>> state = streaming.init_reliability()
      >>> first = streaming.update_reliability(state, [0.9, 0.4], [1, 0])
      >>> second = streaming.update_reliability(state, [0.2], [0])
      >>> table = streaming.reliability_table(merge(first, second), 1).value
      >>> print(table.count, table.confidence)
      [3] [0.5]
    """
    checks.instance("first", first, *_KINDS)
    checks.instance("second", second, type(first))
    what, size = _size(first)
    if _size(second)[1] != size:
        raise ValueError(
            f"second: expected {size} {what}, as first, got {_size(second)[1]}."
        )
    return _merge(first, second)


def psum(state: Summary, axis_name: str | Sequence[str]) -> Summary:
    """One summary of the rows of all devices, on every device.

    For use inside `jax.shard_map`, `jax.pmap` or a named `jax.vmap`, where each device
    updates its own summary. Rows sharded under plain `jax.jit` do not need it.

    Args:
      state: a summary of the device's own rows: `ReliabilitySummary` or
        `CascadeSummary` with sums `[2 + Q, num_buckets + 1, digits]`,
        `TemperatureSummary`, `PlattSummary` or `ClassLossSummary`.
      axis_name: name of the mapped axis, or several.

    Returns:
      A summary of the same type, equal on every device.

    Raises:
      ValueError: for another type.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> from calib_jax import streaming
      >>> def summarise(scores, outcomes):
      ...     state = streaming.init_reliability()
      ...     state = streaming.update_reliability(state, scores, outcomes)
      ...     return psum(state, "devices")
      >>> scores, outcomes = jnp.array([[0.9], [0.4]]), jnp.array([[1], [0]])
      >>> states = jax.vmap(summarise, axis_name="devices")(scores, outcomes)
      >>> print(states.least.min(axis=1))
      [0.4 0.4]
    """
    checks.instance("state", state, *_KINDS)
    over = [
        functools.partial(collective, axis_name=axis_name)
        for collective in (lax.psum, lax.pmin, lax.pmax)
    ]
    return _combine(over, state)


def without_rows(state: Summary) -> Summary:
    """An empty summary with the buckets or the grid of `state`."""
    kept = {"buckets", "log_temperatures"}
    ends = {"least": jnp.inf, "greatest": -jnp.inf}

    def empty(path: Any, leaf: jax.Array) -> jax.Array:
        name = path[0].name
        return leaf if name in kept else jnp.full_like(leaf, ends.get(name, 0))

    return jax.tree_util.tree_map_with_path(empty, state)


@dispatch.core
def _merge(first: Summary, second: Summary) -> Summary:
    return _combine((operator.add, jnp.minimum, jnp.maximum), first, second)


def _combine(
    reductions: Sequence[Callable[..., jax.Array]], *states: Summary
) -> Summary:
    """One state from sum, minimum and maximum of the states' arrays, field by field."""
    total, least, greatest = reductions

    def agreed(*leaves: jax.Array) -> jax.Array:
        # NaN, which not every device's minimum hands on, agrees with nothing.
        low = least(*(jnp.where(jnp.isnan(x), -jnp.inf, x) for x in leaves))
        high = greatest(*(jnp.where(jnp.isnan(x), jnp.inf, x) for x in leaves))
        return jnp.where(low == high, low, jnp.nan)

    def combine(path: Any, *leaves: jax.Array) -> jax.Array:
        match path[0].name:
            case "least":
                return least(*leaves)
            case "greatest":
                return greatest(*leaves)
            case "buckets" | "log_temperatures":
                return agreed(*leaves)
            case _:
                return exact.normalise(total(*leaves))

    return jax.tree_util.tree_map_with_path(combine, *states)


def _size(state: Any) -> tuple[str, int]:
    if isinstance(state, TemperatureSummary):
        return "grid points", state.log_temperatures.shape[-1]
    if isinstance(state, ClassLossSummary):
        return "bins", state.sums.sums.shape[-2] - 1
    return "buckets", state.least.shape[-1]
