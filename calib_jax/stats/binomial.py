"""Binomial tails in JAX, float32, to about 1e-6 relative, for use under `jax.jit`.

Sums of log factorials would leave no correct digit in a tail of 10^7 trials. Here a
tail is its largest term, in Loader's form (a deviance without cancellation), times the
integral of a log-concave function that is at most 1, by Gauss-Legendre quadrature. The
only cancellation is between the count and its mean, which are pairs of float32
(`exact`). On the host `tails` is more accurate.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import bisection, exact

Pair = tuple[jax.Array, jax.Array]  # An unevaluated sum of two float32 numbers.

_NODES, _WEIGHTS = (
    part.astype(np.float32) for part in np.polynomial.legendre.leggauss(32)
)
# Once the integrand has fallen to exp(-18), the rest is below float32's last bit.
_NEGLIGIBLE = -18.0
_SCALES = (2.0 ** -np.arange(1, 26)).astype(np.float32)
# log(k! / (sqrt(2 pi k) (k / e)^k)), for the k where its series is not accurate.
_STIRLING = np.array([0.0, 0.08106146679532726, 0.0413406959554093, 0.0276779256849983])


def log1p_minus(x: jax.Array) -> jax.Array:
    """`log1p(x) - x`, at most 0, without cancellation; -inf for -1."""
    ratio = x / (2 + x)
    near = 2 * ratio**3 * _odd_powers(ratio) - x * ratio
    return jnp.where(_is_near(ratio), near, jnp.log1p(x) - x)


def deviance(count: Pair, trials: jax.Array, probability: Pair) -> jax.Array:
    r"""n times the divergence of Bernoulli(count / n) from Bernoulli(p), accurately.

    .. math:: k \log\frac{k}{np} + (n - k) \log\frac{n - k}{n (1 - p)}

    Args:
      count: k, in `[0, n]`, whole or not.
      trials: n, whole, below 2^24.
      probability: p, in `[0, 1]`.

    Returns:
      At least 0; inf where p is 0 or 1 and k / n another number.
    """
    mean = times(trials, probability)
    rest = minus(pair(trials), mean)
    above = to_float(minus(count, mean))
    return _part(above, to_float(mean)) + _part(-above, to_float(rest))


def tails(count: jax.Array, trials: jax.Array, probability: Pair) -> Pair:
    """P(X <= k) and P(X > k) of a binomial X, the smaller one to 1e-6, relative.

    Args:
      count: float32 scalar k, whole; below 0 and from n on the tails are 0 and 1.
      trials: float32 scalar n, whole, below 2^24.
      probability: p, in `[0, 1]`.

    Returns:
      Two float32 scalars; the error grows to 1e-5 for tails as small as 1e-10.
    """
    high, low = probability
    other = exact.two_sum(1 - high, ((1 - (1 - high)) - high) - low)
    above = to_float(minus(pair(count), times(trials, probability)))
    # Compute the smaller tail: 1 minus the other would lose its digits.
    below = above < -0.5
    k = jnp.where(below, count, trials - count - 1)
    p = jax.tree.map(lambda a, b: jnp.where(below, a, b), probability, other)
    inside = (k >= 0) & (to_float(probability) > 0) & (to_float(other) > 0)
    tail = _falling_tail(
        jnp.where(inside, k, 0.0),
        trials,
        jax.tree.map(lambda a: jnp.where(inside, a, a.dtype.type(0.25)), p),
        jnp.where(below, above, -above - 1),
    )
    tail = jnp.minimum(jnp.where(inside, tail, 0.0), 1.0)
    # Without trials, or with a probability of 0 or 1, X is a known number.
    lower = jnp.where(below, tail, 1 - tail)
    upper = jnp.where(below, 1 - tail, tail)
    certain = jnp.where(to_float(other) > 0, count >= 0, count >= trials)
    known = (to_float(probability) <= 0) | (to_float(other) <= 0)
    known = known | (count < 0) | (count >= trials)
    lower = jnp.where(known, certain.astype(jnp.float32), lower)
    return lower, jnp.where(known, 1 - certain.astype(jnp.float32), upper)


def mass(k: jax.Array, n: jax.Array, probability: Pair) -> jax.Array:
    """P(X = k) of a binomial X; float32 scalars, k whole and in `[0, n]`."""
    # Stirling's formula for the factorials.
    size = jnp.sqrt(_some(n) / (2 * np.pi * _some(k) * _some(n - k)))
    log_rest = _stirling(n) - _stirling(k) - _stirling(n - k)
    distance = deviance(pair(k), n, probability)
    return size * jnp.exp(log_rest - distance)


def least_float(holds: Callable[[jax.Array], jax.Array]) -> Pair:
    """The least float32 in `[0, 1]` for which a monotone statement holds.

    Args:
      holds: from a float32 scalar to a bool scalar, False up to some number and True
        from there on.

    Returns:
      That number, or 1 if there is none, and the next smaller float32, or 0.
    """

    # Non-negative floats are ordered like their bits.
    one = lax.bitcast_convert_type(jnp.float32(1), jnp.int32)
    low, high = bisection.narrow(
        lambda bits: ~holds(lax.bitcast_convert_type(bits, jnp.float32)),
        lambda low, high: low + (high - low) // 2,
        jnp.full_like(one, -1),
        one,
        num_halvings=31,
    )
    below = lax.bitcast_convert_type(jnp.maximum(low, 0), jnp.float32)
    return lax.bitcast_convert_type(high, jnp.float32), below


def pair(value: jax.Array) -> Pair:
    return value, jnp.zeros_like(value)


def times(a: jax.Array, b: Pair) -> Pair:
    high, low = exact.multiply(a, b[0])
    return exact.two_sum(high, low + a * b[1])


def plus(a: Pair, b: Pair) -> Pair:
    high, low = exact.two_sum(a[0], b[0])
    return exact.two_sum(high, low + (a[1] + b[1]))


def minus(a: Pair, b: Pair) -> Pair:
    high, low = exact.two_sum(a[0], -b[0])
    return exact.two_sum(high, low + (a[1] - b[1]))


def to_float(pair: Pair) -> jax.Array:
    return pair[0] + pair[1]


def _is_near(ratio: jax.Array) -> jax.Array:
    return jnp.abs(ratio) <= 0.6


def _odd_powers(ratio: jax.Array) -> jax.Array:
    """`(atanh(v) - v) / v^3`, for v up to 0.6 in size."""
    square = ratio * ratio
    total = jnp.zeros_like(square)
    for power in range(33, 1, -2):
        total = total * square + np.float32(1 / power)
    return total


def _part(above: jax.Array, mean: jax.Array) -> jax.Array:
    """`k log(k / m) - (k - m)` of the mean m and `above`, k - m."""
    some = jnp.where(mean > 0, mean, 1.0)
    x = jnp.maximum(above / some, -1.0)
    ratio = x / (2 + x)
    near = (2 + x) * ratio**2 * (1 + (1 + ratio) * ratio * _odd_powers(ratio))
    # 0 times the logarithm of 0 is 0 here.
    far = (1 + x) * jnp.log1p(jnp.maximum(x, -1 + 2.0**-24)) - x
    part = mean * jnp.where(_is_near(ratio), near, far)
    return jnp.where(mean > 0, part, jnp.where(above > 0, jnp.inf, 0.0))


def _falling_tail(
    k: jax.Array, n: jax.Array, probability: Pair, above: jax.Array
) -> jax.Array:
    r"""P(X <= k) for k not above the mean.

    .. math:: \binom nk p^k q^{n-k} \, (n - k)
        \int_0^1 (1 - u)^{n-k-1} \left(1 + \frac{uq}{p}\right)^k du

    Args:
      k: in `[0, n)`.
      n: number of trials.
      probability: p, inside `(0, 1)`.
      above: k less the mean.
    """
    p = to_float(probability)
    odds = (1 - p) / p

    def exponent(u: jax.Array) -> jax.Array:
        linear = (above + p) / p * u
        return linear + (n - k - 1) * log1p_minus(-u) + k * log1p_minus(u * odds)

    num_small = jnp.sum(exponent(jnp.asarray(_SCALES)) <= _NEGLIGIBLE)
    width = jnp.exp2(-num_small.astype(jnp.float32))
    values = jnp.exp(exponent(width * (0.5 + 0.5 * _NODES)))
    integral = 0.5 * width * jnp.sum(_WEIGHTS * values)
    return mass(k, n, probability) * (n - k) * integral


def _some(k: jax.Array) -> jax.Array:
    """k, or what makes Stirling's formula 1 for a factorial of 0."""
    return jnp.where(k > 0, k, np.float32(1 / (2 * np.pi)))


def _stirling(k: jax.Array) -> jax.Array:
    some = jnp.maximum(k, 4.0)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / some**2) / some**2) / some
    few = jnp.asarray(_STIRLING, jnp.float32)[jnp.minimum(k, 3).astype(jnp.int32)]
    return jnp.where(k < 4, few, series)
