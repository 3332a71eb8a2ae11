"""Answers of local servers in their own shapes, as outputs and as log-probabilities."""

import copy
import json
import subprocess
import sys

import native_bodies
import numpy as np
import pytest
import servers
from native_bodies import (
    ALL,
    inference,
    llama,
    llama_old,
    llama_sampled,
    ollama_chat,
    ollama_generate,
    sglang,
    step,
    vllm,
    vllm_objects,
)
from output_files import one_line, read, write

import calib_jax as cj
from calib_jax.io.outputs.reading import read_file

pytestmark = pytest.mark.once

CHOICES = ["A", "B", "C"]
VALUES = np.log([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]])
NAMES = [f"q{row}" for row in range(len(VALUES))]
each = pytest.mark.parametrize("name", ALL)


def bodies(name, **more):
    return [ALL[name]([step(values)], **more) for values in VALUES]


def with_ids(lines):
    return [{"id": one, **line} for one, line in zip(NAMES, lines, strict=True)]


def check(outputs, values=VALUES):
    assert outputs.format == "answers" and outputs.kind == "log_probabilities"
    np.testing.assert_allclose(outputs.log_probabilities, values, rtol=1e-6)
    assert outputs.predictions.tolist() == np.argmax(values, axis=1).tolist()
    assert outputs.texts == tuple(CHOICES[one] for one in outputs.predictions)
    assert not outputs.dropped


@each
def test_options_in_every_file(tmp_path, name):
    """Bodies beside ids, in wrappers, without ids, in one document, one in a file."""
    lines = bodies(name)
    path = write(tmp_path / "a", with_ids(lines))
    check(outputs := read(path, choices=CHOICES))
    assert outputs.ids == tuple(NAMES) and outputs.has_ids
    pairs = zip(NAMES, lines, strict=True)
    wrapped = [{"id": one, "response": line} for one, line in pairs]
    check(outputs := read(write(tmp_path / "b", wrapped), choices=CHOICES))
    assert outputs.ids == tuple(NAMES)
    check(outputs := read(write(tmp_path / "c", lines), choices=CHOICES))
    assert outputs.ids == ("0", "1", "2") and not outputs.has_ids
    document = json.dumps(lines, indent=1)
    check(read(write(tmp_path / "d", document), choices=CHOICES))
    # What a server answers to several requests at once.
    check(read(write(tmp_path / "e", [lines]), choices=CHOICES))
    custom = [{"custom_id": line["id"], **line} for line in with_ids(lines)]
    assert read(write(tmp_path / "f", custom), choices=CHOICES).ids == tuple(NAMES)
    folder = tmp_path / "answers"
    folder.mkdir()
    for one, line in zip(NAMES, lines, strict=True):
        (folder / f"{one}.json").write_text(json.dumps(line, indent=1))
    check(outputs := read(folder, choices=CHOICES))
    assert outputs.ids == tuple(NAMES)


@each
def test_the_same_as_from_arrays(tmp_path, name):
    path = write(tmp_path / "a", with_ids(bodies(name)))
    labels = write(tmp_path / "l.csv", "id,answer\nq0,A\nq1,C\nq2,A\n")
    np.savez(
        tmp_path / "a.npz",
        log_probabilities=VALUES,
        labels=[0, 2, 0],
        ids=NAMES,
        choices=CHOICES,
    )
    ours = read(path, choices=CHOICES, labels=labels)
    theirs = read(tmp_path / "a.npz")
    for field in ("log_probabilities", "labels"):
        np.testing.assert_allclose(getattr(ours, field), getattr(theirs, field), 1e-6)
    assert (ours.ids, ours.choices) == (theirs.ids, theirs.choices)


SENTENCE = [
    [("The", -0.5), ("The", -0.5), ("A", -1.0)],
    [(" answer", -0.25), (" answer", -0.25)],
    [(" is", -0.125), (" is", -0.125)],
    [(" B", -0.75), (" B", -0.75), (" A", -1.5), (" C", -2.0)],
    [(".", -0.0), (".", -0.0)],
]


