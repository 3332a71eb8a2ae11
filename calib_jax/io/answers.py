r"""Where a response writes its answer, and the log-probabilities of all answers there.

Shapes: B responses, N choices of a question. Everything runs on the host.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
    "(A" all write "A": around a token, spaces and the marks that tokenizers use for
    them, brackets "()[]", "*" and quotation marks do not count, nor does a full stop,
    colon or comma at its end, except where a choice is written with them. All else
    does: "-1" and "1%" do not write "1", and "C++" does not write "C". The result
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
        or empty; for a position that is traced, negative, but for -1 in `[B]`, or of a
        wrong shape or dtype.

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
    total = sums_of_choices(read, choices, position)
    return np.minimum(total, 0.0).astype(np.float32)


def sums_of_choices(
    read: LogProbabilities, choices: Sequence[str], position: ArrayLike
) -> np.ndarray:
    """float64 `[B, len(choices)]`, as `choice_log_probabilities`; also of raw logits.

    The softmax of logits added so is that of the tokens, with their shares added.
    """
    checks.instance("read", read, LogProbabilities)
    checks.on_host("position", position)
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
    return total


def answer_positions(read: LogProbabilities, choices: Sequence[str]) -> np.ndarray:
    r"""Finds the token with which each response answers a multiple-choice question.

    It is looked for in the response's text, behind what a reasoning model thinks
    (`</think>` and the like). These forms count, with B a choice:

    - The text is the choice: "B", "(B)", "B.", "**B**", "$B$", "\\boxed{B}".
    - The text says that it is the answer, and nothing else: "The answer is B.",
      "Answer: B", "<answer>B</answer>". The words are "answer", alone or behind "the",
      "my", "final", "correct", "right" or "best", and "option" or "choice" behind one
      of the last three, with "so", "thus", "hence" or "therefore" in front.
    - The text ends with such a sentence or line, or with "\\boxed{B}" as one, and the
      sentence before it has ended, with a full stop or the like.
    - The option's own words may follow, up to the end of the line: "B) Rome",
      "B. Rome", "Answer: (B) Rome"; of a choice of several letters, "Yes, it is". A
      text that opens with "1. " or "1) " may be a list, so numbers need "Answer:".
    - An explanation may follow one that opens the text: "B because ...",
      "B. Since ...", or a new line with "Explanation", "Reason" or "Rationale", or any
      text behind a blank line.

    All words behind the choice are searched for other choices and for words of denial
    or doubt ("not", "wrong", "but", "maybe", "wait", a question mark, and so on): where
    there are any the answer is not certain. Neither is it where other sentences or
    lines of the text give another answer. If several give the same one, the first is
    taken, because later ones repeat it. Anything else is -1, not a guess: an answer
    within a sentence ("I doubt that the answer is B."), a refusal, thinking that did
    not end, a choice of several tokens, tokens written as ids, a response without a
    text.

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


def written_choices(
    read: LogProbabilities, choices: Sequence[str], positions: np.ndarray
) -> list[int | None]:
    """The choice that the token at a response's position writes; None at -1."""
    columns = _columns(choices)
    return [
        None if at < 0 else _column(columns, read.tokens[start + at])
        for start, at in zip(read.starts[:-1].tolist(), positions.tolist(), strict=True)
    ]


# Marks of a word's start in the tokens of GPT-2 and SentencePiece, and of a line's end.
_SPACES = str.maketrans("\u0120\u2581\u010a", "  \n")
# What may stand around a choice in a token, besides a full stop, colon or comma after
# it. Signs are part of a word: "C++" is not "C", and "-1" and "1%" are not "1".
_AROUND = " \t\r\n()[]*\"'"


class _Columns(NamedTuple):
    """The column of each choice, as it is written, and without what is around it.

    The second is empty if choices differ in nothing else.
    """

    written: dict[str, int]
    plain: dict[str, int]


