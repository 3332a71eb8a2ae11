"""Bodies that local servers write at endpoints of their own.

Ollama's /api/chat and /api/generate, llama.cpp's /completion, SGLang's and Text
Generation Inference's /generate, and what vLLM returns without a server. Each is
reduced to `responses.Answer`. A token of which only the number is known is "token_id:"
and that number, as vLLM's server writes it.

Sources: ollama/ollama, api/types.go; ggml-org/llama.cpp, tools/server/README.md;
sgl-project/sglang, managers/io_struct.py and managers/tokenizer_manager.py;
huggingface/text-generation-inference, docs/openapi.json; vllm-project/vllm,
vllm/outputs.py and vllm/logprobs.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .responses import (
    PIECE,
    Answer,
    MalformedError,
    UnansweredError,
    listed,
    mapping,
    of_records,
    shown,
    text_of,
)

#: In front of the number of a token without a text.
TOKEN_ID = "token_id:"
# Log-probabilities of an answer add up to its own, but for rounding.
_SAME_SUM = 1e-2
_LARGE = 1e9
# A probability in float32 may round to just above 1.
_ROUNDING = 1e-6

_Body = Mapping[str, Any]
# A token and its log-probability, of which neither is checked yet.
_Pair = tuple[Any, Any]


def is_native(body: _Body) -> bool:
    """Whether one of these wrote a body, with or without log-probabilities."""
    return any(one.wrote(body) for one in _SERVERS)


def answers_of(body: _Body) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """As `responses.answers_of`, for a body that is native."""
    server = next(one for one in _SERVERS if one.wrote(body))
    parts = body.get("outputs") if server is _VLLM else None
    if parts is None:
        yield server.reduce, (body,)
        return
    for place, part in enumerate(listed("outputs", parts)):
        part = mapping(f"outputs[{place}]", part)
        index = part.get("index")
        yield _of_vllm, (part, place if index is None else index)


def _asked(server: str, ask: str, written: Any, kept: Any) -> list[Any]:
    """The list of log-probabilities.

    Raises:
      UnansweredError: if there is no list, and nothing was written.
      MalformedError: if there is no list; it says how to ask the server for it.
    """
    if kept is None or kept == []:
        if not written:
            raise UnansweredError("an empty answer, without a token")
        raise MalformedError(f"{server} wrote no log-probabilities: ask for them {ask}")
    return listed("log-probabilities", kept)


def _of_ollama(body: _Body) -> Answer:
    if body.get("done") is False:
        raise MalformedError(PIECE)
    message = body.get("message")
    if message is None:
        text = text_of(body.get("response"))
    else:
        text = text_of(mapping("message", message).get("content"))
    kept = _asked(
        "Ollama",
        'with "logprobs": true and "top_logprobs": 20, from 0.12.11 on',
        text,
        body.get("logprobs"),
    )
    return _of_entries("logprobs", text, kept)


def _of_entries(where: str, text: str, kept: list[Any], **more: Any) -> Answer:
    tokens, values, tops = of_records(where, kept, where)
    more = {"index": 0, **more}
    return Answer(
        where=where, text=text, tokens=tokens, values=values, tops=tops, **more
    )


def _of_llama(body: _Body) -> Answer:
    """Of log-probabilities, or of probabilities, which older builds write alone."""
    if body.get("stop") is False:
        raise MalformedError(PIECE)
    text, where = text_of(body.get("content")), "completion_probabilities"
    kept = _asked("llama.cpp", 'with "n_probs": 20', text, body.get(where))
    entries = [mapping(where, entry) for entry in kept]
    sampled = any("prob" in entry or "probs" in entry for entry in entries)
    return _of_entries(
        where,
        text,
        [_of_probabilities(where, entry) for entry in entries] if sampled else entries,
        sampled=sampled,
        index=body.get("index") or 0,
    )


def _of_probabilities(where: str, entry: _Body) -> _Body:
    """An entry with probabilities as one with log-probabilities."""
    if "probs" in entry:
        token, top = entry.get("content"), entry["probs"]
    elif "prob" in entry:
        token, top = entry.get("token"), entry.get("top_probs")
    else:
        raise MalformedError(f"{where}: probabilities in some entries, not in all")
    alternatives = [
        {
            "token": one.get("tok_str", one.get("token")),
            "logprob": _log(where, one.get("prob")),
        }
        for one in ([] if top is None else listed(where, top))
        if mapping(where, one)
    ]
    if "prob" in entry:
        own = _log(where, entry["prob"])
    else:
        # The chosen token has no number of its own.
        found = [one["logprob"] for one in alternatives if one["token"] == token]
        if not found:
            raise MalformedError(
                f"{where}: {shown(token)} was chosen, and is not among its probs: "
                "raise n_probs"
            )
        own = found[0]
    return {"token": token, "logprob": own, "top_logprobs": alternatives}


def _log(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError(f"{where}: expected a probability, got {shown(value)}")
    if not 0 <= value <= 1 + _ROUNDING:
        raise MalformedError(
            f"{where}: expected a probability in [0, 1], got {shown(value)}"
        )
    return math.log(min(value, 1.0)) if value else -math.inf


def _of_sglang(body: _Body) -> Answer:
    meta = mapping("meta_info", body.get("meta_info"))
    text, reason = text_of(body.get("text")), meta.get("finish_reason")
    if isinstance(reason, Mapping) and reason.get("type") == "abort":
        raise UnansweredError(f"a failed request, {shown(reason.get('message'))}")
    if reason is None and "finish_reason" in meta:
        raise MalformedError(PIECE)
    where = "output_token_logprobs"
    kept = _asked(
        "SGLang",
        'with "return_logprob": true, "top_logprobs_num": 20 and '
        '"return_text_in_logprobs": true',
        text,
        meta.get(where),
    )
    pairs = [_of_triple(where, one) for one in kept]
    # By their numbers: one that is in both lists is one token.
    tops: list[dict[int, _Pair]] = [{} for _ in pairs]
    for name in ("output_top_logprobs", "output_token_ids_logprobs"):
        if (lists := meta.get(name)) is None:
            continue
        if len(listed(name, lists)) != len(pairs):
            raise MalformedError(f"{name}: {len(lists)} lists for {len(pairs)} tokens")
        for top, one in zip(tops, lists, strict=True):
            # One without a number, as for a token that was not asked for, says nothing.
            found = [] if one is None else listed(name, one)
            for triple in found:
                if triple is not None:
                    pair = _of_triple(name, triple)
                    top.setdefault(triple[1], pair)
    return Answer(
        where=where,
        index=0,
        text=text,
        tokens=[token for token, _ in pairs],
        values=[value for _, value in pairs],
        tops=[list(top.values()) for top in tops],
        numbered=True,
    )


def _of_triple(name: str, triple: Any) -> _Pair:
    """From a log-probability, the token's number, and its text if it was asked for."""
    parts = listed(name, triple)
    if len(parts) not in (2, 3):
        raise MalformedError(f"{name}: expected a triple, got {len(parts)} values")
    return _token(name, *parts[1:]), parts[0]


