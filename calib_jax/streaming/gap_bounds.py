"""How far a calibration error may be off where only the buckets of rows are known."""

from typing import Any

import jax
import jax.numpy as jnp


def bound_of_cuts(gap: jax.Array, rise: jax.Array, fall: jax.Array) -> jax.Array:
    """How far the sum of absolute gaps of bins may move when rows pass their cuts.

    Args:
      gap: float32 `[num_bins]`, weighted gap of each bin.
      rise: float32 `[num_bins - 1]`, what rows may at most add to the gap below a cut,
        taking it from the gap above.
      fall: float32 `[num_bins - 1]`, what they may take from the gap below.

    Returns:
      float32 scalar.
    """
    # One cut after the other: the gap below a cut may have moved by the cut before.
    before_rise, before_fall = (
        jnp.concatenate([jnp.zeros(1, jnp.float32), x])[:-1] for x in (rise, fall)
    )
    low, high, above = gap[:-1] - before_rise, gap[:-1] + before_fall, gap[1:]

    def change(most: jax.Array, low: Any, high: Any, above: Any) -> jax.Array:
        """If up to `most` passes to a gap from `low` to `high`, half the change."""
        up = most - jnp.clip(-high, 0, most) - jnp.clip(above, 0, most)
        return jnp.maximum(up, jnp.minimum(jnp.minimum(-low, above), most))

    moved = jnp.maximum(
        change(rise, low, high, above), change(fall, -high, -low, -above)
    )
    return 2 * jnp.sum(jnp.where(rise + fall > 0, jnp.maximum(moved, 0.0), 0.0))
