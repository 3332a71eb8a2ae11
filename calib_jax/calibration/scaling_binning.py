"""Scaling-binning: a smooth curve, whose values are averaged in bins.

Shapes: N examples. One problem at a time; batch with `jax.vmap`.
"""

import jax
from jax.typing import ArrayLike

from ..binning.bins import DEFAULT_NUM_BINS
from .histogram import Histogram
from .reports import FitReport


def fit_scaling_binning(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    key: jax.Array | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Histogram, FitReport]:
    """To be built."""
    raise NotImplementedError
