"""What every report holds, and what it is made into: JSON, a page, files."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from .._core import plain, versions
from ..io.outputs import Outputs
from . import pages
from .drawings import Drawing

Writer = Callable[[Path], None]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A file that was read.

    Attributes:
      role: what it is used as, such as "small model" or "labels".
      name: its name, without the folder.
      format: as `Outputs.format`.
      kind: as `Outputs.kind`.
      num_rows: rows that were read and kept.
      num_options: options or classes of each row, or None for scores.
      dropped: number of rows that were left out, by reason.
      dropped_at: for each reason the places of the first five.
      notes: sentences on what else to know.
    """

    role: str
    name: str
    format: str
    kind: str
    num_rows: int
    num_options: int | None
    dropped: Mapping[str, int]
    dropped_at: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def source(role: str, outputs: Outputs) -> Source:
    """What a report says of the file that outputs were read from."""
    classes = class_values(outputs)
    return Source(
        role=role,
        name=outputs.name,
        format=outputs.format,
        kind=outputs.kind,
        num_rows=len(outputs),
        num_options=None if classes is None else classes.shape[1],
        dropped=dict(outputs.dropped),
        dropped_at=dict(outputs.dropped_at),
        notes=outputs.notes,
    )


def class_values(outputs: Outputs) -> Any:
    """Logits or log-probabilities `[N, C]` of outputs, or None for scores."""
    if outputs.logits is not None:
        return outputs.logits
    return outputs.log_probabilities


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report(plain.Result):
    """What a command found: one record, which is printed, drawn and stored.

    Attributes:
      sources: the files that were read.
      seed: of the random halves and of all draws.
      confidence_level: of the intervals and promises.
      versions: of the packages that computed it, by name.
      reading: options that outputs like these are read with, as words of a command.
      second: further ones, where the second model's file is read as well.
      labelling: the same for their labels.
    """

    # The command that makes it, and the title of its page.
    command: ClassVar[str]
    title: ClassVar[str]
    # Whether its page has a slider over K.
    has_slider: ClassVar[bool] = False

    sources: tuple[Source, ...]
    seed: int
    confidence_level: float
    versions: Mapping[str, str] = dataclasses.field(default_factory=versions.of_all)
    reading: str = dataclasses.field(default="", metadata={"plain": False})
    second: str = dataclasses.field(default="", metadata={"plain": False})
    labelling: str = dataclasses.field(default="", metadata={"plain": False})

    def headline(self) -> dict[str, Any]:
        """The numbers that matter most, by name: the first keys of the JSON."""
        raise NotImplementedError

    def sentences(self) -> tuple[str, ...]:
        """What was found, one plain sentence each, for the terminal and the page."""
        raise NotImplementedError

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        """What to do next, one plain sentence each.

        Args:
          folder: of the files that the report was written to; without it their names
            stand alone.
        """
        raise NotImplementedError

    def files(self) -> Mapping[str, Writer]:
        """Functions that write the files beside the page, by name."""
        return {}

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        """The figures of the page, by name; `prefix` starts all ids in them."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON, the headline first; None for NaN."""
        head = {**self.headline(), "command": self.command}
        return {
            name: plain.plain(one) for name, one in head.items()
        } | super().to_dict()

    def _repr_html_(self) -> str:
        return pages.fragment(self)


def place(folder: Path | None, name: str) -> str:
    """Where a file of a report is, for a sentence."""
    return name if folder is None else str(folder / name)


def in_shell(folder: Path | None, name: str) -> str:
    """The same as a word of a command."""
    return shlex.quote(place(folder, name))


def in_python(folder: Path | None, name: str) -> str:
    """The same as a text in Python."""
    return json.dumps(place(folder, name), ensure_ascii=False)
