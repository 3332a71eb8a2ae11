"""Samples of lm-evaluation-harness: log-likelihoods of the options of each question.

Source: lm_eval/loggers/evaluation_tracker.py (`save_results_samples`) and
lm_eval/evaluator.py (`evaluate`) of EleutherAI/lm-evaluation-harness.
"""

import json
import os
import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..responses import MalformedError, UnansweredError, shown
from .asked import Asked
from .left_out import LeftOut, Place, Places
from .names import shown as some
from .rows import Rows, choices_of, padded
from .tool import Lines, Tool

NAME = "lm-eval"

_GENERATED = (
    "a generation task, without log-probabilities: nothing to calibrate; run a "
    "multiple-choice task, or ask a server with logprobs=True and read its answers"
)
_ROLLING = (
    "a perplexity task, without a question: nothing to calibrate; run a "
    "multiple-choice task"
)
_REFERENCE = (
    "a task with the log-likelihood of the right answer alone: nothing to calibrate; "
    "run a multiple-choice task"
)
_OF_FILE = re.compile(r"samples_(?P<task>.+?)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.-]*\d)")
# No summary is longer.
_LONGEST_SUMMARY = 2**26
# Where a document names its subject.
_SUBJECTS = ("subject", "category")


class _Sample(NamedTuple):
    """What is kept of one line; -1 where there is no such label."""

    document: int
    filter: str
    values: Sequence[float]
    options: tuple[str, ...] | None
    label_by_index: int
    label_by_name: int
    outcome: float
    subject: str
    fingerprint: str


def is_sample(line: Mapping[str, Any]) -> bool:
    """Whether a line looks like one of these."""
    return "doc_id" in line and ("resps" in line or "filtered_resps" in line)


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """Rows in the order of tasks and documents."""
    asked.only(NAME, "log_probabilities")
    rows = _read(lines, places, left_out)
    models = sorted({model_of(path) for path in places.paths} - {""})
    if len(models) > 1:
        raise ValueError(
            f"{left_out.path}: holds samples of several models, {some(models)}: read "
            "one model's folder at a time."
        )
    files = {rows.places.file(row) for row in range(len(rows))}
    unnamed = [places.paths[one] for one in sorted(files)]
    unnamed = [path for path in unnamed if not model_of(path)]
    if models and not unnamed:
        (rows.model,) = models
    elif models:
        rows.notes.append(
            f"The model is not known: other files are of {models[0]}, and beside "
            f"{some([path.name for path in unnamed])} is no results_*.json of that run."
        )
    if len(tasks := {task_of(places.paths[one]) or "" for one in files}) == 1:
        (rows.task,) = tasks
    named = choices_of(rows)
    if asked.choices is not None and named != tuple(asked.choices):
        raise ValueError(
            "choices: lm-eval files name the options themselves: "
            f"{'others in each row' if named is None else ', '.join(named)}."
        )
    return rows


def _read(lines: Lines, places: Places, left_out: LeftOut) -> Rows:
    samples: list[_Sample] = []
    filters: dict[tuple[int, int], str] = {}
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    tasks = _tasks(places)
    numbers = list(dict.fromkeys(tasks))
    for place, line in lines:
        try:
            sample = _sample(line)
            task = numbers.index(tasks[place.file])
            first = filters.setdefault((task, sample.document), sample.filter)
            if sample.filter != first:
                raise UnansweredError(
                    f"filter {sample.filter!r} of a row that is kept as filter "
                    f"{first!r} has it"
                )
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
        else:
            if sample.options is not None:
                options = kept.setdefault(sample.options, sample.options)
                sample = sample._replace(options=options)
            samples.append(sample)
            places.add(place)
    left_out.check(len(samples))
    rows = _rows(samples, [tasks[places.file(i)] for i in range(len(samples))], places)
    for (task, _), name in filters.items():
        rows.decided[f"the filter of {numbers[task] or 'the task'}"] = frozenset({name})
    return rows


def _tasks(places: Places) -> list[str]:
    """The task of each file: only its name says it, or nothing if there is but one."""
    return [
        task_of(path) or places.stem(Place(file, 0)) or ""
        for file, path in enumerate(places.paths)
    ]


def task_of(path: Path) -> str | None:
    """The task that the name of a file has, if the tool gave it that name."""
    match = _OF_FILE.match(path.name)
    return match["task"] if match else None


