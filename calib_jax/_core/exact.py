"""Exact sums of float32 numbers, held as integers.

A float32 number is an integer of 24 bits times a power of two, so any sum of them is an
integer multiple of 2^-149. It is held in base 4096: `NUM_DIGITS` int32 digits, least
significant first, and one more entry that is 1 if an addend was not finite. Adding two
such sums is integer addition, which is exact, associative and commutative, so a sum
does not depend on the order of its rows or on how they were split into blocks, batches
or devices (a long accumulator; Kulisch, "Computer Arithmetic and Validity", 2013).
There is room for 2^40 addends of any finite size.

A sum is canonical after `normalise`: equal sums then have equal digits.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import transforms

DIGIT_BITS = 12
# 277 bits for 2^-149 to 2^128, 40 for 2^40 addends, and one for the sign.
NUM_DIGITS = 27
NOT_FINITE = NUM_DIGITS
LENGTH = NUM_DIGITS + 1
# Addends before a carry is needed: the digits of one addend stay below 2^14.
MAX_ADDENDS = 2**17
# Up to this many bins, a larger table per bin stays small and needs fewer additions.
_FEW_BINS = 64
# Up to this many rows all values are added at once: a small program.
_FEW_ROWS = 2**13
# The place and the digit of the number 1.
ONE_PLACE, ONE_DIGIT = 149 // DIGIT_BITS, 2 ** (149 % DIGIT_BITS)

_MASK = 2**DIGIT_BITS - 1
# Value of a digit in each place. Places below the smallest normal float32 count as 0,
# because XLA flushes such numbers to 0; a sum beyond the largest float32 is NaN.
_EXPONENTS = [place * DIGIT_BITS - 149 for place in range(NUM_DIGITS)]
_PLACE_VALUES = np.array(
    [0 if e < -126 else np.inf if e > 127 else 2.0**e for e in _EXPONENTS], np.float32
)


def sums_in_bins(
    index: jax.Array, values: Sequence[jax.Array], num_bins: int
) -> jax.Array:
    """Number of rows, then sum of each value, in each bin; not carried.

    Args:
      index: int32 `[N]`, N at most `MAX_ADDENDS`; a row of index `num_bins` or more is
        left out.
      values: Q arrays `[N]`, float32 or bool.
      num_bins: static number of bins.

    Returns:
      int32 `[1 + Q, num_bins, LENGTH]`.
    """
    if num_bins <= _FEW_BINS and transforms.at_most(index.shape[0], _FEW_ROWS):
        every = [jnp.ones(index.shape, jnp.float32), *values]
        every = [value.astype(jnp.float32) for value in every]
        return _few_bins(index, jnp.stack(every), num_bins)
    bools = [value for value in values if value.dtype == bool]
    counts = iter(_counts_in_bins(index, bools, num_bins))
    of_floats = _few_bins if num_bins <= _FEW_BINS else _many_bins
    one = np.where(np.arange(LENGTH) == ONE_PLACE, ONE_DIGIT, 0).astype(np.int32)[None]
    sums = [
        next(counts)[:, None] * one
        if value is None or value.dtype == bool
        else of_floats(index, value, num_bins)
        for value in (None, *values)
    ]
    return jnp.stack(sums)


def _counts_in_bins(
    index: jax.Array, bools: Sequence[jax.Array], num_bins: int
) -> list[jax.Array]:
    """Rows in each bin, int32 `[num_bins]`, then those where each bool is True."""
    ones = [jnp.ones(index.shape, bool), *bools]
    # Every scatter costs a pass, so two counts share one: 16 bits each.
    step = 2 if transforms.at_most(index.shape[0], 2**16 - 1) else 1
    counts = []
    for first in range(0, len(ones), step):
        pair = ones[first : first + step]
        addend = sum(one.astype(jnp.uint32) << 16 * k for k, one in enumerate(pair))
        both = jnp.zeros(num_bins, jnp.uint32).at[index].add(addend, mode="drop")
        halves = [both] if step == 1 else [both & 0xFFFF, both >> 16][: len(pair)]
        counts += [half.astype(jnp.int32) for half in halves]
    return counts


def _split(values: jax.Array) -> tuple[jax.Array, ...]:
    """Mantissa, exponent plus 149, sign (0 or -1), and whether a value is finite.

    A value that is not finite gets a positive mantissa and no sign.
    """
    bits = lax.bitcast_convert_type(values, jnp.int32)
    exponent = (bits >> 23) & 0xFF
    fraction = bits & 0x7FFFFF
    # Subnormals have exponent field 0 and no hidden bit.
    mantissa = jnp.where(exponent > 0, fraction | 0x800000, fraction)
    finite = exponent < 0xFF
    negative = jnp.where(finite, bits >> 31, 0)  # (digit ^ -1) + 1 is -digit.
    return mantissa, jnp.maximum(exponent, 1) - 1, negative, finite


def _many_bins(index: jax.Array, values: jax.Array, num_bins: int) -> jax.Array:
    """Adds the three digits of each value to their places."""
    mantissa, power, negative, finite = _split(values)
    # power // DIGIT_BITS for all 254 powers; an integer division would not vectorise.
    place = (power * 43691) >> 19
    shift = power - place * DIGIT_BITS
    low = (mantissa & _MASK) << shift
    high = (mantissa >> DIGIT_BITS) << shift
    digits = [low & _MASK, (low >> DIGIT_BITS) + (high & _MASK), high >> DIGIT_BITS]
    place = jnp.where(finite, place, NOT_FINITE)
    size = num_bins * LENGTH
    start = jnp.where(index < num_bins, index * LENGTH + place, size)
    sums = jnp.zeros(size, jnp.int32)
    for offset, (digit, flag) in enumerate(zip(digits, (1, 0, 0), strict=True)):
        digit = jnp.where(finite, (digit ^ negative) - negative, flag)
        sums = sums.at[start + offset].add(digit, mode="drop")
    return sums.reshape(num_bins, LENGTH)


def _few_bins(index: jax.Array, values: jax.Array, num_bins: int) -> jax.Array:
    """Adds two 14-bit digits of each value, at places of 4 bits, and carries them last.

    This takes a third less work per value, but a table of 130 numbers per bin. Values
    `[..., N]` give sums `[..., num_bins, LENGTH]`.
    """
    shape = (*values.shape[:-1], num_bins)
    size = math.prod(shape)
    mantissa, power, negative, finite = _split(values)
    magnitude = mantissa << (power & 3)
    # Each value has a table of its own.
    first = jnp.arange(0, size, num_bins, dtype=jnp.int32).reshape(*shape[:-1], 1)
    first = jnp.broadcast_to(first, values.shape)
    index = jnp.broadcast_to(index, values.shape)
    place = (index + first) * 65 + jnp.where(finite, power >> 2, 64)
    place = jnp.where(index < num_bins, place, size * 65)
    halves = []
    for digit in (magnitude & 0x3FFF, magnitude >> 14):
        digit = (digit ^ negative) - negative
        part = jnp.zeros(size * 65, jnp.int32).at[place].add(digit, mode="drop")
        halves += [part & _MASK, part >> DIGIT_BITS]
    halves = [half.reshape(size, 65) for half in halves]
    return jnp.dot(jnp.concatenate(halves, axis=1), _CARRIES).reshape(*shape, LENGTH)


def _carries() -> np.ndarray:
    """int32 `[4 * 65, LENGTH]`: what each half of a 14-bit digit adds to each digit."""
    carries = np.zeros((4, 65, LENGTH), np.int32)
    for half, bit in enumerate((0, DIGIT_BITS, 14, 14 + DIGIT_BITS)):
        for place in range(64):
            digit, shift = divmod(bit + 4 * place, DIGIT_BITS)
            if digit < NUM_DIGITS:
                carries[half, place, digit] = 2**shift
        carries[half, 64, NOT_FINITE] = 1
    return carries.reshape(-1, LENGTH)


_CARRIES = _carries()


def from_floats(values: jax.Array) -> jax.Array:
    """Sums of one float32 number each, canonical: int32 `[..., LENGTH]`."""
    flat = values.reshape(-1)
    index = jnp.arange(flat.shape[0], dtype=jnp.int32)
    sums = sums_in_bins(index, (flat,), flat.shape[0])[1]
    return normalise(sums.reshape(*values.shape, LENGTH))


def carry(sums: jax.Array) -> jax.Array:
    """Moves the excess of each digit one place up, once, to make room for addends.

    A digit is in [-2048, 2048) before the excess of the place below is added.
    """
    # The top digit keeps its excess, and the flag stays 0 or 1.
    place = np.arange(LENGTH, dtype=np.int32).reshape((1,) * (sums.ndim - 1) + (-1,))
    excess = (sums + 2 ** (DIGIT_BITS - 1)) >> DIGIT_BITS
    excess = jnp.where(place < NUM_DIGITS - 1, excess, 0)
    moved = jnp.pad(excess[..., :-1], [(0, 0)] * (sums.ndim - 1) + [(1, 0)])
    carried = sums - (excess << DIGIT_BITS) + moved
    return jnp.where(place == NOT_FINITE, jnp.minimum(sums, 1), carried)


def normalise(sums: jax.Array) -> jax.Array:
    """The canonical form: all digits but the top one are in [-2048, 2048)."""
    digits = jnp.moveaxis(sums[..., : NUM_DIGITS - 1], -1, 0)

    def ripple(carried: jax.Array, digit: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = digit + carried
        carried = (total + 2 ** (DIGIT_BITS - 1)) >> DIGIT_BITS
        return carried, total - (carried << DIGIT_BITS)

    carried, digits = lax.scan(ripple, jnp.zeros_like(digits[0]), digits)
    top = sums[..., NUM_DIGITS - 1] + carried
    flag = jnp.minimum(sums[..., NOT_FINITE], 1)
    return jnp.concatenate(
        [jnp.moveaxis(digits, 0, -1), top[..., None], flag[..., None]], axis=-1
    )


def to_float(sums: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum as float32 `(high, low)`: the rounded sum, and what rounding left.

    Sums need not be canonical. NaN if an addend was not finite.
    """
    # Four rounds bring any int32 digits down to [-2049, 2049]. Such digits never cancel
    # the one above, so their sum is exact to the last bits of `low`.
    digits = lax.fori_loop(0, 4, lambda _, sums: carry(sums), sums)[..., :NUM_DIGITS]
    values = digits.astype(jnp.float32) * _PLACE_VALUES.reshape(
        (1,) * (sums.ndim - 1) + (NUM_DIGITS,)
    )
    values = jnp.where(digits == 0, 0.0, values)
    high, low = sum_pairs((values, jnp.zeros_like(values)), axis=sums.ndim - 1)
    bad = sums[..., NOT_FINITE] > 0
    return jnp.where(bad, jnp.nan, high), jnp.where(bad, jnp.nan, low)


