"""Cases small enough to check by eye, for every public function.

Values are multiples of powers of two wherever a tie or an equality matters, so that
no rounding can hide behind a tolerance.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax.stats import resampling

# Values by hand are float32 ones in either mode, and each is a program of its own.
pytestmark = pytest.mark.once

NAN, INF = np.nan, np.inf


def close(actual, expected, rtol=1e-6, atol=1e-7):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


equal = np.testing.assert_array_equal


# Confidence

LOG_125 = np.log([[1.0, 2.0, 5.0]])


@pytest.mark.parametrize(
    ("logits", "temperature", "expected"),
    [
        (LOG_125, 1.0, [[0.125, 0.25, 0.625]]),
        (LOG_125, 0.5, [[1 / 30, 4 / 30, 25 / 30]]),
        (LOG_125, 1e6, [[1 / 3, 1 / 3, 1 / 3]]),
        (LOG_125, 1e-6, [[0.0, 0.0, 1.0]]),
        (LOG_125 + 1e4, 1e-6, [[0.0, 0.0, 1.0]]),
        ([[1e38, -1e38, 1e38]], 1.0, [[0.5, 0.0, 0.5]]),
        ([[0.0, -INF, 0.0]], 2.0, [[0.5, 0.0, 0.5]]),
    ],
)
def test_scaled_softmax(logits, temperature, expected):
    result = cj.scaled_softmax(np.array(logits), temperature)
    assert result.dtype == jnp.float32
    close(result, expected, rtol=1e-5)


def test_scaled_softmax_masks_classes():
    logits = np.array([[0.0, np.log(2.0), NAN], [0.0, np.log(2.0), INF]])
    result = cj.scaled_softmax(logits, class_where=np.array([True, True, False]))
    close(result, [[1 / 3, 2 / 3, 0.0]] * 2)
    equal(result[:, 2], 0.0)
    rows = np.array([[True, True, False], [False, True, False]])
    result = cj.scaled_softmax(logits, class_where=rows)
    close(result, [[1 / 3, 2 / 3, 0.0], [0.0, 1.0, 0.0]])


TOP1_LOGITS = np.array(
    [
        [0.0, 0.0, -INF],  # a tie: the first
        [0.0, 2.0, 2.0],
        [NAN, 9.0, 0.0],  # a NaN
        [-INF, -INF, -INF],  # nothing is left
        [-INF, 3.0, -INF],  # one class is left
        [1e4, 1e4, 1e4],
    ]
)


def test_top1():
    top = cj.top1(TOP1_LOGITS)
    e2 = np.exp(2.0)
    assert top.confidence.dtype == jnp.float32
    assert top.prediction.dtype == jnp.int32
    close(top.confidence, [0.5, e2 / (2 * e2 + 1), NAN, NAN, 1.0, 1 / 3])
    equal(top.prediction, [0, 1, -1, -1, 1, 0])


def test_top1_masks_classes():
    top = cj.top1(TOP1_LOGITS, class_where=np.array([False, True, True]))
    close(top.confidence, [1.0, 0.5, 1 / (1 + np.exp(-9.0)), NAN, 1.0, 0.5])
    equal(top.prediction, [1, 1, 1, -1, 1, 1])
    rows = np.ones((6, 3), bool)
    rows[2] = [False, True, False]
    rows[5] = False
    top = cj.top1(TOP1_LOGITS, class_where=rows)
    close(top.confidence[2], 1.0)
    close(top.confidence[5], NAN)
    equal(np.asarray(top.prediction)[[2, 5]], [1, -1])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_logits_lose_nothing_more(dtype):
    # The rounding of the logits is in the data; everything after it is float32.
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(64, 300)) * 3.0, dtype)
    noise = rng.gumbel(size=logits.shape)
    labels = (reference.to_float(logits) + noise).argmax(-1)
    confidence, prediction = reference.top1(logits, 1.3)
    top = cj.top1(logits, 1.3)
    close(top.confidence, confidence, rtol=2e-6)
    equal(top.prediction, prediction)
    close(cj.scaled_softmax(logits).sum(-1), 1.0, rtol=2e-6)
    params, _ = cj.fit_temperature(logits, labels)
    expected = reference.fit_temperature(logits, labels)
    close(params.temperature, expected, rtol=1e-5)


def test_choice_logits_renormalise():
    logits = np.array([[5.0, np.log(3.0), 9.0, 0.0], [0.0, 1.0, NAN, 1.0]])
    choices = cj.choice_logits(logits, np.array([3, 1]))
    close(choices, [[0.0, np.log(3.0)], [1.0, 1.0]])
    close(cj.scaled_softmax(choices), [[0.25, 0.75], [0.5, 0.5]])


@pytest.fixture(scope="module")
def padded_sequences():
    """Lengths 3, 1 and 0; garbage in the padding."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 3, 5)).astype(np.float32)
    tokens = rng.integers(5, size=(3, 3))
    where = np.arange(3) < np.array([[3], [1], [0]])
    logits[~where] = NAN
    tokens[~where] = -100
    return logits, tokens, where


