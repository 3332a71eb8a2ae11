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

# From the longest chain down; the last three are not chains.
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
# Rivals whose accuracy is also taken at the cost of a chain.
AT_EQUAL_COST = (PAIR, MIX, SINGLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One family in one setting, on the questions to judge on.

    Attributes:
      accuracy: float64 `[2, G]`, mean over splits; NaN where nothing is within budget.
      cost: float64 `[2, G]`, mean cost relative to always asking the largest model.
      optimism: float64 `[2, G]`, accuracy on the questions to choose on minus
        `accuracy`.
      over: float64 `[2, G]`, by what share the cost exceeds the budget.
    """

    accuracy: np.ndarray
    cost: np.ndarray
    optimism: np.ndarray
    over: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How much more accurate a chain is than a rival, with its interval.

    Attributes:
      estimate: float64 `[2, G + 1]`, by budget, and last the mean over the budgets
        within which every split has a choice for both; NaN at the other budgets.
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
    """`Chosen` for each family: the subset with the highest criterion, by budget."""
    result, num_models = {}, sides[0].correct.shape[1]
    for name, belongs in FAMILIES.items():
        mine = [
            chosen
            for subset, chosen in zip(subsets, found, strict=True)
            if belongs(subset, num_models)
        ]
        value = np.stack([chosen.value for chosen in mine])
        # Among equals the first has the fewest models.
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
    # Within any budget, to compare with.
    always = result[LARGEST]
    result[LARGEST] = dataclasses.replace(always, value=np.zeros_like(always.value))
    result[MIX] = _mix(sides, budgets)
    return result


def _mix(sides: tuple[Rows, Rows], budgets: np.ndarray) -> Chosen:
    """The best two models, the larger one asked at random as often as the budget
    allows; `right` is the probability of a right answer.
    """
    seen, new = sides

    def means(values: np.ndarray, rows: Rows) -> np.ndarray:
        where = rows.where[:, None]
        return np.sum(values * where, axis=-1) / where.sum(axis=-1)

    price, criteria = means(seen.cost, seen), (seen.correct, seen.confidence)
    value = np.stack([means(rows, seen) for rows in criteria], axis=1)
    first, second = np.triu_indices(price.shape[1])
    low, high = price[:, first, None], price[:, second, None]
    # One model twice leaves nothing to mix.
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
        """The values `[P, M, ...]` of the two models, mixed."""
        ends = values[problem, first[best]], values[problem, second[best]]
        weight = part.reshape(part.shape + (1,) * (values.ndim - 2))
        return ends[0] * (1 - weight) + ends[1] * weight

    return Chosen(
        value=np.take_along_axis(worth, best[:, :, None], axis=2)[:, :, 0],
        seen=at(means(seen.correct, seen)),
        right=at(np.float32(new.correct & new.where[:, None])).astype(np.float32),
        cost=at(means(new.cost, new)),
    )


def pairs_of(
    setting: Setting, subsets: Sequence[tuple[int, ...]], found: Sequence[Chosen]
) -> dict[str, Chosen]:
    """Every single pair, by the last words of its models' names."""
    names = [name.split()[-1] for name in setting.models]
    return {
        " and ".join(names[k] for k in subset): chosen
        for subset, chosen in zip(subsets, found, strict=True)
        if len(subset) == 2
    }


def at_cost_of(chain: Chosen, rival: Chosen, always: Chosen) -> Chosen:
    """A rival at the cost that a chain has on the questions to judge on.

    The rival's choices within the budgets, and always asking the largest model, are put
    in order of their cost there. Chance decides between two neighbours so that the mean
    cost is the chain's; below the cheapest it is the cheapest. `right` is the
    probability of a right answer.
    """
    value, cost, right = (
        np.concatenate([ours, end[:, :, -1:]], axis=2)
        for ours, end in (
            (rival.value, always.value),
            (rival.cost, always.cost),
            (rival.right, always.right),
        )
    )
    # Infeasible choices come last, at an infinite cost.
    cost = np.where(np.isfinite(value), cost, np.inf)
    order = np.argsort(cost, axis=2, kind="stable")
    cost = np.take_along_axis(cost, order, axis=2)
    num_possible = np.sum(np.isfinite(cost), axis=2, keepdims=True)
    # `[P, 2, G]`: how many cost no more than the chain.
    above = np.sum(cost[:, :, None] <= chain.cost[..., None], axis=-1)
    above = np.clip(above, 1, num_possible - 1)
    low, high = (np.take_along_axis(cost, above - k, axis=2) for k in (1, 0))
    gap = np.where(high > low, high - low, 1.0)
    share = np.clip((chain.cost - low) / gap, 0.0, 1.0)[..., None]
    ends = [
        np.take_along_axis(
            right, np.take_along_axis(order, above - k, axis=2)[..., None], axis=2
        )
        for k in (1, 0)
    ]
    mixed = ends[0] * (1 - share) + ends[1] * share
    spent = low * (1 - share[..., 0]) + high * share[..., 0]
    return Chosen(
        value=chain.value, seen=chain.seen, right=np.float32(mixed), cost=spent
    )


def at_equal_cost(by_family: Mapping[str, Chosen]) -> dict[str, Chosen]:
    """The rivals at the cost of the best chain, by `at_cost_of`."""
    return {
        rival: at_cost_of(by_family[CHAIN], by_family[rival], by_family[LARGEST])
        for rival in AT_EQUAL_COST
    }


def judge(
    setting: Setting, chosen: Chosen, new: Rows, fractions: Sequence[float]
) -> Judged:
    """Judges one family in one setting; budgets are shares of the largest's cost."""
    mine = setting.problems
    possible = np.isfinite(chosen.value[mine])
    where = new.where[mine]
    size = where.sum(axis=-1)[:, None, None]
    accuracy = chosen.right[mine].sum(axis=-1) / size
    largest = np.sum(new.cost[mine, -1] * where, axis=-1)[:, None, None] / size

    def over_splits(values: np.ndarray) -> np.ndarray:
        return np.where(possible.all(axis=0), values.mean(axis=0), np.nan)

    cost = over_splits(chosen.cost[mine] / largest)
    return Judged(
        accuracy=over_splits(accuracy),
        cost=cost,
        optimism=over_splits(chosen.seen[mine] - accuracy),
        over=cost / np.asarray(fractions) - 1,
    )


def compare(
    setting: Setting,
    first: Chosen,
    rivals: Mapping[str, Chosen],
    new: Rows,
    seed: int,
    num_draws: int,
) -> dict[str, Difference]:
    """Compares `first`, such as the best chain, with each rival, paired by question.

    The bootstrap draws questions. Where random splits judge a question several times,
    its mean over the splits counts.
    """
    mine = setting.problems
    where, number = new.where[mine], new.number[mine]
    count = np.bincount(number[where], minlength=setting.num_questions)
    totals, possible = [], []
    for rival in rivals.values():
        gain = np.float32(first.right[mine]) - rival.right[mine]
        total = np.zeros((setting.num_questions, *gain.shape[1:3]), np.float32)
        np.add.at(total, number[where], np.moveaxis(gain, -1, 1)[where])
        both = np.isfinite(first.value[mine]) & np.isfinite(rival.value[mine])
        possible.append(both.all(axis=0))
        totals.append(np.where(possible[-1], total, 0.0))
    total, known = np.stack(totals, axis=1), np.stack(possible)
    # A mean over budgets is the last.
    num_known = np.sum(known, axis=-1, keepdims=True)
    mean = total.sum(axis=-1, keepdims=True) / np.maximum(num_known, 1)
    total = np.concatenate([total, mean], axis=-1)
    known = np.concatenate([known, num_known > 0], axis=-1)
    draws = cj.bootstrap(
        jax.random.key(seed),
        _ratio,
        num_draws,
        np.float32(total),
        count.astype(np.float32),
    )
    ends = np.moveaxis(np.quantile(draws, (0.025, 0.975), axis=0), 0, -1)
    estimate = np.where(known, total.sum(axis=0) / count.sum(), np.nan)
    ends = np.where(known[..., None], ends, np.nan)
    return {
        rival: Difference(estimate=estimate[k], interval=ends[k])
        for k, rival in enumerate(rivals)
    }


def _ratio(total: jax.Array, count: jax.Array, weights: jax.Array) -> jax.Array:
    size = jnp.sum(weights * count)
    # Without a judged row nothing is known.
    return jnp.tensordot(weights, total, ((0,), (0,))) / jnp.where(size > 0, size, 1.0)


def single(setting: Setting, new: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and cost of each model alone, `[M]`; cost as in `Judged`."""
    where = new.where[setting.problems][:, None]
    right = np.sum(new.correct[setting.problems] & where, axis=(0, -1))
    cost = np.sum(new.cost[setting.problems] * where, axis=(0, -1))
    return right / where.sum(), cost / cost[-1]
