"""Decisions of both wire shapes, and their labels."""

import json

import numpy as np
import pytest
from output_files import ALL, SYSTEM_ONE, choice, decision, one_line, read, write

pytestmark = pytest.mark.once


def probabilities(outputs):
    return np.exp(outputs.log_probabilities.astype(float)).round(6)


LABELS = {"id": "x", "state": "s", "labels": {"topic": "law", "ok": True, "stars": 9}}


@pytest.mark.parametrize("lines", [ALL, SYSTEM_ONE], ids=["list", "object"])
def test_both_shapes(tmp_path, lines):
    labels = write(tmp_path / "labels.jsonl", [LABELS])
    outputs = read(write(tmp_path / "a.jsonl", lines), labels=labels)
    assert outputs.format == "decisions" and outputs.kind == "probabilities"
    assert outputs.ids == ("x/topic", "x/ok", "x/stars")
    assert outputs.groups == ("topic", "ok", "stars")
    # Sorted: art, law; false, true; 2, 9, 10.
    expected = [[0.93, 0.07, 0], [0.75, 0.25, 0], [0.33, 0.33, 0.33]]
    np.testing.assert_array_equal(probabilities(outputs), expected)
    assert outputs.class_where.tolist() == [[True, True, False]] * 2 + [[True] * 3]
    assert outputs.predictions.tolist() == [0, -1, -1]
    assert outputs.labels.tolist() == [1, 1, 1] and outputs.choices is None
    assert outputs.dropped == ({"a refusal": 1} if lines is ALL else {})
    assert outputs.notes == ()


def test_wrapped_bodies_and_folders(tmp_path):
    body = decision(choice("t", {"a": 0.5, "b": 0.5}))
    wrapped = [
        body | {"id": "q"},
        {"id": "q", "result": body, "success": True, "errors": [], "messages": []},
        {"id": "b", "custom_id": "q", "response": {"status_code": 200, "body": body}},
    ]
    for line in wrapped:
        outputs = read(write(tmp_path / "a.jsonl", [line]))
        assert outputs.ids == ("q",) and outputs.choices == ("a", "b")
        assert outputs.groups is None and outputs.predictions.tolist() == [0]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / f"{name}.json").write_text(json.dumps(body, indent=1))
    outputs = read(folder)
    assert outputs.ids == ("first", "second") and outputs.has_ids


def test_labels_of_several_questions_by_their_ids(tmp_path):
    path = write(tmp_path / "a.jsonl", ALL)
    labels = write(tmp_path / "l.csv", "id,label\nx/topic,law\nx/ok,true\nx,art\n")
    outputs = read(path, labels=labels)
    assert outputs.ids == ("x/topic", "x/ok") and outputs.labels.tolist() == [1, 1]


def test_ties_are_kept(tmp_path):
    """Two decimals make few values, which stay equal and in their order."""
    rng = np.random.default_rng(0)
    first = np.round(rng.random(400), 2)
    lines = [
        decision(choice("t", {"no": round(1 - p, 2), "yes": p}, chosen="no"))
        for p in first.tolist()
    ]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert not outputs.has_ids and outputs.ids[:2] == ("0", "1")
    np.testing.assert_array_equal(probabilities(outputs)[:, 1], first)
    found = np.unique(outputs.log_probabilities[:, 1])
    assert len(found) == len(np.unique(first)) <= 101
    # The server's choice is not the likeliest option at all times.
    assert set(outputs.predictions.tolist()) == {0}


def test_stated_confidences_are_scores(tmp_path):
    labels = write(tmp_path / "labels.jsonl", [LABELS])
    outputs = read(write(tmp_path / "a.jsonl", ALL), kind="scores", labels=labels)
    np.testing.assert_allclose(outputs.scores, [0.5, 0.75, 0.4])
    assert outputs.predictions.tolist() == [0, 0, 0]
    assert outputs.outcomes.tolist() == [0, 0, 0] and outputs.class_where is None
    with pytest.raises(ValueError, match="decisions files hold probabilities or"):
        read(tmp_path / "a.jsonl", kind="logits")


def test_the_order_of_options(tmp_path):
    line = decision(choice("t", {"b": 0.2, "a": 0.5, "c": 0.3}, chosen="a"))
    path = write(tmp_path / "a.jsonl", [line])
    assert read(path).choices == ("a", "b", "c")
    outputs = read(path, choices=["c", "a", "b"])
    assert outputs.choices == ("c", "a", "b") and outputs.predictions.tolist() == [1]
    np.testing.assert_array_equal(probabilities(outputs), [[0.3, 0.5, 0.2]])
    assert "options of 't', a, b, c" in one_line(path, choices=["a", "b"])


def test_a_text_and_a_bool_are_two_options(tmp_path):
    answer = choice("t", {True: 0.5, "true": 0.3, "no": 0.2}, chosen="true")
    lines = [{"id": "x", "labels": {"t": True}} | decision(answer)]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.choices == ("true", "no", '"true"')
    assert outputs.predictions.tolist() == [2] and outputs.labels.tolist() == [0]


