"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit.report import Section, figure, interval, percent, table, write

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

# Budgets as shares of what always asking the largest model costs, and those printed.
FRACTIONS = tuple(2.0 ** (-k / 4) for k in range(19, -1, -1))
_PRINTED = (7, 11, 15, 19)

# A budget is exceeded where it is by more than rounding.
_EXCEEDED = 1e-3

# A chain loses little where it loses no more than this.
_LITTLE = 0.01

_METHOD = """\
Five models of one family, each at its price per question, are asked one after another.
Platt scaling, the stages and the combination of K are fitted and chosen on one part of
the questions, and everything below is measured on the other: the published split
against all other questions, or {num_halves} random halves. A combination is chosen for
each of {num_budgets} budgets between {least} % and 100 % of what always asking the
largest model costs. Every family has the same freedom: of all its chains of any subset
of models and all their combinations, the one of highest accuracy on the questions to
choose on (*labels*), or of highest accuracy that calibrated confidences expect there
(*confidence*). So a budget holds on the questions chosen on; what is spent on those
judged on may be more or less, and is reported, always as a share of what always asking
the largest model costs on the same questions. *{whole}* must ask the smallest model
first; *{pair}* may be a single model too; *{mix}* asks the larger of two models at
random, as often as the budget allows. Each stage has {num_bins} bins."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """What any chain of one setting is more accurate than its rivals, by name.

    Attributes:
      within: within the same budget.
      at_equal_cost: at the cost that the chain comes to.
      pairs: than each single pair, within the same budget.
    """

    within: Mapping[str, Difference]
    at_equal_cost: Mapping[str, Difference]
    pairs: Mapping[str, Difference]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """All that is reported, in the order of the settings.

    Attributes:
      settings: the settings.
      judged: by title, number of bins and family.
      differences: by title, at the larger number of bins.
      pairs: each single pair, by title and name, at the larger number of bins.
      chain: abstaining, after one or two models, by budget.
      alone: abstaining, the largest model alone.
      singles: accuracy and relative cost of each model.
      num_bins: of a stage.
      few_bins: the smaller number.
      num_halves: random halves.
    """

    settings: Sequence[Setting]
    judged: Mapping[tuple[str, int], Mapping[str, Judged]]
    differences: Mapping[str, Compared]
    pairs: Mapping[str, Mapping[str, Judged]]
    chain: Sequence[Abstained]
    alone: Sequence[Abstained]
    singles: Sequence[tuple[np.ndarray, np.ndarray]]
    num_bins: int
    few_bins: int
    num_halves: int


def write_results(folder: Path, numbers: Numbers) -> None:
    """Writes what was measured."""
    method = _METHOD.format(
        num_halves=numbers.num_halves,
        num_budgets=len(FRACTIONS),
        least=percent(FRACTIONS[0]),
        whole=WHOLE,
        pair=PAIR,
        mix=MIX,
        num_bins=numbers.num_bins,
    )
    preface = [
        "# Chains of models with prices",
        "Written by `python -m benchmarks.chains`; nothing here is typed by hand. The "
        "numbers behind the tables are in `results.json`.",
        method,
    ]
    sections = [
        _differences(numbers),
        _every_pair(numbers),
        _budgets(numbers),
        _optimism(numbers),
        _abstaining(numbers),
    ]
    write(folder, preface, sections)


def _at(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _where(ends: np.ndarray) -> str:
    """Of an interval, against 0."""
    return "above" if ends[0] > 0 else "below" if ends[1] < 0 else "around"


def _summary(rival: str, found: Sequence[Difference]) -> str:
    """One sentence for both criteria together, of the mean over budgets."""
    estimates = np.array([one.estimate[:, -1] for one in found])
    places = [_where(ends) for one in found for ends in one.interval[:, -1]]
    counts = ", ".join(
        f"{place} 0 in {places.count(place)}" for place in ("above", "around", "below")
    )
    return (
        f"- *{rival}*: {percent(estimates.min(), 2)} to "
        f"{percent(estimates.max(), 2)} points; of {len(places)} intervals of 95 % "
        f"{counts}."
    )


def _nearly(numbers: Numbers, title: str, criterion: int) -> str:
    """The least budget with which a chain loses little against the largest model."""
    judged = numbers.judged[title, numbers.num_bins]
    lost = judged[LARGEST].accuracy[criterion] - judged[CHAIN].accuracy[criterion]
    enough = np.flatnonzero(lost <= _LITTLE)
    return percent(FRACTIONS[enough[0]]) if len(enough) else "-"


def _differences(numbers: Numbers) -> Section:
    rows = []
    for setting in numbers.settings:
        compared = numbers.differences[setting.title]
        by_rival = compared.within
        for k, criterion in enumerate(CRITERIA):
            row = [f"{setting.title}, by {criterion}"]
            for by_name, names in (
                (by_rival, RIVALS[:3]),
                (compared.at_equal_cost, AT_EQUAL_COST),
            ):
                for rival in names:
                    one = by_name[rival]
                    ends = one.interval[k, -1]
                    row.append(f"{percent(one.estimate[k, -1], 2)} {_ends(ends)}")
            one = by_rival[PAIR]
            row += [
                f"{percent(one.estimate[k, g], 2)} {_ends(one.interval[k, g])}"
                for g in _PRINTED[:3]
            ]
            one = by_rival[LARGEST]
            row.append(
                f"{percent(one.estimate[k, len(FRACTIONS) - 1], 2)} "
                f"{_ends(one.interval[k, len(FRACTIONS) - 1])}"
            )
            row.append(_nearly(numbers, setting.title, k))
            rows.append(row)
    compared = list(numbers.differences.values())
    header = (
        "questions, choice",
        *(f"over {rival}, same budget" for rival in RIVALS[:3]),
        *(f"over {rival}, equal cost" for rival in AT_EQUAL_COST),
        *(f"over {PAIR}, {_at(FRACTIONS[g])}" for g in _PRINTED[:3]),
        f"over {LARGEST}, 100 %",
        "within a point of it from (%)",
    )
    return Section(
        title="Does a chain beat the best pair?",
        blocks=[
            "What any chain is more accurate than its rivals within the same budget, "
            "mean over budgets:",
            "\n".join(
                _summary(rival, [by.within[rival] for by in compared])
                for rival in RIVALS[:3]
            ),
            _spending(numbers),
            "At equal cost, that is against what a rival is worth at the cost that the "
            "chain comes to on the questions judged on (in order of their costs there, "
            "between the two neighbours of the rival's choices, or always the largest, "
            "chance decides: a freedom that the chain has not):",
            "\n".join(
                _summary(rival, [by.at_equal_cost[rival] for by in compared])
                for rival in AT_EQUAL_COST
            ),
            "In points, with paired bootstrap intervals of 95 % over questions; a "
            "question that random halves judge several times counts with its mean. "
            "The first six columns are means over budgets, the next three are at one "
            "budget. The last is the least budget, as a share of always asking the "
            f"largest model, with which a chain loses {percent(_LITTLE)} point at most "
            "against it.",
            table(header, rows),
        ],
        numbers=numbers.differences,
    )


def _spending(numbers: Numbers) -> str:
    """What a chain spends, against a random mix with the same budgets."""
    judged = [
        numbers.judged[setting.title, numbers.num_bins] for setting in numbers.settings
    ]
    more = np.array(
        [np.nanmean(by[CHAIN].cost - by[MIX].cost, axis=-1) for by in judged]
    )
    over = np.array([_exceeded(by[CHAIN].over) for by in judged])
    worst = np.array([np.nanmax(by[CHAIN].over, axis=-1) for by in judged])
    setting, criterion = np.unravel_index(worst.argmax(), worst.shape)
    return (
        f"They do not spend the same: of {more.size} means a chain costs more than a "
        f"random mix in {np.sum(more > 0)} and less in {np.sum(more < 0)}, "
        f"by {percent(more.min())} to {percent(more.max())} points of always asking "
        "the largest model. A budget is kept where it was chosen, not where it is "
        f"judged: of {len(FRACTIONS)} budgets chains exceed {over.min()} to "
        f"{over.max()} there, the worst "
        f"({numbers.settings[setting].title}, by {CRITERIA[criterion]}) by "
        f"{percent(worst.max())} %."
    )


def _exceeded(over: np.ndarray) -> np.ndarray:
    """How many budgets are, along the last axis."""
    return np.sum(over > _EXCEEDED, axis=-1)


def _every_pair(numbers: Numbers) -> Section:
    blocks, best = [], []
    for setting in numbers.settings:
        compared, judged = (
            by[setting.title] for by in (numbers.differences, numbers.pairs)
        )
        rows = []
        for name, one in compared.pairs.items():
            row = [name, np.sum(np.isfinite(one.estimate[0, :-1]))]
            for k in range(len(CRITERIA)):
                row += [
                    percent(_mean_of(judged[name].accuracy[k])),
                    percent(_mean_of(judged[name].cost[k])),
                    f"{percent(one.estimate[k, -1], 2)} {_ends(one.interval[k, -1])}",
                ]
            rows.append(row)
        places = [
            [_where(one.interval[k, -1]) for k in range(len(CRITERIA))]
            for one in compared.pairs.values()
            if np.isfinite(one.estimate[:, -1]).all()
        ]
        best += [place for pair in places for place in pair]
        header = (
            "pair",
            "budgets",
            *(
                f"{part}, by {criterion}"
                for criterion in CRITERIA
                for part in ("accuracy", "cost", "any chain over it")
            ),
        )
        blocks += [f"### {setting.title}", table(header, rows)]
    counts = ", ".join(
        f"{place} 0 in {best.count(place)}" for place in ("above", "around", "below")
    )
    return Section(
        title="Against every single pair",
        blocks=[
            "Each pair alone, with its best K within each budget. Accuracy, cost and "
            "the difference of any chain within the same budget (points, paired "
            "intervals of 95 %) are means over those budgets within which the pair has "
            "a choice, whose number is given: a chain need not be of these two models, "
            "so that it may take the better of other pairs, too, at each. Of "
            f"{len(best)} intervals {counts}.",
            *blocks,
        ],
        numbers=numbers.pairs,
    )


def _mean_of(values: np.ndarray) -> float:
    """Over budgets with a choice; NaN without any."""
    some = values[np.isfinite(values)]
    return float(some.mean()) if len(some) else np.nan


def _ends(ends: np.ndarray) -> str:
    return interval(*ends, 2, 100.0)


def _budgets(numbers: Numbers) -> Section:
    blocks = [
        "Accuracy (%) within a budget, the mean over all budgets within which every "
        "split has a choice, and the mean cost as a share of always asking the largest "
        "model (%); then how many of these budgets the mean cost exceeds on the "
        "questions judged on, and by how much of the budget at most (%; negative where "
        "none is reached).",
    ]
    figures = {}
    for setting, singles in zip(numbers.settings, numbers.singles, strict=True):
        judged = numbers.judged[setting.title, numbers.num_bins]
        rows = []
        for family, one in judged.items():
            several = family not in (SINGLE, LARGEST)
            for k, criterion in enumerate(CRITERIA if several else CRITERIA[:1]):
                rows.append(
                    [
                        f"{family}, by {criterion}" if several else family,
                        *(percent(one.accuracy[k, g]) for g in _PRINTED),
                        percent(np.nanmean(one.accuracy[k])),
                        percent(np.nanmean(one.cost[k])),
                        *(
                            ("-", "-")
                            if family == LARGEST
                            else (
                                _exceeded(one.over[k]),
                                percent(np.nanmax(one.over[k])),
                            )
                        ),
                    ]
                )
        header = (
            "family",
            *(_at(FRACTIONS[g]) for g in _PRINTED),
            "mean",
            "mean cost",
            "budgets exceeded",
            "by at most",
        )
        hidden = left_out(setting, judged, singles)
        caption = (
            f"{setting.title}: accuracy against cost, chosen by labels on "
            f"{setting.num_chosen_on} questions, judged on {setting.num_judged_on}."
        )
        if hidden:
            names = ", ".join(f"{name} at {percent(y)} %" for name, y in hidden.items())
            caption += f" Below what is shown, alone: {names}."

        def draw(
            dark: bool,
            setting: Setting = setting,
            judged: Mapping[str, Judged] = judged,
            singles: tuple[np.ndarray, np.ndarray] = singles,
        ) -> Figure:
            return draw_frontier(setting, judged, singles)

        figures[setting.name] = draw
        blocks += [
            f"### {setting.title}",
            table(header, rows),
            figure(setting.name, caption),
        ]
    return Section(
        title="Accuracy within a budget",
        blocks=blocks,
        figures=figures,
        numbers={
            f"{title}, {bins} bins": by_family
            for (title, bins), by_family in numbers.judged.items()
        },
    )


def _optimism(numbers: Numbers) -> Section:
    sizes = numbers.num_bins, numbers.few_bins
    rows, worst = [], {criterion: [] for criterion in CRITERIA}
    for setting in numbers.settings:
        row = [setting.title, setting.num_chosen_on]
        for size in sizes:
            judged = numbers.judged[setting.title, size]
            none = np.nanmean(judged[LARGEST].optimism[0])
            if size == sizes[0]:
                row.append(percent(none, 2))
            for family in (CHAIN, PAIR):
                for k, criterion in enumerate(CRITERIA):
                    off = np.nanmean(judged[family].optimism[k])
                    row.append(percent(off, 2))
                    if family == CHAIN and setting.name.endswith("-halves"):
                        worst[criterion].append(off)
        rows.append(row)
    header = (
        "questions",
        "to choose on",
        "no choice",
        *(
            f"{family} by {criterion}, {size} bins"
            for size in sizes
            for family in (CHAIN, PAIR)
            for criterion in CRITERIA
        ),
    )
    better = {
        size: sum(
            _mean(numbers, setting.title, size, 1)
            > _mean(numbers, setting.title, size, 0)
            for setting in numbers.settings
        )
        for size in sizes
    }
    finer = sum(
        _mean(numbers, setting.title, sizes[0], 0)
        > _mean(numbers, setting.title, sizes[1], 0)
        for setting in numbers.settings
    )
    of = len(numbers.settings)
    most = [percent(max(off, default=np.nan), 2) for off in worst.values()]
    return Section(
        title="How much better a choice looks than it is",
        blocks=[
            "Accuracy on the questions to choose on less that on the others, in "
            "points, mean over budgets. Always asking the largest model is no choice: "
            "what stands there is the difference between the questions themselves, "
            "large where the published split is of another make.",
            table(header, rows),
            f"On random halves a chain chosen by labels looks up to {most[0]} points "
            f"better than it is, by confidence up to {most[1]}. Choosing by confidence "
            f"is the more accurate of the two for {better[sizes[0]]} of {of} kinds of "
            f"questions with {sizes[0]} bins, and for {better[sizes[1]]} with "
            f"{sizes[1]}; by labels {sizes[0]} bins are more accurate than {sizes[1]} "
            f"for {finer} of {of}.",
        ],
    )


def _mean(numbers: Numbers, title: str, size: int, criterion: int) -> float:
    return float(np.nanmean(numbers.judged[title, size][CHAIN].accuracy[criterion]))


def _abstaining(numbers: Numbers) -> Section:
    # Of all budgets the chain's table and figure have two.
    places = _PRINTED[1], _PRINTED[2]
    rows = []
    for setting, chain, alone in zip(
        numbers.settings, numbers.chain, numbers.alone, strict=True
    ):
        for w, worth in enumerate(WORTHS):
            row = [f"{setting.title}, {worth}"]
            for one, g in ((alone, 0), *((chain, g) for g in places)):
                row += [
                    percent(part[w, g])
                    for part in (one.coverage, one.accuracy, one.cost)
                ]
            rows.append(row)
    names = (LARGEST, *(f"chain, {_at(FRACTIONS[g])}" for g in places))
    header = (
        "questions, worth of no answer",
        *(
            f"{name}: {part}"
            for name in names
            for part in ("answered", "right", "cost")
        ),
    )
    figures, blocks = {}, []
    for setting, chain, alone in zip(
        numbers.settings, numbers.chain, numbers.alone, strict=True
    ):
        if not setting.name.endswith("-halves"):
            continue
        name = f"abstaining-{setting.name}"

        def draw(
            dark: bool, chain: Abstained = chain, alone: Abstained = alone
        ) -> Figure:
            return draw_coverage(chain, alone, {_at(FRACTIONS[g]): g for g in places})

        figures[name] = draw
        blocks.append(
            figure(name, f"{setting.title}: accuracy of the answers against coverage.")
        )
    return Section(
        title="Abstaining",
        blocks=[
            "No answer is one more model at the end, of the worth given and of no "
            "price. Chains of one or two models before it, chosen by confidence for "
            "the highest mean worth within a budget, and the largest model alone with "
            "no limit. Share answered, accuracy of these answers, and "
            "mean cost of a question over that of always asking the largest model (%).",
            table(header, rows),
            *blocks,
        ],
        figures=figures,
        numbers={
            setting.title: {"chain": chain, "alone": alone}
            for setting, chain, alone in zip(
                numbers.settings, numbers.chain, numbers.alone, strict=True
            )
        },
    )
