"""Which calibrator each kind of file gets, and what it is fitted on."""

import dataclasses
import re

import made_outputs
import numpy as np
import pytest
from output_files import choice, decision, sample, write
from servers import chat, entry

import calib_jax as cj
from calib_jax.io.outputs import Outputs
from calib_jax.report import methods, scoring
from calib_jax.report.methods import Takes

pytestmark = pytest.mark.once

MANY, FEW = 1200, 100


def chosen(outputs):
    half = np.arange(0, len(outputs), 2)
    method, reason = scoring.choose(outputs, scoring.scored(outputs), half)
    assert reason.startswith(method.title) and reason.endswith(".")
    return method.name, reason


def softmax(values):
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def arrays(path, rows, kind):
    values, labels = made_outputs.logits(rows=rows)
    values = values.astype(np.float64)
    if kind == "log_probabilities":
        values = np.log(softmax(values))
    elif kind == "probabilities":
        values = softmax(values)
    elif kind == "two decimals":
        kind, values = "probabilities", softmax(values).round(2)
    elif kind == "votes":
        kind, values = "probabilities", np.floor(softmax(values) * 997) / 997
    elif kind == "naive Bayes":
        kind, values = "logits", values * 40 + np.arange(4) / 7
    np.savez(path, labels=labels, **{kind: values.astype(np.float32)})
    return cj.io.read_outputs(path)


@pytest.mark.parametrize("rows", [MANY, FEW])
@pytest.mark.parametrize(
    ("kind", "many", "few", "why"),
    [
        ("logits", "temperature", "temperature", "each option has a value"),
        ("log_probabilities", "temperature", "temperature", "each option has a value"),
        ("probabilities", "temperature", "temperature", "each option has a value"),
        ("two decimals", *2 * ("platt histogram",), "different values|are 0"),
        ("votes", *2 * ("platt histogram",), "probabilities are 0"),
        ("naive Bayes", *2 * ("platt histogram",), "hundreds apart|different values"),
    ],
)
def test_arrays(tmp_path, kind, rows, many, few, why):
    name, reason = chosen(arrays(tmp_path / "a.npz", rows, kind))
    assert name in (many if rows == MANY else few).split()
    assert any(one in reason for one in why.split("|"))


def scores(path, values, name="scores"):
    rng = np.random.default_rng(1)
    right = rng.random(len(values)) < 1 / (1 + np.exp(-4 * np.asarray(values)))
    np.savez(path, correct=right, **{name: np.float32(values)})
    return cj.io.read_outputs(path)


def test_scores(tmp_path):
    rng = np.random.default_rng(0)
    free = scores(tmp_path / "a.npz", rng.normal(size=MANY))
    assert chosen(free)[0] == "platt"
    # Stated confidences, smooth and in tenths.
    stated = scores(tmp_path / "b.npz", rng.random(MANY), "confidence")
    assert "the confidence as it is stated, because each" in chosen(stated)[1]
    tenths = scores(tmp_path / "d.npz", rng.random(MANY).round(1))
    assert "only 11 different values" in chosen(tenths)[1]
    equal = scores(tmp_path / "f.npz", np.full(FEW, 0.5))
    assert "all are equal" in chosen(equal)[1]


@pytest.mark.parametrize(
    ("rows", "accuracy", "expected"),
    [
        # Right by a step, which no smooth curve follows; and by a smooth curve.
        (4000, lambda c: np.where((c > 0.3) & (c < 0.7), 0.95, 0.1), "histogram"),
        (4000, lambda c: 1 / (1 + np.exp(3 - 6 * c)), "platt"),
        # Bins of so few rows say less than a curve that nearly fits.
        (80, lambda c: 0.2 + 0.6 * c, "platt"),
    ],
)
def test_the_better_calibrator_of_stated_confidences(
    tmp_path, rows, accuracy, expected
):
    rng = np.random.default_rng(2)
    stated = rng.random(rows)
    right = rng.random(rows) < accuracy(stated)
    np.savez(tmp_path / "a.npz", confidence=np.float32(stated), correct=right)
    name, reason = chosen(cj.io.read_outputs(tmp_path / "a.npz"))
    assert name == expected
    ours, other = (float(one) for one in re.findall(r"\d\.\d{4}", reason))
    assert ours <= other
    # About the Brier score of the true probabilities, or a little more.
    best = np.mean(accuracy(stated) * (1 - accuracy(stated)))
    assert best - 0.03 < ours < best + 0.06


