"""Values that other projects published, or that several of them agree on.

The numbers come from the public tests, docstrings and threads named beside them. None
was computed by this library or by tests/common/reference.py.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj

# Golden values are the same in both modes of the suite.
pytestmark = pytest.mark.once


def close(actual, expected, rtol=1e-6, atol=1e-6):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def fraction(x):
    return x % 1.0


@pytest.fixture(scope="module")
def closed_form():
    """A data set without a random generator: uniformly over-confident scores."""
    i = np.arange(1000)
    confidence = 0.5 + 0.5 * fraction(i * 0.6180339887498949)
    outcome = fraction(i * 0.4142135623730951) < confidence**2
    return confidence, outcome


def test_closed_form_calibration_errors(closed_form):
    # Kumar's uncertainty-calibration, torchmetrics, netcal and NumPy agree.
    confidence, outcome = closed_form
    width = cj.equal_width_bins(15)
    error = cj.expected_calibration_error
    close(error(confidence, outcome), 0.16098869028625)
    close(error(confidence, outcome, bins=width), 0.16098869028625)
    maximum = cj.maximum_calibration_error(confidence, outcome, bins=width)
    close(maximum, 0.2509770124033581)  # torchmetrics, norm "max"
    close(cj.brier_score(confidence, outcome), 0.22611078188717346)


def test_closed_form_quantile_curve(closed_form):
    # scikit-learn calibration_curve, strategy "quantile", 5 bins.
    confidence, outcome = closed_form
    bins = cj.equal_count_bins(confidence, 5)
    table = cj.reliability_table(bins, confidence, outcome)
    np.testing.assert_array_equal(table.count, [200] * 5)
    close(table.outcome, [0.31, 0.42, 0.575, 0.73, 0.91])
    expected = [0.5499621, 0.64999202, 0.75001122, 0.84999682, 0.94998129]
    close(table.confidence, expected)


def test_closed_form_platt(closed_form):
    # scikit-learn (prior-smoothed) and the maximum likelihood on logit(confidence).
    confidence, outcome = closed_form
    score = np.log(confidence) - np.log1p(-confidence)
    params, report = cj.fit_platt(score, outcome)
    assert report.status == cj.FitStatus.CONVERGED
    close(params.slope, 1.142710391352714, rtol=1e-5, atol=0)
    close(params.intercept, -1.0069674989624715, rtol=1e-5, atol=0)
    params, _ = cj.fit_platt(score, outcome, smooth_targets=True)
    close(params.slope, 1.133842527539959, rtol=1e-5, atol=0)
    close(params.intercept, -0.9977561284178, rtol=1e-5, atol=0)


def test_libsvm_sigmoid():
    # scikit-learn test_sigmoid_calibration: A and B of 1 / (1 + exp(A f + B)) from
    # LibSVM, which stops at a gradient of 1e-5.
    scores, outcomes = np.array([5.0, -4.0, 1.0]), np.array([1, 0, 0])
    params, _ = cj.fit_platt(scores, outcomes, smooth_targets=True)
    close(params.slope, 0.20261354391187855, rtol=1e-5)
    close(params.intercept, -0.65236314980010512, rtol=1e-5)


@pytest.mark.parametrize(
    ("confidence", "outcome", "num_bins", "expected"),
    [
        ([0.1], [1], 1, 0.9),
        ([0.1], [0], 1, 0.1),
        ([0.1, 0.7], [0, 1], 1, 0.1),
        ([0.7, 0.1], [1, 0], 1, 0.1),
        ([0.1, 0.7, 0.4], [0, 0, 0], 1, 0.4),
        ([0.1, 0.9], [0, 1], 1, 0.0),
        ([0.1, 0.7], [0, 1], 2, 0.2),
        ([0.1, 0.1, 0.7], [0, 1, 1], 2, 0.4 * 2 / 3 + 0.3 / 3),
        ([0.1, 0.1, 0.1, 0.1, 0.7], [0, 1, 0, 0, 1], 2, 0.15 * 4 / 5 + 0.3 / 5),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 0, 1], 2, 0.25),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 0, 1], 4, 0.25),
        ([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1], 2, 0.4),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 1, 1], 2, 0.2),
        ([0.1, 0.7, 0.5, 0.9], [0, 1, 1, 1], 4, 0.25),
    ],
)
def test_verified_calibration_rows(confidence, outcome, num_bins, expected):
    # p-lambda/verified_calibration test_1d_ece_em, padded to one shape.
    padding = 5 - len(confidence)
    error = cj.expected_calibration_error(
        np.array(confidence + [np.nan] * padding),
        np.array(outcome + [0] * padding),
        num_bins=num_bins,
        where=np.arange(5) < len(confidence),
    )
    close(error, expected)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_verified_calibration_missing_class(labels):
    # p-lambda/verified_calibration test_missing_class_binary_ece.
    scores = np.array([0.9, 0.1, 0.3])
    error = cj.expected_calibration_error(scores, np.array(labels), num_bins=1)
    close(error, 1.7 / 3 if labels[0] else 1.3 / 3)


def test_tfp_quantile_buckets():
    # TensorFlow Probability, expected_calibration_error_quantiles, example 1: its
    # interpolated quantiles put 0.5 into the last of its three buckets.
    confidence = np.array([0.1, 0.05, 0.5, 0.2, 0.99, 0.99])
    outcome = np.array([0, 0, 1, 0, 1, 1])
    bins = cj.Bins(edges=jnp.array([0.2, 0.5], jnp.float32))
    table = cj.reliability_table(bins, confidence, outcome)
    np.testing.assert_array_equal(table.count, [2, 1, 3])
    close(table.outcome, [0, 0, 1])
    close(table.confidence, [0.075, 0.2, 0.82666667])
    close(cj.expected_calibration_error(confidence, outcome, bins=bins), 0.145)


def test_sklearn_quantile_curve():
    # scikit-learn test_calibration_curve, strategy "quantile", 2 bins.
    scores, outcomes = [0.0, 0.1, 0.2, 0.5, 0.9, 1.0], [0, 0, 0, 0, 1, 1]
    bins = cj.equal_count_bins(scores, 2)
    table = cj.reliability_table(bins, scores, outcomes)
    close(table.outcome, [0, 2 / 3])
    close(table.confidence, [0.1, 0.8])


def test_robustness_metrics_three_classes():
    # google-research/robustness_metrics GeneralCalibrationErrorTest.test_consistency.
    probabilities = np.array(
        [
            [0.42610548, 0.41748077, 0.15641374],
            [0.44766216, 0.47721294, 0.0751249],
            [0.1862702, 0.15139402, 0.66233578],
            [0.05753544, 0.8561222, 0.08634236],
            [0.18697925, 0.29836466, 0.51465609],
        ]
    )
    top = cj.top1(np.log(probabilities))
    correct = np.asarray(top.prediction) == np.array([0, 1, 2, 1, 2])
    bins = cj.equal_width_bins(30)
    error = cj.expected_calibration_error(top.confidence, correct, bins=bins)
    close(error, 0.412713502)


def test_robustness_metrics_equal_width():
    # google-research/robustness_metrics: test_binary_1d and test_correctness.
    positive = np.array([0.91, 0.32, 0.66, 0.67, 0.57, 0.98, 0.41, 0.19])
    correct = (positive > 0.5) == np.array([1, 0, 1, 1, 0, 1, 0, 0])
    scores = np.maximum(positive, 1 - positive)
    bins = cj.equal_width_bins(30)
    error = cj.expected_calibration_error(scores, correct, bins=bins)
    close(error, 0.18124999999999997)
    scores = np.array([0.32, 0.37, 0.39, 0.61, 0.65, 0.91])
    outcomes = np.array([1, 1, 0, 0, 0, 1])
    bins = cj.equal_width_bins(10)
    table = cj.reliability_table(bins, scores, outcomes)
    np.testing.assert_array_equal(table.count, [0, 0, 0, 3, 0, 0, 2, 0, 0, 1])
    error = cj.expected_calibration_error(scores, outcomes, bins=bins)
    close(error, (2 - 1.08 + 1.26 + 1 - 0.91) / 6)


def test_robustness_metrics_adaptive_bins():
    # google-research/robustness_metrics GetAdaptiveBinsTest: bins differ by at most one
    # row, for any number of bins.
    scores = np.random.default_rng(0).random(500).astype(np.float32)
    few = np.arange(500) < 5
    for num_bins in [*range(1, 50), *range(495, 505)]:
        bins = cj.equal_count_bins(scores, num_bins, max_bins=504)
        count = np.bincount(cj.bin_index(bins, scores), minlength=504)
        expected = np.full(num_bins, 500 // num_bins)
        expected[: 500 % num_bins] += 1
        np.testing.assert_array_equal(count, np.pad(expected, (0, 504 - num_bins)))
    bins = cj.equal_count_bins(scores, 30, max_bins=504, where=few)
    count = np.bincount(cj.bin_index(bins, scores[few]), minlength=504)
    np.testing.assert_array_equal(count, np.arange(504) < 5)


@pytest.mark.parametrize(
    ("scores", "outcomes", "expected"),
    [
        ([0.95, 1.0], [1, 0], 0.475),  # torchmetrics#3510: no eleventh bin for 1.0
        ([0.0, 0.0], [1, 1], 1.0),  # inspect_evals#2141: confidence 0 counts
        ([0.0, 1.0], [0, 1], 0.0),
        ([0.7, 0.6], [1, 0], 0.45),  # exactly on two edges: two bins
    ],
)
def test_boundary_confidences(scores, outcomes, expected):
    bins = cj.equal_width_bins(10)
    error = cj.expected_calibration_error(
        np.array(scores), np.array(outcomes), bins=bins
    )
    close(error, expected)


def test_routellm_toy_curve():
    # lm-sys/RouteLLM evaluation: trapezoid APGR and interpolated CPT.
    accuracy = np.array(
        [0.60, 0.66, 0.71, 0.75, 0.78, 0.80, 0.815, 0.825, 0.83, 0.83, 0.83]
    )
    curve = cj.CascadeCurve(
        small_share=jnp.asarray(np.linspace(0, 1, 11), jnp.float32),
        accuracy=jnp.asarray(accuracy[::-1].copy(), jnp.float32),
        small_accuracy=jnp.float32(0.60),
        large_accuracy=jnp.float32(0.83),
    )
    close(cj.average_performance_gap_recovered(curve), 0.745652)
    close(cj.average_performance_gap_recovered(cj.random_curve(curve)), 0.5)
    close(cj.call_performance_threshold(curve, 0.5), 0.2125)
    close(cj.call_performance_threshold(curve, 0.8), 0.42)
    recovered = cj.performance_gap_recovered(curve)
    close(np.mean(recovered), 0.723320)  # the mean of the 11 points
    close(np.mean(recovered[:-1]), 0.795652)  # of those 10 with a large-model call


def test_confident_learning_takes_the_best_candidate():
    # cleanlab#1248: thresholds [.01, .5, .01, .5], and cleanlab flags the row
    # because class 3 is the most probable, although it is not a candidate.
    row = np.array([0.1, 0.2, 0.3, 0.4])
    probabilities = np.stack(
        [row, [0.01, 0.33, 0.33, 0.33], [0.1, 0.5, 0.2, 0.2], [0.1, 0.2, 0.2, 0.5]]
        + [np.array([0.9, 0.05, 0.0, 0.05])] * 29
    )
    labels = np.array([2, 0, 1, 3] + [2] * 29)
    issues = cj.confident_learning(probabilities, labels)
    close(issues.thresholds, [0.01, 0.5, 0.01, 0.5])
    assert not issues.flagged[0]
    assert issues.suggestion[0] == 2
    np.testing.assert_array_equal(issues.flagged[4:], True)
    np.testing.assert_array_equal(issues.suggestion[4:], 0)


def noisy_classes(seed, num_rows=4000, num_classes=10):
    """Logits z, and labels drawn from softmax(z)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(num_rows, num_classes)) * 2.0
    gumbel = rng.gumbel(size=z.shape)
    return z, (z + gumbel).argmax(-1)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 3.0, 10.0, 100.0, 1e3])
