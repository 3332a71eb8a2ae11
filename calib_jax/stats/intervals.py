r"""Records of intervals, the bootstrap interval, and each interval method once.

Shapes: N examples, D resamples. One problem; many by `jax.vmap`. Fitted parameters are
held fixed, and were fitted on other rows; the estimand is the statistic of the
population from which the rows are exchangeable draws.

Methods, from summary numbers rather than rows: `wilson` (a share), `agresti_coull` (a
mean in [0, 1]), `bonett_price` (a paired difference), `student_quantile`, `byar` (a
Poisson mean) and `interval_of_draws` (percentiles of a bootstrap). Clopper-Pearson is
exact and is in `bounds`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from . import resampling


@records.record(axes={"estimate": None, "lower": None, "upper": None})
class Interval(records.Result):
    """Estimates and intervals around them, three pytrees of one structure.

    Attributes:
      estimate: float32 arrays of any shape, the statistic of the rows.
      lower: arrays of the same shapes, the lower ends.
      upper: arrays of the same shapes, the upper ends.
    """

    estimate: Any
    lower: Any
    upper: Any


@records.record(
    axes={"num_bins": None},
    values=dict.fromkeys(["num_rows", "num_masked", "num_bins"], records.COUNT),
)
class Counts(records.Result):
    """How many rows went into a result.

    Attributes:
      num_rows: int32 scalar, rows that count.
      num_masked: int32 scalar, rows that `where` leaves out.
      num_bins: int32 scalar, bins that hold rows; None where there are no bins.
    """

    num_rows: jax.Array
    num_masked: jax.Array
    num_bins: jax.Array | None = None


def count_rows(valid: jax.Array, rows_in_bins: jax.Array | None = None) -> Counts:
    """`Counts` of rows `[N]` that are valid or not, and of int32 `[num_bins]`."""
    return Counts(
        num_rows=jnp.sum(valid, dtype=jnp.int32),
        num_masked=jnp.sum(~valid, dtype=jnp.int32),
        num_bins=None
        if rows_in_bins is None
        else jnp.sum(rows_in_bins > 0, dtype=jnp.int32),
    )


@records.record()
class BootstrapInterval(Interval):
    """An `Interval` of a statistic, and the rows that went into it.

    Attributes:
      counts: `Counts` of the rows.
    """

    counts: Counts


def bootstrap_interval(
    key: jax.Array,
    statistic: Callable[..., Any],
    num_resamples: int,
    *arrays: ArrayLike,
    confidence_level: ArrayLike = 0.95,
    where: ArrayLike | None = None,
) -> BootstrapInterval:
    r"""Intervals of any weighted statistic, by the paired percentile bootstrap.

    The interval is the central :math:`1 - \alpha` (`confidence_level`) of the resamples
    of `bootstrap`. It needs a statistic with little bias: an accuracy, a share, an
    advantage, a ratio of these, or a difference between two models or methods on the
    same rows. An ECE does not qualify: see `calibration_error_interval`.

    Args:
      key: a JAX random key.
      statistic: takes `*arrays` and `weights`, float32 `[N]` of whole numbers, and
        returns a pytree of float32 arrays; masked rows reach it as zeros of weight 0.
        Build it once: each new function is compiled again.
      num_resamples: static, at least 1; use 2 / (1 - confidence_level) or more.
      *arrays: arrays `[N, ...]` whose first axis is the examples.
      confidence_level: floating scalar in `(0, 1)`; may be traced.
      where: optional bool `[N]`, the rows that count.

    Returns:
      `BootstrapInterval` of the pytree of the statistic; NaN where the estimate is. A
      resample that is NaN counts as infinite in either direction.

    Raises:
      ValueError: without arrays, for arrays of different length or length 0, or a wrong
        count or level.

    References:
      Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Examples:
      >>> def more_right(first, second, weights):
      ...     return jnp.sum(weights * (first - second)) / jnp.sum(weights)
      >>> first, second = (jnp.clip(jnp.arange(1000.0) % k, 0, 1) for k in (4, 2))
      >>> gain = bootstrap_interval(
      ...     jax.random.key(0), more_right, 1000, first, second
      ... )
      >>> print(f"{gain.estimate:.2f}, {gain.lower:.2f} to {gain.upper:.2f}")
      0.25, 0.22 to 0.28
    """
    random, given, mask, size = resampling.arguments(
        key, statistic, num_resamples, arrays, where
    )
    error = checks.error_rate("confidence_level", confidence_level)
    draws = resampling.draws_of(
        random, given, mask, statistic=statistic, num_resamples=size
    )
    return _bootstrap_interval(given, draws, error, mask, statistic=statistic)


@dispatch.core(static=["statistic"])
def _bootstrap_interval(
    arrays: tuple[jax.Array, ...],
    draws: Any,
    error_rate: jax.Array,
    where: jax.Array | None,
    *,
    statistic: Callable[..., Any],
) -> BootstrapInterval:
    valid = masking.valid_rows(arrays[0].shape[0], where)
    arrays = masking.clean_rows(valid, 0, *arrays)
    estimate = statistic(*arrays, weights=valid.astype(jnp.float32))
    found = interval_of_draws(estimate, draws, error_rate)
    return BootstrapInterval(**vars(found), counts=count_rows(valid))


@jax.jit
def interval_of_draws(estimate: Any, draws: Any, error_rate: jax.Array) -> Interval:
    """The central part of bootstrap draws, by the percentile method.

    Args:
      estimate: pytree of float32 arrays.
      draws: the same pytree, with a first axis of draws.
      error_rate: float32 scalar, 1 minus the confidence level.
    """
    leaves, structure = jax.tree.flatten(estimate)
    shapes = [leaf.shape for leaf in leaves]
    flat = [draw.reshape(draw.shape[0], -1) for draw in jax.tree.leaves(draws)]
    # One sort of all numbers, which takes long to compile.
    ordered = jnp.sort(jnp.concatenate(flat, axis=1), axis=0)
    num_draws = ordered.shape[0]
    # Draws beyond either end; a product within rounding of a whole number is whole.
    outside = jnp.floor(0.5 * error_rate * (num_draws + 1) + 1e-3)
    outside = jnp.clip(outside.astype(jnp.int32) - 1, 0, (num_draws - 1) // 2)
    # NaN sort last; they stand for -inf at the lower end and inf at the upper one.
    bad = jnp.sum(jnp.isnan(ordered), axis=0, dtype=jnp.int32)
    place = jnp.stack(
        [outside - bad, jnp.broadcast_to(num_draws - 1 - outside, bad.shape)]
    )
    found = jnp.take_along_axis(ordered, jnp.maximum(place, 0), axis=0)
    lower = jnp.where(bad > outside, -jnp.inf, found[0])
    upper = jnp.where(bad > outside, jnp.inf, found[1])
    unknown = jnp.isnan(jnp.concatenate([leaf.reshape(-1) for leaf in leaves]))
    unknown = unknown | jnp.isnan(error_rate)

    def split(values: jax.Array) -> Any:
        sizes = [math.prod(shape) for shape in shapes]
        cuts = [sum(sizes[:k]) for k in range(1, len(sizes))]
        parts = jnp.split(jnp.where(unknown, jnp.nan, values), cuts)
        parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return Interval(estimate=estimate, lower=split(lower), upper=split(upper))


@jax.jit
def normal_quantile(error_rate: jax.Array) -> jax.Array:
    """Two-sided quantile of the normal distribution, positive, in float32.

    One function for all who ask, which is traced and lowered only once in a program.
    """
    return -ndtri(0.5 * error_rate)


def wilson(share: jax.Array, rows: jax.Array, error_rate: jax.Array) -> Interval:
    """Interval of a share of rows.

    Args:
      share: float32, in `[0, 1]`.
      rows: float32, at least 1; an effective number of rows need not be whole.
      error_rate: float32, 1 minus the confidence level.
    """
    return wilson_of_quantile(share, rows, normal_quantile(error_rate))


def wilson_of_quantile(
    share: jax.Array, rows: jax.Array, quantile: jax.Array
) -> Interval:
    """`wilson` that reaches a number of standard errors, float32 of either sign."""
    weight = quantile**2 / rows
    middle = share + 0.5 * weight
    around = jnp.sqrt(weight * (share * (1 - share) + 0.25 * weight))
    lower, upper = ((middle + sign * around) / (1 + weight) for sign in (-1.0, 1.0))
    return Interval(
        estimate=share,
        lower=jnp.clip(lower, 0.0, 1.0),
        upper=jnp.clip(upper, 0.0, 1.0),
    )


def agresti_coull(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both ends for a mean in `[0, 1]`, after adding z^2 / 2 rows of 0 and as many of
    1.

    Args:
      total: float32, sum of the values.
      squares: float32, sum of their squares.
      rows: float32, their number.
      error_rate: float32, 1 minus the confidence level.
    """
    more = normal_quantile(error_rate) ** 2
    half = 0.5 * more
    ends = _normal(total + half, squares + half, rows + more, error_rate)
    return jnp.clip(ends[0], 0.0, 1.0), jnp.clip(ends[1], 0.0, 1.0)


