"""Several models on several tasks, of which some lack something: what is left out."""

import dataclasses

import made_comparisons
import numpy as np
import pytest
from made_comparisons import LEVEL, PRICES, TASKS, outputs, scores

import calib_jax as cj
from calib_jax.report import comparing, pages


@pytest.fixture(scope="module")
def given():
    return made_comparisons.two_models()


@pytest.fixture(scope="module")
def report(given):
    return comparing.comparison_report(given, prices=PRICES, confidence_level=LEVEL)


def perfect(model, task):
    """A model that is always right, and stated its confidence."""
    made = scores(model, task, seed=5)
    confidence = np.random.default_rng(1).uniform(0.5, 1, 400)
    return dataclasses.replace(
        made,
        ids=tuple(f"q{i}" for i in range(400)),
        scores=np.float32(confidence),
        scale="confidence",
        outcomes=np.ones(400, np.float32),
    )


def test_an_ece_of_0_counts_in_the_mean(report):
    """Of confidences that are just right, before calibration."""
    first, *rest = report.on_tasks
    zero = dataclasses.replace(first, ece_before=0.0)
    found = dataclasses.replace(report, on_tasks=(zero, *rest))
    mean = sum(one.ece_before for one in rest) / 6
    assert found.headline()["mean_ece_before"] == pytest.approx(mean)
    assert f"changes the ECE from {mean:.4f} to" in " ".join(found.sentences())


def test_the_pair_that_is_named_was_chosen_on_the_fitting_half():
    """Six models whose confidence says nothing: the largest of six is luck.

    Each has an APGR of 0.5. The largest on the judged half was 0.57 on average.
    """
    rng = np.random.default_rng(1)

    def model(name, share):
        right = rng.random(400) < share
        made = scores(name, "law")
        some = np.float32(rng.uniform(0.3, 1, 400))
        return dataclasses.replace(made, scores=some, outcomes=np.float32(right))

    named, largest = [], []
    for seed in range(8):
        given = [*(model(f"s{i}", 0.55) for i in range(6)), model("large", 0.85)]
        found = comparing.comparison_report(given, seed=seed)
        rows = [one for one in found.mean_pairs if one.apgr and one.fitted_apgr]
        fitted = [one.fitted_apgr for one in rows]
        assert fitted == sorted(fitted, reverse=True)
        named.append(found.mean_pairs[0].apgr)
        largest.append(max(one.apgr or 0 for one in rows))
        said = next(one for one in found.sentences() if "ordered pairs" in one)
        assert f"its APGR is {named[-1]:.2f}, with a gap in accuracy of " in said
    assert np.mean(largest) > 0.54
    assert abs(np.mean(named) - 0.5) < 3 * np.std(named) / np.sqrt(8)


def test_the_fitting_half_of_a_pair_is_as_its_curve_has_it(given):
    small, large = (
        next(one for one in given if (one.model, one.task) == (name, "law"))
        for name in ("small", "large")
    )
    fits = comparing.Fits(None, 0)
    halves = fits.of(small), fits.of(large)
    found, router = comparing.pairings.routed(*halves)
    for rows in (found.first, found.second):
        curve = cj.cascade_curve(
            router,
            halves[0].fitted.confidence[rows],
            halves[0].fitted.outcome[rows],
            halves[1].fitted.outcome[rows],
        )
        apgr = float(cj.average_performance_gap_recovered(curve))
        assert found.apgr(rows) == pytest.approx(apgr, rel=1e-5)


def test_a_model_that_shares_no_rows_is_left_out_alone(given, report):
    """The others have the same best pairs as without it."""
    apart = outputs("other", "law", 2.0)
    apart = dataclasses.replace(apart, ids=tuple(f"x{i}" for i in range(400)))
    prices = {**PRICES, "other": 3.0}
    found = comparing.comparison_report([*given, apart], prices=prices)
    expected = [dataclasses.asdict(one) for one in report.best]
    assert [dataclasses.asdict(one) for one in found.best] == expected
    assert found.tasks_together == TASKS
    said = (
        "other is left out of the best at each price on law: it shares too few rows "
        "with the other models."
    )
    assert said in found.not_compared and "Without prices" not in str(found.sentences())