def test_temperature_follows_the_scale(scale):
    # Seven implementations were compared on such a sweep: five fail part of it.
    z, labels = noisy_classes(0)
    params, report = cj.fit_temperature((scale * z).astype(np.float32), labels)
    assert report.status == cj.FitStatus.CONVERGED
    expected = scale * reference.fit_temperature(z, labels)
    close(params.temperature, expected, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_cleanlab_flags_the_same_rows():
    cleanlab = pytest.importorskip("cleanlab.filter")
    z, labels = noisy_classes(1)
    z[np.arange(len(z)), labels] += 3.0
    wrong = np.random.default_rng(2).random(len(labels)) < 0.1
    given = np.where(wrong, (labels + 1) % 10, labels)
    probabilities = reference.softmax(z).astype(np.float32)
    theirs = cleanlab.find_label_issues(
        given, probabilities, filter_by="confident_learning", n_jobs=1
    )
    ours = cj.confident_learning(probabilities, given)
    # Rows whose most probable class is not a candidate differ by cleanlab#1248.
    comparable = (
        probabilities.max(-1) > np.asarray(ours.thresholds)[probabilities.argmax(-1)]
    )
    assert comparable.mean() > 0.5
    assert theirs[comparable].sum() > 100
    np.testing.assert_array_equal(
        np.asarray(ours.flagged)[comparable], theirs[comparable]
    )


@pytest.mark.slow
def test_sklearn_logistic_regression_is_calibrated():
    # scikit-learn: on its own training data a logistic regression has temperature 1.
    linear_model = pytest.importorskip("sklearn.linear_model")
    z, labels = noisy_classes(3, num_classes=3)
    model = linear_model.LogisticRegression(
        C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000
    )
    logits = model.fit(z, labels).decision_function(z)
    params, _ = cj.fit_temperature(logits, labels)
    close(params.temperature, 1.0, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.once
def test_sklearn_area_under_roc():
    # A million rows of tied scores, by sums in float64.
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    num_rows = 10**6 + 3
    outcomes = rng.random(num_rows) < 0.6
    scores = jnp.asarray(rng.normal(size=num_rows) + outcomes, jnp.bfloat16)
    scores = scores.at[:100].set(jnp.inf).at[100:200].set(-jnp.inf)
    where, weights = rng.random(num_rows) < 0.9, rng.gamma(0.5, size=num_rows)
    dirty = jnp.where(where, scores, jnp.asarray(jnp.nan, jnp.bfloat16))
    area = cj.area_under_roc(dirty, outcomes, where=where, weights=weights)
    finite = np.clip(reference.to_float(scores), -1e9, 1e9)
    expected = metrics.roc_auc_score(
        outcomes[where], finite[where], sample_weight=weights[where]
    )
    close(area, expected, rtol=0, atol=2e-7)


def test_scipy_rank_correlation():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    for _ in range(20):
        count = rng.integers(0, 4, 15)
        confidence, outcome = rng.integers(0, 9, (2, 15)).astype(np.float32)
        table = cj.ReliabilityTable(
            count=jnp.asarray(count, jnp.int32),
            weight=jnp.asarray(count, jnp.float32),
            confidence=jnp.asarray(confidence),
            outcome=jnp.asarray(outcome),
            squared_error=jnp.zeros(15, jnp.float32),
        )
        used = count > 0
        expected = stats.spearmanr(confidence[used], outcome[used]).statistic
        close(cj.metrics.rank_correlation(table), expected, rtol=1e-6)
