"""The parts of a log loss that recalibration removes, and those that stay."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj

NAN = np.nan
parts_of = cj.metrics.calibration_refinement


def close(actual, expected, rtol=1e-5, atol=1e-7):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def rows(num_rows=240, true=2.0):
    """Logits of five classes whose best temperature is `true`, and labels."""
    rng = np.random.default_rng(0)
    z = 2 * rng.normal(size=(num_rows, 5))
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    return np.float32(true * z), labels


def losses(logits, labels, temperature=1.0):
    chance = reference.softmax(logits, temperature)
    return -np.log(chance[np.arange(len(labels)), labels])


def expected_parts(logits, labels, num_folds, weights):
    fold = np.arange(len(labels)) % num_folds
    stays = np.zeros(len(labels))
    for number in range(num_folds):
        others = fold != number
        temperature = reference.fit_temperature(
            logits[others], labels[others], weights=weights[others]
        )
        own = losses(logits, labels, temperature)
        stays = np.where(others, stays, own)
    loss, stays = (
        np.average(x, weights=weights) for x in (losses(logits, labels), stays)
    )
    return loss, loss - stays, stays


@pytest.mark.parametrize("num_folds", [2, 5])
def test_parts_of_the_log_loss(num_folds):
    logits, labels = rows()
    found = parts_of(logits, labels, num_folds=num_folds)
    expected = expected_parts(logits, labels, num_folds, np.ones(len(labels)))
    close([found.loss, found.calibration, found.refinement], expected, atol=1e-6)


def test_removed_rows_take_no_turn():
    logits, labels = rows()
    rng = np.random.default_rng(1)
    weights = np.float32(rng.integers(0, 3, len(labels)))
    where = rng.random(len(labels)) < 0.8
    kept = where & (weights > 0)
    dirty = np.where(kept[:, None], logits, NAN)
    dirty_labels = np.where(kept, labels, -1)
    found = parts_of(dirty, dirty_labels, where=where, weights=weights)
    expected = expected_parts(logits[kept], labels[kept], 5, weights[kept])
    close([found.loss, found.calibration, found.refinement], expected, atol=1e-6)


@pytest.mark.once
def test_a_temperature_moves_calibration_alone():
    """Many rows, which are read in blocks."""
    logits, labels = rows(70_001, 1.0)
    calibrated = parts_of(logits, labels)
    sharper = parts_of(np.float32(3 * logits), labels)
    close(sharper.refinement, calibrated.refinement)
    assert abs(calibrated.calibration) < 1e-4
    assert sharper.calibration > 0.5


def test_no_parts():
    logits, labels = rows()
    for where in (np.zeros(240, bool), np.arange(240) == 7):
        found = parts_of(logits, labels, where=where)
        assert np.isnan([found.loss, found.calibration, found.refinement]).all()
    for wrong in (np.where(np.arange(240) == 5, 9, labels), labels):
        spoiled = logits.copy()
        spoiled[5, 0] = NAN if wrong is labels else spoiled[5, 0]
        found = parts_of(jnp.asarray(spoiled), wrong)
        assert np.isnan([found.loss, found.calibration, found.refinement]).all()
    with pytest.raises(ValueError, match="num_folds: expected at least 2, got 1"):
        parts_of(logits, labels, num_folds=1)
