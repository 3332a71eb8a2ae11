r"""Where a response writes its answer, and the log-probabilities of all answers there.

Shapes: B responses, N choices of a question. Everything runs on the host.
"""

import re
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike

from .._core import checks
from .log_probabilities import LogProbabilities


def choice_log_probabilities(
    read: LogProbabilities, choices: Sequence[str], *, position: ArrayLike = 0
) -> np.ndarray:
    r"""Log-probabilities of the answers to a multiple-choice question, at one token.

    .. math:: \ell_a = \log \sum_{v \text{ writes } a} p_v

    over the chosen token and the alternatives that the server returned. " A", "A" and
    "(A" all write "A": spaces around a token, the marks that tokenizers use for them,
    and punctuation do not count, except where a choice is written with it. The result
    is a valid input of `calib_jax.fit_temperature` and `calib_jax.top1`, which make the
    answers' probabilities add up to 1.

    An answer that is not among the alternatives gets -inf although it has some
    probability, so the probabilities of the others are upper bounds; a row without any
    answer is -inf throughout. Fits reject a label of -inf (`INVALID_VALUES`): request
    many alternatives, and leave out rows with missing answers with
    `where=np.isfinite(result).all(axis=1)`.

    Args:
      read: `LogProbabilities` with alternatives.
      choices: the answers' tokens, such as `["A", "B", "C", "D"]`.
      position: integer scalar or `[B]`, the index of the answer's token, for example
        from `answer_positions`; where it is -1 or beyond the end of a response, the row
        is -inf.

    Returns:
      float32 `[B, len(choices)]`, in nats.

    Raises:
      ValueError: if `read` is not a `LogProbabilities`; if choices are missing, equal
        or empty; for a position that is negative, but for -1 in `[B]`, or of a wrong
        shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965 (multiple-choice tasks).

    Examples:
      >>> from calib_jax import io
      >>> alternatives = {"B": -0.5, "A": -1.5, " A": -2.5}
      >>> line = {"choices": [{"logprobs": {"tokens": ["B"],
      ...   "token_logprobs": [-0.5], "top_logprobs": [alternatives]}}]}
      >>> read = io.read_log_probabilities([line])
      >>> print(choice_log_probabilities(read, ["A", "B", "C"]))
      [[-1.187 -0.5    -inf]]
    """
    checks.instance("read", read, LogProbabilities)
    columns = _columns(choices)
    num_rows = len(read.ids)
    place = np.asarray(checks.integers("position", position, rank=(0, 1), axes="[B]"))
    if place.ndim and place.shape != (num_rows,):
        raise ValueError(
            f"position: expected a scalar or [B] = [{num_rows}], got "
            f"{list(place.shape)}."
        )
    if (place < -place.ndim).any():
        raise ValueError(f"position: expected at least 0, got {place.min()}.")
    total = np.full((num_rows, len(choices)), -np.inf)
    for row, position_of_row in enumerate(np.broadcast_to(place, num_rows).tolist()):
        for token, value in read.alternatives(row, position_of_row):
            column = _column(columns, token)
            if column is not None:
                total[row, column] = np.logaddexp(total[row, column], value)
    return np.minimum(total, 0.0).astype(np.float32)


