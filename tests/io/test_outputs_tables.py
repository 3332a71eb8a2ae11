"""Outputs in CSV and JSON lines: what spreadsheets and scripts write."""

import gzip
import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from output_files import one_line, read, write

import calib_jax as cj
from calib_jax.io.outputs import label_files

pytestmark = pytest.mark.once


ROWS = "id,prob_0,prob_1,label,subject\na,0.25,0.75,1,x\nb,0.5,0.5,0,y\n"


@pytest.mark.parametrize("name", ["a.csv", "a", "a.jsonl", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_as_spreadsheets_save_it(tmp_path, name, end, start, delimiter):
    data = start + ROWS.replace(",", delimiter).replace("\n", end).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    outputs = read(write(tmp_path / name, data))
    assert outputs.format == "csv" and outputs.kind == "probabilities"
    assert outputs.ids == ("a", "b") and outputs.groups == ("x", "y")
    assert outputs.labels.tolist() == [1, 0]
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6
    )


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_in_lines_or_in_one_document(tmp_path, indent, pack):
    rows = [
        {
            "id": 7,
            "logits": [1.5, -2],
            "answer": "text",
            "label": 1,
            "cost": 0.5,
            "error": "x",
        },
        {"error": "none", "cost": None, "id": 8, "logits": [0, 1e-3], "label": 0},
    ]
    lines = "\n".join(json.dumps(row) for row in rows)
    data = lines if indent is None else json.dumps(rows, indent=indent)
    outputs = read(write(tmp_path / "a.txt", pack(data.encode())))
    assert outputs.format == "jsonl" and outputs.kind == "logits"
    assert outputs.ids == ("7", "8") and outputs.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(outputs.logits, np.float32([[1.5, -2], [0, 1e-3]]))
    np.testing.assert_array_equal(outputs.cost, [0.5, np.nan])


def test_a_list_in_a_cell(tmp_path):
    text = 'id,logits,label\na,"[1.0, 2.0]",cat\nb,"[3, 4]",dog\n'
    outputs = read(write(tmp_path / "a.csv", text), choices=["dog", "cat"])
    assert outputs.logits.tolist() == [[1, 2], [3, 4]]
    assert outputs.labels.tolist() == [1, 0] and outputs.choices == ("dog", "cat")
    message = one_line(tmp_path / "a.csv")
    assert "got 'cat' in line 2, id 'a'" in message and "choices=" in message
    assert "cow, dog" in one_line(tmp_path / "a.csv", choices=["cow", "dog"])
    with pytest.raises(ValueError, match="expected 2 names for the columns"):
        read(tmp_path / "a.csv", choices=["a", "b", "c"])
    for choices in ("ab", ["a"], ["a", "a"], [1, 2]):
        with pytest.raises(ValueError, match="^choices: expected"):
            read(tmp_path / "a.csv", choices=choices)


def test_an_object_with_a_number_for_each_option(tmp_path):
    rows = [
        {"id": 1, "probs": {"yes": 0.25, "no": 0.75}, "label": "no"},
        {"id": 2, "probs": {"no": 0.5, "yes": 0.5}, "label": "yes"},
    ]
    outputs = read(write(tmp_path / "a.jsonl", rows))
    assert outputs.choices == ("yes", "no") and outputs.labels.tolist() == [1, 0]
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6
    )
    outputs = read(tmp_path / "a.jsonl", choices=["no", "yes"])
    assert outputs.choices == ("no", "yes") and outputs.labels.tolist() == [0, 1]
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6
    )
    message = "choices: expected the options of .*: yes, no"
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.jsonl", choices=["no", "maybe"])
    with pytest.raises(ValueError, match="^choices: expected a list of texts"):
        read(tmp_path / "a.jsonl", choices=(name for name in ["no", "yes"]))
    with pytest.raises(ValueError, match="^columns: expected"):
        read(tmp_path / "a.jsonl", columns={"labels": 3})
    rows[1]["label"] = 0
    assert "expected one of yes, no" in one_line(write(tmp_path / "a.jsonl", rows))
    rows[0]["label"] = 1
    path = write(tmp_path / "a.jsonl", rows)
    assert read(path, choices=["yes", "no"]).labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="which may count in either"):
        read(path, choices=["no", "yes"])
    rows[1]["probs"]["maybe"] = 0.0
    assert "line 2: probs: expected the options of the first row" in one_line(
        write(tmp_path / "a.jsonl", rows)
    )


