r"""The calibration error on as many bins as keep the reliability curve monotone.

Shapes: N examples. Functions take one problem; batch with `jax.vmap`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, reduce, transforms
from .._core.domains import Confidence, Outcome
from ..binning import search, sorting, tables
from ..binning.bins import Bins
from . import calibration_errors

# Sums of digits wrap around beyond 2^32, and differences of them do not where a bin
# holds at most half of so many rows.
_DIGIT_BITS, _FEW_BITS, _MANY_ROWS = 8, 4, 2**25
_OUTCOME_BITS = 24


def sweep_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    max_bins: int = 1000,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""ECE on the most bins of equal count whose mean outcomes never fall (ECE-sweep).

    The number of bins grows from 1, and stops before the first number at which the mean
    outcome of a bin is below that of a bin of lower confidence. The result is
    `expected_calibration_error` with that `num_bins`. It has less bias than 15 bins
    whatever N is, if the accuracy of the model does rise with its confidence; where it
    does not, the sweep stops early and hides errors. It takes no weights: repeated rows
    of a bootstrap would let the sweep go on. All rows are sorted, so sharded rows are
    gathered.

    The paper puts no limit on the number of bins. `max_bins` is reached only where
    outcomes are almost sorted by the scores. Its authors' code has bins that differ by
    one row from `equal_count_bins`, separates tied scores, and has the root of the mean
    squared gap by default.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct;
        means of partial credit are compared to about 1e-7.
      max_bins: static number of bins, at least 1, at which the sweep ends.
      where: optional bool `[N]`, the rows that count.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN or value
      outside its range.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host value outside its
        range.

    References:
      Roelofs et al., "Mitigating bias in calibration error estimation", 2022, arXiv
      2012.08668, algorithm 1.

    Examples:
      >>> scores, outcomes = [0.1, 0.2, 0.6, 0.7, 0.8, 0.9], [0, 0, 1, 0, 1, 1]
      >>> print(sweep_calibration_error(scores, outcomes).round(3))
      0.15
    """
    rows = checks.scored_rows(scores, outcomes, where, keep_bool=True)[:3]
    size = checks.static_int("max_bins", max_bins, minimum=1)
    return _sweep(*rows, max_bins=size)


@dispatch.core(static=["max_bins"], rows=["scores", "outcomes", "where"])
def _sweep(
    scores: Confidence, outcomes: Outcome, where: jax.Array | None, *, max_bins: int
) -> jax.Array:
    num_rows = scores.shape[0]
    if num_rows == 0:
        return jnp.full((), jnp.nan, jnp.float32)
    valid = masking.valid_rows(num_rows, where)
    count = jnp.sum(valid, dtype=jnp.int32)
    ordered = search.sort_key(lax.stop_gradient(scores))
    key, sorted_outcomes = sorting.by_key(ordered, outcomes, valid, all_high=True)
    sums, units = _sums_before(sorted_outcomes, key != sorting.NO_ROW)
    number = jnp.arange(max_bins, dtype=jnp.int32)

    def starts(num_bins: jax.Array) -> jax.Array:
        """The rank at which each bin starts; that of unused ones is beyond all."""
        k = jnp.minimum(number, num_bins)
        start = k * (count // num_bins) + jnp.minimum(k, count % num_bins)
        return jnp.where(number < num_bins, start, count)

    def rises(num_bins: jax.Array) -> jax.Array:
        start = starts(num_bins)
        # A block of tied scores is in the bin that starts in it.
        first = _first_of(key, key.at[start].get(mode="clip"))
        places = jnp.append(jnp.where(start < count, first, count), count)
        rows = jnp.diff(places)
        parts = jnp.diff(sums[:, places]).astype(jnp.uint32).astype(jnp.float32)
        mean = jnp.sum(parts * units[:, None], axis=0)
        mean = mean / jnp.maximum(rows, 1).astype(jnp.float32)
        # The last bin before each that holds rows, if there is one.
        last = _first_of(places, places[:-1]) - 1
        return jnp.all((rows == 0) | (last < 0) | (mean >= mean[last]))

    def more(state: Any) -> Any:
        num_bins, _ = state
        monotone = rises(num_bins + 1)
        return jnp.where(monotone, num_bins + 1, num_bins), monotone

    most = jnp.minimum(count, max_bins)
    state = transforms.carry(more, (jnp.int32(1), count > 0))
    num_bins, _ = lax.while_loop(
        lambda state: state[1] & (state[0] < most), more, state
    )
    start = starts(num_bins)[1:]
    edges = search.from_key(key.at[start].get(mode="clip"))
    bins = Bins(edges=jnp.where(start < count, edges, jnp.inf))
    table = tables.gaps_of_rows(bins, scores, outcomes, where, None)
    return calibration_errors.expected_gap(table)


def _first_of(ascending: jax.Array, values: jax.Array) -> jax.Array:
    """The place of the first number that is at least each value, by bisection.

    `jnp.searchsorted` takes no symbolic length.
    """
    length = ascending.shape[0]
    num_steps = length.bit_length() if isinstance(length, int) else 31

    def ahead(number: jax.Array, low: jax.Array) -> jax.Array:
        upto = low + (1 << (num_steps - 1 - number))
        below = ascending.at[upto - 1].get(mode="clip") < values
        return jnp.where((upto <= length) & below, upto, low)

    low = jnp.zeros(values.shape, jnp.int32)
    low = transforms.carry(lambda low: ahead(jnp.int32(0), low), low)
    return lax.fori_loop(0, num_steps, ahead, low)


def _sums_before(outcomes: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int32 `[digits, N + 1]`, sums of the outcomes before each place and of all, digit
    by digit, which may wrap around; and the units of the digits, float32."""
    if outcomes.dtype == bool:
        digits, units = [(outcomes & valid).astype(jnp.int32)], [1.0]
    else:
        few = transforms.at_most(outcomes.shape[0], _MANY_ROWS)
        bits = _DIGIT_BITS if few else _FEW_BITS
        # NaN, which makes the result NaN, is any integer here.
        whole = jnp.where(valid & (outcomes >= 0), outcomes * 2.0**_OUTCOME_BITS, 0.0)
        whole = jnp.minimum(whole, 2.0**_OUTCOME_BITS - 1).astype(jnp.int32)
        shifts = range(0, _OUTCOME_BITS, bits)
        digits = [(whole >> shift) & (2**bits - 1) for shift in shifts]
        units = [2.0 ** (shift - _OUTCOME_BITS) for shift in shifts]
    parts = jnp.stack(digits)
    before = reduce.sums_before(parts)
    total = before[:, -1:] + parts[:, -1:]
    return jnp.concatenate([before, total], axis=1), jnp.array(units, jnp.float32)
