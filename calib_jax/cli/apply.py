"""`calib-jax apply`."""

import collections
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from . import options

_STREAM = "standard input"


@click.command(
    "apply",
    epilog="""\b
Examples:
  calib-jax apply cascade.json new_small.jsonl > decisions.jsonl
  calib-jax apply calibration.json logits.npy --kind logits
  tail -f answers.jsonl | calib-jax apply cascade.json - --choices A,B,C,D
""",
)
@options.file_argument("record")
@click.argument("file", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@options.reading_new
@options.model
@click.option(
    "--no-cache", is_flag=True, help="Do not keep compiled programs for the next run."
)
def command(
    record: Path, file: Path, no_cache: bool, model: tuple[str, ...], **reading: Any
) -> None:
    """Decide for new inputs, without labels.

    RECORD is a cascade.json or a calibration.json; FILE holds new outputs of the same
    model; for a cascade, of its small model. With - for FILE, lines of JSON on standard
    input are answered as they arrive. Prints a line of JSON for each input:

    \b
    {"id": ..., "small": true, "confidence": 0.93}

    "small" is whether the small model's answer is kept; omitted for a calibration.
    """
    options.start(no_cache=no_cache)
    from ..report import applying

    served = applying.load(record)
    how = options.reading_options(reading)
    left_out = _LeftOut()
    try:
        if str(file) == "-" and model:
            raise click.UsageError("--model is for files of arrays.")
        if str(file) == "-":
            for outputs in _of_stream(left_out, how):
                _print(applying.decide(served, outputs))
        else:
            more = {**how, "unique": False, "labelled": False}
            outputs = options.read_one(file, model, **more)
            left_out.add(outputs.dropped, outputs.dropped_at)
            _print(applying.decide(served, outputs))
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        left_out.say()


def _of_stream(left_out: "_LeftOut", how: dict[str, Any]) -> Iterator[Any]:
    """Outputs of the lines that have arrived, again and again."""
    from ..io.outputs import reading
    from ..io.outputs.left_out import NoRowError
    from ..report import applying

    allowed = how["drop_malformed"]
    how = {name: how[name] for name in ("kind", "choices", "columns", "smoothing")}
    num_lines, format = 0, None
    for lines in applying.available_lines(sys.stdin.buffer, _STREAM):
        more = {
            **how,
            "name": _STREAM,
            "format": format,
            "num_before": num_lines,
            "unique": False,
            "labelled": False,
        }
        num_lines += len(lines)
        if not any(map(bytes.strip, lines)):
            continue
        try:
            outputs = reading.read_lines(lines, **more, drop_malformed=True)
        except NoRowError as error:
            dropped, places = error.dropped, error.dropped_at
        else:
            dropped, places, format = (
                outputs.dropped,
                outputs.dropped_at,
                outputs.format,
            )
            yield outputs
        if not allowed and any(one.startswith("malformed") for one in dropped):
            # Raises, and names the line.
            reading.read_lines(lines, **more)
        left_out.add(dropped, places)


class _LeftOut:
    """Rows that were left out, by reason."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._first: dict[str, str] = {}

    def add(self, counts: Any, places: Any) -> None:
        self._counts.update(counts)
        for reason, found in places.items():
            self._first.setdefault(reason, ", ".join(found))

    def say(self) -> None:
        """One line on standard error for each reason."""
        for reason, count in self._counts.most_common():
            more = " and so on" if count > 5 else ""
            click.echo(
                f"calib-jax: left out {count}: {reason} ({self._first[reason]}{more}).",
                err=True,
            )


def _print(decisions: Any) -> None:
    keep = decisions.small
    small = [None] * len(decisions.ids) if keep is None else keep.tolist()
    # The text of a float32 has the fewest digits that restore it.
    confidence = decisions.confidence.astype(str).tolist()
    lines = []
    for one, kept, text in zip(decisions.ids, small, confidence, strict=True):
        found = {"id": one} if kept is None else {"id": one, "small": kept}
        found["confidence"] = None if text == "nan" else float(text)
        lines.append(json.dumps(found) + "\n")
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
