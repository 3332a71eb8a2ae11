"""Answers of servers, with the log-probabilities of their tokens."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import answer_lines, responses
from ..answers import answer_positions, sums_of_choices, written_choices
from ..log_probabilities import LogProbabilities, joined
from ..native_bodies import TOKEN_ID
from . import decisions, names
from .asked import Asked
from .left_out import LeftOut, NoRowError, Place, Places
from .rows import Rows
from .tool import Lines, Tool

NAME = "answers"

# So many answers are held with all their tokens.
_HELD = 256
# What bodies say of themselves.
_BODIES = ("chat.completion", "text_completion", "response")
_NUMBERED = (
    "tokens are numbers, so none is known to be a choice: ask for their texts (SGLang: "
    '"return_text_in_logprobs": true; vLLM: no return_tokens_as_token_ids)'
)
# So many different tokens are kept to be used again.
_NAMES = 2**18


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
        each row has the mean log-likelihood of its tokens as a score, or for the kind
        "logits" their mean raw logit. Of several models it says which is read.
      first: the line that says whether lines have ids.
    """
    asked.only(
        NAME,
        "scores" if asked.choices is None else "log_probabilities",
        "logits",
        hint="; choices= reads log_probabilities of the options, its absence scores",
    )
    has_ids = _has_id(first) or len(places.paths) > 1
    found = _Found(asked.choices, has_ids=has_ids, logits=asked.kind == "logits")
    pieces: set[tuple[str, int]] = set()
    held: list[_Held] = []
    for one in _choices(lines, places, left_out, found):
        if not one.choice.finished:
            if identity := one.choice.identity or one.identity:
                pieces.add((identity, one.choice.index))
            left_out.refuse(responses.PIECE, places.name_of(one.place))
            continue
        held.append(one)
        if len(held) == _HELD:
            found.add(held, places, left_out)
            held = []
    found.add(held, places, left_out)
    left_out.check(len(found.ids))
    rows = found.rows(places, left_out)
    if pieces:
        rows.decided["which answers came in pieces"] = frozenset()
    # The last piece of a stream looks like a whole answer: the others tell.
    last = [key in pieces for key in zip(found.requests, found.indices, strict=True)]
    rows = rows.drop(np.array(last, bool), responses.PIECE, left_out)
    models = itertools.compress(found.models, np.logical_not(last))
    return _of_model(rows, list(models), asked.model, left_out)


def _of_model(
    rows: Rows, models: list[str], wanted: str | int | None, left_out: LeftOut
) -> Rows:
    """The rows of one model, where answers say whose they are.

    Raises:
      ValueError: if they are of several and none is wanted, unless each row is kept, or
        if none has the name that is wanted.
    """
    found = list(filter(None, dict.fromkeys(models)))
    several = f"{len(found)} models, {names.shown(found)}"
    if wanted is None:
        if len(found) > 1 and not left_out.keeps_missing:
            raise ValueError(
                f"{left_out.path}: holds answers of {several}; say which, with model=. "
                "If these are names of one, write the same in all lines."
            )
        if len(found) > 1:
            rows.notes.append(f"Answers are of {several}.")
        rows.model = models[0] if len(set(models)) == 1 else ""
        rows.decided["the model"] = frozenset({rows.model})
        return rows
    # The command line has no numbers; a name that looks like one goes first.
    if wanted not in found and str(wanted).isdecimal() and int(wanted) < len(found):
        wanted = found[int(wanted)]
    if wanted not in found:
        raise NoRowError(
            f"model: {left_out.path} has no answers of {wanted!r}; it has {several}.",
            dict(left_out.counts),
            {reason: tuple(at) for reason, at in left_out.places.items()},
        )
    rows = rows.take(np.flatnonzero([one == wanted for one in models]))
    rows.model = str(wanted)
    return rows


def _choices(
    lines: Lines,
    places: Places,
    left_out: LeftOut,
    found: "_Found",
) -> Iterator["_Held"]:
    seen: dict[str, str] = {}
    nameless: dict[int, int] = {}
    for place, line in lines:
        if len(seen) > _NAMES:
            seen.clear()
        choices, errors = answer_lines.parse(line, seen, logits=found.logits)
        if errors and isinstance(line, Mapping) and decisions.is_decision(line):
            errors = [responses.MalformedError("a decision in a file of answers")]
        for error in errors:
            if isinstance(error, responses.UnansweredError):
                left_out.drop(str(error), places.name_of(place))
            elif isinstance(error, responses.RawLogitError):
                # Without this line the others would pass for log-probabilities.
                where = f"{left_out.path}: {places.name_of(place)}"
                raise ValueError(
                    f"{where}: {error.found}, so these are not log-probabilities: if "
                    "the server wrote raw logits (vLLM's --logprobs-mode raw_logits), "
                    "read it with kind='logits'."
                )
            else:
                left_out.refuse(str(error), places.name_of(place))
        cost = _cost(line) if choices else np.nan
        if choices and len(places.paths) > 1 and not _has_id(line):
            # The name of a file is the id of its only answer.
            if nameless.setdefault(place.file, place.order) != place.order:
                raise ValueError(
                    f"{left_out.path}: a second answer without an id, at "
                    f"{places.name_of(place)}, in one of several files: give each line "
                    "an id (custom_id), or write one answer a file."
                )
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
    if line.get("custom_id") is not None or line.get("task_id") is not None:
        return True
    return line.get("id") is not None and line.get("object") not in _BODIES


