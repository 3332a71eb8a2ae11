"""Tables and fits of data larger than memory, read block by block."""

from .fits import fit_platt, fit_temperature
from .tables import expected_calibration_error, from_arrays, reliability_table

__all__ = [
    "expected_calibration_error",
    "fit_platt",
    "fit_temperature",
    "from_arrays",
    "reliability_table",
]


def __dir__() -> list[str]:
    return __all__
