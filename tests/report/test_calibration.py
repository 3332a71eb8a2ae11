"""One model, calibrated on a half and judged on the other."""

import csv
import dataclasses
import json
import warnings

import made_outputs
import numpy as np
import pytest

import calib_jax as cj
from calib_jax.calibration.reports import FitStatus
from calib_jax.io.outputs import Outputs
from calib_jax.report import (
    applying,
    calibration,
    methods,
    models,
    pages,
    statuses,
)

pytestmark = pytest.mark.once


def outputs(**given):
    rows = len(next(v for v in given.values() if isinstance(v, np.ndarray)))
    first = {
        "ids": tuple(f"row {n}" for n in range(rows)),
        "format": "npz",
        "kind": "logits" if "logits" in given else "scores",
        "name": "model.npz",
    }
    return Outputs(**first | given)


@pytest.fixture(scope="module")
def made():
    values, labels = made_outputs.logits()
    return outputs(logits=values, labels=np.int32(labels))


@pytest.fixture(scope="module")
def report(made):
    return calibration.calibration_report(made)


def test_numbers(report, made):
    """Against the library's functions on the same halves."""
    model = report.model
    fitted, judged = models.halves(len(made), 0)
    params, _ = cj.fit_temperature(made.logits[fitted], made.labels[fitted])
    # The logits were doubled.
    assert 1.6 < params.temperature < 2.5
    np.testing.assert_allclose(model.params.temperature, params.temperature, rtol=1e-6)
    right = made.logits.argmax(axis=1) == made.labels
    before = np.asarray(cj.top1(made.logits).confidence)
    after = np.asarray(cj.top1(made.logits, params.temperature).confidence)
    np.testing.assert_allclose(report.confidence, after, rtol=1e-6)
    for told, given in ((model.before, before), (model.after, after)):
        bins = cj.equal_count_bins(given[fitted])
        error = cj.expected_calibration_error(given[judged], right[judged], bins=bins)
        np.testing.assert_allclose(told.error.estimate, error, atol=1e-6)
        assert told.mean_confidence == pytest.approx(given[judged].mean(), abs=1e-6)
        assert np.sum(told.density.count) == len(judged)
    assert model.accuracy == pytest.approx(right[judged].mean())
    assert model.num_fitted == model.num_judged == made_outputs.NUM_ROWS // 2
    head = report.headline()
    assert head["num_rows"] == made_outputs.NUM_ROWS
    assert head["ece_after"] < head["ece_before"] / 2
    np.testing.assert_array_equal(np.flatnonzero(report.fitted), fitted)


