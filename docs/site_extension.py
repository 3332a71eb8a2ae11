"""What the site adds to Sphinx: names that link, formulas and figures without scripts.

In docstrings a name in single backticks links to its place in the reference, and so
does `cj.name` on a page. Formulas become MathML, which browsers read without a script
from elsewhere. Figures of two colours, `<picture>` in the repository, follow the theme.
The table of masks and weights comes from the functions' signatures. Beside the pages
the build writes `index.html`, which leads to the front page, and `llms.txt`, which
lists pages and public names.
"""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import calib_jax

# Roles, as in :math:`x`, and literals, as in ``x``, stay as they are.
_QUOTED = re.compile(r":\w+:`[^`]*`|``[^`]*``|`([^`]+)`")
_NAME = re.compile(r"(?:calib_jax\.|cj\.)?([A-Za-z][\w.]*?)(?:\(.*\))?", re.DOTALL)
_PICTURE = re.compile(
    r'<picture>\s*<source [^>]*srcset="(?P<dark>[^"]*)">\s*'
    r"<img (?P<attributes>[^>]*)>\s*</picture>"
)


def _places() -> dict[str, str]:
    """The full name of every public name, by its path and by its name alone."""
    found = {}
    rooms = {name: getattr(calib_jax, name) for name in calib_jax.__all__}
    rooms = {k: room for k, room in rooms.items() if isinstance(room, ModuleType)}
    rooms["streaming.blocks"] = calib_jax.streaming.blocks
    for name, room in rooms.items():
        for part in room.__all__:
            value = getattr(room, part)
            if isinstance(value, ModuleType):
                continue
            top = getattr(calib_jax, part, None) is value
            full = f"calib_jax.{part}" if top else f"calib_jax.{name}.{part}"
            found[f"{name}.{part}"] = full
            found.setdefault(part, full)
    found |= {name: f"calib_jax.{name}" for name in calib_jax.__all__}
    return {name: full for name, full in found.items() if name not in rooms}


_PLACES = _places()


def public(name: str, room: str = "") -> str | None:
    """The full name of what is documented under a name, as said in a room, or None."""
    head, _, member = name.partition(".")
    if name not in _PLACES and f"{room}{name}" not in _PLACES and head in _PLACES:
        # A member of a public type.
        return f"{_PLACES[head]}.{member}"
    return _PLACES.get(f"{room}{name}") or _PLACES.get(name)


