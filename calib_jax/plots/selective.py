"""Curves of selective prediction. Shapes: N rows of a curve."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import metrics
from ..metrics.selective import RiskCoverageCurve
from . import panels, styles

# A longer curve is thinned: the eye sees no difference, and the file stays small.
_MAX_DRAWN_ROWS = 1000


def risk_coverage(
    curves: RiskCoverageCurve | Mapping[str, RiskCoverageCurve],
    *,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Risk against coverage, the most confident answers first.

    The legend gives the AURC of each curve. A single curve is drawn with its ideal, all
    of its errors last, as a dotted curve, and with a line "random" at its risk at full
    coverage, which is that of answers given at random; other models have others.

    Args:
      curves: a `RiskCoverageCurve` of `[N]` points, or several of them by name, of
        outcomes that are 0 or 1; with others or with weights the ideal is that of 0
        and 1 with the same mean. Curves of more than 1,000 rows are thinned.
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: without a curve, or if one is not of rank 1.

    Examples:
      >>> import calib_jax as cj
      >>> scores, outcomes = [0.9, 0.4, 0.6, 0.3], [1, 1, 0, 0]
      >>> curve = cj.metrics.risk_coverage_curve(scores, outcomes)
      >>> figure = risk_coverage({"raw": curve})
      >>> print(figure.axes[0].get_xlabel())
      Coverage: examples answered (%)
    """
    named = {"scores": curves} if isinstance(curves, RiskCoverageCurve) else curves
    panels.check_names("curves", named)
    points = {
        name: panels.read(f"curves[{name!r}]", curve.coverage, curve.risk)
        for name, curve in named.items()
    }
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        _draw(drawn, named, points)
        return panels.finish(drawn, title)


def _draw(
    axes: Axes,
    curves: Mapping[str, RiskCoverageCurve],
    points: Mapping[str, list[np.ndarray]],
) -> None:
    for (name, curve), look in zip(curves.items(), styles.looks(axes), strict=False):
        coverage, risk = points[name]
        shown = _thinned(coverage)
        area = float(metrics.area_under_risk_coverage(curve))
        axes.plot(
            100 * coverage[shown],
            100 * risk[shown],
            color=look.colour,
            linestyle=look.line,
            label=panels.label(name, f"AURC {area:.3f}"),
        )
    _, risk = next(iter(points.values()))
    if len(points) == 1 and risk.size:
        _add_ideal(axes, float(risk[-1]))
        panels.reference_line(axes, "random", 100 * float(risk[-1]), "center")
    axes.set_xlim(0, 102)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Coverage: examples answered (%)")
    axes.set_ylabel("Risk (error rate, %)")


def _thinned(coverage: np.ndarray) -> np.ndarray:
    """Rows that are drawn: the first and last, and others at even coverages.

    Rows that do not count repeat the last point and are left out.
    """
    if not coverage.size or np.isnan(coverage[-1]):
        return np.arange(0)
    size = int(np.searchsorted(coverage, coverage[-1])) + 1
    shown = np.linspace(0, size - 1, min(size, _MAX_DRAWN_ROWS))
    return np.round(shown).astype(int)


def _add_ideal(axes: Axes, error: float) -> None:
    """The least risk at each coverage: right answers first, then the wrong ones."""
    coverage = np.linspace(1 - error, 1.0, 200)
    least = 1 - (1 - error) / np.maximum(coverage, 1e-9)
    axes.plot(
        np.r_[0.0, 100 * coverage],
        np.r_[0.0, 100 * np.maximum(least, 0.0)],
        color=styles.ink(),
        linewidth=0.8,
        linestyle=":",
        label="ideal",
        zorder=1,
    )