def test_json(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(data)[:2] == ["num_rows", "accuracy"]
    assert data["ece_after"] == pytest.approx(float(report.headline()["ece_after"]))
    assert data["model"]["status"] == "CONVERGED"
    assert "confidence" not in data and "ids" not in data


def test_groups(made):
    names = np.array(["law", "maths", "art"])[np.arange(len(made)) % 4 % 3]
    grouped = dataclasses.replace(made, groups=tuple(names.tolist()))
    report = calibration.calibration_report(grouped, confidence_level=0.9)
    _, judged = models.halves(len(made), 0)
    right = made.logits.argmax(axis=1) == made.labels
    groups = report.model.groups
    assert groups[0].name == "law" and len(groups) == 3
    for group in groups:
        rows = judged[names[judged] == group.name]
        assert group.num_rows == len(rows)
        assert group.accuracy == pytest.approx(right[rows].mean())
        ends = cj.stats.clopper_pearson(int(right[rows].sum()), len(rows), 0.9)
        np.testing.assert_allclose(group.accuracy_interval, np.array(ends), rtol=1e-6)
        confidence = report.confidence[rows]
        assert group.confidence_after == pytest.approx(confidence.mean(), abs=1e-6)
        error = cj.expected_calibration_error(confidence, right[rows])
        assert group.ece_after == pytest.approx(float(error), abs=1e-6)
        assert 0 < group.floor < 0.2
    one = dataclasses.replace(made, groups=("all",) * len(made))
    assert calibration.calibration_report(one).model.groups == ()


def test_groups_beyond_those_shown_are_counted(made):
    names = tuple(f"group {n % 150}" for n in range(len(made)))
    report = calibration.calibration_report(dataclasses.replace(made, groups=names))
    _, judged = models.halves(len(made), 0)
    number = len({names[row] for row in judged.tolist()})
    assert len(report.model.groups) == 100 and report.model.num_groups == number
    told = f"The judged rows are in {number} groups; the page shows the 100 largest."
    assert told in report.sentences()
    page = pages.fragment(report)
    assert f"The 100 groups with the most rows, of {number}." in page


def test_sentences(report, made):
    text = " ".join(report.sentences())
    assert f"judged on the other 600; {report.model.accuracy:.1%} of those" in text
    assert "ECE" in text and "(95% interval " in text
    near = calibration.calibration_report(made, confidence_level=0.997)
    assert "(99.7% interval " in " ".join(near.sentences())


def test_answers_that_are_not_the_likeliest(made, tmp_path):
    """What is saved says whose confidence it is, and new outputs are taken so."""
    best = made.logits.argmax(axis=1)
    drawn = np.where(np.arange(len(made)) % 5, best, made.labels).astype(np.int32)
    given = dataclasses.replace(made, predictions=drawn)
    for method, words in (
        (methods.TEMPERATURE, "logits or log-probabilities of the options; the"),
        (methods.PLATT, "log-odds of the chosen option's probability"),
    ):
        report = calibration.calibration_report(given, method=method)
        assert report.model.taken.startswith(words)
        report.files()["calibration.json"](tmp_path / "calibration.json")
        served = applying.load(tmp_path / "calibration.json")
        assert served.taken == report.model.taken
        np.testing.assert_array_equal(
            applying.decide(served, given).confidence, report.confidence
        )
        # New answers may all be the likeliest, or not be known.
        likeliest = dataclasses.replace(made, predictions=None, labels=None)
        assert len(applying.decide(served, likeliest).confidence) == len(made)


def test_records_of_one_scale_are_not_for_another(tmp_path):
    right = np.float32(np.arange(200) % 3 > 0)
    shares = np.linspace(0.1, 0.9, 200, dtype=np.float32)
    given = outputs(scores=shares, scale="confidence", outcomes=right)
    report = calibration.calibration_report(given)
    assert report.model.before is not None
    report.files()["calibration.json"](tmp_path / "calibration.json")
    served = applying.load(tmp_path / "calibration.json")
    np.testing.assert_array_equal(
        applying.decide(served, given).confidence, report.confidence
    )
    for other in ("log_probability", None):
        with pytest.raises(ValueError, match="takes confidence in each answer"):
            applying.decide(served, dataclasses.replace(given, scale=other))


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_methods(made, name):
    method = methods.METHODS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = calibration.calibration_report(made, method=method)
    assert report.model.method == name
    assert report.model.reason == f"{method.title}, as asked for."
    assert report.headline()["ece_after"] < report.headline()["ece_before"] / 2


RAMP = np.linspace(-3, 3, 200, dtype=np.float32)


@pytest.mark.parametrize(
    ("scores", "right", "status"),
    [
        (RAMP, RAMP > 0, "SEPARABLE"),
        (RAMP, np.arange(200) % 7 < 5 - RAMP, "REVERSED"),
        (np.zeros(200, np.float32), np.arange(200) % 3 > 0, "CONSTANT"),
    ],
)
def test_fits_without_an_optimum_are_told_not_warned_of(scores, right, status):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = calibration.calibration_report(
            outputs(scores=scores, outcomes=np.float32(right)), method=methods.PLATT
        )
    assert report.model.status == status
    (told,) = statuses.sentences(status)
    assert told in report.sentences() and status in told
    assert np.all(np.isfinite(report.confidence))


def test_the_worst_status():
    names = [status.name for status in FitStatus]
    assert statuses.worst("CONVERGED", "CONSTANT") == "CONSTANT"
    assert statuses.worst("SEPARABLE", "REVERSED") == "SEPARABLE"
    for name in names:
        assert statuses.worst(name) == statuses.worst(name, "CONVERGED") == name


def test_every_status_has_a_sentence():
    for status in FitStatus:
        told = statuses.sentences(status.name, "small model")
        # Values that cannot be fitted are an error.
        silent = status in (FitStatus.CONVERGED, FitStatus.INVALID_VALUES)
        assert len(told) == (not silent)
        assert all("of the small model ended as" in one for one in told)


def test_what_cannot_be_calibrated(made):
    impossible = made.logits.copy()
    impossible[np.arange(len(made)), made.labels] = -np.inf
    cases = {
        "at least 40 rows": outputs(logits=made.logits[:39], labels=made.labels[:39]),
        "nothing says which answers are right": dataclasses.replace(made, labels=None),
        "are right, so nothing can be fitted": outputs(
            scores=RAMP, outcomes=np.ones(200)
        ),
        "are wrong, so nothing can be fitted": outputs(
            scores=RAMP, outcomes=np.zeros(200)
        ),
        "Temperature scaling needs a value for each option": outputs(
            scores=RAMP, outcomes=np.float32(RAMP > 0.1)
        ),
        "cannot be fitted to these values: the right option of a row": outputs(
            log_probabilities=np.where(
                np.arange(4)
                == made.labels[:, None] * (np.arange(len(made)) % 5 == 0)[:, None],
                -np.inf,
                made.logits,
            ).astype(np.float32),
            labels=made.labels,
            kind="log_probabilities",
        ),
    }
    for match, given in cases.items():
        with pytest.raises(ValueError, match=match) as error:
            calibration.calibration_report(given, method=methods.TEMPERATURE)
        assert "\n" not in str(error.value)
    calibration.calibration_report(
        outputs(logits=made.logits[:40], labels=made.labels[:40])
    )


@pytest.mark.parametrize("name", ["histogram", "isotonic", "temperature"])
def test_the_promise_as_a_reader_applies_it(name, tmp_path):
    """The sentence, to the confidences as they are written: no block too many."""
    values, labels = made_outputs.logits(skill=3.0)
    given = outputs(logits=values, labels=np.int32(labels))
    report = calibration.calibration_report(given, method=methods.METHODS[name])
    promise = next(one for one in report.sentences() if "at or above" in one)
    told = promise.split("at or above ")[1].split(" ")[0]
    path = tmp_path / "confidences.csv"
    report.files()["confidences.csv"](path)
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["half"] == "judged"]
    stated = [line["confidence"] for line in lines]
    for number in (float, np.float32):
        share = np.mean([number(one) >= number(told) for one in stated])
        assert share == pytest.approx(report.selective.promised_coverage, abs=1e-6)
    # The block just below is not promised; its confidence differs in the last digit.
    below = max(float(one) for one in stated if float(one) < float(told))
    assert np.nextafter(np.float32(below), np.float32(1)) == np.float32(told)
    assert 0 < share < 1 and f"if confidence is at or above {told}" in pages.fragment(
        report
    )


