"""Masks over classes, tokens and rows: what is masked may be NaN, to no effect."""

import jax
import jax.numpy as jnp


def valid_rows(
    num_rows: int, where: jax.Array | None, weights: jax.Array | None
) -> jax.Array:
    """Bool `[N]`: rows that count. A row of weight 0 is a removed row."""
    valid = jnp.ones(num_rows, bool) if where is None else where
    return valid if weights is None else valid & (weights != 0)


def scaled_weights(
    num_rows: int, weights: jax.Array | None, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weights `[N]` over their largest valid one, and that one: sums stay in range."""
    if weights is None:
        return jnp.ones(num_rows, jnp.float32), jnp.float32(1)
    largest = jnp.max(weights, where=valid, initial=0.0)
    usable = (largest > 0) & (largest < jnp.inf)
    largest = jax.lax.stop_gradient(jnp.where(usable, largest, 1.0))
    # Two factors: the reciprocal of a very large weight is no normal float32.
    factor = jax.lax.rsqrt(largest)
    return weights * factor * factor, largest


def fill(
    values: jax.Array, where: jax.Array | None, value: float | jax.Array
) -> jax.Array:
    """`values` with masked entries replaced, before anything could see a NaN there."""
    if where is None:
        return values
    return jnp.where(where, values, jnp.asarray(value, values.dtype))


def nan_as_infinity(values: jax.Array) -> jax.Array:
    """`values` with +inf for NaN: over a long axis the CPU's maximum passes over NaN
    (jaxlib 0.10)."""
    return jnp.where(jnp.isnan(values), jnp.inf, values)


def class_maximum(logits: jax.Array, class_where: jax.Array | None) -> jax.Array:
    """float32 maximum over the last axis; an empty mask gives -inf.

    A NaN may not show in it, but does in any sum of exponentials of the row.
    """
    maximum = jnp.max(fill(logits, class_where, -jnp.inf), axis=-1)
    return maximum.astype(jnp.float32)


def shifted(
    logits: jax.Array, shift: jax.Array, class_where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """`logits - shift` in float32 with 0 where a class is out, and which are in.

    A class is out where it is masked or its logit is -inf. Zero stands there rather
    than -inf because -inf times a probability of 0 would be NaN, in values and
    gradients alike.
    """
    logits = logits.astype(jnp.float32)
    inside = logits != -jnp.inf
    if class_where is not None:
        inside = inside & class_where
    return jnp.where(inside, logits - shift[..., None], 0.0), inside


def below_maximum(
    logits: jax.Array, maximum: jax.Array, class_where: jax.Array | None
) -> jax.Array:
    """`logits - maximum` in float32, with -1e30 where a class is out.

    The exponential of its quotient by any temperature up to 1e6 is 0, as are products
    of that with it. This is one operation less an entry than `shifted` with its mask.
    """
    below = jnp.maximum(logits.astype(jnp.float32) - maximum[..., None], -1e30)
    return fill(below, class_where, -1e30)


def take_last(values: jax.Array, index: jax.Array) -> jax.Array:
    """`values[..., index]` along the last axis; an index out of range gives NaN.

    16-bit floats are gathered as integers: XLA would otherwise convert the whole
    array to float32 on some platforms.
    """
    size = values.shape[-1]
    inside = (index >= 0) & (index < size)
    safe = jnp.clip(index, 0, size - 1)[..., None]
    if values.dtype.itemsize == 2:
        bits = jax.lax.bitcast_convert_type(values, jnp.uint16)
        taken = jnp.take_along_axis(bits, safe, axis=-1)
        taken = jax.lax.bitcast_convert_type(taken, values.dtype)
    else:
        taken = jnp.take_along_axis(values, safe, axis=-1)
    return jnp.where(inside, taken[..., 0].astype(jnp.float32), jnp.nan)
