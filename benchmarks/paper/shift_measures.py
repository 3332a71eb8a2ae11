"""The effect of shift on calibration and on a cascade, from logits, in one program.

Shapes: R repetitions, C corruptions, severities 0 (clean) to 5, Q = 6 C conditions, two
models (small, large), n images to calibrate on, as many to test on, k images to refit
on, B bins.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from benchmarks.kit import corruptions

from . import routing


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Logits:
    """Outputs of both models on one repetition's images.

    Attributes:
      calibration: float32 `[2, n, 10]`, on clean images.
      test: float32 `[C, 6, 2, n, 10]`.
      refit: float32 `[C, 6, 2, k, 10]`, on the first images of the calibration part.
      calibration_labels: int32 `[n]`.
      test_labels: int32 `[n]`.
      refit_labels: int32 `[k]`.
    """

    calibration: np.ndarray
    test: np.ndarray
    refit: np.ndarray
    calibration_labels: np.ndarray
    test_labels: np.ndarray
    refit_labels: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Results on the test part. APGR and area have an entry for each router: by raw
    confidences (UC), by calibrated ones (CC), and CC refitted on corrupted images.

    Attributes:
      corruptions: C names.
      num_calibration: clean images to calibrate on.
      num_test: images to test on.
      num_refit: corrupted images to refit on.
      accuracy: float32 `[R, C, 6, 2]`.
      gap_standard_error: float32 `[R, C, 6]`, of the accuracy gap, paired.
      temperature: float32 `[R, C, 6, 2, 2]`, fitted on clean images and refitted, of
        each model.
      error: float32 `[R, C, 6, 3, 2]`, ECE raw, with the clean temperature and with
        the refitted one, of each model.
      recovered: float32 `[R, C, 6, 3]`, APGR.
      area: float32 `[R, C, 6, 3]`, mean accuracy gained over random routing.
      kept: float32 `[R, C, 6, 2]`, share kept small at the K that lost no accuracy on
        clean calibration images, and at the K and router of the refit.
      lost: float32 `[R, C, 6, 2]`, accuracy of the large model minus the cascade's.
    """

    corruptions: tuple[str, ...]
    num_calibration: int
    num_test: int
    num_refit: int
    accuracy: np.ndarray
    gap_standard_error: np.ndarray
    temperature: np.ndarray
    error: np.ndarray
    recovered: np.ndarray
    area: np.ndarray
    kept: np.ndarray
    lost: np.ndarray

    @property
    def comparable(self) -> np.ndarray:
        """Corruptions for which APGR is meaningful: bool `[C]`.

        The large model is better by two standard errors at every severity and in every
        repetition.
        """
        gap = self.accuracy[..., 1] - self.accuracy[..., 0]
        return np.all(gap > 2 * self.gap_standard_error, axis=(0, 2))

    @property
    def mean_recovered(self) -> np.ndarray:
        """APGR over repetitions and comparable corruptions, `[6, 3]`."""
        values = self.recovered[:, self.comparable]
        if not values.size:
            return np.full(values.shape[2:], np.nan)
        return values.mean(axis=(0, 1))


class _Measured(NamedTuple):
    """`Numbers` of one repetition, with routers and weights of the cascades.

    Attributes:
      fitted_routers: `Router` of arrays `[1 + Q, ...]`, calibrated.
      fitted_weights: float32 `[1 + Q, 4 B]`, their cell weights where they were fitted.
      routers: `Router` of arrays `[C, 6, 3, ...]`: UC, CC, CC refitted.
      weights: float32 `[C, 6, 3, 4 B]`, their cell weights on the test part.
    """

    accuracy: jax.Array
    gap_standard_error: jax.Array
    temperature: jax.Array
    error: jax.Array
    fitted_routers: cj.Router
    fitted_weights: jax.Array
    routers: cj.Router
    weights: jax.Array


class _Answers(NamedTuple):
    """Answers of the small and the large model, `[..., 2, N]`."""

    confidence: jax.Array
    correct: jax.Array


def summarise(repeats: list[Logits], num_bins: int) -> Numbers:
    """The numbers, from the logits of every repetition."""
    measured = [
        jax.tree.map(
            np.asarray,
            _measure(jax.tree.map(jnp.asarray, each), num_bins=num_bins),
        )
        for each in repeats
    ]
    all_measured = jax.tree.map(lambda *parts: np.stack(parts), *measured)
    fitted = routing.read(all_measured.fitted_routers, all_measured.fitted_weights)
    judged = routing.read(all_measured.routers, all_measured.weights)
    # The K without loss, on clean images and on those refitted on.
    chosen = fitted.num_small_bins[..., 0]
    refitted = chosen[:, 1:].reshape(judged.area.shape[:-1])
    clean = np.broadcast_to(chosen[:, :1, None], refitted.shape)
    chosen = np.stack([clean, refitted], axis=-1)
    curve = jax.tree.map(lambda part: part[:, :, :, 1:], judged.curve)
    return Numbers(
        corruptions=tuple(corruptions.CORRUPTIONS),
        num_calibration=len(repeats[0].calibration_labels),
        num_test=len(repeats[0].test_labels),
        num_refit=len(repeats[0].refit_labels),
        accuracy=all_measured.accuracy,
        gap_standard_error=all_measured.gap_standard_error,
        temperature=all_measured.temperature,
        error=all_measured.error,
        recovered=judged.recovered,
        area=judged.area,
        kept=routing.at(curve.small_share, chosen),
        lost=curve.large_accuracy - routing.at(curve.accuracy, chosen),
    )


