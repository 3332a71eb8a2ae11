"""Bounds and p-values for a rate or a mean that hold for any number of trials.

Trials are exchangeable: independent rows of one distribution, chosen before looking at
any of them. Each bound and p-value then holds at its stated rate for every sample size,
not only in the limit.

`clopper_pearson` and `binomial_p_value` run on the host in float64 (`tails`), for a
handful of counts, and so does `hoeffding_bentkus_p_value` where it is called plainly.
The bounds that risk control needs under `jax.jit` are in JAX:
`hoeffding_bentkus_p_value`, `betting_p_value` and `upper_rate`, for counts up to 2^24,
p-values down to 1e-10 and bounds accurate to 1e-5, relative.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, reduce
from .._core.domains import NonNegative, Share
from . import binomial, tails


def clopper_pearson(
    num_successes: ArrayLike,
    num_trials: ArrayLike,
    confidence_level: ArrayLike = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Exact bounds on a success rate (Clopper-Pearson), each one-sided.

    .. math:: P(X \ge k \mid p = lower) = \alpha, \quad P(X \le k \mid p = upper) =
        \alpha, \quad X \sim \mathrm{Binomial}(n, p)

    Each bound on its own holds with probability `confidence_level`, :math:`1 - \alpha`;
    both together hold with at least :math:`1 - 2 \alpha`. So 0.975 gives the usual
    two-sided 95 % interval.

    Runs on the host, in float64; arrays of counts broadcast.

    Args:
      num_successes: integer scalar or array, k, from 0 to n.
      num_trials: integer scalar or array, n; 0 gives the bounds 0 and 1.
      confidence_level: floating scalar or array in `(0, 1)`, of each bound.

    Returns:
      Lower and upper bound, float64 NumPy scalars or arrays.

    Raises:
      ValueError: for a wrong dtype, shapes that do not broadcast, impossible counts, a
        level outside `(0, 1)`, or a traced array.

    References:
      Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
      Case of the Binomial", 1934.

    Examples:
      >>> lower, upper = clopper_pearson(10, 200)
      >>> print(f"{lower:.4f} {upper:.4f}")
      0.0274 0.0833
    """
    k, n, error = tails.broadcast(
        num_successes=tails.counts("num_successes", num_successes),
        num_trials=tails.counts("num_trials", num_trials),
        confidence_level=tails.error_rate("confidence_level", confidence_level),
    )
    tails.check_nested(num_successes=k, num_trials=n)
    lower, upper = tails.binomial_bounds(k, n, error)
    return lower[()], upper[()]


def binomial_p_value(
    num_successes: ArrayLike, num_trials: ArrayLike, max_rate: ArrayLike
) -> np.ndarray:
    r"""p-value of the hypothesis that a success rate exceeds `max_rate`.

    .. math:: P(X \le k), \quad X \sim \mathrm{Binomial}(n, \text{max\_rate})

    A small p-value is evidence that the rate is at most `max_rate`. If the rate is
    higher, the p-value is at most u with probability at most u, for every u.

    Runs on the host, in float64; arrays broadcast.

    Args:
      num_successes: integer scalar or array, k, from 0 to n, usually of failures or
        errors.
      num_trials: integer scalar or array, n; 0 gives 1.
      max_rate: floating scalar or array in `[0, 1]`.

    Returns:
      float64 NumPy scalar or array in `[0, 1]`; NaN for a NaN.

    Raises:
      ValueError: for a wrong dtype, shapes that do not broadcast, impossible counts, a
        rate outside `[0, 1]`, or a traced array.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052 (binary losses).

    Examples:
      >>> print(f"{binomial_p_value(10, 200, 0.1):.5f}")
      0.00807
    """
    k, n, rate = tails.broadcast(
        num_successes=tails.counts("num_successes", num_successes),
        num_trials=tails.counts("num_trials", num_trials),
        max_rate=tails.probabilities("max_rate", max_rate),
    )
    tails.check_nested(num_successes=k, num_trials=n)
    return tails.binomial_at_most(k, n, rate)[()]


