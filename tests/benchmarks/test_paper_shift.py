"""Shift in benchmarks/paper against float64, by another route, from the same logits."""

import dataclasses

import jax
import numpy as np
import pytest
import reference

for extra in ("matplotlib", "mlxtend", "rich"):
    pytest.importorskip(extra)

import calib_jax as cj  # noqa: E402
from benchmarks.kit import corruptions, training  # noqa: E402
from benchmarks.paper import shift, shift_measures  # noqa: E402
from calib_jax import plots  # noqa: E402
from calib_jax.demo import data  # noqa: E402

pytestmark = pytest.mark.once

UC, CC, REFITTED = range(3)


@pytest.fixture(scope="module")
def logits(paper_study, paper_section):
    evaluated = paper_section("shift")
    assert len(evaluated.steps) == shift.num_steps(paper_study)
    (logits,) = evaluated.trained
    return logits


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("shift").numbers


@pytest.fixture(scope="module")
def confidences(logits, numbers):
    """Float32, since bins are cut from them: `[C, 6, 3, 2, n]`, raw, clean,
    refitted.
    """
    temperature = np.insert(numbers.temperature[0], 0, 1.0, axis=2)
    by_model = jax.vmap(cj.top1)
    by_condition = jax.jit(jax.vmap(jax.vmap(jax.vmap(by_model, (None, 0)))))
    return {
        "test": np.asarray(by_condition(logits.test, temperature).confidence),
        "refit": np.asarray(by_condition(logits.refit, temperature).confidence),
        "calibration": np.asarray(
            jax.vmap(by_model, (None, 0))(
                logits.calibration, temperature[0, 0]
            ).confidence
        ),
    }


def correct(logits, labels):
    return logits.argmax(-1) == labels


def conditions(numbers):
    return np.ndindex(numbers.accuracy.shape[1:3])


def test_shapes(paper_study, logits, numbers):
    count = len(corruptions.CORRUPTIONS)
    assert numbers.corruptions == tuple(corruptions.CORRUPTIONS) and count >= 5
    assert numbers.accuracy.shape == (1, count, 6, 2)
    assert numbers.error.shape == (1, count, 6, 3, 2)
    # Severity 0 is the same for every corruption; higher severities differ.
    np.testing.assert_array_equal(
        logits.test[:, 0], logits.test[:1, 0].repeat(count, 0)
    )
    assert np.all(np.ptp(logits.test[:, 1:], axis=0).max(axis=(1, 2, 3)) > 0)
    # Refits use the corrupted images of the first fit: severity 0 shows that.
    few = len(logits.refit_labels)
    assert few == min(shift.NUM_REFIT, len(logits.calibration_labels))
    every = np.round(logits.calibration[1], 3)
    for row in np.round(logits.refit[0, 0, 1, :5], 3):
        assert np.any(np.all(np.abs(every - row) < 0.01, axis=1))


def test_accuracy_and_gap(logits, numbers):
    for c, s in conditions(numbers):
        right = correct(logits.test[c, s], logits.test_labels)
        np.testing.assert_allclose(
            numbers.accuracy[0, c, s], right.mean(axis=1), rtol=1e-6
        )
        gain = right[1].astype(float) - right[0]
        np.testing.assert_allclose(
            numbers.gap_standard_error[0, c, s],
            gain.std() / np.sqrt(len(gain)),
            rtol=1e-5,
        )


def test_temperatures(logits, numbers):
    for model in (0, 1):
        clean = reference.fit_temperature(
            logits.calibration[model], logits.calibration_labels
        )
        np.testing.assert_allclose(
            numbers.temperature[0, :, :, 0, model], clean, rtol=1e-4
        )
        for c, s in conditions(numbers):
            refitted = reference.fit_temperature(
                logits.refit[c, s, model], logits.refit_labels
            )
            np.testing.assert_allclose(
                1 / numbers.temperature[0, c, s, 1, model],
                1 / refitted,
                rtol=1e-3,
                atol=1e-4,
            )


def test_errors(paper_study, logits, numbers, confidences):
    num_bins = paper_study.settings.num_bins
    for c, s in conditions(numbers):
        right = correct(logits.test[c, s], logits.test_labels)
        for kind, model in np.ndindex(3, 2):
            expected = reference.expected_calibration_error(
                confidences["test"][c, s, kind, model], right[model], num_bins
            )
            np.testing.assert_allclose(
                numbers.error[0, c, s, kind, model], expected, atol=2e-6
            )


def no_loss(curve):
    """The largest K without loss, or 0."""
    kept = np.flatnonzero(curve.accuracy >= curve.large_accuracy - 1e-9)
    return kept[-1] if len(kept) else 0


