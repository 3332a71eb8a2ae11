"""A report as one HTML page without any file or address beside it.

Templates are in `templates`: `page.html.jinja` is the page, `fragment.html.jinja` an
element for notebooks, `body.html.jinja` what both hold, and each command has one of its
own that fills it. Text from files is escaped by the template engine, and characters
that are not seen, or that turn others around, are shown by their numbers.
"""

import base64
import dataclasses
import functools
import hashlib
import itertools
import math
import os
import re
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from ..calibration.histogram import Histogram
from ..calibration.isotonic import Isotonic
from ..calibration.vector import Vector
from ..plots import svg
from . import phrases

# A text from a file, and any text.
_LONGEST_NAME, _LONGEST_TEXT = 120, 1000
# Of the sentences of each command, those that come first and are set apart.
_MAIN = {
    "calibrate": re.compile(r"^(Before, |After, |A perfectly |The ECE is not smaller)"),
    "cascade": re.compile(
        r"^(With confidence |No K can promise |The (smallest|largest) \w+ these rows |"
        r"K (is|was) )|The cascade (saves|costs) "
    ),
    "clean": re.compile(
        r" suspect, of | are expected to be wrong, |^(How many of|Check )"
    ),
    "compare": re.compile(
        r" ordered pairs of models, |^(The ECE after|Calibration changes the ECE )"
    ),
    "check": re.compile(r"^(The promise \(|The record makes no promise)"),
}
_WORDS = {
    "ECE": "ECE, the expected calibration error, is the mean difference between "
    "confidence and accuracy over bins of rows; 0 is perfect.",
    "APGR": "APGR, the average performance gap recovered, is the share of the gap in "
    "accuracy between the two models that routing recovers, averaged over all shares "
    "of calls to the large one.",
}
# A number and what it counts, which stay on one line.
_TOGETHER = re.compile(
    r"(?<=\d) (?=points?\b|bins?\b|rows?\b)|(?<=\b[Kp]) (?=<?= )|(?<=\b[Kp] =) "
)
# Suspects in the page; the file has them all.
_MOST_SUSPECTS = 200
# Numbers of a parameter that are shown.
_MOST_NUMBERS = 4
# The joiners of emoji and of several scripts.
_JOINERS = "\u200c\u200d"

# What a page says of itself in its first bytes.
_GENERATOR, _HEAD = re.compile(rb'name="generator" content="calib-jax (\w+)"'), 4096

_fragments = itertools.count(1)


def page(report: Any, folder: Path | None = None) -> str:
    """The page of a report: HTML with its style, figures and script inside.

    Args:
      report: any report.
      folder: where its files are, for the commands on what to do next.

    Returns:
      The text of the page.
    """
    script = _source("slider.js") if report.has_slider else None
    return _render(report, "page.html.jinja", script=script, folder=folder)


def made_by(path: Path) -> str | None:
    """The command that a page is of, or None if it is not a page of a report."""
    with path.open("rb") as file:
        start = file.read(_HEAD)
    found = _GENERATOR.search(start)
    return None if found is None else found[1].decode()


def fragment(report: Any) -> str:
    """The same for a notebook: an element with a style of its own, and no script."""
    # Several may be in one document, also after the process was started again.
    prefix = f"calib-jax-{os.getpid()}-{next(_fragments)}-"
    return _render(report, "fragment.html.jinja", prefix=prefix)


def _render(
    report: Any,
    name: str,
    *,
    prefix: str = "",
    script: str | None = None,
    folder: Path | None = None,
) -> str:
    """An HTML text; `prefix` starts all ids."""
    digest = hashlib.sha256((script or "").encode()).digest()
    return (
        _environment()
        .get_template(name)
        .render(
            report=report,
            content=f"{report.command}.html.jinja",
            prefix=prefix,
            next_steps=report.next_steps(folder),
            most_suspects=_MOST_SUSPECTS,
            figures=report.figures(prefix),
            colours=svg.palette(),
            script=None if script is None else Markup(script),
            script_hash=base64.b64encode(digest).decode(),
        )
    )


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("calib_jax.report"),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": phrases.percent,
        "hundred": phrases.hundred,
        "level": phrases.level,
        "at_most": phrases.at_most,
        "points": phrases.signed_points,
        "number": phrases.number,
        "cost": cost,
        "name": name,
        "said": said,
        "told": told,
        "unbroken": unbroken,
        "words": words,
        "parameters": parameters,
    }
    return environment


