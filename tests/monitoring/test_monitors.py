"""The monitor of a stream: its capital by enumeration, batches, masks, little data."""

import itertools
import math

import jax
import numpy as np
import pytest
import registry
from scipy import special

import calib_jax as cj

pytestmark = pytest.mark.once

KEY = jax.random.key(7)
NUM_BINS = 5


def test_capital_is_a_martingale_by_enumeration():
    """Over all sequences of bins, weighted by the law of ranks, its mean stays 1."""
    size, length = 3, 5
    state = cj.monitoring.init_monitor(KEY, np.arange(5.0), num_bins=size)
    gaps = np.asarray(state.gaps)
    np.testing.assert_array_equal(gaps, [3, 2, 1])
    # A score between each two edges.
    inside = np.array([0.5, 2.5, 4.5])
    paths = np.array([*itertools.product(range(size), repeat=length)])
    chance = np.ones(len(paths))
    for row in range(length):
        before = np.array([np.sum(p[:row] == p[row]) for p in paths])
        chance *= (gaps[paths[:, row]] + before) / (gaps.sum() + row)
    np.testing.assert_allclose(chance.sum(), 1)

    @jax.vmap
    def run(scores):
        after = cj.monitoring.update_monitor(KEY, state, scores)
        return cj.monitoring.read_monitor(after)

    found = run(inside[paths])
    capital = np.exp(np.asarray(found.log_capital, np.float64))
    np.testing.assert_allclose(np.sum(chance * capital), 1, rtol=1e-5)
    assert capital.max() > 1.5 > 1 > capital.min()
    # By another route: the Dirichlet-multinomial law against the law of ranks.
    sums = np.geomspace(size / 2, 3, 8)
    counts = np.bincount(paths[7], minlength=size)

    def log_law(alpha):
        return (
            special.gammaln(alpha.sum())
            - special.gammaln(alpha.sum() + length)
            + np.sum(special.gammaln(alpha + counts) - special.gammaln(alpha))
        )

    bets = [math.exp(log_law(total * gaps / 6) - log_law(1.0 * gaps)) for total in sums]
    np.testing.assert_allclose(capital[7], np.mean(bets), rtol=1e-5)


def test_batches_and_masks_make_no_difference():
    rng = np.random.default_rng(2)
    reference, new = rng.random(50), rng.random(24) ** 2
    state = cj.monitoring.init_monitor(
        KEY, reference, num_bins=NUM_BINS, confidence_level=0.7
    )
    whole = cj.monitoring.update_monitor(KEY, state, new)

    def step(state, batch):
        key, scores, where = batch
        return cj.monitoring.update_monitor(key, state, scores, where=where), None

    # Every third row of each batch is masked garbage.
    padded = np.full((4, 9), np.nan, np.float32)
    where = np.tile(np.arange(9) % 3 > 0, (4, 1))
    padded[where] = new
    keys = jax.random.split(KEY, 4)
    parts, _ = jax.lax.scan(step, state, (keys, padded, where))
    assert int(parts.alarm_row) == int(whole.alarm_row)
    registry.assert_same(parts, whole, exact=False)
    found = cj.monitoring.read_monitor(parts)
    assert found.num_rows == 24 and found.num_reference == 50
    np.testing.assert_allclose(found.share.sum(), 1, rtol=1e-6)


def test_monitor_of_little():
    """No reference, one row, more bins than rows, all tied, a valid NaN."""
    new = np.linspace(0, 1, 24)
    read = {}
    for name, reference in {
        "none": np.zeros(1),
        "one": np.array([0.5]),
        "tied": np.full(30, 0.5),
        "nan": np.array([0.5, np.nan]),
    }.items():
        state = cj.monitoring.init_monitor(KEY, reference)
        if name == "none":
            state = cj.monitoring.init_monitor(KEY, reference, where=[False])
        read[name] = cj.monitoring.read_monitor(
            cj.monitoring.update_monitor(KEY, state, new)
        )
    assert read["none"].log_capital == 0 and not read["none"].alarm
    assert np.isfinite(read["one"].log_capital) and not read["one"].alarm
    # Half below and half above, none equal.
    assert read["tied"].log_capital > 0
    assert np.isnan(read["nan"].p_value) and not read["nan"].alarm
    state = cj.monitoring.init_monitor(KEY, np.linspace(0, 1, 30))
    spoiled = np.where(np.arange(24) == 5, np.nan, new)
    state = cj.monitoring.update_monitor(KEY, state, spoiled)
    assert np.isnan(cj.monitoring.read_monitor(state).p_value)
    state = cj.monitoring.update_monitor(KEY, state, new)
    assert np.isnan(cj.monitoring.read_monitor(state).log_capital)
