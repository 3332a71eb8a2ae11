"""Files as serving engines write them: read in full, or refused line by line."""

import copy
import gzip
import json
import random

import jax.numpy as jnp
import numpy as np
import pytest
from servers import batch, chat, completion, entry, responses

import calib_jax as cj

NAN, INF = np.nan, np.inf

pytestmark = pytest.mark.once


TWO = [
    entry("4", -0.5, ("4", -0.5), (" four", -1.5), ("5", -9999.0)),
    entry("2", -0.25, ("2", -0.25)),
]
LINES = [
    chat("chat-1", TWO, [entry("7", -0.125)], prompt_logprobs=[None, {"9": {}}]),
    chat("chat-2", [entry("Sorry", -1.0, ("Sorry", -1.0))], key="refusal"),
    completion(
        "cmpl-1",
        ["What", " is", "token_id:5"],
        [None, -3.0, -9999.0],
        [None, {" is": -3.0, " was": -0.5}, {"token_id:5": -9999.0}],
        prompt_logprobs=None,
    ),
    completion("cmpl-2", ["A"], [-0.75]),
    chat("empty", []),
    batch("mine", chat("chat-3", [entry("\u2028ü", -2)])),
    batch("theirs", completion("cmpl-3", ["B"], [-0.0], [{"B": 0, "A": -20.5}])),
]


def write(path, lines, end="\n"):
    text = end.join(
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
        for line in lines
    )
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def assert_read(read, first=1):
    """Asserts the contents of `LINES`, with line numbers from `first`."""
    nan = NAN
    np.testing.assert_array_equal(
        read.log_likelihoods,
        np.float32(
            [
                [-0.5, -0.25, nan],
                [-0.125, nan, nan],
                [-1, nan, nan],
                [nan, -3, -INF],
                [-0.75, nan, nan],
                [nan, nan, nan],
                [-2, nan, nan],
                [0, nan, nan],
            ]
        ),
    )
    assert read.log_likelihoods.dtype == np.float32
    known = [2, 1, 1, 3, 1, 0, 1, 1]
    where = np.arange(3) < np.array(known)[:, None]
    where[3, 0] = False
    assert read.where.dtype == bool
    np.testing.assert_array_equal(read.where, where)
    assert read.starts.tolist() == [0, 2, 3, 4, 7, 8, 8, 9, 10]
    assert read.tokens[:2].tolist() == ["4", "2"]
    assert read.tokens[4:7].tolist() == ["What", " is", "token_id:5"]
    assert read.values.dtype == read.top_values.dtype == np.float32
    three = [("4", -0.5), (" four", -1.5), ("5", -INF)]
    assert read.alternatives(0, 0) == three
    assert read.top_tokens[:4].tolist() == ["4", " four", "5", "2"]
    assert read.alternatives(0, 2) == read.alternatives(5, 0) == []
    assert read.alternatives(1, 0) == [("7", -0.125)]
    assert read.alternatives(3, 0) == []
    assert read.alternatives(3, 1) == [(" is", -3.0), (" was", -0.5)]
    for row in (-1, 8):
        with pytest.raises(ValueError, match=f"row: expected 0 to 7, got {row}"):
            read.alternatives(row, 0)
    assert read.alternatives(7, 0) == [("B", 0.0), ("A", -20.5)]
    text = ("42", "7", "Sorry", "What istoken_id:5", "A", "", "\u2028ü", "B")
    assert read.texts == text
    names = "chat-1 chat-1 chat-2 cmpl-1 cmpl-2 empty mine theirs"
    assert read.ids == tuple(names.split())
    assert read.choice_index.dtype == read.line_numbers.dtype == np.int32
    assert read.choice_index.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    numbers = np.array([0, 0, 1, 2, 3, 4, 5, 6]) + first
    assert read.line_numbers.tolist() == numbers.tolist()


@pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz"])
def test_a_file_of_all_shapes(tmp_path, name):
    path = write(tmp_path / name, LINES, end="\r\n")
    assert_read(cj.io.read_log_probabilities(path))
    assert_read(cj.io.read_log_probabilities(str(path)))


