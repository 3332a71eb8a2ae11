"""Scores of logits and of sequences, in cases small enough to check by eye."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference
from by_hand import INF, NAN, close, equal

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


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
    # The logits are rounded in the data; everything after that is float32.
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
    for shift in (0.0, 1.0):  # a softmax ignores a shift
        score = cj.sequence_log_likelihood(
            logits + np.float32(shift), tokens, where=where, reduction=reduction
        )
        close(score[:2], expected, rtol=2e-6)
        assert np.isnan(score[2])  # without tokens there is no score


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


def test_sequence_log_likelihood_of_unlikely_tokens_among_many_logits():
    """Of so many logits the largest is looked for only where exponentials overflow."""
    rng = np.random.default_rng(4)
    logits = 3 * rng.normal(size=(9, 8, 16_000)).astype(np.float32)
    tokens = np.argmax(logits, axis=2)
    places = np.arange(8), 0, tokens[:8, 0]
    # Likely, unlikely, beyond float32, impossible, and without a softmax.
    logits[places] = [20.0, -50.0, -200.0, -INF, INF, NAN, 1.0, 1.0]
    # Two unknown tokens, one of which does not count.
    tokens[6:8, 1] = 16_000
    where = np.ones((9, 8), bool)
    where[7, 1] = False
    score = cj.sequence_log_likelihood(logits, tokens, where=where)
    some = np.array([0, 1, 2, 7, 8])
    known = np.where(where, tokens, 0)
    expected = reference.sequence_log_likelihood(
        logits.astype(float)[some], known[some], where[some], "sum"
    )
    np.testing.assert_allclose(np.asarray(score)[some], expected, rtol=1e-6)
    equal(np.asarray(score)[3:7], [-INF, NAN, NAN, NAN])
    likely = cj.sequence_log_likelihood(logits[8:], tokens[8:])
    np.testing.assert_allclose(score[8:], likely, rtol=1e-6)


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
        (jnp.float32(-0.1), NAN),
        (jnp.float32(1.1), NAN),
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
    # A likelihood of 0 maps to -inf, and that of a long text is not clipped.
    of_log = np.where(confidence > 1e-20, expected, logarithm)
    close(cj.confidence.log_odds_from_log(logarithm), of_log, rtol=1e-6, atol=2e-7)
    close(
        cj.confidence.log_odds_from_log([-17.0, -100.0, -1e4]),
        [-17.0, -100.0, -1e4],
        rtol=1e-7,
    )
    # In float32 the confidence itself is off by 3 %.
    close(cj.log_odds(confidence), expected, atol=0.05)
    beyond = jnp.array([NAN, 1e-3, INF], jnp.float32)
    equal(cj.confidence.log_odds_from_log(beyond), [NAN] * 3)


def test_options_that_share_a_token_are_refused():
    with pytest.raises(ValueError, match=r"choice_ids: .*\[1, 1\].*a later one"):
        cj.choice_logits([[0.5, 2.0]], [1, 1])
