r"""Log-probabilities of generated tokens, as serving engines return them.

Shapes: B responses, T tokens of the longest one, at most A alternatives per token.
Everything here runs on the host, with NumPy arrays.

Servers return log-probabilities, after a softmax, so the paper's score (the mean raw
logit) cannot be computed from them. `calib_jax.confidence.likelihood_scores` computes
the scores that can, and `calib_jax.fit_platt` turns these into confidences.

Which distribution they belong to depends on the server. vLLM reports the model's own,
before temperature, penalties, top-k and top-p, unless it was started with
`--logprobs-mode processed_logprobs`; its former engine (V0) reported the distribution
it sampled from. OpenAI's reference does not say: request one text at two temperatures
to find out. Either can be calibrated, with answers sampled like the ones to be judged.
With `--logprobs-mode raw_logits` vLLM writes raw logits into the same fields: these are
not log-probabilities, and are refused as malformed where above 0.

References:
  OpenAI API reference, "Chat completions", "Completions" and "Batch"; vLLM
  documentation, "vLLM V1 user guide" (semantic changes to logprobs) and "Engine
  arguments" (`--logprobs-mode`); standardcompletions/rfcs on GitHub, issue 11, and
  vllm-project/vllm, issue 9453 (differences between servers).
"""

import dataclasses
import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from .._core import checks
from . import responses


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LogProbabilities:
    """Log-probabilities of generated texts, padded, in nats.

    Attributes:
      log_likelihoods: float32 `[B, T]`, of the tokens of the text; NaN in the padding.
      where: bool `[B, T]`, tokens whose log-likelihood is known; False in the padding.
      tokens: str `[B, T]`, as the server wrote them; "" in the padding.
      top_log_probabilities: float32 `[B, T, A]`, of the most probable tokens, in the
        server's order; -inf in the padding.
      top_tokens: str `[B, T, A]`; "" in the padding.
      texts: B texts; "" where a response has none.
      ids: B request ids: `custom_id` in a batch, otherwise `id`; "" if there is none.
      choice_index: int32 `[B]`, index among the answers to the same request.
      line_numbers: int32 `[B]`, the line each came from, counted from 1.
    """

    log_likelihoods: np.ndarray
    where: np.ndarray
    tokens: np.ndarray
    top_log_probabilities: np.ndarray
    top_tokens: np.ndarray
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    choice_index: np.ndarray
    line_numbers: np.ndarray


