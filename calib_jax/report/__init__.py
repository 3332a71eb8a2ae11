"""Reports: from outputs of models to findings, JSON, files and one HTML page.

Import it by name, `from calib_jax import report`. It needs the extra
`calib-jax[report]`.
"""

from .calibration import CalibrationReport, calibration_report
from .cascade import CascadeReport, cascade_report
from .checking import CheckReport, Verdict, check_report
from .cleaning import CleaningReport, cleaning_report
from .comparing import ComparisonReport, comparison_report
from .folders import write
from .pages import page

__all__ = [
    "CalibrationReport",
    "CascadeReport",
    "CheckReport",
    "CleaningReport",
    "ComparisonReport",
    "Verdict",
    "calibration_report",
    "cascade_report",
    "check_report",
    "cleaning_report",
    "comparison_report",
    "page",
    "write",
]


def __dir__() -> list[str]:
    return __all__
