"""The rows of a fit of class logits, and the coordinates in which it is solved.

Shapes: N examples, C classes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._core import masking, reduce
from . import softmax_regression

# Largest scale or bias; a class of the lowest bias has probability 0 in float32.
MAX_PARAMETER = 1e6
# In calibrated logits the mean lies a few nats below the largest. Logits that need a
# smaller scale than this are invalid: their squares overflow.
_GAP, _LEAST_SCALE = 5.0, 1e-15


class Problem(NamedTuple):
    """The rows of a fit, and the coordinates in which it is solved.

    Attributes:
      data: pytree that the loss depends on (`softmax_regression`).
      total: float32 scalar, sum of weights of the valid rows.
      num_rows: float32 scalar, number of valid rows.
      spread: float32 scalar, how far the largest logits are above the mean; on average.
      invalid: bool scalar, whether a valid row holds an invalid value.
      alone: bool scalar, whether no optimum exists because all labels are one class.
      absent: bool `[C]`, classes whose bias has no finite optimum.
      varies: bool scalar, whether any feature does.
      bounded: bool scalar, whether an optimum exists for certain.
      separable: bool scalar, whether no optimum exists for certain.
    """

    data: dict[str, Any]
    total: jax.Array
    num_rows: jax.Array
    spread: jax.Array
    invalid: jax.Array
    alone: jax.Array
    absent: jax.Array
    varies: jax.Array
    bounded: jax.Array
    separable: jax.Array


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

    With a penalty, only one scale for all classes is free: there is an optimum unless
    every label has a largest logit, or every label a smallest one.

    Args:
      logits: floating `[N, C]`.
      labels: int32 `[N]`.
      where: optional bool `[N]`.
      weights: optional float32 `[N]`.
      class_where: optional bool `[1, C]` or `[N, C]`; None for a matrix.
      strength: float32 scalar, of the penalty.
      matrix: whether the log-probabilities are multiplied by a matrix.
    """
    size = logits.shape[1]
    data = _rows(logits, labels, where, weights, class_where, matrix)
    fixed = lax.stop_gradient(data) | {"strength": strength}
    sums = _first_look(fixed, size)
    (total, count, unusable, gap, below, above), columns = sums[:6], sums[6:]
    shares, inside, means = columns.reshape(3, size)
    penalised = strength > 0
    occurs, counted = shares > 0, inside > 0
    free = counted & (occurs | penalised)
    # A strength outside its domain is NaN.
    invalid = (unusable > 0) | ~(strength >= 0) | (gap * _LEAST_SCALE > _GAP * total)
    some = jnp.maximum(total, 1e-30)
    inverse = jnp.where(gap > 0, _GAP * some / jnp.where(gap > 0, gap, 1.0), 1.0)
    inverse = jnp.clip(jnp.where(invalid, 1.0, inverse), _LEAST_SCALE, MAX_PARAMETER)
    center = jnp.where(invalid, 0.0, means / jnp.maximum(inside, 1e-30))
    fixed |= {"center": center, "free": free}
    curvature, bend, *moments = _second_look(fixed, inverse, size, matrix)
    invalid = invalid | ~jnp.isfinite(bend + sum(jnp.sum(x) for x in moments))
    share = shares / some
    least = jnp.maximum(
        0.1 * share * (1 - share), 1e-3 * jnp.sum(curvature) / size / some
    )
    stiffness = jnp.maximum(jnp.maximum(curvature / some, least), 1e-30)
    coordinates = _coordinates_of_matrix if matrix else _coordinates_of_scales
    found, varies = coordinates(fixed, curvature, stiffness, *moments)
    center = jnp.where(invalid, 0.0, found["center"])
    absent = counted & ~free
    of_all = jnp.maximum(bend / some, 1e-3 * (gap / some) ** 2)
    of_all = jnp.where(penalised & (of_all > 0), of_all, jnp.inf)
    one = jnp.eye(size, dtype=jnp.float32) if matrix else jnp.ones(size, jnp.float32)
    # By how much each parameter moves the mean of the scales or of the diagonal.
    of_class = found["unit"][:, None] if matrix else found["unit"]
    held = jnp.where(penalised, of_class * found["whiten"].T, 0.0)
    found |= {
        "center": center,
        "start": inverse * one,
        "bias": jnp.where(
            free, inverse * center, jnp.where(absent, -MAX_PARAMETER, 0.0)
        ),
        "scale_unit": lax.rsqrt(of_all),
        "common": [_common(free, found[name]) for name in ("unit", "bias_unit")],
        "held": held * lax.rsqrt(jnp.maximum(jnp.sum(held * held), 1e-30)),
        "free": free,
    }
    alone = (jnp.sum(occurs) <= 1) & ~(penalised & (size > 1))
    separable = penalised & (gap > 0) & ((below == 0) | (above == 0))
    return Problem(
        data=data | {"strength": strength} | lax.stop_gradient(found),
        total=total,
        num_rows=count,
        spread=gap / some,
        invalid=invalid,
        alone=alone,
        absent=absent,
        varies=jnp.where(penalised, gap > 0, varies),
        bounded=penalised & ~separable,
        separable=separable,
    )


