"""Calibration in Flax: metrics for a loop, and modules that apply what was fitted.

`import calib_jax` alone imports neither this nor flax.
"""

from .metrics import (
    CalibrationError,
    CascadeMetric,
    PlattFit,
    Reliability,
    TemperatureFit,
)
from .modules import Calibrated, Deferred, Fitted

__all__ = [
    "Calibrated",
    "CalibrationError",
    "CascadeMetric",
    "Deferred",
    "Fitted",
    "PlattFit",
    "Reliability",
    "TemperatureFit",
]


def __dir__() -> list[str]:
    return __all__
