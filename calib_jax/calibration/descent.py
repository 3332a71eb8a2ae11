"""Convex fits with many parameters: Newton steps solved by conjugate gradients.

Shapes: P parameters, a flat vector in units in which the Hessian is near the identity.
No matrix `[P, P]` is formed: a product with the Hessian is a pass over the rows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .._core import transforms
from . import solvers

# As many Newton steps at most, also of a user's solver.
_MAX_STEPS = 200
# A Newton step that lowers the loss by half of this is the last, if it is short, too.
_TOLERANCE, _TOLERANCE_OF_MANY = 1e-6, 1e-5
_SHORT, _SHORT_OF_MANY = 1e-3, 0.03
# A long step that hardly lowers the loss follows a direction without an optimum, which
# has a curvature of so many rows at most; what is left is of a part of a row.
_LONG, _FLAT, _CURVATURE_IN_ROWS, _LEFT_IN_ROWS = 0.3, 1e-9, 1e-4, 1e-2
# A loss below this is not found relatively closer than this one.
_SMALL_LOSS = 0.1
# A loss of all rows together below this: each is more likely right than wrong.
_ALL_RIGHT = math.log(2)
# The same of a fit that others are compared with, and how many steps it may take.
_ROUGHLY, _SHORT_ROUGHLY, _MAX_STEPS_ROUGHLY = 1e-4, 0.3, 20
# A step is halved if the slope at its end is up, and more than this part of the first:
# where probabilities are 0 and 1, the next step would go too far.
_MOST_SLOPE = 0.1
# A norm of the gradient below which another solver may be at the optimum.
_NEAR_SOLVED = 1e-3
# Relative residuals of the linear systems, far from the optimum and near it.
_ROUGH, _FINE, _FINE_OF_MANY = 0.1, 1e-5, 0.05
_MANY_PARAMETERS = 100
_MOST_PRODUCTS, _MOST_PRODUCTS_ROUGHLY = 200, 40
# When a Newton step on part of the data lowers the loss by less, all data are used.
_NEAR, _COARSE_STEPS = 1e-3, 10


class Objective(NamedTuple):
    """A convex loss.

    Attributes:
      evaluate: from parameters `[P]`, data and an integer `every` to the loss and its
        gradient `[P]`, by one pass over every `every`-th block of the data.
      product: from a vector `[P]`, parameters, data and `every` to the Hessian times
        the vector.
    """

    evaluate: Callable[[jax.Array, Any, Any], tuple[jax.Array, jax.Array]]
    product: Callable[[jax.Array, jax.Array, Any, Any], jax.Array]


class Solution(NamedTuple):
    """Where the loop ended.

    Attributes:
      params: `[P]`.
      value: float32 scalar, the loss, by the quadratic model of the last step.
      gradient: `[P]`, by the same model: what the linear system has left.
      num_steps: int32 scalar.
      converged: bool scalar.
      endless: bool scalar, whether the loss falls without end along some direction.
    """

    params: jax.Array
    value: jax.Array
    gradient: jax.Array
    num_steps: jax.Array
    converged: jax.Array
    endless: jax.Array


def conjugate_gradients(
    product: Callable[[jax.Array], jax.Array],
    vector: jax.Array,
    goal: jax.Array,
    most: jax.Array | int = _MOST_PRODUCTS,
) -> tuple[jax.Array, jax.Array]:
    """`x` with `product(x) = vector`, and the residual.

    It ends where the squared norm of the residual is at most the goal: at 0, if that of
    the vector is, and after so many products. (`jax.scipy.sparse.linalg.cg` begins with
    a product by 0, which compiles the pass over the rows twice.)
    """

    def step(carry: Any) -> Any:
        found, residual, direction, square, count, _ = carry
        image = product(direction)
        curvature = jnp.sum(direction * image)
        # Rounding may turn a curvature of nearly 0 negative.
        useful = curvature > 1e-12 * jnp.sum(direction * direction)
        length = jnp.where(useful, square / jnp.where(useful, curvature, 1.0), 0.0)
        found = found + length * direction
        residual = residual - length * image
        new = jnp.sum(residual * residual)
        direction = residual + new / jnp.maximum(square, 1e-37) * direction
        more = useful & (new > goal) & (count + 1 < most)
        return found, residual, direction, new, count + 1, more

    square = jnp.sum(vector * vector)
    zero = jnp.zeros_like(vector)
    carry = zero, vector, vector, square, jnp.int32(0), square > goal
    carry = transforms.carry(step, carry)
    return lax.while_loop(lambda carry: carry[-1], step, carry)[:2]


def minimize(
    objective: Objective,
    data: Any,
    initial: jax.Array,
    *,
    units: jax.Array,
    num_rows: jax.Array,
    solver: optax.GradientTransformation | None = None,
    enabled: jax.Array | bool = True,
    bounded: jax.Array | bool = False,
    roughly: jax.Array | bool = False,
    thinnings: Sequence[int] = (),
) -> Solution:
    """Runs a solver until one more Newton step would be the last, and takes that step.

    Args:
      objective: the loss.
      data: pytree of all arrays that the loss depends on.
      initial: `[P]`.
      units: `[P]`, by how much a parameter of 1 moves the logits of a typical row.
      num_rows: float32 scalar, the number of valid rows.
      solver: an optax gradient transformation, which gets the value, the gradient and
        the value function; None is safeguarded Newton steps, as `solvers.newton` takes.
      enabled: bool scalar; False takes no step.
      bounded: bool scalar, whether there is an optimum for certain; otherwise long
        steps that hardly lower the loss end the search.
      roughly: bool scalar, whether the loss need only be within about 1e-4.
      thinnings: `every` of the first steps, descending; then all data are used.

    Returns:
      `Solution`, without derivatives; see `differentiable`.
    """
    transformation = optax.with_extra_args_support(
        solvers.newton() if solver is None else solver
    )
    stages = (*thinnings, 1) if solver is None else (1,)
    last_stage = len(stages) - 1
    bounded = jnp.asarray(bounded)
    constant, initial, units = lax.stop_gradient((data, initial, units))
    few = transforms.at_most(initial.size, _MANY_PARAMETERS)
    tolerance = jnp.where(roughly, _ROUGHLY, _TOLERANCE if few else _TOLERANCE_OF_MANY)
    short = jnp.where(roughly, _SHORT_ROUGHLY, _SHORT if few else _SHORT_OF_MANY)
    most = jnp.where(roughly, _MAX_STEPS_ROUGHLY, _MAX_STEPS)
    fine = _FINE if few else _FINE_OF_MANY

    @jax.custom_jvp
    def value_function(params: jax.Array) -> jax.Array:
        return objective.evaluate(params, constant, 1)[0]

    @value_function.defjvp
    def value_derivative(primals: Any, tangents: Any) -> Any:
        value, gradient = objective.evaluate(primals[0], constant, 1)
        return value, jnp.sum(gradient * tangents[0])

    def value_of(params: jax.Array) -> jax.Array:
        return value_function(params.astype(jnp.float32))

    def update(value: Any, gradient: jax.Array, state: Any, params: jax.Array) -> Any:
        # Some optax solvers mix dtypes, which the caller may have forbidden.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transformation.update(
                gradient, state, params, value=value, grad=gradient, value_fn=value_of
            )
        return optax.apply_updates(params, updates), state

    def advance(carry: Any) -> Any:
        params, _, _, state, steps, stage, *_ = carry
        every = jnp.asarray(stages, jnp.int32)[stage] if last_stage else 1
        value, gradient = objective.evaluate(params, constant, every)
        square = jnp.sum(gradient * gradient)
        norm = jnp.sqrt(square)
        # A step is solved for where it is used: at a new base, or, as a test, where
        # another solver nears the optimum.
        if solver is None:
            solved = solvers.is_accepted(gradient, state, _MOST_SLOPE)
        else:
            solved = norm < _NEAR_SOLVED
        goal = jnp.clip(norm, fine, _ROUGH) ** 2 * square
        step, residual = conjugate_gradients(
            lambda vector: objective.product(vector, params, constant, every),
            -gradient,
            jnp.where(solved, goal, jnp.inf),
            jnp.where(roughly, _MOST_PRODUCTS_ROUGHLY, _MOST_PRODUCTS),
        )
        fall = -jnp.sum(gradient * step)
        size = jnp.max(jnp.abs(step) * units)
        settled = solved & (fall <= tolerance) & (size <= short)
        # Where there is an optimum, the loss may be small and long steps lower nothing.
        part = jnp.clip(value, _SMALL_LOSS, 1.0)
        exact = fall <= tolerance * part * jnp.where(settled, 1.0, 0.1)
        settled = lax.select(bounded, solved & exact, settled)
        # Where rounding hides all curvature, there is no step.
        settled = settled & ((fall > 0) | (norm <= _FINE))
        in_rows = fall * num_rows
        flat = in_rows <= jnp.minimum(_LEFT_IN_ROWS, _CURVATURE_IN_ROWS * size * size)
        endless = (size > _LONG) & ((fall <= _FLAT) | flat)
        # Labels that are all right stay so at any larger scale.
        certain = ~bounded & (value * num_rows < _ALL_RIGHT)
        certain = certain & (jnp.asarray(every) == 1)
        endless = solved & ((endless & ~bounded) | (settled & certain))
        settled = settled & ~certain
        if solver is None:
            after, state = solvers.safeguarded(gradient, state, params, step, solved)
        else:
            after, state = update(value, gradient, state, params)
        finished = settled | endless | (steps >= most) | ~enabled
        if last_stage:
            coarse = stage < last_stage
            switch = coarse & (
                (solved & (fall <= _NEAR)) | (steps >= _COARSE_STEPS) | finished
            )
            fresh = transformation.init(after)
            state = jax.tree.map(
                lambda new, old: jnp.where(switch, new, old), fresh, state
            )
            stage = jnp.where(switch, stage + 1, stage)
            finished, settled, endless = (
                flag & ~coarse for flag in (finished, settled, endless)
            )
        settled, endless = settled & enabled, endless & enabled
        last = lax.select(settled, params + step, params)
        params = lax.select(finished, last, after)
        steps = lax.select(finished, steps, steps + 1)
        value = value - lax.select(settled, 0.5 * fall, jnp.float32(0))
        gradient = lax.select(settled, -residual, gradient)
        flags = settled, endless, finished
        return params, value, gradient, state, steps, stage, *flags

    enabled = jnp.asarray(enabled)
    no = jnp.array(False)
    first = jnp.where(enabled, jnp.int32(0), last_stage)
    start = initial, jnp.float32(0), jnp.zeros_like(initial)
    carry = *start, transformation.init(initial), jnp.int32(0), first, no, no, no
    carry = lax.while_loop(
        lambda carry: ~carry[-1], advance, transforms.carry(advance, carry)
    )
    params, value, gradient, _, steps, _, settled, endless, _ = carry
    return Solution(params, value, gradient, steps, settled, endless)


def differentiable(
    objective: Objective, params: jax.Array, data: Any, *, inside: jax.Array
) -> jax.Array:
    """The parameters of a solution, differentiable with respect to the data.

    As `solvers.differentiable`, with conjugate gradients in place of an inverse.

    Args:
      objective: as for `minimize`.
      params: `[P]`, those of the solution.
      data: as for `minimize`.
      inside: bool scalar; if False, the derivative is 0.
    """

    @jax.custom_jvp
    def attach(params: jax.Array, inside: jax.Array, data: Any) -> jax.Array:
        return params

    @attach.defjvp
    def attached_derivative(primals: Any, tangents: Any) -> Any:
        _, inside, data = primals
        params = attach(*primals)

        def gradient(data: Any) -> jax.Array:
            return objective.evaluate(params, data, 1)[1]

        _, moved = jax.jvp(gradient, (data,), (tangents[2],))
        solved = lax.custom_linear_solve(
            lambda vector: objective.product(vector, params, data, 1),
            moved,
            lambda product, vector: conjugate_gradients(
                product, vector, _FINE**2 * jnp.sum(vector * vector)
            )[0],
            symmetric=True,
        )
        return params, -jnp.where(inside, solved, 0.0)

    return attach(params, inside, data)
