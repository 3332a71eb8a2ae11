"""Committees in benchmarks/conferring: one real judgement, and the section's text."""

import dataclasses

import numpy as np
import paper_data
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.conferring import (  # noqa: E402
    committee_chains,
    committee_tables,
    committees,
)
from benchmarks.kit import outputs  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paper_data.write(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def task(folder):
    return outputs.read(folder, "cifar10")


@pytest.fixture(scope="module")
def halved(task):
    return committees.split(task, 0, 2)


@pytest.fixture(scope="module")
def group(task, halved):
    return committees.judge(task, (0, 1, 2), halved)


def test_committees_of_a_task(task):
    """Its large models, and all of them."""
    groups = {"CIFAR-10: 2 models": (1, 2), "CIFAR-10: 3 models": (0, 1, 2)}
    assert committees.groups(task) == groups


def test_a_judgement_is_that_of_plain_calls(task, halved, group):
    """The second split."""
    assert group.models == ("LeNet-5", "WRN-16-4", "Cross-validated")
    first, second = halved.first[1], halved.second[1]
    right = task.correct[:, first].mean(axis=1)
    models = np.argsort(-right, kind="stable")
    params = [
        cj.fit_platt(task.score[k, first], task.correct[k, first])[0] for k in models
    ]
    fitted = np.stack(
        [cj.calibrate(p, task.score[k]) for p, k in zip(params, models, strict=True)]
    )
    np.testing.assert_allclose(halved.confidence[1, models], fitted, atol=1e-6)
    fitted = halved.confidence[1, models]
    sure = fitted[:, second]
    votes = task.prediction[models][:, second]
    voted = cj.cascade.committee(votes, sure)
    right = np.asarray(voted.prediction) == task.label[second]
    np.testing.assert_allclose(group.accuracy["calibrated"][1], right.mean(), rtol=1e-6)
    best = task.correct[models[0], second].mean()
    np.testing.assert_allclose(group.accuracy["best"][1], best, rtol=1e-6)
    # The vote of one each, in float64: a draw of three goes to the surest.
    sure = np.asarray(sure, float)
    counts = (votes[:, None] == votes[None]).sum(axis=1) + 1e-3 * sure
    elected = votes[counts.argmax(axis=0), np.arange(len(second))]
    majority = (elected == task.label[second]).mean()
    np.testing.assert_allclose(group.accuracy["majority"][1], majority, rtol=1e-6)
    temperatures = [
        cj.fit_temperature(logits[first], task.label[first])[0].temperature
        for logits in task.logits
    ]
    pairs = zip(task.logits, temperatures, strict=True)
    mean = np.mean([cj.scaled_softmax(x[second], t) for x, t in pairs], axis=0)
    mean = mean.argmax(axis=1) == task.label[second]
    np.testing.assert_allclose(
        group.accuracy["average_calibrated"][1], mean.mean(), rtol=1e-6
    )
    order = cj.cascade.order_committee(
        task.prediction[models][:, first], fitted[:, first], task.label[first]
    )
    order = models[np.asarray(order)]
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


def test_limits_within_budgets(task, halved, group):
    """By NumPy: the most accurate on the first half, judged on the second."""
    order = group.order[0]
    curves = []
    for rows in (halved.first[0], halved.second[0]):
        grown = cj.cascade.growing_committees(
            task.prediction[order][:, rows], halved.confidence[0, order][:, rows]
        )
        right = np.asarray(grown.prediction) == task.label[rows]
        points = []
        for limit in 0.25 * np.arange(1, 40):
            stops = np.asarray(grown.evidence) >= limit
            stops |= np.asarray(grown.margin) > np.array([[2], [1], [0]])
            stops[-1] = True
            last = stops.argmax(axis=0)
            chosen = right[last, np.arange(len(rows))]
            points.append((chosen.mean(), last.mean() + 1))
        curves.append(np.array(points))
    for place, budget in enumerate(committee_chains.BUDGETS):
        within = curves[0][:, 1] <= budget
        best = np.where(within, curves[0][:, 0].round(6), -1).argmax()
        found = group.within_accuracy[0, 2, place], group.within_asked[0, 2, place]
        np.testing.assert_allclose(found, curves[1][best], rtol=1e-5)


def test_bounds_hold_for_every_way_to_be_wrong(task, halved):
    """Answers are made up for models of which only right and wrong are known."""
    found = committees.bounds(task, halved)
    rng = np.random.default_rng(0)
    second = halved.second[0]
    right, sure = task.correct[:, second], halved.confidence[0][:, second]
    for num_wrong in (1, 3, 50):
        votes = np.where(right, 0, rng.integers(1, num_wrong + 1, right.shape))
        voted = cj.cascade.committee(votes, sure)
        accuracy = np.mean(np.asarray(voted.prediction) == 0)
        assert found.lower[0] - 1e-6 <= accuracy <= found.upper[0] + 1e-6
        if num_wrong == 1:
            np.testing.assert_allclose(accuracy, found.lower[0], atol=1e-6)


def test_text(task, halved, group):
    """A rule that gains 10 points in every split, and one that gains nothing."""
    bounds = {"CIFAR-10": committees.bounds(task, halved)}
    accuracy = dict.fromkeys(group.accuracy, np.array([0.5, 0.6]))
    better = accuracy | {"calibrated": accuracy["best"] + 0.1}
    made = {"made up": dataclasses.replace(group, accuracy=better)}
    section = committee_tables.describe(made, bounds)
    assert "two standard deviations in 1 of 1 committees: made up." in section.text
    assert "10.00 ± 0.00 (2)" in section.text
    assert "Where answers were not saved" in section.text
    figure = section.figures["committees"](False)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 1
    made = {"made up": dataclasses.replace(group, accuracy=accuracy)}
    section = committee_tables.describe(made, {})
    assert "cannot be told from 0 in 1: made up." in section.text
    assert "Where answers were not saved" not in section.text
