"""Shift of the task in benchmarks/paper against float64, without masks and padding."""

import dataclasses

import numpy as np
import pytest
import reference

from calib_jax import plots

pytest.importorskip("rich")

from benchmarks.kit import outputs as saved  # noqa: E402
from benchmarks.kit.halves import by_platt, by_temperature, fit_each, random_classes  # noqa: E402
from benchmarks.paper import task_shift  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("task-shift").numbers


def check(worth, split, pairs, seen, new, correct):
    """ECE on `new [M, n]`, and APGR of routers fitted on `seen [M, m]`."""
    for m, confidence in enumerate(new):
        error = reference.expected_calibration_error(confidence, correct[m])
        np.testing.assert_allclose(worth.error[split, m], error, atol=2e-5)
    for p, (small, large) in enumerate(pairs):
        router = reference.fit_router(seen[small], seen[large])
        curve = reference.cascade_curve(
            router, new[small], correct[small], correct[large]
        )
        recovered = reference.average_performance_gap_recovered(curve)
        np.testing.assert_allclose(
            worth.recovered[split, p], recovered, rtol=1e-5, atol=2e-5
        )


def platt(fitted, rows, score):
    """Scores `[M, n]` calibrated by rows of other outputs, in float32.

    This is the library's own fit on unpadded rows, which other tests compare with
    float64.
    """
    values = np.concatenate([fitted.score, score], axis=1)
    correct = np.concatenate([fitted.correct, np.zeros(score.shape, bool)], axis=1)
    confidence = np.asarray(fit_each(by_platt, (values, correct), rows[None])[0])[0]
    for m, model in enumerate(confidence):
        params = reference.fit_platt(fitted.score[m, rows], fitted.correct[m, rows])
        np.testing.assert_allclose(model, reference.platt(params, values[m]), atol=1e-4)
    size = fitted.score.shape[1]
    return confidence[:, rows], confidence[:, size:]


def test_from_task_to_task(paper_study, numbers):
    names = [name for name, task in paper_study.tasks.items() if task.cost is not None]
    assert list(numbers.targets) == names
    for name, target in numbers.targets.items():
        outputs, halves = paper_study.tasks[name], paper_study.halves[name]
        assert list(target.sources) == names
        assert target.models == outputs.models
        assert target.pairs.tolist() == [list(pair) for pair in outputs.small_large]
        for split, rows in enumerate(halves.test.rows):
            score, correct = outputs.score[:, rows], outputs.correct[:, rows]
            for source, worth in target.sources.items():
                fitted = paper_study.halves[source].calibration.rows[split]
                both = platt(paper_study.tasks[source], fitted, score)
                check(worth, split, target.pairs, *both, correct)
            seen = halves.calibration.raw[split]
            stated = halves.test.raw[split]
            check(target.stated, split, target.pairs, seen, stated, correct)
            accuracy = correct.mean(axis=1)
            gap = accuracy[target.pairs[:, 1]] - accuracy[target.pairs[:, 0]]
            np.testing.assert_allclose(target.gap[split], gap, atol=1e-12)


def test_published_split(paper_study, numbers):
    described = saved.descriptions()
    for name, target in numbers.targets.items():
        if "other_files" not in described[name]:
            assert target.published is None
            continue
        other = saved.read(paper_study.folder, name, published=True)
        outputs = paper_study.tasks[name]
        assert target.num_published == other.num_examples
        every = np.arange(other.num_examples)
        for split, rows in enumerate(paper_study.halves[name].test.rows):
            both = platt(other, every, outputs.score[:, rows])
            correct = outputs.correct[:, rows]
            check(target.published, split, target.pairs, *both, correct)


def test_from_classes_to_other_classes(paper_study, numbers):
    assert list(numbers.held_out) == ["cifar10"]
    for name, task in numbers.held_out.items():
        outputs, halves = paper_study.tasks[name], paper_study.halves[name]
        num_splits = paper_study.settings.num_halves
        chosen = random_classes(paper_study.settings.seed, task.num_classes, num_splits)
        assert set(chosen.sum(axis=1)) == {task.num_classes // 2}
        # The rows of each of the two fits of a split, as masks on the calibration half.
        calibration = halves.calibration.rows
        inside = np.stack(
            [
                np.isin(outputs.label[rows], np.flatnonzero(classes))
                for rows, classes in zip(calibration, chosen, strict=True)
            ]
        )
        first = np.arange(inside.shape[1]) < inside.sum(axis=1, keepdims=True)
        confidence, temperature, _ = fit_each(
            by_temperature,
            (outputs.logits, np.broadcast_to(outputs.label, outputs.correct.shape)),
            np.repeat(calibration, 2, axis=0),
            np.stack([first, inside], axis=1).reshape(2 * num_splits, -1),
        )
        for split, rows in enumerate(calibration):
            classes = np.flatnonzero(chosen[split])
            fitted = rows[np.isin(outputs.label[rows], classes)]
            test = halves.test.rows[split]
            test = test[~np.isin(outputs.label[test], classes)]
            assert task.num_fitted[split] == len(fitted)
            correct, raw = outputs.correct[:, test], outputs.confidence
            first = rows[: len(fitted)]
            for place, worth, used in (
                (2 * split, task.all_classes, first),
                (2 * split + 1, task.other_classes, fitted),
            ):
                for m, logits in enumerate(outputs.logits):
                    expected = reference.fit_temperature(
                        logits[used], outputs.label[used]
                    )
                    np.testing.assert_allclose(
                        temperature[place, m], expected, rtol=1e-4
                    )
                found = np.asarray(confidence[place])
                seen, new = found[:, used], found[:, test]
                check(worth, split, task.pairs, seen, new, correct)
            check(task.stated, split, task.pairs, raw[:, first], raw[:, test], correct)
            accuracy = correct.mean(axis=1)
            gap = accuracy[task.pairs[:, 1]] - accuracy[task.pairs[:, 0]]
            np.testing.assert_allclose(task.gap[split], gap, atol=1e-12)


def test_text_and_figure(paper_study, numbers, paper_section):
    assert len(paper_section("task-shift").steps) == task_shift.num_steps(paper_study)
    section = task_shift.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    for name in numbers.targets:
        title = paper_study.tasks[name].title
        for source in (
            "none",
            *(paper_study.tasks[each].title for each in numbers.targets),
        ):
            assert f"| {title} ← {source} |" in text
    assert text.count("← published split |") == 2
    for dark in (False, True):
        with plots.style(dark=dark):
            drawn = section.figures["task-shift"](dark)
        assert [axes.get_title() for axes in drawn.axes] == [
            f"judged on {paper_study.tasks[name].title}" for name in numbers.targets
        ]
    assert len(section.claims) == 4


def test_without_such_tasks(paper_study):
    """With only other kinds of task there is nothing to do, and the section says so."""
    tasks = {"imagenet": paper_study.tasks["imagenet"]}
    study = dataclasses.replace(paper_study, tasks=tasks, missing=("cifar10", "mmlu"))
    assert task_shift.num_steps(study) == 0
    section = task_shift.describe(study, task_shift.evaluate(study, lambda text: None))
    text = section.text
    assert "None of the tasks" in text
    assert "missing: cifar10, mmlu" in text
    assert not section.figures
    assert not section.claims
