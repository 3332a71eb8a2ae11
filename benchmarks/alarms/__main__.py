"""python -m benchmarks.alarms FOLDER"""

from pathlib import Path

from benchmarks.kit import command
from calib_jax.demo import data

from . import digits, saved, simulation
from .report import write_results


def run(
    folder: Path,
    destination: Path,
    *,
    samples: int,
    repeats: int,
    splits: int,
    batches: int,
    train: int,
    epochs: int,
    seed: int,
) -> None:
    """Simulates, trains, corrupts, shifts, and writes what came of it."""
    with command.progress() as bars:
        settings = simulation.SETTINGS
        advance = command.bar(bars, "simulation", len(settings))
        simulated = []
        for setting in settings:
            simulated.append(simulation.simulate(setting, seed, samples))
            advance(str(setting))
        advance = command.bar(bars, "digits", digits.num_steps(repeats))
        corrupted = digits.measure(
            data.Settings(seed=seed, num_train=train),
            epochs,
            repeats,
            batches,
            advance,
        )
        found = saved.shifts(folder)
        advance = command.bar(bars, "saved outputs", len(found))
        shifted = []
        for shift in found:
            shifted.append(saved.measure(folder, shift, seed, splits, batches))
            advance(shift.title)
    write_results(destination, simulated, corrupted, shifted, samples)


def main() -> None:
    command.main(
        run,
        __package__,
        "Whether alarms come before a cascade gets worse, and how many are false.",
        samples=400,  # Of each simulated setting.
        repeats=3,  # Networks trained.
        splits=5,  # Of saved outputs.
        batches=20,  # New batches of each repeat or split.
        train=1500,  # Digits to train on.
        epochs=10,
        seed=0,
    )


if __name__ == "__main__":
    main()
