"""Error bars: against formulas in float64, SciPy, plain resampling and known truths."""

import dataclasses
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import registry
from scipy import optimize, stats

import calib_jax as cj
from benchmarks.intervals import calibration_errors
from calib_jax.metrics import intervals as calibration_intervals

ROWS, DRAWS = 60, 39
KEY = jax.random.key(0)


def as_numpy(found):
    return jax.tree.map(np.asarray, found)


def test_bounds_of_bias_and_variance():
    """The estimate of one gap, at every true gap u and by numerical integration."""
    u, y = np.linspace(0, 9, 361)[:, None], np.linspace(-16, 16, 6401)
    density = stats.norm.pdf(y - u) * (y[1] - y[0])

    def mean(values):
        return density @ values

    module = calibration_intervals
    estimate = np.abs(y) - module._SHRINK * np.exp(-module._SHRINK_RATE * y**2)
    bias = mean(estimate) - u[:, 0]
    variance = mean(estimate**2) - mean(estimate) ** 2
    above = mean(module._ABOVE * np.exp(-module._ABOVE_RATE * y**2))
    below = mean(module._BELOW * y**2 * np.exp(-module._BELOW_RATE * y**2))
    spread = 1 + mean(module._SPREAD * y**4 * np.exp(-module._SPREAD_RATE * y**2))
    assert np.all(bias <= above) and np.all(-bias <= below + 1e-6)
    assert np.all(variance <= spread + 1e-6)
    assert np.abs(bias).max() < 0.227 and np.abs(bias[u[:, 0] > 4]).max() < 2e-3


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.05, 0.3])
def test_critical_values(alpha):
    for room in (0.0, 0.1, 0.7, 2.0, 9.0):
        expected = optimize.brentq(
            lambda c, r=room: stats.norm.sf(c) + stats.norm.sf(c + r) - alpha, -1, 9
        )
        actual = calibration_intervals._critical_value(
            jnp.float32(room), jnp.float32(alpha)
        )
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def reference_ends(edges, scores, outcomes, alpha):
    """Estimate, debiased estimate, both ends before the test, how random they are.

    In float64. Of few bins the lower end is at a quantile of draws.
    """
    place = np.searchsorted(edges, scores, side="right")
    total, estimate, middle, above, below, of_gaps = len(scores), *np.zeros(5)
    shares, clears, errors, sizes, skewed = [], [], [], [], []
    for b in range(len(edges) + 1):
        c, v = scores[place == b], outcomes[place == b]
        n = len(c)
        if n == 0:
            continue
        gap = np.mean(c) - np.mean(v)
        rate = (np.sum(v) + 1) / (n + 2)
        added = 2 * max(np.mean(c * (1 - c)), rate * (1 - rate))
        spread = np.sum((c - v - gap) ** 2) + added
        variance = spread / (n + 1)
        error, found = np.sqrt(n * variance) / total, n * abs(gap) / total
        size = min(found / error, 50)
        y = size**2
        taken = error * 8 / 7 * np.exp(-1.5 * y)
        estimate += found
        middle += found - taken
        above += error * 0.51 * np.exp(-2 * y)
        below += error * 2.03 * y * np.exp(-1.4 * y) + taken * (added / spread) ** 2
        of_gaps += error**2 * (1 + 2.69 * y**2 * np.exp(-1.15 * y))
        shares.append(n / total)
        errors.append(error)
        sizes.append(size)
        skewed.append((np.sign(gap), 2 * rate - 1))
        clears.append(np.sqrt(max(gap**2 - variance / n, 0)))
    shares, clears, errors, sizes = map(np.array, (shares, clears, errors, sizes))
    z = -stats.norm.ppf(alpha / 2)
    of_shares = np.sum(shares * clears**2) - np.sum(shares * clears) ** 2
    of_shares = max(of_shares, 0) / total
    noise, random = np.sum(errors**2), 0.0
    if np.sum(errors) ** 2 < 4 * noise:
        known = sizes > 2.5
        drawn = np.random.default_rng(0).normal(size=(200_000, len(errors) + 1))
        off = np.where(known, drawn[:, 1:], abs(drawn[:, 1:])) @ errors
        off = off + np.sqrt(of_shares) * drawn[:, 0]
        part = 0.8 - 0.3 * np.sum(errors[known] ** 2) / noise
        off = np.quantile(off, 1 - alpha * part)
        ends, random = (estimate - off, estimate + z * np.sqrt(noise + of_shares)), 0.06
    else:
        s = np.sqrt(of_gaps + of_shares)
        c = optimize.brentq(
            lambda c: stats.norm.sf(c) + stats.norm.sf(c + (above + below) / s) - alpha,
            -1,
            9,
        )
        ends = middle - above - c * s, middle + below + c * s
    sign, skewness = np.array(skewed).T
    sign = sign * (2 * stats.norm.cdf(sizes) - 1)
    sure = np.sum(errors**2 * sign * skewness) / noise
    unsure = np.sum(errors**2 * (1 - abs(sign)) * abs(skewness)) / noise
    lower = ends[0] + (z**2 * sure - abs(sure)) / (2 * total)
    upper = ends[1] + (z**2 * (sure + unsure) + abs(sure) + unsure) / (2 * total)
    middle = max(middle, 0)
    lower, upper = np.clip(lower, 0, middle), np.clip(upper, middle, 1)
    return estimate, middle, lower, upper, random * estimate


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_calibration_error_interval(seed, alpha):
    rng = np.random.default_rng(seed)
    scores = registry.tied(rng, ROWS).astype(np.float32)
    outcomes = rng.random(ROWS) < np.clip(scores - 0.25 * (seed % 2), 0, 1)
    outcomes = np.where(seed < 3, outcomes, registry.partial(rng, ROWS))
    where = rng.random(ROWS) < 0.8
    bins = registry.bins(rng)
    dirty = np.where(where, scores, np.nan)
    found = as_numpy(
        cj.calibration_error_interval(
            KEY,
            bins,
            dirty,
            np.where(where, outcomes, np.nan),
            num_draws=DRAWS,
            error_probability=alpha,
            where=where,
        )
    )
    kept, right = scores[where].astype(float), outcomes[where].astype(float)
    expected = reference_ends(np.asarray(bins.edges), kept, right, alpha)
    rejected = bool(found.p_value <= alpha / 2)
    *expected, random = (*expected[:2], expected[2] * rejected, *expected[3:])
    actual = (found.estimate, found.debiased, found.lower, found.upper)
    np.testing.assert_allclose(actual[:2], expected[:2], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(actual[2:], expected[2:], rtol=2e-5, atol=2e-6 + random)
    error = cj.expected_calibration_error(scores, outcomes, bins=bins, where=where)
    np.testing.assert_allclose(found.estimate, error, rtol=1e-5)

    values, counts = np.unique(kept, return_counts=True)
    place = np.searchsorted(np.asarray(bins.edges), kept, side="right")
    assert found.num_rows == where.sum() and found.num_masked == (~where).sum()
    assert found.num_tied == counts[counts > 1].sum()
    assert found.num_bins == len(np.unique(place))

    # Under the null, by NumPy.
    drawn = rng.random((4000, len(kept))) < kept
    sums = [np.sum((kept - drawn) * (place == b), axis=1) for b in range(bins.num_bins)]
    null = np.sum(np.abs(sums), axis=0) / len(kept)
    error = null.std() * np.sqrt(1 / DRAWS + 1 / 4000)
    assert abs(found.null_error - null.mean()) < 4 * error
    p_value = np.mean(null >= float(found.estimate) - 1e-6)
    error = np.sqrt(p_value * (1 - p_value) / DRAWS) + 1 / DRAWS
    assert abs(found.p_value - p_value) < 4 * error


def test_calibration_error_interval_at_its_edges():
    bins = cj.equal_width_bins(registry.NUM_BINS)

    def interval(scores, outcomes, where):
        scores = np.resize(np.float32(scores), ROWS)
        outcomes = np.resize(np.float32(outcomes), ROWS)
        return as_numpy(
            cj.calibration_error_interval(
                KEY, bins, scores, outcomes, num_draws=DRAWS, where=where
            )
        )

    every, none = np.ones(ROWS, bool), np.zeros(ROWS, bool)
    for found in (
        interval(0.5, 1, none),
        interval([0.5, np.nan], 1, every),
        interval(0.5, [1, np.nan], every),
    ):
        values = dataclasses.asdict(found)
        for name, value in values.items():
            assert name.startswith("num_") or np.isnan(value), name
    assert interval(0.5, 1, none).num_masked == ROWS

    # Certain and right: an error rate of up to about 3 / N is not excluded.
    found = interval(1.0, 1, every)
    assert found.lower == 0 and max(found.estimate, found.null_error) < 1e-6
    assert 2.4 / ROWS < found.upper < 4 / ROWS and found.p_value == 1
    assert found.num_tied == ROWS and found.num_bins == 1
    # Certain and wrong.
    found = interval(1.0, 0, every)
    np.testing.assert_allclose(found.p_value, 1 / (1 + DRAWS))
    assert found.lower > 0.9
    np.testing.assert_allclose((found.estimate, found.upper), 1, rtol=1e-6)
    one = interval(0.9, 1, np.arange(ROWS) == 7)
    assert one.lower == 0 and one.upper > 0.5 and one.num_rows == 1


@pytest.mark.once
def test_coverage_of_the_calibration_error():
    """The bias-aware interval holds the truth where a percentile bootstrap fails."""
    num_samples = 200
    room = 3.5 * np.sqrt(0.05 * 0.95 / num_samples)
    for num_bins, scores, gap in (
        (15, "confident", "none"),
        (1, "wide", "0.05 everywhere"),
        (30, "saturated", "0.02 everywhere"),
        (5, "wide", "0.15 everywhere"),
    ):
        setting = calibration_errors.Setting(
            num_rows=200, num_bins=num_bins, scores=scores, gap=gap
        )
        found = calibration_errors.cover(setting, seed=1, num_samples=num_samples)
        assert found.coverage >= 0.95 - room, found
        assert found.width < 0.25
        if gap == "none":
            rate = np.sqrt(0.05 * 0.95 / num_samples)
            assert found.rejected <= 0.05 + 3.5 * rate
            error = found.least_width / 3.92 / np.sqrt(num_samples)
            assert abs(found.estimate - found.null_error) < 3.5 * error
        if gap == "0.15 everywhere":
            assert found.coverage <= 0.97 + room
            assert found.rejected > 0.95


def cascade_rows(rng):
    """Confidences of two kinds, both outcomes, and a mask that leaves all but a few."""
    confidences = rng.random((2, ROWS)).astype(np.float32)
    small = rng.random(ROWS) < confidences[0]
    large = rng.random(ROWS) < 0.9
    return confidences, small, large, rng.random(ROWS) < 0.9


def percentiles(draws, alpha=0.05):
    """Of draws `[D, ...]` those with so many beyond them."""
    ordered = np.sort(np.asarray(draws), axis=0)
    outside = max(int(np.floor(alpha / 2 * (len(draws) + 1) + 1e-9)) - 1, 0)
    return ordered[outside], ordered[len(draws) - 1 - outside]


def assert_adjusted(interval, number, right, *, known=False):
    """The normal interval with z^2 / 2 right answers more, and as many wrong ones."""
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
    """The router in NumPy, without its table."""
    return reference.Router(
        np.asarray(router.bins.edges), None, np.asarray(router.order)
    )


def numbers(routers, confidences, small, large, **rows):
    """In float64, of the first router and of both."""
    share = np.arange(registry.NUM_BINS + 1) / registry.NUM_BINS
    curves, average = [], []
    for router, confidence in zip(routers, confidences, strict=True):
        curve = reference.cascade_curve(plain(router), confidence, small, large, **rows)
        curves.append(curve)
        average.append(reference.average_performance_gap_recovered(curve))
    first, second = (np.interp(share, c.small_share, c.accuracy) for c in curves)
    area = [np.trapezoid(c.accuracy, c.small_share) for c in curves]
    one = {
        "recovered": reference.performance_gap_recovered(curves[0]),
        "average_recovered": average[0],
    }
    both = {
        "accuracy": first - second,
        "area": area[0] - area[1],
        "average_recovered": average[0] - average[1],
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
            KEY, routers[0], confidences[0], small, large, num_draws=DRAWS, where=where
        )
    )
    more = as_numpy(
        cj.cascade.router_difference_interval(
            KEY, *routers, *confidences, small, large, num_draws=DRAWS, where=where
        )
    )
    for k, result in enumerate((found, more)):
        for name, estimate in seen[k].items():
            by_draw = np.array([draw[k][name] for draw in draws])
            check(getattr(result, name), estimate, by_draw)

    for name in ("num_rows", "num_masked"):
        assert getattr(found, name) == getattr(more, name)
    assert (more.num_bins[0], more.num_tied[0]) == (found.num_bins, found.num_tied)

    # Of what the large model has over the small one, in bins and in the first K.
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

    assert found.num_rows == more.num_rows == where.sum()
    assert found.num_masked == more.num_masked == (~where).sum()
    assert found.num_tied == 0 and found.num_bins == inside.any(axis=1).sum()

    # A router is as good as itself.
    same = as_numpy(
        cj.cascade.router_difference_interval(
            KEY,
            *[routers[0]] * 2,
            *[confidences[0]] * 2,
            small,
            large,
            num_draws=DRAWS,
            where=where,
        )
    )
    for leaf in jax.tree.leaves((same.accuracy, same.area, same.average_recovered)):
        np.testing.assert_allclose(leaf, 0, atol=1e-6)


