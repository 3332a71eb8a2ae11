"""Platt scaling of a stream, from a summary of fixed size: no scores are kept.

Shapes: N examples of a batch, B buckets, two sides: right and wrong answers. Sums are
exact (`_exact`), so that merging (`calib_jax.streaming.merge_fits`) is associative and
commutative bit for bit, and the state does not depend on the order of its rows.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, reduce
from ..binning import bin_sums, search
from ..calibration import platt
from ..calibration.platt import Platt
from ..calibration.solvers import FitReport

DEFAULT_NUM_BUCKETS = 8192
# Of at least one for each sign and power of two, at most of 10 bits more.
_MIN_BUCKETS, _MAX_BUCKETS = 2**9, 2**19


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PlattSummary:
    """Exact moments of right and wrong answers in buckets of any score.

    A bucket holds the float32 numbers that share their first bits: sign, exponent and,
    with 8192 buckets, 4 bits more, so that it is as wide as 1/16 to 1/32 of its scores.

    Attributes:
      sums: `BinSums` of five quantities: the outcome, and of x, where in its bucket a
        score lies from 0 to 1, the products of x and of its square with the outcome
        and with one minus it.
      least: float32 `[2, B]`, least score of the right and of the wrong answers of each
        bucket; +inf where there are none.
      greatest: float32 `[2, B]`, the greatest; -inf where there are none.
    """

    sums: bin_sums.BinSums
    least: jax.Array
    greatest: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StreamedPlatt:
    """What a Platt fit of a stream says of itself.

    Attributes:
      estimated_error: float32 scalar, of the confidence of any score seen, absolute; an
        estimate, and no bound; +inf where there is no optimum.
      report: `FitReport` of the fit to the buckets.
    """

    estimated_error: jax.Array
    report: FitReport

    @property
    def status(self) -> jax.Array:
        """int32 scalar, a `FitStatus`, as that of the fit in memory."""
        return self.report.status


def init_platt(num_buckets: int = DEFAULT_NUM_BUCKETS) -> PlattSummary:
    """The summary of no rows, to be updated with scores and outcomes.

    Args:
      num_buckets: static power of two from 512 to 2^19; one takes 0.8 kB.

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

    Args:
      state: `PlattSummary`.
      scores: floating `[N]`, finite.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, such as that of a padded last batch.
      weights: optional non-negative `[N]`; weight 2 is the row twice, 0 removes it.

    Returns:
      `PlattSummary` of the rows so far and the valid ones of the batch.

    Raises:
      ValueError: for a wrong type, rank, shape or dtype.

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
    score = checks.floats("scores", scores)
    outcome = checks.outcomes("outcomes", outcomes)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(scores=score, outcomes=outcome, where=mask, weights=weight)
    return _update_platt(state, score, outcome, mask, weight)