def bonett_price(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both ends for a mean paired difference in `[-1, 1]`: each side wins one more row.

    Arguments as for `agresti_coull`.
    """
    ends = _normal(total, squares + 2, rows + 2, error_rate)
    return jnp.clip(ends[0], -1.0, 1.0), jnp.clip(ends[1], -1.0, 1.0)


def _normal(
    total: jax.Array, squares: jax.Array, rows: jax.Array, error_rate: jax.Array
) -> tuple[jax.Array, jax.Array]:
    mean, square = total / rows, squares / rows
    deviation = jnp.sqrt(jnp.maximum(square - mean**2, 0.0) / rows)
    reach = normal_quantile(error_rate) * deviation
    return mean - reach, mean + reach


def student_quantile(rows: jax.Array, error_rate: jax.Array) -> jax.Array:
    """Two-sided quantile of Student's distribution with `rows - 1` degrees of freedom.

    Exact for one and two degrees of freedom, by the Cornish-Fisher expansion above;
    NaN for fewer than two rows.
    """
    z = normal_quantile(error_rate)
    n, square = jnp.maximum(rows - 1, 1.0), z**2
    terms = (
        (square + 1) / 4,
        ((5 * square + 16) * square + 3) / 96,
        (((3 * square + 19) * square + 17) * square - 15) / 384,
        ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945)
        / 92160,
    )
    reach = z * (1 + sum(term / n ** (k + 1) for k, term in enumerate(terms)))
    two = (1 - error_rate) / jnp.sqrt(error_rate * (1 - 0.5 * error_rate))
    one = 1 / jnp.tan(0.5 * np.float32(np.pi) * error_rate)
    reach = jnp.where(n == 2, two, jnp.where(n == 1, one, reach))
    return jnp.where(rows > 1, reach, jnp.nan)


def byar(count: jax.Array, error_rate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both ends for a Poisson mean from a count, by Wilson and Hilferty's cube root.

    Breslow and Day, "Statistical Methods in Cancer Research", volume 2, 1987, equations
    2.11 and 2.12.
    """
    z = normal_quantile(error_rate)

    def end(count: jax.Array, z: jax.Array) -> jax.Array:
        some = jnp.maximum(count, 1.0)
        root = 1 - 1 / (9 * some) + z / (3 * jnp.sqrt(some))
        return some * jnp.maximum(root, 0.0) ** 3

    return jnp.where(count > 0, end(count, -z), 0.0), end(count + 1, z)


def by_name(found: Interval) -> dict[str, Any]:
    """From an interval of a dictionary to a dictionary of intervals."""
    return {
        name: Interval(
            estimate=found.estimate[name],
            lower=found.lower[name],
            upper=found.upper[name],
        )
        for name in found.estimate
    }
