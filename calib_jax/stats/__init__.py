"""Resampling, intervals and bounds that the other rooms share.

Rows that `where` leaves out do not count, and may hold anything, NaN included.
"""

from .bounds import (
    betting_p_value,
    binomial_p_value,
    clopper_pearson,
    hoeffding_bentkus_p_value,
)
from .intervals import BootstrapInterval, Counts, Interval, bootstrap_interval
from .resampling import bootstrap, bootstrap_reliability

__all__ = [
    "BootstrapInterval",
    "Counts",
    "Interval",
    "betting_p_value",
    "binomial_p_value",
    "bootstrap",
    "bootstrap_interval",
    "bootstrap_reliability",
    "clopper_pearson",
    "hoeffding_bentkus_p_value",
]


def __dir__() -> list[str]:
    return __all__
