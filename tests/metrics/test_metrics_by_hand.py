"""Scores of confidences, in cases small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from by_hand import INF, NAN, close, equal, padded

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

    if set(outcomes) <= {0, 1}:
        area = cj.area_under_roc(scores, outcomes == 1, where=where)
        close(area, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("num_rows", [7, 300, 70_001])
@pytest.mark.parametrize("kind", ["confidence", "tied", "below 0", "infinite"])
def test_area_under_roc_counts_pairs_exactly(num_rows, kind):
    rng = np.random.default_rng(num_rows)
    scores = rng.normal(size=num_rows).astype(np.float32)
    right = rng.random(num_rows) < 0.5 + 0.4 * np.tanh(scores)
    right[:2] = False, True
    match kind:
        case "confidence":
            scores = rng.random(num_rows).astype(np.float32)
        case "tied":
            scores = np.round(scores)
        case "below 0":
            scores = -np.abs(scores).round(2)
        case "infinite":
            scores[::3], scores[1::4] = INF, -INF
    rank = scipy.stats.rankdata(scores)
    count = np.sum(right)
    pairs = np.sum(rank[right]) - count * (count + 1) / 2
    expected = pairs / (count * (num_rows - count))
    where = np.arange(2 * num_rows) < num_rows
    scores = np.concatenate([scores, np.full(num_rows, NAN, np.float32)])
    right = np.concatenate([right, where[:num_rows]])
    for outcomes in right, right.astype(np.float32):
        rtol = 6e-8 if outcomes.dtype == bool else 2e-7
        area = cj.area_under_roc(scores, outcomes, where=where)
        close(area, expected, rtol=rtol, atol=0)


@pytest.mark.parametrize("num_rows", [50, 70_000])
def test_area_under_roc_has_a_derivative_by_outcomes(num_rows):
    # Right and wrong answers are counted, but partly correct ones are not.
    scores = np.linspace(0, 1, num_rows, dtype=np.float32)
    outcomes = (np.arange(num_rows) % 3 == 0).astype(np.float32)
    gradient = jax.grad(lambda v: cj.area_under_roc(scores, v))(outcomes)
    weighed = jax.grad(
        lambda v: cj.area_under_roc(scores, v, weights=np.ones(num_rows))
    )(outcomes)
    assert np.any(weighed != 0)
    close(gradient, weighed, rtol=1e-6)


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
        squared_error=jnp.zeros(4, jnp.float32),
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


@pytest.mark.parametrize("size", [1, 7, 300])
def test_log_loss_of_a_certain_error_is_infinite(size):
    scores, outcomes = np.full(size, 0.5), np.ones(size)
    scores[0], outcomes[0] = 1.0, 0.0
    weights, where = np.full(size, 0.25), np.ones(size, bool)
    for options in ({}, {"where": where}, {"weights": weights}):
        assert cj.log_loss(scores, outcomes, **options) == np.inf
        assert cj.log_loss(1 - scores, 1 - outcomes, **options) == np.inf
    where[0], weights[0] = False, 0.0
    if size > 1:
        for options in ({"where": where}, {"weights": weights}):
            close(cj.log_loss(scores, outcomes, **options), np.log(2))


def test_derivative_of_log_loss_at_certain_answers():
    scores = jnp.array([1.0, 0.0, 0.5, 1.0])
    found = jax.grad(cj.log_loss)(scores, jnp.array([1.0, 0.0, 1.0, 1.0]))
    close(found, [-0.25, 0.25, -0.5, -0.25])


@pytest.mark.parametrize("count", [41, 47, 55, 61, 83, 97])
def test_equal_means_are_equal_numbers(count):
    """The mean of all right rows is 1, whatever their number."""
    scores = np.repeat([0.1, 0.5, 0.9], [count, 2, 3])
    outcomes = np.r_[np.ones(count), 0, 1, np.ones(3)]
    table = cj.reliability_table(cj.equal_width_bins(3), scores, outcomes)
    equal(table.outcome, [1, 0.5, 1])
    equal(cj.metrics.rank_correlation(table), 0)
    # A third of either bin.
    scores, outcomes = np.repeat([0.1, 0.9], [3, 3 * count]), np.zeros(3 + 3 * count)
    outcomes[[0, *range(3, 3 + count)]] = 1
    table = cj.reliability_table(cj.equal_width_bins(2), scores, outcomes)
    equal(table.outcome, np.float32([1 / 3, 1 / 3]))


@pytest.mark.parametrize("scale", [1e-37, 1e-36, 1e-31, 1e-20, 1e20, 1.5e38])
def test_extreme_weights(scale):
    """The right number or NaN, never another number."""
    scores = np.float32([0.1, 0.2, 0.35, 0.6, 0.8, 0.95])
    outcomes, weights = np.float32([0, 0, 1, 0, 1, 1]), np.float32([1, 2, 1, 1, 0.5, 1])
    bins = cj.equal_width_bins(3)

    def table(*rows, weights):
        found = cj.reliability_table(bins, *rows, weights=weights)
        return jnp.stack([found.confidence, found.outcome])

    def draws(*rows, weights):
        key = jax.random.key(0)
        found = cj.stats.bootstrap_reliability(key, bins, *rows, 4, weights=weights)
        return jnp.stack([found.confidence, found.outcome])

    for measure, always in (
        (cj.expected_calibration_error, False),
        (cj.metrics.maximum_calibration_error, False),
        (table, False),
        (draws, False),
        (cj.brier_score, True),
        (cj.log_loss, True),
        (cj.area_under_roc, True),
        (lambda *rows, weights: cj.fit_platt(*rows, weights=weights)[0].slope, True),
    ):
        expected = np.asarray(measure(scores, outcomes, weights=weights))
        with np.errstate(all="ignore"):
            found = np.asarray(measure(scores, outcomes, weights=weights * scale))
        known = ~np.isnan(found)
        close(found[known], expected[known], rtol=2e-6)
        assert known.all() or not always
