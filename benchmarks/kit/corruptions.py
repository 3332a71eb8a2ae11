"""Corruptions of images at five severities, as pure functions of a key.

After CIFAR-10-C (Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness
to Common Corruptions and Perturbations", arXiv 1903.12261, constants from the code
published with it). Digits differ from CIFAR: they are nearly black and white, so that
noise which spoils a photograph leaves them readable, and they are smaller. Hence

    brightness, contrast            constants of CIFAR-10-C
    Gaussian noise, impulse noise   those of ImageNet-C, of the same authors
    Gaussian blur, pixelate         in pixels of these images, chosen here
    rotate                          not in CIFAR-10-C, whose elastic transform moves
                                    pixels as well; chosen here

Shapes: n images of S by S pixels and one channel, in `[0, 1]`.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike

Corruption = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def gaussian_noise(key: jax.Array, images: jax.Array, scale: jax.Array) -> jax.Array:
    """Adds normal noise of standard deviation `scale` to every pixel."""
    return jnp.clip(images + scale * jax.random.normal(key, images.shape), 0.0, 1.0)


def impulse_noise(key: jax.Array, images: jax.Array, share: jax.Array) -> jax.Array:
    """Makes a share of the pixels black or white, with equal chance."""
    drawn = jax.random.uniform(key, images.shape)
    return jnp.where(drawn < share / 2, 0.0, jnp.where(drawn < share, 1.0, images))


def gaussian_blur(key: jax.Array, images: jax.Array, scale: jax.Array) -> jax.Array:
    """Convolves with a normal density of standard deviation `scale` pixels.

    The kernel ends at four standard deviations, and border pixels are repeated beyond
    the border.
    """
    size = images.shape[1]
    position = jnp.arange(size, dtype=jnp.int32)
    # Far enough for any scale: weights beyond four standard deviations are 0.
    offset = jnp.arange(-size, size + 1, dtype=jnp.int32)
    distance = jnp.abs(offset).astype(jnp.float32)
    weight = jnp.exp(-0.5 * (distance / scale) ** 2)
    weight = jnp.where(distance <= jnp.floor(4.0 * scale + 0.5), weight, 0.0)
    weight = weight / jnp.sum(weight)
    source = jnp.clip(position[:, None] + offset[None], 0, size - 1)
    taken = jax.nn.one_hot(source, size, dtype=jnp.float32)
    matrix = jnp.sum(taken * weight[None, :, None], axis=1)
    return _along_both_axes(matrix, images)


def pixelate(key: jax.Array, images: jax.Array, width: jax.Array) -> jax.Array:
    """Gives all pixels of each square of `width` by `width` their mean.

    Squares at the right and bottom border are smaller if they do not fit.
    """
    square = jnp.arange(images.shape[1], dtype=jnp.int32) // width.astype(jnp.int32)
    together = (square[:, None] == square[None]).astype(jnp.float32)
    return _along_both_axes(together / jnp.sum(together, axis=1, keepdims=True), images)


def brightness(key: jax.Array, images: jax.Array, amount: jax.Array) -> jax.Array:
    """Adds `amount` to every pixel, up to white."""
    return jnp.clip(images + amount, 0.0, 1.0)


def contrast(key: jax.Array, images: jax.Array, factor: jax.Array) -> jax.Array:
    """Moves every pixel towards the mean of its image, to `factor` of the distance."""
    mean = jnp.mean(images, axis=(1, 2), keepdims=True)
    return jnp.clip(mean + factor * (images - mean), 0.0, 1.0)


def rotate(key: jax.Array, images: jax.Array, degrees: jax.Array) -> jax.Array:
    """Rotates every image about its centre, by so many degrees to either side."""
    sign = jax.random.rademacher(key, images.shape[:1], jnp.float32)
    angle = sign * jnp.deg2rad(degrees)
    size = images.shape[1]
    centred = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    row, column = jnp.meshgrid(centred, centred, indexing="ij")

    def one(image: jax.Array, angle: jax.Array) -> jax.Array:
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        source = jnp.stack([cosine * row - sine * column, sine * row + cosine * column])
        return map_coordinates(image, list(source + (size - 1) / 2), order=1)

    return jax.vmap(one)(images[..., 0], angle)[..., None]


# The argument of each at severities 1 to 5.
CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, ...]]] = {
    "Gaussian noise": (gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "impulse noise": (impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "Gaussian blur": (gaussian_blur, (0.5, 0.75, 1.0, 1.25, 1.5)),
    "pixelate": (pixelate, (2.0, 3.0, 4.0, 5.0, 6.0)),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "rotate": (rotate, (6.0, 12.0, 18.0, 24.0, 30.0)),
}
NUM_SEVERITIES = 5


def corrupt(key: jax.Array, images: ArrayLike, name: str, severity: int) -> jax.Array:
    """Applies one corruption.

    Args:
      key: for what is random; use the same at every severity, so that only the severity
        differs.
      images: float32 `[n, S, S, 1]`, in `[0, 1]`.
      name: in `CORRUPTIONS`.
      severity: 1 to 5.

    Returns:
      float32 `[n, S, S, 1]`, in `[0, 1]`.
    """
    function, amounts = CORRUPTIONS[name]
    return _corrupt(
        function, key, jnp.asarray(images), jnp.float32(amounts[severity - 1])
    )


# All severities of a corruption share one program.
@functools.partial(jax.jit, static_argnums=0)
def _corrupt(
    function: Corruption, key: jax.Array, images: jax.Array, amount: jax.Array
) -> jax.Array:
    return function(key, images, amount)


def _along_both_axes(matrix: jax.Array, images: jax.Array) -> jax.Array:
    """Rows and columns times a matrix `[S, S]` whose rows sum to 1."""
    product = jnp.einsum(
        "ij,njkc,lk->nilc", matrix, images, matrix, precision="highest"
    )
    # Rounding must not take it out of the range.
    return jnp.clip(product, 0.0, 1.0)
