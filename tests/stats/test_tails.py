"""Tails on the host, against SciPy's distributions and by trying every number."""

import fractions
import math

import numpy as np
import pytest
from scipy import stats

from calib_jax.stats import tails


def test_binomial_tails():
    rng = np.random.default_rng(0)
    trials = np.round(10 ** rng.uniform(0, 7, 500)).astype(int)
    rate = rng.random(500)
    count = trials * rate + 4 * np.sqrt(trials) * rng.normal(size=500)
    count = np.clip(np.round(count), 0, trials).astype(int)
    given = count, trials, rate
    expected = stats.binom.cdf(*given), stats.binom.sf(count - 1, trials, rate)
    actual = tails.binomial_at_most(*given), tails.binomial_at_least(*given)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(tails.binomial_at_least([0, 6], 5, 0.3), [1, 0])


def test_hypergeometric_tails():
    rng = np.random.default_rng(0)
    total = np.concatenate([rng.integers(1, 30, 128), rng.integers(30, 100_000, 128)])
    drawn, special = (rng.random((2, 256)) * (total + 1)).astype(int)
    mean = drawn * special / total
    spread = np.sqrt(mean * (1 - special / total) * (1 - drawn / total))
    count = np.round(mean + 2.5 * (spread + 0.3) * rng.normal(size=256)).astype(int)
    found = [
        tails.hypergeometric_at_least(*map(int, one))
        for one in zip(count, drawn, special, total, strict=True)
    ]
    expected = stats.hypergeom.sf(count - 1, total, special, drawn)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


def test_hypergeometric_tails_of_millions():
    """Like the binomial if few are drawn, and symmetric at the middle."""
    total = 2**24
    found = tails.hypergeometric_at_least(9, 20, total // 4, total)
    np.testing.assert_allclose(found, stats.binom.sf(8, 20, 0.25), rtol=1e-5)
    half = tails.hypergeometric_at_least(total // 8, total // 4, total // 2, total)
    more = tails.hypergeometric_at_least(total // 8 + 1, total // 4, total // 2, total)
    np.testing.assert_allclose(half + more, 1, rtol=1e-9)


def test_hypergeometric_tails_of_any_total():
    """Against ratios of whole numbers, where SciPy's have errors up to 1e-6."""
    for total in (2**24, 2**25, 2**40, 2**60):
        for drawn, found, special in ((200, 120, total // 2), (50, 45, total * 4 // 5)):
            ways = sum(
                math.comb(special, k) * math.comb(total - special, drawn - k)
                for k in range(found, drawn + 1)
            )
            expected = float(fractions.Fraction(ways, math.comb(total, drawn)))
            actual = tails.hypergeometric_at_least(found, drawn, special, total)
            np.testing.assert_allclose(actual, expected, rtol=1e-13)


@pytest.mark.parametrize("error", [0.05, 0.3])
def test_least_special(error):
    """With 1 drawn from 10, one find excludes a number whose chance is exactly 0.1."""
    for total in (1, 2, 7, 40):
        for drawn in {0, 1, total // 2, total}:
            for found in range(drawn + 1):
                special = np.arange(found, total - drawn + found + 1)
                tail = stats.hypergeom.sf(found - 1, total, special, drawn)
                expected = special[tail > error * (1 + 1e-10)][0]
                assert tails.least_special(found, drawn, total, error) == expected
    assert tails.least_special(1, 1, 10, tails.error_rate("level", 0.9)) == 2


def test_error_rates_agree_with_decimals():
    levels = [0.5, 0.9, 0.95, 0.99, 0.999]
    np.testing.assert_array_equal(
        tails.error_rate("level", levels), [0.5, 0.1, 0.05, 0.01, 0.001]
    )
