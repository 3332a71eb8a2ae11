"""`calib-jax calibrate` from a file to a folder."""

import ast
import json
import re
import shlex
import warnings

import made_outputs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run
from output_files import sample, write

import calib_jax as cj
from calib_jax.report import calibration_report

pytestmark = pytest.mark.once


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.npz"
    values, labels = made_outputs.logits()
    np.savez(path, logits=values, labels=labels)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_folder(capsys, file, out):
    status, printed, err = run(capsys, "calibrate", file, "--output", out)
    assert status == 0 and err == ""
    names = ["report.html", "calibration.json", "confidences.csv"]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    for name in names:
        assert f"Written: {out / name}\n" in printed
    assert "Temperature scaling, because each option has a value." in printed
    assert f"calib-jax apply {out / 'calibration.json'} NEW_FILE\n" in printed
    params = cj.load(out / "calibration.json")
    assert 1.6 < float(params.temperature) < 2.5
    page = (out / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "model.npz" in page
    assert f"calib-jax apply {out / 'calibration.json'} NEW_FILE</li>" in page


def test_next_steps_can_be_pasted(file):
    report = calibration_report(cj.io.read_outputs(file))
    step, python = report.next_steps(file.parent / "o'clock at noon")
    command = shlex.split(step.partition(": ")[2].replace("NEW_FILE", str(file)))
    place = str(file.parent / "o'clock at noon" / "calibration.json")
    assert command == ["calib-jax", "apply", place, str(file)]
    (text,) = re.findall(r"load\((.*?)\),", python)
    assert ast.literal_eval(text) == place
    alone, _ = report.next_steps()
    assert alone.endswith("calib-jax apply calibration.json NEW_FILE")


def test_json_keys(capsys, file, out):
    found = as_json(capsys, "calibrate", file, "--output", out, "--seed", "3")
    assert found["num_rows"] == made_outputs.NUM_ROWS and found["seed"] == 3
    assert 0 <= found["ece_after"] < found["ece_before"] < 1
    low, high = found["ece_after_lower"], found["ece_after_upper"]
    assert low <= found["ece_after"] <= high


def test_a_limit_on_the_risk(capsys, file, out):
    first = ("calibrate", file, "--output", out, "--force", "--max-risk")
    status, printed, _ = run(capsys, *first, "0.25")
    assert status == 0 and printed.count("at most 25%") == 2
    found = as_json(capsys, *first, "0.25")["selective"]
    assert found["limit"] == 0.25 and found["asked"]
    assert 0 < found["promised_coverage"] < found["coverage_at_limit"]
    for bad in ("0", "1", "nan"):
        assert "--max-risk" in one_line(capsys, *first, bad)


def test_methods_by_name(capsys, file, out):
    first = ("calibrate", file, "--output", out, "--force", "--method")
    _, printed, _ = run(capsys, "calibrate", "--help")
    words = " ".join(printed.split())
    assert "--method NAME The calibrator, such as temperature, platt, " in words
    assert "dirichlet" not in words
    told = one_line(capsys, *first, "spline")
    assert "'temperature', " in told and "'ensemble-temperature'" in told
    for name, title in (("isotonic", "Isotonic regr"), ("scaling-binning", "Scaling-")):
        found = as_json(capsys, *first, name)
        assert found["method"] == found["model"]["method"] == name
        assert found["model"]["reason"].startswith(title)
    status, printed, _ = run(capsys, *first, "vector")
    assert status == 0 and "another option the likeliest" in printed
    applied = run(capsys, "apply", out / "calibration.json", file)
    assert applied[0] == 0 and len(applied[1].splitlines()) == made_outputs.NUM_ROWS


def test_labels_in_a_file_of_their_own(capsys, tmp_path, out):
    values, labels = made_outputs.logits()
    np.save(tmp_path / "logits.npy", values)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "short.npy", labels[:-1])
    first = ("calibrate", tmp_path / "logits.npy", "--output", out)
    assert "kind" in one_line(capsys, *first)
    kind = ("--kind", "logits")
    assert "Pass a file of labels" in one_line(capsys, *first, *kind)
    found = one_line(capsys, *first, *kind, "--labels", tmp_path / "short.npy")
    assert "1199 labels for 1200 rows" in found
    assert not out.exists()
    given = as_json(capsys, *first, *kind, "--labels", tmp_path / "labels.npy")
    assert given["num_rows"] == made_outputs.NUM_ROWS


