r"""What a chain of models achieves and costs, for all combinations at once.

Shapes: M models, N examples, `num_bins` bins, `combinations` for M - 1 axes of
`num_bins + 1` entries each: the K of each stage, from 0 to num_bins. Everything is read
off histograms over the joint ranks of the bins that an example falls in, and their
cumulative sums, so that no combination is gone through by itself.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking
from . import chains, joint_bins, routers
from .chains import Chain

# A curve of more combinations would take too much memory.
MAX_COMBINATIONS = 2**17


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ChainCurve:
    """Accuracy and cost of a chain for every combination of K.

    `accuracy[3, 0]` is that of the chain of three models whose first keeps 3 bins and
    whose second keeps none.

    Attributes:
      accuracy: float32 `[combinations]`, mean outcome.
      cost: float32 `[combinations]`, mean cost of all models that were asked.
      share: float32 `[M, combinations]`, share of inputs that each model answers.
      right_share: float32 `[M, combinations]`, mean over all inputs of the outcome
        where the model answers, and 0 elsewhere: their sum is the accuracy.
    """

    accuracy: jax.Array
    cost: jax.Array
    share: jax.Array
    right_share: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ChainChoice:
    """A combination chosen within a budget, or none.

    Attributes:
      num_kept_bins: int32 `[M - 1]`, the K of each stage for `chain_answers`; -1
        throughout where none is possible.
      possible: bool scalar, whether any combination is within the budget. It alone
        tells for a chain of one model, which has no K.
    """

    num_kept_bins: jax.Array
    possible: jax.Array


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

    With :math:`r_j` the place of an input's bin in the order of stage j, model j is
    asked where all stages before it pass the input on, and answers where it keeps it:

    .. math:: \mathrm{asked}_j = \prod_{i < j} 1[r_i \ge K_i], \quad
        v = \frac 1N \sum_n \sum_j v_{jn} \, \mathrm{asked}_{jn} \, 1[r_{jn} < K_j],
        \quad c = \frac 1N \sum_n \sum_j c_{jn} \, \mathrm{asked}_{jn}

    where the last model keeps everything. With calibrated confidences in the place of
    the outcomes it is the *expected* accuracy, which needs no labels and varies less
    from sample to sample, and is as right as the confidences are calibrated where each
    model answers.

    Args:
      chain: `Chain`; `(num_bins + 1) ** (M - 1)` must not exceed 131,072.
      confidences: floating `[M, N]`, calibrated as those of the fit; of the last model
        they are not used, and may be anything.
      outcomes: bool, integer or floating `[M, N]` in `[0, 1]`, whether each model's
        answer is correct.
      costs: floating `[M, N]`, of asking each model, in any unit, such as US dollars.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`.

    Returns:
      `ChainCurve`; NaN without a valid row, or with a valid NaN.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or too many combinations.

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
    size, stages = chain.num_bins + 1, chain.num_models - 1
    if size**stages > MAX_COMBINATIONS:
        raise ValueError(
            f"chain: expected at most {MAX_COMBINATIONS} combinations, got {size} ** "
            f"{stages} = {size**stages}; fit it with fewer bins or fewer models."
        )
    return _chain_curve(chain, confidence, outcome, cost, mask, weight)


def cost_frontier(curve: ChainCurve) -> jax.Array:
    """Which combinations no other one beats: more accurate than all that cost no more.

    Of equal accuracy and cost only the one of largest K counts, the first stage first.

    Args:
      curve: `ChainCurve`.

    Returns:
      bool `[combinations]`; False throughout where the curve is NaN. Each is what
      `best_within_cost` chooses for some budget, and it chooses no other.

    Raises:
      ValueError: where `curve` is no `ChainCurve`.

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
    checks.instance("curve", curve, ChainCurve)
    return _cost_frontier(curve)