def test_sequence_mean_logit(padded_sequences):
    logits, tokens, where = padded_sequences
    score = cj.sequence_mean_logit(logits, tokens, where=where)
    expected = reference.sequence_mean_logit(
        logits[:2], np.where(where, tokens, 0)[:2], where[:2]
    )
    close(score[:2], expected)
    assert np.isnan(score[2])
    shifted = cj.sequence_mean_logit(logits + 1.0, tokens, where=where)
    close(shifted[:2], expected + 1.0)


@pytest.mark.parametrize("reduction", ["sum", "mean", "min"])
def test_sequence_log_likelihood(padded_sequences, reduction):
    logits, tokens, where = padded_sequences
    expected = reference.sequence_log_likelihood(
        logits[:2], np.where(where, tokens, 0)[:2], where[:2], reduction
    )
    for shift in (0.0, 1.0):  # a softmax does not see a shift
        score = cj.sequence_log_likelihood(
            logits + np.float32(shift), tokens, where=where, reduction=reduction
        )
        close(score[:2], expected, rtol=2e-6)
        assert np.isnan(score[2])  # no token, no score: neither 0 nor -inf


@pytest.mark.parametrize("size", [32_000, 50_257, 65_537])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sequence_log_likelihood_of_a_large_vocabulary(size, dtype):
    """In one piece, in several, and as a prime number of tokens."""
    rng = np.random.default_rng(3)
    logits = np.asarray(jnp.asarray(3 * rng.normal(size=(2, 3, size)), dtype))
    tokens = rng.integers(size, size=(2, 3))
    where = np.array([[True, True, True], [True, False, True]])
    score = cj.sequence_log_likelihood(logits, tokens, where=where)
    expected = reference.sequence_log_likelihood(
        logits.astype(float), tokens, where, "sum"
    )
    np.testing.assert_allclose(score, expected, rtol=1e-6)


def test_sequence_log_likelihood_of_an_impossible_token():
    logits = np.array([[[0.0, -INF], [0.0, 0.0]]])
    score = cj.sequence_log_likelihood(logits, np.array([[1, 0]]))
    equal(score, [-INF])
    score = cj.sequence_log_likelihood(logits, np.array([[0, 0]]), reduction="min")
    close(score, [-np.log(2.0)])


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [
        (0.5, 0.0),
        (0.75, np.log(3.0)),
        (0.1, -np.log(9.0)),
        (1e-6, np.log(1e-6)),
        (0.0, -24 * np.log(2.0)),
        (2.0**-30, -24 * np.log(2.0)),
        (1.0, 24 * np.log(2.0)),
        (1 - 2.0**-30, 24 * np.log(2.0)),
        (NAN, NAN),
        (-0.1, NAN),
        (1.1, NAN),
    ],
)
def test_log_odds(confidence, expected):
    result = cj.log_odds(confidence)
    assert result.dtype == jnp.float32 and result.shape == ()
    close(result, expected)
    if not np.isnan(expected):
        kept = np.clip(confidence, 2.0**-24, 1 - 2.0**-24)
        platt = cj.Platt(slope=jnp.float32(1), intercept=jnp.float32(0))
        close(cj.calibrate(platt, result[None]), [kept], rtol=4e-6)


def test_log_odds_of_logarithms():
    confidence = np.array([[0.0, 1e-30, 0.25, 0.5], [0.9, 1 - 1e-6, 1 - 1e-9, 1.0]])
    with np.errstate(divide="ignore"):
        logarithm = np.log(confidence)
    expected = reference.log_odds(confidence)
    # A likelihood of 0 has none, and that of a long text is not cut off.
    of_log = np.where(confidence > 1e-20, expected, logarithm)
    close(cj.confidence.log_odds_from_log(logarithm), of_log, rtol=1e-6, atol=2e-7)
    close(
        cj.confidence.log_odds_from_log([-17.0, -100.0, -1e4]),
        [-17.0, -100.0, -1e4],
        rtol=1e-7,
    )
    # What float32 keeps of the confidence itself is off by 3 %.
    close(cj.log_odds(confidence), expected, atol=0.05)
    equal(cj.confidence.log_odds_from_log([NAN, 1e-3, INF]), [NAN] * 3)