def _token(name: str, number: Any, text: Any = None) -> Any:
    """The token's text, or its number where there is none."""
    if type(number) is not int:
        raise MalformedError(f"{name}: expected a token's number, got {shown(number)}")
    return f"{TOKEN_ID}{number}" if text is None else text


def _of_inference(body: _Body) -> Answer:
    """Of Text Generation Inference: special tokens, such as the last one, are none."""
    if "token" in body:
        raise MalformedError(PIECE)
    text = text_of(body.get("generated_text"))
    details, where = body.get("details"), "details.tokens"
    details = {} if details is None else mapping("details", details)
    kept = _asked(
        "Text Generation Inference",
        'with "details": true and "top_n_tokens": 5 among the parameters',
        text,
        details.get("tokens"),
    )
    entries = [mapping(where, entry) for entry in kept]
    tops = details.get("top_tokens")
    tops = [None] * len(entries) if tops is None else listed("top_tokens", tops)
    if len(tops) != len(entries):
        raise MalformedError(f"top_tokens: {len(tops)} lists for {len(entries)} tokens")
    records = [
        {
            **_of_token(entry),
            "top_logprobs": [
                _of_token(mapping("top_tokens", one))
                for one in ([] if top is None else listed("top_tokens", top))
            ],
        }
        for entry, top in zip(entries, tops, strict=True)
        if entry.get("special") is not True
    ]
    return _of_entries(where, text, records)


def _of_token(entry: _Body) -> dict[str, Any]:
    return {"token": entry.get("text"), "logprob": entry.get("logprob")}


def _of_vllm(body: _Body, index: int = 0) -> Answer:
    """What `LLM.generate` returns, as JSON: one of its outputs."""
    text, where = text_of(body.get("text")), "logprobs"
    ids = body.get("token_ids")
    ask = "with SamplingParams(logprobs=20)"
    kept = _asked("vLLM", ask, text or ids, body.get(where))
    numbers = [None] * len(kept) if ids is None else listed("token_ids", ids)
    if len(numbers) != len(kept):
        raise MalformedError(f"{len(numbers)} token_ids, {len(kept)} logprobs")
    steps = [_of_step(where, one) for one in kept]
    chosen = [
        _chosen(number, step) for number, step in zip(numbers, steps, strict=True)
    ]
    total = body.get("cumulative_logprob")
    unsaid = ids is None and any(len(step) > 1 for step in steps)
    if unsaid or (total is not None and any("" in step for step in steps)):
        _check_sum([value for _, value in chosen], total)
    tokens = [token for token, _ in chosen]
    if body.get("text") is None and all(isinstance(one, str) for one in tokens):
        text = "".join(one for one in tokens if not one.startswith(TOKEN_ID))
    return Answer(
        where=where,
        index=index,
        text=text,
        finished=body.get("finish_reason", "") is not None,
        tokens=tokens,
        values=[value for _, value in chosen],
        tops=[list(step.values()) if len(step) > 1 else [] for step in steps],
        numbered=True,
    )


