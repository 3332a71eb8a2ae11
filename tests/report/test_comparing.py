"""Several models on several tasks: numbers as of one at a time, and what is new."""

import dataclasses
import itertools
import json

import made_comparisons
import numpy as np
import pytest
from made_comparisons import LEVEL, PRICES, TASKS, outputs, scores

import calib_jax as cj
from calib_jax.io.outputs import Outputs
from calib_jax.report import comparing, methods, pages
from calib_jax.report.calibration import calibration_report
from calib_jax.report.cascade import cascade_report


@pytest.fixture(scope="module")
def given():
    return made_comparisons.two_models()


@pytest.fixture(scope="module")
def report(given):
    return comparing.comparison_report(given, prices=PRICES, confidence_level=LEVEL)


def test_each_model_is_as_the_command_on_one_file_has_it(given, report):
    assert len(report.on_tasks) == 6
    for one in given:
        alone = calibration_report(one, confidence_level=LEVEL).to_dict()
        row = report.by_name[one.model, one.task]
        assert row.num_rows == alone["num_rows"] and row.method == alone["method"]
        assert row.accuracy == alone["accuracy"] and row.why_not is None
        for name in ("ece_before", "ece_after", "ece_floor"):
            assert np.float32(getattr(row, name)) == np.float32(alone[name]), name
        for end in ("lower", "upper"):
            one_end = np.float32(getattr(row, f"ece_after_{end}"))
            assert one_end == np.float32(alone[f"ece_after_{end}"])


def test_each_pair_is_as_the_command_on_two_files_has_it(given, report):
    assert len(report.pairs) == 6
    for row in report.pairs:
        small, large = (
            next(one for one in given if (one.model, one.task) == (name, row.task))
            for name in (row.small, row.large)
        )
        alone = cascade_report(small, large, large_decides=True, confidence_level=LEVEL)
        assert row.apgr == alone.apgr and row.num_rows == alone.num_rows
        assert row.apgr_lower == pytest.approx(float(alone.interval.apgr.lower))
        assert row.small_accuracy == pytest.approx(alone.small.accuracy)
        assert row.large_accuracy == pytest.approx(alone.large.accuracy)
        gap = alone.large.accuracy - alone.small.accuracy
        assert row.gap == pytest.approx(gap)
        # Each K that keeps to a share on the fitting half is one of its points.
        accuracies = [point.accuracy for point in alone.points]
        for share in (25, 50, 75):
            found = getattr(row, f"accuracy_at_{share}")
            assert min(abs(found - one) for one in accuracies) < 1e-6


def test_apgr_of_a_pair_over_tasks_is_the_share_of_the_gap(report):
    first = report.mean_pairs[0]
    assert (first.small, first.large, first.num_tasks) == ("small", "large", 3)
    rows = [one for one in report.pairs if one.small == "small"]
    recovered = sum(one.apgr * one.gap for one in rows)
    assert first.apgr == pytest.approx(recovered / sum(one.gap for one in rows))
    errors = [one.gap_standard_error for one in rows]
    assert first.gap_standard_error == pytest.approx(np.linalg.norm(errors) / 3)
    assert report.to_dict()["mean_pairs"][0] == dataclasses.asdict(first)
    # The other order has no gap to recover.
    assert report.mean_pairs[1].apgr is None and report.mean_pairs[1].gap < 0


def test_the_best_is_chosen_on_one_half_and_judged_on_the_other(report):
    """Nothing that is chosen on the first half costs more there than it may."""
    rows = [one for one in report.best if one.task is None]
    assert [one.budget for one in rows] == sorted(one.budget for one in rows)
    assert rows[0].budget == 1.0 and rows[0].first == "small" and rows[0].then is None
    assert rows[0].cost == 1.0 and rows[0].gain == 0
    judged = sum(one.num_judged for one in report.on_tasks if one.model == "small")
    alone = {one.model: one for one in report.alone if one.task is None}
    for one in rows:
        assert one.num_judged == judged
        share = one.accuracy * (1 - one.accuracy) / (judged - 1)
        assert one.accuracy_standard_error == pytest.approx(np.sqrt(share))
        if one.then is None:
            assert one.accuracy == alone[one.first].accuracy
            continue
        # Every question costs the first model, and some the second one, too.
        assert one.cost == pytest.approx(
            PRICES[one.first] + one.large_share * PRICES[one.then]
        )
        assert 0 < one.num_small_bins < 15
    assert {one.then for one in rows} > {None}
    by_task = {one.task for one in report.best}
    assert by_task == {None, *TASKS}


