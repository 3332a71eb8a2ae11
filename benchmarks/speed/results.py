"""RESULTS.md, generated from the measurements."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit.machine import Machine
from benchmarks.kit.report import Section, figure, grid, write_sections

from . import growth, programs
from .accelerated import FILE, Accelerated
from .cold import Cold
from .growth import Growth
from .tables import (
    WorkloadResult,
    megabytes,
    significant,
    target_table,
    workload_blocks,
)


def _paragraphs(*blocks: str) -> str:
    return "\n\n".join(blocks)


def _growth_section(growths: Sequence[Growth]) -> Section:
    rows = []
    for one in growths:
        times, peaks = one.times, one.peaks
        over = None if times is None else times[-1] / times[0]
        more = None if peaks is None else max(peaks[1:]) - peaks[0]
        rows.append(
            [
                one.title,
                "-"
                if times is None
                else ", ".join(significant(1e3 * time) for time in times),
                significant(over),
                "-"
                if over is None
                else "yes"
                if over <= growth.FACTORS[-1]
                else "**no**",
                "-" if peaks is None else ", ".join(map(megabytes, peaks)),
                "-" if more is None else "yes" if more <= growth.FLAT else "**no**",
            ]
        )
    header = (
        "workload",
        "warm at 1x, 4x, 16x (ms)",
        "16x over 1x",
        "no faster than the data",
        "memory at 1x, 4x, 16x (MB)",
        "flat",
    )
    caption = "Time and memory against the data, each over that at the smallest size."
    return Section(
        title="Growth",
        text=_paragraphs(
            "calib_jax alone, with 1, 4 and 16 times the data. Memory is what is taken "
            "beyond the inputs, compiling included; it is flat where it grows by at "
            f"most {megabytes(growth.FLAT)} MB.",
            grid(header, rows),
            figure("growth", caption),
        ),
        figures={"growth": lambda dark: growth.draw(growths)},
        numbers=growths,
    )


def _program_section(compiled: Sequence[programs.Program]) -> Section:
    rows = [
        [
            program.name,
            megabytes(program.logits),
            megabytes(program.temporary),
            "-"
            if program.share is None
            else "yes"
            if program.share <= programs.LARGEST_SHARE
            else "**no**",
        ]
        for program in compiled
    ]
    header = ("call", "logits (MB)", "temporary (MB)", "no buffer of their size")
    return Section(
        title="Compiled programs",
        text=_paragraphs(
            "What the programs compiled for the CPU allocate beside arguments and "
            "results, by `memory_analysis()`: at most "
            f"{100 * programs.LARGEST_SHARE:.0f} % of the bytes of the logits, so that "
            "no copy of them is among it.",
            grid(header, rows),
        ),
        numbers=compiled,
    )


def _accelerator_section(folder: Path) -> Section:
    path = folder / FILE
    if not path.is_file():
        text = (
            "**Unmeasured.** On a machine with a GPU or TPU, `python -m "
            "benchmarks.speed.accelerator` measures it and writes "
            f"`{FILE}`, which the next run shows here."
        )
        return Section(title="On an accelerator", text=text)
    measured = Accelerated.read(path)
    return Section(
        title="On an accelerator",
        text=_paragraphs(*measured.blocks()),
        numbers=measured,
    )


_METHOD = """\
Every candidate runs in a process of its own, on the same inputs, already arrays of its
own library. *First* is the first call in a fresh process, which compiles (of calib_jax
the median of several processes); *warm* the median of the later calls, which the
candidates make in turns, one each, while the others wait. Results are pulled to the
host within the timing. *Memory* is the most that a call takes beyond the inputs; *warm
only* leaves the first call out, but not what it left behind. Ratios are medians of the
ratios of each round. Errors are against float64 NumPy, independent of calib_jax. The
*floor* is a program that does only what the machine must: it reads the inputs once
where nothing else is said."""


def _machine_block(machine: Machine) -> str:
    versions = ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    memory = (
        "unknown" if machine.memory is None else f"{machine.memory / 2**30:.0f} GiB"
    )
    lines = [
        f"- {machine.processor}, {machine.cores} cores, {memory}; {machine.system}",
        f"- {versions}",
    ]
    if machine.absent:
        lines.append(f"- not installed, and left out: {', '.join(machine.absent)}")
    if machine.flags:
        lines.append(f"- XLA_FLAGS: `{machine.flags}`")
    if machine.load:
        before, after = (f"{load:.2f}" for load in machine.load)
        lines.append(f"- load average before {before}, after {after}")
    if machine.steal is not None:
        lines.append(
            f"- time that the host gave to others: {100 * machine.steal:.1f} %"
        )
    return "\n".join(lines)


def workload_sections(measured: Sequence[WorkloadResult]) -> list[Section]:
    """A section for each workload."""
    return [
        Section(
            title=one.workload.title,
            text=_paragraphs(*workload_blocks(one)),
            numbers=one.plain(),
        )
        for one in measured
    ]


def write_results(
    folder: Path,
    measured: Sequence[WorkloadResult],
    growths: Sequence[Growth],
    compiled: Sequence[programs.Program],
    machine: Machine,
    cold: Cold | None = None,
    *,
    small: bool = False,
) -> None:
    """Writes RESULTS.md, results.json and figures.

    Args:
      folder: made where it is missing; an accelerator's measurements are read from it.
      measured: workloads, in order.
      growths: of the workloads, or none.
      compiled: programs.
      machine: the machine of the run.
      cold: first calls, or none.
      small: whether sizes are too small to measure anything.
    """
    preface = [
        "# Speed",
        "Written by `python -m benchmarks.speed`; nothing here is typed by hand. The "
        "numbers behind the tables are in `results.json`.",
    ]
    if small:
        preface.append("**Small sizes: this run measures nothing.**")
    preface += ["## Targets", target_table(measured)]
    if cold is not None:
        preface.append(
            "The targets of first calls, in CPU time, are in section *Cold*."
        )
    sections = [
        Section(
            title="Machine and method",
            text=_paragraphs(_machine_block(machine), _METHOD),
            numbers=machine,
        )
    ]
    sections += workload_sections(measured)
    if growths:
        sections.append(_growth_section(growths))
    if cold is not None:
        sections.append(cold.section())
    sections.append(_program_section(compiled))
    sections.append(_accelerator_section(folder))
    write_sections(folder, _paragraphs(*preface), sections)
