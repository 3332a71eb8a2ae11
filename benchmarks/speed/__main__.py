"""python -m benchmarks.speed"""

import argparse
from pathlib import Path

from benchmarks.kit.command import bar, progress
from benchmarks.kit.machine import Watch

from . import cold, command, growth, programs, results, stored
from .child import load
from .tables import target_table

WORKLOADS = (
    "temperature",
    "platt",
    "isotonic",
    "vector_scaling",
    "dirichlet",
    "calibration_error",
    "bootstrap",
    "confident_learning",
    "sequences",
    "cascade",
    "many_errors",
    "smooth",
    "risk_coverage",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Times calib_jax against other libraries and the machine's floor.",
    )
    parser.add_argument(
        "--only", nargs="+", choices=WORKLOADS, metavar="NAME", help="some workloads"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for RESULTS.md, results.json and figures (default: that of this "
        "module; with --only or --small nothing is written). With --only, sections of "
        "the RESULTS.md there are replaced, and the rest stays",
    )
    command.add_options(parser)
    options = parser.parse_args()
    settings, small = command.settings_of(options), options.small
    workloads = [load(name) for name in options.only or WORKLOADS]
    folder = options.output
    if folder is None and not options.only and not small:
        folder = Path(__file__).parent
    watch = Watch()
    growths: list[growth.Growth] = []
    compiled: list[programs.Program] = []
    firsts: cold.Cold | None = None
    with progress() as bars:
        measured = [
            command.run_with_bar(bars, workload, settings, small)
            for workload in workloads
        ]
        if folder is not None and not options.only:
            if not small:
                task = bars.add_task("growth", total=len(workloads), step="")
                for workload in workloads:
                    bars.update(task, step=workload.name)
                    growths.append(growth.run(workload, settings))
                    bars.update(task, advance=1)
                plan = cold.Plan()
                advance = bar(bars, "cold", cold.num_steps(plan))
                firsts = cold.measure(plan, advance=advance)
            task = bars.add_task("programs", total=1, step="")
            compiled = programs.compile_all()
            bars.update(task, advance=1)
    command.print_results(measured, plain=options.json)
    if folder is not None and options.only:
        sections = results.workload_sections(measured)
        stored.put(folder, sections, target_table(measured))
    elif folder is not None:
        machine = watch.finish()
        results.write_results(
            folder, measured, growths, compiled, machine, firsts, small=small
        )


if __name__ == "__main__":
    main()
