"""Labels that calibrated models contradict: flags, repairs, audits.

Masked rows (`where` False) may hold anything, NaN included.
"""

from .audits import AuditBounds, AuditPlan, audit_bounds, audit_size, sample_audit
from .curves import CleaningCurve, cleaning_curve
from .dependence import ExpertDependence, expert_dependence
from .expectations import (
    ExpectedPrecision,
    FalseFlags,
    expected_false_flags,
    expected_precision,
    expected_precision_by_bin,
    label_error_probability,
)
from .experts import (
    ExpertBins,
    fit_expert_bins,
    high_confidence_disagreement,
    top1_disagreement,
)
from .intervals import CleaningInterval, cleaning_interval
from .label_issues import LabelIssues, confident_learning, label_issue_score
from .label_ranking import RankedLabels, find_label_issues
from .noise import (
    estimate_label_noise,
    true_label_confidence,
    true_label_probabilities,
    uniform_label_noise,
)
from .repairs import repair_labels, suggest_labels
from .shared_errors import (
    SharedErrors,
    expected_precision_interval,
    fit_shared_errors,
    joint_error_probability,
)

__all__ = [
    "AuditBounds",
    "AuditPlan",
    "CleaningCurve",
    "CleaningInterval",
    "ExpectedPrecision",
    "ExpertBins",
    "ExpertDependence",
    "FalseFlags",
    "LabelIssues",
    "RankedLabels",
    "SharedErrors",
    "audit_bounds",
    "audit_size",
    "cleaning_curve",
    "cleaning_interval",
    "confident_learning",
    "estimate_label_noise",
    "expected_false_flags",
    "expected_precision",
    "expected_precision_by_bin",
    "expected_precision_interval",
    "expert_dependence",
    "find_label_issues",
    "fit_expert_bins",
    "fit_shared_errors",
    "high_confidence_disagreement",
    "joint_error_probability",
    "label_error_probability",
    "label_issue_score",
    "repair_labels",
    "sample_audit",
    "suggest_labels",
    "top1_disagreement",
    "true_label_confidence",
    "true_label_probabilities",
    "uniform_label_noise",
]


def __dir__() -> list[str]:
    return __all__
