"""Sections of RESULTS.md that are measured in a run of their own."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit.report import Section, heading, write

# New sections come before the first of these that there is.
_LAST = ("Growth", "Cold", "Compiled programs")


def put(folder: Path, sections: Sequence[Section], targets: str = "") -> None:
    """Writes sections in place of those of their titles.

    The other sections of RESULTS.md, the other numbers of results.json and the other
    figures stay as they are.

    Args:
      folder: with RESULTS.md and results.json.
      sections: new ones come before those on growth, first calls and programs.
      targets: rows of the table of targets, in place of those of the same workloads.
    """
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = (folder / "RESULTS.md").read_text(encoding="utf-8").strip()
    preface, *rest = re.split(r"^## \d+\. ", text, flags=re.MULTILINE)
    texts = dict(one.split("\n", 1) for one in rest)
    order = list(texts)
    for section in sections:
        if section.title not in order:
            # Those on growth, first calls and programs have an order of their own.
            later = (
                _LAST[_LAST.index(section.title) + 1 :]
                if section.title in _LAST
                else _LAST
            )
            places = [order.index(title) for title in later if title in order]
            order.insert(min(places, default=len(order)), section.title)
        texts[section.title] = section.text
        stored[section.title] = section.numbers
    numbers = {title: stored[title] for title in order if title in stored}
    blocks = [_with_targets(preface.strip(), targets)]
    for count, title in enumerate(order, 1):
        blocks += [heading(count, title), texts[title].strip()]
    figures = {name: draw for one in sections for name, draw in one.figures.items()}
    write(folder, "\n\n".join(blocks), numbers, figures)


def _with_targets(preface: str, targets: str) -> str:
    """The preface with rows of targets in its table."""
    fresh = targets.splitlines()[2:]
    if not fresh:
        return preface
    names = {_workload(row) for row in fresh}
    lines = preface.splitlines()
    kept = [line for line in lines if _workload(line) not in names]
    last = max(number for number, line in enumerate(kept) if line.startswith("|"))
    return "\n".join([*kept[: last + 1], *fresh, *kept[last + 1 :]])


def _workload(row: str) -> str:
    """The name of the workload that a row of targets starts with."""
    return row.removeprefix("| ").partition(",")[0] if row.startswith("| ") else ""
