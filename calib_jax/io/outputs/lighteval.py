"""Details of lighteval: log-likelihoods of options, or of the tokens of answers.

Source: lighteval/logging/info_loggers.py (`DetailsLogger.Detail`), tasks/requests.py
(`Doc`) and models/model_output.py (`ModelResponse`) of huggingface/lighteval.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import json_lines
from ..responses import MalformedError, UnansweredError, shown
from . import nested
from .asked import Asked
from .left_out import LeftOut, Place, Places
from .names import shown as some
from .rows import ROUNDING, Rows, choices_of, padded, text
from .tool import Lines, Tool

NAME = "lighteval"

_FILE = re.compile(r"details_(?P<task>.+)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.-]+)\.parquet")
_COLUMNS = ("doc", "model_response", "metric")
# What is read of them.
_PARTS = (
    *("doc.query", "doc.choices", "doc.gold_index", "doc.id", "doc.task_name"),
    *("doc.sampling_methods", "doc.specific.subject", "doc.specific.category"),
    *("model_response.text", "model_response.logprobs"),
    *("model_response.unconditioned_logprobs", "metric"),
)
# Columns of earlier releases, which wrote lists as texts.
_EARLIER = {"full_prompt", "predictions"}
_PERPLEXITY = (
    "a perplexity task, without a question: nothing to calibrate; run a "
    "multiple-choice task"
)
_WITHOUT = (
    "a generated answer without log-probabilities of its tokens: nothing to calibrate; "
    "run it with vLLM or SGLang, which give them"
)
_SEVERAL = (
    "several answers to a question: lighteval writes the log-probabilities of one, and "
    "one metric of all"
)


class _Row(NamedTuple):
    """One detail; `values` has an entry for each option, or is one score."""

    place: Place
    id: str
    task: str
    subject: str
    values: list[float] | float
    options: tuple[str, ...]
    label: int | None
    text: str
    metrics: Mapping[str, float]
    fingerprint: str


def is_detail(line: Mapping[str, Any]) -> bool:
    """Whether an object looks like one of these."""
    return all(isinstance(line.get(name), Mapping) for name in _COLUMNS[:2])


def is_file(path: Path) -> bool:
    """Whether a parquet file has the columns of details, of any release."""
    names = {name.strip("_") for name in nested.top_names(path)}
    return names.issuperset(_COLUMNS[:2]) or names.issuperset(_EARLIER)


def lines_of(
    path: Path, watch: json_lines.Watch | None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The details of a file. The documentation puts underscores around columns."""
    names = {name.strip("_"): name for name in nested.top_names(path)}
    if not names.keys() >= {*_COLUMNS[:2]}:
        raise ValueError(
            f"{path}: was written by an earlier release of lighteval, whose details "
            "are not read: run it again with one that writes doc and model_response."
        )
    wanted = [
        ".".join([names[part[0]], *part[1:]])
        for part in (one.split(".") for one in _PARTS)
        if part[0] in names
    ]
    for number, row in enumerate(nested.records(path, wanted)):
        yield number, {name.strip("_"): value for name, value in row.items()}
    if watch is not None:
        watch(path.stat().st_size)


def task_of(path: Path) -> str | None:
    """The task that the name of a file has, if the tool gave it that name."""
    match = _FILE.fullmatch(path.name)
    return match["task"] if match else None


def model_of(path: Path) -> str:
    """The model that the folders of a file name, if the tool made them.

    Such as `details/openai/gpt2/2026-11-30T15-20-52.885121/details_...parquet`.
    """
    match, parts = _FILE.fullmatch(path.name), Path(os.path.abspath(path)).parts
    if not match or parts[-2] != match["date"] or "details" not in parts[:-2]:
        return ""
    start = len(parts) - parts[::-1].index("details")
    return "/".join(parts[start:-2])


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """Rows of multiple-choice tasks, or of generated answers if there are none."""
    metric = (asked.columns or {}).get("outcomes")
    if metric is not None and not isinstance(metric, str):
        raise ValueError(f"columns: expected the name of a metric, got {metric!r}.")
    found: list[_Row] = []
    kept: dict[Any, Any] = {}
    num_unconditioned = 0
    places.unit = "row"
    for place, line in lines:
        try:
            row, unconditioned = _row(place, line, places.paths[place.file])
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
        else:
            options = kept.setdefault(row.options, row.options)
            found.append(row._replace(options=options))
            num_unconditioned += unconditioned
    left_out.check(len(found))
    models = sorted({model_of(places.paths[row.place.file]) for row in found})
    if len(models) > 1:
        raise ValueError(
            f"{left_out.path}: holds details of several models, {some(models)}: read "
            "one model's folder at a time."
        )
    rows = _rows(_of_kind(found, asked, left_out, places), places, models[0], metric)
    if num_unconditioned:
        rows.notes.append(
            f"{num_unconditioned} rows also have log-probabilities of the options "
            "without the question, which are not used."
        )
    if asked.choices is not None and choices_of(rows) != tuple(asked.choices):
        raise ValueError(
            "choices: lighteval files name the options of multiple-choice tasks "
            "themselves; leave it out."
        )
    return rows


