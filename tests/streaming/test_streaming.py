"""Summaries of streams against the functions of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import calib_jax as cj
from calib_jax.binning import bin_sums

ROWS, BATCH, NUM_BINS = 600, 50, 7
# The registry runs the same functions in 64-bit mode.
pytestmark = pytest.mark.once

equal = np.testing.assert_array_equal


def same(actual, expected):
    jax.tree.map(equal, actual, expected)


# Nearly all tests share these numbers of rows, buckets and bins, and so their programs.
NUM_BUCKETS = 64
EXACT = ("all tied", "two values", "zero and one")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def buckets():
    """More buckets than a batch has rows, fewer than all rows."""
    return cj.streaming.score_buckets(NUM_BUCKETS)


def frozen(edges):
    """Buckets with these edges, and empty ones."""
    more = np.full(NUM_BUCKETS - 1 - len(edges), np.inf)
    return cj.Bins(edges=jnp.asarray(np.append(edges, more), jnp.float32))


def batches(*rows, size=BATCH):
    for start in range(0, len(rows[0]), size):
        yield tuple(x[start : start + size] for x in rows)


def summarise(buckets, scores, outcomes, where=None, weights=None):
    state = cj.streaming.init_reliability(buckets)
    where = np.ones(len(scores), bool) if where is None else where
    weights = np.ones(len(scores)) if weights is None else weights
    for s, o, m, w in batches(np.float32(scores), outcomes, where, weights):
        state = cj.streaming.update_reliability(state, s, o, where=m, weights=w)
    return state


def summarise_cascade(buckets, rows, where=None):
    state = cj.streaming.init_cascade(buckets)
    where = np.ones(len(rows[0]), bool) if where is None else where
    for *row, mask in batches(*rows, where):
        state = cj.streaming.update_cascade(state, *row, where=mask)
    return state


def test_buckets_are_as_fine_near_1_as_near_0():
    edges = np.asarray(cj.streaming.score_buckets().edges)
    assert edges.shape == (4095,) and (np.diff(edges) >= 0).all()
    index = cj.bin_index(
        cj.streaming.score_buckets(), [0.0, -0.0, 1e-38, 1e-9, 1 - 2**-24, 1.0]
    )
    equal(index, [0, 0, 0, 1, 4094, 4095])
    below = edges[(edges > 1e-4) & (edges < 0.5)]
    above = edges[(edges > 0.5) & (edges < 1 - 1e-4)]
    np.testing.assert_allclose(below, 1 - above[::-1], rtol=2e-3)
    # From one bucket edge to the next the odds grow by a fixed factor.
    inner = np.float64(below)
    steps = np.diff(np.log(inner / (1 - inner)))
    np.testing.assert_allclose(steps, 2 * np.log(2**24 - 1) / 4092, rtol=2e-3)


def test_order_and_grouping_of_batches_change_no_bit(buckets, rng):
    scores, outcomes = np.float32(rng.beta(5, 1, ROWS)), rng.random(ROWS)
    weights = rng.random(ROWS)
    rows = scores, outcomes, weights
    # All rows at once are more than the buckets, each batch is fewer.
    whole = cj.streaming.update_reliability(
        cj.streaming.init_reliability(buckets), scores, outcomes, weights=weights
    )
    parts = [
        cj.streaming.update_reliability(
            cj.streaming.init_reliability(buckets), s, o, weights=w
        )
        for s, o, w in batches(*rows)
    ]
    tree = parts
    while len(tree) > 1:
        pairs = zip(tree[::2], tree[1::2], strict=False)
        rest = tree[len(tree) // 2 * 2 :]
        tree = rest + [cj.streaming.merge(b, a) for a, b in pairs]
    same(tree[0], whole)
    order = rng.permutation(ROWS)
    same(
        summarise(buckets, scores[order], outcomes[order], None, weights[order]), whole
    )


def adversarial(rng):
    near = 1 - rng.exponential(1e-6, ROWS)
    some_tied = np.where(
        rng.random(ROWS) < 0.4, rng.choice([0.3, 0.5, 1.0], ROWS), rng.random(ROWS)
    )
    return {
        "all tied": np.full(ROWS, 0.7),
        "two values": rng.choice([0.2, 0.9], ROWS),
        "zero and one": rng.choice([0.0, 1.0], ROWS),
        "near 1": near,
        "one bucket": 0.5 + 1e-3 * rng.random(ROWS),
        "some tied": some_tied,
        "rounded": rng.random(ROWS).round(1),
        "skewed": rng.beta(8, 1, ROWS),
    }


def bound_in_words(scores, outcomes, weights, buckets, cuts):
    """Twice what rows in divided buckets can move between gaps, at most 1."""
    index, order = np.asarray(cj.bin_index(buckets, scores)), np.sort(scores)
    divided = set()
    for cut in cuts[cuts < len(scores)]:
        bucket = int(cj.bin_index(buckets, order[cut : cut + 1])[0])
        at_first = cut == np.sum(index < bucket)
        if len(np.unique(scores[index == bucket])) > 1 and not at_first:
            divided.add(bucket)
    moved = 0.0
    for bucket in divided:
        c, v, w = (x[index == bucket] for x in (scores, outcomes, weights))
        moved += max(c.max() * np.sum(w * (1 - v)), (1 - c.min()) * np.sum(w * v))
    return min(2 * moved / weights.sum(), 1.0)


@pytest.mark.parametrize("name", adversarial(np.random.default_rng(0)))
def test_calibration_error_is_within_its_bound(name, buckets, rng):
    scores = np.float32(adversarial(rng)[name])
    outcomes = rng.random(ROWS) < 0.9 * scores
    where, weights = rng.random(ROWS) < 0.9, rng.choice([0.0, 0.5, 1.0, 2.0], ROWS)
    kept = where & (weights > 0)
    state = summarise(buckets, scores, outcomes, where, weights)
    result = cj.streaming.reliability_table(state, NUM_BINS)
    bins = cj.equal_count_bins(scores, NUM_BINS, where=kept)
    table = cj.reliability_table(bins, scores, outcomes, where=where, weights=weights)
    error = cj.streaming.expected_calibration_error(state, NUM_BINS)
    difference = abs(error.value - cj.metrics.calibration_error_of_table(table))
    assert difference <= error.error_bound + 1e-6
    first = np.cumsum([len(x) for x in np.array_split(np.arange(kept.sum()), NUM_BINS)])
    rows = scores[kept], outcomes[kept], weights[kept]
    expected = bound_in_words(*rows, buckets, first[:-1])
    np.testing.assert_allclose(result.error_bound, expected, rtol=1e-5, atol=1e-7)
    assert error.error_bound <= result.error_bound
    if expected == 0:
        same((result.value, result.bins), (table, bins))
    assert (expected == 0) == (name in EXACT)


def test_frozen_bins_are_exact(rng):
    scores, outcomes = rng.beta(5, 1, ROWS), rng.random(ROWS)
    bins = cj.equal_count_bins(rng.beta(4, 1, ROWS), NUM_BINS)
    where, weights = rng.random(ROWS) < 0.9, rng.random(ROWS)
    rows = np.where(where, scores, np.nan), outcomes, where, weights
    state = summarise(frozen(bins.edges), *rows)
    result = cj.streaming.reliability_table(state, bins=bins)
    expected = cj.reliability_table(
        bins, scores, outcomes, where=where, weights=weights
    )
    same(result.value, expected)
    assert result.error_bound == 0


def test_counts_are_exact_beyond_32_bits(buckets, rng):
    scores = np.unique(np.float32(rng.random(40)))
    copies = rng.integers(1, 9, len(scores))
    few = np.repeat(scores, copies)[:BATCH]
    scores, copies = np.unique(few, return_counts=True)
    state = summarise(frozen(scores[1:]), few, few > 0.4)
    doublings = 33
    for _ in range(doublings):
        state = cj.streaming.merge(state, state)
    counts = [int(count) * 2**doublings for count in copies]
    n, upto = sum(counts), np.cumsum(np.array(counts, object))
    starts = [k * (n // NUM_BINS) + min(k, n % NUM_BINS) for k in range(1, NUM_BINS)]
    edges = [scores[np.sum(upto <= start)] for start in starts]
    result = cj.streaming.reliability_table(state, NUM_BINS)
    equal(result.bins.edges, edges)
    bounds = [0, *(int(upto[scores < edge][-1]) for edge in edges), n]
    weights = np.array([b - a for a, b in zip(bounds[:-1], bounds[1:], strict=True)])
    equal(result.value.weight, np.float32(weights))
    assert (np.asarray(result.value.count) == 2**31 - 1).all()


def test_a_single_row_counts_beyond_32_bits():
    """7 * 2^32 + 1 rows: the first of 7 bins has the odd one, the fourth starts at
    3 * 2^32 + 1, which is the first row of the higher score."""
    buckets = frozen([0.5])
    low = summarise(
        buckets, np.full(BATCH, 0.25), np.zeros(BATCH), np.arange(BATCH) < 3
    )
    high = summarise(
        buckets, np.full(BATCH, 0.75), np.ones(BATCH), np.arange(BATCH) < 4
    )
    for _ in range(32):
        low, high = cj.streaming.merge(low, low), cj.streaming.merge(high, high)
    one = np.arange(BATCH) < 1
    one = summarise(buckets, np.full(BATCH, 0.25), np.zeros(BATCH), one)
    state = cj.streaming.merge(cj.streaming.merge(low, one), high)
    result = cj.streaming.reliability_table(state, NUM_BINS)
    equal(result.bins.edges, np.float32([0.25, 0.25, 0.75, 0.75, 0.75, 0.75]))


def test_nothing_and_nan(buckets, rng):
    empty = cj.streaming.init_reliability(buckets)
    nan = np.full(BATCH, np.nan)
    masked = summarise(buckets, nan, nan, np.zeros(BATCH, bool))
    same(masked, empty)
    result = cj.streaming.expected_calibration_error(empty, NUM_BINS)
    assert np.isnan(result.value) and result.error_bound == 0
    table = cj.streaming.reliability_table(empty, NUM_BINS)
    equal(table.bins.edges, np.inf)
    equal(table.value.count, 0)
    state = summarise(buckets, nan, np.ones(BATCH))
    assert np.isnan(cj.streaming.expected_calibration_error(state, NUM_BINS).value)
    curve = cj.streaming.cascade_curve(
        cj.streaming.init_cascade(buckets),
        cj.fit_router(*models(rng)[:2], num_bins=NUM_BINS),
    )
    assert np.isnan(curve.value.accuracy).all()


def test_a_calibration_error_is_of_confidences(buckets, rng):
    """A table may be of any scores; their ECE would be a number that means nothing."""
    scores, outcomes = rng.random(BATCH), rng.random(BATCH) < 0.5
    for wrong in (7.0, -0.5, np.inf):
        spoiled = np.append(scores[1:], wrong)
        state = summarise(buckets, spoiled, outcomes)
        error = cj.streaming.expected_calibration_error(state, NUM_BINS)
        assert np.isnan(error.value)
        table = cj.streaming.reliability_table(state, NUM_BINS).value
        assert table.count.sum() == BATCH
    state = summarise(buckets, scores, outcomes)
    error = cj.streaming.expected_calibration_error(state, NUM_BINS)
    assert np.isfinite(error.value)


def test_half_precision_scores(buckets, rng):
    half = jnp.asarray(rng.random(BATCH), jnp.bfloat16)
    outcomes = rng.random(BATCH) < 0.5
    start = cj.streaming.init_reliability(buckets)
    actual = cj.streaming.update_reliability(start, half, outcomes)
    same(
        actual,
        cj.streaming.update_reliability(start, half.astype(jnp.float32), outcomes),
    )


def test_in_the_loss_of_a_training_step(buckets, rng):
    """As the auxiliary state of a gradient, without contributing to it."""
    start = cj.streaming.init_reliability(buckets)
    outcomes = jnp.asarray(rng.random(BATCH) < 0.5)
    inputs = jnp.asarray(rng.normal(size=BATCH), jnp.float32)

    def loss(scale):
        scores = jax.nn.sigmoid(scale * inputs)
        state = cj.streaming.update_reliability(start, scores, outcomes)
        return jnp.sum(scores), state

    (_, state), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(1.0)
    assert np.isfinite(gradient)
    assert bin_sums.compute(state.sums).count.sum() == BATCH


def test_states_of_different_buckets_give_nan(rng):
    states = [
        summarise(frozen([edge]), rng.random(BATCH), np.ones(BATCH))
        for edge in (0.4, 0.5)
    ]
    result = cj.streaming.expected_calibration_error(
        cj.streaming.merge(*states), NUM_BINS
    )
    assert np.isnan(result.value)
    with pytest.raises(ValueError, match="second.*64 buckets.*got 3"):
        cj.streaming.merge(
            states[0], cj.streaming.init_reliability(cj.equal_width_bins(3))
        )
    with pytest.raises(ValueError, match="num_bins.*4096.*5000"):
        cj.streaming.expected_calibration_error(states[0], 5000)


def models(rng, num_rows=ROWS):
    small, large = rng.beta(3, 1, num_rows), rng.beta(6, 1, num_rows)
    outcomes = rng.random(num_rows) < small, rng.random(num_rows) < large
    return np.float32(small), np.float32(large), *outcomes


def test_router_of_tied_confidences_equals_that_of_the_rows(buckets, rng):
    small, *rest = models(rng)
    values = np.float32([0.2, 0.35, 0.5, 0.65, 0.8, 0.9])
    rows = values[np.abs(small[:, None] - values).argmin(axis=1)], *rest
    router = cj.fit_router(*rows[:2], num_bins=NUM_BINS)
    result = cj.streaming.fit_router(summarise_cascade(buckets, rows), NUM_BINS)
    assert result.error_bound == 0
    equal(result.value.order, router.order)
    table = cj.advantage_table(
        router.bins, *rows[:2], small_outcome=rows[2], large_outcome=rows[3]
    )
    error = result.value.table.outcome_advantage_standard_error
    np.testing.assert_allclose(
        error, table.outcome_advantage_standard_error, rtol=1e-6, atol=1e-9
    )
    for name in vars(router.table):
        if name != "outcome_advantage_standard_error":
            equal(getattr(result.value.table, name), getattr(table, name), name)


def test_router_and_curve_of_two_streams(buckets, rng):
    """A summary of test rows judges the router of validation rows exactly."""
    validation, test = models(rng), models(rng)
    result = cj.streaming.fit_router(summarise_cascade(buckets, validation), NUM_BINS)
    table, router = result.value.table, result.value
    exact = cj.advantage_table(router.bins, *validation[:2])
    equal(table.advantage, exact.advantage)
    by_rows = cj.fit_router(*validation[:2], num_bins=NUM_BINS).table
    size = [np.sum(t.weight * np.abs(t.advantage)) / ROWS for t in (table, by_rows)]
    assert abs(size[0] - size[1]) <= result.error_bound + 1e-6
    streamed = cj.streaming.cascade_curve(summarise_cascade(buckets, test), router)
    assert streamed.error_bound == 0
    same(streamed.value, cj.cascade_curve(router, test[0], *test[2:]))


@pytest.mark.parametrize("exactly", [True, False])
def test_curve_of_any_router(exactly, buckets, rng):
    validation, test = models(rng), models(rng)
    router = cj.fit_router(*validation[:2], num_bins=NUM_BINS)
    buckets = frozen(router.bins.edges) if exactly else buckets
    state = summarise_cascade(buckets, test)
    result = cj.streaming.cascade_curve(state, router)
    exact = cj.cascade_curve(router, test[0], *test[2:])
    if exactly:
        assert result.error_bound == 0
        return same(result.value, exact)
    assert 0 < result.error_bound < 1
    # No models confer here, so neither has a gap beside the gain.
    assert result.value.gap is None and exact.gap is None
    for name, value in vars(exact).items():
        if name != "gap":
            difference = np.abs(getattr(result.value, name) - value).max()
            assert difference <= result.error_bound + 1e-6
    area = cj.streaming.average_performance_gap_recovered(state, router)
    assert area.value == cj.average_performance_gap_recovered(result.value)
    expected = cj.average_performance_gap_recovered(exact)
    assert abs(area.value - expected) <= area.error_bound < 10


def test_a_donated_summary_shares_nothing(rng):
    """A loop may donate its summary; the bins and router it came from survive."""
    rows = models(rng)
    router = cj.fit_router(*rows[:2], num_bins=NUM_BINS)
    update = jax.jit(cj.streaming.update_cascade, donate_argnums=0)
    state = update(cj.streaming.init_cascade(router.bins), *rows)
    curve = cj.streaming.cascade_curve(update(state, *rows), router).value
    assert cj.use_small(router, rows[0], 1).any()
    same(curve.accuracy, cj.cascade_curve(router, rows[0], *rows[2:]).accuracy)


def test_a_bucket_with_many_cuts_counts_once(rng):
    """All rows in one bucket: none is counted more than once, and no ECE exceeds 1."""
    scores = np.float32(0.5 + 1e-4 * rng.random(ROWS))
    right = np.arange(ROWS) % 2 == 0
    for outcomes, bound in ((right, 0.5), (right & False, 1.0)):
        state = summarise(frozen([0.2, 0.9]), scores, outcomes)
        error = cj.streaming.expected_calibration_error(state, NUM_BINS)
        np.testing.assert_allclose(error.error_bound, bound, atol=1e-4)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_calibration_error_of_many_streams_is_within_its_bound(given, slope, rng):
    """Few buckets, so that cuts divide most: overconfident, calibrated, and under."""
    streams, rows = 200, 60
    scores = np.float32(rng.random((streams, rows)))
    log_odds = np.log(scores) - np.log1p(-scores)
    outcomes = rng.random((streams, rows)) < 1 / (1 + np.exp(-slope * log_odds))
    buckets = cj.equal_width_bins(16)
    cuts = np.sort(np.float32(rng.random((streams, 3))))

    @jax.vmap
    def errors(scores, outcomes, cuts):
        state = cj.streaming.init_reliability(buckets)
        state = cj.streaming.update_reliability(state, scores, outcomes)
        bins = cj.Bins(edges=cuts) if given else None
        table = cj.streaming.reliability_table(state, 4, bins=bins)
        exact = cj.expected_calibration_error(scores, outcomes, num_bins=4, bins=bins)
        error = cj.streaming.expected_calibration_error(state, 4, bins=bins)
        fresh = cj.equal_count_bins(scores, 4) if bins is None else bins
        rows = cj.reliability_table(fresh, scores, outcomes)
        gaps = [
            one.weight * (one.confidence - one.outcome) for one in (table.value, rows)
        ]
        off = jnp.sum(jnp.abs(gaps[0] - gaps[1])) / scores.shape[0]
        return error.value - exact, error.error_bound, off, table.error_bound

    difference, bound, off, of_table = errors(scores, outcomes, cuts)
    assert np.all(np.abs(difference) <= bound + 1e-6)
    assert np.all(off <= of_table + 1e-6)
    assert np.all(bound <= of_table)
    # The bounds are not far from what happens.
    assert np.any(np.abs(difference) > bound / 3 + 1e-6)
    assert np.mean(bound) < 0.8 * np.mean(of_table)


def test_gaps_of_a_table_may_move_by_more_than_one():
    scores, outcomes = np.float32([0.01, 0.02, 0.03, 0.04]), np.ones(4, bool)
    state = cj.streaming.init_reliability(cj.equal_width_bins(2))
    state = cj.streaming.update_reliability(state, scores, outcomes)
    bins = cj.Bins(edges=jnp.float32([0.015]))
    table = cj.streaming.reliability_table(state, bins=bins)
    rows = cj.reliability_table(bins, scores, outcomes)
    gaps = [one.weight * (one.confidence - one.outcome) for one in (table.value, rows)]
    off = np.abs(gaps[0] - gaps[1]).sum() / 4
    assert 1.4 < off <= table.error_bound <= 2
    assert cj.streaming.expected_calibration_error(state, bins=bins).error_bound <= 1


def test_no_bound_where_weights_exceed_float32(rng):
    scores, outcomes = np.float32(rng.random(ROWS)), rng.random(ROWS) < 0.5
    state = cj.streaming.update_reliability(
        cj.streaming.init_reliability(frozen([0.2, 0.9])),
        scores,
        outcomes,
        weights=np.full(ROWS, 3e37, np.float32),
    )
    assert jnp.isnan(
        cj.streaming.expected_calibration_error(state, NUM_BINS).error_bound
    )


def test_states_of_8_devices(buckets, rng):
    scores, outcomes = np.float32(rng.random(ROWS)), rng.random(ROWS) < 0.5
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("rows")

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(rows, rows), out_specs=PartitionSpec())
    def everywhere(scores, outcomes):
        state = cj.streaming.init_reliability(buckets)
        state = cj.streaming.update_reliability(state, scores, outcomes)
        return cj.streaming.psum(state, "rows")

    same(everywhere(scores, outcomes), summarise(buckets, scores, outcomes))
    different = jax.vmap(
        lambda edges: (
            cj.streaming.psum(
                cj.streaming.init_reliability(cj.Bins(edges=edges)), "i"
            ).buckets
        ),
        axis_name="i",
    )(jnp.float32([[0.4, 0.7, 0.9, np.inf], [0.5, 0.7, np.nan, np.inf]]))
    equal(different.edges, [[np.nan, np.float32(0.7), np.nan, np.inf]] * 2)


def test_real_outputs(data_folder):
    data = np.load(data_folder / "vision" / "cifar100.npz")
    for model, most in (("lenet_5", 2e-3), ("densenet_bc_100", 1e-6)):
        top = cj.top1(np.log(data[f"{model}_probs"]))
        correct = np.asarray(top.prediction) == data["label"]
        state = cj.streaming.init_reliability()
        for rows in batches(np.asarray(top.confidence), correct, size=1000):
            state = cj.streaming.update_reliability(state, *rows)
        error = cj.streaming.expected_calibration_error(state)
        exact = cj.expected_calibration_error(top.confidence, correct)
        assert abs(error.value - exact) <= min(most, error.error_bound + 1e-6)
        assert error.error_bound < 0.15
