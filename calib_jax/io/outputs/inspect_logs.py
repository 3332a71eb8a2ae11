"""Logs of inspect_ai: answers with log-probabilities, and what scorers made of them.

Source: inspect_ai/log/_log.py (`EvalLog`) of UKGovernmentBEIS/inspect_ai.
"""

import os
import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import responses
from ..log_probabilities import joined
from ..responses import MalformedError, UnansweredError, shown
from . import inspect_zips, names, servers
from . import rows as rows_
from .asked import Asked
from .inspect_samples import SHUFFLED, Run, Sample, is_sample, parsed, run_of
from .left_out import LeftOut, Place, Places
from .rows import Rows, choices_of, padded
from .tool import Lines, Tool

NAME = "inspect"

# What is kept of objects; events may be a thousand times as large.
_OF_LOG = {
    "eval": {"model", "task", "task_args", "task_args_passed"},
    "plan": {"steps"},
}
_OF_SAMPLE = {
    *("id", "epoch", "input", "choices", "target", "output", "scores", "metadata"),
    *("error", "invalidation", "attachments"),
}
# So many answers are held with all their tokens.
_HELD = 256


def is_log(line: Mapping[str, Any]) -> bool:
    """Whether an object looks like a log, its header, or a sample of one."""
    run, output = line.get("eval"), line.get("output")
    if isinstance(run, Mapping) and "model" in run and "task" in run:
        return True
    return is_sample(line) and isinstance(output, Mapping) and "choices" in output


def are_objects(value: Any) -> bool:
    """Whether a value is a log that inspect_ai gave, or a list of them."""
    if isinstance(value, (list, tuple)) and value:
        return all(map(are_objects, value))
    return not isinstance(value, type) and all(
        hasattr(value, name) for name in ("eval", "samples", "model_dump")
    )


def name_of(value: Any) -> Path:
    """What messages call logs: the file of a log, or the folder of several."""
    logs = list(value) if isinstance(value, (list, tuple)) else [value]
    # A location may be an address on the web.
    places = {str(getattr(log, "location", None) or NAME) for log in logs}
    if len(places) > 1:
        places = {os.path.dirname(place) for place in places}
    return Path(os.path.basename(places.pop()) or NAME)


def lines_of_objects(value: Any) -> tuple[list[Path], list[Iterator[tuple[int, Any]]]]:
    """Names of logs for messages, and the header and samples of each."""
    logs = list(value) if isinstance(value, (list, tuple)) else [value]
    return [name_of(log) for log in logs], [_lines_of_object(log) for log in logs]


def _lines_of_object(log: Any) -> Iterator[tuple[int, Any]]:
    # As Python's objects, since arguments of a run may be no JSON.
    yield 0, log.model_dump(include=_OF_LOG)
    if log.samples is None:
        raise ValueError(
            f"{name_of(log)}: the log has a header and no samples: read it with "
            "header_only=False."
        )
    for number, sample in enumerate(log.samples, start=1):
        yield number, sample.model_dump(include=_OF_SAMPLE)


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """Rows in the order of logs, epochs and ids, as inspect_ai sorts samples."""
    asked.only(NAME, "scores", "log_probabilities")
    places.unit = "sample"
    runs: list[Run] = []
    held: list[tuple[Sample, responses.Choice]] = []
    found: list[Sample] = []
    tokens: dict[str, str] = {}
    shuffled: set[int] = set()
    for place, sample in _samples(lines, places, left_out, runs):
        try:
            held.append(parsed(sample, runs, place, asked, tokens))
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
        else:
            shuffled |= {held[-1][0].run} if held[-1][0].shuffled else set()
        if len(held) == _HELD:
            found += _valued(held, places, left_out)
            held, tokens = [], {}
    found += _valued(held, places, left_out)
    found = _unshuffled(found, shuffled, places, left_out)
    left_out.check(len(found))
    return _rows(found, runs, places, left_out, asked)


