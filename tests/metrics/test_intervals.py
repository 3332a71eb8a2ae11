"""The interval of the calibration error, against float64 formulas and known truths."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
import test_sharding
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import optimize, stats

import calib_jax as cj
from benchmarks.intervals import calibration_errors
from calib_jax.metrics import intervals

ROWS, DRAWS = 60, 39
KEY = jax.random.key(0)


def as_numpy(found):
    return jax.tree.map(np.asarray, found)


def test_draws_do_not_depend_on_rows_that_are_added():
    """A plain call pads its rows, a jitted one does not."""
    rng = np.random.default_rng(4)
    scores = rng.random(ROWS).astype(np.float32)
    outcomes = rng.random(ROWS) < scores**2
    given = KEY, cj.equal_width_bins(4), scores, outcomes
    found = cj.calibration_error_interval(*given)
    jitted = jax.jit(cj.calibration_error_interval)(*given)
    for name in ("p_value", "null_error", "null_quantile", "upper"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(jitted, name), rtol=1e-6
        )
    assert found.counts.num_masked == 0 and found.counts.num_rows == ROWS


def test_bounds_of_bias_and_variance():
    """The estimate of one gap, at every true gap u, by numerical integration."""
    u, y = np.linspace(0, 9, 361)[:, None], np.linspace(-16, 16, 6401)
    density = stats.norm.pdf(y - u) * (y[1] - y[0])

    def mean(values):
        return density @ values

    module = intervals
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
        actual = intervals._critical_value(jnp.float32(room), jnp.float32(alpha))
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def reference_ends(edges, scores, outcomes, alpha):
    """Estimate, debiased estimate, both ends before the test, and their random spread.

    In float64. With few bins the lower end is at a quantile of draws.
    """
    place = np.searchsorted(edges, scores, side="right")
    total, estimate, middle, above, below, of_gaps = len(scores), *np.zeros(5)
    shares, clears, errors, sizes, skewed = [], [], [], [], []
    unseen, alike, varies, made_up = [1.0], 0, 0.0, 0.0
    few = []
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
        if np.all(v == v[0]) and v[0] in (0, 1):
            unseen.append(found)
            alike += n
            made_up += error**2
            varies += n * np.var(c - v, ddof=1) if n > 1 else 0.0
        wrong = min(np.sum(v), n - np.sum(v))
        claims_more = np.sign(gap) == np.sign(0.5 - np.mean(v))
        if set(v) <= {0, 1} and wrong < 5 and claims_more:
            of_scores = np.sum((c - v - gap) ** 2) - n * np.var(v)
            few.append((n, wrong, error**2, max(of_scores, 0) * n / max(n - 1, 1)))
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
    rare = alike / total * (1 - (alpha / 2) ** (1 / max(alike, 1)))
    chance = z * np.sqrt(varies / total**2 + of_shares * alike / total)
    more = max(rare - 2 * min(unseen), 0)
    rest, normal = np.sqrt(1 - made_up / noise), max(upper - estimate, 0)
    lower = estimate - np.hypot(max(estimate - lower, 0) * rest, np.hypot(rare, chance))
    upper = estimate + np.hypot(normal * rest, np.hypot(more, chance))
    size, wrong, made_up, varies = np.sum([(0, 0, 0, 0), *few], axis=0)
    if 0 < wrong < 5:
        # Byar's limit of a Poisson mean, as a binomial share.
        least = wrong * max(1 - 1 / (9 * wrong) - z / (3 * np.sqrt(wrong)), 0) ** 3
        exact = size * stats.beta.ppf(alpha / 2, wrong, size - wrong + 1)
        least = least / (1 - (wrong - 1 - least) / (2 * size))
        assert least < exact
        luck = wrong - least
        rest = np.sqrt(1 - made_up / noise)
        chance = z * np.sqrt(varies / total**2 + of_shares * size / total)
        luck = np.hypot(normal * rest, np.hypot(luck / total, chance))
        upper = max(upper, estimate + luck)
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
            num_resamples=DRAWS,
            confidence_level=1 - alpha,
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

    place = np.searchsorted(np.asarray(bins.edges), kept, side="right")
    counts = found.counts
    assert counts.num_rows == where.sum() and counts.num_masked == (~where).sum()
    assert counts.num_bins == len(np.unique(place))

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
                KEY, bins, scores, outcomes, num_resamples=DRAWS, where=where
            )
        )

    every, none = np.ones(ROWS, bool), np.zeros(ROWS, bool)
    for found in (
        interval(0.5, 1, none),
        interval([0.5, np.nan], 1, every),
        interval(0.5, [1, np.nan], every),
    ):
        values = dataclasses.asdict(dataclasses.replace(found, counts=None))
        for name, value in values.items():
            assert name == "counts" or np.isnan(value), name
    assert interval(0.5, 1, none).counts.num_masked == ROWS

    # Certain and right: an error rate of up to about 3 / N is not excluded.
    found = interval(1.0, 1, every)
    assert found.lower == 0 and max(found.estimate, found.null_error) < 1e-6
    assert 2.4 / ROWS < found.upper < 4 / ROWS and found.p_value == 1
    assert found.counts.num_bins == 1
    # Certain and wrong.
    found = interval(1.0, 0, every)
    np.testing.assert_allclose(found.p_value, 1 / (1 + DRAWS))
    assert found.lower > 0.9
    np.testing.assert_allclose((found.estimate, found.upper), 1, rtol=1e-6)
    one = interval(0.9, 1, np.arange(ROWS) == 7)
    assert one.lower == 0 and one.upper > 0.5 and one.counts.num_rows == 1


def test_interval_of_answers_that_are_all_right():
    """An error rate of 7 % would still leave 50 of 50 right once in 40 times."""
    found = cj.calibration_error_interval(
        KEY, cj.equal_width_bins(1), np.full(50, 0.995), np.ones(50)
    )
    assert found.lower == 0
    bound = 1 - 0.025 ** (1 / 50)
    np.testing.assert_allclose(found.upper, bound - 0.005, rtol=1e-4)
    # In bins, and all wrong.
    scores = np.linspace(0.001, 0.009, 50)
    for num_bins in (1, 5):
        bins = cj.equal_count_bins(scores, num_bins)
        found = cj.calibration_error_interval(KEY, bins, scores, np.zeros(50))
        assert bound - 0.015 < found.upper < bound + 0.005


@pytest.mark.parametrize("wrong", [0, 1, 2, 4, 5])
def test_interval_of_answers_that_are_nearly_all_right(wrong):
    """Confidences around 0.85 and around 0.95, in two bins."""
    scores = np.repeat(np.float32([0.84, 0.86, 0.94, 0.96]), 30)
    outcomes = ~np.isin(np.arange(120), [5, 70, 100, 20, 110][:wrong])
    bins = cj.equal_width_bins(10)
    found = cj.calibration_error_interval(KEY, bins, scores, outcomes)
    expected = reference_ends(
        np.asarray(bins.edges), scores.astype(float), outcomes.astype(float), 0.05
    )
    np.testing.assert_allclose(found.upper, expected[3], rtol=2e-5)


@pytest.mark.once
def test_exact_coverage_near_certainty():
    """Of one confidence in one bin, over all numbers of rare outcomes."""
    sizes, claims = np.array([20, 50, 60, 100, 200, 400]), (0.1, 0.05, 0.01, 5e-3, 1e-3)
    rates = np.array([0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
    # More rare outcomes than this are left out, as if they were never covered.
    most = stats.binom.ppf(1 - 1e-3, sizes, max(rates)).astype(int)
    cases = [
        (n, k, 1 - claim if right else claim, right)
        for n, last in zip(sizes, most, strict=True)
        for k in range(last + 1)
        for claim in claims
        for right in (False, True)
    ]
    rows, counts, scores, right = (
        np.array(x, t) for x, t in zip(zip(*cases, strict=True), "iif?", strict=True)
    )
    bins, place = cj.equal_width_bins(1), np.arange(max(sizes))

    @jax.jit
    def intervals_of(cases):
        def one(case):
            size, count, score, right = case
            found = cj.calibration_error_interval(
                KEY,
                bins,
                jnp.full(place.shape, score),
                (place < count) != right,
                num_resamples=DRAWS,
                where=place < size,
            )
            return found.lower, found.upper

        return jax.lax.map(one, cases, batch_size=100)

    lower, upper = map(np.asarray, intervals_of((rows, counts, scores, right)))
    claims = np.where(right, 1 - scores.astype(float), scores)
    for rate in rates:
        truth = np.abs(claims - rate)
        covered = (lower <= truth + 1e-6) & (truth - 1e-6 <= upper)
        chance = stats.binom.pmf(counts, rows, rate) * covered
        found = collections.defaultdict(float)
        for case, one in zip(zip(rows, scores, strict=True), chance, strict=True):
            found[case] += one
        assert len(found) == 60 and min(found.values()) >= 0.93, (rate, found)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("num_rows", "scores", "gap"),
    [
        (20, "nearly certain", "none"),
        (20, "nearly certain", "0.05 everywhere"),
        (50, "nearly certain", "0.02 everywhere"),
        (100, "from 0.9 to 0.99", "right at 0.998"),
        (400, "from 0.9 to 0.99", "right at 0.998"),
        (400, "from 0.9 to 0.99", "right at 0.999"),
    ],
)
def test_coverage_near_certainty_in_bins(num_rows, scores, gap):
    setting = calibration_errors.Setting(
        num_rows=num_rows, num_bins=15, scores=scores, gap=gap
    )
    found = calibration_errors.cover(setting, seed=1, num_samples=300)
    assert found.coverage >= 0.93, found
    assert found.width < 0.3


@pytest.mark.slow
@pytest.mark.once
def test_coverage_of_the_calibration_error():
    """The bias-aware interval contains the truth where a percentile bootstrap fails."""
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


@pytest.mark.once
@pytest.mark.parametrize("axis_type", ["Auto", "Explicit"])
def test_calibration_error_interval_of_sharded_rows(axis_type):
    """The same answers, and no row leaves its device."""
    rng = np.random.default_rng(0)
    size = test_sharding.NUM_ROWS
    scores = registry.tied(rng, size).astype(np.float32)
    outcomes = registry.partial(rng, size).astype(np.float32)
    where = rng.random(size) < 0.8
    bins = registry.bins(rng)
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(getattr(AxisType, axis_type),))
    rows = NamedSharding(mesh, PartitionSpec("rows"))

    def call(scores, outcomes, where):
        return cj.calibration_error_interval(
            KEY, bins, scores, outcomes, num_resamples=3, where=where
        )

    placed = [jax.device_put(x, rows) for x in (scores, outcomes, where)]
    compiled = jax.jit(call).lower(*placed).compile()
    expected = call(scores, outcomes, where)
    registry.assert_same(compiled(*placed), expected, exact=False, rtol=1e-5)
    registry.assert_same(call(*placed), expected, exact=False, rtol=1e-5)
    test_sharding.assert_no_rows_move(compiled.as_text())
