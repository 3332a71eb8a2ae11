"""Isotonic regression: the monotone map with the least squared error.

Shapes: N examples, K knots. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import dispatch, exact, records
from ..binning import search
from .reports import FitReport


@records.record("K", values={"scores": records.ASCENDING, "values": records.SHARE})
class Isotonic:
    """Parameters of isotonic regression: a monotone, piecewise linear map.

    Attributes:
      scores: float32 `[K]`, knots, ascending; +inf for knots that are not used.
      values: float32 `[K]`, the calibrated confidence at each knot, which never falls;
        linear in between and constant beyond the ends.
    """

    scores: jax.Array
    values: jax.Array


def fit_isotonic(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Isotonic, FitReport]:
    """To be built."""
    raise NotImplementedError


@dispatch.core(rows=["scores N ..."], rows_of="scores")
def apply_isotonic(params: Isotonic, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[...]` of scores float32 `[...]`; NaN gives NaN."""
    last = params.scores.shape[0] - 1
    after = search.count_at_or_below(params.scores, scores)
    low, high = jnp.clip(after - 1, 0, last), jnp.clip(after, 0, last)
    start, end = params.scores[low], params.scores[high]
    below, above = params.values[low], params.values[high]
    inside = (start < scores) & (end < jnp.inf) & (start < end)
    # Halves do not overflow, and the clip undoes rounding.
    share = (0.5 * scores - 0.5 * start) / jnp.where(inside, 0.5 * end - 0.5 * start, 1)
    share = jnp.where(inside, share, 0.0)
    head, rest = exact.product_in_parts(share, above - below)
    found = jnp.clip((below + head) + rest, below, above)
    return jnp.where(jnp.isnan(scores), jnp.nan, found)
