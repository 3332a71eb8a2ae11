"""python -m benchmarks.families FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import classes, judged, scores
from .report import Group, Results


def run(folder: Path, *, seed: int, num_splits: int) -> Results:
    """Fits and judges every calibrator on every task of the folder."""
    # Means over the models of a task: two are too few.
    names = outputs.find(
        folder, lambda task: len(task["models"]) > 2, without_pairs=True
    )
    tasks = [outputs.read(folder, name) for name in names]
    groups = []
    with command.progress() as bars:
        for module in (scores, classes):
            found: dict[str, dict[str, judged.Judged]] = {}
            sizes = {}
            for task in tasks:
                if module is classes and task.logits is None:
                    continue
                rows = judged.rows(task, seed, num_splits)
                sizes[task.title] = rows.sizes
                advance = command.bar(bars, task.title, len(module.METHODS))
                found[task.title] = {}
                for name, method in module.METHODS.items():
                    found[task.title][name] = module.judge(task, name, rows)
                    advance(method.title)
            groups.append(Group(judged=found, sizes=sizes))
    of_scores, of_classes = groups
    return Results(of_scores=of_scores, of_classes=of_classes, num_splits=num_splits)


def main() -> None:
    command.main(
        run,
        __package__,
        "Which calibrator for how many rows.",
        results=Results,
        num_splits=20,
        seed=0,
    )


if __name__ == "__main__":
    main()
