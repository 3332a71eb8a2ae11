"""`calib-jax compare`, on folders of files."""

import json

import numpy as np
import pytest
from made_outputs import as_json, logits, one_line, run

pytestmark = pytest.mark.once

ROWS = 300
MODELS = {"small": 1.0, "large": 3.0}
TASKS = ("law", "music")
PATTERN = ("--pattern", "{model}/{task}")
COSTS = ("--cost", "small=1", "--cost", "large=10")


def folder(path, *, with_labels=True):
    """Two models on two tasks."""
    for seed, task in enumerate(TASKS):
        _, labels = logits(seed, rows=ROWS)
        for number, (model, skill) in enumerate(MODELS.items()):
            noise = np.random.default_rng([seed, number, 7]).normal(size=(ROWS, 4))
            values = np.float32(2 * (noise + skill * np.eye(4)[labels]))
            (path / model).mkdir(parents=True, exist_ok=True)
            more = {"labels": labels} if with_labels else {}
            np.savez(path / model / f"{task}.npz", logits=values, **more)
        lines = [f"{row},{one}" for row, one in enumerate(labels)]
        (path / f"{task}-labels.csv").write_text("\n".join(["id,label", *lines]))
    for labels in path.glob("*-labels.csv"):
        if with_labels:
            labels.unlink()
    return path


def test_files_and_json(capsys, tmp_path):
    runs, out = folder(tmp_path / "runs"), tmp_path / "out"
    found = as_json(capsys, "compare", runs, *PATTERN, *COSTS, "--output", out)
    assert found["files"] == [str(out / "report.html"), str(out / "comparison.json")]
    assert list(found)[:3] == ["num_models", "num_tasks", "num_rows"]
    assert (found["num_models"], found["num_tasks"]) == (2, 2)
    assert found["num_rows"] == 4 * ROWS
    assert [(one["task"], one["model"]) for one in found["on_tasks"]] == [
        (task, model) for task in TASKS for model in ("large", "small")
    ]
    assert found["prices"] == {"small": 1.0, "large": 10.0}
    written = json.loads((out / "comparison.json").read_text())
    assert written == {name: found[name] for name in written}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "large/law.npz" in page
    # One model's numbers are those of the command on its file.
    alone = as_json(
        capsys, "calibrate", runs / "small" / "law.npz", "--output", tmp_path / "one"
    )
    row = next(
        one
        for one in found["on_tasks"]
        if (one["model"], one["task"]) == ("small", "law")
    )
    assert row["method"] == alone["method"]
    for name in ("accuracy", "ece_before", "ece_after", "ece_floor"):
        assert row[name] == pytest.approx(alone[name], rel=1e-6), name
    pair = as_json(
        *(capsys, "cascade", runs / "small" / "law.npz", runs / "large" / "law.npz"),
        *("--large-decides", "--output", tmp_path / "two"),
    )
    row = next(
        one for one in found["pairs"] if (one["small"], one["task"]) == ("small", "law")
    )
    assert row["apgr"] == pytest.approx(pair["apgr"], rel=1e-6)


def test_what_is_printed(capsys, tmp_path):
    runs, out = folder(tmp_path / "runs"), tmp_path / "out"
    (runs / "notes.txt").write_text("mine")
    status, text, errors = run(
        capsys, "compare", f"{runs}/*", *PATTERN, "--output", out
    )
    assert status == 2 and "notes.txt" in errors
    status, text, errors = run(capsys, "compare", runs, *PATTERN, "--output", out)
    assert status == 0 and errors == ""
    assert "Files of the folder that were not read: notes.txt." in text
    assert "2 models on 2 tasks, 1,200 rows in all" in text
    assert "Of 2 ordered pairs of models, small then large has the largest" in text
    assert "give one for each with --cost NAME=PRICE" in text
    assert f"Written: {out / 'comparison.json'}" in text
    small, large = (runs / name / "law.npz" for name in ("small", "large"))
    assert f"calibrator: calib-jax calibrate {small}\n" in text
    # What comes next can be run as it stands.
    assert f"calib-jax cascade {small} {large}\n" in text
    # What is there is not written over.
    message = one_line(capsys, "compare", runs, *PATTERN, "--output", out)
    assert "--force" in message


def test_labels_of_each_task(capsys, tmp_path):
    runs = folder(tmp_path / "runs", with_labels=False)
    for task in TASKS:
        text = (runs / f"{task}-labels.csv").read_text()
        (runs / f"{task}-labels.csv").write_text(
            "\n".join(line.partition(",")[2] for line in text.splitlines())
        )
    found = as_json(
        *(capsys, "compare", runs, *PATTERN, "--output", tmp_path / "out"),
        *("--labels", runs / "{task}-labels.csv"),
    )
    assert found["num_rows"] == 4 * ROWS and found["num_calibrated"] == 4


def test_files_that_are_junk(capsys, tmp_path):
    runs, out = folder(tmp_path / "runs"), tmp_path / "out"
    (runs / "small" / "junk.csv").write_text("\n\n")
    message = one_line(capsys, "compare", runs, *PATTERN, "--output", out)
    assert "junk.csv" in message
    status, text, _ = run(
        *(capsys, "compare", runs, *PATTERN, "--output", out, "--skip-unreadable"),
    )
    assert status == 0 and "Left out: " in text and "junk.csv" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "pass --pattern with where the path says it, such as --pattern"),
        (("--pattern", "x"), "pattern: expected {model}, {task} or both"),
        ((*PATTERN, "--cost", "small"), "such as small=0.2"),
        ((*PATTERN, "--cost", "small=-1"), "such as small=0.2"),
        ((*PATTERN, "--cost", "small=1"), "got none for large"),
        ((*PATTERN, *COSTS, "--cost", "small=2"), "--cost once for each model"),
        ((*PATTERN, *COSTS, "--cost", "tiny=2"), "no file is of model 'tiny'"),
        (
            (*PATTERN, "--labels", "none.csv"),
            "none.csv: there is no such file of labels",
        ),
    ],
)
def test_wrong_options(capsys, tmp_path, more, said):
    runs = folder(tmp_path / "runs")
    message = one_line(capsys, "compare", runs, *more, "--output", tmp_path / "out")
    assert said in message
    assert not (tmp_path / "out").exists()


def test_paths_that_are_not_there(capsys, tmp_path):
    out = ("--output", tmp_path / "out")
    message = one_line(capsys, "compare", tmp_path / "none", *out)
    assert message.endswith("none: No such file or directory")
    message = one_line(capsys, "compare", f"{tmp_path}/*.npz", *out)
    assert "no file or folder fits this pattern" in message


def test_a_log_file_gets_a_line_now_and_then(capsys, monkeypatch):
    from calib_jax.cli import running

    monkeypatch.setattr(running, "_LONG_SECONDS", 0.0)
    with running.steps("Reading") as advance:
        advance(1, 4)
        advance(4, 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["calib-jax: Reading: 25% ...", "calib-jax: Reading: 100% ..."]
