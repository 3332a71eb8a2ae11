"""Which files of a folder are read."""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from . import names, tools

# Files that are read, and those that hold rows too; both may be gzipped.
_JSON = (".jsonl", ".json", ".ndjson")
_TABLES = (".csv", ".tsv", ".npy", ".npz", ".safetensors", ".parquet", ".h5", ".hdf5")
_MOST_FILES = 100_000


def is_json(path: Path) -> bool:
    """Whether a file is called one of JSON."""
    return _ends(path, _JSON)


def is_table(path: Path) -> bool:
    """Whether a file is called one of arrays or of a table."""
    return _ends(path, _TABLES)


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(endings)


def files(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Files in a folder that are read, and the names of the others.

    If some have names of a tool's files, these alone are read, of one model; otherwise
    those of JSON. Hidden files and folders, such as notebooks' checkpoints, are not
    looked at, nor are the summaries that the tool writes beside its files.
    """
    seen = below(folder)

    def shown(paths: list[Path]) -> tuple[str, ...]:
        return tuple(one.relative_to(folder).as_posix() for one in paths)

    of_tools = {
        tool.name: [one for one in seen if tool.files.fullmatch(one.name)]
        for tool in tools.TOOLS
        if tool.files
    }
    of_tools = {name: own for name, own in of_tools.items() if own}
    if len(of_tools) > 1:
        some = (f"{shown(own)[0]} ({name})" for name, own in of_tools.items())
        raise ValueError(
            f"{folder}: holds files of several tools, {' and '.join(some)}: put each "
            "tool's into a folder of its own."
        )
    own = next(iter(of_tools.values()), [])
    read = own or [one for one in seen if is_json(one)]
    rest = without(seen, read)
    tables = [one for one in rest if is_table(one)]
    if not read:
        one_by_one = f"; read one file at a time: {names.shown(shown(tables))}"
        raise ValueError(
            f"{folder}: expected files of JSON in the folder, got none"
            f"{one_by_one if tables else ''}."
        )
    if tables:
        raise ValueError(
            f"{folder}: holds files of JSON and others with rows, "
            f"{names.shown(shown(tables))}: move these to another folder, or read one "
            "file at a time."
        )
    if own:
        tool = tools.BY_NAME[next(iter(of_tools))]
        runs: dict[str, Path] = {}
        for path in own:
            first = runs.setdefault(tool.task_of(path) or path.name, path)
            if first.parent != path.parent:
                one, other = (path.parent.relative_to(folder) for path in (first, path))
                raise ValueError(
                    f"{folder}: has files of one task in {one} and in {other}: read "
                    "one model's folder at a time."
                )
        if tool.beside:
            rest = [one for one in rest if not tool.beside.fullmatch(one.name)]
    return read, shown(rest)


def without(files: list[Path], others: Iterable[Path]) -> list[Path]:
    """Files that are none of the others, in their order."""
    left_out = set(others)
    return [one for one in files if one not in left_out]


def below(folder: Path) -> list[Path]:
    """All files below a folder, without hidden ones; `x_2` is before `x_10`."""
    every = list(itertools.islice(folder.rglob("*"), _MOST_FILES + 1))
    if len(every) > _MOST_FILES:
        raise ValueError(f"{folder}: holds more than {_MOST_FILES} files.")
    found = [
        path
        for path in every
        if not any(one.startswith(".") for one in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: ([*map(_natural, path.parts)], path))


def _natural(text: str) -> list[str | tuple[int, str]]:
    """A key by which names are sorted as one counts: texts and numbers in turn."""
    parts = re.split(r"([0-9]+)", text)
    # As texts, which may have any number of digits.
    return [
        (len(digits := part.lstrip("0")), digits) if number % 2 else part
        for number, part in enumerate(parts)
    ]