def test_a_limit_on_the_risk(made):
    report = calibration.calibration_report(made, max_risk=0.123)
    assert report.selective.limit == report.to_dict()["selective"]["limit"] == 0.123
    assert sum("at most 12.3%" in one for one in report.sentences()) == 2
    assert ">12.3%</dd>" in pages.fragment(report)
    for bad in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="max_risk: expected a limit in"):
            calibration.calibration_report(made, max_risk=bad)


def test_proper_scores_before_and_after(report, made):
    _, judged = models.halves(len(made), 0)
    right = report.outcome[judged]
    page = pages.fragment(report)
    for told, confidence in (
        (report.model.before, np.asarray(cj.top1(made.logits).confidence)),
        (report.model.after, report.confidence),
    ):
        rows = confidence[judged].astype(np.float64)
        brier = np.mean((rows - right) ** 2)
        loss = -np.mean(np.log(np.where(right == 1, rows, 1 - rows)))
        found = [told.brier_score, told.log_loss]
        np.testing.assert_allclose(found, [brier, loss], rtol=1e-6)
        assert f"{brier:.4f}" in page and f"{loss:.4f}" in page
    assert report.to_dict()["model"]["after"]["log_loss"] == pytest.approx(
        loss, rel=1e-6
    )


def test_stated_confidences_are_taken_as_they_are():
    """And where they have log-odds, the advice is beta calibration."""
    rng = np.random.default_rng(3)
    shares = np.clip(rng.beta(2, 2, 600), 0.01, 0.99).astype(np.float32)
    right = np.float32(rng.random(600) < shares)
    given = outputs(scores=shares, scale="confidence", outcomes=right)
    report = calibration.calibration_report(given)
    assert " of the confidence as it is stated, because each " in report.model.reason
    worse = dataclasses.replace(report.model.before.error, estimate=np.float32(0))
    before = dataclasses.replace(report.model.before, error=worse)
    worse = dataclasses.replace(
        report, model=dataclasses.replace(report.model, before=before)
    )
    assert "Try --method beta or --method " in " ".join(worse.sentences())
    shares[0] = 1
    report = calibration.calibration_report(dataclasses.replace(given, scores=shares))
    assert not report.can_be_beta


def test_confidences_read_back(report, made, tmp_path):
    nasty = ["-1", "a;b", 'say "x"', "two\nlines", "=cmd|' /C calc'!A0", "@a", " =1"]
    ids = (*nasty, *report.ids[len(nasty) :])
    written = dataclasses.replace(report, ids=ids)
    path = tmp_path / "confidences.csv"
    written.files()["confidences.csv"](path)
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["id", "confidence", "outcome", "half"]
    halves = np.array([line["half"] for line in lines])
    np.testing.assert_array_equal(halves == "fitted", report.fitted)
    read = cj.io.read_outputs(path)
    assert read.kind == "scores" and len(read) == len(made)
    np.testing.assert_array_equal(read.scores, report.confidence)
    np.testing.assert_array_equal(read.outcomes, report.outcome)
    assert read.ids[: len(nasty)] == (*nasty[:4], *(f"'{one}" for one in nasty[4:]))
    assert read.ids[len(nasty) :] == ids[len(nasty) :]
