"""Masks over rows, tokens and classes.

What a mask removes may hold anything, NaN included, and has no effect on results or
gradients. A row is removed by `where` or by a weight of 0: `valid_rows` joins both into
one mask, and `clean_rows` overwrites what it removes.
"""

import jax
import jax.numpy as jnp

from . import exact, reduce


def valid_rows(
    num_rows: int, where: jax.Array | None, weights: jax.Array | None = None
) -> jax.Array:
    """Bool `[N]`: rows that `where` keeps and whose weight is not 0."""
    valid = jnp.ones(num_rows, bool) if where is None else where
    return valid if weights is None else valid & (weights != 0)


def dealt(valid: jax.Array, num_parts: int) -> jax.Array:
    """int32 `[N]`: the part of each valid row, dealt in turn to parts 0, 1, ...

    Rows that are not valid take no turn. Sharded rows are gathered.
    """
    return reduce.sums_before(valid.astype(jnp.int32)) % num_parts


def clean_rows(
    valid: jax.Array | None, value: float, *arrays: jax.Array
) -> tuple[jax.Array, ...]:
    """Arrays `[N, ...]` with `value` in the rows that are not valid.

    Called before anything is computed, so that neither a result nor a gradient meets a
    NaN in a removed row.
    """
    if valid is None:
        return arrays
    return tuple(
        fill(array, valid.reshape(-1, *[1] * (array.ndim - 1)), value)
        for array in arrays
    )


def ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """`part / whole`, such as a mean, correctly rounded; NaN where the whole is not
    above 0."""
    if part.ndim == whole.ndim == 0:
        # No other numerator shares the denominator, so it stays a division.
        return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), jnp.nan)
    quotient, _ = exact.divide(
        (part, jnp.zeros_like(part)), (whole, jnp.zeros_like(whole))
    )
    return jnp.where(whole > 0, quotient, jnp.nan)


def usable_outcomes(outcomes: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Bool `[N]`: rows with an outcome in [0, 1] and a finite, non-negative weight."""
    usable = (outcomes >= 0) & (outcomes <= 1)
    return usable if weights is None else usable & usable_weights(weights)


def usable_weights(weights: jax.Array) -> jax.Array:
    """Bool `[N]`: weights that are finite and not negative."""
    return (weights >= 0) & (weights < jnp.inf)


def scaled_weights(
    num_rows: int, weights: jax.Array | None, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weights `[N]` divided by a power of two near the largest valid one, and that.

    The division is exact, and their sums stay in the range of float32.
    """
    if weights is None:
        return jnp.ones(num_rows, jnp.float32), jnp.float32(1)
    largest = jnp.max(weights, where=valid, initial=0.0)
    usable = (largest > 0) & (largest < jnp.inf)
    largest = jax.lax.stop_gradient(jnp.where(usable, largest, 1.0))
    # The exponent with its sign flipped, but no subnormal number.
    exponent = jax.lax.bitcast_convert_type(largest, jnp.int32) >> 23
    exponent = jnp.clip(254 - exponent, 1, 253)
    factor, unit = (
        jax.lax.bitcast_convert_type(part << 23, jnp.float32)
        for part in (exponent, 254 - exponent)
    )
    return weights * factor, unit


def fill(
    values: jax.Array, where: jax.Array | None, value: float | jax.Array
) -> jax.Array:
    """`values` with `value` where the mask is False."""
    if where is None:
        return values
    return jnp.where(where, values, jnp.asarray(value, values.dtype))


def nan_as_infinity(values: jax.Array) -> jax.Array:
    """`values` with NaN replaced by +inf, for a maximum that must not miss a NaN.

    Over a long axis the maximum of jaxlib 0.10 on the CPU ignores NaN.
    """
    return jnp.where(jnp.isnan(values), jnp.inf, values)


def class_maximum(logits: jax.Array, class_where: jax.Array | None) -> jax.Array:
    """float32 maximum over the last axis; -inf where all classes are masked.

    It may miss a NaN, which then shows in any sum of exponentials of the row.
    """
    maximum = jnp.max(fill(logits, class_where, -jnp.inf), axis=-1)
    return maximum.astype(jnp.float32)


def shifted(
    logits: jax.Array, shift: jax.Array, class_where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """`logits - shift` in float32, with 0 where a class is out, and which are in.

    A class is out where it is masked or its logit is -inf. It gets 0 rather than -inf
    because -inf times a probability of 0 would be NaN, in values and gradients alike.
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

    Divided by any temperature up to 1e6 its exponential is 0, and so is the product of
    the two. This takes one operation fewer per entry than `shifted` with its mask.
    """
    below = jnp.maximum(logits.astype(jnp.float32) - maximum[..., None], -1e30)
    return fill(below, class_where, -1e30)


def take_last(values: jax.Array, index: jax.Array) -> jax.Array:
    """`values[..., index]` along the last axis; an index out of range gives NaN.

    16-bit floats are gathered as integers, because XLA would convert the whole array to
    float32 on some platforms.
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
