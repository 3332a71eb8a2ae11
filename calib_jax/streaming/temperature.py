"""Temperature of a stream, from a summary of fixed size: no logits are kept.

Shapes: N examples in a batch, C classes, G grid points. An update rounds the sums of
its batch to float32, once; those are then added exactly.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import bisection, checks, dispatch, exact, reduce
from .._core.domains import Weights
from ..calibration import reports, temperature
from ..calibration.reports import FitStatus
from ..calibration.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE, Temperature
from .results import FitReading
from .states import TemperatureSummary

# A factor of 1.28 in T between neighbours; one of them is T = 1.
_LOG_TEMPERATURES = np.linspace(-6.0, 6.0, 49)
_MIN_POINTS = 4
# Halvings that narrow an interval of the grid down to one float32.
_NUM_HALVINGS = 24
# Relative rounding of the sums and of T itself in float32.
_ROUNDING = 1e-6


def init_temperature(
    log_temperatures: ArrayLike | None = None,
) -> TemperatureSummary:
    """An empty summary, to be updated with logits and labels.

    Args:
      log_temperatures: optional floating `[G]`, at least 4 distinct natural logarithms
        of temperatures; default 49 from -6 to 6. An update takes one exponential for
        each logit and grid point, and the error falls with the fourth power of the
        spacing.

    Returns:
      `TemperatureSummary`.

    Raises:
      ValueError: for a wrong rank or dtype, or fewer than 4 grid points.

    References:
      Guo et al. 2017, arXiv 1706.04599 (temperature scaling).

    Examples:
      >>> state = init_temperature([-1.0, 0.0, 1.0, 2.0])
      >>> print(state.log_temperatures)
      [-1.  0.  1.  2.]
    """
    given = _LOG_TEMPERATURES if log_temperatures is None else log_temperatures
    grid = checks.floats("log_temperatures", given, axes="[G]")
    if grid.shape[0] < _MIN_POINTS:
        raise ValueError(
            f"log_temperatures: expected at least {_MIN_POINTS}, got {grid.shape[0]}."
        )
    length = exact.LENGTH
    return TemperatureSummary(
        log_temperatures=jnp.sort(grid),
        totals=jnp.zeros((3, length), jnp.int32),
        curves=jnp.zeros((3, grid.shape[0], length), jnp.int32),
    )


def update_temperature(
    state: TemperatureSummary,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
) -> TemperatureSummary:
    """Adds a batch of class logits to a summary.

    Args:
      state: `TemperatureSummary`.
      logits: floating `[N, C]`; -inf is an impossible class.
      labels: integer `[N]` in `[0, C)`.
      where: optional bool `[N]`, such as the mask of a padded last batch.
      weights: optional non-negative `[N]`; weight 2 is the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that count.

    Returns:
      `TemperatureSummary` of the rows so far and the valid rows of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype, or a negative host weight.

    References:
      Guo et al. 2017, arXiv 1706.04599; Kulisch, "Computer Arithmetic and Validity",
      2013, for exact sums.

    Examples:
      >>> batch = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]], [0, 0, 1, 1]
      >>> state = update_temperature(init_temperature(), *batch)
      >>> state = update_temperature(state, *batch, where=[True, True, True, False])
      >>> params, fit = fit_temperature(state)
      >>> print(params.temperature.round(3), fit.converged)
      4.366 True
    """
    checks.instance("state", state, TemperatureSummary)
    rows = temperature.checked_rows(logits, labels, where, weights, class_where)
    return _update_temperature(state, *rows)


@dispatch.core
def _update_temperature(
    state: TemperatureSummary,
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
) -> TemperatureSummary:
    logits, weights = lax.stop_gradient((logits, weights))
    problem = temperature.prepare(logits, labels, where, weights, class_where)
    data, inverses = problem.data, jnp.exp(-state.log_temperatures)

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        # One grid point at a time, while the block is in the cache.
        def at(inverse: jax.Array) -> jax.Array:
            terms = temperature.likelihood(inverse, block, live, data["class_where"])
            _, *sums = (jnp.sum(term) for term in terms)
            return jnp.stack(sums)

        return lax.map(at, inverses)

    shape = (inverses.shape[0], 4)
    sums = reduce.sum_blocks(of_block, shape, data["rows"], data["valid"])
    loss, slope, curvature, third = sums.T
    gap, start, *others = problem.at_zero
    at_zero = gap / problem.weight, start, *others
    better, smooth = temperature.slope_from_start(at_zero, inverses, curvature, third)
    curves = jnp.stack([loss, jnp.where(smooth, better, slope), curvature])
    totals = jnp.stack([problem.weight, problem.label_gap, -start])
    totals = jnp.where(problem.invalid, jnp.nan, totals)

    def add(sums: jax.Array, values: jax.Array) -> jax.Array:
        return exact.normalise(sums + exact.from_floats(values * problem.unit))

    return dataclasses.replace(
        state, totals=add(state.totals, totals), curves=add(state.curves, curves)
    )


def fit_temperature(state: TemperatureSummary) -> tuple[Temperature, FitReading]:
    r"""Temperature of least negative log-likelihood, from its values on the grid.

    The loss is convex in 1 / T, so its derivative changes sign once. The two grid
    points around that are a rigorous bracket, up to the rounding of sums. Between them
    T is the root of the cubic in log T with the same values and derivatives (Hermite)
    at both points as

    .. math:: g(t) = \frac{d}{dt} \; -\frac{1}{W} \sum_i w_i \log
       \frac{\exp(z_{i,y_i} e^{-t})}{\sum_k \exp(z_{ik} e^{-t})}

    The cubic is off by :math:`g''''(\xi) (t - t_0)^2 (t - t_1)^2 / 24`. The error of T
    is estimated from that, with g'''' from divided differences of g'.

    Statuses are those of `calib_jax.fit_temperature`. An optimum outside the grid is
    `MAX_STEPS`, with T the nearest grid point. `INVALID_VALUES` also stands for sums
    beyond the range of float32, a grid with equal points, and merged summaries of
    different grids. `loss` is NaN where the status is not `CONVERGED`, `gradient_norm`
    is an estimate, and `num_steps` is 0.

    Args:
      state: `TemperatureSummary` with log temperatures `[G]`.

    Returns:
      `Temperature` and `FitReading`.

    Raises:
      ValueError: for another type.

    References:
      Guo et al. 2017, arXiv 1706.04599; Stoer and Bulirsch, "Introduction to Numerical
      Analysis", section 2.1.5 (Hermite interpolation and its error).

    Examples:
      >>> logits = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
      >>> state = update_temperature(init_temperature(), logits, [0, 0, 1, 1])
      >>> params, fit = fit_temperature(state)
      >>> print(params.temperature.round(3), fit.lower.round(3), fit.upper.round(3))
      3.641 3.49 4.482
    """
    checks.instance("state", state, TemperatureSummary)
    return _fit_temperature(state)


@dispatch.core
def _fit_temperature(state: TemperatureSummary) -> tuple[Temperature, FitReading]:
    weight, label_gap, mean_above = exact.to_float(state.totals)[0]
    curves = exact.to_float(state.curves)[0]
    grid, inverse = state.log_temperatures, jnp.exp(-state.log_temperatures)
    invalid = ~jnp.isfinite(weight + label_gap + mean_above + jnp.sum(grid))
    invalid = invalid | ~jnp.all(jnp.isfinite(curves)) | jnp.any(jnp.diff(grid) <= 0)
    loss, slope, curvature = curves / jnp.where(weight > 0, weight, 1.0)
    gradient = inverse * slope
    hessian = inverse * (inverse * curvature - slope)

    rising = gradient >= 0
    below, above = rising[0], ~rising[-1]
    last = grid.shape[0] - 1
    end = jnp.clip(jnp.argmax(rising), 1, last).astype(jnp.int32)
    ends = jnp.stack([end - 1, end])
    start, stop = grid[ends]
    width = stop - start
    share, rate = _root(gradient[ends], width * hessian[ends])

    least_loss, _ = _cubic(share, loss[ends], width * gradient[ends])

    # The third divided difference of g' over the four points around is g'''' / 6.
    first = jnp.clip(end - 2, 0, last + 1 - _MIN_POINTS)
    points = lax.dynamic_slice_in_dim(grid, first, _MIN_POINTS)
    table = lax.dynamic_slice_in_dim(hessian, first, _MIN_POINTS)
    for order in range(1, _MIN_POINTS):
        table = (table[1:] - table[:-1]) / (points[order:] - points[:-order])
    off = jnp.abs(table[0]) / 4 * (width**2 * share * (1 - share)) ** 2
    # Twice that, because g'''' is not constant.
    off = 2 * off * width / jnp.maximum(rate, 1e-30)

    lowest, highest = jnp.float32(MIN_TEMPERATURE), jnp.float32(MAX_TEMPERATURE)
    bottom, top = jnp.exp(grid[0]), jnp.exp(grid[-1])
    cases = (
        (invalid, FitStatus.INVALID_VALUES, jnp.float32(1)),
        (~(label_gap - mean_above > 0), FitStatus.CONSTANT, jnp.float32(1)),
        (label_gap == 0, FitStatus.ZERO_LIMIT, lowest),
        (mean_above >= 0, FitStatus.INFINITE_LIMIT, highest),
        (below & (bottom <= 1.001 * lowest), FitStatus.ZERO_LIMIT, lowest),
        (above & (top >= 0.999 * highest), FitStatus.INFINITE_LIMIT, highest),
        (below, FitStatus.MAX_STEPS, bottom),
        (above, FitStatus.MAX_STEPS, top),
        (True, FitStatus.CONVERGED, jnp.exp(start) * jnp.exp(share * width)),
    )
    status, found = reports.first_case(*cases)
    converged = status == FitStatus.CONVERGED
    known = converged | (status == FitStatus.MAX_STEPS)
    limit = (status == FitStatus.ZERO_LIMIT) | (status == FitStatus.INFINITE_LIMIT)
    least = jnp.where(below, lowest, jnp.where(above, top, jnp.exp(start)))
    most = jnp.where(below, bottom, jnp.where(above, highest, jnp.exp(stop)))
    error = jnp.where(converged, off + _ROUNDING, jnp.inf)
    fit = FitReading(
        converged=converged,
        num_steps=jnp.int32(0),
        loss=jnp.where(converged, least_loss, jnp.nan),
        gradient_norm=jnp.where(converged, error * (rate / width), jnp.nan),
        status=status,
        estimated_error=error,
        lower=jnp.where(known, least, jnp.where(limit, found, lowest)),
        upper=jnp.where(known, most, jnp.where(limit, found, highest)),
    )
    return Temperature(temperature=found), fit


def _cubic(
    share: jax.Array, values: jax.Array, rates: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Value and slope at a point of the unit interval, from those `[2]` at its ends."""
    left = 1 - share
    chord = values[1] - values[0]
    bow = (rates[0] - chord) * left + (chord - rates[1]) * share
    value = values[0] * left + values[1] * share + share * left * bow
    turn = 2 * chord - rates[0] - rates[1]
    rate = chord + (left - share) * bow + share * left * turn
    return value, rate


def _root(values: jax.Array, rates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The root in the unit interval of a cubic that rises from below 0; its slope."""
    share = bisection.bisect(
        lambda share: _cubic(share, values, rates)[0] < 0,
        jnp.float32(0),
        jnp.float32(1),
        num_halvings=_NUM_HALVINGS,
    )
    return share, _cubic(share, values, rates)[1]
