"""Whether a cascade still does what it promised, on new rows."""

import dataclasses
import json

import made_pairs
import numpy as np
import pytest
import scipy.stats

import calib_jax as cj
from calib_jax import report
from calib_jax.report import Verdict, applying, pages

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cascade with its record."""
    found = report.cascade_report(*made_pairs.pair(), max_drop=0.02)
    path = tmp_path_factory.mktemp("record") / "cascade.json"
    found.files()["cascade.json"](path)
    return found, cj.load(path)


def without_labels(outputs):
    return dataclasses.replace(outputs, outcomes=None)


def harder(outputs, seed=0):
    """The same scores with fewer right answers."""
    rng = np.random.default_rng(seed)
    right = outputs.outcomes * (rng.random(len(outputs)) < 0.85)
    return dataclasses.replace(outputs, outcomes=np.float32(right))


def test_numbers(made):
    found, record = made
    small, large = made_pairs.pair(rows=1000, seed=7)
    check = report.check_report(record, small, large, seed=3)
    confidence = np.asarray(cj.calibrate(record.small_params, small.scores))
    keep = np.asarray(cj.use_small(record.router, confidence, record.num_small_bins))
    assert check.num_rows == 1000
    assert check.small_share == pytest.approx(keep.mean())
    assert check.small_share_before == pytest.approx(found.chosen.small_share)
    assert check.small_accuracy == pytest.approx(small.outcomes[keep].mean())
    lost = keep * (large.outcomes - small.outcomes)
    assert check.drop == pytest.approx(lost.mean())
    # The bins that count are those of the router, on both sides.
    index = np.asarray(cj.bin_index(record.router.bins, confidence))
    np.testing.assert_array_equal(check.drift.count, np.bincount(index, minlength=15))
    np.testing.assert_array_equal(check.drift.reference_count, found.reference.count)
    # Of the rows of the router, since K was chosen by the others.
    table = record.router.table
    kept = np.asarray(record.router.order)[: record.num_small_bins]
    before = np.asarray(table.count)[kept]
    right = np.round(before * np.asarray(table.small_outcome)[kept]).sum()
    assert check.small_accuracy_before == pytest.approx(right / before.sum())
    now = small.outcomes[keep]
    counts = [
        [now.sum(), (1 - now).sum()],
        [right, before.sum() - right],
    ]
    exact = scipy.stats.fisher_exact(np.int64(counts), alternative="less")
    assert check.accuracy_p_value == pytest.approx(exact.pvalue, rel=1e-9)
    bound = cj.cascade.control_accuracy_drop(
        *(record.router, confidence, small.outcomes > 0, large.outcomes > 0),
        0.02,
    ).bound[record.num_small_bins]
    assert check.drop_bound == pytest.approx(bound)
    assert check.max_drop == pytest.approx(0.02) and check.promise_level == 0.95
    against = cj.stats.betting_p_value(np.float32((1 - lost) / 2), 0.49)
    assert check.drop_p_value == pytest.approx(float(against), rel=1e-5)
    assert check.num_tests == 3
    assert check.alarm_share == pytest.approx(0.01 / 3)


def test_shown_anew(made):
    check = report.check_report(made[1], *made_pairs.pair(rows=4000, seed=7))
    assert check.verdict is Verdict.SHOWN and not check.alarm
    text = " ".join(check.sentences())
    assert "The promise (at most 2 points lost) holds: these rows confirm it" in text
    assert "is at most 1%; each of 3 tests alarms at p <= 0.0033." in text


def test_too_few_to_say(made):
    check = report.check_report(made[1], *made_pairs.pair(rows=60, seed=8))
    assert check.verdict is Verdict.NOT_CONTRADICTED and not check.alarm
    assert check.drop_bound > 0.02
    assert "nothing contradicts it" in " ".join(check.sentences())


def test_broken(made):
    small, large = made_pairs.pair(rows=1000, seed=9)
    small = dataclasses.replace(small, outcomes=np.zeros_like(small.outcomes))
    check = report.check_report(made[1], small, large)
    assert check.verdict is Verdict.BROKEN and check.alarm
    assert check.drop > 0.1 and check.drop_p_value < 1e-4
    assert "these rows contradict it" in " ".join(check.sentences())
    assert "Send everything to the large model" in check.next_steps()[0]


def test_drifted(made):
    small, large = made_pairs.pair(rows=2000, seed=10)
    rows = np.flatnonzero(small.scores < 0.6)
    some = dataclasses.replace(
        without_labels(small),
        ids=tuple(small.ids[row] for row in rows),
        scores=small.scores[rows],
    )
    check = report.check_report(made[1], some)
    assert check.verdict is Verdict.DRIFTED and check.alarm and check.drifted
    assert check.num_tests == 1 and check.small_accuracy is None
    assert "distribution of confidence has changed" in " ".join(check.sentences())
    # Other inputs on which the promise is confirmed raise no alarm.
    outcomes = small.outcomes[rows]
    both = (
        dataclasses.replace(some, outcomes=outcomes),
        dataclasses.replace(
            some, name="large.csv", scores=some.scores / 2, outcomes=outcomes
        ),
    )
    with pytest.raises(ValueError, match="so that both outputs are of one model"):
        report.check_report(made[1], both[0], both[0])
    check = report.check_report(made[1], *both)
    assert check.verdict is Verdict.SHOWN and check.drifted and not check.alarm
    assert "what is saved may have changed" in check.next_steps()[0]


def test_inputs_without_labels_count(made):
    """Of many new rows few have labels: the inputs are all of them."""
    small, large = made_pairs.pair(rows=2000, seed=14)
    some = [
        dataclasses.replace(
            one,
            ids=one.ids[:200],
            scores=one.scores[:200],
            outcomes=one.outcomes[:200],
        )
        for one in (small, large)
    ]
    check = report.check_report(made[1], *some, inputs=without_labels(small))
    alone = report.check_report(made[1], *some)
    assert (check.num_rows, check.num_labelled) == (2000, 200)
    assert (alone.num_rows, alone.num_labelled) == (200, 200)
    assert check.drift.count.sum() == 2000 and alone.drift.count.sum() == 200
    whole = report.check_report(made[1], without_labels(small))
    assert check.small_share == whole.small_share and whole.num_labelled is None
    for name in ("small_accuracy", "accuracy_p_value", "drop", "drop_bound"):
        assert getattr(check, name) == getattr(alone, name)
    text = " ".join(check.sentences())
    assert "2,000 new rows, 200 of them to judge answers on" in text
    # With the large model's file, rows that it lacks are inputs, too.
    check = report.check_report(made[1], small, some[1])
    assert (check.num_rows, check.num_labelled) == (2000, 200)


def test_a_change_of_inputs_does_not_matter_where_nothing_is_kept(made, tmp_path):
    found = report.cascade_report(*made_pairs.pair(rows=200), max_drop=0.0)
    found.files()["cascade.json"](tmp_path / "cascade.json")
    small, large = made_pairs.pair(rows=2000, seed=10)
    rows = np.flatnonzero(small.scores < 0.6)
    some = dataclasses.replace(
        without_labels(small),
        ids=tuple(small.ids[row] for row in rows),
        scores=small.scores[rows],
    )
    check = report.check_report(cj.load(tmp_path / "cascade.json"), some)
    assert check.num_small_bins == 0 and check.drift.p_value < 0.01
    assert not check.alarm and not check.drifted and check.num_tests == 0
    assert check.verdict is Verdict.NOT_CONTRADICTED
    assert "At K = 0 a change of inputs is not an alarm" in " ".join(check.sentences())


def test_counts_of_a_record_take_no_memory(made):
    """A record is text of somebody's, and its counts may be any."""
    _, record = made
    most = 2**31 // 15 - 1000
    count = np.full(15, most, np.int32)
    many = dataclasses.replace(
        record, reference=dataclasses.replace(record.reference, count=count)
    )
    check = report.check_report(many, *made_pairs.pair(rows=100))
    assert check.drift.reference_count.sum() == 15 * most
    assert np.isfinite(check.drift.p_value)


