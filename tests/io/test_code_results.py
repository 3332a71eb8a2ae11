"""Results of EvalPlus and BigCodeBench as outcomes of one's own answers."""

import json

import numpy as np
import pytest
from output_files import one_line, read, write

from calib_jax.io.outputs import label_files

pytestmark = pytest.mark.once


def answer(task, *means):
    """A line of a batch; a choice for each sample, whose tokens have this mean."""
    choices = [
        {
            "index": k,
            "finish_reason": "stop",
            "message": {"content": f"def f(): return {mean}"},
            "logprobs": {"content": [{"token": "def", "logprob": mean}]},
        }
        for k, mean in enumerate(means)
    ]
    body = {"id": "x", "object": "chat.completion", "choices": choices}
    return {"custom_id": task, "response": {"status_code": 200, "body": body}}


def evalplus(**tasks):
    """As evalplus/evaluate.py; a sample is its status, or those of both tests."""
    samples = {}
    for name, statuses in tasks.items():
        task = f"Mbpp/{name[1:]}"
        samples[task] = [
            {
                "task_id": task,
                "solution": "def f(): ...",
                "base_status": base,
                "plus_status": plus,
                "base_fail_tests": [],
                "plus_fail_tests": [],
            }
            for base, plus in statuses
        ]
    return {"date": "2026-11-30 12:00", "hash": "ab", "eval": samples}


def bigcodebench(**tasks):
    """As bigcodebench/evaluate.py."""
    return {
        "date": "2026-11-30 12:00",
        "eval": {
            f"BigCodeBench/{name[1:]}": [
                {"task_id": name, "solution": "", "status": one, "details": {}}
                for one in statuses
            ]
            for name, statuses in tasks.items()
        },
    }


PASS, FAIL, BASE = ("pass", "pass"), ("fail", "fail"), ("pass", "fail")


@pytest.mark.parametrize("indent", [None, 2])
def test_one_sample_a_task(tmp_path, indent):
    """Both tests have to be passed; the order of the files differs."""
    answers = write(
        tmp_path / "answers.jsonl",
        [answer("Mbpp/3", -0.3), answer("Mbpp/2", -0.2), answer("Mbpp/4", -0.4)],
    )
    results = evalplus(t2=[PASS], t3=[BASE], t4=[("timeout", "pass")], t6=[PASS])
    labels = write(tmp_path / "r.json", json.dumps(results, indent=indent))
    outputs = read(answers, labels=labels)
    assert outputs.ids == ("Mbpp/3", "Mbpp/2", "Mbpp/4")
    np.testing.assert_allclose(outputs.scores, [-0.3, -0.2, -0.4])
    assert outputs.outcomes.tolist() == [0, 1, 0] and outputs.labels is None
    notes = " ".join(outputs.notes)
    assert "passed the base tests and the extra ones." in notes
    assert "1 of 4 labels are for none of the rows" in notes


def test_base_tests_alone(tmp_path):
    answers = write(tmp_path / "a", [answer("Mbpp/2", -0.2), answer("Mbpp/3", -0.3)])
    labels = tmp_path / "r.json"
    results = evalplus(t2=[("pass", None)], t3=[("fail", None)])
    outputs = read(answers, labels=write(labels, json.dumps(results)))
    assert outputs.outcomes.tolist() == [1, 0]
    assert "the extra ones were not run" in outputs.notes[-1]
    results = evalplus(t2=[("pass", None)], t3=[PASS])
    message = one_line(answers, labels=write(labels, json.dumps(results)))
    assert "and others have none: evaluate all in one way" in message