@pytest.mark.once
def test_equal_models_have_no_interval_of_what_divides_by_their_gap():
    rng = np.random.default_rng(3)
    confidences, small, _, where = cascade_rows(rng)
    found = as_numpy(
        cj.cascade_interval(
            KEY,
            registry.router(rng),
            confidences[0],
            small,
            small,
            num_draws=DRAWS,
            where=where,
        )
    )
    for leaf in jax.tree.leaves((found.recovered, found.average_recovered)):
        assert np.isnan(leaf).all()
    assert np.all(found.accuracy.lower <= found.accuracy.upper)
    assert np.all(found.over_large.lower[1:] < -0.01)
    np.testing.assert_allclose(found.over_large.estimate, 0, atol=1e-6)


@pytest.mark.once
def test_coverage_of_a_cascade():
    """Of few rows of two models whose probabilities are known."""
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
                num_draws=DRAWS,
                where=np.ones(ROWS, bool),
            )
        )
        held.append(
            [
                found.accuracy.lower[3] <= truth.accuracy[3] <= found.accuracy.upper[3],
                found.average_recovered.lower <= average,
                average <= found.average_recovered.upper,
            ]
        )
    coverage = np.mean(held, axis=0)
    error = np.sqrt(0.05 * 0.95 / num_samples)
    assert abs(coverage[0] - 0.95) < 3.5 * error
    # Either end by itself misses half as often.
    assert np.all(abs(coverage[1:] - 0.975) < 3.5 * error)


