"""The demo on digits, from training to figures, with progress on the terminal."""

import time
from pathlib import Path

from . import pipeline, printing, saving


def run(directory: Path, seed: int) -> None:
    """Runs it, prints the results, and saves them and the figures to a folder."""
    start = time.perf_counter()
    settings = pipeline.Settings(seed=seed)
    console = printing.new_console()
    with printing.training_progress(console, settings.num_epochs) as advance:
        results = pipeline.run(settings, advance)
    printing.print_results(console, results)
    saving.save(directory, results)
    printing.print_end(console, directory, time.perf_counter() - start)
