r"""What a cascade achieves: accuracy against share, and the numbers read off it.

Shapes: N examples, `num_bins` bins. A *share* is a share of inputs: the small model
answers `small_share`, the large model is called on the rest. The paper draws its
figures against the small share; PGR, APGR and CPT use the share of large-model calls.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, records
from .._core.domains import Confidence, Outcome, Share, Weights
from ..binning import bin_sums
from . import first_bins
from .routers import Router


@records.record(
    "num_bins+1", axes={"small_accuracy": "", "large_accuracy": "", "gap": ""}
)
class CascadeCurve(records.Result):
    """Accuracy of a cascade for every number of bins kept small.

    Attributes:
      small_share: float32 `[num_bins + 1]`, share of inputs answered by the small model
        when 0 to num_bins bins are kept small, ascending.
      accuracy: float32 `[num_bins + 1]`, mean outcome of the cascade.
      small_accuracy: float32 scalar, mean outcome of the small model alone.
      large_accuracy: float32 scalar, mean outcome of the large model alone.
      gain: float32 `[num_bins + 1]`, `accuracy - small_accuracy` before either was
        rounded, which keeps PGR accurate where the models are close; or None.
      gap: float32 scalar, `large_accuracy - small_accuracy` before either was rounded,
        where the models confer and `accuracy[0]` is not the large model's; else None.
    """

    small_share: jax.Array
    accuracy: jax.Array
    small_accuracy: jax.Array
    large_accuracy: jax.Array
    gain: jax.Array | None = None
    gap: jax.Array | None = None


def cascade_curve(
    router: Router,
    small_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    conferred_outcome: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> CascadeCurve:
    """Accuracy against share for every number of bins kept small, in one pass.

    The large model's answer is taken for rows sent on or, if the models confer, the
    answer that an arbiter picks. Then `accuracy[0]` may be above `large_accuracy`, and
    PGR above 1 without a bin kept small: both accuracies are those of one model alone.

    Args:
      router: `Router`.
      small_confidence: floating `[N]`, calibrated as in the fit.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is correct.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      conferred_outcome: optional `[N]`, like `small_outcome` for the answer where both
        models were asked, as `calib_jax.cascade.prefer_large` picks it.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`.

    Returns:
      `CascadeCurve`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a value on the host outside
        `[0, 1]`; such a value in a device array counts as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(curve.small_share, curve.accuracy)
      [0.  0.5 1. ] [1.  1.  0.5]

      Each model alone is right on one of two rows, and the arbiter on both:

      >>> confer = {"conferred_outcome": [1, 1]}
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 0], **confer)
      >>> print(curve.accuracy, curve.large_accuracy)
      [1.  1.  0.5] 0.5
    """
    checks.instance("router", router, Router)
    (confidence,), small, large, mask = checks.two_models(
        {"small_confidence": small_confidence},
        small_outcome,
        large_outcome,
        where,
        keep_bool=True,
    )
    weight = checks.weights("weights", weights)
    checks.same_shape(small_confidence=confidence, weights=weight)
    answer = checks.conferred(
        "conferred_outcome", conferred_outcome, small, keep_bool=True
    )
    return _cascade_curve(router, confidence, small, large, answer, mask, weight)


def random_curve(curve: CascadeCurve) -> CascadeCurve:
    """The curve of a router that picks inputs at random, at the same shares.

    .. math:: p \\, v^{small} + (1 - p) \\, v^{large}

    Args:
      curve: `CascadeCurve`, for its shares and the two accuracies.

    Returns:
      `CascadeCurve`; its APGR is 0.5.

    Raises:
      ValueError: where `curve` is not a `CascadeCurve`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Figure 2 (random routing).

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(random_curve(curve).accuracy)
      [1.   0.75 0.5 ]
    """
    checks.instance("curve", curve, CascadeCurve)
    return _random_curve(curve)


def performance_gap_recovered(curve: CascadeCurve) -> jax.Array:
    r"""Share of the accuracy gap between the models that the cascade recovers (PGR).

    .. math:: \mathrm{PGR} = \frac{v - v^{small}}{v^{large} - v^{small}}

    Args:
      curve: `CascadeCurve`.

    Returns:
      float32 `[num_bins + 1]`, for 0 to num_bins bins kept small; above 1 where the
      cascade beats the large model; NaN where both models are equally accurate.

    Raises:
      ValueError: where `curve` is not a `CascadeCurve`.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2; Hao et al. 2026.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(performance_gap_recovered(curve))
      [1. 1. 0.]
    """
    checks.instance("curve", curve, CascadeCurve)
    return _pgr(curve)


def average_performance_gap_recovered(curve: CascadeCurve) -> jax.Array:
    r"""Area under PGR over the share of large-model calls (APGR).

    The trapezoid integral over all points of the curve, from no large-model calls to
    large-model calls only. Random routing scores 0.5.

    Args:
      curve: `CascadeCurve`.

    Returns:
      float32 scalar; NaN where both models are equally accurate.

    Raises:
      ValueError: where `curve` is not a `CascadeCurve`.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2, which averages ten
      points and so gives random routing 0.55; the integral gives it 0.5.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(average_performance_gap_recovered(curve))
      0.75
    """
    checks.instance("curve", curve, CascadeCurve)
    return _apgr(curve)


def call_performance_threshold(curve: CascadeCurve, target: ArrayLike) -> jax.Array:
    """The smallest share of large-model calls that recovers `target` of the gap (CPT).

    The first crossing as the share of calls rises from 0, linear between points.

    Args:
      curve: `CascadeCurve`.
      target: floating scalar in `[0, 1]`, a PGR; may be traced.

    Returns:
      float32 scalar in `[0, 1]`; NaN where the curve never reaches the target, and for
      a traced target outside `[0, 1]`.

    Raises:
      ValueError: where `curve` is not a `CascadeCurve`, or `target` is not a scalar or
        is a number on the host outside `[0, 1]`.

    References:
      Ong et al., "RouteLLM", 2024, arXiv 2406.18665, section 3.2.

    Examples:
      >>> import calib_jax
      >>> router = calib_jax.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> curve = cascade_curve(router, [0.1, 0.9], [0, 1], [1, 1])
      >>> print(call_performance_threshold(curve, 0.5))
      0.25
    """
    checks.instance("curve", curve, CascadeCurve)
    goal = checks.scalar("target", target)
    return _call_performance_threshold(curve, goal)


@dispatch.core(
    rows=[
        "small_confidence",
        "small_outcome",
        "large_outcome",
        "conferred_outcome",
        "where",
        "weights",
    ]
)
def _cascade_curve(
    router: Router,
    small_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    conferred_outcome: Outcome | None,
    where: jax.Array | None,
    weights: Weights | None,
) -> CascadeCurve:
    outcomes = [small_outcome, large_outcome]
    if conferred_outcome is not None:
        outcomes.append(conferred_outcome)
    state, table = bin_sums.bin_sums_and_means(
        router.bins, small_confidence, outcomes, where, weights
    )
    # Exact sums have no derivatives: add those of the curve from means.
    moved = curve_of_means(table.weight, table.means, router.order)
    moved = jax.tree.map(lambda leaf: leaf - jax.lax.stop_gradient(leaf), moved)
    bad = jnp.any(jnp.isnan(table.means))
    return curve_of_sums(state.sums[1:], router.order, bad, moved)


def curve_of_sums(
    sums: jax.Array,
    order: jax.Array,
    bad: jax.Array,
    moved: CascadeCurve | None = None,
) -> CascadeCurve:
    """The curve from exact sums, so that equal accuracies are equal numbers.

    Whether a number of bins loses anything, and whether there is a gap between the
    models at all, depends on that.

    Args:
      sums: int32 `[3, num_bins + 1, digits]` of a `BinSums`: of weights, and of the
        outcomes of the small and of the large model; and of the conferred ones, 4.
      order: int32 `[num_bins]`, the bins in the order in which they are kept small.
      bad: bool scalar, whether the curve is NaN.
      moved: optional `CascadeCurve` of zeros that carry derivatives.

    Returns:
      `CascadeCurve`.
    """
    weight, by_small, by_large, *conferred = exact.normalise(sums)
    by_answer = conferred[0] if conferred else by_large
    kept = first_bins.sum_for_every_k(order, weight)
    right = first_bins.sum_for_every_k(order, by_small, by_answer)
    parts = [kept, right, right - right[-1:]]
    if conferred:
        # The large model alone, the same for every K.
        alone = first_bins.sum_for_every_k(order, by_large, by_large)
        parts += [alone, alone - right[-1:]]
    high, low = exact.to_float(exact.normalise(jnp.stack(parts)))
    total = jnp.where((high[0, -1] > 0) & ~bad, high[0, -1], jnp.nan)
    (share, accuracy, gain, *large), _ = exact.divide((high, low), (total, low[0, -1]))
    if moved is not None:
        step = moved.accuracy
        accuracy, gain = accuracy + step, gain + (step - step[-1])
    large_accuracy, gap = accuracy[0], None
    if conferred:
        large_accuracy, gap = large[0][0], large[1][0]
        if moved is not None:
            step = moved.large_accuracy
            large_accuracy = large_accuracy + step
            gap = gap + (step - moved.accuracy[-1])
    return CascadeCurve(
        small_share=share,
        accuracy=accuracy,
        small_accuracy=accuracy[-1],
        large_accuracy=large_accuracy,
        gain=gain,
        gap=gap,
    )


def curve_of_means(
    weight: jax.Array, means: jax.Array, order: jax.Array
) -> CascadeCurve:
    """The curve in float32, from weights and mean outcomes of bins.

    0 without any weight.

    Args:
      weight: float32 `[num_bins]`.
      means: float32 `[2, num_bins]`, of the small and of the large model; and of the
        conferred outcomes, 3.
      order: int32 `[num_bins]`.
    """
    by_small, by_large, *conferred = means
    by_answer = conferred[0] if conferred else by_large
    total = jnp.sum(weight)
    share = weight / jnp.where(total > 0, total, 1.0)
    accuracy = first_bins.sum_for_every_k(order, share * by_small, share * by_answer)
    large_accuracy, gap = accuracy[0], None
    if conferred:
        large_accuracy = jnp.sum(share * by_large)
        gap = jnp.sum(share * (by_large - by_small))
    return CascadeCurve(
        small_share=first_bins.sum_for_every_k(order, share),
        accuracy=accuracy,
        small_accuracy=accuracy[-1],
        large_accuracy=large_accuracy,
        gain=first_bins.sum_for_every_k(order, large=share * (by_answer - by_small)),
        gap=gap,
    )


def within_budget(
    mean: jax.Array, budget: jax.Array, scale: jax.Array | float
) -> jax.Array:
    """Whether means are within a budget; one equal to it is, however float32 rounds.

    Args:
      mean: float32 `[...]`.
      budget: float32 scalar.
      scale: size of the numbers that were rounded: 1 for shares, which are differences
        from 1, and the size of the budget for costs.

    Returns:
      bool `[...]`.
    """
    return mean <= budget + scale * 2.0**-20


def _of_floats(curve: CascadeCurve) -> CascadeCurve:
    """The curve as float32: one made by hand may hold other numbers."""
    return jax.tree.map(lambda array: array.astype(np.float32), curve)


def _gap_of(curve: CascadeCurve) -> jax.Array:
    """The gap of a curve with `gain`."""
    assert curve.gain is not None
    return curve.gain[0] if curve.gap is None else curve.gap


def pgr_of(curve: CascadeCurve) -> jax.Array:
    """PGR of a curve that was checked, of NumPy or JAX arrays."""
    curve = _of_floats(curve)
    xp = curve.accuracy.__array_namespace__()
    if curve.gain is None:
        gap = curve.large_accuracy - curve.small_accuracy
        gain = curve.accuracy - curve.small_accuracy
    else:
        gap, gain = _gap_of(curve), curve.gain
    if xp is np:
        pgr = gain / gap
    else:
        # Exactly 1 where the gain is the gap.
        zero = jnp.zeros_like(gap)
        pgr, _ = exact.divide((gain, zero), (gap, zero))
    return xp.where(gap != 0, pgr, xp.float32(xp.nan))


def apgr_of(curve: CascadeCurve) -> jax.Array:
    """APGR of a curve that was checked, of NumPy or JAX arrays."""
    pgr = pgr_of(curve)
    widths = curve.small_share[1:] - curve.small_share[:-1]
    return (widths * 0.5 * (pgr[1:] + pgr[:-1])).sum()


_pgr, _apgr = (dispatch.core(function, host=True) for function in (pgr_of, apgr_of))


@dispatch.core(host=True)
def _random_curve(curve: CascadeCurve) -> CascadeCurve:
    curve = _of_floats(curve)
    share = curve.small_share
    accuracy = share * curve.small_accuracy + (1 - share) * curve.large_accuracy
    gain = None if curve.gain is None else (1 - share) * _gap_of(curve)
    return dataclasses.replace(curve, accuracy=accuracy, gain=gain)


@dispatch.core(host=True)
def _call_performance_threshold(curve: CascadeCurve, target: Share) -> jax.Array:
    xp = curve.accuracy.__array_namespace__()
    curve = _of_floats(curve)
    # From no large-model calls to large-model calls only.
    share = 1.0 - curve.small_share[::-1]
    pgr = pgr_of(curve)[::-1]
    # A point at the target reaches it, however float32 rounds.
    reached = within_budget(target, pgr, 1.0)
    at = xp.argmax(reached)
    before = xp.maximum(at - 1, 0)
    rise = pgr[at] - pgr[before]
    part = xp.minimum((target - pgr[before]) / xp.where(rise > 0, rise, 1.0), 1.0)
    crossing = share[before] + xp.where(rise > 0, part, 1.0) * (
        share[at] - share[before]
    )
    return xp.where(xp.any(reached), crossing, xp.nan)
