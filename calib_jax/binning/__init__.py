"""Bins of scores and reliability tables.

A bin depends on the score alone (see `Bins`). Rows that `where` or a weight of 0
removes may hold anything, NaN included.
"""

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
