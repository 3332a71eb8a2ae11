"""benchmarks/families: its command with made-up judgements, and one real judgement."""

import sys

import numpy as np
import paper_data
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.families import __main__ as command  # noqa: E402
from benchmarks.families import classes, judged, scores  # noqa: E402
from benchmarks.kit import outputs  # noqa: E402

pytestmark = pytest.mark.once


def made_up(better):
    """Judgements in which one calibrator is better than all others, from 100 rows."""

    def judge(task, method, rows):
        shape = rows.fitted.shape[0], len(rows.sizes)
        noise = np.random.default_rng(0).normal(0.2, 0.001, shape)
        gain = 0.05 * (np.asarray(rows.sizes) >= 100) * (method == better)
        values = noise - gain
        log_loss = np.where(method == "isotonic", np.inf, values)
        return judged.Judged(
            log_loss=log_loss,
            brier=values,
            ece=values,
            accuracy=np.full(shape, 0.7),
            fitted=np.full(shape[1], 0.75 if method == "vector" else 1.0),
        )

    return judge


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "judge", made_up("beta"))
    monkeypatch.setattr(classes, "judge", made_up("dirichlet"))
    folder = paper_data.write(tmp_path / "outputs")
    arguments = [str(folder), "--num-splits", "2", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["families", *arguments])
    command.main()
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| 100 | 5 | beta | - |" in text and "| 100 | 2 | Dirichlet | - |" in text
    assert "| beta | 100 | -50.0 ± 0.0 |" in text
    assert "| isotonic | never | 0.0 ± 0.0 |" in text
    assert "| CIFAR-10: isotonic | inf in 2 of 2 | inf in 2 of 2 |" in text
    assert "| vector | 25.0 | 25.0 |" in text
    assert (tmp_path / "figures" / "scores-dark.png").stat().st_size > 1000


def test_judgements_are_those_of_plain_calls(tmp_path):
    folder = paper_data.write(tmp_path)
    task = outputs.read(folder, "cifar10")
    rows = judged.rows(task, 0, 2)
    assert rows.sizes == (50, 100)
    assert not set(rows.fitted[0]) & set(rows.tested[0])
    found = scores.judge(task, "platt", rows)
    of_classes = classes.judge(task, "temperature", rows)
    expected, expected_of_classes = [], []
    second = rows.tested[1]
    for model, score in enumerate(task.score):
        first = rows.fitted[1, :50]
        params, _ = cj.fit_platt(score[first], task.correct[model, first])
        after = cj.calibrate(params, score[second])
        expected.append(cj.brier_score(after, task.correct[model, second]))
        logits = task.logits[model]
        params, _ = cj.fit_temperature(logits[first], task.label[first])
        after = np.asarray(cj.calibrate(params, logits[second]), np.float64)
        right = after[np.arange(len(second)), task.label[second]]
        expected_of_classes.append(-np.mean(np.log(right)))
    np.testing.assert_allclose(found.brier[1, 0], np.mean(expected), atol=1e-5)
    actual = of_classes.log_loss[1, 0]
    np.testing.assert_allclose(actual, np.mean(expected_of_classes), atol=1e-4)
