"""Labels in files of their own, and outputs on shared rows."""

import dataclasses

import numpy as np
import pytest
from output_files import one_line, read, sample, write

import calib_jax as cj

pytestmark = pytest.mark.once


@pytest.fixture
def by_id(tmp_path):
    lines = [{"id": one, "logits": [1.0, 2.0]} for one in ("a", "b", 3)]
    return write(tmp_path / "outputs.jsonl", lines)


@pytest.fixture
def by_order(tmp_path):
    np.savez(tmp_path / "outputs.npz", logits=np.ones((3, 2)))
    return tmp_path / "outputs.npz"


@pytest.mark.parametrize(
    "text",
    [
        "id,label\n3,1\nb,0\na,1\n",
        "label;id\n1;3\n0;b\n1;a\n",
        '{"id": 3, "label": 1}\n{"id": "b", "label": 0}\n{"id": "a", "label": 1}',
        '[{"id": 3, "answer": 1}, {"id": "b", "answer": 0}, {"id": "a", "answer": 1}]',
    ],
)
def test_labels_by_id(tmp_path, by_id, text):
    outputs = read(by_id, labels=write(tmp_path / "l", text))
    assert outputs.ids == ("a", "b", "3") and outputs.labels.tolist() == [1, 0, 1]
    assert outputs.notes == () and outputs.dropped == {}


def test_labels_that_are_missing_or_spare(tmp_path, by_id):
    labels = write(tmp_path / "l.csv", "id,label\nb,0\na,\nz,1\ny,0\n")
    outputs = read(by_id, labels=labels)
    assert outputs.ids == ("b",) and outputs.dropped == {"no label in l.csv": 2}
    assert outputs.notes == ("2 of 4 labels are for none of the rows.",)
    message = one_line(by_id, labels=write(labels, "id,label\nx,0\nz,1\n"))
    assert "none of its 2 labels is for a row" in message
    assert "'x'" in message and "'a'" in message
    message = one_line(by_id, labels=write(labels, "id,label\na,0\na,1\n"))
    assert "id 'a' has the labels '0' and '1'" in message
    message = one_line(by_id, labels=write(labels, "id,label\na,0\nb,2\n"))
    assert "labels: got '2' in line 2, id 'b'; expected a number from 0 to 1" in message


def test_labels_by_order(tmp_path, by_order):
    path = tmp_path / "l.npy"
    np.save(path, np.array([1, 0, 1]))
    assert read(by_order, labels=path).labels.tolist() == [1, 0, 1]
    np.save(path, np.array([1, 0]))
    assert "2 labels for 3 rows" in one_line(by_order, labels=path)
    np.save(path, np.zeros((3, 2)))
    assert "expected labels [N], got [3, 2]" in one_line(by_order, labels=path)
    np.save(path, np.array([True, False, True]))
    outputs = read(by_order, labels=path)
    assert outputs.outcomes.tolist() == [1, 0, 1] and outputs.labels is None
    np.savez(tmp_path / "l.npz", label=[0.0, np.nan, 1.0])
    outputs = read(by_order, labels=tmp_path / "l.npz")
    assert outputs.ids == ("0", "2") and outputs.labels.tolist() == [0, 1]
    np.savez(tmp_path / "l.npz", correct=[0, 1, 1])
    assert read(by_order, labels=tmp_path / "l.npz").outcomes.tolist() == [0, 1, 1]
    write(tmp_path / "l.csv", "1\n0\n1\n")
    assert read(by_order, labels=tmp_path / "l.csv").labels.tolist() == [1, 0, 1]


def test_ids_on_one_side_only(tmp_path, by_id, by_order):
    np.save(tmp_path / "l.npy", np.array([1, 0, 1]))
    message = one_line(by_id, labels=tmp_path / "l.npy")
    assert "outputs.jsonl has ids and" in message and "l.npy has none" in message
    labels = write(tmp_path / "l.csv", "id,label\n0,1\n1,0\n2,1\n")
    message = one_line(by_order, labels=labels)
    assert "l.csv has ids and" in message


def test_files_that_hold_no_labels(tmp_path, by_id):
    path = tmp_path / "l"
    assert "got id, gold?" in one_line(by_id, labels=write(path, "id,gold?\na,1\n"))
    assert "may all be the labels" in one_line(
        by_id, labels=write(path, "id,label,answer\na,1,0\n")
    )
    assert "is empty" in one_line(by_id, labels=write(path, ""))
    assert "malformed line 2" in one_line(
        by_id, labels=write(path, '{"id": 1, "label": 1}\n{"id": ')
    )
    assert "outcomes in [0, 1]" in one_line(
        by_id, labels=write(path, "id,correct\na,1\nb,7\n3,1\n")
    )
    with pytest.raises(FileNotFoundError):
        read(by_id, labels=tmp_path / "missing")
    with pytest.raises(ValueError, match="labels: expected the path of a file"):
        read(by_id, labels=3)


