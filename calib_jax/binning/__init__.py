"""Bins of scores and reliability tables."""

from .bins import Bins, bin_index, equal_count_bins, equal_width_bins
from .tables import ReliabilityTable, reliability_table

__all__ = [
    "Bins",
    "ReliabilityTable",
    "bin_index",
    "equal_count_bins",
    "equal_width_bins",
    "reliability_table",
]


def __dir__() -> list[str]:
    return __all__