def test_several_samples_a_task(tmp_path):
    """A batch has them in one line, or in several; equal ones are not one."""
    labels = tmp_path / "r.json"
    results = bigcodebench(t0=["pass", "fail"], t1=["timeout", "pass"])
    write(labels, json.dumps(results, indent=2))
    first = [
        answer("BigCodeBench/1", -0.1, -0.2),
        answer("BigCodeBench/0", -0.3, -0.3),
    ]
    second = [
        answer("BigCodeBench/1", -0.1),
        answer("BigCodeBench/0", -0.3),
        answer("BigCodeBench/0", -0.3),
        answer("BigCodeBench/1", -0.2),
    ]
    for lines in (first, second):
        outputs = read(write(tmp_path / "a.jsonl", lines), labels=labels)
        by_id = dict(zip(outputs.ids, outputs.outcomes.tolist(), strict=True))
        assert by_id == {
            "BigCodeBench/0/0": 1,
            "BigCodeBench/0/1": 0,
            "BigCodeBench/1/0": 0,
            "BigCodeBench/1/1": 1,
        }
        at = outputs.ids.index("BigCodeBench/1/1")
        assert outputs.scores[at] == np.float32(-0.2)
    # One's own names of the samples, and scores, do as well.
    rows = [{"id": "BigCodeBench/0/1", "score": 0.1}, {"id": "x", "score": 0.2}]
    outputs = read(write(tmp_path / "b.jsonl", rows), labels=labels)
    assert outputs.ids == ("BigCodeBench/0/1",) and outputs.outcomes.tolist() == [0]
    rows = [{"task_id": f"BigCodeBench/{k}", "score": 0.1} for k in (0, 0, 1, 1)]
    assert len(read(write(tmp_path / "b.jsonl", rows), labels=labels)) == 4


def test_samples_in_files_of_their_own(tmp_path):
    """The tenth is behind the second, and names that count nothing are no order."""
    labels = tmp_path / "r.json"
    statuses = ["fail"] * 10 + ["pass"]
    write(labels, json.dumps(bigcodebench(t0=statuses)))
    folder = tmp_path / "answers"
    folder.mkdir()
    for k in range(11):
        line = answer("BigCodeBench/0", -k - 1.0)
        write(folder / f"b1_{k}.json", [line])
    outputs = read(folder, labels=labels)
    assert outputs.scores[outputs.outcomes == 1].tolist() == [-11]
    assert outputs.ids[-1] == "BigCodeBench/0/10"
    assert any("order of the numbers in their names" in one for one in outputs.notes)
    for name in ("b1_x.json", "b2_11.json", "b1_007.json", "b1.json", "b1_3_1.json"):
        (folder / "b1_10.json").rename(folder / name)
        message = one_line(folder, labels=labels)
        assert "in files whose names do not count them, such as 'b1" in message
        (folder / name).rename(folder / "b1_10.json")
    # One file for each task needs no numbers.
    write(labels, json.dumps(bigcodebench(t0=statuses[-2:], t1=["pass", "fail"])))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for k in range(2):
        lines = [answer(f"BigCodeBench/{k}", *(-0.5, -0.25))]
        write(folder / ("x", "y")[k], lines).rename(folder / f"{'xy'[k]}.json")
    outputs = read(folder, labels=labels)
    assert outputs.outcomes.tolist() == [0, 1, 1, 0]
    assert not any("numbers in their names" in one for one in outputs.notes)


def test_other_numbers_of_samples_are_not_joined(tmp_path):
    labels = write(
        tmp_path / "r.json", json.dumps(evalplus(t2=[PASS, FAIL], t3=[FAIL, FAIL]))
    )
    path = tmp_path / "a.jsonl"
    lines = [answer("Mbpp/2", -0.1, -0.2), answer("Mbpp/3", -0.3)]
    message = one_line(write(path, lines), labels=labels)
    assert "task 'Mbpp/3' has 2 samples, and 1 rows of" in message
    # An answer that was left out would shift those behind it.
    lines[1] = answer("Mbpp/3", -0.3, -0.4)
    lines[1]["response"]["body"]["choices"][0]["logprobs"]["content"] = []
    message = one_line(write(path, lines), labels=labels, drop_malformed=True)
    assert "task 'Mbpp/3' has 2 samples, and 1 rows" in message
    lines = [answer("Mbpp/2", -0.1, -0.2), answer("Mbpp/3", -0.3, -0.4)]
    write(path, lines)
    outputs = read(path, labels=labels)
    assert len(outputs) == 4
    assert "4 rows are samples of 2 tasks" in " ".join(outputs.notes)
    for k, repeats in enumerate(("first", "last")):
        outputs = read(path, labels=labels, repeats=repeats)
        assert outputs.ids == (f"Mbpp/2/{k}", f"Mbpp/3/{k}")
        assert outputs.outcomes.tolist() == [1 - k, 0]
        assert outputs.dropped == {"another sample of a task": 2}
        assert "samples of 2 tasks" not in " ".join(outputs.notes)
    # With one sample a task, two answers to it are an error, unless they are equal.
    write(labels, json.dumps(evalplus(t2=[PASS], t3=[FAIL])))
    message = one_line(path, labels=labels)
    assert "id 'Mbpp/2' has different values in line 1 and line 1" in message
    assert "keep that one" in one_line(path, labels=labels, repeats="last")
    lines = [answer("Mbpp/2", -0.1), answer("Mbpp/2", -0.1), answer("Mbpp/3", -0.3)]
    outputs = read(write(path, lines), labels=labels)
    assert outputs.ids == ("Mbpp/2", "Mbpp/3") and outputs.outcomes.tolist() == [1, 0]


