"""Accuracy and cost against coverage, where no answer has a value too.

Shapes: P problems, M models, G budgets, W worths of no answer, T questions to judge on.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .problems import Rows, Setting

# Between the worth of a wrong answer, 0, and that of a right one, 1.
WORTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Abstained:
    """The results of one setting on the questions to judge on, over all splits.

    Attributes:
      coverage: float64 `[W, G]`, share of questions that are answered.
      accuracy: float64 `[W, G]`, accuracy of these answers.
      cost: float64 `[W, G]`, mean cost of all questions, relative to always asking the
        largest model.
    """

    coverage: np.ndarray
    accuracy: np.ndarray
    cost: np.ndarray


def abstain(
    settings: list[Setting],
    sides: tuple[Rows, Rows],
    subsets: list[tuple[int, ...]],
    budgets: np.ndarray,
    num_bins: int,
    advance: Callable[[str], None],
) -> list[Abstained]:
    """`Abstained` by setting, chosen by what calibrated confidences expect.

    Args:
      settings: to report on.
      sides: questions to choose on and to judge on.
      subsets: the models of each chain that may be chosen.
      budgets: float32 `[P, G]`.
      num_bins: bins of each stage.
      advance: called after each subset.
    """
    parts = []
    for subset in subsets:
        found = _abstain(
            np.array(subset, np.int32),
            *sides,
            budgets,
            jnp.asarray(WORTHS, jnp.float32),
            num_bins=num_bins,
        )
        parts.append([np.asarray(part, np.float64) for part in found])
        advance(f"{len(subset)} models")
    several = [np.stack(part) for part in zip(*parts, strict=True)]
    best = several[0].argmax(axis=0)[None]
    answered, right, spent = (
        np.take_along_axis(part, best, axis=0)[0] for part in several[1:]
    )
    new = sides[1]
    asked = new.where.sum(axis=-1)
    largest = np.sum(new.cost[:, -1] * new.where, axis=-1)
    results = []
    for setting in settings:
        mine = setting.problems
        total = answered[mine].sum(axis=0)
        results.append(
            Abstained(
                coverage=total / asked[mine].sum(),
                accuracy=np.where(
                    total > 0, right[mine].sum(axis=0) / np.maximum(total, 1), np.nan
                ),
                cost=spent[mine].sum(axis=0) / largest[mine].sum(),
            )
        )
    return results


@functools.partial(jax.jit, static_argnames="num_bins")
def _abstain(
    models: jax.Array,
    seen: Rows,
    new: Rows,
    budgets: jax.Array,
    worths: jax.Array,
    *,
    num_bins: int,
) -> tuple[jax.Array, ...]:
    """The criterion, questions answered, of these right, dollars: `[P, W, G]` each."""

    def at_worth(
        seen: Rows, new: Rows, budgets: jax.Array, worth: jax.Array
    ) -> tuple[jax.Array, ...]:
        confidence, cost = seen.confidence[models], seen.cost[models]
        rows = cj.cascade.with_abstaining(confidence, confidence, cost, worth)
        chain = cj.cascade.fit_chain(rows[0], num_bins=num_bins, where=seen.where)
        expected = cj.cascade.chain_curve(chain, *rows, where=seen.where)
        choice = jax.vmap(cj.cascade.best_within_cost, (None, 0))(expected, budgets)
        kept = choice.num_kept_bins
        met, right, cost = cj.cascade.with_abstaining(
            new.confidence[models], new.correct[models], new.cost[models], 0.0
        )

        def judge(kept: jax.Array) -> tuple[jax.Array, ...]:
            answers = cj.cascade.chain_answers(chain, met, kept)
            taken = [
                jnp.take_along_axis(values, jnp.maximum(answers, 0)[None], 0)[0]
                for values in (right, jnp.cumsum(cost, axis=0))
            ]
            parts = (answers < models.shape[0]).astype(jnp.float32), *taken
            return tuple(jnp.sum(jnp.where(new.where, part, 0.0)) for part in parts)

        value = expected.accuracy[tuple(kept.T)]
        value = jnp.where(choice.feasible, value, -jnp.inf)
        return value, *jax.vmap(judge)(kept)

    def one(problem: tuple[Rows, Rows, jax.Array]) -> tuple[jax.Array, ...]:
        return jax.vmap(at_worth, (None, None, None, 0))(*problem, worths)

    return lax.map(one, (seen, new, budgets))
