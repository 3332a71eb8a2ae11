"""Decisive ties, budgets met exactly, and numbers at the ends of float32."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj

pytestmark = pytest.mark.once


def curve_of(counts):
    """A curve with a bin of 10 rows for each pair of counts of right answers."""
    small, large = (
        np.concatenate([np.arange(10) < count for count in model]) for model in counts
    )
    bins = len(counts[0])
    confidence = np.repeat((np.arange(bins) + 0.5) / bins, 10).astype(np.float32)
    router = cj.fit_router(confidence, 1 - confidence / 2, num_bins=bins)
    return cj.cascade_curve(router, confidence, small, large)


@pytest.mark.parametrize("seed", range(40))
def test_equal_accuracies_are_equal_numbers(seed):
    rng = np.random.default_rng(seed)
    large = rng.integers(0, 11, 7)
    curve = curve_of((rng.permutation(large), large))
    assert curve.small_accuracy == curve.large_accuracy
    assert np.isnan(cj.average_performance_gap_recovered(curve))
    # In integers: bins are kept from the highest confidence down.
    right = np.asarray(curve.accuracy, np.float64) * 70
    kept = np.flatnonzero(np.rint(right) >= large.sum())
    chosen = cj.choose_num_small_bins(curve, min_accuracy=curve.large_accuracy)
    assert int(chosen.num_small_bins) == kept[-1]


def test_a_budget_met_exactly_is_met():
    curve = curve_of((np.arange(10), np.full(10, 9)))
    for tenth in range(11):
        budget = np.float32(tenth / 10)
        chosen = cj.choose_num_small_bins(curve, max_large_share=budget)
        assert chosen.num_small_bins == 10 - tenth


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1.0, 1e18, 3e37])
def test_platt_parameters_scale_with_the_scores(scale):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=500)
    outcomes = rng.random(500) < 1 / (1 + np.exp(-(2 * scores - 0.5)))
    scores = scores.astype(np.float32)
    slope, intercept = reference.fit_platt(scores.astype(np.float64), outcomes)
    scaled = scores * np.float32(scale)
    params, report = cj.fit_platt(scaled, outcomes)
    assert report.status == cj.FitStatus.CONVERGED
    np.testing.assert_allclose(params.slope * np.float32(scale), slope, rtol=1e-5)
    np.testing.assert_allclose(params.intercept, intercept, rtol=1e-5)


def test_platt_parameters_of_scores_at_the_ends_of_the_range_are_finite():
    for scores in ([1e-38, -1e-38, 3e-38, -3e-38] * 5, [1e38, -1e38] * 10, [0, 1e-40]):
        outcomes = np.arange(len(scores)) % 2
        params, _ = cj.fit_platt(np.float32(scores), outcomes)
        assert np.isfinite([params.slope, params.intercept]).all()


@pytest.mark.parametrize("scale", [1e-37, 1e37])
def test_fits_do_not_depend_on_the_unit_of_weights(scale):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(300, 4)).astype(np.float32)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    weights = rng.uniform(0.5, 1.5, 300).astype(np.float32)
    correct = np.argmax(logits, axis=1) == labels
    for fit, arguments in (
        (cj.fit_temperature, (logits, labels)),
        (cj.fit_platt, (logits.max(axis=1), correct)),
    ):
        expected, _ = fit(*arguments, weights=weights)
        actual, report = fit(*arguments, weights=weights * np.float32(scale))
        assert report.status == cj.FitStatus.CONVERGED
        for name in ("temperature", "slope", "intercept"):
            if hasattr(expected, name):
                np.testing.assert_allclose(
                    getattr(actual, name), getattr(expected, name), rtol=1e-5
                )


def test_infinite_weights_are_invalid_and_large_ones_are_not():
    """Even if they have no finite sum."""
    infinite = jnp.array([jnp.inf, 1.0])
    report = cj.fit_histogram([0.1, 0.9], [0, 1], weights=infinite)[1]
    assert report.status == cj.FitStatus.INVALID_VALUES
    params, report = cj.fit_histogram(
        [0.1, 0.2, 0.3, 0.9], [0, 1, 1, 1], num_bins=2, weights=[1e38, 3e38, 3e38, 3e38]
    )
    assert report.status == cj.FitStatus.CONVERGED
    np.testing.assert_array_equal(params.values, [0.75, 1.0])


def test_standard_error_of_nearly_constant_differences():
    rng = np.random.default_rng(2)
    large = (0.9 + 1e-4 * rng.choice([-1, 1], 1000)).astype(np.float32)
    table = cj.advantage_table(
        cj.equal_width_bins(1),
        rng.random(1000),
        rng.random(1000),
        small_outcome=np.zeros(1000),
        large_outcome=large,
    )
    expected = np.std(large.astype(np.float64)) / np.sqrt(1000)
    np.testing.assert_allclose(
        table.outcome_advantage_standard_error[0], expected, rtol=1e-3
    )


def test_area_under_roc_does_not_depend_on_the_unit_of_weights():
    scores, outcomes = np.arange(8) // 3, np.array([0, 1, 0, 0, 1, 1, 0, 1])
    expected = reference.area_under_roc(scores, outcomes)
    for right, wrong in [(1.0, 1.0), (1e-35, 3e38), (3e38, 1e-35), (3e38, 3e38)]:
        weights = np.where(outcomes == 1, right, wrong)
        area = cj.area_under_roc(scores.astype(float), outcomes, weights=weights)
        np.testing.assert_allclose(area, expected, rtol=2e-7)
    weights = jnp.float32(weights).at[2].set(np.inf)
    assert np.isnan(cj.area_under_roc(scores.astype(float), outcomes, weights=weights))


@pytest.mark.parametrize("lowest", [-1e34, np.finfo(np.float32).min])
def test_finite_logits_that_stand_for_masked_classes(lowest):
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(3_000, 7))).astype(np.float32)
    labels = (logits / 1.6 + rng.gumbel(size=logits.shape)).argmax(1)
    out = rng.random(logits.shape) < 0.3
    out[np.arange(len(labels)), labels] = False
    params, report = cj.fit_temperature(
        np.where(out, np.float32(lowest), logits), labels
    )
    expected, _ = cj.fit_temperature(logits, labels, class_where=~out)
    assert report.status == cj.FitStatus.CONVERGED
    np.testing.assert_allclose(params.temperature, expected.temperature, rtol=1e-6)


def test_smoothed_targets_of_many_separable_rows():
    """Targets within 1e-8 of 0 and 1: their distance must not be rounded away."""
    scores = np.float32(np.random.default_rng(0).normal(size=1_000))
    weights = np.full(1_000, 1e5, np.float32)
    params, report = cj.fit_platt(
        scores, scores > 0.3, weights=weights, smooth_targets=True
    )
    assert report.converged
    expected = reference.fit_platt(
        scores, scores > 0.3, weights=weights, smooth_targets=True
    )
    np.testing.assert_allclose([params.slope, params.intercept], expected, rtol=1e-4)


def test_an_infinite_probability_enters_no_threshold():
    for infinite in (np.inf, -np.inf):
        rows = np.float32([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9]])
        labels = np.array([0, 0, 1, 1, 0])
        spoiled = np.append(rows, [[infinite, 0.9], [0.9, infinite]], axis=0)
        given = [*labels, 0, 0]
        with pytest.raises(ValueError, match=r"probabilities: .*, entry \[5, 0\]"):
            cj.confident_learning(spoiled, given)
        issues = cj.confident_learning(jnp.asarray(spoiled, jnp.float32), given)
        expected = cj.confident_learning(rows, labels)
        np.testing.assert_array_equal(issues.flagged[:5], expected.flagged)
        assert not issues.flagged[5:].any()
