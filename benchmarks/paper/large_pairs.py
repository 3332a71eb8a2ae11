"""Two large models together (Table 2), as given and on cleaned data."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import routing, text
from .large_pair_numbers import (
    CONDITIONS,
    NUM_REMOVALS,
    Cleaned,
    Numbers,
    TaskNumbers,
    num_top_bins,
)
from .large_pair_numbers import evaluate as evaluate
from .large_pair_numbers import num_steps as num_steps
from .study import Study


def describe(study: Study, numbers: Numbers) -> Section:
    """Table 2, as given and on cleaned data."""
    return text.section(
        "large_pairs",
        study,
        numbers,
        figures={"large-pairs": functools.partial(_draw, study, numbers)}
        if numbers
        else {},
        num_top_bins=num_top_bins(study.settings),
        num_removals=NUM_REMOVALS,
        accuracy_table=_accuracy_table(study, numbers),
        gain_table=_gain_table(study, numbers),
        cleaned_table=_cleaned_table(study, numbers),
        **(evidence(list(numbers.values())) if numbers else {}),
        **_cleaned_evidence([t.cleaned for t in numbers.values() if t.cleaned]),
    )


# The name of a pair, its task, and its index in the task.
_Pair = tuple[str, TaskNumbers, int]


def _each(study: Study, numbers: Numbers) -> Iterator[_Pair]:
    for name, task in numbers.items():
        for p, (first, second) in enumerate(task.pairs):
            yield f"{study.tasks[name].title}: {first} + {second}", task, p


def _accuracy_table(study: Study, numbers: Numbers) -> str:
    def spread(values: Callable[[TaskNumbers], np.ndarray]) -> Callable[[_Pair], str]:
        return lambda row: report.spread(values(row[1])[:, row[2]], 2, 100.0)

    def share(kind: int) -> Callable[[_Pair], str]:
        return lambda row: report.percent(row[1].first_share[:, kind, row[2]].mean(), 0)

    return report.table(
        [
            ("pair", lambda row: row[0]),
            ("first (%)", spread(lambda task: task.first)),
            ("second (%)", spread(lambda task: task.second)),
            ("UC (%)", spread(lambda task: task.cascade[:, 0])),
            ("CC (%)", spread(lambda task: task.cascade[:, 1])),
            ("either (%)", spread(lambda task: task.union)),
            ("share of first: UC (%)", share(0)),
            ("CC (%)", share(1)),
        ],
        _each(study, numbers),
    )


def _gain_table(study: Study, numbers: Numbers) -> str:
    def gain(kind: int) -> Callable[[_Pair], str]:
        return lambda row: report.spread(row[1].gain[:, kind, row[2]], 2, 100.0)

    def ends(kind: int) -> Callable[[_Pair], str]:
        return lambda row: report.interval(row[1].gain_interval[kind, row[2]], 2, 100.0)

    def beats(kind: int) -> Callable[[_Pair], str]:
        return lambda row: (
            f"{row[1].beats_both[:, kind, row[2]].sum()} of {len(row[1].first)}"
        )

    return report.table(
        [
            ("pair", lambda row: row[0]),
            ("UC", gain(0)),
            ("95 % interval", ends(0)),
            ("CC", gain(1)),
            ("95 % interval", ends(1)),
            ("CC − UC, 95 % interval", ends(2)),
            ("UC beats both", beats(0)),
            ("CC beats both", beats(1)),
        ],
        _each(study, numbers),
    )


def _cleaned_table(study: Study, numbers: Numbers) -> str:
    def mean(name: str) -> Callable[[tuple], str]:
        return lambda row: report.percent(
            getattr(row[1], name)[:, row[3], row[2]].mean(), 2
        )

    def spread(name: str) -> Callable[[tuple], str]:
        return lambda row: report.spread(
            getattr(row[1], name)[:, row[3], row[2]], 2, 100.0
        )

    return report.table(
        [
            ("pair", lambda row: row[0]),
            ("cleaned", lambda row: CONDITIONS[row[3]]),
            ("removed (%)", mean("removed")),
            ("first", mean("first")),
            ("second", mean("second")),
            ("cascade", mean("cascade")),
            ("gain", spread("gain")),
            ("net", spread("net_gain")),
        ],
        [
            (pair, task.cleaned, p, c)
            for pair, task, p in _each(study, numbers)
            if task.cleaned is not None
            for c in range(len(CONDITIONS))
            if not np.isnan(task.cleaned.removed[:, c, p]).all()
        ],
    )


def evidence(tasks: Sequence[TaskNumbers]) -> dict[str, Any]:
    """Evidence for the claim on data as given, over all pairs of all tasks."""
    gains = np.concatenate([task.gain.mean(axis=0) for task in tasks], axis=-1)
    ends = np.concatenate([task.gain_interval[1] for task in tasks])
    beaten = np.concatenate([task.beats_both.mean(axis=0) for task in tasks], axis=-1)
    return {
        "gains": gains,
        "total": gains.shape[1],
        "often": int(np.sum(beaten[1] > 0.5)),
        "surely": int(np.sum(ends[:, 0] > 0)),
        "surely_not": int(np.sum(ends[:, 1] < 0)),
    }


def _cleaned_evidence(cleaned: Sequence[Cleaned]) -> dict[str, Any]:
    """Evidence for the claim on cleaned data, over all pairs of all tasks."""
    if not cleaned:
        return {"cleaned": cleaned}
    gain = np.concatenate([one.gain.mean(axis=0) for one in cleaned], axis=-1)
    net = np.concatenate([one.net_gain.mean(axis=0) for one in cleaned], axis=-1)
    given, experts, people, random = gain
    return {
        "cleaned": cleaned,
        "given": given,
        "experts": experts,
        "people": people,
        "random": random,
        "net": net,
        "more": int(np.sum(experts > given)),
        "num_asked": int(np.sum(~np.isnan(people))),
    }


def _draw(study: Study, numbers: Numbers, dark: bool) -> Figure:
    pairs = list(_each(study, numbers))
    height = np.arange(len(pairs))[::-1]
    figure = Figure(figsize=(7.0, 0.34 * len(pairs) + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for kind, name in enumerate(routing.KINDS):
        gains = np.stack([100 * task.gain[:, kind, p] for _, task, p in pairs])
        left.errorbar(
            gains.mean(axis=1),
            height + 0.12 - 0.24 * kind,
            xerr=gains.std(axis=1),
            fmt="os"[kind],
            color=f"C{kind + 1}",
            markerfacecolor=("none", f"C{kind + 1}")[kind],
            capsize=2,
            linewidth=1.0,
            label=name,
        )
    left.axvline(0, color="C0", linewidth=0.8, zorder=1)
    limits = [100 * (task.union - task.better)[:, p].mean() for _, task, p in pairs]
    right.barh(height, limits, height=0.5, color="C0")
    left.set_yticks(height, [pair for pair, _, _ in pairs])
    left.set_xlabel("Gain over the better model (points)")
    right.set_xlabel("Gain of a perfect\nchoice (points)")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
