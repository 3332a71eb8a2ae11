"""Text from templates, numbers and tables as Markdown, figures as files.

A template is the Markdown that it becomes, with holes: `{{ value | percent }}`. One
benchmark has one of its own, RESULTS.md.jinja, or one for each `Section`.
"""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from calib_jax import plots
from calib_jax.plots.styles import COLUMN_WIDTH as COLUMN_WIDTH

from .plain import as_plain

Row = TypeVar("Row")
Draw = Callable[[bool], Figure]

# Colours in the palette of a figure: a few, and the shades between them.
_NUM_COLOURS = 128

# Suffixes of the file names of light and dark figures.
THEMES = {False: ".png", True: "-dark.png"}
DOTS_PER_INCH = 200


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper, with a verdict by these outputs.

    Attributes:
      text: the claim.
      verdict: "holds", "holds in part" or "does not hold".
      evidence: the numbers.
    """

    text: str
    verdict: str
    evidence: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """One part of RESULTS.md.

    Attributes:
      title: heading.
      text: Markdown below it.
      figures: name to a function that draws it, light or dark.
      claims: the claims of the paper that it tests.
      numbers: those behind the tables, a tree of dataclasses, mappings, sequences and
        arrays.
    """

    title: str
    text: str
    figures: Mapping[str, Draw] = dataclasses.field(default_factory=dict)
    claims: Sequence[Claim] = ()
    numbers: Any = None


class Results(Protocol):
    """A dataclass of everything that a benchmark measured, as results.json holds it."""

    def text(self) -> str:
        """RESULTS.md."""
        ...

    def figures(self) -> Mapping[str, Draw]:
        """Name to a function that draws it, light or dark."""
        ...


def verdict(number: int, of: int) -> str:
    """The verdict on a claim that holds in `number` of `of` cases."""
    if number == of:
        return "holds"
    return "holds in part" if 2 * number > of else "does not hold"


def render(template: Path, **values: Any) -> str:
    """The Markdown of a template, to which values are given by name."""
    made = _environment(template.parent).get_template(template.name).render(values)
    return re.sub(r"\n{3,}", "\n\n", made).strip()


def section(
    template: Path, *, stored: Any, figures: Mapping[str, Draw], **values: Any
) -> Section:
    """A section whose template starts with its title; `stored` are its numbers.

    The template states claims by `{% call claim(text, number, of) %}evidence{% endcall
    %}`, for a claim that holds in `number` of `of` cases.
    """
    claims: list[Claim] = []

    def claim(text: str, number: int, of: int, caller: Callable[[], str]) -> str:
        evidence = " ".join(caller().split())
        claims.append(Claim(text, verdict(number, of), evidence))
        return ""

    title, _, text = render(template, claim=claim, **values).partition("\n")
    return Section(
        title=title.removeprefix("# "),
        text=text.strip(),
        figures=figures,
        claims=claims,
        numbers=stored,
    )


def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["figure"] = figure
    environment.filters |= {
        "number": number,
        "percent": percent,
        "spread": spread,
        "interval": interval,
        "thousands": thousands,
        "listed": listed,
    }
    return environment


def table(
    columns: Sequence[tuple[str, Callable[[Row], object]]], rows: Iterable[Row]
) -> str:
    """A Markdown table of any rows, from pairs of a header and a function of a row.

    The first column is text, the others are numbers.
    """
    return grid(
        [header for header, _ in columns],
        [[cell(row) for _, cell in columns] for row in rows],
    )


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table of given cells."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|---" + "|---:" * (len(header) - 1) + "|",
    ]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} cells, got {len(row)}: {row}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def figure(name: str, caption: str) -> str:
    """A figure in figures/, light or dark as the reader prefers."""
    return "\n".join(
        [
            "<picture>",
            f'  <source media="(prefers-color-scheme: dark)" '
            f'srcset="figures/{name}-dark.png">',
            f'  <img alt="{caption}" src="figures/{name}.png">',
            "</picture>",
            "",
            f"*{caption}*",
        ]
    )


def number(value: ArrayLike, digits: int = 3, scale: float = 1.0) -> str:
    """A number to print; "-" for NaN."""
    value = float(np.asarray(value)) * scale
    if not np.isfinite(value):
        return "-"
    # Minus zero is zero.
    return f"{round(value, digits) + 0.0:.{digits}f}"


def percent(value: ArrayLike, digits: int = 1) -> str:
    """A share as a percentage, without the percent sign."""
    return number(value, digits, 100.0)


def spread(values: ArrayLike, digits: int = 3, scale: float = 1.0) -> str:
    """Mean and standard deviation over all entries, such as one for each split."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).any():
        return "-"
    mean, deviation = np.nanmean(values), np.nanstd(values)
    return f"{number(mean, digits, scale)} ± {number(deviation, digits, scale)}"


