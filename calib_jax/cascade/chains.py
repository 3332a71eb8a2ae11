r"""Chains of models in a fixed order, asked one after another until one answers.

Shapes: M models, N examples, `num_bins` bins. Models are in the order in which they are
asked, usually by price; every model but the last is a *stage*. As in a cascade of two
models, a stage keeps its answer where its confidence falls in one of the K bins in
which the next model has the least advantage; otherwise the next model is asked. A
*combination* is a K for each stage. A chain of two models is a cascade. To leave out a
model, fit the chain of the others.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, domains, records
from .._core.domains import Confidence, NonNegative, Outcome, Share, Weights
from ..binning.bins import DEFAULT_NUM_BINS, in_first_bins
from . import routers
from .routers import Router


@records.record(axes={"routers": "M-1"})
class Chain(records.Result):
    """The routers of a chain of models.

    Attributes:
      routers: `Router` with entries `[M - 1, ...]`, from each model to the next.
    """

    routers: Router

    @property
    def num_models(self) -> int:
        """Number of models, one more than there are routers."""
        return self.routers.order.shape[-2] + 1

    @property
    def num_bins(self) -> int:
        """Number of bins of each stage."""
        return self.routers.order.shape[-1]


def fit_chain(
    confidences: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Chain:
    """Fits a router from each model to the next, on all rows and without labels.

    Args:
      confidences: floating `[M, N]`, calibrated confidence in `[0, 1]` of each model,
        in the order in which they are asked; M at least 1.
      num_bins: static number of fresh equal-count bins of each stage.
      where: optional bool `[N]`.
      weights: optional non-negative `[N]`; they never move edges.

    Returns:
      `Chain`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count, without a model, or for a
        confidence on the host outside `[0, 1]`; in a device array it counts as NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase I, for each stage; Chen et
      al., "FrugalGPT", 2023, arXiv 2305.05176 (chains of priced models).

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7], [0.9] * 4]
      >>> chain = fit_chain(confidences, num_bins=2)
      >>> print(chain.num_models, chain.routers.order)
      3 [[1 0]
         [1 0]]
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    if confidence.shape[0] == 0:
        raise ValueError("confidences: expected at least one model, got [0, N].")
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_columns(confidences=confidence, where=mask, weights=weight)
    size = checks.static_int("num_bins", num_bins, minimum=1)
    return _fit_chain(confidence, mask, weight, num_bins=size)


def chain_answers(
    chain: Chain, confidences: ArrayLike, num_kept_bins: ArrayLike
) -> jax.Array:
    """Which model of a chain answers each input.

    The models before it were asked too and must be paid for; those after it were not.

    Args:
      chain: `Chain`.
      confidences: floating `[M, N]` in `[0, 1]`, of new inputs, calibrated as in the
        fit. Entries of models that are not asked are not used and may be NaN; those of
        the last model may be anything.
      num_kept_bins: integer `[M - 1]`, the K of each stage, 0 to num_bins; may be
        traced.

    Returns:
      int32 `[N]`, the index of the model that answers. A NaN confidence is not kept:
      the next model is asked. -1 for every row if any traced K is out of range.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or numbers on the host out of range.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1, phase II, for each stage.

    Examples:
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7], [0.9] * 4]
      >>> chain = fit_chain(confidences, num_bins=2)
      >>> print(chain_answers(chain, confidences, [1, 1]))
      [2 1 0 0]
    """
    confidence = of_chain(chain, confidences)
    kept = checks.integers("num_kept_bins", num_kept_bins, axes="[M - 1]")
    if kept.shape[0] != chain.num_models - 1:
        raise ValueError(
            f"num_kept_bins: expected a K for each of the {chain.num_models - 1} "
            f"stages, got {list(kept.shape)}."
        )
    checks.in_domain(domains.Domain(0, chain.num_bins), num_kept_bins=kept)
    check_stages(confidence)
    return _chain_answers(chain, confidence, confidence[0], kept)


