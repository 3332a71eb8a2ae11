"""Committees in benchmarks/conferring: one real judgement, and the section's text."""

import dataclasses

import numpy as np
import paper_data
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.conferring import committee_report, committees  # noqa: E402
from benchmarks.kit import halves, outputs  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paper_data.write(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def found(folder):
    tasks = [outputs.read(folder, name) for name in ("cifar10", "mmlu")]
    made = dict(committees.evaluate(tasks, 0, 2, lambda title, total: lambda: None))
    of_groups = {k: v for k, v in made.items() if isinstance(v, committees.Group)}
    return of_groups, {k: v for k, v in made.items() if k not in of_groups}


def test_a_judgement_is_that_of_plain_calls(folder, found):
    task = outputs.read(folder, "cifar10")
    split = halves.split(task, 0, 2)
    group = found[0]["CIFAR-10: 3 models"]
    assert group.models == ("LeNet-5", "WRN-16-4", "Cross-validated")
    first, second = split.calibration.rows[1], split.test.rows[1]
    models = np.argsort(-split.calibration.correct[1].mean(axis=1), kind="stable")
    sure = split.test.calibrated[1, models]
    votes = task.prediction[models][:, second]
    voted = cj.cascade.committee(votes, sure)
    right = np.asarray(voted.prediction) == task.label[second]
    np.testing.assert_allclose(group.accuracy["calibrated"][1], right.mean(), rtol=1e-6)
    best = task.correct[models[0], second].mean()
    np.testing.assert_allclose(group.accuracy["best"][1], best, rtol=1e-6)
    # The vote of one each, in float64: a draw of three goes to the surest.
    votes, sure = np.asarray(votes), np.asarray(sure, float)
    counts = (votes[:, None] == votes[None]).sum(axis=1) + 1e-3 * sure
    elected = votes[counts.argmax(axis=0), np.arange(len(second))]
    majority = (elected == task.label[second]).mean()
    np.testing.assert_allclose(group.accuracy["majority"][1], majority, rtol=1e-6)
    scaled = [
        cj.scaled_softmax(x[second] / t)
        for x, t in zip(task.logits, split.parameter[1], strict=True)
    ]
    mean = np.mean(scaled, axis=0).argmax(axis=1) == task.label[second]
    np.testing.assert_allclose(
        group.accuracy["average_calibrated"][1], mean.mean(), rtol=1e-6
    )
    order = cj.cascade.order_committee(
        task.prediction[:, first],
        split.calibration.calibrated[1],
        task.label[first],
    )
    np.testing.assert_array_equal(group.order[1], order)
    np.testing.assert_allclose(
        group.full_accuracy[:, -1], group.accuracy["calibrated"], rtol=1e-6
    )
    two = cj.cascade.committee(votes[1:], sure[1:]).prediction
    place = models[0]
    np.testing.assert_allclose(
        group.without[1, place],
        (np.asarray(two) == task.label[second]).mean(),
        rtol=1e-6,
    )
    area = cj.area_under_roc(voted.evidence, right)
    np.testing.assert_allclose(group.scores["evidence"][1, 0], area, rtol=1e-6)


def test_bounds_hold_for_every_way_to_be_wrong(folder):
    """Answers are made up for models of which only right and wrong were saved."""
    task = outputs.read(folder, "mmlu")
    split = halves.split(task, 0, 2)
    found = committees.bounds(task, split)
    rng = np.random.default_rng(0)
    right = split.test.correct[0]
    for num_wrong in (1, 3, 50):
        votes = np.where(right, 0, rng.integers(1, num_wrong + 1, right.shape))
        voted = cj.cascade.committee(votes, split.test.calibrated[0])
        accuracy = np.mean(np.asarray(voted.prediction) == 0)
        assert found.lower[0] - 1e-6 <= accuracy <= found.upper[0] + 1e-6
        if num_wrong == 1:
            np.testing.assert_allclose(accuracy, found.lower[0], atol=1e-6)


def test_text(found):
    groups, bounds = found
    # A rule that gains 10 points in every split, and one that gains nothing.
    (title, group), *_ = groups.items()
    accuracy = dict.fromkeys(group.accuracy, np.array([0.5, 0.6]))
    accuracy["calibrated"] = accuracy["best"] + 0.1
    made = dataclasses.replace(group, accuracy=accuracy)
    text = committee_report.text({title: made}, bounds, 2)
    assert f"two standard deviations in 1 of 1 committees: {title}." in text
    assert "10.00 ± 0.00 (2)" in text and "MMLU" in text
    made = dataclasses.replace(
        group, accuracy={**accuracy, "calibrated": accuracy["best"]}
    )
    text = committee_report.text({title: made}, {}, 2)
    assert f"in 1: {title}." in text and "Where answers were not saved" not in text
    assert list(committee_report.figures(groups)) == ["committees"]
    figure = committee_report.figures(groups)["committees"](False)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == len(groups)
