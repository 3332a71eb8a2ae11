"""The smooth calibration error: no bins, and no number of them to choose.

Residuals are put on a grid, and smoothed there by a Fourier transform.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .._core import bisection, checks, dispatch, masking, reduce
from .._core.domains import Confidence, Outcome, Weights

# Cells of the grid on [0, 1].
_NUM_CELLS = 2**13
# Halvings of the bandwidth; a step of Newton's method is added to them.
_NUM_HALVINGS = 14
# A unit of which the weights of a block, at most 2 each, are fewer than 2^31.
_UNIT = 2.0**12


def smooth_calibration_error(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> jax.Array:
    r"""Mean size of the gap between confidence and outcome, smoothed (smooth ECE).

    .. math:: \mathrm{smECE}_\sigma = \int_0^1 \left| \frac1W \sum_i w_i \,
        K_\sigma(t, c_i) \, (c_i - v_i) \right| \, dt, \quad
        \mathrm{smECE} = \sigma^* \text{ where } \mathrm{smECE}_{\sigma^*} = \sigma^*

    K is the density of a normal distribution around :math:`c_i`, reflected at 0 and 1.
    The error can only fall as the bandwidth grows, so there is one fixed point. It
    needs no bins and moves little when scores do, so it suits models that state few
    different confidences, and comparisons in which binned errors would depend on the
    number of bins. It is not the ECE over bins, and like that it is above 0 even for a
    calibrated model: only compare errors with equal N.

    Computed on a grid of 8,192 cells, in float32. The result is within 1e-5 of this
    definition where it is above 5e-4. Smaller errors may be 6e-5 off, where gaps of
    both signs are less than a cell apart. Derivatives are those of the fixed point.

    Args:
      scores: floating `[N]`, confidences in `[0, 1]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, whether each is correct.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`.

    Returns:
      float32 scalar in `[0, 1]`; NaN without a valid row, or with a valid NaN or value
      outside its range.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host value outside its range.

    References:
      Błasiok and Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel
      Smoothing", 2023, arXiv 2309.12236, definition 1 and section 4.

    Examples:
      >>> scores, outcomes = [0.9, 0.2, 0.6, 0.4], [1, 0, 1, 0]
      >>> print(smooth_calibration_error(scores, outcomes).round(3))
      0.163
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    return _smooth_calibration_error(*rows)


@dispatch.core(rows=["scores", "outcomes", "where", "weights"])
def _smooth_calibration_error(
    scores: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
) -> jax.Array:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    scores, outcomes = masking.clean_rows(valid, 0.5, scores, outcomes)
    weight, _ = masking.scaled_weights(scores.shape[0], weights, valid)
    rows = scores, outcomes, weight
    residuals = reduce.sum_blocks(_on_grid, (_NUM_CELLS + 1,), rows, valid)
    total = reduce.sum_rows(
        lambda rows, live: jnp.where(live, rows[2], 0.0), rows, valid
    )
    error_at = _smoothed(masking.ratio(residuals, total))
    bandwidth = bisection.bisect(
        lambda bandwidth: error_at(bandwidth) > bandwidth,
        jnp.zeros_like(total),
        jnp.ones_like(total),
        num_halvings=_NUM_HALVINGS,
    )
    # One step of Newton's method. It also gives the derivatives of the fixed point.
    bandwidth = lax.stop_gradient(bandwidth)
    error, slope = jax.jvp(error_at, (bandwidth,), (jnp.ones_like(bandwidth),))
    change = (error - bandwidth) / (1 - lax.stop_gradient(slope))
    return jnp.clip(bandwidth + change, 0.0, 1.0)


def _on_grid(
    rows: tuple[jax.Array, jax.Array, jax.Array], live: jax.Array
) -> jax.Array:
    """Weighted residuals of a block, each shared by the two nearest of `[G + 1]` nodes.

    A long sum of float32 numbers would lose its last digits where one node gets many
    rows. So the first digits are summed as integers, and what is left as floats.
    """
    scores, outcomes, weight = rows
    place = scores * _NUM_CELLS
    cell = jnp.clip(lax.stop_gradient(place), 0, _NUM_CELLS - 1).astype(jnp.int32)
    above = place - cell.astype(jnp.float32)
    residual = jnp.where(live, weight * (scores - outcomes), 0.0)
    whole = jnp.zeros(_NUM_CELLS + 1, jnp.int32)
    rest = jnp.zeros(_NUM_CELLS + 1, jnp.float32)
    for node, share in ((cell, 1 - above), (cell + 1, above)):
        part = residual * share
        units = jnp.round(lax.stop_gradient(part) * _UNIT)
        whole = whole.at[node].add(units.astype(jnp.int32), mode="drop")
        rest = rest.at[node].add(part - units / _UNIT, mode="drop")
    # Otherwise XLA adds each of the rest to the sum, and loses it again.
    return whole.astype(jnp.float32) / _UNIT + lax.optimization_barrier(rest)


def _smoothed(residuals: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """The smoothed error as a function of the bandwidth, from residuals on the grid."""
    # Reflected at both ends they have period 2, and an end meets its own reflection.
    inside = residuals[1:-1]
    ends = 2 * residuals[:1], 2 * residuals[-1:]
    # An even function has real coefficients only.
    even = jnp.concatenate([ends[0], inside, ends[1], inside[::-1]])
    waves = jnp.real(jnp.fft.rfft(even))
    square = (np.pi * np.arange(_NUM_CELLS + 1, dtype=np.float64)) ** 2
    square = square.astype(np.float32)

    def error_at(bandwidth: jax.Array) -> jax.Array:
        # Sharing by two nodes has smoothed by a variance of a sixth of a square cell.
        variance = jnp.maximum(bandwidth**2 - 1 / (6 * _NUM_CELLS**2), 0.0)
        calmed = waves * jnp.exp(-0.5 * variance * square)
        smooth = jnp.fft.irfft(calmed.astype(jnp.complex64))
        return 0.5 * jnp.sum(jnp.abs(smooth))

    return error_at