def with_abstaining(
    confidences: ArrayLike,
    outcomes: ArrayLike,
    costs: ArrayLike,
    worth: ArrayLike,
    cost: ArrayLike = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Adds abstaining as one more model, the last, for `fit_chain` and `chain_curve`.

    A correct answer is worth 1, a wrong answer 0, and no answer `worth`. The advantage
    of abstaining in a bin of the last real model is

    .. math:: a_b = \lambda - \bar c_b

    so its bins are passed on in ascending order of confidence, whatever the worth, and
    passing on those with :math:`a_b > 0` is Chow's rule. The `accuracy` of the chain's
    curve is then the mean worth, which `best_within_cost` makes as large as the budget
    allows; `selective_accuracy` is the accuracy of the answers given.

    Args:
      confidences: floating `[M, N]` in `[0, 1]`.
      outcomes: bool, integer or floating `[M, N]` in `[0, 1]`.
      costs: floating `[M, N]`, at least 0.
      worth: floating scalar in `[0, 1]`, the worth of no answer; may be traced.
      cost: floating scalar, at least 0, the price of abstaining, such as asking a
        person; may be traced.

    Returns:
      Confidences, outcomes and costs, float32 `[M + 1, N]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or numbers on the host out of range;
        in device arrays they become NaN.

    References:
      Chow, "On Optimum Recognition Error and Reject Tradeoff", 1970.

    Examples:
      >>> import calib_jax as cj
      >>> rows = with_abstaining([[0.9, 0.4]], [[1, 0]], [[2.0, 2.0]], 0.6)
      >>> chain = fit_chain(rows[0], num_bins=2)
      >>> curve = cj.cascade.chain_curve(chain, *rows)
      >>> kept = cj.cascade.best_within_cost(curve, 2.0).num_kept_bins
      >>> print(kept, chain_answers(chain, rows[0], kept))
      [1] [0 1]
    """
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    outcome = checks.outcomes("outcomes", outcomes, rank=2, axes="[M, N]")
    price = checks.floats("costs", costs, rank=2, axes="[M, N]")
    checks.same_shape(confidences=confidence, outcomes=outcome, costs=price)
    value, further = checks.scalar("worth", worth), checks.scalar("cost", cost)
    return _with_abstaining(confidence, outcome, price, value, further)


def of_chain(chain: Chain, confidences: ArrayLike) -> jax.Array:
    """Confidences `[M, N]` of the models of a chain, checked and converted."""
    checks.instance("chain", chain, Chain)
    confidence = checks.floats("confidences", confidences, rank=2, axes="[M, N]")
    if confidence.shape[0] != chain.num_models:
        raise ValueError(
            f"confidences: expected a row for each of the {chain.num_models} models of "
            f"the chain, got {list(confidence.shape)}."
        )
    return confidence


def check_stages(
    confidence: jax.Array,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
) -> None:
    """Raises `ValueError` for a confidence on the host outside `[0, 1]`.

    That of the last model is not used and may be anything.
    """
    if isinstance(confidence, np.ndarray):
        stages = {"confidences": confidence[:-1]}
        checks.in_domain(domains.CONFIDENCE, where, weights, **stages)


@dispatch.core(static=["num_bins"], rows=["confidences M N", "where", "weights"])
def _fit_chain(
    confidences: Confidence,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    num_bins: int,
) -> Chain:
    # The last model is followed by itself, so that a single model is a chain too.
    following = jnp.concatenate([confidences[1:], confidences[-1:]])
    # One stage after the other: sums of several at once take longer on a CPU.
    fitted = jax.lax.map(
        lambda pair: routers.fit_rows(*pair, None, where, weights, num_bins=num_bins),
        (confidences, following),
    )
    return Chain(routers=jax.tree.map(lambda leaf: leaf[:-1], fitted))


@dispatch.core(rows=["confidence M N", "first"], rows_of="first")
def _chain_answers(
    chain: Chain, confidence: jax.Array, first: jax.Array, num_kept_bins: jax.Array
) -> jax.Array:
    confidence = domains.CONFIDENCE.confine(confidence)
    answers = jnp.full(first.shape, chain.num_models - 1, jnp.int32)
    for stage in range(chain.num_models - 2, -1, -1):
        router = jax.tree.map(lambda leaf, k=stage: leaf[k], chain.routers)
        kept = in_first_bins(
            router.bins, router.order, confidence[stage], num_kept_bins[stage]
        )
        answers = jnp.where(kept, stage, answers)
    wrong = (num_kept_bins < 0) | (num_kept_bins > chain.num_bins)
    return jnp.where(jnp.any(wrong), -1, answers)


@dispatch.core
def _with_abstaining(
    confidences: Confidence,
    outcomes: Outcome,
    costs: NonNegative,
    worth: Share,
    cost: NonNegative,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def add(rows: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.concatenate([rows, jnp.full_like(rows[:1], value)])

    return add(confidences, worth), add(outcomes, worth), add(costs, cost)
