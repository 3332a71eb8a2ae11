"""`python -m benchmarks.arithmetic`: two models that add, from training to figures."""

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit import command
from calib_jax.demo import printing as terminal

from . import pipeline, printing, saving


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    made = command.parser(
        "benchmarks.arithmetic",
        "Trains a small and a large sequence model on sums of numbers, calibrates the "
        "scores of their answers and routes between them.",
        seed=0,
    )
    made.set_defaults(output=Path("arithmetic-results"))
    options = made.parse_args(argv)
    options.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    settings = pipeline.Settings(seed=options.seed)
    console = terminal.new_console()
    with terminal.training_progress(console, settings.num_epochs) as advance:
        results = pipeline.run(settings, advance)
    printing.print_results(console, results)
    saving.save_results(options.output, results)
    saving.save_figures(options.output, results)
    terminal.print_end(console, options.output, time.perf_counter() - start)


if __name__ == "__main__":
    main()