def link_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Literals for what stands in single backticks, links where it is a public name."""
    room = name.removeprefix("calib_jax.").rpartition(".")[0]
    room = f"{room}." if room else ""

    def replace(match: re.Match[str]) -> str:
        text = match[1]
        if text is None:
            return match[0]
        named = _NAME.fullmatch(text)
        target = named and public(named[1], room)
        # A name of its own page needs no link to itself.
        if target is None or target == name:
            return f"``{text}``"
        return f":py:obj:`{text} <{target}>`"

    # A few literals go over the end of a line.
    text = "\n".join(lines)
    code = r"(^[ ]*>>>.*(?:\n(?!\s*$).*)*)"
    parts = re.split(code, text, flags=re.MULTILINE)
    parts[::2] = [_QUOTED.sub(replace, part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def link_names(app: Sphinx, document: nodes.document) -> None:
    """`cj.name` and `calib_jax.name` on a page link to the reference."""
    for literal in list(document.findall(nodes.literal)):
        text = literal.astext()
        inside = isinstance(literal.parent, nodes.reference | addnodes.pending_xref)
        if inside or not re.match(r"(cj|calib_jax)\.[a-zA-Z]", text):
            continue
        named = _NAME.fullmatch(text)
        # `cj.cascade.control_...` stands for several.
        if named is None or named[1].endswith("."):
            continue
        link = addnodes.pending_xref(
            "",
            refdomain="py",
            reftype="obj",
            reftarget=public(named[1]) or f"calib_jax.{named[1]}",
            refdoc=app.env.docname,
            refwarn=True,
        )
        literal.replace_self(link)
        link += literal


def show_pictures(app: Sphinx, docname: str, content: list[str]) -> None:
    """Figures of two colours as the theme shows them, one for each."""

    def replace(match: re.Match[str]) -> str:
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', match["attributes"]))
        light = attributes.pop("src")
        options = "".join(f":{name}: {value}\n" for name, value in attributes.items())
        return "\n\n".join(
            f"```{{image}} {source}\n:class: {kind}\n{options}```"
            for source, kind in ((light, "only-light"), (match["dark"], "only-dark"))
        )

    if not app.env.doc2path(docname).suffix == ".ipynb":
        content[0] = _PICTURE.sub(replace, content[0])


class MasksAndWeights(SphinxDirective):
    """Which functions take `where=`, `weights=` and `class_where=`."""

    def run(self) -> list[nodes.Node]:
        rows: dict[str, list[str]] = {
            "`where=` and `weights=`": [],
            "`where=` alone": [],
            "`weights=` alone": [],
            "`class_where=`, over classes": [],
        }
        both, where_alone, weights_alone, classes = rows.values()
        for name in dict.fromkeys(_PLACES.values()):
            value = pkgutil.resolve_name(name)
            if inspect.isclass(value) or not callable(value):
                continue
            taken = inspect.signature(value).parameters
            shown = f"`{name.replace('calib_jax', 'cj')}`"
            if "where" in taken:
                (both if "weights" in taken else where_alone).append(shown)
            elif "weights" in taken:
                weights_alone.append(shown)
            if "class_where" in taken:
                classes.append(shown)
        lines = [
            f"| {kind} | {', '.join(sorted(names))} |"
            for kind, names in rows.items()
            if names
        ]
        return self.parse_text_to_nodes("\n".join(["| | |", "|---|---|", *lines]))


def write_index(app: Sphinx, exception: Exception | None) -> None:
    """`/` leads to the front page."""
    if exception is not None or app.builder.name != "html":
        return
    front, title = f"{app.config.root_doc}.html", app.config.project
    lines = [
        "<!doctype html>",
        f'<meta charset="utf-8"><title>{title}</title>',
        f'<meta http-equiv="refresh" content="0; url={front}">',
        f'<a href="{front}">{title}</a>',
    ]
    path = Path(app.outdir, "index.html")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_llms(app: Sphinx, exception: Exception | None) -> None:
    """`llms.txt`: every page and every public name with the first line of its text."""
    if exception is not None or app.builder.name != "html":
        return
    pages = [_page_line(app, page) for page in _in_order(app, app.config.root_doc)]
    names = []
    for name, _, kind, page, anchor, rank in app.env.domains["py"].get_objects():
        # Names of rank -1 are of the modules that define what is public elsewhere.
        if kind in ("function", "class", "exception") and rank >= 0:
            value = pkgutil.resolve_name(name)
            says = (inspect.getdoc(value) or "").partition("\n")[0]
            names.append(f"- [{name}]({page}.html#{anchor}): {says}")
    text = [f"# {app.config.project}", f"> {calib_jax.__doc__}".partition("\n")[0]]
    text += ["## Pages", "\n".join(pages), "## Names", "\n".join(sorted(names))]
    path = Path(app.outdir, "llms.txt")
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _in_order(app: Sphinx, page: str) -> Iterator[str]:
    """A page and those below it, in the order of the tables of contents."""
    yield page
    for below in app.env.toctree_includes.get(page, ()):
        yield from _in_order(app, below)


def _page_line(app: Sphinx, page: str) -> str:
    """A page and the first sentence on it, in which references have their titles."""
    text = app.env.get_and_resolve_doctree(page, app.builder)
    first = next(iter(text.findall(nodes.paragraph)), None)
    says = "" if first is None else " ".join(first.astext().split())
    says = re.split(r"(?<=[.?]) ", says)[0]
    return f"- [{app.env.titles[page].astext()}]({page}.html): {says}"


def write_inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(latex2mathml.tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def write_math(writer: Any, node: nodes.math_block) -> None:
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_math, None))
    app.connect("autodoc-process-docstring", link_docstring, priority=100)
    app.connect("doctree-read", link_names)
    app.connect("source-read", show_pictures)
    app.add_directive("masks-and-weights", MasksAndWeights)
    app.connect("build-finished", write_index)
    app.connect("build-finished", write_llms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
