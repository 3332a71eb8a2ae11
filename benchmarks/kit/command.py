"""What the command lines of benchmarks have in common."""

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

Advance = Callable[[str], None]


def parser(
    name: str, description: str, *, folder: bool = False, **defaults: int | float
) -> argparse.ArgumentParser:
    """A parser of `python -m NAME [FOLDER] --output DESTINATION ...`.

    Args:
      name: of the package that is run.
      description: one sentence.
      folder: whether it reads the saved outputs of benchmarks/paper.
      **defaults: of numbers, each an option of that name.
    """
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    if folder:
        made.add_argument(
            "folder", type=Path, help="saved outputs; see benchmarks/paper/README.md"
        )
    here = Path(str(importlib.import_module(name).__file__)).parent
    made.add_argument(
        "--output",
        type=Path,
        default=here,
        help="folder for RESULTS.md, results.json and figures (default: that of this "
        "module)",
    )
    for option, default in defaults.items():
        made.add_argument(
            f"--{option.replace('_', '-')}",
            type=type(default),
            default=default,
            help=f"default: {default}",
        )
    return made


def main(
    run: Callable[..., None], name: str, description: str, **defaults: int | float
) -> None:
    """The command line of a benchmark that reads saved outputs.

    Args:
      run: of the folder to read, that to write to, and the numbers by name.
      name: of the package that is run.
      description: one sentence.
      **defaults: of the numbers.
    """
    options = vars(parser(name, description, folder=True, **defaults).parse_args())
    folder, destination = options.pop("folder"), options.pop("output")
    start = time.perf_counter()
    run(folder, destination, **options)
    seconds = time.perf_counter() - start
    print(f"{destination / 'RESULTS.md'} written in {seconds:.0f} s")


def progress() -> Progress:
    """A bar for each task, with what it is doing; on the standard error."""
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
        console=Console(stderr=True),
    )


def bar(bars: Progress, title: str, total: int) -> Advance:
    """Adds a bar; the function moves it by one and says what comes next."""
    task = bars.add_task(title, total=total, step="")
    return lambda step="": bars.update(task, advance=1, step=step)
