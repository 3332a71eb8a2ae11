"""A cascade of two models, and what it promises and saves."""

import dataclasses
import json
import math

import made_outputs
import made_pairs
import numpy as np
import pytest

import calib_jax as cj
from calib_jax import report
from calib_jax.io.outputs import Outputs
from calib_jax.report import applying, models, phrases

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def pair():
    return made_pairs.pair()


@pytest.fixture(scope="module")
def found(pair):
    return report.cascade_report(*pair, small_cost=1, large_cost=10)


def test_numbers(pair, found):
    """Against the library's functions, called one after another."""
    small, large = pair
    first, second = models.halves(len(small), 0)
    confidence = []
    for one, model in zip(pair, (found.small, found.large), strict=True):
        fit = {"platt": cj.fit_platt, "histogram": cj.fit_histogram}[model.method]
        params, _ = fit(one.scores[first], one.outcomes[first].astype(bool))
        confidence.append(np.asarray(cj.calibrate(params, one.scores)))
    router = cj.fit_router(confidence[0][first], confidence[1][first])
    right = [one.outcomes[second].astype(bool) for one in pair]
    rows = router, confidence[0][second], *right
    chosen = cj.cascade.control_accuracy_drop(*rows, 0.01)
    budget = int(chosen.num_small_bins)
    assert found.feasible and found.num_small_bins == budget > 2
    np.testing.assert_array_equal(found.router.order, router.order)
    np.testing.assert_array_equal(found.selection.bound, chosen.bound)
    keep = np.asarray(cj.use_small(router, rows[1], budget))
    point = found.chosen
    assert point.small_share == pytest.approx(keep.mean(), abs=1e-6)
    accuracy = np.where(keep, *right).mean()
    assert point.accuracy == pytest.approx(accuracy, abs=1e-6)
    change = accuracy - right[1].mean()
    assert point.accuracy_change == pytest.approx(change, abs=1e-6)
    assert point.cost == pytest.approx(1 + 10 * (1 - keep.mean()), rel=1e-5)
    assert point.cost_saved_share == pytest.approx(keep.mean() - 0.1, abs=1e-5)
    curve = cj.cascade_curve(*rows)
    apgr = float(cj.average_performance_gap_recovered(curve))
    assert found.apgr == pytest.approx(apgr, abs=1e-5) and apgr > 0.6
    assert found.small.accuracy == pytest.approx(right[0].mean())
    assert found.large.accuracy == pytest.approx(right[1].mean())
    np.testing.assert_array_equal(found.reference.count.sum(), len(second))
    assert len(large) == found.num_rows


def test_points(found):
    bound = np.asarray(found.selection.bound)
    assert [one.num_small_bins for one in found.points] == list(range(16))
    allowed = [one.allowed for one in found.points]
    # All up to K, and none behind it.
    assert allowed == [k <= found.num_small_bins for k in range(16)]
    first_beyond = found.points[found.num_small_bins + 1]
    assert first_beyond.drop_bound > found.max_drop
    assert found.points[0].drop_bound == 0 == found.points[0].small_share
    for point in found.points[1:]:
        assert point.drop_bound == pytest.approx(bound[point.num_small_bins])
        low, high = point.accuracy_interval
        assert low <= point.accuracy <= high
        low, high = point.cost_saved_share_interval
        assert low <= point.cost_saved_share <= high
    assert found.least_max_drop == pytest.approx(bound[1])


def test_json(found):
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(data)[:5] == [
        *("num_rows", "small_accuracy", "large_accuracy"),
        *("num_small_bins", "apgr"),
    ]
    assert data["feasible"] is True and len(data["points"]) == 16
    assert data["small_share"] == data["points"][data["num_small_bins"]]["small_share"]
    assert data["selection"]["num_small_bins"] == data["num_small_bins"]
    # What the selection, the points and the interval hold is not there twice.
    assert not {"curve", "savings", "reason"} & set(data)


def test_sentences(found):
    text = " ".join(found.sentences())
    assert (
        "With confidence 95%, the cascade is at most 1 point less accurate than the "
        "large model alone, on new inputs like these." in text
    )
    saved = phrases.percent(found.chosen.cost_saved_share)
    assert f"The cascade saves {saved} of the cost of always asking the" in text
    assert "the promise is not affected" in text
    assert "calib-jax apply" in " ".join(found.next_steps())


