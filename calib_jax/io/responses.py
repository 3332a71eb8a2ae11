"""One response of a serving engine: its choices, their tokens and log-probabilities.

Field names follow OpenAI's chat completions, completions and batches, as vLLM and other
servers do.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Servers write this for tokens they did not keep (OpenAI), or for anything below it,
# -inf included (vLLM): JSON has no infinity.
_LEAST = -9999.0
_NUMBERS = {int, float, np.float16, np.float32, np.float64}
_LARGEST_INDEX = 2**31 - 1


class MalformedError(ValueError):
    """Why a line is not a response with log-probabilities."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Choice:
    """One answer to a request.

    Attributes:
      identity: of the request.
      index: of the answer.
      text: the answer.
      tokens: the T tokens of the answer.
      values: float32 `[T]`, their log-probabilities; NaN where unknown.
      counts: int `[T]`, number of alternatives of each token.
      top_tokens: alternatives of all tokens, concatenated.
      top_values: float32 `[sum(counts)]`, their log-probabilities.
    """

    identity: str
    index: int
    text: str
    tokens: list[str]
    values: np.ndarray
    counts: list[int]
    top_tokens: list[str]
    top_values: np.ndarray


def parse(line: Any, names: dict[str, str]) -> list[Choice]:
    """The choices of a line; none for a blank line.

    Args:
      line: text, bytes, or parsed JSON.
      names: tokens seen so far, so that each is kept in memory once.

    Raises:
      MalformedError: with the reason.
    """
    if isinstance(line, (bytes, bytearray)):
        try:
            line = line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise MalformedError(f"not UTF-8 at byte {error.start}") from None
    if isinstance(line, str):
        if not line.strip():
            return []
        try:
            line = json.loads(line)
        except json.JSONDecodeError as error:
            reason = f"not JSON, {error.msg} at column {error.colno}"
            raise MalformedError(reason) from None
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"not readable JSON, {error}") from None
    identity, body = _body(_mapping("the line", line))
    choices = _list("choices", body.get("choices"))
    if not choices:
        raise MalformedError("no choices")
    found = []
    for place, choice in enumerate(choices):
        where = f"choices[{place}]"
        found.append(_choice(where, place, identity, _mapping(where, choice), names))
    return found