def _columns(choices: Sequence[str]) -> _Columns:
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ValueError(f"choices: expected a list of tokens, got {choices!r}.")
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices: expected one token or more, got {choices!r}.")
    written = {_bare(choice): column for column, choice in enumerate(choices)}
    if len(written) < len(choices) or "" in written:
        raise ValueError(f"choices: expected different words, got {choices!r}.")
    plain = {_plain(word): column for word, column in written.items()}
    distinct = len(plain) == len(written) and "" not in plain
    return _Columns(written, plain if distinct else {})


def _bare(token: str) -> str:
    return token.translate(_SPACES).strip()


def _plain(word: str) -> str:
    word = word.strip(_AROUND)
    return word[:-1].rstrip(_AROUND) if word.endswith((".", ":", ",")) else word


def _column(columns: _Columns, token: str) -> int | None:
    word = _bare(token)
    return columns.written.get(word, columns.plain.get(_plain(word)))


_THUS = r"(?:(?:so|thus|hence|therefore),? )?"
# What says that an answer follows: "Thus, the correct answer is:", "**Answer:**", or
# "### Answer" on a line of its own.
_LABEL = (
    rf"(?i:(?:#{{1,6}} )?[*_]{{0,4}}{_THUS}(?:(?:the|my) )?"
    r"(?:(?:final |correct |right |best )?answer|(?:correct|right|best) "
    r"(?:option|choice))(?:(?P<sentence> is[*_]{0,4}:?)|[*_]{0,4}:"
    r"|[*_]{0,4}(?=\s{0,3}\n))[*_]{0,4}\s{0,20}(?:(?:option|choice) )?"
    r"|<answer>\s{0,9})"
)
# The start of the text, or of a line or sentence behind a sentence that has ended. A
# small letter goes on behind an abbreviation.
_START = (
    r"""(?:\A\s{0,20}|[.!?]["'*_)]{0,8} {1,2}(?=[*_$]{0,4}[A-Z\\<])"""
    r"""|[.!?)\]}$0-9]["'*_)\]}]{0,8}[ \t]{0,8}\n\s{0,20})"""
)
# An option's own words: one sentence on the same line, and not "B) is" or "B) or".
_WORDS = re.compile(
    r",?[ \t]{1,3}(?!(?i:is|was|are|were|has|had|and|or|nor|vs|can|must|seems|looks)\b)"
    r"(?:[^\n.!?]|\.(?=\S)){1,300}\.?"
)
# What may follow an answer that opens the text, if `_DENIAL` is nowhere in it.
_EXPLAINED = re.compile(
    r"[ \t]{0,3}\n[ \t]{0,3}\n|(?:[ \t]{0,3}\n[*_# ]{0,20}|,?[ ])"
    r"(?i:because|since|explanation|reason|reasoning|rationale)\b"
)
_DENIAL = re.compile(
    r"[?\u274c\u2717\u2718]|(?i:n[\u2019']t\b|\b(?:no|not|nope|nah|none|nobody|nothing|"
    r"never|neither|nor|cannot|without|un(?:like|true|sure|certain)\w*|"
    r"im(?:poss|prob|plaus)\w*|in(?:correct|valid|accura)\w*|wrong\w*|fals\w*|"
    r"mis(?:take|taken|lead)\w*|error\w*|reject\w*|eliminat\w*|exclud\w*|ruled?|"
    r"discard\w*|dismiss\w*|refut\w*|contra\w*|disagree\w*|den(?:y|ied|ies)|doubt\w*|"
    r"fail\w*|but|however|although|though|except|unless|instead|rather|other|wait|"
    r"actually|correction|sorry|oops|maybe|perhaps|prob\w*|possib\w*|guess\w*|might|"
    r"may|could|would|nonsense|rubbish|jok\w*|kidding|chang\w*|scratch|reconsider\w*|recheck\w*|check\w*|hmm+|second|"
    r"reflection|revis\w*|retract\w*|better|suppos\w*|assum\w*|if)\b)"
)
# Each place where one starts.
_DENIALS = re.compile(f"(?={_DENIAL.pattern})")


