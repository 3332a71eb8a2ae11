"""python -m benchmarks.alarms FOLDER"""

from pathlib import Path

from benchmarks.kit import command
from calib_jax.demo import data

from . import digits, saved, simulation
from .report import Results


def run(
    folder: Path,
    *,
    samples: int,
    repeats: int,
    splits: int,
    batches: int,
    train: int,
    epochs: int,
    seed: int,
) -> Results:
    """Simulates, trains, corrupts and shifts."""
    with command.progress() as bars:
        simulated = [
            simulation.simulate(setting, seed, samples)
            for setting in command.each(bars, "simulation", simulation.SETTINGS)
        ]
        corrupted = digits.measure(
            data.Settings(seed=seed, num_train=train),
            epochs,
            repeats,
            batches,
            command.bar(bars, "digits", digits.num_steps(repeats)),
        )
        shifted = [
            saved.measure(folder, shift, seed, splits, batches)
            for shift in command.each(
                bars, "saved outputs", saved.shifts(folder), lambda shift: shift.title
            )
        ]
    return Results(
        simulated=simulated,
        corrupted=corrupted,
        shifted=shifted,
        num_samples=samples,
    )


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether alarms come before a cascade gets worse, and how many are false.",
        results=Results,
        samples=400,  # Samples of each simulated setting.
        repeats=3,  # Networks trained.
        splits=5,  # Splits of saved outputs.
        batches=20,  # New batches of each repeat or split.
        train=1500,  # Digits to train on.
        epochs=10,
        seed=0,
    )


if __name__ == "__main__":
    main()
