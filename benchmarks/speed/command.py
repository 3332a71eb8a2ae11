"""Runs workloads: all of them for `python -m benchmarks.speed`, or one by itself."""

import argparse
import dataclasses
import functools
from collections.abc import Sequence

from rich.progress import Progress

from benchmarks.kit.command import progress

from .cases import Case, Workload
from .measure import Advance, Settings, Start, num_steps, run_case
from .process import ChildSession
from .tables import WorkloadResult, as_json, target_table, workload_blocks


def cases_of(workload: Workload, *, small: bool) -> Sequence[Case]:
    """The cases of a workload; among small ones with equal inputs only the first."""
    chosen: list[Case] = []
    for case in workload.cases:
        if not small:
            chosen.append(case)
        elif all(case.small != other.small for other in chosen):
            chosen.append(case)
    return chosen


def _advance_case(advance: Advance, name: str, step: str) -> None:
    advance(f"{name}: {step}")


def run_workload(
    workload: Workload,
    settings: Settings,
    *,
    small: bool = False,
    start: Start = ChildSession,
    advance: Advance = lambda step: None,
) -> WorkloadResult:
    """Measures all cases of a workload.

    Args:
      workload: workload to measure.
      settings: how much to measure.
      small: whether to use small sizes, which only check that everything works.
      start: starts a session.
      advance: called before each step with its description.
    """
    cases = cases_of(workload, small=small)
    if small:
        cases = [
            dataclasses.replace(case, name=f"{case.name} (small)", size=case.small)
            for case in cases
        ]
    results = [
        run_case(
            workload,
            case,
            settings,
            start=start,
            advance=functools.partial(_advance_case, advance, case.name),
        )
        for case in cases
    ]
    return WorkloadResult(workload=workload, cases=cases, results=results)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that every command has."""
    default = Settings().rounds
    parser.add_argument(
        "--rounds", type=int, default=default, help=f"warm calls (default: {default})"
    )
    parser.add_argument(
        "--small", action="store_true", help="sizes that only show that it works"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, no tables")


def settings_of(options: argparse.Namespace) -> Settings:
    """Settings from the options of `add_options`."""
    rounds = options.rounds
    if rounds < 1:
        raise SystemExit(f"--rounds: expected at least 1, got {rounds}.")
    few = {"starts": 1} if options.small else {}
    return dataclasses.replace(Settings(), rounds=rounds, **few)


def run_with_bar(
    bars: Progress, workload: Workload, settings: Settings, small: bool
) -> WorkloadResult:
    """`run_workload` with a bar of its own."""
    steps = [
        num_steps(workload, case, settings) for case in cases_of(workload, small=small)
    ]
    task = bars.add_task(workload.name, total=sum(steps), step="")

    def advance(step: str) -> None:
        bars.update(task, advance=1, step=step)

    result = run_workload(workload, settings, small=small, advance=advance)
    # A case has fewer steps where candidates are left out.
    bars.update(task, completed=sum(steps), step="")
    return result


def print_results(measured: Sequence[WorkloadResult], *, plain: bool) -> None:
    """Prints JSON, or the tables."""
    if plain:
        print(as_json(measured))
        return
    for one in measured:
        print(f"# {one.workload.title}", *workload_blocks(one), sep="\n\n", end="\n\n")
    print(target_table(measured))


def run_one(workload: Workload) -> None:
    """The command of one workload: measures it, and prints what it found."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.{workload.name}",
        description=f"Times one workload: {workload.title}.",
    )
    add_options(parser)
    options = parser.parse_args()
    with progress() as bars:
        result = run_with_bar(bars, workload, settings_of(options), options.small)
    print_results([result], plain=options.json)
