"""Calibration in Flax: metrics for a loop, and modules that apply what was fitted.

`import calib_jax` alone imports neither this nor flax.
"""

from .metrics import (
    BrierScore,
    CalibrationError,
    CascadeMetric,
    MulticlassBrierScore,
    MulticlassLogLoss,
    PlattFit,
    Reliability,
    TemperatureFit,
)
from .modules import Calibrated, Deferred, Fitted

__all__ = [
    "BrierScore",
    "Calibrated",
    "CalibrationError",
    "CascadeMetric",
    "Deferred",
    "Fitted",
    "MulticlassBrierScore",
    "MulticlassLogLoss",
    "PlattFit",
    "Reliability",
    "TemperatureFit",
]


def __dir__() -> list[str]:
    return __all__