def test_a_level_at_which_no_alarm_could_be_raised(made):
    small, large = made_pairs.pair(rows=100)
    with pytest.raises(ValueError, match=r"cannot raise an alarm .* at most 0.99997\."):
        report.check_report(made[1], small, large, confidence_level=0.99999)
    check = report.check_report(made[1], small, large, confidence_level=0.99997)
    assert check.alarm_share == pytest.approx(1e-5)


def test_scores_of_class_1_do_not_say_what_is_right(made):
    small, large = (
        dataclasses.replace(one, of_class_one=True) for one in made_pairs.pair(rows=100)
    )
    for given in ((small,), (small, large)):
        with pytest.raises(ValueError, match=r"small.csv: labels .* --kind prob"):
            report.check_report(made[1], *given)


def test_worse_answers(made):
    small, large = made_pairs.pair(rows=2000, seed=11)
    check = report.check_report(made[1], harder(small))
    assert check.accuracy_fell and check.alarm and check.drop is None
    assert check.verdict is Verdict.NOT_CONTRADICTED
    assert "has become less accurate" in " ".join(check.sentences())
    assert check.num_tests == 2
    # Both models fell alike, so nothing is lost by asking the small one.
    check = report.check_report(made[1], harder(small), harder(large))
    assert check.accuracy_fell and check.verdict is Verdict.SHOWN and not check.alarm


