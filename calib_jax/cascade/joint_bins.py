"""Sums over joint cells of several binnings, and their cumulative sums for every cut.

Shapes: N rows, J stages, B bins of each, Q quantities. A cell is a rank in `[0, B)` at
each of the stages; a combination is a cut in `[0, B]` at each.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .._core import exact, reduce
from ..binning import bin_sums


def cell_of(ranks: jax.Array, num_bins: int) -> jax.Array:
    """int32 `[N]`, the cell's number, of ranks `[J, N]`; -1 where one is `num_bins`."""
    cell = jnp.zeros(ranks.shape[1], jnp.int32)
    for stage in range(ranks.shape[0]):
        cell = cell * num_bins + ranks[stage]
    return jnp.where(jnp.any(ranks >= num_bins, axis=0), -1, cell)


def sum_cells(
    cell: jax.Array, quantities: jax.Array, num_cells: int, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Exact sums rounded once, so that no order of the rows changes any bit.

    Args:
      cell: int32 `[N]` in `[0, num_cells)` where valid.
      quantities: float32 or bool `[Q, N]`.
      num_cells: static number of cells.
      valid: bool `[N]`.

    Returns:
      Number of rows float32 `[num_cells]`, and sums float32 `[Q, num_cells]`; NaN where
      an addend is not finite.
    """
    num_rows = cell.shape[0]
    if num_rows >= num_cells:
        return _sum_cells(cell, quantities, num_cells, valid)
    # The exact sums of all cells would be many times as large as the result.
    held, row = bin_sums.held_bins(jnp.where(valid, cell, num_cells), num_cells)
    found = _sum_cells(row, quantities, max(num_rows, 1), valid)
    return jax.tree.map(
        lambda sums: (
            jnp.zeros((*sums.shape[:-1], num_cells), jnp.float32)
            .at[..., held]
            .add(sums[..., :num_rows], mode="drop")
        ),
        found,
    )


def _sum_cells(
    cell: jax.Array, quantities: jax.Array, num_cells: int, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def values(block: Any) -> tuple[jax.Array, tuple[jax.Array]]:
        cell, quantity = block
        return cell, (quantity,)

    def one(quantity: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = cell, quantity
        sums = exact.to_float(reduce.sum_bins(values, rows, num_cells, valid))[0]
        return sums[0], sums[1]

    # One program for all quantities.
    counts, sums = jax.vmap(one)(quantities)
    return counts[0], sums


def cumulate(sums: jax.Array, num_stages: int, *, kept_last: bool) -> jax.Array:
    """Sums of the rows that no stage keeps, or the last stage only, for every cut.

    A stage with cut K keeps the ranks below K; of the stages from `num_stages` on any
    cut is the same. Sums of whole numbers up to 2^24 are exact.

    Args:
      sums: float32 `[Q] + [B] * J` of cells.
      num_stages: how many stages are looked at, from the first one on.
      kept_last: whether the last of them keeps the row, which those before it do not.

    Returns:
      float32 `[Q] + [B + 1] * num_stages + [1] * (J - num_stages)`.
    """
    num_later = sums.ndim - 1 - num_stages
    sums = jnp.sum(sums, axis=tuple(range(1 + num_stages, sums.ndim)))
    for stage in range(num_stages):
        # The first stage's axis is summed, and comes back as the last.
        size = sums.shape[1]
        passed = jnp.arange(size)[:, None] >= jnp.arange(size + 1)[None]
        if kept_last and stage == num_stages - 1:
            passed = ~passed
        sums = jnp.tensordot(
            sums, passed.astype(jnp.float32), ((1,), (0,)), precision="highest"
        )
    return sums.reshape(sums.shape + (1,) * num_later)
