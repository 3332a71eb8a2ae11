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
B) Rome
(B) Rome
**(B)** Rome
B. Rome
B) Rome\n\nRome lies in Italy.
B because it lies in Italy
B, because it lies in Italy.
B. Because it lies in Italy. It is large.
B\n\nExplanation: Rome lies in Italy.
B\n\nRome lies in Italy.
The answer is B
The answer is B.
The answer is **B**.
The answer is (B) Rome.
The answer is option B.
The correct option is B.
The correct answer is:\n\nB
The answer is "B".
So the answer is B.
Answer: B
Answer:B
Answer: B. Rome
Answer: B\nReason: it lies in Italy.
Final Answer: B
**Answer:** B
**Answer**: B
### Answer\n\n(B)
<answer>B</answer>
\boxed{B}
$\boxed{\text{B}}$.
$$\boxed{B}$$
Therefore, \boxed{B}.
2 + 2 = 4\n\n**Answer: B**
Not A. Therefore, the correct option is: **B**
I do not think that it is A.\n\nThe answer is B.
A) is Paris, C) is Bonn. The answer is B.
B. Rome. The answer is B.
The answer is B. The answer is B.
Answer: B.\nAnswer: B.
I see. The answer is B. So the answer is B.
The answer is B.\n\n\boxed{B}.\n\n**Answer:** B.
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
The answer is A. The answer is B.
The answer is A. The answer is B. The answer is A.
The answer is A\n\nB
The answer is A's.
The answer is Apple.
The answer is A+
A++
A%
$A
The answer is A?
b
E
AB
A: Rome
A - Rome
A because B is wrong
A. Rome is the capital. B and C are smaller.
A\n\nA is wrong.
A.\n\nB
A\n\nWait, it is B.
A\nB is not.
A, maybe
Paris is in France.\n\nA
Not this one:\nA
B is wrong, so the answer is A.
B) Rome. The answer is A.
I don't think the answer is A. Probably B.
I doubt the answer is A.
It's unlikely that the answer is A.
There is no way the answer is A.
Nobody would say that the answer is A.
Nobody would say:\nThe answer is A.
He says, "Well. The answer is A."
It is false that the answer is A.
One might think that the answer is A. However, it is B.
Assume the answer is A. Contradiction. Hence B.
The answer is A - no, B.
The answer is A: no.
The answer is A.\nCorrection: B
The answer is A. False.
The answer is A. Nonsense.
A. I changed my mind.
A\n\nScratch that, the second one.
A\n\nHmm, let me reconsider.
Answer: A\n\nLet me double-check.
Rejected answer: A\nFinal: B
Rejected answer: A
Wrong answer: A
The user's answer: A\nis wrong
Eliminate answer A.
neither answer is A.
It is not \boxed{A}
I doubt it, i.e. the answer is A.
A. Incorrect.
A - wrong
~~A~~
Answer:\n\nA) 3\nB) 4\n
Answer: A?
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
    # No mark, not even a blank, is between a thought and the answer.
    for last in (".", "-", "/"):
        assert positions(["So", " B", last, "A"], "A") == 3
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
        (["Caf\ufffd", "\ufffd", ".", "\n", "Answer", ":", "B"], "Café.\nAnswer:B", 6),
        ([" The", " answer", " is", ":", "B."], "The answer is:B.", 4),
    ):
        assert positions(tokens, text) == place
    # A choice that the tokens do not write by itself cannot be read there.
    assert positions(["Answer", ":", " B", "ern"]) == -1
    assert positions([" The", " answer", " is", ":B"], "The answer is:B") == -1
    assert positions(["Answer", ": ", "$B$"], "Answer: $B$") == -1
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
    for text, place in (
        *(("10", 0), ("1", 0), ("1.", 0), ("Answer: 1) Rome", 2), ("1\n\nRome.", 0)),
        *(("1.5", -1), ("-1", -1), ("1 or 2", -1), ("Answer: 1.5", -1), ("1/2", -1)),
        *(("1. First, add.", -1), ("1) Add.", -1), ("1!", -1), ("10,000", -1)),
        *(("Answer: $-1$", -1), ("Answer: 1%", -1)),
    ):
        assert positions(tokens_of(text), choices=numbers) == place
    # Signs are part of a word.
    tokens = ["1", "(1", " 1.", "1:", '"1"', ".1", "1%", "$1", "\u22121", "-1", "+1"]
    tops = [{token: -0.5} for token in tokens]
    line = completion("a", ["x"] * len(tokens), [-9.0] * len(tokens), tops)
    read = cj.io.read_log_probabilities([line])
    values = [
        cj.io.choice_log_probabilities(read, ["1", "2"], position=at)[0, 0]
        for at in range(len(tokens))
    ]
    np.testing.assert_array_equal(values, [-0.5] * 5 + [-np.inf] * 6)
    tops = [{"C++": -0.5, "C#": -1.0, "C": -2.0, "C*": -3.0}]
    read = cj.io.read_log_probabilities([completion("a", ["C"], [-2.0], tops)])
    options = cj.io.choice_log_probabilities(read, ["C", "D"])
    np.testing.assert_allclose(options, [[np.logaddexp(-2.0, -3.0), -np.inf]])
    options = cj.io.choice_log_probabilities(read, ["C", "C#", "C++"])[0, 1:]
    np.testing.assert_allclose(options, [-1.0, -0.5])
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
        [*tokens_of("The answer is A. ") * 8000, "B"],
        ["Answer", ":", " A", ") Rome\n"] * 20_000,
        ["A", ".\n"] * 20_000,
    ],
)
def test_long_texts_take_no_time(tokens):
    start = time.process_time()
    assert positions(tokens) == -1
    assert time.process_time() - start < 5


def test_an_answer_that_loops_takes_no_time():
    start = time.process_time()
    assert positions(tokens_of("The answer is A. ") * 8000) == 3
    assert positions(["x"] * 200_000, "xy" + "x" * 100_000) == -1
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
