"""What all figures share: a panel, its legend and reference lines, checked arrays."""

import contextlib
from collections.abc import Iterator, Mapping

import matplotlib
import numpy as np
from jax.typing import ArrayLike
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from . import styles

# The id of a ring in an SVG file, by which a script can move it; that of its text in
# the legend ends in "-name".
MARK = "mark-at-k"
# Of the name of a series, and of a title, so that the legend fits into one column.
_MOST_LETTERS, _MOST_OF_TITLE = 36, 48


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


def finish(axes: Axes, title: str | None, *, above: float = 0.0) -> Figure:
    """Adds the legend, and returns the figure of the axes.

    Args:
      axes: with labelled series.
      title: optional text above the legend.
      above: points between the panel and the legend, for an axis between them.
    """
    nearest = axes.get_figure()
    assert nearest is not None
    # That of a panel of a figure is the figure around it, in every release.
    figure = nearest.figure
    assert isinstance(figure, Figure)
    handles, names = axes.get_legend_handles_labels()
    # An inch of a column holds about fifteen letters beside line and marker.
    width = axes.get_position().width * figure.get_figwidth()
    up = ScaledTranslation(0, above / 72, figure.dpi_scale_trans)
    # Above the panel a legend covers no data.
    legend = axes.legend(
        handles,
        names,
        title=None if title is None else one_line(title, _MOST_OF_TITLE),
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        bbox_transform=axes.transAxes + up,
        borderpad=0.0,
        ncols=2 if max(map(len, names), default=0) <= 15 * width / 2 else 1,
    )
    for text in (*legend.get_texts(), legend.get_title()):
        # A name may hold "$", which would start a formula. Axes keep theirs: a
        # logarithmic one writes its powers as formulas.
        text.set_parse_math(False)
    for handle, text in zip(handles, legend.get_texts(), strict=True):
        if isinstance(handle, Artist) and handle.get_gid() == MARK:
            text.set_gid(f"{MARK}-name")
    return figure


def one_line(text: str, most: int = _MOST_LETTERS) -> str:
    """Text that a file may hold, as one line; the middle of a long one is left out."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    half = most // 2
    return line if len(line) <= most else f"{line[:half]}…{line[-half:]}"


def label(name: str, *more: str) -> str:
    """The text of a series in the legend: its name and numbers."""
    line = ", ".join([one_line(name), *more])
    # Matplotlib leaves a name that starts with "_" out of the legend.
    return f" {line}" if line.startswith("_") else line


def reference_line(axes: Axes, name: str, height: float, anchor: str) -> None:
    """A horizontal line, with its name and height to the right of the panel."""
    axes.axhline(height, color=styles.ink(), linewidth=0.7, zorder=1)
    axes.annotate(
        f"{name}\n{height:.1f}%",
        xy=(1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va=anchor,
        fontsize=matplotlib.rcParams["legend.fontsize"],
        linespacing=1.0,
    )


def check_known(
    argument: str, named: Mapping[str, object], known: Mapping[str, object], of: str
) -> None:
    """Raises `ValueError` for a name that has no series."""
    for name in named:
        if name not in known:
            raise ValueError(
                f"{argument}: expected names that are in {of}, {sorted(known)}, got "
                f"{name!r}."
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


def ring(axes: Axes, x: float, y: float, name: str) -> None:
    """A ring around one point, such as a choice, with its name in the legend."""
    (drawn,) = axes.plot(
        [x],
        [y],
        color=styles.ink(),
        linestyle="none",
        marker="o",
        markersize=8.5,
        markerfacecolor="none",
        markeredgewidth=1.2,
        label=name,
        zorder=5,
    )
    drawn.set_gid(MARK)


def cost_label(unit: str | None) -> str:
    """Label of an axis of mean costs."""
    return "Mean cost per input" + (f" ({one_line(unit)})" if unit else "")
