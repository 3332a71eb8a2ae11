"""python -m benchmarks.guarantees FOLDER"""

from pathlib import Path

from benchmarks import command
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
    with command.progress() as bars:
        advance = command.bar(bars, "simulation", len(_NUM_ROWS))
        simulated = []
        for num_rows in _NUM_ROWS:
            simulated += simulate(seed, num_rows, 2 * num_splits, delta)
            advance(f"{num_rows} rows")
        judged = {}
        for name in found:
            task = outputs.read(folder, name)
            advance = command.bar(bars, name, 1 + len(task.small_large))
            halves = real.splits(task, seed, num_splits)
            params = real.platt(task, halves[0])
            advance("Platt")
            for pair in task.small_large:
                small, large = (task.models[k] for k in pair)
                judged[f"{task.title}: {small}, {large}"] = real.judge(
                    task, params, halves, pair, num_bins, delta
                )
                advance(f"{small}, {large}")
    write_results(destination, simulated, judged, num_splits, delta)


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether guarantees of the choice of K hold.",
        num_splits=1000,
        num_bins=15,
        delta=0.1,
        seed=0,
    )


if __name__ == "__main__":
    main()
