"""python -m benchmarks.guarantees FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import real
from .report import Results
from .simulation import simulate

_NUM_ROWS = (200, 1000, 5000)


def run(
    folder: Path, *, seed: int, num_splits: int, num_bins: int, delta: float
) -> Results:
    """Simulates, and judges every pair of every task of the folder."""
    tasks = outputs.read_all(folder)
    simulated, judged = [], {}
    with command.progress() as bars:
        for num_rows in command.each(bars, "simulation", _NUM_ROWS):
            simulated += simulate(seed, num_rows, 2 * num_splits, delta)
        for task in tasks:
            advance = command.bar(bars, task.name, 1 + len(task.small_large))
            halves = real.splits(task, seed, num_splits)
            params = real.platt(task, halves[0])
            advance("Platt")
            for pair in task.small_large:
                small, large = (task.models[k] for k in pair)
                judged[f"{task.title}: {small}, {large}"] = real.judge(
                    task, params, halves, pair, num_bins, delta
                )
                advance(f"{small}, {large}")
    return Results(
        simulated=simulated, judged=judged, num_splits=num_splits, delta=delta
    )


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether guarantees of the choice of K hold.",
        results=Results,
        num_splits=1000,
        num_bins=15,
        delta=0.1,
        seed=0,
    )


if __name__ == "__main__":
    main()
