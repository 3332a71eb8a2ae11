"""python -m benchmarks.paper FOLDER"""

import argparse
import dataclasses
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import (
    ablations,
    calibration,
    cascades,
    cleaning,
    independence,
    language_cleaning,
    large_pairs,
    preface,
    shift,
    task_shift,
)
from .study import Advance, Settings, prepare

# Each has num_steps(study), evaluate(study, advance) and describe(study, numbers).
SECTIONS: Mapping[str, ModuleType] = {
    "calibration": calibration,
    "cascades": cascades,
    "large-pairs": large_pairs,
    "cleaning": cleaning,
    "language-cleaning": language_cleaning,
    "ablations": ablations,
    "shift": shift,
    "task-shift": task_shift,
    "independence": independence,
}


def run(
    folder: Path,
    destination: Path,
    settings: Settings,
    names: tuple[str, ...] = tuple(SECTIONS),
    *,
    vector: bool = False,
) -> list[Section]:
    """Evaluates, and writes RESULTS.md, results.json and figures.

    Args:
      folder: of saved outputs.
      destination: folder to write to.
      settings: how much to compute.
      names: which sections.
      vector: also write every figure as a PDF.

    Returns:
      The sections, in order.
    """
    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
    )
    with Progress(*columns) as progress:

        def bar(title: str, total: int | None) -> Advance:
            task = progress.add_task(title, total=total, step="")
            return lambda step="": progress.update(task, advance=1, step=step)

        study = prepare(folder, settings, bar("calibrate", None))
        bars = {name: bar(name, SECTIONS[name].num_steps(study)) for name in names}

        def evaluate(name: str) -> Section:
            numbers = SECTIONS[name].evaluate(study, bars[name])
            return SECTIONS[name].describe(study, numbers)

        # Most of the time goes into compiling, one program at a time in each thread.
        with ThreadPoolExecutor(max_workers=2) as pool:
            sections = list(pool.map(evaluate, names))
        total = sum(len(section.figures) for section in sections)
        report.write(
            destination,
            preface.blocks(study),
            sections,
            bar("figures", total),
            vector=vector,
        )
    return sections


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description="Every table and figure of the paper, on saved outputs of models.",
    )
    parser.add_argument("folder", type=Path, help="saved outputs; see README.md")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="folder for RESULTS.md, results.json and figures (default: here)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(SECTIONS),
        default=list(SECTIONS),
        help="sections to evaluate (default: all)",
    )
    parser.add_argument("--vector", action="store_true", help="figures also as PDF")
    for field in dataclasses.fields(Settings):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"default: {field.default}",
        )
    options = parser.parse_args()
    fields = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(options, name) for name in fields})
    start = time.perf_counter()
    run(
        options.folder,
        options.output,
        settings,
        tuple(options.only),
        vector=options.vector,
    )
    seconds = time.perf_counter() - start
    print(f"{options.output / 'RESULTS.md'} written in {seconds:.0f} s")


if __name__ == "__main__":
    main()
