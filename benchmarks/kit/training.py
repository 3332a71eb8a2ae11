"""Models trained on the demo's digits, to show what saved outputs cannot.

The images, the models and the training are those of calib_jax.demo. Repetitions differ
in everything random: which digits are trained and tested on, first weights, order.

Shapes: n images of 28 by 28 pixels and one channel, ten classes.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from calib_jax.demo import data, models
from calib_jax.demo.data import NUM_CLASSES, Data, Recipe, Split

# Digits to calibrate on, and as many to test on, per digit trained on.
_CALIBRATION_SHARE = 0.75
_LEAST_CALIBRATION = 300


class Perceptron(nnx.Module):
    """One hidden layer over all pixels: a different kind, without convolutions."""

    def __init__(self, num_hidden: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(28 * 28, num_hidden, rngs=rngs)
        self.out = nnx.Linear(num_hidden, NUM_CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.out(nnx.relu(self.hidden(images.reshape(len(images), -1))))


def small() -> nnx.Module:
    """The demo's small model."""
    return models.SmallModel(data.Settings.small_hidden, rngs=nnx.Rngs(0))


def large() -> nnx.Module:
    """The demo's large model."""
    settings = data.Settings
    return convolutional(settings.large_channels, settings.large_hidden)


def convolutional(num_channels: int, num_hidden: int) -> nnx.Module:
    """The demo's large model, with another width."""
    return models.LargeModel(num_channels, num_hidden, rngs=nnx.Rngs(0))


def deal(seed: tuple[int, ...], num_train: int) -> Data:
    """The digits, dealt out at random: to train, to calibrate and to test on.

    Args:
      seed: for the shuffle.
      num_train: images to train on. Three quarters as many, but at least 300, are for
        calibration, and as many for testing; every digit is equally frequent in each.
    """
    num_other = max(_LEAST_CALIBRATION, round(_CALIBRATION_SHARE * num_train))
    settings = data.Settings(num_train=num_train, num_calibrate=num_other)
    dealt = data.load(jax.random.key(_integer(seed)), settings)
    return dataclasses.replace(dealt, test=some(dealt.test, slice(num_other)))


def some(split: Split, part: slice) -> Split:
    """A part of a split in which every digit is equally frequent.

    Args:
      split: every digit equally often, sorted by digit.
      part: slice of the images as if digits alternated: `slice(300)` is 30 of every
        digit.
    """
    rows = np.arange(len(split.labels)).reshape(NUM_CLASSES, -1).T.ravel()[part]
    rows = np.sort(rows)
    return Split(split.images[rows], split.labels[rows])


def train(
    build: Callable[[], nnx.Module],
    seed: tuple[int, ...],
    split: Split,
    recipe: Recipe,
) -> nnx.Module:
    """A trained model.

    Args:
      build: makes an untrained one; only its structure counts.
      seed: for the first weights and the order of the images.
      split: images to train on.
      recipe: how to train.
    """
    rng = np.random.default_rng(seed)
    # Only the structure: to draw weights, JAX would compile a program for each shape.
    structure, shapes = nnx.split(nnx.eval_shape(build))
    model = nnx.merge(structure, jax.tree.map(lambda x: _first(rng, x.shape), shapes))
    # Optax's Adam raises a float to an integer count, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        key = jax.random.key(rng.integers(2**31))
        models.train(model, key, split, recipe, lambda: None)
    return model


def _first(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """First weights: biases 0, else normal with the variance of LeCun et al. 1998."""
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    scale = np.float32(1 / np.sqrt(np.prod(shape[:-1])))
    return scale * rng.standard_normal(shape, np.float32)


def _integer(seed: tuple[int, ...]) -> int:
    return int(np.random.default_rng(seed).integers(2**31))
