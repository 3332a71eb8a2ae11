"""Where a version stands: in one module, and in the files that cannot read it there.

The package's metadata, `calib_jax.__version__` and the site read `SOURCE`.
CITATION.cff, the conda recipe and CHANGELOG.md are changed with it; a test compares
them.
"""

import datetime
import re
from pathlib import Path
from typing import NamedTuple

from .refusals import Refusal

SOURCE = "calib_jax/_core/versions.py"
CITATION = "CITATION.cff"
RECIPE = "conda/recipe.yaml"
CHANGELOG = "CHANGELOG.md"

PLACES = {
    SOURCE: re.compile(r'^VERSION = "(.*)"$', re.MULTILINE),
    CITATION: re.compile(r"^version: (.*)$", re.MULTILINE),
    RECIPE: re.compile(r'^  version: "(.*)"$', re.MULTILINE),
}
RELEASED = re.compile(r"^date-released: (.*)\n", re.MULTILINE)
_HEADING = re.compile(r"^## (\S+) - (unreleased|\d{4}-\d\d-\d\d)$", re.MULTILINE)


class Section(NamedTuple):
    """A version in the changelog: its date or "unreleased", and the text below."""

    version: str
    date: str
    text: str


def sections(root: Path) -> list[Section]:
    """The changelog's versions, newest first.

    Raises:
      Refusal: if there is none.
    """
    _, *parts = _HEADING.split((root / CHANGELOG).read_text("utf-8"))
    if not parts:
        raise Refusal(f"expected '## 0.2.0 - unreleased' or alike in {CHANGELOG}")
    found = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return [Section(version, date, text.strip()) for version, date, text in found]


def current(root: Path) -> str:
    """The version that the sources say.

    Raises:
      Refusal: if the places that say it differ.
    """
    said = {name: _only(root, name).group(1) for name in PLACES}
    if len(set(said.values())) != 1:
        places = ", ".join(f"{name} says {version}" for name, version in said.items())
        raise Refusal(f"expected one version in all files, but {places}")
    return said[SOURCE]


def check_next(root: Path, version: str) -> None:
    """Refuses a version that may not come next, or that the changelog does not have.

    Raises:
      Refusal: says why.
    """
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version):
        raise Refusal(f"expected three numbers such as 0.2.0, got {version}")
    now = current(root)
    newest, *older = sections(root)
    if (newest.version, newest.date) != (version, "unreleased"):
        raise Refusal(
            f"expected '## {version} - unreleased' at the top of {CHANGELOG}, "
            f"got '## {newest.version} - {newest.date}': write what changed under it"
        )
    if not re.search(r"^- ", newest.text, re.MULTILINE):
        raise Refusal(f"{CHANGELOG} has no entry for {version}: write what changed")
    allowed = [now]
    if older:
        last = older[0]
        if last.date == "unreleased" or last.version != now:
            raise Refusal(
                f"expected {now} of {SOURCE} and its date below {version} in "
                f"{CHANGELOG}, got '## {last.version} - {last.date}'"
            )
        major, minor, patch = map(int, now.split("."))
        allowed = [f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0"]
        allowed += [f"{major + 1}.0.0"]
    if version not in allowed:
        raise Refusal(f"expected {' or '.join(allowed)} next, got {version}")


def write(root: Path, version: str, date: datetime.date) -> None:
    """Changes the version and its date in every file that has them."""
    for name in PLACES:
        _change(root, name, _only(root, name).span(1), version)
    citation = (root / CITATION).read_text("utf-8")
    citation = RELEASED.sub("", citation)
    line = rf"\g<0>\ndate-released: {date}"
    (root / CITATION).write_text(PLACES[CITATION].sub(line, citation), "utf-8")
    heading = _HEADING.search((root / CHANGELOG).read_text("utf-8"))
    assert heading is not None
    _change(root, CHANGELOG, heading.span(2), str(date))


def _only(root: Path, name: str) -> re.Match[str]:
    found = list(PLACES[name].finditer((root / name).read_text("utf-8")))
    if len(found) != 1:
        raise Refusal(f"expected one line with the version in {name}, got {len(found)}")
    return found[0]


def _change(root: Path, name: str, span: tuple[int, int], new: str) -> None:
    text = (root / name).read_text("utf-8")
    (root / name).write_text(text[: span[0]] + new + text[span[1] :], "utf-8")
