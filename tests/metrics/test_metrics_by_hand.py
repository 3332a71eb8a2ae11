"""Scores of confidences, in cases small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import INF, NAN, close, padded

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


def test_fresh_bins_are_cut_from_the_rows_that_count():
    scores = np.array([0.1, 0.2, 0.6, 0.9, 0.95, 0.97])
    outcomes = np.array([0, 0, 1, 1, 0, 0])
    some = np.array([1, 1, 1, 1, 0, 0])
    expected = (0.15 * 2 + 0.25 * 2) / 4
    error = cj.expected_calibration_error
    close(error(scores, outcomes, num_bins=2, where=some == 1), expected)
    close(error(scores, outcomes, num_bins=2, weights=some), expected)


def test_proper_scores_and_maximum_error():
    scores, outcomes = np.array([0.25, 0.5, 0.75]), np.array([0, 1, 0])
    close(cj.brier_score(scores, outcomes), (0.0625 + 0.25 + 0.5625) / 3)
    nll = -(np.log(0.75) + np.log(0.5) + np.log(0.25)) / 3
    close(cj.log_loss(scores, outcomes), nll)
    maximum = cj.maximum_calibration_error(scores, outcomes, num_bins=3)
    close(maximum, 0.75)


@pytest.mark.parametrize(
    ("scores", "outcomes", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.9, 0.4, 0.6, 0.4], [1, 1, 0, 0], 0.625),
        ([0.5, 0.5, 0.5, 0.5, 0.5], [0, 1, 1, 0, 0], 0.5),  # all tied: exactly chance
        ([0.2, 0.6], [0.25, 0.75], 0.75),  # partly right
        ([-INF, 0.0, -0.0, INF], [0, 1, 0, 1], 0.875),
        ([INF, 1e38, -INF, -INF], [1, 0, 1, 0], 0.625),
        ([0.5], [1], NAN),
        ([0.5, 0.6], [0, 0], NAN),  # nothing is right
        ([], [], NAN),
        ([0.5, NAN, 0.1], [1, 0, 0], NAN),
        ([0.5, 0.1, 0.7], [1, NAN, 0], NAN),
    ],
)
def test_area_under_roc(scores, outcomes, expected):
    (scores, where), (outcomes, _) = padded(scores), padded(outcomes)
    area = cj.area_under_roc(scores, outcomes, where=where)
    assert area.dtype == jnp.float32
    close(area, expected, rtol=2e-7, atol=0)


@pytest.mark.parametrize(
    ("count", "confidence", "outcome", "expected"),
    [
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.7, 0.75], 1.0),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.9, 0.5, 0.3, 0.2], -1.0),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.9, 0.7], 0.6),
        ([1, 0, 3, 4], [0.1, 0.0, 0.3, 0.4], [0.5, 0.0, 0.9, 0.7], 0.5),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 1.0], 1 / np.sqrt(5)),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.5, 0.5], NAN),
        ([0, 0, 3, 0], [0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.9, 0.0], NAN),
        ([0, 0, 0, 0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], NAN),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], [0.5, NAN, 0.9, 0.7], NAN),
        ([1, 0, 3, 4], [0.1, NAN, 0.3, 0.4], [0.5, NAN, 0.9, 0.7], 0.5),
    ],
)
def test_rank_correlation(count, confidence, outcome, expected):
    table = cj.ReliabilityTable(
        count=jnp.asarray(count, jnp.int32),
        weight=jnp.asarray(count, jnp.float32),
        confidence=jnp.asarray(confidence, jnp.float32),
        outcome=jnp.asarray(outcome, jnp.float32),
    )
    close(cj.metrics.rank_correlation(table), expected)


def test_calibration_error_of_table():
    scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
    bins = cj.equal_width_bins(4)
    table = cj.reliability_table(bins, scores, outcomes)
    close(cj.metrics.calibration_error_of_table(table), 0.275)
    nothing = jax.tree.map(jnp.zeros_like, table)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), table, nothing)
    close(cj.metrics.calibration_error_of_table(both), [0.275, np.nan])