def test_the_name_of_a_score_says_its_scale(tmp_path):
    """Not its size: that only says whether there is an ECE before calibration."""
    rng = np.random.default_rng(0)
    shares = rng.random(MANY)
    free = scores(tmp_path / "a.npz", shares)
    assert free.scale is None
    np.testing.assert_array_equal(scoring.scored(free).confidence, np.float32(shares))
    larger = scores(tmp_path / "e.npz", [1.2, *shares[1:]])
    assert scoring.scored(larger).confidence is None
    assert chosen(free)[0] == "platt"
    stated = scores(tmp_path / "b.npz", shares, "confidence")
    found = scoring.scored(stated)
    np.testing.assert_array_equal(found.confidence, np.float32(shares))
    np.testing.assert_array_equal(found.score, np.float32(shares))
    logs = scores(tmp_path / "c.npz", np.log(shares), "log_prob")
    found = scoring.scored(logs)
    np.testing.assert_allclose(found.confidence, shares, rtol=1e-5)
    np.testing.assert_array_equal(found.score, np.float32(np.log(shares)))
    # Asked for as plain scores, they are no more.
    again = cj.io.read_outputs(tmp_path / "b.npz", kind="scores")
    assert again.scale is None
    read = (free, stated, logs, again)
    words = [methods.taken(one, Takes.SCORE) for one in read]
    assert words == [
        methods.OF_ANSWER,
        methods.OF_STATED,
        methods.OF_LOG_PROBABILITY,
        methods.OF_ANSWER,
    ]
    # A record of one is not for the others.
    assert not methods.fits(words[0], stated, Takes.SCORE)
    assert not methods.fits(words[1], logs, Takes.SCORE)


def test_rounded_confidences_are_taken(tmp_path):
    values = np.where(np.arange(MANY) % 2, 1 + 5e-7, 0.5)
    found = scoring.scored(scores(tmp_path / "a.npz", values, "confidence"))
    assert found.confidence.max() == 1 and np.isfinite(found.score).all()


def test_leads_are_not_rounded_to_certainty():
    """Against log-odds in float64, where float32 probabilities would be 1."""
    rng = np.random.default_rng(0)
    values = np.float32(rng.normal(size=(FEW, 5)) * 100)
    real = np.ones(values.shape, bool)
    real[::3, 4] = False
    best = np.where(real, values, -np.inf).argmax(axis=1)
    drawn = np.where(np.arange(FEW) % 4, best, 1)
    outputs = Outputs(
        ids=tuple(map(str, range(FEW))),
        format="npz",
        kind="logits",
        logits=values,
        class_where=real,
        labels=np.zeros(FEW, np.int32),
        predictions=np.int32(drawn),
    )
    found = scoring.scored(outputs)
    for row in range(FEW):
        rest = [k for k in range(5) if real[row, k] and k != drawn[row]]
        rest = np.logaddexp.reduce(np.float64(values[row, rest]))
        expected = np.float64(values[row, drawn[row]]) - rest
        np.testing.assert_allclose(found.score[row], expected, rtol=1e-6)
    assert len(np.unique(found.score)) > 0.9 * FEW
    alone = Outputs(
        ids=("a", "b"),
        format="npz",
        kind="log_probabilities",
        log_probabilities=np.float32([[0, -np.inf], [-np.inf, 0]]),
        labels=np.int32([0, 0]),
        predictions=np.int32([0, 0]),
    )
    np.testing.assert_array_equal(scoring.scored(alone).score, [104, -104])


def test_lm_eval(tmp_path):
    values, labels = made_outputs.logits(rows=FEW)
    values = np.log(softmax(values))
    lines = [
        sample(k, [float(v) for v in row], label)
        for k, (row, label) in enumerate(zip(values, labels, strict=True))
    ]
    outputs = cj.io.read_outputs(write(tmp_path / "samples_a.jsonl", lines))
    assert outputs.format == "lm-eval"
    assert chosen(outputs)[0] == "temperature"


def answers(tmp_path, choices):
    """Answers that were drawn, not always the likeliest."""
    values, labels = made_outputs.logits(rows=FEW)
    rng = np.random.default_rng(4)
    logs = np.log(softmax(values.astype(np.float64)))
    lines, written = [], []
    for k, row in enumerate(logs):
        drawn = rng.choice(4, p=np.exp(row))
        written.append(drawn)
        tops = [(letter, float(p)) for letter, p in zip("ABCD", row, strict=True)]
        lines.append(chat(str(k), [entry(*tops[drawn], *tops)], custom_id=str(k)))
    path = write(tmp_path / "answers.jsonl", lines)
    if choices:
        given = [{"id": str(k), "label": "ABCD"[one]} for k, one in enumerate(labels)]
        given = write(tmp_path / "labels.jsonl", given)
        read = cj.io.read_outputs(path, choices=list("ABCD"), labels=given)
    else:
        right = np.array(written) == labels
        given = [{"id": str(k), "correct": bool(one)} for k, one in enumerate(right)]
        given = write(tmp_path / "labels.jsonl", given)
        read = cj.io.read_outputs(path, labels=given)
    assert read.format == "answers"
    return read, logs, np.array(written), labels