def test_results_of_the_first_evalplus(tmp_path):
    ok, bad = ["success", [True]], ["failed", [False]]
    results = {
        "date": "2023-05-05 12:00",
        "hash": "ab",
        "eval": {
            "HumanEval/0": {"nfiles": 2, "base": [ok, ok], "plus": [ok, bad]},
            "HumanEval/1": {
                **{"nfiles": 2, "base": [["timed out", []], ok]},
                "plus": [ok, ok],
            },
        },
    }
    given = label_files.read(write(tmp_path / "r.json", json.dumps(results)))
    assert given.ids == [f"HumanEval/{t}/{k}" for t in (0, 1) for k in (0, 1)]
    assert given.values == [True, False, False, True] and given.are_outcomes
    for task in results["eval"].values():
        task["plus"] = []
    given = label_files.read(write(tmp_path / "r.json", json.dumps(results)))
    assert given.values == [True, True, False, True]


@pytest.mark.parametrize(
    "results, expected",
    [
        (evalplus(t2=[(None, None)]), "task 'Mbpp/2', sample 0: expected a status"),
        (evalplus(t2=[("pass", "maybe")]), "pass, fail or timeout, got 'maybe'"),
        (bigcodebench(t2=[3]), "got 3"),
        ({"eval": {"a": ["pass"], "b": []}, "date": ""}, "got nothing"),
        ({"eval": {"a": [None]}, "date": ""}, "got nothing"),
        ({"eval": {"a": []}, "date": ""}, "no row is left"),
        ({"eval": {"a": {"base": 3}}, "date": ""}, "no row is left"),
        ({"eval": {}, "date": ""}, "expected a column label, answer or correct"),
    ],
)
def test_results_that_are_not_well_formed(tmp_path, results, expected):
    answers = write(tmp_path / "a.jsonl", [answer("Mbpp/2", -0.2)])
    labels = write(tmp_path / "r.json", json.dumps(results))
    assert expected in one_line(answers, labels=labels)


def test_results_alone_are_no_outputs(tmp_path):
    for results in (evalplus(t2=[PASS]), bigcodebench(t2=["pass"])):
        for more in ({}, {"pass_at_k": {}}):
            path = write(tmp_path / "r.json", json.dumps(results | more))
            assert "read the answers, with these as labels=" in one_line(path)
    lines = [evalplus(t2=[PASS]), evalplus(t2=[PASS])]
    answers = write(tmp_path / "a.jsonl", [answer("Mbpp/2", -0.2)])
    path = write(tmp_path / "r.json", lines)
    assert "task 'Mbpp/2' is there twice" in one_line(answers, labels=path)
    path = write(tmp_path / "r.json", [lines[0], {"x": 1}])
    assert "results of one run" in one_line(answers, labels=path)


def test_results_of_human_eval(tmp_path):
    """A line for each sample, with passed."""
    answers = write(tmp_path / "a.jsonl", [answer("HumanEval/0", -0.2)])
    rows = [{"task_id": "HumanEval/0", "completion": "", "passed": True}]
    outputs = read(answers, labels=write(tmp_path / "r.jsonl", rows))
    assert outputs.outcomes.tolist() == [1]
