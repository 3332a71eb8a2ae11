"""The figures: accuracy against cost, and accuracy of the answers against coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from calib_jax import plots

from .abstaining import Abstained
from .comparing import CHAIN, LARGEST, MIX, PAIR, Judged
from .problems import Setting


def _percent_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def draw_frontier(
    setting: Setting,
    judged: Mapping[str, Judged],
    singles: tuple[np.ndarray, np.ndarray],
) -> Figure:
    """Chosen by labels; each model alone stands there by its name's last word."""
    drawn = Figure(figsize=(plots.COLUMN_WIDTH, 2.9), layout="constrained")
    axes = drawn.subplots()
    looks = ((CHAIN, "o", "-"), (PAIR, "s", "--"), (MIX, "", ":"))
    for colour, (family, marker, line) in enumerate(looks):
        one = judged[family]
        axes.plot(
            100 * one.cost[0],
            100 * one.accuracy[0],
            color=f"C{colour}",
            linestyle=line,
            marker=marker,
            markersize=3.0,
            markerfacecolor="none" if colour else f"C{colour}",
            label=family,
        )
    accuracy, cost = singles
    for name, y, x in zip(setting.models, 100 * accuracy, 100 * cost, strict=True):
        axes.plot(x, y, "x", color="C4", markersize=5.0)
        axes.annotate(
            name.split()[-1],
            (x, y),
            (4, -9),
            textcoords="offset points",
            fontsize=7,
            color="C4",
        )
    axes.plot([], [], "x", color="C4", label="a model alone")
    # Room for the lowest name.
    axes.margins(y=0.1)
    _percent_axis(axes, (3, 5, 10, 20, 50, 100))
    axes.set_xlim(2.5, 140)
    axes.set(
        xlabel="Mean cost (% of always asking the largest model)",
        ylabel="Accuracy (%)",
    )
    axes.legend(loc="lower right")
    return drawn


def draw_coverage(
    chain: Abstained, alone: Abstained, places: Mapping[str, int]
) -> Figure:
    """Of the largest model alone, and of a chain within budgets, by name and place."""
    drawn = Figure(figsize=(plots.COLUMN_WIDTH, 2.6), layout="constrained")
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
    # Above the panel, where no line can be.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return drawn
