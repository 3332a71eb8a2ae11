"""Two models that confer: whose answer is taken where both were asked."""

import dataclasses
import json

import made_outputs
import made_pairs
import numpy as np
import pytest

import calib_jax as cj
from calib_jax import report
from calib_jax.io.outputs import Outputs
from calib_jax.report import applying, conferring, models, pages

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def pair():
    return made_pairs.two_large()


@pytest.fixture(scope="module")
def found(pair):
    return report.cascade_report(*pair, max_drop=-0.04, small_cost=1, large_cost=2)


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    target = tmp_path_factory.mktemp("record") / "cascade.json"
    found.files()["cascade.json"](target)
    return target


def test_numbers(pair, found):
    """Against the library's functions, called one after another."""
    first, second = models.halves(len(pair[0]), 0)
    right = [one.predictions == one.labels for one in pair]
    confidence = []
    for one, outcome in zip(pair, right, strict=True):
        params, _ = cj.fit_platt(one.scores[first], outcome[first])
        confidence.append(np.asarray(cj.calibrate(params, one.scores)))
    arbiter, fit = cj.cascade.fit_arbiter(
        *(one[first] for one in (*confidence, *right)),
        differ=(pair[0].predictions != pair[1].predictions)[first],
    )
    assert found.confers and bool(fit.helps)
    for got, wanted in (
        (found.conferring.arbiter.small_slope, arbiter.small_slope),
        (found.conferring.arbiter.intercept, arbiter.intercept),
        (found.conferring.report.gain, fit.gain),
    ):
        np.testing.assert_array_equal(got, wanted)
    keep = ~np.asarray(cj.cascade.prefer_large(arbiter, *confidence))
    keep &= pair[0].predictions != pair[1].predictions
    preferred, taken = (np.where(keep, *both) for both in (confidence, right))
    router = cj.fit_router(confidence[0][first], preferred[first])
    np.testing.assert_array_equal(found.router.order, router.order)
    rows = confidence[0][second], *(one[second] for one in right)
    more = {"conferred_outcome": taken[second]}
    curve = cj.cascade_curve(router, *rows, **more)
    chosen = cj.cascade.control_accuracy_drop(router, *rows, -0.04, **more)
    assert found.num_small_bins == int(chosen.num_small_bins) > 3
    np.testing.assert_array_equal(found.selection.bound, chosen.bound)
    for name in ("accuracy", "small_share"):
        got = [getattr(point, name) for point in found.points]
        np.testing.assert_allclose(got, getattr(curve, name), atol=1e-6)
    # The paper's measure is of both models alone.
    apgr = float(cj.average_performance_gap_recovered(curve))
    assert found.apgr == pytest.approx(apgr, abs=1e-4)
    np.testing.assert_allclose(found.curve.large_accuracy, rows[2].mean(), atol=1e-6)
    table = cj.advantage_table(
        router.bins,
        rows[0],
        preferred[second],
        small_outcome=rows[1],
        large_outcome=taken[second],
    )
    np.testing.assert_allclose(
        found.interval.outcome_advantage.estimate, table.outcome_advantage, atol=1e-6
    )


def test_what_it_is_worth(pair, found):
    both = found.conferring
    _, second = models.halves(len(pair[0]), 0)
    best = max(found.small.accuracy, found.large.accuracy)
    assert both.gain == pytest.approx(both.both_accuracy - best)
    assert both.both_accuracy == pytest.approx(found.points[0].accuracy, abs=1e-6)
    assert both.gain > 0.05 > 0 < both.gain_interval[0] < both.gain
    # Bonett and Price, by hand.
    right = [one.predictions == one.labels for one in pair]
    better = int(found.large.accuracy >= found.small.accuracy)
    assert right[better][second].mean() == pytest.approx(best)
    rows = len(second)
    won = both.gain * rows
    lower, upper = both.gain_interval
    assert (lower + upper) / 2 == pytest.approx(won / (rows + 2), abs=1e-6)
    apart = (pair[0].predictions != pair[1].predictions)[second].mean()
    assert both.differ_share == pytest.approx(apart)
    first, last = found.points[0], found.points[-1]
    # K = 0 is judged like any other, but no promise is made for it.
    assert first.drop_bound < 0 and not first.allowed and found.points[1].allowed
    assert first.cost == pytest.approx(3) and last.accuracy == pytest.approx(
        found.small.accuracy, abs=1e-6
    )


