"""Curves of cascades. Shapes: `num_bins` bins."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cascade
from ..cascade.curves import CascadeCurve
from . import panels, styles


def cascade_curves(
    curves: Mapping[str, CascadeCurve],
    *,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Accuracy of a cascade against the share that its small model answers (Figure 2).

    Each router has a curve, with a marker for each number of bins kept small.
    Horizontal lines show the small and the large model alone. The legend gives the APGR
    of each curve, which is 0.5 for routing at random.

    Args:
      curves: from names, such as "calibrated (CC)", to a `CascadeCurve` each
        of `[num_bins + 1]` points on the same examples, with shares and accuracies in
        `[0, 1]`, drawn in %.
      title: optional text above the legend, which is above the panel.
      axes: optional axes to draw into, in the caller's style; by default a new
        figure's, in the style of `style`.
      dark: whether a new figure is light on dark.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: if `curves` is empty, a curve is not of rank 1, or the curves have
        different small or large accuracies, which one pair of lines cannot show.

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
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        _draw(drawn, curves)
        return panels.finish(drawn, title)


def _draw(axes: Axes, curves: Mapping[str, CascadeCurve]) -> None:
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
        share, accuracy = panels.read(
            f"curves[{name!r}]", curve.small_share, curve.accuracy
        )
        apgr = float(cascade.average_performance_gap_recovered(curve))
        axes.plot(
            100 * share,
            100 * accuracy,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markerfacecolor=look.fill,
            label=f"{name}, APGR {apgr:.3f}",
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