# Bins


def padded(values, size=8):
    """Values, NaN after them, and the mask that removes the NaN."""
    values = np.asarray(values, np.float32)
    filler = np.full(size - len(values), NAN, np.float32)
    return np.append(values, filler), np.arange(size) < len(values)


@pytest.mark.parametrize(
    ("scores", "edges", "count"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.5], [2, 2, 2]),
        ([0.6, 0.3, 0.1, 0.5, 0.2, 0.4], [0.3, 0.5], [2, 2, 2]),  # any order
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.4, 0.6], [3, 2, 2]),  # long first
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.4, 0.7], [3, 3, 2]),
        ([0.3, 0.5, 0.2, 0.3, 0.5, 0.7], [0.3, 0.5], [1, 2, 3]),  # a tie goes up
        ([0.3, 0.5, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0], [2, 0, 4]),
        ([0.1, 0.1, 0.1, 0.1, 0.7], [0.1, 0.7], [0, 4, 1]),
        ([0.4] * 6, [0.4, 0.4], [0, 0, 6]),
        ([0.3, 0.6], [0.6, INF], [1, 1, 0]),  # fewer rows than bins
        ([0.3], [INF, INF], [1, 0, 0]),
        ([], [INF, INF], [0, 0, 0]),
        ([-0.0, 0.0, -0.0, 0.0, -0.0, 1.0], [0.0, 0.0], [0, 0, 6]),  # one zero
        ([-3.0, -1e-30, 0.0, 1e-30, 2.0, 1e30], [0.0, 2.0], [2, 2, 2]),  # any score
    ],
)
def test_equal_count_bins(scores, edges, count):
    values, where = padded(scores)
    bins = cj.equal_count_bins(values, 3, where=where)
    assert bins.num_bins == 3
    close(bins.edges, edges)
    table = cj.reliability_table(bins, values, np.zeros(8), where=where)
    equal(table.count, count)
    index = np.asarray(cj.bin_index(bins, values))[where]
    equal(np.bincount(index, minlength=3), count)


def test_equal_count_bins_with_a_traced_number():
    scores = np.random.default_rng(0).integers(6, size=40).astype(np.float32)
    cut = jax.jit(lambda k: cj.equal_count_bins(scores, k, max_bins=50).edges)
    for num_bins in range(1, 51):
        expected = reference.equal_count_edges(scores, num_bins)
        equal(cut(num_bins), np.append(expected, np.full(50 - num_bins, INF)))


def test_equal_count_bins_of_one_bin():
    bins = cj.equal_count_bins(np.array([0.1, 0.9]), 1)
    assert bins.edges.shape == (0,)
    equal(cj.bin_index(bins, np.array([-5.0, 0.5, NAN])), [0, 0, -1])


def test_bin_index():
    bins = cj.Bins(edges=jnp.array([0.25, 0.5, 0.5], jnp.float32))
    scores = np.array([-INF, 0.0, 0.25, 0.26, 0.5, 7.0, INF, NAN])
    index = cj.bin_index(bins, scores)
    assert index.dtype == jnp.int32
    equal(index, [0, 0, 1, 1, 3, 3, 3, -1])


@pytest.mark.parametrize("num_bins", [7, 10, 15, 100])
def test_equal_width_edges_are_correctly_rounded(num_bins):
    # k / num_bins as float32 lies in bin k, not in the bin below.
    bins = cj.equal_width_bins(num_bins)
    scores = (np.arange(num_bins + 1) / num_bins).astype(np.float32)
    index = np.minimum(np.arange(num_bins + 1), num_bins - 1)
    equal(cj.bin_index(bins, scores), index)
    equal(cj.bin_index(bins, np.nextafter(scores[1:], 0.0)), np.arange(num_bins))


def test_equal_width_bins_of_a_range():
    bins = cj.equal_width_bins(4, lower=-1.0, upper=3.0)
    close(bins.edges, [0.0, 1.0, 2.0])


# Tables and errors


