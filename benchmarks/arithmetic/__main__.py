"""`python -m benchmarks.arithmetic`: two models that add, from training to figures."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit import command
from calib_jax.demo import printing as terminal

from . import pipeline, printing, saving


def run(destination: Path, *, seed: int) -> None:
    """Trains, evaluates, prints and writes."""
    destination.mkdir(parents=True, exist_ok=True)
    settings = pipeline.Settings(seed=seed)
    console = terminal.new_console()
    with terminal.training_progress(console, settings.num_epochs) as advance:
        results = pipeline.run(settings, advance)
    printing.print_results(console, results)
    saving.save_results(destination, results)
    saving.save_figures(destination, results)


def main(argv: Sequence[str] | None = None) -> None:
    command.main(
        run,
        __package__,
        "Trains a small and a large sequence model on sums of numbers, calibrates the "
        "scores of their answers and routes between them.",
        reads_folder=False,
        # The page of this benchmark covers several seeds.
        output=Path("arithmetic-results"),
        argv=argv,
        seed=0,
    )


if __name__ == "__main__":
    main()
