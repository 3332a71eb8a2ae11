"""Scores of distributions over classes, against scikit-learn and float64 sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from by_hand import INF, NAN, close, equal

import calib_jax as cj

LOSSES = [cj.metrics.multiclass_log_loss, cj.metrics.multiclass_brier_score]
MEASURES = [*LOSSES, cj.metrics.classwise_calibration_error]


def drawn(num_rows, num_classes, seed=0):
    """Probabilities, labels drawn from them, a mask and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_rows, num_classes))
    exponentials = np.exp(logits)
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    where = rng.random(num_rows) < 0.8
    weights = rng.choice([0.0, 0.5, 2.0], num_rows)
    return probabilities.astype(np.float32), labels, where, weights


@pytest.mark.parametrize("shape", [(50, 3), (3001, 40)])
def test_losses_agree_with_scikit_learn(shape):
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels, where, weights = drawn(*shape)
    kept, hot = np.float64(probabilities)[where], np.eye(shape[1])[labels[where]]
    kept = kept / kept.sum(axis=1, keepdims=True)
    given = {"sample_weight": weights[where], "labels": np.arange(shape[1])}
    probabilities[~where] = NAN
    rows = {"where": where, "weights": weights}
    loss = cj.metrics.multiclass_log_loss(probabilities, labels, **rows)
    close(loss, metrics.log_loss(labels[where], kept, **given), rtol=3e-7)
    score = cj.metrics.multiclass_brier_score(probabilities, labels, **rows)
    squares = np.sum((kept - hot) ** 2, axis=1)
    close(score, np.average(squares, weights=weights[where]), rtol=3e-7)


def test_losses_by_hand():
    loss, score = LOSSES
    certain = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    equal([loss(certain, [0, 1]), score(certain, [0, 1])], [0, 0])
    equal([loss(certain, [0, 2]), score(certain, [2, 0])], [INF, 2])
    equal(loss(certain, [0, 2], weights=[1, 0]), 0)
    # A small distance keeps its digits.
    close(score([[1 - 2**-20, 2**-20]], [0]), 2.0**-39, rtol=1e-6)
    gradient = jax.grad(loss)(
        jnp.array([[0.5, 0.5], [NAN, NAN]]),
        jnp.array([0, -1]),
        **{"where": jnp.array([True, False])},
    )
    equal(gradient, [[-2, 0], [0, 0]])


@pytest.mark.parametrize("measure", MEASURES, ids=lambda f: f.__name__)
def test_what_is_not_a_distribution_or_a_class_shows(measure):
    probabilities, labels, _, _ = drawn(40, 4)
    assert np.isfinite(measure(probabilities, labels))
    rows = np.arange(40) != 3
    for wrong in (-1, 4, 2**31 - 1):
        given = labels.copy()
        given[3] = wrong
        assert np.isnan(measure(probabilities, given))
        assert np.isfinite(measure(probabilities, given, where=rows))
    for wrong in (NAN, 1.5, -0.5):
        given = jnp.asarray(probabilities).at[3, (labels[3] + 1) % 4].set(wrong)
        assert np.isnan(measure(given, labels))
        assert np.isfinite(measure(given, labels, weights=np.float32(rows)))
    given = probabilities.copy()
    given[3, 0] = 1.5
    with pytest.raises(ValueError, match=r"probabilities: .*entry \[3, 0\] holds 1.5"):
        measure(given, labels)
    assert np.isfinite(measure(given, labels, weights=np.float32(rows)))
    assert np.isnan(measure(probabilities[:0], labels[:0]))


@pytest.mark.parametrize("size", [30, 9001])
def test_classwise_error_is_the_mean_over_classes(size):
    probabilities, labels, where, weights = drawn(size, 6)
    rows = {"where": where, "weights": weights}
    for options in ({"num_bins": 15}, {"bins": cj.equal_width_bins(15)}):
        edges = np.asarray(options["bins"].edges) if "bins" in options else None
        expected = [
            reference.expected_calibration_error(
                probabilities[:, k], labels == k, 15, edges, **rows
            )
            for k in range(6)
        ]
        found = cj.metrics.classwise_calibration_error(
            probabilities, labels, **options, **rows
        )
        close(found, np.mean(expected), rtol=1e-5)


def test_half_precision_is_read_as_it_is():
    probabilities, labels, _, _ = drawn(300, 5)
    for measure in MEASURES:
        half = jnp.asarray(probabilities, jnp.bfloat16)
        equal(measure(half, labels), measure(np.float32(half), labels))


def test_an_interval_by_the_bootstrap():
    probabilities, labels, _, _ = drawn(400, 3)
    statistic = functools.partial(
        cj.metrics.classwise_calibration_error, bins=cj.equal_width_bins(5)
    )
    found = cj.bootstrap_interval(
        jax.random.key(0), statistic, 50, probabilities, labels
    )
    close(found.estimate, statistic(probabilities, labels))
    assert found.lower < found.upper


def test_scores_of_all_classes_where_one_is_meant():
    probabilities, labels, _, _ = drawn(40, 4)
    with pytest.raises(ValueError, match="scores: .*multiclass_log_loss"):
        cj.log_loss(probabilities, labels)
    with pytest.raises(ValueError, match="scores: .*place of another argument"):
        cj.log_loss(labels == 0, probabilities[:, 0])
