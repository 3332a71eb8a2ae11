"""Calibrators, in cases small enough to check by eye."""

import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NAN, close

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


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


def test_numbers_as_platt_parameters():
    close(cj.calibrate(cj.Platt(slope=2, intercept=-1), [0.5]), [0.5])
    with pytest.raises(ValueError, match=r"params\.slope: expected a floating scalar"):
        cj.calibrate(cj.Platt(slope=jnp.int32(2), intercept=-1.0), [0.5])


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (2, 3, 1)])
def test_scores_of_any_shape(shape):
    scores = np.resize([0.1, 0.5, 0.9, NAN, -3.0, 7.0], shape)
    platt = cj.Platt(slope=jnp.float32(2.0), intercept=jnp.float32(-1.0))
    histogram = cj.Histogram(
        bins=cj.equal_width_bins(2), values=jnp.array([0.25, 0.75], jnp.float32)
    )
    close(cj.calibrate(platt, scores), 1 / (1 + np.exp(1 - 2 * scores)))
    steps = np.where(np.isnan(scores), NAN, np.where(scores < 0.5, 0.25, 0.75))
    close(cj.calibrate(histogram, scores), steps)


def test_fitted_temperatures_are_taken_as_they_are():
    logits = np.array([[2.0, 0.0], [0.0, 3.0]])
    params = cj.Temperature(temperature=jnp.float32(2.0))
    assert (cj.top1(logits, params).confidence == cj.top1(logits, 2.0).confidence).all()
    close(cj.scaled_softmax(logits, params), cj.calibrate(params, logits))
    for wrong, message in (
        (cj.Temperature(temperature=-1.0), r"temperature: .*\(0, inf\), got -1"),
        (
            cj.Temperature(temperature=jnp.ones(2, jnp.float32)),
            r"temperature: .*float32\[2\]",
        ),
        (cj.Platt(slope=1.0, intercept=0.0), "temperature: .*Platt"),
        (
            cj.calibration.EnsembleTemperature(
                temperature=jnp.float32(2.0), weights=jnp.array([0.5, 0.3, 0.2])
            ),
            "temperature: .*got EnsembleTemperature.*use calibrate",
        ),
    ):
        for function in (cj.top1, cj.scaled_softmax):
            with pytest.raises(ValueError, match=message):
                function(logits, wrong)
    with pytest.raises(ValueError, match="got tuple. Pass the first of the pair"):
        cj.calibrate(cj.fit_temperature(logits, [0, 0]), logits)
    with pytest.raises(ValueError, match="temperature: .*got 0"):
        cj.calibrate(cj.Temperature(temperature=0.0), logits)
