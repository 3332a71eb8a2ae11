"""Commands on raw logits that vLLM writes in place of log-probabilities."""

import json

import numpy as np
import pytest
import servers
from made_outputs import as_json, one_line, run
from servers import entry

import calib_jax as cj

pytestmark = pytest.mark.once

NUM = 600


@pytest.fixture
def files(tmp_path):
    """Answers of one letter behind another token, and the letters that are right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(NUM, 2)) + 12
    right = rng.integers(0, 2, NUM)
    logits[np.arange(NUM), right] += 2.0
    lines = []
    for number, row in enumerate(logits.tolist()):
        top = zip("AB", row, strict=True)
        letter = entry("AB"[int(np.argmax(row))], max(row), *top)
        content = [entry("\n", 20.0), letter]
        lines.append(servers.chat("c", content, custom_id=f"q{number}"))
    path, labels = tmp_path / "answers.jsonl", tmp_path / "labels.csv"
    path.write_text("\n".join(map(json.dumps, lines)))
    letters = [f"q{number},{'AB'[one]}" for number, one in enumerate(right)]
    labels.write_text("\n".join(["id,answer", *letters]))
    outcomes = tmp_path / "correct.csv"
    correct = (logits.argmax(axis=1) == right).astype(int)
    outcomes.write_text(
        "\n".join(["id,correct", *(f"q{k},{one}" for k, one in enumerate(correct))])
    )
    return path, labels, outcomes, logits, right, correct


def test_the_mean_raw_logit_gets_platt_scaling(capsys, tmp_path, files):
    path, _, outcomes, logits, _, correct = files
    out = tmp_path / "out"
    how = ("--labels", outcomes, "--output", out)
    assert "with --kind logits" in one_line(capsys, "calibrate", path, *how)
    how = ("--labels", outcomes, "--kind", "logits")
    _, text, _ = run(capsys, "calibrate", path, *how, "--output", out)
    assert "Platt scaling, because there is one score for each answer." in text
    assert f"{out / 'calibration.json'} NEW_FILE --kind logits\n" in text
    # The same as from an array of the paper's score.
    scores = (20.0 + logits.max(axis=1)).astype(np.float32) / 2
    array = tmp_path / "scores.npz"
    ids = [f"q{number}" for number in range(NUM)]
    np.savez(array, scores=scores, correct=correct, ids=ids)
    run(capsys, "calibrate", array, "--output", tmp_path / "other")
    ours, theirs = (
        cj.load(folder / "calibration.json") for folder in (out, tmp_path / "other")
    )
    assert isinstance(ours, cj.Platt) and ours.slope > 0
    np.testing.assert_allclose(ours.slope, theirs.slope, rtol=1e-3)
    # Nothing says how sure a logit is before calibration.
    again = ("--output", tmp_path / "again")
    found = as_json(capsys, "calibrate", path, *how, *again)
    assert found["method"] == "platt" and found["ece_before"] is None
    applied = run(capsys, "apply", out / "calibration.json", path, "--kind", "logits")[
        1
    ]
    first = json.loads(applied.splitlines()[0])
    expected = cj.calibrate(ours, scores[:1])
    np.testing.assert_allclose(first["confidence"], expected, rtol=1e-5)
    # A mean log-likelihood is another score.
    likely = tmp_path / "likely.jsonl"
    body = servers.chat("c", [entry("A", -0.5)], custom_id="a")
    likely.write_text(json.dumps(body))
    message = one_line(capsys, "apply", out / "calibration.json", likely)
    assert "holds mean log-likelihood of the answer's tokens" in message
    assert "takes mean raw logit of the answer's tokens" in message


def test_logits_of_options_get_a_temperature(capsys, tmp_path, files):
    path, labels, _, logits, right, _ = files
    out, other = tmp_path / "out", tmp_path / "other"
    how = ("--labels", labels, "--kind", "logits", "--choices", "A,B")
    _, text, _ = run(capsys, "calibrate", path, *how, "--output", out)
    assert "Temperature scaling, because each option has a value." in text
    array = tmp_path / "logits.npz"
    ids = [f"q{number}" for number in range(NUM)]
    np.savez(array, logits=logits.astype(np.float32), labels=right, ids=ids)
    run(capsys, "calibrate", array, "--output", other)
    ours, theirs = (cj.load(one / "calibration.json") for one in (out, other))
    np.testing.assert_allclose(ours.temperature, theirs.temperature, rtol=1e-6)


def test_a_cascade_of_raw_logits(capsys, tmp_path, files):
    path, _, outcomes, logits, _, _ = files
    large = tmp_path / "large.csv"
    rng = np.random.default_rng(1)
    rows = [
        f"q{number},{sure:.4f},{int(rng.random() < sure)}"
        for number, sure in enumerate(rng.uniform(0.8, 1.0, NUM))
    ]
    large.write_text("\n".join(["id,confidence,correct", *rows]))
    small = tmp_path / "small.npz"
    scores = (20.0 + logits.max(axis=1)).astype(np.float32) / 2
    outputs = cj.io.read_outputs(path, labels=outcomes, kind="logits")
    np.savez(small, scores=scores, correct=outputs.outcomes, ids=outputs.ids)
    found = [
        cj.report.cascade_report(one, cj.io.read_outputs(large))
        for one in (outputs, cj.io.read_outputs(small))
    ]
    assert found[0].small.method == found[1].small.method == "platt"
    assert found[0].num_small_bins == found[1].num_small_bins