def test_json(made):
    check = report.check_report(made[1], made_pairs.pair(rows=100)[0])
    data = json.loads(json.dumps(check.to_dict(), allow_nan=False))
    assert list(data)[:3] == ["num_rows", "num_labelled", "verdict"]
    assert data["verdict"] == "not_contradicted" and data["alarm"] is False
    assert data["drop"] is None and sum(data["drift"]["reference_count"]) == 1500


def test_partial_credit(made):
    """Fisher's test is of answers that are right or wrong; the promise is not."""
    small, large = (
        dataclasses.replace(one, outcomes=np.float32(0.5 * one.outcomes))
        for one in made_pairs.pair(rows=1000, seed=12)
    )
    check = report.check_report(made[1], small, large)
    assert check.accuracy_p_value is None and check.num_tests == 2
    assert check.drop_bound > check.drop


def test_records_that_promise_nothing(made, tmp_path):
    found, _ = made
    path = tmp_path / "cascade.json"
    given = {
        "router": found.router,
        "num_small_bins": 5,
        "small_params": found.small.params,
    }
    cj.io.save_cascade(path, **given)
    small, large = made_pairs.pair(rows=1000, seed=13)
    record = cj.load(path)
    with pytest.raises(ValueError, match="no reference to compare .* give labels"):
        report.check_report(record, without_labels(small))
    check = report.check_report(record, small, large)
    assert check.num_tests == 0 and check.drift is None and not check.alarm
    assert check.verdict is Verdict.NOT_CONTRADICTED and check.drop is not None
    text = " ".join(check.sentences())
    assert "makes no promise that could be tested" in text
    assert "false alarm" not in text
    # One that could not be promised: the large model answers everything.
    found = report.cascade_report(*made_pairs.pair(rows=200), max_drop=0.0)
    found.files()["cascade.json"](path)
    check = report.check_report(cj.load(path), small, large)
    assert check.small_share == 0 and check.small_accuracy is None
    assert check.max_drop is None and check.drop == 0 and not check.alarm


def test_wrong_outputs(made):
    small, large = made_pairs.pair(rows=100)
    with pytest.raises(ValueError, match="nothing says which answers are right"):
        report.check_report(made[1], without_labels(small), without_labels(large))
    with pytest.raises(ValueError, match="confidence_level: expected a number in"):
        report.check_report(made[1], small, confidence_level=1.0)
    other = dataclasses.replace(large, ids=tuple(f"x{one}" for one in large.ids))
    with pytest.raises(ValueError, match="no id is in all of them"):
        report.check_report(made[1], small, other)


