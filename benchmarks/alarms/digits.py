"""The demo's networks on digits, corrupted more and more, or renamed.

Shapes: C corruptions, severities 0 (clean) to 5, n images.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from benchmarks.kit import corruptions, training
from calib_jax.demo import data, models

from .measure import Judged, Rows, judge

# The seeds start with this, after the seed of the settings.
_DIGITS, _SMALL, _LARGE, _CORRUPTION, _BATCHES = 2040, 2041, 2042, 2043, 2044
# Digits whose names are swapped: confidences stay, answers become wrong.
RENAMED = (3, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corrupted:
    """The results of every repetition.

    Attributes:
      corruptions: C names.
      num_calibration: clean images to calibrate on.
      num_reference: clean images to compare with.
      num_new: images in each condition.
      judged: `Judged` with entries `[repeats, C, 6, ...]`; severity 0 is the same clean
        images for every corruption.
      renamed: `Judged` with entries `[repeats, ...]`, on clean images after two digits
        have swapped names.
    """

    corruptions: tuple[str, ...]
    num_calibration: int
    num_reference: int
    num_new: int
    judged: Judged
    renamed: Judged


def num_steps(repeats: int) -> int:
    return 2 * repeats


def measure(
    settings: data.Settings,
    num_epochs: int,
    repeats: int,
    num_batches: int,
    advance: Callable[[str], None],
) -> Corrupted:
    """Trains, corrupts and judges in every repetition."""
    shape = len(corruptions.CORRUPTIONS), corruptions.NUM_SEVERITIES
    every = []
    for repeat in range(repeats):
        parts = _outputs(settings, num_epochs, repeat)
        advance(f"training {repeat + 1}")
        key = jax.random.key(_integer((settings.seed, _BATCHES, repeat)))
        every.append(
            jax.tree.map(np.asarray, judge(key, *parts, num_batches=num_batches))
        )
        advance(f"batches {repeat + 1}")
    judged = jax.tree.map(lambda *leaves: np.stack(leaves), *every)

    def by_corruption(leaf: np.ndarray) -> np.ndarray:
        # The first condition is clean, the last one renamed.
        clean = np.broadcast_to(
            leaf[:, None, :1], (len(leaf), shape[0], 1, *leaf.shape[2:])
        )
        worse = leaf[:, 1:-1].reshape(len(leaf), *shape, *leaf.shape[2:])
        return np.concatenate([clean, worse], axis=2)

    return Corrupted(
        corruptions=tuple(corruptions.CORRUPTIONS),
        num_calibration=parts[0].small.shape[0],
        num_reference=parts[1].small.shape[0],
        num_new=parts[2].small.shape[1],
        judged=jax.tree.map(by_corruption, judged),
        renamed=jax.tree.map(lambda leaf: leaf[:, -1], judged),
    )


def _integer(seed: tuple[int, ...]) -> int:
    return int(np.random.default_rng(seed).integers(2**31))


def _outputs(
    settings: data.Settings, num_epochs: int, repeat: int
) -> tuple[Rows, Rows, Rows]:
    """Calibration and reference rows `[n]`, new rows `[1 + 5 C + 1, n]`."""

    def seed(of: int) -> tuple[int, ...]:
        return settings.seed, of, repeat

    # Half as many images calibrate as train; a third of the rest is the reference.
    settings = dataclasses.replace(settings, num_calibrate=settings.num_train // 2)
    dealt = data.load(jax.random.key(_integer(seed(_DIGITS))), settings)
    third = len(dealt.test.labels) // 3
    reference = training.some(dealt.test, slice(third))
    new = training.some(dealt.test, slice(third, None))
    pair = []
    for build, recipe, of in (
        (training.small, settings.small_recipe, _SMALL),
        (training.large, settings.large_recipe, _LARGE),
    ):
        recipe = dataclasses.replace(recipe, num_epochs=num_epochs)
        pair.append(training.train(build, seed(of), dealt.train, recipe))

    def ask(images: np.ndarray | jax.Array) -> jax.Array:
        return jnp.stack([models.logits(model, images) for model in pair])

    keys = jax.random.split(
        jax.random.key(_integer(seed(_CORRUPTION))), len(corruptions.CORRUPTIONS)
    )
    clean = ask(new.images)
    worse = [
        ask(corruptions.corrupt(key, new.images, name, severity + 1))
        for name, key in zip(corruptions.CORRUPTIONS, keys, strict=True)
        for severity in range(corruptions.NUM_SEVERITIES)
    ]
    first, second = RENAMED
    renamed = np.select(
        [new.labels == first, new.labels == second], [second, first], new.labels
    )
    labels = np.stack([new.labels] * (1 + len(worse)) + [renamed])
    fitted = ask(dealt.calibration.images)
    temperature = _temperatures(fitted, dealt.calibration.labels)
    return (
        _rows(fitted, temperature, dealt.calibration.labels),
        _rows(ask(reference.images), temperature, reference.labels),
        jax.vmap(_rows, (0, None, 0))(
            jnp.stack([clean, *worse, clean]), temperature, labels
        ),
    )


@jax.jit
def _temperatures(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Temperatures of both models, from logits `[2, n, 10]`."""
    return jax.vmap(lambda z: cj.fit_temperature(z, labels)[0].temperature)(logits)


@jax.jit
def _rows(logits: jax.Array, temperature: jax.Array, labels: jax.Array) -> Rows:
    """`Rows` from logits `[2, n, 10]`."""
    best = jax.vmap(cj.top1)(logits, temperature)
    right = best.prediction == labels[None]
    return Rows(
        small=best.confidence[0],
        large=best.confidence[1],
        small_right=right[0],
        large_right=right[1],
        where=jnp.ones(labels.shape, bool),
    )
