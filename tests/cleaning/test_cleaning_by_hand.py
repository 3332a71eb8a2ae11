"""Flags, suggestions and their curve, in cases small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NAN, close, equal

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


PREDICTIONS = np.array([[1, 1, 1, 0, 2, 1], [1, 2, 1, 1, 0, 1]])
GIVEN = np.array([0, 0, 1, 0, 1, 2])
EXPERT_CONFIDENCES = np.array(
    [[0.9, 0.9, 0.9, 0.9, 0.1, 0.5], [0.8, 0.9, 0.9, 0.8, 0.1, NAN]]
)


def test_top1_disagreement():
    flagged = cj.top1_disagreement(PREDICTIONS, GIVEN)
    equal(flagged, np.array([1, 1, 0, 0, 1, 1], bool))


def test_label_issue_score_ranks_contradicted_labels_first():
    predictions = np.array([[1, 1, 2, 0, 1, 1], [1, 2, 2, 0, -1, 1]])
    confidences = np.float32(
        [[0.9, 0.6, 0.8, 0.7, 0.9, NAN], [0.5, 0.7, 0.9, 0.4, NAN, 1]]
    )
    score = cj.cleaning.label_issue_score(
        predictions, confidences, np.array([0, 0, 1, 0, 0, 0])
    )
    # An expert without a prediction does not contradict any label.
    equal(score, np.float32([0.5, 0.6, 0.8, -0.7, -1, NAN]))


@pytest.fixture(scope="module")
def experts():
    """Three bins each: below 0.3, below 0.7, above, in rising accuracy."""
    confidences = np.array([[0.1, 0.2, 0.3, 0.4, 0.7, 0.8]] * 2)
    correct = np.array([[0, 0, 0, 1, 1, 1]] * 2)
    return cj.fit_expert_bins(confidences, correct, num_bins=3)


def test_fit_expert_bins(experts):
    close(experts.bins.edges, [[0.3, 0.7]] * 2)
    equal(experts.order, [[2, 1, 0]] * 2)
    close(experts.table.outcome, [[0, 0.5, 1]] * 2)
    # Accuracy, not confidence, is ranked; ties go to the higher bin; empty bins last.
    confidences = np.array([[0.1, 0.2, 0.3, 0.4, 0.7, 0.8], [0.5] * 5 + [0.6]])
    correct = np.array([[1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    order = cj.fit_expert_bins(confidences, correct, num_bins=3).order
    equal(order[0], [2, 0, 1])
    equal(order[1, 0], 2)


def test_fit_expert_bins_masks_rows():
    confidences = np.array([[0.1, 0.2, NAN, 0.7, 0.8, 0.9]] * 2)
    where = np.array([1, 1, 0, 1, 1, 0], bool)
    correct = np.array([[0, 0, 1, 1, 1, 0]] * 2)
    experts = cj.fit_expert_bins(confidences, correct, num_bins=2, where=where)
    close(experts.bins.edges, [[0.7]] * 2)
    equal(experts.table.count, [[2, 2]] * 2)


@pytest.mark.parametrize(
    ("num_top_bins", "flagged", "consensus"),
    [
        (0, [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        (1, [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (2, [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (3, [1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0]),  # a NaN is in no bin
    ],
)
def test_high_confidence_disagreement(experts, num_top_bins, flagged, consensus):
    arrays = PREDICTIONS, EXPERT_CONFIDENCES, GIVEN
    result = cj.high_confidence_disagreement(experts, *arrays, num_top_bins)
    equal(result, np.array(flagged, bool))
    result = cj.high_confidence_disagreement(
        experts, *arrays, num_top_bins, consensus=True
    )
    equal(result, np.array(consensus, bool))
    traced = jax.jit(cj.high_confidence_disagreement)(experts, *arrays, num_top_bins)
    equal(traced, np.array(flagged, bool))


def test_suggested_and_repaired_labels():
    flagged = np.array([1, 1, 0, 0, 1, 0], bool)
    suggestion = cj.suggest_labels(PREDICTIONS, EXPERT_CONFIDENCES, GIVEN, flagged)
    assert suggestion.dtype == jnp.int32
    equal(np.delete(suggestion, [1, 4]), [1, 1, 0, 2])  # rows 1 and 4 tie
    assert suggestion[1] in (1, 2)
    assert suggestion[4] in (2, 0)
    equal(cj.repair_labels(GIVEN, flagged, np.full(6, 7)), [7, 7, 1, 0, 7, 2])
    kept = cj.repair_labels(GIVEN, flagged, np.full(6, 7), drop=True)
    equal(kept, ~flagged)


def test_suggestion_comes_from_the_most_confident_contradiction():
    predictions = np.array([[1, 1], [2, 2], [0, 3]])
    confidences = np.array([[0.5, 0.5], [0.75, 0.25], [0.875, 0.125]])
    flagged = np.ones(2, bool)
    labels = np.array([0, 0])  # the most confident expert of row 0 agrees with it
    equal(cj.suggest_labels(predictions, confidences, labels, flagged), [2, 1])


def test_confident_learning():
    probabilities = np.array(
        [
            [0.75, 0.25, 0.0],
            [0.25, 0.75, 0.0],  # labelled 0: above the mean of class 1, below its own
            [0.5, 0.5, 0.0],  # equal to the mean of class 0, above that of class 1
            [0.125, 0.25, 0.625],  # class 2 has no example: never a candidate
            [0.5, 0.25, 0.25],  # equal to two means: not above them
            [0.25, 0.25, 0.5],
        ]
    )
    labels = np.array([0, 0, 0, 1, 1, 1])
    issues = cj.confident_learning(probabilities, labels)
    assert issues.suggestion.dtype == jnp.int32
    close(issues.thresholds[:2], [0.5, 0.25])
    equal(issues.flagged, np.array([0, 1, 1, 0, 0, 0], bool))
    equal(issues.suggestion, [0, 1, 1, 1, 1, 1])


def test_confident_learning_masks_rows():
    probabilities = np.array(
        [[0.9, 0.1], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8], [NAN] * 2]
    )
    labels = np.array([0, 0, 1, 1, -1])
    where = np.array([1, 1, 1, 0, 0], bool)
    issues = cj.confident_learning(probabilities, labels, where=where)
    close(issues.thresholds, [0.6, 0.9])
    equal(issues.flagged, False)
    equal(issues.suggestion, labels)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 100])
def test_confident_learning_is_strict_at_the_mean(num_rows):
    # Every row of class 0 has probability p, so the mean is p and no row is above it.
    p = np.float32(0.3)
    rows = [[p, 0.6, 0.1]] * num_rows + [[p, 0.4, 0.3], [0.1, 0.8, 0.1]]
    labels = np.array([0] * num_rows + [1, 1])
    where = np.ones(102, bool)
    where[num_rows + 2 :] = False
    filler = 102 - len(rows)
    issues = cj.confident_learning(
        np.pad(np.array(rows, np.float32), ((0, filler), (0, 0))),
        np.pad(labels, (0, filler)),
        where=where,
    )
    assert not issues.flagged[num_rows]


def test_cleaning_curve():
    score = np.array([0.9, 0.5, 0.5, 0.5, 0.1, NAN])
    is_error = np.array([1, 1, 0, 0, 1, 1])
    where = np.arange(6) < 5
    curve = cj.cleaning_curve(score, is_error, where=where)
    close(curve.threshold, [0.9, 0.5, 0.5, 0.5, 0.1, 0.1])
    close(curve.flagged_share, [0.2, 0.8, 0.8, 0.8, 1, 1])
    close(curve.precision, [1, 0.5, 0.5, 0.5, 0.6, 0.6])
    close(curve.recall, [1 / 3, 2 / 3, 2 / 3, 2 / 3, 1, 1])
    weights = np.array([1.0, 2.0, 1.0, 0.0, 1.0, NAN])
    curve = cj.cleaning_curve(score, is_error, where=where, weights=weights)
    close(curve.flagged_share, [0.2, 0.8, 0.8, 1, 1, 1])
    close(curve.precision, [1, 0.75, 0.75, 0.8, 0.8, 0.8])
    close(curve.recall, [0.25, 0.75, 0.75, 1, 1, 1])


@pytest.mark.parametrize("count", [41, 47, 61, 83])
def test_among_equal_bins_the_more_confident_comes_first(count):
    """Though they hold different numbers of rows, all of them right."""
    confidences = np.linspace(0, 1, 4 * count + 1)
    experts = cj.fit_expert_bins(
        confidences[None], np.ones((1, 4 * count + 1)), num_bins=4
    )
    equal(experts.table.outcome, np.ones((1, 4)))
    equal(experts.order, [[3, 2, 1, 0]])
