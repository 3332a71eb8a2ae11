"""python -m benchmarks.deferral"""

import argparse
from pathlib import Path

import jax

from benchmarks.speed.command import progress
from benchmarks.speed.machine import Watch
from calib_jax.demo import data

from .measure import measure
from .pair import train
from .report import ratios, write_results


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deferral",
        description="Times a cascade against its large model alone.",
    )
    parser.add_argument("--seeds", type=int, default=5, help="pairs (default: 5)")
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=(256, 512, 1024),
        metavar="N",
        help="rows of a batch (default: 256 512 1024)",
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="warm calls (default: 15)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="folder for RESULTS.md, results.json and figures (default: that of this "
        "module)",
    )
    options = parser.parse_args()
    settings, watch, measured = data.Settings(), Watch(), []
    num_epochs = settings.small_recipe.num_epochs + settings.large_recipe.num_epochs
    steps = num_epochs + len(options.batch_sizes) + settings.num_bins + 1
    with progress() as bars:
        for seed in range(options.seeds):
            task = bars.add_task(f"pair {seed}", total=steps, step="train")

            def advance(task=task, step="train") -> None:
                bars.update(task, advance=1, step=step)

            keys = jax.random.split(jax.random.key(seed), 3)
            digits = data.load(keys[0], settings)
            pair = train(keys[1], digits, settings, advance)
            # They come digit by digit, which is no batch that anyone would see.
            order = jax.random.permutation(keys[2], len(digits.test.labels))
            test = data.Split(digits.test.images[order], digits.test.labels[order])
            measured.append(
                measure(
                    pair,
                    test,
                    options.batch_sizes,
                    options.rounds,
                    lambda advance=advance: advance(step="measure"),
                )
            )
            bars.update(task, completed=steps, step="")
    write_results(options.output, measured, settings, watch.finish())
    for batch_size in options.batch_sizes:
        saving = ratios(measured, batch_size).mean()
        print(f"batch {batch_size}: {saving:.2f}x faster than the large model alone")


if __name__ == "__main__":
    main()
