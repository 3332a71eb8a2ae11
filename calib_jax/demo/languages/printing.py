"""What the demo on languages says: where its strings come from, and some suspects."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import calib_jax as cj

from ..calibration import TEST
from ..printing import new_table, percent
from ..results import Results
from .models import Model
from .strings import Strings

# What is the matter with wrong labels.
WRONG = "name another language, and the string is English"
_NUM_EXAMPLES = 4
_LONGEST = 36


def print_start(
    console: Console, some: Strings, identifiers: Mapping[str, Model]
) -> None:
    """Prints where strings, labels and models come from."""
    version = importlib.metadata.version("django")
    num_wrong = int(np.sum(some.given != some.labels))
    console.print(
        f"Which language is this string? {len(some.texts):,} strings that Django "
        f"{version} shows in {len(some.languages)} languages, from the translations in "
        "its package, without placeholders and tags. Their label is the language of "
        f"the translation; {num_wrong:,} of the strings are still English, nearly all "
        "because nobody translated them, and these labels are wrong. One half is for "
        "calibration, with checked labels, the other for the test.\n"
        "Three pretrained models are used as they come:"
    )
    for name, model in identifiers.items():
        console.print(f"  {name}: {model.package} ({model.kind})")


def print_suspects(console: Console, results: Results) -> None:
    """Prints the surest suspects among wrong labels, and among right ones."""
    is_error = np.asarray(results.cleaning.is_error)
    for kind, where in (("Wrong", is_error), ("Right", ~is_error)):
        title = f"{kind} labels that all models contradict, the surest first"
        table = _suspects(title, results, where)
        if table.row_count:
            console.print(table)


def print_next(console: Console, directory: Path, results: Results) -> None:
    """Prints the command that looks for wrong labels, on one line."""
    files = " ".join(str(directory / f"{name}.npz") for name in results.models)
    labels = directory / "suspect_labels.npz"
    console.print(
        f"Suspect labels of all strings: calib-jax clean {files} --labels {labels}",
        soft_wrap=True,
    )


def _suspects(title: str, results: Results, where: np.ndarray) -> Table:
    """The most suspect rows; each string once, the smallest confidence in %."""
    assert results.ids is not None and results.choices is not None
    halves = [model.after[TEST] for model in results.models.values()]
    score = cj.cleaning.label_issue_score(
        jnp.stack([half.prediction for half in halves]),
        jnp.stack([half.confidence for half in halves]),
        results.cleaning.labels,
    )
    table = new_table(title, ["String", "Label", "Suggested"], ["Least sure, %"])
    seen: set[str] = set()
    ordered = np.argsort(-np.where(where, np.asarray(score), -np.inf), stable=True)
    for row in ordered[: int(np.sum(where & (np.asarray(score) > 0)))]:
        text = results.ids[TEST][row].partition(": ")[2]
        if text in seen or len(seen) == _NUM_EXAMPLES:
            continue
        seen.add(text)
        table.add_row(
            text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3].rstrip()}...",
            results.choices[int(results.cleaning.labels[row])],
            results.choices[int(results.cleaning.top1.suggestion[row])],
            percent(score[row]),
        )
    return table
