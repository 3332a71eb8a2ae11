"""Suspect labels: flagged, ranked, planned for an audit."""

import csv
import dataclasses
import json

import jax
import made_outputs
import numpy as np
import pytest

import calib_jax as cj
from calib_jax.io.outputs import Outputs
from calib_jax.report import agreed, cleaning, methods, models

pytestmark = pytest.mark.once


def outputs(values, labels, name="model", **more):
    ids = tuple(f"row {n}" for n in range(len(labels)))
    given = {"format": "npz", "kind": "logits", "logits": values} | more
    return Outputs(ids=ids, name=name, labels=np.int32(labels), **given)


@pytest.fixture(scope="module")
def made():
    values, labels, wrong = made_outputs.experts()
    read = [outputs(one, labels, f"model {n}") for n, one in enumerate(values)]
    return read, labels, wrong


@pytest.fixture(scope="module")
def report(made):
    return cleaning.cleaning_report(*made[0])


def test_suspects_are_the_wrong_labels(report, made):
    _, labels, wrong = made
    ranking = report.ranking
    assert report.num_rows == len(labels) == made_outputs.NUM_ROWS
    assert report.num_flagged == ranking.flagged.sum() == len(report.suspects) > 10
    assert wrong[ranking.flagged].mean() > 0.8
    # Wrong labels that are not flagged rank next.
    first = ranking.order[: wrong.sum()]
    assert wrong[first].mean() > 0.7
    assert sorted(ranking.order) == list(range(len(labels)))
    assert ranking.flagged[ranking.order[: report.num_flagged]].all()


def test_each_half_is_judged_by_the_other(report, made):
    """Against Method 2 on each half alone, in functions of the library."""
    read, labels, _ = made
    halves = models.halves(len(labels), 0)
    predictions = np.stack([one.logits.argmax(axis=1) for one in read])
    flagged = np.zeros(len(labels), bool)
    confidences = np.zeros(predictions.shape, np.float32)
    for fitted, judged in (halves, halves[::-1]):
        found = []
        for one in read:
            params, _ = cj.fit_temperature(one.logits[fitted], np.int32(labels[fitted]))
            found.append(cj.top1(one.logits, params.temperature).confidence)
        found = np.stack(found)
        right = predictions == labels
        bins = cj.fit_expert_bins(found[:, fitted], right[:, fitted])
        flagged[judged] = cj.high_confidence_disagreement(
            bins, predictions[:, judged], found[:, judged], labels[judged], 10
        )
        confidences[:, judged] = found[:, judged]
    np.testing.assert_array_equal(report.ranking.flagged, flagged)
    np.testing.assert_allclose(report.ranking.confidences, confidences, rtol=1e-5)
    score = np.where(predictions != labels, confidences, -confidences).min(axis=0)
    np.testing.assert_allclose(report.ranking.score, score, rtol=1e-5)


def test_suspects_say_what_models_say(report, made):
    read, labels, _ = made
    scores = [one.score for one in report.suspects]
    assert scores == sorted(scores, reverse=True)
    for one in report.suspects:
        row = int(one.id.removeprefix("row "))
        assert one.given == str(labels[row])
        answers = [str(model.logits[row].argmax()) for model in read]
        assert [answer.option for answer in one.answers] == answers
        assert one.given not in answers
        surest = max(one.answers, key=lambda answer: answer.confidence)
        assert one.suggestion == surest.option
        assert one.score == min(answer.confidence for answer in one.answers)


def test_expectation_is_that_of_shared_errors(report, made):
    """Cross-fitted confidences of all rows go in, and the suspects come out."""
    _, labels, _ = made
    ranking = report.ranking
    outcomes = ranking.predictions == labels
    shared = cj.cleaning.fit_shared_errors(ranking.confidences, outcomes)
    found = cj.cleaning.expected_precision_interval(
        shared, ranking.confidences, ranking.flagged
    )
    for name, end in (
        ("expected_precision", found.estimate),
        ("least_precision", found.lower),
        ("most_precision", found.upper),
    ):
        assert getattr(report, name) == pytest.approx(float(end), abs=1e-6)


