"""Runs of HELM: those that it wrote itself, and some of the same shape.

The runs in written_by_tools/helm are those of release 0.5.16, of made-up questions and
with a client that draws log-probabilities at random, one for each character of a
prompt; `perturbed` has two trials and, for each question, copies with other spelling.
"""

import gzip
import json
import pathlib
import shutil

import numpy as np
import pytest
from evals_files import (
    completion,
    echoes,
    instance,
    scenario,
    state,
    statistics,
    token,
)
from output_files import one_line, read, write

import calib_jax as cj

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parent / "written_by_tools" / "helm"
RUNS = ("joint", "generation", "original", "calibrated", "perturbed")


def written(name, file):
    return json.loads(gzip.decompress((FOLDER / name / f"{file}.json.gz").read_bytes()))


def states_of(name):
    """The states of questions that are not copies."""
    return [
        one
        for one in written(name, "scenario_state")["request_states"]
        if "perturbation" not in one["instance"]
    ]


def means_of(name, metric):
    return [
        next(one["mean"] for one in entry["stats"] if one["name"]["name"] == metric)
        for entry in written(name, "per_instance_stats")
        if "perturbation" not in entry
    ]


@pytest.mark.parametrize("name", ["joint", "generation"])
def test_answers_that_helm_wrote(name):
    outputs, states = read(FOLDER / name), states_of(name)
    assert outputs.format == "helm" and outputs.kind == "scores"
    assert outputs.model == "simple/model1" and outputs.task == "toy/law"
    assert outputs.ids == tuple(one["instance"]["id"] for one in states)
    assert outputs.groups == ("law",) * 6 and outputs.dropped == {}
    completions = [one["result"]["completions"][0] for one in states]
    scores = [one["logprob"] / len(one["tokens"]) for one in completions]
    np.testing.assert_allclose(outputs.scores, scores, rtol=1e-6)
    assert outputs.scale == "log_probability"
    assert outputs.texts == tuple(one["text"] for one in completions)
    assert outputs.outcomes.tolist() == means_of(name, "exact_match")
    (note,) = [one for one in outputs.notes if "Outcomes" in one]
    assert "exact_match of per_instance_stats.json; there are also quasi_" in note
    if name == "joint":
        assert outputs.choices == ("A", "B", "C")
        right = [
            [k for k, one in enumerate(state["instance"]["references"]) if one["tags"]]
            for state in states
        ]
        assert [[one] for one in outputs.labels.tolist()] == right
        letters = [outputs.choices[one] for one in outputs.predictions]
        assert letters == [one.strip() for one in outputs.texts]


def test_references_that_helm_scored():
    outputs = read(FOLDER / "original")
    states = states_of("original")
    totals = [
        sum(
            one["logprob"]
            for one in state["result"]["completions"][0]["tokens"][
                -len(state["instance"]["references"][k % 3]["output"]["text"]) - 1 :
            ]
        )
        for k, state in enumerate(states)
    ]
    totals = np.reshape(totals, (-1, 3))
    np.testing.assert_allclose(outputs.log_probabilities, totals, rtol=1e-5)
    assert outputs.choices == ("zero", "one", "two or so")
    assert "takes another option in 2 of 6 rows" in outputs.notes[-1]


@pytest.mark.parametrize("name", ["original", "calibrated"])
def test_logits_are_what_helm_decides_by(name):
    """Its own exact_match and max_prob, the largest of a softmax, come out."""
    outputs = read(FOLDER / name, kind="logits")
    top = cj.top1(outputs.logits)
    expected = means_of(name, "max_prob")
    np.testing.assert_allclose(top.confidence, expected, rtol=1e-5)
    right = (top.prediction == outputs.labels).astype(float)
    assert right.tolist() == means_of(name, "exact_match")
    assert not any("agree" in note for note in outputs.notes)


def test_copies_and_trials_that_helm_wrote():
    message = one_line(FOLDER / "perturbed")
    assert "has different values in request state 0 and request state" in message
    for repeats, trial in (("first", 0), ("last", 1)):
        outputs = read(FOLDER / "perturbed", repeats=repeats)
        expected = [
            one["result"]["completions"][0]["logprob"]
            for one in states_of("perturbed")
            if one["train_trial_index"] == trial
        ]
        np.testing.assert_allclose(outputs.scores, expected, rtol=1e-6)
        assert sorted(outputs.dropped.values()) == [2, 4]
        assert any("a perturbed copy" in reason for reason in outputs.dropped)


