"""Figures of a report as SVG, whose colours follow the page's."""

import io
from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.figure import Figure

from .. import plots
from .calibration import CalibrationReport
from .records import Report


def of(report: Report) -> Mapping[str, Markup]:
    """The figures of a report, by name."""
    if isinstance(report, CalibrationReport):
        return {"reliability": _svg(_reliability(report))}
    return {}


def _reliability(report: CalibrationReport) -> Figure:
    judged = {"before": report.model.before, "after": report.model.after}
    tables = {name: one.table for name, one in judged.items() if one is not None}
    return plots.reliability_diagram(tables)


def _svg(figure: Figure) -> Markup:
    text = io.StringIO()
    figure.savefig(text, format="svg")
    drawing = text.getvalue()
    return Markup(drawing[drawing.index("<svg") :])
