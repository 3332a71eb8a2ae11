"""The loss of softmax regression on logits, its gradient and products with its Hessian.

Shapes: N examples, C classes, P parameters. The features of a row are its logits, or
their log-probabilities, less a center. They are multiplied by a scale for each class
`[C]`, or by a matrix `[C, C]`, and get a bias `[C]`. The solver moves a vector of
parameters around a start, in units in which the Hessian there is near the identity.

The data of a fit (`softmax_fits.prepare`) are a dictionary: `rows` with `logits` and
`label`, and where there are any `weight`, `class_where` and `shift`, which makes
log-probabilities of logits; the mask `valid`; `class_where` if rows share it; the
`strength` of the penalty; which classes are `free` to move; and the coordinates:
`center`, `start` and `bias`, `unit`, `bias_unit`, `scale_unit`, `common`, `held`,
`whiten`, `middle` and `pull`. A solver's vector has the scale or matrix, the bias, and
last one more scale for all classes: however strong a penalty is, that stays free.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import reduce
from .descent import Objective

# The logit of a class that is out.
OUT = -1e30


def features(
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
    x = jnp.where(inside, x - data["center"][None], 0.0)
    weight = jnp.where(live, block.get("weight", np.float32(1)), np.float32(0))
    classes = jnp.arange(x.shape[1], dtype=jnp.int32)
    return x, inside, weight, block["label"][:, None] == classes[None]


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=lax.Precision.HIGHEST)


def number(free: jax.Array) -> jax.Array:
    """How many classes are free, at least 1, as float32."""
    return jnp.maximum(jnp.sum(free, dtype=jnp.float32), 1.0)


def affine(slope: jax.Array, bias: jax.Array, x: jax.Array) -> jax.Array:
    moved = dot(x, slope.T) if slope.ndim == 2 else x * slope[None]
    return moved + bias[None]


def _turn(params: jax.Array, data: Any) -> tuple[jax.Array, jax.Array]:
    """Parameters `[P]` in units of the features; linear."""
    size, whiten, pull = data["bias"].size, data["whiten"], data["pull"]
    slope, bias, scale = _parts(params, size)
    bias, scale = bias * data["bias_unit"], scale * data["scale_unit"]
    bias = bias + jnp.where(data["free"], scale * data["center"], 0.0)
    if whiten.ndim == 1:
        slope = slope * data["unit"] * whiten
        return slope + scale, bias + pull * slope * data["center"]
    slope = slope.reshape(size, size) * data["unit"][:, None]
    # What a slope adds in the middle of the rows that a class shares with others.
    added = jnp.sum(slope * data["middle"], axis=1)
    slope = dot(slope, whiten)
    bias = bias + pull * dot(slope, data["center"]) - (1 - pull) * added
    return slope + scale * jnp.eye(size, dtype=jnp.float32), bias


def _parts(params: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scales or matrix, biases, and the scale of all classes."""
    return params[: -size - 1], params[-size - 1 : -1], params[-1]


def expand(params: jax.Array, data: Any) -> tuple[jax.Array, jax.Array]:
    """Scale or matrix, and bias of the centered features."""
    slope, bias = _turn(params, data)
    return data["start"] + slope, data["bias"] + bias


def public_bias(slope: jax.Array, bias: jax.Array, center: jax.Array) -> jax.Array:
    """The bias of features that are not centered."""
    return bias - (dot(slope, center) if slope.ndim == 2 else slope * center)


def penalty(slope: jax.Array, bias: jax.Array, data: Any) -> jax.Array:
    """Of the scale or matrix, and bias of centered features; a quadratic form of them.

    It is that of the same probabilities' `canonical` parameters.
    """
    free = data["free"]
    slope, bias = canonical(slope, public_bias(slope, bias, data["center"]), data)
    scales = jnp.diagonal(slope) if slope.ndim == 2 else slope
    scales = _deviations(scales, free)
    size = number(free)
    squares = jnp.sum(bias * bias + scales * scales) / size
    if slope.ndim == 2:
        part = jnp.where(jnp.eye(slope.shape[0], dtype=bool), 0.0, slope)
        squares += jnp.sum(part * part) / (size * max(slope.shape[0] - 1, 1))
    return data["strength"] * squares


def _deviations(x: jax.Array, free: jax.Array) -> jax.Array:
    """From the mean over the free classes; 0 for others."""
    x = jnp.where(free, x, 0.0)
    return jnp.where(free, x - jnp.sum(x) / number(free), 0.0)


def _drift(params: jax.Array, data: Any) -> jax.Array:
    """The part `[P]` of parameters that moves nothing, or what the last one moves.

    That is what all classes share, and the mean of the scales or of the diagonal. The
    loss has half its square added, so that it stays 0.
    """
    of_slope, of_bias = data["common"]
    held = data["held"].ravel()
    size = of_bias.size
    slope, bias, _ = _parts(params, size)
    bias = jnp.pad(of_bias * jnp.sum(of_bias * bias), (0, 1))
    of_all = held * jnp.sum(held * slope)
    if data["whiten"].ndim == 2:
        slope = of_slope[:, None] * slope.reshape(size, size)
        slope = of_slope[:, None] * jnp.sum(slope, axis=0)[None]
        of_all = of_all + slope.ravel()
    return jnp.concatenate([of_all, bias])


