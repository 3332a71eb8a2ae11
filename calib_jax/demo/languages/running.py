"""The demo on languages, from strings to figures, with progress on the terminal."""

import time
from pathlib import Path

import jax

from .. import printing, saving
from . import models, pipeline, strings
from .pipeline import Settings
from .printing import WRONG, print_next, print_start, print_suspects


def run(directory: Path, seed: int) -> None:
    """Runs it, prints the results, and saves them and the figures to a folder."""
    start = time.perf_counter()
    settings = Settings(seed=seed)
    console = printing.new_console()
    keys = jax.random.split(jax.random.key(seed), 2)
    shown = strings.read(strings.django_folder(), settings.min_letters)
    identifiers = models.load()
    some = pipeline.draw(keys[0], shown, identifiers, settings)
    print_start(console, some, identifiers)
    totals = dict.fromkeys(identifiers, len(some.texts))
    with printing.progress_bars(
        console, "Asking the {} model", totals, "strings"
    ) as advance:
        values = pipeline.ask(identifiers, some, advance)
    results = pipeline.judge(keys[1], some, values, settings)
    printing.print_results(console, results, WRONG)
    print_suspects(console, results)
    saving.save(directory, results)
    print_next(console, directory, results)
    printing.print_end(console, directory, time.perf_counter() - start)
