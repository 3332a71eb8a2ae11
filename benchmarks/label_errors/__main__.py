"""python -m benchmarks.label_errors FOLDER"""

from pathlib import Path

from benchmarks.kit import command

from . import expected, ranking
from .report import Results


def run(folder: Path, *, seed: int, num_splits: int, num_resamples: int) -> Results:
    """Judges expectations and rankings on every case of the folder."""
    with command.progress() as bars:
        foreseen = expected.evaluate(
            folder,
            seed=seed,
            num_splits=num_splits,
            advance=command.bar(bars, "expected precision", None),
        )
        ranked = ranking.evaluate(
            folder,
            seed=seed,
            num_splits=num_splits,
            num_resamples=num_resamples,
            advance=command.bar(bars, "ranking", None),
        )
    return Results(expected=foreseen, ranking=ranked, num_splits=num_splits)


def main() -> None:
    command.main(
        run,
        __package__,
        "How many suspect labels are wrong, and which score ranks them first.",
        results=Results,
        num_splits=10,
        num_resamples=200,
        seed=0,
    )


if __name__ == "__main__":
    main()
