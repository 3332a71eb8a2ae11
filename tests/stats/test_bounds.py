"""Exact bounds and p-values, against SciPy in float64 and against their own promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import calib_jax as cj
from calib_jax.stats import bounds

SIZE = 500  # Always this many at once: one program for each function.


def many(function, *columns):
    """A function applied to each of several numbers."""
    length = len(columns[0])
    padded = [np.resize(column, SIZE) for column in columns]
    return jax.tree.map(lambda x: x[:length], jax.vmap(function)(*padded))


def test_published_values():
    """Values published with MAPIE, and quantiles of the beta distribution."""
    ends = cj.stats.clopper_pearson(10, 200, 0.95)
    np.testing.assert_allclose(ends, [0.0273743, 0.0833352], rtol=3e-6)
    assert abs(cj.stats.hoeffding_bentkus_p_value(10.0, 200, 0.1) - 0.021940) < 5e-7
    assert abs(cj.stats.binomial_p_value(10, 200, 0.1) - 0.008071) < 5e-7


def some_counts(rng, size):
    trials = np.round(10 ** rng.uniform(0, 7, size))
    rate = np.where(
        rng.random(size) < 0.5, rng.random(size), 10 ** rng.uniform(-7, -1, size)
    )
    rate = np.where(rng.random(size) < 0.3, 1 - rate, rate).astype(np.float32)
    spread = np.sqrt(trials * rate * (1 - rate))
    count = np.round(trials * rate + 2.5 * spread * rng.normal(size=size))
    return np.clip(count, 0, trials).astype(int), trials.astype(int), rate


def assert_accurate(actual, expected):
    """To 1e-5 down to 1e-10, and to 1e-4 below."""
    actual, large = np.float64(actual), expected > 1e-10
    np.testing.assert_allclose(actual[large], expected[large], rtol=1e-5)
    np.testing.assert_allclose(actual[~large], expected[~large], rtol=1e-4, atol=1e-36)


def test_p_values_agree_with_scipy():
    count, trials, rate = some_counts(np.random.default_rng(0), SIZE)
    actual = cj.stats.binomial_p_value(count, trials, rate)
    expected = stats.binom.cdf(count, trials, np.float64(rate))
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-300)


def test_hoeffding_bentkus_follows_its_formula():
    rng = np.random.default_rng(1)
    count, trials, level = some_counts(rng, SIZE)
    total = np.clip(count - rng.integers(0, 4, SIZE) / 4, 0, None).astype(np.float32)
    total = np.where(total < 2**20, total, count)
    actual = many(cj.stats.hoeffding_bentkus_p_value, total, trials, level)
    mean, alpha = total / np.float64(trials), np.float64(level)
    low = np.minimum(mean, alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [
            np.where(a > 0, a * np.log(a / b), 0.0)
            for a, b in ((low, alpha), (1 - low, 1 - alpha))
        ]
    hoeffding = np.exp(-trials * (terms[0] + terms[1]))
    bentkus = np.e * stats.binom.cdf(np.ceil(total), trials, alpha)
    expected = np.minimum(np.minimum(hoeffding, bentkus), 1)
    # Even in float64 the sum of both terms cancels if many rows differ little.
    few = trials < 1e5
    assert_accurate(actual[few], expected[few])
    np.testing.assert_allclose(actual[~few], expected[~few], rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("error", [0.3, 0.05, 1e-3])
def test_bounds_are_quantiles_of_the_beta_distribution(error):
    count, trials, _ = some_counts(np.random.default_rng(2), 300)
    lower, upper = cj.stats.clopper_pearson(count, trials, 1 - error)
    below = stats.beta.ppf(error, np.maximum(count, 1), trials - count + 1)
    above = stats.beta.isf(error, count + 1, np.maximum(trials - count, 1))
    np.testing.assert_allclose(lower, np.where(count > 0, below, 0), rtol=1e-9)
    np.testing.assert_allclose(upper, np.where(count < trials, above, 1), rtol=1e-9)
    # The bound that risk control uses under jit.
    columns = np.float32(count), np.float32(trials), np.full(300, error, np.float32)
    traced = many(jax.jit(bounds.upper_rate), *columns)
    np.testing.assert_allclose(traced, np.where(count < trials, above, 1), rtol=1e-5)


def test_ends():
    """No trials, no successes, only successes, and rates of 0 and 1."""
    lower, upper = cj.stats.clopper_pearson([0, 0, 5, 1], [0, 5, 5, 1])
    np.testing.assert_allclose(lower, [0, 0, 0.05**0.2, 0.05], rtol=1e-5)
    np.testing.assert_allclose(upper, [1, 1 - 0.05**0.2, 1, 1], rtol=1e-5)
    cases = np.array([(0, 0, 0.3), (0, 5, 0), (1, 5, 0), (4, 5, 1), (5, 5, 1)]).T
    count, trials = cases[:2].astype(int)
    p_values = cj.stats.binomial_p_value(count, trials, cases[2])
    np.testing.assert_array_equal(p_values, [1, 1, 1, 0, 1])
    p_values = many(cj.stats.hoeffding_bentkus_p_value, cases[0], trials, cases[2])
    np.testing.assert_array_equal(p_values, [1, 1, 1, 0, 1])


def test_impossible_arguments():
    """More successes than trials, fewer than none, and levels that are NaN."""
    wrong = np.array([(6, 5, 0.3), (-1, 5, 0.3), (2, 5, np.nan)]).T
    count, trials = wrong[:2].astype(int)
    for call in (
        cj.stats.clopper_pearson,
        lambda *given: cj.stats.binomial_p_value(*given, 0.3),
    ):
        with pytest.raises(ValueError, match=r"num_successes: .*num_trials, got 6\."):
            call(count[0], trials[0])
        with pytest.raises(ValueError, match=r"num_successes: .* 0, got -1 at \[1\]"):
            call(count[1:].clip(max=5)[::-1], 5)
    assert np.isnan(cj.stats.binomial_p_value(2, 5, np.nan))
    for level in (0.0, 1.0, 95.0, np.nan, [0.9, -0.1]):
        with pytest.raises(ValueError, match=r"confidence_level: .*\(0, 1\)"):
            cj.stats.clopper_pearson(2, 5, level)
    p_values = many(cj.stats.hoeffding_bentkus_p_value, wrong[0], trials, wrong[2])
    np.testing.assert_array_equal(p_values, [1, np.nan, np.nan])
    rows, where = np.zeros((5, 4)), np.ones((5, 4), bool)
    call = jax.vmap(lambda r, level, w: cj.stats.betting_p_value(r, level, where=w))
    assert np.isnan(call(rows, np.full(5, np.nan), where)).all()


def test_a_mean_of_losses_cannot_be_outside_0_and_1():
    levels = np.array([95.0, 1 + 2**-18, -1e-5, -3.0, np.inf])
    for count, trials in ((3, 10), (10, 10), (0, 0)):
        with pytest.raises(ValueError, match=r"max_rate: .*\[0, 1\], row 0 holds 95"):
            cj.stats.binomial_p_value(count, trials, levels)
    for total, size in ((10.0, 200), (200.0, 200), (0.0, 0)):
        p_values = many(
            cj.stats.hoeffding_bentkus_p_value, [total] * 5, [size] * 5, levels
        )
        assert np.isnan(p_values).all()
    rows, where = np.full((5, 4), 0.25), np.ones((5, 4), bool)
    where[1] = False
    call = jax.vmap(lambda r, level, w: cj.stats.betting_p_value(r, level, where=w))
    assert np.isnan(call(rows, levels, where)).all()


def test_shapes_that_do_not_broadcast_are_named():
    for message, call in (
        (
            r"num_successes, num_trials, confidence_level: .*num_successes \[2\], "
            r"num_trials \[\], confidence_level \[3\]",
            lambda: cj.stats.clopper_pearson([1, 2], 5, [0.9, 0.95, 0.99]),
        ),
        (
            r"num_successes, num_trials, max_rate: .*num_successes \[2\], "
            r"num_trials \[3\], max_rate \[\]",
            lambda: cj.stats.binomial_p_value([1, 2], [5, 5, 5], 0.1),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_functions_of_the_host_refuse_traced_arguments():
    for name, call in (
        ("num_successes", lambda k: cj.stats.clopper_pearson(k, 9)),
        ("num_trials", lambda n: cj.stats.clopper_pearson(3, n)),
        ("confidence_level", lambda a: cj.stats.clopper_pearson(3, 9, a)),
        ("num_successes", lambda k: cj.stats.binomial_p_value(k, 9, 0.5)),
        ("num_trials", lambda n: cj.stats.binomial_p_value(3, n, 0.5)),
        ("max_rate", lambda a: cj.stats.binomial_p_value(3, 9, a)),
    ):
        for transform in (jax.jit, lambda f: lambda x: jax.vmap(f)(jnp.array([x]))):
            with pytest.raises(ValueError, match=f"{name}: .*traced.*outside jax.jit"):
                transform(call)(5 if "num" in name else 0.5)


def capital_p_value(losses, level):
    """Eight fixed stakes, as documented, in float64."""
    shares = np.minimum(np.sqrt(6 / len(losses)) * 20.0 ** np.linspace(0, 1, 8), 0.95)
    stakes = shares / (1 - level)
    capital = [np.exp(np.sum(np.log1p(s * (level - losses)))) for s in stakes]
    return min(1.0, 1 / np.mean(capital))


def test_betting_follows_its_formula():
    rng = np.random.default_rng(3)
    losses = rng.choice([0.25, 0.5, 0.75], 5000, p=[0.05, 0.9, 0.05])
    levels = np.array([0.5, 0.502, 0.504, 0.505, 0.507])
    actual = jax.vmap(cj.stats.betting_p_value, (None, 0))(losses, levels)
    expected = [capital_p_value(losses, float(np.float32(level))) for level in levels]
    np.testing.assert_allclose(actual, expected, rtol=2e-5)
    # From counts of losses as from the losses themselves.
    values = np.float32([0.25, 0.5, 0.75])
    counts = np.float32([np.sum(losses == v) for v in values])
    of_counts = jax.vmap(bounds.betting, (None, None, 0))(
        counts, values, levels.astype(np.float32)
    )
    np.testing.assert_allclose(of_counts, actual, rtol=2e-5)


def test_betting_at_the_ends():
    rows = np.array([[1.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4, [0.1, np.nan, 0, 0]])
    levels = np.array([1.0, 0.0, 1.0, 0.9, 0.9])
    where = np.ones((5, 4), bool)
    where[3] = False
    call = jax.vmap(lambda r, level, w: cj.stats.betting_p_value(r, level, where=w))
    actual = np.asarray(call(rows, levels, where))
    np.testing.assert_array_equal(actual[[0, 1, 3]], 1)
    assert actual[2] < 1e-6 and np.isnan(actual[4])


NUM_REPEATS = SIZE


@pytest.mark.once
@pytest.mark.parametrize(
    "name", ["stats.betting_p_value", "stats.hoeffding_bentkus_p_value"]
)
def test_true_hypotheses_are_seldom_rejected(name):
    """Losses whose mean equals the level: P(p <= u) is at most u."""
    rng = np.random.default_rng(4)
    losses = rng.choice([0, 0.5, 1], (NUM_REPEATS, 200), p=[0.13, 0.79, 0.08])
    level = 0.79 / 2 + 0.08
    if name == "stats.betting_p_value":
        p_values = jax.vmap(lambda rows: cj.stats.betting_p_value(rows, level))(losses)
    else:
        columns = losses.sum(axis=1), [200] * SIZE, [level] * SIZE
        p_values = many(cj.stats.hoeffding_bentkus_p_value, *columns)
    for u in (0.01, 0.05, 0.2, 0.5):
        error = np.sqrt(u * (1 - u) / NUM_REPEATS)
        assert np.mean(np.asarray(p_values) <= u) <= u + 2 * error


def test_betting_is_tighter_where_losses_vary_little():
    rng = np.random.default_rng(5)
    losses = rng.choice([0, 0.5, 1], 5000, p=[0.05, 0.9, 0.05])
    levels = np.full(5, 0.51)
    betting = jax.vmap(cj.stats.betting_p_value, (None, 0))(losses, levels)[0]
    other = many(cj.stats.hoeffding_bentkus_p_value, [losses.sum()], [5000], [0.51])[0]
    assert betting < 0.01 < 0.1 < other
