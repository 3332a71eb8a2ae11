"""Programs that all tasks share, each for one batch of jobs.

A job is one fit, one cascade or one model on one half of one split. Its inputs are
gathered on the host, so that no program's shape depends on the number of models,
splits, pairs or fits.

Shapes: L examples of a half, padding included, B bins.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit.halves import by_histogram, by_platt

# Jobs of a batch.
_BATCH = 32


def in_batches(
    function: Callable[..., Any],
    shape: Sequence[int],
    job: Callable[..., tuple[np.ndarray, ...]],
) -> Any:
    """`function` on all jobs, whose arguments `job` looks up by their indices."""
    size = int(np.prod(shape))
    parts = []
    for start in range(0, size, _BATCH):
        # The last batch is padded with the last job.
        numbers = np.minimum(np.arange(start, start + _BATCH), size - 1)
        result = function(*job(*np.unravel_index(numbers, shape)))
        parts.append(jax.tree.map(np.asarray, result))
    return jax.tree.map(
        lambda *arrays: np.concatenate(arrays)[:size].reshape(
            *shape, *arrays[0].shape[1:]
        ),
        *parts,
    )


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    """One job after the other: one fits in cache, many do not."""
    return jax.jit(lambda *arrays: lax.map(lambda job: function(*job), arrays))


def _fit_and_apply(calibrator: Callable[..., Any]) -> Callable[..., Any]:
    """A program from scores of both halves, `[jobs, L]`, to confidences of both."""

    def fit(
        seen: jax.Array, correct: jax.Array, where: jax.Array, new: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        rows = jnp.arange(seen.shape[0], dtype=jnp.int32)
        both = jnp.concatenate([seen, new])
        confidence = calibrator(both, correct, rows, where)[0]
        before, after = jnp.split(confidence, [seen.shape[0]])
        return before, after

    return _each(fit)


fit_platt, fit_histogram = _fit_and_apply(by_platt), _fit_and_apply(by_histogram)


@functools.partial(jax.jit, static_argnames="most")
def edges(
    confidence: jax.Array, where: jax.Array, counts: jax.Array, *, most: int
) -> jax.Array:
    """Edges `[jobs, most - 1]` of bins of equal count; +inf where there are fewer."""

    def one(job: tuple[jax.Array, ...]) -> jax.Array:
        confidence, where, count = job
        bins = cj.equal_count_bins(confidence, count, where=where, max_bins=most)
        return bins.edges

    return lax.map(one, (confidence, where, counts))


@_each
def cascade(
    edges: jax.Array,
    seen_small: jax.Array,
    seen_large: jax.Array,
    seen_where: jax.Array,
    small: jax.Array,
    by_small: jax.Array,
    by_large: jax.Array,
    where: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """APGR, and the number of bins of the router that hold examples."""
    bins = cj.Bins(edges=edges)
    router = cj.fit_router(seen_small, seen_large, bins=bins, where=seen_where)
    curve = cj.cascade_curve(router, small, by_small, by_large, where=where)
    filled = jnp.sum(router.table.count > 0, dtype=jnp.float32)
    return cj.average_performance_gap_recovered(curve), filled


@_each
def error(
    edges: jax.Array, confidence: jax.Array, correct: jax.Array, where: jax.Array
) -> jax.Array:
    """ECE."""
    return cj.expected_calibration_error(
        confidence, correct, bins=cj.Bins(edges=edges), where=where
    )
