"""Decisions of a cascade as steps of its raw input, which compare and compute nothing.

A confidence is computed by exponentials, whose last bit differs between libraries. That
bit moves tied inputs, which meet an edge of bins exactly, to another bin. So the steps
are found by asking this library for its decision at neighbouring float32 numbers.

A number is a key here: an integer that counts the float32 numbers up from 0, without
subnormal ones, which count as 0.
"""

from collections.abc import Callable

import numpy as np

from ..binning.bins import bin_index
from ..calibration.apply import calibrate
from ..calibration.histogram import Histogram
from ..calibration.platt import Platt
from ..calibration.temperature import Temperature
from ..cascade.routers import Router

# One size for all questions, so that they are answered by one program.
_BATCH = 8192
# Rounding lets confidences fall, and rise again, between scores so many float32 numbers
# from a step, as seldom as that is.
_AROUND = np.arange(-_BATCH // 2, _BATCH // 2)
_BEFORE_TINY = 0x007FFFFF

Steps = tuple[np.ndarray, np.ndarray]


def of_cascade(
    router: Router, num_small_bins: int, params: Platt | Histogram | Temperature
) -> Steps:
    """Edges of the raw input, and which of the steps between them are kept small.

    An input `x` keeps the small model's answer if `keep[searchsorted(edges, x,
    side="right")]`. It is a score, or for a temperature the confidence.

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
    ends = np.array([-np.inf, 0, np.inf], np.float32)
    edges = np.asarray(router.bins.edges, np.float32)

    def bins_of_confidence(keys: np.ndarray) -> np.ndarray:
        return np.asarray(bin_index(router.bins, _from_keys(keys)))

    def bins_of_score(keys: np.ndarray) -> np.ndarray:
        confidence = calibrate(params, _from_keys(keys))
        return np.asarray(bin_index(router.bins, confidence))

    if isinstance(params, Temperature):
        within = edges[(edges > 0) & (edges <= 1)]
        return _steps(bins_of_confidence, kept, np.array([0, 1], np.float32), within)
    if isinstance(params, Histogram):
        return _steps(bins_of_score, kept, ends, np.asarray(params.bins.edges))
    keys, bins = _between(bins_of_score, _keys(ends))
    change = keys[1:][kept[bins[1:]] != kept[bins[:-1]]]
    near = np.unique(change[:, None] + _AROUND)
    least, *_, most = _keys(ends)
    near = near[(least < near) & (near < most)]
    return _merged(*_between(bins_of_score, np.union1d(near, keys)), kept)


def _steps(
    bins_of: Callable[[np.ndarray], np.ndarray],
    kept: np.ndarray,
    ends: np.ndarray,
    edges: np.ndarray,
) -> Steps:
    """The steps of a function that is constant between edges."""
    starts = _keys(edges)
    keys = np.unique(np.concatenate([_keys(ends), starts - 1, starts]))
    first, *_, last = _keys(ends)
    keys = keys[(first <= keys) & (keys <= last)]
    return _merged(*_between(bins_of, keys), kept)


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
