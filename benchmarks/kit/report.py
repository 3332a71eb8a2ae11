"""Numbers as Markdown, figures as files.

A `Section` is what a part of the evaluation has to say; `write` turns all of them into
RESULTS.md, results.json and a folder of figures.
"""

import dataclasses
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from calib_jax import plots

Draw = Callable[[bool], Figure]

# Of the palette of a figure: enough for its shades between a few colours.
_NUM_COLOURS = 128

# Every figure is drawn in dark colours or not, under a name that ends so.
THEMES = {False: ".png", True: "-dark.png"}
DOTS_PER_INCH = 200


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what these outputs say of it.

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
      blocks: Markdown paragraphs, tables and `figure` references, in order.
      figures: name to a function that draws it, light or dark.
      claims: which claims of the paper it tests.
      numbers: what the tables were made of, as a tree of dataclasses, mappings,
        sequences and arrays.
    """

    title: str
    blocks: Sequence[str]
    figures: Mapping[str, Draw] = dataclasses.field(default_factory=dict)
    claims: Sequence[Claim] = ()
    numbers: Any = None


def verdict(number: int, of: int) -> str:
    """How a claim fares that holds in `number` of `of` cases."""
    if number == of:
        return "holds"
    return "holds in part" if 2 * number > of else "does not hold"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
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
    """A figure of the same folder, in the reader's choice of light or dark."""
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
    """A share as a percentage, without the sign of it."""
    return number(value, digits, 100.0)


def spread(values: ArrayLike, digits: int = 3, scale: float = 1.0) -> str:
    """Mean and standard deviation over the splits, which are the first axis."""
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).any():
        return "-"
    mean, deviation = np.nanmean(values), np.nanstd(values)
    return f"{number(mean, digits, scale)} ± {number(deviation, digits, scale)}"


def interval(low: ArrayLike, high: ArrayLike, digits: int = 3, scale: float = 1.0):
    """An interval, as `[low, high]`."""
    return f"[{number(low, digits, scale)}, {number(high, digits, scale)}]"


def write(
    folder: Path,
    preface: Sequence[str],
    sections: Sequence[Section],
    advance: Callable[[], None] = lambda: None,
    *,
    vector: bool = False,
) -> None:
    """Writes RESULTS.md, results.json and the figures.

    Args:
      folder: made where it is missing.
      preface: Markdown blocks before the claims.
      sections: in order.
      advance: called after each figure.
      vector: also write every figure as a PDF.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    claims = [claim for section in sections for claim in section.claims]
    blocks = list(preface)
    if claims:
        blocks += ["## The paper's claims", _claims(claims)]
    for count, section in enumerate(sections, 1):
        blocks += [f"## {count}. {section.title}", *section.blocks]
    (folder / "RESULTS.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    numbers = {section.title: as_plain(section.numbers) for section in sections}
    # One section a line: short, and still to be compared line by line.
    lines = [f"{json.dumps(key)}: {_json(value)}" for key, value in numbers.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (folder / "results.json").write_text(text, encoding="utf-8")
    for section in sections:
        for name, draw in section.figures.items():
            _save(figures / name, draw, vector)
            advance()


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _claims(claims: Sequence[Claim]) -> str:
    lines = ["| claim | here | evidence |", "|---|---|---|"]
    lines += [f"| {c.text} | **{c.verdict}** | {c.evidence} |" for c in claims]
    return "\n".join(lines)


def _save(path: Path, draw: Draw, vector: bool) -> None:
    for dark, ending in THEMES.items():
        # Resolution and fonts are looked up while a figure is written.
        with plots.style(dark=dark):
            drawn, pixels = draw(dark), io.BytesIO()
            drawn.savefig(pixels, dpi=DOTS_PER_INCH)
            if vector and not dark:
                drawn.savefig(path.with_name(f"{path.name}.pdf"))
        # A palette makes a third of the size, and leaves no trace of versions.
        with Image.open(pixels) as image:
            image = image.convert("RGB").quantize(_NUM_COLOURS)
            image.save(path.with_name(path.name + ending), optimize=True)


def as_plain(tree: Any) -> Any:
    """Dataclasses, mappings, sequences and arrays as JSON has them; NaN as None."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = dataclasses.fields(tree)
        return {field.name: as_plain(getattr(tree, field.name)) for field in fields}
    if isinstance(tree, Mapping):
        return {str(key): as_plain(value) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return [as_plain(value) for value in tree]
    if tree is None or isinstance(tree, str | bool | int):
        return tree
    array = np.asarray(tree)
    if array.ndim:
        return [as_plain(value) for value in array]
    if array.dtype.kind in "biu":
        return array.item()
    # Six digits are more than float32 tables hold, and keep the file readable.
    return float(f"{array:.6g}") if np.isfinite(array) else None
