"""The demo on languages, from strings to figures, with progress on the terminal."""

import importlib.metadata
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from .. import printing, saving
from . import models, pipeline, strings
from .pipeline import Settings
from .strings import Strings


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
    printing.print_results(console, results, WRONG, JUDGED)
    saving.save(directory, results)
    printing.print_end(console, directory, time.perf_counter() - start)


WRONG = "are wrong: the string is English under another language"
JUDGED = "on the calibration half, by its given labels, which are as often wrong"


def print_start(
    console: Console, some: Strings, identifiers: dict[str, models.Model]
) -> None:
    """Prints where strings, labels and models come from."""
    version = importlib.metadata.version("django")
    num_wrong = int(np.sum(some.given != some.labels))
    console.print(
        f"Which language is this string? {len(some.texts):,} strings that Django "
        f"{version} shows in {len(some.languages)} languages, from the translations in "
        "its package, without placeholders and tags. The label is the language of the "
        f"translation. {num_wrong:,} strings are still English, most because nobody "
        "translated them: their labels are wrong.\n"
        "Half of the strings are for calibration, half for the test. The models are "
        "used as they come, without training:"
    )
    for name, model in identifiers.items():
        console.print(f"  {name}: {model.package} ({model.kind})")
