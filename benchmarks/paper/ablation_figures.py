"""Lines against a setting, a panel for each task."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

_COLUMNS, _MOST_TICKS = 4, 4
_LINES = ("-", "--", "-.", (0, (1, 1)))
_MARKERS = "osD^"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One task.

    Attributes:
      title: of the panel.
      x: `[B]`, above 0.
      lines: `[B]` by name.
    """

    title: str
    x: np.ndarray
    lines: Mapping[str, np.ndarray]


def draw(panels: Sequence[Panel], x_label: str, y_label: str, dark: bool) -> Figure:
    """All panels, on a logarithmic x axis, with one legend below them.

    Args:
      panels: in order.
      x_label: of all panels.
      y_label: of all panels.
      dark: whether it is light on dark, for which the style is already set.
    """
    del dark
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(7.0, 1.75 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    handles = {}
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_axis_off()
            continue
        panel = panels[number]
        axes.set_title(panel.title)
        for name, values in panel.lines.items():
            place = names.index(name)
            hollow = mpl.rcParams["axes.facecolor"] if place % 2 else f"C{place}"
            (handles[name],) = axes.plot(
                panel.x,
                values,
                color=f"C{place}",
                linestyle=_LINES[place],
                marker=_MARKERS[place],
                markerfacecolor=hollow,
            )
        axes.set_xscale("log")
        # As many numbers as fit, always with the last one.
        ticks = panel.x[::-1][:: math.ceil(len(panel.x) / _MOST_TICKS)]
        labels = [f"{x / 1000:g}k" if x >= 1000 else f"{x:g}" for x in ticks]
        axes.set_xticks(ticks, labels)
        axes.xaxis.set_minor_locator(NullLocator())
        if number + columns >= len(panels):
            axes.set_xlabel(x_label)
        if number % columns == 0:
            axes.set_ylabel(y_label)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=len(names),
    )
    return figure
