"""Derivatives of every function that has some, over the registry."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import registry
from registry import ROWS, cases, example, leaves, spoil

import calib_jax as cj

DIFFERENTIABLE = [case for case in registry.CASES if case.gradients]


def dirty_for_gradients(case):
    """Example arguments with hostile values in masked rows and unlikely classes."""
    arguments = example(case, ROWS, seed=2)
    if "outcomes" in arguments:
        # Away from 0 and 1, which have one side only.
        arguments["outcomes"] = 0.1 + 0.8 * arguments["outcomes"]
        if case.name == "log_loss":
            arguments["scores"] = 0.1 + 0.8 * arguments["scores"]
    if "probabilities" in arguments:
        arguments["probabilities"] = 0.05 + 0.9 * arguments["probabilities"]
    bad = np.array([2, 7, 11, 12])
    mask = {}
    if case.masked:
        tokens = np.array([1, registry.NUM_TOKENS - 1])
        where = np.ones((ROWS, registry.NUM_TOKENS), bool)
        where[:, tokens] = where[bad] = False
        mask["where"] = where
        for name, axis in case.masked.items():
            arguments[name] = spoil(spoil(arguments[name], tokens, axis), bad, 0)
        keep = where
    elif case.where:
        keep = mask["where"] = ~np.isin(np.arange(ROWS), bad)
        for name, axis in case.rows.items():
            if name != "state":  # Its rows are kept, and would dominate the loss.
                arguments[name] = spoil(arguments[name], bad, axis)
        if "weights" in case.gradients:
            weights = np.random.default_rng(5).integers(1, 3, ROWS).astype(float)
            mask["weights"] = np.where(keep, weights, np.nan)
    else:
        keep = np.ones(ROWS, bool)
    logits = "x" if case.name == "calibrate" else "logits"
    if logits in arguments and arguments[logits].ndim == 2:
        # -inf at a class that is not the label; at one class if there are no labels.
        place = np.zeros(ROWS, int)
        if "labels" in arguments:
            place = (arguments["labels"] + 1) % registry.NUM_CLASSES
        index = np.arange(0, ROWS, 5)
        arguments[logits][index, place[index]] = -np.inf
        if case.name in ("scaled_softmax", "top1", "calibrate"):
            classes = np.ones((ROWS, registry.NUM_CLASSES), bool)
            classes[bad] = False
            classes[0, 1] = False
            arguments[logits] = spoil(arguments[logits], bad, 0)
            arguments[logits][0, 1] = np.nan
            mask["class_where"] = classes
            keep = classes
    return {**arguments, **mask}, keep


@cases(DIFFERENTIABLE)
@pytest.mark.once
def test_gradients(case):
    """Finite, zero for masked entries, and equal to finite differences."""
    arguments, keep = dirty_for_gradients(case)
    names = [name for name in case.gradients if name in arguments]
    function, arrays = case.traced(arguments)
    rest = {k: v for k, v in arrays.items() if k not in names}

    def loss(inputs):
        result = case.value(function({**rest, **inputs}))
        total = jnp.float32(0)
        for leaf in jax.tree.leaves(result):
            factors = 1 + jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32))
            # Rows without a valid entry are NaN; users leave them out this way.
            finite = jnp.isfinite(leaf)
            terms = jnp.where(finite, leaf, 0.0) * factors.reshape(leaf.shape)
            total += jnp.sum(terms)
        return total

    evaluate = jax.jit(jax.value_and_grad(loss))
    inputs = {name: arrays[name] for name in names}
    value, gradient = evaluate(inputs)
    assert np.isfinite(value)
    chex.assert_tree_all_finite(gradient)
    for name in names:
        part = np.asarray(jax.tree.leaves(gradient[name])[0])
        masked = case.rows.keys() | {"weights"}
        if name in masked and not keep.all() and part.shape[: keep.ndim] == keep.shape:
            np.testing.assert_array_equal(part[~keep], 0.0)

    rng = np.random.default_rng(6)
    for name in names:
        steps = jax.tree.map(
            lambda leaf: np.float32(2e-3 * rng.normal(size=leaf.shape)), inputs[name]
        )
        ends = [
            evaluate({**inputs, name: jax.tree.map(move, inputs[name], steps)})[0]
            for move in (np.add, np.subtract)
        ]
        parts = jax.tree.map(lambda g, d: np.sum(g * d), gradient[name], steps)
        actual = sum(jax.tree.leaves(parts))
        norms = [np.linalg.norm(leaf) for leaf in leaves(gradient[name])]
        size = 2e-3 * np.linalg.norm(norms)
        assert size > 0
        expected = (ends[0] - ends[1]) / 2
        np.testing.assert_allclose(actual, expected, rtol=0.03, atol=0.02 * size)


def test_gradient_of_the_calibration_error():
    """With respect to scores on given bins: the sign of the bin's gap over N."""
    scores = np.float32([0.1, 0.3, 0.6, 0.8])
    outcomes, bins = np.float32([0, 0, 1, 1]), cj.equal_width_bins(2)
    gradient = jax.grad(
        lambda scores: cj.expected_calibration_error(scores, outcomes, bins=bins)
    )(jnp.asarray(scores))
    np.testing.assert_allclose(gradient, [0.25, 0.25, -0.25, -0.25])


