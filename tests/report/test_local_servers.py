"""A folder of a local server's answers gives the findings that arrays give."""

import json

import numpy as np
import pytest
from made_outputs import logits
from native_bodies import ollama_chat, step

import calib_jax as cj
from calib_jax.report import calibration_report

pytestmark = pytest.mark.once


def test_a_folder_of_ollama_is_judged_as_arrays(tmp_path):
    values, labels = logits(rows=400)
    values = values.astype(np.float64)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    names = [f"q{number:03}" for number in range(len(values))]
    folder = tmp_path / "answers"
    folder.mkdir()
    for name, row in zip(names, values, strict=True):
        body = ollama_chat([step(row, "ABCD")])
        (folder / f"{name}.json").write_text(json.dumps(body))
    given = tmp_path / "labels.csv"
    pairs = zip(names, labels, strict=True)
    letters = [f"{name},{'ABCD'[one]}\n" for name, one in pairs]
    given.write_text("id,answer\n" + "".join(letters))
    np.savez(
        tmp_path / "a.npz",
        log_probabilities=values.astype(np.float32),
        labels=labels,
        ids=names,
        choices=list("ABCD"),
    )
    ours, theirs = (
        calibration_report(outputs).to_dict()
        for outputs in (
            cj.io.read_outputs(folder, choices=list("ABCD"), labels=given),
            cj.io.read_outputs(tmp_path / "a.npz"),
        )
    )
    for found in (ours, theirs):
        # Only they say where it comes from.
        del found["sources"]
    source, _ = (found["model"].pop("source") for found in (ours, theirs))
    assert source["format"] == "answers" and source["num_rows"] == 400
    assert ours == theirs
