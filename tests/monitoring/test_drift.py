"""Drift: null distributions by enumeration, simulated rates, formulas in NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from scipy import stats

import calib_jax as cj
from calib_jax.metrics import intervals as error_intervals
from calib_jax.monitoring import drift, samples
from calib_jax.stats import intervals

pytestmark = pytest.mark.once

KEY = jax.random.key(7)
NUM_BINS, MOST, NUM_SAMPLES = 5, 120, 160


def within(share, level, size):
    """A promised rate, within three standard errors."""
    return share <= level + 3 * np.sqrt(level * (1 - level) / size)


# --- draws without replacement ---


# By bytes, which take too few or too many; the rows that are left; one by one.
@pytest.mark.parametrize(
    ("pooled", "num_taken"),
    [([3, 0, 8, 9], 4), ([3, 0, 8, 9], 16), ([90, 0, 210, 100], 5)],
)
def test_drawn_counts_are_hypergeometric(pooled, num_taken):
    cells, taken = jnp.array([pooled], jnp.int32), jnp.int32([num_taken])
    drawn = np.asarray(samples.draw_cells(KEY, cells, taken, 4000))[:, 0]
    assert np.all(drawn.sum(axis=1) == num_taken) and np.all(drawn <= pooled)
    for count, total in zip(drawn.T, pooled, strict=True):
        law = stats.hypergeom(sum(pooled), total, num_taken)
        expected = law.pmf(np.arange(total + 1))
        found = np.bincount(count, minlength=total + 1) / 4000
        assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected / 4000) + 1e-3)


def test_many_rows_are_drawn_in_blocks():
    """Covariances of the counts of 30,000 of 70,000 rows, which take several blocks."""
    pooled = np.array([20_001, 9, 0, 34_990, 15_000])
    cells, taken = jnp.asarray(pooled[None], jnp.int32), jnp.int32([30_000])
    drawn = np.asarray(samples.draw_cells(KEY, cells, taken, 2000))[:, 0]
    assert np.all(drawn.sum(axis=1) == 30_000) and np.all(drawn <= pooled)
    law = stats.multivariate_hypergeom(pooled, 30_000)
    cov = law.cov()
    error = np.sqrt((cov**2 + np.outer(cov.diagonal(), cov.diagonal())) / 2000)
    assert np.all(np.abs(np.cov(drawn.T) - cov) <= 5 * error)
    off = drawn.mean(axis=0) - law.mean()
    assert np.all(np.abs(off) <= 5 * np.sqrt(cov.diagonal() / 2000))


def test_right_answers_are_hypergeometric_in_each_bin():
    right, pooled, taken = (
        jnp.array(x, jnp.int32) for x in ([5, 0, 7, 9], [12, 3, 7, 20], [10, 2, 3, 9])
    )
    cells = jnp.stack([right, pooled - right], axis=1)
    drawn = np.asarray(samples.draw_cells(KEY, cells, taken, 4000))
    np.testing.assert_array_equal(drawn.sum(axis=2), np.tile(taken, (4000, 1)))
    drawn = drawn[:, :, 0]
    for b in range(4):
        law = stats.hypergeom(int(pooled[b]), int(right[b]), int(taken[b]))
        expected = law.pmf(np.arange(21))
        found = np.bincount(drawn[:, b], minlength=21) / 4000
        assert np.all(np.abs(found - expected) < 5 * np.sqrt(expected / 4000) + 1e-3)


def compare(key, bins, reference, right, new, right_now, *, num_resamples, **masks):
    """`calibration_drift` without its two intervals, which have tests of their own."""
    before, after = (
        error_intervals.table_of_rows(bins, scores, outcomes.astype("float32"), mask)[0]
        for scores, outcomes, mask in (
            (reference, right, masks["reference_where"]),
            (new, right_now, masks["where"]),
        )
    )
    return drift._compare(key, before, after, num_resamples=num_resamples)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_index_of_many_rows_is_exact(size):
    """From counts: even an index of a hundred-thousandth still orders draws."""
    rng, pooled = np.random.default_rng(0), np.full(15, 2 * size // 15)
    shape = 200, 100
    drawn = rng.multivariate_hypergeometric(pooled, size, shape).astype(np.int32)

    @jax.jit
    @jax.vmap
    def p_values(counts):
        index = jax.vmap(
            lambda count: drift._stability_index(
                jnp.asarray(pooled, "int32") - count, count
            )
        )(counts)
        return samples.p_value(index)

    found = p_values(drawn)
    for level in (0.05, 0.1, 0.3):
        # With 99 draws these levels are reached exactly.
        error = np.sqrt(level * (1 - level) / shape[0])
        assert abs(np.mean(found <= level + 1e-6) - level) < 3 * error


# --- a simulated population, all in one program ---


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def simulate(key, options):
    """p-values and the alarm of one sample, of padded rows."""
    keys = jax.random.split(key, 8)
    row = jnp.arange(MOST, dtype=jnp.int32)
    masks = {
        "reference_where": row < options["num_reference"],
        "where": row < options["num_rows"],
    }

    def draw(key, power):
        scores = jax.random.uniform(key, (MOST,), jnp.float32) ** power
        return jnp.where(options["tied"], jnp.round(4 * scores) / 4, scores)

    reference, new = draw(keys[0], 1.0), draw(keys[1], options["power"])
    edges = cj.equal_width_bins(NUM_BINS)
    right = jax.random.uniform(keys[3], (MOST,), jnp.float32) < reference
    chance = new * options["still_right"]
    right_now = jax.random.uniform(keys[4], (MOST,), jnp.float32) < chance
    occupied = cj.monitoring.occupancy_drift(
        keys[5], edges, reference, new, num_resamples=99, **masks
    )
    # Without both intervals, which take most of the time and have tests of their own.
    _, changed, _, of_bins, _ = compare(
        keys[6], edges, reference, right, new, right_now, num_resamples=99, **masks
    )
    first, second = jax.random.split(keys[7])
    state = cj.monitoring.init_monitor(
        first,
        reference,
        num_bins=NUM_BINS,
        confidence_level=0.9,
        where=masks["reference_where"],
    )
    more = jnp.concatenate([new, draw(keys[2], options["power"])])
    counted = jnp.concatenate([masks["where"], jnp.ones(MOST, bool)])
    state = cj.monitoring.update_monitor(second, state, more, where=counted)
    return {
        "occupancy": occupied.p_value,
        "changed": changed,
        "bins": of_bins,
        "stream": cj.monitoring.read_monitor(state).p_value,
    }


def simulated(seed=0, **options):
    defaults = {
        "num_reference": 100,
        "num_rows": 60,
        "tied": False,
        "power": 1.0,
        "still_right": 1.0,
    }
    given = {
        name: jnp.asarray(value, jnp.float32 if type(value) is float else None)
        for name, value in {**defaults, **options}.items()
    }
    keys = jax.random.split(jax.random.key(seed), NUM_SAMPLES)
    return jax.tree.map(np.asarray, simulate(keys, given))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"num_reference": 30, "num_rows": 120, "tied": True}],
    ids=str,
)
def test_false_alarms_are_as_rare_as_promised(options):
    for p_values in simulated(1, **options).values():
        for level in (0.05, 0.1, 0.3):
            assert within(np.mean(p_values <= level), level, NUM_SAMPLES)


@pytest.mark.slow
def test_drift_of_confidence_is_seen():
    found = simulated(2, power=0.5)
    assert np.mean(found["occupancy"] <= 0.05) > 0.8
    assert np.mean(found["stream"] <= 0.1) > 0.8


@pytest.mark.slow
def test_shifted_confidences_do_not_change_outcomes():
    """Five bins of a fifth each; confidences also shift within them."""
    found = simulated(4, power=3.0, num_rows=120, num_reference=120)
    for name in ("changed", "bins"):
        assert within(np.mean(found[name] <= 0.05), 0.05, NUM_SAMPLES)


@pytest.mark.slow
def test_changed_outcomes_are_seen_where_confidence_stays():
    found = simulated(3, still_right=0.6)
    assert within(np.mean(found["occupancy"] <= 0.05), 0.05, NUM_SAMPLES)
    assert np.mean(found["changed"] <= 0.05) > 0.6
    assert np.mean(found["bins"] <= 0.05) > 0.3
    # The joint test has more power.
    assert np.mean(found["changed"] <= 0.05) > np.mean(found["bins"] <= 0.05)


# --- occupancy ---


NUM_REFERENCE, NUM_ROWS = 40, 30


def padded(values, size):
    """Padded to one shape for all tests; the padding is masked garbage."""
    values = np.asarray(values)
    filler = np.nan if values.dtype.kind == "f" else True
    more = np.full(size - len(values), filler, values.dtype)
    return np.concatenate([values, more]), np.arange(size) < len(values)


def occupancy(edges, reference, scores):
    """With edges +inf for empty bins."""
    edges = np.pad(np.float32(edges), (0, 4 - len(edges)), constant_values=np.inf)
    first, was = padded(reference, NUM_REFERENCE)
    second, now = padded(scores, NUM_ROWS)
    bins = cj.Bins(edges=jnp.asarray(edges))
    return cj.monitoring.occupancy_drift(
        KEY, bins, first, second, num_resamples=99, reference_where=was, where=now
    )


def test_occupancy_by_hand():
    reference = [0.1, 0.2, 0.3, 0.6, 0.6, 0.7]
    found = occupancy([0.25, 0.5, 0.75], reference, [0.05, 0.05, 0.6, 0.8])
    before, after = np.array([2, 1, 3, 0, 0]), np.array([2, 0, 1, 1, 0])
    np.testing.assert_array_equal(found.reference_count, before)
    np.testing.assert_array_equal(found.count, after)
    p, q = (before[:4] + 0.5) / 8, (after[:4] + 0.5) / 6
    expected = np.sum((q - p) * np.log(q / p))
    np.testing.assert_allclose(found.stability_index, expected, rtol=1e-6)
    np.testing.assert_allclose(found.outside_share, 0.75)
    counts = found.counts
    assert (counts.num_rows, found.num_reference, counts.num_bins) == (4, 6, 4)
    assert counts.num_masked == 34 + 26


def test_the_index_of_counts_is_that_of_rows():
    rng = np.random.default_rng(3)
    reference, scores = rng.random(700), rng.random(300) ** 1.2
    bins = cj.equal_width_bins(8)
    rows = cj.monitoring.occupancy_drift(KEY, bins, reference, scores)
    counts = (np.asarray(one) for one in (rows.reference_count, rows.count))
    found = drift.stability_index(KEY, *counts, num_resamples=1000)
    np.testing.assert_allclose(found.estimate, rows.stability_index, rtol=1e-6)
    np.testing.assert_allclose(found.null, rows.null_index, rtol=1e-6)
    assert found.p_value == rows.p_value < 0.5


def test_the_index_of_counts_needs_no_memory_for_their_rows():
    many = np.int32([2**30, 2**29, 2**28])
    found = drift.stability_index(KEY, many, np.int32([40, 20, 10]), num_resamples=99)
    assert found.p_value == 1
    found = drift.stability_index(KEY, many, np.int32([0, 20, 50]), num_resamples=99)
    np.testing.assert_allclose(found.p_value, 0.01)
    for bad in (np.int32([0, 0, 0]), np.int32([2**30, 2**30, 0])):
        with pytest.raises(ValueError, match=r"a row in each and fewer than 2\^31"):
            drift.stability_index(KEY, bad, np.int32([1, 1, 1]), num_resamples=9)


@pytest.mark.parametrize("edges", [[], [0.5], [0.1, 0.2, 0.5]])
def test_one_bin_says_nothing(edges):
    scores = np.linspace(0.3, 0.4, 30)
    found = occupancy(edges, scores, scores[:7])
    assert found.counts.num_bins == 1 and found.p_value == 1
    np.testing.assert_allclose(found.stability_index, 0, atol=1e-6)


def floats(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if x.dtype == np.float32]


@pytest.mark.parametrize("problem", ["nothing", "reference", "nan"])
def test_missing_rows_and_nan_give_nan(problem):
    """Without rows in one of the samples, and with a valid NaN."""
    reference, scores = (np.linspace(0.1, 0.9, n) for n in (NUM_REFERENCE, NUM_ROWS))
    right = [np.ones(n, bool) for n in (NUM_REFERENCE, NUM_ROWS)]
    spoiled = (np.arange(NUM_ROWS) == 3) & (problem == "nan")
    new = np.where(spoiled, np.nan, scores)
    masks = {
        "reference_where": right[0] & (problem != "reference"),
        "where": right[1] & (problem != "nothing"),
    }
    router = registry.router(np.random.default_rng(0))
    bins = router.bins
    occupied = cj.monitoring.occupancy_drift(
        KEY, bins, reference, new, num_resamples=99, **masks
    )
    assert all(np.isnan(x).all() for x in floats(occupied))
    change, p_value, of_bins, bin_p_value, _ = compare(
        KEY, bins, reference, right[0], new, right[1], num_resamples=999, **masks
    )
    for value in (change, p_value, of_bins, bin_p_value):
        assert np.all(np.isnan(value))
    found = cj.monitoring.estimated_accuracy(
        router, reference, right[0], right[0], new, scores, **masks
    )
    assert all(np.isnan(x).all() for x in floats(found.by_bins))
    only_reference = problem == "reference"
    for one in (found.by_confidence, found.small_share):
        assert all(np.isnan(x).all() != only_reference for x in floats(one))


# --- changed outcomes ---


def test_change_by_hand():
    bins = cj.Bins(edges=jnp.array([0.3, 0.7, jnp.inf, jnp.inf]))
    reference, was = padded(np.repeat([0.1, 0.5], [10, 4]), NUM_REFERENCE)
    right, _ = padded(np.arange(14) % 2 == 0, NUM_REFERENCE)
    new, now = padded([0.1, 0.1, 0.5, 0.5, 0.5, 0.9], NUM_ROWS)
    right_now, _ = padded([False, False, True, False, False, True], NUM_ROWS)
    rows = bins, reference, right, new, right_now
    masks = {"reference_where": was, "where": now}
    change, p_value, bin_change, bin_p_value, compared = compare(
        KEY, *rows, num_resamples=999, **masks
    )
    wanted = [-0.5, 1 / 3 - 0.5, 0, 0, 0]
    np.testing.assert_allclose(bin_change, wanted, atol=1e-6)
    np.testing.assert_allclose(change, (2 * -0.5 - 0.5) / 5, rtol=1e-6)
    assert compared == 5
    # Over all tables with both margins given.
    laws = [stats.hypergeom(12, 5, 2), stats.hypergeom(7, 3, 3)]
    off = [0 - laws[0].mean(), 1 - laws[1].mean()]
    sums, bins_sums = (
        abs(sum(off)),
        sum(x**2 / law.var() for x, law in zip(off, laws, strict=True)),
    )
    expected = np.zeros(2)
    for a, b in itertools.product(range(3), range(4)):
        chance = laws[0].pmf(a) * laws[1].pmf(b)
        off = [a - laws[0].mean(), b - laws[1].mean()]
        squares = sum(x**2 / law.var() for x, law in zip(off, laws, strict=True))
        expected += chance * np.array(
            [abs(sum(off)) >= sums - 1e-9, squares >= bins_sums - 1e-9]
        )
    for found, wanted in zip((p_value, bin_p_value), expected, strict=True):
        error = np.sqrt(wanted * (1 - wanted) / 999)
        np.testing.assert_allclose(found, wanted, atol=4 * error + 2e-3)


# --- estimated accuracy ---


def in_numpy(router, reference, outcomes, small, large):
    """Both estimates for every K, row by row."""
    edges = np.asarray(router.bins.edges)
    seen, index = (np.searchsorted(edges, x, side="right") for x in (reference, small))
    shown = np.array(
        [
            [o[seen == b].mean() if np.any(seen == b) else 0.5 for o in outcomes]
            for b in range(len(edges) + 1)
        ]
    )
    place = np.argsort(np.asarray(router.order))
    for k in range(len(edges) + 2):
        keep = place[index] < k
        yield (
            keep.mean(),
            np.where(keep, small, large).mean(),
            shown[index, np.where(keep, 0, 1)].mean(),
        )


def estimate(router, reference, outcomes, small, large):
    """With masks of every row, so that all tests share a program."""
    was, now = np.ones(NUM_REFERENCE, bool), np.ones(NUM_ROWS, bool)
    return cj.monitoring.estimated_accuracy(
        router, reference, *outcomes, small, large, reference_where=was, where=now
    )


def test_estimates_follow_their_formulas():
    rng = np.random.default_rng(0)
    router = registry.router(rng)
    reference, small, large = (
        rng.random(n).astype(np.float32) for n in (NUM_REFERENCE, NUM_ROWS, NUM_ROWS)
    )
    reference = np.where(reference < 0.2, 0.9, reference)  # Some bins stay empty.
    outcomes = rng.random((2, NUM_REFERENCE)) < 0.7
    found = estimate(router, reference, outcomes, small, large)
    expected = np.array([*in_numpy(router, reference, outcomes, small, large)]).T
    parts = found.small_share, found.by_confidence, found.by_bins
    for part, wanted in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part.estimate, wanted, atol=2e-6)
        assert np.all((part.lower <= wanted + 1e-6) & (wanted <= part.upper + 1e-6))
    edges = np.asarray(router.bins.edges)
    held = np.searchsorted(edges, reference, side="right")
    unseen = ~np.isin(np.searchsorted(edges, small, side="right"), held)
    assert found.num_unseen == unseen.sum()


def test_the_large_model_need_not_be_asked():
    rng = np.random.default_rng(1)
    router, reference = registry.router(rng), registry.tied(rng, NUM_REFERENCE)
    right, small = rng.random((2, NUM_REFERENCE)) < 0.7, registry.tied(rng, NUM_ROWS)
    every = estimate(router, reference, right, small, 0.9 * small)
    asked = np.where(cj.use_small(router, small, 2), np.nan, 0.9 * small)
    found = estimate(router, reference, right, small, asked)
    assert np.isnan(found.by_confidence.estimate[0])
    np.testing.assert_array_equal(
        found.by_confidence.estimate[2:], every.by_confidence.estimate[2:]
    )
    np.testing.assert_array_equal(found.by_bins.estimate, every.by_bins.estimate)


reach = jax.jit(intervals.student_quantile)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_reach_is_a_quantile_of_student(alpha):
    rows = np.array([2, 3, 4, 5, 6, 10, 30, 1000], np.float32)
    found = reach(rows, np.float32(alpha))
    np.testing.assert_allclose(found, stats.t(rows - 1).isf(alpha / 2), rtol=1e-2)


def test_few_new_rows():
    """One row gives no interval, three rows give Student's."""
    router = registry.router(np.random.default_rng(0))
    reference = np.linspace(0.1, 0.9, NUM_REFERENCE)
    small = np.linspace(0.2, 0.9, NUM_ROWS)
    right = np.ones(NUM_REFERENCE, bool)

    def by_confidence(size):
        found = cj.monitoring.estimated_accuracy(
            router,
            reference,
            right,
            right,
            small,
            small,
            reference_where=right,
            where=np.arange(NUM_ROWS) < size,
        )
        return found.by_confidence, found.by_bins

    for one in by_confidence(1):
        assert np.all(np.isfinite(one.estimate))
        assert np.all(np.isnan(one.lower)) and np.all(np.isnan(one.upper))
    one, _ = by_confidence(3)
    mean, error = small[:3].mean(), stats.sem(small[:3])
    reach = stats.t(2).isf(0.025) * error
    np.testing.assert_allclose(one.lower[-1], mean - reach, atol=1e-5)
    np.testing.assert_allclose(one.upper[-1], mean + reach, atol=1e-5)