def test_reliability_table():
    bins = cj.Bins(edges=jnp.array([0.25, 0.5, 0.75], jnp.float32))
    scores = np.array([0.0, 0.125, 0.5, 0.625, 1.0, NAN, 0.3, 0.9])
    outcomes = np.array([0.0, 1.0, 0.5, 1.0, 0.0, 1.0, NAN, 1.0])  # partial credit
    where = np.array([True] * 5 + [False] * 2 + [True])
    weights = np.array([1.0, 3.0, 1.0, 1.0, 2.0, 5.0, NAN, 0.0])
    table = cj.reliability_table(bins, scores, outcomes, where=where, weights=weights)
    assert table.count.dtype == jnp.int32
    equal(table.count, [2, 0, 2, 1])  # a row of weight 0 is a removed row
    close(table.weight, [4.0, 0.0, 2.0, 2.0])
    close(table.confidence, [0.09375, 0.0, 0.5625, 1.0])
    close(table.outcome, [0.75, 0.0, 0.75, 0.0])
    error = cj.expected_calibration_error(
        scores, outcomes, bins=bins, where=where, weights=weights
    )
    close(error, (4 * 0.65625 + 2 * 0.1875 + 2 * 1.0) / 8)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.int64, np.float32, jnp.bfloat16])
def test_outcomes_of_any_dtype(dtype):
    scores = np.array([0.25, 0.5, 0.75, 1.0])
    outcomes = np.array([0, 1, 1, 1]).astype(dtype)
    close(cj.expected_calibration_error(scores, outcomes, num_bins=2), 0.125)
    table = cj.reliability_table(cj.equal_count_bins(scores, 2), scores, outcomes)
    close(table.outcome, [0.5, 1.0])


def test_nan_in_valid_rows_is_never_hidden():
    scores, outcomes = np.array([0.1, NAN, 0.8]), np.array([0.0, 1.0, 1.0])
    bins = cj.Bins(edges=jnp.array([0.5], jnp.float32))
    table = cj.reliability_table(bins, scores, outcomes)
    equal(table.confidence, [NAN, NAN])
    assert np.isnan(cj.expected_calibration_error(scores, outcomes, bins=bins))
    assert np.isnan(cj.expected_calibration_error(scores, outcomes, num_bins=2))
    hidden = np.array([True, False, True])
    error = cj.expected_calibration_error(scores, outcomes, bins=bins, where=hidden)
    close(error, 0.15)


def test_no_valid_row_is_no_perfect_score():
    nothing = np.zeros(4, bool)
    scores = np.array([0.1, 0.2, 0.7, NAN])
    table = cj.reliability_table(cj.equal_width_bins(2), scores, nothing, where=nothing)
    for field in (table.count, table.weight, table.confidence, table.outcome):
        equal(field, [0, 0])
    error = cj.expected_calibration_error(scores, nothing, num_bins=2, where=nothing)
    assert np.isnan(error)
    error = cj.expected_calibration_error(
        scores, nothing, num_bins=2, weights=np.zeros(4)
    )
    assert np.isnan(error)


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


# Calibrators


def test_fit_histogram():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.9, NAN])
    outcomes = np.array([0.0, 1.0, 0.0, 0.5, 1.0, 1.0])
    weights = np.array([1.0, 3.0, 1.0, 1.0, 2.0, 1.0])
    params, report = cj.fit_histogram(
        scores, outcomes, num_bins=2, where=scores < 1, weights=weights
    )
    assert report.converged
    close(params.bins.edges, [0.4])
    close(params.values, [0.6, 2.5 / 3])
    calibrated = cj.calibrate(params, np.array([0.0, 0.35, 0.4, 5.0, NAN]))
    close(calibrated, [0.6, 0.6, 2.5 / 3, 2.5 / 3, NAN])


def test_calibrate_applies_parameters():
    temperature = cj.Temperature(temperature=jnp.float32(2.0))
    logits = 2.0 * np.log([[1.0, 2.0, 5.0]])
    close(cj.calibrate(temperature, logits), [[0.125, 0.25, 0.625]])
    masked = cj.calibrate(
        temperature, logits, class_where=np.array([True, False, True])
    )
    close(masked, [[1 / 6, 0.0, 5 / 6]])
    platt = cj.Platt(slope=jnp.float32(2.0), intercept=jnp.float32(-1.0))
    scores = np.array([0.5, 100.0, -100.0, NAN, 1.0])
    close(cj.calibrate(platt, scores), [0.5, 1.0, 0.0, NAN, 1 / (1 + np.exp(-1.0))])


# Cascade

SMALL = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
LARGE = np.array([0.6, 0.7, 0.8, 0.5, 0.6, 0.4, 0.9, 1.0])
SMALL_OUTCOME = np.array([0, 0, 1, 0, 1, 1, 1, 1])
LARGE_OUTCOME = np.array([1, 1, 1, 1, 0, 0, 1, 1])


