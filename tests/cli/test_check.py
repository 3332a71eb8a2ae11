"""`calib-jax check`: exit status, JSON and page."""

import dataclasses

import made_pairs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj
from calib_jax import report

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("record") / "cascade.json"
    found = report.cascade_report(*made_pairs.pair(), max_drop=0.02)
    found.files()["cascade.json"](path)
    return path


def test_all_is_well(capsys, tmp_path, record):
    small, large = made_pairs.files(tmp_path, seed=7)
    out = tmp_path / "out"
    found = as_json(capsys, "check", record, small, large, "--output", out)
    assert found["num_rows"] == made_pairs.NUM_ROWS
    assert found["verdict"] == "shown" and found["alarm"] is False
    assert found["confidence_level"] == 0.99
    assert found["files"] == [str(out / "report.html")]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "the new rows confirm it" in page
    status, text, _ = run(capsys, "check", record, small, "--output", out, "--force")
    assert status == 0 and "nothing contradicts it" in text
    assert "Next: Add the large model's file" in text


def test_status_1(capsys, tmp_path, record):
    small, large = made_pairs.pair(rows=1000, seed=8)
    worse = dataclasses.replace(small, outcomes=np.zeros_like(small.outcomes))
    paths = [made_pairs.write(tmp_path / one.name, one) for one in (worse, large)]
    out = tmp_path / "out"
    status, text, _ = run(capsys, "check", record, *paths, "--output", out)
    assert status == 1 and "these rows contradict it" in text
    assert (out / "report.html").exists()
    status, text, _ = run(
        capsys, "check", record, paths[0], "--output", out, "--force", "--json"
    )
    assert status == 1 and '"accuracy_fell": true' in text
    # Other inputs, without labels.
    lines = [f"q{i},{0.3 + 0.1 * (i % 3)}" for i in range(600)]
    paths[0].write_text("id,score\n" + "\n".join(lines))
    status, text, _ = run(
        capsys, "check", record, paths[0], "--output", out, "--force", "--json"
    )
    assert status == 1 and '"verdict": "drifted"' in text


def test_labels_of_another_file(capsys, tmp_path, record):
    small, large = made_pairs.pair(rows=500, seed=9)
    labels = made_pairs.write(tmp_path / "labels.csv", small)
    lines = [f"{i},{x}" for i, x in zip(small.ids, small.scores.tolist(), strict=True)]
    path = tmp_path / "small.csv"
    path.write_text("id,score\n" + "\n".join(lines))
    found = as_json(
        *(capsys, "check", record, path, "--labels", labels),
        *("--output", tmp_path / "out"),
    )
    assert found["small_accuracy"] is not None


def test_few_rows_with_labels(capsys, tmp_path, record):
    """Whether the inputs changed is seen on all rows."""
    small, large = made_pairs.pair(rows=1000, seed=9)
    lines = [
        f"{name},{score},{int(right) if row < 100 else ''}"
        for row, (name, score, right) in enumerate(
            zip(small.ids, small.scores.tolist(), small.outcomes, strict=True)
        )
    ]
    path = tmp_path / "small.csv"
    path.write_text("id,score,correct\n" + "\n".join(lines))
    more = ("--output", tmp_path / "out", "--force")
    found = as_json(capsys, "check", record, path, *more)
    assert (found["num_rows"], found["num_labelled"]) == (1000, 100)
    assert sum(found["drift"]["count"]) == 1000
    assert found["small_accuracy"] is not None
    assert "outside_share" not in found["drift"]
    # The labels may be in another file, and the large model's beside it.
    plain, labels = tmp_path / "plain.csv", tmp_path / "labels.csv"
    plain.write_text(
        "\n".join(line.rpartition(",")[0] for line in ["id,score,", *lines])
    )
    rows = [f"{line.split(',')[0]},{line.rpartition(',')[2]}" for line in lines]
    labels.write_text("id,correct\n" + "\n".join(rows[:100]))
    other = as_json(capsys, "check", record, plain, "--labels", labels, *more)
    assert {**other, "sources": 0} == {**found, "sources": 0}
    big = made_pairs.write(tmp_path / "large.csv", large)
    found = as_json(capsys, "check", record, path, big, *more)
    assert (found["num_rows"], found["num_labelled"]) == (1000, 100)
    assert found["drop"] is not None


def test_errors(capsys, tmp_path, record):
    small, large = made_pairs.files(tmp_path, rows=100)
    other = tmp_path / "platt.json"
    cj.save(other, cj.Platt(slope=np.float32(1), intercept=np.float32(0)))
    message = one_line(capsys, "check", other, small)
    assert message.endswith("expected a cascade.json, got a Platt.")
    values = tmp_path / "logits.npy"
    np.save(values, np.zeros((50, 3), np.float32))
    message = one_line(capsys, "check", record, values, "--kind", "logits")
    assert "takes one score for each answer" in message
    message = one_line(capsys, "check", small, small)
    assert "JSON file written by save" in message
    plain = tmp_path / "plain.csv"
    plain.write_text("id,score\nq1,0.5\nq2,0.7\n")
    message = one_line(capsys, "check", record, plain, large)
    assert "nothing says which answers are right" in message
