"""Further language models in benchmarks/paper, against float64."""

import numpy as np
import pytest
import reference

from calib_jax import plots

pytest.importorskip("rich")
pytest.importorskip("cleanlab")

from benchmarks.kit import halves, outputs, report  # noqa: E402
from benchmarks.paper import further, further_numbers  # noqa: E402
from benchmarks.paper.further_numbers import LENGTHS, LOGIT, SOFTMAX  # noqa: E402

pytestmark = pytest.mark.once

NAME = "mmlu_redux"


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("further").numbers


@pytest.fixture(scope="module")
def answers(paper_study):
    """The arrays of the file, the rows that count, and the rows of the splits."""
    described = outputs.descriptions(without_pairs=True)[NAME]
    with np.load(paper_study.folder / described["files"][0]) as file:
        arrays = dict(file)
    kept = ~np.isnan(arrays["max_logit"][:10]).any(axis=0)
    for name in ("confidence", "correct", "max_logit"):
        arrays[name] = arrays[name][:, kept]
    arrays["verdict"] = arrays["verdict"][kept]
    settings = paper_study.settings
    rows = halves.random_rows(settings.seed, kept.sum(), settings.num_halves)
    return arrays, rows


def test_both_scores_see_the_same_questions(numbers, answers):
    arrays, _ = answers
    task = numbers[NAME]
    assert task.num_examples == arrays["correct"].shape[1]
    assert task.num_left_out == 1
    softmax, logit = task.scores[SOFTMAX], task.scores[LOGIT]
    assert [len(each.calibration.models) for each in (softmax, logit)] == [12, 10]
    assert not any("gpt" in model for model in logit.calibration.models)
    np.testing.assert_array_equal(
        softmax.calibration.accuracy[:, :10], logit.calibration.accuracy
    )
    assert list(numbers["mmlu_paper_pair"].scores) == [SOFTMAX]


@pytest.mark.parametrize("score", [SOFTMAX, LOGIT])
def test_calibration(numbers, answers, score):
    arrays, (fitted, tested) = answers
    task = numbers[NAME].scores[score].calibration
    for m in (0, 7):
        confidence = arrays["confidence"][m]
        values = (
            reference.log_odds(confidence)
            if score == SOFTMAX
            else arrays["max_logit"][m].astype(np.float64)
        )
        correct = arrays["correct"][m]
        for s in range(len(fitted)):
            params = reference.fit_platt(values[fitted[s]], correct[fitted[s]])
            # A slope below 0 also turns the order round.
            calibrated = reference.platt(params, values[tested[s]])
            error = reference.expected_calibration_error(calibrated, correct[tested[s]])
            np.testing.assert_allclose(task.after["test"].error[s, m], error, atol=2e-4)
            area = reference.area_under_roc(values[tested[s]], correct[tested[s]])
            np.testing.assert_allclose(task.before["test"].area[s, m], area, atol=1e-6)


def test_pairs_follow_the_rule(numbers, answers):
    arrays, _ = answers
    accuracy = arrays["correct"].mean(axis=1)
    names = numbers[NAME].scores[SOFTMAX].calibration.models
    expected = {
        (i, j)
        for i in range(12)
        for j in range(12)
        if accuracy[j] - accuracy[i] >= further_numbers.LEAST_GAP + 0.01
    }
    allowed = {
        (i, j)
        for i in range(12)
        for j in range(12)
        if accuracy[j] - accuracy[i] >= further_numbers.LEAST_GAP - 0.01
    }
    # Accuracies on all questions decide, one of which is not in the arrays here.
    found = set(numbers[NAME].scores[SOFTMAX].small_large)
    assert expected <= found <= allowed
    assert set(numbers[NAME].scores[LOGIT].small_large) == {
        pair for pair in found if max(pair) < 10
    }
    strong = np.median(accuracy) - 0.01
    for first, second in numbers[NAME].scores[SOFTMAX].large_pairs.pairs:
        pair = accuracy[names.index(first)], accuracy[names.index(second)]
        assert min(pair) >= strong
        assert abs(pair[0] - pair[1]) <= further_numbers.MOST_GAP + 0.01
    (pair,) = numbers["mmlu_paper_pair"].scores[SOFTMAX].large_pairs.pairs
    assert pair == ("Qwen2.5 32B Coder", "Llama 3.1 70B")


