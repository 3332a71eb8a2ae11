"""`calib-jax apply`."""

import collections
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from . import options, running

_STREAM = "standard input"
# So many places are named of each reason.
_NUM_PLACES = 5
# Each row is answered, whatever it lacks.
_EACH_ROW = {"unique": False, "labelled": False, "missing": True}


@click.command(
    "apply",
    epilog="""\b
Examples:
  calib-jax apply cascade.json new_small.jsonl > decisions.jsonl
  calib-jax apply cascade.json new_small.jsonl new_large.jsonl > answers.jsonl
  calib-jax apply calibration.json logits.npy --kind logits
  tail -f answers.jsonl | calib-jax apply cascade.json - --choices A,B,C,D
""",
)
@options.file_argument("record")
@click.argument("file", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@options.file_argument("large", required=False)
@options.reading_new
@options.model
@running.no_cache
def command(
    record: Path,
    file: Path,
    large: Path | None,
    no_cache: bool,
    model: tuple[str, ...],
    how: dict[str, Any],
) -> None:
    """Decide for new inputs, without labels.

    RECORD is a cascade.json or a calibration.json; FILE holds new outputs of the same
    model; for a cascade, of its small model. With - for FILE, lines of JSON on standard
    input are answered as they arrive. Prints a line of JSON for each input:

    \b
    {"id": ..., "small": true, "confidence": 0.93}

    "small" is whether the small model's answer is kept; omitted for a calibration.
    Where an input has no number, "confidence" is null and "small" false.

    With LARGE, outputs of the large model for all inputs or those sent on, each line
    also has "answer", whose answer to take ("small" or "large", null where the large
    model has yet to be asked), and "large_confidence".
    """
    running.start(no_cache=no_cache)
    from ..report import applying

    served = applying.load(record)
    left_out = _LeftOut()
    try:
        if str(file) == "-" and model:
            raise click.UsageError("--model is for files, and - is none.")
        if str(file) == "-" and large is not None:
            raise click.UsageError("LARGE needs a file beside it, not a stream.")
        if large is not None:
            both = options.read_all((file, large), model, **how, **_EACH_ROW)
            for one in both:
                left_out.add(one.dropped, one.dropped_at)
            _print_answers(applying.answer(served, *both))
        elif str(file) == "-":
            for outputs in _of_stream(left_out, how):
                _print(applying.decide(served, outputs))
        else:
            outputs = options.read_one(file, model, **how, **_EACH_ROW)
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
    more = {**how, **_EACH_ROW, "name": _STREAM}
    before = reading.Before()
    for lines in applying.available_lines(sys.stdin.buffer, _STREAM):
        again = dataclasses.replace(before)
        try:
            outputs = reading.read_lines(
                lines, **more, before=before, drop_malformed=True
            )
        except NoRowError as error:
            dropped, places = error.dropped, error.dropped_at
        else:
            dropped, places = outputs.dropped, outputs.dropped_at
            yield outputs
        if not allowed and any(one.startswith("malformed") for one in dropped):
            # Raises, and names the line.
            reading.read_lines(lines, **more, before=again)
        left_out.add(dropped, places)


class _LeftOut:
    """Rows without a confidence, by reason."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, counts: Any, at: Any) -> None:
        self._counts.update(counts)
        for reason, found in at.items():
            places = self._first.setdefault(reason, [])
            places += found[: _NUM_PLACES - len(places)]

    def say(self) -> None:
        """One line on standard error for each reason."""
        for reason, count in self._counts.most_common():
            places = ", ".join(self._first[reason])
            more = " and so on" if count > _NUM_PLACES else ""
            click.echo(
                f"calib-jax: no confidence for {count}: {reason} ({places}{more}).",
                err=True,
            )


def _print(decisions: Any) -> None:
    _print_lines(_lines(decisions))


def _print_answers(found: Any) -> None:
    more = zip(found.answers, _numbers(found.large_confidence), strict=True)
    _print_lines(
        line | {"answer": answer, "large_confidence": confidence}
        for line, (answer, confidence) in zip(
            _lines(found.decisions), more, strict=True
        )
    )


def _lines(decisions: Any) -> Iterator[dict[str, Any]]:
    keep = decisions.small
    small = [None] * len(decisions.ids) if keep is None else keep.tolist()
    confidence = _numbers(decisions.confidence)
    for one, kept, number in zip(decisions.ids, small, confidence, strict=True):
        found = {"id": one} if kept is None else {"id": one, "small": kept}
        yield found | {"confidence": number}


def _numbers(confidence: Any) -> list[float | None]:
    # The text of a float32 has the fewest digits that restore it.
    texts = confidence.astype(str).tolist()
    return [None if text == "nan" else float(text) for text in texts]


def _print_lines(lines: Iterable[dict[str, Any]]) -> None:
    sys.stdout.write("".join(json.dumps(line) + "\n" for line in lines))
    sys.stdout.flush()
