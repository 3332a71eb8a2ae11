"""Samples of lm-evaluation-harness, in the shape that release 0.4.13 writes.

`sample` was compared with files that the tool wrote with its dummy model.
"""

import random

import numpy as np
import pytest
from output_files import one_line, read, sample, write

import calib_jax as cj

pytestmark = pytest.mark.once

NAME = "samples_{}_2026-11-29T20-08-00.204867.jsonl"


def generated(number):
    return {
        "doc_id": number,
        "doc": {"question": "Q?"},
        "target": "one",
        "arguments": {"gen_args_0": {"arg_0": "Q?", "arg_1": {"until": ["\n"]}}},
        "resps": [["lol"]],
        "filtered_resps": ["lol"],
        "filter": "none",
        "metrics": ["exact_match"],
        "exact_match": 0.0,
    }


def rolling(number):
    return {
        "doc_id": number,
        "doc": {"text": "Q?"},
        "target": "Q?",
        "arguments": {"gen_args_0": {"arg_0": "Q?"}},
        "resps": [["-0.21589436846535714"]],
        "filtered_resps": ["-0.21589436846535714"],
        "filter": "none",
        "word_perplexity": [-0.2, 1],
    }


VALUES = [[-1.5, -0.25, -3.0, -4.0], [-0.5, -0.75, -2.0, -9.0], [-5.0, -4, -3, -2]]


def test_multiple_choice(tmp_path):
    # Parallel runs write one rank after the other.
    lines = [sample(k, VALUES[k], (1, 3, 3)[k]) for k in (2, 0, 1)]
    lines[0]["doc"]["subject"] = "law"
    outputs = read(write(tmp_path / NAME.format("toy"), lines))
    assert outputs.format == "lm-eval" and outputs.kind == "log_probabilities"
    assert outputs.ids == ("0", "1", "2") and outputs.has_ids
    np.testing.assert_array_equal(outputs.log_probabilities, np.float32(VALUES))
    assert outputs.labels.tolist() == [1, 3, 3]
    assert outputs.outcomes.tolist() == [1, 0, 1]
    assert outputs.choices == ("A", "B", "C", "D") and outputs.class_where is None
    assert outputs.groups == ("toy", "toy", "law")
    assert outputs.dropped == {} and outputs.notes == ()
    assert outputs.predictions is None
    found = cj.top1(outputs.log_probabilities).prediction
    np.testing.assert_array_equal(found == outputs.labels, outputs.outcomes == 1)


def test_options_that_differ(tmp_path):
    lines = [
        sample(0, [-1.0, -2.0], 0, options=[" a", " b"]),
        sample(1, [-1.0, -2.0, -0.5], "c d", options=[" a", " b", " c d"]),
    ]
    outputs = read(write(tmp_path / "small.jsonl", lines))
    assert outputs.log_probabilities[0].tolist() == [-1, -2, -np.inf]
    assert outputs.class_where.tolist() == [[True, True, False], [True] * 3]
    assert outputs.labels.tolist() == [0, 2] and outputs.choices is None
    # The name of the file is no task, and that of another model's file differs.
    assert outputs.groups is None and outputs.notes == ()
    params, _ = cj.fit_temperature(
        outputs.log_probabilities, outputs.labels, class_where=outputs.class_where
    )
    assert params.temperature >= 0


@pytest.mark.parametrize("by_name", [False, True])
def test_targets_that_are_numbers_and_texts(tmp_path, by_name):
    """A target "1" of the options 1, 2 and 3: the outcomes tell which is meant."""
    rng = random.Random(0)
    lines, labels = [], []
    for number in range(20):
        values = [-rng.random() for _ in range(3)]
        label = rng.randrange(2)
        target = label + 1 if by_name else label
        line = sample(number, values, target, options=[" 1", " 2", " 3"])
        line["acc"] = float(np.argmax(values) == label)
        lines.append(line)
        labels.append(label)
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == labels and outputs.notes == ()


