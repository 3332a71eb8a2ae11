"""Numbers in words: never better than they are."""

import numpy as np
import pytest

from calib_jax.report import phrases


def test_bounds_are_rounded_up():
    assert phrases.points(0.0186, 2) == "1.86 points"
    assert phrases.points(0.018600001, 2) == "1.87 points"
    # What is meant is the decimal number that is printed.
    assert phrases.points(0.02) == "2.0 points"
    assert phrases.points(0.1 + 0.2) == "30.0 points"
    assert phrases.points(-0.0044) == "-0.4 points"
    assert phrases.points(-1e-9) == phrases.points(0.0) == "0.0 points"
    assert str(phrases.rounded_up(0.0123, 4)) == "0.0123"
    assert str(phrases.rounded_up(float(str(np.float32(0.012300001))), 4)) == "0.0124"


@pytest.mark.parametrize(
    ("limit", "promised", "bracket"),
    [
        (0.02, "is at most 2 points less accurate", "at most 2 points lost"),
        (0.01, "is at most 1 point less accurate", "at most 1 point lost"),
        (0.0, "is not less accurate", "no loss"),
        (-0.005, "is at least 0.5 points more accurate", "at least 0.5 points gained"),
    ],
)
def test_limits(limit, promised, bracket):
    assert phrases.promised(limit) == f"{promised} than the large model alone"
    assert phrases.limit(limit) == bracket


def test_what_is_lost_or_gained():
    assert phrases.lost(0.0041) == "loses 0.5 points"
    assert phrases.lost(0.0) == phrases.lost(-0.0004) == "loses nothing"
    assert phrases.lost(-0.0044) == "gains 0.4 points"
    assert phrases.gained(-0.01866, 2) == "1.86 points"
