"""Fits to data larger than memory, read block by block.

Shapes: N examples in all, n in a block, C classes. Results equal those of the fits to
arrays, up to the rounding of float32.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..._core import checks, dispatch, reduce
from ..._core.domains import OUTCOME
from ...calibration import logistic, platt, reports, solvers
from ...calibration.platt import Platt
from ...calibration.reports import FitReport, FitStatus
from ...calibration.solvers import Evaluation
from ...calibration.temperature import MAX_TEMPERATURE, MIN_TEMPERATURE, Temperature
from .. import platt as platt_of_stream
from .. import temperature as temperature_of_stream
from ..results import FitReading
from ..states import PlattSummary
from .passes import Blocks, Passes

# Points of a grid over all temperatures, then of one over the interval with the
# optimum. The second reaches one point further on each side in case rounding moved the
# ends.
_NUM_POINTS = 25
_MAX_PASSES = 50
# Newton steps shrink quadratically: the next after one this small is below 1e-6.
_LAST_STEP = 5e-4


def fit_temperature(
    blocks: Blocks,
    *,
    class_where: ArrayLike | None = None,
    progress: bool = False,
) -> tuple[Temperature, FitReport]:
    """Temperature of least negative log-likelihood, of more rows than fit in memory.

    Like `calib_jax.fit_temperature`, by two passes of
    `calib_jax.streaming.fit_temperature`: one with a grid over all temperatures, one
    with a finer grid over the interval that holds the optimum, which is off by at most
    1e-6, relative, and by the rounding of the sums of each block. The report counts
    passes as steps, and its gradient norm is an estimate.

    Args:
      blocks: `Blocks` of (logits, labels) or (logits, labels, where): floating
        `[n, C]`, integer `[n]` in `[0, C)`, and bool `[n]`.
      class_where: optional bool `[C]`, the classes that count.
      progress: whether to show a progress bar; needs rich.

    Returns:
      `Temperature` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, traced arrays, blocks that can be
        read only once, or other labels in the second pass.
      ImportError: for a progress bar without rich.

    References:
      Guo et al. 2017, arXiv 1706.04599, section 4.2.

    Examples:
      >>> from calib_jax.streaming.blocks import from_arrays
      >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
      >>> blocks = from_arrays(logits, np.array([0, 0, 1, 1]), size=3)
      >>> params, report = fit_temperature(blocks)
      >>> print(params.temperature.round(4), report.num_steps)
      3.641 2
    """
    checks.on_host("class_where", class_where)
    classes = checks.mask("class_where", class_where, axes="[C]")
    update = functools.partial(
        temperature_of_stream.update_temperature, class_where=classes
    )
    passes = Passes(blocks, ("logits", "labels"), progress)

    def one_pass(grid: np.ndarray, number: int) -> tuple[Temperature, FitReading]:
        state = temperature_of_stream.init_temperature(grid)
        state = passes.fold(update, state, f"temperature, pass {number} of 2")
        return temperature_of_stream.fit_temperature(state)

    start, stop = np.log([MIN_TEMPERATURE, MAX_TEMPERATURE])
    params, fit = one_pass(np.linspace(start, stop, _NUM_POINTS), 1)
    num_passes = 1
    if fit.converged:
        start, stop = np.log([float(fit.lower), float(fit.upper)])
        margin = (stop - start) / (_NUM_POINTS - 3)
        grid = np.linspace(start - margin, stop + margin, _NUM_POINTS)
        params, fit = one_pass(grid, 2)
        num_passes = 2
    reports.warn_of_failure("fit_temperature", fit)
    return params, _report(fit, num_passes)


def fit_platt(blocks: Blocks, *, progress: bool = False) -> tuple[Platt, FitReport]:
    """Logistic calibration of scores, of more rows than fit in memory.

    Like `calib_jax.fit_platt`: the first pass finds the status and a start
    (`calib_jax.streaming.fit_platt`), each further pass takes a Newton step, and one
    step is usually enough.

    Args:
      blocks: `Blocks` of (scores, outcomes) or (scores, outcomes, where): floating
        `[n]`; bool, integer or floating `[n]` in `[0, 1]`; and bool `[n]`.
      progress: whether to show a progress bar; needs rich.

    Returns:
      `Platt` and `FitReport`, which counts passes as steps.

    Raises:
      ValueError: for a wrong rank, shape or dtype, traced arrays, a host outcome
        outside `[0, 1]`, blocks that can be read only once, or other outcomes in a
        later pass.
      ImportError: for a progress bar without rich.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000; Lin, Lin and
      Weng 2007.

    Examples:
      >>> from calib_jax.streaming.blocks import from_arrays
      >>> scores = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
      >>> blocks = from_arrays(scores, np.array([0, 0, 1, 0, 1, 1]), size=3)
      >>> params, report = fit_platt(blocks)
      >>> print(f"{params.slope:.3f} {params.intercept:.3f}", report.converged)
      1.214 -0.607 True
    """
    limits = {"outcomes": OUTCOME}
    passes = Passes(blocks, ("scores", "outcomes"), progress, limits)

    state = platt_of_stream.init_platt()
    state = passes.fold(platt_of_stream.update_platt, state, "Platt, pass 1")
    platt_params, fit = platt_of_stream.fit_platt(state)
    if not (fit.converged or fit.status == FitStatus.MAX_STEPS):
        reports.warn_of_failure("fit_platt", fit)
        return platt_params, _report(fit, 1)
    center, scale = _coordinates(state, platt_params)
    slope, intercept = platt_params.slope, platt_params.intercept
    params = jnp.stack([slope * scale, intercept + slope * center])
    solver = solvers.newton()
    solver_state = solver.init(params)
    converged, number = False, 1
    while not converged and number < _MAX_PASSES:
        number += 1

        def add(sums: Any, *rows: Any, where: Any, params: jax.Array = params) -> Any:
            block = map(jnp.asarray, (*rows, where))
            new = _evaluate_block(params, center, scale, *block)
            # In NumPy's float64.
            return [a + np.asarray(b, float) for a, b in zip(sums, new, strict=True)]

        zero = np.zeros(())
        sums = [zero, zero, np.zeros(2), np.zeros((2, 2))]
        total, *sums = passes.fold(add, sums, f"Platt, pass {number}")
        found = Evaluation(*(jnp.asarray(x / total, jnp.float32) for x in sums))
        newton_step = solvers.newton_step(found.gradient, found.hessian)
        size = jnp.max(jnp.abs(newton_step) / jnp.maximum(1.0, 0.1 * jnp.abs(params)))
        converged = bool(size <= _LAST_STEP)
        updates, solver_state = solver.update(
            found.gradient, solver_state, params, hessian=found.hessian
        )
        moved = newton_step if converged else updates
        params = params + moved
    by_step = jnp.sum(found.hessian * moved[None], axis=1)
    status = jnp.where(params[0] < 0, FitStatus.REVERSED, FitStatus.CONVERGED)
    report = FitReport(
        converged=jnp.asarray(converged),
        num_steps=jnp.asarray(number, jnp.int32),
        loss=found.value + jnp.sum(moved * (found.gradient + 0.5 * by_step)),
        gradient_norm=jnp.max(jnp.abs(found.gradient + by_step)),
        status=jnp.where(converged, status, FitStatus.MAX_STEPS).astype(jnp.int32),
    )
    reports.warn_of_failure("fit_platt", report)
    return platt.in_units_of_scores(params, center, scale), report


def _report(fit: FitReading, num_passes: int) -> FitReport:
    """The report of a fit that ended with its last pass."""
    return FitReport(
        converged=fit.converged,
        num_steps=jnp.asarray(num_passes, jnp.int32),
        loss=fit.loss,
        gradient_norm=fit.gradient_norm,
        status=fit.status,
    )


@dispatch.core
def _coordinates(state: PlattSummary, params: Platt) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the scores, weighted by p (1 - p)."""
    rows, _ = platt_of_stream.rows_of_buckets(state)
    confidence = platt.apply_platt(params, rows["score"])
    weight = rows["weight"] / jnp.max(rows["weight"]) * confidence * (1 - confidence)

    def mean(values: jax.Array) -> jax.Array:
        total = reduce.pairwise_sum(weight)
        return reduce.pairwise_sum(weight * values) / jnp.maximum(total, 1e-30)

    center = mean(rows["score"])
    spread = jnp.sqrt(mean((rows["score"] - center) ** 2))
    return center, jnp.where(spread > 0, spread, 1.0)


@dispatch.core
def _evaluate_block(
    params: jax.Array,
    center: jax.Array,
    scale: jax.Array,
    scores: jax.Array,
    outcomes: jax.Array,
    mask: jax.Array,
) -> tuple[jax.Array, ...]:
    """Number of rows, and the sums whose means `logistic.evaluate` returns."""
    data = {
        "rows": {
            "score": scores.astype(jnp.float32),
            "outcome": outcomes.astype(jnp.float32),
            "where": mask,
        },
        "center": center,
        "scale": scale,
    }
    count = jnp.sum(mask, dtype=jnp.float32)
    means = logistic.evaluate(params, data, 1)
    return count, *(mean * count for mean in means[:3])
