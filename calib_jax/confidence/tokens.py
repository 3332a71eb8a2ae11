"""Log-likelihoods of chosen tokens, and what is made of those of a sequence.

Shapes: B sequences, T tokens, V vocabulary; leading axes are free.
"""

import jax
import jax.numpy as jnp

from . import _masking, _reduce

# Over longer rows the CPU's compiler writes out the exponentials that it sums.
_LONGEST_SUM = 2**15


def log_likelihoods(
    logits: jax.Array, chosen: jax.Array, where: jax.Array | None
) -> jax.Array:
    """Log of the softmax at the chosen tokens, float32 `[...]`.

    Args:
      logits: `[..., V]`; each is read twice, and nothing of their size is written.
      chosen: float32 `[...]`, the logits of the chosen tokens.
      where: optional bool `[...]`; elsewhere the result may be anything.
    """
    # In no blocks: reductions over the last axis hold nothing of the size of the logits
    # and read them at the speed of memory, while a block would be copied. The shift has
    # no influence, and so no derivative.
    maximum = jax.lax.stop_gradient(_masking.class_maximum(logits, None))
    maximum = jax.lax.optimization_barrier(maximum)
    pieces = _cut_vocabulary(logits).astype(jnp.float32)
    if where is not None:
        # The same numbers, so that XLA leaves the choice out: it only keeps gradients
        # of padding, which may be NaN, at 0.
        fixed = jax.lax.stop_gradient(pieces)
        pieces = jnp.where(where[..., None, None], pieces, fixed)
    totals = jnp.sum(jnp.exp(pieces - maximum[..., None, None]), axis=-1)
    total = jnp.sum(jax.lax.optimization_barrier(totals), axis=-1)
    # NaN, not -inf, where no token has a chance or one is certain (+inf).
    likelihood = (chosen - maximum) - jnp.log(total)
    return jnp.where(jnp.isfinite(maximum), likelihood, jnp.nan)


def _cut_vocabulary(logits: jax.Array) -> jax.Array:
    """Logits `[..., V]` as `[..., pieces, V / pieces]`.

    One piece where V is small, or has no divisor that leaves long pieces.
    """
    size = logits.shape[-1]
    least = -(-size // _LONGEST_SUM)
    counts = (k for k in range(least, 16 * least) if size % k == 0)
    num_pieces = next(counts, 1) if least > 1 else 1
    pieces = logits.reshape(*logits.shape[:-1], num_pieces, size // num_pieces)
    # Without the barrier 16-bit floats would be converted before they are cut; with it
    # a single piece would be copied.
    return pieces if num_pieces == 1 else jax.lax.optimization_barrier(pieces)


def valid_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Bool of the shape of `values`."""
    return jnp.ones(values.shape, bool) if where is None else where


def sum_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Sum over the last axis; NaN without a valid token, as for the others."""
    valid = valid_tokens(values, where)
    total = _reduce.pairwise_sum(jnp.where(valid, values, 0.0))
    return jnp.where(jnp.any(valid, axis=-1), total, jnp.nan)


def mean_tokens(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Mean over the last axis."""
    count = jnp.sum(valid_tokens(values, where), axis=-1, dtype=jnp.float32)
    return sum_tokens(values, where) / jnp.maximum(count, 1.0)


def least_token(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Minimum over the last axis."""
    valid = valid_tokens(values, where)
    counted = jnp.where(valid, values, jnp.inf)
    # Over a long sequence the CPU's minimum passes over NaN.
    hidden = jnp.any(jnp.isnan(counted), axis=-1)
    least = jnp.min(counted, axis=-1, initial=jnp.inf)
    missing = hidden | ~jnp.any(valid, axis=-1)
    return jnp.where(missing, jnp.nan, least)
