"""python -m benchmarks.guarantees FOLDER"""

import argparse
import time
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks.paper import outputs

from . import real
from .report import write_results
from .simulation import simulate

_NUM_ROWS = (200, 1000, 5000)


def run(
    folder: Path,
    destination: Path,
    *,
    seed: int,
    num_splits: int,
    num_bins: int,
    delta: float,
) -> None:
    """Simulates, judges every pair of every task of the folder, and writes."""
    described = outputs.descriptions()
    found = [name for name in described if outputs.present(folder, described[name])]
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected the files of benchmarks/paper; its README.md says "
            "where to get them."
        )
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("simulation", total=len(_NUM_ROWS))
        simulated = []
        for num_rows in _NUM_ROWS:
            simulated += simulate(seed, num_rows, 2 * num_splits, delta)
            progress.advance(bar)
        judged = {}
        for name in found:
            task = outputs.read(folder, name)
            bar = progress.add_task(name, total=1 + len(task.small_large))
            halves = real.splits(task, seed, num_splits)
            params = real.platt(task, halves[0])
            progress.advance(bar)
            for pair in task.small_large:
                small, large = (task.models[k] for k in pair)
                judged[f"{task.title}: {small}, {large}"] = real.judge(
                    task, params, halves, pair, num_bins, delta
                )
                progress.advance(bar)
    write_results(destination, simulated, judged, num_splits, delta)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guarantees",
        description="Whether guarantees of the choice of K hold.",
    )
    parser.add_argument("folder", type=Path, help="saved outputs; see benchmarks/paper")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="folder for RESULTS.md, results.json and figures (default: here)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--num-splits", type=int, default=1000, help="default: 1000")
    parser.add_argument("--num-bins", type=int, default=15, help="default: 15")
    parser.add_argument("--delta", type=float, default=0.1, help="default: 0.1")
    options = vars(parser.parse_args())
    folder, destination = options.pop("folder"), options.pop("output")
    start = time.perf_counter()
    run(folder, destination, **options)
    seconds = time.perf_counter() - start
    print(f"{destination / 'RESULTS.md'} written in {seconds:.0f} s")


if __name__ == "__main__":
    main()
