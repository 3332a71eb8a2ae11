"""python -m benchmarks.deferral"""

import functools
from pathlib import Path

import jax

from benchmarks.kit import command
from benchmarks.kit.machine import Watch
from calib_jax.demo import data

from .measure import measure
from .pair import train
from .report import ratios, write_results


def run(
    destination: Path, *, seeds: int, rounds: int, batch_sizes: tuple[int, ...]
) -> None:
    """Trains, times and judges a pair of models for each seed, and writes."""
    settings, watch, measured = data.Settings(), Watch(), []
    num_epochs = settings.small_recipe.num_epochs + settings.large_recipe.num_epochs
    steps = num_epochs + len(batch_sizes) + settings.num_bins + 1
    with command.progress() as bars:
        for seed in range(seeds):
            advance = command.bar(bars, f"pair {seed}", steps)
            keys = jax.random.split(jax.random.key(seed), 3)
            digits = data.load(keys[0], settings)
            pair = train(keys[1], digits, settings, functools.partial(advance, "train"))
            # They are stored digit by digit, which makes unrealistic batches.
            order = jax.random.permutation(keys[2], len(digits.test.labels))
            test = data.Split(digits.test.images[order], digits.test.labels[order])
            measured.append(
                measure(
                    pair,
                    test,
                    batch_sizes,
                    rounds,
                    functools.partial(advance, "measure"),
                )
            )
    write_results(destination, measured, settings, watch.finish())
    for batch_size in batch_sizes:
        saving = ratios(measured, batch_size).mean()
        print(f"batch {batch_size}: {saving:.2f}x faster than the large model alone")


def main() -> None:
    command.main(
        run,
        __package__,
        "Times a cascade against its large model alone.",
        reads_folder=False,
        seeds=5,  # Each trains a pair of models.
        rounds=15,
        batch_sizes=(256, 512, 1024),
    )


if __name__ == "__main__":
    main()