@pytest.mark.parametrize(("rows", "enough"), [(39, False), (40, True)])
def test_few_rows(capsys, tmp_path, out, rows, enough):
    values, labels = made_outputs.logits(rows=rows)
    np.savez(tmp_path / "few.npz", logits=values, labels=labels)
    arguments = ("calibrate", tmp_path / "few.npz", "--output", out)
    if enough:
        assert as_json(capsys, *arguments)["num_rows"] == rows
    else:
        assert "expected at least 40 rows" in one_line(capsys, *arguments)


def test_groups_of_a_harness(capsys, tmp_path, out):
    values, labels = made_outputs.logits(rows=200)
    values = np.minimum(values - 20, 0).astype(np.float64)
    lines = [
        sample(k, row, label, doc={"question": "?", "subject": ["law", "art"][k % 2]})
        for k, (row, label) in enumerate(
            zip(values.tolist(), labels.tolist(), strict=True)
        )
    ]
    path = write(tmp_path / "samples_made.jsonl", lines)
    found = as_json(capsys, "calibrate", path, "--output", out)
    groups = found["model"]["groups"]
    assert {group["name"] for group in groups} == {"law", "art"}
    assert sum(group["num_rows"] for group in groups) == 100
    assert found["sources"][0]["format"] == "lm-eval"


def test_a_fit_without_an_optimum_is_told(capsys, tmp_path, out):
    path = tmp_path / "scores.csv"
    lines = [f"{k - 100},{int(k >= 100)}" for k in range(200)]
    path.write_text("\n".join(["score,correct", *lines]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        status, printed, err = run(capsys, "calibrate", path, "--output", out)
    assert status == 0 and err == ""
    assert "The fit ended as SEPARABLE." in printed
    assert "ended as SEPARABLE" in (out / "report.html").read_text()


def test_all_answers_right(capsys, tmp_path, out):
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["score,correct", *["0.5,1"] * 50]))
    found = one_line(capsys, "calibrate", path, "--output", out)
    assert "are right, so nothing can be fitted" in found


def test_zeros_and_smoothing(capsys, tmp_path, out):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([0.5] * 3, 400)
    shares[::10, 2] = 0
    labels = np.where(np.arange(400) % 10 == 0, 2, shares.argmax(axis=1))
    path = tmp_path / "votes.npz"
    np.savez(path, probabilities=shares / shares.sum(axis=1)[:, None], labels=labels)
    first = ("calibrate", path, "--output", out, "--method", "temperature")
    assert "has a probability of 0" in one_line(capsys, *first)
    found = as_json(capsys, *first, "--smoothing", "0.05")
    assert found["method"] == "temperature"


def test_an_output_that_exists(capsys, file, out):
    out.mkdir()
    (out / "cascade.json").write_text("of another command")
    (out / "confidences.csv").write_text("old")
    arguments = ("calibrate", file, "--output", out)
    assert "exists and is not empty" in one_line(capsys, *arguments)
    assert (out / "confidences.csv").read_text() == "old"
    as_json(capsys, *arguments, "--force")
    assert (out / "cascade.json").read_text() == "of another command"
    assert (out / "confidences.csv").read_text().startswith("id,confidence,")


def test_output_in_the_folder_of_the_input(capsys, file):
    """Nothing there is lost, even an input with the name of an output."""
    folder = file.parent
    as_json(capsys, "calibrate", file, "--output", folder, "--force")
    assert sorted(np.load(file).files) == ["labels", "logits"]
    taken = folder / "confidences.csv"
    before = taken.read_text()
    found = one_line(capsys, "calibrate", taken, "--output", folder, "--force")
    assert "it is an input and would be overwritten" in found
    assert taken.read_text() == before


def test_nothing_is_written_elsewhere(capsys, file, out, monkeypatch):
    cwd = file.parent / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    as_json(capsys, "calibrate", file, "--output", out)
    assert list(cwd.iterdir()) == []
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "cwd",
        "model.npz",
        "out",
    ]
    as_json(capsys, "calibrate", file)
    assert [path.name for path in cwd.iterdir()] == ["calib-jax-calibrate"]


def test_hostile_names(capsys, tmp_path, out):
    values, labels = made_outputs.logits(rows=60)
    lines = [
        {"id": f"<script>{k}\ud800", "logits": row, "label": label, "task": "<b>" * 9}
        for k, (row, label) in enumerate(
            zip(values.tolist(), labels.tolist(), strict=True)
        )
    ]
    path = tmp_path / "<img src=x>.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    as_json(capsys, "calibrate", path, "--output", out)
    page = (out / "report.html").read_text()
    assert "<img src=x>" not in page and "<b><b>" not in page
    read = cj.io.read_outputs(out / "confidences.csv")
    assert read.ids[0] == "<script>0\\ud800"
