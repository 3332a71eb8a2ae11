"""Tables and fits of data larger than memory, read block by block.

Blocks are any iterable that starts anew at each `iter()`: a list, a data loader, or
`from_arrays` of NumPy arrays or memory maps. A function makes several passes over them
and holds one block at a time. Masked rows may hold anything.
"""

from .fits import fit_platt, fit_temperature
from .passes import from_arrays
from .tables import expected_calibration_error, reliability_table

__all__ = [
    "expected_calibration_error",
    "fit_platt",
    "fit_temperature",
    "from_arrays",
    "reliability_table",
]


def __dir__() -> list[str]:
    return __all__
