"""Vector scaling, Dirichlet calibration and ensemble temperature scaling."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

import calib_jax as cj
from calib_jax._core import hashing
from calib_jax.calibration import FitStatus

C = 4


def rows(n=600, classes=C, seed=0):
    """Logits that favour some classes and are too far apart, and labels."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    scale, bias = np.linspace(0.4, 1.0, classes), np.linspace(-0.5, 0.5, classes)
    labels = np.argmax(logits * scale + bias + rng.gumbel(size=logits.shape), axis=1)
    return logits, labels


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def vector_parts(params, x):
    scale, bias = np.split(params, 2)
    bias = bias - bias.mean()
    return x * scale + bias, np.mean((scale - scale.mean()) ** 2 + bias**2)


def dirichlet_parts(params, x):
    classes = x.shape[1]
    matrix, bias = params[:-classes].reshape(classes, classes), params[-classes:]
    off = np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2)
    penalty = off / (classes * (classes - 1)) + np.mean(bias**2)
    penalty += np.var(np.diag(matrix))
    return x @ matrix.T + bias, penalty


def reference(parts, size, x, labels, strength, weights):
    """Objective and optimum in float64, by scipy and finite-difference-free BFGS."""

    def objective(params):
        logits, penalty = parts(params, x)
        own = log_softmax(logits)[np.arange(len(x)), labels]
        return -np.sum(weights * own) / np.sum(weights) + strength * penalty

    start = np.zeros(size)
    found = optimize.minimize(objective, start, options={"gtol": 1e-7})
    return objective, found.x


def case_of(name, logits):
    if name == "vector":
        return cj.calibration.fit_vector, vector_parts, 2 * C, logits
    parts = dirichlet_parts
    return cj.calibration.fit_dirichlet, parts, C * C + C, log_softmax(logits)


def flat(params):
    leaves = [np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(params)]
    return np.concatenate(leaves[:2])


@pytest.mark.parametrize(
    ("name", "strength"), [("vector", 0.0), ("vector", 0.3), ("dirichlet", 0.2)]
)
def test_optimum_in_float64(name, strength):
    logits, labels = rows()
    weights = np.random.default_rng(1).integers(0, 3, len(labels)).astype(float)
    fit, parts, size, x = case_of(name, logits)
    params, report = fit(logits, labels, strength=strength, weights=weights)
    assert report.status == FitStatus.CONVERGED
    objective, best = reference(parts, size, x, labels, strength, weights)
    assert objective(flat(params)) <= objective(best) * (1 + 1e-7)
    np.testing.assert_allclose(
        report.loss,
        objective(flat(params)) - (strength * parts(flat(params), x)[1]),
        rtol=1e-6,
    )
    fresh, _ = rows(seed=7)
    expected = parts(best, fresh if name == "vector" else log_softmax(fresh))[0]
    np.testing.assert_allclose(
        cj.calibrate(params, fresh), np.exp(log_softmax(expected)), atol=2e-5
    )
    np.testing.assert_allclose(np.mean(params.bias), 0, atol=1e-6)


@pytest.mark.parametrize("strength", [1e-4, 0.1, 1e4])
def test_optimum_of_nearly_separable_labels(strength):
    """A strength leaves one scale free, and that has an optimum unless every label has
    a largest logit, or every one a smallest."""
    rng = np.random.default_rng(1)
    logits = np.float32(30 * rng.normal(size=(8, C))).astype(float)
    labels = np.argmax(logits, axis=1)
    labels[0] = np.argsort(logits[0])[-2]
    for name in "vector", "dirichlet":
        fit, parts, size, x = case_of(name, logits)
        given = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
        params, report = fit(*given, strength=strength)
        assert report.status == FitStatus.CONVERGED
        strength = float(np.float32(strength))
        objective, _ = reference(parts, size, x, labels, strength, np.ones(8))
        start = np.ones(size) if name == "vector" else np.eye(C + 1, C).ravel()
        best = optimize.minimize(
            objective, 0.05 * start, method="L-BFGS-B", options={"maxfun": 50_000}
        )
        assert objective(flat(params)) <= best.fun * (1 + 1e-6) + 2e-7
        for ends in np.argmax, np.argmin:
            _, report = fit(given[0], ends(logits, axis=1), strength=strength)
            assert report.status == FitStatus.SEPARABLE


