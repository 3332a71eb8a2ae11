"""The bootstrap, for any weighted statistic, and a fast one for reliability tables.

Shapes: N examples, D draws in a batch. How often each row is taken depends only on the
key, the number of the draw and N, so everything drawn with one key is paired. This
holds for JAX's default keys (threefry); other kinds give other numbers when the batch
size changes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, reduce, transforms
from .._core.domains import Outcome, Weights
from ..binning import search
from ..binning.bins import Bins
from ..binning.tables import ReliabilityTable
from . import random_words

# Draws computed side by side, and the most counts held at once for any statistic.
_BATCH, _COUNTS = 8, 2**24
# The same for tables, whose counts stay in cache.
_TABLE_BATCH, _TABLE_COUNTS = 32, 2**21
# Up to this number of entries, each row's summands are computed once and held.
_HELD_ENTRIES = 2**22


def bootstrap(
    key: jax.Array,
    statistic: Callable[..., Any],
    num_resamples: int,
    *arrays: ArrayLike,
) -> Any:
    """Draws of a weighted statistic under resampling of its examples.

    Each draw takes N examples with replacement, represented by how often each was
    taken: `statistic(*arrays, weights=counts)`. All arrays share the counts, so a
    comparison between models, or before and after, is paired.

    Give a binned statistic fixed bins, as in
    `functools.partial(expected_calibration_error, bins=bins)`; otherwise each draw cuts
    its own from the rows it holds. For functions of a reliability table,
    `bootstrap_reliability` is many times faster. Draws of an ECE do not make a
    confidence interval: an ECE is biased upwards, and a resample's more so.

    Args:
      key: a JAX random key.
      statistic: takes `*arrays` and `weights`, float32 `[N]` of whole numbers, and
        returns a pytree of arrays. Build it once: each new function is compiled again.
      num_resamples: static number of draws, at least 1.
      *arrays: arrays whose first axis is the N examples.

    Returns:
      The pytree of the statistic, every array with a leading axis `[num_resamples]`.

    Raises:
      ValueError: without arrays, for arrays of different length or length 0, or a wrong
        count.

    References:
      Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Examples:
      >>> def mean(x, weights):
      ...     return jnp.sum(weights * x) / jnp.sum(weights)
      >>> draws = bootstrap(jax.random.key(0), mean, 1000, jnp.arange(100.0))
      >>> print(draws.shape, bool(abs(draws.std() - 2.9) < 0.3))
      (1000,) True
    """
    random, given, _, size = arguments(key, statistic, num_resamples, arrays, None)
    return draws_of(random, given, None, statistic=statistic, num_resamples=size)


def bootstrap_reliability(
    key: jax.Array,
    bins: Bins,
    scores: ArrayLike,
    outcomes: ArrayLike,
    num_resamples: int,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> ReliabilityTable:
    r"""Reliability tables under resampling of the examples, on bins held fixed.

    .. math:: \bar c_b = \frac{\sum_{i \in b} k_i w_i c_i}{\sum_{i \in b} k_i w_i},
        \quad k \sim \mathrm{Multinomial}(N, 1 / N)

    With the same key and N, each draw takes the same rows as in `bootstrap`, so both
    are paired. Functions of a table follow by `jax.vmap`, as in
    `jax.vmap(calibration_error_of_table)(tables)`; as with `bootstrap`, draws of an ECE
    do not make a confidence interval. Where all outcomes of a bin are equal, they are
    equal in every draw, which shows no noise where there is some.

    Each draw takes N of all N rows, and masked ones among them do not count, so with a
    mask the number of rows in a table varies. Sums are float32 products of counts and
    rows, compensated across blocks: means agree with those of `reliability_table` to
    about 1e-6, and their last bits may depend on the order of the rows. A mean whose
    sum exceeds 9e27 is NaN.

    Args:
      key: a JAX random key.
      bins: `Bins` of the scores, the same for every draw.
      scores: floating `[N]`, confidences in `[0, 1]` or any other scores.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_resamples: static number of draws, at least 1.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`: a row counts this often each time it is
        taken.

    Returns:
      `ReliabilityTable` with entries `[num_resamples, num_bins]`; `count` is the number
      of rows taken, with repeats, and `squared_error` is not computed and NaN. Other
      NaN as in `reliability_table`, in the draws that take the row.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, a host outcome or weight
        outside its range, or without rows.

    References:
      Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; Hao et al. 2026,
      arXiv 2601.07965, section 2 (bins).

    Examples:
      >>> import calib_jax
      >>> bins, scores = calib_jax.equal_width_bins(2), jnp.linspace(0.0, 1.0, 100)
      >>> tables = bootstrap_reliability(
      ...     jax.random.key(0), bins, scores, scores > 0.5, 1000
      ... )
      >>> print(tables.confidence.shape, tables.count[:3].sum(axis=1))
      (1000, 2) [100 100 100]
    """
    random = checks.key("key", key)
    checks.instance("bins", bins, Bins)
    rows = checks.scored_rows(scores, outcomes, where, weights)
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    check_drawn("scores", rows[0])
    return tables_of_draws(random, bins, *rows, num_resamples=size)


def arguments(
    key: jax.Array,
    statistic: Callable[..., Any],
    num_resamples: int,
    arrays: tuple[ArrayLike, ...],
    where: ArrayLike | None,
) -> tuple[jax.Array, tuple[jax.Array, ...], jax.Array | None, int]:
    """Key, arrays, mask and number of draws, checked and converted."""
    size = checks.static_int("num_resamples", num_resamples, minimum=1)
    if not callable(statistic):
        raise ValueError(
            f"statistic: expected a function, got {type(statistic).__name__}."
        )
    random = checks.key("key", key)
    if not arrays:
        raise ValueError("arrays: expected at least one array [N, ...], got none.")
    given = tuple(
        checks.any_array(f"arrays[{number}]", array)
        for number, array in enumerate(arrays)
    )
    check_drawn("arrays", given[0])
    mask = checks.mask("where", where)
    named = {f"arrays[{k}]": array for k, array in enumerate(given)}
    checks.same_rows(**named, where=mask)
    return random, given, mask, size


# A statistic of someone else may need any optimisation.
@dispatch.core(
    static=["statistic", "num_resamples"], passes=dispatch.Passes.ALL_OPTIMISED
)
def draws_of(
    key: jax.Array,
    arrays: tuple[jax.Array, ...],
    where: jax.Array | None,
    *,
    statistic: Callable[..., Any],
    num_resamples: int,
) -> Any:
    """Draws of a statistic, in which masked rows are zeros of weight 0."""
    num_rows = arrays[0].shape[0]
    arrays = masking.clean_rows(where, 0, *arrays)

    def batch(draws: jax.Array) -> Any:
        counts = _draw_counts(key, draws, num_rows)
        if where is not None:
            counts = jnp.where(where[None], counts, 0.0)
        return jax.vmap(lambda weights: statistic(*arrays, weights=weights))(counts)

    return in_batches(batch, num_resamples, most_at_once(num_rows))


@dispatch.core(static=["num_resamples"], passes=dispatch.Passes.MANY)
def tables_of_draws(
    key: jax.Array,
    bins: Bins,
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_resamples: int,
) -> ReliabilityTable:
    """`bootstrap_reliability` without its checks."""
    unit = jnp.float32(1)
    if weights is not None:
        every = masking.valid_rows(scores.shape[0], where, weights)
        weights, unit = masking.scaled_weights(scores.shape[0], weights, every)
    bases = _bases(bins)
    index = search.bin_of(bins.edges, scores)
    # The distance is a smaller number than the score: more of its digits are kept.
    distance = jnp.where(index < 0, _NOT_FINITE, scores - bases[jnp.maximum(index, 0)])
    values = distance, outcomes
    count, sums = sums_of_draws(
        key, index, values, where, weights, bins.num_bins, num_resamples
    )
    weight = count.astype(jnp.float32) if weights is None else sums[:, 0]
    confidence, outcome = jnp.moveaxis(means_of_draws(weight, sums[:, -2:]), 1, 0)
    return ReliabilityTable(
        count=count,
        weight=weight * unit,
        confidence=jnp.where(count > 0, confidence + bases[None], confidence),
        outcome=outcome,
        squared_error=jnp.full(outcome.shape, jnp.nan, jnp.float32),
    )


def sums_of_draws(
    key: jax.Array,
    index: jax.Array,
    values: Sequence[jax.Array],
    where: jax.Array | None,
    weights: jax.Array | None,
    num_bins: int,
    num_resamples: int,
) -> tuple[jax.Array, jax.Array]:
    """Number of rows taken and sums in each bin, under resampling of the rows.

    Args:
      key: a JAX random key.
      index: int32 `[N]`, the bin of each row; -1 is outside every bin.
      values: Q float32 or bool arrays `[N]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative float32 `[N]`.
      num_bins: static number of bins.
      num_resamples: static number of draws D.

    Returns:
      int32 `[D, num_bins]`, and float32 `[D, Q, num_bins]` of weighted values, before
      which come the weights if there are some. A sum beyond 9e27, as with a value that
      is not finite or a row outside every bin, is NaN.
    """
    num_rows = index.shape[0]
    rows: Any = (index, tuple(values), weights)
    every = masking.valid_rows(num_rows, where, weights)
    shape = (1 + len(values) + (weights is not None), num_bins)
    held = num_rows * math.prod(shape) <= _HELD_ENTRIES
    if held:
        # Computed once, since all draws share them.
        rows = _features(rows, every, num_bins)
    valid = None if held else every

    def step(state: Any, block: Any, live: jax.Array) -> Any:
        count, total, error = state
        rows, taken = block
        if held:
            taken = jnp.where(live[:, None], taken, 0.0)
        else:
            rows = _features(rows, live, num_bins)
        sums = lax.dot_general(
            taken, rows, (((0,), (0,)), ((), ())), precision=lax.Precision.HIGHEST
        ).reshape(-1, *shape)
        total, lost = exact.two_sum(total, sums)
        # The counts of a block are small enough to be exact.
        return count + sums[:, 0].astype(jnp.int32), total, error + lost

    def batch(draws: jax.Array) -> tuple[jax.Array, jax.Array]:
        taken = _draw_counts(key, draws, num_rows)
        zero = jnp.zeros((draws.shape[0], *shape), jnp.float32)
        state = (zero[:, 0].astype(jnp.int32), zero, zero)
        count, total, error = reduce.fold(
            step, state, (rows, taken.T), valid, entries=math.prod(shape)
        )
        count = jnp.sum(count, axis=0, dtype=jnp.int32)
        return count, jnp.sum(total, axis=0) + jnp.sum(error, axis=0)

    most = min(_TABLE_BATCH, _TABLE_COUNTS // num_rows)
    count, sums = in_batches(batch, num_resamples, most)
    return count, jnp.where(jnp.abs(sums) < _LIMIT, sums, jnp.nan)[:, 1:]


def means_of_draws(weight: jax.Array, sums: jax.Array) -> jax.Array:
    """Means `[D, Q, num_bins]` from weights `[D, num_bins]` and sums like the means.

    0 in a bin without rows; where all values are 1, so is each mean.
    """
    below = jnp.where(weight > 0, weight, 1.0)[:, None]
    pairs = ((part, jnp.zeros_like(part)) for part in (sums, below))
    return exact.divide(*pairs)[0]


def _bases(bins: Bins) -> jax.Array:
    """A number near each bin's scores `[num_bins]`: an edge of it, if it has one."""
    if bins.num_bins == 1:
        return jnp.zeros(1, jnp.float32)
    edges = jnp.concatenate([bins.edges[:1], bins.edges])
    return jnp.where(jnp.isfinite(edges), edges, 0.0)