@pytest.mark.parametrize("names", ["p0,p1", "probs_0,probs_1", "Prob.0,Prob.1"])
def test_columns_with_a_number_for_each_class(tmp_path, names):
    outputs = read(write(tmp_path / "a.csv", f"{names},y_true\n0.25,0.75,1\n"))
    assert outputs.kind == "probabilities" and outputs.labels.tolist() == [1]
    columns = {"probabilities": names.split(",")[::-1]}
    outputs = read(tmp_path / "a.csv", columns=columns)
    np.testing.assert_allclose(
        np.exp(outputs.log_probabilities), [[0.75, 0.25]], rtol=1e-6
    )


def test_messages_are_one_line_whatever_names_hold(tmp_path):
    name = "logits\n\x1b[31m"
    path = write(tmp_path / "a", [{name: [1.0, 2.0]}, {name: [1.0]}, {"a\rb": 1}])
    message = one_line(path)
    assert r"logits\n\x1b[31m" in message and message.isprintable()
    outputs = read(
        write(path, [{"logits": [1, 2], "id": "a\nb"}, {"\x1b": 1}]),
        drop_malformed=True,
    )
    assert outputs.ids == ("a\nb",)
    assert all(reason.isprintable() for reason in outputs.dropped)


def test_scores_and_what_makes_them_right(tmp_path):
    path = tmp_path / "a.csv"
    outputs = read(write(path, "score,correct\n0.5,True\n0.25,no\n1e-3,0.5\n"))
    assert outputs.outcomes.tolist() == [1, 0, 0.5] and outputs.labels is None
    assert outputs.scores.tolist() == np.float32([0.5, 0.25, 1e-3]).tolist()
    outputs = read(write(path, "score,prediction,label\n0.5,2,2\n0.25,1,0\n0.1,,0\n"))
    assert outputs.outcomes.tolist() == [1, 0]
    assert outputs.dropped == {"no prediction beside a label": 1}
    outputs = read(write(path, "score,label\n0.5,1\n0.25,0\n"))
    assert outputs.outcomes.tolist() == [1, 0]
    outputs = read(write(path, "score,label\n0.5,True\n0.25,false\n"))
    assert outputs.outcomes.tolist() == [1, 0]
    assert "classes, counted from 0" in one_line(write(path, "score,label\n0.5,cat\n"))
    assert "several classes" in one_line(write(path, "score,label\n0.5,2\n0.25,0\n"))
    assert "outcomes in [0, 1]" in one_line(write(path, "score,correct\n0.5,7\n"))
    assert "line 3" in one_line(write(path, "score,correct\n0.5,1\n0.5,maybe\n"))
    text = "score,prediction,label,correct\n0.5,2,2,0\n"
    outputs = read(write(path, text))
    assert outputs.outcomes.tolist() == [1]
    assert outputs.notes[0].startswith("Outcomes and labels do not agree on 1 of 1")


def test_tables_of_image_models(tmp_path):
    """Their label is the name of the prediction, and the classes the likeliest few."""
    path = tmp_path / "a.csv"
    text = "filename,index,label,prob\na.jpg,3,cat,0.5\nb.jpg,1,dog,0.25\n"
    outputs = read(write(path, text))
    assert outputs.ids == ("a.jpg", "b.jpg") and outputs.labels is None
    assert outputs.predictions.tolist() == [3, 1] and outputs.kind == "scores"
    labels = write(tmp_path / "labels.csv", "filename,label\nb.jpg,1\na.jpg,2\n")
    assert read(path, labels=labels).outcomes.tolist() == [0, 1]
    outputs = read(write(path, "index,label,prob,filename\n3,cat,0.5,a.jpg\n"))
    assert outputs.predictions.tolist() == [3] and outputs.labels is None
    text = "index,filename,prob_0,prob_1,label\n0,a,0.9,0.1,0\n1,b,0.4,0.6,0\n"
    outputs = read(write(path, text))
    assert outputs.labels.tolist() == [0, 0] and outputs.predictions is None
    outputs = read(write(path, "index,filename,prob,label\n0,a,0.9,1\n1,b,0.4,0\n"))
    assert outputs.outcomes.tolist() == [1, 0] and outputs.predictions is None
    text = "filename,index_0,index_1,prob_0,prob_1\na.jpg,3,1,0.5,0.2\n"
    assert "--topk 0" in one_line(write(path, text))