def test_mutual_information_doubles_the_requests(tmp_path):
    options = [" A", " B"] * 2
    contexts = ["Q?", "Q?", "", ""]
    values = [-2.0, -1.0, -0.5, -0.25]
    more = {"options": options, "contexts": contexts, "acc_mutual_info": 1.0}
    line = sample(0, values, 1, **more) | {"acc": 1.0}
    outputs = read(write(tmp_path / "a.jsonl", [line]))
    assert outputs.log_probabilities.tolist() == [[-2, -1]]
    assert outputs.choices == ("A", "B") and outputs.labels.tolist() == [1]


def test_several_contexts_with_one_end(tmp_path):
    """As in WinoGrande: the target is the end, and the outcome tells the option."""
    more = {"options": [" was big."] * 2, "contexts": ["It", "He"]}
    lines = [
        sample(k, [-2.0, -1.0], "was big.", **more) | {"acc": float(k)}
        for k in range(2)
    ]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [0, 1] and outputs.choices is None


def test_several_right_options(tmp_path):
    lines = [sample(0, VALUES[0], 1), sample(1, VALUES[1], "[0, 3]") | {"acc": 1.0}]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [1] and outputs.outcomes.tolist() == [1]
    assert outputs.dropped == {"no label": 1}
    outputs = read(write(tmp_path / "a.jsonl", lines[1:]))
    assert outputs.labels is None and outputs.outcomes.tolist() == [1]
    assert "there are outcomes, no labels" in outputs.notes[0]
    for line in lines:
        del line["acc"]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [1] and outputs.outcomes is None
    assert outputs.dropped == {"no label": 1}


def test_a_target_that_the_outcome_contradicts(tmp_path):
    lines = [sample(0, VALUES[0], 1) | {"acc": 0.0}, sample(1, VALUES[1], 0)]
    (note,) = read(write(tmp_path / "a.jsonl", lines)).notes
    assert "do not agree on 1 of 2 rows (first: line 1, id '0')" in note


def test_older_files_hold_numbers_and_lists(tmp_path):
    line = sample(4, VALUES[0], 1)
    line["arguments"] = [
        [one["arg_0"], one["arg_1"]] for one in line["arguments"].values()
    ]
    line["filtered_resps"] = [[value, False] for value in VALUES[0]]
    line["resps"] = [[pair] for pair in line["filtered_resps"]]
    line["target"] = 1
    del line["filter"]
    outputs = read(write(tmp_path / "a.jsonl", [line]))
    assert outputs.ids == ("4",) and outputs.labels.tolist() == [1]
    assert outputs.log_probabilities.tolist() == [VALUES[0]]


def test_filters_and_reruns(tmp_path):
    lines = [sample(k, VALUES[k], 1) for k in range(3)]
    other = [line | {"filter": "other"} for line in lines]
    path = write(tmp_path / "a.jsonl", [*lines, *other])
    outputs = read(path)
    (reason,) = outputs.dropped
    assert "filter 'other' of a row that is kept as filter 'none'" in reason
    assert len(outputs) == outputs.dropped[reason] == 3
    # The file is appended to.
    outputs = read(write(path, [*lines, *lines]))
    assert outputs.dropped == {"the same row once more": 3} and len(outputs) == 3
    rerun = [sample(k, VALUES[k - 1], 1) for k in range(3)]
    message = one_line(write(path, [*lines, *rerun]))
    assert "id '0' has different values in line 1 and line 4 (3 such ids)" in message
    assert "repeats=" in message
    for repeats, expected in (
        ("first", VALUES),
        ("last", [VALUES[k - 1] for k in range(3)]),
    ):
        outputs = read(path, repeats=repeats)
        np.testing.assert_array_equal(outputs.log_probabilities, np.float32(expected))
        assert list(outputs.dropped.values()) == [3]


