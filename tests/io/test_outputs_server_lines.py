"""Lines of servers with several answers, without ids, or with odd fields."""

import json

import numpy as np
import pytest
import servers
from native_bodies import ALL, sglang, step, vllm_objects
from output_files import one_line, read, write

import calib_jax as cj

pytestmark = pytest.mark.once

CHOICES = ["A", "B", "C"]
VALUES = np.log([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]])


def bodies(name):
    return [ALL[name]([step(values)]) for values in VALUES]


def test_a_piece_without_an_id_is_one_of_no_other_answer(tmp_path):
    def body(value, reason):
        line = servers.completion(None, ["A"], [value])
        line["choices"][0]["finish_reason"] = reason
        return line

    lines = [body(-0.25, "stop"), body(-0.5, None), body(-0.75, "stop")]
    outputs = read(path := write(tmp_path / "a", lines), drop_malformed=True)
    assert outputs.scores.tolist() == [-0.25, -0.75]
    assert list(outputs.dropped.values()) == [1]
    refused = []
    found = cj.io.read_log_probabilities(
        path, on_malformed=lambda number, reason: refused.append(number)
    )
    assert found.values.tolist() == [-0.25, -0.75] and refused == [2]
    blocks = cj.io.stream_outputs(path, size=1, drop_malformed=True)
    assert [one.scores.tolist() for one in blocks] == [[-0.25], [-0.75]]


def test_tokens_that_are_written_alike(tmp_path):
    """Different numbers are different tokens; a number that is there twice is one."""
    tokens = {"1": [-1.5, 1, "A"], "2": [-1.5, 2, "A"], "3": [-2.0, 3, "B"]}
    path = write(tmp_path / "a", [{"token_ids": [1], "logprobs": [tokens]}])
    both = np.logaddexp(-1.5, -1.5)
    found = read(path, choices=["A", "B"]).log_probabilities
    np.testing.assert_allclose(found, [[both, -2.0]], rtol=1e-6)
    line = sglang([[("A", -0.5)]])
    line["meta_info"]["output_top_logprobs"] = [[[-0.5, 65, "A"], [-2.0, 66, "B"]]]
    asked = [[[-0.5, 65, "A"], [-2.0004, 66, "B"], [-2.0, 67, "B"]]]
    line["meta_info"]["output_token_ids_logprobs"] = asked
    found = read(write(tmp_path / "a", [line]), choices=["A", "B"]).log_probabilities
    np.testing.assert_allclose(found, [[-0.5, np.logaddexp(-2, -2)]], rtol=1e-6)


def test_several_bodies_of_one_request(tmp_path):
    """SGLang answers n > 1 with a list: these are answers of one id, like choices."""
    for name in ("sglang", "text generation inference", "vllm, objects"):
        path = write(tmp_path / "a", [{"id": "q", "response": bodies(name)}])
        assert "several answers?" in one_line(path, choices=CHOICES)
        first = read(path, choices=CHOICES, repeats="first")
        np.testing.assert_allclose(first.log_probabilities, VALUES[:1], rtol=1e-6)
        found = cj.io.read_log_probabilities(path)
        assert found.ids == ("q",) * 3 and found.texts == ("A", "C", "B")
        assert found.choice_index.tolist() == [0, 1, 2]
    lines = bodies("sglang")
    lines[1] = {"error": "out of memory"}
    outputs = read(
        write(tmp_path / "a", [{"id": "q", "response": lines}]), repeats="last"
    )
    assert outputs.texts == ("B",) and "out of memory" in str(outputs.dropped)


def test_order_of_answers(tmp_path):
    """By index, whatever their places in the list."""
    parts = [
        vllm_objects([step(values)], index=2 - k) for k, values in enumerate(VALUES)
    ]
    choices = [
        servers.completion("c", [one], [value], index=index)["choices"][0]
        for index, one, value in ((1, "A", -0.5), (0, "first", -0.25))
    ]
    body = {"choices": choices}
    for line, texts in (({"outputs": parts}, "BCA"), (body, ("first", "A"))):
        path = write(tmp_path / "a", [line])
        found = cj.io.read_log_probabilities(path)
        assert found.texts == tuple(texts)
        assert found.choice_index.tolist() == [*range(len(texts))]
        assert read(path, repeats="first").texts == (texts[0],)
    # Samples of a task are joined by their order.
    path = write(tmp_path / "a", [{"task_id": "T/1", "response": body}])
    states = [{"base_status": one, "plus_status": one} for one in ("pass", "fail")]
    results = {"date": "", "hash": "", "eval": {"T/1": states}}
    labels = write(tmp_path / "results.json", json.dumps(results))
    outputs = read(path, labels=labels)
    assert outputs.texts == ("first", "A") and outputs.outcomes.tolist() == [1, 0]


def test_a_cost_beyond_every_float(tmp_path):
    lines = [{"id": f"q{k}", **one} for k, one in enumerate(bodies("ollama chat"))]
    lines[1]["cost"], lines[2]["cost"] = 10**400, 0.5
    outputs = read(write(tmp_path / "a", lines))
    np.testing.assert_array_equal(outputs.cost, [np.nan, np.nan, 0.5])


def test_files_of_several_answers_without_ids(tmp_path):
    """The name of a file is the id of one answer: none is taken for its repetition."""
    lines = bodies("ollama chat")
    folder = tmp_path / "answers"
    folder.mkdir()
    write(folder / "a.jsonl", lines)
    write(folder / "b.jsonl", lines[:1])
    for more in ({}, {"repeats": "first"}, {"drop_malformed": True}):
        message = one_line(folder, choices=CHOICES, **more)
        assert "a second answer without an id, at a.jsonl line 2" in message
        assert "give each line an id" in message and "repeats" not in message
    write(folder / "a.jsonl", [{"error": "busy"}, lines[1]])
    assert read(folder, choices=CHOICES).ids == ("a", "b")
