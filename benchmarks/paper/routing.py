"""Routers of pairs of models, with curves from the weights of a few cells.

A curve depends on an example only through its *cell*: the bin of the small model's
confidence, and whether each of the two models is right. So a half, or a bootstrap draw
of it, is stored as the weight of every cell; the curve from these weights is exactly
the curve from the examples.

Shapes: S splits, M models, P pairs, n examples of a half, B bins, D bootstrap draws,
C = 4 B cells. An axis of length 2 before the pairs is the kind of confidence: as stated
by the models (UC), calibrated (CC).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit.halves import Half, take
from benchmarks.kit.outputs import Pair

from .study import Study

KINDS = ("UC", "CC")

# Losses of accuracy that are allowed when saving as many large-model calls as possible:
# none, and one point.
LOSSES = (0.0, 0.01)

# Curves in one batch: one program for any number of them.
_BATCH = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """The routers of P pairs, fitted on every calibration half, with cell weights.

    Attributes:
      routers: `Router` of arrays `[S, 2, P, ...]`.
      cells: int32 `[S, 2, P, n]`, the cell of every example of the test half.
      calibration: float32 `[S, 2, P, C]`, examples of the calibration half by cell.
      test: the same for the test half.
      spent: the same in US dollars that the large model costs on them, or None.
      draws: float32 `[D, 2, P, C]`, bootstrap draws of the first split's test half.
    """

    routers: cj.Router
    cells: jax.Array
    calibration: jax.Array
    test: jax.Array
    spent: jax.Array | None
    draws: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """Numbers read off one curve.

    Attributes:
      curve: `CascadeCurve`.
      recovered: float32 scalar, APGR.
      area: float32 scalar, accuracy gained over random routing, averaged over all
        shares; (APGR - 0.5) times the gap of the models.
      num_small_bins: int32 `[len(LOSSES)]`, the largest K within each of the losses.
      best: int32 scalar, the most accurate K.
    """

    curve: cj.CascadeCurve
    recovered: jax.Array
    area: jax.Array
    num_small_bins: jax.Array
    best: jax.Array


def tally(study: Study, name: str, pairs: Sequence[Pair]) -> Tally:
    """Fits and tallies the routers of pairs of models of a task.

    Args:
      study: the study.
      name: of the task.
      pairs: P pairs of models; the first one has the role of the small model.
    """
    task, halves, settings = study.tasks[name], study.halves[name], study.settings
    # Padded to the most models and pairs of any task, to share programs.
    num_models = max(len(task.models) for task in study.tasks.values())
    num_pairs = max(
        max(len(task.small_large), len(task.large_large))
        for task in study.tasks.values()
    )
    rows = halves.test.rows
    cost = np.zeros(halves.test.correct.shape, np.float32)
    if task.cost is not None:
        cost = take(task.cost, rows)
    small, large = fill(np.array(pairs, np.int32), num_pairs, 0).T
    calibration, test, cost = jax.tree.map(
        lambda array: fill(array, num_models, -2),
        (
            (_kinds(halves.calibration), halves.calibration.correct),
            (_kinds(halves.test), halves.test.correct),
            cost,
        ),
    )
    fitted = _tally(
        jax.random.key(settings.seed),
        calibration,
        test,
        cost,
        small,
        large,
        num_bins=settings.num_bins,
        num_draws=settings.num_draws,
    )
    fitted = Tally(**jax.tree.map(lambda array: array[:, :, : len(pairs)], fitted))
    return dataclasses.replace(fitted, spent=None) if task.cost is None else fitted


def fill(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    """The array, padded along an axis with its last entry."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return np.pad(array, widths, "edge")


def read(routers: cj.Router, weights: jax.Array | np.ndarray) -> Reading:
    """Reads the curves of routers on weighted cells.

    Args:
      routers: `Router` of arrays `[..., B]`.
      weights: float32 `[..., C]`; the axes before the last broadcast with those of the
        routers.

    Returns:
      `Reading` of NumPy arrays with these axes first.
    """
    shape = np.broadcast_shapes(routers.order.shape[:-1], weights.shape[:-1])

    def flat(array: jax.Array) -> np.ndarray:
        array = np.asarray(array)
        array = np.broadcast_to(array, (*shape, array.shape[-1]))
        array = array.reshape(-1, array.shape[-1])
        return fill(array, len(array) + -len(array) % _BATCH, 0)

    rows = jax.tree.map(flat, (routers, weights))
    size = int(np.prod(shape))
    parts = [
        jax.tree.map(
            np.asarray,
            _read(*jax.tree.map(lambda row, k=k: row[k : k + _BATCH], rows)),
        )
        for k in range(0, size, _BATCH)
    ]
    return jax.tree.map(
        lambda *arrays: np.concatenate(arrays)[:size].reshape(
            *shape, *arrays[0].shape[1:]
        ),
        *parts,
    )


def first_split(routers: cj.Router) -> cj.Router:
    """The routers `[2, P, ...]` of the first split."""
    return jax.tree.map(lambda array: array[0], routers)


def at(values: np.ndarray, num_small_bins: np.ndarray) -> np.ndarray:
    """Values of curves `[..., B + 1]` at K `[...]`, or at several K `[..., L]`."""
    several = num_small_bins.ndim == values.ndim
    index = num_small_bins if several else num_small_bins[..., None]
    # The axes before the last broadcast.
    shape = np.broadcast_shapes(values.shape[:-1], index.shape[:-1])
    values = np.broadcast_to(values, (*shape, values.shape[-1]))
    index = np.broadcast_to(index, (*shape, index.shape[-1]))
    taken = np.take_along_axis(values, index, axis=-1)
    return taken if several else taken[..., 0]


