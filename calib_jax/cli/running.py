"""How a command runs: options that all share, progress, and what it ends with."""

import contextlib
import dataclasses
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import caching, interrupts, options

if TYPE_CHECKING:
    from ..report.records import Report, Source

# Of rows that were left out; the page has them all.
_MOST_REASONS = 3
# Of files that there is something to say about.
_MOST_SOURCES = 8
# After which a log file is told what is done.
_LONG_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Run:
    """Options on what is computed and where it goes.

    Attributes:
      output: folder for the page and the files.
      force: whether files in a folder that is not empty are replaced.
      confidence_level: of intervals and promises, or of a check.
      seed: of halves and draws.
      as_json: whether one JSON object is printed in place of sentences.
    """

    output: Path
    force: bool
    confidence_level: float
    seed: int
    as_json: bool

    def check(
        self,
        command: str,
        read: Iterable[Path | None],
        names: Sequence[str] = (),
    ) -> None:
        """Raises `ValueError` if the folder may not be written to, before any work."""
        from ..report import folders

        folders.check(
            self.output, force=self.force, command=command, names=names, read=read
        )

    def finish(self, report: "Report", how: Mapping[str, Any]) -> None:
        """Writes a report's folder and prints what it found.

        Args:
          report: of any command.
          how: the options on reading, which commands on new files need again.
        """
        from ..report import folders

        reading, second, labelling = options.again(how)
        report = dataclasses.replace(
            report, reading=reading, second=second, labelling=labelling
        )
        with working("Drawing and writing"):
            interrupts.raise_once()
            written = folders.write(
                report, self.output, force=self.force, ready=interrupts.ignore
            )
        with _printing(self.output):
            if self.as_json:
                files = [str(path) for path in written]
                _print_json({**report.to_dict(), "files": files})
                return
            said = read_sentences(report.sources)
            for sentence in said[:_MOST_SOURCES]:
                print(sentence)
            if len(said) > _MOST_SOURCES:
                rest = len(said) - _MOST_SOURCES
                print(f"There are notes on {rest:,} more files; the page has them.")
            for sentence in report.sentences():
                print(sentence)
            print()
            for path in written:
                print(f"Written: {path}")
            print()
            for step in report.next_steps(self.output):
                print(f"Next: {step}")


no_cache = click.option(
    "--no-cache", is_flag=True, help="Do not keep compiled programs for the next run."
)


def as_run(
    default: str,
    *,
    confidence_level: float = 0.95,
    of_level: str = "Confidence level of intervals and promises.",
) -> options.Decorator:
    """Options that a command gets together, as `run`, a `Run`.

    Args:
      default: the folder.
      confidence_level: the default.
      of_level: what it is.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def collected(*, no_cache: bool, **given: Any) -> Any:
            start(no_cache=no_cache)
            fields = dataclasses.fields(Run)
            run = Run(**{field.name: given.pop(field.name) for field in fields})
            return command(run=run, **given)

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
                    type=options.Number(0.0, 1.0, min_open=True, max_open=True),
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
                no_cache,
            )
        ):
            collected = option(collected)
        return collected

    return decorate


def start(*, no_cache: bool) -> None:
    """Before anything is compiled."""
    caching.turn_off() if no_cache else caching.turn_on()


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
def steps(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error over steps; a log file gets a line now and then.

    Yields what is to be called with the steps done so far and in all.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        TextColumn(escape(what)),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    told = time.monotonic()
    with bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            nonlocal told
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - told > _LONG_SECONDS:
                told = time.monotonic()
                share = 100 * done // max(total, 1)
                print(f"calib-jax: {what}: {share}% ...", file=sys.stderr)

        yield advance


@contextlib.contextmanager
def _printing(folder: Path) -> Iterator[None]:
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


def _print_json(content: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    json.dump(content, sys.stdout, allow_nan=False)
    sys.stdout.write("\n")
