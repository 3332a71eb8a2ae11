"""Whether confidence still means what it meant."""

from .accuracy import EstimatedAccuracy, estimated_accuracy
from .drift import OccupancyDrift, occupancy_drift
from .monitors import (
    DriftAlarm,
    DriftMonitor,
    init_monitor,
    read_monitor,
    update_monitor,
)
from .outcome_drift import CalibrationDrift, calibration_drift

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
