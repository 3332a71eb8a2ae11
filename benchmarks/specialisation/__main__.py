"""python -m benchmarks.specialisation FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import real, runs
from .report import write_results


def run(
    folder: Path,
    destination: Path,
    *,
    seed: int,
    num_halves: int,
    num_bins: int,
    num_draws: int,
    num_runs: int,
    num_repeats: int,
    num_train: int,
) -> None:
    """Judges every large pair of the folder, trains networks, and writes."""
    described = outputs.descriptions()
    found = [
        name
        for name, task in described.items()
        if task.get("large_large") and outputs.present(folder, task)
    ]
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected the files of benchmarks/paper; its README.md says "
            "where to get them."
        )
    with command.progress() as bars:
        pairs = []
        advance = command.bar(bars, "real pairs", len(found))
        for name in found:
            task = outputs.read(folder, name)
            pairs += real.judge(task, seed, num_halves, num_bins, num_draws)
            advance(task.title)
        advance = command.bar(bars, "networks", num_repeats * runs.num_steps(num_runs))
        trained = [
            runs.judge(seed, repeat, num_runs, num_train, num_bins, num_draws, advance)
            for repeat in range(num_repeats)
        ]
    write_results(destination, pairs, trained, num_halves, num_draws, num_train)


def main() -> None:
    command.main(
        run,
        __package__,
        "Why two large models beat either.",
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
