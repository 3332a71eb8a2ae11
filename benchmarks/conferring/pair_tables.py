"""Tables and the figure of pairs that confer."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Section, number, percent, spread

from . import classifiers
from .pairs import REACH, TUNED, Judged

# A loss of accuracy, or a gain, that is noticed; likewise of APGR and of calls.
LOSS, _APGR, _CALLS = 0.001, 0.01, 0.01
# Gaps between the two models, in accuracy.
_GAPS = (0.0, 0.02, 0.05, 0.1, 1.0)
_PICTURED = {
    "imagenet": ("SENet-154", "ViT-B/16"),
    "cifar100": ("DenseNet-BC-100", "WRN-16-4"),
    "emotion": ("Qwen 1.8B", "Qwen 14B"),
}


class Pair(NamedTuple):
    """One pair of a task."""

    task: str
    judged: Judged
    place: int

    @property
    def title(self) -> str:
        return f"{self.judged.title}: {' + '.join(self.judged.pairs[self.place])}"

    def of(self, name: str) -> np.ndarray:
        """A number of the pair, for each split."""
        return np.asarray(getattr(self.judged, name), np.float64)[:, self.place]

    def gain(self, name: str) -> np.ndarray:
        """An accuracy above that of the better model."""
        return self.of(name) - self.of("better")

    @property
    def listed(self) -> bool:
        """Whether it has a row in the tables."""
        return bool(self.judged.listed[self.place])

    def change(self) -> np.ndarray:
        """Of the cascade's accuracy, by the arbiter."""
        return self.of("cascade") - self.of("paper")

    def calls(self) -> float:
        """Change of the share of large-model calls by the arbiter, mean over splits."""
        return float((self.of("cascade_asked") - self.of("paper_asked")).mean())

    def recovered(self) -> float:
        """Change of APGR by the arbiter, mean over splits."""
        return float((self.of("recovered") - self.of("paper_recovered")).mean())


def every(judged: Mapping[str, Judged]) -> list[Pair]:
    return [
        Pair(name, task, place)
        for name, task in judged.items()
        for place in range(len(task.pairs))
    ]


def describe(judged: Mapping[str, Judged], num_splits: int) -> Section:
    """What the arbiter is worth: where both are asked, and in a cascade."""
    found = every(judged)
    pictured = [pair for pair in found if _is_pictured(pair)]
    groups = []
    for title, holds in _GROUPS.items():
        pairs = [pair for pair in found if holds(pair.task)]
        if pairs:
            groups.append(_group(title, pairs))
    return report.section(
        Path(__file__).with_name("templates") / "pairs.md.jinja",
        stored=None,
        figures={"conferring": functools.partial(_draw, pictured)} if pictured else {},
        num_pairs=len(found),
        num_splits=num_splits,
        num_train=classifiers.NUM_TRAIN,
        reach=REACH,
        loss=LOSS,
        gap_table=_by_gap(found),
        groups=groups,
        num_better=sum(pair.change().mean() > LOSS for pair in found),
        cost=_cost(found),
        num_rest=sum(not pair.listed for pair in found),
        rest_table=_rest([pair for pair in found if not pair.listed]),
        worse=[
            f"{pair.title} ({_spread(pair.change())})"
            for pair in found
            if pair.change().mean() < -LOSS
        ],
    )


_GROUPS: Mapping[str, Callable[[str], bool]] = {
    "tasks that the guard was chosen on": lambda task: task in TUNED,
    "other tasks": lambda task: task not in (*TUNED, classifiers.NAME),
    "classifiers trained here": lambda task: task == classifiers.NAME,
}


