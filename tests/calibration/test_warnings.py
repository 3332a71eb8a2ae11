"""What a warning says of the rows of a fit to labels."""

import numpy as np
import pytest
from by_hand import NAN

import calib_jax as cj

# Words are the same in both precision modes.
pytestmark = pytest.mark.once


def test_warnings_name_the_first_invalid_row():
    number, noise = np.arange(20), np.random.default_rng(0).normal(size=(20, 3))
    some = np.array([True, True, False])

    def check(logits, message, *fits, label=0, weight=1.0, **more):
        # Rows that do not count are not named.
        logits = np.where(number[:, None] == 2, NAN, logits)
        labels = np.where(number == 5, label, np.where(number == 3, 7, number % 2))
        weights = np.where(number == 5, weight, np.where(number == 3, 0.0, 1.0))
        for fit in fits:
            with pytest.warns(cj.calibration.ConvergenceWarning, match=message):
                fit(logits, labels, where=number != 2, weights=weights, **more)

    def with_entry(value):
        logits = noise.copy()
        logits[5, 0] = value
        return logits

    vector, matrix = cj.calibration.fit_vector, cj.calibration.fit_dirichlet
    mixture = cj.calibration.fit_ensemble_temperature
    every = cj.fit_temperature, vector, matrix, mixture
    check(noise, "Row 5 has label 3: labels count from 0 to 2. ", *every, label=3)
    check(with_entry(NAN), "Row 5 holds NaN. ", *every)
    check(with_entry(np.inf), "Row 5 holds inf. ", *every)
    check(with_entry(-np.inf), "Row 5 gives its label 0 the logit -inf", *every)
    check(with_entry(-np.inf), "Row 5 holds -inf, the logarithm", matrix, label=1)
    check(noise, "Row 5 has the weight NaN", *every, weight=NAN)
    masked = "Row 5 has label 2, a class that class_where= masks"
    check(noise, masked, vector, mixture, label=2, class_where=some)


@pytest.mark.parametrize(
    "fit", [cj.calibration.fit_vector, cj.calibration.fit_dirichlet]
)
def test_warnings_of_labels_without_an_optimum(fit):
    logits = np.random.default_rng(0).normal(size=(60, 4))
    for labels, message in (
        (np.arange(60) % 3, "Class 3 is nobody's label.* strength"),
        (np.arange(60) % 2, "Classes 2, 3 are nobody's label"),
        (np.zeros(60, int), "All labels are one class: give rows of others"),
    ):
        with pytest.warns(cj.calibration.ConvergenceWarning, match=message):
            fit(logits, labels, strength=0.0)
    separable = 9.0 * np.eye(4)[np.arange(60) % 4]
    advice = "or a strength if there is none"
    with pytest.warns(cj.calibration.ConvergenceWarning, match=advice):
        fit(separable, np.arange(60) % 4, strength=0.0)