def _samples(
    lines: Lines, places: Places, left_out: LeftOut, runs: list[Run]
) -> Iterator[tuple[Place, Any]]:
    """Samples; the run that they are of is the last of the runs, which are added."""
    file, num_samples = -1, 1

    def end() -> None:
        if not num_samples:
            left_out.drop("a log without samples", places.paths[file].name)

    for place, line in lines:
        if place.number and "eval" not in line:
            if place.file != file:
                end()
                runs.append(Run())
            num_samples += 1
            file = place.file
            yield place, line
            continue
        end()
        runs.append(run_of(left_out.path, line, places.paths[place.file]))
        _check_model(left_out.path, runs)
        samples = line.get("samples")
        samples = [] if samples is None else samples
        if not isinstance(samples, (list, tuple)):
            raise ValueError(
                f"{left_out.path}: samples: expected a list, got {shown(samples)}."
            )
        file, num_samples = place.file, len(samples)
        for number, sample in enumerate(samples, start=1):
            yield place._replace(number=number), sample
    end()


def _check_model(path: Path, runs: list[Run]) -> None:
    models = dict.fromkeys(run.model for run in runs if run.model)
    if len(models) > 1:
        raise ValueError(
            f"{path}: has logs of the models {' and '.join(models)}: put each model's "
            "into a folder of its own, and read one at a time."
        )


def _valued(
    held: list[tuple[Sample, responses.Choice]], places: Places, left_out: LeftOut
) -> list[Sample]:
    """Samples with their values, without those whose answer is not found."""
    found: dict[int, Sample] = {}
    for options in dict.fromkeys(sample.options for sample, _ in held):
        rows = [k for k, (sample, _) in enumerate(held) if sample.options == options]
        answers = [(held[k][0].place.number, held[k][1]) for k in rows]
        kept, values, written = servers.values_of(joined(answers), options or None)
        for row, k in enumerate(rows):
            if kept[row]:
                numbers = array("d", np.atleast_1d(values[row]))
                sample = held[k][0]._replace(values=numbers, prediction=written[row])
                found[k] = sample
    for k, (sample, _) in enumerate(held):
        if k not in found:
            reason = "an empty answer, or one with a token of probability 0"
            if sample.options:
                reason = "no token is certain to be one of the options"
            if sample.shuffled:
                reason = SHUFFLED
            left_out.drop(reason, places.name_of(sample.place))
    return [found[k] for k in sorted(found)]


def _unshuffled(
    found: list[Sample], shuffled: set[int], places: Places, left_out: LeftOut
) -> list[Sample]:
    """Samples of runs that did not shuffle: one that did may leave some as they are."""
    kept = []
    for sample in found:
        if sample.run in shuffled:
            left_out.drop(SHUFFLED, places.name_of(sample.place))
        else:
            places.add(sample.place)
            kept.append(sample)
    return kept


def _rows(
    found: list[Sample],
    runs: list[Run],
    places: Places,
    left_out: LeftOut,
    asked: Asked,
) -> Rows:
    order = sorted(range(len(found)), key=lambda row: _key(found[row]))
    found = [found[row] for row in order]
    places = places.take(np.array(order))
    _check_kind(found, left_out.path, asked)
    tasks = _tasks(found, runs)
    several = len(set(tasks)) > 1
    values, class_where = padded([sample.values for sample in found])
    rows = Rows(
        format=NAME,
        kind="log_probabilities",
        values=values,
        places=places,
        ids=[
            f"{task}/{sample.identity}" if several else str(sample.identity)
            for task, sample in zip(tasks, found, strict=True)
        ],
        class_where=class_where,
        texts=[sample.text for sample in found],
        fingerprints=[sample.fingerprint for sample in found],
        model=next((run.model for run in runs if run.model), ""),
        task="" if several else tasks[0],
    )
    groups = [
        sample.subject or (task if several else "")
        for task, sample in zip(tasks, found, strict=True)
    ]
    if any(groups):
        rows.groups = groups
    if found[0].options:
        if ((values > -np.inf).sum(axis=1) < 2).all():
            raise ValueError(
                f"{left_out.path}: no row has log-probabilities of two options: there "
                "is nothing to calibrate; run inspect eval with --top-logprobs 20."
            )
        rows.zeros = "an option that is not among the tokens the model gave"
        kept: dict[tuple[str, ...], tuple[str, ...]] = {}
        rows.options = [kept.setdefault(one.options, one.options) for one in found]
        rows.predictions = [sample.prediction for sample in found]
        rows.labels = [sample.label for sample in found]
        if choices_of(rows) is None:
            rows.notes.append("Questions have different numbers of options.")
    else:
        rows.kind, rows.values, rows.class_where = "scores", values[:, 0], None
        rows.scale = "log_probability"
        rows.notes.append(
            "Scores are mean log-likelihoods of the answers' tokens; for the "
            "log-probabilities of the options of a question pass choices=."
        )
    if any(sample.num_answers > 1 for sample in found):
        rows.notes.append("Of several answers to a sample the first is read.")
    _add_outcomes(rows, found, left_out.path, asked)
    return rows


