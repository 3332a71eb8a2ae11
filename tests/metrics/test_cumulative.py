"""Cumulative differences, and tests of calibration with their laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from by_hand import NAN, close, equal

import calib_jax as cj
from calib_jax.metrics import brownian

ERRORS = [
    cj.metrics.kolmogorov_smirnov_calibration_error,
    cj.metrics.kuiper_calibration_error,
]
TESTS = [
    cj.metrics.kolmogorov_smirnov_test,
    cj.metrics.kuiper_test,
    cj.metrics.spiegelhalter_test,
]


def drawn(size, kind="bools", seed=0):
    """Scores, outcomes and options."""
    rng = np.random.default_rng(seed)
    scores = rng.random(size).astype(np.float32)
    if kind == "tied":
        scores = np.round(scores, 1)
    outcomes = rng.random(size) < scores**1.2
    if kind != "weights":
        return scores, outcomes, {}
    outcomes = np.where(rng.random(size) < 0.2, np.float32(0.3), outcomes)
    weights = rng.choice(np.float32([0, 0.5, 2]), size)
    return scores, outcomes, {"weights": weights, "where": rng.random(size) < 0.8}


def by_sums(scores, outcomes, where=None, weights=None):
    """Both errors and the three statistics, from float64 sums."""
    w = np.ones(len(scores)) if weights is None else np.float64(weights)
    w = w if where is None else w * where
    c, v = np.float64(scores), np.float64(outcomes)
    _, block = np.unique(scores, return_inverse=True)
    upto = np.cumsum(np.bincount(block, w * (c - v))) / w.sum()
    highest, lowest = max(upto.max(), 0), min(upto.min(), 0)
    errors = np.array([max(highest, -lowest), highest - lowest])
    sigma = np.sqrt(np.sum(w**2 * c * (1 - c))) / w.sum()
    slope = w * (1 - 2 * c)
    z = np.sum(slope * (v - c)) / np.sqrt(np.sum(slope**2 * c * (1 - c)))
    return errors, [*(errors / sigma), z]


@pytest.mark.parametrize("kind", ["bools", "tied", "weights"])
@pytest.mark.parametrize("size", [24, 100_001])
def test_against_float64_sums(kind, size):
    scores, outcomes, options = drawn(size, kind)
    errors, statistics = by_sums(scores, outcomes, **options)
    found = [error(scores, outcomes, **options) for error in ERRORS]
    close(found, errors, rtol=0, atol=5e-7)
    tests = [test(scores, outcomes, **options) for test in TESTS]
    close([test.statistic for test in tests], statistics, rtol=2e-5)
    close(tests[2].p_value, 2 * scipy.stats.norm.sf(abs(statistics[2])), rtol=1e-4)


def test_the_same_for_bools_and_floats():
    """Values and derivatives: bools are packed with their scores."""
    scores, outcomes, _ = drawn(300)
    given = jnp.asarray(scores)
    for error in ERRORS:
        both = [
            jax.value_and_grad(error)(given, jnp.asarray(kind))
            for kind in (outcomes, np.float32(outcomes))
        ]
        close(both[0][0], both[1][0], rtol=1e-6)
        close(both[0][1], both[1][1])
        assert np.any(both[0][1])


def test_by_hand():
    # Differences after each block of ties: 0.25, -0.1 and 0.15.
    scores, outcomes = [0.5, 0.5, 0.3, 0.8, 0.7], [1, 0, 0, 1, 0]
    differences = np.cumsum([0.3, 0.0, 0.7, -0.2]) / 5
    found = [error(scores, outcomes) for error in ERRORS]
    close(found, [differences.max(), differences.max()])
    close([error([0.5, 0.5], [1, 0]) for error in ERRORS], [0, 0])
    close([error([0.2, 0.4, 0.9], [1, 0, 0]) for error in ERRORS], [0.8 / 3, 1.3 / 3])


def test_edge_cases():
    for test in TESTS:
        for scores, outcomes in (([], []), ([NAN, 0.5], [1, 0]), ([0.5], [NAN])):
            found = test(np.float32(scores), np.float32(outcomes))
            equal([found.statistic, found.p_value], [NAN, NAN])
        assert np.isnan(test(jnp.array([0.5, 1.5]), [1, 0]).p_value)
        wrong = test([1.0, 0.0, 1.0], [1, 0, 0])
        equal([abs(wrong.statistic), wrong.p_value], [np.inf, 0])
        right = test([1.0, 0.0], [1, 0])
        # Spiegelhalter's test has nothing to go by.
        expected = NAN if test is TESTS[2] else 1
        equal(right.p_value, expected)
    for error in ERRORS:
        assert np.isnan(error([0.5], [1], where=[False]))
        close(error([0.7], [1], weights=[1e-30]), 0.3)


def test_laws_of_brownian_motion():
    """Both series of each law, in float64 with many terms, and an integral."""
    x = np.r_[np.linspace(0.02, 8, 400), 1.25, 1.75, 30.0]
    k = np.arange(1, 400)[:, None]
    odd, signs = 2 * k - 1, (-1.0) ** (k - 1)
    tail = scipy.stats.norm.sf
    distance = 4 * np.sum(signs * tail(odd * x), axis=0)
    width = 8 * np.sum(signs * k * tail(k * x), axis=0)
    close(jax.vmap(brownian.distance_exceeds)(jnp.float32(x)), distance, atol=4e-7)
    close(jax.vmap(brownian.range_exceeds)(jnp.float32(x)), width, atol=4e-7)
    far = np.float32([3.0, 5.0, 8.0])
    found = jax.vmap(brownian.distance_exceeds)(jnp.asarray(far))
    close(found, 4 * tail(np.float64(far)), rtol=3e-5)
    # The range has mean 2 sqrt(2 / pi).
    fine = jnp.linspace(0, 12, 4001, dtype="float32")
    mean = scipy.integrate.simpson(jax.vmap(brownian.range_exceeds)(fine), x=fine)
    close(mean, 2 * np.sqrt(2 / np.pi), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_p_values_are_uniform_under_the_null(weighted):
    rng = np.random.default_rng(3)
    scores = jnp.asarray(rng.beta(2, 1, 4000), jnp.float32)
    weights = jnp.asarray(rng.random(4000), jnp.float32) if weighted else None
    right = jnp.asarray(rng.random((2000, 4000)) < np.asarray(scores))
    for test in TESTS:
        of_draw = functools.partial(test, scores, weights=weights)
        p_value = np.asarray(jax.lax.map(of_draw, right).p_value)
        for level in (0.05, 0.5):
            share = np.mean(p_value <= level)
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 2000) + 0.02


def test_intervals_by_the_bootstrap():
    scores, outcomes, _ = drawn(400)
    for error in ERRORS:
        found = cj.bootstrap_interval(jax.random.key(0), error, 50, scores, outcomes)
        close(found.estimate, error(scores, outcomes), atol=1e-6)
        assert found.lower < found.upper