def answer_positions(read: LogProbabilities, choices: Sequence[str]) -> np.ndarray:
    r"""Finds the token with which each response answers a multiple-choice question.

    It is looked for in the response's text, behind what a reasoning model thinks
    (`</think>` and the like). The answer is a choice that

    - opens the text, as in "B", "(B) Rome", "**B**. Because ..." or "Yes, it is",
    - stands on a line by itself,
    - or follows "answer", "answer is", "correct option is", "\\boxed{" and the like,

    and that something sets off: the end, a line's end, a full stop, a colon, a bracket,
    a dash or "because". So the article in "A good question" is not an answer, and
    neither is "A or B". All that are found must agree, and if none follows "answer", no
    other choice may be set off like them. The first one is taken, because later ones
    repeat it. Where this finds nothing the result is -1, not a guess: for a refusal,
    for thinking that did not end, for a choice of several tokens, for tokens written as
    ids, for a response without a text.

    Args:
      read: `LogProbabilities` of responses with texts.
      choices: the answers, such as `["A", "B", "C", "D"]`; upper and lower case differ.

    Returns:
      int32 `[B]`, for `position` of `choice_log_probabilities`; -1 where no token is
      certain to be the answer. Look at the texts of such rows: if there are many, ask
      the model to answer with a single letter.

    Raises:
      ValueError: if `read` is not a `LogProbabilities`; if choices are missing, equal
        or empty.

    Examples:
      >>> from calib_jax import io
      >>> tokens = ["The", " answer", " is", " B", "."]
      >>> line = {"choices": [{"text": "The answer is B.", "logprobs": {
      ...   "tokens": tokens, "token_logprobs": [-0.1, -0.1, -0.1, -0.5, -0.1]}}]}
      >>> read = io.read_log_probabilities([line])
      >>> print(answer_positions(read, ["A", "B"]))
      [3]
    """
    checks.instance("read", read, LogProbabilities)
    columns = _columns(choices)
    patterns = _patterns(columns)
    positions = [
        _position(read.tokens[start:end].tolist(), text, columns, patterns)
        for start, end, text in zip(
            read.starts[:-1], read.starts[1:], read.texts, strict=True
        )
    ]
    return np.array(positions, np.int32)


# Marks of a word's start in the tokens of GPT-2 and SentencePiece, and of a line's end.
_SPACES = str.maketrans("\u0120\u2581\u010a", "  \n")
_PUNCTUATION = " \t\r\n()[]{}<>*_\"'`.,:;!?#$\\"


def _columns(choices: Sequence[str]) -> dict[str, int]:
    """The column of each choice, as it is written and without punctuation."""
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ValueError(f"choices: expected a list of tokens, got {choices!r}.")
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices: expected one token or more, got {choices!r}.")
    columns = {_bare(choice): column for column, choice in enumerate(choices)}
    if len(columns) < len(choices) or "" in columns:
        raise ValueError(f"choices: expected different words, got {choices!r}.")
    plain = [word.strip(_PUNCTUATION) for word in columns]
    if len(set(plain)) == len(plain) and "" not in plain:
        columns = dict(zip(plain, range(len(plain)), strict=True)) | columns
    return columns


def _bare(token: str) -> str:
    return token.translate(_SPACES).strip()


def _column(columns: dict[str, int], token: str) -> int | None:
    word = _bare(token)
    return columns.get(word, columns.get(word.strip(_PUNCTUATION)))


_OPEN = r"""[\s("'`*_\[{#>$\\]{0,20}"""
_CLOSE = r"""["'`*_)\]}$\\]{0,8}"""
# What may follow an answer. The rest of a word, "A or B" and "A is wrong" may not.
_AFTER = (
    rf"(?={_CLOSE}(?:\s{{0,20}}\Z|[ \t]{{0,20}}\n|[.:!)\]}}]{_CLOSE}(?:\s|\Z|<)|<"
    r"|,?\s{1,20}(?:because|since)\b|\s{1,20}[-\u2013\u2014]\s))"
    rf"(?!{_CLOSE}[.:)\]}}]?{_CLOSE}\s{{1,20}}(?:is|was|isn|and|or|nor|not|but|vs)\b)"
)
_CUE = (
    r"(?i:(?<!wrong )(?<!incorrect )(?<!not the )"
    r"\b(?:answer|(?:correct|right|best) (?:option|choice))"
    r"(?: (?:option|choice|letter))?(?: is)?|\\boxed)"
    r"[\s:=(\"'`*_\[{>\\]{0,20}(?i:text\{|(?:option|choice) )?[(\"'`*_]{0,8}"
)