def test_one_question_takes_plain_labels(tmp_path):
    body = decision(choice("topic", {"law": 0.07, "art": 0.93}))
    path = write(tmp_path / "a.jsonl", [body | {"id": "y"}, body | {"id": "x"}])
    (tmp_path / "l").write_text("id,label\nx,law\ny,art\n")
    assert read(path, labels=tmp_path / "l").labels.tolist() == [0, 1]
    (tmp_path / "l").write_text("id,label\nx,physics\ny,art\n")
    message = one_line(path, labels=tmp_path / "l")
    assert "got 'physics' in line 2, id 'x'; expected one of art, law" in message


@pytest.mark.parametrize("first", [5, True])
def test_numbers_in_csv_name_options(tmp_path, first):
    stars = {value: 0.2 for value in range(1, 6)}
    body = {"id": "x"} | decision(choice("stars", stars, chosen=4))
    (tmp_path / "l.csv").write_text("id,label\nx,5\n")
    outputs = read(write(tmp_path / "a", [body]), labels=tmp_path / "l.csv")
    assert outputs.labels.tolist() == [4] and outputs.predictions.tolist() == [3]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (3, "expected an answer, got 3"),
        ({"type": "choice"}, "nothing to calibrate"),
        ({"type": "predicate"}, "nothing to calibrate"),
        ({"type": "vote"}, "unknown type 'vote'"),
        ({"type": "noul", "noul": 1.5}, "a probability, got 1.5"),
        ({"type": "predicate", "probability": "0.5"}, "a probability, got '0.5'"),
        ({"type": "predicate", "probability": float("nan")}, "got nan"),
        (choice("t", {"a": 0.2, "b": 0.3}), "a sum of 0.5"),
        (choice("t", {"a": 0.5, "b": 0.5}, confidence=7), "a probability, got 7"),
        ({"type": "choice", "probabilities": 3}, "expected probabilities, got 3"),
        ({"type": "choice", "probabilities": [3]}, "expected an answer, got 3"),
        (
            {"type": "score", "probabilities": [{"value": 1.5, "probability": 1}]},
            "expected an option, got 1.5",
        ),
        (
            {"type": "score", "probabilities": [{"value": 1, "probability": 0.5}] * 2},
            "option 1 is there twice",
        ),
        (choice("t", {"a": 0.5, "b": 0.5}, chosen="c"), "got 'c'"),
    ],
)
def test_malformed_answers(tmp_path, answer, expected):
    good = {"id": "x"} | decision(choice("t", {"a": 0.5, "b": 0.5}))
    path = write(tmp_path / "a.jsonl", [good, {"id": "y"} | decision(answer)])
    if expected == "nothing to calibrate":
        outputs = read(path)
        assert len(outputs) == 1 and expected in list(outputs.dropped)[0]
        write(path, [decision(answer)])
    message = one_line(path)
    assert expected in message
    assert "line 2" in message or expected == "nothing to calibrate"


def test_lines_that_are_no_decisions(tmp_path):
    good = decision(choice("t", {"a": 0.5, "b": 0.5}))
    for line, expected in (
        ({"id": "y", "error": {"message": "x"}}, "an id in all lines or in none"),
        ({"answers": []}, "without an answer"),
        ({"error": {"message": "x"}}, "a failed request"),
        ({"answers": 3}, "answers: expected answers, got 3"),
        (decision(*good["answers"] * 2), "questions of different names"),
    ):
        path = write(tmp_path / "a.jsonl", [good, line])
        outputs = read(path, drop_malformed=True)
        assert len(outputs) == 1 and expected in list(outputs.dropped)[0]


def test_numbers_of_decisions_count_malformed_lines(tmp_path):
    good = json.dumps(decision(choice("t", {"a": 0.75, "b": 0.25})))
    path = write(tmp_path / "a.jsonl", f"{good}\n{good[:30]}\n\n[3]\n{good}\n")
    np.save(tmp_path / "l.npy", np.array(["a", "b", "b", "b"]))
    outputs = read(path, labels=tmp_path / "l.npy", drop_malformed=True)
    assert outputs.ids == ("0", "3") and outputs.labels.tolist() == [0, 1]


def test_files_of_several_folders_have_their_own_names(tmp_path):
    body = decision(choice("t", {"a": 0.5, "b": 0.5}))
    for folder in ("one", "two", ".checkpoints"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.json", [body])
    assert read(tmp_path).ids == ("one/x", "two/x")
    write(tmp_path / "two" / "x.json", [{"answers": 3}])
    assert "malformed two/x.json line 1" in one_line(tmp_path)


def test_ids_that_are_floats(tmp_path):
    body = decision(choice("t", {"a": 0.5, "b": 0.5}))
    outputs = read(write(tmp_path / "a", [{"id": float(k)} | body for k in (1, 2)]))
    assert outputs.ids == ("1", "2") and outputs.has_ids


def test_smoothing_is_over_the_options_of_a_question(tmp_path):
    outputs = read(write(tmp_path / "a", ALL), smoothing=0.1)
    found = np.exp(outputs.log_probabilities.astype(float))
    expected = [[0.9 * 0.93 + 0.05, 0.9 * 0.07 + 0.05, 0.0]]
    expected += [[0.9 * 0.75 + 0.05, 0.9 * 0.25 + 0.05, 0.0]]
    expected += [[0.9 * 0.33 + 0.1 / 3] * 3]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
