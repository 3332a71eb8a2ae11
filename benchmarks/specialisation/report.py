"""RESULTS.md, results.json and the figures."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Draw, interval, number, spread, table, thousands

from .real import Judged
from .runs import COMPARISONS, Compared

Trained = Sequence[Mapping[str, Compared]]  # One repetition each.

_LEVEL = 0.05
_ONE, _TWO = "one architecture", "two architectures"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the real pairs and of the networks.

    Attributes:
      pairs: real pairs.
      trained: by repetition and comparison.
      num_halves: random halves of a task, at most.
      num_draws: draws of a p-value.
      num_train: digits that a network is trained on.
    """

    pairs: Sequence[Judged]
    trained: Trained
    num_halves: int
    num_draws: int
    num_train: int

    def text(self) -> str:
        pairs, trained = self.pairs, self.trained
        num_runs = len(trained[0][_ONE].gains.gains) // 2
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            level=_LEVEL,
            num_pairs=len(pairs),
            num_told=sum(_least(one) <= _LEVEL for one in pairs),
            num_repeats=len(trained),
            **_makeup([one for one in pairs if one.interval[0] > 0]),
            **_architectures(trained),
            exceeding=sum(one.swapped >= one.gain[0] for one in pairs),
            part_table=_parts(pairs),
            num_halves=self.num_halves,
            halves_table=_halves(pairs),
            num_draws=self.num_draws,
            test_table=_tests(pairs),
            reversed_table=_reversed(pairs),
            num_runs=num_runs,
            num_train=self.num_train,
            # Each way has the same difference as its mirror image.
            ways=math.comb(2 * num_runs, num_runs),
            run_table=_runs(trained),
            digit_table=_digits(trained),
            told_apart=_told_apart(trained, _ONE),
        )

    def figures(self) -> dict[str, Draw]:
        return {
            "parts": lambda dark: _draw_parts(self.pairs),
            "runs": lambda dark: _draw_runs(self.trained),
        }


def _makeup(gaining: Sequence[Judged]) -> dict[str, Any]:
    """The share of each part in the pairs that gain, by both denominators."""
    if not gaining:
        return {"num_gaining": 0}
    parts = np.array([_first_parts(one) for one in gaining])
    handicap, special, chance = parts.T
    shares = special / np.stack([special + chance, parts.sum(axis=1)])
    return {
        "num_gaining": len(gaining),
        "shares": shares,
        "above": (shares > 0.5).sum(axis=1),
        "more_chance": np.sum(chance > special),
        "without_specialisation": np.sum(handicap + chance > 0),
        "without_chance": np.sum(handicap + special > 0),
        "more_reversed": sum(_more_reversed(one) for one in gaining),
    }


def _architectures(trained: Trained) -> dict[str, Any]:
    """Numbers on whether two architectures gain beyond two runs of one."""
    handicap, special, chance = _run_parts(trained, _ONE)
    gains = [repeat[_TWO].gains for repeat in trained]
    return {
        "run_share": special / (special + chance),
        "net_run_share": special / (handicap + special + chance),
        "differences": [
            f"{_points(one.difference)} (p {number(one.p_value)})" for one in gains
        ],
        "num_shown": sum(float(one.p_value) <= _LEVEL for one in gains),
    }


def _points(values: np.ndarray | float) -> str:
    return number(np.mean(values), 2, 100.0)


def _least(one: Judged) -> float:
    """The least p-value of a pair, times the number of groupings."""
    return float(one.interaction_p_value.min()) * len(one.groupings)


def _most_special(one: Judged) -> int:
    """The grouping with the most specialisation."""
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


def _parts(pairs: Sequence[Judged]) -> str:
    return table(
        [
            ("pair", lambda one: one.pair),
            ("first (%)", lambda one: _points(one.first[0])),
            ("second (%)", lambda one: _points(one.second[0])),
            ("gain", lambda one: _points(one.gain[0])),
            ("95 % interval", lambda one: interval(one.interval, 2, 100.0)),
            ("handicap", lambda one: _points(one.handicap[0])),
            (
                "specialisation",
                lambda one: _points(one.specialisation[_most_special(one), 0]),
            ),
            (
                "95 % interval",
                lambda one: interval(
                    one.special_interval[_most_special(one)], 2, 100.0
                ),
            ),
            ("by", lambda one: one.groupings[_most_special(one)]),
            ("chance", lambda one: _points(one.chance[_most_special(one), 0])),
            ("changing places", lambda one: _points(one.swapped)),
        ],
        pairs,
    )


