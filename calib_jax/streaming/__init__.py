"""Summaries of a stream, and what is read off them; data read in blocks.

A summary is a pytree of fixed size: `init_*` makes it, `update_*` adds a batch, `merge`
and `psum` join summaries of batches, processes and devices, with the same bits in any
order. Readers are named like the functions for arrays and return a `Reading`, fits
`(params, FitReading)`. Rows that `where` or a weight of 0 removes may hold anything.
"""

from . import blocks
from .buckets import (
    init_cascade,
    init_reliability,
    score_buckets,
    update_cascade,
    update_reliability,
)
from .cascade_readings import (
    average_performance_gap_recovered,
    cascade_curve,
    fit_router,
)
from .class_losses import (
    init_class_losses,
    multiclass_brier_score,
    multiclass_log_loss,
    update_class_losses,
)
from .platt import fit_platt, init_platt, update_platt
from .readings import brier_score, expected_calibration_error, reliability_table
from .results import FitReading, Reading
from .states import (
    CascadeSummary,
    ClassLossSummary,
    PlattSummary,
    ReliabilitySummary,
    TemperatureSummary,
    merge,
    psum,
)
from .temperature import fit_temperature, init_temperature, update_temperature

__all__ = [
    "CascadeSummary",
    "ClassLossSummary",
    "FitReading",
    "PlattSummary",
    "Reading",
    "ReliabilitySummary",
    "TemperatureSummary",
    "average_performance_gap_recovered",
    "blocks",
    "brier_score",
    "cascade_curve",
    "expected_calibration_error",
    "fit_platt",
    "fit_router",
    "fit_temperature",
    "init_cascade",
    "init_class_losses",
    "init_platt",
    "init_reliability",
    "init_temperature",
    "merge",
    "multiclass_brier_score",
    "multiclass_log_loss",
    "psum",
    "reliability_table",
    "score_buckets",
    "update_cascade",
    "update_class_losses",
    "update_platt",
    "update_reliability",
    "update_temperature",
]


def __dir__() -> list[str]:
    return __all__
