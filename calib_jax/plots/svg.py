"""Figures as SVG elements for HTML pages, in colours that the page decides.

Everything is inline: text stays text, no ids but those that are used, no fonts, no
scripts, and neither date nor address, so the same figure gives the same element.
"""

import functools
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from . import panels, styles

_POINTS_PER_INCH = 72
_NUMBER = re.compile(r"-?\d+\.\d+")
_ADDRESS = re.compile(r"url\(#([^)]+)\)")


@functools.cache
def palette() -> Mapping[str, tuple[str, str]]:
    """Names of the figures' colours, each in a light and in a dark page, such as
    `"ink": ("#1a1a1a", "#e8eaed")`."""
    light, dark = (dict(_colours(dark=dark)) for dark in (False, True))
    return {name: (light[name], dark[name]) for name in light}


def element(figure: Figure, *, text: str, prefix: str) -> str:
    """A figure as an `<svg>` element of HTML.

    Args:
      figure: drawn in the light style.
      text: what it shows, for those who do not see it.
      prefix: of all ids, different for each figure of a page.

    Returns:
      HTML whose colours are `var(--NAME)` with the names of `palette`. The ring at K
      and its name in the legend have the classes `mark-at-k` and `mark-at-k-name`.
    """
    drawn = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Releases of matplotlib differ in the type of the keys.
    keep_text: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "calib_jax"}
    with matplotlib.rc_context(keep_text):
        # Pages have margins of their own.
        margins: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.02}
        figure.savefig(drawn, format="svg", metadata=nothing, **margins)
    root = ET.fromstring(drawn.getvalue())
    _clean(root, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", text)
    return ET.tostring(root, encoding="unicode")


def moves(figure: Figure, x: np.ndarray, y: np.ndarray, start: int) -> np.ndarray:
    """The way from one point to others, in the coordinates of `element`.

    Args:
      figure: that `element` has drawn; its first axes are looked at.
      x: `[P]`, in units of the axis.
      y: `[P]`.
      start: the number of the point where the ways begin.

    Returns:
      `[P, 2]`, right and down.
    """
    pixels = figure.axes[0].transData.transform(np.column_stack([x, y]))
    points = (pixels - pixels[start]) * (_POINTS_PER_INCH / figure.dpi)
    return np.round(points * [1, -1], 2) + 0.0


def _colours(*, dark: bool) -> Iterator[tuple[str, str]]:
    with styles.style(dark=dark):
        chosen = matplotlib.rcParams
        yield "ink", to_hex(chosen["text.color"])
        yield "ground", to_hex(chosen["figure.facecolor"])
        yield "faint", to_hex(chosen["grid.color"])
        for number, one in enumerate(chosen["axes.prop_cycle"].by_key()["color"], 1):
            yield f"series-{number}", to_hex(one)


def _clean(root: ET.Element, prefix: str) -> None:
    """Makes elements of a file those of a page."""
    for parent in root.iter():
        for child in list(parent):
            name = child.tag.rpartition("}")[2]
            # A style in a figure is one of the whole page.
            if name in ("metadata", "style"):
                parent.remove(child)
            elif name in ("defs", "g") and not len(child):
                parent.remove(child)
    used = set()
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
        one.text = (one.text or "").strip() or None
        one.tail = None
        for name, value in list(one.attrib.items()):
            del one.attrib[name]
            name = name.rpartition("}")[2]
            if name == "href":
                used.add(value[1:])
                value = f"#{prefix}-{value[1:]}"
            elif name == "style":
                value = _styled(value)
            elif name in ("d", "x", "y") or value.startswith("rotate"):
                value = _NUMBER.sub(_rounded, " ".join(value.split()))
            used.update(_ADDRESS.findall(value))
            one.set(name, _ADDRESS.sub(rf"url(#{prefix}-\1)", value))
    for one in root.iter():
        name = one.attrib.pop("id", "")
        if name in used:
            one.set("id", f"{prefix}-{name}")
        elif name.startswith(panels.MARK):
            # What a script moves; a page may have several figures, and ids but once.
            one.set("class", name)


def _styled(value: str) -> str:
    """A style in the page's colours and font."""
    names = {light: name for name, (light, _) in palette().items()}
    kept = []
    for declaration in value.split(";"):
        name, _, worth = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            # Size and family in one; the family is the page's.
            size = re.search(r"[\d.]+px", worth)
            name, worth = "font-size", size.group() if size else ""
        if name == "font-family" or not worth:
            continue
        if worth.lower() in names:
            worth = f"var(--{names[worth.lower()]})"
        kept.append(f"{name}:{worth}")
    return ";".join(kept)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")