def _halves(pairs: Sequence[Judged]) -> str:
    def cell(values: np.ndarray) -> str:
        return spread(values, 2, 100.0) if len(values) > 1 else _points(values)

    return table(
        [
            ("pair", lambda one: one.pair),
            ("halves", lambda one: len(one.gain)),
            ("gain", lambda one: cell(one.gain)),
            ("handicap", lambda one: cell(one.handicap)),
            (
                "specialisation",
                lambda one: cell(one.specialisation[_most_special(one)]),
            ),
            ("chance", lambda one: cell(one.chance[_most_special(one)])),
        ],
        pairs,
    )


def _tests(pairs: Sequence[Judged]) -> str:
    def of_group(
        name: str, cell: Callable[[Judged, int], str]
    ) -> Callable[[Judged], str]:
        def found(one: Judged) -> str:
            if name not in one.groupings:
                return ""
            return cell(one, one.groupings.index(name))

        return found

    columns: list[tuple[str, Callable[[Judged], str]]] = [
        ("pair", lambda one: one.pair),
        ("rows", lambda one: thousands(one.num_rows)),
        ("differ", lambda one: thousands(one.num_discordant)),
        ("p of routing", lambda one: number(one.routing_p_value)),
    ]
    for name in dict.fromkeys(name for one in pairs for name in one.groupings):
        columns += [
            (
                f"{name}: p",
                of_group(name, lambda one, by: number(one.interaction_p_value[by])),
            ),
            (
                "points",
                of_group(name, lambda one, by: _points(one.specialisation[by])),
            ),
        ]
    return table(columns, pairs)


def _reversed(pairs: Sequence[Judged]) -> str:
    return table(
        [
            ("pair", lambda one: one.pair),
            ("by", lambda one: one.groupings[_most_special(one)]),
            ("unequal", lambda one: thousands(one.num_unequal[_most_special(one)])),
            (
                "worse is better",
                lambda one: thousands(one.num_reversed[_most_special(one)]),
            ),
            (
                "shuffled",
                lambda one: f"{one.reversed_by_chance[_most_special(one)]:,.1f}",
            ),
        ],
        pairs,
    )


def _run_parts(trained: Trained, name: str) -> tuple[float, float, float]:
    """Mean parts of the gain, over the pairs of runs of a comparison."""
    found = [repeat[name].pairs for repeat in trained]
    return (
        float(np.mean([one.handicap for one in found])),
        float(np.mean([one.specialisation.estimate for one in found])),
        float(np.mean([one.chance for one in found])),
    )


def _runs(trained: Trained) -> str:
    return table(
        [
            ("", lambda row: row[0]),
            ("first (%)", lambda row: number(row[1].accuracy[0], 1, 100.0)),
            ("second (%)", lambda row: number(row[1].accuracy[1], 1, 100.0)),
            ("within first", lambda row: _points(row[1].gains.within_first)),
            ("within second", lambda row: _points(row[1].gains.within_second)),
            ("across", lambda row: _points(row[1].gains.across)),
            ("difference", lambda row: _points(row[1].gains.difference)),
            ("p", lambda row: number(row[1].gains.p_value)),
        ],
        [(name, repeat[name]) for name in COMPARISONS for repeat in trained],
    )


def _told_apart(trained: Trained, name: str) -> np.floating:
    """Share of pairs of runs with a small p-value."""
    pairs = [repeat[name].pairs for repeat in trained]
    p_values = np.concatenate([one.interaction_p_value.ravel() for one in pairs])
    return (p_values <= _LEVEL).mean()


def _digits(trained: Trained) -> str:
    return table(
        [
            ("", lambda name: name),
            *(
                (part, lambda name, k=k: _points(_run_parts(trained, name)[k]))
                for k, part in enumerate(("handicap", "specialisation", "chance"))
            ),
            (
                "p small (%)",
                lambda name: report.percent(_told_apart(trained, name), 0),
            ),
        ],
        COMPARISONS,
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
    # Bars on both sides of 0 are stacked separately.
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