def test_the_record_decides_as_the_report(pair, found, tmp_path):
    path = tmp_path / "cascade.json"
    found.files()["cascade.json"](path)
    record = cj.load(path)
    assert record.num_rows == 1500 and record.num_small_bins == found.num_small_bins
    assert record.promise.confidence_level == 0.95
    assert record.promise.made_by is cj.cascade.control_accuracy_drop
    np.testing.assert_array_equal(record.reference.count, found.reference.count)
    decided = applying.decide(applying.load(path), pair[0])
    confidence = np.asarray(cj.calibrate(found.small.params, pair[0].scores))
    keep = cj.use_small(found.router, confidence, found.num_small_bins)
    np.testing.assert_array_equal(decided.small, keep)
    np.testing.assert_array_equal(decided.confidence, confidence)


def test_rows_that_one_file_lacks_are_said(pair):
    small, large = pair
    few = dataclasses.replace(
        large,
        ids=large.ids[:2000],
        scores=large.scores[:2000],
        outcomes=large.outcomes[:2000],
    )
    found = report.cascade_report(small, few)
    assert found.num_rows == 2000
    lost = "not in all of the joined outputs"
    assert [one.dropped.get(lost, 0) for one in found.sources] == [1000, 0]
    assert "without 1000 of 3000" in found.sources[0].notes[-1]


def test_of_options():
    values, labels = made_outputs.logits()
    sharper = values + 2 * np.eye(4)[labels]
    ids = tuple(map(str, range(len(labels))))
    small, large = (
        Outputs(
            ids=ids,
            format="npz",
            kind="logits",
            name=name,
            logits=np.float32(logits),
            labels=np.int32(labels),
        )
        for name, logits in (("small", values), ("large", sharper))
    )
    found = report.cascade_report(small, large, max_drop=0.05)
    assert found.small.method == found.large.method == "temperature"
    assert found.small.taken == "logits or log-probabilities of the options"
    assert found.large.accuracy > found.small.accuracy
    assert found.cost_reason.startswith("Neither file has costs")
    assert found.small_cost is None
    assert found.points[3].cost is None and found.points[3].cost_saved_share is None


@pytest.mark.parametrize("max_drop", [-0.5, 0.0])
def test_a_promise_that_is_not_possible(pair, max_drop):
    found = report.cascade_report(*pair, max_drop=max_drop)
    assert not found.feasible and found.num_small_bins == 0
    assert found.chosen.small_share == 0
    text = " ".join(found.sentences())
    assert "No K can promise with confidence 95%" in text
    assert "K is 0: the large model answers everything" in text
    least = found.least_max_drop
    assert f"{phrases.points(least, 2)}" in text
    steps = " ".join(found.next_steps())
    # What is named is enough.
    named = float(steps.split("--max-drop ")[1].split(")")[0])
    assert least <= named < least + 2e-4
    assert report.cascade_report(*pair, max_drop=named).feasible


def test_too_few_rows():
    small, large = made_pairs.pair(rows=200)
    found = report.cascade_report(small, large)
    assert not found.feasible
    text = " ".join(found.sentences())
    assert "but with so few rows a loss of" in text
    assert f"About {found.rows_needed:,} rows like these might be enough." in text
    assert 200 < found.rows_needed < 10_000
    # The same rows so many times over are enough, and half as many are not.
    _, second = models.halves(200, 0)
    confidence = np.asarray(cj.calibrate(found.small.params, small.scores))
    rows = confidence[second], *(one.outcomes[second] > 0 for one in (small, large))
    times = found.rows_needed / 200
    for number, enough in ((math.ceil(times), True), (math.floor(times / 2), False)):
        chosen = cj.cascade.control_accuracy_drop(
            found.router, *(np.tile(part, number) for part in rows), 0.01
        )
        assert bool(chosen.feasible) == enough


def test_a_small_model_that_is_worse_everywhere():
    small, large = made_pairs.pair()
    rng = np.random.default_rng(1)
    better = np.maximum(small.outcomes, rng.random(len(small)) < 0.9)
    large = dataclasses.replace(large, outcomes=np.float32(better))
    small = dataclasses.replace(
        small, outcomes=np.float32(rng.random(len(small)) < small.scores - 0.3)
    )
    found = report.cascade_report(small, large)
    assert not found.feasible and found.rows_needed is None
    assert "more rows like these would not help" in " ".join(found.sentences())
    assert "more labelled rows" not in " ".join(found.next_steps())


