"""RMS, debiased and sweep calibration errors, and the parts of a Brier score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from by_hand import NAN, close, equal

import calib_jax as cj


def drawn(size, seed=0, *, credit=False, tied=False):
    rng = np.random.default_rng(seed)
    scores = rng.random(size).astype(np.float32)
    scores = np.round(scores, 2) if tied else scores
    outcomes = rng.random(size) < scores**1.3
    if credit:
        outcomes = np.where(rng.random(size) < 0.2, np.float32(0.3), outcomes)
    return scores, outcomes, rng.random(size) < 0.8, rng.choice([0.0, 0.5, 2.0], size)


def in_bins(scores, num_bins):
    """Indices of the rows in each bin of equal count that holds some."""
    edges = reference.equal_count_edges(scores, num_bins, np.ones(len(scores), bool))
    index = np.searchsorted(edges, scores, side="right")
    return [rows for k in range(num_bins) if len(rows := np.flatnonzero(index == k))]


def debiased(scores, outcomes, num_bins):
    """Kumar et al.'s formula with the sample variance of each bin's outcomes."""
    squares, counts = [], []
    for rows in in_bins(scores, num_bins):
        if len(rows) > 1:
            gap = scores[rows].mean() - outcomes[rows].mean()
            noise = outcomes[rows].var(ddof=1) / len(rows)
            squares.append(gap**2 - noise)
            counts.append(len(rows))
    return np.sqrt(max(np.average(squares, weights=counts), 0.0)) if counts else NAN


def sweep(scores, outcomes, max_bins=1000):
    error = NAN
    for num_bins in range(1, min(len(scores), max_bins) + 1):
        bins = in_bins(scores, num_bins)
        means = [outcomes[rows].mean() for rows in bins]
        if np.any(np.diff(means) < 0):
            break
        gaps = [abs(np.sum(scores[rows] - outcomes[rows])) for rows in bins]
        error = np.sum(gaps) / len(scores)
    return error


@pytest.mark.parametrize("size", [1, 20, 5000])
@pytest.mark.parametrize("kind", ["right or wrong", "credit", "tied"])
def test_errors_against_float64(size, kind):
    rows = drawn(size, credit=kind == "credit", tied=kind == "tied")
    scores, outcomes, where, weights = rows
    where[0] = True
    kept = np.float64(scores)[where], np.float64(outcomes)[where]
    found = cj.metrics.debiased_calibration_error(scores, outcomes, where=where)
    close(found, debiased(*kept, 15), atol=1e-6)
    found = cj.metrics.sweep_calibration_error(scores, outcomes, where=where)
    close(found, sweep(*kept), atol=1e-6)
    weights[0] = 1.0
    given = {"where": where, "weights": weights}
    found = cj.metrics.root_mean_square_calibration_error(scores, outcomes, **given)
    used = where & (weights > 0)
    edges = reference.equal_count_edges(scores, 15, used)
    table = reference.reliability_table(edges, scores, outcomes, **given)
    squares = (table.confidence - table.outcome) ** 2
    close(found, np.sqrt(np.average(squares, weights=table.weight)), atol=1e-6)


def test_debiased_error_of_0_and_1_as_bools_and_floats():
    scores, outcomes, *_ = drawn(300)
    for num_bins in (1, 15, 300):
        found = [
            cj.metrics.debiased_calibration_error(scores, kind, num_bins=num_bins)
            for kind in (outcomes, np.float32(outcomes))
        ]
        close(found[0], found[1])
    # Bins of one row say nothing.
    equal(found, [NAN, NAN])


def test_debiased_error_leaves_out_bins_of_one_row():
    wrong = cj.metrics.debiased_calibration_error(np.linspace(0.9, 0.99, 15), [0] * 15)
    assert np.isnan(wrong)
    scores, outcomes = [0.1, 0.5, 0.5], [1, 0, 0]
    bins = cj.equal_width_bins(3)
    error = cj.metrics.debiased_calibration_error
    close(error(scores, outcomes, bins=bins), 0.5)
    assert np.isnan(error(scores, jnp.array([NAN, 0.0, 0.0]), bins=bins))


def test_debiased_error_is_unbiased():
    """With one confidence a bin the mean square over datasets is the true one."""
    rng = np.random.default_rng(1)
    scores = np.repeat(np.float32([0.2, 0.7]), 50)
    rate = np.repeat([0.5, 0.9], 50)
    error = jax.jit(
        jax.vmap(
            lambda v: cj.metrics.debiased_calibration_error(jnp.asarray(scores), v),
        )
    )
    found = np.float64(error(jnp.asarray(rng.random((4000, 100)) < rate))) ** 2
    close(found.mean(), (0.3**2 + 0.2**2) / 2, rtol=0, atol=4 * found.std() / 4000**0.5)


def test_sweep_ends():
    scores = np.linspace(0.1, 0.9, 40).astype(np.float32)
    rising = scores > 0.5
    one_bin = cj.metrics.sweep_calibration_error(scores, ~rising)
    close(one_bin, abs(scores.mean() - 0.5), atol=1e-6)
    for max_bins in (1, 7, 40, 100):
        found = cj.metrics.sweep_calibration_error(scores, rising, max_bins=max_bins)
        close(found, sweep(np.float64(scores), rising, max_bins), rtol=1e-5)
        size = min(max_bins, 40)
        equal(found, cj.expected_calibration_error(scores, rising, num_bins=size))
    for wrong in ([NAN, 0.5], [0.5, 1.5]):
        given = jnp.array(wrong, jnp.float32)
        assert np.isnan(cj.metrics.sweep_calibration_error(given, [0, 1]))
        assert np.isnan(cj.metrics.sweep_calibration_error(jnp.ones(2), given))


@pytest.mark.parametrize("credit", [False, True])
def test_parts_of_a_brier_score_add_up(credit):
    scores, outcomes, where, weights = drawn(3000, credit=credit)
    rows = {"where": where, "weights": weights}
    for bins in (cj.equal_width_bins(1), cj.equal_count_bins(scores, 15)):
        table = cj.reliability_table(bins, scores, outcomes, **rows)
        parts = cj.metrics.brier_decomposition(table)
        total = parts.reliability - parts.resolution + parts.uncertainty
        score = cj.brier_score(scores, outcomes, **rows)
        close(total + parts.within_bin, score, rtol=0, atol=3e-7)
    given = weights * where
    c, v = np.float64(scores), np.float64(outcomes)
    index = np.asarray(cj.bin_index(bins, scores))
    covariance = variance = excess = 0.0
    for k in range(15):
        w = given * (index == k)
        mean_c, mean_v = np.average(c, weights=w), np.average(v, weights=w)
        variance += np.sum(w * (c - mean_c) ** 2) / given.sum()
        covariance += np.sum(w * (c - mean_c) * (v - mean_v)) / given.sum()
        excess += np.sum(w * (v**2 - v)) / given.sum()
    within = variance - 2 * covariance + excess
    close(parts.within_bin, within, rtol=0, atol=1e-6)
    mean = np.average(v, weights=given)
    close(parts.uncertainty, mean * (1 - mean), rtol=1e-6)


def test_parts_of_other_tables():
    scores, outcomes, *_ = drawn(500)
    state = cj.streaming.init_reliability()
    for rows in np.array_split(np.arange(500), 3):
        state = cj.streaming.update_reliability(state, scores[rows], outcomes[rows])
    read = cj.streaming.reliability_table(state, 15)
    table = cj.reliability_table(read.bins, scores, outcomes)
    equal(read.value.squared_error, table.squared_error)
    streamed = cj.metrics.brier_decomposition(read.value)
    equal(streamed.within_bin, cj.metrics.brier_decomposition(table).within_bin)
    draws = cj.stats.bootstrap_reliability(
        jax.random.key(0), read.bins, scores, outcomes, 20
    )
    parts = cj.metrics.brier_decomposition(draws)
    assert np.isnan(parts.within_bin).all() and parts.resolution.shape == (20,)
    assert np.isfinite(parts.reliability - parts.resolution + parts.uncertainty).all()
    nothing = cj.reliability_table(read.bins, scores, outcomes, where=scores > 2)
    assert np.isnan(jax.tree.leaves(cj.metrics.brier_decomposition(nothing))).all()
    other = cj.reliability_table(read.bins, 9 * scores, outcomes)
    assert np.isnan(cj.metrics.brier_decomposition(other).reliability)
    logits = cj.reliability_table(cj.equal_width_bins(1), [-3.0, 4.0], [0, 1])
    assert np.isnan(jax.tree.leaves(cj.metrics.brier_decomposition(logits))).all()
