"""Reliability diagrams. Shapes: `num_bins` bins."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..binning.tables import ReliabilityTable
from . import panels, styles


def reliability_diagram(
    tables: Mapping[str, ReliabilityTable],
    *,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Mean outcome against mean confidence, with a marker for each bin (Figure 1).

    A calibrated model lies on the diagonal; points below it are over-confident. The
    area of a marker is proportional to the weight of its bin; empty bins are left out.
    The legend gives the ECE of each table, its weighted mean distance from the
    diagonal. Both axes start at the same tenth, just below the lowest point.

    Args:
      tables: from names, such as "before", to a `ReliabilityTable` each
        of shape `[num_bins]`, with confidence and outcome in `[0, 1]`.
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `tables` is empty or a table is not of rank 1.

    Examples:
      >>> import calib_jax as cj
      >>> scores, outcomes = [0.2, 0.4, 0.6, 0.9], [0, 1, 1, 1]
      >>> bins = cj.equal_count_bins(scores, 2)
      >>> table = cj.reliability_table(bins, scores, outcomes)
      >>> figure = reliability_diagram({"before": table})
      >>> print(figure.axes[0].get_legend().get_texts()[0].get_text())
      before, ECE 0.225
    """
    panels.check_names("tables", tables)
    with panels.panel(axes, height=1.05, dark=dark) as drawn:
        _draw(drawn, tables)
        return panels.finish(drawn, title)


def _draw(axes: Axes, tables: Mapping[str, ReliabilityTable]) -> None:
    lowest = 1.0
    for (name, table), look in zip(tables.items(), styles.looks(axes), strict=False):
        weight, confidence, outcome = panels.read(
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
        # The fullest bin of a table gets the largest marker, 20 square points.
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
        # An empty line, so that the legend shows line and marker together.
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
    axes.plot([start, 1], [start, 1], color=styles.ink(), linewidth=0.8, zorder=1)
    axes.set_xlim(start - margin, 1 + margin)
    axes.set_ylim(start - margin, 1 + margin)
    axes.set_aspect("equal")
    axes.set_xlabel("Mean confidence")
    axes.set_ylabel("Accuracy (mean outcome)")
