"""Every public function, with example arguments and what it promises.

The property, sharding and error tests run over this registry, and one of them asserts
that it lists exactly the functions that `calib_jax` exports. The cases of a package are
in the module of the same name; `makers` makes arguments by their names.
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
from .kit import (
    ROOMS,
    Case,
    assert_same,
    cases,
    example,
    leaves,
    num_compiled,
    public,
    public_names,
    spoil,
    take,
)
from .makers import (
    NUM_BINS,
    NUM_CLASSES,
    NUM_MODELS,
    NUM_TOKENS,
    ROWS,
    bins,
    class_rows,
    curve,
    experts,
    partial,
    platt_rows,
    router,
    tied,
)
from .records import PUBLIC_RECORDS, record
from .stats import OF_STATISTICS, weighted_mean

_ROOMS = (
    confidence,
    binning,
    metrics,
    calibration,
    stats,
    cascade,
    cleaning,
    streaming,
    monitoring,
    io,
)
CASES = [case for room in _ROOMS for case in room.CASES]

__all__ = [
    "CASES",
    "NUM_BINS",
    "NUM_CLASSES",
    "NUM_MODELS",
    "NUM_TOKENS",
    "PUBLIC_RECORDS",
    "OF_STATISTICS",
    "ROOMS",
    "ROWS",
    "Case",
    "assert_same",
    "bins",
    "cases",
    "class_rows",
    "curve",
    "example",
    "experts",
    "leaves",
    "num_compiled",
    "partial",
    "platt_rows",
    "public",
    "public_names",
    "record",
    "router",
    "spoil",
    "take",
    "tied",
    "weighted_mean",
]