@pytest.mark.parametrize("num_models", [2, 3])
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_expectation_against_the_truth(num_models, share):
    """Models that err independently, which nobody tells the report."""
    held, shown, num_seeds = 0, 0, 4
    for seed in range(num_seeds):
        values, labels, wrong = made_outputs.experts(num_models, share, seed=seed)
        read = [outputs(one, labels, f"model {n}") for n, one in enumerate(values)]
        report = cleaning.cleaning_report(*read, seed=seed)
        actual = wrong[report.ranking.flagged].mean()
        held += report.least_precision <= actual <= report.most_precision
        assert report.least_precision <= report.expected_precision
        assert report.expected_precision <= report.most_precision
        # The audit asks for less than there is, and the sheet is likely to show it.
        assert 0.1 <= report.audit_target < actual
        sheet = jax.random.key(seed)
        sample = cj.cleaning.sample_audit(
            sheet, report.ranking.flagged, report.num_to_audit
        )
        shown += wrong[np.asarray(sample)].sum() >= report.audit_num_wrong
    assert held >= num_seeds - 1 and shown >= num_seeds - 1


def test_shared_errors_are_not_taken_for_wrong_labels():
    """No label is wrong, and the models err together: the interval reaches far down."""
    values, labels, _ = made_outputs.experts(1, 0.0)
    again = values[0] + np.float32(0.01) * values[0][:, ::-1]
    read = [
        outputs(one, labels, f"model {n}") for n, one in enumerate((*values, again))
    ]
    report = cleaning.cleaning_report(*read)
    assert report.num_flagged > 5
    assert report.expected_precision < 0.5 and report.least_precision < 0.05


def test_audit(report):
    assert 0 < report.num_to_audit <= report.num_flagged
    assert 0.1 <= report.audit_target <= 0.85
    bounds = cj.cleaning.audit_bounds(
        report.audit_num_wrong, report.num_to_audit, num_flagged=report.num_flagged
    )
    assert bounds.lower >= report.audit_target
    fewer = cj.cleaning.audit_bounds(
        report.audit_num_wrong - 1, report.num_to_audit, num_flagged=report.num_flagged
    )
    assert fewer.lower < report.audit_target


def test_more_bins_flag_more(made, report):
    nested = [
        cleaning.cleaning_report(*made[0], num_top_bins=k).ranking.flagged
        for k in (5, 15)
    ]
    assert nested[0].sum() < report.num_flagged < nested[1].sum()
    assert not np.any(nested[0] & ~report.ranking.flagged)
    np.testing.assert_array_equal(
        nested[1],
        (report.ranking.predictions != report.ranking.labels).all(axis=0),
    )


def test_one_model(made):
    report = cleaning.cleaning_report(made[0][0])
    assert len(report.models) == 1 and report.num_flagged > 20
    # Nothing but the labels says when one model is wrong.
    assert report.expected_precision is report.least_precision is None
    assert report.most_precision is None and report.num_to_audit > 0
    assert report.headline()["expected_precision"] is None
    # One label in twenty is wrong.
    assert made[2][report.ranking.flagged].mean() > 0.25
    text = " ".join(report.sentences())
    assert "the model contradicts them and is confident (in the 10 most" in text
    assert "cannot be estimated" in text and "%" not in text.split("cannot")[1][:200]


def test_words(report):
    text = " ".join(report.sentences())
    for words in (
        "and each is confident (in its 10 most accurate of 15 bins)",
        "judged by calibrators and bins fitted on the other half",
        "Wrong labels make models look overconfident",
        "given labels, not the truth",
        "of them are expected to be wrong, and between",
        "looks like a wrong label",
        f"Check {report.num_to_audit} of them, drawn at random",
    ):
        assert words in text
    steps = " ".join(report.next_steps())
    assert "read_review_sheet" in steps
    assert f"num_flagged={report.num_flagged})" in steps
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(data)[:2] == ["num_rows", "num_flagged"]
    assert len(data["suspects"]) == report.num_flagged and "ranking" not in data


def test_levels_are_not_rounded_up(made):
    report = cleaning.cleaning_report(*made[0], confidence_level=0.997)
    assert "at a confidence level of 99.7%" in " ".join(report.sentences())


