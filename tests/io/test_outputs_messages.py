"""What people do wrong, and the line that says what to do."""

import gzip
import json
import pickle

import numpy as np
import pytest
from output_files import ALL, one_line, read, sample, write
from servers import chat, entry

pytestmark = pytest.mark.once

ANSWERS = [
    chat("A", [entry("A", -0.1, ("A", -0.1), ("B", -2.0))], custom_id=f"r{k}")
    for k in range(3)
]
ROWS = [{"id": k, "score": k / 10, "correct": k % 2} for k in range(5)]


@pytest.mark.parametrize("name", ["confidence", "conf", "prob", "small_probability"])
def test_percentages(tmp_path, name):
    path = write(tmp_path / "a", f"id,{name},correct\na,0.5,1\nb,93,0\n")
    message = one_line(path)
    assert f"expected {name} in [0, 1], got 93 (line 3); write percent" in message
    assert read(path, kind="scores").scores.tolist() == [0.5, 93]
    np.savez(tmp_path / "a.npz", **{name: np.array([0.5, -0.25])})
    message = one_line(tmp_path / "a.npz")
    assert "got -0.25 (row 1); if it is on another scale" in message
    path = write(tmp_path / "a", f"id,{name}\na,93%\n")
    assert "got '93%': write 0.93 for 93%" in one_line(path)
    path = write(tmp_path / "a", f"{name}\n1.0000005\nnan\n0\n")
    assert len(read(path)) == 2


@pytest.mark.parametrize("name", ["ix_vit_conf", "confidence", "small_prob"])
def test_scale_of_a_column_that_is_asked_for(tmp_path, name):
    path = write(tmp_path / "a", f"id,{name},margin,correct\na,0.5,7,1\nb,0.9,8,0\n")
    outputs = read(path, columns={"scores": name})
    assert outputs.kind == "scores" and outputs.scale == "confidence"
    assert read(path, columns={"scores": name}, kind="scores").scale is None
    assert read(path, columns={"scores": "margin"}).scale is None
    path = write(tmp_path / "a", f"id,{name}\na,0.5\nb,93\n")
    message = one_line(path, columns={"scores": name})
    assert f"expected {name} in [0, 1], got 93 (line 3)" in message
    path = write(tmp_path / "a", "id,my_logprob\na,-0.5\n")
    assert read(path, columns={"scores": "my_logprob"}).scale == "log_probability"


def test_scales_of_other_names(tmp_path):
    path = write(tmp_path / "a", "log_prob\n-0.5\n0.5\n")
    assert "expected log_prob at most 0, got 0.5 (line 3)" in one_line(path)
    for name in ("score", "log_confidence", "log_odds_confidence", "max_prob_margin"):
        path = write(tmp_path / "a", f"{name}\n-5\n93\n")
        assert read(path).scores.tolist() == [-5, 93]
    path = write(tmp_path / "a", "prob_0,prob_1,label\n93,7,0\n40,60,1\n")
    assert "[93. 7.] (line 2); write percentages" in one_line(path)


