"""Figures of the paper, drawn from tables and curves, never from raw arrays.

Every function takes what `calib_jax` computed, by name, and returns a
`matplotlib.figure.Figure` of one panel, one column of a paper wide. Nothing here
touches `matplotlib.pyplot`: a figure belongs to its caller and needs no closing. In a
notebook `%matplotlib inline` shows one that a cell ends with. Series differ in line and
marker as well as in colour, so that they can be told apart in grey. Sizes and colours
are those of `style`, light or dark. A PDF whose text can be searched is saved inside it
as well:

    with plots.style():
        plots.cascade_curves(curves).savefig("cascade.pdf")

This module alone imports matplotlib, which the extra `calib-jax[plots]` installs.

Shapes: `num_bins` bins, N rows of a cleaning curve.

References:
  Hao et al. 2026, "When Models Know When They Do Not Know", arXiv 2601.07965,
  Figures 1 (reliability), 2 (cascade) and 4 (cleaning).
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from ..binning.tables import ReliabilityTable
from ..cascade.curves import CascadeCurve, average_performance_gap_recovered
from ..cleaning.repairs import CleaningCurve

try:
    import matplotlib
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        "calib_jax.plots needs matplotlib: pip install 'calib-jax[plots]'",
        name="matplotlib",
    ) from error

# One column of a two-column paper, in inches.
COLUMN_WIDTH = 3.35

# A longer cleaning curve is thinned: the eye sees no more, and the file stays small.
_MAX_DRAWN_ROWS = 2000

# Safe for colour-blind readers, and the first three of different lightness.
_LIGHT_COLOURS = ("#12436D", "#D55E00", "#2FA882", "#8A4F9E", "#5A5A5A")
_DARK_COLOURS = ("#8FC7FF", "#FF8A4C", "#2FB58A", "#D9A0E0", "#B8B8B8")


_Line = str | tuple[int, tuple[int, ...]]


class _Look(NamedTuple):
    colour: str
    line: _Line
    marker: str
    fill: str


def _looks(axes: Axes) -> Iterator[_Look]:
    """Colour, line and marker of one series after the other, all three different."""
    lines: list[_Line] = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))]
    for number, (line, marker) in enumerate(
        zip(itertools.cycle(lines), itertools.cycle("osD^vP"), strict=False)
    ):
        # "C1" is looked up now, since drawing may happen under another style.
        colour = to_hex(f"C{number}")
        # Every other marker is hollow, which is what shows best in grey.
        fill = to_hex(axes.get_facecolor()) if number % 2 else colour
        yield _Look(colour, line, marker, fill)


@contextlib.contextmanager
def style(*, dark: bool = False) -> Iterator[None]:
    """Sizes and colours for a figure of one column, while the context lasts.

    Text is 8 points and smaller text 7, so that a figure needs no scaling in a paper.

    Args:
      dark: light drawing on dark ground, for slides and dark pages.

    Yields:
      Nothing; matplotlib's parameters are as before afterwards.

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
        # Text stays text, and can be searched, in PDF files.
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(parameters):
        yield


