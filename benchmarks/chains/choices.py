"""The best combination within each budget, for every subset of the models.

Shapes: P problems, M models, m models of a subset, L questions to choose on, T to judge
on, G budgets. An axis of length 2 is the criterion of choice: accuracy on labels, and
the accuracy that the calibrated confidences expect.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .problems import Rows

CRITERIA = ("labels", "confidence")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The choice for every problem, criterion and budget.

    Attributes:
      value: float32 `[P, 2, G]`, the criterion; -inf where nothing is within budget.
      seen: float32 `[P, 2, G]`, accuracy on the questions to choose on.
      right: bool `[P, 2, G, T]`, whether each question to judge on is answered
        correctly; float32, with what probability, where chance decides which model
        answers.
      cost: float32 `[P, 2, G]`, mean cost on the questions to judge on.
    """

    value: np.ndarray
    seen: np.ndarray
    right: np.ndarray
    cost: np.ndarray


def subsets(num_models: int) -> list[tuple[int, ...]]:
    """All subsets but the empty one, the smallest first."""
    return [
        subset
        for size in range(1, num_models + 1)
        for subset in itertools.combinations(range(num_models), size)
    ]


def choose(
    sides: tuple[Rows, Rows],
    budgets: np.ndarray,
    num_bins: int,
    advance: Callable[[str], None],
) -> list[Chosen]:
    """`Chosen` for each of the `subsets`.

    Args:
      sides: questions to choose on and to judge on.
      budgets: float32 `[P, G]`.
      num_bins: bins of each stage.
      advance: called after each subset.
    """
    found = []
    for subset in subsets(sides[0].correct.shape[1]):
        rows = np.array(subset, np.int32)
        part = _choose(rows, *sides, budgets, num_bins=num_bins)
        found.append(jax.tree.map(np.asarray, part))
        advance(f"{len(subset)} models")
    return found


def mean(values: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(where, values, 0.0), -1) / jnp.sum(where, -1)


@functools.partial(jax.jit, static_argnames="num_bins")
def _choose(
    subset: jax.Array, seen: Rows, new: Rows, budgets: jax.Array, *, num_bins: int
) -> Chosen:
    def one(problem: tuple[Rows, Rows, jax.Array]) -> Chosen:
        seen, new, budgets = problem
        seen, new = (
            dataclasses.replace(
                rows,
                confidence=rows.confidence[subset],
                correct=rows.correct[subset],
                cost=rows.cost[subset],
            )
            for rows in (seen, new)
        )
        chain = cj.cascade.fit_chain(
            seen.confidence, num_bins=num_bins, where=seen.where
        )
        curve = functools.partial(
            cj.cascade.chain_curve,
            chain,
            seen.confidence,
            costs=seen.cost,
            where=seen.where,
        )
        labelled, expected = curve(seen.correct), curve(seen.confidence)
        parts = [
            _judge(chain, criterion, labelled, new, budgets)
            for criterion in (labelled, expected)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)

    return lax.map(one, (seen, new, budgets))


def _judge(
    chain: cj.cascade.Chain,
    criterion: cj.cascade.ChainCurve,
    labelled: cj.cascade.ChainCurve,
    new: Rows,
    budgets: jax.Array,
) -> Chosen:
    choice = jax.vmap(cj.cascade.best_within_cost, (None, 0))(criterion, budgets)
    kept = choice.num_kept_bins
    at = tuple(kept.T)
    answers = jax.vmap(cj.cascade.chain_answers, (None, None, 0))(
        chain, new.confidence, kept
    )
    spent = jnp.cumsum(new.cost, axis=0)
    size = budgets.shape
    return Chosen(
        value=jnp.where(
            choice.feasible, jnp.broadcast_to(criterion.accuracy[at], size), -jnp.inf
        ),
        seen=jnp.broadcast_to(labelled.accuracy[at], size),
        right=_of_answers(new.correct, answers) & new.where[None],
        cost=mean(_of_answers(spent, answers), new.where[None]),
    )


def _of_answers(values: jax.Array, answers: jax.Array) -> jax.Array:
    """`[G, T]` from values `[m, T]` and answers `[G, T]`."""
    return jnp.take_along_axis(values, answers, axis=0)
