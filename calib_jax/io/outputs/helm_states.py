"""Request states of HELM: what a model answered, or how likely it held a reference.

Source: helm/benchmark/adaptation/request_state.py, helm/common/request.py and
helm/benchmark/metrics/basic_metrics.py of stanford-crfm/helm.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..answers import choice_log_probabilities
from ..log_probabilities import joined
from ..responses import Choice, MalformedError, UnansweredError, mapping, shown
from .rows import ROUNDING

_PERTURBED = "a perturbed copy of a question, which is not the question itself"
_NOT_GIVEN = (
    "no log-probability: that of all tokens is 0, which is how HELM writes that the "
    "model gives none"
)
_OTHER_TEXT = "tokens at the end of a prompt do not write the reference"
# How tokenizers mark a word's start and a line's end.
_MARKS = str.maketrans("\u0120\u2581\u010a", "  \n")


class Instance(NamedTuple):
    """A question.

    Attributes:
      id: of HELM.
      texts: of its references.
      correct: which of them are right.
      fingerprint: of the question and its references.
    """

    id: str
    texts: list[str]
    correct: frozenset[int]
    fingerprint: str


class Completion(NamedTuple):
    """The answer of a request.

    Attributes:
      text: of the answer; with a prompt that is echoed, all of it.
      tokens: as the file has them, looked at no closer.
    """

    text: str
    tokens: list[Any]


def items(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{name}: expected a list, got {shown(value)}")
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"{name}: expected a text, got {shown(value)}")
    return value


def instance(state: Mapping[str, Any]) -> Instance:
    """The question of a state.

    Raises:
      UnansweredError: if it is a perturbed copy, which has the same id.
    """
    given = mapping("instance", state.get("instance"))
    if given.get("perturbation") is not None:
        raise UnansweredError(_PERTURBED)
    question = mapping("instance.input", given.get("input")).get("text")
    texts, correct = [], set()
    for number, one in enumerate(items("references", given.get("references"))):
        one = mapping("references", one)
        texts.append(text("output", mapping("output", one.get("output")).get("text")))
        if "correct" in items("tags", one.get("tags")):
            correct.add(number)
    digest = hashlib.sha256()
    for part in (str(question), *texts):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data) + data)
    return Instance(
        text("instance.id", given.get("id")),
        texts,
        frozenset(correct),
        digest.hexdigest()[:16],
    )


def completion(state: Mapping[str, Any]) -> Completion:
    """The likeliest answer of a request, which HELM's metrics are of."""
    if state.get("result") is None:
        raise UnansweredError("a request without a result")
    result = mapping("result", state["result"])
    if result.get("success") is False:
        raise UnansweredError(f"a failed request, {shown(result.get('error'))}")
    found = [
        mapping("completions", one)
        for one in items("completions", result.get("completions"))
    ]
    if not found:
        raise UnansweredError("a response without an answer")
    if len(found) > 1:
        found.sort(key=lambda one: -_log_probability(one.get("logprob")))
    tokens = items("tokens", found[0].get("tokens"))
    return Completion(text("completions.text", found[0].get("text")), tokens)


def _log_probability(value: Any) -> float:
    if type(value) in (int, float) and not value > ROUNDING:
        # What float32 cannot hold is -inf.
        return -np.inf if value < -1e38 else float(value)
    raise MalformedError(f"logprob: expected at most 0, got {shown(value)}")


def values(tokens: list[Any]) -> list[float]:
    """Log-probabilities of tokens.

    Raises:
      UnansweredError: if all are 0: HELM writes nothing else where there are none.
    """
    found = [
        _log_probability(mapping("tokens", token).get("logprob")) for token in tokens
    ]
    if not any(found):
        raise UnansweredError(_NOT_GIVEN)
    return found


def of_reference(tokens: list[Any], reference: str) -> list[float]:
    """Log-probabilities of the tokens that write a reference at a prompt's end."""
    wanted = "".join(reference.split())
    parts: list[str] = []
    missing, start = len(wanted), len(tokens)
    while missing > 0 and start:
        start -= 1
        token = mapping("tokens", tokens[start]).get("text")
        parts.append(text("tokens.text", token).translate(_MARKS))
        missing -= len("".join(parts[-1].split()))
    written = "".join(reversed(parts))
    if not wanted or written.split() != reference.split():
        raise UnansweredError(_OTHER_TEXT)
    # A space before a reference belongs to it, also as a token of its own.
    if start and not written[0].isspace() and _is_space(tokens[start - 1]):
        start -= 1
    return values(tokens[start:])


def _is_space(token: Any) -> bool:
    written = mapping("tokens", token).get("text")
    return isinstance(written, str) and written.translate(_MARKS) == " "


def of_options(tokens: list[Any], options: tuple[str, ...]) -> np.ndarray | None:
    """Log-probabilities of options, float32 `[C]`, where the answer begins.

    None if the file has no alternatives there, as files of today.
    """
    for token in tokens:
        if text("tokens.text", token.get("text")).translate(_MARKS).strip():
            break
    else:
        return None
    top = token.get("top_logprobs")
    if not isinstance(top, Mapping) or len(top) < 2:
        return None
    top_values = np.array([*map(_log_probability, top.values())], np.float32)
    if np.isnan(top_values).any():
        raise MalformedError("top_logprobs: expected numbers, got NaN")
    choice = Choice(
        identity="",
        index=0,
        text="",
        finished=True,
        refused=False,
        sampled=False,
        model="",
        tokens=[token["text"]],
        values=np.array([_log_probability(token.get("logprob"))], np.float32),
        counts=[len(top)],
        top_tokens=list(top),
        top_values=top_values,
    )
    try:
        found = choice_log_probabilities(joined([(1, choice)]), options)[0]
    except ValueError as error:
        raise MalformedError(f"output_mapping: {error}") from None
    return found if np.isfinite(found).sum() > 1 else None
