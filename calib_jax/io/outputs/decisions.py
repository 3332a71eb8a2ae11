"""Decisions: answers of servers that give each option a probability.

Two shapes: `answers` is a list of records with a `type` (OpenAI, vLLM, SGLang,
LiteLLM), or an object with a record for each question (System One). Probabilities are
rounded to two or four decimals; ties are kept as they are.

Source: openai-python, src/openai/types/decision.py; vLLM, decisions/protocol.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..responses import MalformedError, UnansweredError, shown
from .asked import Asked
from .left_out import LeftOut, Places
from .rows import ROUNDING, Rows, names_of, text
from .tool import Lines, Tool

NAME = "decisions"

# In which a body may lie: of a saved line, a batch, a proxy.
_WRAPPERS = ("response", "body", "result")
_NO_PROBABILITIES = (
    "an answer without probabilities: there is nothing to calibrate; ask a server that "
    "returns the probabilities of all options"
)


# Probabilities by the type and value of an option: True and 1 are one key.
_Options = dict[tuple[type, Any], float]


class _Answer(NamedTuple):
    """One answer: a probability for each option, by the option's type and value."""

    question: str
    probabilities: _Options
    chosen: Any
    confidence: float
    label: Any


def is_decision(line: Mapping[str, Any]) -> bool:
    """Whether a line looks like one of these."""
    answers = _body(line)[1].get("answers")
    parts = answers.values() if isinstance(answers, Mapping) else answers
    return isinstance(parts, (list, type({}.values()))) and all(
        isinstance(part, Mapping) and "type" in part for part in parts
    )


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """A row for each answer, in the order of lines and of the questions in them.

    Args:
      lines: with their places.
      places: of the rows, which are added.
      left_out: what is not read.
      asked: its kind is "probabilities", or "scores" for the confidences that the
        server states; its choices are the order of the options, sorted without them.
      first: the line that says whether lines have ids.
    """
    asked.only(NAME, "probabilities", "scores")
    kind, choices = asked.kind or "probabilities", asked.choices
    answers: list[_Answer] = []
    ids: list[str] = []
    has_ids = _body(first)[0] is not None or len(places.paths) > 1
    for place, line in lines:
        try:
            identity, body = _body(line)
            identity = places.stem(place) if identity is None else identity
            if (identity is not None) != has_ids:
                raise MalformedError("expected an id in all lines or in none")
            labels = line.get("labels")
            for answer in _answers(body, labels if isinstance(labels, Mapping) else {}):
                if isinstance(answer, UnansweredError):
                    left_out.drop(str(answer), places.name_of(place))
                    continue
                answers.append(answer)
                ids.append(str(place.order) if identity is None else identity)
                places.add(place)
        except UnansweredError as error:
            left_out.drop(str(error), places.name_of(place))
        except MalformedError as error:
            left_out.refuse(str(error), places.name_of(place))
    left_out.check(len(answers))
    rows = _rows(answers, ids, places, kind, choices)
    rows.has_ids, rows.num_read = has_ids, places.num_read
    return rows


def _body(line: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """The id, and the body with the answers."""
    identity = None
    body = line
    for _ in range(3):
        for name in ("custom_id", "id"):
            found = body.get(name)
            if identity is None and isinstance(found, (str, int, float)):
                identity = text(found) or None
        if "answers" in body:
            break
        inner = [
            body[name] for name in _WRAPPERS if isinstance(body.get(name), Mapping)
        ]
        if not inner:
            break
        body = inner[0]
    return identity, body


def _answers(
    body: Mapping[str, Any], labels: Mapping[str, Any]
) -> Iterator[_Answer | UnansweredError]:
    answers = body.get("answers")
    if answers is None and (body.get("error") or body.get("errors")):
        reason = shown(body.get("error") or body.get("errors"))
        raise UnansweredError(f"a failed request, {reason}")
    if isinstance(answers, Mapping):
        named = [(str(name), answer) for name, answer in answers.items()]
    elif isinstance(answers, list):
        named = [
            (
                str(number) if (name := _get(answer, "name")) is None else str(name),
                answer,
            )
            for number, answer in enumerate(answers)
        ]
    elif answers is None:
        raise MalformedError("not a decision: it has no answers")
    else:
        raise MalformedError(f"answers: expected answers, got {shown(answers)}")
    if not named:
        raise UnansweredError("a response without an answer")
    if len(dict(named)) < len(named):
        raise MalformedError("answers: expected questions of different names")
    for name, answer in named:
        try:
            found = _answer(name, answer)
        except UnansweredError as error:
            yield error
        else:
            yield found._replace(label=labels.get(name))


def _get(answer: Any, name: str) -> Any:
    if not isinstance(answer, Mapping):
        raise MalformedError(f"answers: expected an answer, got {shown(answer)}")
    return answer.get(name)


def _answer(name: str, answer: Any) -> _Answer:
    kind = _get(answer, "type")
    if kind == "refusal":
        raise UnansweredError("a refusal")
    if kind in ("predicate", "noul"):
        value = answer.get("probability" if kind == "predicate" else "noul")
        if value is None:
            raise UnansweredError(_NO_PROBABILITIES)
        true = _probability(name, value)
        options: _Options = {(bool, False): 1.0 - true, (bool, True): true}
        return _Answer(name, options, None, max(true, 1.0 - true), None)
    if kind not in ("choice", "score"):
        raise MalformedError(f"answer {name!r}: unknown type {shown(kind)}")
    options = _options(name, answer.get("probabilities"))
    least = 0.01 + 0.005 * len(options)
    total = sum(options.values())
    if not 1 - least <= total <= 1 + least:
        raise MalformedError(
            f"answer {name!r}: expected probabilities that add up to 1, got a sum of "
            f"{total:.4g}"
        )
    chosen = answer.get("choice")
    stated = answer.get("confidence")
    return _Answer(
        name,
        options,
        None if chosen is None else (type(chosen), chosen),
        np.nan if stated is None else _probability(name, stated),
        None,
    )


def _options(name: str, given: Any) -> _Options:
    if given is None or given == [] or given == {}:
        raise UnansweredError(_NO_PROBABILITIES)
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, list):
        pairs = [(_get(one, "value"), _get(one, "probability")) for one in given]
    else:
        raise MalformedError(
            f"answer {name!r}: expected probabilities, got {shown(given)}"
        )
    found = {}
    for value, probability in pairs:
        if type(value) not in (str, bool, int):
            raise MalformedError(
                f"answer {name!r}: expected an option, got {shown(value)}"
            )
        key = (type(value), value)
        if key in found:
            raise MalformedError(
                f"answer {name!r}: option {shown(value)} is there twice"
            )
        found[key] = _probability(name, probability)
    return found