def test_lines_of_all_kinds(tmp_path):
    assert_read(cj.io.read_log_probabilities(LINES))
    text = [json.dumps(line) for line in LINES]
    assert_read(cj.io.read_log_probabilities(text))
    assert_read(cj.io.read_log_probabilities(line.encode() for line in text))
    assert_read(cj.io.read_log_probabilities([" ", b"\n", *text]), first=3)
    with (tmp_path / "marked.jsonl").open("w", encoding="utf-8-sig") as file:
        file.write("\n".join(text))
    assert_read(cj.io.read_log_probabilities(tmp_path / "marked.jsonl"))


def test_numbers_of_clients_and_missing_names():
    choice = {"logprobs": {"content": [{"token": "a", "logprob": np.float32(-1.5)}]}}
    read = cj.io.read_log_probabilities(
        [{"choices": [choice]}, {"id": 7} | chat(7, TWO)]
    )
    assert read.ids == ("", "7") and read.texts == ("", "42")
    assert read.log_likelihoods[0, 0] == -1.5


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_nothing_to_read(lines):
    read = cj.io.read_log_probabilities(lines)
    assert read.log_likelihoods.shape == read.where.shape == (0, 0)
    assert read.where.dtype == bool and read.starts.tolist() == [0]
    assert read.tokens.shape == read.top_tokens.shape == read.top_values.shape == (0,)
    assert read.ids == read.texts == ()
    assert read.choice_index.shape == read.line_numbers.shape == (0,)
    assert cj.io.choice_log_probabilities(read, ["A", "B"]).shape == (0, 2)


def changed(line, change):
    line = copy.deepcopy(line)
    change(line["choices"][0])
    return line


def kept(**more):
    """A completion of two tokens, with other lists."""
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [-1, -2], **more}
    return {"choices": [{"logprobs": logprobs}]}


def said(**more):
    """A chat completion of one token, with other fields."""
    one = {"token": "a", "logprob": -1.0, **more}
    return {"choices": [{"logprobs": {"content": [one]}}]}


MALFORMED = {
    "{": "not JSON",
    "data: {}": "not JSON",
    "[1, 2]": "the line: expected an object, got 1; line 2: .* got 2",
    "[]": "the line: expected an object, got an empty list",
    "null": "the line: expected an object, got nothing",
    "NaN": "expected an object",
    "9" * 5000: "not readable JSON",
    "[" * 100_000: "not readable JSON",
    b"\xff{}": "not UTF-8 at byte 0",
    7: "the line: expected an object, got 7",
    "{}": "choices: expected a list, got nothing",
    '{"choices": []}': "no choices",
    '{"choices": [null]}': r"choices\[0\]: expected an object",
    '{"error": {"message": "too many requests"}}': "failed.*too many requests",
    '{"object": "error", "message": "bad"}': "a failed request, 'bad'",
    '{"custom_id": "a", "response": null}': "response: expected an object, got noth",
    json.dumps(batch("a", None)): "response.body: expected an object",
    json.dumps(batch("a", {"error": {"message": "no"}}, 400)): "status 400, 'no'",
    json.dumps(batch("a", None, error={"code": "expired"})): "a failed request",
    json.dumps(chat(True, TWO)): "expected an id, got True",
    json.dumps(changed(LINES[3], lambda c: c.update(delta={}))): "a part of a stream",
    json.dumps(changed(LINES[3], lambda c: c.update(index=-1))): "index, got -1",
    json.dumps(changed(LINES[3], lambda c: c.update(index=2**31))): "expected an index",
    json.dumps(changed(LINES[3], lambda c: c.update(logprobs=None))): "ask the server",
    json.dumps(changed(LINES[3], lambda c: c.update(logprobs={}))): "neither content",
    json.dumps(changed(LINES[3], lambda c: c.update(logprobs=[]))): "expected an obj",
    json.dumps(kept(tokens=["a"])): "1 tokens, 2 token_logprobs, 2|1 tokens",
    json.dumps(kept(top_logprobs=[{}])): "2 tokens, 2 token_logprobs, 1 top_logprobs",
    json.dumps(kept(tokens=None)): "tokens: expected a list, got nothing",
    json.dumps(kept(tokens=["a", 3])): "expected a token, got 3",
    json.dumps(kept(token_logprobs=[-1, None])): "log-probability, got nothing",
    json.dumps(kept(token_logprobs=[-1, NAN])): "a log-probability is NaN",
    json.dumps(kept(token_logprobs=[-1, INF])): "a log-probability is inf, above 0",
    json.dumps(kept(token_logprobs=[-1, 0.25])): "a log-probability is 0.25, above 0",
    json.dumps(kept(token_logprobs=[-1, True])): "log-probability, got True",
    json.dumps(kept(token_logprobs=[-1, "-2"])): "log-probability, got '-2'",
    json.dumps(kept(token_logprobs=[-1, -(10**400)])): "beyond every float",
    json.dumps(kept(top_logprobs=[{"a": 1}, None])): "top_logprobs: .* above 0",
    json.dumps(kept(top_logprobs=["a", None])): "top_logprobs: expected an object",
    json.dumps(said(logprob=None)): "expected a log-probability, got nothing",
    json.dumps(said(token=None)): "expected a token, got nothing",
    json.dumps(said(top_logprobs={})): "top_logprobs: expected a list",
    json.dumps(said(top_logprobs=[{"token": "b"}])): "top_logprobs: expected a log",
}


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_line(number):
    line, reason = list(MALFORMED.items())[number]
    with pytest.raises(ValueError, match=f"lines: malformed line 2: .*{reason}") as bad:
        cj.io.read_log_probabilities([LINES[0], line, LINES[1]])
    assert len(str(bad.value)) < 300
    found = []
    read = cj.io.read_log_probabilities(
        [LINES[0], line, LINES[1]], on_malformed=lambda *report: found.append(report)
    )
    assert {where for where, _ in found} == {2}
    assert read.line_numbers.tolist() == [1, 1, 3]


