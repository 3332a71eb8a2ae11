"""A report as one HTML page without any file or address beside it.

Templates are in `templates`: `base.html.jinja` is the page, and each command has one of
its own that fills it. Text from files is escaped by the template engine.
"""

import functools
import math
from typing import Any

import jinja2

from . import figures
from .records import Report


def page(report: Report) -> str:
    """The page of a report: HTML with its style, figures and script inside."""
    return _render(report, "page.html.jinja")


def fragment(report: Report) -> str:
    """The same for a notebook: an element with a style of its own."""
    return _render(report, "fragment.html.jinja")


def _render(report: Report, name: str) -> str:
    template = _environment().get_template(name)
    return template.render(
        report=report,
        body=f"{report.command}.html.jinja",
        figures=figures.of(report),
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("calib_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": number}
    return environment


def percent(share: Any, digits: int = 1) -> str:
    """A share as a percentage, a dash for NaN and None."""
    if share is None or math.isnan(float(share)):
        return "–"
    return f"{100 * float(share):.{digits}f} %"


def number(value: Any, digits: int = 4) -> str:
    """A number with a fixed number of decimals, a dash for NaN and None."""
    if value is None or math.isnan(float(value)):
        return "–"
    return f"{float(value):.{digits}f}"