def canonical(
    slope: jax.Array, bias: jax.Array, data: Any
) -> tuple[jax.Array, jax.Array]:
    """Of all parameters with the same probabilities, those of the least penalty.

    The mean of the bias is 0. A number may be added to each column of a matrix: with
    the `mean` of the column's other entries and the diagonal d, the least penalty has
    a sum of means of 0, and deviations of mean + d of 0. Classes that are not free are
    left out, and get 0.
    """
    free = data["free"]
    bias = _deviations(bias, free)
    if slope.ndim == 1:
        return slope, bias
    slope = jnp.where(free[:, None], slope, 0.0)
    diagonal = jnp.diagonal(slope)
    others = jnp.sum(free, dtype=jnp.float32) - free.astype(jnp.float32)
    mean = (jnp.sum(slope, axis=0) - diagonal) / jnp.maximum(others, 1.0)
    moved = jnp.sum(jnp.where(free, mean, 0.0)) / number(free)
    moved = moved + 0.5 * _deviations(mean + diagonal, free)
    moved = jnp.where(free, moved, mean)
    return jnp.where(free[:, None], slope - moved[None], 0.0), bias


def _evaluate(params: jax.Array, data: Any, every: Any) -> tuple[jax.Array, jax.Array]:
    expanded, pull_back = jax.vjp(lambda params: expand(params, data), params)

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = features(data, block, live)
        loss, p = losses(affine(*expanded, x), inside, target)
        gradient = weight[:, None] * (p - target.astype(jnp.float32))
        sums = jnp.stack([weight, weight * loss]).sum(axis=1)
        return jnp.concatenate([sums, *_pulled(expanded[0], x, gradient)])

    sums = _sum(of_block, 2, expanded, data, every)
    total = jnp.where(sums[0] > 0, sums[0], 1.0)
    more, of_penalty = jax.value_and_grad(penalty, (0, 1))(*expanded, data)
    (gradient,) = pull_back(_with_penalty(sums[2:] / total, of_penalty))
    drift = _drift(params, data)
    more = more + 0.5 * jnp.sum(params * drift)
    return sums[1] / total + more, gradient + drift


def _product(vector: jax.Array, params: jax.Array, data: Any, every: Any) -> jax.Array:
    expanded = expand(params, data)
    moved, pull_back = jax.vjp(lambda vector: _turn(vector, data), vector)

    def of_block(block: Any, live: jax.Array) -> jax.Array:
        x, inside, weight, target = features(data, block, live)
        _, p = losses(affine(*expanded, x), inside, target)
        change = affine(*moved, x)
        mean = jnp.sum(p * change, axis=1, keepdims=True)
        product = weight[:, None] * (p * (change - mean))
        return jnp.concatenate([jnp.sum(weight)[None], *_pulled(moved[0], x, product)])

    sums = _sum(of_block, 1, expanded, data, every)
    total = jnp.where(sums[0] > 0, sums[0], 1.0)
    # The derivative of a quadratic form is linear.
    of_penalty = jax.grad(penalty, (0, 1))(*moved, data)
    (product,) = pull_back(_with_penalty(sums[1:] / total, of_penalty))
    return product + _drift(vector, data)


OBJECTIVE = Objective(evaluate=_evaluate, product=_product)


def losses(
    logit: jax.Array, inside: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The loss of each row, and its probabilities."""
    logit = jnp.where(inside, logit, OUT)
    below = logit - jnp.max(logit, axis=1, keepdims=True)
    exponentials = jnp.exp(below)
    total = jnp.sum(exponentials, axis=1)
    label = jnp.sum(jnp.where(target & inside, below, 0.0), axis=1)
    return jnp.log(total) - label, exponentials / total[:, None]


def _sum(function: Any, more: int, expanded: Any, data: Any, every: Any) -> jax.Array:
    size = more + sum(part.size for part in expanded)
    return reduce.sum_blocks(function, (size,), data["rows"], data["valid"], every)


def _pulled(slope: jax.Array, x: jax.Array, of_logits: jax.Array) -> Any:
    """What derivatives by logits say of scale or matrix, and bias; each a vector."""
    of_slope = dot(of_logits.T, x) if slope.ndim == 2 else jnp.sum(of_logits * x, 0)
    return of_slope.ravel(), jnp.sum(of_logits, axis=0)


def _with_penalty(vector: jax.Array, of_penalty: tuple[jax.Array, jax.Array]) -> Any:
    slope, bias = of_penalty
    of_slope, of_bias = vector[: slope.size], vector[slope.size :]
    return of_slope.reshape(slope.shape) + slope, of_bias + bias
