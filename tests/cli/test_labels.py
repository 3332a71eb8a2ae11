"""Files of labels: one for all models, or one for each."""

import json
import re

import made_pairs
import numpy as np
import pytest
from made_outputs import as_json, one_line, run

pytestmark = pytest.mark.once

ROWS = 400


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Scores of two models, and for each what its samples passed."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for one in made_pairs.pair(rows=ROWS, seed=4):
        scores, results = (folder / f"{one.name}{end}" for end in ("l", "_results"))
        rows = zip(one.ids, one.scores.tolist(), strict=True)
        scores.write_text(
            "".join(json.dumps({"id": i, "score": x}) + "\n" for i, x in rows)
        )
        rows = zip(one.ids, one.outcomes, strict=True)
        tasks = {i: [{"status": "pass" if right else "fail"}] for i, right in rows}
        results.write_text(json.dumps({"date": "", "eval": tasks}))
        found += [scores, results, float(one.outcomes.mean())]
    return found


def test_each_model_has_its_own_outcomes(capsys, tmp_path, files):
    small, passed, share, large, large_passed, large_share = files
    out = tmp_path / "out"
    given = ("--labels", passed, "--labels", large_passed, "--max-drop", "0.2")
    found = as_json(capsys, "cascade", small, large, *given, "--output", out)
    assert found["num_rows"] == ROWS
    slack = 3 / (ROWS / 2) ** 0.5
    assert abs(found["small_accuracy"] - share) < slack
    assert abs(found["large_accuracy"] - large_share) < slack
    assert found["small_accuracy"] < found["large_accuracy"]
    # The same as with both in one file each.
    _, text, _ = run(
        capsys, "cascade", small, large, *given, "--output", out, "--force"
    )
    (later,) = re.findall(r"calib-jax check .*", text)
    assert later.endswith(
        "NEW_SMALL NEW_LARGE --labels NEW_LABELS_1 --labels NEW_LABELS_2"
    )
    record = out / "cascade.json"
    _, text, _ = run(
        *(capsys, "check", record, small, large, *given[:4]),
        *("--output", tmp_path / "check"),
    )
    assert "nothing contradicts it" in text or "confirm it" in text
    _, text, _ = run(
        *(capsys, "check", record, small, *given[:2]),
        *("--output", tmp_path / "check", "--force"),
    )
    assert "nothing contradicts it" in text


def test_outcomes_of_one_model_are_not_those_of_another(capsys, tmp_path, files):
    small, passed, _, large, _, _ = files
    bools = tmp_path / "right.npy"
    np.save(bools, np.arange(ROWS) % 2 == 1)
    csv = tmp_path / "right.csv"
    csv.write_text("id,correct\nq0,1\nq1,0\n")
    for labels in (passed, bools, csv):
        for given in (("--labels", labels), ("--labels", labels) * 2):
            message = one_line(capsys, "cascade", small, large, *given)
            assert "says which answers of a model are right" in message
            assert "repeat --labels" in message


def test_as_many_files_of_labels_as_of_outputs(capsys, tmp_path, files):
    small, passed, _, large, large_passed, _ = files
    given = ("--labels", passed) * 3
    message = one_line(capsys, "cascade", small, large, *given)
    assert "expected --labels once, or once for each of 2 files, got it 3" in message
    given = ("--labels", passed, "--labels", large_passed)
    message = one_line(capsys, "calibrate", small, *given)
    assert "once for each of 1 files, got it 2" in message
    found = as_json(
        *(capsys, "calibrate", small, *given[:2], "--output", tmp_path / "out")
    )
    assert found["num_rows"] == ROWS