def test_the_worse_fit_of_both_halves_is_told(made):
    """Scores that differ in one half only."""
    first = made[0][0]
    top = cj.top1(first.logits)
    one, two = models.halves(len(first), 0)
    for flat in (one, two):
        scores = np.array(cj.log_odds(top.confidence))
        scores[flat] = 1
        report = cleaning.cleaning_report(
            outputs(
                None,
                first.labels,
                logits=None,
                kind="scores",
                scores=scores,
                predictions=np.asarray(top.prediction),
            ),
            method=methods.PLATT,
        )
        assert report.models[0].status == "CONSTANT"
        assert any("ended as CONSTANT" in told for told in report.sentences())


def test_expectations_are_not_said_too_surely(report):
    def told(**more):
        return " ".join(dataclasses.replace(report, **more).sentences())

    assert "About 99% of them" in told(expected_precision=0.994)
    assert "Nearly all of them" in told(expected_precision=0.998)
    ends = told(least_precision=0.4999, most_precision=0.9901)
    assert "between 49% and 100% at a confidence level of 95%." in ends


def test_no_suspects():
    """Models that are wrong where they are unsure only."""
    values, truth = made_outputs.logits(skill=3.0)
    report = cleaning.cleaning_report(outputs(values, truth), num_top_bins=1)
    assert report.num_flagged == 0 and report.suspects == ()
    assert report.expected_precision is report.num_to_audit is None
    assert "0 labels are suspect" in report.sentences()[0]
    assert json.dumps(report.to_dict(), allow_nan=False)


def test_answers_are_compared_by_name(made, report):
    first, second = made[0]
    turned = dataclasses.replace(
        second,
        logits=second.logits[:, ::-1],
        labels=np.int32(3) - second.labels,
        choices=("d", "c", "b", "a"),
    )
    named = dataclasses.replace(first, choices=("a", "b", "c", "d"))
    again = cleaning.cleaning_report(named, turned)
    np.testing.assert_array_equal(again.ranking.flagged, report.ranking.flagged)
    letters = np.array(["a", "b", "c", "d"])
    assert [one.given for one in again.suspects] == [
        letters[int(one.given)] for one in report.suspects
    ]
    with pytest.raises(ValueError, match="its options have no names"):
        cleaning.cleaning_report(first, turned)


def test_predictions_beside_scores(made):
    """Files of a score and an answer, without values of the other options."""
    first = made[0][0]
    top = cj.top1(first.logits)
    scores = outputs(
        None,
        first.labels,
        logits=None,
        kind="scores",
        scores=np.asarray(top.confidence),
        scale="confidence",
        predictions=np.asarray(top.prediction),
        outcomes=np.zeros(len(first), np.float32),
    )
    report = cleaning.cleaning_report(scores, num_top_bins=5)
    assert report.num_flagged > 10
    assert made[2][report.ranking.flagged].mean() > 0.25


def test_what_cannot_be_cleaned(made):
    first, second = made[0]
    cases = {
        "got none": (),
        "model 0: no labels to check": (dataclasses.replace(first, labels=None),),
        "it has scores but no predictions": (
            dataclasses.replace(first, logits=None, scores=first.logits[:, 0]),
        ),
        "^model 0: the same logits in all 1,200 rows": (first, second, first),
        "at least 40 rows": (outputs(first.logits[:39], first.labels[:39]),),
        "different labels in 1200 of 1200": (
            first,
            dataclasses.replace(second, labels=(second.labels + 1) % 4),
        ),
        "are right, so nothing can be fitted": (
            dataclasses.replace(first, labels=np.int32(first.logits.argmax(axis=1))),
        ),
    }
    for match, given in cases.items():
        with pytest.raises(ValueError, match=match):
            cleaning.cleaning_report(*given)
    for wrong in (0, 16):
        with pytest.raises(ValueError, match="num_top_bins: expected a number from 1"):
            cleaning.cleaning_report(first, num_top_bins=wrong)
    other = dataclasses.replace(second, labels=(second.labels + 1) % 4)
    with pytest.raises(ValueError, match="other labels than model 0 in 1200 rows"):
        agreed.answers([first, other])


