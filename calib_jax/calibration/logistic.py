"""The loss of a logistic curve of standardised scores, and its derivatives.

Shapes: N examples. The data of a fit are `rows` with `score` and `outcome`, either as
they are, with `where` and `weight`, or clean, with `share` (`means`); `center` and
`scale` of the scores; and `targets`, if they are not the outcomes (`_targets`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import masking, reduce
from .solvers import Evaluation

# Standardised scores beyond this are certain at any slope that is not 0.
_FARTHEST = 1e12


def valid_rows(block: Any) -> jax.Array:
    num_rows = block["score"].shape[0]
    return masking.valid_rows(num_rows, block.get("where"), block.get("weight"))


def clean(
    block: Any, live: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Score, outcome and weight of a block; 0 in rows that are not valid and new."""
    valid = valid_rows(block)
    counts = valid if live is None else valid & live
    weight = jnp.where(counts, block.get("weight", np.float32(1)), np.float32(0))
    masked = "where" in block or "weight" in block
    score, outcome = masking.clean_rows(
        counts if masked else None, 0.0, block["score"], block["outcome"]
    )
    return score, outcome, weight


def means(
    terms: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]],
    data: Any,
    every: Any = 1,
) -> list[jax.Array]:
    """Means of `terms(score, outcome, weight)`, each of which has a factor `weight`."""
    rows = data["rows"]
    if "share" in rows:
        # Few rows, with weights that add up to 1.
        few = terms(rows["score"], rows["outcome"], rows["share"])
        return [jnp.sum(term) for term in few]

    def of_block(block: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        score, outcome, weight = clean(block, live)
        return weight, *terms(score, outcome, weight)

    total, *sums = reduce.sum_rows(of_block, rows, None, every)
    total = jnp.where(total > 0, total, 1.0)
    return [value / total for value in sums]


def evaluate(
    params: jax.Array, data: Any, every: Any, *, with_loss: bool = True
) -> Evaluation:
    """The loss and its derivatives with respect to slope and intercept.

    The logarithms of the loss take as long as all the rest, and the default solver
    needs none.
    """

    def terms(
        score: jax.Array, outcome: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, ...]:
        target, rest = _targets(data, outcome)
        x, logit = _logit(params, data, score)
        # Both tails of the sigmoid from one exponential.
        small = jnp.exp(-jnp.abs(logit))
        body = 1 / (1 + small)
        tail = small * body
        up = jnp.where(logit >= 0, body, tail)
        down = jnp.where(logit >= 0, tail, body)
        # up - target, without the cancellation where both are close to 1.
        residual = weight * (rest * up - target * down)
        curvature = weight * up * down
        moment = curvature * x
        found = residual * x, residual, moment * x, moment, curvature
        if not with_loss:
            return found
        return *found, weight * _cross_entropy(target, rest, logit, small)

    by_slope, by_intercept, xx, x, one, *loss = means(terms, data, every)
    return Evaluation(
        value=loss[0] if with_loss else jnp.float32(0),
        gradient=jnp.stack([by_slope, by_intercept]),
        hessian=jnp.stack([xx, x, x, one]).reshape(2, 2),
    )


def loss(params: jax.Array, data: Any) -> jax.Array:
    def terms(
        score: jax.Array, outcome: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array]:
        target, rest = _targets(data, outcome)
        _, logit = _logit(params, data, score)
        small = jnp.exp(-jnp.abs(logit))
        return (weight * _cross_entropy(target, rest, logit, small),)

    return means(terms, data)[0]


def _cross_entropy(
    target: jax.Array, rest: jax.Array, logit: jax.Array, small: jax.Array
) -> jax.Array:
    """The loss of each row; `small` is the exponential of minus the logit's size."""
    wrong = rest * jnp.maximum(logit, 0.0) + target * jnp.maximum(-logit, 0.0)
    return wrong + jnp.log1p(small)


def _targets(data: Any, outcome: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The target of each row, and one minus it."""
    other = 1 - outcome
    if "targets" not in data:
        return outcome, other
    (bottom, top), (rest_of_bottom, rest_of_top) = data["targets"]
    target = outcome * top + other * bottom
    return target, outcome * rest_of_top + other * rest_of_bottom


def _logit(
    params: jax.Array, data: Any, score: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Standardised scores and their logits."""
    # Two factors, because the reciprocal of a very large scale is subnormal.
    factor = lax.rsqrt(data["scale"])
    x = (score - data["center"]) * factor * factor
    x = jnp.clip(x, -_FARTHEST, _FARTHEST)
    return x, params[0] * x + params[1]
