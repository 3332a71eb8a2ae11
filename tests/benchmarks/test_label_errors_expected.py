"""The section on expected precision of benchmarks/label_errors, on made-up models."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("cleanlab")

import calib_jax as cj  # noqa: E402
from benchmarks.kit import report  # noqa: E402
from benchmarks.kit.outputs import Outputs  # noqa: E402
from benchmarks.label_errors import expected, ranking_cases  # noqa: E402

pytestmark = pytest.mark.once

SIZE, NUM_OPTIONS = 1200, 4


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    label = rng.integers(0, NUM_OPTIONS, SIZE).astype(np.int32)
    confidence = np.float32(rng.uniform(0.4, 0.99, (2, SIZE)))
    right = rng.random((2, SIZE)) < confidence
    prediction = np.where(right, label, (label + 1) % NUM_OPTIONS).astype(np.int32)
    wrong = rng.random(SIZE) < 0.05
    given = np.where(wrong, (label + 2) % NUM_OPTIONS, label).astype(np.int32)
    return ranking_cases.Case(
        title="Made up, people",
        outputs=Outputs(
            name="made",
            title="Made up",
            models=("one", "two"),
            confidence=confidence,
            score=np.asarray(cj.log_odds(confidence)),
            correct=prediction == given,
            prediction=prediction,
            label=given,
            is_error=wrong,
            is_judged=rng.random(SIZE) < 0.9,
        ),
        num_options=NUM_OPTIONS,
        is_complete=True,
    )


def test_independent_expectation_by_hand():
    """Two models that are right on 90 % of right labels, and 5 % wrong labels."""
    right, noise, num_rows = 0.9, 0.05, 10_000
    other = (1 - right) / (NUM_OPTIONS - 1)
    agrees = (1 - noise) * right + noise * other
    of_right = num_rows * (1 - noise) * (1 - right) ** 2
    of_wrong = num_rows * noise * (1 - other) ** 2
    found = expected.independent(
        np.full((2, num_rows), agrees), round(of_right + of_wrong), NUM_OPTIONS
    )
    false = num_rows * (1 - right) ** 2
    assert found == pytest.approx(1 - false / (of_right + of_wrong), abs=0.01)


def test_flips_are_of_labels_found_right(case):
    task = case.outputs
    made = expected._flipped(case, 0.1, (0, 1))
    kept = task.is_judged & ~task.is_error
    assert made.made and made.outputs.num_examples == kept.sum()
    moved = made.outputs.label != task.label[kept]
    np.testing.assert_array_equal(made.outputs.is_error, moved)
    assert moved.mean() == pytest.approx(0.1, abs=0.03)
    right = made.outputs.prediction == made.outputs.label
    np.testing.assert_array_equal(made.outputs.correct, right)


def made_up(lower, upper):
    """Two splits and K of 5 and 15 with labels: 40 % of the flags are wrong."""
    known = np.array([True, False, False, False, True])
    fill = {
        "num_flagged": 50.0,
        "num_judged": 50.0,
        "actual": 0.4,
        "independent": 0.9,
        "expected": 0.5,
        "lower": np.array(lower)[:, None],
        "upper": np.array(upper)[:, None],
    }
    return expected.Foreseen(
        title="Made up, 10 % flipped",
        num_models=2,
        made=True,
        **{
            name: np.where(known, np.broadcast_to(value, (2, 5)), np.nan)
            for name, value in fill.items()
        },
    )


def test_a_miss_is_named_with_its_side():
    told = expected.describe([made_up([0.3, 0.5], [0.7, 0.8])])
    (miss,) = told["bad"]
    assert miss["coverage"] == "50" and miss["top_bins"] == ["5", "15"]
    assert miss["too_high"] and miss["distance"] == "10.0"
    assert not told["tenth"]["too_low"] and told["tenth"]["held"] == 0
    told = expected.describe([made_up([0.1, 0.2], [0.35, 0.7])])
    assert not told["bad"][0]["too_high"] and told["bad"][0]["distance"] == "5.0"
    assert expected.describe([made_up([0.1, 0.2], [0.5, 0.7])])["bad"] == []


def test_the_section_says_what_was_found(case, tmp_path, monkeypatch):
    flipped = expected._flipped(case, 0.1, (0, 1))
    monkeypatch.setattr(expected, "cases", lambda folder, seed: [case, flipped])
    steps = []
    found = expected.evaluate(tmp_path, seed=0, num_splits=2, advance=steps.append)
    assert len(steps) == len(found) == 2
    one = found[0]
    task = case.outputs
    # With all bins every label counts that both models contradict.
    contradicted = ~task.correct.any(axis=0)
    np.testing.assert_array_equal(one.num_flagged[:, -1], contradicted.sum())
    judged = contradicted & task.is_judged
    np.testing.assert_allclose(one.actual[:, -1], task.is_error[judged].mean())
    assert np.all(np.diff(one.num_flagged, axis=1) >= 0)
    assert np.all(one.lower[:, -1] <= one.expected[:, -1])
    assert np.all(one.expected[:, -1] <= one.upper[:, -1])
    assert np.nanmean(one.covered) == 1
    template = Path(expected.__file__).with_name("expected.md.jinja")
    text = report.render(template, num_splits=2, expected=expected.describe(found))
    assert "| people judged | 1 |" in text and "| flipped | 1 |" in text
    assert "Made up, people, 2 models, K = 15" in text and "nan" not in text
    (draw,) = expected.figures(found).values()
    assert draw(False).axes
