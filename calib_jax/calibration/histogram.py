"""Histogram binning: the confidence of a score is the mean outcome of its bin.

Shapes: N examples. One problem at a time; batch with `jax.vmap`. The bins
treat scores as fixed: values have derivatives by outcomes and weights alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records
from .._core.domains import NonNegative, Outcome, Positive, Weights
from ..binning import bin_sums, search
from ..binning.bins import DEFAULT_NUM_BINS, Bins, cut_evenly
from . import reports
from .reports import FitReport, FitStatus


@records.record(axes={"values": "num_bins"}, values={"values": records.SHARE})
class Histogram(records.Result):
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
    leave_out_edges: bool = False,
) -> tuple[Histogram, FitReport]:
    r"""Histogram binning: the mean outcome of each of `num_bins` equal-count bins.

    Among all step functions on these bins the means have the least negative
    log-likelihood. They need no solver: `report.num_steps` is 0. An empty bin gets the
    mean of all outcomes. Every bin gets one half if no row is valid (`CONSTANT`) or a
    valid row has a NaN score, an outcome outside [0, 1] or a negative or infinite
    weight (`INVALID_VALUES`).

    With `leave_out_edges` the values have a guarantee, that of `histogram_error_bound`:
    the row whose score is the edge where a bin starts does not count in its mean. It
    holds for independent rows of one distribution, without weights other than 0 and 1,
    and scores of which none equals an edge but the row that set it. So if two valid
    rows share an edge, there are fewer than 2 `num_bins` rows, or a weight is not 0 or
    1, the status is `INVALID_VALUES`. Every fit without guarantee then has values of
    NaN.

    Args:
      scores: floating `[N]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_bins: static number of bins.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; 0 removes a row, other weights do not move
        edges.
      leave_out_edges: whether to leave the rows that are edges out of the means.

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
      Table 4; Gupta and Ramdas 2021, arXiv 2105.04656, algorithm 1 (edges left out).

    Examples:
      >>> scores, outcomes = [0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1]
      >>> params, report = fit_histogram(scores, outcomes, num_bins=2)
      >>> print(params.values, apply_histogram(params, jnp.array([0.0, 0.7, 0.8])))
      [0.5 1. ] [0.5 0.5 1. ]
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    size = checks.static_int("num_bins", num_bins, minimum=1)
    leave_out = checks.flag("leave_out_edges", leave_out_edges)
    params, report = _fit_histogram(*rows, num_bins=size, leave_out_edges=leave_out)
    reports.warn_of_failure(
        "fit_histogram",
        report,
        *(scores, outcomes, where, weights),
        detail=lambda: _NO_GUARANTEE if leave_out else "",
    )
    return params, report


_NO_GUARANTEE = (
    " With leave_out_edges no two rows may have the score of an edge, each bin needs "
    "two rows, and all weights must be 0 or 1: use fewer bins, or break ties by a "
    "little noise."
)


def histogram_error_bound(
    num_rows: ArrayLike, num_bins: ArrayLike, *, confidence_level: ArrayLike = 0.95
) -> jax.Array:
    r"""How far histogram binning is at most from the truth, in every bin at once.

    .. math:: P\left(\max_b \left| E[v \mid b] - \hat v_b \right| \le \epsilon \right)
       \ge 1 - \delta, \quad
       \epsilon = \sqrt{\frac{\log (2 B / \delta)}{2 (\lfloor n / B \rfloor - 1)}}

    With probability `confidence_level` over the n rows of the fit, the values of all B
    bins are this close to the mean outcome of new rows in the bin. This assumes nothing
    about the scores or the model, only what `fit_histogram(..., leave_out_edges=True)`
    asks of the rows; a fit without it has no such guarantee. To be within 0.05 at 10
    bins takes about 12,000 rows.

    Args:
      num_rows: integer scalar or array `[...]`, n, the valid rows of the fit.
      num_bins: integer scalar or array `[...]`, B.
      confidence_level: floating scalar in `(0, 1)`, one minus :math:`\delta`.

    Returns:
      float32 `[...]`; 1 or more says nothing, and NaN is for n below 2 B, where the
      theorem does not hold.

    Raises:
      ValueError: for a wrong dtype, shapes that do not broadcast, or a host value
        outside its range.

    References:
      Gupta and Ramdas, "Distribution-free calibration guarantees for histogram binning
      without sample splitting", 2021, arXiv 2105.04656, theorem 3.

    Examples:
      >>> print(f"{histogram_error_bound(10_000, 10):.4f}")
      0.0548
    """
    rows = checks.integers("num_rows", num_rows, rank=range(9), axes="[...] or scalar")
    size = checks.integers("num_bins", num_bins, rank=range(9), axes="[...] or scalar")
    checks.broadcasts(num_rows=rows, num_bins=size)
    error = checks.error_rate("confidence_level", confidence_level)
    return _histogram_error_bound(rows, size, error)


@dispatch.core(host=True)
def _histogram_error_bound(
    num_rows: NonNegative, num_bins: Positive, error_rate: jax.Array
) -> Any:
    xp = num_rows.__array_namespace__()
    each = num_rows // xp.maximum(num_bins, 1)
    known = (num_bins >= 1) & (each >= 2)
    rest = xp.where(known, each - 1, 1).astype(np.float32)
    terms = xp.log(2 * num_bins.astype(np.float32) / error_rate)
    return xp.where(known, xp.sqrt(terms / (2 * rest)), np.float32(np.nan))


@dispatch.core(rows=["scores N ..."], rows_of="scores")
def apply_histogram(params: Histogram, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[...]` of scores float32 `[...]`; NaN gives NaN."""
    index = search.bin_of(params.bins.edges, scores)
    return jnp.where(index >= 0, params.values[index], jnp.nan)


@dispatch.core(
    static=["num_bins", "leave_out_edges"],
    rows=["scores", "outcomes", "where", "weights"],
)
def _fit_histogram(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_bins: int,
    leave_out_edges: bool,
) -> tuple[Histogram, FitReport]:
    valid = masking.valid_rows(scores.shape[0], where, weights)
    bins = cut_evenly(scores, num_bins, valid)
    usable = ~jnp.isnan(scores) & masking.usable_outcomes(outcomes, weights)
    invalid = jnp.any(valid & ~usable)
    unequal: Any = np.bool_(False)
    if weights is not None:
        unequal = jnp.any(valid & (weights != 1))
        # Their sums stay in the range of float32.
        weights, _ = masking.scaled_weights(scores.shape[0], weights, valid & usable)
    counted = valid & usable
    if leave_out_edges:
        edge = _is_edge(bins, scores)
        # Ties with an edge, whose rows have more than one way to be split.
        tied = jnp.sum(valid & edge, dtype=jnp.int32) != num_bins - 1
        few = jnp.sum(valid, dtype=jnp.int32) < 2 * num_bins
        counted = counted & ~edge
    table = bin_sums.bin_means(bins, scores, (outcomes,), counted, weights)
    rate, weight = table.means[0], table.weight
    total = jnp.sum(weight)
    invalid = invalid | ~(total < jnp.inf) | jnp.any(jnp.isnan(rate))
    some = jnp.where(total > 0, total, 1.0)
    overall = jnp.where(total > 0, jnp.sum(weight * rate) / some, 0.5)
    values = jnp.where(table.count > 0, rate, overall)
    if leave_out_edges:
        invalid = invalid | ((tied | few | unequal) & jnp.any(valid))
    status = jnp.select(
        [invalid, ~(total > 0)],
        [FitStatus.INVALID_VALUES, FitStatus.CONSTANT],
        FitStatus.CONVERGED,
    ).astype(jnp.int32)
    found = status == FitStatus.CONVERGED
    report = reports.report_of_means(weight, rate, status)
    otherwise = jnp.nan if leave_out_edges else 0.5
    return Histogram(bins=bins, values=jnp.where(found, values, otherwise)), report


def _is_edge(bins: Bins, scores: jax.Array) -> jax.Array:
    """Bool `[N]`: scores at which a bin starts."""
    index = search.bin_of(bins.edges, scores)
    starts = jnp.concatenate([jnp.full(1, jnp.nan, jnp.float32), bins.edges])
    return search.without_subnormals(scores) == starts[jnp.maximum(index, 0)]
