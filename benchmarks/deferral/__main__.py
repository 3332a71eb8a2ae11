"""python -m benchmarks.deferral"""

import jax

from benchmarks.kit import command
from benchmarks.kit.machine import Watch
from calib_jax.demo import data

from .measure import measure
from .pair import train
from .report import ratios, write_results


def main() -> None:
    parser = command.parser(
        __package__,
        "Times a cascade against its large model alone.",
        seeds=5,  # Each with a pair of models.
        rounds=15,
    )
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=(256, 512, 1024),
        metavar="N",
        help="rows of a batch (default: 256 512 1024)",
    )
    options = parser.parse_args()
    settings, watch, measured = data.Settings(), Watch(), []
    num_epochs = settings.small_recipe.num_epochs + settings.large_recipe.num_epochs
    steps = num_epochs + len(options.batch_sizes) + settings.num_bins + 1
    with command.progress() as bars:
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