def model_of(path: Path) -> str:
    """The model of a file that the tool named, or "".

    The summary of the same run names it, and else the folder, in which the tool writes
    `openai__gpt2` for openai/gpt2.
    """
    match = _OF_FILE.match(path.name)
    if match is None:
        return ""
    summary = path.with_name(f"results_{match['date']}.json")
    try:
        if summary.stat().st_size <= _LONGEST_SUMMARY:
            name = json.loads(summary.read_bytes())["model_name"]
            if isinstance(name, str) and name:
                return name
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    folder = Path(os.path.abspath(path)).parent.name
    return folder if "__" in folder.strip("_") else ""


def _sample(line: Mapping[str, Any]) -> _Sample:
    if not is_sample(line):
        raise MalformedError("not a sample of lm-eval: it has no doc_id or no resps")
    document = line["doc_id"]
    if type(document) is not int or abs(document) >= 2**63:
        raise MalformedError(f"doc_id: expected a number, got {shown(document)}")
    arguments = _arguments(line.get("arguments"))
    values = _values(line, arguments)
    half = len(values) // 2
    if "acc_mutual_info" in line and not any(a[0] for a in arguments[half:]):
        # The second half are the same options without the question.
        arguments, values = arguments[:half], values[:half]
    contexts = {context for context, _ in arguments}
    options = tuple(option.strip() for _, option in arguments)
    several = len(contexts) > 1 and len(set(options)) == 1
    outcome = line.get("acc")
    best = int(np.argmax(values))
    by_index, by_name = _labels(line.get("target"), options)
    if several:
        # Each option is a context, and the target its common end: with two, the
        # outcome tells which is right.
        known = len(values) == 2 and outcome in (0, 1)
        by_index = by_name = (best if outcome else 1 - best) if known else -1
    subject = line.get("doc")
    if isinstance(subject, Mapping):
        names = (subject.get(name) for name in _SUBJECTS)
        subject = next((name for name in names if isinstance(name, str)), "")
    fingerprint = line.get("doc_hash")
    return _Sample(
        document=document,
        filter=str(line.get("filter", "none")),
        values=array("d", values),
        options=None if several else options,
        label_by_index=by_index,
        label_by_name=by_name,
        outcome=float(outcome) if outcome in (0, 1) else np.nan,
        subject=subject if isinstance(subject, str) else "",
        # Sixteen of its digits tell as much.
        fingerprint=fingerprint[:16] if isinstance(fingerprint, str) else "",
    )


def _arguments(given: Any) -> list[tuple[str, str]]:
    """Context and option of each request; older files hold lists of both."""
    if not isinstance(given, (Mapping, list)):
        raise MalformedError(f"arguments: expected requests, got {shown(given)}")
    requests = given.values() if isinstance(given, Mapping) else given
    found = []
    for request in requests:
        if isinstance(request, Mapping):
            request = list(request.values())
        parts = request if isinstance(request, list) else []
        if len(parts) == 1:
            raise UnansweredError(_ROLLING)
        if len(parts) >= 2 and isinstance(parts[1], Mapping):
            raise UnansweredError(_GENERATED)
        if len(parts) < 2 or not all(isinstance(part, str) for part in parts[:2]):
            raise MalformedError("arguments: expected a context and an option each")
        found.append((parts[0], parts[1]))
    return found


def _values(line: Mapping[str, Any], arguments: list[Any]) -> list[float]:
    pairs = line.get("filtered_resps")
    if not isinstance(pairs, list) or not pairs:
        raise MalformedError(f"filtered_resps: expected a list, got {shown(pairs)}")
    if all(isinstance(pair, str) for pair in pairs):
        raise UnansweredError(_GENERATED)
    if len(pairs) == 1:
        raise UnansweredError(_REFERENCE)
    if len(pairs) != len(arguments):
        raise MalformedError(
            f"filtered_resps: {len(pairs)} for {len(arguments)} arguments"
        )
    return [_number(pair) for pair in pairs]


def _number(pair: Any) -> float:
    """A log-likelihood from a pair of it and whether greedy decoding gives it."""
    value = pair[0] if isinstance(pair, list) and len(pair) == 2 else None
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise MalformedError(
            f"filtered_resps: expected a log-likelihood, got {shown(value)}"
        ) from None


