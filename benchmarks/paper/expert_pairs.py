"""Pairs of experts, more or less alike, trained here on the demo's digits.

From one network twice to two networks that share neither architecture nor images; and
pairs that learned one habit of mislabelling.

Shapes: n images to calibrate on, as many to test on, P = D + 2 H pairs: D degrees of
likeness, then H pairs faced with a habit, before and after learning it.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from benchmarks.kit import training
from calib_jax.demo import data, models
from calib_jax.demo.data import Recipe, Split

from .independence_measures import Pair
from .study import Advance, Settings

# Seeds of this section start with this, after the study's own.
_DIGITS, _WEIGHTS, _FLIPS, _HABIT = 1050, 1051, 1052, 1053

_LEARNING_RATE = 3e-3

# One digit is often labelled as another; which, and how often.
HABIT = (4, 9)
HABIT_SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class Expert:
    """How one expert is trained.

    Attributes:
      build: makes an untrained network.
      seed: for the first weights and the order of images.
      half: which half of the training images, 0 or 1.
      habit: whether its labels have the habit.
    """

    build: Callable[[], nnx.Module]
    seed: int = 0
    half: int = 0
    habit: bool = False


def _network() -> nnx.Module:
    return training.convolutional(8, 64)


def _wider() -> nnx.Module:
    return training.convolutional(16, 64)


def _perceptron() -> nnx.Module:
    return training.Perceptron(128, rngs=nnx.Rngs(0))


FIRST = Expert(_network)
# The second expert, less and less like the first.
SECOND = {
    "the same network": FIRST,
    "another seed": Expert(_network, seed=1),
    "another width": Expert(_wider, seed=1),
    "other images": Expert(_network, seed=1, half=1),
    "another architecture": Expert(_perceptron, seed=1),
    "another architecture, other images": Expert(_perceptron, seed=1, half=1),
}
# The pairs that are also trained on labels with the habit.
HABITUAL = ("another seed", "another architecture, other images")


@dataclasses.dataclass(frozen=True)
class Trained:
    """One repetition: logits `[n, 10]` on both parts, by expert, and the labels `[n]`.

    Attributes:
      calibration: logits on the calibration part.
      test: logits on the test part.
      calibration_labels: labels of the calibration part, right and with the habit.
      truth: right labels of the test part.
      given: labels of the test part, some wrong at random; and by habit too.
      is_habit: which labels of the test part the habit makes wrong.
    """

    calibration: dict[Expert, np.ndarray]
    test: dict[Expert, np.ndarray]
    calibration_labels: tuple[np.ndarray, np.ndarray]
    truth: np.ndarray
    given: tuple[np.ndarray, np.ndarray]
    is_habit: np.ndarray


def train(settings: Settings, repeat: int, advance: Advance) -> Trained:
    """Trains every expert of one repetition, and evaluates it on both parts."""

    def rng(of: int, *more: int) -> np.random.Generator:
        return np.random.default_rng((settings.seed, of, repeat, *more))

    digits = training.deal((settings.seed, _DIGITS, repeat), settings.num_train)
    recipe = Recipe(num_epochs=settings.num_epochs, learning_rate=_LEARNING_RATE)
    half = settings.num_train // 2
    halves = [
        training.some(digits.train, part) for part in (slice(half), slice(half, None))
    ]
    calibration, test = {}, {}
    for expert in experts():
        images, labels = halves[expert.half].images, halves[expert.half].labels
        if expert.habit:
            labels = by_habit(rng(_HABIT, expert.half), labels)
        seed = (settings.seed, _WEIGHTS, repeat, expert.seed)
        model = training.train(expert.build, seed, Split(images, labels), recipe)
        calibration[expert] = np.asarray(
            models.logits(model, digits.calibration.images)
        )
        test[expert] = np.asarray(models.logits(model, digits.test.images))
        advance(f"network {len(test)} of repetition {repeat + 1}")

    known, truth = digits.calibration.labels, digits.test.labels
    key = jax.random.key(rng(_FLIPS).integers(2**31))
    flipped = np.asarray(data.flip(key, truth, settings.flipped_share))
    habit = by_habit(rng(_HABIT, 3), truth)
    is_habit = habit != truth
    return Trained(
        calibration=calibration,
        test=test,
        calibration_labels=(known, by_habit(rng(_HABIT, 2), known)),
        truth=truth,
        given=(flipped, np.where(is_habit, habit, flipped)),
        is_habit=is_habit,
    )


def by_habit(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Labels `[N]` in which a share of one digit is labelled as another."""
    of_digit = rng.permutation(np.flatnonzero(labels == HABIT[0]))
    changed = labels.copy()
    changed[of_digit[: round(HABIT_SHARE * len(of_digit))]] = HABIT[1]
    return changed


def experts() -> tuple[Expert, ...]:
    """Every expert that is trained, once."""
    habitual = [FIRST, *(SECOND[name] for name in HABITUAL)]
    given = [dataclasses.replace(expert, habit=True) for expert in habitual]
    return tuple(dict.fromkeys([FIRST, *SECOND.values(), *given]))


def pairs(trained: Trained) -> Pair:
    """All pairs of a repetition, `[P, ...]`."""

    def pair(second: Expert, *, met: bool, learned: bool) -> Pair:
        both = [
            dataclasses.replace(expert, habit=learned) for expert in (FIRST, second)
        ]
        given = trained.given[met]
        return Pair(
            calibration=np.stack([trained.calibration[expert] for expert in both]),
            calibration_labels=trained.calibration_labels[learned],
            test=np.stack([trained.test[expert] for expert in both]),
            truth=trained.truth,
            given=given,
            is_habit=trained.is_habit & met,
        )

    every = [pair(second, met=False, learned=False) for second in SECOND.values()]
    every += [
        pair(SECOND[name], met=True, learned=learned)
        for learned in (False, True)
        for name in HABITUAL
    ]
    return jax.tree.map(lambda *parts: np.stack(parts), *every)