def test_sentences_and_json(found):
    text = " ".join(found.sentences())
    accuracy = f"{100 * found.conferring.both_accuracy:.1f}%"
    assert f"the arbiter's answer is right {accuracy} of the time: +" in text
    assert "the cascade is at least 4 points more accurate than the large" in text
    steps = found.next_steps()
    assert any(step.endswith("cascade.json NEW_SMALL NEW_LARGE") for step in steps)
    assert "does not confirm" not in text
    unsure = dataclasses.replace(found.conferring, gain_interval=(0.0, 0.1))
    assert unsure.sentences(0.95, True)[-1] == "This half does not confirm the gain."
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["arbiter"] is True
    assert data["both_accuracy"] == data["conferring"]["both_accuracy"]
    assert data["both_gain"] == pytest.approx(found.conferring.gain)
    page = pages.page(found)
    assert "When both models are asked" in page and "always both" in page
    assert "not tested" in page and "Preferred confidence" in page


def test_the_large_model_decides_if_asked(pair, found):
    alone = report.cascade_report(*pair, max_drop=-0.04, large_decides=True)
    assert alone.conferring is None and not alone.confers
    assert alone.points[0].accuracy == pytest.approx(found.large.accuracy, abs=1e-6)
    assert "arbiter" not in " ".join(alone.sentences())
    assert alone.headline()["arbiter"] is False
    assert alone.headline()["both_accuracy"] is None
    assert "When both models" not in pages.page(alone)
    # So large a gain cannot be promised without it.
    assert not alone.feasible and found.feasible


def test_without_a_promise_it_is_not_used(pair, tmp_path):
    """So large a gain is not shown, and the large model answers everything."""
    found = report.cascade_report(*pair, max_drop=-0.1, small_cost=1, large_cost=2)
    assert not found.feasible and found.weighed and not found.confers
    head = found.headline()
    assert head["arbiter"] is False and head["both_gain"] > 0.05
    assert head["accuracy"] == pytest.approx(found.large.accuracy, abs=1e-6)
    assert found.chosen.accuracy_change == 0 == found.chosen.drop_bound
    # What is shown for K = 0 is what is written; the other K are with the arbiter.
    assert found.chosen is found.points[0] and found.chosen.allowed
    assert found.chosen.cost == 2 and head["cost_saved_share"] == 0
    assert head["accuracy"] == found.to_dict()["points"][0]["accuracy"]
    np.testing.assert_allclose(found.curve.accuracy[0], found.large.accuracy)
    assert found.points[1].accuracy > found.chosen.accuracy + 0.03
    text = " ".join(found.sentences())
    assert "the large model answers everything, without the arbiter." in text
    assert "If both models are asked for every input" in text
    assert "Where the large model is asked" not in text
    steps = found.next_steps()
    assert steps[0].startswith("Ask for a smaller gain (--max-drop -0.")
    assert "With one bin kept small and the arbiter it gains" in text
    named = float(steps[0].split("--max-drop ")[1].split(")")[0])
    assert report.cascade_report(*pair, max_drop=named).confers
    assert steps[-1] == "Until then ask the large model for every input."
    page = pages.page(found)
    assert "so the arbiter is not used" in page and "yes, chosen" in page
    assert "K = 0 asks both" not in page and "always both" not in page
    assert "arbiter would take the large" in page and "arbiter takes the" not in page
    assert "K = 0: the large model answers everything" in page
    assert "K = 0 is the large model alone, as it is written; all other" in page
    path = tmp_path / "cascade.json"
    found.files()["cascade.json"](path)
    record = cj.load(path)
    assert record.arbiter is None and record.num_small_bins == 0
    answers = applying.answer(applying.load(path), *pair)
    assert set(answers.answers) == {"large"}


def test_where_it_does_not_help_nothing_changes(tmp_path):
    pair = made_pairs.pair()
    found = report.cascade_report(*pair)
    alone = report.cascade_report(*pair, large_decides=True)
    assert found.conferring is not None and not found.confers
    text = " ".join(found.sentences())
    assert "was not shown to help" in text and "wherever it is asked" in text
    other = found.to_dict()
    assert other.pop("conferring")["used"] is False
    wanted = alone.to_dict()
    assert wanted.pop("conferring") is None
    assert json.dumps(other) == json.dumps(wanted)
    for one, name in ((found, "with.json"), (alone, "without.json")):
        one.files()["cascade.json"](tmp_path / name)
    assert (tmp_path / "with.json").read_text() == (
        tmp_path / "without.json"
    ).read_text()
    assert "An arbiter was fitted and is not used" in pages.page(found)