def test_a_folder_of_tasks(tmp_path):
    folder = tmp_path / "out" / "model"
    folder.mkdir(parents=True)
    (folder / "results_2026-11-29T20-08-00.204867.json").write_text('{"results": {}}')
    for task in ("law", "art_b"):
        lines = [sample(k, VALUES[k], 1) for k in range(3)]
        write(folder / NAME.format(task), lines)
    write(folder / NAME.format("gen"), [generated(0), generated(1)])
    outputs = read(tmp_path / "out")
    assert outputs.ids == ("art_b/0", "art_b/1", "art_b/2", "law/0", "law/1", "law/2")
    assert outputs.groups == ("art_b",) * 3 + ("law",) * 3
    ((reason, count),) = outputs.dropped.items()
    assert count == 2 and "generation task" in reason
    assert outputs.dropped_at[reason][0] == f"{NAME.format('gen')} line 1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (generated(0), "a generation task"),
        (rolling(0), "a perplexity task"),
        (sample(0, [-0.5], 0), "right answer alone"),
    ],
)
def test_tasks_without_log_probabilities(tmp_path, line, expected):
    message = one_line(write(tmp_path / "a.jsonl", [line] * 2))
    assert expected in message and "nothing to calibrate" in message
    assert "multiple-choice" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"doc_id": "x"}, "doc_id: expected a number, got 'x'"),
        ({"arguments": None}, "arguments: expected requests, got nothing"),
        ({"arguments": {"gen_args_0": {}}}, "a context and an option"),
        ({"arguments": [3]}, "a context and an option"),
        ({"filtered_resps": None}, "filtered_resps: expected a list"),
        ({"filtered_resps": [["a", "False"]] * 4}, "a log-likelihood, got 'a'"),
        ({"filtered_resps": [[None, "False"]] * 4}, "a log-likelihood, got nothing"),
        ({"filtered_resps": [["-1", "False"]] * 3}, "3 for 4 arguments"),
        ({"filtered_resps": [{}] * 4}, "a log-likelihood"),
    ],
)
def test_malformed_samples(tmp_path, change, expected):
    good = sample(0, VALUES[0], 1)
    path = write(tmp_path / "a.jsonl", [good, sample(1, VALUES[1], 1) | change])
    assert expected in one_line(path) and "malformed line 2" in one_line(path)
    assert len(read(path, drop_malformed=True)) == 1


def test_other_lines_among_samples(tmp_path):
    lines = [sample(0, VALUES[0], 1), {"id": "x", "logits": [1, 2]}]
    assert "line 2: not a sample of lm-eval" in one_line(write(tmp_path / "a", lines))
    lines = [sample(0, [-1.0, np.nan, -2, -3], 1), sample(1, [0.5, -1, -1, -1], 1)]
    assert "at most 0" in one_line(write(tmp_path / "a", lines))
    outputs = read(write(tmp_path / "a", [lines[0], sample(2, VALUES[2], 1)]))
    assert outputs.dropped == {"a NaN among the values": 1}
    for more in ({"kind": "logits"}, {"choices": ["A", "B"]}, {"columns": {}}):
        with pytest.raises(ValueError, match="lm-eval"):
            read(tmp_path / "a", **more)


@pytest.mark.parametrize("best", [0, 1])
def test_targets_without_outcomes_do_not_depend_on_the_answers(tmp_path, best):
    values = [-1.0 - (number != best) for number in range(4)]
    lines = [sample(k, values, 1, options=[" 1", " 2", " 3", " 4"]) for k in range(3)]
    for line in lines:
        del line["acc"]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [1, 1, 1]
    assert "taken as numbers, counted from 0" in outputs.notes[0]
    # The fourth option has no other name.
    lines[2]["target"] = "4"
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [0, 0, 3] and outputs.notes == ()


def test_a_folder_with_the_runs_of_two_models(tmp_path):
    for model, date in (("a", "29"), ("b", "30")):
        (tmp_path / model).mkdir()
        name = NAME.format("arc").replace("-29T", f"-{date}T")
        write(tmp_path / model / name, [sample(0, VALUES[0], 1)])
    message = one_line(tmp_path)
    assert "one task in a and in b: read one model's folder" in message
    outputs = read(tmp_path / "a")
    assert len(outputs) == 1 and outputs.task == "arc" and outputs.model == ""


