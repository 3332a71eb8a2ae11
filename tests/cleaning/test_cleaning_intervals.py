"""Intervals of flags with a known truth, against SciPy."""

import jax
import numpy as np
import pytest
from scipy import stats

import calib_jax as cj

ROWS = 60


def as_numpy(found):
    return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
def test_cleaning_interval(alpha):
    rng = np.random.default_rng(0)
    for precision in (0.0, 0.3, 1.0):
        flagged = rng.random(ROWS) < 0.4
        error = np.where(flagged, rng.random(ROWS) < precision, rng.random(ROWS) < 0.1)
        found = as_numpy(
            cj.cleaning.cleaning_interval(flagged, error, confidence_level=1 - alpha)
        )
        for interval, part, whole in (
            (found.flagged_share, flagged, ROWS),
            (found.precision, flagged & error, flagged.sum()),
            (found.recall, flagged & error, error.sum()),
        ):
            test = stats.binomtest(int(part.sum()), int(whole))
            ends = test.proportion_ci(1 - alpha, method="wilson")
            expected = (part.sum() / whole, ends.low, ends.high)
            actual = (interval.estimate, interval.lower, interval.upper)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
        assert found.num_flagged == flagged.sum()
        assert found.counts.num_rows == ROWS and found.counts.num_masked == 0
        assert found.counts.num_bins is None