def hoeffding_bentkus_p_value(
    total_loss: ArrayLike, num_rows: ArrayLike, max_mean: ArrayLike
) -> jax.Array:
    r"""p-value of the hypothesis that a mean loss exceeds `max_mean`, from the total.

    For losses anywhere in `[0, 1]`; if they are only 0 or 1, `binomial_p_value` is
    smaller.

    .. math:: \min\left( e^{-n h(\min(\hat R, \alpha), \alpha)},\;
        e \, P(\mathrm{Binomial}(n, \alpha) \le \lceil n \hat R \rceil) \right),
        \quad h(a, b) = a \log\frac ab + (1 - a) \log\frac{1 - a}{1 - b}

    Args:
      total_loss: floating scalar from 0 to n, the sum of the losses, n times their
        mean; above n the p-value is 1.
      num_rows: integer scalar n; 0 gives 1.
      max_mean: floating scalar in `[0, 1]`; may be traced.

    Returns:
      float32 scalar in `[0, 1]`; NaN for a NaN or a value outside its range.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Bates et al., "Distribution-Free, Risk-Controlling Prediction Sets", 2021, arXiv
      2101.02703, section 3.1; Angelopoulos et al., "Learn then Test", 2021, arXiv
      2110.01052, proposition 1.

    Examples:
      >>> print(f"{hoeffding_bentkus_p_value(10.0, 200, 0.1):.5f}")
      0.02194
    """
    total = checks.scalar("total_loss", total_loss)
    rows = checks.count("num_rows", num_rows)
    mean = checks.scalar("max_mean", max_mean)
    return _hoeffding_bentkus_p_value(total, rows, mean)