@pytest.mark.slow
def test_false_alarms_are_rare(tmp_path):
    """With new rows like the old ones, at a level of 0.8, over records and rows."""
    level, runs = 0.8, 150
    alarms = {"any": 0, "drift": 0, "accuracy": 0, "broken": 0}
    for run in range(runs):
        small, large = made_pairs.pair(rows=1800, seed=1000 + run)
        parts = [
            [
                dataclasses.replace(
                    one,
                    ids=one.ids[rows],
                    scores=one.scores[rows],
                    outcomes=one.outcomes[rows],
                )
                for one in (small, large)
            ]
            for rows in (slice(0, 1200), slice(1200, 1800))
        ]
        found = report.cascade_report(*parts[0], max_drop=0.05, seed=run)
        found.files()["cascade.json"](tmp_path / "cascade.json")
        record = cj.load(tmp_path / "cascade.json")
        check = report.check_report(record, *parts[1], confidence_level=level, seed=run)
        assert check.num_tests == 3
        tests = {
            "drift": check.drifted,
            "accuracy": check.accuracy_fell,
            "broken": check.verdict is Verdict.BROKEN,
        }
        for name, one in tests.items():
            alarms[name] += one
        alarms["any"] += any(tests.values())
    # Three standard errors of a share of a fifth, and of a fifteenth, above them.
    assert alarms["any"] / runs <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / runs)
    each = 0.2 / 3
    for name in ("drift", "accuracy", "broken"):
        assert alarms[name] / runs <= each + 3 * np.sqrt(each * (1 - each) / runs)
    # And not because no test can raise one.
    assert alarms["drift"] > 0 and alarms["accuracy"] > 0


def part_of(outputs, where):
    return dataclasses.replace(
        outputs,
        ids=tuple(np.array(outputs.ids)[where].tolist()),
        scores=outputs.scores[where],
        outcomes=outputs.outcomes[where],
    )


def test_large_answers_of_what_was_sent_on(made):
    """They say nothing of the answers that are kept, whatever these have become."""
    record = made[1]
    small, large = made_pairs.pair(rows=2000, seed=7)
    kept = applying.decide(applying.of_record(record, "it"), small).small
    worse = dataclasses.replace(small, outcomes=np.where(kept, 0, small.outcomes))
    sent = part_of(large, ~kept)
    check = report.check_report(record, worse, sent)
    assert check.verdict is Verdict.NOT_CONTRADICTED and check.accuracy_fell
    assert check.alarm and check.num_tests == 2
    assert check.drop is check.drop_bound is check.drop_p_value is None
    # The small model's answers are judged all the same, on all rows.
    assert check.num_labelled == 2000 and check.small_accuracy == 0
    well = report.check_report(record, small, sent)
    assert not well.alarm and well.verdict is Verdict.NOT_CONTRADICTED
    text = " ".join(well.sentences())
    assert f"judged for 0 of the {kept.sum():,} inputs" in text
    assert "was not tested; nothing else contradicts it" in text
    assert "ask the large model about all these inputs" in well.next_steps()[0]
    assert "was not tested; nothing else" in pages.page(well)
    # Half of the kept rows are missing too many; a random half of all is not.
    some = part_of(large, ~kept | (np.arange(2000) % 2 == 0))
    assert report.check_report(record, small, some).untested is not None
    half = part_of(large, np.random.default_rng(0).random(2000) < 0.5)
    fair = report.check_report(record, small, half)
    assert fair.untested is None and fair.num_labelled == len(half)
    # Nor do labels of those sent on alone.
    labelled = (part_of(one, ~kept) for one in (small, large))
    check = report.check_report(record, *labelled, inputs=small)
    assert check.untested is not None and check.verdict is not Verdict.SHOWN
