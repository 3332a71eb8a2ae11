"""Calibrators: fit parameters on held-out rows, then apply them to other rows.

Every fit returns parameters, which `calibrate` applies, and a `FitReport`. Rows that
`where` or a weight of 0 removes may hold anything, NaN included.
"""

from .apply import calibrate
from .histogram import Histogram, fit_histogram
from .platt import Platt, fit_platt
from .reports import ConvergenceWarning, FitReport, FitStatus
from .solvers import newton
from .temperature import Temperature, fit_temperature

__all__ = [
    "ConvergenceWarning",
    "FitReport",
    "FitStatus",
    "Histogram",
    "Platt",
    "Temperature",
    "calibrate",
    "fit_histogram",
    "fit_platt",
    "fit_temperature",
    "newton",
]


def __dir__() -> list[str]:
    return __all__
