"""Tails of the hypergeometric distribution in float32, to about 1e-5 relative.

X is how many of `special` things are among `drawn` of `total`, drawn without
replacement. A probability is a product of binomial ones in Loader's form, which do not
cancel, and a tail the sum of those on the side away from the mode, where each is
smaller than the one before.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._core import exact
from . import binomial

# Terms that are smaller than this part of their sum change no digit of it.
_NEGLIGIBLE = np.float32(1e-9)

_State = tuple[jax.Array, jax.Array, jax.Array]


def tails(
    count: jax.Array, drawn: jax.Array, special: jax.Array, total: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """P(X <= k) and P(X > k); float32 scalars, whole numbers below 2^24.

    Args:
      count: k; beyond what is possible the tails are 0 and 1.
      drawn: up to `total`.
      special: up to `total`.
      total: at least 1.
    """
    least = jnp.maximum(drawn + special - total, 0.0)
    most = jnp.minimum(drawn, special)
    # The tail without the mode is the one to sum: 1 less the other has no digits.
    mode = jnp.floor((drawn + 1) * ((special + 1) / (total + 2)))
    above = count >= mode
    # As many of those drawn are not special: the lower tail is an upper one of them.
    first = jnp.where(above, count + 1, drawn - count)
    kind = jnp.where(above, special, total - special)
    inside = (count >= least) & (count < most)
    tail = _upper_tail(
        jnp.where(inside, first, 1.0),
        jnp.where(inside, drawn, 1.0),
        jnp.where(inside, kind, 1.0),
        jnp.where(inside, total, 2.0),
    )
    tail = jnp.minimum(tail, 1.0)
    lower = jnp.where(above, 1 - tail, tail)
    upper = jnp.where(above, tail, 1 - tail)
    known = (count >= most).astype(jnp.float32)
    return jnp.where(inside, lower, known), jnp.where(inside, upper, 1 - known)


def _upper_tail(
    first: jax.Array, drawn: jax.Array, special: jax.Array, total: jax.Array
) -> jax.Array:
    """P(X >= first), for possible numbers above the mode."""
    zero = jnp.zeros_like(drawn)
    share = exact.divide((drawn, zero), (total, zero))
    mass = binomial.mass(first, special, share)
    mass = mass * binomial.mass(drawn - first, total - special, share)
    mass = mass / binomial.mass(drawn, total, share)

    def more(state: _State) -> jax.Array:
        _, term, tail = state
        return term > _NEGLIGIBLE * tail

    def add(state: _State) -> _State:
        k, term, tail = state
        term = term * ((special - k) / (k + 1))
        term = term * ((drawn - k) / (total - special - drawn + k + 1))
        return k + 1, term, tail + term

    one = jnp.ones_like(first)
    return mass * lax.while_loop(more, add, (first, one, one))[2]