@pytest.mark.once
def test_accuracies_near_one_are_covered():
    """By the probabilities of every number of wrong answers, none of them drawn."""
    rng = np.random.default_rng(6)
    confidences, *_ = cascade_rows(rng)
    router = registry.router(rng)

    @jax.vmap
    def ends(number):
        right = jnp.arange(ROWS) >= number
        found = cj.cascade_interval(
            KEY, router, confidences[0], right, right, num_draws=1
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
    other = dataclasses.replace(router, bins=cj.equal_width_bins(4))
    with pytest.raises(ValueError, match="second: expected a router of 5 bins.*got 4"):
        cj.cascade.router_difference_interval(
            KEY, router, other, *confidences, small, large
        )
    none = np.zeros(0, np.float32)
    with pytest.raises(ValueError, match="N > 0"):
        cj.cascade_interval(KEY, router, none, none, none)
    for wrong in (0, 2.0, None):
        with pytest.raises(ValueError, match="num_draws"):
            cj.cascade_interval(
                KEY, router, confidences[0], small, large, num_draws=wrong
            )


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
def test_cleaning_interval(alpha):
    rng = np.random.default_rng(0)
    for precision in (0.0, 0.3, 1.0):
        flagged = rng.random(ROWS) < 0.4
        error = np.where(flagged, rng.random(ROWS) < precision, rng.random(ROWS) < 0.1)
        found = as_numpy(
            cj.cleaning.cleaning_interval(flagged, error, error_probability=alpha)
        )
        for interval, part, whole in (
            (found.flagged_share, flagged, ROWS),
            (found.precision, flagged & error, flagged.sum()),
            (found.recall, flagged & error, error.sum()),
        ):
            test = stats.binomtest(int(part.sum()), int(whole))
            ends = test.proportion_ci(1 - alpha, method="wilson")
            expected = (part.sum() / whole, ends.low, ends.high)
            actual = (interval.estimate, interval.lower, interval.upper)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
        assert found.num_flagged == flagged.sum() and found.num_tied is None
    scores = np.where(flagged, 0.5, np.arange(ROWS))
    found = as_numpy(cj.cleaning.cleaning_interval(flagged, error, scores=scores))
    assert found.num_tied == flagged.sum() and found.num_rows == ROWS


def test_bootstrap_interval_counts_what_is_not_a_number_as_infinite():
    def ratio(x, y, weights):
        return jnp.sum(weights * x) / jnp.sum(weights * y)

    x = np.ones(12, np.float32)
    y = (np.arange(12) == 3).astype(np.float32)
    # A third of the draws leave the only row out that counts below.
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, 0 * x, y))
    assert found.estimate == 0 and found.lower == -np.inf and found.upper == np.inf
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, x, x))
    assert found.estimate == found.lower == found.upper == 1
    found = as_numpy(cj.bootstrap_interval(KEY, ratio, 99, x, 0 * x - np.nan))
    assert np.isnan([found.estimate, found.lower, found.upper]).all()


