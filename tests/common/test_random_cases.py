"""Masked, weighted and tied data of one shape against the float64 reference."""

import numpy as np
import pytest
import reference

import calib_jax as cj

pytestmark = pytest.mark.once

NUM_ROWS = 200


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=2e-6, atol=1e-6)


equal = np.testing.assert_array_equal


class Data:
    """Two models' tied confidences and outcomes; NaN in every removed row."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.where = rng.random(NUM_ROWS) < 0.8
        self.weights = rng.integers(0, 5, size=NUM_ROWS).astype(np.float32) / 2
        kept = self.where & (self.weights > 0)
        ties = rng.integers(5, 60)
        self.small = (rng.integers(ties, size=NUM_ROWS) / ties).astype(np.float32)
        self.large = rng.random(NUM_ROWS).astype(np.float32)
        self.small_outcome = rng.random(NUM_ROWS).astype(np.float32)
        self.large_outcome = (rng.random(NUM_ROWS) < 0.7).astype(np.float32)
        for values in (self.small, self.large, self.small_outcome, self.large_outcome):
            values[~kept] = np.nan
        self.rows = {"where": self.where, "weights": self.weights}
        self.outcomes = self.small_outcome, self.large_outcome


@pytest.fixture(params=range(6))
def data(request):
    return Data(request.param)


def test_tables(data):
    table = cj.reliability_table(
        cj.equal_width_bins(7), data.small, data.small_outcome, **data.rows
    )
    edges = np.float32(np.arange(1, 7) / 7)
    expected = reference.reliability_table(
        edges, data.small, data.small_outcome, **data.rows
    )
    equal(table.count, expected.count)
    close(table.weight, expected.weight)
    close(table.confidence, expected.confidence)
    close(table.outcome, expected.outcome)
    close(table.squared_error, expected.squared_error)
    scored = data.small, data.small_outcome
    error = cj.expected_calibration_error(*scored, num_bins=9, **data.rows)
    expected = reference.expected_calibration_error(*scored, num_bins=9, **data.rows)
    close(error, expected)
    close(cj.metrics.rank_correlation(table), reference.rank_correlation(table))
    area = cj.area_under_roc(*scored, **data.rows)
    close(area, reference.area_under_roc(*scored, **data.rows))
    histogram, _ = cj.fit_histogram(*scored, num_bins=9, **data.rows)
    edges, values = reference.fit_histogram(*scored, num_bins=9, **data.rows)
    equal(histogram.bins.edges, edges)
    used = reference.reliability_table(edges, *scored, **data.rows).count > 0
    close(np.asarray(histogram.values)[used], values[used])


def test_router_on_given_bins(data):
    confidences = data.small, data.large
    bins = cj.equal_width_bins(9)
    router = cj.fit_router(*confidences, bins=bins, **data.rows)
    expected = reference.fit_router(*confidences, edges=bins.edges, **data.rows)
    used = expected.table.count.astype(bool).sum()
    equal(router.order[:used], expected.order[:used])


def test_router_and_curve(data):
    confidences = data.small, data.large
    router = cj.fit_router(*confidences, num_bins=9, **data.rows)
    expected_router = reference.fit_router(*confidences, num_bins=9, **data.rows)
    equal(router.bins.edges, expected_router.edges)
    used = expected_router.table.count.astype(bool).sum()
    equal(router.order[:used], expected_router.order[:used])
    table = cj.advantage_table(
        router.bins,
        *confidences,
        small_outcome=data.small_outcome,
        large_outcome=data.large_outcome,
        **data.rows,
    )
    expected = reference.advantage_table(
        expected_router.edges, *confidences, *data.outcomes, **data.rows
    )
    equal(table.count, expected.count)
    close(table.advantage, expected.advantage)
    close(table.outcome_advantage, expected.outcome_advantage)
    close(table.outcome_advantage_standard_error, expected.standard_error)
    fresh = Data(99)  # data that the router has not seen
    tested = fresh.small, *fresh.outcomes
    curve = cj.cascade_curve(router, *tested, **fresh.rows)
    expected = reference.cascade_curve(expected_router, *tested, **fresh.rows)
    close(curve.small_share[: used + 1], expected.small_share[: used + 1])
    close(curve.accuracy[: used + 1], expected.accuracy[: used + 1])
    close(curve.small_accuracy, expected.small_accuracy)
    close(curve.large_accuracy, expected.large_accuracy)
    for num_small_bins in (0, used // 2, used):
        kept = cj.use_small(router, fresh.small, num_small_bins)
        equal(kept, reference.use_small(expected_router, fresh.small, num_small_bins))


def test_cleaning(data):
    rng = np.random.default_rng(7)
    is_error = (data.large_outcome > 0.5).astype(np.float32)
    curve = cj.cleaning_curve(data.small, is_error, **data.rows)
    expected = reference.cleaning_curve(data.small, is_error, **data.rows)
    for field in ("threshold", "flagged_share", "precision", "recall"):
        close(getattr(curve, field), getattr(expected, field))

    labels = rng.integers(5, size=NUM_ROWS)
    probabilities = rng.dirichlet(np.ones(5), size=NUM_ROWS).astype(np.float32)
    probabilities[~data.where] = np.nan
    issues = cj.confident_learning(probabilities, labels, where=data.where)
    expected = reference.confident_learning(probabilities, labels, data.where)
    equal(issues.flagged, expected.flagged)
    equal(issues.suggestion, expected.suggestion)
    close(issues.thresholds, expected.thresholds)

    confidences = np.stack([data.small, data.small[::-1], data.large])
    correct = rng.random((3, NUM_ROWS)) < np.array([[0.9], [0.7], [0.5]])
    valid = np.isfinite(confidences).all(0)
    experts = cj.fit_expert_bins(confidences, correct, num_bins=6, where=valid)
    expected = reference.fit_expert_bins(confidences, correct, 6, where=valid)
    predictions = rng.integers(5, size=(3, NUM_ROWS))
    arrays = predictions, confidences, labels
    for num_top_bins in range(7):
        flagged = cj.high_confidence_disagreement(experts, *arrays, num_top_bins)
        equal(
            flagged,
            reference.high_confidence_disagreement(expected, *arrays, num_top_bins),
        )
