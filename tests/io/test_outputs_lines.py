"""Outputs from lines that are not in a file, a batch at a time."""

import json

import numpy as np
import pytest
from output_files import ALL, read, sample, write
from servers import chat, entry

from calib_jax.io.outputs import left_out, reading

pytestmark = pytest.mark.once

LINES = {
    "lm-eval": [sample(k, [-1.0 - k, -2.0], k % 2) for k in range(6)],
    "answers": [
        chat("a", [entry("A", -k, ("A", -k), ("B", -1.5))], custom_id=f"n{k}")
        for k in range(1, 7)
    ],
    "decisions": [ALL[0] | {"id": str(k)} for k in range(6)],
    "jsonl": [{"logits": [k, 1.5], "label": k % 2} for k in range(6)],
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("form", ["text", "bytes", "parsed"])
def test_batches_of_lines_are_the_file(tmp_path, name, form):
    lines = LINES[name]
    more = {"choices": ["A", "B"]} if name == "answers" else {}
    whole = read(write(tmp_path / "a.jsonl", lines), **more)
    if form != "parsed":
        lines = [json.dumps(line) for line in lines]
    if form == "bytes":
        lines = [line.encode() + b"\n" for line in lines]
    found, format = [], None
    for start in (0, 4):
        batch = iter(lines[start : start + 4])
        part = reading.read_lines(
            batch, name="standard input", format=format, num_before=start, **more
        )
        found.append(part)
        format = part.format
    assert [part.name for part in found] == ["standard input"] * 2
    assert whole.format == format and whole.kind == found[0].kind
    assert whole.ids == (*found[0].ids, *found[1].ids)
    for field in ("logits", "log_probabilities", "scores", "labels", "predictions"):
        parts = [getattr(part, field) for part in found]
        given = getattr(whole, field)
        if given is not None:
            np.testing.assert_array_equal(given, np.concatenate(parts))


def test_lines_that_are_not_read_have_their_number():
    lines = ['{"score": 0.5}', "{", '{"score": 0.25}']
    with pytest.raises(ValueError, match=r"^standard input: malformed line 13: not"):
        reading.read_lines(lines, name="standard input", num_before=11)
    with pytest.raises(ValueError, match="malformed line 1: not") as error:
        reading.read_lines([b"{"], name="a")
    assert "cut off" not in str(error.value)
    outputs = reading.read_lines(lines, name="a", num_before=11, drop_malformed=True)
    assert outputs.ids == ("11", "13")
    with pytest.raises(left_out.NoRowError, match="no row is left") as error:
        reading.read_lines(['{"id": 1, "error": "late"}'], name="a", format="answers")
    assert error.value.dropped == {"a failed request, 'late'": 1}
    with pytest.raises(ValueError, match="expected JSON lines, got 'id,score'"):
        reading.read_lines(["id,score", "a,1"], name="a")
    with pytest.raises(ValueError, match="not csv: save them to a file"):
        reading.read_lines([], name="a", format="csv")


def test_outputs_have_the_name_of_their_file(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    path = write(folder / "a.jsonl", '{"score": 0.5}\n')
    assert read(path).name == "a.jsonl" and "name='a.jsonl'" in repr(read(path))
    assert read(folder).name == "run"
    monkeypatch.chdir(folder)
    assert read(".").name == "run"


def test_labels_of_lines_may_be_left_out(tmp_path):
    lines = [
        {"id": "a", "confidence": 0.9, "label": None},
        {"id": "b", "confidence": 0.9, "label": 1},
    ]
    with pytest.raises(ValueError, match="may be classes, or say which"):
        reading.read_lines(lines, name="a")
    path = write(tmp_path / "a", lines)
    for outputs in (
        reading.read_lines(lines, name="a", labelled=False),
        reading.read_file(path, labelled=False),
    ):
        assert outputs.ids == ("a", "b") and outputs.labels is outputs.outcomes is None


@pytest.mark.parametrize("name", ["answers", "decisions"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_first_line_of_a_stream_says_whether_lines_have_ids(name, size):
    more = {"choices": ["A", "B"]} if name == "answers" else {}
    failed = {"id": "x", "custom_id": "x", "error": {"message": "late"}}
    lines = LINES[name][:4]
    odd = {key: lines[1][key] for key in lines[1] if key not in ("id", "custom_id")}
    before, ids, dropped = reading.Before(), [], {}
    for start in range(0, 5, size):
        batch = [failed, lines[0], odd, *lines[2:]][start : start + size]
        try:
            found = reading.read_lines(
                batch, name="a", before=before, drop_malformed=True, **more
            )
            ids += found.ids
        except left_out.NoRowError as error:
            found = error
        dropped |= found.dropped_at
    assert (before.num_lines, before.num_rows, before.format) == (5, 5, name)
    kept = [lines[k].get("custom_id", lines[k].get("id")) for k in (0, 2, 3)]
    # A decision has a row for each question.
    assert list(dict.fromkeys(one.partition("/")[0] for one in ids)) == kept
    assert dropped["malformed: expected an id in all lines or in none"] == ("line 3",)


def test_rows_without_a_number_are_kept_where_they_are_asked_for():
    lines = [{"p": [0.25, 0.75]}, {"p": None}, {"p": [0.0, 0.0]}, {"p": [None, 0.5]}]
    asked = {"name": "a", "kind": "probabilities", "columns": {"probabilities": "p"}}
    found = reading.read_lines(lines, **asked, missing=True, smoothing=0.1)
    expected = np.log(0.9 * np.array([0.25, 0.75]) + 0.05)
    np.testing.assert_allclose(found.log_probabilities[0], expected, rtol=1e-6)
    assert np.isnan(found.log_probabilities[1:]).all() and len(found) == 4
    assert found.dropped == {
        "a NaN among the values": 2,
        "no option has a probability": 1,
    }
    with pytest.raises(ValueError, match="expected probabilities in"):
        reading.read_lines([{"p": [2, 3]}, *lines], **asked, missing=True)
    # Without a number nothing says how many classes there would be.
    found = reading.read_lines(lines[1:2], **asked, missing=True)
    assert found.kind == "scores" and np.isnan(found.scores).tolist() == [True]
