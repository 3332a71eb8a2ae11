"""Platt scaling of a stream, from a summary of fixed size: no scores are kept.

Shapes: N examples in a batch, B buckets, two sides: right and wrong answers. A state
does not depend on the order of its rows.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, reduce
from .._core.domains import Outcome, Weights
from ..binning import bin_sums, search
from ..calibration import platt
from ..calibration.platt import Platt
from ..calibration.reports import FitReport
from .results import FitReading
from .states import PlattSummary

DEFAULT_NUM_BUCKETS = 8192
# At least one for each sign and exponent; at most 10 bits more.
_MIN_BUCKETS, _MAX_BUCKETS = 2**9, 2**19


def init_platt(num_buckets: int = DEFAULT_NUM_BUCKETS) -> PlattSummary:
    """An empty summary, to be updated with scores and outcomes.

    Args:
      num_buckets: static power of two from 512 to 2^19; each bucket takes 0.8 kB.

    Returns:
      `PlattSummary`.

    Raises:
      ValueError: for another number.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000.

    Examples:
      >>> print(init_platt(1024).least.shape)
      (2, 1024)
    """
    size = checks.static_int("num_buckets", num_buckets, minimum=_MIN_BUCKETS)
    if size > _MAX_BUCKETS or size & (size - 1):
        raise ValueError(
            f"num_buckets: expected a power of two up to {_MAX_BUCKETS}, got {size}."
        )
    least = jnp.full((2, size), jnp.inf, jnp.float32)
    return PlattSummary(sums=bin_sums.init(size, 5), least=least, greatest=-least)


def update_platt(
    state: PlattSummary,
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> PlattSummary:
    """Adds a batch of scores and outcomes to a summary; in a loop, donate the state.

    Args, errors and NaN as for `update_reliability`, with a `PlattSummary` and any
    finite scores.

    Returns:
      `PlattSummary` of the rows so far and the valid rows of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype, or a host outcome or weight
        outside its range.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000; Kulisch,
      "Computer Arithmetic and Validity", 2013, for exact sums.

    Examples:
      >>> state = update_platt(init_platt(), [-2.0, -1.0, 0.0], [0, 0, 1])
      >>> state = update_platt(state, [1.0, 2.0, 3.0], [0, 1, 1])
      >>> params, fit = fit_platt(state)
      >>> print(f"{params.slope:.3f} {params.intercept:.3f}")
      1.214 -0.607
    """
    checks.instance("state", state, PlattSummary)
    rows = checks.scored_rows(scores, outcomes, where, weights)
    return _update_platt(state, *rows)


@dispatch.core
def _update_platt(
    state: PlattSummary,
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> PlattSummary:
    scores, outcomes, weights = lax.stop_gradient((scores, outcomes, weights))
    valid = masking.valid_rows(scores.shape[0], where, weights)
    usable = jnp.isfinite(scores) & masking.usable_outcomes(outcomes, weights)
    # A valid row that is not usable gets no bucket, and the fit detects that.
    bucket, x = _place(scores, state.least.shape[1])
    index = jnp.where(usable, bucket, -1)
    x, right = jnp.where(usable, x, 0.0), jnp.where(usable, outcomes, 0.0)
    wrong = 1 - right
    quantities = (right, right * x, wrong * x, right * x * x, wrong * x * x)
    sums = bin_sums.update(state.sums, index, quantities, where, weights)
    scores = search.without_subnormals(scores)
    # A partly right row counts on both sides.
    sides = [
        reduce.ends_of_bins(
            (state.least[side], state.greatest[side]), index, scores, valid & counts
        )
        for side, counts in enumerate((right > 0, right < 1))
    ]
    least, greatest = (jnp.stack(ends) for ends in zip(*sides, strict=True))
    return PlattSummary(sums=sums, least=least, greatest=greatest)


def fit_platt(state: PlattSummary) -> tuple[Platt, FitReading]:
    r"""Logistic calibration of a stream of scores, from their moments in buckets.

    The scores of a bucket, right and wrong ones separately, are replaced by three
    points: the least score a, the mean m and the greatest score b, with the weights
    that keep their number, mean and variance v,

    .. math:: \frac{v}{(m - a)(b - a)}, \quad 1 - \frac{v}{(m - a)(b - m)}, \quad
       \frac{v}{(b - m)(b - a)},

    and `calib_jax.fit_platt` is applied to these. Up to two distinct scores are kept as
    they are. Terms linear in the scores are exact; the logarithms in the likelihood are
    off by the third and fourth moments within a bucket. The error is estimated from a
    second fit, to two points at one standard deviation from the mean.

    Statuses are those of `calib_jax.fit_platt`. Scores that differ by less than about
    1e-3 of their size share a bucket or two: subtract a typical score first, or use
    `calib_jax.streaming.blocks.fit_platt`.

    Args:
      state: `PlattSummary` with ends `[2, B]`.

    Returns:
      `Platt` and `FitReading`.

    Raises:
      ValueError: for another type.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000; Golub and
      Welsch, "Calculation of Gauss Quadrature Rules", 1969, for points that keep
      moments.

    Examples:
      >>> state = update_platt(init_platt(), [-2.0, -1.0, 0.0], [0, 0, 1])
      >>> state = update_platt(state, [1.0, 2.0, 3.0], [0, 1, 1])
      >>> params, fit = fit_platt(state)
      >>> print(f"{params.slope:.3f}", fit.converged, fit.estimated_error < 1e-5)
      1.214 True True
    """
    checks.instance("state", state, PlattSummary)
    return _fit_streamed_platt(state)


@dispatch.core
def _fit_streamed_platt(state: PlattSummary) -> tuple[Platt, FitReading]:
    nodes, spread = rows_of_buckets(state)
    both = jax.tree.map(lambda *arrays: jnp.stack(arrays), nodes, spread)

    def fit(rows: Any) -> tuple[Platt, FitReport]:
        arrays = rows["score"], rows["outcome"], None, rows["weight"]
        return platt.fit_rows(*arrays, smooth=False, solver=None)

    fits, reports = jax.vmap(fit)(both)
    params, report = jax.tree.map(lambda leaf: leaf[0], (fits, reports))
    confidence, other = jax.vmap(platt.apply_platt, (0, None))(fits, nodes["score"])
    apart = jnp.where(nodes["weight"] > 0, jnp.abs(confidence - other), 0.0)
    error = jnp.where(report.converged, jnp.max(apart), jnp.inf)
    none = jnp.float32(jnp.nan)
    fields = {"estimated_error": error, "lower": none, "upper": none}
    return params, FitReading(**vars(report), **fields)


def rows_of_buckets(state: PlattSummary) -> tuple[Any, Any]:
    """Weighted rows with the moments of the buckets: three points, and two, of each.

    Returns:
      Two dicts of `score`, `outcome` and `weight`, float32 `[6 B]`.
    """
    sums, size = state.sums.sums, state.least.shape[1]
    both, right = sums[1, :-1], sums[2, :-1]
    # Differences of exact sums are exact.
    weight, _ = exact.to_float(jnp.stack([right, both - right]))
    weight = jnp.maximum(weight, 0.0)
    some = weight > 0
    moments = exact.to_float(sums[3:, :-1])[0].reshape(2, 2, size)
    mean, square = moments / jnp.where(some, weight, 1.0)[None]

    start, width = _bounds(size)
    least = jnp.where(some, state.least, 0.0)
    greatest = jnp.where(some, state.greatest, 0.0)
    low, high = _place(least, size)[1], _place(greatest, size)[1]
    mean = jnp.clip(mean, low, high)
    # Rounding must not bring the variance to 0 between distinct ends: both keep some
    # weight, on which the status of the fit depends.
    reach = high - low
    some_reach = jnp.where(reach > 0, reach, 1.0)
    down = jnp.maximum(mean - low, 1e-7 * some_reach)
    up = jnp.maximum(high - mean, 1e-7 * some_reach)
    variance = jnp.clip(square - mean * mean, 1e-7 * down * up, down * up)
    variance = jnp.where(reach > 0, variance, 0.0)
    first = variance / (down * some_reach)
    last = variance / (up * some_reach)
    shares = jnp.stack([first, 1 - variance / (down * up), last])

    def row(mean: jax.Array) -> jax.Array:
        # Rounding must not pass the ends, above all where they are equal.
        score = start[None] + width[None] * mean
        return jnp.where(some, jnp.clip(score, least, greatest), 0.0)

    outcome = jnp.zeros((3, 2, size), jnp.float32).at[:, 0].set(1.0)
    deviation = jnp.sqrt(variance)
    half = jnp.array([0.5, 0.0, 0.5], jnp.float32)
    # The fit must reject rows that are outside every bucket.
    invalid = jnp.any(sums[0, -1] != 0)

    def rows(scores: list[jax.Array], shares: jax.Array) -> Any:
        weights = jnp.where(invalid, jnp.nan, weight[None] * shares)
        arrays = {"score": jnp.stack(scores), "outcome": outcome, "weight": weights}
        return {name: array.reshape(-1) for name, array in arrays.items()}

    middle = row(mean)
    nodes = rows([least, middle, greatest], shares)
    ends = [row(mean - deviation), middle, row(mean + deviation)]
    return nodes, rows(ends, jnp.broadcast_to(half[:, None, None], shares.shape))


def _place(scores: jax.Array, num_buckets: int) -> tuple[jax.Array, jax.Array]:
    """The bucket of each score, and its position there, from 0 to 1.

    Floats of one exponent are evenly spaced, so their last bits are the position.
    """
    key = search.sort_key(scores)
    shift = 33 - num_buckets.bit_length()
    rest = (key & jnp.uint32(2**shift - 1)).astype(jnp.int32)
    bucket = (key >> shift).astype(jnp.int32)
    return bucket, rest.astype(jnp.float32) * jnp.float32(2.0**-shift)


def _bounds(num_buckets: int) -> tuple[jax.Array, jax.Array]:
    """Least score `[B]` of each bucket, and its width."""
    shift = 33 - num_buckets.bit_length()
    bucket = jnp.arange(num_buckets, dtype=jnp.uint32)
    start, middle = (
        search.from_key((bucket << shift) + jnp.uint32(half))
        for half in (0, 2 ** (shift - 1))
    )
    return start, 2 * (middle - start)
