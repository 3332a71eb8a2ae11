"""What asking each of two models costs: prices that were given, or costs of the files.

Shapes: N joined rows.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ..io.outputs import Outputs
from . import phrases
from .points import Point


class Costs(NamedTuple):
    """Costs of both models in one unit, or None without costs.

    Attributes:
      small: of a call of the small model, a float or float64 `[N]`.
      large: of a call of the large model, likewise.
      unit: what they are counted in, or "" for prices that were given.
      reason: where they come from, or why there are none, in a sentence.
    """

    small: Any
    large: Any
    unit: str
    reason: str

    def of_rows(self, rows: np.ndarray) -> tuple[Any, Any]:
        """Both costs of some rows: floats, or arrays."""
        small, large = (
            one[rows] if np.ndim(one) else one for one in (self.small, self.large)
        )
        return small, large


def of(
    small: Outputs, large: Outputs, small_cost: float | None, large_cost: float | None
) -> Costs:
    """Prices if they are given, and otherwise the costs of both files.

    Raises:
      ValueError: for one price without the other, one that is negative or infinite, or
        two that are 0.
    """
    if small_cost is not None and large_cost is not None:
        prices = float(small_cost), float(large_cost)
        for name, price in zip(("small_cost", "large_cost"), prices, strict=True):
            if not (math.isfinite(price) and price >= 0):
                raise ValueError(f"{name}: expected a price of 0 or more, got {price}.")
        if not any(prices):
            raise ValueError(
                "small_cost, large_cost: both prices are 0; at least one must be "
                "positive."
            )
        reason = f"Costs: {prices[0]:g} for a small call and {prices[1]:g} for a large."
        return Costs(*prices, "", reason)
    if small_cost is not None or large_cost is not None:
        raise ValueError("small_cost, large_cost: expected both or neither, got one.")
    if small.cost is None and large.cost is None:
        return _none("Neither file has costs")
    for one, other in ((small, large), (large, small)):
        if one.cost is None:
            return _none(f"Only {other.name} has costs")
        bad = ~(np.isfinite(one.cost) & (one.cost >= 0))
        if bad.any():
            return _none(
                f"{one.name} has no cost, or a negative one, in {int(bad.sum())} of "
                f"{len(one)} rows"
            )
    if not (np.any(small.cost) or np.any(large.cost)):
        return _none("All costs of the files are 0")
    return Costs(small.cost, large.cost, "of the files", "Costs come from the files.")


def _none(why: str) -> Costs:
    return Costs(
        None,
        None,
        "",
        f"{why}, so savings are not computed; pass prices with --cost 1:10.",
    )


def sentence(reason: str, chosen: Point, confidence_level: float) -> str:
    """Where costs come from, and what a cascade saves where it keeps anything small."""
    saved, ends = chosen.cost_saved_share, chosen.cost_saved_share_interval
    if saved is None or ends is None or not chosen.num_small_bins:
        return reason
    if saved >= 0:
        what = f"saves {phrases.percent(saved)} of the cost of"
    else:
        what = f"costs {phrases.percent(-saved)} more than"
        ends = -ends[1], -ends[0]
    return (
        f"{reason} The cascade {what} always asking the large model "
        f"({phrases.level(confidence_level)} interval {phrases.between(ends)})."
    )
