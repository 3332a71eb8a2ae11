"""Calibrators: fit parameters on held-out rows, then apply them to other rows.

Every fit returns parameters, which `calibrate` applies, and a `FitReport`. Rows that
`where` or a weight of 0 removes may hold anything, NaN included.
"""

from .apply import calibrate
from .beta import Beta, fit_beta
from .dirichlet import Dirichlet, fit_dirichlet
from .ensemble_temperature import EnsembleTemperature, fit_ensemble_temperature
from .histogram import Histogram, fit_histogram, histogram_error_bound
from .isotonic import Isotonic, fit_isotonic
from .platt import Platt, fit_platt
from .reports import ConvergenceWarning, FitReport, FitStatus
from .scaling_binning import fit_scaling_binning
from .solvers import newton
from .temperature import Temperature, fit_temperature
from .vector import Vector, fit_vector

__all__ = [
    "Beta",
    "ConvergenceWarning",
    "Dirichlet",
    "EnsembleTemperature",
    "FitReport",
    "FitStatus",
    "Histogram",
    "Isotonic",
    "Platt",
    "Temperature",
    "Vector",
    "calibrate",
    "fit_beta",
    "fit_dirichlet",
    "fit_ensemble_temperature",
    "fit_histogram",
    "fit_isotonic",
    "fit_platt",
    "fit_scaling_binning",
    "fit_temperature",
    "fit_vector",
    "histogram_error_bound",
    "newton",
]


def __dir__() -> list[str]:
    return __all__