def test_advantage_table():
    bins = cj.Bins(edges=jnp.array([0.5, 0.75, 0.95], jnp.float32))
    table = cj.advantage_table(
        bins, SMALL, LARGE, small_outcome=SMALL_OUTCOME, large_outcome=LARGE_OUTCOME
    )
    equal(table.count, [3, 3, 2, 0])
    close(table.weight, [3, 3, 2, 0])
    close(table.small_confidence, [0.2, 0.6, 0.85, 0])
    close(table.large_confidence, [0.7, 0.5, 0.95, 0])
    close(table.advantage, [0.5, -0.1, 0.1, 0])
    close(table.small_outcome, [1 / 3, 2 / 3, 1, 0])
    close(table.large_outcome, [1, 1 / 3, 1, 0])
    close(table.outcome_advantage, [2 / 3, -1 / 3, 0, 0])
    # Paired differences 1, 1, 0 and 1, -1, -1 and 0, 0.
    error = [np.sqrt(2 / 9 / 3), np.sqrt(8 / 9 / 3), 0, 0]
    close(table.outcome_advantage_standard_error, error)


def test_advantage_table_without_outcomes():
    bins = cj.Bins(edges=jnp.array([0.5, 0.75, 0.95], jnp.float32))
    weights = np.array([2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5])
    table = cj.advantage_table(bins, SMALL, LARGE, weights=weights)
    assert table.small_outcome is None
    assert table.outcome_advantage is None
    assert table.outcome_advantage_standard_error is None
    equal(table.count, [2, 3, 2, 0])
    close(table.weight, [3, 3, 1, 0])
    close(table.advantage, [0.5, -0.1, 0.1, 0])


@pytest.mark.parametrize(
    ("small", "advantage", "order"),
    [
        ([1, 2, 3, 4], [3, 1, 0, 2], [2, 1, 3, 0]),
        ([4, 3, 2, 1], [2, 0, 1, 3], [2, 1, 3, 0]),  # the same rows, turned round
        ([1, 2, 3, 4], [-3, -1, 0, -2], [0, 3, 1, 2]),
        ([1, 2, 3, 4], [1, 1, 1, 1], [3, 2, 1, 0]),  # equal: high confidence first
        ([1, 2, 3, 4], [0, 0, -1, 0], [2, 3, 1, 0]),
        ([1, 1, 1, 4], [1, 1, 1, 2], [2, 3]),  # bins 0 and 1 are empty
        ([2, 2, 2, 2], [5, 5, 5, 5], [3]),
    ],
)
def test_fit_router_orders_its_bins(small, advantage, order):
    small, advantage = np.array(small) / 16, np.array(advantage) / 16
    router = cj.fit_router(small, small + advantage, num_bins=4)
    assert router.order.dtype == jnp.int32
    equal(router.order[: len(order)], order)  # empty bins last
    equal(np.sort(router.order), np.arange(4))


def test_fit_router_on_given_bins():
    bins = cj.equal_width_bins(4)
    small, large = np.array([2, 3, 4, 14]) / 16, np.array([9, 10, 5, 14]) / 16
    router = cj.fit_router(small, large, num_bins=99, bins=bins)
    equal(router.bins.edges, bins.edges)
    equal(router.table.count, [2, 1, 0, 1])
    equal(router.order, [3, 1, 0, 2])


@pytest.fixture(scope="module")
def router():
    """Four bins of two rows, advantages 1/2, 1/4, -1/8 and 1/8 of confidence."""
    small = np.arange(8) / 16
    large = small + np.repeat([0.5, 0.25, -0.125, 0.125], 2)
    return cj.fit_router(small, large, num_bins=4)


@pytest.mark.parametrize(
    ("num_small_bins", "kept"),
    [
        (0, [0, 0, 0, 0, 0, 0]),
        (1, [0, 0, 0, 1, 0, 0]),
        (2, [0, 0, 0, 1, 1, 0]),
        (3, [0, 0, 1, 1, 1, 0]),
        (4, [1, 1, 1, 1, 1, 0]),
    ],
)
def test_use_small(router, num_small_bins, kept):
    scores = np.array([-1.0, 1 / 16, 3 / 16, 4 / 16, 9.0, NAN])
    result = cj.use_small(router, scores, num_small_bins)
    assert result.dtype == jnp.bool_
    equal(result, np.array(kept, bool))
    traced = jax.jit(cj.use_small)(router, scores, num_small_bins)
    equal(traced, np.array(kept, bool))