def test_many_blocks_and_parameters():
    """Rows in several blocks, and a matrix of more parameters than a short fit."""
    logits, labels = rows(6000, 40, seed=2)
    scores = logits.astype(np.float32)
    for fit in (
        lambda: cj.calibration.fit_vector(scores, labels),
        lambda: cj.calibration.fit_dirichlet(scores, labels, strength=20.0),
    ):
        params, report = fit()
        assert report.status == FitStatus.CONVERGED
        values = log_softmax(logits)
        matrix, strength = getattr(params, "matrix", None), 0.0
        if matrix is None:
            matrix, values = np.diag(params.scale), logits
        else:
            strength = 20.0
        matrix, bias = np.asarray(matrix, float), np.asarray(params.bias, float)
        p = np.exp(log_softmax(values @ matrix.T + bias))
        residual = (p - np.eye(40)[labels]) / len(labels)
        slope = residual.T @ values
        if strength:
            slope += strength * 2 / (40 * 39) * matrix * (1 - np.eye(40))
            own = np.diag(matrix)
            slope += np.diag(strength * 2 / 40 * (own - own.mean()))
        else:
            slope = np.diag(slope)
        level = residual.sum(axis=0) + strength * 2 / 40 * bias
        # A Newton step from here, by the curvature of a class, changes nothing.
        curvature = np.mean(p * (1 - p), axis=0)
        falls = np.sum(slope**2 / curvature[:, None]) if strength else slope**2
        left = np.sum(level**2 / curvature) + np.sum(falls)
        assert left < 1e-6 * float(report.loss)


def test_classes_without_labels():
    logits, labels = rows(300)
    kept = labels != 2
    with pytest.warns(cj.calibration.ConvergenceWarning, match="SEPARABLE"):
        params, report = cj.calibration.fit_vector(logits[kept], labels[kept])
    assert report.status == FitStatus.SEPARABLE and not report.converged
    assert params.bias[2] == -1e6
    np.testing.assert_array_equal(cj.calibrate(params, logits)[:, 2], 0)
    # The others are fitted as if it were not there.
    others = np.array([0, 1, 3])
    number = np.searchsorted(others, labels[kept])
    fewer, status = cj.calibration.fit_vector(logits[kept][:, others], number)
    assert status.converged
    np.testing.assert_allclose(params.scale[others], fewer.scale, rtol=1e-4)
    np.testing.assert_allclose(params.bias[others], fewer.bias, atol=1e-4)
    where = labels == 1
    given = jnp.asarray(logits), jnp.asarray(labels)
    for fit in cj.calibration.fit_vector, cj.calibration.fit_dirichlet:
        _, report = fit(*given, where=where, strength=0.0)
        assert report.status == FitStatus.ONE_CLASS
        params, report = fit(*given, where=kept, strength=0.0)
        assert report.status == FitStatus.SEPARABLE and params.bias[2] == -1e6
        _, report = fit(*given, where=where, strength=1.0)
        assert report.status == FitStatus.CONVERGED
        params, report = fit(*given, where=kept, strength=1.0)
        assert report.status == FitStatus.CONVERGED and params.bias[2] > -1e3


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_separable_labels(shift):
    """No finite optimum, although every class is a label: nothing claims to be one."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(200, C))
    labels = np.argmax(logits + shift * (np.arange(C) == 1), axis=1)
    given = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    fits = [cj.calibration.fit_vector(*given)]
    for fit in cj.calibration.fit_vector, cj.calibration.fit_dirichlet:
        if shift == 0:
            fits.append(fit(*given, strength=1.0))
        else:
            # The penalty of a bias keeps it from them.
            _, report = fit(*given, strength=1.0)
            assert report.converged
    for params, report in fits:
        assert report.status == FitStatus.SEPARABLE
        assert report.loss < 0.05
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_hard_votes_without_overlap():
    """Logits 0 and 1, where every label of the last class has a 1: recall is whole."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 400)
    votes = np.eye(3)[np.where(rng.random(400) < 0.3, 2, labels)]
    given = jnp.asarray(votes, jnp.float32), jnp.asarray(labels)
    _, report = cj.calibration.fit_vector(*given)
    assert report.status == FitStatus.SEPARABLE


def test_invalid_values():
    logits, labels = rows(64)
    for place, value in ((0, np.nan), (1, np.inf), (2, -np.inf), (3, 1e20)):
        spoilt = logits.astype(np.float32)
        spoilt[place, (labels[place] + 1) % C] = value
        given = jnp.asarray(spoilt), jnp.asarray(labels)
        params, report = cj.calibration.fit_dirichlet(*given, strength=1.0)
        assert report.status == FitStatus.INVALID_VALUES and np.isnan(report.loss)
        np.testing.assert_array_equal(params.matrix, np.eye(C))
        params, report = cj.calibration.fit_vector(*given)
        if value == -np.inf:
            # An impossible class of one row.
            mask = np.ones((64, C), bool)
            mask[place, (labels[place] + 1) % C] = False
            masked, _ = cj.calibration.fit_vector(logits, labels, class_where=mask)
            assert report.converged
            np.testing.assert_allclose(params.scale, masked.scale, rtol=1e-5)
        else:
            assert report.status == FitStatus.INVALID_VALUES
            np.testing.assert_array_equal(params.scale, 1)
    with pytest.raises(ValueError, match="strength"):
        cj.calibration.fit_vector(logits, labels, strength=-1.0)
    params, report = cj.calibration.fit_vector(
        jnp.asarray(logits), jnp.asarray(labels), strength=jnp.float32(-1)
    )
    assert report.status == FitStatus.INVALID_VALUES


