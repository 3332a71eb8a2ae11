"""Temperature and Platt fits against the float64 maximum likelihood."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

import calib_jax as cj

NAN, INF = np.nan, np.inf
Status = cj.FitStatus


def close(actual, expected, rtol=1e-5, atol=0.0):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=rtol, atol=atol)


def classes(seed, num_rows=2000, num_classes=5):
    """Logits, and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(num_rows, num_classes)) * 2.0
    labels = (z + rng.gumbel(size=z.shape)).argmax(-1)
    return z.astype(np.float32), labels


def verified(seed, num_rows=2000):
    """Scores, and outcomes drawn from sigmoid(1.5 score - 0.5)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=num_rows).astype(np.float32)
    outcomes = rng.random(num_rows) < reference.sigmoid(1.5 * scores - 0.5)
    return scores, outcomes.astype(np.int32)


# The right number


@pytest.mark.parametrize("true", [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3])
@pytest.mark.parametrize("seed", [0, 1])
def test_temperature(true, seed):
    z, labels = classes(seed)
    logits = (true * z).astype(np.float32)
    params, report = cj.fit_temperature(logits, labels)
    expected = reference.fit_temperature(logits, labels)
    assert report.status == Status.CONVERGED
    assert report.converged
    close(params.temperature, expected)
    p = reference.softmax(logits, expected)[np.arange(len(labels)), labels]
    close(report.loss, -np.log(p).mean())
    assert 0 <= report.gradient_norm < 1e-4


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_temperature_does_not_see_an_offset(offset):
    z, labels = classes(0)
    z = np.round(z * 64) / 64  # exact after the shift too
    params, _ = cj.fit_temperature(z + np.float32(offset), labels)
    close(params.temperature, reference.fit_temperature(z, labels))


def test_temperature_of_nearly_certain_models():
    # One row in a thousand is wrong, and confidently so.
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 5)).astype(np.float32)
    labels = rng.integers(5, size=2000)
    z[np.arange(2000), labels] += 20.0
    labels[:2] = (labels[:2] + 1) % 5
    params, report = cj.fit_temperature(z, labels)
    assert report.status == Status.CONVERGED
    close(params.temperature, reference.fit_temperature(z, labels))


def test_temperature_of_log_probabilities_and_impossible_classes():
    z, labels = classes(0)
    log_probs = np.log(reference.softmax(z, 1.7)).astype(np.float32)
    expected = reference.fit_temperature(z, labels)
    close(cj.fit_temperature(log_probs, labels)[0].temperature, expected / 1.7)
    # A class whose logit is always -inf is a masked class.
    wide = np.concatenate([z, np.full((2000, 1), -INF, np.float32)], axis=1)
    params, report = cj.fit_temperature(wide, labels)
    assert report.status == Status.CONVERGED
    close(params.temperature, expected)


@pytest.mark.parametrize("per_row", [False, True])
def test_temperature_masks_classes(per_row):
    z, labels = classes(0)
    mask = np.arange(5) != 3
    if per_row:
        mask = np.random.default_rng(0).random(z.shape) < 0.7
        mask[np.arange(2000), labels] = True
    where = mask[..., labels] if not per_row else None
    expected = reference.fit_temperature(z, labels, where=where, class_where=mask)
    z = np.where(mask, z, NAN).astype(np.float32)
    params, report = cj.fit_temperature(z, labels, where=where, class_where=mask)
    assert report.status == Status.CONVERGED
    close(params.temperature, expected)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("offset", [0.0, -8.0])
def test_platt(scale, offset):
    scores, outcomes = verified(0)
    scores = ((scores + offset) * scale).astype(np.float32)
    params, report = cj.fit_platt(scores, outcomes)
    slope, intercept = reference.fit_platt(scores, outcomes)
    assert report.status == Status.CONVERGED
    close(params.slope, slope)
    close(params.intercept, intercept)
    margin = slope * reference.to_float(scores) + intercept
    loss = reference.binary_nll(margin, outcomes, 1.0) / len(scores)
    close(report.loss, loss)


@pytest.mark.parametrize("true", [1e2, 3e4, 1e6])
def test_platt_of_skewed_scores(true):
    # Log-confidences from -0.1 to -1e-7, as large models give them: the important
    # scores differ by a millionth of the spread.
    rng = np.random.default_rng(0)
    scores = (-(10.0 ** rng.uniform(-7.0, -1.0, size=2000))).astype(np.float32)
    margin = true * reference.to_float(scores) + 1.0
    outcomes = rng.random(2000) < reference.sigmoid(margin)
    params, report = cj.fit_platt(scores, outcomes)
    slope, intercept = reference.fit_platt(scores, outcomes)
    assert report.status == Status.CONVERGED
    close(params.slope, slope)
    close(params.intercept, intercept)


@pytest.mark.parametrize("smooth_targets", [False, True])
def test_platt_with_partial_credit_and_weights(smooth_targets):
    rng = np.random.default_rng(0)
    scores, _ = verified(0)
    margin = 1.5 * scores - 0.5 + rng.normal(size=len(scores))
    outcomes = reference.sigmoid(margin).astype(np.float32)
    weights = rng.exponential(size=len(scores)).astype(np.float32)
    options = {"weights": weights, "smooth_targets": smooth_targets}
    params, _ = cj.fit_platt(scores, outcomes, **options)
    slope, intercept = reference.fit_platt(scores, outcomes, **options)
    close(params.slope, slope)
    close(params.intercept, intercept)


def test_fits_of_a_million_rows():
    z, labels = classes(0, 1_000_000, 3)
    params, report = cj.fit_temperature(z, labels)
    assert report.status == Status.CONVERGED
    close(params.temperature, reference.fit_temperature(z, labels))
    scores, outcomes = verified(0, 1_000_000)
    params, report = cj.fit_platt(scores, outcomes)
    slope, intercept = reference.fit_platt(scores, outcomes)
    assert report.status == Status.CONVERGED
    close(params.slope, slope)
    close(params.intercept, intercept)


# Statuses


def eight_rows(*rows):
    """The rows, repeated in turn until there are eight."""
    return np.array([rows[i % len(rows)] for i in range(8)])


TEMPERATURE_ENDS = {
    "every label is the maximum": ([[2, 1, 0], [0, 3, 1]], [0, 1], Status.ZERO_LIMIT),
    "every label is among the maxima": (
        [[2, 2, 0], [1, 1, 1], [0, 3, 3]],
        [1, 2, 1],
        Status.ZERO_LIMIT,
    ),
    "every label is the minimum": (
        [[2, 1, 0], [0, 3, 1]],
        [2, 0],
        Status.INFINITE_LIMIT,
    ),
    "the labels are as good as chance": (
        [[1, 0, -1], [-2, 0, 2]],
        [1, 1],
        Status.INFINITE_LIMIT,
    ),
    "every row is constant": ([[1, 1, 1], [5, 5, 5]], [0, 1], Status.CONSTANT),
    "a NaN": ([[2, 1, 0], [NAN, 3, 1]], [1, 1], Status.INVALID_VALUES),
    "a label of -1": ([[2, 1, 0], [0, 3, 1]], [1, -1], Status.INVALID_VALUES),
    "a label of 3": ([[2, 1, 0], [0, 3, 1]], [1, 3], Status.INVALID_VALUES),
    "a finite optimum": ([[2, 1, 0], [0, 3, 1]] * 2, [0, 1, 1, 1], Status.CONVERGED),
}


@pytest.mark.parametrize("name", TEMPERATURE_ENDS)
def test_temperature_status(name):
    logits, labels, status = TEMPERATURE_ENDS[name]
    logits = eight_rows(*np.array(logits, np.float32))
    labels = eight_rows(*labels)
    params, report = cj.fit_temperature(logits, labels)
    assert Status(int(report.status)) == status
    assert bool(report.converged) == (status == Status.CONVERGED)
    ends = {Status.ZERO_LIMIT: 1e-6, Status.INFINITE_LIMIT: 1e6}
    if status in ends:
        close(params.temperature, ends[status])
    elif status == Status.CONSTANT:
        assert 1e-6 <= params.temperature <= 1e6


PLATT_ENDS = {
    "a threshold separates": ([1, 2, 3, 4], [0, 0, 1, 1], Status.SEPARABLE),
    "a threshold, with a tie": ([1, 2, 2, 4], [0, 0, 1, 1], Status.SEPARABLE),
    "it separates the other way": ([1, 2, 3, 4], [1, 1, 0, 0], Status.SEPARABLE),
    "all right": ([1, 2, 3, 4], [1, 1, 1, 1], Status.ONE_CLASS),
    "all wrong": ([1, 2, 3, 4], [0, 0, 0, 0], Status.ONE_CLASS),
    "equal scores": ([2, 2, 2, 2], [0, 1, 1, 1], Status.CONSTANT),
    "a falling slope": ([1, 2, 3, 4], [1, 0, 1, 0], Status.REVERSED),
    "a rising slope": ([1, 2, 3, 4], [0, 1, 0, 1], Status.CONVERGED),
    "a NaN score": ([1, NAN, 3, 4], [0, 1, 0, 1], Status.INVALID_VALUES),
    "a NaN outcome": ([1, 2, 3, 4], [0, 1, NAN, 1], Status.INVALID_VALUES),
}


@pytest.mark.parametrize("name", PLATT_ENDS)
def test_platt_status(name):
    scores, outcomes, status = PLATT_ENDS[name]
    scores, outcomes = eight_rows(*scores), eight_rows(*outcomes)
    params, report = cj.fit_platt(scores.astype(float), outcomes.astype(float))
    assert Status(int(report.status)) == status
    fitted = status in (Status.CONVERGED, Status.REVERSED)
    assert bool(report.converged) == fitted
    if fitted:
        slope, intercept = reference.fit_platt(scores, outcomes)
        assert (slope < 0) == (status == Status.REVERSED)
        close(params.slope, slope)
        close(params.intercept, intercept)
    elif status == Status.INVALID_VALUES:
        assert params.slope == 0
        assert params.intercept == 0
    else:
        assert np.isfinite(params.slope)
        assert np.isfinite(params.intercept)


@pytest.mark.parametrize(
    "wrong", [{"scores": NAN}, {"scores": INF}, {"outcomes": NAN}, {"weights": INF}]
)
def test_platt_of_invalid_values_is_one_half(wrong):
    scores, outcomes = verified(0, 50)
    rows = {"scores": scores, "outcomes": outcomes, "weights": np.ones(50)}
    rows = {name: np.asarray(array, np.float32) for name, array in rows.items()}
    for name, value in wrong.items():
        rows[name][3] = value
    rows = {name: jnp.asarray(array) for name, array in rows.items()}
    params, report = cj.fit_platt(**rows)
    assert report.status == Status.INVALID_VALUES
    np.testing.assert_array_equal([params.slope, params.intercept], 0.0)


def test_smooth_targets_are_finite_where_a_threshold_separates():
    scores, outcomes = np.arange(8.0), np.arange(8) > 3
    params, report = cj.fit_platt(scores, outcomes, smooth_targets=True)
    slope, intercept = reference.fit_platt(scores, outcomes, smooth_targets=True)
    assert report.status == Status.CONVERGED
    close(params.slope, slope)
    close(params.intercept, intercept)


def test_no_valid_row_has_not_converged():
    nothing = np.zeros(8, bool)
    z, labels = classes(0, 8, 3)
    params, report = cj.fit_temperature(z, labels, where=nothing)
    assert not report.converged
    assert np.isfinite(params.temperature)
    params, report = cj.fit_platt(z[:, 0], nothing, where=nothing)
    assert not report.converged
    assert np.isfinite(params.slope)


# One solver for the module, since each new one is traced again.
TOO_SLOW = optax.sgd(1e-9)


def test_a_solver_that_gets_nowhere_says_so():
    _, report = cj.fit_temperature(*classes(0), solver=TOO_SLOW)
    assert report.status == Status.MAX_STEPS
    assert not report.converged
    assert report.num_steps > 0
    scores, outcomes = verified(0)
    _, report = cj.fit_platt(scores, outcomes, solver=TOO_SLOW)
    assert report.status == Status.MAX_STEPS


# Weights and masks


def test_a_weight_is_a_number_of_rows():
    rng = np.random.default_rng(0)
    repeats = rng.permutation([0, 1, 1, 2] * 500)
    z, labels = classes(0)
    weighted, _ = cj.fit_temperature(z, labels, weights=repeats.astype(np.float32))
    repeated, _ = cj.fit_temperature(z.repeat(repeats, 0), labels.repeat(repeats))
    close(weighted.temperature, repeated.temperature, rtol=2e-6)
    scores, outcomes = verified(0)
    weighted, _ = cj.fit_platt(scores, outcomes, weights=repeats.astype(np.float32))
    repeated, _ = cj.fit_platt(scores.repeat(repeats), outcomes.repeat(repeats))
    close(weighted.slope, repeated.slope, rtol=2e-6)
    close(weighted.intercept, repeated.intercept, rtol=2e-6)


@pytest.mark.parametrize("option", ["where", "weights"])
def test_a_removed_row_may_hold_anything(option):
    keep = np.random.default_rng(0).random(2000) < 0.7
    removed = {option: keep if option == "where" else keep.astype(np.float32)}
    z, labels = classes(0)
    expected = reference.fit_temperature(z, labels, where=keep)
    z[~keep] = NAN
    labels[~keep] = -1
    params, report = cj.fit_temperature(z, labels, **removed)
    assert report.status == Status.CONVERGED
    close(params.temperature, expected)
    scores, outcomes = verified(0)
    expected = reference.fit_platt(scores, outcomes, where=keep)
    scores[~keep] = NAN
    params, report = cj.fit_platt(scores, np.where(keep, outcomes, 7), **removed)
    assert report.status == Status.CONVERGED
    close(params.slope, expected[0])
    close(params.intercept, expected[1])


# Transformations


def test_fits_under_jit_and_vmap():
    models = [classes(seed) for seed in range(3)]
    z = jnp.stack([logits * 10.0**i for i, (logits, _) in enumerate(models)])
    labels = jnp.stack([jnp.asarray(label, jnp.int32) for _, label in models])
    one = [cj.fit_temperature(z[i], labels[i])[0].temperature for i in range(3)]
    params, report = jax.vmap(cj.fit_temperature)(z, labels)
    close(params.temperature, np.array(one), rtol=1e-6)
    np.testing.assert_array_equal(report.status, [Status.CONVERGED] * 3)
    params, _ = jax.jit(cj.fit_temperature)(z[1], labels[1])
    close(params.temperature, one[1], rtol=1e-6)


def test_platt_under_jit_and_vmap():
    scores, outcomes = verified(0)
    reversed_outcomes = 1 - outcomes
    groups = jnp.stack([outcomes, reversed_outcomes, np.ones_like(outcomes)])
    fit = jax.vmap(cj.fit_platt, in_axes=(None, 0))
    params, report = fit(jnp.asarray(scores), groups)
    slope, intercept = reference.fit_platt(scores, outcomes)
    close(params.slope[:2], [slope, -slope])
    close(params.intercept[:2], [intercept, -intercept])
    expected = [Status.CONVERGED, Status.REVERSED, Status.ONE_CLASS]
    np.testing.assert_array_equal(report.status, expected)
    params, _ = jax.jit(cj.fit_platt)(scores, outcomes)
    close(params.slope, slope)


@pytest.mark.parametrize("make", [optax.lbfgs, lambda: optax.adam(0.1)])
def test_any_optax_solver_goes_through_the_loop(make):
    # Full accuracy is promised only for the default solver.
    solver = make()
    z, labels = classes(0)
    params, report = cj.fit_temperature(3 * z, labels, solver=solver)
    expected = reference.fit_temperature(3 * z, labels)
    close(params.temperature, expected, rtol=1e-3)
    assert report.num_steps > 1
    scores, outcomes = verified(0)
    params, _ = cj.fit_platt(scores, outcomes, solver=solver)
    slope, intercept = reference.fit_platt(scores, outcomes)
    close(params.slope, slope, rtol=1e-3)
    close(params.intercept, intercept, rtol=1e-3)


def finite_difference(function, x, index, step=1e-5):
    """Central difference of a float64 function in one entry of x."""
    up, down = x.astype(np.float64), x.astype(np.float64)
    up[index] += step
    down[index] -= step
    return (function(up) - function(down)) / (2 * step)


def test_temperature_is_differentiable():
    z, labels = classes(0, 64, 3)
    where = np.arange(64) < 60
    z[60:] = NAN

    def fit(logits, weights):
        params, _ = cj.fit_temperature(logits, labels, where=where, weights=weights)
        return params.temperature

    weights = np.linspace(0.5, 1.5, 64).astype(np.float32)
    grads = jax.grad(fit, argnums=(0, 1))(jnp.asarray(z), jnp.asarray(weights))
    for index in [(0, labels[0]), (1, 0), (2, 1), (3, 2), (59, 1)]:
        expected = finite_difference(
            lambda x: reference.fit_temperature(x, labels, where, weights), z, index
        )
        close(grads[0][index], expected, rtol=1e-3, atol=1e-6)
    for index in [0, 1, 59]:
        expected = finite_difference(
            lambda x: reference.fit_temperature(z, labels, where, x), weights, index
        )
        close(grads[1][index], expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(grads[0][60:], 0.0)


def test_platt_is_differentiable():
    scores, outcomes = verified(0, 64)
    outcomes = 0.1 + 0.8 * outcomes
    score = np.float32(0.7)

    def confidence(scores, outcomes):
        params, _ = cj.fit_platt(scores, outcomes)
        return params.slope * score + params.intercept

    def expected_confidence(scores, outcomes):
        slope, intercept = reference.fit_platt(scores, outcomes)
        return slope * score + intercept

    arguments = jnp.asarray(scores), jnp.asarray(outcomes, jnp.float32)
    grads = jax.grad(confidence, argnums=(0, 1))(*arguments)
    for index in [0, 1, 63]:
        expected = finite_difference(
            lambda x: expected_confidence(x, outcomes), scores, index
        )
        close(grads[0][index], expected, rtol=1e-3, atol=1e-6)
        expected = finite_difference(
            lambda x: expected_confidence(scores, x), outcomes, index
        )
        close(grads[1][index], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "given", "status"),
    [
        (cj.fit_temperature, ([[4.0, 0.0], [0.0, 4.0]], [0, 1]), "ZERO_LIMIT"),
        (cj.fit_temperature, ([[4.0, 0.0], [0.0, 4.0]], [1, 0]), "INFINITE_LIMIT"),
        (cj.fit_temperature, ([[4.0, 0.0], [0.0, 4.0]], [0, 2]), "INVALID_VALUES"),
        (cj.fit_platt, ([0.0, 1.0], [0, 1]), "SEPARABLE"),
        (cj.fit_platt, ([0.0, 1.0], [1, 1]), "ONE_CLASS"),
        (cj.fit_platt, ([1.0, 1.0], [0, 1]), "CONSTANT"),
        (cj.fit_histogram, ([], []), "CONSTANT"),
        (
            lambda *blocks: cj.streaming.blocks.fit_temperature([blocks]),
            (np.array([[4.0, 0.0], [0.0, 4.0]]), np.array([0, 1])),
            "ZERO_LIMIT",
        ),
        (
            lambda *blocks: cj.streaming.blocks.fit_platt([blocks]),
            (np.array([0.0, 1.0]), np.array([1, 1])),
            "ONE_CLASS",
        ),
    ],
)
def test_a_fit_that_found_no_optimum_warns_by_name(fit, given, status):
    name = "fit_[a-z]+ did not converge: "
    with pytest.warns(cj.calibration.ConvergenceWarning, match=name + status):
        _, report = fit(*given)
    assert f"status={status}" in repr(report)


def test_fits_on_a_device_and_in_programs_do_not_warn(recwarn):
    warnings.simplefilter("always")
    scores, outcomes = np.array([0.0, 1.0]), np.array([1, 1])
    cj.fit_platt(jnp.asarray(scores), outcomes)
    report = jax.jit(lambda: cj.fit_platt(scores, outcomes)[1])()
    assert report.status == cj.FitStatus.ONE_CLASS
    assert not recwarn.list


def test_a_fit_that_converged_does_not_warn_and_its_report_says_so(recwarn):
    warnings.simplefilter("always")
    _, report = cj.fit_platt([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], [0, 0, 1, 0, 1, 1])
    assert repr(report).startswith("FitReport(converged=True, num_steps=")
    assert repr(report).endswith("status=CONVERGED)")
    assert not recwarn.list
