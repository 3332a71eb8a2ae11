"""The smooth calibration error against direct sums of reflected kernels, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

smooth = cj.metrics.smooth_calibration_error


def error_at(bandwidth, scores, residuals, weights):
    """The mean size of the smoothed residual, by the midpoint rule."""
    # Each row weighs on both sides of both ends, a few times.
    copies = range(-2, 3)
    nodes = int(np.clip(40 / bandwidth, 2000, 100_000))
    place = (np.arange(nodes) + 0.5) / nodes
    total = np.zeros(nodes)
    for score, residual in zip(scores, residuals * weights, strict=True):
        for centre in (2 * k + sign * score for k in copies for sign in (1, -1)):
            if -10 * bandwidth < centre < 1 + 10 * bandwidth:
                total += residual * np.exp(-0.5 * ((place - centre) / bandwidth) ** 2)
    size = np.mean(np.abs(total)) / (bandwidth * np.sqrt(2 * np.pi))
    return size / np.sum(weights)


def reference(scores, outcomes, weights=None):
    scores = np.asarray(scores, np.float32).astype(np.float64)
    weights = np.ones(len(scores)) if weights is None else weights
    low, high = 0.0, 1.0
    for _ in range(22):
        middle = 0.5 * (low + high)
        above = error_at(middle, scores, scores - outcomes, weights) > middle
        low, high = (middle, high) if above else (low, middle)
    return 0.5 * (low + high)


def rows(kind, size):
    rng = np.random.default_rng([size, len(kind)])
    scores = rng.random(size)
    if kind == "near 1":
        scores = 1 - 1e-2 * scores
    elif kind == "tied":
        scores = np.round(scores, 1)
    scores = scores.astype(np.float32)
    outcomes = (rng.random(size) < scores).astype(float)
    return scores, outcomes, rng.choice([0.5, 1.0, 4.0], size)


@pytest.mark.parametrize("kind", ["even", "near 1", "tied"])
def test_fixed_point_in_float64(kind):
    scores, outcomes, weights = rows(kind, 60)
    np.testing.assert_allclose(
        smooth(scores, outcomes), reference(scores, outcomes), atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(
        smooth(scores, outcomes, weights=weights),
        reference(scores, outcomes, weights),
        atol=1e-5,
        rtol=0,
    )


def test_by_hand():
    # Gaps of one sign: smoothing keeps their sum.
    np.testing.assert_allclose(smooth([0.9, 0.8], [0, 0]), 0.85, atol=1e-6)
    np.testing.assert_allclose(smooth([0.0] * 5, [1] * 5), 1.0, atol=1e-6)
    # Tied rows whose gaps cancel: calibrated.
    assert smooth([0.75] * 4, [1, 1, 1, 0]) < 1e-6
    # Gaps that cancel at a distance: any bandwidth up to it sees them.
    assert smooth([0.0, 1.0], [1, 0]) > 0.25
    for nothing in ([], [0.5]):
        where = np.zeros(len(nothing), bool)
        assert np.isnan(smooth(nothing, nothing, where=where))
    assert np.isnan(smooth([0.5, np.nan], [1, 0]))


@pytest.mark.parametrize("score", [0.9, 1e-3])
def test_many_rows_of_one_score(score):
    """A plain sum of float32 numbers would be wrong in the fourth digit."""
    size = 10**6
    outcomes = np.arange(size) % 5 != 0
    scores = np.full(size, score, np.float32)
    gap = abs(float(np.float32(score)) - np.mean(outcomes))
    np.testing.assert_allclose(smooth(scores, outcomes), gap, atol=1e-6)
    with_weights = smooth(scores, outcomes, weights=np.full(size, 3.0))
    np.testing.assert_allclose(with_weights, gap, atol=1e-6)


def test_derivative_of_the_fixed_point():
    scores, outcomes, _ = rows("even", 20)
    found = jax.grad(smooth)(jnp.asarray(scores), jnp.asarray(outcomes, jnp.float32))
    step = 2e-3
    for place in (0, 7):
        ends = [
            reference(scores + sign * step * (np.arange(20) == place), outcomes)
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[place], slope, atol=2e-3)