def sum_pairs(
    values: tuple[jax.Array, jax.Array], *, axis: int
) -> tuple[jax.Array, jax.Array]:
    """Sums of `(high, low)` numbers over an axis."""

    def add(first: Any, second: Any) -> Any:
        high, error = two_sum(first[0], second[0])
        return two_sum(high, error + (first[1] + second[1]))

    zero = np.float32(0)
    return lax.reduce(values, (zero, zero), add, (axis,))


def to_count(high: jax.Array, low: jax.Array) -> jax.Array:
    """A count, as `to_float` gives it, as int32; larger counts become 2^31 - 1."""
    fits = (high < 2.0**31) | ((high == 2.0**31) & (low < 0))
    high, low = jnp.where(fits, high, 0.0), jnp.where(fits, low, 0.0)
    # From 2^24 on floats are even, and 2^31 is not an int32, so double the half. The
    # wrap-around of 2^31 is undone by adding the negative rest.
    half = (high * 0.5).astype(jnp.int32) * 2
    count = jnp.where(high < 2.0**24, high.astype(jnp.int32), half)
    return jnp.where(fits, count + low.astype(jnp.int32), jnp.iinfo(jnp.int32).max)


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`a + b` rounded, and its exact rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def multiply(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`a * b` rounded, and its rounding error (Dekker), splitting by bit masks."""

    def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        bits = lax.bitcast_convert_type(x, jnp.int32) & ~0xFFF
        high = lax.bitcast_convert_type(bits, jnp.float32)
        return high, x - high

    (ah, al), (bh, bl) = halves(a), halves(b)
    product = a * b
    return product, ((ah * bh - product) + ah * bl + al * bh) + al * bl


def product_in_parts(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`a * b` as a product that is exact in float32, and the rest; NaN if it overflows.

    The rounding of a plain product would count where a sum cancels most of it. All four
    products are exact, so a program that fuses one of them with a sum gives the same
    bits as one that does not, and tied scores meet their edge in both.
    """
    a_head, b_head = lax.stop_gradient(
        tuple(lax.reduce_precision(x, 8, 11) for x in (a, b))
    )
    a_rest, b_rest = a - a_head, b - b_head
    return a_head * b_head, (a_head * b_rest + a_rest * b_head) + a_rest * b_rest


def divide(
    numerator: tuple[jax.Array, jax.Array], denominator: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The quotient of two `(high, low)` numbers as `(high, low)`; 0 / 0 is 0.

    The high part is rounded correctly, so n / n is 1. A plain quotient need not be:
    XLA multiplies by the reciprocal of a denominator that many numerators share. NaN
    for a denominator above 2^126, whose reciprocal would be 0.
    """
    zero = denominator[0] == 0
    bottom = jnp.where(zero, 1.0, denominator[0])
    bottom = jnp.where(jnp.abs(bottom) <= 2.0**126, bottom, jnp.nan)
    quotient = numerator[0] / bottom
    product, error = multiply(quotient, bottom)
    rest = (numerator[0] - product) - error + numerator[1] - quotient * denominator[1]
    # An infinite quotient leaves no rest.
    rest = jnp.where(jnp.isfinite(quotient), rest, 0.0)
    high, low = two_sum(quotient, rest / bottom)
    return jnp.where(zero, 0.0, high), jnp.where(zero, 0.0, low)