def _patterns(columns: dict[str, int]) -> tuple[re.Pattern[str], ...]:
    """Where choices stand.

    After "answer"; at the start; on a line by itself; set off; before a comma at the
    start; anywhere.
    """
    plain = {word: word.strip(_PUNCTUATION) for word in columns}
    words = [w for w in columns if w == plain[w] or plain[w] not in columns]
    either = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    choice = rf"(?<![^\W_])(?<![-+./])({either})(?![^\W_])"
    alone = rf"^{_OPEN}{choice}(?={_CLOSE}\.?{_CLOSE}[ \t]{{0,20}}$)"
    return (
        re.compile(_CUE + choice + _AFTER),
        re.compile(rf"\A{_OPEN}{choice}{_AFTER}"),
        re.compile(alone, re.MULTILINE),
        re.compile(choice + _AFTER),
        re.compile(rf"\A{_OPEN}{choice}(?<=\w\w)(?=,\s)"),
        re.compile(choice),
    )


# Tokens that end a response, bytes that are tokens, and marks around a thought.
_SPECIAL = re.compile(r"\s*|<\|[^|<>]*\|>|</s>|<eos>|<end_of_turn>")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_THOUGHT = re.compile(
    r"</think(?:ing)?>|</reasoning>|\[/THINK\]|\u25c1/think\u25b7"
    r"|<\|channel\|>final<\|message\|>"
)
_THINKING = re.compile(
    r"<think(?:ing)?>|<reasoning>|\[THINK\]|\u25c1think\u25b7|<\|channel\|>"
)
# What tokens and texts have in common: tokens may hold parts of other characters.
_VISIBLE = re.compile("[!-~]")


def _position(
    tokens: list[str],
    text: str,
    columns: dict[str, int],
    patterns: tuple[re.Pattern[str], ...],
) -> int:
    """The place of the token that is certain to be the answer, or -1."""
    written = [_written(token) for token in tokens]
    num_tokens = len(written)
    while num_tokens and _SPECIAL.fullmatch(written[num_tokens - 1]):
        num_tokens -= 1
    joined = "".join(written[:num_tokens])
    start = _start(joined, text, "".join(written[num_tokens:]))
    if start < 0:
        return -1
    cue, opening, alone, set_off, comma, anywhere = (
        [(columns[match[1]], match.start(1)) for match in one.finditer(joined[start:])]
        for one in patterns
    )
    answers = cue + opening + alone
    agreeing = answers if cue else answers + set_off
    if not answers and comma:
        # "Yes, it is" is an answer, "A, B and C" is not.
        answers, agreeing = comma, anywhere
    if not answers or len({column for column, _ in agreeing}) > 1:
        return -1
    column, offset = min(answers, key=lambda answer: answer[1])
    ends = np.cumsum([len(token) for token in written])
    place = int(np.searchsorted(ends, start + offset, side="right"))
    return place if _column(columns, written[place]) == column else -1


def _start(joined: str, text: str, rest: str) -> int:
    """Where the tokens begin to write the text, behind any thought, or -1."""
    wanted = "".join(_VISIBLE.findall(text))
    places = [match.start() for match in _VISIBLE.finditer(joined + rest)]
    shown = "".join((joined + rest)[place] for place in places)
    # The tokens at the end, which are special or blank, are seldom part of the text.
    found = shown.rfind(wanted, 0, len(_VISIBLE.findall(joined)))
    found = shown.rfind(wanted) if found < 0 else found
    thought = max((match.end() for match in _THOUGHT.finditer(joined)), default=0)
    if not wanted or found < 0 or _THINKING.search(joined, thought):
        return -1
    return max(places[found], thought)


def _written(token: str) -> str:
    byte = _BYTE.fullmatch(token)
    return chr(int(byte[1], 16)) if byte else token.translate(_SPACES)
