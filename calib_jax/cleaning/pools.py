r"""A pool of models: one distribution over the classes, calibrated to given labels.

Shapes: M models, N examples, C classes. The pool's probability of class k is

.. math:: p_{ik} \propto \prod_m \max(p_{mik}, \delta_m)^{w_m}, \quad w_m \ge 0

With one model this is temperature scaling, w = 1 / T. With several, a weight says how
much a model adds to the others, so that a weak or a redundant one counts little.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import class_axis, dispatch, domains, hashing, masking, reduce
from ..calibration import solvers
from ..calibration.solvers import Evaluation

# A probability of 0 counts as half of the least that its model gives to anything, but
# for float32 probabilities of a network that least is 0 itself.
_LEAST = np.float32(1e-30)
# No weight is larger: at this one, nearly every probability is 0 or 1.
_MOST = np.float32(1e4)
# A logarithm below that of every probability, for a single class.
_LOWEST = np.finfo(np.float32).min
# Rows sum to 1 up to this, in bfloat16 and with few decimals too.
ROUNDING = 1e-2
# The solver gets near the optimum on so many rows before it reads all of them.
_FIRST_ROWS = (2**12, 2**16)

# Of each model, floating `[N, C]`.
Probabilities = tuple[jax.Array, ...]


@dispatch.core(rows=["probabilities N C", "labels", "kept"], rows_of="labels")
def look(
    probabilities: Probabilities, labels: jax.Array, kept: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which rows are sound, the half of each, and the least positive probability.

    Returns:
      bool `[N]`: kept, a label that is a class, and probabilities that sum to 1; int32
      `[N]`, 0 or 1, by a hash of the probabilities, so that no label has a say, nor the
      order of the rows but among equal ones, which alternate; float32 `[N, M]`, +inf
      where all are 0.
    """

    def of_block(block: Any) -> tuple[jax.Array, ...]:
        parts, label = block
        sound = (label >= 0) & (label < parts[0].shape[1])
        hashed = jnp.zeros(label.shape, jnp.uint32)
        least = []
        for part in parts:
            value = part.astype(jnp.float32)
            inside = jnp.all(domains.CONFIDENCE.holds(value), axis=1)
            total = jnp.sum(value, axis=1)
            sound = sound & inside & (jnp.abs(total - 1) <= ROUNDING)
            hashed = hashing.mixed(value, hashed)
            positive = jnp.where(value > 0, value, jnp.inf)
            least.append(jnp.min(positive, axis=1))
        return sound, hashed, *least

    sound, hashed, *least = reduce.map_rows(
        of_block, lax.stop_gradient((probabilities, labels))
    )
    sound = sound if kept is None else sound & kept
    # Equal rows, all in one half, would leave the other fit without any.
    half = (hashing.part(hashed, 2) + hashing.number_among_equals(hashed, sound)) % 2
    return sound, half, jnp.stack(least, axis=1)


@dispatch.core(rows=["least N M", "where"])
def lowest(least: jax.Array, where: jax.Array) -> jax.Array:
    """What a probability of 0 counts as, float32 `[M]`; `least` is from `look`."""
    found = jnp.min(jnp.where(where[:, None], least, 1.0), axis=0, initial=1.0)
    return jnp.maximum(0.5 * found, _LEAST)


@dispatch.core(
    rows=["probabilities N C", "labels", "where"], passes=dispatch.Passes.FEW
)
def fit(
    probabilities: Probabilities,
    labels: jax.Array,
    where: jax.Array,
    floors: jax.Array,
) -> jax.Array:
    r"""Weights float32 `[M]` that make the labels of some rows most likely.

    .. math:: \min_{w \ge 0} \; -\sum_i \log p_{i, y_i}
        + \frac12 \sum_m \left(w_m - \frac1M\right)^2

    The second term is worth about one row. It keeps the weights finite where all labels
    are the likeliest class, and equal where there is nothing to tell models apart.

    Args:
      probabilities: of each model, floating `[N, C]`.
      labels: int32 `[N]`; a class where a row counts.
      where: bool `[N]`, the rows that count.
      floors: float32 `[M]`, from `lowest`.
    """
    num_models = len(probabilities)
    equal = np.full(num_models, 1 / num_models, np.float32)
    data = {"rows": (probabilities, labels), "valid": where, "floors": floors}

    place = np.zeros((num_models, num_models), np.int32)
    rows, columns = np.triu_indices(num_models)
    place[rows, columns] = place[columns, rows] = np.arange(len(rows))

    def evaluate(weights: jax.Array, data: Any, every: Any) -> Evaluation:
        def of_block(block: Any, live: jax.Array) -> list[jax.Array]:
            moments = _moments(block, live, weights, data["floors"])
            return [jnp.where(live, moment, 0.0) for moment in moments]

        count, loss, *sums = reduce.sum_rows(
            of_block, data["rows"], data["valid"], every
        )
        count, slopes = jnp.maximum(count, 1.0), jnp.stack(sums[:num_models])
        bends = jnp.stack(sums[num_models:])[place.ravel()].reshape(place.shape)
        off, own = weights - equal, np.eye(num_models, dtype=np.float32)
        gradient, hessian = (slopes + off) / count, (bends + own) / count
        # A weight that should fall below 0 stays there, and the others move alone.
        held = (weights <= 0) & (gradient > 0)
        free = ~held[:, None] & ~held[None]
        return Evaluation(
            value=(loss + 0.5 * jnp.sum(off * off)) / count,
            gradient=jnp.where(held, 0.0, gradient),
            hessian=jnp.where(free, hessian, own),
        )

    solution = solvers.minimize(
        evaluate,
        lax.stop_gradient(data),
        jnp.asarray(equal),
        lower=np.zeros(num_models, np.float32),
        upper=np.full(num_models, _MOST),
        thinnings=reduce.thinnings(data["rows"], _FIRST_ROWS),
    )
    return jnp.where(solution.converged, solution.params, equal)