def reliability_diagram(
    tables: Mapping[str, ReliabilityTable],
    *,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Mean outcome against mean confidence, a marker for each bin (Figure 1).

    A calibrated model lies on the diagonal; points below it are over-confident. The
    area of a marker is proportional to the weight of its bin; empty bins are left out.
    The legend gives the ECE of each table, which is its weighted mean distance from the
    diagonal. Both axes start at the same tenth, just below the least point.

    Args:
      tables: name, such as "before", to `ReliabilityTable` of shape `[num_bins]`;
        confidence and outcome in `[0, 1]`.
      title: optional text above the legend, which is above the panel.
      axes: optional axes to draw into, in the style of the caller; by default a new
        figure in the style of `style`.
      dark: whether a new figure is light on dark.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `tables` is empty, or one is not of rank 1.

    Examples:
      >>> import calib_jax as cj
      >>> scores, outcomes = [0.2, 0.4, 0.6, 0.9], [0, 1, 1, 1]
      >>> bins = cj.equal_count_bins(scores, 2)
      >>> table = cj.reliability_table(bins, scores, outcomes)
      >>> figure = reliability_diagram({"before": table})
      >>> print(figure.axes[0].get_legend().get_texts()[0].get_text())
      before, ECE 0.225
    """
    with style(dark=dark) if axes is None else contextlib.nullcontext():
        return _draw_reliability_diagram(tables, title, axes)


def _draw_reliability_diagram(
    tables: Mapping[str, ReliabilityTable],
    title: str | None,
    axes: Axes | None,
) -> Figure:
    _check_names("tables", tables)
    axes = _new_axes(height=1.05 * COLUMN_WIDTH) if axes is None else axes
    lowest = 1.0
    for (name, table), look in zip(tables.items(), _looks(axes), strict=False):
        weight, confidence, outcome = _read(
            f"tables[{name!r}]", table.weight, table.confidence, table.outcome
        )
        filled = weight > 0
        gap = np.abs(confidence - outcome)
        error = np.sum(weight * gap) / np.sum(weight) if filled.any() else np.nan
        weight, confidence, outcome = (
            weight[filled],
            confidence[filled],
            outcome[filled],
        )
        lowest = min(lowest, *confidence, *outcome) if filled.any() else lowest
        axes.plot(
            confidence, outcome, color=look.colour, linestyle=look.line, linewidth=1.0
        )
        # The fullest bin of a table gets the largest marker, of 20 square points.
        area = 20.0 * weight / weight.max() if filled.any() else weight
        axes.scatter(
            confidence,
            outcome,
            s=area,
            marker=look.marker,
            facecolor=look.fill,
            edgecolor=look.colour,
            linewidth=0.8,
            zorder=3,
        )
        # Empty line: the legend shows line and marker together.
        axes.plot(
            [],
            [],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markerfacecolor=look.fill,
            label=f"{name}, ECE {error:.3f}",
        )
    start = max(0.0, np.floor(10 * lowest - 0.1) / 10)
    margin = 0.02 * (1 - start)
    axes.plot([start, 1], [start, 1], color=_ink(), linewidth=0.8, zorder=1)
    axes.set_xlim(start - margin, 1 + margin)
    axes.set_ylim(start - margin, 1 + margin)
    axes.set_aspect("equal")
    axes.set_xlabel("Mean confidence")
    axes.set_ylabel("Accuracy (mean outcome)")
    return _finish(axes, title)


def cascade_curves(
    curves: Mapping[str, CascadeCurve],
    *,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Accuracy of a cascade against the share its small model answers (Figure 2).

    One curve for each router, a marker for each number of bins kept small; the small
    and the large model alone are horizontal lines. The legend gives the APGR of each
    curve, which is 0.5 for routing at random.

    Args:
      curves: name, such as "calibrated (CC)", to `CascadeCurve` of `[num_bins + 1]`
        points on the same examples; shares and accuracies in `[0, 1]`, drawn in %.
      title: optional text above the legend, which is above the panel.
      axes: optional axes to draw into, in the style of the caller; by default a new
        figure in the style of `style`.
      dark: whether a new figure is light on dark.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `curves` is empty, one is not of rank 1, or they are of models of
        different accuracy, which one pair of lines could not show.

    Examples:
      >>> import calib_jax as cj
      >>> small, large = [0.3, 0.9, 0.5, 0.8], [0.8, 0.9, 0.9, 0.9]
      >>> router = cj.fit_router(small, large, num_bins=2)
      >>> curve = cj.cascade_curve(router, small, [0, 1, 0, 1], [1, 1, 0, 1])
      >>> figure = cascade_curves({"random": cj.random_curve(curve), "CC": curve})
      >>> print([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
      ['random, APGR 0.500', 'CC, APGR 0.750']
    """
    with style(dark=dark) if axes is None else contextlib.nullcontext():
        return _draw_cascade_curves(curves, title, axes)


def _draw_cascade_curves(
    curves: Mapping[str, CascadeCurve],
    title: str | None,
    axes: Axes | None,
) -> Figure:
    _check_names("curves", curves)
    axes = _new_axes(height=0.9 * COLUMN_WIDTH) if axes is None else axes
    pairs = {
        name: (float(curve.small_accuracy), float(curve.large_accuracy))
        for name, curve in curves.items()
    }
    small, large = next(iter(pairs.values()))
    for name, pair in pairs.items():
        if not np.allclose(pair, (small, large), atol=1e-6, equal_nan=True):
            raise ValueError(
                "curves must be of the same two models and examples: the accuracies "
                f"of {name!r} are {pair}, of {next(iter(pairs))!r} {(small, large)}."
            )
    for (name, curve), look in zip(curves.items(), _looks(axes), strict=False):
        share, accuracy = _read(f"curves[{name!r}]", curve.small_share, curve.accuracy)
        recovered = float(average_performance_gap_recovered(curve))
        axes.plot(
            100 * share,
            100 * accuracy,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markerfacecolor=look.fill,
            label=f"{name}, APGR {recovered:.3f}",
        )
    axes.margins(y=0.1)
    axes.set_xlim(-2, 102)
    bottom, top = axes.get_ylim()
    for label, alone, other in (("small", small, large), ("large", large, small)):
        # Names of lines that are close together are moved apart.
        close = abs(100 * (alone - other)) < 0.15 * (top - bottom)
        anchor = ("bottom" if alone > other else "top") if close else "center"
        _reference_line(axes, label, 100 * alone, anchor)
    axes.set_xlabel("Inputs answered by the small model (%)")
    axes.set_ylabel("Accuracy (%)")
    return _finish(axes, title)


def cleaning_curves(
    curves: Mapping[str, CleaningCurve],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    *,
    max_flagged_share: float = 1.0,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Precision of flagged labels against the share flagged (Figure 4).

    A curve ranks labels by a score and flags more and more of them; a point is a method
    that flags a fixed set. The line "random" is the share of wrong labels, which is the
    precision of flags put at random. What the paper calls "detection rate" is the
    flagged share; recall is another number of the same curve.

    Args:
      curves: name to `CleaningCurve` of `[N]` points; shares and precisions in
        `[0, 1]`, drawn in %. Curves of more than 2,000 rows are thinned.
      points: optional name to `(flagged_share, precision)`: scalars, or arrays of one
        shape `[P]` for a method with a dial, whose P points are joined.
      max_flagged_share: right end of the panel, in `(0, 1]`.
      title: optional text above the legend, which is above the panel.
      axes: optional axes to draw into, in the style of the caller; by default a new
        figure in the style of `style`.
      dark: whether a new figure is light on dark.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if there is neither a curve nor a point, or one is not of rank 1.

    Examples:
      >>> import calib_jax as cj
      >>> curve = cj.cleaning_curve([0.9, 0.1, 0.8, 0.3], [1, 0, 1, 0])
      >>> figure = cleaning_curves({"ranked": curve}, {"Method 1": (0.75, 0.67)})
      >>> print(figure.axes[0].get_xlabel())
      Labels flagged (%)
    """
    with style(dark=dark) if axes is None else contextlib.nullcontext():
        return _draw_cleaning_curves(curves, points, max_flagged_share, title, axes)


def _draw_cleaning_curves(
    curves: Mapping[str, CleaningCurve],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]] | None,
    max_flagged_share: float,
    title: str | None,
    axes: Axes | None,
) -> Figure:
    points = {} if points is None else points
    _check_names("curves and points", {**curves, **points})
    if not 0 < max_flagged_share <= 1:
        raise ValueError(
            f"max_flagged_share must be in (0, 1], got {max_flagged_share}."
        )
    axes = _new_axes(height=0.9 * COLUMN_WIDTH) if axes is None else axes
    looks = _looks(axes)
    error_share = None
    for (name, curve), look in zip(curves.items(), looks, strict=False):
        share, precision = _read(
            f"curves[{name!r}]", curve.flagged_share, curve.precision
        )
        # All labels flagged: what is right among them is the share of wrong labels.
        error_share = float(precision[-1]) if precision.size else error_share
        drawn = np.linspace(0, share.size - 1, min(share.size, _MAX_DRAWN_ROWS))
        drawn = np.round(drawn).astype(int)
        axes.plot(
            100 * share[drawn],
            100 * precision[drawn],
            color=look.colour,
            linestyle=look.line,
            label=name,
        )
    for (name, (shares, precisions)), look in zip(points.items(), looks, strict=False):
        share, precision = _read(
            f"points[{name!r}]", np.atleast_1d(shares), np.atleast_1d(precisions)
        )
        axes.plot(
            100 * share,
            100 * precision,
            color=look.colour,
            linestyle=look.line if share.size > 1 else "none",
            linewidth=0.7,
            marker=look.marker,
            markersize=4.0 if share.size > 1 else 5.0,
            markerfacecolor=look.fill,
            markeredgewidth=0.8,
            label=name,
            zorder=3,
        )
    if error_share is not None:
        _reference_line(axes, "random", 100 * error_share, "center")
    axes.set_xlim(0, 102 * max_flagged_share)
    axes.set_ylim(0, 103)
    axes.set_xlabel("Labels flagged (%)")
    axes.set_ylabel("Precision (%)")
    return _finish(axes, title)


def _new_axes(height: float) -> Axes:
    figure = Figure(figsize=(COLUMN_WIDTH, height), dpi=200, layout="constrained")
    return figure.add_subplot()


def _finish(axes: Axes, title: str | None) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # Axes are always of a figure.
    handles, names = axes.get_legend_handles_labels()
    # An inch of a column holds about fifteen letters beside the line and marker.
    width = axes.get_position().width * figure.get_figwidth()
    # Above the panel a legend covers nothing, whatever the data.
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


def _reference_line(axes: Axes, name: str, height: float, anchor: str) -> None:
    """A horizontal line with its name and height to the right of the panel."""
    axes.axhline(height, color=_ink(), linewidth=0.7, zorder=1)
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


def _ink() -> str:
    return matplotlib.rcParams["text.color"]


def _check_names(argument: str, named: Mapping[str, object]) -> None:
    if not named:
        raise ValueError(f"{argument} must name at least one series, got none.")


def _read(name: str, *arrays: ArrayLike) -> list[np.ndarray]:
    """Arrays of one shape `[P]` as float64, which formats and multiplies exactly."""
    read = [np.asarray(array, np.float64) for array in arrays]
    shapes = [array.shape for array in read]
    if len(shapes[0]) != 1 or len(set(shapes)) != 1:
        raise ValueError(f"{name} must hold arrays of one shape [P], got {shapes}.")
    return read
