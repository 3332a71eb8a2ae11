r"""How far a Brownian motion on [0, 1] goes: laws of its largest distance and range.

It starts at 0 and ends anywhere: it is not a bridge. Each law is a series that
converges fast where the other one does not, so few terms give all digits of a float32.
"""

import jax
import jax.numpy as jnp
import numpy as np

# Where both series of a law need few terms.
_BORDER_OF_DISTANCE, _BORDER_OF_RANGE = 1.25, 1.75
_TERMS = np.arange(1, 6, dtype=np.float32)
_SIGNS = np.array([1, -1, 1, -1, 1], np.float32)
_ODD = 2 * _TERMS - 1


def distance_exceeds(x: jax.Array) -> jax.Array:
    r"""Probability that :math:`\max_t |B_t| > x`, float32 of a scalar x.

    .. math:: 1 - \frac{4}{\pi} \sum_{k \, \mathrm{odd}} \frac{\pm 1}{k}
       e^{-k^2 \pi^2 / 8 x^2} = 4 \sum_{k \, \mathrm{odd}} \pm Q(k x)

    with the signs in turn and Q the upper tail of the normal distribution (Feller, "An
    Introduction to Probability Theory and Its Applications", volume 2, section X.5).
    """
    small = jnp.clip(x, 0.05, _BORDER_OF_DISTANCE)
    below = jnp.exp(-(_ODD**2) * np.float32(np.pi**2 / 8) / small**2)
    below = np.float32(4 / np.pi) * jnp.sum(_SIGNS / _ODD * below)
    above = 4 * jnp.sum(_SIGNS * upper_tail(jnp.multiply(_ODD, x)))
    return _joined(x, _BORDER_OF_DISTANCE, below, above)


def range_exceeds(x: jax.Array) -> jax.Array:
    r"""Probability that :math:`\max_t B_t - \min_t B_t > x`, float32 of a scalar x.

    .. math:: 1 - \sum_{k \, \mathrm{odd}}
       \left(\frac{8}{x^2} + \frac{8}{k^2 \pi^2}\right)
       e^{-k^2 \pi^2 / 2 x^2} = 8 \sum_{k \ge 1} \pm k \, Q(k x)

    with the signs in turn: the integral of the density in Feller, "The asymptotic
    distribution of the range of sums of independent random variables", 1951.
    """
    small = jnp.clip(x, 0.1, _BORDER_OF_RANGE)
    squares = _ODD**2 * np.float32(np.pi**2)
    below = jnp.exp(-squares / (2 * small**2))
    below = jnp.sum((8 / small**2 + 8 / squares) * below)
    above = 8 * jnp.sum(_SIGNS * _TERMS * upper_tail(jnp.multiply(_TERMS, x)))
    return _joined(x, _BORDER_OF_RANGE, below, above)


def upper_tail(x: jax.Array) -> jax.Array:
    """Probability that a standard normal number exceeds x."""
    return 0.5 * jax.scipy.special.erfc(x * np.float32(np.sqrt(0.5)))


def _joined(
    x: jax.Array, border: float, below: jax.Array, above: jax.Array
) -> jax.Array:
    found = jnp.where(x < border, 1 - below, above)
    return jnp.where(jnp.isnan(x), jnp.nan, jnp.clip(found, 0.0, 1.0))
