"""Precision of flagged labels as figures, Figure 4 among them."""

import itertools
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib_jax import plots

from .flag_counts import MIN_DRAWN, FlagNumbers

PEER = "cleanlab"
_MARKERS = "osD^vP"
_LINES = ("-", "--", "-.", ":")


def draw_panel(
    numbers: FlagNumbers,
    group: int,
    axes: Axes | None = None,
    *,
    max_share: float | None = None,
    title: str | None = None,
    dark: bool = False,
) -> Figure:
    """Precision against the flagged share of the judged labels, for one group.

    Args:
      numbers: those of one task.
      group: index of its group of experts.
      axes: to draw into, else a new figure.
      max_share: right end of the panel, else just beyond the last point.
      title: above the legend.
      dark: whether a new figure is light on dark.
    """
    points = _points(numbers, group)
    max_share = _max_share(numbers, group) if max_share is None else max_share
    figure = plots.cleaning_curves(
        {"ranked": jax.tree.map(lambda array: array[group], numbers.ranking)},
        points,
        max_flagged_share=max_share,
        title=title,
        axes=axes,
        dark=dark,
    )
    axes = figure.axes[0] if axes is None else axes
    all_judged = numbers.num_judged == numbers.num_examples
    axes.set_xlabel(f"{'L' if all_judged else 'Judged l'}abels flagged (%)")
    return figure


def _points(numbers: FlagNumbers, group: int) -> dict[str, tuple[np.ndarray, ...]]:
    """Flagged share and precision of the methods that flag a fixed set."""
    counts = {
        "Method 2, every K": numbers.method_2[group],
        "Method 1": numbers.method_1[group],
    }
    if numbers.peer is not None:
        counts["Method 3"] = numbers.method_3[group]
        counts[PEER] = numbers.peer[0, group]
    return {
        name: (
            count.judged / numbers.num_judged,
            np.where(count.judged >= MIN_DRAWN, count.precision, np.nan),
        )
        for name, count in counts.items()
    }


def _max_share(numbers: FlagNumbers, group: int) -> float:
    largest = max(np.max(share) for share, _ in _points(numbers, group).values())
    return min(1.0, max(0.01, 1.1 * float(largest)))


def draw_panels(panels: Mapping[str, tuple[FlagNumbers, int]], _: bool) -> Figure:
    """A panel for each title, from numbers and a group, with one legend and scale."""
    max_share = max(_max_share(*panel) for panel in panels.values())
    width = 7.0 if len(panels) > 2 else 5.2
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, (numbers, group)) in zip(all_axes, panels.items(), strict=True):
        draw_panel(numbers, group, axes, max_share=max_share)
        axes.get_legend().remove()
        axes.set_title(title)
        if axes is not all_axes[0]:
            axes.set_ylabel("")
    _add_legend(figure, all_axes)
    return figure


def draw_bins(panels: Mapping[str, FlagNumbers], _: bool) -> Figure:
    """Precision in bins of Method 1's flags, a panel for each title."""
    width = 7.0 if len(panels) > 2 else 5.2
    figure = Figure(figsize=(width, 2.6), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, numbers) in zip(all_axes, panels.items(), strict=True):
        looks = zip(itertools.cycle(_MARKERS), itertools.cycle(_LINES), strict=False)
        for group, (marker, line) in zip(
            range(len(numbers.experts)), looks, strict=False
        ):
            filled = numbers.table.count[group] > 0
            axes.plot(
                100 * numbers.table.confidence[group][filled],
                100 * numbers.table.outcome[group][filled],
                marker=marker,
                linestyle=line,
                markerfacecolor=axes.get_facecolor() if group % 2 else None,
                label=f"{len(numbers.experts[group])} experts",
            )
        axes.set_title(title)
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 103)
        axes.set_xlabel("Least confidence (%)")
    all_axes[0].set_ylabel("Precision (%)")
    _add_legend(figure, all_axes)
    return figure


def _add_legend(figure: Figure, all_axes: Iterable[Axes]) -> None:
    """One legend above all panels, from the panel with the most series."""
    legends = [axes.get_legend_handles_labels() for axes in all_axes]
    handles, names = max(legends, key=lambda legend: len(legend[1]))
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=len(names),
        columnspacing=1.2,
    )
