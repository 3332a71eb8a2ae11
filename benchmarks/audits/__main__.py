"""python -m benchmarks.audits FOLDER"""

from pathlib import Path

from benchmarks.kit import command, outputs

from . import real, simulated
from .report import Results


def run(
    folder: Path, *, seed: int, num_samples: int, num_rows: int, num_audits: int
) -> Results:
    """Simulates, and judges every group of experts of the folder."""
    tasks = outputs.read_all(folder, lambda task: "truth" in task)
    size = {"seed": seed, "num_samples": num_samples, "num_rows": num_rows}
    with command.progress() as bars:
        return Results(
            expected=[
                simulated.expect(noise, **size)
                for noise in command.each(bars, "noise of labels", simulated.NOISES)
            ],
            shared=[
                simulated.share(share, **size)
                for share in command.each(bars, "shared errors", simulated.SHARES)
            ],
            judged={
                task.title: real.judge(task, seed=seed, num_audits=num_audits)
                for task in command.each(
                    bars, "real experts", tasks, lambda task: task.title
                )
            },
            num_rows=num_rows,
            num_audits=num_audits,
        )


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether the cleaning of labels can be planned.",
        results=Results,
        num_samples=40,
        num_rows=20_000,
        num_audits=1000,
        seed=0,
    )


if __name__ == "__main__":
    main()
