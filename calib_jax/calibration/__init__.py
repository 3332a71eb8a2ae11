"""Calibrators: fit parameters on held-out rows, apply them to any others."""

from .apply import calibrate
from .histogram import Histogram, fit_histogram
from .platt import Platt, fit_platt
from .solvers import FitReport, FitStatus, newton
from .temperature import Temperature, fit_temperature

__all__ = [
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
