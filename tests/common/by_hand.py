"""Helpers of the tests by hand.

Values are multiples of powers of two wherever a tie or an equality matters, so that
no rounding hides behind a tolerance.
"""

import numpy as np

NAN, INF = np.nan, np.inf
equal = np.testing.assert_array_equal


def close(actual, expected, rtol=1e-6, atol=1e-7):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def padded(values, size=8):
    """Values, NaN after them, and the mask that removes the NaN."""
    values = np.asarray(values, np.float32)
    filler = np.full(size - len(values), NAN, np.float32)
    return np.append(values, filler), np.arange(size) < len(values)
