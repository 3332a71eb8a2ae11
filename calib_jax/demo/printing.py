"""Results as text: progress bars, then a table for each stage."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import calib_jax as cj

from .calibration import CALIBRATION, TEST, CalibratedModel
from .cascade import CALIBRATED, RANDOM, Cascade
from .cleaning import Cleaning, Flags
from .results import Results


def new_console() -> Console:
    """A console as wide as the terminal, or of 80 columns without one."""
    return Console(highlight=False)


def training_progress(
    console: Console, num_epochs: Mapping[str, int]
) -> contextlib.AbstractContextManager[Callable[..., None]]:
    """Progress of models that are trained: epochs, by name of the model."""
    return progress_bars(console, "Training the {} model", num_epochs, "epochs")


@contextlib.contextmanager
def progress_bars(
    console: Console, doing: str, totals: Mapping[str, int], unit: str
) -> Iterator[Callable[..., None]]:
    """A progress bar for each model; without a terminal it is written once, when full.

    Args:
      console: where to draw.
      doing: what is done, with braces for the name of the model.
      totals: how many units there are for each model, by name.
      unit: what is counted.

    Yields:
      A function to call with the name of a model, and with the number of units that
      are done since the last call, if it is not 1.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn(unit), console=console) as progress:
        tasks = {
            name: progress.add_task(doing.format(name), total=total)
            for name, total in totals.items()
        }
        yield lambda name, num=1: progress.advance(tasks[name], num)


def print_results(
    console: Console, results: Results, wrong: str = "were flipped"
) -> None:
    """Prints a table and a sentence or two for each stage.

    Args:
      console: where to print.
      results: of all stages.
      wrong: what is the matter with the labels that are wrong.
    """
    console.print(calibration_table(results.models, results.settings.num_bins))
    print_cascade(console, results.cascade)
    console.print(cleaning_table(results.cleaning))
    num_wrong, num_labels = (
        int(jnp.sum(results.cleaning.is_error)),
        results.cleaning.labels.shape[0],
    )
    console.print(
        f"{num_wrong} of {num_labels} test labels {wrong}, so "
        f"{percent(1 - num_wrong / num_labels)} % are right before the repair. The "
        "models vote with calibrated confidences. Method 2 counts the K bins of each "
        "model that were most accurate on the calibration half, whose labels are "
        'clean. Method 3 uses the large model alone. "Suggested" is the share of '
        'flagged labels whose suggestion is right, "Repaired" the share of all labels '
        "that are right after suggestions replace the flagged ones.\n"
    )


def print_cascade(console: Console, cascade: Cascade) -> None:
    """Prints the table of a cascade, and how to read it."""
    console.print(cascade_table(cascade))
    low, high = cascade.gain_interval
    curve, best = cascade.curves[CALIBRATED], cascade.best[CALIBRATED]
    points = 100 * cascade.max_loss
    loss = f"at most {points:.1f} points of" if points else "no"
    console.print(
        f"K is the largest number of bins kept small that loses {loss} accuracy on the "
        'calibration half. "Saved" is the share of large-model calls saved on the test '
        'half; "Hindsight" is that share with K chosen on the test half itself.\n'
        f"Alone, the small model is right on {percent(curve.small_accuracy)} % and "
        f"the large one on {percent(curve.large_accuracy)} %. The K that is most "
        f"accurate on the calibration half, {best.num_small_bins} for CC, is right on "
        f"{percent(best.accuracy[TEST])} % of the test half, with "
        f"{percent(best.small_share[TEST])} % saved.\n"
        "95 % interval of APGR (CC) minus APGR (UC), over resampled test examples: "
        f"{low:+.3f} to {high:+.3f}.\n"
    )


def print_end(console: Console, directory: Path, seconds: float) -> None:
    """Prints the folder on one line, so that it can be copied, and the time."""
    console.print(f"Figures and results.json are in {directory}", soft_wrap=True)
    pair = f"{directory / 'small.npz'} {directory / 'large.npz'}"
    console.print(f"The models' outputs too: calib-jax cascade {pair}", soft_wrap=True)
    console.print(f"{seconds:.0f} seconds")


def calibration_table(models: Mapping[str, CalibratedModel], num_bins: int) -> Table:
    """Accuracy, ECE before and after, temperature and fit status of each model."""
    table = new_table(
        f"Calibration: ECE over {num_bins} equal-count bins (accuracy in %)",
        ["Model", "Half"],
        ["Accuracy", "ECE", "calibrated", "Temperature", "Fit"],
    )
    for name, model in models.items():
        status = cj.FitStatus(int(model.report.status)).name.lower()
        for half in (CALIBRATION, TEST):
            first = half == CALIBRATION
            table.add_row(
                name if first else "",
                half,
                percent(jnp.mean(model.after[half].correct)),
                f"{float(model.before[half].error):.4f}",
                f"{float(model.after[half].error):.4f}",
                f"{float(model.temperature.temperature):.3f}" if first else "",
                status if first else "",
            )
    return table


def cascade_table(cascade: Cascade) -> Table:
    """APGR of each router, and the large-model calls saved at its chosen K."""
    table = new_table(
        "Cascade on the test half (shares and accuracies in %)",
        ["Router"],
        ["APGR", "K", "Saved", "Accuracy", "Change", "Hindsight"],
    )
    for name, value in cascade.apgr.items():
        apgr = f"{float(value):.3f}"
        if name == RANDOM:
            table.add_row(name, apgr, *5 * ["-"])
            continue
        point = cascade.chosen[name]
        large_accuracy = float(cascade.curves[name].large_accuracy)
        table.add_row(
            name,
            apgr,
            str(point.num_small_bins),
            percent(point.small_share[TEST]),
            percent(point.accuracy[TEST]),
            f"{100 * (point.accuracy[TEST] - large_accuracy):+.1f}",
            percent(cascade.hindsight[name].small_share[TEST]),
        )
    return table


def cleaning_table(cleaning: Cleaning) -> Table:
    """Flags, precision, recall and repair of each method."""
    table = new_table(
        "Cleaning of the test labels (%)",
        ["Method"],
        ["Flagged", "Precision", "Recall", "Suggested", "Repaired"],
    )

    def add_row(name: str, flags: Flags) -> None:
        table.add_row(
            name,
            percent(flags.flagged_share),
            percent(flags.precision),
            percent(flags.recall),
            percent(flags.suggestions_correct),
            percent(flags.repaired_accuracy),
        )

    add_row("1 top-1 disagreement", cleaning.top1)
    for num_top_bins, flags in cleaning.high_confidence.items():
        add_row(f"2 high confidence, K = {num_top_bins}", flags)
    add_row("3 confident learning", cleaning.confident_learning)
    return table


def new_table(title: str, left: list[str], right: list[str]) -> Table:
    """An empty table, with columns of text on the left and of numbers on the right."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    # No column is cut off in a narrow terminal.
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def percent(share: jax.Array | float) -> str:
    """A share as a percentage, "-" for NaN."""
    value = 100 * float(share)
    return "-" if math.isnan(value) else f"{value:.1f}"
