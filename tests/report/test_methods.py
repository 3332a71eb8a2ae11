"""Every calibrator by its name: what it is given, and what its report says."""

import dataclasses
import json

import jax.numpy as jnp
import made_outputs
import numpy as np
import pytest

import calib_jax as cj
from calib_jax import report
from calib_jax.cli import options
from calib_jax.io.outputs import Outputs
from calib_jax.report import applying, checking, methods, models, pages, statuses
from calib_jax.report.methods import METHODS, Takes

pytestmark = pytest.mark.once


def outputs(seed=0, skill=2.0, **more):
    values, labels = made_outputs.logits(seed, skill)
    given = {"logits": values, "labels": np.int32(labels), "kind": "logits"}
    first = {
        "ids": tuple(map(str, range(len(labels)))),
        "format": "npz",
        "name": "model.npz",
    }
    return Outputs(**first | given | more)


@pytest.fixture(scope="module")
def made():
    return outputs()


def own(made):
    return np.arange(len(made)), made.logits.argmax(axis=1)


def by_hand(name, params):
    """A method whose fit finds these parameters."""
    _, told = cj.fit_platt([0.1, 0.4, 0.2, 0.9], [0, 0, 1, 1])
    return METHODS[name]._replace(fit=lambda *rows, **more: (params, told))


def test_names():
    assert options.METHODS == ("auto", *METHODS)
    assert all(name == method.name for name, method in METHODS.items())
    fits = {name for name in cj.calibration.__all__ if name.startswith("fit_")}
    assert {f"fit_{name.replace('-', '_')}" for name in METHODS} == fits


@pytest.mark.parametrize("name", METHODS)
def test_few_others_are_advised(name):
    for has_options in (False, True):
        for stated in (False, True):
            others = methods.others(name, has_options=has_options, stated=stated)
            assert 1 <= len(others) <= 2 and name not in others
            assert has_options or "temperature" not in others
            assert ("beta" in others) <= stated


@pytest.mark.parametrize("name", METHODS)
def test_what_is_saved_is_applied_as_it_was_fitted(made, name, tmp_path):
    found = report.calibration_report(made, method=METHODS[name])
    assert found.model.method == name
    assert found.headline()["ece_after"] < found.headline()["ece_before"] / 2
    json.dumps(found.to_dict(), allow_nan=False)
    found.files()["calibration.json"](tmp_path / "calibration.json")
    served = applying.load(tmp_path / "calibration.json")
    assert served.taken == found.model.taken
    new = dataclasses.replace(made, labels=None)
    decided = applying.decide(served, new).confidence
    np.testing.assert_array_equal(decided, found.confidence)
    # In the words of a next step, in Python.
    params, rows = cj.load(tmp_path / "calibration.json"), own(made)
    given = {
        "logits or log-probabilities of the options": made.logits,
        "log-odds of the likeliest option's probability": found_score(made),
        "probability of the likeliest option": cj.scaled_softmax(made.logits)[rows],
    }[found.model.taken]
    again = np.asarray(cj.calibrate(params, given))
    again = again[rows] if again.ndim == 2 else again
    np.testing.assert_allclose(again, found.confidence, rtol=2e-5, atol=1e-6)
    assert pages.parameters(params) in pages.fragment(found)
    assert (found.model.likeliest is None) == (not METHODS[name].reorders)


def found_score(made):
    rows = own(made)
    values = made.logits.astype(np.float64)
    rest = values.copy()
    rest[rows] = -np.inf
    return np.float32(values[rows] - np.logaddexp.reduce(rest, axis=1))


VECTOR = cj.calibration.Vector(
    scale=jnp.full(4, 0.5, jnp.float32), bias=jnp.float32([1.0, 0, 0, -1])
)


