"""Isotonic regression against scikit-learn and exact rational arithmetic."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

import calib_jax as cj
from calib_jax.calibration import isotonic, pooling

fit = cj.calibration.fit_isotonic


def by_fractions(outcomes, weights):
    """Fitted values of rows in order, pooled one after the other without rounding."""
    blocks = []
    for outcome, weight in zip(outcomes, weights, strict=True):
        weight = Fraction(float(weight))
        blocks.append((weight, weight * Fraction(float(outcome)), 1))
        while len(blocks) > 1:
            (a, b, _), (c, d, _) = blocks[-2:]
            if b * c < d * a:
                break
            blocks[-2:] = [tuple(map(sum, zip(*blocks[-2:], strict=True)))]
    return np.repeat(
        [float(total / weight) for weight, total, _ in blocks],
        [rows for *_, rows in blocks],
    )


def assert_as_sklearn(scores, outcomes, weights=None, **kwargs):
    params, report = fit(scores, outcomes, weights=weights, **kwargs)
    outcomes = outcomes.astype(np.float64)
    exact = scores.astype(np.float64)
    peer = IsotonicRegression(out_of_bounds="clip")
    peer.fit(exact, outcomes, sample_weight=weights)
    ends = np.array([-1e30, scores.min() - 1, scores.max() + 1, 1e30])
    at = np.concatenate([exact, exact[:-1] + np.diff(exact) / 3, ends])
    at = at.astype(np.float32)
    wanted = peer.predict(at.astype(np.float64))
    np.testing.assert_allclose(cj.calibrate(params, at), wanted, rtol=0, atol=2e-7)
    fitted = np.clip(peer.predict(exact), 1e-300, 1 - 1e-16)
    entropy = -outcomes * np.log(fitted) - (1 - outcomes) * np.log1p(-fitted)
    loss = np.average(entropy, weights=weights)
    np.testing.assert_allclose(report.loss, loss, rtol=1e-5, atol=1e-7)
    assert report.num_steps == 0
    return params, report


def shapes(n):
    """Outcomes of rows in order that ask most of a pool, by name."""
    rank = np.arange(n)
    teeth = np.concatenate([np.linspace(0.5, 1, n // 2), np.linspace(0, 0.5, n // 2)])
    return {
        "rising": np.linspace(0, 1, n),
        "falling": np.linspace(1, 0, n),
        "sawtooth": rank % 7 / 6,
        "two teeth": teeth,
        "steps": rank >= n // 3,
        "turned": rank < n // 3,
        "one": rank == n - 1,
        "square": (rank / n) ** 2 > np.random.default_rng(0).random(n),
    }


def test_by_hand():
    scores, outcomes = [0.5, 0.2, 0.2, 0.1, 0.4, 0.3], [1, 1, 0, 0, 0, 1]
    params, report = fit(scores, outcomes)
    knots = np.float32([0.1, 0.2, 0.4, 0.5])
    np.testing.assert_array_equal(params.scores[:4], knots)
    np.testing.assert_array_equal(params.values[:4], np.float32([0, 0.5, 0.5, 1]))
    assert np.isinf(params.scores[4:]).all() and (params.values[4:] == 1).all()
    assert len(params.scores) == 16
    np.testing.assert_allclose(report.loss, 4 * np.log(2) / 6, rtol=1e-6)
    assert report.converged and report.status == cj.FitStatus.CONVERGED
    x = jnp.float32([-jnp.inf, 0.0, 0.15, 0.3, 0.45, 9.0, jnp.inf, jnp.nan])
    expected = [0, 0, 0.25, 0.5, 0.75, 1, 1, jnp.nan]
    np.testing.assert_allclose(cj.calibrate(params, x), expected, atol=1e-6)


@pytest.mark.parametrize("n", [2, 1000])
def test_shapes(n):
    rng = np.random.default_rng(1)
    for outcomes in shapes(n).values():
        order = rng.permutation(n)
        scores = np.linspace(-1, 2, n, dtype=np.float32)[order]
        assert_as_sklearn(scores, outcomes[order])
        assert_as_sklearn(scores, outcomes[order].astype(np.float32))


@pytest.mark.parametrize("n", [997, 70_000])
def test_random_rows(n):
    rng = np.random.default_rng(n)
    scores = rng.normal(0.5, 2, n).astype(np.float32)
    outcomes = rng.random(n) < 1 / (1 + np.exp(-scores))
    credit = np.clip(outcomes + rng.normal(0, 0.3, n), 0, 1).astype(np.float32)
    weights = rng.random(n).astype(np.float32) + np.float32(0.01)
    tied = np.round(scores, 1)
    for s in (scores, tied):
        found = assert_as_sklearn(s, outcomes)[0]
        floats = assert_as_sklearn(s, outcomes.astype(np.float32))[0]
        for first, second in zip(*map(jax.tree.leaves, (found, floats)), strict=True):
            np.testing.assert_array_equal(first, second)
        assert_as_sklearn(s, credit)
        assert_as_sklearn(s, credit, weights)
    # Nothing depends on the order of rows.
    order = rng.permutation(n)
    first, second = (
        fit(tied[i], credit[i], weights=weights[i]) for i in (slice(None), order)
    )
    for a, b in zip(*map(jax.tree.leaves, (first, second)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_any_size():
    """A block of weight 1e20 hides none of 1e-20."""
    pool = jax.jit(pooling.pool_weights)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        weights = (10 ** rng.uniform(-20, 20, 200)).astype(np.float32)
        outcomes = rng.random(200).astype(np.float32)
        if seed % 2:
            outcomes = np.round(outcomes, 1)
        scores = np.arange(200, dtype=np.float32)
        found = pool(jnp.asarray(outcomes), jnp.asarray(weights), 200)
        rows = np.diff(np.append(found.first[: found.number], 200))
        fitted = np.repeat(np.asarray(found.mean[: found.number]), rows)
        expected = by_fractions(outcomes, weights)
        np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-7)
    for factor in (1e-15, 1.0, 1e18):
        params, _ = fit(scores, outcomes, weights=weights * np.float32(factor))
        np.testing.assert_allclose(
            cj.calibrate(params, scores), expected, rtol=0, atol=1e-7
        )


def test_statuses():
    def status(*args, **kwargs):
        with pytest.warns(cj.calibration.ConvergenceWarning):
            params, report = fit(*args, **kwargs)
        assert not report.converged
        return cj.FitStatus(int(report.status)).name, np.unique(params.values).tolist()

    assert status([], []) == ("CONSTANT", [0.5])
    assert status([1.0], [1], where=[False]) == ("CONSTANT", [0.5])
    assert status([3.0] * 4, [0, 1, 1, 1]) == ("CONSTANT", [0.75])
    assert status([np.nan, 1.0], [0, 1]) == ("INVALID_VALUES", [0.5])
    assert status([0.0, 1.0], [np.nan, 1]) == ("INVALID_VALUES", [0.5])
    for outcomes, name in (
        ([1, 1, 0, 0], "REVERSED"),
        ([1, 1, 1, 1], "CONVERGED"),
        ([0, 0, 1, 0], "CONVERGED"),
    ):
        params, report = fit([0.1, 0.2, 0.3, 0.4], outcomes)
        assert cj.FitStatus(int(report.status)).name == name and report.converged
    # Infinite scores are the least and the greatest.
    scores = jnp.float32([-jnp.inf, 0, 1, jnp.inf])
    params, _ = fit(scores, [0, 0.25, 0.5, 1])
    at = jnp.float32([-jnp.inf, -9, 0.5, 9, jnp.inf])
    expected = [0, 0.25, 0.375, 0.5, 1]
    np.testing.assert_allclose(cj.calibrate(params, at), expected)


def test_traced_rows_and_batches():
    rng = np.random.default_rng(2)
    scores = rng.random((3, 50)).astype(np.float32)
    outcomes = rng.random((3, 50)).astype(np.float32)
    where = rng.random((3, 50)) < 0.8
    params, report = jax.jit(jax.vmap(lambda s, y, w: fit(s, y, where=w)))(
        scores, outcomes, where
    )
    assert params.scores.shape == (3, 50)
    for k in range(3):
        kept = where[k]
        plain, _ = fit(scores[k, kept], outcomes[k, kept])
        one = jax.tree.map(lambda leaf, k=k: leaf[k], params)
        np.testing.assert_allclose(
            cj.calibrate(one, scores[k]), cj.calibrate(plain, scores[k]), atol=1e-7
        )
    right = jax.eval_shape(fit, jnp.zeros(10**6), jnp.zeros(10**6, bool))[0]
    assert right.scores.shape[0] <= 2 * pooling.most_blocks(10**6) < 50_000


def test_derivatives():
    """Those of the mean of each block."""
    scores = jnp.float32([0.1, 0.2, 0.3, 0.4])
    outcomes = jnp.float32([0.1, 0.6, 0.4, 0.9])
    weights = jnp.float32([1, 1, 3, 2])

    def at(outcomes, weights):
        params, _ = fit(scores, outcomes, weights=weights)
        return cj.calibrate(params, jnp.float32(0.25))

    by_outcomes, by_weights = jax.grad(at, (0, 1))(outcomes, weights)
    np.testing.assert_allclose(by_outcomes, [0, 0.25, 0.75, 0], atol=1e-6)
    np.testing.assert_allclose(by_weights, [0, 0.15 / 4, -0.05 / 4, 0], atol=1e-6)


def test_few_means_fit_many_rows():
    """No 0/1 rows make more blocks than are provided for."""
    for n in (1, 2, 3, 7, 40, 300):
        fractions = {Fraction(a, b) for b in range(1, 31) for a in range(b + 1)}
        fractions = sorted(fractions, key=lambda share: share.denominator)
        rows = np.cumsum([share.denominator for share in fractions])
        assert np.searchsorted(rows, n, side="right") <= pooling.most_blocks(n)


def test_many_rows_in_float_outcomes(monkeypatch):
    """Those that are all 0 or 1 are counted, and others are not."""
    monkeypatch.setattr(isotonic, "_FEW_ROWS", 10)
    core = jax.jit(isotonic._fit_isotonic.__wrapped__)
    rng = np.random.default_rng(3)
    scores = rng.random(300).astype(np.float32)
    for outcomes in (rng.integers(0, 2, 300), rng.random(300)):
        outcomes = outcomes.astype(np.float32)
        params, *_ = core(scores, outcomes, None, None)
        expected = by_fractions(outcomes[np.argsort(scores)], np.ones(300))
        np.testing.assert_allclose(
            cj.calibrate(params, np.sort(scores)), expected, atol=1e-7
        )