def test_malformed_lines_are_named(tmp_path):
    path = write(tmp_path / "a.csv", "id,score\na,0.5\nb,x\nc,0.1,2\nd,0.7\n")
    message = one_line(path)
    assert "malformed line 3: score: expected a number, got 'x'; line 4: 3" in message
    outputs = read(path, drop_malformed=True)
    assert outputs.ids == ("a", "d") and sum(outputs.dropped.values()) == 2
    assert list(outputs.dropped_at.values()) == [("line 3",), ("line 4",)]
    lines = [json.dumps({"id": k, "logits": [k, 1.0]}) for k in range(30)]
    for number in range(3, 20):
        lines[number] = '{"id": 3, "logits": [1'
    lines[1] = '{"id": 1, "logits": [1, 2, 3]}'
    lines[2] = '{"id": 2}'
    message = one_line(write(path, "\n".join(lines)))
    assert "line 2: logits: expected 2 numbers as in the first row, got 3" in message
    assert "line 3: has no 'logits'" in message and "and 14 more" in message
    assert len(read(path, drop_malformed=True)) == 11
    with pytest.raises(ValueError, match="drop_malformed: expected True or False"):
        read(path, drop_malformed="no")
    lines = ['{"id": 1, "logits": [1, 2]}', '{"doc_id": 3, "resps": []}']
    assert "line 2" in one_line(write(path, "\n".join(lines)))


def test_rows_that_are_left_out_keep_their_numbers(tmp_path):
    path = tmp_path / "a"
    good = [json.dumps({"score": k / 10}) for k in range(6)]
    lines = [good[0], "{", *good[2:4], '{"score": "x"}', good[5], "{"]
    kept = ("0", "2", "3", "5")
    outputs = read(write(path, "\n".join(lines)), drop_malformed=True)
    assert outputs.ids == kept and not outputs.has_ids
    labels = write(tmp_path / "labels.csv", "correct\n1\n0\n1\n0\n0\n1\n0\n")
    outputs = read(path, drop_malformed=True, labels=labels)
    assert outputs.ids == kept and outputs.outcomes.tolist() == [1, 1, 0, 1]
    text = "score,cost\n0,1\nx,1\n,\n0.3,1\n0.4,1,1\n0.5,1\n0.6,1\n,\n\n"
    outputs = read(write(path, text), drop_malformed=True, labels=labels)
    assert outputs.ids == ("0", "3", "5", "6")
    assert outputs.outcomes.tolist() == [1, 0, 1, 0]
    assert outputs.dropped_at["an empty row"] == ("before line 5",)
    outputs = read(write(path, "score\n0.1\n\n0.3\n\n"))
    assert outputs.ids == ("0", "2") and outputs.dropped == {"an empty row": 1}
    labels = write(tmp_path / "labels.csv", "label\n1\n\n0\n")
    assert read(path, labels=labels).outcomes.tolist() == [1, 0]


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "")
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("id,score\n", "no row is left to calibrate: it holds none"),
        ("[]", "expected an object, got an empty list"),
        ("a,b\n1,2\n", "got a, b"),
        ("id,score,score\na,1,2\n", "column 'score' is there twice"),
        ("id,score\n\xe9,1\n".encode("latin-1"), "line 2 is not UTF-8 at byte 0"),
        ("id,score\na,1\n".encode("utf-16"), "UTF-16"),
        ('{"foo": 1}', "in none of the formats"),
        ('{"task_id": "x", "solution": "y"}', "nothing to calibrate"),
        ('{"results": {}, "configs": {}}', "--log_samples"),
        ('{"format": "calib_jax", "kind": "Platt", "fields": {}}', "calib_jax.load"),
        ('{"model": "m", "done": true, "logprobs": []}', "Ollama"),
        ("[1, 2]", "expected an object, got 1"),
        ("[" * 100_000, "not readable JSON"),
        ('{"a":' * 100_000, "not readable JSON"),
        ('{"id": 1, "logits": [' + "9" * 5000 + "]}", "not readable JSON"),
        ('{"id": 1, "logits": [' + "9" * 400 + "]}", "expected a number"),
        ('{"id": 1, "logits": [[1, 2]]}', "expected a number, got a list"),
        ('{"id": 1, "logits": [true, 1]}', "expected a number, got True"),
        ('{"id": 1, "logits": [1, 2], "logits": [1, 2]}', "twice"),
        ("score\n" + "1" * 200_000 + "\n", "line 2: field larger"),
        (gzip.compress(b"PK\x03\x04 no zip", mtime=0), "a gzipped npz file; unpack it"),
        (b"PK\x03\x04 no zip", "cannot be read"),
        (b"PK\x05\x06" + bytes(18), "a zip file with nothing; save arrays with"),
        (zipped("xl/workbook.xml"), "xl/workbook.xml; save a sheet of Excel as CSV."),
        (zipped("header.json"), "header.json cannot be unpacked"),
        (b"PAR1 no parquet", "cannot be read"),
        (b"\x93NUMPY\x01\x00", "cannot be read"),
        (b"\x89HDF\r\n\x1a\n", "cannot be read"),
        (b"\x28\xb5\x2f\xfd....", "zstd"),
        (b"\x1f\x8b\x08\x00damaged", "gzip is damaged"),
        (bytes(range(256)) * 9, "bytes that are not text"),
        (
            gzip.compress(b"id,score\n" + b"a,1\n" * 9999, mtime=0)[:40],
            "gzip is damaged",
        ),
    ],
)
def test_other_files_get_one_line(tmp_path, text, expected):
    assert expected in one_line(write(tmp_path / "a", text))


