"""RESULTS.md, results.json and the figures."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Draw, interval, percent, table

from .abstaining import WORTHS, Abstained
from .choices import CRITERIA
from .comparing import (
    AT_EQUAL_COST,
    CHAIN,
    LARGEST,
    MIX,
    PAIR,
    RIVALS,
    SINGLE,
    WHOLE,
    Difference,
    Judged,
)
from .drawing import draw_coverage, draw_frontier, left_out
from .problems import Setting

# Budgets relative to always asking the largest model, and those printed.
FRACTIONS = tuple(2.0 ** (-k / 4) for k in range(19, -1, -1))
_PRINTED = (7, 11, 15, 19)
# Budgets with an option to abstain.
_ABSTAINING = _PRINTED[1:3]

# A budget is exceeded if it is by more than rounding.
_EXCEEDED = 1e-3

# A chain loses little if it loses no more than this.
_LITTLE = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """How much more accurate the best chain of one setting is than its rivals, by name.

    Attributes:
      within: within the same budget.
      at_equal_cost: at the cost that the chain has.
      pairs: against each single pair, within the same budget.
    """

    within: Mapping[str, Difference]
    at_equal_cost: Mapping[str, Difference]
    pairs: Mapping[str, Difference]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """All that is reported, in the order of the settings.

    Attributes:
      settings: the settings.
      judged: by number of bins, title and family.
      differences: by title, at the larger number of bins.
      pairs: each single pair, by title and name, at the larger number of bins.
      chain: abstaining, after one or two models, by budget.
      alone: abstaining, the largest model alone.
      singles: accuracy and relative cost of each model.
      num_bins: bins of a stage.
      few_bins: the smaller number.
      num_halves: random halves.
    """

    settings: Sequence[Setting]
    judged: Mapping[int, Mapping[str, Mapping[str, Judged]]]
    differences: Mapping[str, Compared]
    pairs: Mapping[str, Mapping[str, Judged]]
    chain: Sequence[Abstained]
    alone: Sequence[Abstained]
    singles: Sequence[tuple[np.ndarray, np.ndarray]]
    num_bins: int
    few_bins: int
    num_halves: int

    @property
    def many(self) -> Mapping[str, Mapping[str, Judged]]:
        """By title and family, at the larger number of bins."""
        return self.judged[self.num_bins]

    @property
    def halves(self) -> list[Setting]:
        """Settings of random halves."""
        return [one for one in self.settings if one.name.endswith("-halves")]

    def text(self) -> str:
        compared = list(self.differences.values())
        pairs = [
            one
            for by in compared
            for one in by.pairs.values()
            if np.isfinite(one.estimate[:, -1]).all()
        ]
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            num_halves=self.num_halves,
            fractions=FRACTIONS,
            whole=WHOLE,
            pair=PAIR,
            mix=MIX,
            num_bins=self.num_bins,
            few_bins=self.few_bins,
            settings=self.settings,
            halves=self.halves,
            little=_LITTLE,
            within=[
                _summary(rival, [by.within[rival] for by in compared])
                for rival in RIVALS[:3]
            ],
            at_equal_cost=[
                _summary(rival, [by.at_equal_cost[rival] for by in compared])
                for rival in AT_EQUAL_COST
            ],
            **_spending(self),
            difference_table=_differences(self),
            pair_places=[place for one in pairs for place in _places(one)],
            pair_tables={
                setting.title: _pairs(
                    self.differences[setting.title].pairs, self.pairs[setting.title]
                )
                for setting in self.settings
            },
            budget_tables={
                setting.title: _budgets(self.many[setting.title])
                for setting in self.settings
            },
            hidden={
                setting.title: _hidden(setting, self.many[setting.title], singles)
                for setting, singles in zip(self.settings, self.singles, strict=True)
            },
            **_optimism(self),
            abstaining_table=_abstaining(self),
        )

    def figures(self) -> dict[str, Draw]:
        places = {_at(FRACTIONS[g]): g for g in _ABSTAINING}
        frontiers, coverages = {}, {}
        for setting, singles, chain, alone in zip(
            self.settings, self.singles, self.chain, self.alone, strict=True
        ):
            judged = self.many[setting.title]
            frontiers[setting.name] = functools.partial(
                draw_frontier, setting, judged, singles
            )
            if setting in self.halves:
                coverages[f"abstaining-{setting.name}"] = functools.partial(
                    draw_coverage, chain, alone, places
                )
        return frontiers | coverages


def _at(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _places(one: Difference) -> list[str]:
    """Whether the intervals of the mean over budgets are above, around or below 0."""
    return [
        "above" if low > 0 else "below" if high < 0 else "around"
        for low, high in one.interval[:, -1]
    ]


def _summary(rival: str, found: Sequence[Difference]) -> dict[str, Any]:
    """The mean over budgets, for both criteria together."""
    return {
        "rival": rival,
        "estimates": np.array([one.estimate[:, -1] for one in found]),
        "places": [place for one in found for place in _places(one)],
    }


def _nearly(judged: Mapping[str, Judged], criterion: int) -> str:
    """The smallest budget with which a chain loses little against the largest model."""
    lost = judged[LARGEST].accuracy[criterion] - judged[CHAIN].accuracy[criterion]
    enough = np.flatnonzero(lost <= _LITTLE)
    return percent(FRACTIONS[enough[0]]) if len(enough) else "-"


def _with_ends(one: Difference, criterion: int, budget: int) -> str:
    ends = interval(one.interval[criterion, budget], 2, 100.0)
    return f"{percent(one.estimate[criterion, budget], 2)} {ends}"


def _differences(results: Results) -> str:
    last = len(FRACTIONS) - 1
    return table(
        [
            ("questions, choice", lambda row: f"{row[0]}, by {CRITERIA[row[2]]}"),
            *(
                (
                    f"over {rival}, same budget",
                    lambda row, rival=rival: _with_ends(
                        row[1].within[rival], row[2], -1
                    ),
                )
                for rival in RIVALS[:3]
            ),
            *(
                (
                    f"over {rival}, equal cost",
                    lambda row, rival=rival: _with_ends(
                        row[1].at_equal_cost[rival], row[2], -1
                    ),
                )
                for rival in AT_EQUAL_COST
            ),
            *(
                (
                    f"over {PAIR}, {_at(FRACTIONS[g])}",
                    lambda row, g=g: _with_ends(row[1].within[PAIR], row[2], g),
                )
                for g in _PRINTED[:3]
            ),
            (
                f"over {LARGEST}, 100 %",
                lambda row: _with_ends(row[1].within[LARGEST], row[2], last),
            ),
            (
                "within a point of it from (%)",
                lambda row: _nearly(results.many[row[0]], row[2]),
            ),
        ],
        [
            (setting.title, results.differences[setting.title], k)
            for setting in results.settings
            for k in range(len(CRITERIA))
        ],
    )


def _spending(results: Results) -> dict[str, Any]:
    """How much more a chain spends than a random mix with the same budgets."""
    judged = [results.many[setting.title] for setting in results.settings]
    worst = np.array([np.nanmax(by[CHAIN].over, axis=-1) for by in judged])
    setting, criterion = np.unravel_index(worst.argmax(), worst.shape)
    return {
        "more": np.array(
            [np.nanmean(by[CHAIN].cost - by[MIX].cost, axis=-1) for by in judged]
        ),
        "over": np.array([_exceeded(by[CHAIN].over) for by in judged]),
        "worst": worst.max(),
        "worst_place": f"{results.settings[setting].title}, by {CRITERIA[criterion]}",
    }


def _exceeded(over: np.ndarray) -> np.ndarray:
    """How many budgets are exceeded, along the last axis."""
    return np.sum(over > _EXCEEDED, axis=-1)


def _pairs(differences: Mapping[str, Difference], judged: Mapping[str, Judged]) -> str:
    columns = [
        ("pair", lambda name: name),
        (
            "budgets",
            lambda name: np.sum(np.isfinite(differences[name].estimate[0, :-1])),
        ),
    ]
    for k, criterion in enumerate(CRITERIA):
        columns += [
            (
                f"accuracy, by {criterion}",
                lambda name, k=k: percent(_mean_of(judged[name].accuracy[k])),
            ),
            (
                f"cost, by {criterion}",
                lambda name, k=k: percent(_mean_of(judged[name].cost[k])),
            ),
            (
                f"any chain over it, by {criterion}",
                lambda name, k=k: _with_ends(differences[name], k, -1),
            ),
        ]
    return table(columns, differences)


def _mean_of(values: np.ndarray) -> float:
    """Over budgets with a choice; NaN without any."""
    some = values[np.isfinite(values)]
    return float(some.mean()) if len(some) else np.nan


def _budgets(judged: Mapping[str, Judged]) -> str:
    alone = SINGLE, LARGEST

    def name(row: tuple[str, Judged, int]) -> str:
        return row[0] if row[0] in alone else f"{row[0]}, by {CRITERIA[row[2]]}"

    def unless_largest(cell: Any) -> Any:
        return lambda row: "-" if row[0] == LARGEST else cell(row[1].over[row[2]])

    return table(
        [
            ("family", name),
            *(
                (
                    _at(FRACTIONS[g]),
                    lambda row, g=g: percent(row[1].accuracy[row[2], g]),
                )
                for g in _PRINTED
            ),
            ("mean", lambda row: percent(np.nanmean(row[1].accuracy[row[2]]))),
            ("mean cost", lambda row: percent(np.nanmean(row[1].cost[row[2]]))),
            ("budgets exceeded", unless_largest(_exceeded)),
            ("by at most", unless_largest(lambda over: percent(np.nanmax(over)))),
        ],
        [
            (family, one, k)
            for family, one in judged.items()
            for k in range(1 if family in alone else len(CRITERIA))
        ],
    )


def _hidden(
    setting: Setting,
    judged: Mapping[str, Judged],
    singles: tuple[np.ndarray, np.ndarray],
) -> str:
    """A sentence on the models that the figure does not show, or nothing."""
    hidden = left_out(setting, judged, singles)
    if not hidden:
        return ""
    names = ", ".join(f"{name} at {percent(y)} %" for name, y in hidden.items())
    return f" Below what is shown, alone: {names}."


def _optimism(results: Results) -> dict[str, Any]:
    sizes = results.num_bins, results.few_bins

    def off(setting: Setting, size: int, family: str, criterion: int) -> np.floating:
        judged = results.judged[size][setting.title][family]
        return np.nanmean(judged.optimism[criterion])

    def accuracy(setting: Setting, size: int, criterion: int) -> np.floating:
        judged = results.judged[size][setting.title][CHAIN]
        return np.nanmean(judged.accuracy[criterion])

    return {
        "optimism_table": table(
            [
                ("questions", lambda setting: setting.title),
                ("to choose on", lambda setting: setting.num_chosen_on),
                (
                    "no choice",
                    lambda setting: percent(off(setting, sizes[0], LARGEST, 0), 2),
                ),
                *(
                    (
                        f"{family} by {criterion}, {size} bins",
                        lambda setting, at=(size, family, k): percent(
                            off(setting, *at), 2
                        ),
                    )
                    for size in sizes
                    for family in (CHAIN, PAIR)
                    for k, criterion in enumerate(CRITERIA)
                ),
            ],
            results.settings,
        ),
        "most": [
            max(
                (off(one, size, CHAIN, k) for one in results.halves for size in sizes),
                default=np.nan,
            )
            for k in range(len(CRITERIA))
        ],
        "better": {
            size: sum(
                accuracy(one, size, 1) > accuracy(one, size, 0)
                for one in results.settings
            )
            for size in sizes
        },
        "finer": sum(
            accuracy(one, sizes[0], 0) > accuracy(one, sizes[1], 0)
            for one in results.settings
        ),
    }


def _abstaining(results: Results) -> str:
    columns = [
        ("questions, worth of no answer", lambda row: f"{row[0]}, {WORTHS[row[1]]}")
    ]
    # Indices in a row, and of budgets.
    shown = [
        (LARGEST, 2, 0),
        *((f"chain, {_at(FRACTIONS[g])}", 3, g) for g in _ABSTAINING),
    ]
    for name, place, g in shown:
        for header, part in (
            ("answered", "coverage"),
            ("right", "accuracy"),
            ("cost", "cost"),
        ):
            columns.append(
                (
                    f"{name}: {header}",
                    lambda row, at=(place, g, part): percent(
                        getattr(row[at[0]], at[2])[row[1], at[1]]
                    ),
                )
            )
    return table(
        columns,
        [
            (setting.title, w, alone, chain)
            for setting, alone, chain in zip(
                results.settings, results.alone, results.chain, strict=True
            )
            for w in range(len(WORTHS))
        ],
    )
