"""The best model or pair of models at each price of a question.

All calibrators and routers are fitted on one half of the rows, where the best one
within each price is chosen, too; its accuracy is that on the other half. The best of
many on the rows that they are judged on would look better than it is.

Shapes: N rows that all models of a task share, K from 0 to num_bins.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..binning.bins import DEFAULT_NUM_BINS
from ..cascade import routers
from ..io.outputs import Outputs
from ..io.outputs.record import join
from . import models, pairings, phrases
from .on_tasks import Fits
from .pairings import Routed

# About so many prices are shown, besides those of the models.
_NUM_BUDGETS = 6
# Costs are sums of rounded numbers.
_ROUNDING = 1 + 1e-9


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Best:
    """The best that can be had on a task within a price, chosen on one half.

    Attributes:
      task: its name, or None for several together: one model or pair answers them.
      budget: mean cost of a question that is allowed.
      first: the model that is asked first.
      then: the model that is asked for the rest, or None if the first one is alone.
      num_small_bins: K, of 15 bins; None for a model alone.
      large_share: share of questions that the second model is asked, too, on the half
        that is judged.
      cost: mean cost of a question there.
      accuracy: mean outcome there.
      accuracy_standard_error: its standard error.
      single: the best model alone within the price, chosen likewise.
      gain: accuracy minus that of this model.
      gain_standard_error: its standard error, of paired rows.
      num_judged: rows of the half that is judged.
    """

    task: str | None
    budget: float
    first: str
    then: str | None
    num_small_bins: int | None
    large_share: float
    cost: float
    accuracy: float
    accuracy_standard_error: float
    single: str | None
    gain: float | None
    gain_standard_error: float | None
    num_judged: int


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Alone:
    """A model alone on a task, on the half that is judged.

    Attributes:
      task: its name, or None for several together.
      model: its name.
      cost: mean cost of a question.
      accuracy: mean outcome.
    """

    task: str | None
    model: str
    cost: float
    accuracy: float


class Bests(NamedTuple):
    """What `of` finds.

    Attributes:
      best: rows of several tasks together first, then those of each task.
      alone: likewise.
      together: names of the tasks that are together.
      reasons: which models and tasks are left out, in sentences.
    """

    best: tuple[Best, ...]
    alone: tuple[Alone, ...]
    together: tuple[str, ...]
    reasons: tuple[str, ...]


class _Task(NamedTuple):
    """Models on the rows of a task that they share, or of several tasks.

    Attributes:
      name: of the task, or None for several.
      outcomes: float64 `[N]`, by model.
      costs: float64 `[N]`, by model.
      confidences: float32 `[N]`, by model, of those that could be fitted.
      routed: pairs of them.
      first: numbers of the rows that are fitted and chosen on.
      second: numbers of the rows to judge on.
    """

    name: str | None
    outcomes: Mapping[str, np.ndarray]
    costs: Mapping[str, np.ndarray]
    confidences: Mapping[str, np.ndarray]
    routed: Sequence[Routed]
    first: np.ndarray
    second: np.ndarray


class _Candidate(NamedTuple):
    """What may answer: a pair with its K, or a model alone."""

    cost: float
    accuracy: float
    first: str
    routed: Routed | None
    num_small_bins: int | None


def priced(outputs: Sequence[Outputs], prices: Mapping[str, float]) -> bool:
    """Whether all models have prices, or all files costs.

    Raises:
      ValueError: for a price that is no number of 0 or more, of a model that is not
        there, or where a model has none.
    """
    known = {one.model for one in outputs}
    for name, price in prices.items():
        if name not in known:
            raise ValueError(
                f"prices: no file is of model {name!r}; there are "
                f"{', '.join(sorted(known))}."
            )
        if isinstance(price, bool) or not isinstance(price, (int, float)):
            raise ValueError(f"prices: expected a number for {name}, got {price!r}.")
        if not (math.isfinite(price) and price >= 0):
            raise ValueError(
                f"prices: expected a price of 0 or more for {name}, got {price}."
            )
    if prices:
        missing = sorted(known - prices.keys())
        if missing:
            raise ValueError(
                f"prices: expected one for each model, got none for "
                f"{', '.join(missing)}."
            )
        if not any(prices.values()):
            raise ValueError("prices: all are 0; at least one must be positive.")
        return True
    return all(
        one.cost is not None and bool(np.all(np.isfinite(one.cost) & (one.cost >= 0)))
        for one in outputs
    ) and any(bool(np.any(one.cost)) for one in outputs)


def of(outputs: Sequence[Outputs], prices: Mapping[str, float], fits: Fits) -> Bests:
    """The best at each price, for each task and for several together.

    Args:
      outputs: of models on tasks, with outcomes.
      prices: of a question, by model; without them costs are those of the files.
      fits: of the same outputs.
    """
    tasks, reasons = [], []
    for name, group in itertools.groupby(
        sorted(outputs, key=lambda one: one.task), key=lambda one: one.task
    ):
        some = list(group)
        if len(some) < 2:
            continue
        joined, lost = _joined(some, fits)
        if not joined:
            reasons.append(
                f"No best at each price on {name}: no two models share "
                f"{2 * models.LEAST_ROWS} rows to fit and judge on."
            )
            continue
        reasons += [
            f"{model} is left out of the best at each price on {name}: {why}"
            for model, why in lost
        ]
        tasks.append(_task(name, joined, prices, fits))
    together: tuple[str, ...] = ()
    if len(tasks) > 1:
        names, shared, lost = _shared(tasks)
        together = tuple(task.name for task in shared if task.name is not None)
        if shared:
            tasks.insert(0, _together(shared, names))
            reasons += [
                f"{model} is left out of the best at each price on several tasks: {why}"
                for model, why in lost
            ]
    best = [one for task in tasks for one in _best(task)]
    alone = [
        Alone(
            task=task.name,
            model=model,
            cost=float(np.mean(task.costs[model][task.second])),
            accuracy=float(np.mean(outcome[task.second])),
        )
        for task in tasks
        for model, outcome in task.outcomes.items()
    ]
    return Bests(tuple(best), tuple(alone), together, tuple(reasons))


def _joined(
    some: Sequence[Outputs], fits: Fits
) -> tuple[tuple[Outputs, ...], list[tuple[str, str]]]:
    """Models on the rows that they share, and those that are left out, with reasons.

    A model that shares too few rows with the others would leave none to all.
    """
    kept = list(some)
    lost: list[tuple[str, str]] = []
    while len(kept) > 1:
        try:
            joined = join(*kept)
        except ValueError:
            joined = ()
        if not joined or len(joined[0]) < 2 * models.LEAST_ROWS:
            out = min(kept, key=lambda one: _shares(one, kept))
            why = "it shares too few rows with the other models."
        else:
            unknown = [one.model for one in joined if not _is_known(one, fits)]
            if not unknown:
                return joined, lost
            out = next(one for one in kept if one.model == unknown[0])
            why = "nothing can be fitted to the rows that all models share."
        kept.remove(out)
        lost.append((out.model, why))
    return (), lost


def _shares(one: Outputs, others: Sequence[Outputs]) -> tuple[int, int]:
    """With how many models it shares enough rows, and how many rows in all."""
    sizes = []
    for other in others:
        if other is one:
            continue
        try:
            sizes.append(len(join(one, other)[0]))
        except ValueError:
            sizes.append(0)
    return sum(size >= 2 * models.LEAST_ROWS for size in sizes), sum(sizes)


def _is_known(outputs: Outputs, fits: Fits) -> bool:
    try:
        fits.of(outputs)
    except ValueError:
        return fits.constant(outputs) is not None
    return True


def _task(
    name: str, joined: Sequence[Outputs], prices: Mapping[str, float], fits: Fits
) -> _Task:
    fitted, outcomes = [], {}
    for one in joined:
        try:
            halved = fits.of(one)
        except ValueError:
            # Alone it needs no confidence.
            known = fits.constant(one)
            assert known is not None
            outcomes[one.model], first, second = known
            continue
        fitted.append(halved)
        outcomes[one.model] = np.asarray(halved.fitted.outcome, np.float64)
        first, second = halved.first, halved.second
    return _Task(
        name,
        outcomes,
        {one.model: _costs(one, prices) for one in joined},
        {one.outputs.model: one.fitted.confidence for one in fitted},
        [pairings.routed(*pair)[0] for pair in itertools.permutations(fitted, 2)],
        first,
        second,
    )


def _shared(
    tasks: Sequence[_Task],
) -> tuple[list[str], list[_Task], list[tuple[str, str]]]:
    """Models, two or more tasks that all of them have, and models left out for it."""
    names = sorted({name for task in tasks for name in task.outcomes})
    lost: list[tuple[str, str]] = []
    while len(names) > 1:
        shared = [task for task in tasks if task.outcomes.keys() >= set(names)]
        if len(shared) > 1:
            return names, shared, lost
        counts = {name: sum(name in task.outcomes for task in tasks) for name in names}
        out = min(names, key=lambda name: counts[name])
        names.remove(out)
        lost.append((out, "too few of its tasks are those of the other models."))
    return [], [], []


def _costs(outputs: Outputs, prices: Mapping[str, float]) -> np.ndarray:
    if prices:
        return np.full(len(outputs), float(prices[outputs.model]))
    return np.asarray(outputs.cost, np.float64)


def _together(tasks: Sequence[_Task], names: Sequence[str]) -> _Task:
    """Several tasks as one, with routers for the questions of all."""
    sizes = [len(next(iter(task.outcomes.values()))) for task in tasks]
    starts = np.cumsum([0, *sizes])
    fitted = [name for name in names if all(name in task.confidences for task in tasks)]

    def by_model(of: Any, some: Sequence[str]) -> dict[str, np.ndarray]:
        return {
            name: np.concatenate([of(task)[name] for task in tasks]) for name in some
        }

    def rows(of: Any) -> np.ndarray:
        return np.concatenate(
            [of(task) + start for task, start in zip(tasks, starts, strict=False)]
        )

    first, second = rows(lambda task: task.first), rows(lambda task: task.second)
    outcomes = by_model(lambda task: task.outcomes, names)
    costs = by_model(lambda task: task.costs, names)
    confidences = by_model(lambda task: task.confidences, fitted)
    routed = []
    for small, large in itertools.permutations(fitted, 2):
        router = routers.fit_router(
            confidences[small][first],
            confidences[large][first],
            num_bins=DEFAULT_NUM_BINS,
        )
        place = pairings.place_in(router, confidences[small])
        both = outcomes[small], outcomes[large]
        routed.append(Routed(small, large, place, *both, first, second))
    return _Task(None, outcomes, costs, confidences, routed, first, second)


def _candidates(task: _Task) -> list[_Candidate]:
    """All models and pairs, with cost and accuracy on the half to choose on."""
    rows = task.first
    found = [
        _Candidate(
            float(np.mean(task.costs[model][rows])),
            float(np.mean(outcome[rows])),
            model,
            None,
            None,
        )
        for model, outcome in task.outcomes.items()
    ]
    for pair in task.routed:
        accuracies, costs = pair.accuracies(rows), _costs_of_every_k(task, pair, rows)
        found += [
            _Candidate(float(costs[k]), float(accuracies[k]), pair.small, pair, k)
            for k in range(1, len(costs) - 1)
        ]
    return found


def _costs_of_every_k(task: _Task, pair: Routed, rows: np.ndarray) -> np.ndarray:
    """Mean cost on some rows for every K: that of the first model, and more."""
    large = task.costs[pair.large]
    both = float(np.mean(task.costs[pair.small][rows] + large[rows]))
    return both - pair.every_k(rows, large)


def _best(task: _Task) -> list[Best]:
    """The best within each price: once for the prices at which nothing changes."""
    candidates = _candidates(task)
    singles = [one for one in candidates if one.routed is None]
    found: list[Best] = []
    for budget in _budgets(candidates):
        chosen, single = _within(candidates, budget), _within(singles, budget)
        if chosen is not None:
            found.append(_judged(task, budget, chosen, single))
    return found


def _within(candidates: Sequence[_Candidate], budget: float) -> _Candidate | None:
    """The most accurate one that costs no more; of several the cheapest."""
    some = [one for one in candidates if one.cost <= budget * _ROUNDING]
    return max(some, key=lambda one: (one.accuracy, -one.cost), default=None)


def _budgets(candidates: Sequence[_Candidate]) -> list[float]:
    """Prices of models, and round ones between the least and the most that helps."""
    exact = {one.cost for one in candidates if one.routed is None}
    best = _within(candidates, math.inf)
    assert best is not None
    least, most = min(exact), max(best.cost, *exact)
    low = least if least > 0 else most / 2**_NUM_BUDGETS
    between = np.geomspace(low, most, _NUM_BUDGETS + 2)[1:-1].tolist()
    rounded = {float(f"{one:.2g}") for one in between}
    if most > max(exact) * _ROUNDING:
        rounded.add(float(phrases.rounded_up(most, 2 - math.ceil(math.log10(most)))))
    apart = {
        one for one in rounded if all(abs(one - price) > price / 50 for price in exact)
    }
    return sorted(exact | apart)


def _judged(
    task: _Task, budget: float, chosen: _Candidate, single: _Candidate | None
) -> Best:
    """The chosen one on the other half."""
    rows, routed = task.second, chosen.routed
    right = _right(task, chosen)
    cost = task.costs[chosen.first][rows]
    share = 0.0
    if routed is not None:
        asked = routed.place[rows] >= (chosen.num_small_bins or 0)
        share = float(np.mean(asked))
        cost = cost + np.where(asked, task.costs[routed.large][rows], 0.0)
    gain = None if single is None else right - _right(task, single)
    return Best(
        task=task.name,
        budget=budget,
        first=chosen.first,
        then=None if routed is None else routed.large,
        num_small_bins=chosen.num_small_bins,
        large_share=share,
        cost=float(np.mean(cost)),
        accuracy=float(np.mean(right)),
        accuracy_standard_error=pairings.standard_error(right),
        single=None if single is None else single.first,
        gain=None if gain is None else float(np.mean(gain)),
        gain_standard_error=None if gain is None else pairings.standard_error(gain),
        num_judged=len(rows),
    )


def _right(task: _Task, chosen: _Candidate) -> np.ndarray:
    """Float64, whether it is right in the rows that are judged."""
    if chosen.routed is None or chosen.num_small_bins is None:
        return task.outcomes[chosen.first][task.second]
    return chosen.routed.right(chosen.num_small_bins, task.second)
