"""`calib-jax check`."""

from pathlib import Path
from typing import Any

import click

from . import options


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
@options.running(
    "calib-jax-check",
    confidence_level=0.99,
    of_level="1 minus the false-alarm rate.",
)
def command(
    record: Path,
    small: Path,
    large: Path | None,
    output: Path,
    force: bool,
    confidence_level: float,
    seed: int,
    as_json: bool,
    no_cache: bool,
    model: tuple[str, ...],
    **reading: Any,
) -> int:
    """See whether a cascade still does what it promised.

    RECORD is a cascade.json; SMALL and LARGE hold new outputs of its models. Without
    labels it tests whether the inputs changed; with labels, also the small model's
    accuracy; with LARGE, also the promise. If nothing changed, the false-alarm rate is
    at most 1 minus --confidence-level. Writes report.html.

    The exit status is 1 if the new rows contradict the promise, if the inputs changed
    and the rows do not confirm it, or if the small model became less accurate.
    """
    options.start(no_cache=no_cache)
    from ..io.cascade_records import CascadeRecord
    from ..io.files import load
    from ..report import checking, folders

    how = options.reading_options(reading)
    paths = [path for path in (small, large) if path is not None]
    folders.check(
        output,
        force=force,
        command="check",
        read=(record, *paths, how["labels"]),
    )
    served = load(record)
    if not isinstance(served, CascadeRecord):
        raise ValueError(
            f"{record}: expected a cascade.json, got a {type(served).__name__}."
        )
    outputs = options.read_all(paths, model, **how)
    inputs = None
    if any("label" in reason or "outcome" in reason for reason in outputs[0].dropped):
        # Whether the inputs changed is seen without labels.
        more = {**how, "labels": None, "labelled": False}
        inputs = options.read_one(small, model[:1], **more)
    with options.working("Comparing"):
        report = checking.check_report(
            served,
            *outputs,
            inputs=inputs,
            confidence_level=confidence_level,
            seed=seed,
        )
    options.finish(report, output, force=force, as_json=as_json)
    return int(report.alarm)