def test_the_best_by_hand():
    """A small model that knows when it is wrong, and a large one that is always right.

    Of the questions a quarter have a score of 0, at which the small model is wrong.
    """
    number = np.arange(800)
    sure = (number * 7 + 3) % 4 > 0
    small, large = (
        Outputs(
            ids=tuple(map(str, number)),
            format="csv",
            kind="scores",
            name=name,
            scores=np.float32(values),
            outcomes=np.float32(right),
            model=name,
            task="exam",
        )
        for name, values, right in (
            ("small", sure, sure & (number % 40 > 0)),
            ("large", number % 3, number % 50 > 0),
        )
    )
    found = comparing.comparison_report([small, large], prices=PRICES)
    assert {one.task for one in found.best} == {"exam"}
    rows = {one.budget: one for one in found.best}
    assert rows[1.0].then is None
    # A price that allows a quarter of the questions to be sent on: 1 + 10 / 4.
    one = next(one for price, one in rows.items() if price >= 3.7)
    assert (one.first, one.then) == ("small", "large")
    assert one.large_share == pytest.approx(0.25, abs=0.05)
    assert one.single == "small" and one.gain > 0.15
    _, second = comparing.on_tasks.models.halves(800, 0)
    kept = sure[second]
    right = np.where(kept, small.outcomes[second], large.outcomes[second])
    assert one.accuracy == pytest.approx(float(right.mean()))
    assert one.cost == pytest.approx(1 + 10 * float(np.mean(~kept)))


def test_costs_of_the_files():
    pair = [
        outputs("small", "law", 1.0, cost=np.full(400, 0.25)),
        outputs("large", "law", 2.5, cost=np.linspace(1, 3, 400)),
    ]
    found = comparing.comparison_report(pair)
    assert found.best[0].budget == 0.25 and not found.prices
    _, second = comparing.on_tasks.models.halves(400, 0)
    alone = {one.model: one.cost for one in found.alone}
    assert alone["large"] == pytest.approx(float(pair[1].cost[second].mean()))
    # Prices that are given go first; costs of one file alone are no prices.
    assert comparing.comparison_report(pair, prices=PRICES).best[0].budget == 1.0
    one_alone = [dataclasses.replace(pair[0], cost=None), pair[1]]
    found = comparing.comparison_report(one_alone)
    assert found.best == () and "Without prices" in " ".join(found.sentences())


def test_a_temperature_for_all_tasks_against_one_each():
    """Two tasks with a scale of 2 and of 1: neither is helped by the other."""
    tasks = [
        outputs("m", "law", 1.5, rows=2000, scale=2.0),
        outputs("m", "music", 1.5, rows=2000, scale=1.0),
    ]
    found = comparing.comparison_report(tasks)
    (shared,) = found.shared
    assert shared.method == "temperature" and shared.num_tasks == 2
    for one in found.shared_on_tasks:
        given = next(some for some in tasks if some.task == one.task)
        first, second = comparing.on_tasks.models.halves(2000, 0)
        other = next(some for some in tasks if some is not given)
        for name, params in (
            ("own", cj.fit_temperature(given.logits[first], given.labels[first])[0]),
            ("others", cj.fit_temperature(other.logits[first], other.labels[first])[0]),
        ):
            top = cj.top1(given.logits[second], params.temperature)
            right = np.asarray(top.prediction) == given.labels[second]
            loss = float(cj.log_loss(top.confidence, right))
            assert getattr(one, f"log_loss_{name}") == pytest.approx(loss, rel=1e-5)
            temperature = getattr(one, f"temperature_{name}")
            assert temperature == pytest.approx(float(params.temperature), rel=1e-5)
    assert shared.all_minus_own > 4 * shared.all_minus_own_standard_error > 0
    assert shared.verdict == "one for each is better"
    assert "one for each is better" in " ".join(found.sentences())
    assert shared.temperature_most > 1.5 * shared.temperature_least
    means = [one.log_loss_own for one in found.shared_on_tasks]
    assert shared.log_loss_own == pytest.approx(np.mean(means))


def test_platt_scaling_for_all_tasks_against_one_each():
    tasks = [scores("m", task, rows=1000, slope=2.0) for task in TASKS]
    (shared,) = comparing.comparison_report(tasks).shared
    assert shared.method == "platt" and shared.temperature_all is None
    # The same in all tasks, so that the others serve as well as its own.
    assert abs(shared.all_minus_own) < 4 * shared.all_minus_own_standard_error
    assert shared.log_loss_others == pytest.approx(shared.log_loss_own, abs=0.02)
    # Scores are not confidences, so that nothing is known before.
    assert shared.log_loss_before is None and shared.num_helped is None


def test_tasks_with_other_numbers_of_options():
    wide = outputs("m", "law", 2.0)
    narrow = outputs("m", "music", 2.0)
    labels = narrow.labels % 2
    logits = narrow.logits[:, :2] + 2 * np.eye(2, dtype=np.float32)[labels]
    narrow = dataclasses.replace(narrow, logits=logits, labels=labels)
    (shared,) = comparing.comparison_report([wide, narrow]).shared
    assert shared.method == "temperature" and np.isfinite(shared.log_loss_all)
    assert shared.temperature_least <= shared.temperature_all
    assert shared.temperature_all <= shared.temperature_most


