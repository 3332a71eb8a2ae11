"""Resampled rows and tables, counted one by one."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import close, equal

import calib_jax as cj
from calib_jax.stats import random_words, resampling

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


def test_bootstrap():
    values = np.arange(10, dtype=np.float32)
    twice = 2 * values

    def statistic(x, y, weights):
        return {"total": weights.sum(), "weights": weights, "pair": (x * weights, y)}

    draws = cj.bootstrap(jax.random.key(0), statistic, 200, values, twice)
    equal(draws["total"], np.full(200, 10.0))
    weights = np.asarray(draws["weights"])
    assert weights.dtype == np.float32
    assert weights.shape == (200, 10)
    equal(weights, np.round(weights))
    assert weights.min() == 0
    assert len(np.unique(weights, axis=0)) > 190
    # Every row is drawn once on average, with the variance of a multinomial count.
    close(weights.mean(), 1.0)
    close(weights.var(), 0.9, rtol=0.15)
    close(draws["pair"][0], weights * values)
    again = cj.bootstrap(jax.random.key(0), statistic, 200, values, twice)
    equal(again["weights"], weights)


# Rows drawn one by one; by Poisson counts; in blocks of rows, the last one partial.
@pytest.mark.parametrize("size", [7, 1500, 40_001, 150_008])
def test_bootstrap_takes_as_many_rows_as_there_are(size):
    counts = cj.bootstrap(
        jax.random.key(1), lambda x, weights: weights, 11, np.zeros(size)
    )
    counts = np.asarray(counts, np.float64)
    equal(counts, np.round(counts))
    equal(counts.sum(axis=1), np.full(11, size))
    assert counts.min() == 0
    # Counts of 0 to 4 have the right frequency, to five standard errors.
    for times in range(5):
        share = math.comb(size, times) / size**times
        share *= (1 - 1 / size) ** (size - times)
        found = np.mean(counts == times)
        assert abs(found - share) < 5 * math.sqrt(share / (11 * size))
    # All draws differ.
    together = np.corrcoef(counts) - np.eye(11)
    assert np.abs(together).max() < (1 if size < 10 else 5 / math.sqrt(size))


@pytest.mark.parametrize(
    ("size", "masked"), [(7, False), (7, True), (40_001, True), (150_008, False)]
)
def test_bootstrap_of_reliability_tables(size, masked):
    rng = np.random.default_rng(size)
    scores = rng.random(size).astype(np.float32)
    outcomes = rng.choice(np.float32([0, 1, 1, 0.3]), size)
    bins, key = cj.equal_count_bins(scores, 3), jax.random.key(2)
    where = np.ones(size, bool)
    weights = np.ones(size, np.float32)
    given = {}
    dirty = scores.copy()
    if masked:
        where = rng.random(size) < 0.7
        weights = rng.choice(np.float32([0, 0.5, 3]), size)
        given = {"where": where, "weights": weights}
        dirty[~where] = np.nan
    tables = cj.stats.bootstrap_reliability(key, bins, dirty, outcomes, 5, **given)

    counts = cj.bootstrap(key, lambda x, weights: weights, 5, scores)
    index = np.asarray(cj.bin_index(bins, scores))
    for draw, count in enumerate(np.asarray(counts, np.float64)):
        for number in range(3):
            inside = (index == number) & where
            taken = count * weights * inside
            total = taken.sum()
            rows = np.sum(count * (inside & (weights > 0)))
            equal(tables.count[draw, number], rows)
            close(tables.weight[draw, number], total)
            some = total if total else 1.0
            for found, values in (
                (tables.confidence, scores),
                (tables.outcome, outcomes),
            ):
                mean = np.sum(taken * values.astype(np.float64)) / some
                close(found[draw, number], mean, rtol=0, atol=1e-6)
    # The errors of the tables are those of the resamples.
    error = functools.partial(cj.expected_calibration_error, bins=bins)

    def statistic(scores, outcomes, where, given, weights):
        weights = weights * given
        return error(scores, outcomes, where=where, weights=weights)

    draws = cj.bootstrap(key, statistic, 5, dirty, outcomes, where, weights)
    errors = jax.vmap(cj.metrics.calibration_error_of_table)(tables)
    close(errors, draws, atol=1e-6)
    equal(errors, cj.metrics.calibration_error_of_table(tables))


@pytest.mark.parametrize("held", [True, False])
def test_bootstrap_of_tables_with_values_that_are_not_finite(held, monkeypatch):
    """NaN as in a table of the rows that a draw took, and not in other draws."""
    monkeypatch.setattr(resampling, "_HELD_ENTRIES", 100 if held else 0)
    num_draws = 64 if held else 65  # Compiles again.
    scores = np.float32([0.1, np.nan, 0.7, 0.9, np.inf, 0.2])
    outcomes = np.float32([1, 0, np.nan, 1, 1, 0])
    bins, key = cj.equal_width_bins(2), jax.random.key(3)

    def table(scores, outcomes, weights):
        return cj.reliability_table(bins, scores, outcomes, weights=weights)

    expected = cj.bootstrap(key, table, num_draws, scores, outcomes)
    actual = cj.stats.bootstrap_reliability(key, bins, scores, outcomes, num_draws)
    assert 0 < np.isnan(expected.confidence).sum() < 128
    equal(actual.weight, expected.weight)
    for name in ("confidence", "outcome"):
        close(getattr(actual, name), getattr(expected, name), atol=1e-6)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "raw"])
def test_words_are_those_of_jax(kind):
    key = jax.random.PRNGKey(5) if kind == "raw" else jax.random.key(5, impl=kind)
    draws = jnp.array([0, 3, 2**32 - 1], jnp.uint32)

    def of_one(draw, function, dtype):
        return function(jax.random.fold_in(key, draw), (1001,), dtype)

    words, uniforms, normals = (
        jax.vmap(functools.partial(of_one, function=function, dtype=dtype))(draws)
        for function, dtype in (
            (jax.random.bits, jnp.uint32),
            (jax.random.uniform, jnp.float32),
            (jax.random.normal, jnp.float32),
        )
    )
    found = jax.jit(random_words.words_of_draws, static_argnums=2)(key, draws, 1001)
    equal(found, words)
    equal(random_words.uniforms(found), uniforms)
    equal(random_words.normals(found), normals)
    if kind != "rbg":
        later = random_words.words_of_draws(key, draws, 101, jnp.int32(900))
        equal(later, words[:, 900:])


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_numbered_words_differ_and_are_fair(kind):
    key = jax.random.key(6, impl=kind)
    blocks = [
        np.asarray(
            random_words.words_by_number(key, jnp.arange(8, dtype="uint32"), 500, k)
        )
        for k in (0, 500)
    ]
    words = np.concatenate(blocks, axis=1)
    assert len(np.unique(words)) > 7990
    share = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.all(np.abs(share - 0.5) < 5 * 0.5 / np.sqrt(words.size))
