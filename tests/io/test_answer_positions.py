"""The token with which a response answers: found where it is certain, or -1."""

import json
import re
import time

import numpy as np
import pytest
from servers import chat, completion, entry, responses

import calib_jax as cj

pytestmark = pytest.mark.once

SPECIAL = r"</?think>|<\|[^|]*\|>|</s>"


def tokens_of(text):
    """Words with the space before them, marks, and special tokens."""
    return re.findall(rf"{SPECIAL}| ?\w+|[^\w\s]|\s", text)


def positions(tokens, text=None, choices="ABCD"):
    text = "".join(tokens) if text is None else text
    line = completion("a", tokens, [-0.5] * len(tokens))
    line["choices"][0]["text"] = text
    read = cj.io.read_log_probabilities([line])
    found = cj.io.answer_positions(read, list(choices))
    assert found.dtype == np.int32 and found.shape == (1,)
    return int(found[0])


# Where the first B is the answer.
ANSWERS = r"""
B
 B
\n\nB
(B)
B.
B!
**B**
"B"
$B$
B: Rome
B) Rome
B - Rome
(B) Rome
B. Rome is the capital. A and C are smaller.
B because A is wrong
B, because A is wrong
The answer is B
The answer is B.
The answer is **B**.
The answer is (B) Rome.
The answer is option B.
The correct option is B.
The correct answer is:\n\nB
Answer: B
**Answer:** B
### Answer\n\n(B)
<answer>B</answer>
\boxed{B}
$\boxed{\text{B}}$.
Paris is in France.\n\nB
Option A is wrong, so the answer is B.
A) is Paris, C) is Bonn. The answer is B.
B. Rome. The answer is B.
""".strip("\n").split("\n")
ANSWERS = [text.replace(r"\n", "\n") for text in ANSWERS]

# Where nothing is certain.
DOUBTS = r"""
A good question.
A or B
A, B and C are wrong.
A/B
A B
A-B
A) Paris B) Rome C) Bonn
A\nB\nC\nD
B. Rome, not A.
(A) is wrong.
A is wrong.
A, however, is wrong.
Not A.
I am not sure about A.
The answer is A or B.
The answer is not A.
The wrong answer is A.
The answer is A. No, wait, the answer is B.
The answer is A\n\nB
The answer is A's.
The answer is Apple.
The answer is A+
The answer is A?
b
E
AB
A.5
-A
Sorry, I cannot help.
...
""".strip("\n").split("\n")
DOUBTS = [text.replace(r"\n", "\n") for text in DOUBTS]


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_found(text):
    tokens = tokens_of(text)
    (first, *_) = (at for at, token in enumerate(tokens) if token.strip() == "B")
    assert positions(tokens) == first
    # The same behind a thought, and with what ends a response.
    thought = tokens_of("<think>\nA? The answer is A.\n</think>\n\n")
    for ending in ([], ["<|im_end|>"], ["\n", "</s>"]):
        assert positions([*thought, *tokens, *ending], text) == len(thought) + first
        assert positions([*thought, *tokens, *ending]) == len(thought) + first


@pytest.mark.parametrize("text", DOUBTS)
def test_nothing_is_guessed(text):
    tokens = tokens_of(text)
    assert positions(tokens) == -1
    assert positions([*tokens_of("<think>B</think>\n"), *tokens]) == -1


def test_thinking():
    assert positions(tokens_of("<think>The answer is B")) == -1
    assert positions(tokens_of("<think>The answer is B"), "") == -1
    # A server that keeps the thought apart, with and without its marks.
    thought = tokens_of("Maybe the answer is A.\n")
    assert positions([*thought, "</think>", "\n", "B"], "B") == len(thought) + 2
    assert positions([*thought, "B"], "B") == len(thought)
    assert positions([*thought, "B"], "C") == -1
    harmony = "<|channel|>analysis<|message|>A.<|end|><|channel|>final<|message|>"
    before = tokens_of(harmony)
    assert positions([*before, "B", "<|return|>"], "B") == len(before)
    assert positions(tokens_of("<|channel|>analysis<|message|>answer: A"), "A") == -1