def test_labels_of_text(tmp_path, by_id):
    labels = write(tmp_path / "l", "id,label\na,cat\nb,dog\n3,cat\n")
    assert "choices=" in one_line(by_id, labels=labels)
    outputs = read(by_id, labels=labels, choices=["dog", "cat"])
    assert outputs.labels.tolist() == [1, 0, 1]


def outputs_of(folder, name, text, **more):
    return read(write(folder / name, text), **more)


def test_join_by_order_is_said(tmp_path):
    parts = [outputs_of(tmp_path, name, "score\n0.1\n0.2\n") for name in "abc"]
    said = "a and b are joined by the order of their rows: neither has ids."
    for one in cj.io.join(*parts[:2]):
        assert one.notes[-2:] == (said, "Joined 2 outputs: 2 rows.")
    said = "a and b and c are joined by the order of their rows: none has ids."
    assert cj.io.join(*parts)[2].notes[-2] == said
    assert cj.io.join(parts[0])[0].notes[-1] == "Joined 1 outputs: 2 rows."
    parts = [outputs_of(tmp_path, name, "id,score\nx,0.1\n") for name in "ab"]
    assert "order" not in " ".join(cj.io.join(*parts)[1].notes)


def test_join_by_id(tmp_path):
    small = outputs_of(
        tmp_path, "s", "id,score,correct,task\na,0.1,1,x\nb,0.2,0,x\nc,0.3,1,y\n"
    )
    large = outputs_of(
        tmp_path, "l", "id,prob_0,prob_1,label\nc,0.5,0.5,1\na,1,0,0\nd,0,1,1\n"
    )
    one, other = cj.io.join(small, large)
    assert one.ids == other.ids == ("a", "c")
    assert one.scores.tolist() == np.float32([0.1, 0.3]).tolist()
    assert one.outcomes.tolist() == [1, 1] and one.groups == ("x", "y")
    assert other.labels.tolist() == [0, 1]
    np.testing.assert_allclose(np.exp(other.log_probabilities), [[1, 0], [0.5, 0.5]])
    reason = "not in all of the joined outputs"
    assert one.dropped == other.dropped == {reason: 1}
    assert one.dropped_at == {reason: ("id 'b'",)}
    assert other.notes[-1] == "Joined 2 outputs: 2 rows, without 1 of 3 (first: 'd')."
    assert small.dropped == {} and len(small) == 3
    first, second, third = cj.io.join(one, small, other)
    assert first.ids == second.ids == third.ids and first.dropped == {reason: 1}
    assert cj.io.join(small)[0].ids == small.ids
    start = "Outputs(2 rows, name='s', format='csv', kind='scores', scores="
    assert repr(one).startswith(start)


def test_join_by_order(tmp_path):
    small = outputs_of(tmp_path, "s", "score\n0.1\nnan\n0.3\n")
    large = outputs_of(tmp_path, "l", "score\n0.5\n0.6\n0.7\n")
    one, other = cj.io.join(small, large)
    assert (
        one.ids == ("0", "2")
        and other.scores.tolist() == np.float32([0.5, 0.7]).tolist()
    )
    more = outputs_of(tmp_path, "m", "score\n0.5\n")
    with pytest.raises(ValueError, match="s and m: without .* rows, got 3 and 1"):
        cj.io.join(small, more)
    named = outputs_of(tmp_path, "n", "id,score\n0,0.5\n")
    with pytest.raises(ValueError, match="n has ids and s has none: give ids"):
        cj.io.join(small, named)


def test_what_cannot_be_joined(tmp_path):
    small = outputs_of(
        tmp_path, "s", "id,prob_0,prob_1,label\na,0.1,0.9,1\nb,0.5,0.5,0\n"
    )
    other = outputs_of(
        tmp_path, "o", "id,prob_0,prob_1,label\na,0.1,0.9,1\nb,0.5,0.5,1\n"
    )
    with pytest.raises(ValueError, match="^s and o have different labels in 1 of 2 "):
        cj.io.join(small, other)
    twins = [dataclasses.replace(one, name="a.csv") for one in (small, other)]
    with pytest.raises(ValueError, match=r"^outputs 0 \(a.csv\) and outputs 1 \(a.csv"):
        cj.io.join(*twins)
    far = outputs_of(tmp_path, "f", "id,score\nz,0.5\n")
    with pytest.raises(
        ValueError, match="^s and f: no id is in all of them; .*'a' and"
    ):
        cj.io.join(small, far)
    with pytest.raises(ValueError, match="expected two or more, got none"):
        cj.io.join()
    with pytest.raises(ValueError, match=r"outputs\[1\]: expected Outputs, got str"):
        cj.io.join(small, "o")