def test_bootstrap_interval_is_as_wide_as_its_level_says():
    x = np.random.default_rng(0).normal(size=500).astype(np.float32)

    def mean(x, weights):
        return jnp.sum(weights * x) / jnp.sum(weights)

    for alpha in (0.05, 0.3):
        found = as_numpy(
            cj.bootstrap_interval(KEY, mean, 1000, x, error_probability=alpha)
        )
        half = -stats.norm.ppf(alpha / 2) * x.std() / np.sqrt(500)
        np.testing.assert_allclose(found.upper - found.lower, 2 * half, rtol=0.12)
        assert found.lower < found.estimate < found.upper


def test_bootstrap_interval_without_masked_rows():
    """Masked rows change nothing, whatever they hold; ties are counted by array."""

    def mean(x, y, weights):
        return jnp.sum(weights * (x + jnp.sum(y, axis=1))) / jnp.sum(weights)

    rng = np.random.default_rng(0)
    where = rng.random(ROWS) < 0.7
    x = rng.integers(0, 9, ROWS).astype(np.float32)
    y = rng.integers(0, 3, (ROWS, 2)).astype(np.float32)
    found, dirty = (
        as_numpy(
            cj.bootstrap_interval(
                KEY,
                mean,
                DRAWS,
                np.where(where, x, fill),
                np.where(where[:, None], y, fill),
                where=where,
            )
        )
        for fill in (1.0, np.nan)
    )
    for clean, other in zip(*map(jax.tree.leaves, (found, dirty)), strict=True):
        np.testing.assert_array_equal(clean, other)
    kept = (x + y.sum(axis=1))[where]
    np.testing.assert_allclose(found.estimate, kept.mean(), rtol=1e-6)
    reach = 2 * kept.std() / np.sqrt(len(kept))
    np.testing.assert_allclose(found.upper - found.lower, 2 * reach, rtol=0.5)
    assert found.num_rows == where.sum() and found.num_masked == (~where).sum()
    for tied, array in zip(found.num_tied, (x, y), strict=True):
        _, counts = np.unique(array[where], axis=0, return_counts=True)
        assert tied == counts[counts > 1].sum()
