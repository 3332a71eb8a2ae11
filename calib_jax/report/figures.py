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
      places: for each K, right and down in its coordinates; empty without a mark.
    """

    element: Markup
    places: tuple[tuple[float, float], ...] = ()


def of(report: Report, prefix: str) -> Mapping[str, Drawing]:
    """The figures of a report by name; `prefix` starts all ids in them."""
    if isinstance(report, CalibrationReport):
        return {"model": _reliability(report.model, f"{prefix}model")}
    if isinstance(report, CascadeReport):
        return {
            "curve": _curve(report, f"{prefix}curve"),
            "small": _reliability(report.small, f"{prefix}small"),
            "large": _reliability(report.large, f"{prefix}large"),
        }
    if isinstance(report, CleaningReport):
        return {
            f"model-{number}": _reliability(model, f"{prefix}model-{number}")
            for number, model in enumerate(report.models[:_MOST_MODELS], 1)
        }
    return {}


def _reliability(model: Model, prefix: str) -> Drawing:
    judged = {"before": model.before, "after": model.after}
    known = {name: one for name, one in judged.items() if one is not None}
    figure = plots.reliability_diagram({name: one.table for name, one in known.items()})
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
    figure = plots.cascade_curves({"cascade": report.curve})
    text = (
        "Accuracy of the cascade against the share of inputs that the small model "
        f"answers, for each K from 0 to {len(report.points) - 1}; the mark is at "
        f"K = {report.num_small_bins}. The table of K has the numbers."
    )
    element = svg.element(figure, text=text, prefix=prefix)
    places = svg.places(
        figure,
        100 * np.asarray(report.curve.small_share, np.float64),
        100 * np.asarray(report.curve.accuracy, np.float64),
    )
    right, down = places[report.num_small_bins]
    mark = (
        f'<g class="mark" transform="translate({right} {down})">'
        '<circle r="6" class="halo"></circle><circle r="5"></circle></g>'
    )
    return Drawing(Markup(element.replace("</svg>", f"{mark}</svg>")), tuple(places))
