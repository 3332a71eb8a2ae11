r"""Log-probabilities of generated tokens, as serving engines return them.

Shapes: B responses with S tokens in all, T in the longest one, and P alternatives in
all. Everything here runs on the host, with NumPy arrays.

Servers return log-probabilities, after a softmax, so the paper's score (the mean raw
logit) cannot be computed from them, except from vLLM's raw logits.
`calib_jax.confidence.likelihood_scores` computes the scores that can, and
`calib_jax.fit_platt` turns these into confidences.

Which distribution they belong to depends on the server. vLLM reports the model's own,
before temperature, penalties, top-k and top-p, unless it was started with
`--logprobs-mode processed_logprobs`; its former engine (V0) reported the distribution
it sampled from. OpenAI's reference does not say: request one text at two temperatures
to find out. Either can be calibrated, with answers sampled like the ones to be judged.
With `--logprobs-mode raw_logits` vLLM writes raw logits into the same fields: these are
not log-probabilities, and are refused as malformed where above 0. `read_outputs` reads
them with `kind="logits"`.

References:
  OpenAI API reference, "Chat completions", "Completions" and "Batch"; vLLM
  documentation, "vLLM V1 user guide" (semantic changes to logprobs) and "Engine
  arguments" (`--logprobs-mode`); standardcompletions/rfcs on GitHub, issue 11, and
  vllm-project/vllm, issue 9453 (differences between servers).
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .._core import plain
from . import answer_lines, json_lines, responses


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LogProbabilities(plain.Result):
    """Log-probabilities of generated texts, in nats.

    The tokens of all responses are stored one after another, so memory goes by the
    tokens read. `log_likelihoods` and `where` are padded to the longest response when
    they are first asked for.

    Attributes:
      ids: B request ids: `custom_id` in a batch, otherwise `id`; "" if there is none.
      texts: B texts; "" where a response has none.
      choice_index: int32 `[B]`, index among the answers to the same request.
      line_numbers: int32 `[B]`, the line each came from, counted from 1.
      starts: int64 `[B + 1]`: row b has the tokens from `starts[b]` to `starts[b + 1]`.
      tokens: str `[S]`, as the server wrote them.
      values: float32 `[S]`, their log-probabilities; NaN where unknown.
      top_starts: int64 `[S + 1]`, where each token's alternatives start.
      top_tokens: str `[P]`, the alternatives, in the server's order.
      top_values: float32 `[P]`, their log-probabilities.
      top_numbered: bool `[B]`, responses whose server gave the alternatives' numbers in
        the vocabulary: two that are written alike are two tokens.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    choice_index: np.ndarray
    line_numbers: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    values: np.ndarray
    top_starts: np.ndarray
    top_tokens: np.ndarray
    top_values: np.ndarray
    top_numbered: np.ndarray

    @functools.cached_property
    def log_likelihoods(self) -> np.ndarray:
        """float32 `[B, T]`, of the tokens of each text; NaN in the padding."""
        return self._padded(self.values, np.nan)

    @functools.cached_property
    def where(self) -> np.ndarray:
        """bool `[B, T]`, tokens whose log-likelihood is known; False in the padding."""
        return self._padded(~np.isnan(self.values), False)

    def _padded(self, values: np.ndarray, padding: Any) -> np.ndarray:
        lengths = np.diff(self.starts)
        padded = np.full((len(lengths), lengths.max(initial=0)), padding, values.dtype)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        padded[rows, np.arange(len(values)) - self.starts[rows]] = values
        return padded

    def alternatives(self, row: int, position: int) -> list[tuple[str, float]]:
        """The tokens listed at one place of a response, each with its log-probability.

        The alternatives and the chosen token. A token that the server lists twice with
        one log-probability is there once; with two, or with two numbers of the
        vocabulary, these are two tokens that are written alike.

        Args:
          row: of the response, from 0 to B - 1.
          position: of the token in the response, counted from 0.

        Returns:
          Pairs in the server's order; none if the response has no such token.

        Raises:
          ValueError: if there is no such row.
        """
        if not 0 <= row < len(self.ids):
            raise ValueError(f"row: expected 0 to {len(self.ids) - 1}, got {row}.")
        length = self.starts[row + 1] - self.starts[row]
        if not 0 <= position < length:
            return []
        at = self.starts[row] + position
        top = slice(self.top_starts[at], self.top_starts[at + 1])
        pairs = zip(self.top_tokens[top], self.top_values[top].tolist(), strict=True)
        seen = list(pairs if self.top_numbered[row] else dict.fromkeys(pairs))
        token, value = self.tokens[at], float(self.values[at])
        # The chosen token may be among the alternatives, with another rounding.
        if not np.isnan(value) and not any(
            other == token and abs(number - value) < _SAME for other, number in seen
        ):
            seen.append((token, value))
        return seen


# Log-probabilities of one token this close are the same entry.
_SAME = 1e-3