def _bad(name, row):
    """A row of an argument that makes it invalid."""
    return np.full(np.shape(row), {"outcomes": 7.0, "weights": -1.0}.get(name, np.nan))


@pytest.mark.parametrize("name", ["logits", "scores", "outcomes", "weights"])
@pytest.mark.once
def test_fits_of_invalid_values_have_no_gradient(name):
    """NaN for every row that counts: 0 would say that the data do not matter."""
    rng = np.random.default_rng(0)
    if name == "logits":
        rows = dict(
            zip(("logits", "labels"), registry.class_rows(rng, ROWS), strict=True)
        )
    else:
        rows = registry.platt_rows(rng, ROWS)
    function = cj.fit_temperature if name == "logits" else cj.fit_platt
    rows = jax.tree.map(jnp.asarray, rows | {"weights": np.ones(ROWS)})
    where = jnp.arange(ROWS) != 5

    def gradient(by, rows):
        def loss(value):
            params, report = function(**{**rows, by: value}, where=where)
            return sum(jax.tree.leaves(params)), report.status

        result, status = jax.grad(loss, has_aux=True)(rows[by])
        return np.asarray(result), status

    names = [by for by in rows if jnp.issubdtype(rows[by].dtype, jnp.floating)]
    masked = rows | {name: rows[name].at[5].set(_bad(name, rows[name][5]))}
    invalid = rows | {name: rows[name].at[3].set(_bad(name, rows[name][3]))}
    for by in names:
        result, status = gradient(by, masked)
        assert status == cj.FitStatus.CONVERGED and np.isfinite(result).all()
        result, status = gradient(by, invalid)
        assert status == cj.FitStatus.INVALID_VALUES
        counts = np.asarray(where).copy()
        if by == name and name in ("outcomes", "weights"):
            # What is outside its domain became NaN, whose own derivative is 0: a NaN
            # there would reach rows that are masked later.
            counts[3] = False
        assert np.isnan(result[counts]).all()


@pytest.mark.once
def test_unfinished_fits_have_no_gradient():
    rng = np.random.default_rng(0)
    logits, labels = registry.class_rows(rng, ROWS)
    solver = optax.sgd(1e-4)

    def loss(logits):
        params, report = cj.fit_temperature(logits, labels, solver=solver)
        return params.temperature, report.status

    gradient, status = jax.grad(loss, has_aux=True)(jnp.asarray(logits, jnp.float32))
    assert status == cj.FitStatus.MAX_STEPS
    assert np.isnan(gradient).all()
