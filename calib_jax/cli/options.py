"""Options on the files of a command, and their reading with progress."""

import contextlib
import dataclasses
import functools
import itertools
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..io.outputs import Outputs, label_files
from ..io.outputs import names as column_names
from ..io.outputs import reading as outputs_reading
from . import hints

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

KINDS = ("logits", "log_probabilities", "probabilities", "scores")
# As in `report.methods`, which takes long to import.
METHODS = (
    *("auto", "temperature", "platt", "histogram", "isotonic", "beta"),
    *("scaling-binning", "vector", "dirichlet", "ensemble-temperature"),
)
_FILE = click.Path(exists=True, path_type=Path)


class Number(click.FloatRange):
    """A number in a range, in which NaN is not."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"expected a number, got {value}.", param, ctx)
        return found


class Column(click.ParamType):
    """What is read from a column, and its name, such as probabilities=p_hat."""

    name = "FIELD=NAME"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        field, equals, column = value.partition("=")
        if not (field in column_names.NAMES and equals and column):
            self.fail(
                f"expected one of {', '.join(column_names.NAMES)}, then = and a name, "
                f"got {value!r}.",
                param,
                ctx,
            )
        return field, column


def file_argument(name: str, **more: Any) -> Decorator:
    """A file or folder that is read."""
    return click.argument(name, type=_FILE, **more)


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options on how files are read, which a command gets together, as `how`."""
    labels = click.option(
        "--labels",
        type=_FILE,
        multiple=True,
        metavar="FILE",
        help="File with labels or outcomes, if the outputs have none. Outcomes are one "
        "model's: repeat it for each file of outputs.",
    )
    repeats = click.option(
        "--repeats",
        type=click.Choice(["first", "last"]),
        help="Which row to keep when an id repeats.",
    )
    return labels(repeats(reading_new(command)))


