"""Figures of a report as SVG, whose colours follow the page's.

No text from files is drawn: names of series are fixed.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from .. import plots
from ..plots import svg
from .calibration import CalibrationReport
from .cascade import CascadeReport
from .cleaning import CleaningReport
from .models import Model
from .records import Report

# Models of a cleaning whose diagrams are drawn.
_MOST_MODELS = 6


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure of a page.

    Attributes:
      element: an SVG element.
      moves: for each K, how far right and down the mark moves from the chosen one, in
        the element's coordinates; empty without a mark.
    """

    element: Markup
    moves: tuple[tuple[float, float], ...] = ()


def of(report: Report, prefix: str) -> Mapping[str, Drawing]:
    """The figures of a report by name; `prefix` starts all ids in them."""
    level = report.confidence_level
    if isinstance(report, CalibrationReport):
        models = {"model": report.model}
    elif isinstance(report, CascadeReport):
        models = {"small": report.small, "large": report.large}
    elif isinstance(report, CleaningReport):
        shown = report.models[:_MOST_MODELS]
        models = {f"model-{number}": model for number, model in enumerate(shown, 1)}
    else:
        models = {}
    found = {
        name: _reliability(model, level, f"{prefix}{name}")
        for name, model in models.items()
    }
    if isinstance(report, CascadeReport):
        found["curve"] = _curve(report, f"{prefix}curve")
        found["advantage"] = _advantage(report, f"{prefix}advantage")
    return found


def _reliability(model: Model, level: float, prefix: str) -> Drawing:
    judged = {"before": model.before, "after": model.after}
    known = {name: one for name, one in judged.items() if one is not None}
    figure = plots.reliability_diagram(
        {name: one.table for name, one in known.items()},
        densities={name: one.density for name, one in known.items()},
        confidence_level=level,
    )
    said = " and ".join(
        f"{name} calibration, with an ECE of {one.error.estimate:.4f}"
        for name, one in known.items()
    )
    text = (
        f"Reliability diagram: accuracy against mean confidence in bins, {said}. "
        "The table of bins has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))


def _curve(report: CascadeReport, prefix: str) -> Drawing:
    small, large = report.small_cost, report.large_cost
    figure = plots.cascade_curves(
        {"cascade": report.curve},
        intervals={"cascade": report.interval},
        num_small_bins=report.num_small_bins,
        costs=(small, large) if small is not None and large else None,
    )
    text = (
        "Accuracy of the cascade against the share of inputs that the small model "
        f"answers, for each K from 0 to {len(report.points) - 1}; the ring is at "
        f"K = {report.num_small_bins}. The table of K has the numbers."
    )
    element = Markup(svg.element(figure, text=text, prefix=prefix))
    moves = svg.moves(
        figure,
        100 * np.asarray(report.curve.small_share, np.float64),
        100 * np.asarray(report.curve.accuracy, np.float64),
        report.num_small_bins,
    )
    return Drawing(element, tuple((right, down) for right, down in moves.tolist()))


def _advantage(report: CascadeReport, prefix: str) -> Drawing:
    figure = plots.advantage_bars(
        report.router.table,
        router=report.router,
        num_small_bins=report.num_small_bins,
    )
    text = (
        "Advantage of the large model in mean confidence, in bins of the small model's "
        f"confidence; {report.num_small_bins} bins are kept small. The table has the "
        "numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))