class _Patterns(NamedTuple):
    """Where choices stand, each a group `choice`."""

    #: At the start of the text.
    opening: re.Pattern[str]
    #: Behind `_LABEL`, or boxed, at the start of the text or of a sentence.
    stated: re.Pattern[str]
    #: Behind "answer" in any sentence, or alone on a line.
    named: re.Pattern[str]
    anywhere: re.Pattern[str]
    #: No word of denial is longer, nor a choice with what is behind it.
    longest: int


def _patterns(columns: _Columns) -> _Patterns:
    words = sorted(columns.plain or columns.written, key=len, reverse=True)
    word = (
        rf"(?<![^\W_])(?<![-+./])(?P<choice>{'|'.join(map(re.escape, words))})"
        r"(?![^\W_])"
    )
    marked = (
        rf"""[*_(\[]{{0,6}}(?P<quote>\$\$|["'`$]|)(?:\\boxed\{{)?(?:\\text\{{)?"""
        rf"""[*_(]{{0,4}}{word}[*_)]{{0,4}}\}}{{0,2}}(?P=quote)"""
        r"(?P<mark>[*_)\]]{0,6}[.!]?[*_]{0,4})(?:\s{0,9}</answer>)?"
    )
    longest = 8 + max(map(len, words))
    return _Patterns(
        re.compile(rf"\A\s{{0,20}}(?P<label>{_LABEL})?{marked}"),
        re.compile(
            rf"{_START}(?:{_LABEL}|(?i:{_THUS})(?=[$*_]{{0,4}}\\boxed)){marked}"
        ),
        re.compile(
            rf"(?:(?i:answer(?: is)?)[\s:*_($]{{0,20}}|^[ \t*_(]{{0,8}}"
            rf"(?=\S{{1,{longest}}}[ \t]{{0,8}}$)){word}",
            re.MULTILINE,
        ),
        re.compile(word),
        max(longest, 40),
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
    tokens: list[str], text: str, columns: _Columns, patterns: _Patterns
) -> int:
    """The place of the token that is certain to be the answer, or -1."""
    written = [_written(token) for token in tokens]
    num_tokens = len(written)
    while num_tokens and _SPECIAL.fullmatch(written[num_tokens - 1]):
        num_tokens -= 1
    joined = "".join(written[:num_tokens])
    start = _start(joined, text, "".join(written[num_tokens:]))
    body = joined[start:]
    offset = -1 if start < 0 else _offset(body, patterns)
    if offset < 0:
        return -1
    ends = np.cumsum([len(token) for token in written])
    place = int(np.searchsorted(ends, start + offset, side="right"))
    column = _column(columns, written[place])
    word = patterns.anywhere.match(body, offset)
    # The token may write less or more than the choice.
    same = word and column is not None and column == _column(columns, word["choice"])
    return place if same else -1


def _offset(body: str, patterns: _Patterns) -> int:
    """Where the choice stands that is certain to be the answer, or -1."""
    opening = patterns.opening.match(body)
    stated = list(_stated(body, patterns))
    text = _text(body, patterns)
    certain = [head for head in stated if _is_whole(text, head, patterns)]
    if opening and _is_whole(text, opening, patterns, explained=True):
        certain.append(opening)
    if not certain:
        return -1
    given = [*certain, *stated, *patterns.named.finditer(body)]
    if opening and opening.end() > opening.end("choice"):
        # Not the article of "A good question", nor "A) is wrong".
        if not _CLAUSE.match(body, opening.end()):
            given.append(opening)
    if {head["choice"] for head in given} - {certain[0]["choice"]}:
        return -1
    # Of sentences that say the same, the later ones repeat the first.
    ended = (head for head in (*stated, opening) if head and _ends(body, head))
    return min(head.start("choice") for head in (*certain, *ended))


_CLAUSE = re.compile(r"\s{1,3}(?:is|was)\b")


