"""Runs of HELM: the state of each request, and the statistics beside it.

Source: helm/benchmark/adaptation/scenario_state.py, helm/benchmark/runner.py and
helm/benchmark/metrics/metric.py of stanford-crfm/helm.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..responses import MalformedError, UnansweredError, shown
from . import helm_runs
from . import helm_states as states
from .asked import Asked
from .helm_runs import Run
from .left_out import LeftOut, Place, Places
from .names import shown as some
from .rows import Rows, padded
from .tool import Lines, Tool

NAME = "helm"

_UNIT = "request state"
_JOINT, _SEPARATE = "multiple_choice_joint", "multiple_choice_separate_"
_CALIBRATED = f"{_SEPARATE}calibrated"
# Other methods, without one answer to each question.
_OTHERS = ("language_modeling", "ranking_binary")


class _Row(NamedTuple):
    """An answer, or the references of a question; a prediction of -1 is not an option.

    Attributes:
      values: by kind.
      right: whether the prediction is right, as HELM itself decides, NaN if unknown.
    """

    place: Place
    run: Run
    question: states.Instance
    trial: int
    values: dict[str, Any]
    right: float
    options: tuple[str, ...] | None = None
    correct: frozenset[int] = frozenset()
    prediction: int | None = None
    text: str = ""


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """A row for each question that was asked.

    Values are scores, mean log-likelihoods of answers, where a model wrote one; where
    HELM asked for each reference, log-likelihoods of these.
    """
    if asked.choices is not None:
        raise ValueError("choices: helm files name the options themselves.")
    metric = (asked.columns or {}).get("outcomes")
    if metric is not None and not isinstance(metric, str):
        raise ValueError(f"columns: expected the name of a metric, got {metric!r}.")
    metrics = helm_runs.METRICS if metric is None else (metric,)
    found: list[_Row] = []
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    num_read = 0
    for place, line in lines:
        try:
            run = helm_runs.run_of(line, places.paths[place.file], metrics)
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
            continue
        places.unit, num_read = _UNIT, max(num_read, place.order)
        numbered = [
            (Place(place.file, number, num_read + number), state)
            for number, state in enumerate(line["request_states"])
        ]
        num_read += len(numbered)
        of_run = _separate if run.method.startswith(_SEPARATE) else _answers
        for row in of_run(numbered, run, places, left_out):
            options = kept.setdefault(row.options, row.options) if row.options else None
            found.append(row._replace(options=options))
        places.unit = "line"
    places.unit, places.num_read = _UNIT, num_read
    left_out.check(len(found))
    models = sorted({row.run.model for row in found})
    if len(models) > 1:
        raise ValueError(
            f"{left_out.path}: holds runs of several models, {some(models)}: read one "
            "model's at a time."
        )
    kind = _kind(found, asked)
    found, without = [one for one in found if kind in one.values], found
    for row in without:
        if kind not in row.values:
            reason = (
                f"no {kind}, which other rows have; kind='scores' reads answers alone"
            )
            left_out.drop(reason, places.name_of(row.place))
    for row in found:
        places.add(row.place)
    rows = _rows(found, kind, places)
    if kind == "scores" or found[0].prediction is not None:
        _add_outcomes(rows, found, metric)
    else:
        _compare(rows, found)
    return rows


_Numbered = list[tuple[Place, Any]]


def _answers(
    numbered: _Numbered, run: Run, places: Places, left_out: LeftOut
) -> Iterator[_Row]:
    for place, state in numbered:
        try:
            yield _answer(place, states.mapping("the state", state), run)
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))


def _answer(place: Place, state: Mapping[str, Any], run: Run) -> _Row:
    if run.method in _OTHERS:
        raise UnansweredError(
            f"a run by the method {run.method}, without one answer to a question: "
            "nothing to calibrate"
        )
    question = states.instance(state)
    _, trial = helm_runs.key_of(question.id, state)
    written, tokens = states.completion(state)
    numbers = states.values(tokens)
    row = _Row(
        place=place,
        run=run,
        question=question,
        trial=trial,
        values={"scores": sum(numbers) / len(numbers)},
        right=np.nan,
        text=written,
    )
    if not run.is_plain or not run.method.startswith(_JOINT):
        return row
    meant = states.mapping("output_mapping", state.get("output_mapping"))
    options = tuple(meant)
    right = {question.texts[one] for one in question.correct}
    texts = [states.text("output_mapping", one) for one in meant.values()]
    correct = frozenset(k for k, one in enumerate(texts) if one in right)
    answer = written.strip()
    prediction = options.index(answer) if answer in meant else -1
    of_options = states.of_options(tokens, options)
    if of_options is not None:
        row.values["log_probabilities"] = of_options
    return row._replace(
        options=options,
        correct=correct,
        prediction=prediction,
        right=float(prediction in correct) if correct else np.nan,
    )


def _separate(
    numbered: _Numbered, run: Run, places: Places, left_out: LeftOut
) -> Iterator[_Row]:
    """A row for each question of which each reference was a request."""
    questions: dict[tuple[str, int], tuple[Place, states.Instance]] = {}
    found: dict[tuple[str, int], dict[tuple[int, str], tuple[float, int]]] = {}
    for place, state in numbered:
        try:
            state = states.mapping("the state", state)
            question = states.instance(state)
            key = helm_runs.key_of(question.id, state)
            number, mode = state.get("reference_index"), state.get("request_mode")
            if type(number) is not int or not 0 <= number < len(question.texts):
                raise MalformedError(
                    f"reference_index: expected one, got {shown(number)}"
                )
            questions.setdefault(key, (place, question))
            parts = found.setdefault(key, {})
            _, tokens = states.completion(state)
            numbers = states.of_reference(tokens, question.texts[number])
            part = number, str(mode or "original")
            if parts.setdefault(part, got := (sum(numbers), len(numbers))) != got:
                raise MalformedError("a reference of a question that was there before")
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
    for key, (place, question) in questions.items():
        values = _of_references(found[key], len(question.texts), run.method)
        if values is None:
            reason = "a question without the log-likelihood of each reference"
            left_out.drop(reason, places.name_of(place))
            continue
        own = np.asarray(values["logits"])
        best = {*np.flatnonzero(own >= own.max()).tolist()}
        yield _Row(
            place=place,
            run=run,
            question=question,
            trial=key[1],
            values=values,
            options=tuple(question.texts),
            correct=question.correct,
            right=len(question.correct & best) / len(best) if best else np.nan,
        )


def _of_references(
    parts: Mapping[tuple[int, str], tuple[float, int]], num_options: int, method: str
) -> dict[str, Any] | None:
    """Values by kind: logits are the numbers of which HELM takes the largest.

    Log-likelihoods divided by the number of tokens or, in calibrated runs, minus those
    of the reference without its question.
    """
    given = [[*map(parts.get, ((k, "original") for k in range(num_options)))]]
    if method == _CALIBRATED:
        given.append(
            [*map(parts.get, ((k, "calibration") for k in range(num_options)))]
        )
    if num_options < 2 or any(None in one for one in given):
        return None
    sums = np.array([[part[0] for part in one if part] for one in given])
    if method == _CALIBRATED:
        return {"logits": sums[0] - sums[1]}
    counts = np.array([part[1] for part in given[0] if part])
    return {"log_probabilities": sums[0], "logits": sums[0] / counts}


def _kind(found: list[_Row], asked: Asked) -> str:
    """The kind asked for, or the one that says most."""
    there = {kind for row in found for kind in row.values}
    kinds = [one for one in ("log_probabilities", "logits", "scores") if one in there]
    asked.only("these helm", *kinds)
    return asked.kind or kinds[0]


def _rows(found: list[_Row], kind: str, places: Places) -> Rows:
    class_where = None
    if kind == "scores":
        values = np.array([row.values[kind] for row in found])
    else:
        values, class_where = padded([row.values[kind] for row in found])
    own = [row.run for row in found]
    labels = list(dict.fromkeys(run.label for run in own))
    tasks = {run.task for run in own}
    several = len(labels) > 1
    rows = Rows(
        format=NAME,
        kind=kind,
        values=values,
        places=places,
        ids=[
            f"{run.label}/{row.question.id}" if several else row.question.id
            for run, row in zip(own, found, strict=True)
        ],
        num_read=places.num_read,
        class_where=class_where,
        fingerprints=[row.question.fingerprint for row in found],
        model=own[0].model,
        # Of one scenario if it is that of all runs.
        task=tasks.pop()
        if several and len(tasks) == 1
        else ""
        if several
        else labels[0],
        zeros="an option that is not among the alternatives of HELM's file",
    )
    if several or own[0].subject:
        rows.groups = [
            (run.subject if rows.task else run.label) or run.label for run in own
        ]
    if kind == "scores":
        rows.scale = "log_probability"
        rows.texts = [row.text for row in found]
        rows.notes.append(
            "Scores are mean log-likelihoods of the answers' tokens: HELM writes no "
            "other log-probabilities."
        )
    return rows


def _stated(found: list[_Row], metric: str) -> np.ndarray:
    """What the statistics say of each row, NaN where nothing."""
    keys = [(row.question.id, row.trial) for row in found]
    return np.array(
        [
            row.run.statistics.get(key, {}).get(metric, np.nan)
            for row, key in zip(found, keys, strict=True)
        ]
    )


def _add_outcomes(rows: Rows, found: list[_Row], metric: str | None) -> None:
    """Adds outcomes, and labels and predictions where all rows have them."""
    statistics = {id(row.run): row.run.statistics for row in found}.values()
    means = [one for part in statistics for one in part.values()]
    wrong = {name for one in means for name, mean in one.items() if mean < 0}
    there = {name for one in means for name in one} - wrong
    if metric is not None and metric not in there:
        raise ValueError(
            f"columns: {helm_runs.STATISTICS} has no metric {metric!r} that is in "
            f"[0, 1]; without columns= {some(helm_runs.METRICS[:2])} or the like is "
            "taken."
        )
    known = [one for one in helm_runs.METRICS if one in there]
    taken = metric or (known[0] if known else "")
    right = np.array([row.right for row in found])
    stated = _stated(found, taken)
    # Of two ways of judging one is taken for all rows.
    unknown = np.isnan(stated)
    rows.outcomes = right if unknown.all() else stated
    if not unknown.all():
        rows.notes.append(_note_of_metric(taken, known))
    if unknown.any() and not unknown.all():
        rows.notes.append(
            f"{int(unknown.sum())} of {len(rows)} rows have no {taken} in "
            f"{helm_runs.STATISTICS} (first: {rows.row_name(int(np.argmax(unknown)))}),"
            " and so no outcome."
        )
    if np.isnan(rows.outcomes).all():
        rows.outcomes = None
        rows.notes.append(
            f"There are no outcomes: no {helm_runs.STATISTICS} with a metric of the "
            "answers is beside the file; pass labels=."
        )
    _note_difference(rows, taken, stated, right, "the answers")
    _add_labels(rows, found)


def _note_of_metric(taken: str, known: Sequence[str]) -> str:
    others = [one for one in known if one != taken]
    more = f"; there are also {some(others)}, for columns=" if others else ""
    return f"Outcomes are {taken} of {helm_runs.STATISTICS}{more}."


def _note_difference(
    rows: Rows, metric: str, stated: np.ndarray, own: np.ndarray, what: str
) -> None:
    differ = np.abs(stated - own) > 1e-6
    if metric == "exact_match" and differ.any():
        rows.notes.append(
            f"HELM's exact_match and {what} do not agree on {int(differ.sum())} of "
            f"{len(differ)} rows (first: {rows.row_name(int(np.argmax(differ)))})."
        )


def _add_labels(rows: Rows, found: list[_Row]) -> None:
    if any(row.options is None for row in found):
        return
    labels = [
        next(iter(row.correct)) if len(row.correct) == 1 else None for row in found
    ]
    predictions = [row.prediction for row in found]
    if rows.kind == "scores":
        # Outcomes would be made of labels and predictions, where one row has none.
        made = np.array(
            [float(a == b) for a, b in zip(labels, predictions, strict=True)]
        )
        if None in labels or -1 in predictions or (made != rows.outcomes).any():
            rows.notes.append(
                "There are outcomes, no labels, for which each answer has to be one of "
                "the options, and each question to have a single right one."
            )
            return
    rows.options = [row.options or () for row in found]
    rows.labels = labels
    rows.predictions = [None if one == -1 else one for one in predictions]


def _compare(rows: Rows, found: list[_Row]) -> None:
    """Adds labels of references, and what HELM made of them to the notes."""
    rows.options = [row.options or () for row in found]
    rows.labels = [
        next(iter(row.correct)) if len(row.correct) == 1 else None for row in found
    ]
    right = np.array([row.right for row in found])
    stated = _stated(found, "exact_match")
    _note_difference(rows, "exact_match", stated, right, "its log-likelihoods")
    if rows.kind != "log_probabilities":
        rows.notes.append(
            "Logits are the numbers of which HELM takes the largest: log-likelihoods "
            "divided by the number of tokens or, in calibrated runs, minus those of "
            "the reference without its question."
        )
        return
    best = rows.values.argmax(axis=1)
    differ = [
        best[number] != int(np.argmax(row.values["logits"]))
        for number, row in enumerate(found)
    ]
    rows.notes.append(
        "Log-likelihoods are of the whole references. HELM divides them by the number "
        f"of tokens and takes another option in {sum(differ)} of {len(found)} rows; "
        "kind='logits' reads those."
    )


TOOL = Tool(
    name=NAME,
    is_line=helm_runs.is_state,
    read=read,
    files=helm_runs.FILES,
    beside=re.compile(
        r"(per_instance_stats|stats|run_spec|scenario|instances|display_\w+"
        r"|run_specs|summary|costs|groups|groups_metadata|schema|runs"
        r"|runs_to_run_suites)\.json(\.gz)?"
    ),
    task_of=helm_runs.task_of,
    columns=frozenset({"outcomes"}),
)
