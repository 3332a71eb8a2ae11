"""Curves of cascades. Shapes: `num_bins` bins."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cascade
from .._core import checks
from ..cascade.curves import CascadeCurve
from ..cascade.intervals import CascadeInterval
from . import panels, styles

# Points between the panel and what stands above an axis of costs.
_AXIS_OF_COSTS = 28.0


def cascade_curves(
    curves: Mapping[str, CascadeCurve],
    *,
    intervals: Mapping[str, CascadeInterval] | None = None,
    num_small_bins: int | None = None,
    costs: tuple[float, float] | None = None,
    cost_unit: str | None = None,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Accuracy of a cascade against the share that its small model answers (Figure 2).

    Each router has a curve, with a marker for each number of bins kept small.
    Horizontal lines show the small and the large model alone. The legend gives the APGR
    of each curve, which is 0.5 for routing at random.

    In an SVG file the ring at K is the group with the id "mark-at-k", and its text in
    the legend is "mark-at-k-name", so that a script can move it. After
    `figure.draw_without_rendering()`, `figure.axes[0].transData` gives the place of any
    point in pixels.

    Args:
      curves: from names, such as "calibrated (CC)", to a `CascadeCurve` each
        of `[num_bins + 1]` points on the same examples, with shares and accuracies in
        `[0, 1]`, drawn in %.
      intervals: optional, from names in `curves` to the `CascadeInterval` of the same
        router and rows; the interval of the accuracy for each K is shaded.
      num_small_bins: optional K, 0 to num_bins, the point of the last curve that gets a
        ring.
      costs: optional `(small_cost, large_cost)` of asking each model for an input, at
        least 0, the large one more. Adds an axis above: mean cost of an input, where
        the small model is always asked.
      cost_unit: optional unit of the costs, such as "US dollars".
      title: optional text above the legend, which is above the panel.
      axes: optional axes to draw into, in the caller's style; by default a new
        figure's, in the style of `style`.
      dark: whether a new figure is light on dark.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `curves` is empty, a curve is not of rank 1, the curves have
        different small or large accuracies, which one pair of lines cannot show, an
        interval is not of its curve, K is out of range, or costs are.

    Examples:
      >>> import calib_jax as cj
      >>> small, large = [0.3, 0.9, 0.5, 0.8], [0.8, 0.9, 0.9, 0.9]
      >>> router = cj.fit_router(small, large, num_bins=2)
      >>> curve = cj.cascade_curve(router, small, [0, 1, 0, 1], [1, 1, 0, 1])
      >>> figure = cascade_curves({"random": cj.random_curve(curve), "CC": curve})
      >>> print([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
      ['random, APGR 0.500', 'CC, APGR 0.750']
    """
    panels.check_names("curves", curves)
    intervals = {} if intervals is None else intervals
    panels.check_known("intervals", intervals, curves, "curves")
    points = {
        name: panels.read(f"curves[{name!r}]", curve.small_share, curve.accuracy)
        for name, curve in curves.items()
    }
    bands = {
        name: _band(name, interval, points[name][1])
        for name, interval in intervals.items()
    }
    share, accuracy = list(points.values())[-1]
    if num_small_bins is not None:
        num_small_bins = checks.static_int("num_small_bins", num_small_bins, minimum=0)
        if num_small_bins >= share.size:
            raise ValueError(
                f"num_small_bins: expected at most {share.size - 1}, got "
                f"{num_small_bins}."
            )
    if costs is not None:
        _check_costs(costs)
    with panels.panel(axes, height=0.9 if costs is None else 1.08, dark=dark) as drawn:
        _draw(drawn, curves, points, bands)
        if num_small_bins is not None:
            place = 100 * share[num_small_bins], 100 * accuracy[num_small_bins]
            panels.ring(drawn, *place, f"K = {num_small_bins}")
        if costs is not None:
            _add_costs(drawn, float(costs[0]), float(costs[1]), cost_unit)
        above = 0.0 if costs is None else _AXIS_OF_COSTS
        return panels.finish(drawn, title, above=above)


def _band(
    name: str, interval: CascadeInterval, curve: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the accuracy, if the interval is of the curve."""
    accuracy, place = interval.accuracy, f"intervals[{name!r}]"
    estimate, lower, upper = panels.read(
        place, accuracy.estimate, accuracy.lower, accuracy.upper
    )
    if estimate.shape != curve.shape or not np.allclose(
        estimate, curve, atol=1e-5, equal_nan=True
    ):
        raise ValueError(
            f"{place}: expected the accuracies of curves[{name!r}], got others; "
            "compute both from the same router and rows."
        )
    return lower, upper


def _check_costs(costs: tuple[float, float]) -> None:
    small, large = costs
    if not (0 <= small < np.inf and 0 < large < np.inf):
        raise ValueError(
            "costs: expected (small_cost, large_cost), finite, at least 0 and above 0, "
            f"got {tuple(costs)}."
        )


def _add_costs(axes: Axes, small: float, large: float, unit: str | None) -> None:
    """An axis above, on which costs fall from left to right."""

    def cost(share: Any) -> Any:
        return small + (1 - share / 100) * large

    def share(cost: Any) -> Any:
        return 100 * (1 - (cost - small) / large)

    above = axes.secondary_xaxis("top", functions=(cost, share))
    above.set_xlabel(panels.cost_label(unit), parse_math=False)
    axes.spines["top"].set_visible(False)


def _draw(
    axes: Axes,
    curves: Mapping[str, CascadeCurve],
    points: Mapping[str, list[np.ndarray]],
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    pairs = {
        name: (float(curve.small_accuracy), float(curve.large_accuracy))
        for name, curve in curves.items()
    }
    small, large = next(iter(pairs.values()))
    for name, pair in pairs.items():
        if not np.allclose(pair, (small, large), atol=1e-6, equal_nan=True):
            raise ValueError(
                "curves: expected the same two models and examples, got accuracies "
                f"{(small, large)} in {next(iter(pairs))!r} and {pair} in {name!r}."
            )
    for (name, curve), look in zip(curves.items(), styles.looks(axes), strict=False):
        share, accuracy = points[name]
        apgr = float(cascade.average_performance_gap_recovered(curve))
        axes.plot(
            100 * share,
            100 * accuracy,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markerfacecolor=look.fill,
            label=panels.label(name, f"APGR {apgr:.3f}"),
        )
        if name in bands:
            lower, upper = (100 * end for end in bands[name])
            axes.fill_between(
                100 * share, lower, upper, color=look.colour, alpha=0.18, linewidth=0
            )
    axes.margins(y=0.1)
    axes.set_xlim(-2, 102)
    bottom, top = axes.get_ylim()
    for label, alone, other in (("small", small, large), ("large", large, small)):
        # The names of two close lines are moved apart.
        close = abs(100 * (alone - other)) < 0.15 * (top - bottom)
        anchor = ("bottom" if alone > other else "top") if close else "center"
        panels.reference_line(axes, label, 100 * alone, anchor)
    axes.set_xlabel("Inputs answered by the small model (%)")
    axes.set_ylabel("Accuracy (%)")
