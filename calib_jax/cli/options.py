"""What commands share: options, reading with progress, printing and writing."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..io.outputs import Outputs
from ..io.outputs import names as column_names
from ..io.outputs import reading as outputs_reading
from . import caching, hints, interrupts

if TYPE_CHECKING:
    from ..report.records import Source

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

KINDS = ("logits", "log_probabilities", "probabilities", "scores")
# Of rows that were left out; the page has them all.
_MOST_REASONS = 3
# After which a log file is told what is done.
_LONG_SECONDS = 20.0
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
    """Options on how files are read; collected by `reading_options`."""
    labels = click.option(
        "--labels",
        type=_FILE,
        metavar="FILE",
        help="File with labels or outcomes, if the outputs have none.",
    )
    repeats = click.option(
        "--repeats",
        type=click.Choice(["first", "last"]),
        help="Which row to keep when an id repeats.",
    )
    return labels(repeats(reading_new(command)))


def reading_new(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same without labels, where each row has its answer."""
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
        command = option(command)
    return command


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
        type=click.Choice(["auto", "temperature", "platt", "histogram"]),
        default="auto",
        show_default=True,
        help="The calibrator.",
    )(command)


def running(
    default: str,
    *,
    confidence_level: float = 0.95,
    of_level: str = "Confidence level of intervals and promises.",
) -> Decorator:
    """Options on what is computed and where it goes.

    Args:
      default: the folder.
      confidence_level: the default.
      of_level: what it is.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(
            (
                click.option(
                    "--output",
                    type=click.Path(path_type=Path),
                    default=Path(default),
                    metavar="DIR",
                    show_default=True,
                    help="Folder for the page and the files.",
                ),
                click.option(
                    "--force",
                    is_flag=True,
                    help="Replace files in a folder that is not empty.",
                ),
                click.option(
                    "--confidence-level",
                    type=Number(0.0, 1.0, min_open=True, max_open=True),
                    default=confidence_level,
                    show_default=True,
                    help=of_level,
                ),
                click.option(
                    "--seed",
                    type=click.IntRange(0, 2**31 - 1),
                    default=0,
                    show_default=True,
                    help="Random seed for the split and resampling.",
                ),
                click.option(
                    "--json",
                    "as_json",
                    is_flag=True,
                    help="Print one JSON object, and nothing else, on standard output.",
                ),
                click.option(
                    "--no-cache",
                    is_flag=True,
                    help="Do not keep compiled programs for the next run.",
                ),
            )
        ):
            command = option(command)
        return command

    return decorate


def reading_options(given: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of `reading` out of a command's arguments."""
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


def start(*, no_cache: bool) -> None:
    """Before anything is compiled."""
    caching.turn_off() if no_cache else caching.turn_on()


def read(path: Path, **options: Any) -> Outputs:
    """Outputs of a file, with progress on standard error; options of `read_file`."""
    with progress(f"Reading {path.name}") as advance:
        found = outputs_reading.read_file(path, progress=advance, **options)
    notes = tuple(map(hints.as_options, found.notes))
    return dataclasses.replace(found, notes=notes)


def read_all(
    paths: Sequence[Path], models: Sequence[str], **options: Any
) -> list[Outputs]:
    """Outputs of files, each of the model in the same place, or all of the only one.

    One file is read once for each of several models.
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
    return [read(path, model=one, **options) for path, one in asked]


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


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A line on standard error, with the time it takes, while something is computed.

    A log file has it only where that is long.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    late = threading.Timer(
        _LONG_SECONDS, lambda: print(f"calib-jax: {what} ...", file=sys.stderr)
    )
    late.daemon = True
    if not console.is_terminal:
        late.start()
    bar = Progress(
        SpinnerColumn(),
        TextColumn(escape(what)),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    try:
        with bar:
            bar.add_task(what, total=None)
            yield
    finally:
        late.cancel()


@contextlib.contextmanager
def printing(folder: Path) -> Iterator[None]:
    """Whoever reads standard output may stop when they have seen enough."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # What is still to be printed, also at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise click.ClickException(
                f"cannot print to standard output ({error.strerror}); print elsewhere. "
                f"All files were written to {folder}."
            ) from error


def finish(report: Any, folder: Path, *, force: bool, as_json: bool) -> None:
    """Writes a report's folder and prints what it found."""
    from ..report import folders

    with working("Drawing and writing"):
        interrupts.raise_once()
        written = folders.write(report, folder, force=force, ready=interrupts.ignore)
    with printing(folder):
        if as_json:
            print_json({**report.as_dict(), "files": [str(path) for path in written]})
            return
        for sentence in read_sentences(report.sources):
            print(sentence)
        for sentence in report.sentences():
            print(sentence)
        print()
        for path in written:
            print(f"Written: {path}")
        print()
        for step in report.next_steps(folder):
            print(f"Next: {step}")


def read_sentences(sources: "Iterable[Source]") -> list[str]:
    """What to know about each file: rows that were left out, and other notes."""
    found = []
    for source in sources:
        reasons = list(source.dropped.items())
        lost = "; ".join(
            f"{count:,} x {reason} (first: {source.dropped_at[reason][0]})"
            for reason, count in reasons[:_MOST_REASONS]
        )
        if len(reasons) > _MOST_REASONS:
            lost += f"; and {len(reasons) - _MOST_REASONS} more reasons"
        said = [f"Left out {lost}."] if lost else []
        # What was joined is counted by the report, and what was lost above.
        said += [note for note in source.notes if not note.startswith("Joined ")]
        if said:
            found.append(
                f"{source.name}: {source.num_rows:,} rows used. {' '.join(said)}"
            )
    return list(dict.fromkeys(found))


def print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    json.dump(content, sys.stdout, allow_nan=False)
    sys.stdout.write("\n")
