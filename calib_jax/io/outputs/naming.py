"""Names of model and task that a path has, by a pattern, and the labels for them."""

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import host

_FIELDS = ("model", "task")
_PART = re.compile(r"\{(\w*)\}|(\*)")
_ENDING = re.compile(r"\.[A-Za-z]\w*(\.gz)?$")


class Pattern:
    """Where a path names the model and the task, such as `{model}/{task}.npz`.

    As many parts of a path are looked at, from its end, as the pattern has; `*` is any
    text within a part. An ending may be left out.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ValueError(f"pattern: expected a text, got {text!r}.")
        self.text = text
        parts = text.strip("/").split("/")
        fields = [found[1] for found in _PART.finditer(text) if found[1] is not None]
        if (
            not fields
            or len(set(fields)) < len(fields)
            or not set(fields) <= set(_FIELDS)
        ):
            raise ValueError(
                "pattern: expected {model}, {task} or both, each once, such as "
                f"{{model}}/{{task}}.npz, got {text!r}."
            )
        self.fields = frozenset(fields)
        self._num_parts = len(parts)
        self._regex = re.compile(self._of("/".join(parts)))
        # Dots are in names of models, too.
        self._has_ending = "." in parts[-1].rpartition("}")[2]

    def _of(self, text: str) -> str:
        made, end = "", 0
        for found in _PART.finditer(text):
            made += re.escape(text[end : found.start()])
            made += f"(?P<{found[1]}>[^/]+?)" if found[1] else "[^/]*"
            end = found.end()
        return made + re.escape(text[end:])

    def names(self, path: Path) -> dict[str, str]:
        """The names that a path has.

        Raises:
          ValueError: if it does not fit.
        """
        end = "/".join(path.absolute().parts[-self._num_parts :])
        if not self._has_ending and not path.is_dir():
            end = _ENDING.sub("", end)
        match = self._regex.fullmatch(end)
        if match is None:
            raise ValueError(f"{path}: does not fit pattern={self.text!r}.")
        return {name: match[name] for name in self.fields}


class Labels:
    """Where the labels of a model and a task are.

    Attributes:
      apart: a file of labels for all, which is not one of outputs, or nothing.
      depends: on which of the names the file depends.
    """

    def __init__(self, given: Any) -> None:
        self._path = host.path("labels", given)
        text = str(self._path)
        self.depends = {one[1] for one in _PART.finditer(text) if one[1] is not None}
        if not self.depends <= set(_FIELDS):
            raise ValueError(
                f"labels: expected {{task}} or {{model}} in braces, got {text!r}."
            )
        self._is_folder = not self.depends and self._path.is_dir()
        if self._is_folder:
            self.depends = {"task"}

    @property
    def apart(self) -> list[Path]:
        """Files of labels, which are not of outputs."""
        if self._is_folder:
            return [path for path in self._path.rglob("*") if path.is_file()]
        if not self.depends:
            return [self._path]
        parts = _PART.split(str(self._path))[::3]
        pattern = "*".join(glob.escape(part) for part in parts)
        return [Path(one) for one in glob.glob(pattern)]

    def of(self, names: Mapping[str, str]) -> Path:
        """The file for these names.

        Raises:
          ValueError: if there is none, or if a folder has several.
        """
        if any(part == ".." for name in names.values() for part in name.split("/")):
            raise ValueError(f"labels: no file is looked for by the names {names}.")
        if self._is_folder:
            task = names["task"]
            some = sorted(
                path
                for path in self._path.iterdir()
                if path.is_file() and _ENDING.sub("", path.name) == task
            )
            if len(some) != 1:
                raise ValueError(
                    f"{self._path}: expected one file of labels called {task!r}, "
                    f"such as {task}.csv, got {len(some) or 'none'}."
                )
            return some[0]
        text = str(self._path)
        for name in self.depends:
            text = text.replace(f"{{{name}}}", names[name])
        path = Path(text)
        if not path.is_file():
            raise ValueError(f"{path}: there is no such file of labels.")
        return path
