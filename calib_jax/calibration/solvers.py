r"""The one loop that runs an optax solver to convergence, and the default solver.

Shapes: P parameters, a flat vector of unconstrained numbers.
"""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax


class FitStatus(enum.IntEnum):
    """How a fit ended; compare `report.status` with these.

    Only `CONVERGED` and `REVERSED` found the optimum. Where there is none that is
    finite the parameters are the finite end of their range, and say nothing by
    themselves.
    """

    #: A further Newton step would change no parameter noticeably.
    CONVERGED = 0
    #: The solver ran out of steps; parameters are where it stood.
    MAX_STEPS = 1
    #: Temperatures only. Where every label is a largest logit, the loss
    #: falls as T goes to 0.
    ZERO_LIMIT = 2
    #: Temperatures only. Where labels do no better than chance, the loss falls as T
    #: grows.
    INFINITE_LIMIT = 3
    #: No information, as no row is valid, or the logits of each row, or all scores, are
    #: equal.
    CONSTANT = 4
    #: Platt only. Where a threshold separates the outcomes, the loss falls as the
    #: slope grows.
    SEPARABLE = 5
    #: Platt only. Where all outcomes are 1, or all 0, the loss falls as the intercept
    #: grows.
    ONE_CLASS = 6
    #: Platt only. Converged, but with a slope below 0, so that higher scores are worse
    #: answers.
    REVERSED = 7
    #: A valid row holds NaN or inf, a label outside [0, C) (-1 included), a label whose
    #: class is masked or has logit -inf, an outcome outside [0, 1], or a weight that is
    #: negative or infinite.
    INVALID_VALUES = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FitReport:
    """What a fit says of itself.

    Attributes:
      converged: bool scalar; whether the parameters are the optimum.
      num_steps: int32 scalar, solver steps taken.
      loss: float32 scalar, mean negative log-likelihood at the parameters, in nats; NaN
        without a valid row or with invalid values.
      gradient_norm: float32 scalar, largest derivative of the loss in size, by the
        unconstrained parameters; NaN as the loss.
      status: int32 scalar, a `FitStatus`.
    """

    converged: jax.Array
    num_steps: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    status: jax.Array


class Evaluation(NamedTuple):
    """Loss, gradient `[P]` and (positive semidefinite) Hessian `[P, P]` of one pass.

    `bend` `[P]`, where it is known, says by how much a Newton step falls short of the
    optimum: by half of it times the square of the step, and a rest of third order.
    """

    value: jax.Array
    gradient: jax.Array
    hessian: jax.Array
    bend: jax.Array | None = None


class Solution(NamedTuple):
    """Where the loop ended: `[P]` parameters, their evaluation, and how it went."""

    params: jax.Array
    evaluation: Evaluation
    num_steps: jax.Array
    converged: jax.Array


class NewtonState(NamedTuple):
    """The last accepted point of a line, the step taken from it and the slope there."""

    base: jax.Array
    step: jax.Array
    slope: jax.Array


_DEFAULT_MAX_STEPS = 200
# A Newton step this small changes no parameter noticeably in float32: log temperatures
# and standardised slopes are of order 1.
_TOLERANCE = 1e-6
# Where a Newton step on a part of the data is this small, a larger part takes over: the
# optimum of some thousand rows is no nearer to that of all than a percent or two.
_NEAR, _COARSE_STEPS = 0.1, 10
# Steps this small that no longer shrink are rounding noise.
_NOISE = 3e-5


