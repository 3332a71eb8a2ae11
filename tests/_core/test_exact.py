"""Exact sums against fractions, and order statistics against a sort."""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calib_jax._core import exact, reduce
from calib_jax.binning import bin_sums as summary
from calib_jax.binning import order_statistics

TINY = np.finfo(np.float32).tiny
LARGEST = np.finfo(np.float32).max
NUM_ROWS, NUM_BINS = 992, 3


@functools.partial(jax.jit, static_argnames="num_bins")
def add(index, values, num_bins=NUM_BINS):
    rows = (index, values)
    return reduce.sum_bins(lambda rows: (rows[0], (rows[1],)), rows, num_bins)


normalise, to_float = jax.jit(exact.normalise), jax.jit(exact.to_float)
update, merge = jax.jit(summary.update), jax.jit(summary.merge)
compute = jax.jit(summary.compute)


def exponents(rng, n):
    """Finite float32 numbers of any bits: every exponent, sign and subnormal."""
    bits = rng.integers(0, 2**32, 2 * n, dtype=np.uint64).astype(np.uint32)
    values = bits.view(np.float32)
    return values[np.isfinite(values)][:n]


def cancelling(rng, n):
    values = exponents(rng, n)
    values[n // 2 :] = -values[: n - n // 2]
    values[:: n // 7] *= np.float32(1 + 2**-20)
    return rng.permutation(values)


VALUES = {
    "all exponents": exponents,
    "cancelling": cancelling,
    "probabilities": lambda rng, n: rng.random(n).astype(np.float32),
    "subnormal": lambda rng, n: (rng.random(n) * TINY).astype(np.float32),
    "largest": lambda rng, n: np.full(n, LARGEST),
    "negative zero": lambda rng, n: np.full(n, np.float32(-0.0)),
}


def as_fraction(sums):
    """The value of one sum's digits, as a fraction."""
    powers = [Fraction(2) ** e for e in exact._EXPONENTS]
    return sum(int(d) * p for d, p in zip(np.asarray(sums), powers, strict=False))


@pytest.mark.parametrize("num_bins", [NUM_BINS, exact._FEW_BINS + 1])
@pytest.mark.parametrize("kind", VALUES)
def test_sums_are_exact(kind, num_bins):
    rng = np.random.default_rng(0)
    values = VALUES[kind](rng, NUM_ROWS)
    index = rng.integers(0, NUM_BINS, NUM_ROWS).astype(np.int32)
    sums = add(index, values, num_bins)
    high, low = to_float(sums)
    same_high, _ = to_float(normalise(sums))
    np.testing.assert_array_equal(high, same_high)
    for k in range(NUM_BINS):
        chosen = values[index == k]
        exact = sum(map(Fraction, chosen.tolist()), Fraction(0))
        assert as_fraction(sums[0, k]) == len(chosen) == high[0, k]
        assert as_fraction(sums[1, k]) == exact
        assert as_fraction(normalise(sums)[1, k]) == exact
        # Digits below the smallest normal number are kept, but not shown.
        unseen = Fraction(float(TINY))
        if abs(exact) > Fraction(float(LARGEST)):
            assert not np.isfinite(high[1, k])
        elif abs(exact) < Fraction(float(TINY)):
            assert abs(high[1, k]) <= TINY
        else:
            shown = Fraction(float(high[1, k]))
            ulp = Fraction(float(np.spacing(np.abs(high[1, k]))))
            assert abs(shown - exact) <= ulp / 2 + unseen
            rest = abs(shown + Fraction(float(low[1, k])) - exact)
            assert rest <= ulp * Fraction(2) ** -20 + unseen


@pytest.mark.parametrize("num_bins", [NUM_BINS, exact._FEW_BINS + 1])
@pytest.mark.parametrize(
    "bad", [(np.nan, np.nan), (np.inf, -np.inf), (-np.inf, -np.inf), (np.inf, np.nan)]
)
def test_nonfinite_values_stay_in_their_bin(bad, num_bins):
    values = np.ones(NUM_ROWS, np.float32)
    index = np.arange(NUM_ROWS, dtype=np.int32) % NUM_BINS
    values[[1, 4]] = bad
    high, low = to_float(add(index, values, num_bins)[:, :NUM_BINS])
    np.testing.assert_array_equal(np.isnan(high[1]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(low[1]), [False, True, False])
    np.testing.assert_array_equal(high[0], [331, 331, 330])


@pytest.mark.once
@pytest.mark.parametrize("num_rows", [2**15, exact.MAX_ADDENDS])
@pytest.mark.parametrize("num_bins", [1, exact._FEW_BINS + 1])
def test_no_digit_overflows_in_the_largest_block(num_bins, num_rows):
    """Mantissas of ones, shifted as far as possible, all in one bin."""
    index = jnp.zeros(num_rows, jnp.int32)
    right = jnp.arange(num_rows, dtype=jnp.int32) % 3 > 0

    @jax.jit
    def sums(values):
        return exact.carry(exact.sums_in_bins(index, (values, right, ~right), num_bins))

    for power in range(12):
        value = np.float32((2 - 2**-23) * 2.0**power)
        for sign in (1, -1):
            result = sums(jnp.full(num_rows, sign * value))
            expected = [num_rows, sign * num_rows * Fraction(float(value))]
            expected += [int(jnp.sum(right)), int(jnp.sum(~right))]
            assert [as_fraction(part[0]) for part in result] == expected


def test_order_of_rows_changes_no_bit():
    rng = np.random.default_rng(1)
    values = cancelling(rng, NUM_ROWS)
    index = rng.integers(0, NUM_BINS, NUM_ROWS).astype(np.int32)
    order = rng.permutation(NUM_ROWS)
    first, second = add(index, values), add(index[order], values[order])
    np.testing.assert_array_equal(normalise(first), normalise(second))


def test_merging_is_associative_and_commutative_in_every_bit():
    rng = np.random.default_rng(2)
    values = cancelling(rng, 3 * 96)
    values[5] = np.inf
    index = rng.integers(-1, NUM_BINS, values.size).astype(np.int32)
    empty = summary.init(NUM_BINS, 1)
    parts = [
        update(empty, jnp.asarray(i), [jnp.asarray(v)])
        for i, v in zip(np.split(index, 3), np.split(values, 3), strict=True)
    ]
    a, b, c = parts
    expected = merge(merge(a, b), c).sums
    streamed = empty
    for i, v in zip(np.split(index, 3)[::-1], np.split(values, 3)[::-1], strict=True):
        streamed = update(streamed, jnp.asarray(i), [jnp.asarray(v)])
    at_once = update(empty, jnp.asarray(index), [jnp.asarray(values)])
    for state in (merge(a, merge(b, c)), merge(merge(c, a), b), streamed, at_once):
        np.testing.assert_array_equal(state.sums, expected)


def test_counts_are_exact_beyond_int32():
    """2^k - 1 rows for k up to 40: odd counts beyond 2^24, and beyond int32."""
    index = jnp.array([0, 1, 1], jnp.int32)
    values = jnp.array([0.1, 0.1, 0.2], jnp.float32)
    one = update(summary.init(2, 1), index, [values])
    state, first = one, compute(one)
    for k in range(2, 41):
        state = merge(merge(state, state), one)
        table = compute(state)
        rows = 2**k - 1
        assert table.count[0] == min(rows, 2**31 - 1)
        assert table.count[1] == min(2 * rows, 2**31 - 1)
        np.testing.assert_array_equal(table.weight, np.float32([rows, 2 * rows]))
        # Sums are exact; the quotient is rounded once more than for one row.
        np.testing.assert_allclose(table.means, first.means, rtol=2e-7)


@pytest.mark.parametrize("num_rows", [1_000_003, 8 * 125_001])
def test_long_float_sums(num_rows):
    """Close to the true sum for any number of rows, whole blocks or not."""
    rng = np.random.default_rng(3)
    values = rng.random(num_rows, np.float32)
    signed = np.where(rng.random(num_rows) < 0.5, -values, values)
    valid = rng.random(num_rows) < 0.7

    @jax.jit
    def sums(values, signed, valid):
        return reduce.sum_rows(
            lambda rows, live: [jnp.where(live, x, 0.0) for x in rows],
            (values, signed),
            valid,
        )

    spoiled = [np.where(valid, x, np.nan).astype(np.float32) for x in (values, signed)]
    positive, mixed = sums(*spoiled, valid)
    exact = math.fsum(values[valid].tolist())
    assert abs(float(positive) - exact) <= 1e-7 * exact
    assert abs(float(mixed) - math.fsum(signed[valid].tolist())) <= 1e-7 * exact


def test_counting_rows():
    rng = np.random.default_rng(4)
    index = rng.integers(-3, 9, NUM_ROWS).astype(np.int32)
    valid = rng.random(NUM_ROWS) < 0.5
    counts = reduce.count_rows(lambda row: row, jnp.asarray(index), 5, valid)
    chosen = index[valid & (index >= 0) & (index < 5)]
    np.testing.assert_array_equal(counts, np.bincount(chosen, minlength=5))


SPECIAL = np.float32(
    [0.0, -0.0, 1e-45, -1e-45, TINY, -TINY, np.inf, -np.inf, LARGEST, -LARGEST, 0.5]
)
SCORES = {
    "probabilities": lambda rng, n: rng.random(n, np.float32),
    "ties": lambda rng, n: (rng.integers(0, 5, n) / 4).astype(np.float32),
    "equal": lambda rng, n: np.full(n, np.float32(0.7)),
    "all exponents": exponents,
    "special": lambda rng, n: rng.choice(SPECIAL, n),
    "neighbours": lambda rng, n: (
        np.float32(0.5) + np.float32(2**-24) * rng.integers(0, 9, n).astype(np.float32)
    ),
    "NaN": lambda rng, n: np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
}
SIZE, RANKS = 80, np.arange(0, 90, 3, dtype=np.int32)
select = {
    name: jax.jit(
        lambda s, r, v, f=function: f((s, v), order_statistics.extent((s, v)), r)
    )
    for name, function in (
        ("counting", order_statistics._select_by_counting),
        ("sorting", order_statistics._select_by_sorting),
    )
}


@pytest.mark.parametrize("way", select)
@pytest.mark.parametrize("kind", SCORES)
def test_order_statistics(kind, way):
    """Both ways give exactly the floats of a sort; zeros become +0."""
    rng = np.random.default_rng(5)
    for share in (1.0, 0.6, 0.0):
        scores = SCORES[kind](rng, SIZE).astype(np.float32)
        valid = ~np.isnan(scores) & (rng.random(SIZE) < share)
        kept = np.where(np.abs(scores) < TINY, np.float32(0), scores)[valid]
        expected = np.concatenate([np.sort(kept), np.full(100, np.float32(np.inf))])
        actual = np.asarray(select[way](scores, RANKS, valid))
        np.testing.assert_array_equal(
            actual.view(np.int32), expected[RANKS].view(np.int32)
        )
