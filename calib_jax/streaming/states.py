"""Merging of the summaries that fits of a stream are made from."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from .._core import checks, dispatch, exact
from ..binning import bin_sums
from .platt import PlattSummary
from .temperature import TemperatureSummary

Summary = TypeVar("Summary", TemperatureSummary, PlattSummary)


def merge_fits(first: Summary, second: Summary) -> Summary:
    """The summary of the rows of both: associative and commutative, bit for bit.

    Args:
      first: `TemperatureSummary` with log temperatures `[G]`, or `PlattSummary` with
        ends `[2, B]`.
      second: one of the same type with the same grid, or as many buckets.

    Returns:
      A summary of the type of both.

    Raises:
      ValueError: for another type or number of grid points or buckets.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> from calib_jax import init_platt, update_platt
      >>> first = update_platt(init_platt(), [-2.0, -1.0, 0.0], [0, 0, 1])
      >>> second = update_platt(init_platt(), [1.0, 2.0, 3.0], [0, 1, 1])
      >>> print(merge_fits(first, second).least.min(axis=1))
      [ 0. -2.]
    """
    checks.instance("first", first, TemperatureSummary, PlattSummary)
    checks.instance("second", second, type(first))
    what, size = _size(first)
    if _size(second)[1] != size:
        raise ValueError(
            f"second: expected {size} {what}, as first, got {_size(second)[1]}."
        )
    return _merge(first, second)


def psum_fit(state: Summary, axis_name: str | tuple[str, ...]) -> Summary:
    """The summary of the rows of all devices, on every device.

    For use inside `jax.shard_map`, `jax.pmap` or a named `jax.vmap`, where each device
    updates a summary of its own; rows sharded under plain `jax.jit` need none.

    Args:
      state: `TemperatureSummary` with log temperatures `[G]`, or `PlattSummary` with
        ends `[2, B]`, of the device's own rows.
      axis_name: name of the mapped axis, or several.

    Returns:
      A summary of the same type, the same on every device.

    Raises:
      ValueError: for another type.

    References:
      Kulisch, "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> from calib_jax import init_temperature
      >>> def everywhere(grid):
      ...     return psum_fit(init_temperature(grid), "devices")
      >>> grids = jnp.array([[-1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 1.0, 2.0]])
      >>> states = jax.vmap(everywhere, axis_name="devices")(grids)
      >>> print(states.log_temperatures[1])
      [-1.  0.  1.  2.]
    """
    checks.instance("state", state, TemperatureSummary, PlattSummary)
    return _psum(state, axis_name)


def _psum(state: Any, axis_name: str | tuple[str, ...]) -> Any:
    def total(sums: jax.Array) -> jax.Array:
        return exact.normalise(lax.psum(sums, axis_name))

    if isinstance(state, PlattSummary):
        return PlattSummary(
            sums=bin_sums.BinSums(sums=total(state.sums.sums)),
            least=lax.pmin(state.least, axis_name),
            greatest=lax.pmax(state.greatest, axis_name),
        )
    least = lax.pmin(state.log_temperatures, axis_name)
    greatest = lax.pmax(state.log_temperatures, axis_name)
    return TemperatureSummary(
        log_temperatures=jnp.where(least == greatest, least, jnp.nan),
        totals=total(state.totals),
        curves=total(state.curves),
    )


def _size(state: Summary) -> tuple[str, int]:
    if isinstance(state, PlattSummary):
        return "buckets", state.least.shape[-1]
    return "grid points", state.log_temperatures.shape[-1]


@dispatch.core
def _merge(first: Any, second: Any) -> Any:
    if isinstance(first, PlattSummary):
        return PlattSummary(
            sums=bin_sums.merge(first.sums, second.sums),
            least=jnp.minimum(first.least, second.least),
            greatest=jnp.maximum(first.greatest, second.greatest),
        )
    grid = first.log_temperatures
    return TemperatureSummary(
        log_temperatures=jnp.where(grid == second.log_temperatures, grid, jnp.nan),
        totals=exact.normalise(first.totals + second.totals),
        curves=exact.normalise(first.curves + second.curves),
    )