def newton() -> optax.GradientTransformationExtraArgs:
    """Safeguarded Newton steps for one or two parameters: the default solver.

    Takes `hessian` with every update, and `bend` where it is known (`Evaluation`). A
    step is accepted where the loss still falls at its end, or where its directional
    derivative there is smaller than at its start; else it is halved. Both tests use
    gradients only: near the optimum the values of a float32 loss no longer differ. No
    step is longer than 2 plus the size of the parameters.

    Returns:
      An optax gradient transformation for a vector `[P]`.

    References:
      Lin, Lin and Weng, "A Note on Platt's Probabilistic Outputs for Support Vector
      Machines", 2007 (Newton with halved steps); Traub, "Iterative Methods for the
      Solution of Equations", 1964 (Chebyshev's method, which bends them).

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
        # An infinite slope makes the first point acceptable.
        slope = jnp.full((), jnp.inf, params.dtype)
        return NewtonState(base=params, step=jnp.zeros_like(params), slope=slope)

    def update(
        updates: jax.Array,
        state: NewtonState,
        params: jax.Array | None = None,
        *,
        hessian: jax.Array,
        bend: jax.Array | None = None,
        **_: Any,
    ) -> tuple[jax.Array, NewtonState]:
        gradient = updates
        assert params is not None
        along = jnp.sum(gradient * state.step)
        accepted = along <= 0.9 * jnp.abs(state.slope)
        limit = 2.0 + jnp.max(jnp.abs(params))
        fresh = _bent(newton_step(gradient, hessian), bend)
        fresh = fresh * jnp.minimum(1.0, limit / jnp.max(jnp.abs(fresh)).clip(1e-30))
        base = jnp.where(accepted, params, state.base)
        step = jnp.where(accepted, fresh, 0.5 * state.step)
        slope = jnp.where(accepted, jnp.sum(gradient * fresh), state.slope)
        return base + step - params, NewtonState(base=base, step=step, slope=slope)

    return optax.GradientTransformationExtraArgs(init, update)


_NEWTON = newton()


def newton_step(gradient: jax.Array, hessian: jax.Array) -> jax.Array:
    """Minus the inverse Hessian times the gradient, `[P]`; always finite."""
    return -jnp.clip(_divide(gradient, hessian), -1e30, 1e30)


def _bent(step: jax.Array, bend: jax.Array | None) -> jax.Array:
    """A Newton step with what its `bend` (`Evaluation`), where it has one, adds."""
    if bend is None:
        return step
    # Far from the optimum the correction would not be smaller than the step.
    return step * (1.0 + jnp.clip(0.5 * bend * step, -0.5, 0.5))


def _divide(vector: jax.Array, hessian: jax.Array) -> jax.Array:
    """The inverse Hessian times a vector `[P]`; linear in the vector.

    Parameters are brought to one scale by the diagonal first, and a trace of a ridge is
    added. For P of 1 or 2 by the closed formula, which compiles to nothing.
    """
    size = vector.shape[0]
    if size > 2:
        scale = jnp.sqrt(jnp.diagonal(hessian)) + 1e-15
        matrix = hessian / scale[:, None] / scale[None, :]
        matrix = matrix + 1e-7 * jnp.eye(size, dtype=hessian.dtype)
        return jnp.linalg.solve(matrix, vector / scale) / scale
    # Number by number: a few kernels instead of many.
    scales = [jnp.sqrt(hessian[k, k]) + 1e-15 for k in range(size)]
    x = [vector[k] / scales[k] for k in range(size)]
    own = [hessian[k, k] / scales[k] / scales[k] + 1e-7 for k in range(size)]
    if size == 1:
        return (x[0] / own[0] / scales[0])[None]
    both = hessian[0, 1] / scales[0] / scales[1]
    determinant = jnp.maximum(own[0] * own[1] - both * both, 1e-7)
    first = (own[1] * x[0] - both * x[1]) / determinant
    second = (own[0] * x[1] - both * x[0]) / determinant
    return jnp.stack([first / scales[0], second / scales[1]])


def minimize(
    evaluate: Callable[[jax.Array, Any, Any], Evaluation],
    data: Any,
    initial: jax.Array,
    *,
    lower: jax.Array,
    upper: jax.Array,
    solver: optax.GradientTransformation | None = None,
    enabled: jax.Array | bool = True,
    thinnings: Sequence[int] = (),
    max_steps: int = _DEFAULT_MAX_STEPS,
) -> Solution:
    """Runs a solver until one more Newton step would be the last, and takes that step.

    Every solver gets the value, the gradient, the value function and the Hessian. The
    test of convergence is the same for all: the size of a Newton step, cut off at the
    bounds, in the parameters' own units. Newton steps shrink quadratically, those that
    are bent (`Evaluation`) cubically, so that the next one can be told from this and
    the one before. The test needs no scale of the loss, and no further pass.

    The default solver first goes by a part of the data, until it is near the optimum,
    then by a larger one: passes over all of it are left for the last one to three
    steps.

    Args:
      evaluate: the loss of a vector `[P]` and the data, from one pass over the data, or
        with a third argument `every` over one of so many blocks of it.
      data: pytree of all arrays that the loss depends on.
      initial: `[P]`, inside the bounds.
      lower: `[P]`, least value of each parameter.
      upper: `[P]`, greatest value of each parameter.
      solver: an optax gradient transformation; None is `newton()`.
      enabled: bool scalar; False evaluates the loss at `initial` and takes no step.
      thinnings: `every` of the first steps, descending; all data come after these.
      max_steps: most steps taken.

    Returns:
      `Solution`, value and gradient of its evaluation brought to its parameters by the
      quadratic model of the last step; see `differentiable` for their derivatives.
    """
    transformation = optax.with_extra_args_support(
        _NEWTON if solver is None else solver
    )
    coarse = solver is None and max_steps > _COARSE_STEPS
    stages = (*thinnings, 1) if coarse else (1,)
    last_stage = len(stages) - 1
    # The loop itself is not differentiated; `differentiable` does that afterwards.
    constant, initial = lax.stop_gradient((data, initial))

    @jax.custom_jvp
    def value_function(params: jax.Array, data: Any) -> jax.Array:
        return evaluate(params, data, 1).value

    @value_function.defjvp
    def value_derivative(primals: Any, tangents: Any) -> Any:
        params, data = primals
        result = evaluate(params, data, 1)
        return result.value, jnp.sum(result.gradient * tangents[0])

    # Line searches forward extra arguments that the value function names, and in 64-bit
    # mode some of them widen the parameters.
    def value_of(params: jax.Array, hessian: Any = None, bend: Any = None) -> jax.Array:
        return value_function(params.astype(jnp.float32), constant)

    def advance(carry: Any) -> Any:
        params, _, state, steps, before, stage, _, _ = carry
        every = jnp.asarray(stages, jnp.int32)[stage] if last_stage else 1
        evaluation = evaluate(params, constant, every)
        step = newton_step(evaluation.gradient, evaluation.hessian)
        newton = jnp.clip(params + step, lower, upper)
        step = newton - params
        # In units of 1, or of the rounding of parameters that are far from it.
        unit = jnp.maximum(1.0, 0.1 * jnp.abs(params))
        size = jnp.max(jnp.abs(step) / unit)
        ratio = size / before**2
        bend = evaluation.bend
        best = jnp.clip(params + _bent(step, bend), lower, upper)
        if bend is None:
            following = size**2 * jnp.maximum(4.0, ratio)
        else:
            # Half the square of the bend is what the rest of third order comes to where
            # it is large, and more than that elsewhere.
            cubic = 0.5 * (1.0 + jnp.max(bend * bend))
            following = size**3 * jnp.maximum(cubic, ratio**2)
        settled = (following <= _TOLERANCE) | (
            (size <= _NOISE) & (size >= 0.5 * before)
        )
        # Some optax solvers mix dtypes, whatever the caller's rules are.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(
                evaluation.gradient,
                state,
                params,
                value=evaluation.value,
                grad=evaluation.gradient,
                value_fn=value_of,
                hessian=evaluation.hessian,
                bend=bend,
            )
        after = jnp.clip(optax.apply_updates(params, updates), lower, upper)
        finished = settled | (steps >= max_steps) | ~jnp.asarray(enabled)
        if last_stage:
            # A part may have an optimum of its own, or none: then it is no guide.
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
        moves = settled & jnp.asarray(enabled)
        step = jnp.where(moves, step, 0.0)
        by_step = jnp.sum(evaluation.hessian * step[None], axis=1)
        value = evaluation.value + jnp.sum(step * (evaluation.gradient + 0.5 * by_step))
        evaluation = Evaluation(
            value=value,
            gradient=evaluation.gradient + by_step,
            hessian=evaluation.hessian,
        )
        params = jnp.where(finished, jnp.where(moves, best, params), after)
        steps = jnp.where(finished, steps, steps + 1)
        return params, evaluation, state, steps, size, stage, settled, finished

    carry = (
        initial,
        unsolved(initial).evaluation,
        transformation.init(initial),
        jnp.int32(0),
        jnp.float32(jnp.inf),
        jnp.where(enabled, jnp.int32(0), last_stage),
        jnp.array(False),
        jnp.array(False),
    )
    params, evaluation, _, steps, _, _, settled, _ = lax.while_loop(
        lambda carry: ~carry[-1], advance, carry
    )
    return Solution(
        params=params, evaluation=evaluation, num_steps=steps, converged=settled
    )


def unsolved(params: jax.Array) -> Solution:
    """A solution of the right shapes that says nothing."""
    zero = jnp.zeros_like(params)
    evaluation = Evaluation(
        value=jnp.float32(0), gradient=zero, hessian=zero[:, None] * zero[None]
    )
    return Solution(
        params=params,
        evaluation=evaluation,
        num_steps=jnp.int32(0),
        converged=jnp.array(False),
    )


def fit_report(solution: Solution, status: jax.Array, total: jax.Array) -> FitReport:
    """The report of a solution with a final status; `total` is the sum of weights."""
    known = (status != FitStatus.INVALID_VALUES) & (total > 0)
    gradient_norm = jnp.max(jnp.abs(solution.evaluation.gradient))
    report = FitReport(
        converged=(status == FitStatus.CONVERGED) | (status == FitStatus.REVERSED),
        num_steps=solution.num_steps,
        loss=jnp.where(known, solution.evaluation.value, jnp.nan),
        gradient_norm=jnp.where(known, gradient_norm, jnp.nan),
        status=status,
    )
    return jax.lax.stop_gradient(report)


def first_case(
    *cases: tuple[jax.Array | bool, jax.Array | FitStatus, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Status and value of the first case that holds."""
    _, status, value = cases[-1]
    status = jnp.int32(status)
    for holds, case_status, case_value in reversed(cases[:-1]):
        status = jnp.where(holds, jnp.int32(case_status), status)
        value = jnp.where(holds, case_value, value)
    return status, value


