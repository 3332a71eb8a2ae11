"""`calib-jax check`."""

from pathlib import Path
from typing import Any

import click

from . import options, running
from .running import Run


@click.command(
    "check",
    epilog="""\b
Examples:
  calib-jax check cascade.json new_small.jsonl
  calib-jax check cascade.json new_small.jsonl new_large.jsonl --labels labels.csv
""",
)
@options.file_argument("record")
@options.file_argument("small")
@options.file_argument("large", required=False)
@options.reading
@options.model
@running.as_run(
    "calib-jax-check",
    confidence_level=0.99,
    of_level="1 minus the false-alarm rate.",
)
def command(
    record: Path,
    small: Path,
    large: Path | None,
    model: tuple[str, ...],
    how: dict[str, Any],
    run: Run,
) -> int:
    """See whether a cascade still does what it promised.

    RECORD is a cascade.json; SMALL and LARGE hold new outputs of its models. Without
    labels it tests whether the inputs changed; with labels, also the small model's
    accuracy; with LARGE, also the promise. If nothing changed, the false-alarm rate is
    at most 1 minus --confidence-level. Writes report.html.

    The exit status is 1 if the new rows contradict the promise, if the inputs changed
    and the rows do not confirm it, or if the small model became less accurate.
    """
    from ..io.cascade_records import CascadeRecord
    from ..io.files import load
    from ..report import checking

    paths = [path for path in (small, large) if path is not None]
    run.check("check", (record, *paths, *how["labels"]))
    served = load(record)
    if not isinstance(served, CascadeRecord):
        raise ValueError(
            f"{record}: expected a cascade.json, got a {type(served).__name__}."
        )
    outputs = options.read_all(paths, model, **how)
    inputs = None
    if any("label" in reason or "outcome" in reason for reason in outputs[0].dropped):
        # Whether the inputs changed is seen without labels.
        more = {**how, "labels": (), "labelled": False}
        inputs = options.read_one(small, model[:1], **more)
    with running.working("Comparing"):
        report = checking.check_report(
            served,
            *outputs,
            inputs=inputs,
            confidence_level=run.confidence_level,
            seed=run.seed,
        )
    run.finish(report, how)
    return int(report.alarm)