def _labels(target: Any, options: tuple[str, ...]) -> tuple[int, int]:
    """The right option if the target is its number, and if it is its text."""
    text = str(target).strip()
    by_name = options.index(text) if text in options else -1
    number = int(text) if re.fullmatch(r"\d{1,9}", text) else -1
    return number if number < len(options) else -1, by_name


def _rows(samples: list[_Sample], tasks: list[str], places: Places) -> Rows:
    # Files of parallel runs are one rank after another.
    order_of = {task: number for number, task in enumerate(dict.fromkeys(tasks))}
    keys = [
        (order_of[task], s.document) for task, s in zip(tasks, samples, strict=True)
    ]
    order = sorted(range(len(samples)), key=keys.__getitem__)
    samples, tasks = [samples[i] for i in order], [tasks[i] for i in order]
    values, class_where = padded([sample.values for sample in samples])
    found = Rows(
        format=NAME,
        kind="log_probabilities",
        values=values,
        places=places.take(np.array(order)),
        ids=[
            f"{task}/{sample.document}" if len(order_of) > 1 else str(sample.document)
            for task, sample in zip(tasks, samples, strict=True)
        ],
        class_where=class_where,
    )
    groups = [s.subject or task for task, s in zip(tasks, samples, strict=True)]
    found.decided["the number of tasks"] = frozenset({len(order_of) > 1})
    if any(groups):
        found.groups = groups
    fingerprints = [sample.fingerprint for sample in samples]
    if any(fingerprints):
        found.fingerprints = fingerprints
    if all(sample.options is not None for sample in samples):
        found.options = [sample.options or () for sample in samples]
    _add_labels(found, samples, tasks)
    return found


def _add_labels(found: Rows, samples: list[_Sample], tasks: list[str]) -> None:
    """Adds labels and outcomes; rows without a label go later, if others have one."""
    by_index = np.array([sample.label_by_index for sample in samples])
    by_name = np.array([sample.label_by_name for sample in samples])
    best = found.values.argmax(axis=1)
    outcomes = np.array([sample.outcome for sample in samples])
    labels = np.where(by_index >= 0, by_index, by_name)
    # A target such as "2" may be a number or the text of an option: outcomes tell, or
    # else targets of the task that can only be one of both.
    names = np.array(tasks, object)
    either = (by_index >= 0) & (by_name >= 0) & (by_index != by_name)
    if either.any():
        found.decided["whether targets are numbers or texts of options"] = frozenset()
    for task in dict.fromkeys(names[either]):
        rows = either & (names == task)
        known = rows & ~np.isnan(outcomes)
        against = [
            (
                int(np.sum((best == given) != (outcomes == 1), where=known)),
                int(np.sum((given < 0) & (other >= 0), where=names == task)),
            )
            for given, other in ((by_index, by_name), (by_name, by_index))
        ]
        if against[1] < against[0]:
            labels[rows] = by_name[rows]
        elif against[1] == against[0]:
            found.notes.append(
                f"Targets of {task or 'the file'} are numbers and may be texts of "
                "options, too, and no acc tells: they are taken as numbers, counted "
                "from 0."
            )
    none, unknown = labels < 0, np.isnan(outcomes)
    if none.all():
        what = "neither outcomes nor labels" if unknown.all() else "outcomes, no labels"
        found.notes.append(f"No row has a single right option: there are {what}.")
    # A row without a label goes, and its unknown outcome with it.
    few = unknown & ~none
    if few.any() and not unknown.all():
        found.notes.append(
            f"{int(few.sum())} of {len(labels)} rows have no acc (first: "
            f"{found.row_name(int(np.argmax(few)))}): there are labels, no outcomes."
        )
    elif not unknown.all():
        found.outcomes = outcomes
    differ = ~none & ~unknown & ((best == labels) != (outcomes == 1))
    if differ.any():
        found.notes.append(
            f"The file's acc and its target do not agree on {int(differ.sum())} of "
            f"{len(labels)} rows (first: {found.row_name(int(np.argmax(differ)))})."
        )
    found.labels = [None if label < 0 else int(label) for label in labels.tolist()]


TOOL = Tool(
    name=NAME,
    is_line=is_sample,
    read=read,
    files=re.compile("samples_.*"),
    beside=re.compile("results_.*"),
    task_of=task_of,
    in_blocks=True,
)
