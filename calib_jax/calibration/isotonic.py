"""Isotonic regression: the non-decreasing map with the least squared error.

Shapes: N examples, K knots. One problem at a time; batch with `jax.vmap`. Which rows
are pooled is fixed: values have derivatives by outcomes and weights, none by scores.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import (
    checks,
    dispatch,
    exact,
    masking,
    records,
    reduce,
    small_programs,
    transforms,
)
from .._core.domains import Outcome, Weights
from ..binning import bin_sums, search, sorting
from . import pooling, reports
from .reports import FitReport, FitStatus

# Up to this many rows one of the two methods is enough, and a smaller program.
_FEW_ROWS = 2**16
# The least number of knots of a plain call.
_LEAST_KNOTS = 16


@records.record("K", values={"scores": records.ASCENDING, "values": records.SHARE})
class Isotonic(records.Result):
    """Parameters of isotonic regression: a monotone, piecewise linear map.

    Attributes:
      scores: float32 `[K]`, knots, ascending; +inf for knots that are not used.
      values: float32 `[K]`, the calibrated confidence at each knot, which never falls;
        linear in between and constant beyond the ends.
    """

    scores: jax.Array
    values: jax.Array


def fit_isotonic(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Isotonic, FitReport]:
    r"""Isotonic regression: the best confidence that never falls as the score rises.

    Among all non-decreasing functions of the score it has the least squared error and
    the least negative log-likelihood: pool adjacent violators makes blocks of rows,
    each of which gets its mean outcome. Tied scores share a block, and the first and
    last score of each block are knots, as in scikit-learn. It needs no solver:
    `report.num_steps` is 0. It wants a thousand rows or more: with fewer it fits noise,
    and `fit_platt` is the better choice.

    Every knot gets one half if no row is valid (`CONSTANT`) or a valid row has a NaN
    score, an outcome outside [0, 1] or a negative or infinite weight
    (`INVALID_VALUES`). The mean outcome is the result, everywhere, if all scores are
    equal (`CONSTANT`), or no score has better answers than those below it, such as
    where higher scores mean worse answers (`REVERSED`).

    Args:
      scores: floating `[N]`; infinite ones are the least or greatest.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`; bool is fastest.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; 0 removes a row, 2 is a row twice.

    Returns:
      `Isotonic` and `FitReport`. Outside any transformation, and unless arrays are
      spread over devices, the call waits for the fit, and K is a power of two just
      large enough, 16 or more. Elsewhere K is at most the larger of N and 1. Sharded
      rows are gathered.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host outcome or weight outside
        its range.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass
      probability estimates", 2002; Ayer et al., "An empirical distribution function for
      sampling with incomplete information", 1955 (pool adjacent violators).

    Examples:
      >>> scores, outcomes = [0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 1]
      >>> params, report = fit_isotonic(scores, outcomes)
      >>> print(params.scores[:5], params.values[:5])
      [0.1 0.2 0.3 0.4 0.5] [0.  0.5 0.5 1.  1. ]
    """
    rows = checks.scored_rows(scores, outcomes, where, weights, keep_bool=True)
    params, report, num_knots = _fit_isotonic(*rows)
    if small_programs.is_plain(jax.tree.leaves(rows)):
        length = max(_LEAST_KNOTS, 2 ** (max(int(num_knots), 1) - 1).bit_length())
        params = small_programs.shortened(params, length, rows)
    given = scores, outcomes, where, weights
    reports.warn_of_failure("fit_isotonic", report, given)
    return params, report


@dispatch.core(rows=["scores N ..."], rows_of="scores")
def apply_isotonic(params: Isotonic, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[...]` of scores float32 `[...]`; NaN gives NaN."""
    last = params.scores.shape[0] - 1
    after = search.count_at_or_below(params.scores, scores)
    low, high = jnp.clip(after - 1, 0, last), jnp.clip(after, 0, last)
    start, end = params.scores[low], params.scores[high]
    below, above = params.values[low], params.values[high]
    # A finite score is infinitely far from an infinite knot.
    inside = (start < scores) & (jnp.abs(start) < jnp.inf) & (end < jnp.inf)
    inside = inside & (start < end)
    # Halves do not overflow, and the clip undoes rounding.
    share = (0.5 * scores - 0.5 * start) / jnp.where(inside, 0.5 * end - 0.5 * start, 1)
    far = (start == -jnp.inf) & (scores > start) & (end < jnp.inf)
    share = jnp.where(inside, share, far.astype(jnp.float32))
    head, rest = exact.product_in_parts(share, above - below)
    found = jnp.clip((below + head) + rest, below, above)
    return jnp.where(jnp.isnan(scores), jnp.nan, found)


class _Sorted(NamedTuple):
    """What is known of rows in order: keys of scores, and the blocks they make."""

    keys: jax.Array
    blocks: pooling.Pooled


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _fit_isotonic(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> tuple[Isotonic, FitReport, jax.Array]:
    """Parameters, report and the number of knots in use, int32."""
    num_rows = transforms.known("scores", scores.shape[0])
    valid = masking.valid_rows(num_rows, where, weights)
    if num_rows == 0:
        none = jnp.zeros(1, jnp.float32)
        report = reports.report_of_means(none, none, FitStatus.CONSTANT)
        params = Isotonic(scores=none + jnp.inf, values=none + 0.5)
        return params, report, jnp.int32(0)
    scores = lax.stop_gradient(scores)
    share = outcomes.astype(jnp.float32)
    usable = ~jnp.isnan(scores) & masking.usable_outcomes(share, weights)
    invalid, keep = jnp.any(valid & ~usable), valid & usable
    if weights is not None:
        weights = _in_range(weights, keep)
    keys, blocks = _pool(scores, *lax.stop_gradient((outcomes, weights)), keep)
    # Blocks in use are those below, and none only where no row is kept.
    number = jnp.maximum(blocks.number, 1)
    ends = jnp.append(blocks.first[1:], jnp.sum(keep, dtype=jnp.int32)) - 1
    first, last = (
        search.from_key(keys.at[rows].get(mode="clip")) for rows in (blocks.first, ends)
    )
    position = jnp.arange(blocks.first.shape[0], dtype=jnp.int32)
    used = position < number
    first, last = (jnp.where(used, ends, jnp.inf) for ends in (first, last))
    index = jnp.minimum(search.count_at_or_below(first, scores), number) - 1
    weight, means = bin_sums.with_derivative(
        blocks.weight, blocks.mean[None], index, (outcomes,), keep, weights
    )
    # A block of several scores has two knots.
    wide = used & (first < last)
    place = position + reduce.sums_before(wide.astype(jnp.int32))
    num_knots = number + jnp.sum(wide, dtype=jnp.int32)
    length = min(num_rows, 2 * position.shape[0])
    knots = jnp.full(length, jnp.inf, jnp.float32).at[place].set(first, mode="drop")
    second = jnp.where(wide, place + 1, length)
    knots = knots.at[second].set(last, mode="drop")
    block = jnp.full(length, number - 1)
    place = jnp.where(used, place, length)
    block = block.at[place].set(position, mode="drop")
    block = block.at[second].set(position, mode="drop")
    some = jnp.any(keep)
    greatest = jnp.max(share, where=keep, initial=0.0)
    differ = greatest > jnp.min(share, where=keep, initial=1.0)
    one = number == 1
    status = jnp.select(
        [invalid, ~some | (one & ~wide[0]), one & differ],
        [FitStatus.INVALID_VALUES, FitStatus.CONSTANT, FitStatus.REVERSED],
        FitStatus.CONVERGED,
    ).astype(jnp.int32)
    report = reports.report_of_means(weight, means[0], status)
    known = some & ~invalid
    params = Isotonic(
        scores=jnp.where(known, knots, jnp.inf),
        values=jnp.where(known, means[0, block], 0.5),
    )
    return params, report, jnp.where(known, num_knots, 1)


def _in_range(weights: jax.Array, keep: jax.Array) -> jax.Array:
    """Weights times a power of two, so that their sums and products are in the range of
    float32, and no small one is lost without need."""
    _, unit = masking.scaled_weights(weights.shape[0], weights, keep)
    return weights * jnp.clip(2.0**64 / unit, 0.0, jnp.maximum(1.0, 1.0 / unit))


def _pool(
    scores: jax.Array,
    outcomes: jax.Array,
    weights: jax.Array | None,
    keep: jax.Array,
) -> _Sorted:
    if weights is None and outcomes.dtype == bool:
        return _by_counting(scores, outcomes, keep)
    outcomes = outcomes.astype(jnp.float32)
    if weights is not None or scores.shape[0] <= _FEW_ROWS:
        return _by_weighing(scores, outcomes, weights, keep)
    whole = jnp.all(~keep | (outcomes == 0) | (outcomes == 1))

    def count() -> _Sorted:
        keys, blocks = _by_counting(scores, outcomes == 1, keep)
        return _Sorted(keys, blocks.padded(scores.shape[0]))

    return lax.cond(whole, count, lambda: _by_weighing(scores, outcomes, weights, keep))


def _by_counting(scores: jax.Array, right: jax.Array, keep: jax.Array) -> _Sorted:
    """For answers that are right or wrong."""
    # The right ones of tied scores come first.
    packed = sorting.pack(search.sort_key(scores), ~right, keep)
    num_valid = jnp.sum(keep, dtype=jnp.int32)
    blocks = pooling.pool_counts(packed.rows & 1 == 0, num_valid)
    return _Sorted(packed.keys(), blocks)


def _by_weighing(
    scores: jax.Array,
    outcomes: jax.Array,
    weights: jax.Array | None,
    keep: jax.Array,
) -> _Sorted:
    """For any outcomes and weights."""
    keys = jnp.where(keep, search.sort_key(scores), sorting.NO_ROW)
    # The best ones of tied scores come first, and weights decide among equal ones: sums
    # do not depend on the order of rows.
    falling = ~lax.bitcast_convert_type(jnp.abs(outcomes), jnp.uint32)
    given = [] if weights is None else [lax.bitcast_convert_type(weights, jnp.uint32)]
    operands = keys, falling, *given
    keys, falling, *given = lax.sort(operands, num_keys=len(operands), is_stable=False)
    outcomes, *rest = (
        lax.bitcast_convert_type(bits, jnp.float32) for bits in (~falling, *given)
    )
    num_valid = jnp.sum(keep, dtype=jnp.int32)
    blocks = pooling.pool_weights(outcomes, rest[0] if rest else None, num_valid)
    return _Sorted(keys, blocks)