@pytest.mark.parametrize(
    "document",
    [
        {"id": {"0": "a", "1": "b"}, "score": {"0": 0.5, "1": 0.7}},
        {"prob_0": {"0": 0.5, "1": 0.7}, "prob_1": {"0": 0.5, "1": 0.3}},
        {"0": {"id": "a", "score": 0.5}, "1": {"id": "b", "score": 0.7}},
        {"schema": {"fields": []}, "data": [{"id": "a", "score": 0.5}]},
        {"score": [0.5, 0.7, 0.1], "correct": [1, 0, 1]},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_columns_in_one_document(tmp_path, document, indent):
    path = write(tmp_path / "a", json.dumps(document, indent=indent))
    assert 'to_json(orient="records", lines=True)' in one_line(path)
    scores = write(tmp_path / "b", "score\n0.5\n0.7\n")
    assert 'orient="records"' in one_line(scores, labels=path)


def test_rows_of_objects_are_not_taken_for_columns(tmp_path):
    row = {"logits": {"0": 1, "1": 2}, "probs": {"0": 0.25, "1": 0.75}}
    assert read(write(tmp_path / "a", [row])).choices == ("0", "1")
    row = {"logits": [1, 2], "probs": [0.25, 0.75]}
    assert read(write(tmp_path / "a", [row])).logits.tolist() == [[1, 2]]


def test_labels_that_do_not_fit(tmp_path):
    path = write(tmp_path / "a", ANSWERS)
    labels = write(tmp_path / "l.csv", "id,label\nr0,A\nr1,B\nr2,A\n")
    message = one_line(path, labels=labels)
    assert "label ('A', 'B') could be compared to: pass choices=" in message
    labels = write(tmp_path / "l.csv", "id,label\nq0,A\nq1,B\nq2,B\nq3,B\n")
    message = one_line(path, labels=labels, choices=["A", "B"])
    assert "none of its 4 labels" in message and "'q2' and so on" in message
    assert "those of the rows 'r0', 'r1', 'r2'." in message
    labels = write(tmp_path / "l.csv", "id,label\nr0,\nq1,B\n")
    message = one_line(path, labels=labels, choices=["A", "B"])
    assert "ids meet, and have no label" in message
    scores = write(tmp_path / "a", "score\n0.5\n0.7\n")
    labels = write(tmp_path / "l.csv", "label\n1\n")
    message = one_line(scores, labels=labels)
    assert "1 labels for 2 rows" in message and "give both ids, or one" in message
    path = write(tmp_path / "a", "prob_0,prob_1,label\n0.5,0.5,1\n0.5,0.5,2\n")
    assert "from 0 to 1, as options are counted from 0" in one_line(path)


@pytest.mark.parametrize("column", ["correct", "label"])
def test_one_class_is_named(tmp_path, column):
    text = "".join(f"0.{k},0.{9 - k},1\n" for k in range(10))
    path = write(tmp_path / "a", f"prob_0,prob_1,{column}\n{text}")
    assert read(path).notes[-1].startswith("All 10 ")
    write(path, f"prob_0,prob_1,{column}\n{text}0.5,0.5,0\n")
    assert not any(note.startswith("All") for note in read(path).notes)


@pytest.mark.parametrize("form", [bytes, gzip.compress])
def test_the_last_line_is_cut(tmp_path, form):
    whole = "\n".join(map(json.dumps, ROWS)).encode()
    path = write(tmp_path / "a", form(whole[:-10]))
    assert "malformed line 5: not JSON" in one_line(path)
    assert "where the file ends (cut off?)." in one_line(path)
    assert len(read(path, drop_malformed=True)) == 4
    path = write(tmp_path / "a", form(whole[:-10] + b"\n"))
    assert "cut off" not in one_line(path)
    whole = json.dumps(ROWS, indent=1).encode()
    assert "malformed line " in one_line(write(path, form(whole[:-30])))
    assert "the array does not end" in one_line(write(path, form(whole[:-1])))


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture; give the numbers"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture; give the numbers"),
        (b"II*\0\x08\0\0\0", "is a picture; give the numbers"),
        (b"%PDF-1.7\n%\xe2\xe3", "is a PDF; give the numbers in it as CSV."),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save its sheet as CSV."),
        (b"<!doctype html>\n<html></html>", "HTML or XML; download the file itself"),
        (b'<?xml version="1.0"?>\n<a/>', "HTML or XML; download the file itself"),
        (b"SQLite format 3\0", "SQLite; save its table as CSV."),
        (b"version https://git-lfs.github.com/spec/v1\n", "get the file with git lfs"),
        *(
            (pickle.dumps(value, protocol), "is a pickle, which is never loaded")
            for protocol in (0, 1, 2, 5)
            for value in ({"a": [1, 2]}, [0.5], np.zeros(2))
            if protocol != 1
        ),
    ],
)
def test_other_kinds_of_files(tmp_path, start, expected):
    assert expected in one_line(write(tmp_path / "a.csv", start))


def test_formats_that_are_mixed(tmp_path):
    mixed = [sample(0, [-1.0, -2.0], 1), ANSWERS[0]]
    assert "line 2: not a sample of lm-eval" in one_line(write(tmp_path / "a", mixed))
    mixed = [ANSWERS[0], ALL[0]]
    assert "line 2: a decision in a file of" in one_line(write(tmp_path / "a", mixed))
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder / "a.jsonl", [sample(0, [-1.0, -2.0], 1)])
    write(folder / "b.jsonl", [])
    assert read(folder).dropped == {"an empty file": 1}
    write(folder / "b.jsonl", ANSWERS[:1])
    message = one_line(folder, drop_malformed=True)
    assert "b.jsonl: is of format answers, and files before it are lm-eval" in message


