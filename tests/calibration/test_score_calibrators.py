"""Beta calibration, scaling-binning and the guarantee of histogram binning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax.calibration import scaling_binning

NAN = np.nan
Status = cj.FitStatus
fit_beta = cj.calibration.fit_beta
fit_scaling_binning = cj.calibration.fit_scaling_binning
error_bound = cj.calibration.histogram_error_bound


def close(actual, expected, rtol=1e-5, atol=1e-7):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def status_of(report):
    return Status(int(report.status))


# Beta calibration


def logarithms(confidence):
    """Columns ln c, -ln(1 - c) and 1 of float32 confidences, in float64."""
    c = np.float32(confidence).astype(float)
    return np.stack([np.log(c), -np.log1p(-c), np.ones_like(c)], axis=1)


def maximum_likelihood(columns, outcomes, weights):
    """Newton with halved steps, in orthogonal coordinates."""
    turned, triangle = np.linalg.qr(columns)
    params = np.zeros(columns.shape[1])

    def loss(params):
        return reference.binary_nll(turned @ params, outcomes, weights)

    for _ in range(100):
        p = reference.sigmoid(turned @ params)
        gradient = turned.T @ (weights * (p - outcomes))
        hessian = (turned.T * (weights * p * (1 - p))) @ turned
        if not np.linalg.cond(hessian) < 1e14:
            break
        step = np.linalg.solve(hessian, gradient)
        while np.abs(step).max() > 1e-13 and (
            loss(params - step) > loss(params) * (1 + 1e-15)
        ):
            step = step / 2
        params = params - step
        if np.abs(step).max() < 1e-12:
            break
    return np.linalg.solve(triangle, params)


def reference_beta(confidence, outcomes, weights):
    """Loss and parameters: the best of the fits with no, one or both slopes at 0."""
    columns, found = logarithms(confidence), []
    for free in ([0, 1, 2], [0, 2], [1, 2], [2]):
        params = np.zeros(3)
        params[free] = maximum_likelihood(columns[:, free], outcomes, weights)
        if (params[:2] >= 0).all():
            loss = reference.binary_nll(columns @ params, outcomes, weights)
            found.append((loss / weights.sum(), list(params)))
    return min(found)


def of(params):
    return [params.slope, params.complement_slope, params.intercept]


def drawn(rng, confidence, a, b, d):
    margin = logarithms(confidence) @ np.array([a, b, d])
    return (rng.random(len(confidence)) < reference.sigmoid(margin)).astype(float)


ROWS = 2000
RANGES = {
    "everywhere": lambda rng: rng.uniform(0.01, 0.99, ROWS),
    "tied": lambda rng: rng.choice([0.1, 0.3, 0.35, 0.8], ROWS),
    "near 0": lambda rng: 10 ** rng.uniform(-30, -1, ROWS),
    "near 1": lambda rng: 1 - 10 ** rng.uniform(-7, -1, ROWS),
    "in a narrow range": lambda rng: rng.uniform(0.6, 0.61, ROWS),
}
TRUE = {
    "two slopes": ("everywhere", (0.7, 1.5, 0.3)),
    "two slopes, tied": ("tied", (0.5, 1.0, 0.0)),
    "two slopes, near 0": ("near 0", (0.1, 5.0, 3.0)),
    "two slopes, near 1": ("near 1", (5.0, 0.4, -1.0)),
    "two slopes, in a narrow range": ("in a narrow range", (60.0, 40.0, -6.0)),
    "rises and falls": ("everywhere", (3.0, -2.0, 0.0)),
    "falls and rises": ("everywhere", (-2.0, 3.0, 0.0)),
    "rises and falls, near 1": ("near 1", (500.0, -0.3, 1.0)),
    "falls": ("everywhere", (-1.0, -1.0, 0.0)),
    "says nothing": ("everywhere", (0.0, 0.0, 0.5)),
}


@pytest.mark.parametrize("name", TRUE)
def test_beta(name):
    rng = np.random.default_rng(0)
    where, true = TRUE[name]
    confidence = np.float32(RANGES[where](rng))
    outcomes = drawn(rng, confidence, *true)
    weights = np.float32(rng.exponential(size=ROWS))
    params, report = fit_beta(confidence, outcomes, weights=weights)
    loss, expected = reference_beta(confidence, outcomes, weights.astype(float))
    assert report.converged
    reverse = max(expected[:2]) == 0
    assert status_of(report) == (Status.REVERSED if reverse else Status.CONVERGED)
    close(report.loss, loss, rtol=1e-6)
    np.testing.assert_array_equal(
        np.array(of(params))[:2] > 0, np.array(expected[:2]) > 0
    )
    curve = reference.sigmoid(logarithms(confidence) @ np.array(expected))
    close(cj.calibrate(params, confidence), curve, rtol=0, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("num_rows", [12, 70_001])
def test_beta_of_outcomes_that_a_band_separates(num_rows):
    """Without bounds the slopes would be infinite. Many rows are read in blocks."""
    confidence = np.float32(np.random.default_rng(1).uniform(0.01, 0.99, num_rows))
    inside = (confidence > 0.3) & (confidence < 0.7)
    for outcomes, zero in ((inside, 1), (~inside, 0)):
        params, report = fit_beta(confidence, outcomes)
        loss, expected = reference_beta(confidence, outcomes, np.ones(num_rows))
        assert report.converged and report.num_steps < 50
        assert of(params)[zero] == 0
        close(of(params), expected, rtol=1e-4, atol=1e-6)
        close(report.loss, loss, rtol=1e-6)


BETA_ENDS = {
    "a threshold separates": ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], Status.SEPARABLE),
    "a threshold, with a tie": ([0.1, 0.2, 0.2, 0.4], [0, 0, 1, 1], Status.SEPARABLE),
    "it separates the other way": (
        [0.1, 0.2, 0.3, 0.4],
        [1, 1, 0, 0],
        Status.REVERSED,
    ),
    "all right": ([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1], Status.ONE_CLASS),
    "equal": ([0.2, 0.2, 0.2, 0.2], [0, 1, 1, 1], Status.CONSTANT),
    "two values": ([0.2, 0.2, 0.9, 0.9], [0, 0.5, 1, 0.5], Status.CONVERGED),
    "a confidence of 0": ([0.0, 0.2, 0.3, 0.4], [0, 1, 0, 1], Status.INVALID_VALUES),
    "a confidence of 1": ([0.1, 0.2, 0.3, 1.0], [0, 1, 0, 1], Status.INVALID_VALUES),
    "a NaN": ([0.1, 0.2, NAN, 0.4], [0, 1, 0, 1], Status.INVALID_VALUES),
}


@pytest.mark.parametrize("name", BETA_ENDS)
def test_beta_status(name):
    confidence, outcomes, status = BETA_ENDS[name]
    params, report = fit_beta(jnp.array(confidence), jnp.array(outcomes, jnp.float32))
    assert status_of(report) == status
    assert bool(report.converged) == (status in (Status.CONVERGED, Status.REVERSED))
    assert np.isfinite(of(params)).all()
    calibrated = cj.calibrate(params, np.array(confidence[:2]))
    if status == Status.SEPARABLE:
        close(calibrated, [0.0, 0.5 if confidence[1] == confidence[2] else 0.0])
    elif status == Status.CONVERGED:
        assert params.slope == params.complement_slope
        close(calibrated, [0.25, 0.25])
    elif status == Status.INVALID_VALUES:
        np.testing.assert_array_equal(of(params), 0)
    else:
        assert params.slope == params.complement_slope == 0
        close(calibrated, [np.mean(outcomes)] * 2)


def test_the_warning_counts_certain_rows():
    confidence = np.array([0.0, 1.0, 1.0, 0.4, 0.5, 0.6, 1.0, 0.0])
    outcomes = np.array([0, 1, 0, 0, 1, 1, 1, 0])
    message = "INVALID_VALUES.* 3 rows hold a confidence of 0 or 1"
    with pytest.warns(cj.calibration.ConvergenceWarning, match=message):
        fit_beta(confidence, outcomes, weights=[1, 1, 1, 1, 1, 1, 0, 0])
    with pytest.raises(ValueError, match="confidence: .* row 3 holds 40"):
        fit_beta(100 * confidence, outcomes, where=confidence < 1)


@pytest.mark.once
def test_derivatives_of_beta_hold_a_slope_at_0():
    rng = np.random.default_rng(2)
    confidence = np.float32(rng.uniform(0.05, 0.95, 50))
    outcomes = np.float32(0.1 + 0.8 * drawn(rng, confidence, 3.0, -2.0, 0.0))

    def found(confidence, outcomes):
        return jnp.stack(of(fit_beta(confidence, outcomes)[0]))

    moves = rng.normal(size=(2, 50))
    _, moved = jax.jvp(
        found,
        (jnp.asarray(confidence), jnp.asarray(outcomes)),
        tuple(jnp.asarray(move, jnp.float32) for move in moves * [[0.1], [1.0]]),
    )
    assert moved[1] == 0
    columns = logarithms(confidence)[:, [0, 2]]
    step = 1e-5

    def best(sign):
        c = confidence.astype(float) + sign * step * 0.1 * moves[0]
        columns = np.stack([np.log(c), np.ones_like(c)], axis=1)
        target = outcomes + sign * step * moves[1]
        return maximum_likelihood(columns, target, np.ones(50))

    assert columns.shape == (50, 2)
    expected = (best(1) - best(-1)) / (2 * step)
    close(moved[np.array([0, 2])], expected, rtol=1e-3)


# Scaling-binning


def test_scaling_binning_uses_each_third_once():
    rng = np.random.default_rng(3)
    scores = np.float32(rng.normal(size=90))
    outcomes = rng.random(90) < reference.sigmoid(2 * scores)
    weights = np.float32(rng.integers(0, 3, 90))
    where = rng.random(90) < 0.9
    kept = np.flatnonzero(where & (weights > 0))
    garbage = np.where(where & (weights > 0), scores, NAN)
    params, report = fit_scaling_binning(
        garbage, outcomes, num_bins=4, where=where, weights=weights
    )
    assert status_of(report) == Status.CONVERGED
    first, second, last = (kept[part::3] for part in range(3))
    curve = reference.fit_platt(scores[first], outcomes[first], weights=weights[first])
    edges = reference.equal_count_edges(scores[second], 4)
    table = reference.reliability_table(
        edges, scores[last], reference.platt(curve, scores[last]), None, weights[last]
    )
    np.testing.assert_array_equal(params.bins.edges, np.float32(edges))
    close(params.values, table.outcome)


def test_scaling_binning_of_empty_bins():
    # In turn: the curve's rows, those that cut, those that are averaged.
    curve, cut, mean = [0, 1, 2, 3], [0.0, 1.0, 5.0, 6.0], [4.0, 4.5, 5.5, 7.0]
    scores = np.stack([curve, cut, mean], axis=1).ravel()
    outcomes = np.repeat([0, 1, 0, 1], 3)
    params, report = fit_scaling_binning(scores, outcomes, num_bins=4)
    assert status_of(report) == Status.CONVERGED
    platt, _ = cj.fit_platt(np.array(curve, float), [0, 1, 0, 1])
    np.testing.assert_array_equal(params.bins.edges, [1, 5, 6])
    mapped = np.asarray(cj.calibrate(platt, np.array([0.0, 4.0, 4.5, 5.5, 7.0])))
    # Nothing of the last third is below 1: the row that cut the bin stands for it.
    expected = [mapped[0], mapped[1:3].mean(), mapped[3], mapped[4]]
    close(params.values, expected)


def test_a_key_splits_triples_at_random():
    valid = jnp.asarray(np.random.default_rng(4).random(400) < 0.75)
    parts = np.asarray(scaling_binning._parts(valid, jax.random.key(0)))
    triples = parts[np.asarray(valid)][: 3 * (int(valid.sum()) // 3)].reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(triples, axis=1), [[0, 1, 2]] * len(triples))
    assert len({tuple(triple) for triple in triples.tolist()}) == 6


def test_scaling_binning_says_that_its_curve_has_no_optimum():
    scores = jnp.arange(12.0)
    for outcomes, status in (
        (scores > 5, Status.SEPARABLE),
        (scores > -1, Status.ONE_CLASS),
        (jnp.where(scores == 11, jnp.nan, 0.5), Status.INVALID_VALUES),
    ):
        params, report = fit_scaling_binning(scores, outcomes, num_bins=2)
        assert status_of(report) == status and not report.converged
        assert np.isfinite(params.values).all()


# The guarantee of histogram binning


def test_rows_that_are_edges_are_left_out():
    scores = np.array([6.0, 1.0, 5.0, 2.0, 4.0, 3.0, NAN])
    outcomes = np.array([0.5, 1.0, 1.0, 0.0, 0.25, 1.0, 1.0])
    rows = {"num_bins": 3, "where": scores > 0}
    params, report = cj.fit_histogram(scores, outcomes, leave_out_edges=True, **rows)
    assert report.converged
    np.testing.assert_array_equal(params.bins.edges, [3, 5])
    close(params.values, [0.5, 0.25, 0.5])
    plain, _ = cj.fit_histogram(scores, outcomes, **rows)
    close(plain.values, [0.5, 0.625, 0.75])


@pytest.mark.parametrize("tie", [(3.0, 2.0), (6.0, 5.0), (4.0, 4.0)])
def test_no_guarantee_for_ties_with_an_edge(tie):
    scores = jnp.array([6.0, 1.0, 5.0, 2.0, 4.0, 3.0, 7.0, 0.0])
    moved = jnp.where(scores == tie[0], tie[1], scores)
    rows = moved, scores > 3
    params, report = cj.fit_histogram(*rows, num_bins=3, leave_out_edges=True)
    edge = tie[1] in params.bins.edges and tie[0] != tie[1]
    assert status_of(report) == (Status.INVALID_VALUES if edge else Status.CONVERGED)
    assert np.isnan(params.values).all() == edge


@pytest.mark.parametrize(("num_rows", "converged"), [(0, False), (5, False), (6, True)])
def test_no_guarantee_for_few_rows(num_rows, converged):
    scores = jnp.arange(6.0)
    params, report = cj.fit_histogram(
        scores, scores > 2, num_bins=3, leave_out_edges=True, where=scores < num_rows
    )
    assert bool(report.converged) == converged
    assert np.isfinite(params.values).all() == converged


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0, 0.5])
def test_no_guarantee_with_weights(weight):
    scores = np.arange(8.0)
    weights = np.where(scores == 5, weight, np.where(scores == 7, 0.0, 1.0))
    params, report = cj.fit_histogram(
        jnp.asarray(scores),
        scores > 3,
        num_bins=3,
        leave_out_edges=True,
        weights=weights,
    )
    assert (
        bool(report.converged) == np.isfinite(params.values).all() == (weight in (0, 1))
    )
    assert status_of(report) in (Status.CONVERGED, Status.INVALID_VALUES)


def test_histogram_error_bound():
    expected = np.sqrt(np.log(2 * 10 / 0.05) / (2 * (1000 - 1)))
    close(error_bound(10_009, 10), expected)
    close(jax.jit(error_bound)(10_009, 10), expected)
    expected = np.sqrt(np.log(2 * np.array([1, 10, 50]) / 0.1) / 2 / [99, 9, 1])
    close(error_bound(100, [1, 10, 50], confidence_level=0.9), expected)
    np.testing.assert_array_equal(error_bound([0, 19], 10), [NAN, NAN])
    np.testing.assert_array_equal(error_bound(jnp.array([9, -9]), jnp.int32(0)), NAN)
    for wrong, message in (((-1, 2), "num_rows"), ((9, 0), "num_bins")):
        with pytest.raises(ValueError, match=message):
            error_bound(*wrong)
    with pytest.raises(ValueError, match="num_rows, num_bins: .* broadcast"):
        error_bound([9, 9], [1, 1, 1])


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_bound_holds_for_all_bins_at_once(level):
    """Where outcomes vary most, so that it is not much too wide either."""
    num_draws, num_rows, num_bins = 4000, 203, 5
    rng = np.random.default_rng(5)
    scores = np.float32(rng.random((num_draws, num_rows)))
    outcomes = rng.random(scores.shape) < 0.4 + 0.2 * scores

    def fit(scores, outcomes):
        return cj.fit_histogram(
            scores, outcomes, num_bins=num_bins, leave_out_edges=True
        )

    params, report = jax.jit(jax.vmap(fit))(scores, outcomes)
    sound = np.asarray(report.converged)
    assert sound.mean() > 0.99
    inner = np.asarray(params.bins.edges, float)[sound]
    ends = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    true = 0.4 + 0.1 * (ends[:, 1:] + ends[:, :-1])
    error = np.abs(np.asarray(params.values)[sound] - true).max(axis=1)
    bound = float(error_bound(num_rows, num_bins, confidence_level=level))
    assert np.mean(error <= bound) >= level
    # Hoeffding's inequality and the sum over bins give away this much.
    assert np.quantile(error, level) > 0.6 * bound
