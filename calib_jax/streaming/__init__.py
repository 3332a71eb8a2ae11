"""Summaries of a stream, and what can be read off them; data read in blocks."""

from . import blocks
from .merging import merge_fits, psum_fit
from .platt import PlattSummary, StreamedPlatt, fit_platt, init_platt, update_platt
from .readings import (
    Streamed,
    StreamedCurve,
    StreamedReliability,
    StreamedRouter,
    average_performance_gap_recovered,
    cascade_curve,
    expected_calibration_error,
    fit_router,
    reliability_table,
)
from .summaries import (
    CascadeSummary,
    ReliabilitySummary,
    init_cascade,
    init_reliability,
    merge,
    psum,
    score_buckets,
    update_cascade,
    update_reliability,
)
from .temperature import (
    StreamedFit,
    TemperatureSummary,
    fit_temperature,
    init_temperature,
    update_temperature,
)

__all__ = [
    "CascadeSummary",
    "PlattSummary",
    "ReliabilitySummary",
    "Streamed",
    "StreamedCurve",
    "StreamedFit",
    "StreamedPlatt",
    "StreamedReliability",
    "StreamedRouter",
    "TemperatureSummary",
    "average_performance_gap_recovered",
    "blocks",
    "cascade_curve",
    "expected_calibration_error",
    "fit_platt",
    "fit_router",
    "fit_temperature",
    "init_cascade",
    "init_platt",
    "init_reliability",
    "init_temperature",
    "merge",
    "merge_fits",
    "psum",
    "psum_fit",
    "reliability_table",
    "score_buckets",
    "update_cascade",
    "update_platt",
    "update_reliability",
    "update_temperature",
]


def __dir__() -> list[str]:
    return __all__