def _group(title: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """What the template needs of some tasks: gains are means over pairs."""
    gains = {
        name: np.mean([pair.gain(name).mean() for pair in pairs])
        for name in ("paper", "surer", "arbiter", "cascade")
    }
    return gains | {
        "title": title,
        "tasks": list(dict.fromkeys(pair.judged.title for pair in pairs)),
        "num_pairs": len(pairs),
        "worst": min(pair.change().mean() for pair in pairs),
        "both": _both([pair for pair in pairs if pair.listed]),
        "cascades": _cascade([pair for pair in pairs if pair.listed]),
    }


def _rest(pairs: Sequence[Pair]) -> str:
    """Pairs without a row in the other tables, by task."""
    rows = []
    for task in dict.fromkeys(pair.judged.title for pair in pairs):
        of_task = [pair for pair in pairs if pair.judged.title == task]
        change = [pair.change().mean() for pair in of_task]
        arbiter = [pair.gain("arbiter").mean() for pair in of_task]
        used = np.mean([pair.of("helps").mean() for pair in of_task])
        rows.append(
            [
                task,
                len(of_task),
                percent(used, 0),
                f"{percent(np.mean(arbiter), 2)} ({percent(min(arbiter), 2)})",
                f"{percent(np.mean(change), 2)} ({percent(min(change), 2)})",
                sum(one > LOSS for one in change),
                sum(one < -LOSS for one in change),
                percent(np.mean([pair.calls() for pair in of_task]), 1),
            ]
        )
    header = ["task", "pairs", "rule used (%)", "arbiter, both asked (worst)"]
    header += ["change of the cascade (worst)", f"over {percent(LOSS)} better"]
    header += [f"over {percent(LOSS)} worse", "more large calls (points)"]
    return report.grid(header, rows) if rows else ""


_ASKED = "paper_asked", "cascade_asked"


def _cost(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What an arbiter costs: calls of the large model, and APGR where it falls."""
    used = [pair for pair in pairs if pair.of("helps").any()]
    more = [pair for pair in pairs if pair.calls() > _CALLS]
    with_gap = [pair for pair in pairs if _has_gap(pair)]
    lower = [pair for pair in with_gap if pair.recovered() < -_APGR]
    return {
        "least_calls": _CALLS,
        "least_apgr": _APGR,
        "asked": [
            [np.mean([pair.of(name).mean() for pair in some]) for name in _ASKED]
            for some in (pairs, used)
            if some
        ],
        "dearest": max(pairs, key=Pair.calls),
        "num_more": len(more),
        "num_fewer": sum(pair.calls() < -_CALLS for pair in pairs),
        "num_in_vain": sum(pair.change().mean() <= LOSS for pair in more),
        "num_used": len(used),
        "num_same": sum(abs(pair.change().mean()) <= LOSS for pair in pairs),
        "num_with_gap": len(with_gap),
        "num_falls": sum(pair.recovered() < -_APGR / 10 for pair in with_gap),
        "num_lower": len(lower),
        "num_lower_better": sum(pair.change().mean() > LOSS for pair in lower),
        "num_higher": sum(pair.recovered() > _APGR for pair in with_gap),
        "lowest": min(with_gap, key=Pair.recovered, default=None),
    }


def _is_pictured(pair: Pair) -> bool:
    wanted = _PICTURED.get(pair.task, ())
    return sorted(pair.judged.pairs[pair.place]) == sorted(wanted)


def _spread(values: np.ndarray) -> str:
    return spread(values, 2, 100.0)


def _both(pairs: Iterable[Pair]) -> str:
    def gain(name: str) -> Callable[[Pair], str]:
        return lambda pair: _spread(pair.gain(name))

    return report.table(
        [
            ("pair", lambda pair: pair.title),
            ("decisive rows", lambda pair: number(pair.of("num_decisive").mean(), 0)),
            ("small (%)", lambda pair: percent(pair.of("small").mean())),
            ("large (%)", lambda pair: percent(pair.of("large").mean())),
            ("paper's best K", gain("paper")),
            ("surer", gain("surer")),
            ("arbiter", gain("arbiter")),
            ("either is right", lambda pair: percent(pair.gain("either").mean(), 2)),
            ("rule used (%)", lambda pair: percent(pair.of("helps").mean(), 0)),
        ],
        pairs,
    )


def _cascade(pairs: Iterable[Pair]) -> str:
    def mean(name: str, digits: int = 2) -> Callable[[Pair], str]:
        return lambda pair: percent(pair.of(name).mean(), digits)

    def recovered(name: str) -> Callable[[Pair], str]:
        return lambda pair: spread(pair.of(name), 2) if _has_gap(pair) else "-"

    return report.table(
        [
            ("pair", lambda pair: pair.title),
            ("paper (%)", mean("paper")),
            ("with arbiter (%)", mean("cascade")),
            ("difference", lambda pair: _spread(pair.change())),
            ("large calls: paper (%)", mean("paper_asked", 0)),
            ("with arbiter (%)", mean("cascade_asked", 0)),
            ("APGR: paper", recovered("paper_recovered")),
            ("with arbiter", recovered("recovered")),
        ],
        pairs,
    )


def _has_gap(pair: Pair) -> bool:
    """Whether the large model is a point better in every split: APGR divides by it."""
    # Stored numbers have six digits.
    return bool(np.all(pair.of("large") - pair.of("small") >= 0.01 - 1e-6))


def _by_gap(pairs: Iterable[Pair]) -> str:
    """Mean gains of pairs by how far apart the two models are."""
    apart = [
        (abs((pair.of("large") - pair.of("small")).mean()), pair) for pair in pairs
    ]
    rows = []
    for low, high in zip(_GAPS[:-1], _GAPS[1:], strict=True):
        inside = [pair for gap, pair in apart if low <= gap < high]
        if not inside:
            continue
        span = f"{percent(low, 0)} to {percent(high, 0)}"
        gains = [
            percent(np.mean([pair.gain(name).mean() for pair in inside]), 2)
            for name in ("paper", "surer", "arbiter", "cascade", "either")
        ]
        shown, *asked = (
            percent(np.mean([pair.of(name).mean() for pair in inside]), 0)
            for name in ("helps", "paper_asked", "cascade_asked")
        )
        rows.append([span, len(inside), *gains, shown, *asked])
    header = ["points apart", "pairs", "paper's best K", "surer", "arbiter"]
    header += ["cascade with arbiter", "either is right", "rule used (%)"]
    header += ["large calls: paper (%)", "with arbiter (%)"]
    return report.grid(header, rows)


def _draw(pairs: Sequence[Pair], dark: bool) -> Figure:
    drawn = Figure(figsize=(7.0, 2.5), layout="constrained")
    panels = drawn.subplots(1, len(pairs), squeeze=False)[0]
    for axes, pair in zip(panels, pairs, strict=True):
        task, place = pair.judged, pair.place
        curves = {
            "paper": (task.paper_shares[place], task.paper_accuracies[place], "o"),
            "with arbiter": (task.shares[place], task.accuracies[place], "s"),
        }
        for colour, (name, (share, accuracy, marker)) in enumerate(curves.items(), 1):
            axes.plot(
                100 * share,
                100 * accuracy,
                f"{marker}-",
                color=f"C{colour}",
                fillstyle="none" if colour == 1 else "full",
                markersize=3.0,
                linewidth=1.0,
                label=name,
            )
        for name in ("small", "large"):
            axes.axhline(100 * pair.of(name).mean(), color="0.5", linewidth=0.7)
        axes.set_title(pair.title.replace(": ", ":\n"), fontsize="small")
    panels[0].set_ylabel("Accuracy (%)")
    drawn.supxlabel("Calls of the large model (%)", fontsize="small")
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=2)
    return drawn
