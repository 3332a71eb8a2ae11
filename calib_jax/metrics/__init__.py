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
from .selective import (
    RiskCoverageCurve,
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    coverage_at_risk,
    excess_area_under_risk_coverage,
    risk_at_coverage,
    risk_coverage_curve,
)
from .smooth import smooth_calibration_error

__all__ = [
    "CalibrationErrorInterval",
    "RiskCoverageCurve",
    "area_under_generalised_risk_coverage",
    "area_under_risk_coverage",
    "CalibrationRefinement",
    "area_under_roc",
    "brier_score",
    "calibration_error_interval",
    "calibration_error_of_table",
    "coverage_at_risk",
    "excess_area_under_risk_coverage",
    "calibration_refinement",
    "expected_calibration_error",
    "log_loss",
    "maximum_calibration_error",
    "rank_correlation",
    "risk_at_coverage",
    "risk_coverage_curve",
    "smooth_calibration_error",
]


def __dir__() -> list[str]:
    return __all__
