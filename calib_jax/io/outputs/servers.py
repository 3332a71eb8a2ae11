"""Answers of OpenAI-compatible servers, with the log-probabilities of their tokens."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import responses
from ..answers import answer_positions, choice_log_probabilities, written_choices
from ..log_probabilities import LogProbabilities, joined
from .left_out import LeftOut, Place, Places
from .rows import Rows

NAME = "answers"

# So many answers are held with all their tokens.
_HELD = 256


def is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a line looks like one of these, or like another server's."""
    body = line
    for name in ("response", "body"):
        if isinstance(body.get(name), Mapping):
            body = body[name]
    parts = body.get("choices", body.get("output"))
    if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
        return True
    return "custom_id" in line or body.get("object") == "error"


def read(
    lines: Iterable[tuple[Place, Any]],
    places: Places,
    left_out: LeftOut,
    choices: Sequence[str] | None,
) -> Rows:
    """A row for each answer, in the order of lines.

    Args:
      lines: with their places.
      places: of the rows, which are added.
      left_out: what is not read.
      choices: the answers to a multiple-choice question; without them each row has the
        mean log-likelihood of its tokens as a score.
    """
    found = _Found(choices)
    pieces: set[tuple[str, int]] = set()
    held: list[tuple[Place, responses.Choice]] = []
    for place, choice in _choices(lines, places, left_out):
        if not choice.finished:
            pieces.add((choice.identity, choice.index))
            left_out.refuse(responses.PIECE, places.name_of(place))
            continue
        held.append((place, choice))
        if len(held) == _HELD:
            found.add(held, places, left_out)
            held = []
    found.add(held, places, left_out)
    left_out.check(len(found.ids))
    rows = found.rows(places)
    # The last piece of a stream looks like a whole answer: the others tell.
    last = [key in pieces for key in zip(found.ids, found.indices, strict=True)]
    return rows.drop(np.array(last, bool), responses.PIECE, left_out)


def _choices(
    lines: Iterable[tuple[Place, Any]], places: Places, left_out: LeftOut
) -> Iterator[tuple[Place, responses.Choice]]:
    names: dict[str, str] = {}
    for place, line in lines:
        choices, errors = responses.parse(line, names)
        for error in errors:
            if isinstance(error, responses.UnansweredError):
                left_out.drop(str(error), places.name_of(place))
            else:
                left_out.refuse(str(error), places.name_of(place))
        for choice in choices:
            yield place, choice


class _Found:
    """What is kept of the answers read so far."""

    def __init__(self, choices: Sequence[str] | None) -> None:
        self.choices = choices
        self.ids: list[str] = []
        self.indices: list[int] = []
        self.texts: list[str] = []
        self.predictions: list[int | None] = []
        self.values: list[np.ndarray] = []

    def add(
        self,
        held: list[tuple[Place, responses.Choice]],
        places: Places,
        left_out: LeftOut,
    ) -> None:
        read = joined([(place.number, choice) for place, choice in held])
        kept, values, predictions = self._values(read)
        for row, (place, choice) in enumerate(held):
            if not kept[row]:
                reason = (
                    "an empty answer, or one with a token of probability 0"
                    if self.choices is None
                    else "no token is certain to be one of the choices"
                )
                left_out.drop(reason, places.name_of(place))
                continue
            self.ids.append(choice.identity)
            self.indices.append(choice.index)
            self.texts.append(choice.text)
            self.predictions.append(predictions[row])
            places.add(place)
        self.values.append(values[kept])

    def _values(
        self, read: LogProbabilities
    ) -> tuple[np.ndarray, np.ndarray, Sequence[int | None]]:
        """Which rows have values, these, and the answers that they give."""
        if self.choices is None:
            with np.errstate(divide="ignore", invalid="ignore"):
                total = np.where(read.where, read.log_likelihoods, 0.0).sum(axis=1)
                scores = total / read.where.sum(axis=1)
            return np.isfinite(scores), scores, [None] * len(scores)
        position = answer_positions(read, self.choices)
        values = choice_log_probabilities(read, self.choices, position=position)
        written = written_choices(read, self.choices, position)
        return position >= 0, values, written

    def rows(self, places: Places) -> Rows:
        values = np.concatenate(self.values)
        has_ids = all(self.ids)
        rows = Rows(
            format=NAME,
            kind="scores" if self.choices is None else "log_probabilities",
            values=values,
            places=places,
            ids=self.ids if has_ids else [str(row) for row in range(len(values))],
            has_ids=has_ids,
            texts=self.texts,
        )
        if self.choices is None:
            rows.notes.append(
                "Scores are mean log-likelihoods of the answers' tokens; pass choices= "
                "for the log-probabilities of the options of a multiple-choice question."
            )
            return rows
        rows.options = [tuple(self.choices)] * len(values)
        rows.predictions = self.predictions
        missing = np.isneginf(values)
        if (missing.sum(axis=1) == values.shape[1] - 1).all():
            raise ValueError(
                f"{places.paths[0]}: no row has log-probabilities of two choices: there "
                "is nothing to calibrate; ask the server for top_logprobs=20."
            )
        return rows