def _body(line: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The id of the request, and its chat completion or completion."""
    body = line
    if line.get("error") or line.get("object") == "error":
        raise MalformedError(f"a failed request, {_message(line)}")
    if "response" in line:
        response = _mapping("response", line["response"])
        body = _mapping("response.body", response.get("body"))
        status = response.get("status_code")
        if (
            status not in (None, 200)
            or body.get("error")
            or body.get("object") == "error"
        ):
            raise MalformedError(
                f"a failed request of status {_shown(status)}, {_message(body)}"
            )
    for identity in (line.get("custom_id"), line.get("id"), body.get("id")):
        if identity is not None:
            if isinstance(identity, bool) or not isinstance(identity, (str, int)):
                raise MalformedError(f"expected an id, got {_shown(identity)}")
            return str(identity), body
    return "", body


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error") or body
    return _shown(error.get("message", error) if isinstance(error, Mapping) else error)


def _choice(
    where: str,
    place: int,
    identity: str,
    choice: Mapping[str, Any],
    names: dict[str, str],
) -> Choice:
    if "delta" in choice:
        raise MalformedError(f"{where} is a part of a stream, not a whole response")
    index = choice.get("index")
    index = place if index is None else index
    if type(index) is not int or not 0 <= index <= _LARGEST_INDEX:
        raise MalformedError(f"{where}.index: expected an index, got {_shown(index)}")
    kept = choice.get("logprobs")
    if kept is None:
        raise MalformedError(
            f"{where} has no log-probabilities: ask the server for them"
        )
    kept = _mapping(f"{where}.logprobs", kept)
    where = f"{where}.logprobs"
    completion = kept.get("token_logprobs") is not None
    tokens, values, tops = (_of_completion if completion else _of_chat)(where, kept)
    # The first token of an echoed prompt has no log-probability.
    unknown = completion and values[:1] == [None]
    known = _numbers(where, values[1:] if unknown else values)
    first = np.full(int(unknown), np.nan, np.float32)
    _strings(where, tokens)
    top_tokens = [token for top, _ in tops for token in top]
    _strings(f"{where}.top_logprobs", top_tokens)
    top_values = [value for _, top in tops for value in top]
    return Choice(
        identity=identity,
        index=index,
        text=_text(choice),
        tokens=[names.setdefault(token, token) for token in tokens],
        values=np.concatenate([first, known]),
        counts=[len(top) for top, _ in tops],
        top_tokens=[names.setdefault(token, token) for token in top_tokens],
        top_values=_numbers(f"{where}.top_logprobs", top_values),
    )


# Tokens, their log-probabilities, and both for each token's alternatives.
_Lists = tuple[list[Any], list[Any], list[tuple[list[Any], list[Any]]]]


def _of_completion(where: str, kept: Mapping[str, Any]) -> _Lists:
    """From a completion: a list of tokens and a list of log-probabilities."""
    tokens = _list(f"{where}.tokens", kept.get("tokens"))
    values = _list(f"{where}.token_logprobs", kept.get("token_logprobs"))
    tops = kept.get("top_logprobs")
    tops = _list(
        f"{where}.top_logprobs", [None] * len(tokens) if tops is None else tops
    )
    if not len(tokens) == len(values) == len(tops):
        raise MalformedError(
            f"{where}: {len(tokens)} tokens, {len(values)} token_logprobs, {len(tops)} "
            "top_logprobs"
        )
    pairs = []
    for top in tops:
        top = _mapping(f"{where}.top_logprobs", {} if top is None else top)
        pairs.append((list(top), list(top.values())))
    return tokens, values, pairs


def _of_chat(where: str, kept: Mapping[str, Any]) -> _Lists:
    """From a chat completion: a list of records, one per token."""
    content, refusal = kept.get("content"), kept.get("refusal")
    if content is None and refusal is None:
        raise MalformedError(f"{where} has neither content nor token_logprobs")
    entries = _list(f"{where}.content", content or refusal or [])
    tokens, values = _pairs(f"{where}.content", entries)
    tops = []
    for entry in entries:
        top = entry.get("top_logprobs")
        name = f"{where}.top_logprobs"
        tops.append(_pairs(name, _list(name, [] if top is None else top)))
    return tokens, values, tops


def _pairs(name: str, entries: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    entries = [_mapping(name, entry) for entry in entries]
    return (
        [entry.get("token") for entry in entries],
        [entry.get("logprob") for entry in entries],
    )


def _numbers(name: str, values: Sequence[Any]) -> np.ndarray:
    """Log-probabilities as float32."""
    if not set(map(type, values)) <= _NUMBERS:
        place = next(k for k, value in enumerate(values) if type(value) not in _NUMBERS)
        shown = _shown(values[place])
        raise MalformedError(f"{name}: expected a log-probability, got {shown}")
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise MalformedError(f"{name}: an integer beyond every float") from None
    bad = ~(numbers <= 0)
    if bad.any():
        value = numbers[bad][0]
        reason = "is NaN" if np.isnan(value) else f"is {value:g}, above 0"
        raise MalformedError(f"{name}: a log-probability {reason}")
    return np.where(numbers <= _LEAST, -np.inf, numbers).astype(np.float32)


def _strings(name: str, values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise MalformedError(f"{name}: expected a token, got {_shown(value)}")


def _text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    message = message if isinstance(message, Mapping) else {}
    texts = choice.get("text"), message.get("content"), message.get("refusal")
    return next((text for text in texts if isinstance(text, str)), "")


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MalformedError(f"{name}: expected an object, got {_shown(value)}")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise MalformedError(f"{name}: expected a list, got {_shown(value)}")
    return list(value)


def _shown(value: Any) -> str:
    """The value for a message, shortened."""
    if isinstance(value, (Mapping, list, tuple)):
        return "an object" if isinstance(value, Mapping) else "a list"
    text = "nothing" if value is None else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