def test_a_gain_that_is_asked_for_and_not_reached_first(pair):
    """K = 1 gains a little, a larger K more, and K is tried from 1 upwards."""
    found = report.cascade_report(*pair, max_drop=-0.02)
    assert not found.feasible
    text = " ".join(found.sentences())
    assert "is at least 2 points more accurate than the large model alone" in text
    first, more = found.points[1], np.float32(0.01)

    def with_changes(change, interval, later):
        points = (
            found.points[0],
            dataclasses.replace(
                first, accuracy_change=change, accuracy_change_interval=interval
            ),
            *(
                dataclasses.replace(one, accuracy_change=later)
                for one in found.points[2:]
            ),
        )
        return " ".join(dataclasses.replace(found, points=points).sentences())

    text = with_changes(0.0044, (0.001, 0.008), 0.03)
    assert (
        "With one bin kept small it gains 0.4 points on these rows, less than asked, "
        "so more rows like these would not help. A larger K does better, but K is "
        "tried from 1 upwards" in text
    )
    text = with_changes(0.0044, (0.001, 0.03), float(more))
    assert "less than asked, which may be chance: more rows might help." in text
    assert "A larger K" not in text
    text = with_changes(-0.0044, (-0.008, -0.001), float(more))
    assert "it loses 0.5 points on these rows, so more rows like these would" in text
    text = with_changes(0.0, (-0.008, 0.001), float(more))
    assert "it loses nothing on these rows, so more rows like these would" in text


def test_bins_without_rows_are_said():
    tied = report.cascade_report(*made_pairs.pair(decimals=1), max_drop=0.02)
    used = int((np.asarray(tied.router.table.count) > 0).sum())
    assert used < 15
    text = " ".join(tied.sentences())
    assert f"K is {tied.num_small_bins} of 15 bins, of which {used} hold rows" in text


def test_limits_that_are_named_are_enough(pair):
    """Also where the least one is a hair above a round number."""
    found = report.cascade_report(*pair, max_drop=0.0)
    level = np.nextafter(np.float32(0.0123), np.float32(1))
    odd = dataclasses.replace(found.selection, min_feasible_level=level)
    steps = " ".join(dataclasses.replace(found, selection=odd).next_steps())
    named = steps.split("--max-drop ")[1].split(")")[0]
    assert named == "0.0124" and np.float32(float(named)) > level


def test_scores_of_class_1_do_not_say_what_is_right(pair):
    small, large = pair
    odd = dataclasses.replace(large, of_class_one=True)
    for given in ((small, odd), (odd, small)):
        with pytest.raises(ValueError, match=r"large.csv: labels of 0 and 1 beside"):
            report.cascade_report(*given)


def test_swapped_roles(pair):
    found = report.cascade_report(*reversed(pair))
    assert "are the files in the wrong order?" in " ".join(found.sentences())
    equal = dataclasses.replace(pair[0], scores=pair[0].scores / 2)
    found = report.cascade_report(pair[0], equal)
    assert np.isnan(found.apgr)
    text = " ".join(found.sentences())
    assert "equally accurate" in text and "has an APGR" not in text
    assert found.to_dict()["apgr"] is None


def test_costs_of_the_files(pair):
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.5, 1.5, len(pair[0])), rng.uniform(5, 15, len(pair[0]))
    small, large = (
        dataclasses.replace(one, cost=cost)
        for one, cost in zip(pair, costs, strict=True)
    )
    found = report.cascade_report(small, large)
    assert found.cost_reason.startswith("Costs come from the files.")
    assert found.cost_unit == "of the files"
    _, second = models.halves(len(small), 0)
    confidence = np.asarray(cj.calibrate(found.small.params, small.scores))
    keep = np.asarray(
        cj.use_small(found.router, confidence[second], found.num_small_bins)
    )
    spent = costs[0][second] + np.where(keep, 0, costs[1][second])
    assert found.chosen.cost == pytest.approx(spent.mean(), rel=1e-5)
    share = 1 - spent.sum() / costs[1][second].sum()
    assert found.chosen.cost_saved_share == pytest.approx(share, abs=1e-5)
    # Prices win.
    priced = report.cascade_report(small, large, small_cost=1, large_cost=2)
    assert priced.large_cost == 2 and priced.cost_unit == ""
    for cost, reason in (
        (np.where(np.arange(len(small)) == 7, np.nan, costs[0]), "small.csv has no"),
        (-costs[0], "small.csv has no cost, or a negative one, in 3000 of 3000 rows"),
        (None, "Only large.csv has costs"),
    ):
        odd = dataclasses.replace(small, cost=cost)
        none = report.cascade_report(odd, large)
        assert none.cost_reason.startswith(reason) and none.points[1].cost is None


def test_a_cascade_that_costs_more(pair):
    found = report.cascade_report(*pair, small_cost=10, large_cost=10)
    assert found.chosen.cost_saved_share < 0
    text = " ".join(found.sentences())
    more = phrases.percent(-found.chosen.cost_saved_share)
    assert f"The cascade costs {more} more than" in text
    low, high = found.chosen.cost_saved_share_interval
    assert f"{phrases.percent(-high)} to {phrases.percent(-low)}" in text
    free = report.cascade_report(*pair, small_cost=1, large_cost=0)
    assert free.chosen.cost_saved_share is None and free.chosen.cost == 1
    json.dumps(free.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"small_cost": 1}, "expected both or neither"),
        ({"small_cost": 0, "large_cost": 0}, "both prices are 0"),
        ({"small_cost": -1, "large_cost": 1}, "small_cost: expected a price"),
        ({"small_cost": 1, "large_cost": np.inf}, "large_cost: expected a price"),
        ({"max_drop": 2}, "max_drop: expected a number in"),
        ({"max_drop": np.nan}, "max_drop: expected a number in"),
    ],
)
def test_wrong_arguments(pair, given, message):
    with pytest.raises(ValueError, match=message):
        report.cascade_report(*pair, **given)