@dispatch.core
def _update_platt(
    state: PlattSummary,
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> PlattSummary:
    scores, outcomes, weights = lax.stop_gradient((scores, outcomes, weights))
    valid = masking.valid_rows(scores.shape[0], where, weights)
    usable = jnp.isfinite(scores) & (outcomes >= 0) & (outcomes <= 1)
    if weights is not None:
        usable = usable & (weights >= 0) & (weights < jnp.inf)
    # A valid row that is not usable is in no bucket, which the fit sees.
    bucket, x = _place(scores, state.least.shape[1])
    index = jnp.where(usable, bucket, -1)
    x, right = jnp.where(usable, x, 0.0), jnp.where(usable, outcomes, 0.0)
    wrong = 1 - right
    quantities = (right, right * x, wrong * x, right * x * x, wrong * x * x)
    sums = bin_sums.update(state.sums, index, quantities, where=where, weights=weights)
    # Binning takes -0.0 and subnormal numbers as 0.
    tiny = jnp.finfo(jnp.float32).tiny
    scores = jnp.where(jnp.abs(scores) < tiny, jnp.float32(0), scores)
    # A partly right row counts on both sides.
    sides = [
        reduce.ends_of_bins(
            (state.least[side], state.greatest[side]), index, scores, valid & counts
        )
        for side, counts in enumerate((right > 0, right < 1))
    ]
    least, greatest = (jnp.stack(ends) for ends in zip(*sides, strict=True))
    return PlattSummary(sums=sums, least=least, greatest=greatest)


def fit_platt(state: PlattSummary) -> tuple[Platt, StreamedPlatt]:
    r"""Logistic calibration of a stream of scores, from their moments in buckets.

    The scores of a bucket, right and wrong ones apart, are replaced by three points:
    the least a, the mean m and the greatest b, with the weights that keep their number,
    mean and variance v,

    .. math:: \frac{v}{(m - a)(b - a)}, \quad 1 - \frac{v}{(m - a)(b - m)}, \quad
       \frac{v}{(b - m)(b - a)},

    to which `calib_jax.fit_platt` is applied. Up to two distinct scores are kept as
    they are. Terms linear in the scores are exact, the logarithms of the likelihood are
    off by the third and fourth moments of a bucket. On outputs of real models slope
    and intercept were off by at most 2e-5, relative, with 8192 buckets. The error is
    estimated from a second fit, to two points at one standard deviation from the mean.

    Statuses are those of `calib_jax.fit_platt`. Scores that differ by less than some
    1e-3 of their size share a bucket or two: subtract a typical score first, or use
    `calib_jax.streaming.blocks.fit_platt`.

    Args:
      state: `PlattSummary` with ends `[2, B]`.

    Returns:
      `Platt` and `StreamedPlatt`.

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
      >>> print(f"{params.slope:.3f}", fit.report.converged, fit.estimated_error < 1e-5)
      1.214 True True
    """
    checks.instance("state", state, PlattSummary)
    return _fit_streamed_platt(state)


@dispatch.core
def _fit_streamed_platt(state: PlattSummary) -> tuple[Platt, StreamedPlatt]:
    nodes, spread = rows_of_buckets(state)
    both = jax.tree.map(lambda *arrays: jnp.stack(arrays), nodes, spread)

    def fit(rows: Any) -> tuple[Platt, FitReport]:
        return platt.fit_platt(rows["score"], rows["outcome"], weights=rows["weight"])

    fits, reports = jax.vmap(fit)(both)
    params, report = jax.tree.map(lambda leaf: leaf[0], (fits, reports))
    confidence, other = jax.vmap(platt.apply_platt, (0, None))(fits, nodes["score"])
    apart = jnp.where(nodes["weight"] > 0, jnp.abs(confidence - other), 0.0)
    error = jnp.where(report.converged, jnp.max(apart), jnp.inf)
    return params, StreamedPlatt(estimated_error=error, report=report)


def rows_of_buckets(state: PlattSummary) -> tuple[Any, Any]:
    """Weighted rows that have the moments of the buckets: two ways to choose them.

    Returns:
      Twice a dict of `score`, `outcome` and `weight`, float32 `[6 B]`.
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
    # What is left of the variance by rounding is never quite 0 between distinct ends,
    # so that both keep some weight, and with it the status of the fit.
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
        # Where two ends are equal, so is all between them.
        score = start[None] + width[None] * mean
        return jnp.where(some, jnp.clip(score, least, greatest), 0.0)

    outcome = jnp.zeros((3, 2, size), jnp.float32).at[:, 0].set(1.0)
    deviation = jnp.sqrt(variance)
    half = jnp.array([0.5, 0.0, 0.5], jnp.float32)
    # A row that is in no bucket is no row that a fit may have.
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
    """The bucket of each score, and where in it the score lies, from 0 to 1.

    Floats of one exponent are evenly spaced, so that their last bits say where.
    """
    key = search.sort_key(scores)
    shift = 33 - num_buckets.bit_length()
    rest = (key & jnp.uint32(2**shift - 1)).astype(jnp.int32)
    bucket = (key >> shift).astype(jnp.int32)
    return bucket, rest.astype(jnp.float32) * jnp.float32(2.0**-shift)


def _bounds(num_buckets: int) -> tuple[jax.Array, jax.Array]:
    """Least score `[B]` of each bucket, and how far its scores reach."""
    shift = 33 - num_buckets.bit_length()
    bucket = jnp.arange(num_buckets, dtype=jnp.uint32)
    start, middle = (
        search.from_key((bucket << shift) + jnp.uint32(half))
        for half in (0, 2 ** (shift - 1))
    )
    return start, 2 * (middle - start)