def test_prices_without_shared_rows_are_not_called_missing(given):
    small, large = given[0], given[3]
    apart = dataclasses.replace(large, ids=tuple(f"x{i}" for i in range(400)))
    found = comparing.comparison_report([small, apart], prices=PRICES)
    said = " ".join(found.sentences())
    assert found.best == () and found.has_prices
    assert "Without prices" not in said
    assert "no task has two models that share enough rows" in said


def test_tasks_together_are_those_that_all_models_have(given):
    """The large model failed on one of three tasks."""
    few = dataclasses.replace(given[3], labels=None)
    assert (few.model, few.task) == ("large", "law")
    some = [one for one in given if (one.model, one.task) != ("large", "law")]
    found = comparing.comparison_report([*some, few], prices=PRICES)
    assert found.tasks_together == ("music", "physics")
    said = " ".join(found.sentences())
    assert "fitting half of 2 of 3 tasks together (music, physics);" in said
    alike = comparing.comparison_report(
        [one for one in given if one.task != "law"], prices=PRICES
    )
    assert [one.accuracy for one in found.main_best] == [
        one.accuracy for one in alike.main_best
    ]
    page = pages.page(found)
    assert page.count("for 2 of 3 tasks together (<bdi") == 2


def test_no_task_stands_for_all():
    """Two tasks, of which each has two models of its own."""
    given = [
        outputs(f"{model} {task}", task, skill)
        for task in TASKS[:2]
        for model, skill in (("small", 1.0), ("large", 2.5))
    ]
    prices = {one.model: 1.0 + 9 * one.model.startswith("large") for one in given}
    found = comparing.comparison_report(given, prices=prices)
    assert {one.task for one in found.best} == set(TASKS[:2])
    said = found.sentences()
    assert not [one for one in said if one.startswith("Up to ")]
    assert any("no two tasks have the same models" in one for one in said)
    page = pages.page(found)
    assert "no two tasks have the same models" in page and page.count("<svg") == 1


def test_a_perfect_model_is_alone_among_the_prices(given):
    always = perfect("perfect", "law")
    some = [one for one in given if one.task == "law"]
    prices = {**PRICES, "perfect": 50.0}
    found = comparing.comparison_report([*some, always], prices=prices)
    row = found.by_name["perfect", "law"]
    assert row.accuracy == 1.0 and row.num_judged == 200 and row.ece_after is None
    assert found.models[0] == "perfect"
    assert found.best[-1].first == "perfect" and found.best[-1].accuracy == 1.0
    assert {one.model for one in found.alone} == {"small", "large", "perfect"}
    # The pairs are those of the others.
    assert {(one.small, one.large) for one in found.mean_pairs} == {
        ("small", "large"),
        ("large", "small"),
    }
    assert "It is compared by its accuracy, and is in no pair" in found.not_compared[0]
    assert "100.0</td>" in pages.page(found)
    # On several tasks it is alone, too.
    some = [*given, *(perfect("perfect", task) for task in TASKS)]
    found = comparing.comparison_report(some, prices=prices)
    assert found.main_best[-1].first == "perfect" and found.tasks_together == TASKS


def test_next_steps_name_prices_and_files(report):
    said = " ".join(report.next_steps())
    assert "calib-jax cascade SMALL_FILE LARGE_FILE --cost 1:10" in said
    found = dataclasses.replace(
        report, folder="my runs", prices={"small": 2, "large": 7}
    )
    said = " ".join(found.next_steps())
    assert "cascade 'my runs/small/law.npz' 'my runs/large/law.npz' --cost 2:7" in said
    free = dataclasses.replace(report, prices={})
    assert "--cost" not in " ".join(free.next_steps())
