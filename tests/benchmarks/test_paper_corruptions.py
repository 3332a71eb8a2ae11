"""The corruptions of benchmarks/paper by hand and against SciPy."""

import jax
import numpy as np
import pytest
from scipy import ndimage, stats

pytest.importorskip("mlxtend")

from benchmarks.kit import corruptions, training  # noqa: E402
from benchmarks.kit.corruptions import CORRUPTIONS, NUM_SEVERITIES, corrupt  # noqa: E402

pytestmark = pytest.mark.once

KEY = jax.random.key(5)
RANDOM = {"Gaussian noise", "impulse noise", "rotate"}


@pytest.fixture(scope="module")
def images():
    """Digits, four of each: float32 `[40, 28, 28, 1]`."""
    return training.some(training.deal((0,), 100).train, slice(40)).images


def all_severities(images, name, key=KEY):
    severities = range(1, NUM_SEVERITIES + 1)
    return np.stack([corrupt(key, images, name, severity) for severity in severities])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_changes_more(images, name):
    corrupted = all_severities(images, name)
    assert corrupted.dtype == np.float32
    assert corrupted.shape == (NUM_SEVERITIES, *images.shape)
    assert 0 <= corrupted.min() and corrupted.max() <= 1
    change = np.abs(corrupted - images).mean(axis=(1, 2, 3, 4))
    assert np.all(np.diff([0, *change]) > 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_key_decides_what_is_random(images, name):
    first = corrupt(KEY, images, name, 3)
    np.testing.assert_array_equal(first, corrupt(KEY, images, name, 3))
    other = corrupt(jax.random.key(6), images, name, 3)
    assert np.any(first != other) == (name in RANDOM)


def amounts(name):
    return zip(range(1, NUM_SEVERITIES + 1), CORRUPTIONS[name][1], strict=True)


def test_blur_agrees_with_scipy():
    # Bright up to the border, so that the border counts.
    images = np.random.default_rng(1).uniform(size=(40, 28, 28, 1)).astype(np.float32)
    for severity, scale in amounts("Gaussian blur"):
        expected = ndimage.gaussian_filter(
            images[..., 0].astype(np.float64), (0, scale, scale), mode="nearest"
        )
        blurred = corrupt(KEY, images, "Gaussian blur", severity)[..., 0]
        np.testing.assert_allclose(blurred, expected, atol=2e-6)


def test_rotation_agrees_with_scipy(images):
    ways = []
    for severity, degrees in amounts("rotate"):
        turned = np.asarray(corrupt(KEY, images, "rotate", severity))[..., 0]
        left, right = (
            ndimage.rotate(
                images[..., 0],
                angle,
                (1, 2),
                reshape=False,
                order=1,
                mode="grid-constant",
            )
            for angle in (degrees, -degrees)
        )
        off = [np.abs(turned - way).max(axis=(1, 2)) for way in (left, right)]
        np.testing.assert_allclose(np.min(off, axis=0), 0, atol=2e-5)
        ways.append(np.argmin(off, axis=0))
    # An image turns the same way at every severity; some turn left and some right.
    np.testing.assert_array_equal(np.ptp(ways, axis=0), 0)
    assert 10 <= np.sum(ways[0]) <= 30


def test_pixelate_by_hand():
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1) / 24
    means = np.array([[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]]) / 24
    expected = means.repeat(2, axis=0).repeat(2, axis=1)[:5, :5]
    pixelated = corruptions.pixelate(KEY, image, np.float32(2))
    np.testing.assert_allclose(pixelated[0, ..., 0], expected, rtol=1e-6)


def test_contrast_and_brightness_by_hand():
    image = np.array([[0.0, 0.2], [0.6, 1.0]], np.float32).reshape(1, 2, 2, 1)
    faded = corruptions.contrast(KEY, image, np.float32(0.5))
    np.testing.assert_allclose(
        faded[0, ..., 0], [[0.225, 0.325], [0.525, 0.725]], rtol=1e-6
    )
    brighter = corruptions.brightness(KEY, image, np.float32(0.3))
    np.testing.assert_allclose(brighter[0, ..., 0], [[0.3, 0.5], [0.9, 1.0]], rtol=1e-6)


def test_noise_has_the_stated_size():
    grey = np.full((40, 28, 28, 1), 0.5, np.float32)
    for severity, scale in amounts("Gaussian noise"):
        noisy = np.asarray(corrupt(KEY, grey, "Gaussian noise", severity))
        # Clipping does not move a pixel across this threshold.
        border = min(2 * scale, 0.49)
        inside = np.abs(noisy - 0.5) < border
        expected = 2 * stats.norm.cdf(border / scale) - 1
        np.testing.assert_allclose(inside.mean(), expected, atol=0.01)
    for severity, share in amounts("impulse noise"):
        noisy = np.asarray(corrupt(KEY, grey, "impulse noise", severity))
        np.testing.assert_allclose((noisy == 0).mean(), share / 2, atol=0.005)
        np.testing.assert_allclose((noisy == 1).mean(), share / 2, atol=0.005)
        assert set(np.unique(noisy)) == {0, 0.5, 1}
