"""The command line of a benchmark, and its progress bars."""

import argparse
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from . import report
from .plain import load
from .report import Results

Item = TypeVar("Item")
Advance = Callable[[str], None]


def main(
    run: Callable[..., Results | None],
    name: str,
    description: str,
    *,
    reads_folder: bool = True,
    results: type[Results] | None = None,
    output: Path | None = None,
    argv: Sequence[str] | None = None,
    **defaults: Any,
) -> None:
    """`python -m NAME [FOLDER] --output DESTINATION ...`.

    Args:
      run: does the measuring. It takes the folder of saved outputs, if it reads one,
        and the options by name. It returns `Results` to be written; or it also takes
        `destination`, writes everything there itself and returns None.
      name: name of the package that is run.
      description: one sentence.
      reads_folder: whether it reads saved outputs.
      results: the type of what `run` returns, which adds `--render`.
      output: folder to write to by default; if None, that of the package.
      argv: arguments, by default those of the process.
      **defaults: defaults of options of the same names: a number; False for a flag; a
        tuple of strings to choose from, or of numbers to be replaced by any others.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    here = Path(str(importlib.import_module(name).__file__)).parent
    if reads_folder:
        parser.add_argument(
            "folder",
            type=Path,
            nargs="?" if results else None,
            help="saved outputs; see benchmarks/paper/README.md",
        )
    parser.add_argument(
        "--output",
        type=Path,
        default=output or here,
        help="folder to write to (default: %(default)s)",
    )
    if results:
        parser.add_argument(
            "--render",
            action="store_true",
            help="measure nothing: write text and figures anew from the results.json "
            "of this module",
        )
    for option, default in defaults.items():
        _add(parser, f"--{option.replace('_', '-')}", default)
    options = vars(parser.parse_args(argv))
    destination, start = options["output"], time.perf_counter()
    if options.pop("render", False):
        found = load(results, here / "results.json")
    else:
        if reads_folder and options["folder"] is None:
            parser.error("the following arguments are required: folder")
        destination = options.pop("output")
        if results is None:
            options["destination"] = destination
        found = run(**options)
    if found is not None:
        report.write(destination, found.text(), found, found.figures())
    seconds = time.perf_counter() - start
    print(f"{destination} written in {seconds:.0f} s")


def _add(parser: argparse.ArgumentParser, name: str, default: Any) -> None:
    if isinstance(default, bool):
        parser.add_argument(name, action="store_true")
    elif isinstance(default, tuple):
        text = isinstance(default[0], str)
        parser.add_argument(
            name,
            type=type(default[0]),
            nargs="+",
            default=default,
            choices=default if text else None,
            metavar=None if text else "N",
            help=f"default: {'all' if text else ' '.join(map(str, default))}",
        )
    else:
        parser.add_argument(
            name, type=type(default), default=default, help=f"default: {default}"
        )


def progress() -> Progress:
    """Bars of tasks, and what each is doing, on standard error."""
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
        console=Console(stderr=True),
    )


def bar(bars: Progress, title: str, total: int | None) -> Advance:
    """Adds a bar; the function returned moves it by one and shows what comes next."""
    task = bars.add_task(title, total=total, step="")
    return lambda step="": bars.update(task, advance=1, step=step)


def each(
    bars: Progress, title: str, items: Sequence[Item], name: Callable[[Item], str] = str
) -> Iterator[Item]:
    """The items, with a bar of their own that shows the last one."""
    advance = bar(bars, title, len(items))
    for item in items:
        yield item
        advance(name(item)[:60])