def _row(place: Place, line: Mapping[str, Any], path: Path) -> tuple[_Row, bool]:
    if not is_detail(line):
        raise MalformedError("not a detail of lighteval: no doc or no model_response")
    document, response = line["doc"], line["model_response"]
    if _list("sampling_methods", document) == ["PERPLEXITY"]:
        raise UnansweredError(_PERPLEXITY)
    options = tuple(
        text(one).strip() if isinstance(one, str) else ""
        for one in _list("choices", document)
    )
    texts = _list("text", response)
    values = [_number(one) for one in _list("logprobs", response)]
    unconditioned = bool(_list("unconditioned_logprobs", response))
    label: int | None = None
    kept: list[float] | float = values
    if texts:
        kept, options = _score(texts, values), ()
    else:
        if len(options) < 2:
            raise UnansweredError(
                "a task with the log-likelihood of the right answer alone: nothing to "
                "calibrate; run a multiple-choice task"
            )
        if len(values) == 2 * len(options):
            # The second half are the same options without the question.
            kept, unconditioned = values[: len(options)], True
        elif len(values) != len(options):
            raise MalformedError(f"logprobs: {len(values)} for {len(options)} choices")
        label = _label(document.get("gold_index"), len(options))
    specific = document.get("specific")
    subject = [
        one
        for name in ("subject", "category")
        if isinstance(specific, Mapping) and isinstance(one := specific.get(name), str)
    ]
    query = str(document.get("query")).encode("utf-8", "surrogatepass")
    row = _Row(
        place=place,
        id=text(document.get("id")),
        task=text(document.get("task_name")) or task_of(path) or "",
        subject=subject[0] if subject else "",
        values=kept,
        options=options,
        label=label,
        text=str(texts[0]) if texts else "",
        metrics=_metrics(line.get("metric")),
        fingerprint=hashlib.sha256(query).hexdigest()[:16],
    )
    return row, unconditioned


def _list(name: str, given: Mapping[str, Any]) -> list[Any]:
    value = given.get(name)
    if not isinstance(value, list | None):
        raise MalformedError(f"{name}: expected a list, got {shown(value)}")
    return value or []


