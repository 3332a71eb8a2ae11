"""Fits of a scale or a matrix, and a bias, to class logits.

Shapes: N examples, C classes, P parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .._core import reduce
from . import descent, reports, softmax_problem, softmax_regression, solvers
from .reports import FitReport, FitStatus
from .softmax_problem import MAX_PARAMETER, Problem

# The solver gets near the optimum on this many rows before it reads all of them.
_FIRST_ROWS = (2**13,)


def started(
    problem: Problem, slope: jax.Array, bias: jax.Array, warm: jax.Array
) -> Problem:
    """The problem with another start, if it is to be `warm`."""
    data, free = problem.data, problem.data["free"]
    bias = bias - softmax_regression.public_bias(slope, 0.0 * bias, data["center"])
    start = {
        "start": jnp.where(warm, slope, data["start"]),
        "bias": jnp.where(warm & free, bias, data["bias"]),
    }
    return problem._replace(data=data | lax.stop_gradient(start))


def fit(
    problem: Problem,
    solver: optax.GradientTransformation | None,
    *,
    roughly: jax.Array | bool = False,
) -> tuple[jax.Array, jax.Array, FitReport]:
    """Scale `[C]` or matrix `[C, C]`, and bias `[C]`, with the report."""
    data = problem.data
    free, alone = data["free"], problem.alone
    matrix = data["start"].ndim == 2
    searched = ~problem.invalid & (problem.total > 0) & ~alone
    solution = _search(problem, solver, searched, roughly)
    endless = solution.endless | (solution.converged & problem.separable)
    solution = solution._replace(
        endless=endless, converged=solution.converged & ~problem.separable
    )
    lost = problem.invalid | (searched & ~solution.converged & ~solution.endless)
    params = descent.differentiable(
        softmax_regression.OBJECTIVE,
        solution.params,
        data,
        inside=solution.converged | lost,
    )
    slope, bias = softmax_regression.expand(params, data)
    bias = softmax_regression.public_bias(slope, bias, data["center"])
    slope, bias = softmax_regression.canonical(slope, bias, data)
    if not matrix:
        mean = jnp.sum(jnp.where(free, slope, 0.0)) / softmax_regression.number(free)
        slope = jnp.where(free, slope, mean)
    bias = jnp.where(free, bias, jnp.where(problem.absent, -MAX_PARAMETER, 0.0))
    slope, bias = (jnp.clip(x, -MAX_PARAMETER, MAX_PARAMETER) for x in (slope, bias))
    one = jnp.eye(bias.size, dtype=jnp.float32) if matrix else jnp.ones_like(bias)
    empty = problem.invalid | ~(problem.total > 0)
    nothing = empty | (alone & ~lost)
    slope = jnp.where(nothing & ~lost, one, slope)
    slope = reports.undefined(slope, lost, jnp.where(problem.invalid, one, slope))
    bias = jnp.where(empty & ~lost, 0.0, bias)
    bias = reports.undefined(bias, lost, jnp.where(problem.invalid, 0.0, bias))
    (status,) = reports.first_case(
        (problem.invalid, FitStatus.INVALID_VALUES),
        (~(problem.total > 0), FitStatus.CONSTANT),
        (alone, FitStatus.ONE_CLASS),
        (
            solution.endless | problem.separable | jnp.any(problem.absent),
            FitStatus.SEPARABLE,
        ),
        (~solution.converged, FitStatus.MAX_STEPS),
        (~problem.varies, FitStatus.CONSTANT),
        (True, FitStatus.CONVERGED),
    )
    fixed = lax.stop_gradient(data)
    penalty = softmax_regression.penalty(
        *softmax_regression.expand(solution.params, fixed), fixed
    )
    evaluation = solvers.Evaluation(
        solution.value - penalty, solution.gradient, jnp.zeros((0, 0), jnp.float32)
    )
    found = solvers.Solution(
        params=solution.params,
        evaluation=evaluation,
        num_steps=solution.num_steps,
        converged=solution.converged,
    )
    return slope, bias, reports.fit_report(found, status, problem.total)


def total_loss(
    problem: Problem, slope: jax.Array, bias: jax.Array, valid: jax.Array
) -> jax.Array:
    """The sum of losses of other rows than those of a fit, with weights."""
    data = lax.stop_gradient(problem.data)
    data = data | {"center": jnp.zeros_like(bias), "valid": valid}
    rows = data["rows"]
    if "shift" in rows:
        # That of a fit is made of its own rows.
        shift = softmax_problem.normalisers(rows["logits"], valid)
        rows = rows | {"shift": shift}

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = softmax_regression.features(data, block, live)
        loss, _ = softmax_regression.losses(
            softmax_regression.affine(slope, bias, x), inside, target
        )
        return jnp.sum(jnp.where(live, weight * loss, 0.0))[None]

    return reduce.sum_blocks(of_block, (1,), rows, valid)[0]


def _search(
    problem: Problem,
    solver: optax.GradientTransformation | None,
    enabled: jax.Array,
    roughly: jax.Array | bool,
) -> descent.Solution:
    """The solution, in the coordinates of the problem."""
    data = problem.data
    whiten, unit = data["whiten"], data["unit"]
    of_slope = unit[:, None] if whiten.ndim == 2 else unit
    of_slope = jnp.broadcast_to(of_slope, whiten.shape).ravel()
    of_all = data["scale_unit"] * problem.spread
    units = jnp.concatenate([of_slope, data["bias_unit"], of_all[None]])
    # A part of the rows says little about a matrix.
    first = _FIRST_ROWS if whiten.ndim == 1 else ()
    return descent.minimize(
        softmax_regression.OBJECTIVE,
        data,
        jnp.zeros(units.shape, jnp.float32),
        units=units,
        num_rows=problem.num_rows,
        solver=solver,
        enabled=enabled,
        bounded=problem.bounded,
        roughly=roughly,
        thinnings=reduce.thinnings(data["rows"], first),
    )
