"""RESULTS.md, results.json and the figures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit.report import (
    Section,
    figure,
    interval,
    number,
    spread,
    table,
    write,
)
from calib_jax import plots

from .real import Judged
from .runs import COMPARISONS, Compared

Trained = Sequence[Mapping[str, Compared]]  # A repetition each.

_LEVEL = 0.05

_METHOD = """\
The gain of a cascade over the better of its two models is a sum of three parts.
*Handicap*: what asking the worse model costs, as if it were worse everywhere alike.
*Specialisation*: what is gained by sending groups of examples to the model that is
better at them relative to its overall odds; there it may still be the worse one, only
less so. *Chance*: what confidence tells of examples within a group, as it does
of two training runs whose errors fall differently. Points of accuracy on rows that
neither the fits nor the choice of K have seen."""


def write_results(
    folder: Path,
    pairs: Sequence[Judged],
    trained: Trained,
    num_halves: int,
    num_draws: int,
    num_train: int,
) -> None:
    """Writes what came of the real pairs and of the networks."""
    preface = [
        "# Why two large models beat either",
        "Written by `python -m benchmarks.specialisation`; nothing here is typed by "
        "hand. The numbers behind the tables are in `results.json`.",
        _METHOD,
        _answer(pairs, trained),
    ]
    sections = [_parts(pairs, num_halves), _tests(pairs, num_draws)]
    write(folder, preface, [*sections, _runs(trained, num_draws, num_train)])


def _answer(pairs: Sequence[Judged], trained: Trained) -> str:
    """What the numbers say, in words."""
    gaining = [one for one in pairs if one.interval[0] > 0]
    told = [one for one in pairs if _least(one) <= _LEVEL]
    text = (
        f"Of {len(pairs)} real pairs {len(gaining)} gain: on the first test half their "
        "95 % interval, each by itself, is above 0. "
    )
    if gaining:
        text += _makeup(gaining)
    handicap, special, chance = _run_parts(trained, "one architecture")
    return text + (
        f"That the odds differ between groups at all is shown (p up to {_LEVEL}, times "
        f"the number of groupings) for {len(told)} of {len(pairs)} pairs. Of networks "
        "trained here, two runs of one architecture have "
        f"{_percent(special / (special + chance))} % of what they gain before the "
        f"handicap from specialisation by digit, which is "
        f"{_percent(special / (handicap + special + chance))} % of the net gain, so "
        "that groups alone do not show that it takes two architectures. "
        f"{_architectures(trained)}"
    )


def _makeup(gaining: Sequence[Judged]) -> str:
    """Of the pairs that gain, what part each makes, by both denominators."""
    parts = np.array([_first_parts(one) for one in gaining])
    handicap, special, chance = parts.T
    shares = special / np.stack([special + chance, parts.sum(axis=1)])
    above = (shares > 0.5).sum(axis=1)
    several = len(gaining)
    text = (
        "What specialisation makes of these gains, by whichever grouping shows most, "
        "depends on what it is divided by. On the same half, of specialisation and "
        "chance together, the gain before the handicap, it is between "
        f"{_percent(shares[0].min())} and "
        f"{_percent(shares[0].max())} %, more than half for {above[0]} of {several}; "
        f"of the net gain, after the handicap, between {_percent(shares[1].min())} and "
        f"{_percent(shares[1].max())} %, more than half for {above[1]} of {several}. "
    )
    if (2 * above < several).all():
        text += "So by either chance is most of it, as far as these groups show: "
    elif (2 * above > several).all():
        text += "So by either specialisation is most of it: "
    else:
        text += "So neither part is most of it by both; what holds by either: "
    return text + (
        f"chance is the larger of the two for {np.sum(chance > special)} of {several}; "
        f"less specialisation {np.sum(handicap + chance > 0)} of {several} would still "
        f"gain, less chance {np.sum(handicap + special > 0)}. The model that is worse "
        "overall is the better one in more of the groups than if these were shuffled "
        f"for {sum(_more_reversed(one) for one in gaining)} of {several} (section 2): "
        "specialisation can be a matter of how much worse it is. "
    )


def _architectures(trained: Trained) -> str:
    """Whether two architectures gain beyond two runs of one."""
    gains = [repeat["two architectures"].gains for repeat in trained]
    shown = [f"{_points(one.difference)} (p {number(one.p_value)})" for one in gains]
    small = sum(float(one.p_value) <= _LEVEL for one in gains)
    if small == len(gains):
        verdict = "shown in each"
    elif small == 0:
        verdict = "shown in none"
    else:
        verdict = f"mixed, shown in {small} of {len(gains)}"
    return (
        "Whether two architectures gain beyond two runs of one: the differences in "
        f"points are {', '.join(shown)}, one a repetition; at level {_LEVEL} "
        f"{verdict}."
    )


def _percent(share: float) -> str:
    return number(share, 0, 100.0)


def _points(values: np.ndarray | float) -> str:
    return number(np.mean(values), 2, 100.0)


def _least(one: Judged) -> float:
    """The least p-value of a pair, times the number of groupings."""
    return float(one.interaction_p_value.min()) * len(one.groupings)


def _most_special(one: Judged) -> int:
    """The grouping that shows most specialisation."""
    return int(np.argmax(one.specialisation.mean(axis=1)))


def _more_reversed(one: Judged) -> bool:
    by = _most_special(one)
    return bool(one.num_reversed[by] > one.reversed_by_chance[by])


def _first_parts(one: Judged) -> tuple[float, float, float]:
    """Handicap, specialisation and chance on the first half."""
    by = _most_special(one)
    return (
        float(one.handicap[0]),
        float(one.specialisation[by, 0]),
        float(one.chance[by, 0]),
    )


def _parts(pairs: Sequence[Judged], num_halves: int) -> Section:
    rows, over_halves = [], []
    for one in pairs:
        by = _most_special(one)
        rows.append(
            [
                one.pair,
                number(one.first[0], 2, 100.0),
                number(one.second[0], 2, 100.0),
                _points(one.gain[0]),
                interval(*one.interval, 2, 100.0),
                _points(one.handicap[0]),
                _points(one.specialisation[by, 0]),
                interval(*one.special_interval[by], 2, 100.0),
                one.groupings[by],
                _points(one.chance[by, 0]),
                number(one.swapped, 2, 100.0),
            ]
        )
        parts = one.gain, one.handicap, one.specialisation[by], one.chance[by]
        several = len(one.gain) > 1
        over_halves.append(
            [
                one.pair,
                str(len(one.gain)),
                *(spread(x, 2, 100.0) if several else _points(x) for x in parts),
            ]
        )
    exceeding = sum(one.swapped >= one.gain[0] for one in pairs)
    header = [
        "pair",
        "first (%)",
        "second (%)",
        "gain",
        "",
        "handicap",
        "specialisation",
        "",
        "by",
        "chance",
        "changing places",
    ]
    caption = (
        "Gain of two large models over the better of them, and its parts by the "
        "grouping that shows most specialisation; means over the halves."
    )
    return Section(
        title="Real pairs",
        blocks=[
            "On the first test half, in points, with 95 % intervals. The grouping is "
            "the one that shows most specialisation on average over the halves, which "
            "favours that part: *class*, the "
            "given label; *others*, fifteen bins of the mean confidence of the other "
            "models of the task; *class, others*, classes crossed with five such bins; "
            "*others, right*, which of the other models are right crossed with five "
            "bins. *Changing places* is the mean gain if both models do so in every "
            "row with probability one half, which leaves no specialisation; it is at "
            f"least that of the pair for {exceeding} of {len(pairs)}, so that the gain "
            "alone says nothing of specialisation.",
            table(header, rows),
            f"Mean and standard deviation over up to {num_halves} random halves, "
            "fewer of large tasks. The halves share their rows: the deviation is no "
            "standard error.",
            table(
                ("pair", "halves", "gain", "handicap", "specialisation", "chance"),
                over_halves,
            ),
            figure("parts", caption),
        ],
        figures={"parts": lambda dark: _draw_parts(pairs)},
        numbers=pairs,
    )


def _tests(pairs: Sequence[Judged], num_draws: int) -> Section:
    names = list(dict.fromkeys(name for one in pairs for name in one.groupings))
    rows, favoured = [], []
    for one in pairs:
        row = [
            one.pair,
            f"{one.num_rows:,}",
            f"{one.num_discordant:,}",
            number(one.routing_p_value),
        ]
        for name in names:
            if name in one.groupings:
                by = one.groupings.index(name)
                shown = _points(one.specialisation[by])
                row += [number(one.interaction_p_value[by]), shown]
            else:
                row += ["", ""]
        rows.append(row)
        by = _most_special(one)
        favoured.append(
            [
                one.pair,
                one.groupings[by],
                f"{one.num_unequal[by]:,.0f}",
                f"{one.num_reversed[by]:,.0f}",
                f"{one.reversed_by_chance[by]:,.1f}",
            ]
        )
    header = ["pair", "rows", "differ", "p of routing"]
    for name in names:
        header += [f"{name}: p", "points"]
    return Section(
        title="Tests",
        blocks=[
            f"On the first test half, {num_draws} draws. The p-value of routing is of "
            "the hypothesis that who is right has nothing to do with the router's "
            "bins; those of groups that, where only one model is right, the odds are "
            "the same in all groups. Beside these the specialisation in points.",
            table(header, rows),
            "Specialisation needs no group in which the model that is worse overall "
            "is the better one. By the grouping that shows most: groups in which one "
            "model is right more often than the other, those of them in which it is "
            "the worse one, and how many these are on average if the rows on which "
            "the models differ are shuffled over the groups.",
            table(("pair", "by", "unequal", "worse is better", "shuffled"), favoured),
        ],
    )


def _run_parts(trained: Trained, name: str) -> tuple[float, float, float]:
    """Mean parts of what the pairs of runs of a comparison gain."""
    found = [repeat[name].pairs for repeat in trained]
    return (
        float(np.mean([one.handicap for one in found])),
        float(np.mean([one.specialisation.estimate for one in found])),
        float(np.mean([one.chance for one in found])),
    )


def _runs(trained: Trained, num_draws: int, num_train: int) -> Section:
    rows, tested = [], []
    for name in COMPARISONS:
        for repeat in trained:
            one = repeat[name]
            gains = one.gains
            rows.append(
                [
                    name,
                    *(number(accuracy, 1, 100.0) for accuracy in one.accuracy),
                    _points(gains.within_first),
                    _points(gains.within_second),
                    _points(gains.across),
                    _points(gains.difference),
                    number(gains.p_value),
                ]
            )
        pairs = [repeat[name].pairs for repeat in trained]
        p_values = np.concatenate([one.interaction_p_value.ravel() for one in pairs])
        tested.append(
            [
                name,
                *(_points(part) for part in _run_parts(trained, name)),
                number((p_values <= _LEVEL).mean(), 0, 100.0),
            ]
        )
    num_runs = len(trained[0]["one architecture"].gains.gains) // 2
    ways = math.comb(2 * num_runs, num_runs)
    # Each way and its mirror image are as large.
    counted = (
        f"is the share of all {ways} ways to share the runs out, at least "
        f"{number(2 / ways)}"
        if ways <= num_draws
        else f"is of {num_draws} of {ways} ways to share the runs out"
    )
    single = {row[0]: row[4] for row in tested}
    caption = (
        "Gain of every ordered pair of training runs over the better of both, within "
        "either kind and across."
    )
    return Section(
        title="Training runs",
        blocks=[
            f"{num_runs} runs of each kind on {num_train} digits, in {len(trained)} "
            "repetitions with other digits: a small convolutional network twice over; "
            "it and a perceptron; it trained on all images of the low digits and an "
            "eighth of the others, and the reverse. Gains over the better run on the "
            "test half, in points, within either kind and across. The p-value "
            f"{counted}.",
            table(
                (
                    "",
                    "first (%)",
                    "second (%)",
                    "within first",
                    "within second",
                    "across",
                    "difference",
                    "p",
                ),
                rows,
            ),
            _architectures(trained),
            figure("runs", caption),
            "The same by `cascade_gain_test` of one run of each kind, groups being the "
            "digits: mean parts in points over all such pairs, and the share of them "
            f"whose p-value is up to {_LEVEL}.",
            table(
                ("", "handicap", "specialisation", "chance", "p small (%)"),
                tested,
            ),
            "Two runs of one architecture are not exchangeable digit by digit: the "
            f"test tells {single['one architecture']} % of them apart, since each run "
            "happens to be better at digits of its own. It is right about the two "
            "models and says nothing about their kind; the gains within and across do.",
        ],
        figures={"runs": lambda dark: _draw_runs(trained)},
        numbers=trained,
    )


def _draw_parts(pairs: Sequence[Judged]) -> Figure:
    drawn = Figure(figsize=(7.0, 0.34 * len(pairs) + 1.0), layout="constrained")
    axes = drawn.subplots()
    height = np.arange(len(pairs))[::-1]
    by = [_most_special(one) for one in pairs]
    parts = {
        "handicap": [one.handicap.mean() for one in pairs],
        "specialisation": [
            one.specialisation[k].mean() for one, k in zip(pairs, by, strict=True)
        ],
        "chance": [one.chance[k].mean() for one, k in zip(pairs, by, strict=True)],
    }
    # Bars to the right of 0 and to the left of it stand side by side.
    ends = np.zeros((2, len(pairs)))
    for place, (name, values) in enumerate(parts.items()):
        points = 100 * np.array(values)
        side = (points < 0).astype(int)
        start = ends[side, np.arange(len(pairs))]
        axes.barh(
            height,
            points,
            left=start,
            height=0.55,
            color=("0.75", "C1", "C0")[place],
            hatch=("", "", "////")[place],
            edgecolor=axes.get_facecolor(),
            linewidth=0.5,
            label=name,
        )
        ends[side, np.arange(len(pairs))] += points
    gains = 100 * np.array([one.gain.mean() for one in pairs])
    axes.plot(
        gains,
        height,
        "D",
        color="C2",
        markeredgecolor=axes.get_facecolor(),
        markersize=5.0,
        linestyle="none",
        label="gain",
    )
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_yticks(height, [one.pair for one in pairs])
    axes.set_xlabel("Points of accuracy over the better model")
    axes.grid(axis="y", visible=False)
    drawn.legend(loc="outside upper left", ncols=4)
    return drawn


def _draw_runs(trained: Trained) -> Figure:
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.6), layout="constrained")
    axes = drawn.subplots()
    rng = np.random.default_rng(0)
    for place, name in enumerate(COMPARISONS):
        gains = np.stack([100 * repeat[name].gains.gains for repeat in trained])
        first = np.arange(gains.shape[1]) < gains.shape[1] // 2
        same = first[:, None] == first[None]
        off = ~np.eye(len(first), dtype=bool)
        for kind, which in enumerate((same & off, ~same)):
            values = gains[:, which].ravel()
            places = place - 0.18 + 0.36 * kind + rng.uniform(-0.1, 0.1, len(values))
            axes.plot(
                values,
                places,
                "os"[kind],
                color=f"C{kind}",
                markerfacecolor=(axes.get_facecolor(), f"C{kind}")[kind],
                markersize=3.0,
                linestyle="none",
                label=None if place else ("within", "across")[kind],
            )
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xticks([-1, 0, 1, 3, 10], ["-1", "0", "1", "3", "10"])
    axes.set_yticks(range(len(COMPARISONS)), list(COMPARISONS))
    axes.set_ylim(len(COMPARISONS) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Gain over the better run (points)")
    largest = max(
        np.nanmax(one.gains.gains) for repeat in trained for one in repeat.values()
    )
    axes.set_xlim(right=max(1.0, 150 * float(largest)))
    drawn.legend(loc="outside upper left", ncols=2)
    return drawn
