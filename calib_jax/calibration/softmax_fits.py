"""Fits of a scale or a matrix, and a bias, to class logits.

Shapes: N examples, C classes, P parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from .._core import masking, reduce
from . import descent, reports, softmax_regression, solvers
from .reports import FitReport, FitStatus

# Largest scale or bias; a class of the lowest bias has probability 0 in float32.
MAX_PARAMETER = 1e6
# The solver gets near the optimum on this many rows before it reads all of them.
_FIRST_ROWS = (2**13,)


class Problem(NamedTuple):
    """The rows of a fit, and the coordinates in which it is solved.

    Attributes:
      data: pytree that the loss depends on (`softmax_regression`).
      total: float32 scalar, sum of weights of the valid rows.
      num_rows: float32 scalar, number of valid rows.
      invalid: bool scalar, whether a valid row holds an invalid value.
      occurs: bool `[C]`, classes that are labels of valid rows.
      absent: bool `[C]`, classes whose bias has no finite optimum.
      varies: bool scalar, whether any feature does.
    """

    data: dict[str, Any]
    total: jax.Array
    num_rows: jax.Array
    invalid: jax.Array
    occurs: jax.Array
    absent: jax.Array
    varies: jax.Array


def prepare(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    class_where: jax.Array | None,
    strength: jax.Array,
    *,
    matrix: bool,
) -> Problem:
    """The `Problem` of some rows, by two or three passes over them.

    Args:
      logits: floating `[N, C]`.
      labels: int32 `[N]`.
      where: optional bool `[N]`.
      weights: optional float32 `[N]`.
      class_where: optional bool `[1, C]` or `[N, C]`; None for a matrix.
      strength: float32 scalar, of the penalty.
      matrix: whether the log-probabilities are multiplied by a matrix.
    """
    num_rows, size = logits.shape
    valid = None
    rows: dict[str, Any] = {"logits": logits, "label": labels}
    if where is not None:
        valid = where
    if weights is not None:
        valid = masking.valid_rows(num_rows, where, weights)
        rows["weight"], _ = masking.scaled_weights(num_rows, weights, valid)
    shared = class_where is None or class_where.shape[0] != num_rows or num_rows == 1
    rows |= {} if shared else {"class_where": class_where}
    if matrix:
        kept = rows if valid is None else rows | {"valid": valid}
        rows["shift"] = reduce.map_rows(_normaliser, kept)
    data: dict[str, Any] = {
        "rows": rows,
        "valid": valid,
        "class_where": class_where if shared else None,
        "center": jnp.zeros(size, jnp.float32),
        "strength": strength,
    }
    fixed = lax.stop_gradient(data)

    def first_look(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = softmax_regression.features(fixed, block, live)
        label = block["label"]
        bad = ~jnp.isfinite(x) & inside
        usable = (label >= 0) & (label < size) & ~jnp.any(bad, axis=1)
        usable = usable & jnp.any(target & inside, axis=1)
        if "weight" in block:
            usable = usable & masking.usable_weights(block["weight"])
        largest = jnp.max(jnp.where(inside, x, -jnp.inf), axis=1)
        number = jnp.maximum(jnp.sum(inside, axis=1, dtype=jnp.float32), 1)
        gap = jnp.where(live, largest - jnp.sum(x, axis=1) / number, 0.0)
        each = weight[:, None]
        numbers = [weight, live, live & ~usable, weight * gap]
        of_classes = [jnp.where(part, each, 0.0) for part in (target, inside)]
        columns = [*of_classes, x * each]
        return jnp.concatenate(
            [jnp.stack([jnp.sum(n, dtype=jnp.float32) for n in numbers])]
            + [jnp.sum(c, axis=0) for c in columns]
        )

    sums = reduce.sum_blocks(first_look, (4 + 3 * size,), fixed["rows"], valid)
    (total, count, unusable, gap), columns = sums[:4], sums[4:].reshape(3, size)
    shares, inside, means = columns
    occurs, counted = shares > 0, inside > 0
    free = occurs if matrix else counted & (occurs | (strength > 0))
    invalid = unusable > 0
    some = jnp.maximum(total, 1e-30)
    # In calibrated logits the mean lies a few nats below the largest.
    inverse = jnp.where(gap > 0, 5.0 * some / jnp.where(gap > 0, gap, 1.0), 1.0)
    inverse = jnp.clip(jnp.where(invalid, 1.0, inverse), 1e-6, 1e6)
    center = jnp.where(invalid, 0.0, means / jnp.maximum(inside, 1e-30))
    fixed = fixed | {"center": center}

    def second_look(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, _ = softmax_regression.features(fixed, block, live)
        logit = jnp.where(
            inside & free[None], inverse * (x + center[None]), softmax_regression.OUT
        )
        p = jax.nn.softmax(logit, axis=1)
        curvature = p * (1 - p) * weight[:, None]
        of_classes = jnp.sum(curvature, axis=0)
        if matrix:
            of_row = jnp.sum(curvature, axis=1)
            products = softmax_regression.dot((x * of_row[:, None]).T, x)
            sums = [products.ravel(), softmax_regression.dot(curvature.T, x).ravel()]
        else:
            sums = [jnp.sum(curvature * x, axis=0), jnp.sum(curvature * x * x, axis=0)]
        return jnp.concatenate([of_classes, *sums])

    length = size * (2 * size + 1 if matrix else 3)
    sums = reduce.sum_blocks(second_look, (length,), fixed["rows"], valid)
    curvature, sums = sums[:size], sums[size:].reshape(2, -1)
    share = shares / some
    # Twice the penalty's weight of a bias or scale, and of an entry of a matrix.
    ridge = 2 * strength / softmax_regression.number(free)
    least = jnp.maximum(
        0.1 * share * (1 - share), 1e-3 * jnp.sum(curvature) / size / some
    )
    if matrix:
        whole = jnp.maximum(jnp.sum(curvature), 1e-30)
        second, first = sums.reshape(2, size, size)
        mean = jnp.sum(first, axis=0) / whole
        second = second / whole - jnp.outer(mean, mean)
        first = first / jnp.maximum(curvature, 1e-30)[:, None] - mean[None]
        varies = jnp.any(jnp.diagonal(second) > 0)
        start = inverse * jnp.eye(size, dtype=jnp.float32)
    else:
        whole = jnp.maximum(curvature, 1e-30)
        mean = sums[0] / whole
        second = sums[1] / whole - mean * mean
        wide = second > 1e-10 * (1e-30 + (center + mean) ** 2)
        varies = jnp.any(wide & free)
        start = jnp.full(size, inverse)
    center = jnp.where(invalid, 0.0, center + mean)
    curvature = jnp.maximum(curvature / some, least)
    unit, bias_unit = (
        jnp.where(free, lax.rsqrt(jnp.maximum(stiffness, 1e-30)), 0.0)
        for stiffness in (curvature, curvature + ridge)
    )
    # The part of the penalty in what holds a bias. Given a slope, the best bias is
    # between that of the data and 0, and the slope has the rest of the curvature.
    pull = ridge / jnp.maximum(curvature + ridge, 1e-30)
    if matrix:
        middling = jnp.sum(curvature) / softmax_regression.number(free)
        middling = jnp.maximum(middling, 1e-30)
        second = second + ridge / middling / max(size - 1, 1) * jnp.eye(
            size, dtype=jnp.float32
        )
        held = ridge / (middling + ridge)
        whiten = _inverse_root(second + held * jnp.outer(center, center))
        middle = jnp.where(free[:, None], softmax_regression.dot(first, whiten.T), 0.0)
    else:
        second = second + ridge / jnp.maximum(curvature, 1e-30) + pull * center**2
        whiten = jnp.where(wide, lax.rsqrt(jnp.where(wide, second, 1.0)), 0.0)
        middle = jnp.zeros(size, jnp.float32)
    absent = counted & ~free
    bias = jnp.where(free, inverse * center, jnp.where(absent, -MAX_PARAMETER, 0.0))
    # Unit vectors along which all classes move alike.
    inverses = [
        jnp.where(free, 1 / jnp.maximum(x, 1e-30), 0.0) for x in (unit, bias_unit)
    ]
    common = [x * lax.rsqrt(jnp.maximum(jnp.sum(x * x), 1e-30)) for x in inverses]
    coordinates = {
        "common": common,
        "center": center,
        "start": start,
        "bias": bias,
        "unit": unit,
        "bias_unit": bias_unit,
        "whiten": whiten,
        "middle": middle,
        "pull": pull,
        "free": free,
    }
    coordinates = lax.stop_gradient(coordinates)
    return Problem(
        data=data | coordinates,
        total=total,
        num_rows=count,
        invalid=invalid,
        occurs=occurs,
        absent=absent,
        varies=varies,
    )


def started(
    problem: Problem, matrix: jax.Array, bias: jax.Array, warm: jax.Array
) -> Problem:
    """The problem with another start, if it is to be `warm`."""
    data, free = problem.data, problem.data["free"]
    bias = bias + softmax_regression.dot(matrix, data["center"])
    start = {
        "start": jnp.where(warm & free[:, None], matrix, data["start"]),
        "bias": jnp.where(warm & free, bias, data["bias"]),
    }
    return problem._replace(data=data | lax.stop_gradient(start))


def fit(
    problem: Problem,
    solver: optax.GradientTransformation | None,
    *,
    matrix: bool,
    roughly: jax.Array | bool = False,
) -> tuple[jax.Array, jax.Array, FitReport]:
    """Scale `[C]` or matrix `[C, C]`, and bias `[C]`, with the report."""
    data = problem.data
    strength, free = data["strength"], data["free"]
    alone = jnp.sum(problem.occurs) <= 1
    if not matrix and data["center"].size > 1:
        alone = alone & ~(strength > 0)
    # A strength outside its domain is NaN.
    problem = problem._replace(invalid=problem.invalid | ~(strength >= 0))
    searched = ~problem.invalid & (problem.total > 0) & ~alone
    solution = _search(problem, solver, searched, roughly)
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
        (solution.endless | jnp.any(problem.absent), FitStatus.SEPARABLE),
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
    """The sum of losses of other rows than those of a fit, with weights.

    Rows of a class that was not fitted are left out, as no parameter would help them.
    """
    data = lax.stop_gradient(problem.data)
    data = data | {"center": jnp.zeros_like(bias), "valid": valid}

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = softmax_regression.features(data, block, live)
        loss, _ = softmax_regression.losses(
            softmax_regression.affine(slope, bias, x), inside, target
        )
        fitted = jnp.any(target & data["free"][None], axis=1)
        return jnp.sum(jnp.where(fitted, weight * loss, 0.0))[None]

    return reduce.sum_blocks(of_block, (1,), data["rows"], valid)[0]


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
    units = jnp.concatenate([of_slope, data["bias_unit"]])
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
        roughly=roughly,
        thinnings=reduce.thinnings(data["rows"], first),
    )


def _normaliser(block: Any) -> jax.Array:
    """The logarithm of the sum of exponentials of each row; 0 if it is not valid."""
    logits = block["logits"].astype(jnp.float32)
    if "valid" in block:
        logits = jnp.where(block["valid"][:, None], logits, 0.0)
    largest = lax.stop_gradient(jnp.max(logits, axis=1))
    sums = jnp.sum(jnp.exp(logits - largest[:, None]), axis=1)
    return largest + jnp.log(sums)


def _inverse_root(matrix: jax.Array) -> jax.Array:
    """A triangular `T` with `T matrix T^t` the identity, by elimination; rows of
    features that others give are 0."""
    size = matrix.shape[0]
    least = 1e-5 * jnp.diagonal(matrix)
    rows = jnp.arange(size, dtype=jnp.int32)

    def eliminate(number: jax.Array, carry: Any) -> Any:
        rest, found = carry
        pivot = rest[number, number]
        factor = jnp.where(
            (rows > number) & (pivot > least[number]),
            rest[:, number] / jnp.where(pivot > least[number], pivot, 1.0),
            0.0,
        )
        rest = rest - factor[:, None] * rest[number][None]
        return rest, found - factor[:, None] * found[number][None]

    carry = matrix, jnp.eye(size, dtype=jnp.float32) + 0.0 * matrix
    rest, found = lax.fori_loop(0, size, eliminate, carry)
    pivot = jnp.diagonal(rest)
    useful = pivot > jnp.maximum(least, 1e-30)
    scale = jnp.where(useful, lax.rsqrt(jnp.where(useful, pivot, 1.0)), 0.0)
    return scale[:, None] * found