def _number(value: Any) -> float:
    """A log-likelihood; SGLang writes those of an option's tokens."""
    if isinstance(value, list) and value:
        return sum(map(_number, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError(f"logprobs: expected numbers, got {shown(value)}")
    if value > ROUNDING:
        raise MalformedError(f"logprobs: expected at most 0, got {shown(value)}")
    # What float32 cannot hold is -inf.
    return -np.inf if value < -1e38 else float(value)


def _score(texts: list[Any], values: list[float]) -> float:
    if len(texts) > 1:
        raise UnansweredError(_SEVERAL)
    if not values:
        raise UnansweredError(_WITHOUT)
    return sum(values) / len(values)


def _label(gold: Any, num_options: int) -> int | None:
    """The only right option, or None if there are several."""
    several = gold if isinstance(gold, list) else [gold]
    for one in several:
        if type(one) is not int or not 0 <= one < num_options:
            raise MalformedError(
                f"gold_index: expected a number below {num_options}, got {shown(one)}"
            )
    return several[0] if len(set(several)) == 1 else None


def _metrics(given: Any) -> dict[str, float]:
    """Metrics that are numbers; -1 where they are none in [0, 1]."""
    if not isinstance(given, Mapping):
        return {}
    return {
        str(name): float(one) if 0 <= one <= 1 else -1.0
        for name, one in given.items()
        if isinstance(one, int | float)
    }


def _of_kind(
    found: list[_Row], asked: Asked, left_out: LeftOut, places: Places
) -> list[_Row]:
    """The rows with options, or those with scores."""
    kinds = {
        "log_probabilities": [row for row in found if row.options],
        "scores": [row for row in found if not row.options],
    }
    kinds = {name: rows for name, rows in kinds.items() if rows}
    asked.only("these lighteval", *kinds)
    kind = asked.kind or next(iter(kinds))
    for name, rows in kinds.items():
        if name != kind:
            reason = f"a row with {name}, beside those with {kind}: read it with kind="
            for row in rows:
                left_out.drop(reason, places.name_of(row.place))
    return kinds[kind]


def _rows(found: list[_Row], places: Places, model: str, metric: str | None) -> Rows:
    for row in found:
        places.add(row.place)
    class_where = None
    of_options = any(row.options for row in found)
    if of_options:
        values, class_where = padded([row.values for row in found])
    else:
        values = np.array([row.values for row in found])
    tasks = list(dict.fromkeys(row.task for row in found))
    has_ids = any(row.id for row in found)
    ids = [row.id if has_ids else str(row.place.order) for row in found]
    rows = Rows(
        format=NAME,
        kind="log_probabilities" if of_options else "scores",
        values=values,
        places=places,
        ids=[
            f"{row.task}/{one}" if len(tasks) > 1 else one
            for row, one in zip(found, ids, strict=True)
        ],
        has_ids=has_ids,
        num_read=places.num_read,
        class_where=class_where,
        fingerprints=[row.fingerprint for row in found],
        model=model,
        task=tasks[0] if len(tasks) == 1 else "",
    )
    if len(tasks) > 1 or any(row.subject for row in found):
        rows.groups = [row.subject or row.task for row in found]
    _add_outcomes(rows, found, metric)
    if not of_options:
        rows.scale = "log_probability"
        rows.texts = [row.text for row in found]
        rows.notes.append("Scores are mean log-likelihoods of the answers' tokens.")
    else:
        rows.options = [row.options for row in found]
        rows.labels = [row.label for row in found]
        _note_difference(rows)
    return rows


def _add_outcomes(rows: Rows, found: list[_Row], metric: str | None) -> None:
    """Adds the metric asked for, `acc` of options, or the only one."""
    every = itertools.chain.from_iterable(row.metrics for row in found)
    known = [
        name
        for name in dict.fromkeys(every)
        if all(row.metrics.get(name, 0.0) >= 0 for row in found)
    ]
    taken = metric
    if taken is None and rows.kind == "log_probabilities" and "acc" in known:
        taken = "acc"
    if taken is None and len(known) == 1:
        taken = known[0]
    if taken is not None and taken not in known:
        there = some(known) if known else "none"
        raise ValueError(
            f"columns: no metric {taken!r} in [0, 1] of all rows; there are {there}."
        )
    if taken is None:
        if rows.kind == "scores":
            which = f"say which metric, {some(known)}, with columns={{'outcomes': ...}}"
            rows.notes.append(
                "There are no outcomes: "
                f"{which if known else 'no metric is in [0, 1]; pass labels='}."
            )
        return
    rows.outcomes = np.array([row.metrics.get(taken, np.nan) for row in found])
    rows.notes.append(f"Outcomes are lighteval's {taken}.")


def _note_difference(rows: Rows) -> None:
    if rows.outcomes is None or rows.labels is None:
        return
    best = rows.values.argmax(axis=1).tolist()
    differ = np.array(
        [
            one is not None and float(one == top) != outcome and outcome == outcome
            for one, top, outcome in zip(rows.labels, best, rows.outcomes, strict=True)
        ]
    )
    if differ.any():
        rows.notes.append(
            f"Outcomes and the likeliest options do not agree on {int(differ.sum())} "
            f"of {len(differ)} rows (first: {rows.row_name(int(np.argmax(differ)))}): "
            "lighteval's metric may divide by length."
        )


TOOL = Tool(
    name=NAME,
    is_line=is_detail,
    read=read,
    files=re.compile(r"details_.+\.parquet"),
    beside=re.compile(r"results_.*\.json"),
    task_of=task_of,
    of_start="parquet",
    is_file=is_file,
    lines_of=lines_of,
    columns=frozenset({"outcomes"}),
)