def test_masked_classes():
    """A class that no row has is as if it were not there; masked logits hold NaN."""
    logits, labels = rows(300)
    kept = labels != 2
    others = np.array([0, 1, 3])
    fewer, expected = cj.calibration.fit_vector(
        logits[kept][:, others], np.searchsorted(others, labels[kept])
    )
    spoilt = logits[kept].copy()
    spoilt[:, 2] = np.nan
    shared = np.arange(C) != 2
    for mask in shared, np.broadcast_to(shared, spoilt.shape):
        params, report = cj.calibration.fit_vector(
            spoilt, labels[kept], class_where=mask
        )
        assert report.converged
        np.testing.assert_allclose(report.loss, expected.loss, rtol=1e-6)
        np.testing.assert_allclose(params.scale[others], fewer.scale, rtol=1e-4)
        np.testing.assert_allclose(params.bias[others], fewer.bias, atol=1e-4)
        np.testing.assert_allclose(params.scale[2], np.mean(fewer.scale), rtol=1e-4)
        assert params.bias[2] == 0


def test_hardly_any_rows():
    """Whatever the status says, parameters are numbers."""
    rng = np.random.default_rng(8)
    one_class = FitStatus.ONE_CLASS
    for n, classes, expected in ((50, 1, one_class), (1, 3, one_class), (6, 6, None)):
        given = (
            jnp.asarray(rng.normal(size=(n, classes)), jnp.bfloat16),
            jnp.asarray(np.arange(n) % classes),
        )
        for params, report in (
            cj.calibration.fit_vector(*given),
            cj.calibration.fit_dirichlet(*given),
            cj.calibration.fit_ensemble_temperature(*given),
        ):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
            if expected and isinstance(params, cj.calibration.Vector):
                assert report.status == expected
    # With a strength there is an optimum of two classes, but not of one.
    _, report = cj.calibration.fit_vector(
        jnp.ones((50, 1)), jnp.zeros(50, jnp.int32), strength=0.1
    )
    assert report.status == one_class


def test_a_chosen_strength_has_no_derivative():
    logits, labels = rows(30)
    given = jnp.asarray(logits, jnp.float32)
    with pytest.raises(ValueError, match="[Rr]everse-mode"):
        jax.grad(lambda x: cj.calibration.fit_dirichlet(x, labels)[0].matrix.sum())(
            given
        )


