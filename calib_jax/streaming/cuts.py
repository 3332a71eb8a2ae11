"""Where a summary of buckets is cut into bins.

Shapes: `num_buckets` buckets of the summary, `num_bins` bins of the result. Only the
bucket of a row is known, not its place in it, so bins are cut at boundaries of buckets.
"""

import jax
import jax.numpy as jnp

from .._core import checks, exact, reduce
from ..binning import bin_sums, search
from ..binning.bins import Bins
from .states import BucketSummary

# So that products of a bin's number and half a count fit an int32.
_MAX_BINS = 2**12
_HALF_BITS = 19


def size_of(num_bins: int, bins: Bins | None) -> int:
    """Static number of bins of a reading; 1 where bins are given."""
    if bins is not None:
        checks.instance("bins", bins, Bins)
        return 1
    return checked_num_bins(num_bins)


def checked_num_bins(num_bins: int) -> int:
    """A static number of bins, not more than counts of a stream can be cut into."""
    size = checks.static_int("num_bins", num_bins, minimum=1)
    if size > _MAX_BINS:
        raise ValueError(f"num_bins: expected at most {_MAX_BINS}, got {size}.")
    return size


def binned(
    state: BucketSummary,
    bins: Bins | None,
    edges: jax.Array,
    num_bins: int,
) -> tuple[Bins, bin_sums.BinSums, jax.Array]:
    """Given bins or bins of equal count, their sums, and how many edges divide each
    bucket, int32 `[num_buckets]`.

    Fresh bins start at one of the `edges` `[num_buckets + 1]`: where each bucket
    starts, then +inf.
    """
    if bins is not None:
        return bins, *in_bins(state, bins)
    bucket, divisions = _cuts(state, num_bins)
    bins = Bins(edges=edges[bucket])
    return bins, in_bins(state, bins)[0], divisions


def _cuts(state: BucketSummary, num_bins: int) -> tuple[jax.Array, jax.Array]:
    """The bucket of each cut into bins of equal count, and how many divide each bucket.

    Returns:
      int32 `[num_bins - 1]`, which is num_buckets for cuts beyond the last row, and
      int32 `[num_buckets]`.
    """
    high, low = (jnp.pad(half, (1, 0)) for half in _counts_upto(state))
    start_high, start_low = _starts(high[-1], low[-1], num_bins)
    passed = (high[None, 1:] < start_high[:, None]) | (
        (high[None, 1:] == start_high[:, None]) & (low[None, 1:] <= start_low[:, None])
    )
    bucket = jnp.sum(passed, axis=1, dtype=jnp.int32)
    at_first = (high[bucket] == start_high) & (low[bucket] == start_low)
    divides = (~at_first).astype(jnp.int32)
    divisions = jnp.zeros(state.least.shape, jnp.int32)
    divisions = divisions.at[bucket].add(divides, mode="drop")
    return bucket, jnp.where(state.least < state.greatest, divisions, 0)


def _counts_upto(
    state: BucketSummary,
) -> tuple[jax.Array, jax.Array]:
    """Rows up to and in each bucket: int32 high and low of `high * 2^19 + low`."""
    # An exact sum of ones has digits of 12 bits from ONE_PLACE on, and 1 is 2^5 there.
    counts = state.sums.sums[0, :-1]
    digits = counts[:, exact.ONE_PLACE : exact.ONE_PLACE + 5]
    low = digits[:, 0] + (digits[:, 1] << 12)
    high = digits[:, 2] + (digits[:, 3] << 12) + (digits[:, 4] << 24)
    # Canonical digits may be negative, of positive sums too.
    high, low = high + (low >> 24), (low & (2**24 - 1)) // exact.ONE_DIGIT
    # In parts of at most 12 bits the sum over 2^19 buckets fits an int32.
    parts = jnp.stack([low & (2**12 - 1), low >> 12, high])
    low, middle, high = parts + reduce.sums_before(parts)
    middle = middle + (low >> 12)
    low = (low & (2**12 - 1)) + ((middle & (2**7 - 1)) << 12)
    return high + (middle >> 7), low


def _starts(
    high: jax.Array, low: jax.Array, num_bins: int
) -> tuple[jax.Array, jax.Array]:
    """The rank at which each bin but the first starts, as in `equal_count_bins`.

    In two halves, because counts pass 2^31.
    """
    k = jnp.arange(1, num_bins, dtype=jnp.int32)
    rest = ((high % num_bins) << _HALF_BITS) + low
    start = k * (rest // num_bins) + jnp.minimum(k, rest % num_bins)
    start_high = k * (high // num_bins) + (start >> _HALF_BITS)
    return start_high, start & (2**_HALF_BITS - 1)


def in_bins(state: BucketSummary, bins: Bins) -> tuple[bin_sums.BinSums, jax.Array]:
    """The sums of the buckets whose least score is in each bin, and how many edges
    divide each bucket."""
    sums = state.sums.sums
    first = search.bin_of(bins.edges, state.least)
    last = search.bin_of(bins.edges, state.greatest)
    place = jnp.append(first, jnp.int32(bins.num_bins))
    shape = (sums.shape[0], bins.num_bins + 1, sums.shape[2])
    result = jnp.zeros(shape, jnp.int32).at[:, place].add(sums)
    # After a merge of different buckets: a row outside every bin makes all means NaN.
    bad = jnp.any(jnp.isnan(state.buckets.edges))
    result = result.at[0, -1, exact.ONE_PLACE].add(jnp.where(bad, exact.ONE_DIGIT, 0))
    some = state.least < state.greatest
    divisions = jnp.where(some, jnp.abs(last - first), 0)
    return bin_sums.BinSums(sums=result), divisions


def share_at_risk(state: BucketSummary, divisions: jax.Array) -> jax.Array:
    """Share of the rows, by weight, in buckets that an edge divides."""
    # NaN where sums of weights exceed float32.
    sums = state.sums.sums[1]
    every = jnp.sum(sums[:-1], axis=0, keepdims=True, dtype=jnp.int32)
    weight, _ = exact.to_float(jnp.concatenate([sums[:-1], every]))
    weight, total = weight[:-1], weight[-1]
    part = jnp.sum(jnp.where(divisions > 0, weight, 0.0))
    return jnp.where(total == 0, 0.0, part / jnp.where(total == 0, 1.0, total))
