"""`calib-jax clean`."""

from pathlib import Path
from typing import Any

import click

from . import options, running
from .running import Run


@click.command(
    "clean",
    epilog="""\b
Examples:
  calib-jax clean samples_mmlu.jsonl
  calib-jax clean small.npz large.npz --labels labels.csv
  calib-jax clean decisions.jsonl --labels labels.jsonl --top-bins 5
""",
)
@options.file_argument("files", nargs=-1, required=True)
@options.reading
@options.model
@options.method
@click.option(
    "--top-bins",
    type=click.IntRange(1, 15),
    metavar="K",
    help="How many of 15 bins of confidence count; fewer bins flag fewer labels, with "
    "higher precision. "
    "[default: 10]",
)
@running.as_run("calib-jax-clean")
def command(
    files: tuple[Path, ...],
    method: str,
    top_bins: int | None,
    model: tuple[str, ...],
    how: dict[str, Any],
    run: Run,
) -> None:
    """Find labels that are probably wrong.

    FILES hold the outputs of one or more models on the same rows; labels come from the
    files or from --labels. A label is suspect if every model contradicts it with high
    confidence. All labels are checked: each half of the rows is judged by what was
    fitted on the other. Writes suspects.csv, review.csv and report.html.
    """
    from ..report import cleaning, methods

    run.check("clean", (*files, *how["labels"]), cleaning.FILES)
    outputs = options.read_all(files, model, **how)
    with running.working("Fitting and judging"):
        report = cleaning.cleaning_report(
            *outputs,
            num_top_bins=top_bins,
            method=methods.METHODS.get(method),
            confidence_level=run.confidence_level,
            seed=run.seed,
        )
    run.finish(report, how)
