"""One response of a serving engine: its choices, their tokens and log-probabilities.

Chat completions, completions and bodies of the Responses API are reduced to one form,
`Answer`, which one function checks. `native_bodies` reduces those of other endpoints,
and `answer_lines` finds the body in a line.
"""

import collections
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# Servers write this for tokens they did not keep (OpenAI), or for anything below it,
# -inf included (vLLM): JSON has no infinity.
_LEAST = -9999.0
# A softmax in float32 or bfloat16 may round a log-probability to just above 0.
_ROUNDING = 1e-6
_NUMBERS = {int, float, np.float16, np.float32, np.float64}
_LARGEST_INDEX = 2**31 - 1

PIECE = (
    "a part of a stream, not a whole answer: request whole ones (stream off), or save "
    "what the client puts together"
)


class MalformedError(ValueError):
    """Why a line, or one of its choices, is not read."""


class RawLogitError(MalformedError):
    """A number above 0 where a log-probability should be: all are raw logits then.

    Attributes:
      found: what was found, in words.
    """

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"{found}; raw logits (vLLM's --logprobs-mode raw_logits) are read by "
            'read_outputs, with kind="logits"'
        )


class UnansweredError(MalformedError):
    """The line is as it should be, and the model or the server gave no answer."""


class WithheldError(Exception):
    """A content filter withheld a choice, which has no tokens."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Choice:
    """One answer to a request.

    Attributes:
      identity: of the request.
      index: of the answer.
      text: the answer.
      finished: False for a completion without a reason to end, a piece of a stream.
      refused: True if the text is a refusal.
      sampled: True if the body says that its numbers are those after the sampler.
      numbered: True if each alternative is there once, by its number in the vocabulary:
        two that are written alike are two tokens.
      model: that gave the answer; "" where the body does not say it.
      tokens: the T tokens of the answer.
      values: float32 `[T]`, their log-probabilities, or logits where these were asked
        for; NaN where unknown.
      counts: int `[T]`, number of alternatives of each token.
      top_tokens: alternatives of all tokens, concatenated.
      top_values: float32 `[sum(counts)]`, their log-probabilities.
    """

    identity: str
    index: int
    text: str
    finished: bool
    refused: bool
    sampled: bool
    numbered: bool = False
    model: str
    tokens: list[str]
    values: np.ndarray
    counts: list[int]
    top_tokens: list[str]
    top_values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Answer:
    """What every kind of answer is reduced to; nothing in the lists is checked yet.

    Attributes:
      where: its place in the body, for messages.
      index: among the answers to the request.
      text: the answer.
      finished: False for a piece of a stream.
      refused: True for a refusal.
      echoed: True if the first log-probability may be null, that of a prompt's start.
      sampled, numbered: as in `Choice`.
      tokens: the T tokens.
      values: T log-probabilities.
      tops: T lists of pairs of an alternative and its log-probability.
    """

    where: str
    index: Any
    text: str
    finished: bool = True
    refused: bool = False
    echoed: bool = False
    sampled: bool = False
    numbered: bool = False
    tokens: list[Any]
    values: list[Any]
    tops: list[list[tuple[Any, Any]]]


def values_of_line(line: Any) -> list[Any]:
    """The JSON values in a line: none, one, or those of a list.

    Raises:
      MalformedError: if it is none of these.
    """
    if isinstance(line, MalformedError):
        raise line
    if isinstance(line, (bytes, bytearray)):
        try:
            line = line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise MalformedError(f"not UTF-8 at byte {error.start}") from None
    if isinstance(line, str):
        if not line.strip():
            return []
        text = line
        line, end = json_value(text, len(text) - len(text.lstrip()))
        if text[end:].strip():
            raise MalformedError(f"not JSON, Extra data at column {end + 1}")
    if line == []:
        raise MalformedError("the line: expected an object, got an empty list")
    return line if isinstance(line, list) else [line]


def json_value(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts at a place in a text, and the place where it ends.

    Raises:
      MalformedError: if there is none, or if an object in it has a key twice.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        reason = f"not JSON, {what} at column {error.colno}"
        if text.strip() in ("{", "["):
            reason += " (for indented JSON pass the file's path)"
        raise MalformedError(reason) from None
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not readable JSON, {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise MalformedError(f"an object has the key {shown(twice)} twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def answers_of(body: Mapping[str, Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """How to reduce each answer of a body, one by one: a bad one leaves the others."""
    if "output" in body and "choices" not in body:
        yield _of_responses, (body,)
        return
    choices = listed("choices", body.get("choices"))
    if not choices:
        raise MalformedError("no choices")
    for place, choice in enumerate(choices):
        yield _of_choice, (f"choices[{place}]", place, choice)


def _of_choice(where: str, place: int, choice: Any) -> Answer:
    """A choice of a chat completion or of a completion."""
    choice = mapping(where, choice)
    if "delta" in choice:
        raise MalformedError(f"{where} is {PIECE}")
    kept = choice.get("logprobs")
    if choice.get("finish_reason") == "content_filter" and not _any_list(kept):
        raise WithheldError
    if kept is None:
        raise MalformedError(
            f"{where} has no log-probabilities: ask the server for them, with "
            "logprobs=True, top_logprobs=20 for chats, logprobs=20 for completions"
        )
    message = choice.get("message")
    message = {} if message is None else mapping(f"{where}.message", message)
    texts = [choice.get("text"), message.get("content"), message.get("refusal")]
    texts = list(map(text_of, texts))
    index = choice.get("index")
    where, kept = f"{where}.logprobs", mapping(f"{where}.logprobs", kept)
    completion = kept.get("token_logprobs") is not None
    tokens, values, tops = (_of_lists if completion else _of_chat)(where, kept)
    return Answer(
        where=where,
        index=place if index is None else index,
        text=next(filter(None, texts), ""),
        finished="message" in choice or choice.get("finish_reason", "") is not None,
        refused=bool(texts[2]) and not any(texts[:2]),
        echoed=completion,
        tokens=tokens,
        values=values,
        tops=tops,
    )


def _any_list(kept: Any) -> bool:
    values = kept.values() if isinstance(kept, Mapping) else [kept]
    return any(isinstance(value, (list, tuple)) and value for value in values)


# Tokens, their log-probabilities, and pairs of both for each token's alternatives.
Lists = tuple[list[Any], list[Any], list[list[tuple[Any, Any]]]]


def _of_lists(where: str, kept: Mapping[str, Any]) -> Lists:
    """From a completion: a list of tokens and a list of log-probabilities."""
    tokens = listed(f"{where}.tokens", kept.get("tokens"))
    values = listed(f"{where}.token_logprobs", kept.get("token_logprobs"))
    tops = kept.get("top_logprobs")
    name = f"{where}.top_logprobs"
    tops = listed(name, [None] * len(tokens) if tops is None else tops)
    if not len(tokens) == len(values) == len(tops):
        raise MalformedError(
            f"{where}: {len(tokens)} tokens, {len(values)} token_logprobs, {len(tops)} "
            "top_logprobs"
        )
    tops = [{} if top is None else mapping(name, top) for top in tops]
    return tokens, values, [list(top.items()) for top in tops]


def _of_chat(where: str, kept: Mapping[str, Any]) -> Lists:
    """From a chat completion: a list of records, one per token."""
    content, refusal = kept.get("content"), kept.get("refusal")
    if content is None and refusal is None:
        raise MalformedError(f"{where} has neither content nor token_logprobs")
    return of_records(f"{where}.content", content or refusal or [], where)


def of_records(name: str, records: Any, where: str) -> Lists:
    entries = [mapping(name, entry) for entry in listed(name, records)]
    name, tops = f"{where}.top_logprobs", []
    for entry in entries:
        top = entry.get("top_logprobs")
        pairs = [
            (one.get("token"), one.get("logprob", _MISSING))
            for one in ([] if top is None else listed(name, top))
            if one is not None and mapping(name, one)
        ]
        tops.append(pairs)
    return (
        [entry.get("token") for entry in entries],
        [entry.get("logprob") for entry in entries],
        tops,
    )


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _of_responses(body: Mapping[str, Any]) -> Answer:
    """A body of the Responses API: the text of its messages, in order."""
    parts = []
    for item in listed("output", body.get("output")):
        item = mapping("output", item)
        # Reasoning and calls of tools have no log-probabilities.
        if item.get("type", "message") == "message":
            parts += listed("output.content", item.get("content"))
    if not parts:
        status = shown(body.get("status"))
        raise MalformedError(f"output: expected a message, got none (status {status})")
    text, records = "", []
    for part in parts:
        part = mapping("output.content", part)
        if part.get("type") == "refusal":
            raise UnansweredError("a refusal, which has no log-probabilities here")
        text += (written := text_of([part]))
        kept = part.get("logprobs")
        if written and not kept:
            raise MalformedError(
                "output has no log-probabilities: ask for them, with "
                'include=["message.output_text.logprobs"] and top_logprobs=20 '
                "(reasoning models have none)"
            )
        records += listed("output.logprobs", [] if kept is None else kept)
    tokens, values, tops = of_records("output.logprobs", records, "output.logprobs")
    return Answer(
        where="output.logprobs",
        index=0,
        text=text,
        tokens=tokens,
        values=values,
        tops=tops,
    )


def checked(
    identity: str, model: str, answer: Answer, names: dict[str, str], logits: bool
) -> Choice:
    """The only check of an answer's contents.

    Args:
      identity: of the request.
      model: its name.
      answer: that is checked.
      names: tokens seen so far, so that each is kept in memory once.
      logits: whether numbers are raw logits, which may be above 0.
    """
    where, index = answer.where, answer.index
    if type(index) is not int or not 0 <= index <= _LARGEST_INDEX:
        raise MalformedError(f"{where}: expected an index, got {shown(index)}")
    if answer.text and not answer.tokens:
        raise MalformedError(f"{where} has a text and no tokens")
    # The first token of an echoed prompt has no log-probability.
    unknown = answer.echoed and answer.values[:1] == [None]
    known = _numbers(where, answer.values[1:] if unknown else answer.values, logits)
    first = np.full(int(unknown), np.nan, np.float32)
    _strings(where, answer.tokens)
    # A null log-probability among the alternatives says nothing of them.
    tops = [[pair for pair in top if pair[1] is not None] for top in answer.tops]
    top_tokens = [token for top in tops for token, _ in top]
    _strings(f"{where}.top_logprobs", top_tokens)
    top_values = [value for top in tops for _, value in top]
    return Choice(
        identity=identity,
        index=index,
        text=answer.text,
        finished=answer.finished,
        refused=answer.refused,
        sampled=answer.sampled,
        numbered=answer.numbered,
        model=model,
        tokens=[names.setdefault(token, token) for token in answer.tokens],
        values=np.concatenate([first, known]),
        counts=[len(top) for top in tops],
        top_tokens=[names.setdefault(token, token) for token in top_tokens],
        top_values=_numbers(f"{where}.top_logprobs", top_values, logits),
    )


def _numbers(name: str, values: Sequence[Any], logits: bool) -> np.ndarray:
    """Log-probabilities or logits as float32."""
    if not set(map(type, values)) <= _NUMBERS:
        place = next(k for k, value in enumerate(values) if type(value) not in _NUMBERS)
        found = shown(values[place])
        raise MalformedError(f"{name}: expected a log-probability, got {found}")
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise MalformedError(f"{name}: an integer beyond every float") from None
    most = np.finfo(np.float32).max if logits else _ROUNDING
    bad = ~(numbers <= most)
    if bad.any():
        value = numbers[bad][0]
        if logits:
            raise MalformedError(f"{name}: a logit is {value:g}")
        if np.isnan(value):
            raise MalformedError(f"{name}: a log-probability is NaN")
        if np.isinf(value):
            raise MalformedError(f"{name}: a log-probability is inf, above 0")
        raise RawLogitError(f"{name}: a log-probability is {value:g}, above 0")
    if not logits:
        numbers = np.minimum(numbers, 0.0)
    return np.where(numbers <= _LEAST, -np.inf, numbers).astype(np.float32)


def _strings(name: str, values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise MalformedError(f"{name}: expected a token, got {shown(value)}")


def text_of(content: Any) -> str:
    """A text, or the texts of a list of parts."""
    if isinstance(content, (list, tuple)):
        return "".join(map(_text_of_part, content))
    if content is None or isinstance(content, str):
        return content or ""
    raise MalformedError(f"expected a text or a list of parts, got {shown(content)}")


def _text_of_part(part: Any) -> str:
    part = {"text": part} if isinstance(part, str) else mapping("content", part)
    kind = part.get("type", "text")
    if kind not in ("text", "output_text", "refusal"):
        return ""  # an image, a sound, a thought
    text = part.get("refusal" if kind == "refusal" else "text")
    if not isinstance(text, str):
        raise MalformedError(f"content: expected a text, got {shown(text)}")
    return text


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MalformedError(f"{name}: expected an object, got {shown(value)}")
    return value


def listed(name: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise MalformedError(f"{name}: expected a list, got {shown(value)}")
    return list(value)


def shown(value: Any) -> str:
    """The value for a message, shortened."""
    if isinstance(value, (Mapping, list, tuple)):
        return "an object" if isinstance(value, Mapping) else "a list"
    try:
        text = "nothing" if value is None else ascii(value)
    except ValueError:
        text = "an integer of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
