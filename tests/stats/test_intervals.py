"""Error bars: against formulas in float64, SciPy, plain resampling and known truths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from scipy import stats

import calib_jax as cj
from calib_jax.stats import intervals

ROWS, DRAWS = 60, 39
KEY = jax.random.key(0)


def as_numpy(found):
    return jax.tree.map(np.asarray, found)


def test_bootstrap_interval_counts_nan_as_infinite():
    def ratio(x, y, weights):
        return jnp.sum(weights * x) / jnp.sum(weights * y)

    x = np.ones(12, np.float32)
    y = (np.arange(12) == 3).astype(np.float32)
    # A third of the draws leave out the only row that counts below.
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, 0 * x, y))
    assert found.estimate == 0 and found.lower == -np.inf and found.upper == np.inf
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, x, x))
    assert found.estimate == found.lower == found.upper == 1
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, x, 0 * x - np.nan))
    assert np.isnan([found.estimate, found.lower, found.upper]).all()


def test_bootstrap_interval_is_as_wide_as_its_level_says():
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)

    def mean(x, weights):
        return jnp.sum(weights * x) / jnp.sum(weights)

    for alpha in (0.05, 0.3):
        found = as_numpy(
            cj.bootstrap_interval(KEY, mean, 1000, x, confidence_level=1 - alpha)
        )
        half = -stats.norm.ppf(alpha / 2) * x.std() / np.sqrt(500)
        np.testing.assert_allclose(found.upper - found.lower, 2 * half, rtol=0.12)
        assert found.lower < found.estimate < found.upper


def test_bootstrap_interval_without_masked_rows():
    """Masked rows change nothing, whatever they hold."""

    def mean(x, y, weights):
        return jnp.sum(weights * (x + jnp.sum(y, axis=1))) / jnp.sum(weights)

    rng = np.random.default_rng(0)
    where = rng.random(ROWS) < 0.7
    x = rng.integers(0, 9, ROWS).astype(np.float32)
    y = rng.integers(0, 3, (ROWS, 2)).astype(np.float32)
    found, dirty = (
        as_numpy(
            cj.bootstrap_interval(
                KEY,
                mean,
                DRAWS,
                np.where(where, x, fill),
                np.where(where[:, None], y, fill),
                where=where,
            )
        )
        for fill in (1.0, np.nan)
    )
    for clean, other in zip(*map(jax.tree.leaves, (found, dirty)), strict=True):
        np.testing.assert_array_equal(clean, other)
    kept = (x + y.sum(axis=1))[where]
    np.testing.assert_allclose(found.estimate, kept.mean(), rtol=1e-6)
    reach = 2 * kept.std() / np.sqrt(len(kept))
    np.testing.assert_allclose(found.upper - found.lower, 2 * reach, rtol=0.5)
    counts = found.counts
    assert counts.num_rows == where.sum() and counts.num_masked == (~where).sum()


@pytest.mark.parametrize("alpha", [1e-3, 0.05, 0.4])
def test_wilson_and_byar_agree_with_scipy(alpha):
    """Wilson's is exact; Byar's approximates the exact Poisson interval."""
    share, rows = np.array([0, 3, 20, 20]) / 20, np.full(4, 20)
    given = jnp.float32(share), jnp.float32(rows), jnp.float32(alpha)
    found = as_numpy(intervals.wilson(*given))
    for k, part in enumerate(share * rows):
        ends = stats.binomtest(int(part), 20).proportion_ci(1 - alpha, method="wilson")
        actual = found.lower[k], found.upper[k]
        np.testing.assert_allclose(actual, ends, rtol=1e-5, atol=1e-6)
    count = np.array([0.0, 1, 5, 40, 300])
    lower, upper = intervals.byar(jnp.float32(count), jnp.float32(alpha))
    exact = stats.gamma.ppf(alpha / 2, count), stats.gamma.isf(alpha / 2, count + 1)
    assert lower[0] == 0
    np.testing.assert_allclose(lower[2:], exact[0][2:], rtol=0.1)
    np.testing.assert_allclose(upper, exact[1], rtol=0.04)


@pytest.mark.parametrize("level", [95.0, 1.0, 0.0, -3.0, np.nan])
@pytest.mark.once
def test_a_level_on_a_device_outside_its_domain_leaves_no_interval(level):
    """On the host it is an error; here every end is NaN, and no alarm is promised."""
    level, rng = jnp.float32(level), np.random.default_rng(0)
    scores = rng.random(24).astype(np.float32)
    outcomes = rng.random(24) < scores
    key, bins = jax.random.key(0), cj.equal_width_bins(5)
    router = cj.fit_router(scores, scores, num_bins=5)
    routed = key, router, scores, outcomes, ~outcomes
    found = [
        cj.bootstrap_interval(
            key, registry.weighted_mean, 3, scores, confidence_level=level
        ),
        cj.calibration_error_interval(
            key, bins, scores, outcomes, num_resamples=3, confidence_level=level
        ),
        cj.cleaning.expert_dependence(
            np.stack([outcomes, outcomes]), confidence_level=level
        ).lift,
    ]
    cascade = cj.cascade_interval(*routed, num_resamples=3, confidence_level=level)
    found += [cascade.apgr, cascade.pgr, cascade.accuracy]
    for interval in found:
        assert np.isnan(interval.lower).all() and np.isnan(interval.upper).all()
    state = cj.monitoring.init_monitor(key, scores, num_bins=5, confidence_level=level)
    state = cj.monitoring.update_monitor(key, state, 0.01 * scores)
    assert np.isnan(cj.monitoring.read_monitor(state).p_value)
