"""Fits where float32 is tight, and their second derivatives."""

import jax
import numpy as np
import pytest
import reference

import calib_jax as cj

Status = cj.FitStatus


def close(actual, expected, rtol):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol)


@pytest.mark.parametrize(("right", "scale"), [(501, 1.0), (510, 1.0), (501, 0.25)])
def test_temperature_far_above_the_logits(right, scale):
    """One-hot logits: T is the scale over the log-odds of the share of right ones."""
    given = np.where(np.arange(1000) < right, 0, 1)
    logits, labels = scale * np.eye(2, dtype=np.float32)[given], np.zeros(1000, int)
    expected = scale / np.log(right / (1000 - right))
    params, report = cj.fit_temperature(logits, labels)
    assert report.status == Status.CONVERGED
    close(params.temperature, expected, rtol=2e-6)
    blocks = cj.streaming.blocks.from_arrays(logits, labels, size=500)
    close(
        cj.streaming.blocks.fit_temperature(blocks)[0].temperature, expected, rtol=1e-5
    )


def test_temperature_of_a_few_rows():
    """Of 3 to 30 rows and 2 or 3 classes, one program for all."""
    rng = np.random.default_rng(5)
    where = np.arange(30) < np.repeat([3, 5, 10, 30], 50)[:, None]
    spread = np.tile([3.0, 3e-3], 100)[:, None, None]
    logits = np.float32(spread * rng.normal(size=(200, 30, 3)))
    logits[::4, :, 2] = logits[1::4, :, 2] = -np.inf
    likely = (logits / spread + 0.5 * rng.gumbel(size=logits.shape)).argmax(2)
    labels = np.where(rng.random((200, 30)) < 0.5, likely, rng.integers(2, size=30))
    # This one has a loss whose curvature changes a lot between 0 and 1 / T.
    logits[0, :5, :2] = [
        [2.235121, 0.91775298],
        [-3.8041432, -1.7553711],
        [0.74883664, 0.0373818],
        [-2.3182766, -1.3134379],
        [-1.7083137, 3.3182619],
    ]
    where[0], labels[0, :5] = np.arange(30) < 5, [1, 0, 0, 1, 1]
    params, report = jax.jit(
        jax.vmap(lambda z, y, w: cj.fit_temperature(z, y, where=w))
    )(logits, labels, where)
    close(params.temperature[0], 4.482730, rtol=1e-6)
    near = np.asarray(params.temperature) < 100 * spread[:, 0, 0]
    checked = np.flatnonzero(near & np.asarray(report.converged))
    assert len(checked) > 100
    expected = [
        reference.fit_temperature(logits[i, w], labels[i, w])
        for i, w in ((i, where[i]) for i in checked)
    ]
    close(params.temperature[checked], expected, rtol=1e-5)


