"""Answers of OpenAI-compatible servers, with the log-probabilities of their tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import responses
from ..answers import answer_positions, choice_log_probabilities, written_choices
from ..log_probabilities import LogProbabilities, joined
from . import decisions, names
from .asked import Asked
from .left_out import LeftOut, Place, Places
from .rows import Rows
from .tool import Lines, Tool

NAME = "answers"

# So many answers are held with all their tokens.
_HELD = 256
# What bodies say of themselves.
_BODIES = ("chat.completion", "text_completion", "response")
# So many different tokens are kept to be used again.
_NAMES = 2**18


def is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a line looks like one of these, or like a line of a batch."""
    body = line
    for name in ("response", "body"):
        if isinstance(body.get(name), Mapping):
            body = body[name]
    parts = body.get("choices", body.get("output"))
    if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
        return True
    return "custom_id" in line and "response" in line


def read(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    asked: Asked,
    first: Mapping[str, Any],
) -> Rows:
    """A row for each answer, in the order of lines.

    Args:
      lines: with their places.
      places: of the rows, which are added.
      left_out: what is not read.
      asked: its choices are the answers to a multiple-choice question; without them
        each row has the mean log-likelihood of its tokens as a score.
      first: the line that says whether lines have ids.
    """
    asked.only(
        NAME,
        "scores" if asked.choices is None else "log_probabilities",
        hint="; choices= reads log_probabilities of the options, its absence scores",
    )
    found = _Found(asked.choices, has_ids=_has_id(first) or len(places.paths) > 1)
    pieces: set[tuple[str, int]] = set()
    held: list[_Held] = []
    for one in _choices(lines, places, left_out, found):
        if not one.choice.finished:
            pieces.add((one.choice.identity or one.identity, one.choice.index))
            left_out.refuse(responses.PIECE, places.name_of(one.place))
            continue
        held.append(one)
        if len(held) == _HELD:
            found.add(held, places, left_out)
            held = []
    found.add(held, places, left_out)
    left_out.check(len(found.ids))
    rows = found.rows(places)
    # The last piece of a stream looks like a whole answer: the others tell.
    last = [key in pieces for key in zip(found.requests, found.indices, strict=True)]
    return rows.drop(np.array(last, bool), responses.PIECE, left_out)


def _choices(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    found: "_Found",
) -> Iterator["_Held"]:
    seen: dict[str, str] = {}
    for place, line in lines:
        if len(seen) > _NAMES:
            seen.clear()
        choices, errors = responses.parse(line, seen)
        if errors and isinstance(line, Mapping) and decisions.is_decision(line):
            errors = [responses.MalformedError("a decision in a file of answers")]
        for error in errors:
            if isinstance(error, responses.UnansweredError):
                left_out.drop(str(error), places.name_of(place))
            else:
                left_out.refuse(str(error), places.name_of(place))
        cost = _cost(line) if choices else np.nan
        for choice in choices:
            identity = choice.identity if _has_id(line) else places.stem(place) or ""
            if bool(identity) != found.has_ids:
                reason = "expected an id in all lines or in none"
                left_out.refuse(reason, places.name_of(place))
                break
            if choice.refused:
                left_out.drop("a refusal", places.name_of(place))
                continue
            yield _Held(place, identity, choice, cost)


def _has_id(line: Mapping[str, Any]) -> bool:
    """Whether a line names the request: the id that a server gave says nothing."""
    if line.get("custom_id") is not None:
        return True
    return line.get("id") is not None and line.get("object") not in _BODIES


def _cost(line: Mapping[str, Any]) -> float:
    """What a line says beside its id that the request cost, or NaN."""
    given = next((line[name] for name in names.NAMES["cost"] if name in line), None)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return float("nan")
    return float(given)


class _Held(NamedTuple):
    """An answer, its line, and the id that this gives the request."""

    place: Place
    identity: str
    choice: responses.Choice
    cost: float


class _Found:
    """What is kept of the answers read so far."""

    def __init__(self, choices: Sequence[str] | None, has_ids: bool) -> None:
        self.choices, self.has_ids = choices, has_ids
        self.ids: list[str] = []
        self.requests: list[str] = []
        self.indices: list[int] = []
        self.texts: list[str] = []
        self.costs: list[float] = []
        self.predictions: list[int | None] = []
        self.values: list[np.ndarray] = []

    def add(
        self,
        held: list[_Held],
        places: Places,
        left_out: LeftOut,
    ) -> None:
        read = joined([(one.place.number, one.choice) for one in held])
        kept, values, predictions = values_of(read, self.choices)
        for row, (place, identity, choice, cost) in enumerate(held):
            if not kept[row]:
                reason = (
                    "an empty answer, or one with a token of probability 0"
                    if self.choices is None
                    else "no token is certain to be one of the choices"
                )
                left_out.drop(reason, places.name_of(place))
                continue
            self.ids.append(identity or str(place.order))
            self.requests.append(choice.identity or identity)
            self.indices.append(choice.index)
            self.texts.append(choice.text)
            self.costs.append(cost)
            self.predictions.append(predictions[row])
            places.add(place)
        self.values.append(values[kept])

    def rows(self, places: Places) -> Rows:
        values = np.concatenate(self.values)
        cost = np.asarray(self.costs, np.float64)
        rows = Rows(
            format=NAME,
            kind="scores" if self.choices is None else "log_probabilities",
            values=values,
            places=places,
            ids=self.ids,
            has_ids=self.has_ids,
            num_read=places.num_read,
            cost=cost if (cost == cost).any() else None,
            texts=self.texts,
        )
        if self.choices is None:
            rows.scale = "log_probability"
            rows.notes.append(
                "Scores are mean log-likelihoods of the answers' tokens; for the "
                "log-probabilities of the options of a question pass choices=."
            )
            return rows
        rows.zeros = "a choice that is not among the server's alternatives"
        rows.options = [tuple(self.choices)] * len(values)
        rows.predictions = self.predictions
        missing = np.isneginf(values)
        if (missing.sum(axis=1) == values.shape[1] - 1).all():
            raise ValueError(
                f"{places.paths[0]}: no row has log-probabilities of two choices: "
                "there is nothing to calibrate; ask the server for top_logprobs=20."
            )
        return rows


def values_of(
    read: LogProbabilities, choices: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, Sequence[int | None]]:
    """Which answers have values, these, and the choices that they write."""
    if choices is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.where(read.where, read.log_likelihoods, 0.0).sum(axis=1)
            scores = total / read.where.sum(axis=1)
        return np.isfinite(scores), scores, [None] * len(scores)
    position = answer_positions(read, choices)
    values = choice_log_probabilities(read, choices, position=position)
    written = written_choices(read, choices, position)
    return position >= 0, values, written


TOOL = Tool(name=NAME, is_line=is_answer, read=read)