def test_files_of_a_folder_that_are_not_read(tmp_path):
    write(tmp_path / "a.jsonl", '{"id": "a", "score": 0.5}\n')
    assert read(tmp_path).notes == ()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "more").mkdir()
    for name in ("readme.txt", "more/plot.png"):
        (tmp_path / name).write_text("")
    outputs = read(tmp_path)
    note = "Files of the folder that were not read: more/plot.png, readme.txt."
    assert outputs.notes == (note,) and outputs.dropped == {}
    lines = gzip.compress(b'{"id": "b", "score": 0.5}\n', mtime=0)
    write(tmp_path / "b.ndjson.gz", lines)
    assert read(tmp_path).ids == ("a", "b")
    write(tmp_path / "more" / "c.CSV.gz", "id,score\nc,0.5\n")
    message = one_line(tmp_path)
    assert "JSON and others with rows, more/c.CSV.gz: move these to another" in message
    assert "got none; read one file at a time: c.CSV.gz." in one_line(tmp_path / "more")


def test_files_beside_samples_of_a_harness(tmp_path):
    write(tmp_path / "samples_law.jsonl", [sample(0, [-1.0, -2.0], 1)])
    write(tmp_path / "results_2026.json", [{"results": {}}])
    assert read(tmp_path).notes == ()
    write(tmp_path / "other.jsonl", [sample(1, [-1.0, -2.0], 1)])
    assert read(tmp_path).notes[-1].endswith("that were not read: other.jsonl.")


def test_an_id_with_other_values_in_another_file_may_be_another_models(tmp_path):
    one, other = ({"id": "a", "score": score} for score in (0.5, 0.25))
    assert "reruns, epochs or several answers? keep one" in one_line(
        write(tmp_path / "a.jsonl", [one, other])
    )
    write(tmp_path / "a.jsonl", [one])
    write(tmp_path / "b.jsonl", [other])
    message = one_line(tmp_path)
    assert "two models? Then read one at a time; if these are reruns, keep" in message


def test_scores_beside_labels_of_two_classes(tmp_path):
    """A confidence of one half or more may be that of either class."""
    path = write(tmp_path / "a", "confidence,label\n0.9,1\n0.5,0\n")
    assert "may be classes, or say which answers are right" in one_line(path)
    outputs = read(path, columns={"outcomes": "label"})
    assert outputs.outcomes.tolist() == [1, 0] and outputs.labels is None
    path = write(path, "confidence,label,prediction\n0.9,1,0\n0.5,0,0\n")
    assert read(path).outcomes.tolist() == [0, 1]
    path = write(path, "confidence,label\n0.9,1\n0.4,0\n")
    assert read(path).outcomes.tolist() == [1, 0] and "class 1" in read(path).notes[0]


def test_one_probability_a_row_is_that_of_class_1(tmp_path):
    """Where it is asked for; what is right follows from the labels."""
    for name in ("score", "prob"):
        path = write(tmp_path / "a", f"{name},label\n0.9,1\n0.25,1\n")
        assert read(path).of_class_one and read(path).kind == "scores"
        outputs = read(path, kind="probabilities")
        found = np.exp(outputs.log_probabilities)
        np.testing.assert_allclose(found, [[0.1, 0.9], [0.75, 0.25]], rtol=1e-6)
        assert outputs.labels.tolist() == [1, 1] and outputs.outcomes is None
        assert "the probability of class 1 of two" in outputs.notes[0]
    path = write(tmp_path / "a", "confidence,label\n0.9,1\n0.25,1\n")
    assert "names of its columns say scores" in one_line(path, kind="probabilities")
    path = write(tmp_path / "a", "score,correct\n0.9,1\n0.25,1\n")
    assert not read(path).of_class_one
    assert "outcomes say which answers" in one_line(path, kind="probabilities")
    path = write(tmp_path / "a", "score,label\n1.9,1\n0.25,1\n")
    assert "in [0, 1]" in one_line(path, kind="probabilities")


def test_outcomes_that_are_all_missing(tmp_path):
    path = write(tmp_path / "a", "id,score,correct\na,0.9,\nb,0.5,\n")
    outputs = read(path)
    assert len(outputs) == 2 and outputs.outcomes is None and not outputs.dropped


def test_labels_of_minus_one_and_one(tmp_path):
    """-1 says that there is no label: without these rows all others would be right."""
    path = write(tmp_path / "a", [{"score": 0.1 * k, "label": k % 2} for k in range(4)])
    assert read(path).outcomes.tolist() == [0, 1, 0, 1]
    lines = [{"score": 0.1 * k, "label": 2 * (k % 2) - 1} for k in range(4)]
    assert "labels are 1 and -1" in one_line(write(path, lines))
