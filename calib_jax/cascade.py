r"""Cascades: which inputs a small model may answer, and which go to a large one.

Shapes: N examples, `num_bins` bins, K bins kept small (the paper's budget). Algorithm 1
of the paper: bin validation data by the small model's calibrated confidence, tabulate
the large model's advantage in each bin, and keep the K bins of least advantage on the
small model. Any two models may take the two parts: two large ones often beat either.

A *share* is of inputs: `small_share` is answered by the small model, the large model is
called on the rest. The paper draws its figures against the small share; PGR, APGR and
CPT are defined by the share of large-model calls.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import _checks, _masking, _reduce, binning, summary
from .binning import DEFAULT_NUM_BINS, Bins


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AdvantageTable:
    """How much better the large model is, in bins of the small model's confidence.

    Attributes:
      count: int32 `[num_bins]`, rows.
      weight: float32 `[num_bins]`, sum of weights; equals `count` without weights.
      small_confidence: float32 `[num_bins]`, mean confidence of the small model.
      large_confidence: float32 `[num_bins]`, mean confidence of the large model.
      advantage: float32 `[num_bins]`, large minus small mean confidence, in `[-1, 1]`.
      small_outcome: float32 `[num_bins]`, mean outcome of the small model, or None.
      large_outcome: float32 `[num_bins]`, mean outcome of the large model, or None.
      outcome_advantage: float32 `[num_bins]`, large minus small mean outcome, or None.
      outcome_advantage_standard_error: float32 `[num_bins]`, its paired standard error,
        or None.
    """

    count: jax.Array
    weight: jax.Array
    small_confidence: jax.Array
    large_confidence: jax.Array
    advantage: jax.Array
    small_outcome: jax.Array | None = None
    large_outcome: jax.Array | None = None
    outcome_advantage: jax.Array | None = None
    outcome_advantage_standard_error: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Router:
    """The router of Algorithm 1.

    Attributes:
      bins: `Bins` of the small model's confidence.
      table: `AdvantageTable` on the validation data.
      order: int32 `[num_bins]`, bins by ascending advantage, the first to be kept
        small; of equal ones that of higher confidence first, empty bins last.
    """

    bins: Bins
    table: AdvantageTable
    order: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeCurve:
    """Accuracy of a cascade for every number of bins kept small.

    Attributes:
      small_share: float32 `[num_bins + 1]`, share of inputs answered by the small model
        when 0 to num_bins bins are kept, ascending.
      accuracy: float32 `[num_bins + 1]`, mean outcome of the cascade.
      small_accuracy: float32 scalar, mean outcome of the small model alone.
      large_accuracy: float32 scalar, mean outcome of the large model alone.
    """

    small_share: jax.Array
    accuracy: jax.Array
    small_accuracy: jax.Array
    large_accuracy: jax.Array


def advantage_table(
    bins: Bins,
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    *,
    small_outcome: ArrayLike | None = None,
    large_outcome: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> AdvantageTable:
    r"""Confidence advantage of the large model in each bin of the small one.

    .. math:: a_b = \bar c_b^{\,large} - \bar c_b^{\,small}

    With outcomes also the advantage in mean outcome and its paired standard error,
    :math:`\sqrt{\mathrm{Var}(v^{large} - v^{small}) / W_b}`, weights being frequencies.
    Empty bins have 0 everywhere.

    Args:
      bins: `Bins` of the small model's confidence.
      small_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      large_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      small_outcome: optional bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: optional, as `small_outcome`; both or neither.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`.

    Returns:
      `AdvantageTable`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or one outcome without the other.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> bins = binning.equal_width_bins(2)
      >>> table = advantage_table(bins, [0.3, 0.6, 0.8], [0.9, 0.7, 0.9])
      >>> print(table.advantage.round(3))
      [0.6 0.1]
    """
    _checks.instance("bins", bins, Bins)
    small = _checks.floats("small_confidence", small_confidence)
    large = _checks.floats("large_confidence", large_confidence)
    if (small_outcome is None) != (large_outcome is None):
        raise ValueError(
            "small_outcome, large_outcome: expected both or neither, got only one."
        )
    outcomes = None
    if small_outcome is not None and large_outcome is not None:
        outcomes = (
            _checks.outcomes("small_outcome", small_outcome),
            _checks.outcomes("large_outcome", large_outcome),
        )
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_shape(
        small_confidence=small,
        large_confidence=large,
        small_outcome=outcomes[0] if outcomes else None,
        large_outcome=outcomes[1] if outcomes else None,
        where=mask,
        weights=weight,
    )
    return _advantage_table(bins, small, large, outcomes, mask, weight)


def fit_router(
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Router:
    """The router of Algorithm 1, from validation data; it needs no labels.

    With calibrated confidences this is the paper's CC router, with raw ones its UC.

    Args:
      small_confidence: floating `[N]`, in `[0, 1]`.
      large_confidence: floating `[N]`, in `[0, 1]`.
      num_bins: static number of equal-count bins of the small model's confidence.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`; they never move edges.

    Returns:
      `Router`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> small, large = [0.2, 0.3, 0.8, 0.9], [0.7, 0.9, 0.8, 0.9]
      >>> router = fit_router(small, large, num_bins=2)
      >>> print(router.order, use_small(router, [0.1, 0.95], 1))
      [1 0] [False  True]
    """
    small = _checks.floats("small_confidence", small_confidence)
    large = _checks.floats("large_confidence", large_confidence)
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_shape(
        small_confidence=small, large_confidence=large, where=mask, weights=weight
    )
    # A row of weight 0 is a removed row, for the edges too.
    keep = mask if weight is None else _masking.valid_rows(len(small), mask, weight)
    bins = binning.equal_count_bins(small, num_bins, where=keep)
    table = advantage_table(bins, small, large, where=mask, weights=weight)
    return Router(
        bins=bins, table=table, order=summary.bin_order(table.count, table.advantage)
    )


def use_small(
    router: Router, small_confidence: ArrayLike, num_small_bins: int | jax.Array
) -> jax.Array:
    """Which inputs keep the small model's answer.

    Args:
      router: `Router`.
      small_confidence: floating `[N]`, of new inputs, calibrated as those of the fit.
      num_small_bins: the paper's K, 0 to num_bins; may be traced.

    Returns:
      bool `[N]`; False where the confidence is NaN.

    Raises:
      ValueError: for a wrong rank, dtype or count.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> print(use_small(router, [0.1, 0.5, 0.9], 1))
      [False False  True]
    """
    _checks.instance("router", router, Router)
    budget = _checks.traced_int(
        "num_small_bins", num_small_bins, minimum=0, maximum=router.bins.num_bins
    )
    confidence = _checks.floats("small_confidence", small_confidence)
    return binning.in_first_bins(router.bins, router.order, confidence, budget)


def cascade_curve(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CascadeCurve:
    """Accuracy against share for every number of bins kept small, in one pass.

    Args:
      router: `Router`.
      small_confidence: floating `[N]`, calibrated as those of the fit.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct.
      large_outcome: the same for the large model's answer.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`.

    Returns:
      `CascadeCurve`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(curve.small_share, curve.accuracy)
      [0.  0.5 1. ] [1.  1.  0.5]
    """
    _checks.instance("router", router, Router)
    confidence = _checks.floats("small_confidence", small_confidence)
    small = _checks.outcomes("small_outcome", small_outcome)
    large = _checks.outcomes("large_outcome", large_outcome)
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_shape(
        small_confidence=confidence,
        small_outcome=small,
        large_outcome=large,
        where=mask,
        weights=weight,
    )
    return _cascade_curve(router, confidence, small, large, mask, weight)


def random_curve(curve: CascadeCurve) -> CascadeCurve:
    """The curve of a router that picks inputs at random, at the same shares.

    .. math:: p \\, v^{small} + (1 - p) \\, v^{large}

    Args:
      curve: `CascadeCurve`, for its shares and the two accuracies.

    Returns:
      `CascadeCurve`; its APGR is 0.5.

    Raises:
      ValueError: where `curve` is no `CascadeCurve`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2 (random routing).

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(random_curve(curve).accuracy)
      [1.   0.75 0.5 ]
    """
    _checks.instance("curve", curve, CascadeCurve)
    share = curve.small_share
    accuracy = share * curve.small_accuracy + (1 - share) * curve.large_accuracy
    return dataclasses.replace(curve, accuracy=accuracy)


def performance_gap_recovered(curve: CascadeCurve) -> jax.Array:
    r"""Share of the accuracy gap between the models that the cascade recovers (PGR).

    .. math:: \mathrm{PGR} = \frac{v - v^{small}}{v^{large} - v^{small}}

    Args:
      curve: `CascadeCurve`.

    Returns:
      float32 `[num_bins + 1]`, for 0 to num_bins bins kept small; above 1 where the
      cascade beats the large model; NaN where both models are equally accurate.

    Raises:
      ValueError: where `curve` is no `CascadeCurve`.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2; Hao et al. 2026.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(performance_gap_recovered(curve))
      [1. 1. 0.]
    """
    _checks.instance("curve", curve, CascadeCurve)
    return _performance_gap_recovered(curve)


def average_performance_gap_recovered(curve: CascadeCurve) -> jax.Array:
    r"""Area under PGR over the share of large-model calls (APGR).

    The trapezoid integral over all points of the curve, from no calls of the large
    model to calls only. 0.5 is random routing.

    Args:
      curve: `CascadeCurve`.

    Returns:
      float32 scalar; NaN where both models are equally accurate.

    Raises:
      ValueError: where `curve` is no `CascadeCurve`.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2, which averages ten
      points (so that random routing scores 0.55); the integral has no such offset.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(average_performance_gap_recovered(curve))
      0.75
    """
    recovered = performance_gap_recovered(curve)
    widths = curve.small_share[1:] - curve.small_share[:-1]
    return jnp.sum(widths * 0.5 * (recovered[1:] + recovered[:-1]))


def call_performance_threshold(curve: CascadeCurve, target: ArrayLike) -> jax.Array:
    """The least share of large-model calls that recovers `target` of the gap (CPT).

    The first crossing as the share of calls rises from 0, linear between points.

    Args:
      curve: `CascadeCurve`.
      target: floating scalar in `[0, 1]`, a PGR; may be traced.

    Returns:
      float32 scalar in `[0, 1]`; NaN where the curve never reaches the target.

    Raises:
      ValueError: where `curve` is no `CascadeCurve` or `target` no scalar.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(call_performance_threshold(curve, 0.5))
      0.25
    """
    _checks.instance("curve", curve, CascadeCurve)
    goal = _checks.floats("target", target, rank=0, axes="")
    return _call_performance_threshold(curve, goal)


@_reduce.core
def _advantage_table(
    bins: Bins,
    small: jax.Array,
    large: jax.Array,
    outcomes: tuple[jax.Array, jax.Array] | None,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> AdvantageTable:
    quantities = [small, large]
    if outcomes is not None:
        difference = outcomes[1] - outcomes[0]
        quantities += [*outcomes, difference, difference**2]
    table = summary.bin_means(bins, small, quantities, where, weights)
    result = AdvantageTable(
        count=table.count,
        weight=table.weight,
        small_confidence=table.means[0],
        large_confidence=table.means[1],
        advantage=table.means[1] - table.means[0],
    )
    if outcomes is None:
        return result
    mean, square = table.means[4], table.means[5]
    variance = jnp.maximum(square - mean**2, 0.0)
    return dataclasses.replace(
        result,
        small_outcome=table.means[2],
        large_outcome=table.means[3],
        outcome_advantage=mean,
        outcome_advantage_standard_error=jnp.sqrt(
            variance / jnp.where(table.weight > 0, table.weight, 1.0)
        ),
    )


@_reduce.core
def _cascade_curve(
    router: Router,
    confidence: jax.Array,
    small: jax.Array,
    large: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> CascadeCurve:
    table = summary.bin_means(router.bins, confidence, (small, large), where, weights)
    weight = table.weight[router.order]
    kept = jnp.concatenate([jnp.zeros(1, jnp.float32), weight])
    right = weight[None] * table.means[:, router.order]
    by_small = jnp.pad(jnp.cumsum(right[0]), (1, 0))
    by_large = jnp.pad(jnp.cumsum(right[1][::-1])[::-1], (0, 1))
    kept = jnp.cumsum(kept)
    total = jnp.where(kept[-1] > 0, kept[-1], jnp.nan)
    return CascadeCurve(
        small_share=kept / total,
        accuracy=(by_small + by_large) / total,
        small_accuracy=by_small[-1] / total,
        large_accuracy=by_large[0] / total,
    )


@jax.jit
def _performance_gap_recovered(curve: CascadeCurve) -> jax.Array:
    gap = curve.large_accuracy - curve.small_accuracy
    recovered = curve.accuracy - curve.small_accuracy
    return jnp.where(gap != 0, recovered / jnp.where(gap != 0, gap, 1.0), jnp.nan)


@jax.jit
def _call_performance_threshold(curve: CascadeCurve, target: jax.Array) -> jax.Array:
    # From calls of the large model on nothing to calls on everything.
    share = 1.0 - curve.small_share[::-1]
    recovered = _performance_gap_recovered(curve)[::-1]
    reached = recovered >= target
    at = jnp.argmax(reached)
    before = jnp.maximum(at - 1, 0)
    rise = recovered[at] - recovered[before]
    part = (target - recovered[before]) / jnp.where(rise > 0, rise, 1.0)
    crossing = share[before] + jnp.where(rise > 0, part, 1.0) * (
        share[at] - share[before]
    )
    return jnp.where(jnp.any(reached), crossing, jnp.nan)
