"""Random halves: confidences calibrated on the first and judged on the second.

Shapes: S splits, M models, N examples, n examples of a half.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .outputs import Outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Half:
    """One half of every split.

    Attributes:
      rows: int32 `[S, n]`, rows of the outputs.
      raw: float32 `[S, M, n]`, confidence as stated by the models.
      calibrated: float32 `[S, M, n]`, confidence after calibration.
      correct: bool `[S, M, n]`.
    """

    rows: np.ndarray
    raw: np.ndarray
    calibrated: np.ndarray
    correct: np.ndarray

    def confidence(self, calibrated: bool) -> np.ndarray:
        return self.calibrated if calibrated else self.raw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halves:
    """The splits of one task.

    Attributes:
      calibration: the half on which everything is fitted and chosen.
      test: the half on which it is judged.
      parameter: float32 `[S, M]`, the temperature, or the slope of Platt scaling.
      status: int32 `[S, M]`, `cj.FitStatus` of the fit.
    """

    calibration: Half
    test: Half
    parameter: np.ndarray
    status: np.ndarray


# With fewer classes than this they are not divided into two halves.
LEAST_CLASSES = 10

_CLASSES_SEED = 1030


def take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`[S, M, n]` from `[M, N]`, or from `[S, M, N]`, and rows `[S, n]`."""
    if values.ndim == 2:
        return np.stack([values[:, row] for row in rows])
    return np.stack([value[:, row] for value, row in zip(values, rows, strict=True)])


def random_rows(
    seed: int, num_examples: int, num_halves: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[S, N // 2]` to calibrate and as many to test on, at random.

    If the number is odd, each split leaves out one example, a different one every time,
    so that both halves use the same compiled programs.
    """
    size = num_examples // 2
    orders = np.stack(
        [
            np.random.default_rng((seed, split)).permutation(num_examples)
            for split in range(num_halves)
        ]
    ).astype(np.int32)
    return orders[:, :size], orders[:, size : 2 * size]


def random_classes(seed: int, num_classes: int, num_splits: int) -> np.ndarray:
    """A random half of the classes, a different one in every split: bool `[S, C]`."""
    chosen = np.zeros((num_splits, num_classes), bool)
    for split, row in enumerate(chosen):
        order = np.random.default_rng((seed, _CLASSES_SEED, split)).permutation(
            num_classes
        )
        row[order[: num_classes // 2]] = True
    return chosen


def split(outputs: Outputs, seed: int, num_halves: int) -> Halves:
    """Splits the examples at random, and calibrates every model on each first half.

    Temperature scaling if the logits were saved, else Platt scaling of the log-odds of
    the stated confidence.
    """
    calibration, test = random_rows(seed, outputs.num_examples, num_halves)
    fitted, parameter, status = fit(outputs, calibration)

    def half(rows: np.ndarray) -> Half:
        return Half(
            rows=rows,
            raw=take(outputs.confidence, rows),
            calibrated=take(fitted, rows),
            correct=take(outputs.correct, rows),
        )

    return Halves(
        calibration=half(calibration),
        test=half(test),
        parameter=parameter,
        status=status,
    )


def fit(
    outputs: Outputs, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrates every model on the given rows `[S, n]`, for all examples.

    Returns:
      Confidence `[S, M, N]`, and the parameter and status of each fit, `[S, M]`.
    """
    if outputs.logits is None:
        fitted = fit_each(by_platt, (outputs.score, outputs.correct), rows)
    else:
        labels = np.broadcast_to(outputs.label, outputs.correct.shape)
        fitted = fit_each(by_temperature, (outputs.logits, labels), rows)
    return fitted


Fitted = tuple[jax.Array, jax.Array, jax.Array]


def by_temperature(
    logits: jax.Array, labels: jax.Array, rows: jax.Array, where: jax.Array | None
) -> Fitted:
    """Temperature scaling of one model: `[N, C]`, `[N]`, `[n]` to `[N]`."""
    params, report = cj.fit_temperature(logits[rows], labels[rows], where=where)
    confidence = cj.top1(logits, params.temperature).confidence
    return confidence, params.temperature, report.status


def by_platt(
    scores: jax.Array, correct: jax.Array, rows: jax.Array, where: jax.Array | None
) -> Fitted:
    """Platt scaling of one model: `[N]`, `[N]`, `[n]` to `[N]`."""
    params, report = cj.fit_platt(scores[rows], correct[rows], where=where)
    return cj.calibrate(params, scores), params.slope, report.status


def by_histogram(
    scores: jax.Array, correct: jax.Array, rows: jax.Array, where: jax.Array | None
) -> Fitted:
    """Histogram binning of one model; it does not have a single parameter."""
    params, report = cj.fit_histogram(scores[rows], correct[rows], where=where)
    return cj.calibrate(params, scores), jnp.float32(jnp.nan), report.status


Calibrator = Callable[[jax.Array, jax.Array, jax.Array, jax.Array | None], Fitted]


def fit_each(
    calibrator: Calibrator,
    arrays: tuple[np.ndarray, np.ndarray],
    rows: np.ndarray,
    where: np.ndarray | None = None,
) -> Fitted:
    """A calibrator for every model and split: `[M, N, ...]`, `[S, n]` to `[S, M, ...]`.

    Args:
      calibrator: such as `by_platt`; build it once, since it is compiled.
      arrays: its arguments for each model.
      rows: to fit on.
      where: optional bool `[S, n]`, which of these rows count.
    """
    # One model after the other: all at once would need as many copies of the logits,
    # and a different program for every number of models.
    fitted = [
        _fit_one(calibrator, model, rows, where) for model in zip(*arrays, strict=True)
    ]
    return tuple(np.stack(parts, axis=1) for parts in zip(*fitted, strict=True))


@functools.partial(jax.jit, static_argnums=0)
def _fit_one(
    calibrator: Calibrator,
    model: tuple[jax.Array, jax.Array],
    rows: jax.Array,
    where: jax.Array | None,
) -> Fitted:
    """`[S, ...]` of one model."""
    return lax.map(lambda split: calibrator(*model, *split), (rows, where))