def test_other_solvers():
    logits, labels = rows(200)
    expected, _ = cj.calibration.fit_vector(logits, labels)
    params, report = cj.calibration.fit_vector(logits, labels, solver=optax.lbfgs())
    assert report.status == FitStatus.CONVERGED
    np.testing.assert_allclose(params.scale, expected.scale, rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, report = cj.calibration.fit_vector(logits, labels, solver=optax.sgd(1e-5))
    assert report.status == FitStatus.MAX_STEPS


def test_strength_by_cross_validation():
    """Rows that need a temperature alone get a strong penalty, and others a weak one,
    whatever their order."""
    rng = np.random.default_rng(5)
    logits = 2 * rng.normal(size=(3000, C))
    mixed = logits @ (np.eye(C) + 0.6 * rng.normal(size=(C, C)))
    chosen = []
    for true in (0.5 * logits, mixed):
        labels = np.argmax(true + rng.gumbel(size=true.shape), axis=1)
        params, report = cj.calibration.fit_dirichlet(logits, labels)
        assert report.converged
        order = rng.permutation(len(labels))
        again, _ = cj.calibration.fit_dirichlet(logits[order], labels[order])
        assert again.strength == params.strength
        given, _ = cj.calibration.fit_dirichlet(
            logits, labels, strength=params.strength
        )
        np.testing.assert_allclose(given.matrix, params.matrix, atol=1e-5)
        chosen.append(float(params.strength))
    assert chosen[0] >= 4 and chosen[1] < 0.5
    params, report = cj.calibration.fit_vector(logits, labels, strength=None)
    assert report.converged
    assert np.ptp(params.scale) > 0.01


def test_the_strength_is_that_of_the_rows_left_out():
    """As fits of two folds say of the third; each row has a number of its own added."""
    rng = np.random.default_rng(8)
    logits = 2 * rng.normal(size=(900, C))
    true = logits @ (np.eye(C) + 0.3 * rng.normal(size=(C, C)))
    labels = np.argmax(true + rng.gumbel(size=true.shape), axis=1)
    logits = np.float32(logits + rng.normal(0, 5, (900, 1)))
    params, _ = cj.calibration.fit_dirichlet(logits, labels)
    hashed = hashing.mixed(jnp.asarray(logits), jnp.asarray(labels, jnp.int32))
    fold = np.asarray(hashing.part(hashed, 3))
    grid = [100, 10, 1, 0.1, 0.01, 0.001]
    totals = []
    for strength in grid:
        total = 0.0
        for out in (fold == k for k in range(3)):
            found, _ = cj.calibration.fit_dirichlet(
                logits, labels, where=~out, strength=strength * C
            )
            left = log_softmax(np.log(cj.calibrate(found, logits[out])))
            total -= left[np.arange(out.sum()), labels[out]].sum()
        totals.append(total)
    np.testing.assert_allclose(params.strength, grid[np.argmin(totals)] * C, rtol=1e-6)


def test_ensemble_in_float64():
    """The optimum of scipy; weights that do not help are 0, and no class moves."""
    logits, labels = rows(1500, seed=6)
    rng = np.random.default_rng(6)
    noisy = np.where(rng.random(1500) < 0.2, rng.integers(0, C, 1500), labels)
    weights = rng.integers(0, 3, 1500).astype(float)
    for y in labels, noisy:
        params, report = cj.calibration.fit_ensemble_temperature(
            3 * logits, y, weights=weights
        )
        expected, _ = cj.fit_temperature(3 * logits, y, weights=weights)
        assert report.converged and params.temperature == expected.temperature
        own = np.arange(1500), y
        parts = np.stack(
            [
                np.exp(log_softmax(3 * logits / float(params.temperature)))[own],
                np.exp(log_softmax(3 * logits))[own],
                np.full(1500, 1 / C),
            ]
        )

        def loss(mixture, parts=parts):
            return -np.sum(weights * np.log(mixture @ parts)) / np.sum(weights)

        found = optimize.minimize(
            loss,
            [0.4, 0.3, 0.3],
            method="SLSQP",
            bounds=[(0, 1)] * 3,
            constraints={"type": "eq", "fun": lambda w: np.sum(w) - 1},
            options={"ftol": 1e-12},
        )
        ours = np.asarray(params.weights, float)
        assert loss(ours / ours.sum()) <= loss(found.x) + 1e-8
        np.testing.assert_allclose(report.loss, loss(ours), rtol=1e-6)
        np.testing.assert_allclose(ours, found.x, atol=2e-3)
        moved = cj.calibrate(params, logits)
        np.testing.assert_array_equal(np.argmax(moved, 1), np.argmax(logits, 1))
    assert params.weights[2] > 0.05


def test_ensemble_without_a_temperature():
    logits, labels = rows(100)
    best = np.argmax(logits, axis=1)
    given = jnp.asarray(logits), jnp.asarray(best)
    params, report = cj.calibration.fit_ensemble_temperature(*given)
    assert report.status == FitStatus.ZERO_LIMIT and not report.converged
    np.testing.assert_allclose(params.weights, [1, 0, 0], atol=1e-6)
    spoilt = given[0].at[3, 1].set(jnp.nan)
    params, report = cj.calibration.fit_ensemble_temperature(spoilt, labels)
    assert report.status == FitStatus.INVALID_VALUES and np.isnan(report.loss)
    np.testing.assert_array_equal(params.weights, [1, 0, 0])
    gradient = jax.grad(
        lambda x: cj.calibration.fit_ensemble_temperature(x, labels)[0].weights[0]
    )(given[0])
    assert np.isnan(gradient).all()


def test_infinite_logits():
    """An impossible class stays one, and +inf is invalid whatever its scale."""
    inf = np.inf
    params = cj.calibration.EnsembleTemperature(
        temperature=jnp.float32(2), weights=jnp.float32([0.5, 0.2, 0.3])
    )
    p = cj.calibrate(params, [[1.0, 0.0, -inf], [1.0, 0.0, 5.0]])
    assert p[0, 2] == 0 and p[1, 2] > 0
    np.testing.assert_allclose(np.sum(p, axis=1), 1, rtol=1e-6)
    logits, labels = rows(200)
    expected = cj.calibration.fit_ensemble_temperature(logits, labels)
    wider = np.pad(logits, ((0, 0), (0, 1)), constant_values=-inf)
    found = cj.calibration.fit_ensemble_temperature(wider, labels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found[0],
        expected[0],
    )
    params = cj.calibration.Vector(
        scale=jnp.float32([-1, 1, 1]), bias=jnp.zeros(3, jnp.float32)
    )
    assert np.isnan(cj.calibrate(params, [[inf, 0.0, 0.0]])).all()
