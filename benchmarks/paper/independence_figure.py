"""Precision and gain against how alike two experts are, as a figure.

Shapes: R repetitions, D degrees of likeness.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .independence_measures import Measured

_MARKERS = "osD^vP"


def draw(degrees: Sequence[str], pairs: Measured, _: bool) -> Figure:
    """Three panels; the entries of `pairs` are `[R, D]`."""
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_panel(panels[0], degrees, pairs.lift, 100 * pairs.precision)
    error = 100 * pairs.joint_error
    _draw_panel(panels[1], degrees, error, 100 * pairs.precision)
    _draw_panel(panels[2], degrees, pairs.lift, 100 * pairs.union_gain)
    _draw_panel(panels[2], degrees, pairs.lift, 100 * pairs.gain, hollow=True)
    ink = matplotlib.rcParams["text.color"]
    panels[2].axhline(0.0, color=ink, linewidth=0.7, zorder=1)
    panels[0].set(xlabel="Lift of the joint error", ylabel="Precision (%)")
    panels[1].set(xlabel="Joint error (%)", ylabel="Precision (%)")
    panels[2].set(
        xlabel="Lift of the joint error",
        ylabel="Gain (points): union filled,\ncascade hollow",
    )
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    return figure


def _draw_panel(
    axes: Axes,
    names: Sequence[str],
    x: np.ndarray,
    y: np.ndarray,
    *,
    hollow: bool = False,
) -> None:
    """A marker with bars for each degree; x and y `[R, D]`."""
    for degree, name in enumerate(names):
        axes.errorbar(
            x[:, degree].mean(),
            y[:, degree].mean(),
            xerr=x[:, degree].std(),
            yerr=y[:, degree].std(),
            color=f"C{degree}",
            marker=_MARKERS[degree % len(_MARKERS)],
            markersize=5.0,
            markerfacecolor=axes.get_facecolor() if hollow else f"C{degree}",
            linestyle="none",
            elinewidth=0.7,
            label=name,
        )
