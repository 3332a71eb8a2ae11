"""Losses of all classes and the Brier score of a stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import assert_same

import calib_jax as cj

READERS = [cj.streaming.multiclass_log_loss, cj.streaming.multiclass_brier_score]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=3e-7)


def losses(logits, labels, weights, classes):
    """Both means in float64, over the rows of a positive weight."""
    logits = np.where(classes, np.float64(logits), -np.inf)[weights > 0]
    labels, weights = labels[weights > 0], weights[weights > 0]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    own = np.take_along_axis(probabilities, labels[:, None], 1)[:, 0]
    hot = np.eye(logits.shape[1])[labels]
    distance = np.sum((probabilities - hot) ** 2, axis=1)
    return [np.average(x, weights=weights) for x in (-np.log(own), distance)]


@pytest.mark.parametrize("by_row", [False, True])
def test_class_losses_of_batches(by_row):
    rng = np.random.default_rng(0)
    logits, labels = registry.class_rows(rng, 90)
    logits = np.float32(logits)
    weights = rng.choice(np.float32([0, 0.5, 2]), 90)
    classes = np.ones(logits.shape, bool)
    classes[:, 3] = labels == 3 if by_row else True
    logits[~classes] = np.nan
    logits[weights == 0] = np.nan
    start = cj.streaming.init_class_losses()
    states = [
        cj.streaming.update_class_losses(
            start,
            logits[rows],
            labels[rows],
            weights=weights[rows],
            class_where=classes[rows] if by_row else classes[0],
        )
        for rows in np.split(np.arange(90), 3)
    ]
    first, second, third = states
    merged = cj.streaming.merge(cj.streaming.merge(third, first), second)
    found = [read(merged) for read in READERS]
    close(found, losses(logits, labels, weights, classes))
    summed = jax.vmap(
        lambda state: cj.streaming.psum(state, "devices"), axis_name="devices"
    )(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))
    assert_same(jax.tree.map(lambda leaf: leaf[1], summed), merged, exact=True)


@pytest.mark.once
def test_class_losses_that_do_not_exist():
    start = cj.streaming.init_class_losses()
    assert np.isnan([read(start) for read in READERS]).all()
    for row, label, known in (
        ([0.0, 1.0], -1, [np.nan, np.nan]),
        ([0.0, 1.0], 2, [np.nan, np.nan]),
        ([np.nan, 1.0], 0, [np.nan, np.nan]),
        ([np.nan, 1.0], 1, [np.nan, np.nan]),
        ([np.inf, 1.0], 0, [np.nan, np.nan]),
        ([np.inf, 1.0], 1, [np.nan, np.nan]),
        ([-np.inf, -np.inf], 0, [np.nan, np.nan]),
        ([-np.inf, 1.0], 1, [np.log(2) / 2, 0.25]),
        ([-np.inf, 1.0], 0, [np.inf, 1.25]),
    ):
        rows = [row, [0.0, 0.0]], [label, 0]
        state = cj.streaming.update_class_losses(start, *rows)
        close([read(state) for read in READERS], known)
        state = cj.streaming.update_class_losses(start, *rows, where=[False, True])
        close([read(state) for read in READERS], [np.log(2), 0.5])


def test_brier_score_of_a_stream():
    rng = np.random.default_rng(1)
    scores, outcomes = rng.random(200).astype(np.float32), registry.partial(rng, 200)
    state = cj.streaming.init_reliability()
    assert np.isnan(cj.streaming.brier_score(state).value)
    for rows in np.split(np.arange(200), 4):
        state = cj.streaming.update_reliability(state, scores[rows], outcomes[rows])
    found = cj.streaming.brier_score(state)
    close(found.value, cj.brier_score(scores, outcomes))
    assert found.error_bound == 0
    for wrong in (np.nan, 1.5):
        bad = cj.streaming.update_reliability(state, jnp.float32([wrong]), [1])
        assert np.isnan(cj.streaming.brier_score(bad).value)