def test_the_model_that_a_summary_names(tmp_path):
    """That of the same run; the folder where none is there."""
    folder = tmp_path / "acme__m"
    folder.mkdir()
    path = write(folder / NAME.format("arc"), [sample(0, VALUES[0], 1)])
    assert read(path).model == "acme__m" and read(path).task == "arc"
    summary = folder / "results_2026-11-29T20-08-00.204867.json"
    for content in (
        '{"model_name": "acme/m"}',
        '{"model_name": 3}',
        "[",
        "[3]",
        "\x00",
    ):
        write(summary, content)
        expected = "acme/m" if "acme" in content else "acme__m"
        assert read(path).model == read(folder).model == expected
    (tmp_path / "other__m").mkdir()
    write(tmp_path / "other__m" / NAME.format("law"), [sample(0, VALUES[0], 1)])
    assert "samples of several models, acme__m, other__m" in one_line(tmp_path)


def test_samples_of_another_run_than_the_summary(tmp_path):
    """Whose they are is not known."""
    for task, day in (("arc", "29"), ("law", "30")):
        name = NAME.format(task).replace("-29T", f"-{day}T")
        write(tmp_path / name, [sample(0, VALUES[0], 1)])
    summary = tmp_path / "results_2026-11-29T20-08-00.204867.json"
    write(summary, '{"model_name": "acme/m"}')
    outputs = read(tmp_path)
    assert len(outputs) == 2 and outputs.model == ""
    (note,) = outputs.notes
    assert "other files are of acme/m, and beside samples_law_2026-11-30" in note
    write(tmp_path / summary.name.replace("29T", "30T"), '{"model_name": "acme/m"}')
    outputs = read(tmp_path)
    assert outputs.model == "acme/m" and outputs.notes == ()


def test_rows_without_acc(tmp_path):
    lines = [sample(k, VALUES[k], (1, 3, 3)[k]) for k in range(3)]
    del lines[1]["acc"]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.labels.tolist() == [1, 3, 3] and outputs.outcomes is None
    assert "1 of 3 rows have no acc (first: line 2, id '1')" in outputs.notes[0]
    more = {"options": [" was big."] * 2, "contexts": ["It", "He"]}
    lines = [sample(k, [-2.0, -1.0], "was big.", **more) for k in range(2)]
    del lines[1]["acc"]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.ids == ("0",) and outputs.dropped == {"no label": 1}
    assert len(outputs.labels) == len(outputs.outcomes) == 1
    outputs = read(write(tmp_path / "a.jsonl", lines[1:]))
    assert "neither outcomes nor labels" in outputs.notes[0]


def test_join_refuses_another_version_of_a_task(tmp_path):
    """Ids are the numbers of documents, which say nothing of what was asked."""
    lines = [sample(k, [-1.0, -2.0], 0, doc_hash=f"{k:064}") for k in range(3)]
    first = read(write(tmp_path / "a.jsonl", lines))
    assert first.fingerprints == ("0" * 16,) * 3
    lines = [line | {"doc_hash": f"{k}{0:063}"} for k, line in enumerate(lines)]
    second = read(write(tmp_path / "b.jsonl", lines))
    assert cj.io.join(second, second)[0].fingerprints == second.fingerprints
    with pytest.raises(ValueError, match="different fingerprints .* in 2 of 3 rows"):
        cj.io.join(first, second)
    for line in lines[1:]:
        del line["doc_hash"]
    third = read(write(tmp_path / "c.jsonl", lines))
    assert third.fingerprints == ("0" * 16, "", "")
    assert len(cj.io.join(first, third)[1]) == 3
    del lines[0]["doc_hash"]
    assert read(write(tmp_path / "c.jsonl", lines)).fingerprints is None
