"""Histogram binning: the confidence of a score is the mean outcome of its bin.

Shapes: N examples. One problem at a time; batch with `jax.vmap`. The bins
treat scores as fixed: values have derivatives by outcomes and weights alone.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from .._core.domains import Outcome, Weights
from ..binning import bin_sums, search
from ..binning.bins import DEFAULT_NUM_BINS, Bins, cut_evenly
from . import reports
from .reports import FitReport, FitStatus


@records.record(axes={"values": "num_bins"}, values={"values": records.SHARE})
class Histogram:
    """Parameters of histogram binning.

    Attributes:
      bins: `Bins` of the score.
      values: float32 `[num_bins]`, the calibrated confidence in each bin.
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

    Among all step functions on these bins the means have the least negative
    log-likelihood. They need no solver: `report.num_steps` is 0. An empty bin gets the
    mean of all outcomes. Every bin gets one half if no row is valid (`CONSTANT`) or a
    valid row has a NaN score, an outcome outside [0, 1] or a negative or infinite
    weight (`INVALID_VALUES`).

    Args:
      scores: floating `[N]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_bins: static number of bins.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; 0 removes a row, other weights do not move
        edges.

    Returns:
      `Histogram` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a host outcome or weight
        outside its range.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Zadrozny and Elkan, "Obtaining calibrated probability estimates from decision
      trees and naive Bayesian classifiers", 2001; Hao et al. 2026, arXiv 2601.07965,
      Table 4.

    Examples:
      >>> scores, outcomes = [0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1]
      >>> params, report = fit_histogram(scores, outcomes, num_bins=2)
      >>> print(params.values, apply_histogram(params, jnp.array([0.0, 0.7, 0.8])))
      [0.5 1. ] [0.5 0.5 1. ]
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    size = checks.static_int("num_bins", num_bins, minimum=1)
    params, report = _fit_histogram(*rows, num_bins=size)
    given = scores, outcomes, where, weights
    reports.warn_of_failure("fit_histogram", report, given)
    return params, report


@dispatch.core(rows=["scores N ..."], rows_of="scores")
def apply_histogram(params: Histogram, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[...]` of scores float32 `[...]`; NaN gives NaN."""
    index = search.bin_of(params.bins.edges, scores)
    return jnp.where(index >= 0, params.values[index], jnp.nan)


@dispatch.core(static=["num_bins"], rows=["scores", "outcomes", "where", "weights"])
def _fit_histogram(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_bins: int,
) -> tuple[Histogram, FitReport]:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    bins = cut_evenly(scores, num_bins, valid)
    usable = ~jnp.isnan(scores) & masking.usable_outcomes(outcomes, weights)
    invalid = jnp.any(valid & ~usable)
    if weights is not None:
        # Their sums stay in the range of float32.
        weights, _ = masking.scaled_weights(scores.shape[0], weights, valid & usable)
    table = bin_sums.bin_means(bins, scores, (outcomes,), valid & usable, weights)
    rate, weight = table.means[0], table.weight
    total = jnp.sum(weight)
    invalid = invalid | ~(total < jnp.inf) | jnp.any(jnp.isnan(rate))
    some = jnp.where(total > 0, total, 1.0)
    overall = jnp.where(total > 0, jnp.sum(weight * rate) / some, 0.5)
    values = jnp.where(table.count > 0, rate, overall)
    status = jnp.select(
        [invalid, ~(total > 0)],
        [FitStatus.INVALID_VALUES, FitStatus.CONSTANT],
        FitStatus.CONVERGED,
    ).astype(jnp.int32)
    found = status == FitStatus.CONVERGED
    report = reports.report_of_means(weight, rate, status)
    return Histogram(bins=bins, values=jnp.where(found, values, 0.5)), report
