"""`calib-jax clean` from files to an audit."""

import csv
import json

import made_outputs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj

pytestmark = pytest.mark.once


@pytest.fixture
def made(tmp_path):
    """Two files of outputs, one of labels, and which are wrong."""
    values, labels, wrong = made_outputs.experts()
    for name, one in zip(("small", "large"), values, strict=True):
        np.savez(tmp_path / f"{name}.npz", logits=one)
    lines = [f"{label}" for label in labels]
    (tmp_path / "labels.csv").write_text("\n".join(["label", *lines]) + "\n")
    return tmp_path, labels, wrong


def arguments(folder, *more):
    files = (folder / "small.npz", folder / "large.npz")
    labels = ("--labels", folder / "labels.csv")
    return ("clean", *files, *labels, "--output", folder / "out", *more)


def test_a_folder(capsys, made):
    folder, labels, wrong = made
    status, printed, err = run(capsys, *arguments(folder))
    assert status == 0 and err == ""
    out = folder / "out"
    names = {"report.html", "suspects.csv", "review.csv"}
    assert {path.name for path in out.iterdir()} == names
    for words in (
        "labels are suspect, of 1,200",
        "Wrong labels make models look overconfident",
        "drawn at random: if ",
        f"Next: Open {out / 'review.csv'}, which",
    ):
        assert words in printed
    with (out / "suspects.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [
        *("rank", "id", "given", "suggestion", "score"),
        *("answer_1", "confidence_1", "answer_2", "confidence_2"),
    ]
    rows = np.array([int(line["id"]) for line in lines])
    assert wrong[rows].mean() > 0.8 and len(rows) > 10
    assert [line["given"] for line in lines] == [str(one) for one in labels[rows]]
    assert [int(line["rank"]) for line in lines] == list(range(1, len(rows) + 1))


def test_json_keys_and_top_bins(capsys, made):
    folder, *_ = made
    found = as_json(capsys, *arguments(folder))
    assert found["num_rows"] == 1200 and found["num_top_bins"] == 10
    assert found["num_flagged"] == len(found["suspects"]) > 10
    assert 0 <= found["least_precision"] <= found["expected_precision"]
    assert found["expected_precision"] <= found["most_precision"] <= 1
    more = as_json(capsys, *arguments(folder, "--top-bins", "15", "--force"))
    assert more["num_flagged"] > found["num_flagged"]
    assert "ranking" not in found


def test_the_way_to_a_bound(capsys, made):
    """The steps that are printed, done by a person who knows the truth."""
    folder, _, wrong = made
    found = as_json(capsys, *arguments(folder))
    path = folder / "out" / "review.csv"
    head, *lines = path.read_text("utf-8-sig").splitlines()
    place = head.split(",").index("row")
    for k in range(found["num_to_audit"]):
        row = int(lines[k].split(",")[place])
        lines[k] += "wrong" if wrong[row] else "right"
    path.write_text("\n".join([head, *lines]))
    sheet = cj.io.read_review_sheet(path)
    bounds = cj.cleaning.audit_bounds(
        sheet.counts, sheet.counts.sum(), num_flagged=found["num_flagged"]
    )
    assert bounds.lower[0] >= found["audit_target"]
    # And these answers are never lost.
    before = path.read_text()
    told = one_line(capsys, *arguments(folder, "--force"))
    assert "may hold answers, which --force does not replace" in told
    assert path.read_text() == before
    assert "exists and is not empty" in one_line(capsys, *arguments(folder))


def test_an_unanswered_sheet_is_replaced(capsys, made):
    folder, *_ = made
    as_json(capsys, *arguments(folder))
    as_json(capsys, *arguments(folder, "--force", "--top-bins", "15"))
    sheet = cj.io.read_review_sheet(folder / "out" / "review.csv")
    assert sheet.num_blank == len(sheet.rows)


def test_one_file_with_its_own_labels(capsys, tmp_path):
    values, labels, _ = made_outputs.experts(1)
    np.savez(tmp_path / "model.npz", logits=values[0], labels=labels)
    found = as_json(
        capsys, "clean", tmp_path / "model.npz", "--output", tmp_path / "out"
    )
    assert len(found["models"]) == 1 and found["num_flagged"] > 10


def test_labels_by_name_and_nasty_ids(capsys, tmp_path):
    values, labels, _ = made_outputs.experts(1)
    names = ["=cat", "@dog", "-1", "<b>cow</b>"]
    with (tmp_path / "model.jsonl").open("w") as file:
        for k, row in enumerate(values[0].tolist()):
            line = {"id": f"=cmd|' /C calc'!A{k}", "logits": dict(zip(names, row))}  # noqa: B905
            file.write(json.dumps(line) + "\n")
    with (tmp_path / "labels.jsonl").open("w") as file:
        for k, label in enumerate(labels.tolist()):
            line = {"id": f"=cmd|' /C calc'!A{k}", "label": names[label]}
            file.write(json.dumps(line) + "\n")
    found = as_json(
        capsys,
        *("clean", tmp_path / "model.jsonl", "--labels", tmp_path / "labels.jsonl"),
        *("--output", tmp_path / "out"),
    )
    assert {one["given"] for one in found["suspects"]} <= set(names)
    for name in ("suspects.csv", "review.csv"):
        with (tmp_path / "out" / name).open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
        assert len(lines) == found["num_flagged"] + 1
        cells = [cell for line in lines for cell in line if cell]
        assert any(cell.startswith("'=cmd|") for cell in cells)
        assert not any(cell[0] in "=@" for cell in cells)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>cow</b>" not in page


def test_what_cannot_be_cleaned(capsys, made):
    folder, labels, _ = made
    out = ("--output", folder / "out")
    found = one_line(capsys, "clean", folder / "small.npz", *out)
    assert found.startswith("small.npz: no labels to check. Pass a file of them")
    np.savez(folder / "scores.npz", scores=np.arange(99.0), correct=np.arange(99) % 2)
    found = one_line(capsys, "clean", folder / "scores.npz", *out)
    assert found.startswith("scores.npz: it says whether answers are right, and not ")
    assert "add columns label and prediction, or the labels and the prob" in found
    assert "--labels" not in found
    # What it says to do leads somewhere.
    rows = np.arange(99)
    chosen = {"label": rows // 2 % 3, "prediction": rows // 2 % 3 + (rows % 20 == 0)}
    both = {"scores": rows / 99, "correct": rows % 20 != 0, **chosen}
    np.savez(folder / "both.npz", **both)
    assert run(capsys, "clean", folder / "both.npz", "--output", folder / "b")[0] == 0
    np.savez(folder / "binary.npz", scores=np.arange(99.0), labels=np.arange(99) % 2)
    found = one_line(capsys, "clean", folder / "binary.npz", *out)
    assert "it has scores but no predictions" in found
    np.savez(folder / "short.npz", logits=np.zeros((50, 4)), labels=labels[:50])
    found = one_line(capsys, "clean", folder / "small.npz", folder / "short.npz", *out)
    assert "equally many rows" in found
    assert not (folder / "out").exists()
