"""Whether confidence is still distributed as it was, and still means what it meant.

Masked rows (`where` False) may hold anything, NaN included.
"""

from .accuracy import EstimatedAccuracy, estimated_accuracy
from .drift import (
    CalibrationDrift,
    OccupancyDrift,
    calibration_drift,
    occupancy_drift,
)
from .monitors import (
    DriftAlarm,
    DriftMonitor,
    init_monitor,
    read_monitor,
    update_monitor,
)

__all__ = [
    "CalibrationDrift",
    "DriftAlarm",
    "DriftMonitor",
    "EstimatedAccuracy",
    "OccupancyDrift",
    "calibration_drift",
    "estimated_accuracy",
    "init_monitor",
    "occupancy_drift",
    "read_monitor",
    "update_monitor",
]


def __dir__() -> list[str]:
    return __all__
