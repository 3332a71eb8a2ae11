"""Softmax regression on logits: a scale or a matrix, and a bias, for the classes.

Shapes: N examples, C classes, P parameters. The features of a row are its logits, or
their log-probabilities, less a center. They are multiplied by a scale for each class
`[C]`, or by a matrix `[C, C]`, and get a bias `[C]`. The solver moves a vector of
parameters around a start, a temperature; its units are chosen so that the Hessian there
is near the identity.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._core import masking, reduce
from . import descent, reports, solvers
from .descent import Objective
from .reports import FitReport, FitStatus

# Largest scale or bias; a class of the lowest bias has probability 0 in float32.
MAX_PARAMETER = 1e6
_OUT = -1e30
# The solver gets near the optimum on this many rows before it reads all of them.
_FIRST_ROWS = (2**12,)


class Problem(NamedTuple):
    """The rows of a fit, and the coordinates in which it is solved.

    Attributes:
      data: pytree that the loss depends on (`_features`, `_expand`).
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
    if where is not None or weights is not None:
        valid = masking.valid_rows(num_rows, where, weights)
    if weights is not None:
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
        x, inside, weight, target = _features(fixed, block, live)
        label = block["label"]
        bad = ~jnp.isfinite(x) & inside
        usable = (label >= 0) & (label < size) & ~jnp.any(bad, axis=1)
        usable = usable & jnp.any(target & inside, axis=1)
        if "weight" in block:
            usable = usable & masking.usable_weights(block["weight"])
        largest = jnp.max(jnp.where(inside, x, -jnp.inf), axis=1)
        number = jnp.maximum(jnp.sum(inside, axis=1), 1)
        gap = jnp.where(live, largest - jnp.sum(x, axis=1) / number, 0.0)
        each = weight[:, None]
        numbers = [weight, live, live & ~usable, weight * gap]
        columns = [target * each, inside * each, x * each]
        return jnp.concatenate(
            [jnp.stack([jnp.sum(n, dtype=jnp.float32) for n in numbers])]
            + [jnp.sum(c, axis=0, dtype=jnp.float32) for c in columns]
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
        x, inside, weight, _ = _features(fixed, block, live)
        logit = jnp.where(inside & free, inverse * (x + center), _OUT)
        p = jax.nn.softmax(logit, axis=1)
        curvature = p * (1 - p) * weight[:, None]
        of_classes = jnp.sum(curvature, axis=0)
        if matrix:
            of_row = jnp.sum(curvature, axis=1)
            products = _dot((x * of_row[:, None]).T, x)
            sums = [products.ravel(), _dot(curvature.T, x).ravel()]
        else:
            sums = [jnp.sum(curvature * x, axis=0), jnp.sum(curvature * x * x, axis=0)]
        return jnp.concatenate([of_classes, *sums])

    length = size * (2 * size + 1 if matrix else 3)
    sums = reduce.sum_blocks(second_look, (length,), fixed["rows"], valid)
    curvature, sums = sums[:size], sums[size:].reshape(2, -1)
    share = shares / some
    # Twice the penalty's weight of a bias or scale, and of an entry of a matrix.
    ridge = 2 * strength / jnp.maximum(jnp.sum(free), 1)
    least = jnp.maximum(0.1 * share * (1 - share), 1e-3 * jnp.sum(curvature) / size / some)
    if matrix:
        whole = jnp.maximum(jnp.sum(curvature), 1e-30)
        second, first = sums.reshape(2, size, size)
        mean = jnp.sum(first, axis=0) / whole
        second = second / whole - jnp.outer(mean, mean)
        first = first / jnp.maximum(curvature, 1e-30)[:, None] - mean
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
        middling = jnp.sum(curvature) / jnp.maximum(jnp.sum(free), 1)
        middling = jnp.maximum(middling, 1e-30)
        second = second + ridge / middling / max(size - 1, 1) * jnp.eye(
            size, dtype=jnp.float32
        )
        held = ridge / (middling + ridge)
        whiten = _inverse_root(second + held * jnp.outer(center, center))
        middle = jnp.where(free[:, None], _dot(first, whiten.T), 0.0)
    else:
        second = second + ridge / jnp.maximum(curvature, 1e-30) + pull * center**2
        whiten = jnp.where(wide, lax.rsqrt(jnp.where(wide, second, 1.0)), 0.0)
        middle = jnp.zeros(size, jnp.float32)
    absent = counted & ~free
    bias = jnp.where(free, inverse * center, jnp.where(absent, -MAX_PARAMETER, 0.0))
    coordinates = {
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


def fit(
    problem: Problem,
    solver: optax.GradientTransformation | None,
    *,
    matrix: bool,
) -> tuple[jax.Array, jax.Array, FitReport]:
    """Scale `[C]` or matrix `[C, C]`, and bias `[C]`, with the report."""
    data = problem.data
    strength, free = data["strength"], data["free"]
    alone = jnp.sum(problem.occurs) <= 1
    if not matrix:
        alone = alone & ~(strength > 0)
    searched = ~problem.invalid & (problem.total > 0) & ~alone
    solution = search(problem, problem.num_rows, solver, searched)
    lost = problem.invalid | (searched & ~solution.converged & ~solution.endless)
    params = descent.differentiable(
        OBJECTIVE, solution.params, data, inside=solution.converged | lost
    )
    slope, bias = _expand(params, data)
    bias = _public_bias(slope, bias, data["center"])
    slope, bias = canonical(slope, bias, data)
    if not matrix:
        number = jnp.maximum(jnp.sum(free), 1)
        slope = jnp.where(free, slope, jnp.sum(slope * free) / number)
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
    value, gradient = OBJECTIVE.evaluate(solution.params, fixed, 1)
    value = value - _extra(solution.params, fixed)
    evaluation = solvers.Evaluation(value, gradient, jnp.zeros((0, 0), jnp.float32))
    found = solvers.Solution(
        params=solution.params,
        evaluation=evaluation,
        num_steps=solution.num_steps,
        converged=solution.converged,
    )
    return slope, bias, reports.fit_report(found, status, problem.total)


def search(
    problem: Problem,
    num_rows: jax.Array,
    solver: optax.GradientTransformation | None,
    enabled: jax.Array,
) -> descent.Solution:
    """The solution, in the coordinates of the problem."""
    data = problem.data
    size = data["whiten"].size + data["bias"].size
    unit = data["unit"]
    of_slope = unit[:, None] if data["whiten"].ndim == 2 else unit
    of_slope = jnp.broadcast_to(of_slope, data["whiten"].shape).ravel()
    return descent.minimize(
        OBJECTIVE,
        data,
        jnp.zeros(size, jnp.float32),
        units=jnp.concatenate([of_slope, data["bias_unit"]]),
        num_rows=num_rows,
        solver=solver,
        enabled=enabled,
        thinnings=reduce.thinnings(data["rows"], tuple(8 * n * size // data["bias"].size // 8 for n in _FIRST_ROWS)) if size <= 2000 else (),
    )


def _normaliser(block: Any) -> jax.Array:
    """The logarithm of the sum of exponentials of each row; 0 if it is not valid."""
    logits = block["logits"].astype(jnp.float32)
    if "valid" in block:
        logits = jnp.where(block["valid"][:, None], logits, 0.0)
    largest = lax.stop_gradient(jnp.max(logits, axis=1))
    sums = jnp.sum(jnp.exp(logits - largest[:, None]), axis=1)
    return largest + jnp.log(sums)


def _features(
    data: Any, block: Any, live: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Features of a block, where they count, weights, and where the labels are.

    The features are 0 where they do not count, and the weights where rows do not.
    """
    x = block["logits"].astype(jnp.float32)
    mask = block.get("class_where", data["class_where"])
    if "shift" in block:
        inside = jnp.broadcast_to(live[:, None], x.shape)
        x = x - block["shift"][:, None]
    else:
        inside = live[:, None] & (x != -jnp.inf)
        inside = inside if mask is None else inside & mask
    x = jnp.where(inside, x - data["center"], 0.0)
    weight = jnp.where(live, block.get("weight", np.float32(1)), np.float32(0))
    classes = jnp.arange(x.shape[1], dtype=jnp.int32)
    return x, inside, weight, block["label"][:, None] == classes


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def _affine(slope: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    return (_dot(x, slope.T) if slope.ndim == 2 else x * slope) + bias


def _turn(params: jax.Array, data: Any) -> tuple[jax.Array, jax.Array]:
    """Parameters `[P]` in units of the features; linear."""
    size, whiten, pull = data["bias"].size, data["whiten"], data["pull"]
    slope, bias = params[:-size], params[-size:] * data["bias_unit"]
    if whiten.ndim == 1:
        slope = slope * data["unit"] * whiten
        return slope, bias + pull * slope * data["center"]
    slope = slope.reshape(size, size) * data["unit"][:, None]
    # What a slope adds in the middle of the rows that a class shares with others.
    added = jnp.sum(slope * data["middle"], axis=1)
    slope = _dot(slope, whiten)
    return slope, bias + pull * _dot(slope, data["center"]) - (1 - pull) * added


def _expand(params: jax.Array, data: Any) -> tuple[jax.Array, jax.Array]:
    """Scale or matrix, and bias of the centered features."""
    slope, bias = _turn(params, data)
    return data["start"] + slope, data["bias"] + bias


def _public_bias(slope: jax.Array, bias: jax.Array, center: jax.Array) -> jax.Array:
    """The bias of features that are not centered."""
    return bias - (_dot(slope, center) if slope.ndim == 2 else slope * center)


def _penalty(params: jax.Array, data: Any) -> jax.Array:
    slope, bias = _expand(params, data)
    slope, bias = canonical(slope, _public_bias(slope, bias, data["center"]), data)
    size = jnp.maximum(jnp.sum(data["free"]), 1)
    squares = jnp.sum(bias * bias) / size
    if slope.ndim == 1:
        part = jnp.where(data["free"], slope, 0.0)
        part = jnp.where(data["free"], part - jnp.sum(part) / size, 0.0)
        squares = squares + jnp.sum(part * part) / size
    else:
        part = jnp.where(jnp.eye(slope.shape[0], dtype=bool), 0.0, slope)
        pairs = jnp.maximum(size * (slope.shape[0] - 1), 1)
        squares = squares + jnp.sum(part * part) / pairs
    return data["strength"] * squares


def _drift(params: jax.Array, data: Any) -> jax.Array:
    """Half the square of what all classes have in common, which moves nothing else."""
    size = data["bias"].size

    def along(unit: jax.Array, part: jax.Array) -> jax.Array:
        common = jnp.where(data["free"], 1 / jnp.maximum(unit, 1e-30), 0.0)
        length = jnp.sum(common * common)
        return _dot(common, part) * lax.rsqrt(jnp.maximum(length, 1e-30))

    moved = along(data["bias_unit"], params[-size:])[None]
    if data["whiten"].ndim == 2:
        slopes = params[:-size].reshape(size, size)
        moved = jnp.append(moved, along(data["unit"], slopes))
    return 0.5 * jnp.sum(moved * moved)


def _extra(params: jax.Array, data: Any) -> jax.Array:
    return _penalty(params, data) + _drift(params, data)


def canonical(
    slope: jax.Array, bias: jax.Array, data: Any
) -> tuple[jax.Array, jax.Array]:
    """Of all parameters with the same probabilities, those of the least penalty.

    The mean of the bias is 0, and so is that of each column of a matrix without its
    diagonal; classes without a finite bias are left out, and get 0.
    """
    free = data["free"]
    bias = jnp.where(free, bias, 0.0)
    bias = jnp.where(free, bias - jnp.sum(bias) / jnp.maximum(jnp.sum(free), 1), 0.0)
    if slope.ndim == 1:
        return slope, bias
    slope = jnp.where(free[:, None], slope, 0.0)
    others = jnp.sum(slope, axis=0) - jnp.diagonal(slope)
    mean = others / jnp.maximum(jnp.sum(free) - free, 1)
    return jnp.where(free[:, None], slope - mean, 0.0), bias


def _evaluate(params: jax.Array, data: Any, every: Any) -> tuple[jax.Array, jax.Array]:
    expanded, pull_back = jax.vjp(lambda params: _expand(params, data), params)

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = _features(data, block, live)
        logit, pull = jax.vjp(lambda *found: _affine(*found, x), *expanded)
        loss, p = _losses(logit, inside, target)
        gradient = pull(weight[:, None] * (p - target))
        sums = jnp.stack([jnp.sum(weight), jnp.sum(weight * loss)])
        return jnp.concatenate([sums, *(g.ravel() for g in gradient)])

    sums = _sum(of_block, 2, expanded, data, every)
    total = jnp.where(sums[0] > 0, sums[0], 1.0)
    (gradient,) = pull_back(_shaped(sums[2:] / total, expanded))
    extra, of_extra = jax.value_and_grad(_extra)(params, data)
    return sums[1] / total + extra, gradient + of_extra


def _product(vector: jax.Array, params: jax.Array, data: Any, every: Any) -> jax.Array:
    expanded = _expand(params, data)
    moved, pull_back = jax.vjp(lambda vector: _turn(vector, data), vector)

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = _features(data, block, live)
        logit, pull = jax.vjp(lambda *found: _affine(*found, x), *expanded)
        _, p = _losses(logit, inside, target)
        change = _affine(*moved, x)
        mean = jnp.sum(p * change, axis=1, keepdims=True)
        product = pull(weight[:, None] * (p * (change - mean)))
        return jnp.concatenate(
            [jnp.sum(weight)[None], *(part.ravel() for part in product)]
        )

    sums = _sum(of_block, 1, expanded, data, every)
    total = jnp.where(sums[0] > 0, sums[0], 1.0)
    (product,) = pull_back(_shaped(sums[1:] / total, expanded))
    gradient = jax.grad(lambda params: _extra(params, data))
    return product + jax.jvp(gradient, (params,), (vector,))[1]


OBJECTIVE = Objective(evaluate=_evaluate, product=_product)


def _losses(
    logit: jax.Array, inside: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The loss of each row, and its probabilities."""
    logit = jnp.where(inside, logit, _OUT)
    below = logit - jnp.max(logit, axis=1, keepdims=True)
    exponentials = jnp.exp(below)
    total = jnp.sum(exponentials, axis=1)
    label = jnp.sum(jnp.where(target & inside, below, 0.0), axis=1)
    return jnp.log(total) - label, exponentials / total[:, None]


def _sum(function: Any, more: int, expanded: Any, data: Any, every: Any) -> jax.Array:
    size = more + sum(part.size for part in expanded)
    return reduce.sum_blocks(function, (size,), data["rows"], data["valid"], every)


def _shaped(vector: jax.Array, like: tuple[jax.Array, jax.Array]) -> Any:
    slope, bias = like
    return vector[: slope.size].reshape(slope.shape), vector[slope.size :]


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
        rest = rest - factor[:, None] * rest[number]
        return rest, found - factor[:, None] * found[number]

    carry = matrix, jnp.eye(size, dtype=jnp.float32) + 0 * matrix
    rest, found = lax.fori_loop(0, size, eliminate, carry)
    pivot = jnp.diagonal(rest)
    useful = pivot > jnp.maximum(least, 1e-30)
    scale = jnp.where(useful, lax.rsqrt(jnp.where(useful, pivot, 1.0)), 0.0)
    return scale[:, None] * found