def test_answers_with_choices_and_the_option_that_was_drawn(tmp_path):
    read, logs, written, labels = answers(tmp_path, list("ABCD"))
    assert chosen(read)[0] == "temperature"
    assert np.mean(written != logs.argmax(axis=1)) > 0.1
    found = scoring.scored(read)
    # Records say it, and take new answers that happen to be the likeliest ones.
    assert found.chosen
    for takes in Takes:
        words = methods.taken(read, takes, found.chosen)
        assert "chosen option" in words and words.startswith(methods.TAKEN)
        assert methods.fits(words, read, takes)
        bare = dataclasses.replace(read, predictions=None)
        assert not scoring.scored(bare).chosen
        assert methods.fits(words, bare, takes)
        others = [one for one in Takes if one is not takes]
        assert not any(methods.fits(words, bare, other) for other in others)
    np.testing.assert_array_equal(found.prediction, written)
    np.testing.assert_array_equal(found.outcome, written == labels)
    expected = np.exp(logs[np.arange(FEW), written])
    np.testing.assert_allclose(found.confidence, expected, rtol=2e-5)
    # By a temperature too, of all options.
    params = cj.Temperature(temperature=np.float32(2))
    hot = softmax(logs / 2)
    values = read.log_probabilities
    np.testing.assert_allclose(
        scoring.top_confidence(params, values, None, found.prediction),
        hot[np.arange(FEW), written],
        rtol=2e-5,
    )
    np.testing.assert_allclose(
        scoring.top_confidence(params, values, None), hot.max(axis=1), rtol=2e-5
    )


def test_answers_without_choices(tmp_path):
    read, *_ = answers(tmp_path, None)
    name, reason = chosen(read)
    assert name == "platt" and "one score for each answer" in reason
    found = scoring.scored(read)
    np.testing.assert_allclose(found.confidence, np.exp(read.scores), rtol=1e-6)


@pytest.mark.parametrize("kind", ["probabilities", "scores"])
def test_decisions(tmp_path, kind):
    values, labels = made_outputs.logits(rows=MANY)
    lines, given = [], []
    for k, row in enumerate(softmax(values.astype(np.float64)).round(2)):
        shares = dict(zip("abcd", row.tolist(), strict=True))
        confidence = float(row.max())
        answer = choice("q", shares, confidence=confidence)
        lines.append({"id": str(k), "response": decision(answer)})
        given.append({"id": str(k), "labels": {"q": "abcd"[labels[k]]}})
    path = write(tmp_path / "decisions.jsonl", lines)
    labels = write(tmp_path / "labels.jsonl", given)
    read = cj.io.read_outputs(path, labels=labels, kind=kind)
    assert read.format == "decisions"
    name, reason = chosen(read)
    assert name in ("platt", "histogram") and "different values" in reason
    # Ties stay ties.
    assert len(np.unique(scoring.scored(read).score)) <= 101


def test_outcomes_beside_logits(tmp_path):
    values, labels = made_outputs.logits(rows=FEW)
    path = tmp_path / "a.npz"
    np.savez(path, logits=values, correct=values.argmax(axis=1) == labels)
    name, reason = chosen(cj.io.read_outputs(path))
    assert name == "platt" and "outcomes and no labels" in reason


def test_options_that_a_row_lacks(tmp_path):
    values, labels = made_outputs.logits(rows=MANY)
    real = np.ones(values.shape, bool)
    real[::3, 3] = False
    values[~real] = -np.inf
    labels = np.where(real[np.arange(MANY), labels], labels, 0).astype(np.int32)
    outputs = Outputs(
        ids=tuple(map(str, range(MANY))),
        format="lm-eval",
        kind="log_probabilities",
        log_probabilities=values,
        class_where=real,
        labels=labels,
    )
    assert chosen(outputs)[0] == "temperature"
    found = scoring.scored(outputs)
    expected = np.exp(values.astype(np.float64) - values.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found.confidence, 1 / expected.sum(axis=1), rtol=2e-5)


def test_predictions_that_the_file_lacks_are_the_likeliest():
    values, labels = made_outputs.logits(rows=FEW)
    given = np.where(np.arange(FEW) % 2, -1, 2).astype(np.int32)
    outputs = Outputs(
        ids=tuple(map(str, range(FEW))),
        format="npz",
        kind="logits",
        logits=values,
        labels=np.int32(labels),
        predictions=given,
    )
    best = values.argmax(axis=1)
    expected = np.where(given < 0, best, 2)
    np.testing.assert_array_equal(scoring.scored(outputs).prediction, expected)
