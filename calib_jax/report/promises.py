"""What a report says where no K can be promised, and whether more rows might help."""

from collections.abc import Sequence

from ..cascade.selection import Selection
from . import phrases
from .points import Point


def rows_might_help(first: Point, max_drop: float, chosen: Selection) -> bool:
    """Whether it may be chance alone that K = 1 does not keep to the limit."""
    best = max(first.accuracy_change, first.accuracy_change_interval[1])
    return best >= -max_drop and not bool(chosen.same_rows)


def impossible(
    points: Sequence[Point],
    max_drop: float,
    chosen: Selection,
    rows_needed: int | None,
    *,
    weighed: bool = False,
) -> list[str]:
    """Why K = 1, which is tried first, does not pass."""
    if bool(chosen.same_rows):
        return ["The rows to choose on are those of the router."]
    first, limit = points[1], -max_drop
    found = (
        f"With one bin kept small{' and the arbiter' if weighed else ''} it "
        f"{phrases.lost(-first.accuracy_change)} on these rows"
    )
    if first.accuracy_change >= limit:
        bound = first.drop_bound
        unsure = (
            f"a loss of {phrases.points(bound)}"
            if bound >= 0
            else f"a gain of only {phrases.gained(bound)}"
        )
        sentences = [f"{found}, but with so few rows {unsure} cannot be ruled out."]
        if rows_needed is not None:
            sentences.append(f"About {rows_needed:,} rows like these might be enough.")
        return sentences
    if max_drop < 0 and first.accuracy_change > 0:
        found += ", less than asked"
    if rows_might_help(first, max_drop, chosen):
        sentences = [f"{found}, which may be chance: more rows might help."]
    else:
        sentences = [f"{found}, so more rows like these would not help."]
    if any(point.accuracy_change >= limit for point in points[2:]):
        sentences.append(
            "A larger K does better, but K is tried from 1 upwards, and no further "
            "than it passes."
        )
    return sentences


def instead(plain: Point, least: float | None, weighed: bool) -> list[str]:
    """Which limit these rows can promise, and a K without a promise.

    Args:
      plain: what the K does that suffices on the rows of the fit.
      least: the least limit that is possible, or None.
      weighed: whether an arbiter decides where both models were asked.
    """
    found = []
    if least is not None:
        found.append(
            f"The smallest loss these rows can guarantee is {phrases.points(least, 2)}."
            if least >= 0
            else "The largest gain these rows can guarantee is "
            f"{phrases.gained(least, 2)}."
        )
    if plain.num_small_bins:
        found.append(
            "Without a guarantee, the first half suggests K = "
            f"{plain.num_small_bins}{' with the arbiter' if weighed else ''}: it keeps "
            f"{phrases.percent(plain.small_share)} of inputs small and is right "
            f"{phrases.percent(plain.accuracy)} of the time on the other half."
        )
    return found
