"""Sizes and colours of figures, and how the series of a panel differ."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

# One column of a two-column paper, in inches.
COLUMN_WIDTH = 3.35

# Safe for colour-blind readers; the first three also differ in lightness.
_LIGHT_COLOURS = ("#12436D", "#D55E00", "#2FA882", "#8A4F9E", "#5A5A5A")
_DARK_COLOURS = ("#8FC7FF", "#FF8A4C", "#2FB58A", "#D9A0E0", "#B8B8B8")

Line = str | tuple[int, tuple[int, ...]]


class Look(NamedTuple):
    """How one series is drawn."""

    colour: str
    line: Line
    marker: str
    fill: str


@contextlib.contextmanager
def style(*, dark: bool = False) -> Iterator[None]:
    """Sizes and colours of a figure of one column, within a `with` block.

    Text is 8 points and smaller text 7, so a figure needs no scaling in a paper.

    Args:
      dark: whether to draw light on dark, for slides and dark pages.

    Yields:
      None; matplotlib's parameters are restored afterwards.

    Examples:
      >>> import matplotlib
      >>> with style(dark=True):
      ...     print(matplotlib.rcParams["font.size"])
      8.0
    """
    ground, ink, faint = (
        ("#14171C", "#E8EAED", "#3A3F47") if dark else ("#FFFFFF", "#1A1A1A", "#DCDCDC")
    )
    colours = _DARK_COLOURS if dark else _LIGHT_COLOURS
    # Releases of matplotlib differ in the type of the keys.
    parameters: dict[Any, Any] = {
        "font.size": 8.0,
        "axes.labelsize": 8.0,
        "axes.titlesize": 8.0,
        "legend.fontsize": 7.0,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        "lines.linewidth": 1.3,
        "lines.markersize": 3.5,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.5,
        "grid.color": faint,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "legend.labelspacing": 0.3,
        "legend.title_fontsize": 8.0,
        "axes.prop_cycle": cycler(color=colours),
        "figure.facecolor": ground,
        "axes.facecolor": ground,
        "savefig.facecolor": ground,
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "savefig.dpi": 300.0,
        # Keeps text in PDF files as text, which can be searched.
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(parameters):
        yield


def looks(axes: Axes) -> Iterator[Look]:
    """Colour, line and marker of one series after another, all three different."""
    lines: list[Line] = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))]
    for number, (line, marker) in enumerate(
        zip(itertools.cycle(lines), itertools.cycle("osD^vP"), strict=False)
    ):
        # "C1" is resolved now, because drawing may happen under another style.
        colour = to_hex(f"C{number}")
        # Every other marker is hollow, the difference that shows best in grey.
        fill = to_hex(axes.get_facecolor()) if number % 2 else colour
        yield Look(colour, line, marker, fill)


def ink() -> str:
    """Colour of text in the current style."""
    return matplotlib.rcParams["text.color"]
