"""Answers of servers as outputs, and labels and choices for them."""

import json

import numpy as np
import pytest
import servers
from output_files import one_line, read, write
from servers import batch, entry

import calib_jax as cj

pytestmark = pytest.mark.once

CHOICES = ["A", "B", "C"]


def chat(name, *contents, **more):
    """A saved body beside the id of its request."""
    return servers.chat("chatcmpl-1", *contents, **more) | {"custom_id": name}


def completion(name, *lists, **more):
    return servers.completion("cmpl-1", *lists, **more) | {"custom_id": name}


def responses(name, content):
    return servers.responses("resp_1", content) | {"custom_id": name}


def bare(line):
    """The body alone, as a client gets it."""
    return {name: value for name, value in line.items() if name != "custom_id"}


def letter(name, *values, text="ABC"):
    """The entry of an answer of one letter, and those of all letters beside it."""
    best = int(np.argmax(values))
    top = [(one, value) for one, value in zip(text, values, strict=False)]
    return [entry(text[best], values[best], *top)]


VALUES = [[-0.5, -1.25, -3.0], [-2.0, -0.25, -4.0]]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name, content: chat(name, content),
        lambda name, content: responses(name, content),
        lambda name, content: batch(name, chat("c", content)),
        lambda name, content: {"id": name, "response": chat("c", content)},
    ],
    ids=["chat", "responses", "batch", "saved"],
)
def test_choices_of_all_bodies(tmp_path, wrap):
    lines = [wrap(f"q{k}", letter("", *VALUES[k])) for k in range(2)]
    labels = write(tmp_path / "labels.jsonl", [{"id": "q1", "answer": "B"}])
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES)
    assert outputs.format == "answers" and outputs.kind == "log_probabilities"
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(VALUES))
    assert outputs.ids == ("q0", "q1") and outputs.choices == tuple(CHOICES)
    assert outputs.predictions.tolist() == [0, 1] and outputs.texts == ("A", "B")
    outputs = read(tmp_path / "a", choices=CHOICES, labels=labels)
    assert outputs.ids == ("q1",) and outputs.labels.tolist() == [1]
    assert outputs.dropped == {"no label in labels.jsonl": 1}
    read_alone = cj.io.read_log_probabilities(tmp_path / "a")
    expected = cj.io.choice_log_probabilities(read_alone, CHOICES)
    np.testing.assert_array_equal(
        read(tmp_path / "a", choices=CHOICES).log_probabilities, expected
    )


def test_fields_that_only_some_servers_write(tmp_path):
    """vLLM: log-probabilities of the prompt, ids of tokens, -9999 for -inf."""
    line = chat(
        "a",
        letter("", -0.5, -1.25, -9999.0),
        prompt_logprobs=[None, {"9": {"logprob": -1.0, "rank": 1}}],
        prompt_token_ids=[1, 9],
        kv_transfer_params=None,
    )
    line["choices"][0] |= {"token_ids": [32], "stop_reason": None}
    outputs = read(write(tmp_path / "a", [line]), choices=CHOICES)
    assert outputs.log_probabilities.tolist() == [[-0.5, -1.25, -np.inf]]
    line["choices"][0]["logprobs"]["content"][0]["logprob"] = 7.5
    message = one_line(write(tmp_path / "a", [line]), choices=CHOICES)
    assert "a log-probability is 7.5, above 0" in message


def test_scores_without_choices(tmp_path):
    lines = [
        chat("a", [entry("4", -0.5), entry("2", -0.25)]),
        completion("b", ["What", " is"], [None, -3.0]),
        chat("c", []),
    ]
    outputs = read(write(tmp_path / "a", lines))
    assert outputs.kind == "scores" and outputs.texts == ("42", "What is")
    assert outputs.scores.tolist() == [-0.375, -3]
    assert "pass choices=" in outputs.notes[0]
    assert list(outputs.dropped.values()) == [1]
    labels = write(tmp_path / "l.jsonl", [{"id": "b", "correct": True}])
    outputs = read(tmp_path / "a", labels=labels)
    assert outputs.outcomes.tolist() == [1] and outputs.labels is None