# Stands for any value that is not finite, because 0 times inf would be NaN: a sum that
# contains it is beyond the limit, and its multiples stay finite.
_NOT_FINITE, _LIMIT = np.float32(2.0**95), np.float32(2.0**93)


def _features(rows: Any, live: jax.Array, num_bins: int) -> jax.Array:
    """What each row adds to the sums, `[rows, (1 + Q) * num_bins]`.

    In its bin 1, the weight if there are weights, and the weighted values. A row
    without a bin adds values that are not finite to every bin.
    """
    index, values, weights = rows
    nowhere = index < 0
    bin_number = jnp.arange(num_bins, dtype=jnp.int32)
    inside = (index[:, None] == bin_number[None]) | nowhere[:, None]
    inside = inside & live[:, None]
    one = jnp.where(nowhere, 0.0, jnp.ones(index.shape, jnp.float32))
    added = [value.astype(jnp.float32) for value in values]
    if weights is not None:
        added = [weights, *(weights * value for value in added)]
    added = [jnp.where(jnp.isfinite(value), value, _NOT_FINITE) for value in added]
    none = [0.0] * (weights is not None) + [_NOT_FINITE] * len(values)
    added = [jnp.where(nowhere, *pair) for pair in zip(none, added, strict=True)]
    each = jnp.stack([one, *added], axis=1)[:, :, None]
    return jnp.where(inside[:, None, :], each, 0.0).reshape(index.shape[0], -1)


