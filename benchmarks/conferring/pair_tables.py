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

# A loss of accuracy, or a gain, that is noticed.
LOSS = 0.001
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

    def change(self) -> np.ndarray:
        """Of the cascade's accuracy, by the arbiter."""
        return self.of("cascade") - self.of("paper")


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
        "worst": min(pair.gain("arbiter").mean() for pair in pairs),
        "both": _both(pairs),
        "cascades": _cascade(pairs),
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
    return bool(np.all(pair.of("large") - pair.of("small") >= 0.01))


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
        shown = percent(np.mean([pair.of("helps").mean() for pair in inside]), 0)
        rows.append([span, len(inside), *gains, shown])
    header = ["points apart", "pairs", "paper's best K", "surer", "arbiter"]
    header += ["cascade with arbiter", "either is right", "rule used (%)"]
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
