r"""What a chain of models achieves and costs, for all combinations at once.

Shapes: M models, N examples, J = M - 1 stages, `num_bins` bins, `combinations` for J
axes of `num_bins + 1` entries each: the K of each stage, from 0 to num_bins. A *cell*
is a bin at each stage, given by its rank in the order of that stage's router. All
combinations come from cumulative sums over cells; none is evaluated on its own.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import (
    checks,
    dispatch,
    domains,
    exact,
    masking,
    records,
    reduce,
    transforms,
)
from .._core.domains import NonNegative, Outcome, Weights
from ..binning import bin_sums
from . import chains, curves, routers
from .chains import Chain

# A curve with more combinations would take too much memory.
MAX_COMBINATIONS = 2**17


@records.record(
    axes={"accuracy": None, "cost": None, "share": None, "right_share": None}
)
class ChainCurve(records.Result):
    """Accuracy and cost of a chain for every combination of K.

    For three models, `accuracy[3, 0]` is the accuracy where the first model keeps 3
    bins and the second keeps none.

    Attributes:
      accuracy: float32 `[combinations]`, mean outcome.
      cost: float32 `[combinations]`, mean total cost of the models asked.
      share: float32 `[M, combinations]`, share of inputs that each model answers.
      right_share: float32 `[M, combinations]`, mean over all inputs of the outcome
        where the model answers and 0 elsewhere; they sum to the accuracy.
    """

    accuracy: jax.Array
    cost: jax.Array
    share: jax.Array
    right_share: jax.Array


@records.record(axes={"num_kept_bins": "M-1"}, values={"num_kept_bins": records.COUNT})
class ChainChoice(records.Result):
    """A combination chosen within a budget.

    Attributes:
      num_kept_bins: int32 `[M - 1]`, the K of each stage for `chain_answers`. Where no
        combination is within the budget, num_bins for each: only the first model is
        asked.
      feasible: bool scalar, whether any combination is within the budget.
    """

    num_kept_bins: jax.Array
    feasible: jax.Array


def chain_curve(
    chain: Chain,
    confidences: ArrayLike,
    outcomes: ArrayLike,
    costs: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> ChainCurve:
    r"""Accuracy and cost of every combination of K, in one pass over the rows.

    Let :math:`r_j` be the place of an input's bin in the order of stage j. Model j is
    asked if all stages before it pass the input on, and answers if it keeps the input:

    .. math:: \mathrm{asked}_j = \prod_{i < j} 1[r_i \ge K_i], \quad
        v = \frac 1N \sum_n \sum_j v_{jn} \, \mathrm{asked}_{jn} \, 1[r_{jn} < K_j],
        \quad c = \frac 1N \sum_n \sum_j c_{jn} \, \mathrm{asked}_{jn}

    The last model keeps everything. With calibrated confidences in place of outcomes
    this is the *expected* accuracy: it needs no labels and varies less from sample to
    sample, but is only as right as the confidences are calibrated where each model
    answers.

    Args:
      chain: `Chain`; `(num_bins + 1) ** (M - 1)` must not exceed 131,072.
      confidences: floating `[M, N]` in `[0, 1]`, calibrated as in the fit; the last
        model's are not used and may hold anything.
      outcomes: bool, integer or floating `[M, N]` in `[0, 1]`, whether each model's
        answer is correct.
      costs: floating `[M, N]`, at least 0, of asking each model, in any unit, such as
        US dollars.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`.

    Returns:
      `ChainCurve`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, too many combinations, or values on
        the host out of range; in a device array they count as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1; Chen et al., "FrugalGPT", 2023,
      arXiv 2305.05176 (accuracy against cost of a chain).

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7], [0.9] * 4]
      >>> chain = chains.fit_chain(confidences, num_bins=2)
      >>> outcomes = [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
      >>> costs = jnp.broadcast_to(jnp.array([[1.0], [3.0], [10.0]]), (3, 4))
      >>> curve = chain_curve(chain, confidences, outcomes, costs)
      >>> print(curve.accuracy[1, 1], curve.cost[1, 1], curve.share[:, 1, 1])
      1.0 5.0 [0.5  0.25 0.25]
    """
    confidence = chains.of_chain(chain, confidences)
    outcome = checks.outcomes(
        "outcomes", outcomes, rank=2, axes="[M, N]", keep_bool=True
    )
    cost = checks.floats("costs", costs, rank=2, axes="[M, N]")
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_shape(confidences=confidence, outcomes=outcome, costs=cost)
    checks.same_columns(confidences=confidence, where=mask, weights=weight)
    chains.check_stages(confidence, mask, weight)
    size, stages = chain.num_bins + 1, chain.num_models - 1
    if size**stages > MAX_COMBINATIONS:
        raise ValueError(
            f"chain: expected at most {MAX_COMBINATIONS} combinations, got {size} ** "
            f"{stages} = {size**stages}; fit it with fewer bins or fewer models."
        )
    return _chain_curve(chain, confidence, outcome, cost, mask, weight)


def cost_frontier(curve: ChainCurve) -> jax.Array:
    """Which combinations are more accurate than all others that cost no more.

    Among equal accuracy and cost only the one with the largest K counts, comparing the
    first stage first.

    Args:
      curve: `ChainCurve`.

    Returns:
      bool `[combinations]`; False throughout where the curve is NaN. These are exactly
      the combinations that `best_within_cost` chooses for some budget.

    Raises:
      ValueError: where `curve` is not a `ChainCurve`.

    References:
      Chen et al., "FrugalGPT", 2023, arXiv 2305.05176 (accuracy against cost).

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7]]
      >>> chain = chains.fit_chain(confidences, num_bins=2)
      >>> costs = jnp.broadcast_to(jnp.array([[1.0], [3.0]]), (2, 4))
      >>> curve = chain_curve(chain, confidences, [[0, 0, 1, 1], [0, 1, 1, 1]], costs)
      >>> print(curve.accuracy, curve.cost, cost_frontier(curve))
      [0.75 0.75 0.5 ] [4.  2.5 1. ] [False  True  True]
    """
    _check_curve(curve)
    return _cost_frontier(curve)


def best_within_cost(curve: ChainCurve, max_cost: ArrayLike) -> ChainChoice:
    """The most accurate combination whose mean cost is within a budget.

    Ties go to the cheapest, then to the largest K of the first stage, then of the next.
    A choice among many combinations on few rows looks better on those rows than it is:
    judge it on other rows. To choose without labels, use the expected accuracy:
    `chain_curve` with confidences in place of outcomes.

    Args:
      curve: `ChainCurve` of calibration data.
      max_cost: floating scalar, in the unit of the costs, of any sign; a cost equal to
        the budget is within it. May be traced.

    Returns:
      `ChainChoice`; not feasible where no combination is within the budget.

    Raises:
      ValueError: where `curve` is not a `ChainCurve` or the budget is not a scalar.

    References:
      Chen et al., "FrugalGPT", 2023, arXiv 2305.05176 (a budget for a cascade of
      models).

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7], [0.9] * 4]
      >>> chain = chains.fit_chain(confidences, num_bins=2)
      >>> outcomes = [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
      >>> costs = jnp.broadcast_to(jnp.array([[1.0], [3.0], [10.0]]), (3, 4))
      >>> curve = chain_curve(chain, confidences, outcomes, costs)
      >>> budgets = jnp.array([0.5, 1.0, 5.0])
      >>> choice = jax.vmap(best_within_cost, (None, 0))(curve, budgets)
      >>> print(choice.feasible, choice.num_kept_bins)
      [False  True  True] [[2 2]
       [2 2]
       [1 1]]
    """
    _check_curve(curve)
    budget = checks.scalar("max_cost", max_cost)
    return _best_within_cost(curve, budget)


def selective_accuracy(curve: ChainCurve) -> tuple[jax.Array, jax.Array]:
    """Coverage, and accuracy among the answers given, where the last model abstains.

    For one model and a threshold on its score, `calib_jax.metrics.risk_coverage_curve`
    has a point for each row instead of each number of bins.

    Args:
      curve: `ChainCurve` of a chain whose last model comes from `with_abstaining`.

    Returns:
      Coverage, the share of inputs that are answered, and the mean outcome of these
      answers, float32 `[combinations]`; the latter NaN where nothing is answered.

    Raises:
      ValueError: where `curve` is not a `ChainCurve`.

    References:
      El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification",
      2010 (risk and coverage).

    Examples:
      >>> rows = chains.with_abstaining([[0.9, 0.4]], [[1, 0]], [[2.0, 2.0]], 0.6)
      >>> chain = chains.fit_chain(rows[0], num_bins=2)
      >>> coverage, accuracy = selective_accuracy(chain_curve(chain, *rows))
      >>> print(coverage, accuracy)
      [0.  0.5 1. ] [nan 1.  0.5]
    """
    _check_curve(curve)
    return _selective_accuracy(curve)


def _check_curve(curve: ChainCurve) -> None:
    """Raises `ValueError` unless it is the curve of one chain."""
    checks.instance("curve", curve, ChainCurve)
    shape = np.shape(curve.accuracy)
    by_model = (len(shape) + 1, *shape)
    wanted = {"cost": shape, "share": by_model, "right_share": by_model}
    fits = all(np.shape(getattr(curve, name)) == want for name, want in wanted.items())
    if not fits or len(set(shape)) > 1:
        given = [f"{name} {list(np.shape(getattr(curve, name)))}" for name in wanted]
        raise ValueError(
            "curve: expected accuracy and cost with an axis [num_bins + 1] for each of "
            "M - 1 stages, and both shares with an axis [M] before these, got accuracy "
            f"{list(shape)}, {', '.join(given)}. Batch with jax.vmap, or take one with "
            "jax.tree.map(lambda leaf: leaf[0], curve)."
        )


@dispatch.core(rows=["confidence M N", "outcomes M N", "costs M N", "where", "weights"])
def _chain_curve(
    chain: Chain,
    confidence: jax.Array,
    outcomes: Outcome,
    costs: NonNegative,
    where: jax.Array | None,
    weights: Weights | None,
) -> ChainCurve:
    confidence = domains.CONFIDENCE.confine(confidence)
    num_bins, num_stages = chain.num_bins, chain.num_models - 1
    num_rows = confidence.shape[1]
    valid = masking.valid_rows(num_rows, where, weights)
    ranks = jax.vmap(routers.place_in_order)(chain.routers, confidence[:-1])
    cell = _cell_of(ranks, num_bins)
    bad = jnp.any(valid & (cell < 0))
    valid, cell = valid & (cell >= 0), jnp.maximum(cell, 0)
    if weights is not None:
        outcomes = weights[None] * outcomes.astype(jnp.float32)
        costs = jnp.concatenate([weights[None] * costs, weights[None]])

    # Correct answers, costs, and last the weight of each cell.
    num_cells = num_bins**num_stages
    _, by_right = sum_joint_cells(cell, outcomes, num_cells, valid)
    count, by_cost = sum_joint_cells(cell, costs, num_cells, valid)
    if weights is None:
        by_cost = jnp.concatenate([by_cost, count[None]])
    sums = jnp.concatenate([by_right, by_cost])
    bad = bad | jnp.any(jnp.isnan(sums))
    sums = sums.reshape((-1,) + (num_bins,) * num_stages)
    by_right, by_cost, weight = (
        sums[: chain.num_models],
        sums[chain.num_models : -1],
        sums[-1],
    )

    right, answered, spent = [], [], []
    for depth in range(num_stages + 1):
        # What the next model costs, and what the last of the first `depth` answers.
        spent.append(_cumulate([by_cost[depth]], depth)[0])
        if depth > 0:
            found = _cumulate([by_right[depth - 1], weight], depth, kept_last=True)
            right.append(found[0])
            answered.append(found[1])
    found = _cumulate([by_right[-1], weight], num_stages)
    right.append(found[0])
    answered.append(found[1])

    size = jnp.sum(weight)
    size = jnp.where((size > 0) & ~bad, size, jnp.nan)
    shape = (num_bins + 1,) * num_stages

    def every(parts: list[jax.Array]) -> jax.Array:
        return jnp.stack([jnp.broadcast_to(part, shape) for part in parts])

    by_model = every(right)
    return ChainCurve(
        accuracy=jnp.sum(by_model, axis=0) / size,
        cost=jnp.sum(every(spent), axis=0) / size,
        share=every(answered) / size,
        right_share=by_model / size,
    )


@dispatch.core
def _cost_frontier(curve: ChainCurve) -> jax.Array:
    accuracy, cost = curve.accuracy.ravel(), curve.cost.ravel()
    number = jnp.arange(accuracy.shape[0], dtype=jnp.int32)
    order = jnp.lexsort((-number, -accuracy, cost))
    ranked = accuracy[order]
    before = jnp.pad(jax.lax.cummax(ranked)[:-1], (1, 0), constant_values=-jnp.inf)
    beats = jnp.zeros(accuracy.shape, bool).at[order].set(ranked > before)
    return beats.reshape(curve.accuracy.shape)


@dispatch.core
def _best_within_cost(curve: ChainCurve, budget: jax.Array) -> ChainChoice:
    accuracy, cost = curve.accuracy.ravel(), curve.cost.ravel()
    within = curves.within_budget(cost, budget, jnp.abs(budget))
    best = within & (accuracy == jnp.max(jnp.where(within, accuracy, -jnp.inf)))
    best = best & (cost == jnp.min(jnp.where(best, cost, jnp.inf)))
    number = jnp.arange(accuracy.shape[0], dtype=jnp.int32)
    last = jnp.max(jnp.where(best, number, -1))
    stages = curve.accuracy.ndim
    # A chain of one model has no K.
    size = curve.accuracy.shape[0] if stages else 1
    place = np.array([size**k for k in range(stages)][::-1], np.int32)
    kept = last // place % np.int32(size)
    feasible = last >= 0
    return ChainChoice(
        num_kept_bins=jnp.where(feasible, kept, size - 1), feasible=feasible
    )


@dispatch.core
def _selective_accuracy(curve: ChainCurve) -> tuple[jax.Array, jax.Array]:
    coverage = jnp.sum(curve.share[:-1], axis=0)
    some = jnp.where(coverage > 0, coverage, jnp.nan)
    return coverage, jnp.sum(curve.right_share[:-1], axis=0) / some


def _cell_of(ranks: jax.Array, num_bins: int) -> jax.Array:
    """int32 `[N]`, the cell of ranks `[J, N]`; -1 where a rank is `num_bins`."""
    cell = jnp.zeros(ranks.shape[1], jnp.int32)
    for stage in range(ranks.shape[0]):
        cell = cell * num_bins + ranks[stage]
    return jnp.where(jnp.any(ranks >= num_bins, axis=0), -1, cell)


def sum_joint_cells(
    cell: jax.Array, quantities: jax.Array, num_cells: int, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sums by cell, rounded once, so that the order of the rows changes no bit.

    Args:
      cell: int32 `[N]` in `[0, num_cells)` where valid.
      quantities: float32 or bool `[Q, N]`.
      num_cells: static number of cells.
      valid: bool `[N]`.

    Returns:
      Number of rows, float32 `[num_cells]`, and sums, float32 `[Q, num_cells]`; NaN
      where a term is not finite.
    """
    num_rows = cell.shape[0]
    if not transforms.at_most(num_rows, num_cells - 1):
        return _sum_all_cells(cell, quantities, num_cells, valid)
    # The exact sums of all cells would be many times larger than the result.
    held, row = bin_sums.held_bins(jnp.where(valid, cell, num_cells), num_cells)
    found = _sum_all_cells(row, quantities, max(num_rows, 1), valid)
    return jax.tree.map(
        lambda sums: (
            jnp.zeros((*sums.shape[:-1], num_cells), jnp.float32)
            .at[..., held]
            .add(sums[..., :num_rows], mode="drop")
        ),
        found,
    )


def _sum_all_cells(
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


def _cumulate(
    parts: Sequence[jax.Array], num_stages: int, *, kept_last: bool = False
) -> jax.Array:
    """Sums over the rows that no stage keeps, or only the last stage, for every cut.

    A stage with cut K keeps the ranks below K. Sums of whole numbers up to 2^24 are
    exact.

    Args:
      parts: Q float32 arrays `[num_bins] * J` of cells.
      num_stages: how many stages to look at, starting with the first; the others may
        have any cut.
      kept_last: whether the last of them keeps the row; those before it do not.

    Returns:
      float32 `[Q] + [num_bins + 1] * num_stages + [1] * (J - num_stages)`.
    """
    sums = jnp.stack(parts)
    num_later = sums.ndim - 1 - num_stages
    sums = jnp.sum(sums, axis=tuple(range(1 + num_stages, sums.ndim)))
    for stage in range(num_stages):
        # Sums over the first remaining stage; its cuts become the last axis.
        size = sums.shape[1]
        passed = jnp.arange(size)[:, None] >= jnp.arange(size + 1)[None]
        if kept_last and stage == num_stages - 1:
            passed = ~passed
        sums = jnp.tensordot(
            sums, passed.astype(jnp.float32), ((1,), (0,)), precision="highest"
        )
    return sums.reshape(sums.shape + (1,) * num_later)
