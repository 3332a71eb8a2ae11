"""Calibration errors and tests, proper scores and ranking.

Rows that `where` leaves out do not count, and may hold anything, NaN included.
"""

from .calibration_errors import (
    calibration_error_of_table,
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    root_mean_square_calibration_error,
)
from .calibration_tests import (
    CalibrationTest,
    kolmogorov_smirnov_test,
    kuiper_test,
    spiegelhalter_test,
)
from .class_scores import (
    classwise_calibration_error,
    multiclass_brier_score,
    multiclass_log_loss,
)
from .cumulative import (
    kolmogorov_smirnov_calibration_error,
    kuiper_calibration_error,
)
from .intervals import CalibrationErrorInterval, calibration_error_interval
from .proper_scores import (
    BrierDecomposition,
    brier_decomposition,
    brier_score,
    log_loss,
)
from .ranking import area_under_roc, rank_correlation
from .recalibration import CalibrationRefinement, calibration_refinement
from .risk_limits import coverage_at_risk, risk_at_coverage, threshold_at_risk
from .selective import (
    RiskCoverageCurve,
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    risk_coverage_curve,
)
from .smooth import smooth_calibration_error
from .sweep import sweep_calibration_error

__all__ = [
    "BrierDecomposition",
    "CalibrationErrorInterval",
    "CalibrationRefinement",
    "CalibrationTest",
    "RiskCoverageCurve",
    "area_under_generalised_risk_coverage",
    "area_under_risk_coverage",
    "area_under_roc",
    "brier_decomposition",
    "brier_score",
    "calibration_error_interval",
    "calibration_error_of_table",
    "calibration_refinement",
    "classwise_calibration_error",
    "coverage_at_risk",
    "debiased_calibration_error",
    "excess_area_under_risk_coverage",
    "expected_calibration_error",
    "kolmogorov_smirnov_calibration_error",
    "kolmogorov_smirnov_test",
    "kuiper_calibration_error",
    "kuiper_test",
    "log_loss",
    "maximum_calibration_error",
    "multiclass_brier_score",
    "multiclass_log_loss",
    "rank_correlation",
    "risk_at_coverage",
    "risk_coverage_curve",
    "root_mean_square_calibration_error",
    "smooth_calibration_error",
    "spiegelhalter_test",
    "sweep_calibration_error",
    "threshold_at_risk",
]


def __dir__() -> list[str]:
    return __all__
