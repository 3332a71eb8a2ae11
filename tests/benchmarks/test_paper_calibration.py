"""Table 1 and Figure 1 of benchmarks/paper against float64, by another route."""

import numpy as np
import pytest
import reference
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

pytest.importorskip("rich")

from benchmarks.paper import calibration  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("calibration").numbers


def each(study):
    """Every task, split and model."""
    for name, task in study.tasks.items():
        for split in range(study.settings.num_halves):
            for model in range(len(task.models)):
                yield name, task, split, model


def negative_log_likelihood(logits, labels, log_temperature):
    probability = reference.softmax(logits, np.exp(log_temperature))
    return -np.mean(np.log(probability[np.arange(len(labels)), labels]))


def test_confidences_are_those_of_the_best_parameter(paper_study):
    for name, task, s, m in each(paper_study):
        halves = paper_study.halves[name]
        fitted, tested = halves.calibration.rows[s], halves.test.rows[s]
        assert not set(fitted) & set(tested)
        assert len(fitted) == len(tested) == task.num_examples // 2
        if task.logits is None:
            slope, intercept = reference.fit_platt(
                task.score[m, fitted], task.correct[m, fitted]
            )
            parameter = slope
            expected = reference.platt((slope, intercept), task.score[m, tested])
        else:
            logits = task.logits[m].astype(np.float64)
            best = optimize.minimize_scalar(
                lambda u, z=logits[fitted], y=task.label[fitted]: (
                    negative_log_likelihood(z, y, u)
                ),
                bracket=(-1.0, 1.0),
                tol=1e-12,
            )
            parameter = np.exp(best.x)
            expected = reference.top1(logits[tested], parameter)[0]
        np.testing.assert_allclose(halves.parameter[s, m], parameter, rtol=2e-5)
        np.testing.assert_allclose(
            halves.test.calibrated[s, m], expected, rtol=2e-5, atol=1e-6
        )
        np.testing.assert_array_equal(
            halves.test.correct[s, m], task.correct[m, tested]
        )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("half", ["calibration", "test"])
def test_quality(paper_study, numbers, when, half):
    for name, _, s, m in each(paper_study):
        rows = getattr(paper_study.halves[name], half)
        confidence = rows.confidence(when == "after")[s, m]
        correct = rows.correct[s, m]
        measured = getattr(numbers[name], when)[half]
        edges = reference.equal_count_edges(confidence)
        table = reference.reliability_table(edges, confidence, correct)
        if s == 0:
            np.testing.assert_array_equal(measured.table.count[m], table.count)
            for field in ("confidence", "outcome"):
                np.testing.assert_allclose(
                    getattr(measured.table, field)[m], getattr(table, field), atol=1e-6
                )
        error = reference.expected_calibration_error(confidence, correct)
        np.testing.assert_allclose(measured.error[s, m], error, atol=1e-6)
        area = roc_auc_score(correct, confidence)
        np.testing.assert_allclose(measured.area[s, m], area, atol=1e-6)
        filled = table.count > 0
        # Exact shares: float64 means that should be equal may differ in the last bit.
        outcome = np.round(table.outcome[filled], 9)
        correlation = stats.spearmanr(table.confidence[filled], outcome)
        np.testing.assert_allclose(
            measured.rank_correlation[s, m], correlation.statistic, atol=1e-5
        )


def test_chance_error_is_that_of_drawn_outcomes(paper_study, numbers):
    """The mean of many independent draws, within their spread."""
    rng = np.random.default_rng(1)
    for name, task in paper_study.tasks.items():
        tested = paper_study.halves[name].test
        for m in range(len(task.models)):
            confidence = tested.calibrated[0, m]
            draws = [
                reference.expected_calibration_error(
                    confidence, rng.uniform(size=confidence.shape) < confidence
                )
                for _ in range(50)
            ]
            ours = numbers[name].after["test"].chance_error[:, m]
            assert np.abs(ours - np.mean(draws)).max() < 5 * np.std(draws)


def test_report(paper_study, numbers):
    section = calibration.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    for name, task in paper_study.tasks.items():
        error = numbers[name].after["test"].error[:, 0]
        row = next(
            line
            for line in text.split(task.title, 1)[1].splitlines()
            if line.startswith(f"| {task.models[0]} |")
        )
        assert f"{error.mean():.3f} ± {error.std():.3f}" in row
    assert [claim.verdict for claim in section.claims]