def test_uncalibrated_routing_compares_the_logits_as_they_are(numbers, answers):
    arrays, (fitted, tested) = answers
    scored = numbers[NAME].scores[LOGIT]
    logits = arrays["max_logit"][:10].astype(np.float64)
    for p in (0, len(scored.small_large) - 1):
        small, large = scored.small_large[p]
        for s in range(len(fitted)):
            router = reference.fit_router(
                logits[small, fitted[s]], logits[large, fitted[s]]
            )
            curve = reference.cascade_curve(
                router,
                logits[small, tested[s]],
                arrays["correct"][small, tested[s]],
                arrays["correct"][large, tested[s]],
            )
            np.testing.assert_allclose(
                scored.cascades.recovered[s, 0, p],
                reference.average_performance_gap_recovered(curve),
                rtol=1e-4,
                atol=1e-4,
            )


def test_cleaning_counts_verdicts(numbers, answers):
    arrays, _ = answers
    judged, wrong = arrays["verdict"] >= 0, arrays["verdict"] > 0
    names = arrays["models"].tolist()
    for scored in numbers[NAME].scores.values():
        cleaning = scored.cleaning
        for g, experts in enumerate(cleaning.experts):
            group = [names.index(expert) for expert in experts]
            flagged = ~arrays["correct"][group].any(axis=0)
            assert cleaning.all[g].flagged == flagged.sum()
            assert cleaning.all[g].judged == np.sum(flagged & judged)
            assert cleaning.all[g].wrong == np.sum(flagged & wrong)
            for k, length in enumerate(LENGTHS):
                expected = length or cleaning.all[g].judged // 2
                expected = min(expected, cleaning.all[g].judged)
                assert cleaning.calibrated[g, k].flagged == expected
    softmax = numbers[NAME].scores[SOFTMAX].cleaning
    group = [names.index(expert) for expert in softmax.experts[0]]
    rows = np.flatnonzero(~arrays["correct"][group].any(axis=0) & judged)
    least = arrays["confidence"][group].min(axis=0)[rows]
    first = rows[np.argsort(-least, kind="stable")][: len(rows) // 2]
    assert softmax.stated[0, 0].wrong == wrong[first].sum()


def test_confident_contradictions(paper_study, numbers):
    """The verdict counts groups that are more precise at every length."""
    above = [
        all(
            sure.wrong[g, k] / sure.judged[g, k]
            > everyone.wrong[g] / everyone.judged[g]
            for k in range(len(LENGTHS))
        )
        for task in numbers.values()
        for scored in task.scores.values()
        if scored.cleaning is not None
        for everyone, sure in [(scored.cleaning.all, scored.cleaning.calibrated)]
        for g in range(len(scored.cleaning.experts))
    ]
    claims = further.describe(paper_study, numbers).claims
    (claim,) = (c for c in claims if c.text.startswith("Confident contradictions"))
    assert claim.verdict == report.verdict(sum(above), len(above))
    assert f"of {len(above)} groups" in claim.evidence
    assert f"all three for {sum(above)};" in claim.evidence


def test_report(paper_study, numbers):
    section = further.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    assert "|  |" not in text
    titles = [claim.text for claim in section.claims]
    assert len(set(titles)) == len(titles) == 13
    error = numbers[NAME].scores[LOGIT].calibration.after["test"].error[:, 0]
    row = next(line for line in text.splitlines() if line.startswith("| Falcon-40b |"))
    assert f"{error.mean():.3f} ± {error.std():.3f}" in row
    total = sum(
        len(scored.calibration.models)
        for scored in (task.scores[SOFTMAX] for task in numbers.values())
    )
    assert f"of {total} models" in section.claims[0].evidence
    with plots.style():
        for draw in section.figures.values():
            assert draw(False).axes
