"""Calibrate confidence, cascade models by it, and clean labels with it, in JAX.

Pure, jitted functions on arrays and pytrees, after Hao et al., "When Models Know When
They Do Not Know", 2026, arXiv 2601.07965. Data are arrays over N examples; `where`
masks examples and `weights` counts them; one problem at a time, many by `jax.vmap`.

The names used most are here; everything else is in the room of its subject, such as
`calib_jax.cascade` or `calib_jax.cleaning`. `calib_jax.flax` and `calib_jax.plots` are
imported separately.
"""

from . import (
    binning,
    calibration,
    cascade,
    cleaning,
    confidence,
    io,
    metrics,
    monitoring,
    stats,
    streaming,
)
from ._core.versions import VERSION as __version__
from .binning import (
    Bins,
    ReliabilityTable,
    bin_index,
    equal_count_bins,
    equal_width_bins,
    reliability_table,
)
from .calibration import (
    FitReport,
    FitStatus,
    Histogram,
    Platt,
    Temperature,
    calibrate,
    fit_histogram,
    fit_platt,
    fit_temperature,
)
from .cascade import (
    AdvantageTable,
    CascadeCurve,
    CascadeInterval,
    Deferral,
    Router,
    Selection,
    advantage_table,
    average_performance_gap_recovered,
    call_performance_threshold,
    cascade_curve,
    cascade_interval,
    choose_num_small_bins,
    defer,
    fit_router,
    performance_gap_recovered,
    random_curve,
    use_small,
)
from .cleaning import (
    CleaningCurve,
    ExpertBins,
    LabelIssues,
    cleaning_curve,
    confident_learning,
    fit_expert_bins,
    high_confidence_disagreement,
    repair_labels,
    suggest_labels,
    top1_disagreement,
)
from .confidence import (
    Top1,
    choice_logits,
    log_odds,
    scaled_softmax,
    sequence_log_likelihood,
    sequence_mean_logit,
    top1,
)
from .io import load, save, validate_labels, validate_logits, validate_scores
from .metrics import (
    CalibrationErrorInterval,
    area_under_roc,
    brier_score,
    calibration_error_interval,
    expected_calibration_error,
    log_loss,
    maximum_calibration_error,
)
from .stats import BootstrapInterval, Interval, bootstrap, bootstrap_interval

__all__ = [
    "__version__",
    "AdvantageTable",
    "Bins",
    "BootstrapInterval",
    "CalibrationErrorInterval",
    "CascadeCurve",
    "CascadeInterval",
    "CleaningCurve",
    "Deferral",
    "ExpertBins",
    "FitReport",
    "FitStatus",
    "Histogram",
    "Interval",
    "LabelIssues",
    "Platt",
    "ReliabilityTable",
    "Router",
    "Selection",
    "Temperature",
    "Top1",
    "advantage_table",
    "area_under_roc",
    "average_performance_gap_recovered",
    "bin_index",
    "binning",
    "bootstrap",
    "bootstrap_interval",
    "brier_score",
    "calibrate",
    "calibration",
    "calibration_error_interval",
    "call_performance_threshold",
    "cascade",
    "cascade_curve",
    "cascade_interval",
    "choice_logits",
    "choose_num_small_bins",
    "cleaning",
    "cleaning_curve",
    "confidence",
    "confident_learning",
    "defer",
    "equal_count_bins",
    "equal_width_bins",
    "expected_calibration_error",
    "fit_expert_bins",
    "fit_histogram",
    "fit_platt",
    "fit_router",
    "fit_temperature",
    "high_confidence_disagreement",
    "io",
    "load",
    "log_loss",
    "log_odds",
    "maximum_calibration_error",
    "metrics",
    "monitoring",
    "performance_gap_recovered",
    "random_curve",
    "reliability_table",
    "repair_labels",
    "save",
    "scaled_softmax",
    "sequence_log_likelihood",
    "sequence_mean_logit",
    "stats",
    "streaming",
    "suggest_labels",
    "top1",
    "top1_disagreement",
    "use_small",
    "validate_labels",
    "validate_logits",
    "validate_scores",
]


def __dir__() -> list[str]:
    return __all__