def interval(ends: Sequence[float], digits: int = 3, scale: float = 1.0) -> str:
    """An interval, as `[low, high]`."""
    low, high = ends
    return f"[{number(low, digits, scale)}, {number(high, digits, scale)}]"


def thousands(value: float) -> str:
    """A count, with a comma after every thousand."""
    return f"{value:,.0f}"


def listed(names: Sequence[str]) -> str:
    """The names, separated by commas, with "and" before the last."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def write_sections(
    folder: Path,
    preface: str,
    sections: Sequence[Section],
    advance: Callable[[], None] = lambda: None,
    *,
    vector: bool = False,
) -> None:
    """`write` of numbered sections below a preface and all of their claims."""
    claims = [claim for section in sections for claim in section.claims]
    blocks = [preface]
    if claims:
        blocks += ["## The paper's claims", _claims(claims)]
    for count, one in enumerate(sections, 1):
        blocks += [heading(count, one.title), one.text]
    write(
        folder,
        "\n\n".join(blocks),
        {one.title: one.numbers for one in sections},
        {name: draw for one in sections for name, draw in one.figures.items()},
        advance,
        vector=vector,
    )


def heading(number: int, title: str) -> str:
    """The heading of a section."""
    return f"## {number}. {title}"


def write(
    folder: Path,
    text: str,
    numbers: Any,
    figures: Mapping[str, Draw],
    advance: Callable[[], None] = lambda: None,
    *,
    vector: bool = False,
) -> None:
    """Writes RESULTS.md, results.json and the figures.

    Args:
      folder: made where it is missing.
      text: Markdown.
      numbers: a dataclass or a mapping.
      figures: name to a function that draws it, light or dark.
      advance: called after each figure.
      vector: also write every figure as a PDF.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(text + "\n", encoding="utf-8")
    # One entry per line: short, and easy to compare line by line.
    entries = as_plain(numbers).items()
    lines = [f"{json.dumps(key)}: {_json(value)}" for key, value in entries]
    (folder / "results.json").write_text(
        "{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8"
    )
    for name, draw in figures.items():
        _save(folder / "figures" / name, draw, vector)
        advance()


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _claims(claims: Sequence[Claim]) -> str:
    lines = ["| claim | here | evidence |", "|---|---|---|"]
    lines += [f"| {c.text} | **{c.verdict}** | {c.evidence} |" for c in claims]
    return "\n".join(lines)


def _save(path: Path, draw: Draw, vector: bool) -> None:
    for dark, ending in THEMES.items():
        # Resolution and fonts are read when a figure is written.
        with plots.style(dark=dark):
            drawn, pixels = draw(dark), io.BytesIO()
            drawn.savefig(pixels, dpi=DOTS_PER_INCH)
            if vector and not dark:
                drawn.savefig(path.with_name(f"{path.name}.pdf"))
        # A palette takes a third of the space and does not depend on versions.
        with Image.open(pixels) as image:
            image = image.convert("RGB").quantize(_NUM_COLOURS)
            image.save(path.with_name(path.name + ending), optimize=True)