def test_what_is_left_out(tmp_path):
    good = [chat(f"g{k}", letter("", *VALUES[0])) for k in range(600)]
    sentence = [entry("I", -0.5), entry(" doubt", -0.5)]
    error = batch("f", None, status=429, error={"message": "rate limit"})
    refusal = responses("r", sentence)
    refusal["output"][1]["content"] = [{"type": "refusal", "refusal": "no"}]
    lines = [*good, chat("s", sentence), error, refusal]
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES)
    assert len(outputs) == 600
    assert outputs.dropped == {
        "no token is certain to be one of the choices": 1,
        "a failed request, 'rate limit'": 1,
        "a refusal, which has no log-probabilities here": 1,
    }
    assert outputs.dropped_at["a failed request, 'rate limit'"] == ("line 602",)


def test_failed_requests_come_first(tmp_path):
    """They say nothing of the format."""
    failed = [
        batch("f", None) | {"response": None, "error": {"message": "limit"}},
        {"error": {"message": "limit"}},
        batch("f", {"error": {"message": "limit"}}, status=500),
    ]
    good = batch("g", chat("c", letter("", *VALUES[0])))
    outputs = read(write(tmp_path / "a", [*failed, good]), choices=CHOICES)
    assert outputs.ids == ("g",) and sum(outputs.dropped.values()) == 3
    decided = {
        "custom_id": "g",
        "response": {"body": {"answers": [{"type": "noul", "noul": 0.5}]}},
    }
    outputs = read(write(tmp_path / "a", [failed[0], decided]))
    assert outputs.format == "decisions" and len(outputs) == 1
    message = one_line(write(tmp_path / "a", failed), choices=CHOICES)
    assert "no row is left" in message and "a failed request" in message


def test_lines_of_another_format(tmp_path):
    good = batch("g", chat("c", letter("", *VALUES[0])))
    decided = {"id": "d", "answers": [{"type": "noul", "noul": 0.5}]}
    message = one_line(write(tmp_path / "a", [good, decided]))
    assert "malformed line 2: a decision in a file of answers" in message
    message = one_line(write(tmp_path / "a", [decided, good]))
    assert "malformed line 2: not a decision" in message
    request = {"custom_id": "a", "method": "POST", "url": "/v1", "body": {}}
    assert "read the answers" in one_line(write(tmp_path / "a", [request]))


def test_answers_without_log_probabilities(tmp_path):
    line = chat("a", letter("", *VALUES[0]))
    line["choices"][0]["logprobs"] = None
    message = one_line(write(tmp_path / "a", [line]))
    assert "malformed line 1" in message and "logprobs=True, top_logprobs=20" in message
    line = chat("a", [entry("A", -0.5)])
    message = one_line(write(tmp_path / "a", [line] * 2), choices=CHOICES)
    assert "nothing to calibrate" in message and "top_logprobs=20" in message


def test_choices_that_the_server_did_not_list(tmp_path):
    lines = [
        chat(f"q{k}", letter("", *VALUES[0], text="ABCD"[: 3 - k])) for k in (0, 1)
    ]
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES)
    assert outputs.log_probabilities[1].tolist() == [-0.5, -1.25, -np.inf]
    expected = "1 of 2 rows have a choice that is not among the server's alternatives"
    assert outputs.notes[0].startswith(f"{expected} (first: line 2, id 'q1')")


def test_pieces_of_streams(tmp_path):
    piece = completion("a", ["A"], [-0.5], finish_reason=None)
    last = completion("a", ["B"], [-0.5], finish_reason="stop")
    path = write(tmp_path / "a", [piece, last, completion("b", ["B"], [-0.5])])
    assert "line 1: a part of a stream" in one_line(path)
    outputs = read(path, drop_malformed=True)
    assert outputs.ids == ("b",) and sum(outputs.dropped.values()) == 2


def test_several_answers_to_a_request(tmp_path):
    line = chat("a", letter("", *VALUES[0]), letter("", *VALUES[1]))
    assert "several answers" in one_line(write(tmp_path / "a", [line]), choices=CHOICES)
    outputs = read(tmp_path / "a", choices=CHOICES, repeats="first")
    assert outputs.predictions.tolist() == [0] and len(outputs) == 1


