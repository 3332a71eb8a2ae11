"""Which files and folders each hold one model's outputs on one task.

A file that holds rows is one unit, and so is a folder whose files of JSON hold one
answer each, as scripts write them that ask a local server.
"""

import glob
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import host
from . import content, folders, names, tools

_MAGIC = frozenset("*?[")


class Units(NamedTuple):
    """What is read.

    Attributes:
      paths: files, and folders of answers, in order.
      unread: files below the folders given that hold no rows.
    """

    paths: list[Path]
    unread: list[Path]


def find(paths: Any, apart: Sequence[Path] = ()) -> Units:
    """The units of paths: of files, of folders and all below them, or patterns of both.

    Args:
      paths: a path or several of them.
      apart: files that are something else, such as labels.

    Raises:
      ValueError: for a pattern that fits nothing, for nothing to read, and for a folder
        that holds answers, one a file, beside files or folders of many rows.
    """
    found = Units([], [])
    known: set[Path] = set()

    def new(files: Iterable[Path]) -> list[Path]:
        # One that is given twice, also as part of a folder, is read once.
        ways = {path: path.resolve() for path in files}
        fresh = [path for path, way in ways.items() if way not in known]
        known.update(ways.values())
        return fresh

    new(apart)
    given = _given(paths)
    for folder in [path for path in given if path.is_dir()]:
        _add(found, new(folders.below(folder)), whole=True)
    _add(found, new(path for path in given if not path.is_dir()), whole=False)
    if not found.paths:
        shown = names.shown(map(str, given))
        raise ValueError(f"{shown}: expected files that hold rows, got none.")
    return found


def _given(paths: Any) -> list[Path]:
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    if not isinstance(paths, Iterable):
        raise ValueError(f"paths: expected a path or several, got {paths!r}.")
    found: list[Path] = []
    for one in paths:
        path = host.path("paths", one)
        if path.exists() or not _MAGIC & set(str(path)):
            found.append(path)
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise ValueError(f"{path}: no file or folder fits this pattern.")
        found += map(Path, matches)
    if not found:
        raise ValueError("paths: expected a path or several, got none.")
    return found


def _add(found: Units, files: list[Path], whole: bool) -> None:
    """Adds the units of files, folder by folder; `whole` ones were found, not given."""
    of_answers: list[Path] = []
    ordered = sorted(files, key=lambda path: (path.parent, path.name))
    for folder, some in itertools.groupby(ordered, lambda path: path.parent):
        own, rest = _of_tools(list(some))
        json = [] if own else [path for path in rest if folders.is_json(path)]
        if len(json) > 1 and _are_answers(folder, json, whole):
            of_answers.append(folder)
            own, json = [folder], json
        else:
            own, json = own + json, own + json
        rest = folders.without(rest, json)
        # Whoever names a file wants it read, whatever it is called.
        tables = [path for path in rest if not whole or folders.is_table(path)]
        found.paths.extend(sorted(own + tables))
        found.unread.extend(folders.without(rest, tables))
    for folder in of_answers:
        inside = [path for path in found.paths if folder in path.parents]
        if inside:
            raise ValueError(
                f"{folder}: has files of one answer each, and also {inside[0]}: put "
                "them into a folder of their own."
            )


def _of_tools(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Files with names of a tool's, and others without those that it writes beside."""
    own, rest = [], files
    for tool in tools.TOOLS:
        pattern, beside = tool.files, tool.beside
        some = [one for one in rest if pattern and pattern.fullmatch(one.name)]
        if some:
            own += some
            rest = [
                one
                for one in folders.without(rest, some)
                if not (beside and beside.fullmatch(one.name))
            ]
    return own, rest


def _are_answers(folder: Path, files: list[Path], whole: bool) -> bool:
    """Whether each file of JSON holds one answer of a server."""
    ones: list[Path] = []
    for number, path in enumerate(files):
        if content.holds_one_answer(path):
            ones.append(path)
        elif not ones and number:
            return False
        if 0 < len(ones) <= number:
            other = next(one for one in files if one not in ones)
            raise ValueError(
                f"{folder}: {ones[0].name} holds one answer, and {other.name} does "
                "not: put files of one answer each into a folder of their own."
            )
    if ones and not whole:
        every = {path for path in folder.iterdir() if folders.is_json(path)}
        if every != set(files):
            raise ValueError(
                f"{files[0]}: holds one answer; give the folder {folder}, in which "
                "each file is one."
            )
    return bool(ones)