def test_confidence_is_in_the_answers_that_are_judged(made):
    """Also where another option becomes the likeliest, which is said."""
    found = report.calibration_report(made, method=by_hand("vector", VECTOR))
    share = np.exp(made.logits / 2 + np.float32([1.0, 0, 0, -1]))
    share /= share.sum(axis=1, keepdims=True)
    rows = own(made)
    np.testing.assert_allclose(found.confidence, share[rows], rtol=1e-5)
    right = rows[1] == made.labels
    np.testing.assert_array_equal(found.outcome, right)
    _, judged = models.halves(len(made), 0)
    after = share.argmax(axis=1)
    likeliest = found.model.likeliest
    assert likeliest.changed_share == np.mean((after != rows[1])[judged]) > 0.05
    assert likeliest.accuracy_before == np.mean(right[judged])
    assert likeliest.accuracy_after == np.mean((after == made.labels)[judged])
    assert found.model.accuracy == pytest.approx(np.mean(right[judged]))
    (told,) = found.model.remarks
    assert told in found.sentences() and told.startswith(
        f"Vector scaling makes another option the likeliest in "
        f"{likeliest.changed_share:.1%} of the judged rows: the likeliest is right "
        f"{likeliest.accuracy_after:.1%} of the time with it and "
        f"{likeliest.accuracy_before:.1%} without."
    )
    (told_of_one,) = likeliest.sentences("Vector scaling", "model 1")
    assert told_of_one.startswith("Vector scaling of model 1 makes another")
    page = pages.fragment(found)
    assert ">Vector scaling</td>" in page
    assert "Likeliest option changes" in page and told[:120] in page
    assert found.next_steps()[1].endswith("is the entry of the model's own answer.")
    data = found.to_dict()["model"]["likeliest"]
    assert data["changed_share"] == likeliest.changed_share
    # Without a bias none changes.
    none = dataclasses.replace(VECTOR, bias=jnp.zeros(4, jnp.float32))
    found = report.calibration_report(made, method=by_hand("vector", none))
    assert "but does so in none of the judged rows." in found.model.remarks[0]


def test_an_option_that_is_no_label(made):
    """What a status means depends on the calibrator."""
    params, told = by_hand("vector", VECTOR).fit()
    told = dataclasses.replace(told, status=jnp.int32(cj.FitStatus.SEPARABLE))
    method = METHODS["vector"]._replace(fit=lambda *rows, **more: (params, told))
    found = report.calibration_report(made, method=method)
    assert (
        "The fit ended as SEPARABLE. An option is the label of no"
        in (found.model.remarks[0])
    )
    (alone,) = statuses.sentences("ONE_CLASS", "small model", of_options=True)
    assert alone.endswith("All labels in the fitting half are the same option.")


def test_drawn_answers_are_judged_too(made):
    drawn = np.where(np.arange(len(made)) % 5, own(made)[1], 3).astype(np.int32)
    given = dataclasses.replace(made, predictions=drawn)
    found = report.calibration_report(given, method=by_hand("vector", VECTOR))
    expected = np.asarray(cj.calibrate(VECTOR, made.logits))
    expected = expected[np.arange(len(made)), drawn]
    np.testing.assert_allclose(found.confidence, expected, rtol=1e-6)
    # The likeliest options, whatever was drawn.
    plain = report.calibration_report(made, method=by_hand("vector", VECTOR))
    assert found.model.likeliest == plain.model.likeliest or (
        found.model.likeliest.accuracy_before == plain.model.likeliest.accuracy_before
    )
    assert found.model.taken.endswith("the confidence is that of the chosen option")


RAMP = np.linspace(0.02, 0.98, 200, dtype=np.float32)
RIGHT = np.float32(np.random.default_rng(0).random(200) < RAMP)


def of_scores(scores, **more):
    return outputs(
        ids=tuple(map(str, range(200))),
        logits=None,
        labels=None,
        kind="scores",
        scores=np.float32(scores),
        outcomes=RIGHT,
        **more,
    )


def test_what_beta_calibration_takes():
    """Confidences as they are stated, of log-probabilities, and of options."""
    method, asked = METHODS["beta"], []

    def fit(confidence, outcomes):
        asked.append(np.asarray(confidence))
        return method.fit(confidence, outcomes)

    spied = method._replace(fit=fit)
    stated = report.calibration_report(
        of_scores(RAMP, scale="confidence"), method=spied
    )
    assert stated.model.taken == methods.OF_STATED
    logs = of_scores(np.log(RAMP), scale="log_probability")
    logged = report.calibration_report(logs, method=spied)
    assert logged.model.taken == methods.PROBABILITY
    np.testing.assert_allclose(asked[1], asked[0], rtol=1e-6)
    # Plain scores, if all may be confidences.
    report.calibration_report(of_scores(RAMP), method=spied)
    with pytest.raises(ValueError, match=r"in \[0, 1\], which these scores are not"):
        report.calibration_report(of_scores(3 * RAMP), method=spied)
    # A log-probability that float32 rounds to a probability of 1 is not one.
    nearly = np.log(RAMP)
    nearly[-5:] = -1e-9
    near = of_scores(nearly, scale="log_probability")
    assert report.calibration_report(near, method=spied).model.status == "CONVERGED"
    assert asked[-1].max() == np.nextafter(np.float32(1), np.float32(0))


