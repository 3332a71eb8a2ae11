r"""The one loop that runs an optax solver to convergence, and the default solver.

Shapes: P parameters, a flat vector of unconstrained numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._core import transforms


class Evaluation(NamedTuple):
    """Loss, gradient `[P]` and (positive semidefinite) Hessian `[P, P]`, from one pass.

    `bend` `[P]` is the optional second-order correction of a Newton step: the optimum
    is at `step * (1 + bend * step / 2)`, up to an error of third order.
    """

    value: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    bend: jax.Array | None = None


class Solution(NamedTuple):
    """Where the loop ended: parameters `[P]`, their evaluation, and how it got
    there."""

    params: jax.Array
    evaluation: Evaluation
    num_steps: jax.Array
    converged: jax.Array


class NewtonState(NamedTuple):
    """The last accepted point, the step tried from it, and the slope along the step.

    `value` is the loss there, of three or more parameters.
    """

    base: jax.Array
    step: jax.Array
    slope: jax.Array
    value: jax.Array | None = None


_MAX_STEPS = 200
# A Newton step this small changes no parameter noticeably in float32, because log
# temperatures and standardised slopes are of order 1.
_TOLERANCE = 1e-6
# When a Newton step on part of the data is this small, the solver moves on to a larger
# part: the optimum of a few thousand rows is near that of all.
_NEAR, _COARSE_STEPS = 0.1, 10
# Steps below this size that no longer shrink are rounding noise.
_NOISE = 3e-5
# Losses that differ by less, relatively, may differ by rounding alone.
_CLEARLY = 1e-5


def newton() -> optax.GradientTransformationExtraArgs:
    """Safeguarded Newton steps for a few parameters: the default solver.

    Every update takes the keyword `hessian` `[P, P]` and optionally `bend` `[P]`, which
    corrects a step to `step * (1 + bend * step / 2)`. A step is accepted if the loss
    still falls at its end, or if its directional derivative is smaller there than at
    its start; otherwise it is halved. Both tests use gradients only, because near the
    optimum the values of a float32 loss no longer differ. With three or more parameters
    steps could then go round in circles, so one after which the keyword `value`, the
    loss, is clearly higher is halved, too. No step is longer than 2 plus the size of
    the parameters.

    Returns:
      An optax gradient transformation for a vector `[P]`.

    References:
      Lin, Lin and Weng, "A Note on Platt's Probabilistic Outputs for Support Vector
      Machines", 2007 (Newton with halved steps); Traub, "Iterative Methods for the
      Solution of Equations", 1964 (Chebyshev's method, the corrected step).

    Examples:
      >>> solver = newton()
      >>> state = solver.init(jnp.array([3.0]))
      >>> step, state = solver.update(
      ...     jnp.array([4.0]), state, jnp.array([3.0]), hessian=jnp.array([[2.0]])
      ... )
      >>> print(step)
      [-2.]
    """

    def init(params: jax.Array) -> NewtonState:
        # With an infinite slope the first point is always accepted.
        slope = jnp.full((), jnp.inf, params.dtype)
        value = slope if params.shape[0] > 2 else None
        return NewtonState(
            base=params, step=jnp.zeros_like(params), slope=slope, value=value
        )

    def update(
        updates: jax.Array,
        state: NewtonState,
        params: jax.Array | None = None,
        *,
        hessian: jax.Array,
        bend: jax.Array | None = None,
        value: jax.Array | float = 0.0,
        **_: Any,
    ) -> tuple[jax.Array, NewtonState]:
        assert params is not None
        step = _bent(newton_step(updates, hessian), bend)
        after, state = safeguarded(updates, state, params, step, value=value)
        return after - params, state

    return optax.GradientTransformationExtraArgs(init, update)


def is_accepted(
    gradient: jax.Array, state: NewtonState, most: float = 0.9
) -> jax.Array:
    """Whether a step has not led too far up: its slope, at most a part of the first."""
    return _dot(gradient, state.step) <= most * jnp.abs(state.slope)


def safeguarded(
    gradient: jax.Array,
    state: NewtonState,
    params: jax.Array,
    step: jax.Array,
    accepted: jax.Array | None = None,
    value: jax.Array | float | None = None,
) -> tuple[jax.Array, NewtonState]:
    """Parameters after a corrected Newton step, or after half of the one before."""
    if accepted is None:
        accepted = is_accepted(gradient, state)
    best = state.value
    if best is not None and value is not None:
        accepted = accepted & ~(value > best + _CLEARLY * jnp.abs(best))
        best = jnp.where(accepted, value, best).astype(best.dtype)
    limit = 2.0 + _largest(params)
    fresh = step * jnp.minimum(1.0, limit / jnp.maximum(_largest(step), 1e-30))
    state = NewtonState(
        base=lax.select(accepted, params, state.base),
        step=lax.select(accepted, fresh, 0.5 * state.step),
        slope=lax.select(accepted, _dot(gradient, fresh), state.slope),
        value=best,
    )
    return state.base + state.step, state


_NEWTON = newton()


def newton_step(gradient: jax.Array, hessian: jax.Array) -> jax.Array:
    """Minus the inverse Hessian times the gradient, `[P]`; always finite."""
    return -jnp.clip(_divide(gradient, hessian), -1e30, 1e30)


def _largest(vector: jax.Array) -> jax.Array:
    """The largest size of an entry; one entry is no reduction."""
    size = jnp.abs(vector)
    return size[0] if vector.shape[0] == 1 else jnp.max(size)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    product = a * b
    return product[0] if a.shape[0] == 1 else jnp.sum(product)


def _bent(step: jax.Array, bend: jax.Array | None) -> jax.Array:
    """A Newton step with the second-order correction of `Evaluation`."""
    if bend is None:
        return step
    # Far from the optimum the correction could exceed the step.
    return step * (1.0 + jnp.clip(0.5 * bend * step, -0.5, 0.5))


def _divide(vector: jax.Array, hessian: jax.Array) -> jax.Array:
    """The inverse Hessian times a vector `[P]`; linear in the vector.

    The diagonal is scaled to 1 first, and a tiny ridge is added. Up to three parameters
    are written out, which compiles to a few operations.
    """
    size = vector.shape[0]
    if size > 2:
        scale = jnp.sqrt(jnp.diagonal(hessian)) + 1e-15
        matrix = hessian / scale[:, None] / scale[None, :]
        matrix = matrix + 1e-7 * jnp.eye(size, dtype=hessian.dtype)
        solve = _eliminate if size == 3 else jnp.linalg.solve
        return solve(matrix, vector / scale) / scale
    if size == 1:
        return vector / (hessian[0] + 1e-37)
    # Scalars compile to fewer kernels than arrays of two.
    scales = [jnp.sqrt(hessian[k, k]) + 1e-15 for k in range(size)]
    x = [vector[k] / scales[k] for k in range(size)]
    both = hessian[0, 1] / scales[0] / scales[1]
    own = 1 + 1e-7
    determinant = jnp.maximum(own * own - both * both, 1e-7)
    first = (own * x[0] - both * x[1]) / determinant
    second = (own * x[1] - both * x[0]) / determinant
    return jnp.stack([first / scales[0], second / scales[1]])


def _eliminate(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """The inverse of a positive definite matrix times a vector, by elimination."""
    size = vector.shape[0]
    rows = [[*(matrix[i, j] for j in range(size)), vector[i]] for i in range(size)]
    pivots: list[jax.Array] = []
    for k in range(size):
        pivots.append(jnp.maximum(rows[k][k], 1e-7))
        for i in range(k + 1, size):
            factor = rows[i][k] / pivots[k]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    found: list[jax.Array] = []
    for k in reversed(range(size)):
        known = zip(rows[k][k + 1 : size], found, strict=True)
        rest = rows[k][size] - sum(a * x for a, x in known)
        found.insert(0, rest / pivots[k])
    return jnp.stack(found)


def minimize(
    evaluate: Callable[[jax.Array, Any, Any], Evaluation],
    data: Any,
    initial: jax.Array,
    *,
    lower: np.ndarray,
    upper: np.ndarray,
    solver: optax.GradientTransformation | None = None,
    enabled: jax.Array | bool = True,
    thinnings: Sequence[int] = (),
    stop: Callable[[jax.Array], jax.Array] | None = None,
) -> Solution:
    """Runs a solver until one more Newton step would be the last, and takes that step.

    Every solver gets the value, the gradient, the value function and the Hessian, and
    is tested for convergence in the same way: by the size of a Newton step, clipped to
    the bounds, in units of the parameters. Newton steps shrink quadratically, and
    corrected ones (`Evaluation`) cubically, so the size of the next step follows from
    this one and the one before. The test needs neither the scale of the loss nor
    another pass.

    The default solver starts on part of the data and moves to larger parts as it nears
    the optimum, which leaves one to three passes over all of it.

    Args:
      evaluate: from parameters `[P]`, the data and an integer `every` to an
        `Evaluation`, in one pass over every `every`-th block of the data.
      data: pytree of all arrays that the loss depends on.
      initial: `[P]`, inside the bounds.
      lower: NumPy float32 `[P]`, least value of each parameter.
      upper: NumPy float32 `[P]`, greatest value of each parameter.
      solver: an optax gradient transformation; None is `newton()`.
      enabled: bool scalar; False evaluates the loss at `initial` and takes no step.
      thinnings: `every` of the first steps, descending; then all data are used.
      stop: from parameters to whether to go no further, without convergence.

    Returns:
      `Solution`, with value and gradient extrapolated to the last step by its quadratic
      model. It has no derivative; see `differentiable`.
    """
    transformation = optax.with_extra_args_support(
        _NEWTON if solver is None else solver
    )
    stages = (*thinnings, 1) if solver is None else (1,)
    last_stage = len(stages) - 1
    # The loop itself is not differentiated; `differentiable` adds derivatives later.
    constant, initial = lax.stop_gradient((data, initial))
    enabled, no_step = jnp.asarray(enabled), jnp.zeros(initial.shape, jnp.float32)

    @jax.custom_jvp
    def value_function(params: jax.Array, data: Any) -> jax.Array:
        return evaluate(params, data, 1).value

    @value_function.defjvp
    def value_derivative(primals: Any, tangents: Any) -> Any:
        params, data = primals
        result = evaluate(params, data, 1)
        return result.value, jnp.sum(result.gradient * tangents[0])

    # Line searches pass on extra arguments that the value function names. In 64-bit
    # mode some widen the parameters.
    def value_of(params: jax.Array, hessian: Any = None, bend: Any = None) -> jax.Array:
        return value_function(params.astype(jnp.float32), constant)

    def update(evaluation: Evaluation, state: Any, params: jax.Array) -> Any:
        # Some optax solvers mix dtypes, which the caller may have forbidden.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(
                evaluation.gradient,
                state,
                params,
                value=evaluation.value,
                grad=evaluation.gradient,
                value_fn=value_of,
                hessian=evaluation.hessian,
                bend=evaluation.bend,
            )
        return optax.apply_updates(params, updates), state

    def advance(carry: Any) -> Any:
        params, _, state, steps, before, stage, _, _ = carry
        every = jnp.asarray(stages, jnp.int32)[stage] if last_stage else 1
        evaluation = evaluate(params, constant, every)
        step = newton_step(evaluation.gradient, evaluation.hessian)
        bend = evaluation.bend
        bent = _bent(step, bend)
        newton = lax.clamp(lower, params + step, upper)
        best = lax.clamp(lower, params + bent, upper)
        step = newton - params
        # In units of 1, or of a tenth of large parameters, which are rounded more.
        size = _largest(step / jnp.maximum(1.0, 0.1 * jnp.abs(params)))
        ratio = size / before**2
        if bend is None:
            following = size**2 * jnp.maximum(4.0, ratio)
        else:
            # The third-order error is about half the squared bend where that is large.
            # Elsewhere it is larger than this by a factor of 3 at most in temperature
            # fits to rows of all kinds: 3e-6 in the parameter.
            cubic = 0.5 + 0.5 * _largest(bend * bend)
            following = size**3 * jnp.maximum(cubic, ratio**2)
        settled = (following <= _TOLERANCE) | (
            (size <= _NOISE) & (size >= 0.5 * before)
        )
        if solver is None:
            gradient, value = evaluation.gradient, evaluation.value
            after, state = safeguarded(gradient, state, params, bent, value=value)
        else:
            after, state = update(evaluation, state, params)
        after = lax.clamp(lower, after, upper)
        finished = settled | (steps >= _MAX_STEPS) | ~enabled
        if stop is not None:
            finished = finished | stop(params)
        if last_stage:
            # A part without an optimum inside the bounds does not help: start again on
            # all data.
            coarse = stage < last_stage
            near = (size <= _NEAR) & jnp.all((newton > lower) & (newton < upper))
            switch = coarse & (near | (steps >= _COARSE_STEPS))
            after = jnp.where(switch, jnp.where(near, best, initial), after)
            state = jax.tree.map(
                lambda fresh, old: jnp.where(switch, fresh, old),
                transformation.init(after),
                state,
            )
            size = jnp.where(switch, jnp.inf, size)
            stage = jnp.where(switch, jnp.where(near, stage + 1, last_stage), stage)
            finished, settled = finished & ~coarse, settled & ~coarse
        settled = settled & enabled
        last = lax.select(settled, best, params)
        params = lax.select(finished, last, after)
        steps = lax.select(finished, steps, steps + 1)
        found = evaluation._replace(bend=None), step
        return params, found, state, steps, size, stage, settled, finished

    carry = (
        initial,
        (unsolved(initial).evaluation, no_step),
        transformation.init(initial),
        jnp.int32(0),
        jnp.float32(jnp.inf),
        jnp.where(enabled, jnp.int32(0), last_stage) if last_stage else jnp.int32(0),
        jnp.array(False),
        jnp.array(False),
    )
    params, (evaluation, step), _, steps, _, _, settled, _ = lax.while_loop(
        lambda carry: ~carry[-1], advance, transforms.carry(advance, carry)
    )
    # By the quadratic model of the last step.
    step = lax.select(settled, step, no_step)
    moved = jnp.sum(evaluation.hessian * step[None], axis=1)
    change = _dot(step, evaluation.gradient + 0.5 * moved)
    evaluation = evaluation._replace(
        value=evaluation.value + change, gradient=evaluation.gradient + moved
    )
    return Solution(
        params=params, evaluation=evaluation, num_steps=steps, converged=settled
    )


def unsolved(params: jax.Array) -> Solution:
    """A solution of the right shapes, before the first step."""
    size = params.shape[0]
    evaluation = Evaluation(
        value=jnp.float32(0),
        gradient=jnp.zeros(size, jnp.float32),
        hessian=jnp.zeros((size, size), jnp.float32),
    )
    return Solution(
        params=params,
        evaluation=evaluation,
        num_steps=jnp.int32(0),
        converged=jnp.array(False),
    )


def differentiable(
    evaluate: Callable[[jax.Array, Any, Any], Evaluation],
    solution: Solution,
    data: Any,
    *,
    inside: jax.Array,
) -> jax.Array:
    """The parameters of a solution, differentiable with respect to the data.

    At an optimum the gradient g(params, data) stays 0, so d params = -H^-1 dg, which is
    the Newton step after a small change of the data (implicit function theorem).

    Args:
      evaluate: as for `minimize`.
      solution: the result of `minimize`.
      data: as for `minimize`.
      inside: bool scalar; if False, for a solution at a bound, the derivative is 0.

    Returns:
      `solution.params`, `[P]`.
    """

    @jax.custom_jvp
    def attach(params: jax.Array, inside: jax.Array, data: Any) -> jax.Array:
        return params

    @attach.defjvp
    def attached_derivative(primals: Any, tangents: Any) -> Any:
        _, inside, data = primals
        # Attached again, so that this derivative has the right derivative, too.
        params = attach(*primals)

        def gradient(data: Any) -> tuple[jax.Array, jax.Array]:
            evaluation = evaluate(params, data, 1)
            return evaluation.gradient, evaluation.hessian

        _, moved, hessian = jax.jvp(gradient, (data,), (tangents[2],), has_aux=True)
        return params, -jnp.where(inside, _divide(moved, hessian), 0.0)

    return attach(solution.params, inside, data)