def test_marks_of_tokenizers():
    for tokens, text, place in (
        (["\u0120B"], " B", 0),
        (["\u2581(", "B", ")"], "(B)", 1),
        (["\u010a", "\u0120B"], "\n B", 1),
        (["<0x0A>", "B"], "\nB", 1),
        (["(B", ")"], "(B)", 0),
        (["**", "B", ".**"], "**B.**", 1),
        (["Caf\ufffd", "\ufffd", ":", "\n", "B"], "Café:\nB", 4),
        ([" The", " answer", " is", ":B"], "The answer is:B", 3),
    ):
        assert positions(tokens, text) == place
    # A choice that the tokens do not write by itself cannot be read there.
    assert positions(["Answer", ":", " B", "ern"]) == -1
    assert positions(["The", " answer", "\u0120is", "=B"], "The answer is=B") == -1
    assert positions(["token_id:33"], "B") == -1
    assert positions([], "") == positions(["B"], "") == -1


def test_other_choices():
    yes = ["Yes", "No"]
    for text in ("Yes", "yes, it is", "Yes, it is.", "Yes!", "Answer: Yes."):
        found = positions(tokens_of(text), choices=yes)
        expected = [at for at, token in enumerate(tokens_of(text)) if "Yes" in token]
        assert [found] == (expected or [-1])
    for text in ("No doubt: Yes", "Yes, or No?", "No wonder.", "Yes and No"):
        assert positions(tokens_of(text), choices=yes) == -1
    for choices in (["(A)", "(B)"], [" A", " B"], ["A.", "B."]):
        assert positions(tokens_of("The answer is (B)."), choices=choices) == 5
    numbers = ["1", "2", "10"]
    for text, place in (("10", 0), ("1.5", -1), ("-1", -1), ("1", 0), ("1 or 2", -1)):
        assert positions(tokens_of(text), choices=numbers) == place
    # Written apart from each other only by punctuation.
    read = cj.io.read_log_probabilities(
        [completion("a", [".5"], [-0.5], [{".5": -0.5, "5": -1.5, "5.": -2.5}])]
    )
    options = cj.io.choice_log_probabilities(read, [".5", "5"])
    both = np.logaddexp(-1.5, -2.5)
    np.testing.assert_allclose(options, [[-0.5, both]], rtol=1e-6)


def test_from_answers_to_their_log_probabilities():
    top = (" B", -0.25), ("B", -4.0), ("(A", -1.75), ("C", -9999.0)
    said = [entry(token, -0.1, ("x", -3.0)) for token in ("The", " answer", " is")]
    lines = [
        json.dumps(chat("prose", [*said, entry(" B", -0.25, *top), entry(".", -0.1)])),
        chat("short", [entry(" B", -0.25, *top)]),
        responses("space", [entry("\n", -0.1), entry(" B", -0.25, *top)]),
        chat("none", [*said, entry(" unknown", -0.25, *top)]),
    ]
    read = cj.io.read_log_probabilities(lines)
    found = cj.io.answer_positions(read, ["A", "B", "C"])
    assert found.tolist() == [3, 0, 1, -1]
    options = cj.io.choice_log_probabilities(read, ["A", "B", "C"], position=found)
    row = [-1.75, np.logaddexp(-0.25, -4.0), -np.inf]
    expected = [row, row, row, [-np.inf] * 3]
    np.testing.assert_allclose(options, expected, rtol=1e-6)
    assert np.isnan(cj.top1(options).confidence[3])


@pytest.mark.parametrize(
    "tokens",
    [
        ["answer", *" " * 40_000],
        ["answer "] * 8000,
        ["A", " "] * 20_000,
        list("answer(*" * 5000),
        ["<"] * 40_000,
        ["A", *"\n" * 40_000, "B"],
        ["A", *")" * 40_000],
        ["<think>"] * 8000,
    ],
)
def test_long_texts_take_no_time(tokens):
    start = time.process_time()
    assert positions(tokens) == -1
    assert time.process_time() - start < 5


def test_wrong_arguments():
    read = cj.io.read_log_probabilities([completion("a", ["B"], [-0.5])])
    with pytest.raises(ValueError, match="read: expected LogProbabilities, got list"):
        cj.io.answer_positions([], ["A"])
    for wrong in ("AB", [], ["A", 1], ["A", " A"], ["A", " "], None, {"A": 1}):
        with pytest.raises(ValueError, match="choices: expected"):
            cj.io.answer_positions(read, wrong)
    empty = cj.io.read_log_probabilities([])
    assert cj.io.answer_positions(empty, ["A"]).shape == (0,)
