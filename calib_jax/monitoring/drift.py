r"""Whether confidences still fall into the bins as those of a reference do.

Shapes: R reference rows, N new rows, `num_bins` bins, D draws. One problem; many by
`jax.vmap`. Bins are held fixed. Both sets of rows are samples: without drift they are
exchangeable, so that, given what both hold together, the new rows are any N of them. Of
that null counts are drawn, and p-values are exact for any number of rows and draws.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from ..binning import bin_sums
from ..binning.bins import Bins
from ..stats import intervals
from . import urns


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OccupancyDrift:
    """How new confidences fall into the bins, against those of a reference.

    Attributes:
      reference_count: int32 `[num_bins]`, reference rows.
      count: int32 `[num_bins]`, new rows.
      stability_index: float32 scalar, population stability index (PSI), at least 0.
      null_index: float32 scalar, its mean without drift, at these numbers of rows.
      p_value: float32 scalar, of this index or more without drift.
      outside_share: float32 scalar, of the new rows whose score is below the least or
        above the greatest of the reference.
      num_rows: int32 scalar, new rows that count.
      num_reference: int32 scalar, reference rows that count.
      num_bins: int32 scalar, bins that hold rows of either.
      num_tied: int32 scalar, new rows whose score another new row has too.
      num_masked: int32 scalar, rows of either that a mask leaves out.
    """

    reference_count: jax.Array
    count: jax.Array
    stability_index: jax.Array
    null_index: jax.Array
    p_value: jax.Array
    outside_share: jax.Array
    num_rows: jax.Array
    num_reference: jax.Array
    num_bins: jax.Array
    num_tied: jax.Array
    num_masked: jax.Array


def occupancy_drift(
    key: jax.Array,
    bins: Bins,
    reference_scores: ArrayLike,
    scores: ArrayLike,
    *,
    num_draws: int = 1000,
    reference_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> OccupancyDrift:
    r"""Whether new confidences fall into the bins as those of a reference; no labels.

    .. math:: \mathrm{PSI} = \sum_b (q_b - p_b) \log \frac{q_b}{p_b}

    over the bins that hold rows of either, with p and q the shares of the reference and
    of the new rows, half a row added to each bin. It is above 0 without drift too, by
    the mean of the draws, so that the usual limits of 0.1 and 0.25 say little of few
    rows. The p-value, :math:`(1 + \#\{\mathrm{PSI}^* \ge \mathrm{PSI}\}) / (1 + D)`
    over multivariate hypergeometric draws of the pooled counts, is exact for bins that
    come from other rows, such as a router's with the rows on which it was judged as the
    reference. On the rows that the bins were cut from the reference is spread evenly by
    construction, and nothing is promised: with few of them in a bin false alarms are
    several times as many (31.5 % for 5 % at R = 30 and N = 2,000, 12 % at 50 and 500),
    from 20 in each of 15 bins on about as rare (`benchmarks/alarms`, section 1). It is
    exact over references too: one kept for many batches may by chance be one that
    alarms in most of them. `init_monitor` is exact for either, and for one stream.

    Of new rows like the R reference rows a share of at most 2 / (R + 1) is outside
    their range on average. The time of a call is that of the smaller sample, drawn row
    by row.

    Args:
      key: a JAX random key.
      bins: `Bins`, from other rows, such as `router.bins`.
      reference_scores: floating `[R]`, confidences.
      scores: floating `[N]`, new confidences, calibrated as those of the reference.
      num_draws: static number of draws D, at least 1.
      reference_where: optional bool `[R]`; masked rows may hold anything.
      where: optional bool `[N]`; masked rows may hold anything.

    Returns:
      `OccupancyDrift`; its floats are NaN without a valid row in either, or with a
      valid NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Lewis, "An Introduction to Credit Scoring", 1994 (PSI); Phipson and Smyth,
      "Permutation p-values should never be zero", 2010.

    Examples:
      >>> import calib_jax
      >>> bins, scores = calib_jax.equal_width_bins(4), jnp.linspace(0.0, 1.0, 400)
      >>> same = occupancy_drift(jax.random.key(0), bins, scores, scores[::4])
      >>> print(f"{same.stability_index:.2f}, by chance {same.null_index:.2f}")
      0.00, by chance 0.04
      >>> worse = occupancy_drift(jax.random.key(0), bins, scores, scores[:250:4])
      >>> print(f"{worse.stability_index:.2f}, p = {worse.p_value:.3f}")
      0.98, p = 0.001
    """
    random = checks.key("key", key)
    checks.instance("bins", bins, Bins)
    earlier = checks.floats("reference_scores", reference_scores, axes="[R]")
    later = checks.floats("scores", scores)
    size = checks.static_int("num_draws", num_draws, minimum=1)
    masks = (
        checks.mask("reference_where", reference_where, axes="[R]"),
        checks.mask("where", where),
    )
    checks.same_shape(reference_scores=earlier, reference_where=masks[0])
    checks.same_shape(scores=later, where=masks[1])
    return _occupancy_drift(random, bins, earlier, later, *masks, num_draws=size)


def _counts(
    bins: Bins, scores: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Rows in each bin int32 `[num_bins]`, and whether a valid score is NaN."""
    table = bin_sums.bin_means(bins, scores, (scores,), where, None)
    return table.count, jnp.any(jnp.isnan(table.means))