def test_a_cascade_from_two_files(tmp_path):
    """What the record is for: the other functions take its arrays."""
    rng = np.random.default_rng(0)
    for name, skill in (("small", 1.0), ("large", 2.5)):
        labels = np.arange(400) % 4
        logits = rng.normal(size=(400, 4)) + skill * np.eye(4)[labels]
        np.savez(tmp_path / f"{name}.npz", logits=logits, label=labels)
    pair = cj.io.join(*(read(tmp_path / f"{name}.npz") for name in ("small", "large")))
    confidence, outcome = [], []
    for one in pair:
        params, _ = cj.fit_temperature(one.logits, one.labels)
        top = cj.top1(one.logits, params.temperature)
        confidence.append(top.confidence)
        outcome.append(top.prediction == one.labels)
    router = cj.fit_router(*confidence)
    curve = cj.cascade_curve(router, confidence[0], *outcome)
    assert 0.4 < curve.small_accuracy < curve.large_accuracy <= 1


def test_scores_whose_predictions_and_labels_are_not_alike(tmp_path):
    """They would all count as wrong."""
    path = tmp_path / "s.csv"
    for labels in (("0", "1"), ("Cat", "dog"), ("bird", "cow")):
        rows = f"a,0.5,cat,{labels[0]}\nb,0.5,dog,{labels[1]}\n"
        message = one_line(write(path, f"id,score,prediction,label\n{rows}"))
        assert "predictions are like 'cat'" in message and labels[0] in message
    write(path, "id,score,prediction,label\na,0.5,dog ,dog\nb,0.5,cat,dog\n")
    outputs = read(path)
    assert outputs.choices == ("cat", "dog") and outputs.outcomes.tolist() == [1, 0]
    write(path, "id,score,prediction,label\na,0.5,0,no\n")
    assert "labels like 'no'" in one_line(path)
    write(path, "id,score,prediction,label\na,0.5,True,true\nb,0.5,False,1.0\n")
    assert read(path).outcomes.tolist() == [1, 0]
    outputs = read(write(path, "id,score,label\na,0.5,1\nb,0.25,0\n"))
    assert "taken for the score of class 1" in outputs.notes[0]


def test_labels_are_all_names_or_all_numbers(tmp_path):
    """A label "1" of the options 1, 2, 3, 4 is the first or the second one."""
    values = {"logits": [1.0, 2.0, 3.0, 4.0]}
    path = write(tmp_path / "o.jsonl", [values] * 3)
    labels, choices = tmp_path / "l.csv", list("1234")
    for cells, expected in (
        ("123", None),
        ("124", [0, 1, 3]),
        ("103", [1, 0, 3]),
        (("1.0", "0.0", "3.0"), [1, 0, 3]),
    ):
        write(labels, "label\n" + "\n".join(cells) + "\n")
        if expected is None:
            message = one_line(path, labels=labels, choices=choices)
            assert "'1' in line 1 may be the option of that name or" in message
        else:
            outputs = read(path, labels=labels, choices=choices)
            assert outputs.labels.tolist() == expected
    write(labels, [{"label": one} for one in (1, 2, 3)])
    outputs = read(path, labels=labels, choices=choices)
    assert outputs.labels.tolist() == [1, 2, 3]
    write(labels, "label\na\n1\nb\n")
    assert "got '1' in line 2" in one_line(path, labels=labels, choices=list("abcd"))


def test_outputs_of_different_questions_are_not_joined(tmp_path):
    law, arc = (
        outputs_of(
            tmp_path,
            f"samples_{task}_2026-11-29T20-08-00.2.jsonl",
            [sample(k, [-1.0, -2.0], 0, options=options) for k in range(2)],
        )
        for task, options in (("law", [" a", " b"]), ("arc", [" c", " d"]))
    )
    with pytest.raises(ValueError, match="different groups in 2 of 2 .*'law' and 'arc"):
        cj.io.join(law, arc)


def test_labels_of_joined_outputs_are_compared_by_name(tmp_path):
    head = "id,score,prediction,label\n"
    one = outputs_of(tmp_path, "a", f"{head}x,0.5,cat,dog\ny,0.5,dog,dog\n")
    other = outputs_of(tmp_path, "b", f"{head}x,0.5,ant,dog\ny,0.5,dog,dog\n")
    _, joined = cj.io.join(one, other)
    assert joined.outcomes.tolist() == [0, 1]
    other = outputs_of(tmp_path, "b", f"{head}x,0.5,cat,cat\ny,0.5,dog,dog\n")
    with pytest.raises(ValueError, match="different labels in 1 of 2 .*'dog' and 'cat"):
        cj.io.join(one, other)
    head = "id,prob_0,prob_1,label\n"
    pair = [
        outputs_of(tmp_path, "c", f"{head}x,0.5,0.5,{label}\n", choices=choices)
        for label, choices in ((0, ["a", "b"]), (1, ["c", "d"]))
    ]
    assert "labels are not compared" in cj.io.join(*pair)[1].notes[-2]