def test_certain_answers_that_beta_calibration_does_not_take(made):
    certain = RAMP.copy()
    certain[::50] = 1
    given = of_scores(certain, scale="confidence")
    fitted, _ = models.halves(200, 0)
    number = int((certain[fitted] == 1).sum())
    match = (
        rf"values: {number} conf.* are exactly 0 or.* --method, clip them, .* out\.$"
    )
    with pytest.raises(ValueError, match=match):
        report.calibration_report(given, method=METHODS["beta"])
    # As written; and of logits, whose softmax is never 1.
    sure = made.logits * 8
    with np.errstate(divide="ignore"):
        written = np.log(np.asarray(cj.scaled_softmax(sure)))
    probabilities = dataclasses.replace(
        made, logits=None, log_probabilities=written, kind="probabilities"
    )
    with pytest.raises(ValueError, match="--smoothing avoids them. Use another --meth"):
        report.calibration_report(probabilities, method=METHODS["beta"])
    logits = dataclasses.replace(made, logits=sure)
    assert np.mean(cj.top1(sure).confidence == 1) > 0.1
    found = report.calibration_report(logits, method=METHODS["beta"])
    assert found.model.status == "CONVERGED"
    assert statuses.certain(np.float32([0.5, 1]), "scores").startswith(
        "1 confidence is"
    )
    assert statuses.certain(np.float32([0.5, np.nan]), "scores").startswith(
        "a value is"
    )


def identity(size):
    return cj.calibration.Dirichlet(
        matrix=jnp.eye(size, dtype=jnp.float32),
        bias=jnp.zeros(size, jnp.float32),
        strength=jnp.float32(0.01),
    )


def test_options_that_some_rows_lack(made, tmp_path):
    real = np.ones(made.logits.shape, bool)
    real[::3, 3] = False
    masked = dataclasses.replace(made, class_where=real)
    method = by_hand("dirichlet", identity(4))
    with pytest.raises(ValueError, match="^model.npz: Dirichlet .* rows have fewer"):
        report.calibration_report(masked, method=method)
    path = tmp_path / "calibration.json"
    found = report.calibration_report(made, method=method)
    np.testing.assert_allclose(
        found.confidence, cj.top1(made.logits).confidence, rtol=1e-6
    )
    found.files()["calibration.json"](path)
    served = applying.load(path)
    for new, match in (
        (masked, "4 options, not all of them in every row, but the Dirichlet"),
        (
            dataclasses.replace(made, logits=made.logits[:, :3]),
            "has 3 options, but the Dirichlet .* was fitted on 4",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            applying.decide(served, new)
    # Those that can, leave them out.
    vector = report.calibration_report(masked, method=by_hand("vector", VECTOR))
    share = np.asarray(cj.calibrate(VECTOR, made.logits, class_where=real))
    best = np.where(real, made.logits, -np.inf).argmax(axis=1)
    np.testing.assert_allclose(
        vector.confidence, share[np.arange(len(made)), best], rtol=1e-6
    )


@pytest.mark.parametrize("name", ["isotonic", "beta", "dirichlet"])
def test_a_cascade_is_served_as_it_was_made(name, tmp_path):
    small, large = outputs(0), outputs(0)
    values = np.float32(small.logits + 3 * np.eye(4)[small.labels])
    large = dataclasses.replace(large, logits=values, name="large.npz")
    found = report.cascade_report(small, large, max_drop=0.3, method=METHODS[name])
    assert found.feasible and found.small.method == found.large.method == name
    if METHODS[name].reorders:
        assert found.small.remarks[0] in found.sentences()
        assert "Dirichlet calibration of the small model" in found.small.remarks[0]
    found.files()["cascade.json"](tmp_path / "cascade.json")
    record = cj.load(tmp_path / "cascade.json")
    served = applying.load(tmp_path / "cascade.json")
    decided = applying.decide(served, small)
    expected = cj.use_small(record.router, decided.confidence, record.num_small_bins)
    np.testing.assert_array_equal(decided.small, expected)
    assert 0.05 < decided.small.mean()
    checked = checking.check_report(record, small, large)
    assert checked.small_share == pytest.approx(np.mean(decided.small))
    assert not checked.alarm


def test_parameters_on_one_line():
    knots = cj.calibration.Isotonic(
        scores=jnp.float32([0, 1, np.inf]), values=jnp.float32([0.1, 0.9, 0.9])
    )
    assert pages.parameters(knots) == "2 knots"
    assert pages.parameters(VECTOR) == "scale 0.5 0.5 0.5 0.5, bias 1 0 0 -1"
    shown = pages.parameters(identity(9))
    assert shown == "a matrix of 9 by 9, a bias for each of 9 options, strength 0.01"
    many = cj.calibration.Vector(scale=jnp.ones(10), bias=jnp.zeros(10))
    assert pages.parameters(many) == "a scale and a bias for each of 10 options"
    assert METHODS["beta"].takes is Takes.CONFIDENCE
