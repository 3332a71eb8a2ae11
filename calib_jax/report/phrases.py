"""Numbers as the sentences of reports say them."""

import math
from collections.abc import Sequence


def percent(share: float) -> str:
    """A share, such as 46.1%."""
    return f"{100 * share:.1f}%"


def between(ends: Sequence[float]) -> str:
    """The lower and upper end of an interval of a share."""
    lower, upper = ends
    return f"{percent(lower)} to {percent(upper)}"


def level(confidence_level: float) -> str:
    """A confidence level, such as 95% or 99.9%."""
    return f"{100 * confidence_level:.6g}%"


def points(loss: float, digits: int = 1) -> str:
    """A difference of accuracies, rounded up so that no limit is shown as less."""
    shown = math.ceil(round(100 * loss * 10**digits, 6)) / 10**digits
    return f"{shown + 0.0:.{digits}f} points"


def loses(limit: float) -> str:
    """A limit on what a cascade loses, which is a gain where it is negative."""
    if limit == 0:
        return "loses no accuracy"
    size = f"{100 * abs(limit):.6g} point{'' if abs(limit) == 0.01 else 's'}"
    return f"{'gains at least' if limit < 0 else 'loses at most'} {size} of accuracy"