def test_cascade_curve(router):
    small = np.array([0.0, 3 / 16, 4 / 16, 5 / 16, 7 / 16, NAN])  # bins 0 1 2 2 3
    where = np.arange(6) < 5
    small_outcome = np.array([0, 1, 1, 1, 0, 1])
    large_outcome = np.array([1, 0, 0, 1, 1, 1])
    curve = cj.cascade_curve(router, small, small_outcome, large_outcome, where=where)
    close(curve.small_share, [0, 0.4, 0.6, 0.8, 1.0])  # order: bins 2, 3, 1, 0
    close(curve.accuracy, [0.6, 0.8, 0.6, 0.8, 0.6])
    close(curve.small_accuracy, 0.6)
    close(curve.large_accuracy, 0.6)
    # Equally accurate models: there is no gap to recover.
    assert np.isnan(cj.performance_gap_recovered(curve)).all()
    assert np.isnan(cj.average_performance_gap_recovered(curve))
    assert np.isnan(cj.call_performance_threshold(curve, 0.5))
    weights = np.array([3.0, 1.0, 1.0, 1.0, 2.0, NAN])
    curve = cj.cascade_curve(
        router, small, small_outcome, large_outcome, where=where, weights=weights
    )
    close(curve.small_share, [0, 0.25, 0.5, 0.625, 1.0])
    close(curve.accuracy, [0.75, 0.875, 0.625, 0.75, 0.375])
    close(cj.random_curve(curve).accuracy, [0.75, 0.65625, 0.5625, 0.515625, 0.375])
    close(cj.performance_gap_recovered(curve), [1, 4 / 3, 2 / 3, 1, 0])
    # Large shares 0, .375, .5, .75, 1.
    area = 0.375 * 1 / 2 + 0.125 * 5 / 6 + 0.25 * 1 + 0.25 * 7 / 6
    close(cj.average_performance_gap_recovered(curve), area)
    close(cj.average_performance_gap_recovered(cj.random_curve(curve)), 0.5)


def test_cascade_curve_of_no_valid_row(router):
    nothing = np.zeros(6, bool)
    curve = cj.cascade_curve(router, np.ones(6), nothing, nothing, where=nothing)
    assert np.isnan(curve.accuracy).all()
    assert np.isnan(cj.average_performance_gap_recovered(curve))


def curve_of(accuracy):
    """A curve over even shares, from all large to all small."""
    accuracy = np.asarray(accuracy, np.float32)
    return cj.CascadeCurve(
        small_share=jnp.asarray(np.linspace(0, 1, len(accuracy)), jnp.float32),
        accuracy=jnp.asarray(accuracy),
        small_accuracy=jnp.asarray(accuracy[-1]),
        large_accuracy=jnp.asarray(accuracy[0]),
    )


@pytest.mark.parametrize(
    ("accuracy", "target", "share"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.0, 0.0),  # PGR 0, 1/4, 1/2, 3/4, 1 from the end
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.6, 0.6),
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1.0, 1.0),
        ([0.9, 0.9, 0.7, 0.9, 0.5], 0.5, 0.125),  # the first of three crossings
        ([0.9, 1.3, 0.5, 0.5, 0.5], 1.0, 0.625),  # reached before all are large
        ([0.5, 0.6, 0.7, 0.8, 0.9], 0.5, 0.5),  # the large model is the worse one
    ],
)
def test_call_performance_threshold(accuracy, target, share):
    threshold = cj.call_performance_threshold(curve_of(accuracy), target)
    close(threshold, share, rtol=1e-6, atol=1e-6)


def test_call_performance_threshold_may_never_be_reached():
    curve = curve_of([0.9, 0.8, 0.7, 0.6, 0.5])
    assert np.isnan(cj.call_performance_threshold(curve, 1.01))


def test_two_models_together_beat_either():
    small = np.arange(16) / 16
    small_outcome, large_outcome = small >= 0.5, small < 0.75
    router = cj.fit_router(small, np.full(16, 0.6), num_bins=4)
    curve = cj.cascade_curve(router, small, small_outcome, large_outcome)
    close(curve.accuracy, [0.75, 1.0, 1.0, 0.75, 0.5])
    # Among equals, the fewest large calls.
    equal(cj.choose_num_small_bins(curve).num_small_bins, 2)