def check_drawn(name: str, rows: jax.Array) -> None:
    """Raises `ValueError` unless there is a known number of rows to draw from."""
    if transforms.known(name, rows.shape[0]) == 0:
        raise ValueError(f"{name}: expected N > 0 examples to draw from, got 0.")


def most_at_once(num_rows: int) -> int:
    """How many draws, of one number a row, are held side by side."""
    if not isinstance(num_rows, int):
        return 1
    return max(1, min(_BATCH, _COUNTS // max(num_rows, 1)))


def in_batches(function: Callable[[jax.Array], Any], num_draws: int, most: int) -> Any:
    """`function` of the draws 0, 1, ..., uint32 `[D]`, in batches of at most `most`.

    All batches have one size: a shorter last one would be compiled separately.
    """
    num_batches = -(-num_draws // max(most, 1))
    size = -(-num_draws // num_batches)
    draws = jnp.arange(num_batches * size, dtype=jnp.uint32)
    results = lax.map(function, draws.reshape(num_batches, size))
    return jax.tree.map(
        lambda array: array.reshape(-1, *array.shape[2:])[:num_draws], results
    )


# Up to this number of rows, each of the N rows taken is drawn directly.
_FEW_ROWS = 1024
# By how many standard deviations the total may differ from its mean.
_DEVIATIONS = 6.5


def _draw_counts(key: jax.Array, draws: jax.Array, num_rows: int) -> jax.Array:
    """How often each row is taken when N of N rows are drawn with replacement.

    Independent Poisson counts, given their total S, are distributed like the counts of
    S rows taken. So counts are first drawn as Poisson by comparing a word with the
    distribution function, with a mean that keeps S below N, and the remaining N - S
    rows, which are few, are added one by one. Few rows are all drawn that way. The
    probability of a count differs from the multinomial one by at most 2^-32, that of a
    row among those added by N / 2^32, and that of a total other than N is below 1e-9.

    Args:
      key: a JAX random key.
      draws: uint32 `[D]`, numbers of the draws.
      num_rows: static number of rows N.

    Returns:
      float32 `[D, N]` of whole numbers.
    """
    margin = math.ceil(_DEVIATIONS * math.sqrt(num_rows))
    few = num_rows <= _FEW_ROWS
    num_words, num_more = (0, num_rows) if few else (num_rows, 2 * margin)
    words = random_words.words_of_draws(key, draws, num_more, first=num_words)
    counts = jnp.zeros((draws.shape[0], num_rows), jnp.float32)
    more = jnp.ones(words.shape, jnp.float32)
    if not few:
        drawn = random_words.words_of_draws(key, draws, num_rows)
        whole = _poisson(drawn, 1 - margin / num_rows)
        missing = num_rows - jnp.sum(whole, axis=1, dtype=jnp.int32)
        number = lax.broadcasted_iota(jnp.int32, more.shape, 1)
        more = (number < missing[:, None]).astype(jnp.float32)
        counts = whole.astype(jnp.float32)
    # Places along one axis, of which a CPU makes a quicker loop.
    place = scale(words, num_rows).astype(jnp.int32)
    place = place + num_rows * lax.broadcasted_iota(jnp.int32, place.shape, 0)
    taken = counts.reshape(-1).at[place.reshape(-1)]
    return taken.add(more.reshape(-1), mode="promise_in_bounds").reshape(counts.shape)


def _poisson(words: jax.Array, mean: float) -> jax.Array:
    """Poisson counts, int32, of uniform words; none exceeds 12, for means up to 1."""
    # Compared as signed numbers, for which processors have an instruction.
    signed = lax.bitcast_convert_type(words ^ jnp.uint32(2**31), jnp.int32)
    counts = jnp.zeros(words.shape, jnp.int32)
    term, below = math.exp(-mean), 0.0
    for count in range(12):
        below += term
        term *= mean / (count + 1)
        threshold = min(round(below * 2**32), 2**32 - 1) - 2**31
        counts = counts + (signed >= threshold).astype(jnp.int32)
    return counts


def p_value(
    draws: jax.Array, observed: jax.Array, tolerance: ArrayLike = 0.0
) -> jax.Array:
    """Share of `1 + D` statistics, the observed one included, that reach it.

    Args:
      draws: float32 `[D, ...]`, the statistic under the null.
      observed: float32 `[...]`.
      tolerance: draws this close below count as equal: both are rounded.
    """
    reached = jnp.sum(draws >= observed - tolerance, axis=0, dtype=jnp.int32)
    return (1 + reached).astype(jnp.float32) / (1 + draws.shape[0])


def scale(words: jax.Array, size: int | jax.Array) -> jax.Array:
    """Integers in `[0, size)`: upper words of the products with `size`."""
    low, high = words & 0xFFFF, words >> 16
    size_low, size_high = jnp.uint32(size & 0xFFFF), jnp.uint32(size >> 16)
    first = high * size_low + (low * size_low >> 16)
    second = low * size_high + (first & 0xFFFF)
    return high * size_high + (first >> 16) + (second >> 16)
