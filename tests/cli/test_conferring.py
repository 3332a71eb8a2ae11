"""Two files of models that confer: `cascade`, `apply` and `check` one after another."""

import dataclasses
import io
import json
import sys
import types

import made_pairs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj
from calib_jax import report

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return [
        made_pairs.write_answers(folder / one.name, one)
        for one in made_pairs.two_large()
    ]


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    pair = made_pairs.two_large(seed=1)
    return [made_pairs.write_answers(folder / one.name, one) for one in pair], pair


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A record of a cascade whose large model decides."""
    path = tmp_path_factory.mktemp("alone") / "cascade.json"
    pair = made_pairs.two_large()
    found = report.cascade_report(*pair, max_drop=0.05, large_decides=True)
    found.files()["cascade.json"](path)
    return path


def test_from_two_files_to_a_check(capsys, tmp_path, files, new):
    out, limit = tmp_path / "out", ("--max-drop", "-0.04")
    found = as_json(capsys, "cascade", *files, *limit, "--output", out)
    assert found["arbiter"] is True and found["feasible"]
    assert found["both_gain"] > 0.05 and found["both_accuracy"] > found["accuracy"]
    record = cj.load(out / "cascade.json")
    assert record.arbiter is not None
    assert record.large_input == record.small_input == "one score for each answer"

    paths, (small, large) = new
    status, text, err = run(capsys, "apply", out / "cascade.json", *paths)
    assert status == 0 and err == ""
    lines = [json.loads(line) for line in text.splitlines()]
    assert list(lines[0]) == ["id", "small", "confidence", "answer", "large_confidence"]
    assert [one["id"] for one in lines] == list(small.ids)
    confidence = [
        np.float32([one[name] for one in lines])
        for name in ("confidence", "large_confidence")
    ]
    ask = cj.cascade.prefer_large(record.arbiter, *confidence)
    kept = record.keep_small(small.scores)
    assert [one["small"] for one in lines] == kept.tolist()
    wanted = np.where(kept | ~np.asarray(ask), "small", "large")
    assert [one["answer"] for one in lines] == wanted.tolist()
    # The answers are right as often as the report says.
    right = [one.predictions == one.labels for one in (small, large)]
    accuracy = np.where(wanted == "small", *right).mean()
    assert accuracy == pytest.approx(found["accuracy"], abs=0.03)

    checked = as_json(
        *(capsys, "check", out / "cascade.json", *paths),
        *("--output", tmp_path / "check"),
    )
    assert checked["verdict"] == "shown" and checked["confers"] is True
    assert checked["drop"] == pytest.approx(right[1].mean() - accuracy)
    status, text, _ = run(
        *(capsys, "check", out / "cascade.json", *paths),
        *("--output", tmp_path / "check", "--force"),
    )
    assert status == 0 and "the cascade, with its arbiter, gains" in text


def test_the_large_model_decides_if_asked(capsys, tmp_path, files, alone):
    out = tmp_path / "out"
    more = ("--max-drop", "0.05", "--large-decides", "--output", out)
    found = as_json(capsys, "cascade", *files, *more)
    assert found["arbiter"] is False and found["both_accuracy"] is None
    assert found["conferring"] is None
    text = (out / "cascade.json").read_text("utf-8")
    assert cj.load(alone).arbiter is None and text == alone.read_text("utf-8")
    _, text, _ = run(capsys, "apply", out / "cascade.json", *files)
    lines = [json.loads(line) for line in text.splitlines()]
    assert {(one["small"], one["answer"]) for one in lines} == {
        (True, "small"),
        (False, "large"),
    }


def test_inputs_that_the_large_model_has_yet_to_see(capsys, alone, new, tmp_path):
    paths, (small, large) = new
    kept = cj.load(alone).keep_small(small.scores)
    few = made_pairs.write_answers(
        tmp_path / "few.npz",
        dataclasses.replace(large, ids=np.array(large.ids)),
        np.flatnonzero(~kept)[::2],
    )
    status, text, _ = run(capsys, "apply", alone, paths[0], few)
    lines = [json.loads(line) for line in text.splitlines()]
    assert status == 0 and len(lines) == len(small)
    unknown = [one for one in lines if one["answer"] is None]
    assert len(unknown) == np.sum(~kept) // 2
    assert all(one["large_confidence"] is None for one in unknown)
    assert not any(one["small"] for one in unknown)


def test_errors(capsys, monkeypatch, alone, files, tmp_path):
    stdin = types.SimpleNamespace(buffer=io.BytesIO(b""))
    monkeypatch.setattr(sys, "stdin", stdin)
    message = one_line(capsys, "apply", alone, "-", files[1])
    assert "LARGE needs a file beside it" in message
    message = one_line(capsys, "apply", alone, files[0], files[0])
    assert "given twice" in message
    params = tmp_path / "calibration.json"
    cj.save(params, cj.load(alone).small_params)
    message = one_line(capsys, "apply", params, *files)
    assert "calibration.json: is a calibrator, so that outputs of a large" in message