def test_choosing_the_number_of_small_bins():
    curve = curve_of([0.75, 0.875, 0.625, 0.75, 0.5])

    def check(targets, numbers, feasible):
        chosen = [cj.choose_num_small_bins(curve, **target) for target in targets]
        equal([one.num_small_bins for one in chosen], numbers)
        equal([one.feasible for one in chosen], feasible)

    # As many large calls as the budget allows; 4 is safe where none is within it.
    shares = (1.0, 0.5, 0.3, 0.0, -0.1)
    check(
        [{"max_large_share": x} for x in shares], [0, 2, 3, 4, 4], [True] * 4 + [False]
    )
    accuracies = (0.5, 0.75, 0.8, 0.9)
    check([{"min_accuracy": x} for x in accuracies], [4, 3, 1, 0], [True] * 3 + [False])
    both = ((0.75, 0.5), (0.8, 0.75), (0.8, 0.5), (0.5, 0.0))
    targets = [{"min_accuracy": x, "max_large_share": y} for x, y in both]
    check(targets, [3, 1, 0, 4], [True, True, False, True])
    check([{}], [1], [True])
    chosen = cj.choose_num_small_bins(curve, min_accuracy=0.8, max_large_share=0.5)
    close(chosen.level, 0.2, rtol=1e-6)
    close(chosen.min_feasible_level, 0.25)
    close(chosen.risk, [0.25, 0.125, 0.375, 0.25, 0.5])
    close(chosen.large_share, [1.0, 0.75, 0.5, 0.25, 0.0])
    for target in ({"min_accuracy": 0.5}, {"max_large_share": 0.5}, {}):
        blank = cj.choose_num_small_bins(curve_of([np.nan] * 5), **target)
        equal(blank.feasible, target == {"max_large_share": 0.5})


# Cleaning

PREDICTIONS = np.array([[1, 1, 1, 0, 2, 1], [1, 2, 1, 1, 0, 1]])
GIVEN = np.array([0, 0, 1, 0, 1, 2])
EXPERT_CONFIDENCES = np.array(
    [[0.9, 0.9, 0.9, 0.9, 0.1, 0.5], [0.8, 0.9, 0.9, 0.8, 0.1, NAN]]
)


def test_top1_disagreement():
    flagged = cj.top1_disagreement(PREDICTIONS, GIVEN)
    equal(flagged, np.array([1, 1, 0, 0, 1, 1], bool))


def test_suspicion_ranks_contradicted_labels_first():
    predictions = np.array([[1, 1, 2, 0, 1, 1], [1, 2, 2, 0, -1, 1]])
    confidences = np.float32(
        [[0.9, 0.6, 0.8, 0.7, 0.9, NAN], [0.5, 0.7, 0.9, 0.4, NAN, 1]]
    )
    score = cj.cleaning.label_issue_score(
        predictions, confidences, np.array([0, 0, 1, 0, 0, 0])
    )
    # An expert without a prediction contradicts nothing.
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
    # Every row of class 0 gives it p: the mean is p, so a row with p is not above it.
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


# Saving and resampling


def test_save_and_load_keep_every_bit(tmp_path, router):
    bins = cj.equal_count_bins(np.array([0.1, 0.3]), 4)  # edges of +inf
    histogram, _ = cj.fit_histogram(SMALL, SMALL_OUTCOME, num_bins=3)
    temperature = cj.Temperature(temperature=jnp.float32(1 / 3))
    platt = cj.Platt(slope=jnp.float32(NAN), intercept=jnp.float32(-INF))
    for params in (bins, histogram, temperature, platt, router):
        cj.save(tmp_path / "params.json", params)
        loaded = cj.load(tmp_path / "params.json")
        assert jax.tree.structure(loaded) == jax.tree.structure(params)
        leaves = zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True)
        for new, old in leaves:
            assert new.dtype == old.dtype
            assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"version": 1}', "\x80pickle"])