def _stated(body: str, patterns: _Patterns) -> Iterator[re.Match[str]]:
    """Where choices are stated; one sentence's full stop is where the next starts."""
    start = 0
    while head := patterns.stated.search(body, start):
        yield head
        start = head.start("choice")


class _Text(NamedTuple):
    """What is behind any place of a text, found once: a text may state much.

    Attributes:
      body: the text.
      end: where only blanks follow.
      denial: where the last word of denial starts, or -1.
      last: the choice that is written last, and where; "" and -1 without one.
      other: where the last choice that is not that one is written, or -1.
    """

    body: str
    end: int
    denial: int
    last: tuple[str, int]
    other: int

    def denies(self, start: int, choice: str, patterns: _Patterns) -> bool:
        """Whether there is a denial or another choice from a place on."""
        other = self.other if choice == self.last[0] else self.last[1]
        if max(other, self.denial) >= start:
            return True
        # A word right there begins there, whatever mark is in front.
        near = self.body[start : start + patterns.longest]
        word = patterns.anywhere.match(near)
        return bool(_DENIAL.match(near) or (word and word["choice"] != choice))


def _text(body: str, patterns: _Patterns) -> _Text:
    denial = max((found.start() for found in _DENIALS.finditer(body)), default=-1)
    last = {word["choice"]: word.start() for word in patterns.anywhere.finditer(body)}
    ranked = sorted(last.items(), key=lambda pair: -pair[1]) + [("", -1)] * 2
    return _Text(body, len(body.rstrip()), denial, ranked[0], ranked[1][1])


def _ends(body: str, head: re.Match[str]) -> bool:
    """Whether the sentence or the line ends with the choice."""
    return head["mark"].rstrip("*_").endswith((".", "!")) or (
        body[head.end() : head.end() + 1] in ("", "\n")
    )


def _is_whole(
    text: _Text, head: re.Match[str], patterns: _Patterns, explained: bool = False
) -> bool:
    """Whether a choice, its option's words and an explanation are all that follows."""
    body, end = text.body, head.end()
    if head["choice"].isdigit() and "!" in head["mark"]:
        return False
    if end >= text.end:
        return True
    if text.denies(end, head["choice"], patterns):
        return False
    # "1. First" may be an item of a list, and "3!" is a product.
    item = head["choice"].isdigit() and explained and not head["label"]
    comma = explained and len(head["choice"]) > 1 and body[end] == ","
    listed = not item and (
        ")" in body[head.end("choice") : end]
        or ("." in head["mark"] and not head["sentence"])
    )
    ends = [end]
    if (comma or (listed and body[end] != ",")) and (words := _WORDS.match(body, end)):
        ends.append(words.end())
    return any(
        end >= text.end or (explained and _EXPLAINED.match(body, end)) for end in ends
    )


def _start(joined: str, text: str, rest: str) -> int:
    """Where the tokens begin to write the text, behind any thought, or -1."""
    wanted = "".join(_VISIBLE.findall(text))
    places = [match.start() for match in _VISIBLE.finditer(joined + rest)]
    shown = "".join(_VISIBLE.findall(joined + rest))
    # The tokens at the end, which are special or blank, are seldom part of the text.
    found = _last(shown[: len(_VISIBLE.findall(joined))], wanted)
    found = _last(shown, wanted) if found < 0 else found
    thought = max((match.end() for match in _THOUGHT.finditer(joined)), default=0)
    if not wanted or found < 0 or _THINKING.search(joined, thought):
        return -1
    return max(places[found], thought)


def _last(text: str, part: str) -> int:
    """As `text.rfind(part)`, whose time may go by the square of the lengths."""
    found = text[::-1].find(part[::-1])
    return found if found < 0 else len(text) - found - len(part)


def _written(token: str) -> str:
    byte = _BYTE.fullmatch(token)
    return chr(int(byte[1], 16)) if byte else token.translate(_SPACES)
