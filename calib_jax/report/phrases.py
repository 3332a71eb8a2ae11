"""Numbers as the sentences, tables and figures of reports show them."""

import decimal
import math
from collections.abc import Sequence
from typing import Any

_MISSING = "\N{EN DASH}"


def percent(share: Any, digits: int = 1) -> str:
    """A share as a percentage, such as 46.1%; a dash for NaN and None."""
    text = hundred(share, digits)
    return text if text == _MISSING else f"{text}%"


def hundred(share: Any, digits: int = 1) -> str:
    """A share in per cent without the sign, where a heading has it."""
    return number(None if share is None else 100 * float(share), digits)


def between(ends: Sequence[float]) -> str:
    """The lower and upper end of an interval of a share."""
    lower, upper = ends
    return f"{percent(lower)} to {percent(upper)}"


def level(confidence_level: float) -> str:
    """A confidence level, such as 95% or 99.9%; 99.5% is never shown as 100%."""
    return f"{100 * confidence_level:.6g}%"


def number(value: Any, digits: int = 4) -> str:
    """A number with a fixed number of decimals, a dash for NaN and None."""
    if not is_known(value):
        return _MISSING
    text = f"{float(value):,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.removeprefix("-")
    return text.replace("-", "\N{MINUS SIGN}")


def signed_points(share: Any, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign and no unit."""
    text = hundred(share, digits)
    if not is_known(share) or float(share) <= 0 or not text.strip("0."):
        return text
    return f"+{text}"


def at_most(share: float | None) -> str:
    """A bound in percentage points without a unit, never shown as less than it is."""
    if share is None or math.isnan(share):
        return _MISSING
    return number(100 * rounded_up(share, 3), 1)


def points(loss: float, digits: int = 1) -> str:
    """A loss of accuracy, never shown as less than it is."""
    return f"{float(100 * rounded_up(loss, digits + 2)) + 0.0:.{digits}f} points"


def loses(limit: float) -> str:
    """A limit on what a cascade loses, which is a gain where it is negative."""
    if limit == 0:
        return "loses no accuracy"
    size = f"{100 * abs(limit):.6g} point{'' if abs(limit) == 0.01 else 's'}"
    return f"{'gains at least' if limit < 0 else 'loses at most'} {size} of accuracy"


def rounded_up(value: float, digits: int) -> decimal.Decimal:
    """The least number of so many decimals that is not below a value.

    What is meant is the decimal number that is printed for it: 0.02 is no more than
    two hundredths.
    """
    exact = decimal.Decimal(f"{value:.12g}")
    step = decimal.Decimal(1).scaleb(-digits)
    return exact.quantize(step, rounding=decimal.ROUND_CEILING)


def is_known(value: Any) -> bool:
    """Whether there is a number, and not NaN or None."""
    return value is not None and not math.isnan(float(value))