@each
def test_scores_and_log_probabilities(tmp_path, name):
    line = {"id": "q", **ALL[name](SENTENCE)}
    path = write(tmp_path / "a", [line])
    outputs = read(path)
    assert outputs.kind == "scores" and outputs.scale == "log_probability"
    np.testing.assert_allclose(outputs.scores, [-1.625 / 5], rtol=1e-6)
    assert outputs.texts == ("The answer is B.",)
    found = cj.io.read_log_probabilities(path)
    assert found.ids == ("q",) and found.texts == outputs.texts
    assert found.tokens.tolist() == [one[0][0] for one in SENTENCE]
    np.testing.assert_allclose(found.values, [one[0][1] for one in SENTENCE], 1e-6)
    assert cj.io.answer_positions(found, CHOICES).tolist() == [3]
    options = cj.io.choice_log_probabilities(found, CHOICES, position=3)
    np.testing.assert_allclose(options, [[-1.5, -0.75, -2.0]], rtol=1e-6)
    np.testing.assert_array_equal(
        read(path, choices=CHOICES).log_probabilities, options
    )


@each
def test_without_log_probabilities(tmp_path, name):
    """The message says how to ask for them."""
    asks = {
        "ollama": '"logprobs": true and "top_logprobs": 20',
        "llama.": '"n_probs": 20',
        "sglang": '"return_logprob": true',
        "text g": '"details": true',
        "vllm, ": "SamplingParams(logprobs=20)",
        "vllm": "SamplingParams(logprobs=20)",
    }
    for nothing in ("null", "[]"):
        line = {"id": "q", **ALL[name](SENTENCE)}
        for part in (line, line.get("meta_info"), line.get("details")):
            for field in (
                "logprobs",
                "completion_probabilities",
                "output_token_logprobs",
                "tokens",
            ):
                if part and field in part:
                    part[field] = json.loads(nothing)
        message = one_line(write(tmp_path / "a", [line]))
        assert f"ask for them with {asks[name[:6]]}" in message
    line = {"id": "q", **ALL[name]([])}
    message = one_line(write(tmp_path / "a", [line]))
    assert "no row is left to calibrate: 1 x an empty answer" in message


def test_pieces_of_streams_are_refused(tmp_path):
    pieces = [
        ollama_chat(SENTENCE[:1], done=False),
        ollama_generate(SENTENCE[:1], done=False),
        llama(SENTENCE[:1], stop=False),
        sglang(SENTENCE[:1]),
        inference([], token={"id": 1, "text": "The", "logprob": -0.5}),
        vllm(SENTENCE[:1], finish_reason=None),
    ]
    pieces[3]["meta_info"]["finish_reason"] = None
    pieces[4] |= {"generated_text": None, "details": None}
    whole = {"id": "w", **ollama_chat(SENTENCE)}
    for number, piece in enumerate(pieces):
        path = write(tmp_path / "a", [whole, {"id": str(number), **piece}])
        assert "malformed line 2: a part of a stream" in one_line(path)
        assert read(path, drop_malformed=True).ids == ("w",)


def test_failed_requests(tmp_path):
    aborted = sglang(SENTENCE)
    aborted["meta_info"]["finish_reason"] = {"type": "abort", "message": "too long"}
    lines = [
        {"id": "a", "error": "model 'x' not found"},
        {"id": "b", "response": {"error": "Input validation error"}},
        {"id": "c", **aborted},
        {"id": "d", **ollama_generate([], done_reason="load")},
        {"id": "e", **ollama_generate(SENTENCE)},
    ]
    outputs = read(write(tmp_path / "a", lines))
    assert outputs.ids == ("e",) and sum(outputs.dropped.values()) == 4
    assert any("too long" in reason for reason in outputs.dropped)


def test_thoughts(tmp_path):
    """Their tokens are listed before those of the answer."""
    thought = [[("<think>", -0.5)], [("A", -2.0), ("A", -2.0)], [("</think>", -0.1)]]
    line = ollama_chat([*thought, step(VALUES[0])])
    line["message"] |= {"content": "A", "thinking": "A"}
    outputs = read(write(tmp_path / "a", [line]), choices=CHOICES)
    np.testing.assert_allclose(outputs.log_probabilities, VALUES[:1], rtol=1e-6)


