"""Scaling-binning: a smooth curve, whose values are averaged in bins.

Shapes: N examples. One problem at a time; batch with `jax.vmap`. The bins treat scores
as fixed: values have derivatives through the curve alone.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from .._core.domains import Outcome, Weights
from ..binning import bin_sums
from ..binning.bins import DEFAULT_NUM_BINS, cut_evenly
from . import platt, reports
from .histogram import Histogram
from .reports import FitReport, FitStatus

# Which rows fit the curve, which cut the bins, which are averaged.
_CURVE, _CUTS, _MEANS = range(3)
_ORDERS = np.array(
    [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], np.int32
)


def fit_scaling_binning(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    key: jax.Array | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Histogram, FitReport]:
    """Scaling-binning: bins of a score that return the mean of a fitted curve.

    A third of the valid rows fits a Platt curve, another third cuts bins of equal
    count, and the value of each bin is the mean of the *curve* over the rows of the
    last third, not of their outcomes. The curve rises or falls throughout, so bins of
    the score are bins of the curve. Calibration errors of so few values can be measured
    on other rows, unlike those of the curve itself, and the means vary far less than
    those of histogram binning. Where no logistic curve fits the scores, the values are
    wrong however many rows there are: then use `fit_histogram`.

    A bin without a row of the last third has the mean of the second third's rows in it,
    and one without either the mean of all. The report is that of the curve, whose loss
    is on the first third; without an optimum (`SEPARABLE`, `ONE_CLASS`, `CONSTANT`)
    the values are of the curve that `fit_platt` returns. `INVALID_VALUES` in any third
    give one half everywhere.

    Args:
      scores: floating `[N]`, finite, of any scale; of confidences take the `log_odds`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_bins: static number of bins.
      key: optional random key, from `jax.random.key`: each three consecutive valid rows
        go to the three thirds in random order. Without it they go in turn, which needs
        rows in random order.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; 0 removes a row, other weights do not move
        edges.

    Returns:
      `Histogram` of the score and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape, dtype, count or key, or a host outcome or
        weight outside its range.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Kumar, Liang and Ma, "Verified Uncertainty Calibration", 2019, arXiv 1909.10155,
      section 4.

    Examples:
      >>> import calib_jax as cj
      >>> scores = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
      >>> outcomes = [0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1]
      >>> params, report = fit_scaling_binning(
      ...     [float(score) for score in scores], outcomes, num_bins=2
      ... )
      >>> print(params.bins.edges, params.values.round(3))
      [2.] [0.262 0.757]
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    size = checks.static_int("num_bins", num_bins, minimum=1)
    random = None if key is None else checks.key("key", key)
    params, report = _fit_scaling_binning(*rows, random, num_bins=size)
    given = scores, outcomes, where, weights
    reports.warn_of_failure("fit_scaling_binning", report, given)
    return params, report


@dispatch.core(
    static=["num_bins"],
    rows=["scores", "outcomes", "where", "weights"],
    passes=dispatch.Passes.FEW,
)
def _fit_scaling_binning(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    key: jax.Array | None,
    *,
    num_bins: int,
) -> tuple[Histogram, FitReport]:
    num_rows = scores.shape[0]
    valid = masking.valid_rows(num_rows, where, weights)
    usable = jnp.isfinite(scores) & masking.usable_outcomes(outcomes, weights)
    invalid = jnp.any(valid & ~usable)
    part = _parts(valid, key)
    curve, report = platt.fit_rows(
        scores,
        outcomes,
        valid & (part == _CURVE),
        weights,
        smooth=False,
        solver=None,
    )
    valid = valid & usable
    cuts, averaged = (valid & (part == number) for number in (_CUTS, _MEANS))
    bins = cut_evenly(scores, num_bins, cuts)
    (clean,) = masking.clean_rows(valid, 0.0, scores)
    mapped = platt.apply_platt(curve, clean)
    if weights is not None:
        # Their sums stay in the range of float32.
        weights, _ = masking.scaled_weights(num_rows, weights, valid)
    first, second = (
        bin_sums.bin_means(bins, scores, (mapped,), rows, weights)
        for rows in (averaged, cuts)
    )
    weight = jnp.concatenate([first.weight, second.weight])
    means = jnp.concatenate([first.means[0], second.means[0]])
    total = jnp.sum(weight)
    overall = jnp.where(total > 0, jnp.sum(weight * means), 0.5)
    overall = overall / jnp.where(total > 0, total, 1.0)
    values = jnp.where(second.count > 0, second.means[0], overall)
    values = jnp.where(first.count > 0, first.means[0], values)
    invalid = invalid | (report.status == FitStatus.INVALID_VALUES)
    report = dataclasses.replace(
        report,
        converged=report.converged & ~invalid,
        loss=jnp.where(invalid, jnp.nan, report.loss),
        gradient_norm=jnp.where(invalid, jnp.nan, report.gradient_norm),
        status=jnp.where(invalid, FitStatus.INVALID_VALUES, report.status),
    )
    return Histogram(bins=bins, values=jnp.where(invalid, 0.5, values)), report


def _parts(valid: jax.Array, key: jax.Array | None) -> jax.Array:
    """int32 `[N]`: the third of each valid row."""
    num_rows = valid.shape[0]
    if key is None:
        return masking.dealt(valid, 3)
    place = masking.dealt(valid, num_rows + 1)
    # With JAX's default keys a word depends on its position alone, not on padding.
    words = jax.random.bits(key, (num_rows,), jnp.uint32)
    order = (words[place // 3] % 6).astype(jnp.int32)
    return jnp.asarray(_ORDERS)[order, place % 3]