@dispatch.core(static=["num_draws"])
def _occupancy_drift(
    key: jax.Array,
    bins: Bins,
    reference: jax.Array,
    scores: jax.Array,
    reference_where: jax.Array | None,
    where: jax.Array | None,
    *,
    num_draws: int,
) -> OccupancyDrift:
    before, was_bad = _counts(bins, reference, reference_where)
    after, is_bad = _counts(bins, scores, where)
    pooled = before + after
    drawn = urns.draw_rows(key, pooled, jnp.sum(after, dtype=jnp.int32), num_draws)
    index = jax.vmap(lambda count: _stability_index(pooled - count, count))(
        jnp.concatenate([after[None], drawn])
    )

    was_valid = masking.valid_rows(reference.shape[0], reference_where, None)
    valid = masking.valid_rows(scores.shape[0], where, None)
    least, greatest = (
        -jnp.max(-reference, where=was_valid, initial=-jnp.inf),
        jnp.max(reference, where=was_valid, initial=-jnp.inf),
    )
    outside = valid & ((scores < least) | (scores > greatest))
    num_rows = jnp.sum(valid, dtype=jnp.int32)
    num_reference = jnp.sum(was_valid, dtype=jnp.int32)
    share = jnp.sum(outside, dtype=jnp.int32) / jnp.maximum(num_rows, 1)
    bad = was_bad | is_bad | (num_rows == 0) | (num_reference == 0)
    values = {
        "stability_index": index[0],
        "null_index": jnp.mean(index[1:]),
        "p_value": urns.p_value(index),
        "outside_share": share.astype(jnp.float32),
    }
    masked = was_valid.shape[0] - num_reference + valid.shape[0] - num_rows
    return OccupancyDrift(
        reference_count=before,
        count=after,
        **{name: jnp.where(bad, jnp.nan, value) for name, value in values.items()},
        num_rows=num_rows,
        num_reference=num_reference,
        num_bins=jnp.sum(pooled > 0, dtype=jnp.int32),
        num_tied=intervals.num_tied(scores, valid),
        num_masked=masked,
    )


def _stability_index(before: jax.Array, after: jax.Array) -> jax.Array:
    """Of counts int32 `[num_bins]`; bins that are empty in both take no part."""
    used = before + after > 0
    shares = []
    for count in (before, after):
        more = jnp.where(used, count.astype(jnp.float32) + 0.5, 0.0)
        shares.append(more / jnp.maximum(jnp.sum(more), 1.0))
    first, second = (jnp.where(used, share, 1.0) for share in shares)
    return jnp.sum((second - first) * jnp.log(second / first))