def _rows(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    class_where: jax.Array | None,
    matrix: bool,
) -> dict[str, Any]:
    """What the loss depends on, without coordinates."""
    num_rows, size = logits.shape
    valid = where
    rows: dict[str, Any] = {"logits": logits, "label": labels}
    if weights is not None:
        valid = masking.valid_rows(num_rows, where, weights)
        rows["weight"], _ = masking.scaled_weights(num_rows, weights, valid)
    shared = class_where is None or class_where.shape[0] != num_rows or num_rows == 1
    rows |= {} if shared else {"class_where": class_where}
    if matrix:
        rows["shift"] = normalisers(logits, valid)
    return {
        "rows": rows,
        "valid": valid,
        "class_where": class_where if shared else None,
        "center": jnp.zeros(size, jnp.float32),
    }


def _first_look(data: dict[str, Any], size: int) -> jax.Array:
    """Sums: of weights, of valid rows, of those with an invalid value, of how far the
    largest logits are above the mean, of the rows whose label has a logit below the
    largest, and above the smallest; and `[3, C]`, raveled, of the weights of labels and
    of classes, and of features."""

    def look(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = softmax_regression.features(data, block, live)
        label = block["label"]
        bad = ~jnp.isfinite(x) & inside
        usable = (label >= 0) & (label < size) & ~jnp.any(bad, axis=1)
        usable = usable & jnp.any(target & inside, axis=1)
        if "weight" in block:
            usable = usable & masking.usable_weights(block["weight"])
        # As they were given: ties must stay ties.
        given = block["logits"].astype(jnp.float32)
        own = jnp.sum(jnp.where(target & inside, given, 0.0), axis=1)
        least = jnp.min(jnp.where(inside, given, jnp.inf), axis=1)
        most = jnp.max(jnp.where(inside, given, -jnp.inf), axis=1)
        number = jnp.maximum(jnp.sum(inside, axis=1, dtype=jnp.float32), 1)
        largest = jnp.max(jnp.where(inside, x, -jnp.inf), axis=1)
        gap = jnp.where(live, largest - jnp.sum(x, axis=1) / number, 0.0)
        gap = jnp.where(live & (most > least), jnp.maximum(gap, 1e-30), 0.0)
        inner = [live & (own < most), live & (own > least)]
        numbers = [weight, live, live & ~usable, weight * gap, *inner]
        of_classes = [
            jnp.where(part, weight[:, None], 0.0) for part in (target, inside)
        ]
        columns = [*of_classes, x * weight[:, None]]
        return jnp.concatenate(
            [jnp.stack([jnp.sum(n, dtype=jnp.float32) for n in numbers])]
            + [jnp.sum(c, axis=0) for c in columns]
        )

    return reduce.sum_blocks(look, (6 + 3 * size,), data["rows"], data["valid"])


def _second_look(
    data: dict[str, Any], inverse: jax.Array, size: int, matrix: bool
) -> tuple[jax.Array, ...]:
    """Sums over the rows, with the probabilities p of the start.

    They are: of p (1 - p) `[C]`, the curvature of a bias; of the variance of the logits
    under p, the curvature of one scale for all classes; and with weights p (1 - p), of
    the features and of their squares `[C]`, or for a matrix of the features for each
    class `[C, C]` and of products of features for all classes together `[C, C]`.
    """
    center, free = data["center"], data["free"]

    def look(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, _ = softmax_regression.features(data, block, live)
        inside = inside & free[None]
        z = jnp.where(inside, x + center[None], 0.0)
        logit = jnp.where(inside, inverse * z, softmax_regression.OUT)
        p = jax.nn.softmax(logit, axis=1)
        curvature = p * (1 - p) * weight[:, None]
        away = jnp.where(inside, z - jnp.sum(p * z, axis=1, keepdims=True), 0.0)
        bend = jnp.sum(weight[:, None] * p * away * away)[None]
        if matrix:
            of_row = jnp.sum(curvature, axis=1)
            first = softmax_regression.dot(curvature.T, x).ravel()
            second = softmax_regression.dot((x * of_row[:, None]).T, x).ravel()
        else:
            first = jnp.sum(curvature * x, axis=0)
            second = jnp.sum(curvature * x * x, axis=0)
        return jnp.concatenate([bend, jnp.sum(curvature, axis=0), first, second])

    shape = (size, size) if matrix else (size,)
    length = 1 + size + 2 * (size**2 if matrix else size)
    sums = reduce.sum_blocks(look, (length,), data["rows"], data["valid"])
    first, second = sums[1 + size :].reshape(2, *shape)
    return sums[1 : 1 + size], sums[0], first, second


def _held(data: Any, stiffness: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the penalty adds to a bias's curvature, and its part in the sum.

    Given a slope, the best bias is between that of the rows and 0, and the slope has
    the rest of the curvature.
    """
    ridge = 2 * data["strength"] / softmax_regression.number(data["free"])
    return ridge, ridge / jnp.maximum(stiffness + ridge, 1e-30)


def _coordinates_of_scales(
    data: Any,
    curvature: jax.Array,
    stiffness: jax.Array,
    first: jax.Array,
    second: jax.Array,
) -> tuple[dict[str, Any], jax.Array]:
    """Coordinates of a scale for each class, and whether its feature varies."""
    free = data["free"]
    ridge, pull = _held(data, stiffness)
    whole = jnp.maximum(curvature, 1e-30)
    mean = first / whole
    center = data["center"] + mean
    second = second / whole - mean * mean
    wide = second > 1e-10 * (1e-30 + center**2)
    second = second + ridge / stiffness + pull * center**2
    useful = wide | (ridge > 0)
    whiten = jnp.where(useful, lax.rsqrt(jnp.where(useful, second, 1.0)), 0.0)
    coordinates = _units(free, stiffness, ridge) | {
        "center": center,
        "whiten": whiten,
        "middle": jnp.zeros(free.size, jnp.float32),
        "pull": pull,
    }
    return coordinates, jnp.any(wide & free)


def _coordinates_of_matrix(
    data: Any,
    curvature: jax.Array,
    stiffness: jax.Array,
    first: jax.Array,
    second: jax.Array,
) -> tuple[dict[str, Any], jax.Array]:
    """Coordinates of a matrix, and whether any feature varies."""
    free = data["free"]
    size = free.size
    ridge, pull = _held(data, stiffness)
    whole = jnp.maximum(jnp.sum(curvature), 1e-30)
    mean = jnp.sum(first, axis=0) / whole
    center = data["center"] + mean
    second = second / whole - jnp.outer(mean, mean)
    varies = jnp.any(jnp.diagonal(second) > 0)
    middling = jnp.sum(stiffness) / softmax_regression.number(free)
    second = second + ridge / middling / max(size - 1, 1) * jnp.eye(
        size, dtype=jnp.float32
    )
    held = ridge / (middling + ridge)
    whiten = _inverse_root(second + held * jnp.outer(center, center))
    first = first / jnp.maximum(curvature, 1e-30)[:, None] - mean[None]
    coordinates = _units(free, stiffness, ridge) | {
        "center": center,
        "whiten": whiten,
        "middle": jnp.where(
            free[:, None], softmax_regression.dot(first, whiten.T), 0.0
        ),
        "pull": pull,
    }
    return coordinates, varies


def _units(
    free: jax.Array, stiffness: jax.Array, ridge: jax.Array
) -> dict[str, jax.Array]:
    return {
        "unit": jnp.where(free, lax.rsqrt(stiffness), 0.0),
        "bias_unit": jnp.where(free, lax.rsqrt(stiffness + ridge), 0.0),
    }


def _common(free: jax.Array, unit: jax.Array) -> jax.Array:
    """The unit vector along which all classes move alike."""
    x = jnp.where(free, 1 / jnp.maximum(unit, 1e-30), 0.0)
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x), 1e-30))


def normalisers(logits: jax.Array, valid: jax.Array | None) -> jax.Array:
    """What makes logits of valid rows log-probabilities, float32 `[N]`."""
    rows = {"logits": logits} | ({} if valid is None else {"valid": valid})
    return reduce.map_rows(_normaliser, rows)


def _normaliser(block: Any) -> jax.Array:
    """The logarithm of the sum of exponentials; as if logits were 0 if not valid."""
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
