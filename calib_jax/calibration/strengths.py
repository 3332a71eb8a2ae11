"""The strength of a penalty, given or by cross-validation, for fits of class logits.

Shapes: N examples, C classes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from .._core import hashing, masking, reduce, transforms
from . import softmax_fits, softmax_problem
from .reports import FitReport

# Strengths to choose from: from nearly a temperature to hardly any penalty. A scale is
# held as strongly by a tenth of them as a row of a matrix by the number of classes
# times as much.
_GRID = np.array([1000, 100, 10, 1, 0.1, 0.01, 0.001], np.float32)
_OF_SCALES = np.float32(0.1)
_NUM_FOLDS = 3

Fit = tuple[jax.Array, jax.Array, jax.Array, FitReport]


def fit(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    class_where: jax.Array | None,
    strength: jax.Array | None,
    solver: optax.GradientTransformation | None,
    *,
    matrix: bool,
) -> Fit:
    """Scale `[C]` or matrix `[C, C]`, bias `[C]`, the strength, and the report.

    Without a strength, one of seven is taken by the loss of rows left out: from the
    strongest on, as long as each next one lowers it.
    """

    def prepared(
        where: jax.Array | None, strength: jax.Array
    ) -> softmax_problem.Problem:
        return softmax_problem.prepare(
            logits, labels, where, weights, class_where, strength, matrix=matrix
        )

    def solve(
        problem: softmax_problem.Problem, roughly: jax.Array | bool = False
    ) -> Fit:
        slope, bias, report = softmax_fits.fit(problem, solver, roughly=roughly)
        return slope, bias, problem.data["strength"], report

    if strength is not None:
        return solve(prepared(where, strength))
    num_rows, size = logits.shape
    grid = jnp.asarray(_GRID * (np.float32(size) if matrix else _OF_SCALES))
    rows = {"logits": masking.fill(logits, class_where, 0.0), "label": labels}
    fold = reduce.map_rows(
        lambda block: hashing.part(
            hashing.mixed(block["logits"], block["label"]), _NUM_FOLDS
        ),
        lax.stop_gradient(rows),
    )
    valid = masking.valid_rows(num_rows, where, weights)
    num_fits = len(_GRID) * _NUM_FOLDS

    def next_fit(carry: Any) -> Any:
        # The last fit is that of all rows, so that one program does them all.
        number, total, least, chosen, starts, _ = carry
        last = number == num_fits
        place, part = number // _NUM_FOLDS, number % _NUM_FOLDS
        held_out = ~last & (fold == part)
        problem = prepared(valid & ~held_out, grid[lax.select(last, chosen, place)])
        # A fold starts where it ended with the strength before.
        slope, bias = (leaf[part] for leaf in starts)
        problem = softmax_fits.started(problem, slope, bias, ~last & (place > 0))
        found = solve(problem, ~last)
        starts = tuple(
            leaves.at[part].set(leaf)
            for leaves, leaf in zip(starts, found[:2], strict=True)
        )
        total = total + softmax_fits.total_loss(problem, *found[:2], valid & held_out)
        whole = part == _NUM_FOLDS - 1
        better = whole & (total < least)
        least = lax.select(better, total, least)
        chosen = lax.select(better, place, chosen)
        total = jnp.where(whole, 0.0, total)
        following = jnp.where(whole & ~better, num_fits, number + 1)
        number = lax.select(last, number + 1, following)
        return number, total, least, chosen, starts, found

    shapes = jax.eval_shape(lambda: solve(prepared(where, jnp.float32(1))))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    starts = tuple(
        jnp.zeros((_NUM_FOLDS, *leaf.shape), jnp.float32) for leaf in nothing[:2]
    )
    zero = jnp.int32(0)
    carry = zero, jnp.float32(0), jnp.float32(jnp.inf), zero, starts, nothing
    carry = transforms.carry(next_fit, carry)
    *_, found = lax.while_loop(lambda carry: carry[0] <= num_fits, next_fit, carry)
    return found