def read_log_probabilities(
    lines: str | os.PathLike[str] | Iterable[str | bytes | Mapping[str, Any]],
    *,
    on_malformed: Callable[[int, str], None] | None = None,
) -> LogProbabilities:
    """Reads the answers of servers such as vLLM, with log-probabilities of all tokens.

    Each line is one response: a chat completion, a completion, a body of the Responses
    API, or what Ollama, llama.cpp, SGLang, Text Generation Inference or vLLM without a
    server write in a shape of their own; or a line of a batch's output that contains
    one of these. Each of its choices becomes a row. A file may also be one JSON array
    of responses, or indented. Blank lines are skipped and fields not named here
    ignored.

    - The tokens of a refused chat completion are those of the refusal. Reasoning tokens
      count where the server lists them, as vLLM does: `answer_positions` finds the
      answer behind them.
    - The first token of an echoed prompt has no log-probability (null) and does not
      count. The prompt's other tokens do: set `where` to False there.
    - Servers write -9999.0 or less for tokens they did not keep and for -inf; it is
      read as -inf. `fit_platt` rejects such scores: leave them out with its `where`.
    - Where a server gives a token's number alone it is "token_id:" and the number.
    - llama.cpp's probabilities (`post_sampling_probs`) are those after its sampler; 0
      is read as -inf.
    - Up to 1e-6 above 0 is rounding and is read as 0. Alternatives that are null are
      dropped.
    - A choice that a content filter withheld has no tokens, and is left out if the
      response has others.
    - Ask for whole answers: pieces of streamed ones are refused.

    Args:
      lines: path of a file, gzipped or not; or lines, as text or already
        parsed, such as `[response.model_dump() for response in responses]`.
      on_malformed: optional function of line number and reason. Malformed lines, or
        malformed choices of a line, are passed to it and left out; without it they
        raise.

    Returns:
      `LogProbabilities`, in the order of lines, and of choices by their index. Servers
      write batches in any order: match rows by `ids`.

    Raises:
      ValueError: for malformed lines, with their numbers and reasons: not JSON, a
        failed request, another format, no log-probabilities, lists of
        different lengths, a log-probability that is null, NaN or above 0; for a damaged
        gzip file, a line above 256 MiB or an indented document above 1 GiB; if `lines`
        is none of the above.
      OSError: if the file cannot be read.

    References:
      OpenAI API reference, "Chat completions", "Completions", "Responses" and "Batch";
      vLLM, "OpenAI-compatible server" and "Batch inference".

    Examples:
      >>> line = '''{"id": "a", "choices": [{"index": 0, "text": " 4", "logprobs":
      ...   {"tokens": [" ", "4"], "token_logprobs": [-0.25, -0.5]}}]}'''
      >>> read = read_log_probabilities([line])
      >>> print(read.log_likelihoods, read.texts)
      [[-0.25 -0.5 ]] (' 4',)
    """
    if on_malformed is not None and not callable(on_malformed):
        raise ValueError(
            "on_malformed: expected a function of line number and reason, or None, got "
            f"{on_malformed!r}."
        )
    name, numbered = json_lines.numbered(lines)
    rows: list[tuple[int, responses.Choice]] = []
    malformed: list[str] = []
    names: dict[str, str] = {}

    def refuse(number: int, reason: str) -> None:
        if on_malformed is None:
            malformed.append(f"line {number}: {reason}")
        else:
            on_malformed(number, reason)

    for number, line in numbered:
        choices, reasons = answer_lines.parse(line, names)
        rows += [(number, choice) for choice in choices]
        for reason in reasons:
            refuse(number, str(reason))
    # The last piece of a stream looks like a whole answer: the others tell.
    # Those without an id are pieces of nothing else.
    pieces = {(one.identity, one.index) for _, one in rows if not one.finished}
    pieces = {key for key in pieces if key[0]}
    whole = []
    for number, one in rows:
        if one.finished and (one.identity, one.index) not in pieces:
            whole.append((number, one))
        else:
            refuse(number, responses.PIECE)
    if malformed:
        shown = "; ".join(malformed[:5])
        more = f"; and {len(malformed) - 5} more" if len(malformed) > 5 else ""
        raise ValueError(
            f"{name}: malformed {shown}{more}. Fix them, or leave them out with "
            "on_malformed=."
        )
    return joined(whole)


def joined(rows: list[tuple[int, responses.Choice]]) -> LogProbabilities:
    """Numbered answers as one record."""
    choices = [choice for _, choice in rows]
    return LogProbabilities(
        ids=tuple(choice.identity for choice in choices),
        texts=tuple(choice.text for choice in choices),
        choice_index=np.array([choice.index for choice in choices], np.int32),
        line_numbers=np.array([number for number, _ in rows], np.int32),
        starts=_starts(len(choice.tokens) for choice in choices),
        tokens=_strings(choice.tokens for choice in choices),
        values=_floats(choice.values for choice in choices),
        top_starts=_starts(count for choice in choices for count in choice.counts),
        top_tokens=_strings(choice.top_tokens for choice in choices),
        top_values=_floats(choice.top_values for choice in choices),
        top_numbered=np.array([choice.numbered for choice in choices], bool),
    )


def _starts(counts: Iterable[int]) -> np.ndarray:
    return np.array([0, *itertools.accumulate(counts)], np.int64)


def _strings(parts: Iterable[list[str]]) -> np.ndarray:
    return np.array([*itertools.chain.from_iterable(parts)], object)


def _floats(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *parts])