def test_cascades(paper_study, logits, numbers, confidences):
    num_bins = paper_study.settings.num_bins

    def fit(confidence, logits, labels):
        router = reference.fit_router(*confidence, num_bins)
        right = correct(logits, labels)
        return router, no_loss(reference.cascade_curve(router, confidence[0], *right))

    raw, _ = fit(
        confidences["calibration"][0], logits.calibration, logits.calibration_labels
    )
    clean, clean_k = fit(
        confidences["calibration"][1], logits.calibration, logits.calibration_labels
    )
    for c, s in conditions(numbers):
        again, again_k = fit(
            confidences["refit"][c, s, 2], logits.refit[c, s], logits.refit_labels
        )
        right = correct(logits.test[c, s], logits.test_labels)
        curves = [
            reference.cascade_curve(router, confidences["test"][c, s, kind, 0], *right)
            for kind, router in enumerate((raw, clean, again))
        ]
        for kind, curve in enumerate(curves):
            recovered = reference.average_performance_gap_recovered(curve)
            np.testing.assert_allclose(
                numbers.recovered[0, c, s, kind], recovered, atol=1e-5, rtol=1e-5
            )
            random = reference.random_curve(curve)
            np.testing.assert_allclose(
                numbers.area[0, c, s, kind],
                np.trapezoid(curve.accuracy - random.accuracy, curve.small_share),
                atol=1e-6,
            )
        for place, (curve, k) in enumerate(
            ((curves[CC], clean_k), (curves[REFITTED], again_k))
        ):
            np.testing.assert_allclose(
                numbers.kept[0, c, s, place], curve.small_share[k], atol=1e-6
            )
            np.testing.assert_allclose(
                numbers.lost[0, c, s, place],
                curve.large_accuracy - curve.accuracy[k],
                atol=1e-6,
            )


def test_comparable_corruptions(numbers):
    accuracy = np.zeros((2, 3, 6, 2))
    accuracy[..., 1] = 0.1
    accuracy[1, 1, 3, 1] = 0.03
    made = dataclasses.replace(
        numbers,
        accuracy=accuracy,
        gap_standard_error=np.full((2, 3, 6), 0.02),
        recovered=np.arange(108.0).reshape(2, 3, 6, 3),
    )
    np.testing.assert_array_equal(made.comparable, [True, False, True])
    expected = made.recovered[:, [0, 2]].sum(axis=(0, 1)) / 4
    np.testing.assert_allclose(made.mean_recovered, expected)


def test_the_seed_decides_the_training(paper_study):
    digits = training.deal((0, 1), 100)
    recipe = data.Recipe(num_epochs=1, learning_rate=3e-3, label_smoothing=0.1)
    images = digits.test.images[:10]
    first, again, other = (
        np.asarray(training.train(training.small, seed, digits.train, recipe)(images))
        for seed in ((0, 1), (0, 1), (0, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_digits_are_dealt_out_once():
    digits = training.deal((3,), 400)
    parts = digits.train, digits.calibration, digits.test
    assert [len(part.labels) for part in parts] == [400, 300, 300]
    for part in parts:
        np.testing.assert_array_equal(np.bincount(part.labels), len(part.labels) / 10)
    rows = np.concatenate([part.images.reshape(-1, 784) for part in parts])
    assert len(np.unique(rows, axis=0)) == len(rows)
    some = training.some(digits.train, slice(100, 200))
    np.testing.assert_array_equal(np.bincount(some.labels), 10)
    rest = training.some(digits.train, slice(0, 100))
    both = np.concatenate([some.images, rest.images]).reshape(200, -1)
    assert len(np.unique(both, axis=0)) == 200


@pytest.mark.parametrize("none_is_comparable", [False, True])
def test_description(paper_study, numbers, none_is_comparable):
    gap = 1.0 if none_is_comparable else -1.0
    made = dataclasses.replace(
        numbers, gap_standard_error=np.full_like(numbers.gap_standard_error, gap)
    )
    made = dataclasses.replace(made, recovered=np.nan_to_num(made.recovered))
    assert np.any(made.comparable) != none_is_comparable
    section = shift.describe(paper_study, made)
    text = section.text + "".join(claim.evidence for claim in section.claims)
    assert "nan" not in text.lower()
    assert text.count("\n| ") == 3 + 6 + 6 + len(numbers.corruptions)
    assert len(section.claims) == (2 if none_is_comparable else 4)
    assert f"{100 * numbers.accuracy[:, :, 5, 0].mean():.1f}" in text
    for dark in (False, True):
        with plots.style(dark=dark):
            figure = section.figures["shift"](dark)
            assert [len(axes.lines) for axes in figure.axes][:2] == [
                3 + len(numbers.corruptions)
            ] * 2


def test_measures_do_not_mix_conditions(paper_study, logits, numbers):
    turned = dataclasses.replace(
        logits, test=logits.test[::-1], refit=logits.refit[::-1]
    )
    other = shift_measures.summarise([turned], paper_study.settings.num_bins)
    for name in ("accuracy", "temperature", "error", "recovered", "kept", "lost"):
        np.testing.assert_array_equal(
            getattr(other, name), getattr(numbers, name)[:, ::-1]
        )