def test_many_malformed_lines(tmp_path):
    path = write(tmp_path / "lines.jsonl", ["{", LINES[0], "", *["{}"] * 8])
    with pytest.raises(ValueError) as bad:
        cj.io.read_log_probabilities(path)
    message = str(bad.value)
    assert message.startswith(f"{path}: malformed line 1: not JSON")
    numbers = [int(part.split(":")[0]) for part in message.split("line ")[1:]]
    assert numbers == [1, 4, 5, 6, 7] and "and 4 more" in message


def test_wrong_sources(tmp_path):
    for wrong in (None, 7, b"{}", {"choices": []}):
        with pytest.raises(ValueError, match="lines: expected a path, or an iterable"):
            cj.io.read_log_probabilities(wrong)
    with pytest.raises(ValueError, match="a string is taken as a path"):
        cj.io.read_log_probabilities('{"id": 1}\n{"id": 2}')
    with pytest.raises(ValueError, match="on_malformed: expected a function"):
        cj.io.read_log_probabilities([], on_malformed=True)
    with pytest.raises(FileNotFoundError):
        cj.io.read_log_probabilities(tmp_path / "missing.jsonl.gz")
    path = write(tmp_path / "lines.jsonl.gz", LINES * 100)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-4] + b"1234"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="gzip is damaged after line"):
            cj.io.read_log_probabilities(path)
    path.write_bytes(write(tmp_path / "lines.jsonl", LINES).read_bytes())
    read = cj.io.read_log_probabilities(path)
    assert read.ids == cj.io.read_log_probabilities(tmp_path / "lines.jsonl").ids


JUNK = [None, True, -1, 2**70, 0.5, -1e400, NAN, "x", "", [], {}, [[]], {"a": -1}]


def mutated(rng, value):
    """JSON with one of its parts replaced, removed or duplicated."""
    if rng.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
        return rng.choice(JUNK)
    value = copy.copy(value)
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = rng.random()
    if action < 0.1:
        del value[key]
    elif action < 0.2 and isinstance(value, list):
        value.insert(0, value[key])
    else:
        value[key] = mutated(rng, value[key])
    return value


def test_mutated_lines_raise_nothing_else():
    rng = random.Random(0)
    num_read = num_malformed = 0
    for _ in range(3000):
        line = mutated(rng, rng.choice([*LINES, responses("r", TWO)]))
        text = json.dumps(line)
        if rng.random() < 0.2:
            place = rng.randrange(len(text))
            text = text[:place] + chr(rng.randrange(1, 0x3000)) + text[place + 1 :]
        found = []
        read = cj.io.read_log_probabilities(
            [text.encode("utf-8", "surrogatepass")],
            on_malformed=lambda *report, found=found: found.append(report),
        )
        num_malformed += len(found)
        num_read += len(read.ids) > 0
        known = read.log_likelihoods[read.where]
        assert not np.isnan(known).any() and (known <= 0).all()
        assert (read.top_values <= 0).all()
        assert read.starts[-1] == len(read.values) == len(read.tokens)
        places = cj.io.answer_positions(read, ["4", "A", "x"])
        assert (places >= -1).all() and (places < np.diff(read.starts)).all()
        assert read.top_starts[-1] == len(read.top_values) == len(read.top_tokens)
    assert num_read > 300 and num_malformed > 1000


