"""The two kinds of results that reading a summary returns."""

from typing import Any

import jax

from .._core import records
from ..binning.bins import Bins
from ..calibration.reports import FitReport


@records.record(
    axes={"value": None}, values={"value": records.OR_NAN, "bins": records.OR_NAN}
)
class Reading(records.Result):
    """A result read off a summary, and how far it may be from the exact one.

    Attributes:
      value: what the function of the same name in `calib_jax` returns for arrays: a
        float32 scalar, `ReliabilityTable`, `Router` or `CascadeCurve`.
      error_bound: float32 scalar, a bound on the difference; each reader says what it
        bounds.
      bins: `Bins` of the result, where the reader takes `num_bins` or `bins`; None
        where it takes a router.
    """

    value: Any
    error_bound: jax.Array
    bins: Bins | None = None


@records.record()
class FitReading(FitReport):
    """The report of a fit to a summary, and how far it may be from a fit to the rows.

    Attributes:
      estimated_error: float32 scalar, an estimate and not a bound: for a temperature
        its relative error, for Platt scaling the largest absolute error of the
        confidence of any score seen; +inf where there is no optimum.
      lower: float32 scalar, the optimal temperature is at least this; NaN for Platt.
      upper: float32 scalar, the optimal temperature is at most this; NaN for Platt.
    """

    estimated_error: jax.Array
    lower: jax.Array
    upper: jax.Array

    __repr__ = FitReport.__repr__