def test_answers_without_ids(tmp_path):
    lines = [chat("", letter("", *VALUES[k])) for k in (0, 1, 0)]
    lines = list(map(bare, lines))
    lines[1]["choices"][0]["logprobs"]["content"] = [entry("I", -0.5)]
    labels = tmp_path / "l.npy"
    np.save(labels, np.array([2, 1, 0]))
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES, labels=labels)
    assert outputs.ids == ("0", "2") and not outputs.has_ids
    assert outputs.labels.tolist() == [2, 0]


def test_other_bodies_are_named(tmp_path):
    for field, name in (("generated_text", "Text Gen"), ("meta_info", "SGLang")):
        path = write(tmp_path / "a", [{field: {}}])
        assert name in one_line(path) and "/v1/chat/completions" in one_line(path)
    path = write(tmp_path / "a", [chat("a", letter("", *VALUES[0]))])
    with pytest.raises(ValueError, match="kind: answers files hold"):
        read(path, kind="probabilities")
    message = "choices= reads log_probabilities"
    with pytest.raises(ValueError, match=message):
        read(path, kind="log_probabilities")


def test_scores_have_no_options_for_labels(tmp_path):
    lines = [chat(f"q{k}", letter("", *VALUES[k])) for k in range(2)]
    path = write(tmp_path / "a", lines)
    labels = write(tmp_path / "l.csv", "id,label\nq0,0\nq1,1\n")
    assert "pass choices= with the texts" in one_line(path, labels=labels)
    outputs = read(path, labels=labels, choices=CHOICES)
    assert outputs.labels.tolist() == [0, 1]


def test_numbers_of_answers_count_malformed_lines(tmp_path):
    lines = [chat("", letter("", *VALUES[k % 2])) for k in range(3)]
    lines = list(map(bare, lines))
    text = [json.dumps(line) for line in lines]
    path = write(tmp_path / "a", "\n".join([text[0], text[0][:40], "", *text[1:]]))
    labels = tmp_path / "l.npy"
    np.save(labels, np.array([0, 2, 1, 2]))
    more = {"choices": CHOICES, "drop_malformed": True}
    outputs = read(path, labels=labels, **more)
    assert outputs.ids == ("0", "2", "3") and outputs.labels.tolist() == [0, 1, 2]


def test_ids_of_servers_are_no_ids_of_questions(tmp_path):
    values = letter("", *VALUES[0])
    for line in (
        chat("", values),
        completion("", ["A"], [-0.5]),
        responses("", values),
    ):
        outputs = read(write(tmp_path / "a", [bare(line)] * 2))
        assert outputs.ids == ("0", "1") and not outputs.has_ids
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("q1", "q2"):
        write(folder / f"{name}.json", [bare(chat("", values))])
    assert read(folder, choices=CHOICES).ids == ("q1", "q2")
    write(tmp_path / "a", [chat("q1", values), bare(chat("", values))])
    assert "line 2: expected an id in all lines or in none" in one_line(tmp_path / "a")


def test_refusals_of_chats(tmp_path):
    refused = chat("b", [entry("Sorry", -0.5)], key="refusal")
    outputs = read(write(tmp_path / "a", [chat("a", [entry("4", -0.5)]), refused]))
    assert outputs.ids == ("a",) and outputs.dropped == {"a refusal": 1}


def test_costs_beside_the_id(tmp_path):
    """Of the request, whatever holds the answer; a line without one has none."""
    values = letter("", *VALUES[0])
    lines = [
        chat("a", values) | {"cost": 0.25},
        batch("b", chat("c", values)) | {"cost_usd": 2},
        chat("d", values) | {"cost": None},
        chat("e", values) | {"cost": "free"},
    ]
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES)
    np.testing.assert_array_equal(outputs.cost, [0.25, 2, np.nan, np.nan])
    assert read(write(tmp_path / "a", lines[2:]), choices=CHOICES).cost is None
