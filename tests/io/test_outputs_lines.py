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