def reading_new(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same without labels, where each row has its answer."""

    @functools.wraps(command)
    def collected(**given: Any) -> Any:
        how = _how(given)
        return command(how=how, **given)

    for option in reversed(
        (
            click.option(
                "--kind",
                type=click.Choice(KINDS),
                help="What the numbers are, if the file does not say.",
            ),
            click.option(
                "--column",
                "columns",
                type=Column(),
                multiple=True,
                help="Name of the array or column that holds something, such as "
                "probabilities=p_hat. Repeat it for one column for each class.",
            ),
            click.option(
                "--choices",
                metavar="A,B,C",
                help="Texts of the options, for answers of servers.",
            ),
            click.option(
                "--smoothing",
                type=Number(0.0, 1.0, min_open=True, max_open=True),
                metavar="SHARE",
                help="Mix this share of a uniform distribution into probabilities, "
                "to avoid zeros.",
            ),
            click.option(
                "--drop-malformed",
                is_flag=True,
                help="Leave out malformed lines; without it they are an error.",
            ),
        )
    ):
        collected = option(collected)
    return collected


def model(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option for files of several models; the argument is for `read_all`."""
    return click.option(
        "--model",
        "model",
        multiple=True,
        metavar="NAME",
        help="Model to read from a file that holds several: name or number from 0. "
        "Repeat it for each file.",
    )(command)


def method(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option for a calibrator."""
    return click.option(
        "--method",
        type=click.Choice(METHODS),
        default="auto",
        show_default=True,
        metavar="NAME",
        help="The calibrator, such as temperature, platt, histogram or isotonic; any "
        "other word lists them all.",
    )(command)


def _how(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the options on reading out of a command's arguments."""
    choices = given.pop("choices")
    columns: dict[str, list[str]] = {}
    for field, name in given.pop("columns"):
        columns.setdefault(field, []).append(name)
    return {
        "columns": {
            field: names[0] if len(names) == 1 else names
            for field, names in columns.items()
        }
        or None,
        "choices": None if choices is None else choices.split(","),
        **{
            name: given.pop(name)
            for name in ("labels", "kind", "smoothing", "repeats")
            if name in given
        },
        "drop_malformed": given.pop("drop_malformed"),
    }


def again(how: Mapping[str, Any]) -> tuple[str, str, str]:
    """Options that new outputs like these need, a second file, and labels, as words."""
    labelled = {"labels", "outcomes"}
    columns: dict[bool, list[str]] = {True: [], False: []}
    for field, names in (how["columns"] or {}).items():
        if field not in ("groups", "cost"):
            several = [names] if isinstance(names, str) else names
            columns[field in labelled] += [f"{field}={name}" for name in several]
    choices, smoothing = how["choices"], how["smoothing"]
    models = how.get("model") or ()
    reading: dict[str, Sequence[str | None]] = {
        "--model": models[:1],
        "--kind": [how["kind"]],
        "--column": columns[False],
        "--choices": [choices and ",".join(choices)],
        "--smoothing": [smoothing and f"{smoothing:g}"],
    }
    labelling: dict[str, Sequence[str | None]] = {
        "--labels": ["NEW_LABELS"]
        if len(files := how.get("labels") or ()) == 1
        else [f"NEW_LABELS_{number}" for number, _ in enumerate(files, start=1)],
        "--column": columns[True],
    }
    return _words(reading), _words({"--model": models[1:]}), _words(labelling)


def _words(given: Mapping[str, Sequence[str | None]]) -> str:
    return "".join(
        f" {name} {shlex.quote(one)}"
        for name, several in given.items()
        for one in several
        if one
    )


def read(path: Path, **options: Any) -> Outputs:
    """Outputs of a file, with progress on standard error; options of `read_file`."""
    with progress(f"Reading {path.name}") as advance:
        found = outputs_reading.read_file(path, progress=advance, **options)
    notes = tuple(map(hints.as_options, found.notes))
    return dataclasses.replace(found, notes=notes)


def read_all(
    paths: Sequence[Path],
    models: Sequence[str],
    **options: Any,
) -> list[Outputs]:
    """Outputs of files, each of the model in the same place, or all of the only one.

    One file is read once for each of several models. Labels are those in the same
    place, or the only ones, which may not be outcomes of one of several models.
    """
    if len(paths) == 1 and len(models) > 1:
        paths = [*paths] * len(models)
    elif len(models) <= 1:
        models = [*models] * len(paths)
    if models and len(models) != len(paths):
        raise click.UsageError(
            f"expected --model once, or once for each of {len(paths)} files, got it "
            f"{len(models)} times."
        )
    which: Sequence[str | None] = models or [None] * len(paths)
    asked = list(zip(paths, which, strict=True))
    for (path, one), (other, another) in itertools.combinations(asked, 2):
        if one == another and path.samefile(other):
            raise click.UsageError(
                f"{path} and {other} are the same outputs; give those of two models."
                if path != other
                else f"{path}: given twice; give the outputs of two models."
            )
    given = _labels(options.pop("labels", ()), len(asked))
    return [
        read(path, model=one, labels=own, **options)
        for (path, one), own in zip(asked, given, strict=True)
    ]


def _labels(labels: Sequence[Path], num_outputs: int) -> Sequence[Path | None]:
    """A file of labels for each of the outputs."""
    if not labels:
        return [None] * num_outputs
    if len(labels) not in (1, num_outputs):
        raise click.UsageError(
            f"expected --labels once, or once for each of {num_outputs} files, got it "
            f"{len(labels)} times."
        )
    given = [*labels] * (num_outputs // len(labels))
    pairs = itertools.combinations(given, 2)
    shared = next((one for one, other in pairs if one.samefile(other)), None)
    if shared is not None and label_files.read(shared).are_outcomes:
        raise click.UsageError(
            f"{shared} says which answers of a model are right, and there are "
            f"{num_outputs} models: repeat --labels, with a file for each in their "
            "order, or give the right answers."
        )
    return given


def read_one(path: Path, models: Sequence[str], **options: Any) -> Outputs:
    """Outputs of a file, of the only model that is asked for."""
    if len(models) > 1:
        raise click.UsageError(f"expected --model once, got it {len(models)} times.")
    (outputs,) = read_all((path,), models, **options)
    return outputs


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while something is read."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(escape(what)),
        BarColumn(),
        DownloadColumn(),
        console=console,
        transient=True,
        # A log file is spared the bar.
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