@pytest.mark.parametrize("kept", ["outputs", "labels"])
def test_one_long_text_is_not_taken_as_many(tmp_path, kept):
    """NumPy gives each text of an array the width of the longest."""
    texts = ["x" * 20_000, *"ab" * 500]
    score = {"score": 0.5} if kept == "outputs" else {}
    rows = [{"prediction" if score else "any": text, **score} for text in texts]
    path = write(tmp_path / "a", rows)
    tracemalloc.start()
    try:
        if kept == "outputs":
            assert len(read(path)) == 1001
        else:
            assert not label_files.read(path).are_outcomes
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_json_of_other_names_is_a_table_where_they_are_given(tmp_path):
    path = write(tmp_path / "a", [{"id": "a", "p_hat": [0.5, 0.5]}])
    assert "in none of the formats" in one_line(path)
    for given in ({"columns": {"probabilities": "p_hat"}}, {"kind": "probabilities"}):
        assert read(path, **given).log_probabilities.shape == (1, 2)


def test_names_that_the_first_line_lacks_are_told(tmp_path):
    rows = [{"score": 0.5}, {"score": 0.25, "label": 1}, {"score": 0.25, "id": 1}]
    (note,) = read(write(tmp_path / "a", rows)).notes
    assert note == "Not read, as the first line has none: label, id."


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_damaged_gzip_is_named_with_its_line(tmp_path, damage):
    lines = [f"{k},0.{k * 7919 % 99991}\n" for k in range(9999)]
    data = gzip.compress("".join(["id,score\n", *lines]).encode(), mtime=0)
    data = data[: len(data) // 2] if damage == "truncated" else data[:-8] + bytes(8)
    message = one_line(write(tmp_path / "a.csv.gz", data))
    assert f"{tmp_path / 'a.csv.gz'}: gzip is damaged after line" in message


def test_lines_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(cj.io.json_lines, "LONGEST_LINE", 1000)
    monkeypatch.setattr(cj.io.json_lines, "LONGEST_DOCUMENT", 10_000)
    bomb = gzip.compress(b"{" + b" " * 10**7, mtime=0)
    assert "line 1 is longer than" in one_line(write(tmp_path / "a", bomb))
    bomb = gzip.compress(b'[\n{"id": 1,\n' + b" " * 900 + b"\n" * 10**7, mtime=0)
    assert "a JSON document is longer" in one_line(write(tmp_path / "a", bomb))
    bomb = gzip.compress(b"id,score\n" + b" " * 10**7, mtime=0)
    assert "line 2 is longer than" in one_line(write(tmp_path / "a", bomb))


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="path: expected the path of a file"):
        read(None)
    assert "expected files of JSON" in one_line(tmp_path)
    write(tmp_path / "a.jsonl", '{"id": 1, "score": 0.5}\n')
    write(tmp_path / "b.jsonl", '{"id": 2, "score": 0.25}\n{"id": 3}\n')
    assert "b.jsonl line 2" in one_line(tmp_path)
    outputs = read(tmp_path, drop_malformed=True)
    assert outputs.ids == ("1", "2") and outputs.scores.tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="expected a file of format csv"):
        read(tmp_path, format="csv")