def read_log_probabilities(
    lines: str | os.PathLike[str] | Iterable[str | bytes | Mapping[str, Any]],
    *,
    on_malformed: Callable[[int, str], None] | None = None,
) -> LogProbabilities:
    """Reads the JSON lines of OpenAI-compatible servers such as vLLM.

    Each line is one response: a chat completion, a completion, or a line of a batch's
    output that contains one of these. Each of its choices becomes a row. Blank lines
    are skipped and fields not named here ignored.

    - The tokens of a refused chat completion are those of the refusal. Reasoning tokens
      count where the server lists them, as vLLM does.
    - The first token of an echoed prompt has no log-probability (null) and does not
      count. The prompt's other tokens do: set `where` to False there.
    - Servers write -9999.0 or less for tokens they did not keep and for -inf; it is
      read as -inf. `fit_platt` rejects such scores: leave them out with its `where`.

    Args:
      lines: path of a file, gzipped if it ends in `.gz`; or lines, as text or already
        parsed, such as `[response.model_dump() for response in responses]`.
      on_malformed: optional function of line number and reason. Malformed lines are
        passed to it and left out; without it they raise.

    Returns:
      `LogProbabilities` with arrays `[B, T]` and `[B, T, A]`, in the order of lines and
      of the choices in them. Servers write batches in any order: match rows by `ids`.

    Raises:
      ValueError: for malformed lines, with their numbers and reasons: not JSON, a
        failed request, no log-probabilities, lists of different lengths, a
        log-probability that is null, NaN or above 0; for a damaged gzip file; if
        `lines` is none of the above.
      OSError: if the file cannot be read.

    References:
      OpenAI API reference, "Chat completions", "Completions" and "Batch"; vLLM,
      "OpenAI-compatible server" and "Batch inference".

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
    name, numbered = _numbered_lines(lines)
    rows: list[tuple[int, responses.Choice]] = []
    malformed: list[str] = []
    names: dict[str, str] = {}
    for number, line in numbered:
        try:
            choices = responses.parse(line, names)
        except responses.MalformedError as error:
            if on_malformed is None:
                malformed.append(f"line {number}: {error}")
            else:
                on_malformed(number, str(error))
        else:
            rows += [(number, choice) for choice in choices]
    if malformed:
        shown = "; ".join(malformed[:5])
        more = f"; and {len(malformed) - 5} more" if len(malformed) > 5 else ""
        raise ValueError(
            f"{name}: malformed {shown}{more}. Fix them, or leave them out with "
            "on_malformed=."
        )
    return _padded(rows)


def choice_log_probabilities(
    read: LogProbabilities, choices: Sequence[str], *, position: ArrayLike = 0
) -> np.ndarray:
    r"""Log-probabilities of the answers to a multiple-choice question, at one token.

    .. math:: \ell_a = \log \sum_{v \text{ writes } a} p_v

    over the chosen token and the alternatives that the server returned. " A" and "A"
    both write "A": spaces around a token, and the marks that tokenizers use for them,
    do not count. The result is a valid input of `calib_jax.fit_temperature` and
    `calib_jax.top1`, which make the answers' probabilities add up to 1.

    An answer that is not among the alternatives gets -inf although it has some
    probability, so the probabilities of the others are upper bounds; a row without any
    answer is -inf throughout. Fits reject a label of -inf (`INVALID_VALUES`): request
    many alternatives, and leave out rows with missing answers with
    `where=np.isfinite(result).all(axis=1)`.

    Args:
      read: `LogProbabilities` with alternatives `[B, T, A]`.
      choices: the answers' tokens, such as `["A", "B", "C", "D"]`.
      position: integer scalar or `[B]`, the index of the answer's token; beyond the
        end of a response its row is -inf.

    Returns:
      float32 `[B, len(choices)]`, in nats.

    Raises:
      ValueError: if `read` is not a `LogProbabilities`; if choices are missing, equal
        or empty; for a position that is negative or of a wrong shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965 (multiple-choice tasks).

    Examples:
      >>> alternatives = {"B": -0.5, "A": -1.5, " A": -2.5}
      >>> line = {"choices": [{"logprobs": {"tokens": ["B"],
      ...   "token_logprobs": [-0.5], "top_logprobs": [alternatives]}}]}
      >>> read = read_log_probabilities([line])
      >>> print(choice_log_probabilities(read, ["A", "B", "C"]))
      [[-1.187 -0.5    -inf]]
    """
    checks.instance("read", read, LogProbabilities)
    columns = _columns(choices)
    num_rows, num_tokens = read.where.shape
    place = np.asarray(checks.integers("position", position, rank=(0, 1), axes="[B]"))
    if place.ndim and place.shape != (num_rows,):
        raise ValueError(
            f"position: expected a scalar or [B] = [{num_rows}], got "
            f"{list(place.shape)}."
        )
    if (place < 0).any():
        raise ValueError(f"position: expected at least 0, got {place.min()}.")
    place = np.broadcast_to(place, num_rows)
    total = np.full((num_rows, len(columns)), -np.inf)
    for row in np.flatnonzero(place < num_tokens):
        at = row, place[row]
        tokens, values = read.top_tokens[at], read.top_log_probabilities[at]
        seen = list(zip(tokens, values, strict=True))
        chosen = read.tokens[at], read.log_likelihoods[at]
        # The chosen token may be among the alternatives, with another rounding.
        if read.where[at] and not any(
            token == chosen[0] and abs(value - chosen[1]) < _SAME
            for token, value in seen
        ):
            seen.append(chosen)
        for token, value in seen:
            column = columns.get(_bare(token))
            if column is not None:
                total[row, column] = np.logaddexp(total[row, column], value)
    return np.minimum(total, 0.0).astype(np.float32)


# Log-probabilities of one token this close are the same entry.
_SAME = 1e-3


def _columns(choices: Sequence[str]) -> dict[str, int]:
    """The column of each choice."""
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ValueError(f"choices: expected a list of tokens, got {choices!r}.")
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices: expected one token or more, got {choices!r}.")
    columns = {_bare(choice): column for column, choice in enumerate(choices)}
    if len(columns) < len(choices) or "" in columns:
        raise ValueError(f"choices: expected different words, got {choices!r}.")
    return columns


# Marks of a word's start in the tokens of GPT-2 and SentencePiece.
_MARKS = "\u0120\u2581"


def _bare(token: str) -> str:
    return token.strip().lstrip(_MARKS).strip()


def _numbered_lines(lines: Any) -> tuple[str, Iterator[tuple[int, Any]]]:
    """The source's name for messages, and its lines with their numbers."""
    expected = "lines: expected a path, or an iterable of JSON lines"
    if isinstance(lines, str) and lines.lstrip()[:1] in ("{", "["):
        raise ValueError(f"{expected}; a string is taken as a path: .splitlines() it.")
    if isinstance(lines, (str, os.PathLike)):
        return str(lines), enumerate(_lines_of_file(Path(lines)), start=1)
    if isinstance(lines, (bytes, Mapping)) or not isinstance(lines, Iterable):
        raise ValueError(f"{expected}, got {type(lines).__name__}.")
    return "lines", enumerate(lines, start=1)


def _lines_of_file(path: Path) -> Iterator[bytes]:
    number = 0
    # Bytes are split at line feeds only: texts may contain other separators.
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number, line in enumerate(file, start=1):  # noqa: B007
                yield line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path}: gzip is damaged after line {number} ({error})."
            ) from error


def _padded(rows: list[tuple[int, responses.Choice]]) -> LogProbabilities:
    choices = [choice for _, choice in rows]
    num_tokens = max((len(choice.tokens) for choice in choices), default=0)
    num_top = max((max(choice.counts, default=0) for choice in choices), default=0)
    shape = len(choices), num_tokens
    log_likelihoods = np.full(shape, np.nan, np.float32)
    tokens = np.full(shape, "", object)
    top_values = np.full((*shape, num_top), -np.inf, np.float32)
    top_tokens = np.full((*shape, num_top), "", object)
    for row, choice in enumerate(choices):
        length = len(choice.tokens)
        log_likelihoods[row, :length] = choice.values
        tokens[row, :length] = choice.tokens
        there = np.arange(num_top) < np.array(choice.counts, int)[:, None]
        top_values[row, :length][there] = choice.top_values
        top_tokens[row, :length][there] = choice.top_tokens
    return LogProbabilities(
        log_likelihoods=log_likelihoods,
        where=~np.isnan(log_likelihoods),
        tokens=tokens,
        top_log_probabilities=top_values,
        top_tokens=top_tokens,
        texts=tuple(choice.text for choice in choices),
        ids=tuple(choice.identity for choice in choices),
        choice_index=np.array([choice.index for choice in choices], np.int32),
        line_numbers=np.array([number for number, _ in rows], np.int32),
    )
