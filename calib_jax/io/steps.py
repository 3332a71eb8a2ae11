"""Decisions of a cascade as steps of its raw input, which compare and compute nothing.

A confidence is computed by exponentials, whose last bit differs between libraries. That
bit moves tied inputs, which meet an edge of bins exactly, to another bin. So the steps
are found by asking this library for its decision at neighbouring float32 numbers.

A number is a key here: an integer that counts the float32 numbers up from 0, without
subnormal ones, which count as 0.
"""

from collections.abc import Callable

import numpy as np

from ..calibration.apply import Calibrator, OfClasses, calibrate
from ..calibration.beta import Beta
from ..calibration.histogram import Histogram
from ..calibration.isotonic import Isotonic
from ..cascade.routers import Router

# One size for all questions, so that they are answered by one program.
_BATCH = 8192
# So near a step, in float32 numbers, rounding may make a curve fall and rise again.
_AROUND = np.arange(-_BATCH // 2, _BATCH // 2)
_BEFORE_TINY = 0x007FFFFF

Steps = tuple[np.ndarray, np.ndarray]


def is_confidence(params: Calibrator) -> bool:
    """Whether the raw input is a confidence: for a `Beta` the one before calibration,
    for logits of classes the one after it."""
    return isinstance(params, Beta | OfClasses)


def of_cascade(router: Router, num_small_bins: int, params: Calibrator) -> Steps:
    """Edges of the raw input, and which of the steps between them are kept small.

    An input `x` keeps the small model's answer if `keep[searchsorted(edges, x,
    side="right")]`. It is what the calibrator takes, or for logits of classes the
    calibrated confidence.

    Args:
      router: `Router`, whose edges are no NaN.
      num_small_bins: K, from 0 to num_bins.
      params: how the small model is calibrated.

    Returns:
      float32 edges `[S - 1]` that ascend, and bool `[S]`.
    """
    order = np.asarray(router.order)
    # The last place is for bin -1: NaN.
    kept = np.zeros(len(order) + 1, bool)
    kept[order[:num_small_bins]] = True
    ends = np.array([0, 1] if is_confidence(params) else [-np.inf, 0, np.inf], "f4")
    edges = np.asarray(router.bins.edges, np.float32)

    def bins_of(confidence: np.ndarray) -> np.ndarray:
        # As `bin_index` does, without a program for every number of bins.
        found = np.searchsorted(edges, confidence, side="right")
        return np.where(np.isnan(confidence), -1, found)

    def bins_of_confidence(keys: np.ndarray) -> np.ndarray:
        return bins_of(_from_keys(keys))

    def bins_of_score(keys: np.ndarray) -> np.ndarray:
        return bins_of(np.asarray(calibrate(params, _from_keys(keys))))

    if isinstance(params, OfClasses):
        within = edges[(edges > 0) & (edges <= 1)]
        return _steps(bins_of_confidence, kept, ends, within)
    if isinstance(params, Histogram):
        return _steps(bins_of_score, kept, ends, np.asarray(params.bins.edges))
    keys = _keys(ends)
    if isinstance(params, Isotonic):
        knots = np.asarray(params.scores, np.float32)
        keys = _between_ends(np.concatenate([keys, _keys(knots)]), ends)
    keys, bins = _between(bins_of_score, keys)
    change = keys[1:][kept[bins[1:]] != kept[bins[:-1]]]
    near = (change[:, None] + _AROUND).ravel()
    keys = _between_ends(np.concatenate([keys, near]), ends)
    return _merged(*_between(bins_of_score, keys), kept)


def _steps(
    bins_of: Callable[[np.ndarray], np.ndarray],
    kept: np.ndarray,
    ends: np.ndarray,
    edges: np.ndarray,
) -> Steps:
    """The steps of a function that is constant between edges."""
    starts = _keys(edges)
    keys = np.concatenate([_keys(ends), starts - 1, starts])
    keys = _between_ends(keys, ends)
    return _merged(*_between(bins_of, keys), kept)


def _between_ends(keys: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Each of the keys once, in their order, without those beyond the ends."""
    first, *_, last = _keys(ends)
    # `numpy.unique` hashes, which takes seconds for so many neighbours.
    keys = np.sort(keys[(first <= keys) & (keys <= last)])
    return keys[np.insert(keys[1:] != keys[:-1], 0, True)]


def _merged(keys: np.ndarray, bins: np.ndarray, kept: np.ndarray) -> Steps:
    """Steps whose neighbours differ."""
    keep = kept[bins]
    change = np.flatnonzero(keep[1:] != keep[:-1]) + 1
    return _from_keys(keys[change]), keep[np.concatenate([[0], change])]


def _between(
    bins_of: Callable[[np.ndarray], np.ndarray], keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and their bins, with more of them until neighbours in other bins touch."""
    bins = _in_batches(bins_of, keys)
    while True:
        apart = (bins[1:] != bins[:-1]) & (keys[1:] - keys[:-1] > 1)
        places = np.flatnonzero(apart)
        if not places.size:
            return keys, bins
        middle = (keys[places] + keys[places + 1]) // 2
        keys = np.insert(keys, places + 1, middle)
        bins = np.insert(bins, places + 1, _in_batches(bins_of, middle))


def _in_batches(
    bins_of: Callable[[np.ndarray], np.ndarray], keys: np.ndarray
) -> np.ndarray:
    padded = np.concatenate([keys, np.zeros(-len(keys) % _BATCH, np.int64)])
    parts = [bins_of(part) for part in padded.reshape(-1, _BATCH)]
    return np.concatenate(parts)[: len(keys)]


def _keys(numbers: np.ndarray) -> np.ndarray:
    """int64 keys of float32 numbers without NaN."""
    size = np.abs(np.asarray(numbers, np.float32)).view(np.int32).astype(np.int64)
    return np.sign(numbers).astype(np.int64) * np.maximum(size - _BEFORE_TINY, 0)


def _from_keys(keys: np.ndarray) -> np.ndarray:
    bits = np.where(keys == 0, 0, np.abs(keys) + _BEFORE_TINY).astype(np.int32)
    return np.copysign(bits.view(np.float32), np.where(keys < 0, -1, 1)).astype("f4")