def test_one_model_twice(pair):
    small, large = pair
    copy = dataclasses.replace(small, name="copy.csv")
    said = r"^small.csv and copy.csv: the same scores in all 3,000 rows.* --model if "
    with pytest.raises(ValueError, match=said):
        report.cascade_report(small, copy)
    # On the rows that they share, in any order.
    rows = np.arange(1000)[::-1]
    part = dataclasses.replace(
        small,
        ids=tuple(small.ids[row] for row in rows),
        scores=small.scores[rows],
        outcomes=small.outcomes[rows],
    )
    with pytest.raises(ValueError, match=r"^small.csv: the same scores in all 1,000 "):
        report.cascade_report(small, part)
    # Two models may state the same confidences, of other answers.
    other = dataclasses.replace(large, scores=small.scores)
    assert report.cascade_report(small, other, max_drop=0.3).num_rows == len(small)


def test_wrong_outputs(pair):
    small, large = pair
    other = dataclasses.replace(large, ids=tuple(f"x{one}" for one in large.ids))
    with pytest.raises(ValueError, match="no id is in all of them"):
        report.cascade_report(small, other)
    with pytest.raises(ValueError, match="at least 40 rows"):
        report.cascade_report(*made_pairs.pair(rows=39))
    none = dataclasses.replace(large, outcomes=None)
    with pytest.raises(ValueError, match=r"large.csv: nothing says .* --labels"):
        report.cascade_report(small, none)
    all_right = dataclasses.replace(large, outcomes=np.ones_like(large.outcomes))
    with pytest.raises(ValueError, match=r"large.csv: all answers .* are right"):
        report.cascade_report(small, all_right)


def test_few_rows_and_heavy_ties():
    """Bins without rows, and as many rows as bins need at the least."""
    found = report.cascade_report(*made_pairs.pair(rows=40))
    assert found.num_rows == 40 and found.small.num_judged == 20
    json.dumps(found.to_dict(), allow_nan=False)
    tied = report.cascade_report(*made_pairs.pair(decimals=1), max_drop=0.02)
    assert 0 in np.asarray(tied.reference.count) and tied.feasible
    json.dumps(tied.to_dict(), allow_nan=False)


def test_partial_credit(pair):
    small, large = (
        dataclasses.replace(one, outcomes=np.float32(0.25 + 0.5 * one.outcomes))
        for one in pair
    )
    found = report.cascade_report(small, large, max_drop=0.02)
    whole = report.cascade_report(*pair, max_drop=0.04)
    assert found.apgr == pytest.approx(whole.apgr, abs=0.05)
    assert found.feasible


@pytest.mark.slow
def test_promises_are_kept():
    """The loss on many other rows is within the limit, in 19 of 20 runs or more."""
    limit, broken, runs = 0.01, 0, 100
    small, small_right, large_right, _ = made_pairs.confidences(200_000, seed=999)
    for seed in range(runs):
        found = report.cascade_report(
            *made_pairs.pair(rows=1500, seed=seed), max_drop=limit, seed=seed
        )
        confidence = cj.calibrate(found.small.params, np.float32(small))
        keep = np.asarray(cj.use_small(found.router, confidence, found.num_small_bins))
        lost = np.mean(keep * (large_right.astype(float) - small_right))
        broken += lost > limit
    assert broken <= 10


def test_models_too_close_for_a_gap():
    """A share of a gap of nearly 0 says nothing; JSON keeps it."""
    found = report.cascade_report(*made_pairs.pair())
    assert "has an APGR of" in " ".join(found.sentences())
    right = found.small.accuracy
    near = dataclasses.replace(found.large, accuracy=right + 0.009)
    close = dataclasses.replace(found, large=near)
    assert "too close in accuracy for an APGR" in " ".join(close.sentences())
    assert "has an APGR of" not in " ".join(close.sentences())
    gap = found.interval.over_large
    wide = dataclasses.replace(gap, upper=gap.upper * 0)
    interval = dataclasses.replace(found.interval, over_large=wide)
    unsure = dataclasses.replace(found, interval=interval)
    assert "too close in accuracy for an APGR" in " ".join(unsure.sentences())
    assert unsure.to_dict()["apgr"] == found.apgr
