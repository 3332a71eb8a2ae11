"""`calib-jax calibrate`."""

from pathlib import Path
from typing import Any

import click

from . import options, running
from .running import Run


@click.command(
    "calibrate",
    epilog="""\b
Examples:
  calib-jax calibrate samples_mmlu.jsonl
  calib-jax calibrate logits.npy --labels labels.npy --kind logits
  calib-jax calibrate outputs.csv --max-risk 0.05
  calib-jax calibrate answers.jsonl --choices A,B,C,D --labels labels.csv
""",
)
@options.file_argument("file")
@options.reading
@options.model
@options.method
@click.option(
    "--max-risk",
    type=options.Number(0.0, 1.0, min_open=True, max_open=True),
    metavar="SHARE",
    help="Largest share of wrong answers among those that are given; 0.1 is 10%. The "
    "report says how many to answer. [default: a round one that suits the model]",
)
@running.as_run("calib-jax-calibrate")
def command(
    file: Path,
    method: str,
    max_risk: float | None,
    model: tuple[str, ...],
    how: dict[str, Any],
    run: Run,
) -> None:
    """Calibrate the confidence of one model.

    FILE holds a model's outputs. A calibrator is fitted on a random half of the rows
    and judged on the other. Writes calibration.json, confidences.csv and report.html.
    """
    from ..report import calibration, methods

    run.check("calibrate", (file, *how["labels"]), calibration.FILES)
    outputs = options.read_one(file, model, **how)
    with running.working("Fitting and judging"):
        report = calibration.calibration_report(
            outputs,
            method=methods.METHODS.get(method),
            max_risk=max_risk,
            confidence_level=run.confidence_level,
            seed=run.seed,
        )
    run.finish(report, {**how, "model": model})