def test_rows_of_one_id(tmp_path):
    text = "id,score\na,0.5\nb,0.1\na,0.25\na,0.5\nb,0.1\nc,nan\nc,nan\n"
    path = write(tmp_path / "a.csv", text)
    message = one_line(path)
    assert "id 'a' has different values in line 2 and line 4 (1 such ids)" in message
    for repeats, kept in (("first", "a later"), ("last", "an earlier")):
        outputs = read(path, repeats=repeats)
        assert dict(zip(outputs.ids, outputs.scores, strict=True)) == {
            "a": 0.5,
            "b": np.float32(0.1),
        }
        assert outputs.dropped == {
            "the same row once more": 2,
            f"{kept} row of the same id, with other values": 2,
            "a score that is NaN or infinite": 1,
        }
    path = write(path, "id,score,correct\na,0.5,1\na,0.5,0\n")
    assert "different values" in one_line(path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.csv.gz", "a.jsonl.gz", "."])
def test_progress(tmp_path, name):
    text = "id,score\n" + "".join(f"{k},0.5\n" for k in range(30_000))
    if "csv" not in name:
        text = "".join(f'{{"id": {k}, "score": 0.5}}\n' for k in range(30_000))
    data = gzip.compress(text.encode(), mtime=0) if name.endswith("gz") else text
    path = write(tmp_path / (name if name != "." else "b.jsonl"), data)
    calls = []
    read(tmp_path / name, progress=lambda *bytes_read: calls.append(bytes_read))
    done, total = zip(*calls, strict=True)
    assert list(done) == sorted(done) and done[-1] == path.stat().st_size
    assert set(total) == {path.stat().st_size}
    assert len(calls) > 3 or name.endswith("gz")
    with pytest.raises(ValueError, match="progress: expected a function or None"):
        read(tmp_path / name, progress=True)


def test_spaces_around_cells_are_nothing(tmp_path):
    text = ' id , score , correct, task\n a , 0.5 , 1 , "x, y"\n b,0.25,  0 ,z\n'
    outputs = read(write(tmp_path / "a.csv", text))
    assert outputs.ids == ("a", "b") and outputs.groups == ("x, y", "z")
    assert outputs.outcomes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1_0", "got '1_0'. Fix"),
        ('"0,9"', "got '0,9': write it with a point"),
        ('"1,234"', "none between thousands"),
        ("0x1F", "got '0x1F'. Fix"),
    ],
)
def test_numbers_are_written_plainly(tmp_path, cell, expected):
    assert expected in one_line(write(tmp_path / "a", f"id,score\na,{cell}\n"))


def test_a_column_is_one_thing(tmp_path):
    path = write(tmp_path / "a", "p,q,label\n0.2,0.8,1\n")
    for columns in (
        {"probabilities": ["p", "p"]},
        {"scores": "label", "labels": "label"},
    ):
        with pytest.raises(ValueError, match="^columns: '(p|label)' is there twice"):
            read(path, columns=columns)


def test_what_can_be_read_once_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert "neither a file nor a folder" in one_line(tmp_path / "a.csv")
    path = write(tmp_path / "b.csv", "id,score\ra,0.5\r")
    assert r"lines end in \r alone" in one_line(path)
    path = write(path, '{"id": 1, "score": 0.5}{"id": 2, "score": 0.5}')
    assert "cut off" not in one_line(path)


def test_log_probabilities_that_float32_does_not_have(tmp_path):
    """They are -inf, and a row of nothing else says nothing."""
    lines = [
        {"logprobs": [-1e300, -0.25], "label": 1},
        {"logprobs": [-1e300, -1e39], "label": 1},
    ]
    outputs = read(write(tmp_path / "a.jsonl", lines))
    assert outputs.log_probabilities.tolist() == [[-np.inf, -0.25]]
    assert outputs.dropped == {"no option has a probability": 1}
