"""Flipped labels, and how many are found, against float64 by another route."""

import dataclasses

import numpy as np
import pytest
import reference

pytest.importorskip("rich")
pytest.importorskip("cleanlab")

from test_paper_cleaning import Expected, equal  # noqa: E402

from benchmarks.kit import flags  # noqa: E402
from benchmarks.paper import language_cleaning  # noqa: E402
from benchmarks.paper.language_cleaning import (  # noqa: E402
    BY_CLASS,
    CONFIDENT,
    KINDS,
    UNIFORM,
)
from benchmarks.paper.study import Study  # noqa: E402
from calib_jax import plots  # noqa: E402

pytestmark = pytest.mark.once

TASK = "emotion"


@pytest.fixture(scope="module")
def numbers(paper_study, paper_section):
    evaluated = paper_section("language-cleaning")
    found = evaluated.numbers
    assert list(found) == [TASK] and tuple(found[TASK]) == KINDS
    assert len(evaluated.steps) == language_cleaning.num_steps(paper_study)
    return found


def flipped(study, kind, share=None):
    share = study.settings.flipped_share if share is None else share
    return language_cleaning.flip(
        study.tasks[TASK], study.halves[TASK], kind, share, study.settings.seed
    )


@pytest.mark.parametrize("kind", [UNIFORM, BY_CLASS])
def test_labels_are_flipped_at_random(paper_study, kind):
    task = paper_study.tasks[TASK]
    kept = task.label.copy()
    labels = flipped(paper_study, kind, share=0.5)
    equal(task.label, kept)
    rows = np.flatnonzero(labels != task.label)
    assert len(rows) == round(0.5 * task.num_examples)
    num_classes = task.logits.shape[-1]
    assert set(labels.tolist()) <= set(range(num_classes))
    pairs = set(zip(task.label[rows].tolist(), labels[rows].tolist(), strict=True))
    # One other class each; or, over 120 rows, all of them.
    number = num_classes if kind == BY_CLASS else num_classes * (num_classes - 1)
    assert len(pairs) == number
    equal(labels, flipped(paper_study, kind, share=0.5))


@pytest.mark.parametrize("kind", [UNIFORM, BY_CLASS])
def test_flips_have_nothing_to_do_with_the_halves(paper_study, kind):
    """If they shared random numbers with a split, one half would have all flips."""
    rows = flipped(paper_study, kind, 0.5) != paper_study.tasks[TASK].label
    for half in (
        paper_study.halves[TASK].calibration,
        paper_study.halves[TASK].test,
    ):
        for split in half.rows:
            assert 0.3 < np.mean(rows[split]) < 0.7


def test_labels_are_flipped_where_experts_err(paper_study):
    task, halves = paper_study.tasks[TASK], paper_study.halves[TASK]
    experts = list(max(task.experts, key=len))
    first, second = halves.calibration.rows[0], halves.test.rows[0]
    least = np.ones(task.num_examples)
    for m in experts:
        for here, other in ((first, second), (second, first)):
            temperature = reference.fit_temperature(
                task.logits[m, here], task.label[here]
            )
            confidence, _ = reference.top1(task.logits[m, other], temperature)
            least[other] = np.minimum(least[other], confidence)
    candidates = []
    for row, (answers, label) in enumerate(
        zip(task.prediction[experts].T.tolist(), task.label.tolist(), strict=True)
    ):
        if len(set(answers)) == 1 and answers[0] != label:
            candidates.append((-least[row], row, answers[0]))
    assert len(candidates) > 4
    for count in (4, task.num_examples):
        expected = task.label.copy()
        for _, row, answer in sorted(candidates)[:count]:
            expected[row] = answer
        share = count / task.num_examples
        equal(flipped(paper_study, CONFIDENT, share), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number(paper_study, numbers, kind):
    task, noise = paper_study.tasks[TASK], numbers[TASK][kind]
    labels = flipped(paper_study, kind)
    is_error = labels != task.label
    noisy = dataclasses.replace(
        task,
        label=labels,
        correct=task.prediction == labels,
        is_error=is_error,
        is_judged=np.ones(task.num_examples, bool),
    )
    wanted = round(paper_study.settings.flipped_share * task.num_examples)
    assert noise.num_wanted == wanted
    assert noise.num_flipped == is_error.sum() <= wanted
    expected = Expected(noisy, paper_study.halves[TASK], paper_study.settings.num_bins)
    expected.check(noise.found, flags.FILTERS[:1])


def test_contradiction_finds_what_experts_know(numbers):
    for kind in (UNIFORM, BY_CLASS):
        found = numbers[TASK][kind].found
        share = found.num_wrong / found.num_examples
        assert np.all(found.method_1.low > share)
    blind = numbers[TASK][CONFIDENT].found
    assert blind.num_wrong > 0
    # Every expert agrees with the flipped label.
    equal(blind.method_1.wrong, 0)
    equal(blind.method_2.wrong, 0)


def test_describe(paper_study, numbers):
    section = language_cleaning.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text.lower()
    assert section.numbers is numbers
    for kind in KINDS:
        found = numbers[TASK][kind].found
        for group, names in enumerate(found.experts):
            cell = f"| {kind}, {len(names)} | {found.method_1.flagged[group]:,}, "
            assert cell in text
    (claim,) = section.claims
    assert claim.verdict in ("holds", "holds in part", "does not hold")
    ((name, draw),) = section.figures.items()
    assert f"figures/{name}.png" in text
    with plots.style():
        panels = draw(False).axes
    assert len(panels) == len(KINDS)
    for axes, kind in zip(panels, KINDS, strict=True):
        assert axes.get_title() == f"flipped {kind}"
        assert axes.get_xlabel() == "Labels flagged (%)"
        (line,) = [line for line in axes.lines if line.get_label() == "Method 1"]
        found = numbers[TASK][kind].found
        group = len(found.experts) - 1
        share = 100 * found.method_1.flagged[group] / found.num_examples
        np.testing.assert_allclose(line.get_xdata(), [share])


def test_absent_task(paper_study):
    empty = Study(paper_study.settings, paper_study.folder, {}, {}, (TASK,))
    assert language_cleaning.num_steps(empty) == 0
    found = language_cleaning.evaluate(empty, print)
    assert "No task" in language_cleaning.describe(empty, found).text
