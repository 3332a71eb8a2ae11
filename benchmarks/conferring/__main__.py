"""python -m benchmarks.conferring FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import classifiers, committees, pairs, tried
from .report import Results


def run(folder: Path, *, seed: int, num_splits: int, num_bins: int) -> Results:
    """Judges every pair and every committee of every task of the folder."""
    names = outputs.find(folder, without_pairs=True)
    tasks = {name: outputs.read(folder, name) for name in names}
    with command.progress() as bars:
        made = classifiers.make(seed)
        judged = {classifiers.NAME: pairs.evaluate(made, seed, num_splits, num_bins)}
        named = command.each(
            bars, "pairs", list(tasks.items()), lambda one: one[1].title
        )
        for name, task in named:
            judged[name] = pairs.evaluate(task, seed, num_splits, num_bins)
        # These take longer.
        fewer = max(num_splits // 2, 2)
        studied = tried.evaluate(
            tasks, seed, fewer, command.bar(bars, "guards", len(tasks))
        )
        voted, bounded = committees.evaluate(tasks.values(), seed, fewer, bars)
    return Results(
        pairs=judged,
        tried=studied,
        committees=voted,
        bounds=bounded,
        num_splits=num_splits,
        num_bins=num_bins,
    )


def main() -> None:
    command.main(
        run,
        __package__,
        "What models gain that confer.",
        results=Results,
        num_splits=20,
        num_bins=15,
        seed=0,
    )


if __name__ == "__main__":
    main()
