"""Families of chains, and paired differences between them.

Shapes: P problems, S of a setting, G budgets, F subsets of the models, T questions to
judge on. An axis of length 2 is the criterion of choice.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj

from .choices import Chosen
from .problems import Rows, Setting

# From the longest chain down; the last three are no chains.
CHAIN, WHOLE, PAIR, SINGLE, MIX, LARGEST = (
    "any chain",
    "chain of all",
    "best pair",
    "best single model",
    "random mix of two",
    "always the largest",
)
FAMILIES: Mapping[str, Callable[[tuple[int, ...], int], bool]] = {
    CHAIN: lambda subset, of: True,
    WHOLE: lambda subset, of: len(subset) == of,
    PAIR: lambda subset, of: len(subset) <= 2,
    SINGLE: lambda subset, of: len(subset) == 1,
    LARGEST: lambda subset, of: subset == (of - 1,),
}
RIVALS = (PAIR, MIX, SINGLE, LARGEST)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One family of one setting, on the questions to judge on.

    Attributes:
      accuracy: float64 `[2, G]`, mean over splits; NaN where nothing is within budget.
      cost: float64 `[2, G]`, mean cost over that of always the largest.
      optimism: float64 `[2, G]`, accuracy on the questions to choose on less that.
    """

    accuracy: np.ndarray
    cost: np.ndarray
    optimism: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What a chain is more accurate than a rival, with its interval.

    Attributes:
      estimate: float64 `[2, G + 1]`, by budget and last the mean over budgets.
      interval: float64 `[2, G + 1, 2]`, the central 95 % of bootstrap draws.
    """

    estimate: np.ndarray
    interval: np.ndarray


def best_of(
    subsets: Sequence[tuple[int, ...]],
    found: Sequence[Chosen],
    sides: tuple[Rows, Rows],
    budgets: np.ndarray,
) -> dict[str, Chosen]:
    """`Chosen` of each family: the subset of the highest criterion, by budget."""
    result, num_models = {}, sides[0].correct.shape[1]
    for name, belongs in FAMILIES.items():
        mine = [
            chosen
            for subset, chosen in zip(subsets, found, strict=True)
            if belongs(subset, num_models)
        ]
        value = np.stack([chosen.value for chosen in mine])
        # The first of equals is of the fewest models.
        best = value.argmax(axis=0)[None]

        def take(leaves: Sequence[np.ndarray], best: np.ndarray = best) -> np.ndarray:
            several = np.stack(leaves)
            index = best.reshape(best.shape + (1,) * (several.ndim - best.ndim))
            return np.take_along_axis(several, index, axis=0)[0]

        result[name] = Chosen(
            **{
                field.name: take([getattr(chosen, field.name) for chosen in mine])
                for field in dataclasses.fields(Chosen)
            }
        )
    # Within whatever budget, to compare with.
    always = result[LARGEST]
    result[LARGEST] = dataclasses.replace(always, value=np.zeros_like(always.value))
    result[MIX] = _mix(sides, budgets)
    return result


def _mix(sides: tuple[Rows, Rows], budgets: np.ndarray) -> Chosen:
    """Of every two models the larger one is asked at random, as often as the budget
    allows: the best two; `right` is the probability of a right answer."""
    seen, new = sides

    def means(values: np.ndarray, rows: Rows) -> np.ndarray:
        where = rows.where[:, None]
        return np.sum(values * where, axis=-1) / where.sum(axis=-1)

    price, criteria = means(seen.cost, seen), (seen.correct, seen.confidence)
    value = np.stack([means(rows, seen) for rows in criteria], axis=1)
    first, second = np.triu_indices(price.shape[1])
    low, high = price[:, first, None], price[:, second, None]
    # Of one model twice there is nothing to mix.
    gap = np.where(first == second, 1.0, high[..., 0] - low[..., 0])[..., None]
    some = np.where(gap > 0, gap, 1.0)
    share = np.clip((budgets[:, None] - low) / some, 0.0, 1.0)
    share = np.where((first == second)[None, :, None], 0.0, share)
    possible = (low <= budgets[:, None] * (1 + 1e-6)) & (gap > 0)

    def mixed(values: np.ndarray, share: np.ndarray) -> np.ndarray:
        return values[..., first, :] * (1 - share) + values[..., second, :] * share

    worth = mixed(value[..., None], share[:, None])
    worth = np.where(possible[:, None], worth, -np.inf)
    best = worth.argmax(axis=2)  # [P, 2, G]
    problem, _, budget = np.ogrid[tuple(slice(size) for size in best.shape)]
    part = share[problem, best, budget]

    def at(values: np.ndarray) -> np.ndarray:
        """Of values `[P, M, ...]`, those of the two models, mixed."""
        ends = values[problem, first[best]], values[problem, second[best]]
        weight = part.reshape(part.shape + (1,) * (values.ndim - 2))
        return ends[0] * (1 - weight) + ends[1] * weight

    return Chosen(
        value=np.take_along_axis(worth, best[:, :, None], axis=2)[:, :, 0],
        seen=at(means(seen.correct, seen)),
        right=at(np.float32(new.correct & new.where[:, None])).astype(np.float32),
        cost=at(means(new.cost, new)),
    )


def judge(setting: Setting, chosen: Chosen, new: Rows) -> Judged:
    """One family of one setting."""
    mine = setting.problems
    possible = np.isfinite(chosen.value[mine])
    where = new.where[mine]
    size = where.sum(axis=-1)[:, None, None]
    accuracy = chosen.right[mine].sum(axis=-1) / size
    largest = np.sum(new.cost[mine, -1] * where, axis=-1)[:, None, None] / size

    def over_splits(values: np.ndarray) -> np.ndarray:
        return np.where(possible.all(axis=0), values.mean(axis=0), np.nan)

    return Judged(
        accuracy=over_splits(accuracy),
        cost=over_splits(chosen.cost[mine] / largest),
        optimism=over_splits(chosen.seen[mine] - accuracy),
    )


def compare(
    setting: Setting,
    by_family: Mapping[str, Chosen],
    new: Rows,
    seed: int,
    num_draws: int,
) -> dict[str, Difference]:
    """Any chain against each rival, paired by question.

    A question counts as often as it was judged: where splits are random, its mean over
    the splits stands for it, and draws are of questions.
    """
    mine = setting.problems
    where, number = new.where[mine], new.number[mine]
    count = np.bincount(number[where], minlength=setting.num_questions)
    chain = by_family[CHAIN].right[mine]
    totals = []
    for rival in RIVALS:
        gain = chain - by_family[rival].right[mine].astype(np.float32)
        total = np.zeros((setting.num_questions, *gain.shape[1:3]), np.float32)
        np.add.at(total, number[where], np.moveaxis(gain, -1, 1)[where])
        totals.append(total)
    total = np.stack(totals, axis=1)
    # A mean over budgets is the last.
    total = np.concatenate([total, total.mean(axis=-1, keepdims=True)], axis=-1)
    draws = cj.bootstrap(
        jax.random.key(seed), _ratio, num_draws, total, count.astype(np.float32)
    )
    ends = np.moveaxis(np.quantile(draws, (0.025, 0.975), axis=0), 0, -1)
    estimate = total.sum(axis=0) / count.sum()
    return {
        rival: Difference(estimate=estimate[k], interval=ends[k])
        for k, rival in enumerate(RIVALS)
    }


def _ratio(total: jax.Array, count: jax.Array, weights: jax.Array) -> jax.Array:
    size = jnp.sum(weights * count)
    # Of no row that was judged, nothing is known.
    return jnp.tensordot(weights, total, ((0,), (0,))) / jnp.where(size > 0, size, 1.0)


def single(setting: Setting, new: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and cost of each model alone, `[M]`; cost as in `Judged`."""
    where = new.where[setting.problems][:, None]
    right = np.sum(new.correct[setting.problems] & where, axis=(0, -1))
    cost = np.sum(new.cost[setting.problems] * where, axis=(0, -1))
    return right / where.sum(), cost / cost[-1]
