"""Exact and finite-sample statements about a rate or a mean, for any number of trials.

Trials are exchangeable draws: independent rows of one distribution, chosen before
anything was seen of them. Each bound and p-value is then right as often as it says, not
only in the limit. Counts are whole numbers up to 2^24, of which p-values down to 1e-10
and bounds are accurate to 1e-5, relative.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, reduce
from . import binomial


def clopper_pearson(
    num_successes: ArrayLike, num_trials: ArrayLike, error_probability: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    r"""Exact bounds on the rate of successes (Clopper-Pearson), each one-sided.

    .. math:: P(X \ge k \mid p = lower) = \delta, \quad P(X \le k \mid p = upper) =
        \delta, \quad X \sim \mathrm{Binomial}(n, p)

    Each bound is wrong with a probability of at most `error_probability`, the interval
    between both with one of at most twice that.

    Args:
      num_successes: integer scalar k, from 0 to n; else both bounds are NaN.
      num_trials: integer scalar n; 0 gives the bounds 0 and 1.
      error_probability: floating scalar in `(0, 1)`; may be traced.

    Returns:
      Lower and upper bound, float32 scalars. `jax.vmap` makes them of many counts.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in the
      Case of the Binomial", 1934.

    Examples:
      >>> lower, upper = clopper_pearson(10, 200, 0.05)
      >>> print(f"{lower:.4f} {upper:.4f}")
      0.0274 0.0833
    """
    successes = checks.count("num_successes", num_successes)
    trials = checks.count("num_trials", num_trials)
    error = checks.scalar("error_probability", error_probability)
    return _clopper_pearson(successes, trials, error)


def binomial_p_value(
    num_successes: ArrayLike, num_trials: ArrayLike, max_rate: ArrayLike
) -> jax.Array:
    r"""p-value of the hypothesis that the rate of successes exceeds `max_rate`.

    .. math:: P(X \le k), \quad X \sim \mathrm{Binomial}(n, \text{max\_rate})

    A small one says that the rate is at most `max_rate`. If it is not, the p-value is
    at most u with a probability of at most u, for every u.

    Args:
      num_successes: integer scalar k, from 0 to n, as a rule failures or errors; else
        the p-value is NaN.
      num_trials: integer scalar n; 0 gives 1.
      max_rate: floating scalar in `[0, 1]`; may be traced.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Angelopoulos et al., "Learn then Test", 2021, arXiv 2110.01052 (binary losses).

    Examples:
      >>> print(f"{binomial_p_value(10, 200, 0.1):.5f}")
      0.00807
    """
    successes = checks.count("num_successes", num_successes)
    trials = checks.count("num_trials", num_trials)
    rate = checks.scalar("max_rate", max_rate)
    return _binomial_p_value(successes, trials, rate)


def hoeffding_bentkus_p_value(
    total_loss: ArrayLike, num_rows: ArrayLike, max_mean: ArrayLike
) -> jax.Array:
    r"""p-value of the hypothesis that a mean loss exceeds `max_mean`, from the total.

    For losses of any values in `[0, 1]`; those that are only 0 or 1 have the smaller
    `binomial_p_value`.

    .. math:: \min\left( e^{-n h(\min(\hat R, \alpha), \alpha)},\;
        e \, P(\mathrm{Binomial}(n, \alpha) \le \lceil n \hat R \rceil) \right),
        \quad h(a, b) = a \log\frac ab + (1 - a) \log\frac{1 - a}{1 - b}

    Args:
      total_loss: floating scalar from 0 to n, the sum of the losses, n times their
        mean; of less the p-value is NaN, of more 1.
      num_rows: integer scalar n; 0 gives 1.
      max_mean: floating scalar in `[0, 1]`; may be traced.

    Returns:
      float32 scalar in `[0, 1]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

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

    Whoever bets that losses stay below `max_mean`, at odds that are fair if their mean
    is just that, has no more capital on average than at first if it is more. A capital
    of M is therefore evidence of strength 1 / M (Markov). Here it is the mean of those
    of eight gamblers, who stake a fixed share each:

    .. math:: M = \frac18 \sum_g \prod_i (1 + \lambda_g (\alpha - L_i)), \quad
        p = \min(1, 1 / M)

    The shares suit losses whose standard deviation is between 1/20 of the largest
    possible one and that one. It is the tighter, the less the losses vary, while
    `hoeffding_bentkus_p_value` takes them to vary as much as can be. The order of the
    rows does not matter.

    Args:
      losses: floating `[N]` in `[0, 1]`.
      max_mean: floating scalar in `[0, 1]`; may be traced.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      float32 scalar in `[0, 1]`; 1 without rows, NaN with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

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
    successes: jax.Array, trials: jax.Array, error_probability: jax.Array
) -> jax.Array:
    """The upper bound of Clopper and Pearson; float32 scalars."""

    def excluded(rate: jax.Array) -> jax.Array:
        lower, _ = binomial.tails(successes, trials, _pair(rate))
        return lower <= error_probability

    rate = binomial.least_float(excluded)[0]
    return jnp.where(jnp.isnan(successes) | jnp.isnan(error_probability), jnp.nan, rate)


def lower_rate(
    successes: jax.Array, trials: jax.Array, error_probability: jax.Array
) -> jax.Array:
    """The lower bound of Clopper and Pearson; float32 scalars."""

    def possible(rate: jax.Array) -> jax.Array:
        _, upper = binomial.tails(successes - 1, trials, _pair(rate))
        return upper > error_probability

    rate = binomial.least_float(possible)[1]
    return jnp.where(jnp.isnan(successes) | jnp.isnan(error_probability), jnp.nan, rate)


def hoeffding_bentkus(
    total: binomial.Pair, rows: jax.Array, level: jax.Array
) -> jax.Array:
    """The p-value of Hoeffding and Bentkus of float32 scalars, the total a pair."""
    mean = _pair(level)
    high = jnp.ceil(total[0])
    whole = jnp.where((high == total[0]) & (total[1] > 0), high + 1, high)
    bentkus = np.float32(np.e) * binomial.tails(whole, rows, mean)[0]
    below = binomial.to_float(binomial.minus(total, binomial.times(rows, mean)))
    hoeffding = jnp.exp(-binomial.deviance(total, rows, mean))
    hoeffding = jnp.where(below < 0, hoeffding, 1.0)
    p_value = jnp.minimum(jnp.minimum(hoeffding, bentkus), 1.0)
    unknown = jnp.isnan(below) | (binomial.to_float(total) < 0)
    return jnp.where(unknown, jnp.nan, p_value)


def betting(counts: jax.Array, losses: jax.Array, level: jax.Array) -> jax.Array:
    """The p-value of betting from the number of rows with each of some losses.

    Args:
      counts: float32 `[L]`, numbers of rows.
      losses: float32 `[L]`, in `[0, 1]`.
      level: float32 scalar.
    """
    stakes = _stakes(jnp.sum(counts), level)
    zero = jnp.zeros_like(losses)
    distance = binomial.minus((jnp.full_like(losses, level), zero), (losses, zero))
    below = binomial.to_float(_sum_pairs(binomial.times(counts, distance)))
    bets = stakes[:, None] * (level - losses)[None]
    rest = jnp.sum(counts[None] * binomial.log1p_minus(bets), axis=1)
    return _capital_p_value(stakes, below, rest)


# How many gamblers, how much the boldest stakes more than the most careful one, and at
# most, of what could be lost in a row.
_NUM_STAKES, _STAKES_RATIO, _MAX_STAKE = 8, 20.0, 0.95


def _stakes(rows: jax.Array, level: jax.Array) -> jax.Array:
    """What each gambler stakes, float32 `[G]`; it depends on no loss.

    With a standard deviation of s, sqrt(2 log(1 / p) / n) / s gains a capital of 1 / p
    from the least evidence that can; here for p near 0.05, and s in units of what could
    be lost in a row, from 1 down.
    """
    steps = np.geomspace(1, _STAKES_RATIO, _NUM_STAKES).astype(np.float32)
    share = jnp.minimum(jnp.sqrt(6 / jnp.maximum(rows, 1.0)) * steps, _MAX_STAKE)
    # Of a level near 1 there is next to nothing to lose.
    return share / jnp.maximum(1 - level, 1e-6)


def _capital_p_value(stakes: jax.Array, below: jax.Array, rest: jax.Array) -> jax.Array:
    # log(1 + x) is x and a rest: the sum of x has no error that grows with the rows.
    log_capital = stakes * below + rest
    log_mean = jax.nn.logsumexp(log_capital) - np.float32(np.log(_NUM_STAKES))
    return jnp.exp(-jnp.maximum(log_mean, 0.0))


def _sum_pairs(values: binomial.Pair) -> binomial.Pair:
    def add(first: binomial.Pair, second: binomial.Pair) -> binomial.Pair:
        high, error = exact.two_sum(first[0], second[0])
        return exact.two_sum(high, error + (first[1] + second[1]))

    zero = np.float32(0)
    return lax.reduce(values, (zero, zero), add, (0,))


def _pair(value: jax.Array) -> binomial.Pair:
    return value, jnp.zeros_like(value)


def _counts(successes: jax.Array, trials: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as float32, the successes NaN where there cannot be so many."""
    possible = (successes >= 0) & (successes <= trials)
    k = jnp.where(possible, successes.astype(jnp.float32), jnp.nan)
    return k, trials.astype(jnp.float32)


@dispatch.core
def _clopper_pearson(
    successes: jax.Array, trials: jax.Array, error_probability: jax.Array
) -> tuple[jax.Array, jax.Array]:
    k, n = _counts(successes, trials)
    return lower_rate(k, n, error_probability), upper_rate(k, n, error_probability)


@dispatch.core
def _binomial_p_value(
    successes: jax.Array, trials: jax.Array, rate: jax.Array
) -> jax.Array:
    k, n = _counts(successes, trials)
    p_value = binomial.tails(k, n, _pair(rate))[0]
    return jnp.where(jnp.isnan(k) | jnp.isnan(rate), jnp.nan, p_value)


@dispatch.core
def _hoeffding_bentkus_p_value(
    total: jax.Array, rows: jax.Array, level: jax.Array
) -> jax.Array:
    return hoeffding_bentkus(_pair(total), rows.astype(jnp.float32), level)


@dispatch.core
def _betting_p_value(
    losses: jax.Array, level: jax.Array, where: jax.Array | None
) -> jax.Array:
    valid = masking.valid_rows(losses.shape[0], where, None)
    sums = reduce.sum_bins(
        lambda rows: (jnp.zeros(rows.shape, jnp.int32), (rows,)), losses, 1, where
    )
    (rows, high), (_, low) = (part[:, 0] for part in exact.to_float(sums))
    below = binomial.minus(binomial.times(rows, _pair(level)), (high, low))
    stakes = _stakes(rows, level)

    def rest(block: jax.Array, live: jax.Array) -> jax.Array:
        bets = stakes[:, None] * (level - block)[None]
        terms = binomial.log1p_minus(bets)
        return jnp.sum(jnp.where(live[None], terms, 0.0), axis=1)

    nonlinear = reduce.sum_blocks(rest, (_NUM_STAKES,), losses, valid)
    return _capital_p_value(stakes, binomial.to_float(below), nonlinear)
