r"""Cascades: which inputs a small model may answer, and which go to a large one.

Shapes: N examples, `num_bins` bins, K bins kept small (the paper's budget). Algorithm 1
of the paper: bin validation data by the small model's calibrated confidence, tabulate
the large model's advantage in each bin, and keep the K bins of least advantage on the
small model. Any two models can take the two roles: a cascade of two large models often
beats both.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import Confidence, Outcome, Weights
from ..binning import bin_sums, search
from ..binning.bins import (
    DEFAULT_NUM_BINS,
    Bins,
    checked_size,
    given_or_cut,
    in_first_bins,
)


@records.record(
    "num_bins", values={"count": records.COUNT, "weight": records.NON_NEGATIVE}
)
class AdvantageTable(records.Result):
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


@records.record(axes={"order": "num_bins"}, values={"order": records.PERMUTATION})
class Router(records.Result):
    """The router of Algorithm 1.

    Attributes:
      bins: `Bins` of the small model's confidence.
      table: `AdvantageTable` on the validation data.
      order: int32 `[num_bins]`, bins in the order in which they are kept small: by
        ascending advantage; equal advantages by descending confidence; empty bins last.
    """

    bins: Bins
    table: AdvantageTable
    order: jax.Array


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

    With outcomes, also the advantage in mean outcome and its paired standard error,
    :math:`\sqrt{\mathrm{Var}(v^{large} - v^{small}) / W_b}`, with weights as
    frequencies. Empty bins hold 0 everywhere.

    Args:
      bins: `Bins` of the small model's confidence.
      small_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      large_confidence: floating `[N]`, calibrated confidence in `[0, 1]`.
      small_outcome: optional bool, integer or floating `[N]` in `[0, 1]`.
      large_outcome: optional, like `small_outcome`; give both or neither.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`.

    Returns:
      `AdvantageTable`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, one outcome without the other, or a
        value on the host outside `[0, 1]`; such a value in a device array counts as
        NaN, here and below.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> import calib_jax
      >>> bins = calib_jax.equal_width_bins(2)
      >>> table = advantage_table(bins, [0.3, 0.6, 0.8], [0.9, 0.7, 0.9])
      >>> print(table.advantage.round(3))
      [0.6 0.1]
    """
    checks.instance("bins", bins, Bins)
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    if (small_outcome is None) != (large_outcome is None):
        raise ValueError(
            "small_outcome, large_outcome: expected both or neither, got only one."
        )
    by_small = by_large = None
    if small_outcome is not None and large_outcome is not None:
        by_small = checks.outcomes("small_outcome", small_outcome)
        by_large = checks.outcomes("large_outcome", large_outcome)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(
        small_confidence=small,
        large_confidence=large,
        small_outcome=by_small,
        large_outcome=by_large,
        where=mask,
        weights=weight,
    )
    return tabulate(bins, small, large, by_small, by_large, mask, weight)