def run(folder, document, stats=None, name="mmlu:subject=law,model=acme_m"):
    """A folder as HELM makes it."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "scenario_state.json").write_text(json.dumps(document, indent=2))
    (path / "stats.json").write_text("[]")
    (path / "run_spec.json").write_text(json.dumps({"name": name}))
    if stats is not None:
        (path / "per_instance_stats.json").write_text(json.dumps(stats, indent=2))
    return path


def answer(name, text, value, right=(0,), **more):
    return state(instance(name, right), completion(token(f" {text}", value)), **more)


def test_outcomes_without_statistics(tmp_path):
    """As HELM decides: an answer that is none of the options is wrong."""
    states = [answer("a", "A", -0.5), answer("b", "B", -1.5), answer("c", "D", -2.5)]
    outputs = read(run(tmp_path, scenario(*states)))
    assert outputs.outcomes.tolist() == [1, 0, 0] and outputs.labels is None
    assert outputs.scores.tolist() == [-0.5, -1.5, -2.5]
    assert outputs.task == "mmlu/law" and outputs.model == "acme/m"
    assert any("no labels" in note for note in outputs.notes)
    # Where all answer with an option there are labels.
    outputs = read(run(tmp_path / "b", scenario(*states[:2])))
    assert outputs.labels.tolist() == [0, 0] and outputs.predictions.tolist() == [0, 1]
    # Of several right options any is right.
    states = [answer("a", "A", -0.5, (0, 1)), answer("b", "B", -1.5, (0, 1))]
    outputs = read(run(tmp_path / "c", scenario(*states)))
    assert outputs.outcomes.tolist() == [1, 1] and outputs.labels is None


def test_statistics_that_contradict_the_answers(tmp_path):
    states = [answer("a", "A", -0.5), answer("b", "B", -1.5)]
    stats = [statistics("a", exact_match=0.0), statistics("b", exact_match=0.0)]
    outputs = read(run(tmp_path, scenario(*states), stats))
    assert outputs.outcomes.tolist() == [0, 0]
    (note,) = [one for one in outputs.notes if "agree" in one]
    assert "on 1 of 2 rows (first: request state 0, id 'a')" in note


def test_statistics_of_some_questions(tmp_path):
    """Others are not judged in another way."""
    states = [answer("a", "A.", -0.5), answer("b", "A.", -1.5), answer("c", "A", -2.5)]
    stats = [statistics("a", quasi_exact_match=1.0)]
    outputs = read(run(tmp_path, scenario(*states), stats))
    assert outputs.ids == ("a",) and outputs.outcomes.tolist() == [1]
    assert outputs.dropped == {"no outcome": 2}
    (note,) = [one for one in outputs.notes if "and so no outcome" in one]
    assert note.startswith("2 of 3 rows have no quasi_exact_match in per_instance_")


def test_a_metric_that_is_named(tmp_path):
    states = [
        answer("a", "x y", -0.5, options=None),
        answer("b", "z", -1, options=None),
    ]
    stats = [
        statistics("a", exact_match=0.0, f1_score=0.25, edit=7.0),
        statistics("b", exact_match=1.0, f1_score=1.0, edit=0.0),
        statistics("a", exact_match=1.0) | {"perturbation": {"name": "typos"}},
    ]
    path = run(tmp_path, scenario(*states, method="generation"), stats)
    assert read(path).outcomes.tolist() == [0, 1]
    named = read(path, columns={"outcomes": "f1_score"})
    assert named.outcomes.tolist() == [0.25, 1.0]
    for name in ("bleu", "edit"):
        message = one_line(path, columns={"outcomes": name})
        assert f"no metric {name!r} that is in [0, 1]" in message
    for columns in ({"labels": "x"}, {}, {"outcomes": ["a", "b"]}):
        assert one_line(path, columns=columns).startswith("columns: ")
    (path / "per_instance_stats.json").unlink()
    outputs = read(path)
    assert outputs.outcomes is None
    assert any("There are no outcomes" in note for note in outputs.notes)


def test_zero_is_not_a_log_probability(tmp_path):
    """HELM writes 0 where a model gives none."""
    states = [answer("a", "A", 0), answer("b", "B", -1.5), answer("c", "A", -0.0)]
    outputs = read(run(tmp_path, scenario(*states)))
    assert outputs.ids == ("b",)
    ((reason, count),) = outputs.dropped.items()
    assert count == 2 and "how HELM writes that the model gives none" in reason
    assert outputs.dropped_at[reason] == ("request state 0", "request state 2")
    path = run(tmp_path / "b", scenario(states[0], states[2]))
    assert "no row is left to calibrate: 2 x no log-probability" in one_line(path)
    # Some tokens of an answer may well be certain.
    sure = completion(token(" A", 0), token("!", -1.0))
    path = run(tmp_path / "c", scenario(state(instance("a"), sure)))
    assert read(path).scores.tolist() == [-0.5]
    states = echoes(instance("a"), [0, -1.0, -2.0])
    path = run(
        tmp_path / "d", scenario(*states, method="multiple_choice_separate_original")
    )
    assert "a question without the log-likelihood of each" in one_line(path)


def test_alternatives_of_older_files(tmp_path):
    tops = [{" A": -0.5, " B": -1.5, "C": -3.0, " Z": -9.0}, {" B": -0.25, " A": -2.0}]
    states = [
        state(instance("a"), completion(token(" A", -0.5, tops[0]))),
        state(
            instance("b"), completion(token("", -0.1, {}), token(" B", -0.25, tops[1]))
        ),
    ]
    path = run(tmp_path, scenario(*states))
    outputs = read(path)
    expected = np.float32([[-0.5, -1.5, -3.0], [-2.0, -0.25, -np.inf]])
    np.testing.assert_array_equal(outputs.log_probabilities, expected)
    assert outputs.labels.tolist() == [0, 0] and outputs.outcomes.tolist() == [1, 0]
    assert outputs.predictions.tolist() == [0, 1]
    assert any("not among the alternatives" in note for note in outputs.notes)
    np.testing.assert_allclose(read(path, kind="scores").scores, [-0.5, -0.175])
    states.append(answer("c", "A", -0.5))
    outputs = read(run(tmp_path / "b", scenario(*states)))
    ((reason, count),) = outputs.dropped.items()
    assert count == 1 and "no log_probabilities, which other rows have" in reason


def test_questions_with_a_request_for_each_reference(tmp_path):
    method = "multiple_choice_separate_original"
    first = echoes(instance("a", (1,)), [-1.0, -2.0, -4.0])
    second = echoes(instance("b", (2,), ("Rio", "Bonn")), [-1.0, -0.5])
    second[0]["instance"] = second[1]["instance"] = instance("b", (1,), ("Rio", "Bonn"))
    outputs = read(run(tmp_path, scenario(*first, *second, method=method)))
    expected = np.float32([[-1, -2, -4], [-1, -0.5, -np.inf]])
    np.testing.assert_array_equal(outputs.log_probabilities, expected)
    assert outputs.class_where.tolist() == [[True] * 3, [True, True, False]]
    assert outputs.labels.tolist() == [1, 1] and outputs.choices is None
    # One reference less, one twice, one whose tokens write something else.
    path = run(tmp_path / "b", scenario(*first[:2], *second, method=method))
    assert sum(read(path).dropped.values()) == 1
    again = [*first, first[0] | {"result": first[1]["result"]}]
    again[-1]["result"]["completions"][0]["tokens"][1:] = [token(" Rome", -3.0)]
    message = one_line(run(tmp_path / "c", scenario(*again, *second, method=method)))
    assert "request state 3: a reference of a question that was there" in message
    first[1]["result"]["completions"][0]["tokens"] = [token(" Bonn", -1.0)]
    path = run(tmp_path / "d", scenario(*first, *second, method=method))
    assert any("do not write the reference" in one for one in read(path).dropped)
    for more in (
        {"kind": "scores"},
        {"kind": "probabilities"},
        {"choices": ["A", "B"]},
    ):
        assert one_line(path, **more).startswith(("kind: these helm", "choices: helm"))


def test_calibrated_questions_need_both_requests(tmp_path):
    method = "multiple_choice_separate_calibrated"
    question = instance("a", (1,))
    states = echoes(question, [-1.0, -2.0, -4.0])
    more = echoes(question, [-3.0, -1.0, -1.5], "calibration")
    outputs = read(run(tmp_path, scenario(*states, *more, method=method)))
    np.testing.assert_array_equal(outputs.logits, [[2.0, -1.0, -2.5]])
    message = one_line(run(tmp_path / "b", scenario(*states, method=method)))
    assert "a question without the log-likelihood of each reference" in message
    shutil.rmtree(tmp_path / "b")
    message = one_line(tmp_path, kind="log_probabilities")
    assert "kind: these helm files hold logits" in message


def test_a_suite_of_runs(tmp_path):
    document = scenario(answer("id1", "A", -0.5), answer("id2", "B", -1.5))
    for subject in ("law", "art"):
        run(tmp_path, document, name=f"mmlu:subject={subject},model=acme_m")
    (tmp_path / "run_specs.json").write_text("[]")
    outputs = read(tmp_path)
    assert outputs.ids == (
        *("mmlu/art/id1", "mmlu/art/id2", "mmlu/law/id1", "mmlu/law/id2"),
    )
    assert outputs.groups == ("art", "art", "law", "law") and outputs.task == "mmlu"
    assert not any("not read" in note for note in outputs.notes)
    run(tmp_path, document, name="boolq:model=acme_m")
    outputs = read(tmp_path)
    assert outputs.task == "" and outputs.groups[0] == "boolq"
    assert outputs.groups[-1] == "mmlu/law"
    shutil.rmtree(tmp_path / "boolq:model=acme_m")
    other = scenario(answer("id1", "A", -0.5), model="acme/other")
    run(tmp_path, other, name="mmlu:subject=sea,model=acme_other")
    assert "several models, acme/m, acme/other" in one_line(tmp_path)
    run(tmp_path, other, name="mmlu:subject=law,model=acme_other")
    assert "one task in" in one_line(tmp_path)
    # A folder of another name has its run's in run_spec.json.
    shutil.copytree(tmp_path / "mmlu:subject=law,model=acme_m", tmp_path / "x" / "run")
    assert read(tmp_path / "x").task == "mmlu/law"
    (tmp_path / "x" / "run" / "run_spec.json").write_text("[3")
    assert read(tmp_path / "x").task == ""


def test_failed_requests(tmp_path):
    failed = {"success": False, "error": "too many", "completions": []}
    states = [
        answer("a", "A", -0.5),
        answer("b", "A", -0.5) | {"result": failed},
        {k: v for k, v in answer("c", "A", -0.5).items() if k != "result"},
        state(instance("d")),
    ]
    outputs = read(run(tmp_path, scenario(*states)))
    assert outputs.ids == ("a",)
    assert outputs.dropped == {
        "a failed request, 'too many'": 1,
        "a request without a result": 1,
        "a response without an answer": 1,
    }
    for method in ("language_modeling", "ranking_binary"):
        path = run(tmp_path / method, scenario(states[0], method=method))
        assert f"the method {method}, without one answer" in one_line(path)


def test_of_several_completions_the_likeliest_counts(tmp_path):
    several = completion(token(" A", -2.0)), completion(token(" B", -0.5))
    outputs = read(run(tmp_path, scenario(state(instance("a"), *several))))
    assert outputs.scores.tolist() == [-0.5] and outputs.predictions.tolist() == [1]


def test_a_pattern_of_the_file_is_not_run(tmp_path):
    """It could take for ever: the statistics say what HELM made of answers."""
    states = [answer("a", "A" * 40, -0.5), answer("b", "A", -1.5)]
    document = scenario(*states, output_mapping_pattern="(A+)+$x")
    outputs = read(run(tmp_path, document, [statistics("a", exact_match=1.0)]))
    assert outputs.ids == ("a",) and outputs.labels is None
    assert outputs.dropped == {"no outcome": 1}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("instance",), None, "instance: expected an object"),
        (("instance", "id"), 3, "instance.id: expected a text, got 3"),
        (("instance", "references"), {}, "references: expected a list"),
        (("instance", "references", 0), None, "references: expected an object"),
        (("instance", "references", 0, "tags"), "correct", "tags: expected a list"),
        (("train_trial_index",), "0", "train_trial_index"),
        (("output_mapping",), ["A"], "output_mapping: expected an object"),
        (("result",), 3, "result: expected an object"),
        (("result", "completions"), {}, "completions: expected a list"),
        (("result", "completions", 0, "tokens"), None, "tokens: expected a list"),
        (("result", "completions", 0, "tokens", 0), 3, "tokens: expected an object"),
        (("result", "completions", 0, "text"), None, "text: expected a text"),
        (("result", "completions", 0, "tokens", 0, "logprob"), 0.5, "at most 0"),
        (("result", "completions", 0, "tokens", 0, "logprob"), None, "at most 0"),
        (("result", "completions", 0, "tokens", 0, "logprob"), True, "at most 0"),
        (("result", "completions", 0, "tokens", 0, "logprob"), 10**400, "at most 0"),
    ],
)
def test_malformed_states(tmp_path, path, value, expected):
    states = [answer("a", "A", -0.5), json.loads(json.dumps(answer("b", "B", -1.5)))]
    inner = states[1]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    folder = run(tmp_path, scenario(*states))
    assert f"malformed request state 1: {expected}" in one_line(folder) or (
        expected in one_line(folder)
    )
    assert read(folder, drop_malformed=True).ids == ("a",)


def test_values_that_are_none(tmp_path):
    states = [
        answer("a", "A", -0.5),
        answer("b", "A", np.nan),
        answer("c", "B", -1e400),
    ]
    states += [answer("d", "A", -(10**400)), answer("e", "A", -1e60)]
    outputs = read(run(tmp_path, scenario(*states)))
    assert outputs.ids == ("a",)
    assert outputs.dropped == {"a score that is NaN or infinite": 4}


def test_damaged_files(tmp_path):
    document = scenario(answer("a", "A", -0.5), answer("b", "B", -1.5))
    path = run(tmp_path, document)
    file = path / "per_instance_stats.json"
    for content in ("[3]", '[{"instance_id": 3}]', "{", '[{"instance_id": "a"}]'):
        write(file, content)
        assert "per_instance_stats.json: " in one_line(path)
    file.unlink()
    file = path / "scenario_state.json"
    whole = file.read_text()
    write(file, whole[: len(whole) // 2])
    assert "scenario_state.json" in one_line(path) or "not JSON" in one_line(path)
    for spec in (None, {}, {"method": 3}, {"method": "generation", "model": 3}):
        write(file, json.dumps({**document, "adapter_spec": spec}, indent=1))
        assert "adapter_spec" in one_line(path)
    write(file, json.dumps({**document, "request_states": []}, indent=1))
    assert "no row is left" in one_line(path)
    write(file, json.dumps([statistics("a", exact_match=1.0)], indent=1))
    assert "statistics of HELM; read the scenario_state.json" in one_line(file)


def test_statistics_are_those_beside_the_file(tmp_path, monkeypatch):
    """Not those of the folder in which a command runs."""
    document = scenario(answer("a", "A", -0.5), answer("b", "B", -1.5))
    write(tmp_path / "per_instance_stats.json", "[3]")
    monkeypatch.chdir(tmp_path)
    outputs = cj.io.outputs.reading.read_lines([document], name="lines")
    assert outputs.ids == ("a", "b") and outputs.outcomes.tolist() == [1, 0]
    before = cj.io.outputs.reading.Before()
    for number in (2, 4):
        cj.io.outputs.reading.read_lines([document], name="lines", before=before)
        assert before.num_rows == number


def test_documents_of_two_models_in_one_file(tmp_path):
    lines = [scenario(answer(k, "A", -0.5), model=f"acme/{k}") for k in "ab"]
    path = write(tmp_path / "a.jsonl", lines)
    assert "several models, acme/a, acme/b" in one_line(path)


def test_join_knows_other_questions(tmp_path):
    first = read(run(tmp_path / "a", scenario(answer("id1", "A", -0.5))))
    other = answer("id1", "A", -0.5)
    other["instance"]["input"]["text"] = "Another?"
    second = read(run(tmp_path / "b", scenario(other)))
    with pytest.raises(ValueError, match="different fingerprints"):
        cj.io.join(first, second)
    assert len(cj.io.join(first, first)[0]) == 1
