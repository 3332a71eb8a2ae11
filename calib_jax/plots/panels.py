"""What all figures share: a panel, its legend and reference lines, checked arrays."""

import contextlib
from collections.abc import Iterator, Mapping

import matplotlib
import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import styles


@contextlib.contextmanager
def panel(axes: Axes | None, *, height: float, dark: bool) -> Iterator[Axes]:
    """Axes to draw into: the given ones, or those of a new figure in its style.

    Args:
      axes: optional axes, used in the style of the caller.
      height: of a new figure, in column widths.
      dark: whether a new figure is light on dark.
    """
    if axes is not None:
        yield axes
        return
    with styles.style(dark=dark):
        size = (styles.COLUMN_WIDTH, height * styles.COLUMN_WIDTH)
        yield Figure(figsize=size, dpi=200, layout="constrained").add_subplot()


def finish(axes: Axes, title: str | None) -> Figure:
    """Adds the legend, and returns the figure of the axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    handles, names = axes.get_legend_handles_labels()
    # An inch of a column holds about fifteen letters beside line and marker.
    width = axes.get_position().width * figure.get_figwidth()
    # Above the panel a legend covers no data.
    axes.legend(
        handles,
        names,
        title=title,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderpad=0.0,
        ncols=2 if max(map(len, names)) <= 15 * width / 2 else 1,
    )
    return figure


def reference_line(axes: Axes, name: str, height: float, anchor: str) -> None:
    """A horizontal line, with its name and height to the right of the panel."""
    axes.axhline(height, color=styles.ink(), linewidth=0.7, zorder=1)
    axes.annotate(
        f"{name}\n{height:.1f} %",
        xy=(1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va=anchor,
        fontsize=matplotlib.rcParams["legend.fontsize"],
        linespacing=1.0,
    )


def check_names(argument: str, named: Mapping[str, object]) -> None:
    """Raises `ValueError` without a series to draw."""
    if not named:
        raise ValueError(f"{argument}: expected at least one series, got none.")


def read(name: str, *arrays: ArrayLike) -> list[np.ndarray]:
    """Arrays of one shape `[P]` as float64, which formats and multiplies exactly."""
    read = [np.asarray(array, np.float64) for array in arrays]
    shapes = [array.shape for array in read]
    if len(shapes[0]) != 1 or len(set(shapes)) != 1:
        raise ValueError(f"{name}: expected arrays of one shape [P], got {shapes}.")
    return read