def test_sampled_probabilities_are_named(tmp_path):
    lines = [llama_sampled([step(VALUES[0])]), llama([step(VALUES[1])])]
    cut = lines[0]["completion_probabilities"][0]["top_probs"]
    cut[1]["prob"] = 0.0
    outputs = read(write(tmp_path / "a", lines), choices=CHOICES)
    assert outputs.log_probabilities[0].tolist()[1] == -np.inf
    assert outputs.log_probabilities[0, 0] == np.float32(VALUES[0, 0])
    assert "In 1 of 2 answers the numbers are those after the" in outputs.notes[0]
    older = read(write(tmp_path / "a", [llama_old([step(VALUES[0])])]), choices=CHOICES)
    assert "In 1 of 1 answers" in older.notes[0]
    lines = [llama_old([[("A", -0.5), ("B", -1.5)]])]
    assert "raise n_probs" in one_line(write(tmp_path / "a", lines))


def test_numbers_of_tokens_are_no_choices(tmp_path):
    lines = [{"id": "q", **sglang([step(VALUES[0])], texts=False)}]
    path = write(tmp_path / "a", lines)
    assert "tokens are numbers, so none is known to be" in one_line(
        path, choices=CHOICES
    )
    assert "return_text_in_logprobs" in one_line(path, choices=CHOICES)
    assert read(path).scores.tolist() == [np.float32(VALUES[0, 0])]
    found = cj.io.read_log_probabilities(path)
    numbers = [f"token_id:{native_bodies.number_of(one)}" for one in CHOICES]
    assert found.tokens.tolist() == numbers[:1]
    options = cj.io.choice_log_probabilities(found, numbers)
    np.testing.assert_allclose(options, VALUES[:1], rtol=1e-6)
    named = [servers.entry("token_id:65", -0.5, ("token_id:65", -0.5))]
    lines = [servers.chat("c", named)]
    lines[0]["choices"][0]["message"]["content"] = "A"
    message = one_line(write(tmp_path / "a", lines), choices=CHOICES)
    assert "no return_tokens_as_token_ids" in message


def test_labels_of_tokens_that_were_asked_for(tmp_path):
    """SGLang's token_ids_logprob: a fixed set of tokens at each place."""
    line = sglang([step(VALUES[0])[:1]])
    line["meta_info"]["output_token_ids_logprobs"] = [
        [[float(value), 60 + k, CHOICES[k]] for k, value in enumerate(VALUES[0])]
    ]
    outputs = read(write(tmp_path / "a", [line]), choices=CHOICES)
    np.testing.assert_allclose(outputs.log_probabilities, VALUES[:1], rtol=1e-6)


def test_which_token_vllm_chose(tmp_path):
    """The number says it, not the order, nor the rank."""
    line = vllm([step(VALUES[0])])
    assert list(line["logprobs"][0])[0] != str(line["token_ids"][0])
    line = vllm([step(VALUES[1])], token_ids=[native_bodies.number_of("A")])
    outputs = read(write(tmp_path / "a", [line]), choices=CHOICES)
    assert outputs.texts == ("A",) and outputs.predictions.tolist() == [0]
    line["token_ids"] = [7]
    assert "token 7 of token_ids is missing" in one_line(write(tmp_path / "a", [line]))
    line = vllm([step(VALUES[0])])
    del line["token_ids"]
    assert "save token_ids" in one_line(write(tmp_path / "a", [line]))
    # The first one is, as vLLM writes it, if the sum agrees.
    first = vllm_objects([step(VALUES[1])[1:]], text="A")
    first["cumulative_logprob"] = VALUES[1, 0]
    del first["token_ids"]
    assert read(write(tmp_path / "a", [first]), choices=CHOICES).texts == ("A",)
    first["cumulative_logprob"] = VALUES[1, 1]
    assert "save token_ids" in one_line(write(tmp_path / "a", [first]))
    del first["cumulative_logprob"]
    assert "save token_ids" in one_line(write(tmp_path / "a", [first]))


