"""`calib-jax cascade`, on files."""

import json

import made_pairs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

import calib_jax as cj

pytestmark = pytest.mark.once


def test_files_and_json(capsys, tmp_path):
    small, large = made_pairs.files(tmp_path)
    out = tmp_path / "out"
    found = as_json(capsys, "cascade", small, large, "--cost", "1:10", "--output", out)
    assert found["files"] == [str(out / "report.html"), str(out / "cascade.json")]
    assert found["num_rows"] == made_pairs.NUM_ROWS and found["feasible"]
    assert 0.5 < found["apgr"] < 1
    assert found["small_accuracy"] < found["large_accuracy"]
    record = cj.load(out / "cascade.json")
    assert record.num_small_bins == found["num_small_bins"] > 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "small.csv" in page
    # A folder with files is not written to.
    message = one_line(capsys, "cascade", small, large, "--output", out)
    assert "--force" in message


def test_what_is_printed(capsys, tmp_path):
    small, large = made_pairs.files(tmp_path)
    out = tmp_path / "out"
    status, text, _ = run(
        *(capsys, "cascade", small, large, "--output", out),
        *("--max-drop", "0.02", "--confidence-level", "0.9"),
    )
    assert status == 0
    assert "With confidence 90%, the cascade is at most 2 points less" in text
    assert f"Written: {out / 'cascade.json'}" in text
    assert (
        f"Next: Decide for new inputs: calib-jax apply {out / 'cascade.json'} " in text
    )


def test_labels_are_for_both_files(capsys, tmp_path):
    pair = made_pairs.pair(rows=400)
    paths = []
    for one in pair:
        path = tmp_path / f"{one.name}.jsonl"
        rows = zip(one.ids, one.scores.tolist(), strict=True)
        lines = [
            json.dumps({"id": i, "score": x, "prediction": int(right)})
            for (i, x), right in zip(rows, one.outcomes, strict=True)
        ]
        path.write_text("\n".join(lines))
        paths.append(path)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n" + "\n".join(f"{one},1" for one in pair[0].ids))
    message = one_line(capsys, "cascade", *paths)
    assert "nothing says which answers are right" in message and "--labels" in message
    found = as_json(
        *(capsys, "cascade", *paths, "--labels", labels),
        *("--output", tmp_path / "out", "--max-drop", "0.2"),
    )
    assert found["num_rows"] == 400
    _, judged = [], 200
    assert abs(found["small_accuracy"] - pair[0].outcomes.mean()) < 3 / judged**0.5


def test_two_binary_classifiers(capsys, tmp_path):
    """Files of the probability of class 1: what is right is in the labels."""
    rng = np.random.default_rng(0)
    labels, paths = rng.integers(0, 2, 600), []
    accuracies = {}
    for name, skill in (("small", 1.0), ("large", 2.0)):
        odds = skill * (2 * labels - 1) + rng.normal(size=600)
        shares = 1 / (1 + np.exp(-odds))
        path = tmp_path / f"{name}.csv"
        rows = [f"q{i},{shares[i]:.6f},{labels[i]}" for i in range(600)]
        path.write_text("id,score,label\n" + "\n".join(rows))
        paths.append(path)
        accuracies[name] = np.mean((shares > 0.5) == labels)
    message = one_line(capsys, "cascade", *paths)
    assert message.startswith("small.csv: labels of 0 and 1 beside one score a row")
    assert "pass --kind probabilities if a score is the probability" in message
    found = as_json(
        *(capsys, "cascade", *paths, "--kind", "probabilities"),
        *("--output", tmp_path / "out", "--max-drop", "0.2"),
    )
    for name, accuracy in accuracies.items():
        assert found[f"{name}_accuracy"] == pytest.approx(accuracy, abs=0.05)
    assert found["feasible"] and found["small"]["method"] == "temperature"


def test_costs_of_the_files(capsys, tmp_path):
    pair = made_pairs.pair(rows=600)
    paths = [
        made_pairs.write(tmp_path / one.name, one, cost=[price] * 600)
        for one, price in zip(pair, (2, 8), strict=True)
    ]
    out = tmp_path / "out"
    found = as_json(capsys, "cascade", *paths, "--output", out, "--max-drop", "0.2")
    assert found["small_cost"] == 2 and found["large_cost"] == 8
    assert found["cost_saved_share"] == pytest.approx(
        found["small_share"] - 0.25, abs=1e-5
    )
    found = as_json(
        *(capsys, "cascade", *paths, "--output", out, "--force", "--cost", "0:1"),
        *("--max-drop", "0.2"),
    )
    assert found["large_cost"] == 1
    assert found["cost_saved_share"] == pytest.approx(found["small_share"], abs=1e-5)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        ("10", "such as 1:10, got '10'"),
        ("1:2:3", "such as 1:10, got '1:2:3'"),
        ("1:x", "such as 1:10"),
        ("-1:10", "prices of 0 or more, got '-1:10'"),
        ("nan:1", "prices of 0 or more"),
        ("1:inf", "prices of 0 or more"),
        ("0:0", "both prices are 0"),
    ],
)
def test_wrong_costs(capsys, tmp_path, cost, message):
    small, large = made_pairs.files(tmp_path, rows=50)
    status, out, err = run(capsys, "cascade", small, large, f"--cost={cost}")
    assert status == 2 and out == "" and message in " ".join(err.split())


def test_wrong_files(capsys, tmp_path):
    small, large = made_pairs.files(tmp_path, rows=60)
    other = tmp_path / "other.csv"
    other.write_text(large.read_text().replace("q", "x"))
    assert "no id is in all of them" in one_line(capsys, "cascade", small, other)
    tiny = [
        made_pairs.write(tmp_path / f"tiny_{one.name}", one)
        for one in made_pairs.pair(rows=10)
    ]
    assert "at least 40 rows" in one_line(capsys, "cascade", *tiny)
    other.write_text("id,score,correct\n" + "q1,nan,1\n" * 3)
    assert "NaN" in one_line(capsys, "cascade", small, other)
    other.write_text("")
    assert "is empty" in one_line(capsys, "cascade", small, other)
    rows = [f"q{i},{i / 60},1" for i in range(60)]
    other.write_text("id,score,correct\n" + "\n".join(rows))
    message = one_line(capsys, "cascade", small, other)
    assert message.startswith("other.csv: all answers in the fitting half are right")
    assert not (tmp_path / "calib-jax-cascade").exists()


def test_what_is_read_is_not_replaced(capsys, tmp_path):
    small, large = made_pairs.files(tmp_path, rows=60)
    small = small.rename(tmp_path / "cascade.json")
    message = one_line(capsys, "cascade", small, large, "--output", tmp_path, "--force")
    assert "it is an input and would be overwritten" in message
    assert small.read_text().startswith("id,score")
