"""Reads the outputs of several models on several tasks."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import answer_lines
from . import array_files, content, folders, naming, reading, servers, tables, units
from .array_files import ArrayFile
from .asked import one_of
from .left_out import LeftOut
from .names import shown
from .record import Outputs

# So many files that were left out are named.
_MOST_NAMED = 20

Progress = Callable[[int, int], None]


def read_many(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    pattern: str | None = None,
    model: str | None = None,
    task: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    skip_unreadable: bool = False,
    repeats: str | None = None,
    progress: Progress | None = None,
    kind: str | None = None,
    format: str | None = None,
    choices: Sequence[str] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    smoothing: float | None = None,
    drop_malformed: bool = False,
) -> tuple[Outputs, ...]:
    """Reads the outputs of several models on several tasks, each file by its content.

    A file that holds rows is read as `read_outputs` reads it, and is one model's on one
    task. So is a folder whose files of JSON hold one answer each, as scripts write that
    ask a local server: a file's name is the id. An npz file with an array `models [M]`
    holds M models, an HDF5 file those of its groups, `dataset/model`, and a file of
    answers those that these name. Files with the names that a tool gives them, such as
    samples_*.jsonl, hide other files of JSON in their folder, which hold no rows.

    Model and task are named by `pattern`, by the file itself or what its tool writes
    beside it, and by `model` and `task`, in this order. They are never guessed.

    Args:
      paths: of a file, of a folder, which is read with all below it, or a text with
        `*`, `?` or `[` for several of these; or a list of such. Hidden files are not
        looked at.
      pattern: where paths name the model and the task, such as
        `"{model}/{task}.npz"`: as many parts of a path are looked at, from its end, as
        the pattern has. `*` is any text within a part, and an ending may be left out.
      model: the name where nothing else says it.
      task: likewise.
      labels: path of a file of labels as for `read_outputs`, with `{task}` or `{model}`
        in it for several, such as `"labels/{task}.csv"`; or a folder with a file for
        each task.
      skip_unreadable: whether files that cannot be read are left out, and named in the
        first outputs' `notes`; otherwise they raise.
      repeats: `"first"` or `"last"`: which of several rows of an id is kept, and which
        of several files of one model and task, in the order of their paths, as of
        reruns. Without it they raise.
      progress: called with the bytes read so far and in all: after each file, and while
        text is read.
      kind: as for `read_outputs`, for all files.
      format: likewise, as what follows.
      choices: texts of the options.
      columns: names of arrays or columns.
      smoothing: the share of an even distribution that is mixed in.
      drop_malformed: whether malformed lines are left out.

    Returns:
      `Outputs` for each model and task, with both named, in the order of paths. Their
      `name` is the path below the folder that holds all. What was not read is named in
      the first one's `notes`.

    Raises:
      ValueError: as `read_outputs`, and for a pattern that fits no file, or that a file
        does not fit; where nothing says the model or the task; for two files of one
        model and task; for labels that are not there; if nothing can be read.
      ImportError, OSError: as `read_outputs`.

    Examples:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("small/law.csv", "small/art.csv", "large/law.csv"):
      ...     (folder / name).parent.mkdir(exist_ok=True)
      ...     _ = (folder / name).write_text("id,score,correct\\na,0.5,0\\nb,0.9,1\\n")
      >>> for one in read_many(folder, pattern="{model}/{task}.csv"):
      ...     print(one.model, one.task, one.name, len(one))
      large law large/law.csv 2
      small art small/art.csv 2
      small law small/law.csv 2
    """
    if progress is not None and not callable(progress):
        raise ValueError(f"progress: expected a function or None, got {progress!r}.")
    one_of("repeats", repeats, ("first", "last"))
    for name, value in (("model", model), ("task", task)):
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise ValueError(f"{name}: expected a name, got {value!r}.")
    named = {"model": model or "", "task": task or ""}
    labelled = None if labels is None else naming.Labels(labels)
    found = units.find(paths, [] if labelled is None else labelled.apart)
    reader = _Reader(
        pattern=None if pattern is None else naming.Pattern(pattern),
        otherwise=named,
        labels=labelled,
        options={
            "repeats": repeats,
            "kind": kind,
            "format": format,
            "choices": choices,
            "columns": columns,
            "smoothing": smoothing,
            "drop_malformed": drop_malformed,
        },
    )
    outputs: list[Outputs] = []
    skipped: list[str] = []
    sizes = [_size(path) for path in found.paths]
    for number, path in enumerate(found.paths):
        before, total = sum(sizes[:number]), sum(sizes)
        watch = None
        if progress is not None:
            watch = _within(progress, before, sizes[number], total)
        try:
            outputs += reader.read(path, watch)
        except (ValueError, OSError) as error:
            if not skip_unreadable:
                raise
            skipped.append(" ".join(str(error).split()))
        if progress is not None:
            progress(before + sizes[number], total)
    if not outputs:
        raise ValueError(f"none of {len(skipped)} files can be read: {skipped[0]}")
    outputs = _once(outputs, repeats)
    notes = [f"Left out: {one}" for one in skipped[:_MOST_NAMED]]
    if len(skipped) > _MOST_NAMED:
        notes.append(f"Left out: {len(skipped) - _MOST_NAMED} more files.")
    if found.unread:
        unread = shown(map(str, _below(found.unread)))
        notes.append(f"Files of the folder that were not read: {unread}.")
    first, *rest = outputs
    return dataclasses.replace(first, notes=(*notes, *first.notes)), *rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Reader:
    """How each unit is read; arguments of `read_many`."""

    pattern: naming.Pattern | None
    otherwise: Mapping[str, str]
    labels: naming.Labels | None
    options: Mapping[str, Any]

    def read(self, path: Path, watch: Progress | None) -> list[Outputs]:
        """The outputs of a unit, of each of its models."""
        models = _models_of(path, self.options["format"])
        if not models:
            try:
                return [self._read(path, watch, None)]
            except ValueError:
                # Known only now, since each line is looked at for it.
                models = _models_of_answers(path, self.options["format"])
                named = list(filter(None, models))
                if len(named) < 2:
                    raise
                if len(named) < len(models):
                    message = (
                        f"{path}: holds answers of {shown(named)}, and others that "
                        "name no model: put each model's into a file of its own."
                    )
                    raise ValueError(reading.printable(message)) from None
        return [self._read(path, watch, model) for model in models]

    def _read(self, path: Path, watch: Progress | None, model: str | None) -> Outputs:
        said = {} if self.pattern is None else self.pattern.names(path)
        if model is not None:
            # The file names it.
            said.pop("model", None)
        options = {**self.options, "model": model}
        labels = self.labels
        if labels is None:
            found = reading.read_file(path, progress=watch, **options)
            names = self._names(path, found, said)
        else:
            if not labels.depends <= said.keys():
                # The file says what it is before its labels are found.
                more = {**options, "labelled": False, "unique": False}
                found = reading.read_file(path, **more)
                said = self._names(path, found, said)
            file = labels.of(said)
            found = reading.read_file(path, labels=file, progress=watch, **options)
            names = self._names(path, found, said)
        return dataclasses.replace(
            found, name=str(path), model=names["model"], task=names["task"]
        )

    def _names(
        self, path: Path, found: Outputs, said: Mapping[str, str]
    ) -> dict[str, str]:
        of_file = {"model": found.model, "task": found.task}
        names = {
            name: reading.printable(
                said.get(name) or of_file[name] or self.otherwise[name]
            )
            for name in of_file
        }
        missing = [name for name, value in names.items() if not value]
        if missing:
            ending = "" if path.is_dir() else path.suffix
            if len(missing) > 1 and len(path.parts) < 2:
                # No folder was named that could be a model.
                how = f"pattern='{{model}}{ending}' and task=, the name of the task"
            else:
                example = "/".join(f"{{{name}}}" for name in missing)
                how = f"pattern='{example}{ending}', or {missing[-1]}= if all files "
                how += "have the same"
            raise ValueError(
                f"{path}: nothing says its {' or '.join(missing)}: pass pattern= with "
                f"where the path says it, such as {how}."
            )
        return names


def _models_of(path: Path, format: str | None) -> list[str]:
    """The names of several models in a file of arrays, or nothing."""
    several = ("npz", "hdf5")
    if path.is_dir() or folders.is_json(path) or format not in (None, *several):
        return []
    looked = content.look(path, format, LeftOut(path, drop_malformed=True))
    if looked.format not in several:
        return []
    table = tables.of(looked)
    return array_files.models_of(table) if isinstance(table, ArrayFile) else []


def _models_of_answers(path: Path, format: str | None) -> list[str]:
    """The models of answers in a file or folder, "" where one names none."""
    looked = content.look(path, format, LeftOut(path, drop_malformed=True))
    if looked.format != servers.NAME:
        return []
    models: dict[str, None] = {}
    for _, line in looked.lines:
        answers, _ = answer_lines.parse(line, {})
        models |= dict.fromkeys(one.model for one in answers)
    return list(models)


def _once(outputs: list[Outputs], repeats: str | None) -> list[Outputs]:
    """One for each model and task, with short names."""
    kept: dict[tuple[str, str], Outputs] = {}
    for one in outputs:
        key = one.model, one.task
        other = kept.get(key)
        if other is None:
            kept[key] = one
            continue
        if repeats is None:
            raise ValueError(
                f"{other.name} and {one.name}: both are of model {one.model} on task "
                f"{one.task}: keep one, or pass repeats='first' or repeats='last'."
            )
        taken, lost = (other, one) if repeats == "first" else (one, other)
        note = f"Of the same model and task, and left out: {lost.name}."
        kept[key] = dataclasses.replace(taken, notes=(*taken.notes, note))
    found = list(kept.values())
    names = _below([Path(one.name) for one in found])
    return [
        dataclasses.replace(one, name=name)
        for one, name in zip(found, names, strict=True)
    ]


def _below(paths: Sequence[Path]) -> list[str]:
    """Paths without the folder that holds all."""
    whole = [path.absolute() for path in paths]
    folder = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(folder).as_posix() for path in whole]


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.exists() else 0


def _within(progress: Progress, before: int, size: int, total: int) -> Progress:
    """The progress of one file as that of all; a file may be read several times."""
    return lambda done, _: progress(before + min(done, size), total)
