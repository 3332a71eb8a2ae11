"""Error bars of cascades: against formulas, plain resampling and known truths."""

import dataclasses
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import registry
from scipy import stats

import calib_jax as cj

ROWS, DRAWS = 60, 39
KEY = jax.random.key(0)


def as_numpy(found):
    return jax.tree.map(np.asarray, found)


def cascade_rows(rng):
    """Two kinds of confidences, both outcomes, and a mask that removes a few rows."""
    confidences = rng.random((2, ROWS)).astype(np.float32)
    small = rng.random(ROWS) < confidences[0]
    large = rng.random(ROWS) < 0.9
    return confidences, small, large, rng.random(ROWS) < 0.9


def percentiles(draws, alpha=0.05):
    """The percentiles of draws `[D, ...]` with so many draws beyond them."""
    ordered = np.sort(np.asarray(draws), axis=0)
    outside = max(int(np.floor(alpha / 2 * (len(draws) + 1) + 1e-9)) - 1, 0)
    return ordered[outside], ordered[len(draws) - 1 - outside]


def assert_adjusted(interval, number, right, *, known=False):
    """The normal interval after adding z^2 / 2 right answers and as many wrong ones."""
    z = stats.norm.ppf(0.975)
    size = len(right) + z**2
    middle = (right.sum() + z**2 / 2) / size
    reach = z * np.sqrt(middle * (1 - middle) / size)
    ends = np.clip([middle - reach, middle + reach], 0, 1)
    expected = (right.mean(), *([right.mean()] * 2 if known else ends))
    actual = [np.asarray(leaf)[number] for leaf in jax.tree.leaves(interval)]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def check(interval, estimate, draws):
    ends = percentiles(draws)
    for actual, expected in zip(
        (interval.estimate, interval.lower, interval.upper),
        (estimate, *ends),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-6)


def plain(router):
    """The router's order in NumPy, without its table."""
    return reference.Router(
        np.asarray(router.bins.edges), None, np.asarray(router.order)
    )


def numbers(routers, confidences, small, large, **rows):
    """Float64 numbers for the first router and for both."""
    share = np.arange(registry.NUM_BINS + 1) / registry.NUM_BINS
    curves, average = [], []
    for router, confidence in zip(routers, confidences, strict=True):
        curve = reference.cascade_curve(plain(router), confidence, small, large, **rows)
        curves.append(curve)
        average.append(reference.average_performance_gap_recovered(curve))
    first, second = (np.interp(share, c.small_share, c.accuracy) for c in curves)
    area = [np.trapezoid(c.accuracy, c.small_share) for c in curves]
    one = {
        "pgr": reference.performance_gap_recovered(curves[0]),
        "apgr": average[0],
    }
    both = {
        "accuracy": first - second,
        "area": area[0] - area[1],
        "apgr": average[0] - average[1],
    }
    return one, both


@pytest.mark.once
def test_cascade_intervals_are_of_resampled_rows():
    rng = np.random.default_rng(0)
    confidences, small, large, where = cascade_rows(rng)
    routers = [registry.router(rng) for _ in range(2)]
    taken = cj.bootstrap(KEY, lambda x, weights: weights, DRAWS, confidences[0])
    seen = numbers(routers, confidences, small, large, where=where)
    draws = [
        numbers(routers, confidences, small, large, where=where, weights=counts)
        for counts in np.asarray(taken, float)
    ]
    found = as_numpy(
        cj.cascade_interval(
            KEY,
            routers[0],
            confidences[0],
            small,
            large,
            num_resamples=DRAWS,
            where=where,
        )
    )
    more = as_numpy(
        cj.cascade.router_difference_interval(
            KEY, *routers, *confidences, small, large, num_resamples=DRAWS, where=where
        )
    )
    for k, result in enumerate((found, more)):
        for name, estimate in seen[k].items():
            by_draw = np.array([draw[k][name] for draw in draws])
            check(getattr(result, name), estimate, by_draw)

    for name in ("num_rows", "num_masked"):
        assert getattr(found.counts, name) == getattr(more.counts, name)
    assert more.counts.num_bins[0] == found.counts.num_bins

    # For the large model's advantage, in bins and in the first K.
    place = np.searchsorted(np.asarray(routers[0].bins.edges), confidences[0], "right")
    inside = (place == np.arange(registry.NUM_BINS)[:, None]) & where
    gain, z = 1.0 * large - small, stats.norm.ppf(0.975)

    def ends(rows, num_rows, sign):
        won, lost = np.sum(gain[rows] > 0) + 1, np.sum(gain[rows] < 0) + 1
        size = num_rows + 2
        middle = sign * (won - lost) / size
        reach = z * np.sqrt(((won + lost) / size - middle**2) / size)
        return np.clip([middle - reach, middle + reach], -1, 1)

    for number, rows in enumerate(inside):
        advantage = jax.tree.map(operator.itemgetter(number), found.outcome_advantage)
        expected = (gain[rows].mean(), *ends(rows, rows.sum(), 1))
        actual = (advantage.estimate, advantage.lower, advantage.upper)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    for number in range(1, registry.NUM_BINS + 1):
        over = jax.tree.map(operator.itemgetter(number), found.over_large)
        rows = inside[np.asarray(routers[0].order[:number])].any(axis=0)
        correct = np.where(rows, small, large)[where]
        of_known = number == registry.NUM_BINS
        assert_adjusted(found.accuracy, number, correct)
        assert_adjusted(found.small_share, number, rows[where], known=of_known)
        expected = (-gain[rows].sum() / where.sum(), *ends(rows, where.sum(), -1))
        actual = (over.estimate, over.lower, over.upper)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    assert all(leaf[0] == 0 for leaf in jax.tree.leaves(found.over_large))

    assert found.counts.num_rows == more.counts.num_rows == where.sum()
    assert found.counts.num_masked == more.counts.num_masked == (~where).sum()
    assert found.counts.num_bins == inside.any(axis=1).sum()

    # A router is as good as itself.
    same = as_numpy(
        cj.cascade.router_difference_interval(
            KEY,
            *[routers[0]] * 2,
            *[confidences[0]] * 2,
            small,
            large,
            num_resamples=DRAWS,
            where=where,
        )
    )
    for leaf in jax.tree.leaves((same.accuracy, same.area, same.apgr)):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


