"""The figures: accuracy against cost, and accuracy of the answers against coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.kit import report

from .abstaining import Abstained
from .comparing import CHAIN, LARGEST, MIX, PAIR, Judged
from .problems import Setting


def _percent_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


# The figures show three of the families.
_LOOKS = ((CHAIN, "o", "-"), (PAIR, "s", "--"), (MIX, "", ":"))

# A single model is shown if it is at most this share of the curves' range below them.
_BELOW = 0.2


def left_out(
    setting: Setting,
    judged: Mapping[str, Judged],
    singles: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Accuracy of each model that is too far below the curves to be shown, by the last
    word of its name.
    """
    curves = np.stack([judged[family].accuracy[0] for family, _, _ in _LOOKS])
    least, most = np.nanmin(curves), np.nanmax(curves)
    return {
        model.split()[-1]: float(accuracy)
        for model, accuracy in zip(setting.models, singles[0], strict=True)
        if accuracy < least - _BELOW * (most - least)
    }


def _at_cost(one: Judged, cost: float) -> float:
    """Accuracy (%) of a family at a cost (%), between its neighbours."""
    some = np.isfinite(one.cost[0])
    order = np.argsort(one.cost[0][some])
    costs, accuracies = (
        100 * part[0][some][order] for part in (one.cost, one.accuracy)
    )
    return float(np.interp(cost, costs, accuracies))


def draw_frontier(
    setting: Setting,
    judged: Mapping[str, Judged],
    singles: tuple[np.ndarray, np.ndarray],
    _: bool,
) -> Figure:
    """Choices by labels, in order of cost; single models have the last word of their
    name, except those far below the curves.
    """
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.9), layout="constrained")
    axes = drawn.subplots()
    for colour, (family, marker, line) in enumerate(_LOOKS):
        one = judged[family]
        order = np.argsort(one.cost[0])
        axes.plot(
            100 * one.cost[0][order],
            100 * one.accuracy[0][order],
            color=f"C{colour}",
            linestyle=line,
            marker=marker,
            markersize=3.0,
            markerfacecolor="none" if colour else f"C{colour}",
            label=family,
        )
    accuracy, cost = singles
    hidden = left_out(setting, judged, singles)
    for model, y, x in zip(setting.models, 100 * accuracy, 100 * cost, strict=True):
        name = model.split()[-1]
        if name in hidden:
            continue
        axes.plot(x, y, "x", color="C4", markersize=5.0)
        # The curves rise from the left and leave this corner free.
        above = y >= _at_cost(judged[CHAIN], x)
        axes.annotate(
            name,
            (x, y),
            (-3, 4) if above else (4, -9),
            textcoords="offset points",
            ha="right" if above else "left",
            fontsize=7,
            color="C4",
        )
    axes.plot([], [], "x", color="C4", label="a model alone")
    # Room for the lowest name.
    axes.margins(y=0.1)
    _percent_axis(axes, (3, 5, 10, 20, 50, 100))
    # Room for the names of the cheapest and the largest.
    axes.set_xlim(2.3, 170)
    axes.set(
        xlabel="Mean cost (% of always asking the largest model)",
        ylabel="Accuracy (%)",
    )
    axes.legend(loc="lower right")
    return drawn


def draw_coverage(
    chain: Abstained, alone: Abstained, places: Mapping[str, int], _: bool
) -> Figure:
    """Coverage curves of the largest model alone and of a chain within budgets."""
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.6), layout="constrained")
    axes = drawn.subplots()
    series = [(alone, 0, f"{LARGEST}, or abstain")]
    series += [(chain, g, f"chain within {label}") for label, g in places.items()]
    for colour, ((one, g, label), marker, line) in enumerate(
        zip(series, "os^", ("-", "--", ":"), strict=True)
    ):
        axes.plot(
            100 * one.coverage[:, g],
            100 * one.accuracy[:, g],
            color=f"C{colour}",
            linestyle=line,
            marker=marker,
            markerfacecolor="none" if colour else f"C{colour}",
            label=label,
        )
    axes.set(xlabel="Answered (%)", ylabel="Accuracy of the answers (%)")
    # Above the panel, where there are no lines.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return drawn