def test_the_record_takes_the_same_answers(pair, found, path):
    small, large = pair
    record = cj.load(path)
    np.testing.assert_array_equal(
        record.arbiter.large_slope, found.conferring.arbiter.large_slope
    )
    served = applying.load(path)
    decided = applying.answer(served, small, large)
    kept = decided.decisions.small
    confidence = [
        np.asarray(cj.calibrate(params, one.scores))
        for params, one in zip(
            (record.small_params, record.large_params), pair, strict=True
        )
    ]
    np.testing.assert_array_equal(decided.large_confidence, confidence[1])
    ask = np.asarray(cj.cascade.prefer_large(record.arbiter, *confidence))
    wanted = np.where(kept | ~ask, "small", "large")
    np.testing.assert_array_equal(decided.answers, wanted)
    assert {"small", "large"} == set(np.array(decided.answers)[~kept])
    # Those that are sent on are enough, in any order.
    rows = np.random.default_rng(0).permutation(np.flatnonzero(~kept)[:-7])
    few = dataclasses.replace(
        large,
        ids=tuple(large.ids[row] for row in rows),
        scores=large.scores[rows],
        labels=None,
        predictions=None,
    )
    again = applying.answer(served, small, few)
    assert [one is None for one in again.answers].count(True) == 7
    known = np.array([one is not None for one in again.answers])
    np.testing.assert_array_equal(np.array(again.answers)[known], wanted[known])
    assert np.isnan(again.large_confidence[kept]).all()


def test_records_without_a_large_model(pair, path, tmp_path):
    small, large = pair
    record = cj.load(path)
    alone = tmp_path / "alone.json"
    cj.io.save_cascade(
        alone, router=record.router, num_small_bins=3, small_params=record.small_params
    )
    with pytest.raises(ValueError, match=r"alone.json: is a cascade without large_par"):
        applying.answer(applying.load(alone), small, large)
    cj.save(alone, record.small_params)
    with pytest.raises(ValueError, match=r"alone.json: is a calibrator, so that"):
        applying.answer(applying.load(alone), small, large)
    served = applying.load(path)
    twice = dataclasses.replace(large, ids=(*large.ids[:-1], large.ids[0]))
    with pytest.raises(ValueError, match=r"second.npz: id 'q0' is there more than onc"):
        applying.answer(served, small, twice)
    with pytest.raises(ValueError, match="first.npz has ids and second.npz has none"):
        applying.answer(served, small, dataclasses.replace(large, has_ids=False))
    values, _ = made_outputs.logits(rows=len(large))
    other = Outputs(
        ids=large.ids, format="npz", kind="logits", name="second.npz", logits=values
    )
    with pytest.raises(ValueError, match=r"second.npz: holds .* but the Platt calib"):
        applying.answer(served, small, other)


def test_a_check_judges_the_answers_that_are_taken(path):
    record = cj.load(path)
    new = made_pairs.two_large(seed=1)
    found = report.check_report(record, *new)
    assert found.confers and found.verdict.name == "SHOWN"
    right = [one.predictions == one.labels for one in new]
    confidence = [
        np.asarray(cj.calibrate(params, one.scores))
        for params, one in zip(
            (record.small_params, record.large_params), new, strict=True
        )
    ]
    kept = record.keep_small(new[0].scores)
    ask = ~kept & np.asarray(cj.cascade.prefer_large(record.arbiter, *confidence))
    drop = right[1].mean() - np.where(ask, right[1], right[0]).mean()
    assert found.drop == pytest.approx(drop) and drop < -0.02
    assert "the cascade, with its arbiter, gains" in " ".join(found.sentences())
    # Without it the large model decides.
    alone = report.check_report(dataclasses.replace(record, arbiter=None), *new)
    drop = right[1].mean() - np.where(kept, *right).mean()
    assert not alone.confers and alone.drop == pytest.approx(drop)
    assert alone.drop_bound > found.drop_bound + 0.01