# Compiling takes most of the time, so each function of the library is called once, on
# the clean condition and the Q corrupted ones together.
@functools.partial(jax.jit, static_argnames="num_bins")
def _measure(logits: Logits, *, num_bins: int) -> _Measured:
    shape = logits.test.shape[:2]
    test = jax.lax.collapse(logits.test, 0, 2)
    fit_logits, fit_labels, where = _to_fit_on(logits)
    temperature, best = jax.vmap(_calibrate)(fit_logits, fit_labels, where)
    # UC and CC; on clean images and refitted.
    routers = jax.vmap(jax.vmap(_router(num_bins), (0, None)))(best.confidence, where)

    # Raw, with the clean temperature, and with the refitted one.
    clean = jnp.broadcast_to(temperature[:1], temperature[1:].shape)
    both = jnp.stack([clean, temperature[1:]], axis=1)
    raw = jnp.ones_like(both[:, :1])
    answers = jax.vmap(_answers, (0, 0, None))(
        test, jnp.concatenate([raw, both], axis=1), logits.test_labels
    )
    outcome = answers.correct[:, 0].astype(jnp.float32)
    gain = outcome[:, 1] - outcome[:, 0]

    def three(part: jax.Array) -> jax.Array:
        clean = jnp.broadcast_to(part[:1], (len(part) - 1, *part.shape[1:]))
        return jnp.concatenate([clean, part[1:, 1:]], axis=1)

    calibrated, last = jax.tree.map(lambda part: part[:, 1], (routers, best))
    judging = jax.tree.map(three, routers)
    everything = jnp.ones(answers.confidence.shape[-1:], bool)
    by_condition = {
        "accuracy": jnp.mean(outcome, axis=2),
        "gap_standard_error": jnp.std(gain, axis=1)
        / jnp.sqrt(jnp.float32(gain.shape[1])),
        "temperature": both,
        "error": jax.vmap(jax.vmap(jax.vmap(_error(num_bins))))(*answers),
        "routers": judging,
        "weights": jax.vmap(jax.vmap(_weights, (0, 0, None)), (0, 0, None))(
            judging, answers, everything
        ),
    }
    return _Measured(
        fitted_routers=calibrated,
        fitted_weights=jax.vmap(_weights)(calibrated, last, where),
        **jax.tree.map(
            lambda part: part.reshape(*shape, *part.shape[1:]), by_condition
        ),
    )


def _to_fit_on(logits: Logits) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits `[1 + Q, 2, n, 10]`, labels and which rows count `[1 + Q, n]`.

    The clean images of the calibration part, then the k images of every corrupted
    condition, padded to as many rows.
    """
    refit = jax.lax.collapse(logits.refit, 0, 2)
    num_rows, num_refit = len(logits.calibration_labels), len(logits.refit_labels)
    missing = num_rows - num_refit
    filled = jnp.pad(refit, [(0, 0), (0, 0), (0, missing), (0, 0)])
    labels = jnp.pad(logits.refit_labels, (0, missing))
    repeated = jnp.broadcast_to(labels[None], (len(refit), num_rows))
    counts = jnp.full(1 + len(refit), num_refit, jnp.int32).at[0].set(num_rows)
    return (
        jnp.concatenate([logits.calibration[None], filled]),
        jnp.concatenate([logits.calibration_labels[None], repeated]),
        jnp.arange(num_rows, dtype=jnp.int32)[None] < counts[:, None],
    )


def _calibrate(
    logits: jax.Array, labels: jax.Array, where: jax.Array
) -> tuple[jax.Array, _Answers]:
    """Temperatures `[2]`, and the answers `[2, 2, N]` raw and calibrated."""
    temperature = jax.vmap(
        lambda z: cj.fit_temperature(z, labels, where=where)[0].temperature
    )(logits)
    temperatures = jnp.stack([jnp.ones_like(temperature), temperature])
    return temperature, _answers(logits, temperatures, labels)


def _answers(logits: jax.Array, temperatures: jax.Array, labels: jax.Array) -> _Answers:
    """Answers `[T, 2, N]` from logits `[2, N, 10]` at temperatures `[T, 2]`."""
    best = jax.vmap(jax.vmap(cj.top1), (None, 0))(logits, temperatures)
    return _Answers(best.confidence, best.prediction == labels[None, None])


def _weights(router: cj.Router, answers: _Answers, where: jax.Array) -> jax.Array:
    """Cell weights `[4 B]` of a router, from answers `[2, N]`."""
    return cell_weights(router, answers.confidence[0], *answers.correct, where)


def cell_weights(
    router: cj.Router,
    confidence: jax.Array,
    small: jax.Array,
    large: jax.Array,
    where: jax.Array,
) -> jax.Array:
    """Rows by cell, as defined in `routing`.

    Args:
      router: `Router`.
      confidence: float32 `[N]`, confidence of the small model.
      small: bool `[N]`, where the small model is right.
      large: bool `[N]`, where the large one is.
      where: bool `[N]`, which rows count.

    Returns:
      float32 `[4 B]`.
    """
    cell = routing.cells(router, confidence, small, large)
    num_cells = 4 * router.bins.num_bins
    return routing.weigh(cell, where.astype(jnp.float32), num_cells)


def _router(num_bins: int) -> Callable[[jax.Array, jax.Array], cj.Router]:
    return lambda confidence, where: cj.fit_router(
        *confidence, num_bins=num_bins, where=where
    )


def _error(num_bins: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda confidence, correct: cj.expected_calibration_error(
        confidence, correct, num_bins=num_bins
    )