def best_within_cost(curve: ChainCurve, max_cost: ArrayLike) -> ChainChoice:
    """The combination of highest accuracy whose mean cost is within a budget.

    Of equals the cheapest, and of these the largest K of the first stage, then of the
    next. A choice among many combinations on few rows looks better on these rows than
    it is: judge it on others. The expected accuracy (`chain_curve` of confidences in
    the place of outcomes) makes a choice without labels.

    Args:
      curve: `ChainCurve` of calibration data.
      max_cost: floating scalar, in the unit of the costs, of any sign; exactly the
        budget is within it. May be traced, and batched by `jax.vmap`.

    Returns:
      `ChainChoice`; where no combination is within the budget it is not possible, and
      every K is -1, which is no index into a curve.

    Raises:
      ValueError: where `curve` is no `ChainCurve` or the budget no scalar.

    References:
      Chen et al., "FrugalGPT", 2023, arXiv 2305.05176 (a budget for a
      cascade of models).

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7], [0.9] * 4]
      >>> chain = chains.fit_chain(confidences, num_bins=2)
      >>> outcomes = [[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
      >>> costs = jnp.broadcast_to(jnp.array([[1.0], [3.0], [10.0]]), (3, 4))
      >>> curve = chain_curve(chain, confidences, outcomes, costs)
      >>> budgets = jnp.array([0.5, 1.0, 5.0])
      >>> choice = jax.vmap(best_within_cost, (None, 0))(curve, budgets)
      >>> print(choice.possible, choice.num_kept_bins)
      [False  True  True] [[-1 -1]
       [ 2  2]
       [ 1  1]]
    """
    checks.instance("curve", curve, ChainCurve)
    budget = checks.floats("max_cost", max_cost, rank=0, axes="")
    return _best_within_cost(curve, budget)


@dispatch.core
def _chain_curve(
    chain: Chain,
    confidence: jax.Array,
    outcome: jax.Array,
    cost: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
) -> ChainCurve:
    num_bins, num_stages = chain.num_bins, chain.num_models - 1
    num_rows = confidence.shape[1]
    valid = masking.valid_rows(num_rows, where, weights)
    ranks = jax.vmap(routers.place_in_order)(chain.routers, confidence[:-1])
    cell = joint_bins.cell_of(ranks, num_bins)
    bad = jnp.any(valid & (cell < 0))
    valid, cell = valid & (cell >= 0), jnp.maximum(cell, 0)
    if weights is not None:
        outcome = weights[None] * outcome.astype(jnp.float32)
        cost = jnp.concatenate([weights[None] * cost, weights[None]])

    # Right answers, what was spent, and last the weight of each cell.
    num_cells = num_bins**num_stages
    _, by_right = joint_bins.sum_cells(cell, outcome, num_cells, valid)
    count, by_cost = joint_bins.sum_cells(cell, cost, num_cells, valid)
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

    def cumulate(parts: list[jax.Array], depth: int, kept: bool) -> jax.Array:
        return joint_bins.cumulate(jnp.stack(parts), depth, kept_last=kept)

    right, answered, spent = [], [], []
    for depth in range(num_stages + 1):
        # By the first stages: what is asked next, and what the last of them answers.
        spent.append(cumulate([by_cost[depth]], depth, False)[0])
        if depth > 0:
            found = cumulate([by_right[depth - 1], weight], depth, True)
            right.append(found[0])
            answered.append(found[1])
    found = cumulate([by_right[-1], weight], num_stages, False)
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


@jax.jit
def _cost_frontier(curve: ChainCurve) -> jax.Array:
    accuracy, cost = curve.accuracy.ravel(), curve.cost.ravel()
    number = jnp.arange(accuracy.shape[0], dtype=jnp.int32)
    order = jnp.lexsort((-number, -accuracy, cost))
    ranked = accuracy[order]
    before = jnp.pad(jax.lax.cummax(ranked)[:-1], (1, 0), constant_values=-jnp.inf)
    beats = jnp.zeros(accuracy.shape, bool).at[order].set(ranked > before)
    return beats.reshape(curve.accuracy.shape)


@jax.jit
def _best_within_cost(curve: ChainCurve, budget: jax.Array) -> ChainChoice:
    accuracy, cost = curve.accuracy.ravel(), curve.cost.ravel()
    # A cost of exactly the budget is within it, whatever float32 makes of a mean.
    within = cost <= budget + jnp.abs(budget) * np.float32(2.0**-20)
    best = within & (accuracy == jnp.max(jnp.where(within, accuracy, -jnp.inf)))
    best = best & (cost == jnp.min(jnp.where(best, cost, jnp.inf)))
    number = jnp.arange(accuracy.shape[0], dtype=jnp.int32)
    last = jnp.max(jnp.where(best, number, -1))
    size, stages = curve.accuracy.shape[:1], curve.accuracy.ndim
    place = np.array([size[0] ** k for k in range(stages)][::-1], np.int32)
    kept = last // place % np.int32(size[0] if size else 1)
    possible = last >= 0
    return ChainChoice(num_kept_bins=jnp.where(possible, kept, -1), possible=possible)