def _finalize(value: Any) -> Any:
    """What every expression of a template goes through before it is escaped."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return visible(_shortened(value, _LONGEST_TEXT))


def visible(text: str) -> str:
    """A text whose unseen characters are shown by their numbers, such as U+202E."""
    return "".join(
        f"\N{MATHEMATICAL LEFT ANGLE BRACKET}U+{ord(one):04X}"
        "\N{MATHEMATICAL RIGHT ANGLE BRACKET}"
        if _is_unseen(one)
        else one
        for one in text
    )


def _is_unseen(one: str) -> bool:
    if one in _JOINERS:
        return False
    # Control and format characters, halves of pairs, separators of lines; not spaces.
    return unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\N{HORIZONTAL ELLIPSIS} ({len(text):,} characters)"


def name(text: str) -> Markup:
    """A text from a file: shortened, and kept from turning the text around it."""
    shown = visible(_shortened(str(text), _LONGEST_NAME))
    return Markup('<bdi class="name">{}</bdi>').format(shown)


def said(text: str) -> Markup:
    """The same for a sentence, which may be longer."""
    shown = visible(_shortened(str(text), _LONGEST_TEXT))
    return Markup('<bdi class="name">{}</bdi>').format(shown)


class Told(NamedTuple):
    """The sentences of a report as its page has them."""

    main: list[str]
    more: list[str]
    words: list[str]


def told(report: Any) -> Told:
    """The sentences that matter most, the others, and what abbreviations mean."""
    sentences = report.sentences()
    is_main = _MAIN[report.command].search
    main = [one for one in sentences if is_main(one)] or list(sentences[:1])
    return Told(
        main=main,
        more=[one for one in sentences if one not in main],
        words=[
            meaning
            for word, meaning in _WORDS.items()
            if any(re.search(rf"\b{word}\b", one) for one in sentences)
        ],
    )


def unbroken(text: str) -> str:
    """A sentence in which no line ends between a number and what it counts."""
    return _TOGETHER.sub("\N{NO-BREAK SPACE}", text)


def words(text: str) -> str:
    """The name of a constant as words."""
    return text.lower().replace("_", " ")


def parameters(params: Any) -> str:
    """Parameters of a calibrator on one line."""
    if isinstance(params, Histogram):
        return f"{params.bins.num_bins} bins"
    if isinstance(params, Isotonic):
        return f"{np.isfinite(params.scores).sum()} knots"
    if isinstance(params, Vector) and params.scale.size > _MOST_NUMBERS:
        return f"a scale and a bias for each of {params.scale.size} options"
    said = []
    for field in dataclasses.fields(params):
        value = np.asarray(getattr(params, field.name))
        shown = [f"{one:.4g}" for one in value.ravel()[:_MOST_NUMBERS].tolist()]
        what = words(field.name)
        if value.size <= len(shown):
            said.append(" ".join([what, *shown]))
        elif value.ndim == 1:
            said.append(f"a {what} for each of {value.size} options")
        else:
            said.append(f"a {what} of {' by '.join(map(str, value.shape))}")
    return ", ".join(said)


def cost(value: Any, most: float | None = None) -> str:
    """A cost, with as many decimals as give the largest four digits."""
    if not phrases.is_known(value):
        return "–"
    largest = abs(float(value if most is None else most))
    before = math.floor(math.log10(largest)) + 1 if 0 < largest < math.inf else 1
    return f"{float(value):,.{min(max(4 - before, 0), 12)}f}"