def test_load_refuses_what_it_did_not_write(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        cj.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "params.json"
    cj.save(path, cj.Temperature(temperature=jnp.float32(2.0)))
    with pytest.raises(ValueError):
        cj.save(path, {"temperature": object()})
    assert cj.load(path).temperature == 2.0
    assert list(tmp_path.iterdir()) == [path]


def test_bootstrap():
    values = np.arange(10, dtype=np.float32)
    twice = 2 * values

    def statistic(x, y, weights):
        return {"total": weights.sum(), "weights": weights, "pair": (x * weights, y)}

    draws = cj.bootstrap(jax.random.key(0), statistic, 200, values, twice)
    equal(draws["total"], np.full(200, 10.0))
    weights = np.asarray(draws["weights"])
    assert weights.dtype == np.float32
    assert weights.shape == (200, 10)
    equal(weights, np.round(weights))
    assert weights.min() == 0
    assert len(np.unique(weights, axis=0)) > 190
    # Every row is drawn once on average, with the variance of a multinomial count.
    close(weights.mean(), 1.0)
    close(weights.var(), 0.9, rtol=0.15)
    close(draws["pair"][0], weights * values)
    again = cj.bootstrap(jax.random.key(0), statistic, 200, values, twice)
    equal(again["weights"], weights)


# Rows drawn one by one; by Poisson counts; with blocks of rows, the last one not whole.
@pytest.mark.parametrize("size", [7, 1500, 40_001, 150_008])
def test_bootstrap_takes_as_many_rows_as_there_are(size):
    counts = cj.bootstrap(
        jax.random.key(1), lambda x, weights: weights, 11, np.zeros(size)
    )
    counts = np.asarray(counts, np.float64)
    equal(counts, np.round(counts))
    equal(counts.sum(axis=1), np.full(11, size))
    assert counts.min() == 0
    # As often as they should be, 0 to 4 times, to five standard errors.
    for times in range(5):
        share = math.comb(size, times) / size**times
        share *= (1 - 1 / size) ** (size - times)
        found = np.mean(counts == times)
        assert abs(found - share) < 5 * math.sqrt(share / (11 * size))
    # No draw like another.
    together = np.corrcoef(counts) - np.eye(11)
    assert np.abs(together).max() < (1 if size < 10 else 5 / math.sqrt(size))


@pytest.mark.parametrize(
    ("size", "masked"), [(7, False), (7, True), (40_001, True), (150_008, False)]
)
def test_bootstrap_of_reliability_tables(size, masked):
    rng = np.random.default_rng(size)
    scores = rng.random(size).astype(np.float32)
    outcomes = rng.choice(np.float32([0, 1, 1, 0.3]), size)
    bins, key = cj.equal_count_bins(scores, 3), jax.random.key(2)
    where = np.ones(size, bool)
    weights = np.ones(size, np.float32)
    given = {}
    dirty = scores.copy()
    if masked:
        where = rng.random(size) < 0.7
        weights = rng.choice(np.float32([0, 0.5, 3]), size)
        given = {"where": where, "weights": weights}
        dirty[~where] = np.nan
    tables = cj.stats.bootstrap_reliability(key, bins, dirty, outcomes, 5, **given)

    counts = cj.bootstrap(key, lambda x, weights: weights, 5, scores)
    index = np.asarray(cj.bin_index(bins, scores))
    for draw, count in enumerate(np.asarray(counts, np.float64)):
        for number in range(3):
            inside = (index == number) & where
            taken = count * weights * inside
            total = taken.sum()
            rows = np.sum(count * (inside & (weights > 0)))
            equal(tables.count[draw, number], rows)
            close(tables.weight[draw, number], total)
            some = total if total else 1.0
            for found, values in (
                (tables.confidence, scores),
                (tables.outcome, outcomes),
            ):
                mean = np.sum(taken * values.astype(np.float64)) / some
                close(found[draw, number], mean, rtol=0, atol=1e-6)
    # The errors of the tables are those of the resamples.
    error = functools.partial(cj.expected_calibration_error, bins=bins)

    def statistic(scores, outcomes, where, given, weights):
        weights = weights * given
        return error(scores, outcomes, where=where, weights=weights)

    draws = cj.bootstrap(key, statistic, 5, dirty, outcomes, where, weights)
    errors = jax.vmap(cj.metrics.calibration_error_of_table)(tables)
    close(errors, draws, atol=1e-6)
    equal(errors, cj.metrics.calibration_error_of_table(tables))


@pytest.mark.parametrize("held", [True, False])
def test_bootstrap_of_tables_with_values_that_are_not_finite(held, monkeypatch):
    """NaN as in a table of the rows that a draw took, and in no other draw."""
    monkeypatch.setattr(resampling, "_HELD_ENTRIES", 100 if held else 0)
    num_draws = 64 if held else 65  # Compiled anew.
    scores = np.float32([0.1, np.nan, 0.7, 0.9, np.inf, 0.2])
    outcomes = np.float32([1, 0, np.nan, 1, 1, 0])
    bins, key = cj.equal_width_bins(2), jax.random.key(3)

    def table(scores, outcomes, weights):
        return cj.reliability_table(bins, scores, outcomes, weights=weights)

    expected = cj.bootstrap(key, table, num_draws, scores, outcomes)
    actual = cj.stats.bootstrap_reliability(key, bins, scores, outcomes, num_draws)
    assert 0 < np.isnan(expected.confidence).sum() < 128
    equal(actual.weight, expected.weight)
    for name in ("confidence", "outcome"):
        close(getattr(actual, name), getattr(expected, name), atol=1e-6)


def test_table_calibration_error():
    scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
    bins = cj.equal_width_bins(4)
    table = cj.reliability_table(bins, scores, outcomes)
    close(cj.metrics.calibration_error_of_table(table), 0.275)
    nothing = jax.tree.map(jnp.zeros_like, table)
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), table, nothing)
    close(cj.metrics.calibration_error_of_table(both), [0.275, np.nan])