def test_what_vllm_writes_without_a_server(tmp_path):
    task = {"task_id": "HumanEval/0", **vllm(SENTENCE)}
    labels = write(tmp_path / "l.csv", "task_id,correct\nHumanEval/0,1\n")
    outputs = read(write(tmp_path / "a", [task]), labels=labels)
    assert outputs.ids == ("HumanEval/0",) and outputs.outcomes.tolist() == [1]
    assert outputs.texts == ("The answer is B.",)
    # A number for each token.
    flat = vllm(SENTENCE, logprobs=[one[0][1] for one in SENTENCE])
    assert read(write(tmp_path / "a", [flat])).scores.tolist() == [np.float32(-0.325)]
    del flat["token_ids"]
    flat["text"] = "The answer is B."
    outputs = read(write(tmp_path / "a", [flat]))
    assert outputs.scores.tolist() == [np.float32(-0.325)]
    flat["cumulative_logprob"] = -1.0
    assert "do not add up" in one_line(write(tmp_path / "a", [flat]))
    flat = {"id": "q", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
    for more in ({}, {"text": "a b"}, {"text": "B", "label": "B"}):
        outputs = read(write(tmp_path / "a", [flat | more]))
        assert outputs.format == "answers" and outputs.scores.tolist() == [-0.375]
    # The whole output of a request, with two answers.
    parts = [vllm_objects([step(values)], index=k) for k, values in enumerate(VALUES)]
    line = {"id": "q", "request_id": "0", "prompt": "Is it so?", "outputs": parts[:2]}
    assert "several answers?" in one_line(write(tmp_path / "a", [line]))
    found = cj.io.read_log_probabilities([line])
    assert found.choice_index.tolist() == [0, 1] and found.texts == ("A", "C")
    # Without a text of a token.
    line = vllm([[("A", -0.5), ("B", -1.5)]])
    line["logprobs"][0] = {one: pair[:1] for one, pair in line["logprobs"][0].items()}
    assert read(write(tmp_path / "a", [line])).texts == ("",)


def test_models(tmp_path):
    """A mixture is never read as one model's."""
    lines = with_ids(bodies("ollama chat"))
    path = write(tmp_path / "a", lines)
    assert read(path).model == "qwen3:1.7b"
    assert read(path, model="qwen3:1.7b").ids == tuple(NAMES)
    lines[1]["model"] = "qwen3:4b"
    path = write(tmp_path / "a", lines)
    message = one_line(path)
    assert "holds answers of 2 models, qwen3:1.7b, qwen3:4b; say which" in message
    for model in ("qwen3:4b", 1, "1"):
        outputs = read(path, model=model)
        assert outputs.model == "qwen3:4b" and outputs.ids == ("q1",)
    for model in ("other", 2, -1):
        assert "has no answers of" in one_line(path, model=model)
    # Each row has an answer, whatever the models.
    outputs = read_file(path, missing=True, labelled=False)
    assert len(outputs) == 3 and outputs.model == ""
    assert "Answers are of 2 models" in outputs.notes[-1]
    del lines[1]["model"]
    assert read(write(tmp_path / "a", lines)).model == ""
    named = [{"model": "m", **line} for line in with_ids(bodies("sglang"))]
    assert read(write(tmp_path / "a", named)).model == "m"
    wrapped = [{"id": "a", "model": "m", "response": sglang([step(VALUES[0])])}]
    assert read(write(tmp_path / "a", wrapped)).model == "m"


def test_costs(tmp_path):
    lines = [{"cost": 0.25, **line} for line in with_ids(bodies("llama.cpp"))]
    del lines[2]["cost"]
    outputs = read(write(tmp_path / "a", lines))
    np.testing.assert_array_equal(outputs.cost, [0.25, 0.25, np.nan])
    content = [servers.entry("A", -0.5)]
    batch = servers.batch("q", servers.chat("c", content)) | {"cost": 0.125}
    assert read(write(tmp_path / "a", [batch])).cost.tolist() == [0.125]


def test_servers_in_one_folder(tmp_path):
    for number, name in enumerate(ALL):
        body = {**ALL[name]([step(VALUES[0])]), "model": "m"}
        (tmp_path / f"{number}.json").write_text(json.dumps(body))
    outputs = read(tmp_path, choices=CHOICES)
    np.testing.assert_allclose(outputs.log_probabilities, VALUES[[0] * 9], rtol=1e-6)
    assert outputs.model == "m"


@each
def test_malformed(tmp_path, name):
    """None is read as something plausible."""
    good = {"id": "g", **ALL[name](SENTENCE)}
    alone = read(write(tmp_path / "a", [good])).scores
    junk = [None, True, "x", "-0.5", float("nan"), 7.5, [], {}, [[]], [None], 2**70]
    for junk_value in junk:
        for place in places(good):
            line = copy.deepcopy({**good, "id": "b"})
            inner = line
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = junk_value
            path = write(tmp_path / "a", [good, line])
            try:
                outputs = read(path, drop_malformed=True, repeats="first")
            except ValueError as error:
                assert "\n" not in str(error)
                continue
            assert np.isfinite(outputs.scores).all()
            changed = dict(zip(outputs.ids, outputs.scores.tolist(), strict=True))
            if "b" in changed and changed["b"] != alone[0]:
                # Only what says that a token is special, or which one was chosen.
                assert place[-1] in ("special", "logprobs"), (place, junk_value)


def places(line):
    """Where numbers of tokens are, and the lists around them."""
    fields = {
        "logprobs",
        "completion_probabilities",
        "meta_info",
        "output_token_logprobs",
        "output_top_logprobs",
        "details",
        "tokens",
        "top_tokens",
        "token_ids",
    }
    for key in fields & set(line):
        yield (key,)
        inner = line[key]
        if isinstance(inner, dict):
            for path in places(inner):
                yield (key, *path)
        elif inner and isinstance(inner[0], dict):
            for name in inner[0]:
                yield (key, 0, name)
        elif inner and isinstance(inner[0], list):
            yield (key, 0)
            for number in range(len(inner[0])):
                yield (key, 0, number)


def test_lists_of_other_lengths(tmp_path):
    line = sglang(SENTENCE)
    line["meta_info"]["output_top_logprobs"].pop()
    message = "output_top_logprobs: 4 lists for 5 tokens"
    assert message in one_line(write(tmp_path / "a", [line]))
    line = inference(SENTENCE)
    line["details"]["top_tokens"].pop()
    assert "top_tokens: 5 lists for 6 tokens" in one_line(write(tmp_path / "a", [line]))
    line = vllm(SENTENCE)
    line["token_ids"].pop()
    assert "4 token_ids, 5 logprobs" in one_line(write(tmp_path / "a", [line]))


def test_tables_that_look_like_bodies(tmp_path):
    """Columns of these names do not make a table a server's."""
    for column in ("done", "details", "meta_info", "generated_text", "token_ids"):
        lines = [{"id": "a", "score": 0.5, column: "x"}]
        outputs = read(write(tmp_path / "a", lines))
        assert outputs.format == "jsonl" and outputs.scores.tolist() == [0.5]
    # Of options, whose numbers are not those of an answer's tokens.
    values = {"logprobs": [-0.5, -1.0], "label": 1}
    for more in (
        *({"response": "B"}, {"token_ids": [32, 33]}, {"text": "B"}),
        *({"text": "B", "token_ids": [33]}, {"text": "B", "token_ids": ["A", "B"]}),
    ):
        outputs = read(write(tmp_path / "a", [{"id": "a", **values, **more}]))
        assert outputs.format == "jsonl" and outputs.labels.tolist() == [1]
        np.testing.assert_array_equal(outputs.log_probabilities, [[-0.5, -1.0]])
    message = one_line(write(tmp_path / "a", [{"id": "a", "generated_text": "B"}]))
    assert "Text Generation Inference wrote this" in message


def test_apply_on_standard_input(tmp_path):
    params = cj.Platt(slope=np.float32(2), intercept=np.float32(1))
    cj.save(tmp_path / "calibration.json", params)
    lines = [
        {"id": "a", **ollama_generate(SENTENCE)},
        {"id": "b", **ollama_generate(SENTENCE[:1])},
    ]
    run = subprocess.run(
        [sys.executable, "-m", "calib_jax", "apply", "calibration.json", "-"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    expected = 1 / (1 + np.exp(-(2 * np.array([-0.325, -0.5]) + 1)))
    assert [line["id"] for line in found] == ["a", "b"]
    np.testing.assert_allclose([line["confidence"] for line in found], expected, 1e-6)