def differentiable(
    evaluate: Callable[[jax.Array, Any, Any], Evaluation],
    solution: Solution,
    data: Any,
    *,
    inside: jax.Array,
) -> jax.Array:
    """The parameters of a solution, with the derivative by the data of an optimum.

    At an optimum the gradient g(params, data) stays 0, so d params = -H^-1 dg: what one
    Newton step from the optimum would add if the data moved (the implicit function
    theorem).

    Args:
      evaluate: as for `minimize`.
      solution: what `minimize` returned.
      data: as for `minimize`, not stopped.
      inside: bool scalar; False, at a bound, has derivative 0.

    Returns:
      `solution.params`, `[P]`.
    """

    @jax.custom_jvp
    def attach(params: jax.Array, inside: jax.Array, data: Any) -> jax.Array:
        return params

    @attach.defjvp
    def attached_derivative(primals: Any, tangents: Any) -> Any:
        params, inside, data = primals

        def gradient(data: Any) -> tuple[jax.Array, jax.Array]:
            evaluation = evaluate(params, data, 1)
            return evaluation.gradient, evaluation.hessian

        _, moved, hessian = jax.jvp(gradient, (data,), (tangents[2],), has_aux=True)
        return params, -jnp.where(inside, _divide(moved, hessian), 0.0)

    return attach(solution.params, inside, data)
