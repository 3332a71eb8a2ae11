"""What every tool's module has, whose files are read."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import json_lines
from .asked import Asked
from .left_out import LeftOut, Place, Places
from .rows import Rows

#: Objects with their places.
Lines = Iterable[tuple[Place, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool whose files are read: an object a line, or a document with many rows.

    Attributes:
      name: of the format.
      is_line: whether an object looks like one that the tool wrote.
      read: `read(lines, places, left_out, asked, first)`: the rows of lines, which are
        added to `places` with `places.add`; `first` is the line that says whether lines
        have ids.
      files: what a file of the tool is called. If some in a folder are, these alone are
        read.
      beside: what the tool calls files without rows that it writes beside those.
      task_of: the task that the name of a file says, or None: one task in two folders
        is of two models.
      of_start: the format that the first bytes of a file say, if the tool's is a kind
        of it, such as "npz" for any zip file.
      is_file: whether a file that begins so is the tool's.
      lines_of: objects in such a file with their numbers, one after another.
      columns: what the caller may name with `columns=`.
    """

    name: str
    is_line: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Lines, Places, LeftOut, Asked, Mapping[str, Any]], Rows]
    files: re.Pattern[str] | None = None
    beside: re.Pattern[str] | None = None
    task_of: Callable[[Path], str | None] = lambda path: None
    of_start: str | None = None
    is_file: Callable[[Path], bool] = lambda path: False
    lines_of: Callable[
        [Path, json_lines.Watch | None], Iterator[tuple[int, Mapping[str, Any]]]
    ] = lambda path, watch: iter(())
    columns: frozenset[str] = frozenset()