def _key(sample: Sample) -> tuple[int, int, str]:
    """As inspect_ai sorts samples, one log after another."""
    one = sample.identity
    name = one if isinstance(one, str) else str(one).zfill(20)
    return sample.run, sample.epoch, name


def _check_kind(found: list[Sample], path: Path, asked: Asked) -> None:
    num_with = sum(bool(sample.options) for sample in found)
    if 0 < num_with < len(found):
        raise ValueError(
            f"{path}: {num_with} of {len(found)} samples have options, and the others "
            "none: read the logs of one task at a time, or all with kind='scores'."
        )
    if not num_with and asked.kind == "log_probabilities":
        raise ValueError(
            f"kind: the samples of {path} have no options: pass choices= with the "
            "answers to look for, or read scores."
        )


def _tasks(found: list[Sample], runs: list[Run]) -> list[str]:
    """The task of each sample, with its arguments if there are several of a name."""
    used = {sample.run: runs[sample.run] for sample in found}
    variants: dict[str, set[str]] = {}
    for run in used.values():
        variants.setdefault(run.task, set()).add(run.arguments)
    names = {
        number: f"{run.task}({run.arguments})"
        if len(variants[run.task]) > 1
        else run.task
        for number, run in used.items()
    }
    return [names[sample.run] for sample in found]


def _add_outcomes(rows: Rows, found: list[Sample], path: Path, asked: Asked) -> None:
    """Adds what the scorer says; where labels do, it may be of any scale."""
    labelled = rows.labels is not None and any(one is not None for one in rows.labels)
    wanted = (asked.columns or {}).get("outcomes")
    scorers = sorted({name for sample in found for name in sample.scores})
    shown_names = names.shown(scorers)
    if wanted is not None and wanted not in scorers:
        raise ValueError(
            f"columns: expected the name of a scorer of {path} for outcomes, "
            f"{shown_names or 'which has none'}, got {wanted!r}."
        )
    if wanted is None and any(len(sample.scores) > 1 for sample in found):
        say = f'say which, with columns={{"outcomes": {scorers[0]!r}}}'
        if not labelled and asked.labelled:
            raise ValueError(f"{path}: has scores by {shown_names}: {say}.")
        rows.notes.append(f"There are scores by {shown_names}: none is read; {say}.")
    elif scorers:
        # Each task may have its own scorer.
        cells = [
            next(iter(sample.scores.values()), None)
            if wanted is None
            else sample.scores.get(str(wanted))
            for sample in found
        ]
        try:
            rows.outcomes = rows_.outcomes(cells, path, rows.row_name)
        except ValueError:
            if wanted is not None or not labelled:
                raise
            rows.notes.append(
                f"Scores by {shown_names} are not outcomes in [0, 1]: left out."
            )
    _note_missing(rows, labelled)


def _note_missing(rows: Rows, labelled: bool) -> None:
    unknown = np.ones(len(rows), bool)
    if rows.outcomes is not None:
        unknown = np.isnan(rows.outcomes)
    if unknown.all():
        rows.outcomes = None
    elif labelled and unknown.any():
        # A row without an outcome stays for its label.
        rows.notes.append(
            f"{int(unknown.sum())} of {len(rows)} rows are not scored (first: "
            f"{rows.row_name(int(np.argmax(unknown)))}): there are labels, no outcomes."
        )
        rows.outcomes = None
    if rows.labels is not None and not labelled:
        what = "neither outcomes nor labels"
        if rows.outcomes is not None:
            what = "outcomes, no labels"
        rows.notes.append(f"No row has a single right option: there are {what}.")


TOOL = Tool(
    name=NAME,
    is_line=is_log,
    read=read,
    files=re.compile(
        r".*\.eval|\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}[+-]\d{2}-\d{2}_.*\.json(\.gz)?"
    ),
    beside=re.compile(r"(logs|listing|eval-set)\.json"),
    of_start="npz",
    is_file=inspect_zips.is_log,
    lines_of=inspect_zips.lines_of,
    columns=frozenset({"outcomes"}),
)
