"""python -m benchmarks.audits FOLDER"""

from pathlib import Path

from benchmarks import command
from benchmarks.paper import outputs

from . import real, simulated
from .report import write_results


def run(
    folder: Path,
    destination: Path,
    *,
    seed: int,
    num_samples: int,
    num_rows: int,
    num_audits: int,
) -> None:
    """Simulates, judges every group of experts of the folder, and writes."""
    described = outputs.descriptions()
    found = [
        name
        for name, task in described.items()
        if "truth" in task and outputs.present(folder, task)
    ]
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected the files of benchmarks/paper; its README.md says "
            "where to get them."
        )
    size = {"seed": seed, "num_samples": num_samples, "num_rows": num_rows}
    expected, shared, judged = [], [], {}
    with command.progress() as bars:
        advance = command.bar(bars, "noise of labels", len(simulated.NOISES))
        for noise in simulated.NOISES:
            expected.append(simulated.expect(noise, **size))
            advance(noise)
        advance = command.bar(bars, "shared errors", len(simulated.SHARES))
        for share in simulated.SHARES:
            shared.append(simulated.share(share, **size))
            advance(str(share))
        advance = command.bar(bars, "real experts", len(found))
        for name in found:
            task = outputs.read(folder, name)
            judged[task.title] = real.judge(task, seed=seed, num_audits=num_audits)
            advance(task.title)
    write_results(destination, expected, shared, judged, num_rows, num_audits)


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether the cleaning of labels can be planned.",
        num_samples=40,
        num_rows=20_000,
        num_audits=1000,
        seed=0,
    )


if __name__ == "__main__":
    main()