def _probability(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not -ROUNDING <= value <= 1 + ROUNDING:
        raise MalformedError(
            f"answer {name!r}: expected a probability, got {shown(value)}"
        )
    return min(max(float(value), 0.0), 1.0)


def _rows(
    answers: list[_Answer],
    ids: list[str],
    places: Places,
    kind: str,
    choices: Sequence[str] | None,
) -> Rows:
    # The options of a question in an order that does not depend on the file.
    found: dict[str, set[tuple[type, Any]]] = {}
    for answer in answers:
        found.setdefault(answer.question, set()).update(answer.probabilities)
    columns, options = {}, {}
    for question, keys in found.items():
        ordered = _ordered(keys)
        if choices is not None:
            ordered = _as_given(question, ordered, choices, places)
        columns[question] = {key: column for column, key in enumerate(ordered)}
        options[question] = tuple(value for _, value in ordered)
    shape = len(answers), max(map(len, columns.values()))
    values, class_where = np.zeros(shape), np.zeros(shape, bool)
    for row, answer in enumerate(answers):
        place = columns[answer.question]
        for key, probability in answer.probabilities.items():
            values[row, place[key]] = probability
            class_where[row, place[key]] = True
    several = len(found) > 1
    rows = Rows(
        format=NAME,
        kind=kind,
        values=values,
        places=places,
        ids=[
            f"{identity}/{answer.question}" if several else identity
            for identity, answer in zip(ids, answers, strict=True)
        ],
        bases=ids,
        questions=[answer.question for answer in answers],
        options=[options[answer.question] for answer in answers],
        by_name=True,
        class_where=None if class_where.all() else class_where,
        groups=[answer.question for answer in answers] if several else None,
    )
    rows.decided["the number of questions"] = frozenset({several})
    for question, names in options.items():
        rows.decided[f"the options of {shown(question)}"] = frozenset({names})
    if any(answer.label is not None for answer in answers):
        rows.labels = [answer.label for answer in answers]
    if any(answer.chosen is not None for answer in answers):
        rows.predictions = [
            None if answer.chosen is None else answer.chosen[1] for answer in answers
        ]
    if kind == "scores":
        _as_scores(rows, answers)
    return rows


def _as_scores(rows: Rows, answers: list[_Answer]) -> None:
    """The stated confidences, in the answer given or, if none is, the likeliest one."""
    likeliest = rows.values.argmax(axis=1).tolist()
    rows.scale = "confidence"
    rows.values = np.array([answer.confidence for answer in answers])
    rows.class_where = None
    rows.predictions = [
        options[best] if answer.chosen is None else answer.chosen[1]
        for answer, options, best in zip(
            answers, rows.options or (), likeliest, strict=True
        )
    ]


def _ordered(options: set[tuple[type, Any]]) -> list[tuple[type, Any]]:
    """Numbers in their order, and all else as text."""
    if all(
        kind is not bool and str(value).removeprefix("-").isdecimal()
        for kind, value in options
    ):
        return sorted(options, key=lambda key: (int(key[1]), key[0].__name__))
    return sorted(options, key=lambda key: (key[0].__name__, str(key[1])))


def _as_given(
    question: str,
    ordered: list[tuple[type, Any]],
    choices: Sequence[str],
    places: Places,
) -> list[tuple[type, Any]]:
    names = names_of(tuple(value for _, value in ordered))
    if set(names) != set(choices) or len(names) != len(choices):
        raise ValueError(
            f"{places.paths[0]}: choices: expected the options of {question!r}, "
            f"{', '.join(names[:12])}, got {', '.join(map(str, choices))}."
        )
    return [ordered[names.index(choice)] for choice in choices]


TOOL = Tool(name=NAME, is_line=is_decision, read=read, in_blocks=True)
