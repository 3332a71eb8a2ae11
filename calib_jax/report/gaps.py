"""What a report says of the gap in accuracy that routing recovers."""

import math

from ..cascade.intervals import CascadeInterval
from . import phrases

# Of two accuracies, below which the share of it that is recovered says little.
_LEAST = 0.01


def sentences(
    interval: CascadeInterval,
    accuracies: tuple[float, float],
    confidence_level: float,
    *,
    unused_arbiter: bool,
) -> list[str]:
    """The average performance gap recovered, unless the gap may be nothing.

    Args:
      interval: of a cascade.
      accuracies: of the small and of the large model.
      confidence_level: of the interval.
      unused_arbiter: whether the cascade has an arbiter that is not used.
    """
    found = interval.apgr
    apgr, apart = float(found.estimate), abs(accuracies[0] - accuracies[1])
    # Of the small model alone against the large one.
    gap = [
        float(end[-1]) for end in (interval.over_large.lower, interval.over_large.upper)
    ]
    if 0 < apart and (apart < _LEAST or gap[0] <= 0 <= gap[1]):
        return ["The two models are too close in accuracy for an APGR."]
    if not math.isfinite(apgr):
        return []
    arbiter = ", with the arbiter," if unused_arbiter else ""
    ends = " to ".join(f"{float(end):.2f}" for end in (found.lower, found.upper))
    return [
        f"Routing by confidence{arbiter} has an APGR of {apgr:.2f} "
        f"({phrases.level(confidence_level)} interval {ends}); routing at random has "
        "0.5."
    ]