def test_temperature_of_weak_signals():
    """Labels that hardly depend on the logits, which 1000 rows find at last."""
    rng = np.random.default_rng(7)
    logits = np.float32(3 * rng.normal(size=(40, 1000, 2)))
    labels = (logits / 20 + rng.gumbel(size=logits.shape)).argmax(2)
    params, report = jax.jit(jax.vmap(cj.fit_temperature))(logits, labels)
    checked = np.flatnonzero(report.converged)
    assert len(checked) > 35
    expected = [reference.fit_temperature(logits[i], labels[i]) for i in checked]
    close(params.temperature[checked], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("spread", "offset", "most"),
    [
        (1, -3000, 1e-5),
        (10, 1e5, 1e-5),
        (10, 1e6, 3e-5),
        (1, 1e6, 1e-4),
        (1, 1e7, 1e-3),
    ],
)
def test_platt_of_scores_far_from_zero(spread, offset, most):
    """A rounded intercept alone would move the last confidences by up to 0.1."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        normal = rng.normal(size=1000)
        scores = np.float32(spread * normal + offset)
        outcomes = rng.random(1000) < reference.sigmoid(1.5 * normal - 0.3)
        expected = reference.platt(reference.fit_platt(scores, outcomes), scores)
        params, report = cj.fit_platt(scores, outcomes)
        assert report.status == Status.CONVERGED
        found = np.asarray(cj.calibrate(params, scores))
        np.testing.assert_allclose(found, expected, rtol=0, atol=most)
        blocks = cj.streaming.blocks.from_arrays(
            scores, outcomes.astype(np.float32), size=500
        )
        streamed, _ = cj.streaming.blocks.fit_platt(blocks)
        found = np.asarray(cj.calibrate(streamed, scores))
        np.testing.assert_allclose(found, expected, rtol=0, atol=most)


OUTLIERS = [-1e4, -65504.0, -1e9, -1e20, float(np.finfo(np.float32).min)]


def platt_fits(scores, outcomes):
    """Parameters and statuses of one set of rows, in memory, streamed and in blocks."""
    scores, outcomes = np.float32(scores), np.float32(outcomes)
    state = cj.streaming.update_platt(cj.streaming.init_platt(), scores, outcomes)
    blocks = cj.streaming.blocks.from_arrays(scores, outcomes, size=len(scores))
    for params, report in (
        cj.fit_platt(scores, outcomes),
        cj.streaming.fit_platt(state),
        cj.streaming.blocks.fit_platt(blocks),
    ):
        yield params.slope, params.intercept, report.status


@pytest.mark.parametrize("outlier", OUTLIERS)
@pytest.mark.once
def test_platt_with_an_outlier_of_certain_outcome(outlier):
    """The rest alone decides, on either side and with either sign."""
    rest, outcomes = np.array([-2.0, -1, 0, 1, 2, 3]), np.array([0, 0, 1, 0, 1, 1])
    scores, all_outcomes = np.append(rest, outlier), np.append(outcomes, 0)
    for slope, intercept, status in platt_fits(scores, all_outcomes):
        close((slope, intercept), (1.2140, -0.6070), rtol=1e-4)
        assert status == Status.CONVERGED
    for sign, right in ((-1, False), (1, True), (-1, True)):
        flipped = 1 - all_outcomes if right else all_outcomes
        params, report = cj.fit_platt(sign * scores, flipped)
        expected = np.array([sign * 1.2140, -0.6070]) * (-1 if right else 1)
        close((params.slope, params.intercept), expected, rtol=1e-4)
        assert report.converged


@pytest.mark.parametrize("outlier", [-1e9, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize("right", [[0, 1], [1], [1, 1]])
def test_platt_with_outliers_of_mixed_outcome(outlier, right):
    """Such as scores of masked tokens: nothing that looks like a fit."""
    scores = np.r_[[-2.0, -1, 0, 1, 2, 3], np.full(len(right), outlier)]
    outcomes = np.r_[[0, 0, 1, 0, 1, 1], right]
    for slope, intercept, status in platt_fits(scores, outcomes):
        assert status == Status.INVALID_VALUES and slope == intercept == 0
    _, report = cj.fit_platt(
        np.append(scores[:6], outlier),
        np.append(outcomes[:6], 0),
        smooth_targets=True,
    )
    assert report.status == Status.INVALID_VALUES


@pytest.mark.once
def test_fits_have_second_derivatives():
    """Along a line, against differences of float64 fits."""
    rng = np.random.default_rng(0)
    z, scores = rng.normal(size=(64, 3)), rng.normal(size=64)
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    outcomes = 0.1 + 0.8 * (rng.random(64) < reference.sigmoid(scores))
    by_z, by_scores = rng.normal(size=z.shape), rng.normal(size=64)
    singles = [np.float32(x) for x in (z, by_z, scores, by_scores)]

    def temperature(t):
        return cj.fit_temperature(singles[0] + t * singles[1], labels)[0].temperature

    def slope(t):
        return cj.fit_platt(singles[2] + t * singles[3], np.float32(outcomes))[0].slope

    step = 1e-3
    for fit, expected in (
        (temperature, lambda t: reference.fit_temperature(z + t * by_z, labels)),
        (slope, lambda t: reference.fit_platt(scores + t * by_scores, outcomes)[0]),
    ):
        before, here, after = (expected(t) for t in (-step, 0.0, step))
        second = (after - 2 * here + before) / step**2
        for derivative in (jax.jacfwd, jax.grad):
            close(derivative(jax.grad(fit))(0.0), second, rtol=1e-3)


@pytest.mark.once
@pytest.mark.parametrize("weight", [1e-37, 1e-34, 1.0, 1e38])
def test_a_histogram_of_rows_of_any_weight(weight):
    scores = np.linspace(0.05, 0.95, 24)
    outcomes = (np.arange(24) % 3 > 0).astype(float)
    params, report = cj.fit_histogram(
        scores, outcomes, num_bins=4, weights=np.full(24, weight)
    )
    expected, _ = cj.fit_histogram(scores, outcomes, num_bins=4)
    assert report.status == Status.CONVERGED and np.isfinite(report.loss)
    close(params.values, expected.values, rtol=1e-6)
