"""python -m benchmarks.paper FOLDER"""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.kit import command, report
from benchmarks.kit.report import Section

from . import (
    ablations,
    calibration,
    cascades,
    cleaning,
    further,
    independence,
    language_cleaning,
    large_pairs,
    shift,
    task_shift,
    text,
)
from .study import Settings, prepare

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
    "further": further,
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
    with command.progress() as bars:
        study = prepare(folder, settings, command.bar(bars, "calibrate", None))
        advances = {
            name: command.bar(bars, name, SECTIONS[name].num_steps(study))
            for name in names
        }

        def evaluate(name: str) -> Section:
            numbers = SECTIONS[name].evaluate(study, advances[name])
            return SECTIONS[name].describe(study, numbers)

        # Compiling takes most of the time, one program at a time in each thread.
        with ThreadPoolExecutor(max_workers=2) as pool:
            sections = list(pool.map(evaluate, names))
        total = sum(len(section.figures) for section in sections)
        report.write_sections(
            destination,
            text.preface(study),
            sections,
            command.bar(bars, "figures", total),
            vector=vector,
        )
    return sections


def _run(
    folder: Path,
    destination: Path,
    *,
    only: tuple[str, ...],
    vector: bool,
    **settings: Any,
) -> None:
    run(folder, destination, Settings(**settings), tuple(only), vector=vector)


def main() -> None:
    command.main(
        _run,
        __package__,
        "Every table and figure of the paper, on saved outputs of models.",
        only=tuple(SECTIONS),
        vector=False,
        **dataclasses.asdict(Settings()),
    )


if __name__ == "__main__":
    main()