def betting_p_value(
    losses: ArrayLike, max_mean: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""p-value of the hypothesis that a mean loss exceeds `max_mean`, by betting on it.

    A bettor at fair odds against mean = `max_mean` cannot gain on average when the true
    mean is larger, so a capital of M is evidence of strength 1 / M (Markov). Here M is
    the mean capital of eight bettors, each with a fixed stake:

    .. math:: M = \frac18 \sum_g \prod_i (1 + \lambda_g (\alpha - L_i)), \quad
        p = \min(1, 1 / M)

    The stakes suit losses whose standard deviation is between 1/20 of its largest
    possible value and that value. The less the losses vary, the tighter this is, while
    `hoeffding_bentkus_p_value` assumes that they vary as much as possible. The order of
    the rows does not matter.

    Args:
      losses: floating `[N]` in `[0, 1]`.
      max_mean: floating scalar in `[0, 1]`; may be traced.
      where: optional bool `[N]`, the rows that count.

    Returns:
      float32 scalar in `[0, 1]`; 1 without rows, NaN with a valid NaN or value outside.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Waudby-Smith and Ramdas, "Estimating Means of Bounded Random Variables by
      Betting", 2024, arXiv 2010.09686 (diversified Kelly bets).

    Examples:
      >>> print(f"{betting_p_value(jnp.linspace(0.0, 0.2, 100), 0.2):.6f}")
      0.000029
    """
    loss = checks.floats("losses", losses)
    mean = checks.scalar("max_mean", max_mean)
    mask = checks.mask("where", where)
    checks.same_shape(losses=loss, where=mask)
    return _betting_p_value(loss, mean, mask)


def upper_rate(
    successes: jax.Array, trials: jax.Array, error_rate: jax.Array
) -> jax.Array:
    """The upper bound of Clopper and Pearson, for use under jit; float32 scalars."""

    def excluded(rate: jax.Array) -> jax.Array:
        lower, _ = binomial.tails(successes, trials, binomial.pair(rate))
        return lower <= error_rate

    rate = binomial.least_float(excluded)[0]
    return jnp.where(jnp.isnan(successes) | jnp.isnan(error_rate), jnp.nan, rate)


def hoeffding_bentkus(
    total: binomial.Pair,
    rows: jax.Array,
    level: jax.Array,
    *,
    binary: bool | jax.Array = False,
) -> jax.Array:
    """The p-value of Hoeffding and Bentkus from float32 scalars, the total a pair.

    Where losses are `binary`, 0 or 1, it is the binomial one, which is smaller.
    """
    mean = binomial.pair(level)
    high = jnp.ceil(total[0])
    whole = jnp.where((high == total[0]) & (total[1] > 0), high + 1, high)
    tail = binomial.tails(whole, rows, mean)[0]
    below = binomial.to_float(binomial.minus(total, binomial.times(rows, mean)))
    hoeffding = jnp.exp(-binomial.deviance(total, rows, mean))
    hoeffding = jnp.where(below < 0, hoeffding, 1.0)
    bentkus = np.float32(np.e) * tail
    p_value = jnp.minimum(jnp.minimum(hoeffding, bentkus), 1.0)
    p_value = jnp.where(binary, tail, p_value)
    unknown = jnp.isnan(below) | (binomial.to_float(total) < 0)
    return jnp.where(unknown, jnp.nan, p_value)


def betting(counts: jax.Array, losses: jax.Array, level: jax.Array) -> jax.Array:
    """The betting p-value from the number of rows at each loss.

    Args:
      counts: float32 `[L]`, numbers of rows.
      losses: float32 `[L]`, in `[0, 1]`.
      level: float32 scalar.
    """
    stakes = _stakes(jnp.sum(counts), level)
    most = binomial.pair(jnp.full_like(losses, level))
    distance = binomial.minus(most, binomial.pair(losses))
    below = exact.sum_pairs(binomial.times(counts, distance), axis=0)
    bets = stakes[:, None] * (level - losses)[None]
    rest = jnp.sum(counts[None] * binomial.log1p_minus(bets), axis=1)
    return _capital_p_value(stakes, binomial.to_float(below), rest)


# The number of bettors, the ratio of the largest stake to the smallest, and the largest
# stake as a share of the greatest loss in one row.
_NUM_STAKES, _STAKES_RATIO, _MAX_STAKE = 8, 20.0, 0.95


def _stakes(rows: jax.Array, level: jax.Array) -> jax.Array:
    """Each bettor's stake, float32 `[G]`, independent of the losses.

    At a standard deviation of s, the stake sqrt(2 log(1 / p) / n) / s reaches a capital
    of 1 / p on the least evidence; here for p near 0.05, with s from 1 down, as a share
    of the greatest loss in one row.
    """
    steps = np.geomspace(1, _STAKES_RATIO, _NUM_STAKES).astype(np.float32)
    share = jnp.minimum(jnp.sqrt(6 / jnp.maximum(rows, 1.0)) * steps, _MAX_STAKE)
    # With a level near 1 almost nothing can be lost.
    return share / jnp.maximum(1 - level, 1e-6)


def _capital_p_value(stakes: jax.Array, below: jax.Array, rest: jax.Array) -> jax.Array:
    # log(1 + x) is x plus a rest: the sum of x has no error that grows with the rows.
    log_capital = stakes * below + rest
    log_mean = jax.nn.logsumexp(log_capital) - np.float32(np.log(_NUM_STAKES))
    return jnp.exp(-jnp.maximum(log_mean, 0.0))


@dispatch.core(host=True)
def _hoeffding_bentkus_p_value(
    total_loss: NonNegative, num_rows: NonNegative, max_mean: Share
) -> Any:
    if isinstance(total_loss, np.ndarray):
        return tails.hoeffding_bentkus(total_loss, num_rows, max_mean)
    # Integers have no NaN to stand for a value outside.
    rows = jnp.where(num_rows >= 0, num_rows.astype(jnp.float32), jnp.nan)
    return hoeffding_bentkus(binomial.pair(total_loss), rows, max_mean)


@dispatch.core
def _betting_p_value(
    losses: Share, max_mean: Share, where: jax.Array | None
) -> jax.Array:
    valid = masking.valid_rows(losses.shape[0], where)
    sums = reduce.sum_bins(
        lambda rows: (jnp.zeros(rows.shape, jnp.int32), (rows,)), losses, 1, where
    )
    (rows, high), (_, low) = (part[:, 0] for part in exact.to_float(sums))
    below = binomial.minus(binomial.times(rows, binomial.pair(max_mean)), (high, low))
    stakes = _stakes(rows, max_mean)

    def rest(block: jax.Array, live: jax.Array) -> jax.Array:
        bets = stakes[:, None] * (max_mean - block)[None]
        terms = binomial.log1p_minus(bets)
        return jnp.sum(jnp.where(live[None], terms, 0.0), axis=1)

    nonlinear = reduce.sum_blocks(rest, (_NUM_STAKES,), losses, valid)
    return _capital_p_value(stakes, binomial.to_float(below), nonlinear)
