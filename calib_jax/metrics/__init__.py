"""Calibration errors, proper scores and ranking, and an interval for the ECE.

Rows that `where` leaves out do not count, and may hold anything, NaN included.
"""

from .intervals import CalibrationErrorInterval, calibration_error_interval
from .recalibration import CalibrationRefinement, calibration_refinement
from .scores import (
    area_under_roc,
    brier_score,
    calibration_error_of_table,
    expected_calibration_error,
    log_loss,
    maximum_calibration_error,
    rank_correlation,
)

__all__ = [
    "CalibrationErrorInterval",
    "CalibrationRefinement",
    "area_under_roc",
    "brier_score",
    "calibration_error_interval",
    "calibration_error_of_table",
    "calibration_refinement",
    "expected_calibration_error",
    "log_loss",
    "maximum_calibration_error",
    "rank_correlation",
]


def __dir__() -> list[str]:
    return __all__