def _of_step(name: str, step: Any) -> dict[str, _Pair]:
    """The tokens of one place by their numbers, the chosen one first.

    A number alone is that of the chosen token.
    """
    if not isinstance(step, Mapping):
        return {"": ("", step)}
    if not step:
        raise MalformedError(f"{name}: expected tokens, got an empty object")
    found = {}
    for number, one in step.items():
        if isinstance(one, Mapping):
            value, text = one.get("logprob"), one.get("decoded_token")
        else:
            # Its log-probability, its rank, and its text.
            parts = one if isinstance(one, (list, tuple)) and one else [one]
            value, text = parts[0], parts[2] if len(parts) > 2 else None
        found[str(number)] = (f"{TOKEN_ID}{number}" if text is None else text, value)
    return found


def _chosen(number: Any, step: dict[str, _Pair]) -> _Pair:
    """The token that was chosen: the first one, where no number says it."""
    if "" in step:
        token, value = step[""]
        return (token if number is None else _token("token_ids", number)), value
    if number is None:
        return next(iter(step.values()))
    if (pair := step.get(str(number))) is None:
        raise MalformedError(f"logprobs: token {shown(number)} of token_ids is missing")
    return pair


def _check_sum(values: list[Any], total: Any) -> None:
    """Raises `MalformedError` if these may not be the tokens that were chosen."""
    known = all(
        type(one) in (int, float) and abs(one) < _LARGE for one in [*values, total]
    )
    if not known or not abs(sum(values) - total) <= _SAME_SUM * (1 + len(values)):
        raise MalformedError(
            "logprobs do not add up to cumulative_logprob, so nothing says which "
            "tokens were chosen: save token_ids, and logprobs as objects"
        )


def _is_ollama(body: _Body) -> bool:
    kept = body.get("logprobs")
    of_tokens = isinstance(kept, list) and kept and isinstance(kept[0], Mapping)
    answered = isinstance(body.get("message"), Mapping)
    answered |= isinstance(body.get("response"), str)
    return answered and bool(of_tokens or {"done", "model"} <= set(body))


def _is_llama(body: _Body) -> bool:
    own = {"completion_probabilities", "generation_settings", "tokens_predicted"}
    return "content" in body and not own.isdisjoint(body)


def _is_inference(body: _Body) -> bool:
    return "generated_text" in body and "details" in body


def _is_vllm(body: _Body) -> bool:
    parts = body.get("outputs")
    if isinstance(parts, list) and parts:
        return isinstance(parts[0], Mapping) and "token_ids" in parts[0]
    kept, own = body.get("logprobs"), set(body)
    if isinstance(kept, list) and kept and isinstance(kept[0], Mapping):
        return all(str(key).isdecimal() for key in kept[0])
    if kept:
        # Numbers alone may be those of options.
        ends = {"cumulative_logprob", "finish_reason"} & own
        return bool(ends and {"token_ids", "text"} & own) or _is_flat(body)
    return {"token_ids", "logprobs"} <= own or (
        "cumulative_logprob" in own and bool({"token_ids", "text"} & own)
    )


# Without a text, what makes a list of numbers that of options.
_OF_OPTIONS = {
    *("label", "labels", "target", "targets", "y_true", "gold", "gold_label", "answer"),
    *("gold_index", "ground_truth", "prediction", "pred", "choices", "options"),
}


def _is_flat(body: _Body) -> bool:
    """Whether a body has a number and a log-probability of each token."""
    ids, kept = body.get("token_ids"), body["logprobs"]
    if not (isinstance(ids, list) and isinstance(kept, list)):
        return False
    of_tokens = len(ids) == len(kept) and all(type(one) is int for one in ids)
    return of_tokens and ("text" in body or _OF_OPTIONS.isdisjoint(body))


class _Server(NamedTuple):
    """Whether an endpoint wrote a body, and how to reduce it."""

    wrote: Callable[[_Body], bool]
    reduce: Callable[[_Body], Answer]


_VLLM = _Server(_is_vllm, _of_vllm)
_SERVERS = (
    _VLLM,
    _Server(_is_llama, _of_llama),
    _Server(_is_ollama, _of_ollama),
    _Server(lambda body: "meta_info" in body and "text" in body, _of_sglang),
    _Server(_is_inference, _of_inference),
)
