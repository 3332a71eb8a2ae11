"""The answers in a line of a file, with the request and the model they are of."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from . import native_bodies, responses
from .responses import (
    PIECE,
    Choice,
    MalformedError,
    UnansweredError,
    WithheldError,
    mapping,
    shown,
)

# Bodies of other endpoints, by a field that only they have.
_FOREIGN = {
    "completion_probabilities": "llama.cpp",
    "generation_settings": "llama.cpp",
    "done": "Ollama",
    "meta_info": "SGLang",
    "generated_text": "Text Generation Inference",
    "details": "Text Generation Inference",
    "cumulative_logprob": "vLLM without a server",
}


def parse(
    line: Any, names: dict[str, str], *, logits: bool = False
) -> tuple[list[Choice], list[MalformedError]]:
    """The choices of a line, by index, and why others in it are left out.

    Args:
      line: text, bytes, or parsed JSON; a list of bodies counts as one line.
      names: tokens seen so far, so that each is kept in memory once.
      logits: whether numbers are raw logits, which may be above 0.
    """
    found: list[Choice] = []
    reasons: list[MalformedError] = []
    try:
        bodies = responses.values_of_line(line)
    except MalformedError as error:
        return [], [error]
    for value in bodies:
        of_request: list[Choice] = []
        parts = _parts(value)
        numbers = itertools.count()
        for part in parts:
            num_before = len(of_request), len(reasons)
            try:
                line_of_body = mapping("the line", part)
                identity, body = _body(line_of_body)
                model = _model(body, line_of_body)
                of_server = native_bodies if _is_native(body) else responses
                for reduce, arguments in of_server.answers_of(body):
                    number = next(numbers)
                    try:
                        answer = reduce(*arguments)
                        if len(parts) > 1:
                            answer = dataclasses.replace(answer, index=number)
                        of_request.append(
                            responses.checked(identity, model, answer, names, logits)
                        )
                    except WithheldError:
                        continue
                    except MalformedError as error:
                        reasons.append(error)
                if num_before == (len(of_request), len(reasons)):
                    raise UnansweredError("a content filter withheld every choice")
            except MalformedError as error:
                reasons.append(error)
        found += sorted(of_request, key=lambda choice: choice.index)
    return found, reasons


def is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a line looks like a body, or like one in a wrapper or a batch."""
    body = line
    for name in ("response", "body"):
        inner = body.get(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, Mapping):
            body = inner
    parts = body.get("choices", body.get("output"))
    if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
        return True
    return _is_native(body) or ("custom_id" in line and "response" in line)


def is_foreign(body: Mapping[str, Any]) -> bool:
    """Whether a body has a field of an endpoint of another shape."""
    return any(field in body for field in _FOREIGN)


def _is_native(body: Mapping[str, Any]) -> bool:
    return not {"choices", "output"} & set(body) and native_bodies.is_native(body)


def _parts(line: Any) -> list[Any]:
    """A line for each of several bodies of one request, as SGLang answers n > 1."""
    kept = line.get("response") if isinstance(line, Mapping) else None
    if isinstance(kept, list) and len(kept) > 1:
        return [{**line, "response": body} for body in kept]
    return [line]


def _unlisted(response: Any) -> Any:
    """A body that is alone in a list, as Text Generation Inference may write it."""
    alone = isinstance(response, list) and len(response) == 1
    return response[0] if alone else response


def _body(line: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The id of the request, and the body of its response."""
    body = line
    if line.get("error") or line.get("object") == "error":
        raise UnansweredError(f"a failed request, {_message(line)}")
    if not _is_native(line) or isinstance(line.get("response"), Mapping):
        if not isinstance(line.get("response"), (Mapping, list)):
            _refuse_foreign(line)
        if "response" in line:
            body = _wrapped(line["response"])
    for identity in (
        *(line.get(name) for name in ("custom_id", "id", "task_id")),
        body.get("id"),
    ):
        if identity is not None:
            if not isinstance(identity, str) and (
                type(identity) is not int or abs(identity) >= 2**63
            ):
                raise MalformedError(f"expected an id, got {shown(identity)}")
            return str(identity), body
    return "", body


def _wrapped(response: Any) -> Mapping[str, Any]:
    """The body in a response of a batch, or a response that is one."""
    body = mapping("response", _unlisted(response))
    status = body.get("status_code")
    if not {"choices", "output"} & set(body) and not _is_native(body):
        _refuse_foreign(body)
        if not (body.get("error") and "body" not in body):
            body = mapping("response.body", body.get("body"))
    if status not in (None, 200) or body.get("error") or body.get("object") == "error":
        raise UnansweredError(
            f"a failed request of status {shown(status)}, {_message(body)}"
        )
    if not _is_native(body):
        _refuse_foreign(body)
    return body


def _model(body: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    names = (one.get("model") for one in (body, line))
    return next((name for name in names if isinstance(name, str)), "")


def _refuse_foreign(body: Mapping[str, Any]) -> None:
    if "choices" in body or "output" in body:
        return
    for field, name in _FOREIGN.items():
        if field in body:
            raise MalformedError(
                f"{name} wrote this, without a text and its log-probabilities: save "
                "whole bodies, or request /v1/chat/completions, with logprobs and "
                "top_logprobs"
            )
    kind = body.get("type")
    if isinstance(kind, str) and kind.startswith("response.") and "delta" in body:
        raise MalformedError(PIECE)


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error") or body
    return shown(error.get("message", error) if isinstance(error, Mapping) else error)
