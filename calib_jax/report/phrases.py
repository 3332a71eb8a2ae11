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


def gained(loss: float, digits: int = 1) -> str:
    """A gain of accuracy, which is a loss below 0, never shown as more than it is."""
    return points(loss, digits).removeprefix("-")


def lost(loss: float) -> str:
    """What a cascade loses, or gains where that is below 0, on some rows."""
    if loss > 0:
        return f"loses {points(loss)}"
    found = gained(loss)
    return "loses nothing" if found == "0.0 points" else f"gains {found}"


def promised(limit: float) -> str:
    """A limit on what a cascade loses, which is a gain where it is negative."""
    than = "accurate than the large model alone"
    if limit == 0:
        return f"is not less {than}"
    if limit < 0:
        return f"is at least {_size(limit)} more {than}"
    return f"is at most {_size(limit)} less {than}"


def limit(most: float) -> str:
    """The same limit in a bracket."""
    if most == 0:
        return "no loss"
    return f"at {'least' if most < 0 else 'most'} {_size(most)} " + (
        "gained" if most < 0 else "lost"
    )


def _size(share: float) -> str:
    return f"{100 * abs(share):.6g} point{'' if abs(share) == 0.01 else 's'}"


def of_role(role: str) -> str:
    """Whose something is, such as " of the small model"; nothing without a role."""
    if not role:
        return ""
    # Some have a number.
    return f" of {role}" if role[-1].isdecimal() else f" of the {role}"


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