def _cost(line: Mapping[str, Any]) -> float:
    """What a line says beside its id that the request cost, or NaN."""
    given = next((line[name] for name in names.NAMES["cost"] if name in line), None)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return float("nan")
    try:
        return float(given)
    except OverflowError:
        return float("nan")


class _Held(NamedTuple):
    """An answer, its line, and the id that this gives the request."""

    place: Place
    identity: str
    choice: responses.Choice
    cost: float


class _Found:
    """What is kept of the answers read so far."""

    def __init__(
        self, choices: Sequence[str] | None, has_ids: bool, logits: bool
    ) -> None:
        self.choices, self.has_ids, self.logits = choices, has_ids, logits
        self.num_sampled = 0
        self.models: list[str] = []
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
        kept, values, predictions = values_of(read, self.choices, logits=self.logits)
        for row, (place, identity, choice, cost) in enumerate(held):
            if not kept[row]:
                reason = (
                    "an empty answer, or one with a token of probability 0"
                    if self.choices is None
                    else "no token is certain to be one of the choices"
                )
                if self.choices and any(
                    token.startswith(TOKEN_ID) for token in choice.tokens
                ):
                    reason = _NUMBERED
                left_out.drop(reason, places.name_of(place))
                continue
            self.models.append(choice.model)
            self.num_sampled += choice.sampled
            self.ids.append(identity or str(place.order))
            self.requests.append(choice.identity or identity)
            self.indices.append(choice.index)
            self.texts.append(choice.text)
            self.costs.append(cost)
            self.predictions.append(predictions[row])
            places.add(place)
        self.values.append(values[kept])

    def rows(self, places: Places, left_out: LeftOut) -> Rows:
        values = np.concatenate(self.values)
        cost = np.asarray(self.costs, np.float64)
        kind = "logits" if self.logits else "log_probabilities"
        rows = Rows(
            format=NAME,
            kind="scores" if self.choices is None else kind,
            values=values,
            places=places,
            ids=self.ids,
            has_ids=self.has_ids,
            num_read=places.num_read,
            cost=cost if (cost == cost).any() else None,
            texts=self.texts,
        )
        if self.num_sampled:
            rows.notes.append(
                f"In {self.num_sampled} of {len(rows)} answers the numbers are those "
                "after the sampler (temperature, top-k and the like), not the model's "
                "own: tokens that it cut off have probability 0. llama.cpp writes the "
                "model's own without post_sampling_probs."
            )
        if self.logits and not (values > 0).any():
            rows.notes.append(
                'They are read as raw logits, with kind="logits", and none is above 0, '
                "as if they were log-probabilities: was vLLM started with "
                "--logprobs-mode raw_logits?"
            )
        if self.choices is None:
            rows.scale = "logit" if self.logits else "log_probability"
            what, of = (
                ("raw logits", "logits") if self.logits
                else ("log-likelihoods", "log-probabilities")
            )  # fmt: skip
            rows.notes.append(
                f"Scores are mean {what} of the answers' tokens; for the {of} of the "
                "options of a question pass choices=."
            )
            return rows
        rows.zeros = "a choice that is not among the server's alternatives"
        rows.options = [tuple(self.choices)] * len(values)
        rows.predictions = self.predictions
        one = np.isneginf(values).sum(axis=1) == values.shape[1] - 1
        message = (
            f"{places.paths[0]}: no row has {kind.replace('_', '-')} of two choices: "
            "there is nothing to calibrate; ask the server for top_logprobs=20."
        )
        left_out.judge(
            "two choices",
            {"two": int((~one).sum())},
            lambda of_all: None if of_all["two"] else message,
        )
        return rows


def values_of(
    read: LogProbabilities, choices: Sequence[str] | None, *, logits: bool = False
) -> tuple[np.ndarray, np.ndarray, Sequence[int | None]]:
    """Which answers have values, these, and the choices that they write.

    Args:
      read: the answers.
      choices: the options, or None for scores.
      logits: whether values of tokens are raw logits, which may exceed 0.
    """
    if choices is None:
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.where(read.where, read.log_likelihoods, 0.0).sum(axis=1)
            scores = total / read.where.sum(axis=1)
        return np.isfinite(scores), scores, [None] * len(scores)
    position = answer_positions(read, choices)
    values = sums_of_choices(read, choices, position)
    if not logits:
        values = np.minimum(values, 0.0)
    written = written_choices(read, choices, position)
    return position >= 0, values.astype(np.float32), written


TOOL = Tool(
    name=NAME,
    is_line=answer_lines.is_answer,
    read=read,
    several=True,
    in_blocks=True,
)
