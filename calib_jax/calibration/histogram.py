"""Histogram binning: the mean outcome of a score's bin.

Shapes: N examples. One problem at a time; several by `jax.vmap`. Not differentiable.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import binning
from .._core import checks, dispatch, masking
from ..binning import bin_sums
from ..binning.bins import DEFAULT_NUM_BINS, Bins
from .solvers import FitReport, FitStatus


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Histogram:
    """Histogram binning: the mean outcome of a score's bin.

    Attributes:
      bins: `Bins` of the score.
      values: float32 `[num_bins]`, probability given to scores of each bin.
    """

    bins: Bins
    values: jax.Array


def fit_histogram(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Histogram, FitReport]:
    r"""Histogram binning: the mean outcome of each of `num_bins` equal-count bins.

    The means minimise the negative log-likelihood of all step functions on these bins,
    in closed form, so that `report.num_steps` is 0. An empty bin gets the mean of all
    outcomes; without a valid row (`CONSTANT`) and with `INVALID_VALUES` (NaN scores,
    outcomes outside [0, 1], weights below 0) every bin gets one half.

    Args:
      scores: floating `[N]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_bins: static number of bins.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`; they never move edges.

    Returns:
      `Histogram` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Zadrozny and Elkan, "Obtaining calibrated probability estimates from decision
      trees and naive Bayesian classifiers", 2001; Hao et al. 2026, arXiv 2601.07965,
      Table 4.

    Examples:
      >>> params, _ = fit_histogram([0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1], num_bins=2)
      >>> print(params.values, apply_histogram(params, jnp.array([0.0, 0.7, 0.8])))
      [0.5 1. ] [0.5 0.5 1. ]
    """
    score = checks.floats("scores", scores)
    outcome = checks.outcomes("outcomes", outcomes)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(scores=score, outcomes=outcome, where=mask, weights=weight)
    # A row of weight 0 is a removed row, for the edges too.
    keep = masking.valid_rows(score.shape[0], mask, weight)
    bins = binning.equal_count_bins(score, num_bins, where=keep)
    return _fit_histogram(bins, score, outcome, keep, weight)


@dispatch.core(rows_of="scores")
def apply_histogram(params: Histogram, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[N]` of scores float32 `[N]`; NaN gives NaN."""
    index = binning.bin_index(params.bins, scores)
    return jnp.where(index >= 0, params.values[index], jnp.nan)


@dispatch.core
def _fit_histogram(
    bins: Bins,
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array,
    weights: jax.Array | None,
) -> tuple[Histogram, FitReport]:
    usable = ~jnp.isnan(scores) & (outcomes >= 0) & (outcomes <= 1)
    if weights is not None:
        usable = usable & (weights >= 0) & (weights < jnp.inf)
    invalid = jnp.any(where & ~usable)
    table = bin_sums.bin_means(bins, scores, (outcomes,), where & usable, weights)
    rate, weight = table.means[0], table.weight
    total = jnp.sum(weight)
    invalid = invalid | ~(total < jnp.inf)
    some = jnp.where(total > 0, total, 1.0)
    overall = jnp.where(total > 0, jnp.sum(weight * rate) / some, 0.5)
    values = jnp.where(table.count > 0, rate, overall)
    loss = -jnp.sum(
        weight
        * (
            jax.scipy.special.xlogy(rate, rate)
            + jax.scipy.special.xlog1py(1 - rate, -rate)
        )
    )
    status = jnp.select(
        [invalid, ~(total > 0)],
        [FitStatus.INVALID_VALUES, FitStatus.CONSTANT],
        FitStatus.CONVERGED,
    ).astype(jnp.int32)
    found = status == FitStatus.CONVERGED
    report = FitReport(
        converged=found,
        num_steps=jnp.int32(0),
        loss=jnp.where(found, loss / some, jnp.nan),
        gradient_norm=jnp.where(found, jnp.float32(0), jnp.nan),
        status=status,
    )
    return Histogram(bins=bins, values=jnp.where(found, values, 0.5)), report
