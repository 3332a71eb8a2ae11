"""benchmarks/conferring: its command on made-up outputs, and numbers by plain calls."""

import dataclasses
import sys

import numpy as np
import paper_data
import pytest

import calib_jax as cj

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

from benchmarks.conferring import __main__ as command  # noqa: E402
from benchmarks.conferring import (  # noqa: E402
    classifiers,
    committees,
    pair_tables,
    pairs,
    tried,
)
from benchmarks.kit import halves, outputs  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paper_data.write(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="module")
def task(folder):
    return outputs.read(folder, "cifar10")


@pytest.fixture(scope="module")
def judged(task):
    return pairs.evaluate(task, 0, 2, 15)


def test_pairs_of_a_task_without_any(task):
    assert pairs.of_task(task) == ((0, 1), (0, 2), (1, 2))
    alone = dataclasses.replace(
        task,
        small_large=(),
        large_large=(),
        correct=np.arange(200) < np.array([[180], [161], [120]]),
    )
    assert pairs.listed(alone) == ((1, 0),)
    assert pairs.of_task(alone) == ((2, 1), (2, 0), (1, 0))


def test_every_two_models_are_a_pair(task):
    """Those that a task names keep their order, and alone have rows in the tables."""
    named = dataclasses.replace(task, small_large=((2, 0),), large_large=())
    found = pairs.of_task(named)
    assert found[0] == (2, 0)
    assert sorted(map(sorted, found)) == [[0, 1], [0, 2], [1, 2]]
    accuracy = task.correct.mean(axis=1)
    assert all(accuracy[small] <= accuracy[large] for small, large in found[1:])
    assert pairs.listed(named) == ((2, 0),)


def test_numbers_are_those_of_plain_calls(task, judged):
    """The second split of the last pair."""
    calibration, test = (rows[1] for rows in halves.random_rows(0, 240, 2))
    confidence = []
    for model in (1, 2):
        seen = task.score[model, calibration], task.correct[model, calibration]
        confidence.append(
            np.asarray(cj.calibrate(cj.fit_platt(*seen)[0], task.score[model]))
        )
    both = (*confidence, task.correct[1], task.correct[2])
    differ = task.prediction[1] != task.prediction[2]
    arbiter, report = cj.cascade.fit_arbiter(
        *(array[calibration] for array in both), differ=differ[calibration]
    )
    large = np.asarray(cj.cascade.prefer_large(arbiter, *confidence)) & differ
    answer = np.where(large, both[3], both[2])
    assert judged.helps[1, 2] == bool(report.helps)
    np.testing.assert_allclose(judged.arbiter[1, 2], answer[test].mean(), atol=1e-6)
    best = np.where(large, confidence[1], confidence[0])
    for conferring in (False, True):
        other = best if conferring else confidence[1]
        router = cj.fit_router(*(a[calibration] for a in (confidence[0], other)))
        name = "cascade" if conferring else "paper"
        if conferring and not report.helps:
            break
        curves = [
            cj.cascade_curve(
                router,
                *(a[rows] for a in (confidence[0], both[2], both[3])),
                conferred_outcome=answer[rows] if conferring else None,
            )
            for rows in (calibration, test)
        ]
        best_bins = int(cj.choose_num_small_bins(curves[0]).num_small_bins)
        found = getattr(judged, name)[1, 2], getattr(judged, f"{name}_asked")[1, 2]
        expected = curves[1].accuracy, 1 - curves[1].small_share
        np.testing.assert_allclose(
            found, [array[best_bins] for array in expected], atol=1e-6
        )


def test_leaving_out_is_that_of_the_library(task):
    """The study's own fit and its guard, against the library's."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(2, 1, (2, 600))
    outcomes = rng.random((2, 600)) < confidence
    arbiter, report = cj.cascade.fit_arbiter(*confidence, *outcomes)
    (ours,) = {v.strength for v in tried.VARIANTS if "the library's" in v.title}
    small, large = np.log(confidence / (1 - confidence))
    rows = np.stack([large - small, large + small, np.ones(600)], axis=1)
    decisive = outcomes[0] != outcomes[1]
    params, inverse = tried.solve(
        rows[decisive], outcomes[1, decisive], ours, (0.0, 0.0, 0.0)
    )
    found = [float(x) for x in (arbiter.small_slope, arbiter.large_slope)]
    expected = [params[0] - params[1], params[0] + params[1]]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    margin = tried.left_out(rows[decisive], outcomes[1, decisive], params, inverse)
    right = np.where(margin >= 0, outcomes[1, decisive], outcomes[0, decisive])
    better = max(outcomes[:, decisive].sum(axis=1))
    np.testing.assert_allclose(report.gain, (right.sum() - better) / 600, atol=1e-6)


def made_up(judged, change):
    """Of the cascade's accuracy by the arbiter, the same for every pair."""
    return dataclasses.replace(judged, cascade=judged.paper + change)


