"""`fit_arbiter` and `prefer_large`, against a fit by SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

import calib_jax as cj
from calib_jax.cascade import fit_arbiter, prefer_large

LEAST = 2.0**-24


def rows(num_rows, seed=0, partial=False):
    """Two calibrated models that err independently."""
    rng = np.random.default_rng(seed)
    confidence = rng.choice(rng.beta(2, 1, 50), (2, num_rows)).astype(np.float32)
    outcomes = rng.random((2, num_rows)) < confidence
    if partial:
        outcomes = np.where(rng.random(outcomes.shape) < 0.3, 0.25, outcomes)
    return (*confidence, *outcomes.astype(np.float32))


def log_odds(confidence):
    return special.logit(np.clip(np.float64(confidence), LEAST, 1 - LEAST))


def penalty(small_slope, large_slope, intercept):
    """20, 60 and 0.1 times half the squares of mean, half difference, intercept."""
    mean, difference = (large_slope + small_slope) / 2, (large_slope - small_slope) / 2
    return 10 * mean**2 + 30 * difference**2 + 0.05 * intercept**2


def solve(features, target, weight):
    """Slopes and intercept, and the inverse of the Hessian."""

    def loss(params):
        margin = features @ params
        likelihood = np.logaddexp(0, margin) - target * margin
        return np.sum(weight * likelihood) + penalty(*params)

    found = optimize.minimize(loss, np.zeros(3), tol=1e-12)
    chance = special.expit(features @ found.x)
    curved = (features * (weight * chance * (1 - chance))[:, None]).T @ features
    both = np.array([[5 + 15, 5 - 15], [5 - 15, 5 + 15]])
    curved[:2, :2] += both
    curved[2, 2] += 0.1
    return found.x, np.linalg.inv(curved)


def reference(small, large, by_small, by_large, weights=None):
    """Arbiter and gain with its standard error, by leaving out rows one by one."""
    weights = np.ones(len(small)) if weights is None else np.float64(weights)
    features = np.stack([-log_odds(small), log_odds(large), np.ones(len(small))], 1)
    advantage = np.float64(by_large) - by_small
    target = (advantage > 0).astype(float)
    params, inverse = solve(features, target, weights * np.abs(advantage))
    margin = features @ params
    one = np.minimum(weights, 1) * np.abs(advantage)
    leverage = one * np.einsum("ni,ij,nj->n", features, inverse, features)
    chance = special.expit(margin)
    rest = 1 - leverage * chance * (1 - chance)
    margin = margin - leverage * (target - chance) / rest
    better = np.sum(weights * advantage) >= 0
    change = np.where(margin >= 0, advantage, 0) - np.where(better, advantage, 0)
    gain = np.average(change, weights=weights)
    variance = np.average((change - gain) ** 2, weights=weights)
    return params, gain, np.sqrt(variance / weights.sum()), margin


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_that_of_scipy(partial, weighted):
    given = rows(400, partial=partial)
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], 400)
    weights = weights.astype(np.float32) if weighted else None
    arbiter, report = fit_arbiter(*given, weights=weights)
    params, gain, error, _ = reference(*given, weights)
    assert report.helps and report.fit.converged
    found = arbiter.small_slope, arbiter.large_slope, arbiter.intercept
    np.testing.assert_allclose(found, params, atol=2e-5)
    np.testing.assert_allclose(report.gain, gain, atol=1e-6)
    np.testing.assert_allclose(report.standard_error, error, rtol=1e-4)
    kept = np.ones(400, bool) if weights is None else weights > 0
    assert int(report.num_decisive) == np.sum(kept & (given[2] != given[3]))


def test_leaving_out_a_row_is_nearly_a_fit_without_it():
    given = rows(150)
    *_, margin = reference(*given)
    features = np.stack([-log_odds(given[0]), log_odds(given[1]), np.ones(150)], 1)
    decisive = np.flatnonzero(given[2] != given[3])
    for row in decisive[:8]:
        others = np.setdiff1d(decisive, row)
        params, _ = solve(features[others], given[3][others], np.ones(len(others)))
        np.testing.assert_allclose(features[row] @ params, margin[row], atol=0.02)


def test_independent_models_want_the_surer_answer():
    small, large, by_small, by_large = rows(20_000)
    arbiter, report = fit_arbiter(small, large, by_small, by_large)
    np.testing.assert_allclose(arbiter.small_slope, 1, atol=0.1)
    np.testing.assert_allclose(arbiter.large_slope, 1, atol=0.1)
    np.testing.assert_allclose(arbiter.intercept, 0, atol=0.1)
    # What the surer answer gains.
    surer = np.where(large >= small, by_large, by_small).mean()
    gain = surer - max(by_small.mean(), by_large.mean())
    assert gain > 0.05
    np.testing.assert_allclose(report.gain, gain, atol=0.01)


@pytest.mark.parametrize("better", ["small", "large"])
def test_without_a_gain_the_better_model_is_taken(better):
    rng = np.random.default_rng(2)
    small, large = rng.random((2, 500))
    by_small, by_large = rng.random((2, 500)) < [[0.5], [0.8]]
    if better == "small":
        by_small, by_large = by_large, by_small
    arbiter, report = fit_arbiter(small, large, by_small, by_large)
    assert not report.helps and report.gain <= 0.5 * report.standard_error
    assert arbiter.small_slope == 0 and arbiter.large_slope == 0
    assert np.all(prefer_large(arbiter, small, large) == (better == "large"))


def test_few_rows_change_little():
    """With three rows each, all in favour of the surer, one model is taken."""
    given = [0.6, 0.9] * 3, [0.8, 0.7] * 3, [0, 1] * 3, [1, 0] * 3
    arbiter, report = fit_arbiter(*given)
    assert not report.helps and report.num_decisive == 6
    # Equally good: the large one.
    assert prefer_large(arbiter, [0.9], [0.1])


def test_equal_answers_say_nothing():
    small, large, by_small, by_large = rows(300)
    differ = np.random.default_rng(3).random(300) < 0.7
    fitted = fit_arbiter(small, large, by_small, by_large, differ=differ)
    same = np.where(differ, by_large, by_small)
    expected = fit_arbiter(small, large, by_small, same)
    for found, other in zip(
        jax.tree.leaves(fitted), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("num_rows", [0, 4])
def test_nothing_to_learn_from(num_rows):
    one = np.full(num_rows, 0.7)
    arbiter, report = fit_arbiter(one, one, one > 0, one > 0)
    assert not report.helps and report.num_decisive == 0 and report.fit.converged
    np.testing.assert_equal(float(report.gain), 0.0 if num_rows else np.nan)
    assert arbiter.intercept == 0 and prefer_large(arbiter, [0.9], [0.1])


def test_one_model_is_always_right():
    given = np.linspace(0.1, 0.9, 40), np.linspace(0.9, 0.1, 40)
    for right in (0, 1):
        outcomes = np.full(40, 1 - right), np.full(40, right)
        arbiter, report = fit_arbiter(*given, *outcomes)
        assert not report.helps and report.gain == 0 and report.fit.converged
        assert prefer_large(arbiter, [0.5], [0.5]) == bool(right)


def test_separable_rows_have_a_finite_fit():
    small = np.tile([0.2, 1.0], 500)
    arbiter, report = fit_arbiter(small, 1 - small, small > 0.5, small < 0.5)
    assert report.helps and report.gain == 0.5
    assert np.all(np.isfinite(jax.tree.leaves(arbiter)))
    np.testing.assert_array_equal(prefer_large(arbiter, small, 1 - small), small < 0.5)


def test_invalid_values():
    small, large, by_small, by_large = rows(50)
    small[7] = np.nan
    with pytest.warns(cj.calibration.ConvergenceWarning, match="INVALID_VALUES"):
        arbiter, report = fit_arbiter(small, large, by_small, by_large)
    assert report.fit.status == cj.FitStatus.INVALID_VALUES
    assert not report.helps and np.isnan(report.gain)
    assert np.isnan(report.standard_error)
    assert [float(leaf) for leaf in jax.tree.leaves(arbiter)] == [0, 0, 0]
    _, report = fit_arbiter(small, large, by_small, by_large, where=np.arange(50) != 7)
    assert report.fit.converged


@pytest.mark.parametrize("weight", [1e-30, 1e30])
def test_weights_of_any_size(weight):
    """Weights that hardly count leave the better model; large ones no penalty."""
    given = rows(400)
    weights = np.full(400, weight, np.float32)
    arbiter, report = fit_arbiter(*given, weights=weights)
    assert report.fit.converged and np.isfinite(report.gain)
    assert report.helps == (weight > 1)


def test_unknown_confidences():
    arbiter = cj.cascade.Arbiter(
        small_slope=np.float32(0), large_slope=np.float32(0), intercept=np.float32(-1)
    )
    small, large = [0.5, np.nan, 0.5, np.nan], [0.5, 0.5, np.nan, np.nan]
    found = prefer_large(arbiter, small, large)
    np.testing.assert_array_equal(found, [False, True, False, True])


def test_bfloat16():
    small, large, by_small, by_large = rows(400)
    rounded = [jnp.asarray(array, jnp.bfloat16) for array in (small, large)]
    wide = [np.asarray(array, np.float32) for array in rounded]
    found, expected = (
        fit_arbiter(*pair, by_small, by_large)[0] for pair in (rounded, wide)
    )
    assert found.intercept.dtype == jnp.float32
    for leaf, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)
    np.testing.assert_array_equal(
        prefer_large(found, *rounded), prefer_large(expected, *wide)
    )