def test_what_cannot_be_compared_is_said(given):
    """A task of ten rows, a file without labels, and models that share no row."""
    few = outputs("small", "few", 1.0, rows=10)
    unlabelled = dataclasses.replace(outputs("large", "few", 2.0), labels=None)
    apart = outputs("other", "law", 2.0)
    apart = dataclasses.replace(apart, ids=tuple(f"x{i}" for i in range(400)))
    found = comparing.comparison_report([*given, few, unlabelled, apart])
    assert found.by_name["small", "few"].why_not.startswith("Expected at least 40 rows")
    assert found.by_name["small", "few"].ece_after is None
    assert "says which answers are right" in found.by_name["large", "few"].why_not
    assert found.by_name["other", "law"].why_not is None
    failed = [one for one in found.pairs if one.why_not]
    assert {(one.task, one.small, one.large) for one in failed} == {
        ("law", *pair)
        for name in ("small", "large")
        for pair in itertools.permutations(("other", name))
    }
    assert all("no id is in all of them" in one.why_not for one in failed)
    said = " ".join(found.not_compared)
    assert "small/few.npz: Expected at least 40 rows" in said
    assert said.count("no id is in all of them") == 2
    page = pages.page(found)
    assert "What could not be compared" in page and "no id is in all" in page


def test_models_with_the_same_outputs_are_not_a_pair():
    one = outputs("a", "law", 2.0)
    found = comparing.comparison_report([one, dataclasses.replace(one, model="b")])
    assert all("outputs are of one model" in row.why_not for row in found.pairs)
    assert found.mean_pairs == () and len(found.calibrated) == 2


def test_files_without_ids_are_joined_by_order(given):
    bare = [dataclasses.replace(one, has_ids=False) for one in given[:1]]
    other = next(one for one in given if (one.model, one.task) == ("large", "law"))
    bare.append(dataclasses.replace(other, has_ids=False))
    found = comparing.comparison_report(bare)
    assert found.num_by_order == 2 and found.pairs[0].why_not is None
    assert (
        found.sentences()[1] == "2 files without ids: rows are joined by their order."
    )


def test_one_model_alone():
    found = comparing.comparison_report([outputs("a", "law", 2.0)])
    assert found.pairs == () and found.shared == () and found.best == ()
    assert found.headline()["num_models"] == 1
    assert "<svg" in pages.page(found)
    assert found.sentences()[0].startswith("1 model on 1 task, 400 rows in all: ")


def test_a_calibrator_that_is_asked_for(given):
    found = comparing.comparison_report(given, method=methods.METHODS["isotonic"])
    assert {one.method for one in found.on_tasks} == {"isotonic"}


def message(given, **more):
    with pytest.raises(ValueError) as error:
        comparing.comparison_report(given, **more)
    return str(error.value)


def test_wrong_arguments(given):
    assert "got none" in message([])
    assert "expected Outputs, got str" in message(["x"])
    assert "with a model and a task" in message(
        [dataclasses.replace(given[0], model="")]
    )
    twice = dataclasses.replace(given[0], name="again.npz")
    assert "both are of model small on task law" in message([given[0], twice])
    for prices, said in (
        ({"small": 1}, "got none for large"),
        ({"small": 1, "large": 2, "tiny": 3}, "no file is of model 'tiny'"),
        ({"small": 0, "large": 0}, "all are 0"),
        ({"small": -1, "large": 2}, "expected a price of 0 or more for small"),
        ({"small": "1", "large": 2}, "expected a number for small"),
    ):
        assert said in message(given, prices=prices)
    few = [outputs(name, "law", 1.0, rows=10) for name in ("a", "b")]
    assert "Expected at least 40 rows" in message(few)


def test_the_json_begins_with_what_matters(report, tmp_path):
    found = report.to_dict()
    assert list(found)[:3] == ["num_models", "num_tasks", "num_rows"]
    assert found["num_models"] == 2 and found["num_tasks"] == 3
    assert found["num_rows"] == 2400
    tables = ("on_tasks", "pairs", "mean_pairs", "best", "alone")
    for name in (*tables, "shared", "shared_on_tasks"):
        rows = found[name]
        assert len({tuple(row) for row in rows}) == 1, name
        for row in rows:
            plain = (str, int, float, bool, type(None))
            assert all(isinstance(value, plain) for value in row.values())
    report.files()["comparison.json"](tmp_path / "comparison.json")
    assert json.loads((tmp_path / "comparison.json").read_text()) == found


def test_progress_counts_to_the_end(given):
    seen = []
    comparing.comparison_report(
        given[:2], progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(step, 4) for step in (1, 2, 3, 4)]


def test_many_models_are_told_in_few_sentences():
    given = [
        outputs(f"model {number}", task, 1 + number / 3)
        for number in range(6)
        for task in TASKS[:2]
    ]
    prices = {f"model {number}": 2.0**number for number in range(6)}
    found = comparing.comparison_report(given, prices=prices)
    said = found.sentences()
    assert len(said) < 15
    assert sum(one.startswith("Up to ") for one in said) <= 6
    assert any("One calibrator for all tasks of a model" in one for one in said)
    assert found.models[0] == "model 5"
