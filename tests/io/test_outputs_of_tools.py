"""Files that the tools wrote themselves, of made-up questions.

The samples are those of lm-evaluation-harness 0.4.13 with its dummy model, which draws
log-likelihoods at random; the other files are dumps of the types of openai 3.57.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest
from output_files import one_line, read, write

import calib_jax as cj

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parent / "written_by_tools"


def samples(task):
    (path,) = FOLDER.glob(f"samples_toy_{task}_*.jsonl")
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("task", ["mc", "mutual", "var"])
def test_multiple_choice_tasks(task):
    path = samples(task)
    outputs = read(path)
    lines = lines_of(path)
    assert outputs.format == "lm-eval" and outputs.ids == ("0", "1", "2")
    for row, line in enumerate(lines):
        pairs = line["filtered_resps"]
        values = [float(value) for value, _ in pairs[: 4 if task == "mutual" else None]]
        found = outputs.log_probabilities[row]
        np.testing.assert_array_equal(found[: len(values)], np.float32(values))
        assert (found[len(values) :] == -np.inf).all()
    assert outputs.labels.tolist() == [line["doc"]["answer"] for line in lines]
    accuracy = [line["acc"] for line in lines]
    assert outputs.outcomes.tolist() == accuracy
    best = cj.top1(outputs.log_probabilities, class_where=outputs.class_where)
    np.testing.assert_array_equal(best.prediction == outputs.labels, accuracy)
    assert outputs.groups == tuple(line["doc"]["subject"] for line in lines)
    assert outputs.choices == (None if task == "var" else tuple("ABCD"))
    assert outputs.dropped == {} and outputs.notes == ()


@pytest.mark.parametrize("task", ["gen", "ll", "roll"])
def test_other_tasks(task):
    assert "nothing to calibrate" in one_line(samples(task))


def test_the_folder_of_a_run(tmp_path):
    for task in ("mc", "mutual", "var", "gen", "ll", "roll"):
        shutil.copy(samples(task), tmp_path)
    outputs = read(tmp_path)
    assert len(outputs) == 9 and sum(outputs.dropped.values()) == 9
    assert len(outputs.dropped) == 3 and outputs.ids[0] == "toy_mc/0"


def test_answers():
    choices = ["A", "B", "C", "D"]
    lines = lines_of(FOLDER / "openai_chat.jsonl")
    expected = [
        [
            one["logprob"]
            for one in line["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        ]
        for line in lines
    ]
    for name in ("chat", "resp", "batch"):
        outputs = read(FOLDER / f"openai_{name}.jsonl", choices=choices)
        num_rows = 5 if name == "batch" else 6
        np.testing.assert_array_equal(
            outputs.log_probabilities, np.float32(expected)[:num_rows]
        )
        best = outputs.log_probabilities.argmax(axis=1)
        np.testing.assert_array_equal(outputs.predictions, best)
        failed = {"a failed request, 'rate limit'": 1}
        assert outputs.dropped == (failed if name == "batch" else {})


def test_decisions(tmp_path):
    path = FOLDER / "openai_dec.jsonl"
    given = [
        {"id": f"d{k}", "labels": {"topic": "A", "ok": True, "stars": 3}}
        for k in range(6)
    ]
    outputs = read(path, labels=write(tmp_path / "labels", given))
    assert len(outputs) == 18 and outputs.dropped == {"a refusal": 1}
    assert outputs.labels.tolist() == [0, 1, 2] * 6
    topics = np.array(outputs.groups) == "topic"
    for row, line in zip(np.flatnonzero(topics), lines_of(path), strict=True):
        answer = line["response"]["answers"][0]
        np.testing.assert_allclose(
            np.exp(outputs.log_probabilities[row]),
            [one["probability"] for one in answer["probabilities"]],
            rtol=1e-6,
        )
        assert "ABCD"[outputs.predictions[row]] == answer["choice"]
    assert "rows have an option of probability 0" in outputs.notes[0]