OPTIONS = [
    # The chosen token is an alternative, and " A" counts as well as "A".
    [entry("A", -0.5, ("A", -0.5), (" A", -2.0), ("B", -3.0))],
    # It is not among them.
    [entry("\u2581B", -4.0, ("A", -0.25), ("x", -2.0))],
    # The space marks of GPT-2's tokens, and words that only start like an answer.
    [entry("The", -0.1), entry("C", -1.0, ("\u0120C", -1.5), ("Because", -0.5))],
    # None at all.
    [],
    [entry("x", -0.5, ("y", -1.0))],
]


def test_log_probabilities_of_choices():
    read = cj.io.read_log_probabilities([chat("a", *OPTIONS)])
    both = np.logaddexp(-0.5, -2.0)
    expected = np.full((5, 3), -INF)
    expected[0, :2] = both, -3.0
    expected[1, :2] = -0.25, -4.0
    actual = cj.io.choice_log_probabilities(read, ["A", "B", "C"])
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    expected[2, 2] = np.logaddexp(-1.0, -1.5)
    positions = np.array([0, 0, 1, 0, 5])
    for place in (positions, jnp.asarray(positions), positions.tolist()):
        actual = cj.io.choice_log_probabilities(read, [" A", "B", "C"], position=place)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)
    late = cj.io.choice_log_probabilities(read, ["A"], position=9)
    np.testing.assert_array_equal(late, np.full((5, 1), -INF))
    some = cj.io.choice_log_probabilities(read, ["B", "A"], position=0)[:2]
    np.testing.assert_array_equal(cj.top1(some).prediction, [1, 1])


def test_wrong_choices():
    read = cj.io.read_log_probabilities([chat("a", *OPTIONS)])
    with pytest.raises(ValueError, match="read: expected LogProbabilities, got list"):
        cj.io.choice_log_probabilities([], ["A"])
    for wrong in ("AB", [], ["A", 1], ["A", " A"], ["A", " "], None, {"A": 1}):
        with pytest.raises(ValueError, match="choices: expected"):
            cj.io.choice_log_probabilities(read, wrong)
    for wrong in (-1, [0, 1], [0, 0, 0, 0, -2], 1.0, "a", np.zeros((5, 1), int)):
        with pytest.raises(ValueError, match="position: expected"):
            cj.io.choice_log_probabilities(read, ["A"], position=wrong)


def test_from_a_file_to_a_confidence(tmp_path):
    """Right answers are likelier by a known rule, which the fits find."""
    rng = np.random.default_rng(0)
    lines, right = [], []
    for number in range(800):
        values = -rng.exponential(0.3, rng.integers(1, 6))
        right.append(rng.random() < 1 / (1 + np.exp(-(2 + 4 * np.mean(values)))))
        lines.append(
            batch(f"{number}", completion("x", ["a"] * len(values), [*values]))
        )
    read = cj.io.read_log_probabilities(write(tmp_path / "a.jsonl.gz", lines))
    scores = cj.confidence.likelihood_scores(read.log_likelihoods, where=read.where)
    assert scores.num_tokens.tolist() == read.where.sum(1).tolist()
    params, report = cj.fit_platt(scores.mean_log_likelihood, right)
    assert report.converged
    assert abs(params.slope - 4) < 1.5 and abs(params.intercept - 2) < 0.5

    labels, lines = rng.integers(0, 4, 400), []
    for label in labels:
        logits = 2.0 * (np.eye(4)[label] + rng.gumbel(size=4))
        values = logits - np.log(np.exp(logits).sum())
        top = sorted(zip("ABCD", values, strict=True), key=lambda pair: -pair[1])
        lines.append(chat("q", [entry(*top[0], *top)]))
    read = cj.io.read_log_probabilities(lines)
    options = cj.io.choice_log_probabilities(read, ["A", "B", "C", "D"])
    params, report = cj.fit_temperature(options, labels)
    assert report.converged and 1.2 < params.temperature < 3.5
