"""A small and a large digit classifier in Flax, and their training.

They are miscalibrated in the two usual ways. The small model, trained with smoothed
labels for a few epochs, is under-confident. The large one, trained on plain labels
until it makes no mistakes on them, is over-confident.

Shapes: N images of 28 by 28 pixels and one channel; logits `[N, 10]`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import ArrayLike

from . import training
from .data import NUM_CLASSES, Split


class SmallModel(nnx.Module):
    """One hidden layer over the image at a quarter of its resolution, 7 by 7 pixels."""

    def __init__(self, num_hidden: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(7 * 7, num_hidden, rngs=rngs)
        self.out = nnx.Linear(num_hidden, NUM_CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        blocks = images.reshape(len(images), 7, 4, 7, 4)
        pooled = jnp.mean(blocks, axis=(2, 4)).reshape(len(images), -1)
        return self.out(nnx.relu(self.hidden(pooled)))


class LargeModel(nnx.Module):
    """Two convolutions, pooling, and one hidden layer."""

    def __init__(self, num_channels: int, num_hidden: int, *, rngs: nnx.Rngs) -> None:
        # A stride of two in the first layer makes the second four times cheaper.
        self.first = nnx.Conv(1, num_channels, (5, 5), strides=2, rngs=rngs)
        self.second = nnx.Conv(num_channels, 2 * num_channels, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(7 * 7 * 2 * num_channels, num_hidden, rngs=rngs)
        self.out = nnx.Linear(num_hidden, NUM_CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        maps = nnx.relu(self.second(nnx.relu(self.first(images))))
        pooled = nnx.max_pool(maps, (2, 2), strides=(2, 2))
        return self.out(nnx.relu(self.hidden(pooled.reshape(len(images), -1))))


def train(
    model: nnx.Module,
    key: jax.Array,
    split: Split,
    recipe: training.Recipe,
    advance: Callable[[], None],
) -> None:
    """Trains a model in place.

    Args:
      model: a classifier of images.
      key: random key for the order of the images in every epoch.
      split: images and labels to train on; an incomplete last batch is left out.
      recipe: epochs, learning rate, smoothing and batch size.
      advance: called after every epoch.
    """
    arrays = (split.images, split.labels)
    training.train(model, key, arrays, recipe, _loss, advance)


def _loss(
    model: nnx.Module, recipe: training.Recipe, images: jax.Array, digits: jax.Array
) -> jax.Array:
    labels = jax.nn.one_hot(digits, NUM_CLASSES, dtype=jnp.float32)
    targets = optax.smooth_labels(labels, recipe.label_smoothing)
    return jnp.mean(optax.softmax_cross_entropy(model(images), targets))


@nnx.jit
def logits(model: nnx.Module, images: ArrayLike) -> jax.Array:
    """Logits `[N, 10]` of images `[N, 28, 28, 1]`."""
    return model(jnp.asarray(images))
