"""The loss of a logistic curve of standardised scores, and its derivatives.

Shapes: N examples, P slopes. The data of a fit are `rows` with `score` and `outcome`,
either as they are, with `where` and `weight`, or clean, with `share` (`means`);
`center` and `scale` of the scores; and `targets`, if they are not the outcomes
(`_targets`). A `score` that is a tuple of P arrays holds features that are standardised
already. Parameters are `[P + 1]`, the intercept last.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import masking, reduce, transforms
from .solvers import Evaluation

# The solver gets near the optimum on this many rows before it reads all of them.
FIRST_ROWS = (2**16,)
# Up to this many rows a small program counts more than a fast one.
_FEW_ROWS = 2**20
# Standardised scores beyond this are certain at any slope that is not 0.
_FARTHEST = 1e12


def valid_rows(block: Any) -> jax.Array:
    num_rows = block["outcome"].shape[0]
    return masking.valid_rows(num_rows, block.get("where"), block.get("weight"))


def are_few(rows: Any) -> bool:
    """Whether the rows are read at once, for a small program."""
    num_rows = rows["outcome"].shape[0]
    return transforms.at_most(num_rows, _FEW_ROWS) and reduce.is_one_block(rows)


def extremes(
    rows: Any, usable_scores: Callable[[jax.Array], jax.Array]
) -> tuple[jax.Array, ...]:
    """Whether a valid row is invalid, and the ends of right rows and of wrong ones.

    Args:
      rows: with one `score`.
      usable_scores: from scores to whether each may be in a valid row.

    Returns:
      Bool scalar; then float32 scalars, the lowest and highest score of rows that are
      right, and of rows that are wrong. A partly right row is both: a threshold has to
      pass through it.
    """

    def of_block(block: Any) -> tuple[jax.Array, ...]:
        score, outcome, valid = block["score"], block["outcome"], valid_rows(block)
        usable = usable_scores(score)
        usable = usable & masking.usable_outcomes(outcome, block.get("weight"))
        ends = []
        for part in (valid & (outcome > 0), valid & (outcome < 1)):
            ends += [jnp.where(part, score, jnp.inf), jnp.where(part, -score, jnp.inf)]
        return (usable | ~valid).astype(jnp.float32), *ends

    usable, *ends = reduce.least_of_rows(of_block, rows)
    lowest_right, lowest_wrong = ends[::2]
    highest_right, highest_wrong = (-end for end in ends[1::2])
    return usable == 0, lowest_right, highest_right, lowest_wrong, highest_wrong


def clean(
    block: Any, live: jax.Array | None = None
) -> tuple[Any, jax.Array, jax.Array]:
    """Score, outcome and weight of a block; 0 in rows that are not valid and new."""
    valid = valid_rows(block)
    counts = valid if live is None else valid & live
    weight = jnp.where(counts, block.get("weight", np.float32(1)), np.float32(0))
    masked = "where" in block or "weight" in block
    score, outcome = jax.tree.map(
        lambda array: masking.clean_rows(counts if masked else None, 0.0, array)[0],
        (block["score"], block["outcome"]),
    )
    return score, outcome, weight


def means(
    terms: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, ...]],
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
    """The loss and its derivatives with respect to slopes and intercept.

    The logarithms of the loss take as long as all the rest, and the default solver
    needs none.
    """

    def terms(
        score: Any, outcome: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, ...]:
        target, rest = _targets(data, outcome)
        features, logit = _logit(params, data, score)
        # Both tails of the sigmoid from one exponential.
        small = jnp.exp(-jnp.abs(logit))
        body = 1 / (1 + small)
        tail = small * body
        up = jnp.where(logit >= 0, body, tail)
        down = jnp.where(logit >= 0, tail, body)
        # up - target, without the cancellation where both are close to 1.
        residual = weight * (rest * up - target * down)
        curvature = weight * up * down
        found = [*(residual * x for x in features), residual]
        for place, x in enumerate(features):
            moment = curvature * x
            found += [*(moment * other for other in features[place:]), moment]
        found.append(curvature)
        if with_loss:
            found.append(weight * _cross_entropy(target, rest, logit, small))
        return tuple(found)

    size = params.shape[0]
    found = means(terms, data, every)
    # The upper triangle of the Hessian, row by row, and the place of each entry.
    triangle = found[size : size + size * (size + 1) // 2]
    place = np.zeros((size, size), int)
    place[np.triu_indices(size)] = np.arange(len(triangle))
    place = np.maximum(place, place.T)
    return Evaluation(
        value=found[-1] if with_loss else jnp.float32(0),
        gradient=jnp.stack(found[:size]),
        hessian=jnp.stack([triangle[k] for k in place.flat]).reshape(size, size),
    )


def loss(params: jax.Array, data: Any) -> jax.Array:
    def terms(score: Any, outcome: jax.Array, weight: jax.Array) -> tuple[jax.Array]:
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
    params: jax.Array, data: Any, score: Any
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Standardised scores, or features, and the logit of each row."""
    if not isinstance(score, tuple):
        # Two factors, because the reciprocal of a very large scale is subnormal.
        factor = lax.rsqrt(data["scale"])
        x = (score - data["center"]) * factor * factor
        score = (jnp.clip(x, -_FARTHEST, _FARTHEST),)
    logit = params[0] * score[0]
    for place, x in enumerate(score[1:], start=1):
        logit = logit + params[place] * x
    return score, logit + params[-1]