@pytest.mark.once
def test_equal_models_have_no_interval_of_ratios_to_their_gap():
    rng = np.random.default_rng(3)
    confidences, small, _, where = cascade_rows(rng)
    found = as_numpy(
        cj.cascade_interval(
            KEY,
            registry.router(rng),
            confidences[0],
            small,
            small,
            num_resamples=DRAWS,
            where=where,
        )
    )
    for leaf in jax.tree.leaves((found.pgr, found.apgr)):
        assert np.isnan(leaf).all()
    assert np.all(found.accuracy.lower <= found.accuracy.upper)
    assert np.all(found.over_large.lower[1:] < -0.01)
    np.testing.assert_allclose(found.over_large.estimate, 0, atol=1e-6)


@pytest.mark.once
def test_coverage_of_a_cascade():
    """For few rows of two models whose probabilities are known."""
    rng = np.random.default_rng(5)
    confidence = np.linspace(0, 1, 2000)
    router = registry.router(rng)
    large = np.full(2000, 0.9)
    truth = reference.cascade_curve(plain(router), confidence, confidence, large)
    average = reference.average_performance_gap_recovered(truth)
    num_samples, held = 200, []
    for number in range(num_samples):
        drawn = rng.choice(confidence, ROWS).astype(np.float32)
        found = as_numpy(
            cj.cascade_interval(
                jax.random.key(number),
                router,
                drawn,
                rng.random(ROWS) < drawn,
                rng.random(ROWS) < 0.9,
                num_resamples=DRAWS,
                where=np.ones(ROWS, bool),
            )
        )
        held.append(
            [
                found.accuracy.lower[3] <= truth.accuracy[3] <= found.accuracy.upper[3],
                found.apgr.lower <= average,
                average <= found.apgr.upper,
            ]
        )
    coverage = np.mean(held, axis=0)
    error = np.sqrt(0.05 * 0.95 / num_samples)
    assert abs(coverage[0] - 0.95) < 3.5 * error
    # Each end alone misses half as often.
    assert np.all(abs(coverage[1:] - 0.975) < 3.5 * error)


@pytest.mark.once
def test_accuracies_near_one_are_covered():
    """By the exact probabilities of every number of wrong answers."""
    rng = np.random.default_rng(6)
    confidences, *_ = cascade_rows(rng)
    router = registry.router(rng)

    @jax.vmap
    def ends(number):
        right = jnp.arange(ROWS) >= number
        found = cj.cascade_interval(
            KEY, router, confidences[0], right, right, num_resamples=1
        )
        return found.accuracy.lower[3], found.accuracy.upper[3]

    number = np.arange(ROWS + 1)
    lower, upper = ends(number)
    for error in (0.001, 0.01, 0.02, 0.05, 0.1, 0.2):
        held = (lower <= 1 - error) & (1 - error <= upper)
        assert stats.binom.pmf(number, ROWS, error) @ np.asarray(held) > 0.93


def test_routers_of_other_numbers_of_bins_raise():
    rng = np.random.default_rng(0)
    confidences, small, large, _ = cascade_rows(rng)
    router = registry.router(rng)
    other = cj.fit_router(*confidences, num_bins=4)
    torn = dataclasses.replace(router, bins=cj.equal_width_bins(4))
    for second, reason in (
        (other, "second: expected a router of 5 bins.*got 4"),
        (torn, "second.table.count: .* with num_bins = 4, as in the rest of second"),
    ):
        with pytest.raises(ValueError, match=reason):
            cj.cascade.router_difference_interval(
                KEY, router, second, *confidences, small, large
            )
    none = np.zeros(0, np.float32)
    with pytest.raises(ValueError, match="N > 0"):
        cj.cascade_interval(KEY, router, none, none, none)
    for wrong in (0, 2.0, None):
        with pytest.raises(ValueError, match="num_resamples"):
            cj.cascade_interval(
                KEY, router, confidences[0], small, large, num_resamples=wrong
            )