def test_flipped_labels_of_real_images(data_folder):
    """One label in twenty of CIFAR-10's test set is made wrong."""
    with np.load(data_folder / "vision" / "cifar10.npz") as file:
        truth = file["label"].astype(np.int32)
        shares = [file[f"{name}_probs"] for name in ("wideresnet_16_4", "crossval")]
    labels, wrong = made_outputs.flipped(truth, options=10)
    read = [
        outputs(
            None,
            labels,
            logits=None,
            kind="probabilities",
            log_probabilities=np.log(np.maximum(one, np.float32(1e-30))),
        )
        for one in shares
    ]
    report = cleaning.cleaning_report(*read)
    found = wrong[report.ranking.flagged]
    assert found.mean() > 0.95 and found.sum() > 0.3 * wrong.sum()
    fixed = report.ranking.suggestion == truth
    assert fixed[report.ranking.flagged & wrong].mean() > 0.9
    assert report.least_precision < found.mean() <= report.most_precision
    assert report.expected_precision > 0.7


NASTY = (
    *("=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "\uff1d1", " =1", "\t@x"),
    *('a"b', "a\nb", "a,b", "a;=1", "a\ud800"),
)


def cells(path, encoding="utf-8"):
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file))


def test_files_hold_text_that_no_spreadsheet_runs(made, tmp_path):
    read = [
        dataclasses.replace(
            one,
            ids=tuple(f"{NASTY[n % len(NASTY)]}{n}" for n in range(len(one))),
            choices=("=a", "-b", "3", "d\n=e"),
        )
        for one in made[0]
    ]
    report = cleaning.cleaning_report(*read, num_top_bins=15)
    assert set(report.files()) == set(cleaning.FILES)
    for name, writer in report.files().items():
        writer(tmp_path / name)
    lines = cells(tmp_path / "suspects.csv")
    assert [line["rank"] for line in lines] == [
        str(one.rank) for one in report.suspects
    ]
    assert {line["given"] for line in lines} == {"'=a", "'-b", "3", "d\n'=e"}
    columns = ["id", "given", "suggestion", "answer_1", "answer_2"]
    texts = [line[name] for line in lines for name in columns]
    assert len(texts) > 100
    for text in texts:
        bare = text.lstrip(" \t\n")
        assert bare == text or text.startswith("'")
        assert bare[0] not in "=@\uff1d" and (bare[0] not in "+-" or float(bare))
        assert ";=" not in text
    sheet = cells(tmp_path / "review.csv", "utf-8-sig")
    assert len(sheet) == report.num_flagged
    assert sorted(line["id"] for line in sheet) == sorted(line["id"] for line in lines)


def test_the_sheet_is_a_random_order_and_reads_back(report, made, tmp_path):
    path = tmp_path / "review.csv"
    report.files()["review.csv"](path)
    sheet = cj.io.read_review_sheet(path)
    flagged = np.flatnonzero(report.ranking.flagged)
    np.testing.assert_array_equal(np.sort(sheet.rows), flagged)
    assert sheet.num_blank == report.num_flagged
    drawn = cj.cleaning.sample_audit(
        jax.random.key(0), report.ranking.flagged, report.num_flagged
    )
    np.testing.assert_array_equal(sheet.rows, drawn)
    # A person answers the lines that were asked for.
    lines = path.read_text("utf-8-sig").splitlines()
    asked = report.num_to_audit
    answers = ["wrong" if made[2][row] else "right" for row in sheet.rows[:asked]]
    filled = [line + answer for line, answer in zip(lines[1:], answers, strict=False)]
    path.write_text("\n".join([lines[0], *filled, *lines[1 + asked :]]))
    sheet = cj.io.read_review_sheet(path)
    assert sheet.counts.sum() == asked and sheet.num_skipped == 0
    found = cj.cleaning.audit_bounds(
        sheet.counts, sheet.counts.sum(), num_flagged=report.num_flagged
    )
    assert found.lower[0] >= report.audit_target
    assert found.lower[0] <= made[2][report.ranking.flagged].mean() <= found.upper[0]