def outputs(predictions, **more):
    given = {"ids": tuple("abcd"), "format": "csv", "kind": "scores"} | more
    return Outputs(
        **given,
        scores=np.float32([0.1, 0.2, 0.3, 0.4]),
        predictions=None if predictions is None else np.int32(predictions),
    )


def calibrated(predictions, outcome=(1, 0, 1, 0)):
    return models.Calibrated(
        None,
        np.full(4, 0.5, np.float32),
        np.float32(outcome),
        None if predictions is None else np.int32(predictions),
    )


DIFFER = {
    "numbers": (([0, 1, 2, 3], {}), ([0, 1, 1, 1], {}), [0, 0, 1, 1]),
    "names in another order": (
        ([0, 1, 0, 1], {"choices": ("x", "y")}),
        ([1, 0, 0, 2], {"choices": ("y", "x", "z")}),
        [0, 0, 1, 1],
    ),
    "an answer that is not known": (
        ([-1, 1, 2, 3], {}),
        ([-1, 1, 1, 3], {}),
        [1, 0, 1, 0],
    ),
    "names and numbers": (([0, 1, 0, 1], {"choices": ("x", "y")}), ([0] * 4, {}), None),
    "no answers": (([0, 1, 0, 1], {}), (None, {}), None),
    "other numbers of options": (
        ([0, 1, 0, 1], {"logits": np.zeros((4, 2), np.float32)}),
        ([0, 1, 0, 1], {"logits": np.zeros((4, 3), np.float32)}),
        None,
    ),
}


@pytest.mark.parametrize("kind", DIFFER)
def test_where_answers_differ(kind):
    (first, more), (second, others), wanted = DIFFER[kind]
    got = conferring.differ(
        (outputs(first, **more), outputs(second, **others)),
        (calibrated(first), calibrated(second)),
    )
    assert got is None if wanted is None else got.tolist() == list(map(bool, wanted))


def test_equal_answers_of_which_one_is_right_are_of_other_options():
    pair = outputs([0, 1, 2, 3]), outputs([0, 1, 2, 1])
    both = calibrated([0, 1, 2, 3]), calibrated([0, 1, 2, 1], (1, 0, 0, 0))
    assert conferring.differ(pair, both) is None
    both = calibrated([0, 1, 2, 3]), calibrated([0, 1, 2, 1], (1, 0, 1, 1))
    assert conferring.differ(pair, both).tolist() == [False, False, False, True]


def test_outcomes_alone_count_all_rows():
    """Their files do not say where answers differ."""
    pair = made_pairs.two_large(rows=1000)
    pair = [
        dataclasses.replace(
            one,
            outcomes=np.float32(one.predictions == one.labels),
            labels=None,
            predictions=None,
        )
        for one in pair
    ]
    found = report.cascade_report(*pair)
    assert found.conferring.differ_share is None and found.confers
    assert "count as different in all rows" in pages.page(found)


def test_a_given_k_promises_nothing(pair, path, tmp_path):
    found = report.cascade_report(*pair, max_drop=-0.1, num_small_bins=4)
    assert found.num_small_bins == 4 and not found.feasible and found.confers
    assert found.chosen is found.points[4] and found.points[0].accuracy_change > 0.05
    text = " ".join(found.sentences())
    assert "K is 4 of 15 bins" in text and "so nothing is promised" in text
    assert "With confidence" not in text and "No K can" not in text
    assert "the arbiter weighs both answers" in text
    steps = " ".join(found.next_steps())
    assert "Check later whether inputs changed" in steps and "promise" not in steps
    page = pages.page(found)
    assert "the promise was made" not in page and "not used" not in page
    assert page.count("no promise, given") == 2 and "yes, chosen" not in page
    assert (
        "The promise allows" not in page and 'against the large model alone."' in page
    )
    target = tmp_path / "cascade.json"
    found.files()["cascade.json"](target)
    record = cj.load(target)
    assert record.num_small_bins == 4 and record.arbiter is not None
    assert record.promise is record.selection is None and record.num_rows == 1500
    check = report.check_report(record, *made_pairs.two_large(seed=1))
    assert "makes no promise" in " ".join(check.sentences())
    with pytest.raises(ValueError, match="K from 0 to num_bins, 15, got 16"):
        report.cascade_report(*pair, num_small_bins=16)
