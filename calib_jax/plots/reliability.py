"""Reliability diagrams. Shapes: `num_bins` bins."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import stats
from ..binning.tables import ReliabilityTable
from . import panels, styles
from .styles import Look


def reliability_diagram(
    tables: Mapping[str, ReliabilityTable],
    *,
    densities: Mapping[str, ReliabilityTable] | None = None,
    error_bars: bool = True,
    confidence_level: float = 0.95,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Mean outcome against mean confidence, with a marker for each bin (Figure 1).

    A calibrated model lies on the diagonal; points below it are overconfident. The
    area of a marker is proportional to the weight of its bin; empty bins are left out.
    The legend gives the ECE of each table, its weighted mean distance from the
    diagonal. Both axes start at the same tenth, just below the lowest point.

    The bar of a bin is the Clopper-Pearson interval of its mean outcome, which is exact
    for right and wrong answers. For partial credit, the sum of outcomes is rounded down
    for the lower end and up for the upper one; bars are then too long, because partial
    credit varies less than right and wrong answers of the same mean. A bin whose weight
    is not its number of rows has no bar: a table does not say how unequal the weights
    are.

    Args:
      tables: from names, such as "before", to a `ReliabilityTable` each
        of shape `[num_bins]`, with confidence and outcome in `[0, 1]`.
      densities: optional, from names in `tables` to a `ReliabilityTable` of the same
        scores in bins of equal width over `[0, 1]`, such as 25. The share of inputs in
        each is drawn in a panel below, on the same axis of confidence.
      error_bars: whether to draw a bar for each bin.
      confidence_level: of each bar, in `(0, 1)`.
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `tables` is empty or a table is not of rank 1, for a name in
        `densities` that is not in `tables`, or a level out of range.

    References:
      Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
      Case of the Binomial", 1934 (bars).

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
    densities = {} if densities is None else densities
    panels.check_known("densities", densities, tables, "tables")
    if not 0 < confidence_level < 1:
        raise ValueError(
            "confidence_level: expected a number in (0, 1), such as 0.95, got "
            f"{confidence_level}."
        )
    read = {name: _Points.of(name, table) for name, table in tables.items()}
    shares = {name: _shares(name, table) for name, table in densities.items()}
    level = confidence_level if error_bars else None
    height = 1.35 if densities else 1.05
    with panels.panel(axes, height=height, dark=dark) as drawn:
        series = zip(read.items(), styles.looks(drawn), strict=False)
        looks = {name: look for (name, _), look in series}
        lowest = [1.0, *(_draw(drawn, *x, looks[x[0]], level) for x in read.items())]
        lowest += [_first_edge(share) for share in shares.values()]
        start = max(0.0, np.floor(10 * min(lowest) - 0.1) / 10)
        margin = 0.02 * (1 - start)
        drawn.plot([start, 1], [start, 1], color=styles.ink(), linewidth=0.8, zorder=1)
        drawn.set_xlim(start - margin, 1 + margin)
        drawn.set_ylim(start - margin, 1 + margin)
        drawn.set_aspect("equal")
        drawn.set_xlabel("Mean confidence")
        drawn.set_ylabel("Accuracy (mean outcome)")
        if shares:
            _draw_shares(drawn, shares, looks)
        return panels.finish(drawn, title)


class _Points(NamedTuple):
    """The bins of a table that hold rows."""

    rows: np.ndarray
    weight: np.ndarray
    confidence: np.ndarray
    outcome: np.ndarray

    @classmethod
    def of(cls, name: str, table: ReliabilityTable) -> "_Points":
        read = panels.read(
            f"tables[{name!r}]",
            table.count,
            table.weight,
            table.confidence,
            table.outcome,
        )
        return cls(*(array[read[1] > 0] for array in read))

    def error(self) -> float:
        if not self.weight.size:
            return np.nan
        gap = np.abs(self.confidence - self.outcome)
        return float(np.sum(self.weight * gap) / np.sum(self.weight))

    def bars(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Confidence, lower and upper end of the bars."""
        usable = (self.weight == self.rows) & np.isfinite(self.outcome)
        count, outcome = self.rows[usable], np.clip(self.outcome[usable], 0, 1)
        total = count * outcome
        # A mean in float32 misses a whole sum by a little.
        whole = np.abs(total - np.round(total)) <= 1e-6 * count
        least, most = (
            np.where(whole, np.round(total), towards(total)).astype(np.int64)
            for towards in (np.floor, np.ceil)
        )
        # Each end is wrong half as often as both together.
        each = 1 - (1 - level) / 2
        lower, _ = stats.clopper_pearson(least, count.astype(np.int64), each)
        _, upper = stats.clopper_pearson(most, count.astype(np.int64), each)
        return self.confidence[usable], lower, upper


def _draw(
    axes: Axes, name: str, points: _Points, look: Look, level: float | None
) -> float:
    """Draws one table, and returns its lowest point."""
    confidence, outcome = points.confidence, points.outcome
    axes.plot(
        confidence, outcome, color=look.colour, linestyle=look.line, linewidth=1.0
    )
    # The fullest bin of a table gets the largest marker, 20 square points.
    weight = points.weight
    axes.scatter(
        confidence,
        outcome,
        s=20.0 * weight / weight.max() if weight.size else weight,
        marker=look.marker,
        facecolor=look.fill,
        edgecolor=look.colour,
        linewidth=0.8,
        zorder=3,
    )
    lowest = [*confidence, *outcome]
    if level is not None:
        bars = points.bars(level)
        axes.vlines(*bars, color=look.colour, linewidth=0.8, zorder=2)
        lowest.extend(bars[1])
    # An empty line, so that the legend shows line and marker together.
    axes.plot(
        [],
        [],
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markerfacecolor=look.fill,
        label=panels.label(name, f"ECE {points.error():.3f}"),
    )
    return float(np.nanmin([1.0, *lowest]))


def _shares(name: str, table: ReliabilityTable) -> np.ndarray:
    """Share of the weight in each bin, in %."""
    (weight,) = panels.read(f"densities[{name!r}]", table.weight)
    return 100 * weight / max(np.sum(weight), np.finfo(float).tiny)


def _first_edge(shares: np.ndarray) -> float:
    """Lower edge of the first bin that holds rows, among bins of equal width."""
    return float(np.argmax(shares > 0) / shares.size) if shares.any() else 1.0


def _draw_shares(
    axes: Axes, shares: Mapping[str, np.ndarray], looks: Mapping[str, Look]
) -> None:
    below = axes.inset_axes((0.0, -0.28, 1.0, 0.22), sharex=axes)
    for name, share in shares.items():
        edges = np.linspace(0, 1, share.size + 1)
        colour, line = looks[name].colour, looks[name].line
        below.stairs(share, edges, fill=True, color=colour, alpha=0.15)
        below.stairs(share, edges, color=colour, linestyle=line, linewidth=1.0)
    below.set_ylim(bottom=0)
    below.set_ylabel("Inputs (%)")
    below.set_xlabel("Confidence")
    axes.set_xlabel("")
    axes.tick_params(labelbottom=False)
