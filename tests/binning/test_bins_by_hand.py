"""Bins and reliability tables, in cases small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from by_hand import INF, NAN, close, equal, padded

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("scores", "edges", "count"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.5], [2, 2, 2]),
        ([0.6, 0.3, 0.1, 0.5, 0.2, 0.4], [0.3, 0.5], [2, 2, 2]),  # any order
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [0.4, 0.6], [3, 2, 2]),  # long first
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.4, 0.7], [3, 3, 2]),
        ([0.3, 0.5, 0.2, 0.3, 0.5, 0.7], [0.3, 0.5], [1, 2, 3]),  # a tie goes up
        ([0.3, 0.5, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0], [2, 0, 4]),
        ([0.1, 0.1, 0.1, 0.1, 0.7], [0.1, 0.7], [0, 4, 1]),
        ([0.4] * 6, [0.4, 0.4], [0, 0, 6]),
        ([0.3, 0.6], [0.6, INF], [1, 1, 0]),  # fewer rows than bins
        ([0.3], [INF, INF], [1, 0, 0]),
        ([], [INF, INF], [0, 0, 0]),
        ([-0.0, 0.0, -0.0, 0.0, -0.0, 1.0], [0.0, 0.0], [0, 0, 6]),  # one zero
        ([-3.0, -1e-30, 0.0, 1e-30, 2.0, 1e30], [0.0, 2.0], [2, 2, 2]),  # any score
    ],
)
def test_equal_count_bins(scores, edges, count):
    values, where = padded(scores)
    bins = cj.equal_count_bins(values, 3, where=where)
    assert bins.num_bins == 3
    close(bins.edges, edges)
    table = cj.reliability_table(bins, values, np.zeros(8), where=where)
    equal(table.count, count)
    index = np.asarray(cj.bin_index(bins, values))[where]
    equal(np.bincount(index, minlength=3), count)


def test_equal_count_bins_with_a_traced_number():
    scores = np.random.default_rng(0).integers(6, size=40).astype(np.float32)
    cut = jax.jit(lambda k: cj.equal_count_bins(scores, k, max_bins=50).edges)
    for num_bins in range(1, 51):
        expected = reference.equal_count_edges(scores, num_bins)
        equal(cut(num_bins), np.append(expected, np.full(50 - num_bins, INF)))


def test_equal_count_bins_of_one_bin():
    bins = cj.equal_count_bins(np.array([0.1, 0.9]), 1)
    assert bins.edges.shape == (0,)
    equal(cj.bin_index(bins, np.array([-5.0, 0.5, NAN])), [0, 0, -1])


@pytest.mark.parametrize("num_bins", [4, 40])
def test_bins_of_scores_of_any_shape(num_bins):
    """Compared with few edges, searched for among many, and in a table of them."""
    bins = cj.equal_width_bins(num_bins)
    for shape in ((), (3, 4), (2, 2, 3), (300, 300)):
        scores = np.random.default_rng(0).random(shape).astype(np.float32)
        expected = np.searchsorted(np.asarray(bins.edges), scores, side="right")
        equal(cj.bin_index(bins, scores), expected)


def test_bin_index():
    bins = cj.Bins(edges=jnp.array([0.25, 0.5, 0.5], jnp.float32))
    scores = np.array([-INF, 0.0, 0.25, 0.26, 0.5, 7.0, INF, NAN])
    index = cj.bin_index(bins, scores)
    assert index.dtype == jnp.int32
    equal(index, [0, 0, 1, 1, 3, 3, 3, -1])


@pytest.mark.parametrize("num_bins", [7, 10, 15, 100])
def test_equal_width_edges_are_correctly_rounded(num_bins):
    # k / num_bins as float32 lies in bin k, not in the bin below.
    bins = cj.equal_width_bins(num_bins)
    scores = (np.arange(num_bins + 1) / num_bins).astype(np.float32)
    index = np.minimum(np.arange(num_bins + 1), num_bins - 1)
    equal(cj.bin_index(bins, scores), index)
    equal(cj.bin_index(bins, np.nextafter(scores[1:], 0.0)), np.arange(num_bins))


def test_equal_width_bins_of_a_range():
    bins = cj.equal_width_bins(4, lower=-1.0, upper=3.0)
    close(bins.edges, [0.0, 1.0, 2.0])


def test_reliability_table():
    bins = cj.Bins(edges=jnp.array([0.25, 0.5, 0.75], jnp.float32))
    scores = np.array([0.0, 0.125, 0.5, 0.625, 1.0, NAN, 0.3, 0.9])
    outcomes = np.array([0.0, 1.0, 0.5, 1.0, 0.0, 1.0, NAN, 1.0])  # partial credit
    where = np.array([True] * 5 + [False] * 2 + [True])
    weights = np.array([1.0, 3.0, 1.0, 1.0, 2.0, 5.0, NAN, 0.0])
    table = cj.reliability_table(bins, scores, outcomes, where=where, weights=weights)
    assert table.count.dtype == jnp.int32
    equal(table.count, [2, 0, 2, 1])  # weight 0 removes a row
    close(table.weight, [4.0, 0.0, 2.0, 2.0])
    close(table.confidence, [0.09375, 0.0, 0.5625, 1.0])
    close(table.outcome, [0.75, 0.0, 0.75, 0.0])
    close(table.squared_error, [0.57421875, 0.0, 0.0703125, 1.0])
    error = cj.expected_calibration_error(
        scores, outcomes, bins=bins, where=where, weights=weights
    )
    close(error, (4 * 0.65625 + 2 * 0.1875 + 2 * 1.0) / 8)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.int64, np.float32, jnp.bfloat16])
def test_outcomes_of_any_dtype(dtype):
    scores = np.array([0.25, 0.5, 0.75, 1.0])
    outcomes = np.array([0, 1, 1, 1]).astype(dtype)
    close(cj.expected_calibration_error(scores, outcomes, num_bins=2), 0.125)
    table = cj.reliability_table(cj.equal_count_bins(scores, 2), scores, outcomes)
    close(table.outcome, [0.5, 1.0])


def test_nan_in_valid_rows_is_never_hidden():
    scores, outcomes = np.array([0.1, NAN, 0.8]), np.array([0.0, 1.0, 1.0])
    bins = cj.Bins(edges=jnp.array([0.5], jnp.float32))
    table = cj.reliability_table(bins, scores, outcomes)
    equal(table.confidence, [NAN, NAN])
    assert np.isnan(cj.expected_calibration_error(scores, outcomes, bins=bins))
    assert np.isnan(cj.expected_calibration_error(scores, outcomes, num_bins=2))
    hidden = np.array([True, False, True])
    error = cj.expected_calibration_error(scores, outcomes, bins=bins, where=hidden)
    close(error, 0.15)


def test_no_valid_row_is_not_a_perfect_score():
    nothing = np.zeros(4, bool)
    scores = np.array([0.1, 0.2, 0.7, NAN])
    table = cj.reliability_table(cj.equal_width_bins(2), scores, nothing, where=nothing)
    for field in (table.count, table.weight, table.confidence, table.outcome):
        equal(field, [0, 0])
    error = cj.expected_calibration_error(scores, nothing, num_bins=2, where=nothing)
    assert np.isnan(error)
    error = cj.expected_calibration_error(
        scores, nothing, num_bins=2, weights=np.zeros(4)
    )
    assert np.isnan(error)


@pytest.mark.parametrize("kind", ["log-odds", "normal", "tied", "infinite", "wide"])
def test_bin_index_among_many_edges(kind):
    """Enough scores for a table of the edges; edges may be equal, and scores edges."""
    rng = np.random.default_rng(0)
    edges = {
        "log-odds": np.asarray(cj.streaming.score_buckets(4096).edges),
        "normal": 10 * rng.normal(size=3000),
        "tied": rng.normal(size=3000).round(1),
        "infinite": np.repeat([-INF, 0.5, 0.5 + 2**-24, 1.0, INF], 40),
        "wide": rng.normal(size=5000) ** -9.0,
    }[kind]
    edges = np.sort(np.float32(edges))
    near = np.nextafter(edges, np.float32(-INF))
    drawn = rng.random(30_000), 1 - rng.random(10_000) ** 12, rng.normal(size=30_000)
    few = [INF, -INF, 0.0, -0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(0))]
    scores = np.float32(np.concatenate([edges, near, *drawn, few]))
    index = cj.bin_index(cj.Bins(edges=jnp.asarray(edges)), scores)
    # Subnormal numbers count as 0.
    edges, scores = (
        np.where(np.abs(x) < np.finfo(np.float32).tiny, 0, x) for x in (edges, scores)
    )
    equal(index, np.searchsorted(edges, scores, side="right"))