def fit_router(
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    bins: Bins | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Router:
    """The router of Algorithm 1, from validation data without labels.

    With calibrated confidences this is the paper's CC router, with raw ones its UC
    router. Bring raw scores of another range, such as mean logits, to [0, 1] by one
    linear map for both models: that changes no decision.

    If the models confer, what counts is the advantage of the answer that the arbiter
    prefers: pass its confidence as `large_confidence`, as in the second example.

    Args:
      small_confidence: floating `[N]`, in `[0, 1]`.
      large_confidence: floating `[N]`, in `[0, 1]`.
      num_bins: static number of fresh equal-count bins of the small model's
        confidence; not used if `bins` are given.
      bins: optional `Bins` to use as they are, such as equal-width ones.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`; they never move edges.

    Returns:
      `Router`. A valid NaN in `large_confidence` makes the advantage of its bin NaN,
      which puts the bin last but for empty ones; in `small_confidence`, that of every
      bin, and then the order means nothing.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, or a confidence on the host
        outside `[0, 1]`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I.

    Examples:
      >>> small, large = [0.2, 0.3, 0.8, 0.9], [0.7, 0.9, 0.8, 0.9]
      >>> router = fit_router(small, large, num_bins=2)
      >>> print(router.order, use_small(router, [0.1, 0.95], 1))
      [1 0] [False  True]

      >>> import calib_jax as cj
      >>> surer = cj.cascade.Arbiter(small_slope=1.0, large_slope=1.0, intercept=0.0)
      >>> small = jnp.array([0.4, 0.5, 0.8, 0.9])
      >>> large = jnp.array([0.9, 0.1, 0.5, 0.9])
      >>> differ = jnp.array([True, True, True, False])
      >>> keep = differ & ~cj.cascade.prefer_large(surer, small, large)
      >>> router = fit_router(small, jnp.where(keep, small, large), num_bins=2)
      >>> print(keep, router.table.advantage)
      [False  True  True False] [0.25 0.  ]
    """
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(
        small_confidence=small, large_confidence=large, where=mask, weights=weight
    )
    size = checked_size(bins, num_bins)
    return fit_rows(small, large, bins, mask, weight, num_bins=size)


def use_small(
    router: Router, small_confidence: ArrayLike, num_small_bins: int | jax.Array
) -> jax.Array:
    """Which inputs keep the small model's answer.

    Args:
      router: `Router`.
      small_confidence: floating `[N]` in `[0, 1]`, of new inputs, calibrated as in the
        fit; any other shape, such as a scalar for one input, is taken too.
      num_small_bins: the paper's K, 0 to num_bins; may be traced.

    Returns:
      bool `[N]`, or of the confidence's shape; False where the confidence is NaN, and
      everywhere if a traced K is out of range: the large model is called.

    Raises:
      ValueError: for a wrong dtype or count, or a confidence on the host outside
        `[0, 1]`.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II.

    Examples:
      >>> router = fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> print(use_small(router, [0.1, 0.5, 0.9], 1))
      [False False  True]
    """
    checks.instance("router", router, Router)
    budget = checked_budget(router, num_small_bins)
    confidence = checks.floats(
        "small_confidence", small_confidence, rank=range(8), axes="[...]"
    )
    return _use_small(router.bins, router.order, confidence, budget)


def in_range(budget: jax.Array, num_bins: int) -> jax.Array:
    """K, or 0 for a traced one beyond the bins, which the host would have refused."""
    return jnp.where(budget > num_bins, 0, budget)


def checked_budget(router: Router, num_small_bins: int | jax.Array) -> jax.Array:
    """The argument `num_small_bins`, K, as an int32 scalar."""
    if hasattr(num_small_bins, "num_small_bins"):
        raise ValueError(
            f"num_small_bins: expected an integer, got "
            f"{type(num_small_bins).__name__}; pass its .num_small_bins."
        )
    return checks.traced_int(
        "num_small_bins", num_small_bins, minimum=0, maximum=router.bins.num_bins
    )


def place_in_order(router: Router, confidence: jax.Array) -> jax.Array:
    """Place of each row's bin in the order of a router, 0 for the first kept small.

    Args:
      router: `Router`.
      confidence: float32 `[N]`.

    Returns:
      int32 `[N]`; num_bins for NaN, which is never kept small.
    """
    num_bins = router.bins.num_bins
    # The extra place, the last, is for bin -1: NaN.
    places = jnp.full(num_bins + 1, num_bins, jnp.int32)
    places = places.at[router.order].set(jnp.arange(num_bins, dtype=jnp.int32))
    return places[search.bin_of(router.bins.edges, confidence)]


@dispatch.core(rows=["small_confidence N ..."], rows_of="small_confidence")
def _use_small(
    bins: Bins,
    order: jax.Array,
    small_confidence: Confidence,
    num_small_bins: jax.Array,
) -> jax.Array:
    budget = in_range(num_small_bins, bins.num_bins)
    return in_first_bins(bins, order, small_confidence, budget)


@dispatch.core(
    static=["num_bins"],
    rows=["small_confidence", "large_confidence", "where", "weights"],
)
def fit_rows(
    small_confidence: Confidence,
    large_confidence: Confidence,
    bins: Bins | None,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_bins: int,
) -> Router:
    """The core of `fit_router`."""
    small, large = small_confidence, large_confidence
    bins = given_or_cut(bins, small, num_bins, where, weights)
    table = tabulate(bins, small, large, None, None, where, weights)
    return Router(
        bins=bins, table=table, order=bin_sums.bin_order(table.count, table.advantage)
    )


@dispatch.core(
    rows=[
        "small_confidence",
        "large_confidence",
        "small_outcome",
        "large_outcome",
        "where",
        "weights",
    ]
)
def tabulate(
    bins: Bins,
    small_confidence: Confidence,
    large_confidence: Confidence,
    small_outcome: Outcome | None,
    large_outcome: Outcome | None,
    where: jax.Array | None,
    weights: Weights | None,
) -> AdvantageTable:
    """The core of `advantage_table`."""
    small, quantities = small_confidence, [small_confidence, large_confidence]
    if small_outcome is not None and large_outcome is not None:
        difference = large_outcome - small_outcome
        quantities += [small_outcome, large_outcome, difference]
    table = bin_sums.bin_means(bins, small, quantities, where, weights)
    result = AdvantageTable(
        count=table.count,
        weight=table.weight,
        small_confidence=table.means[0],
        large_confidence=table.means[1],
        advantage=table.means[1] - table.means[0],
    )
    if small_outcome is None:
        return result
    # Around the mean of the bin, since a difference of squares would cancel.
    mean = table.means[4]
    around = (difference - mean[search.bin_of(bins.edges, small)]) ** 2
    variance = bin_sums.bin_means(bins, small, (around,), where, weights).means[0]
    return dataclasses.replace(
        result,
        small_outcome=table.means[2],
        large_outcome=table.means[3],
        outcome_advantage=mean,
        outcome_advantage_standard_error=jnp.sqrt(
            variance / jnp.where(table.weight > 0, table.weight, 1.0)
        ),
    )
