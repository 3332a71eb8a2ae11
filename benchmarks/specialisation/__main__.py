"""python -m benchmarks.specialisation FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import real, runs
from .report import Results


def run(
    folder: Path,
    *,
    seed: int,
    num_halves: int,
    num_bins: int,
    num_draws: int,
    num_runs: int,
    num_repeats: int,
    num_train: int,
) -> Results:
    """Judges every large pair of the folder, and trains networks."""
    tasks = outputs.read_all(folder, lambda task: bool(task.get("large_large")))
    pairs = []
    with command.progress() as bars:
        for task in command.each(bars, "real pairs", tasks, lambda task: task.title):
            pairs += real.judge(task, seed, num_halves, num_bins, num_draws)
        advance = command.bar(bars, "networks", num_repeats * runs.num_steps(num_runs))
        trained = [
            runs.judge(seed, repeat, num_runs, num_train, num_bins, num_draws, advance)
            for repeat in range(num_repeats)
        ]
    return Results(
        pairs=pairs,
        trained=trained,
        num_halves=num_halves,
        num_draws=num_draws,
        num_train=num_train,
    )


def main() -> None:
    command.main(
        run,
        __package__,
        "Why two large models beat either.",
        results=Results,
        num_halves=5,
        num_bins=15,
        num_draws=499,
        num_runs=4,
        num_repeats=2,
        num_train=600,
        seed=0,
    )


if __name__ == "__main__":
    main()