@dispatch.core(rows=["probabilities N C", "labels", "half"], rows_of="labels")
def judge(
    probabilities: Probabilities,
    labels: jax.Array,
    half: jax.Array,
    weights: jax.Array,
    floors: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """What the pool says of each row.

    Args:
      probabilities: of each model, floating `[N, C]`.
      labels: int32 `[N]`, as given.
      half: int32 `[N]`, the half that each row is in.
      weights: float32 `[2, M]`, for the rows of each half.
      floors: float32 `[M]`.

    Returns:
      float32 `[N]`, log-probability of the given label; int32 `[N]`, the most probable
      class; float32 `[N]`, its probability; float32 `[N]`, log-probability of the
      given label less that of all classes but the most probable one, at most 0.
    """

    def of_block(block: Any) -> tuple[jax.Array, ...]:
        parts, label, place = block
        weight = jnp.where((place == 0)[:, None], weights[:1], weights[1:])
        logs = _logs(parts, floors)
        below = sum(weight[:, m, None] * log for m, log in enumerate(logs))
        largest, first = class_axis.largest_class(below)
        below = below - largest[:, None]
        exponentials = jnp.exp(below)
        best = jnp.arange(below.shape[1], dtype=jnp.int32)[None] == first[:, None]
        # Where the best class takes all, the sum of the others rounds to 0, but not the
        # share that each has in it.
        others = jnp.where(best, -jnp.inf, below)
        second = jnp.maximum(class_axis.largest_class(others)[0], _LOWEST)
        rest, ratio = class_axis.sum_classes(
            jnp.where(best, 0.0, exponentials), jnp.exp(others - second[:, None])
        )
        own = masking.take_last(below, label)
        total = 1 + rest
        log_share = jnp.minimum(own - second - jnp.log(ratio), 0.0)
        return own - jnp.log(total), first, 1 / total, log_share

    return reduce.map_rows(of_block, lax.stop_gradient((probabilities, labels, half)))


def _logs(parts: Probabilities, floors: jax.Array) -> list[jax.Array]:
    return [
        jnp.log(jnp.maximum(part.astype(jnp.float32), floors[m]))
        for m, part in enumerate(parts)
    ]


def _moments(
    block: Any, live: jax.Array, weights: jax.Array, floors: jax.Array
) -> list[jax.Array]:
    """Of each row: 1, the loss, and its first and second derivatives by the weights."""
    parts, label = block
    logs = [jnp.where(live[:, None], log, 0.0) for log in _logs(parts, floors)]
    num_models = len(logs)
    below = sum(weights[m] * log for m, log in enumerate(logs))
    below = below - jnp.max(below, axis=1, keepdims=True)
    exponentials = jnp.exp(below)
    classes = jnp.arange(below.shape[1], dtype=jnp.int32)
    target = label[:, None] == classes[None]
    terms = [jnp.where(target, log, 0.0) for log in (below, *logs)]
    weighted = [exponentials * log for log in logs]
    pairs = [(i, j) for i in range(num_models) for j in range(i, num_models)]
    terms += [exponentials, *weighted, *(weighted[i] * logs[j] for i, j in pairs)]
    own, *sums = class_axis.sum_classes(*terms)
    own_logs, total, sums = sums[:num_models], sums[num_models], sums[num_models + 1 :]
    means = [value / total for value in sums[:num_models]]
    slopes = [mean - log for mean, log in zip(means, own_logs, strict=True)]
    squares = zip(sums[num_models:], pairs, strict=True)
    bends = [square / total - means[i] * means[j] for square, (i, j) in squares]
    return [jnp.ones_like(total), jnp.log(total) - own, *slopes, *bends]