def interval(draws: np.ndarray) -> np.ndarray:
    """The central 95 % of draws `[D, ...]`, as `[..., 2]`.

    A draw of NaN, such as the APGR of two models that are equally good in it, may be
    any number: it counts as one below the lower end and above the upper end. An end is
    NaN if 2.5 % of the draws are.
    """
    undefined = np.isnan(draws)
    # Between two infinite draws there is NaN.
    with np.errstate(invalid="ignore"):
        low = np.quantile(np.where(undefined, -np.inf, draws), 0.025, axis=0)
        high = np.quantile(np.where(undefined, np.inf, draws), 0.975, axis=0)
    ends = np.stack([low, high], axis=-1)
    return np.where(np.isfinite(ends), ends, np.nan)


def _kinds(half: Half) -> np.ndarray:
    return np.stack([half.raw, half.calibrated], axis=1)


def cells(
    router: cj.Router, confidence: jax.Array, by_small: jax.Array, by_large: jax.Array
) -> jax.Array:
    """The cell `[n]` of every example.

    Args:
      router: `Router`.
      confidence: float32 `[n]`, confidence of the small model.
      by_small: bool `[n]`, whether the small model is right.
      by_large: bool `[n]`, whether the large one is.
    """
    right = 2 * by_small.astype(jnp.int32) + by_large.astype(jnp.int32)
    return 4 * cj.bin_index(router.bins, confidence) + right


def weigh(cells: jax.Array, weights: jax.Array, num_cells: int) -> jax.Array:
    """Sum of weights `[n]` in each cell, `[C]`; cells `[n]`."""
    return jnp.zeros(num_cells, jnp.float32).at[cells].add(weights)


@functools.partial(jax.jit, static_argnames=("num_bins", "num_draws"))
def _tally(
    key: jax.Array,
    calibration: tuple[jax.Array, jax.Array],
    test: tuple[jax.Array, jax.Array],
    cost: jax.Array,
    small: jax.Array,
    large: jax.Array,
    *,
    num_bins: int,
    num_draws: int,
) -> dict[str, jax.Array | cj.Router]:
    """The fields of `Tally`.

    Args:
      key: for the bootstrap.
      calibration: confidence `[S, 2, M, n]` and correctness `[S, M, n]`.
      test: the same for the other half.
      cost: optional `[S, M, n]` for the test half.
      small: int32 `[P]`, rows of the models.
      large: int32 `[P]`.
      num_bins: B.
      num_draws: D.
    """
    num_cells = 4 * num_bins

    def one_pair(
        confidence: jax.Array,
        other: jax.Array,
        by_small: jax.Array,
        by_large: jax.Array,
    ) -> tuple[cj.Router, jax.Array]:
        size = by_small.shape[0] // 2
        router = cj.fit_router(confidence[:size], other[:size], num_bins=num_bins)
        return router, cells(router, confidence, by_small, by_large)

    by_kind_and_pair = jax.vmap(jax.vmap(one_pair), (0, 0, None, None))

    def one_split(rows: tuple[tuple[jax.Array, ...], ...]):
        *halves, dollars = rows
        # Both halves in one array, the calibration half first.
        confidence, correct = (
            jnp.concatenate(parts, axis=-1) for parts in zip(*halves, strict=True)
        )
        routers, met = by_kind_and_pair(
            confidence[:, small], confidence[:, large], correct[small], correct[large]
        )
        seen, met = jnp.split(met, 2, axis=-1)

        def count(cells: jax.Array, weights: jax.Array) -> jax.Array:
            return weigh(cells, weights, num_cells)

        ones = jnp.ones((len(small), met.shape[-1]), jnp.float32)
        by_pair = jax.vmap(jax.vmap(count), (0, None))
        return {
            "routers": routers,
            "cells": met,
            "calibration": by_pair(seen, ones),
            "test": by_pair(met, ones),
            "spent": by_pair(met, dollars[large]),
        }

    result = lax.map(one_split, (calibration, test, cost))

    def draw(cells: jax.Array, *, weights: jax.Array) -> jax.Array:
        count = functools.partial(weigh, weights=weights, num_cells=num_cells)
        return jax.vmap(jax.vmap(count, 1), 1)(cells)

    by_row = jnp.moveaxis(result["cells"][0], -1, 0)
    return result | {"draws": cj.bootstrap(key, draw, num_draws, by_row)}


@jax.jit
def _read(routers: cj.Router, weights: jax.Array) -> Reading:
    def one(router: cj.Router, weights: jax.Array) -> Reading:
        num_bins = router.order.shape[0]
        # The number of the bin replaces the confidence, scaled to [0, 1].
        edges = jnp.arange(1, num_bins, dtype=jnp.float32) / num_bins
        cell = jnp.arange(4 * num_bins, dtype=jnp.int32)
        curve = cj.cascade_curve(
            dataclasses.replace(router, bins=cj.Bins(edges=edges)),
            ((cell // 4).astype(jnp.float32) + 0.5) / num_bins,
            cell % 4 >= 2,
            cell % 2 == 1,
            weights=weights,
        )
        above = curve.gain - cj.random_curve(curve).gain
        # A loss equal to the allowed one is allowed, up to float32 rounding.
        least = [curve.large_accuracy - (loss + 1e-6) for loss in LOSSES]
        return Reading(
            curve=curve,
            recovered=cj.average_performance_gap_recovered(curve),
            area=jnp.trapezoid(above, curve.small_share),
            num_small_bins=jax.vmap(
                lambda accuracy: (
                    (
                        cj.choose_num_small_bins(curve, min_accuracy=accuracy)
                    ).num_small_bins
                )
            )(jnp.stack(least)),
            best=cj.choose_num_small_bins(curve).num_small_bins,
        )

    return jax.vmap(one)(routers, weights)