def test_exceptions_are_listed(judged):
    for change, listed in ((-0.01, True), (-0.0005, False), (0.01, False)):
        found = pair_tables.describe({"cifar10": made_up(judged, change)}, 2)
        text = " ".join(found.text.split())
        assert ("less accurate in 3: CIFAR-10: LeNet-5 + WRN-16-4 (" in text) == listed
        assert ("less accurate in 0." in text) != listed
        better = 3 if change > 0.001 else 0
        assert f"points in {better} of 3 pairs" in text


def test_rows_and_sums_hold_every_pair(judged):
    """A pair without a row of its own is in the counts and in the last table."""
    partly = dataclasses.replace(judged, listed=np.array([True, False, False]))
    text = pair_tables.describe({"cifar10": made_up(partly, -0.01)}, 2).text
    first, second, _ = (f"| CIFAR-10: {' + '.join(pair)} |" for pair in judged.pairs)
    assert text.count(first) == 2
    assert second not in text
    assert "points less accurate in 3:" in text
    row = text[text.index("### Pairs further apart") :].splitlines()[-1]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:2] == ["CIFAR-10", "2"]
    assert cells[4:7] == ["-1.00 (-1.00)", "0", "2"]


def test_costs_are_stated(judged):
    """Calls of the large model and APGR, by numbers made up."""
    shape = judged.paper.shape
    changed = dataclasses.replace(
        judged,
        small=np.full(shape, 0.5),
        large=np.full(shape, 0.7),
        cascade=judged.paper + np.array([0.01, 0.0, 0.01]),
        paper_asked=np.full(shape, 0.5),
        cascade_asked=0.5 + np.tile([0.3, 0.1, -0.1], (len(judged.paper), 1)),
        paper_recovered=np.full(shape, 0.8),
        recovered=0.8 + np.tile([-0.1, 0.05, -0.002], (len(judged.paper), 1)),
        helps=np.tile([True, False, False], (len(judged.paper), 1)),
    )
    text = " ".join(pair_tables.describe({"cifar10": changed}, 2).text.split())
    assert "for 50.0 % of the questions, the one with an arbiter for 60.0 %" in text
    assert "over the 1 in which" in text and ", 50.0 % and 80.0 %." in text
    assert "increase is 30 points, for CIFAR-10: LeNet-5 + WRN-16-4." in text
    assert "in 2 pairs, and less often by as much in 1." in text
    assert "In 1 of the 2 it asks more often without" in text
    assert "falls by over 0.001 in 2 of the 3 pairs whose" in text
    assert (
        "by over 0.01 in 1, and rises by as much in 1; the largest fall is -0.100"
        in text
    )


def test_classifiers():
    made = classifiers.make(0)
    assert made.num_examples == 5000 - classifiers.NUM_TRAIN
    assert np.all((made.confidence >= 0) & (made.confidence <= 1))
    np.testing.assert_array_equal(made.correct, made.prediction == made.label)
    assert np.all(made.correct.mean(axis=1) > 0.6)
    assert len(pairs.of_task(made)) > 5


def test_command(folder, judged, tmp_path, monkeypatch):
    """Made-up judgements; the study of guards on a few variants and sizes."""
    monkeypatch.setattr(pairs, "evaluate", lambda task, *_: judged)
    monkeypatch.setattr(classifiers, "make", lambda seed: None)
    # See test_committees_benchmark.py.
    monkeypatch.setattr(committees, "evaluate", lambda *_: ({}, {}))
    monkeypatch.setattr(tried, "SIZES", (50, None))
    monkeypatch.setattr(tried, "VARIANTS", tried.VARIANTS[:1] + tried.VARIANTS[3:5])
    arguments = [str(folder), "--num-splits", "2", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["conferring", *arguments])
    command.main()
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| CIFAR-10: WRN-16-4 + Cross-validated |" in text
    assert text.count("| ridge 1 to the surer, gain over 1 error in 5 folds |") == 2
    assert (tmp_path / "results.json").stat().st_size > 1000
