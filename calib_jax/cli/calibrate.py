"""`calib-jax calibrate`."""

from pathlib import Path
from typing import Any

import click

from . import options


@click.command(
    "calibrate",
    epilog="""\b
Examples:
  calib-jax calibrate samples_mmlu.jsonl
  calib-jax calibrate logits.npy --labels labels.npy --kind logits
  calib-jax calibrate answers.jsonl --choices A,B,C,D --labels labels.csv
""",
)
@options.file_argument("file")
@options.reading
@options.model
@options.method
@options.running("calib-jax-calibrate")
def command(
    file: Path,
    method: str,
    output: Path,
    force: bool,
    confidence_level: float,
    seed: int,
    as_json: bool,
    no_cache: bool,
    model: tuple[str, ...],
    **reading: Any,
) -> None:
    """Calibrate the confidence of one model.

    FILE holds a model's outputs. A calibrator is fitted on a random half of the rows
    and judged on the other. Writes calibration.json, confidences.csv and report.html.
    """
    options.start(no_cache=no_cache)
    from ..report import calibration, folders, scoring

    how = options.reading_options(reading)
    folders.check(
        output,
        force=force,
        command="calibrate",
        names=calibration.FILES,
        read=(file, how["labels"]),
    )
    outputs = options.read_one(file, model, **how)
    with options.working("Fitting and judging"):
        report = calibration.calibration_report(
            outputs,
            method=scoring.METHODS.get(method),
            confidence_level=confidence_level,
            seed=seed,
        )
    options.finish(report, output, force=force, as_json=as_json)
