"""Two large models together (Table 2), as given and on cleaned data."""

import functools
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Claim, Section

from . import routing
from .large_pair_numbers import (
    CONDITIONS,
    NUM_REMOVALS,
    Numbers,
    TaskNumbers,
    num_top_bins,
)
from .large_pair_numbers import evaluate as evaluate
from .large_pair_numbers import num_steps as num_steps
from .study import Study


def describe(study: Study, numbers: Numbers) -> Section:
    """Table 2, and the same on cleaned data."""
    settings = study.settings
    blocks = [
        "Two large models take the parts of small and large model: the router keeps "
        "bins on the first one and sends the rest to the second. Router and K, the K "
        "of highest accuracy, are chosen on the calibration half; accuracy is that of "
        f"the test half, mean ± standard deviation over {settings.num_halves} random "
        "halves. *Either* is the share that at least one of the two has right, which "
        "no choice between them can exceed.",
        _accuracy_table(study, numbers),
        "The gain over the better single model, in points, where the better one is "
        "chosen on the calibration half as well. Brackets are 95 % intervals of "
        f"{settings.num_draws:,} paired bootstrap draws of the first test half, all "
        "choices held fixed; the last columns count the halves in which the cascade "
        "beats both models on the test half.",
        _gain_table(study, numbers),
        report.figure(
            "large-pairs",
            "Gain of two large models over the better of them on the test half, mean "
            "and standard deviation over random halves, without and with calibration "
            "(left); what a perfect choice between the two would gain (right, another "
            "scale).",
        ),
    ]
    if any(task.cleaned for task in numbers.values()):
        blocks += [
            "### On cleaned data",
            "Everything is fitted and chosen on the untouched calibration half, by "
            "calibrated confidence; only the test half is cleaned, in three ways. *By "
            "experts*: examples whose label all other models of the task contradict "
            "are dropped (Method 2, from the "
            f"{num_top_bins(settings)} most accurate of {settings.num_bins} bins of "
            "each). *By people*: examples whose label people found wrong are dropped. "
            "*At random*: as many as the experts flag, mean over "
            f"{NUM_REMOVALS} draws. A single weak expert contradicts many labels that "
            "are right. Dropping examples that both models have wrong raises each "
            "accuracy, and in the same proportion every difference of two; *net* is "
            "the gain on what is left, times the share that is left, which such "
            "examples do not change. Tasks of which only correctness was saved have no "
            "predictions to clean with. Accuracies in %, gains in points.",
            _cleaned_table(study, numbers),
        ]
    return Section(
        title="Two large models (Table 2)",
        blocks=blocks,
        figures={"large-pairs": functools.partial(_draw, study, numbers)}
        if numbers
        else {},
        claims=_claims(numbers) if numbers else (),
        numbers=numbers,
    )


def _each(study: Study, numbers: Numbers) -> Iterator[tuple[str, TaskNumbers, int]]:
    """Every pair: its name, the task, its place in the task."""
    for name, task in numbers.items():
        for p, (first, second) in enumerate(task.pairs):
            yield f"{study.tasks[name].title}: {first} + {second}", task, p


def _accuracy_table(study: Study, numbers: Numbers) -> str:
    header = ["pair", "first (%)", "second (%)", "UC (%)", "CC (%)", "either (%)"]
    header += ["share of first: UC (%)", "CC (%)"]
    rows = []
    for pair, task, p in _each(study, numbers):
        accuracies = [task.first[:, p], task.second[:, p]]
        accuracies += [task.cascade[:, 0, p], task.cascade[:, 1, p], task.union[:, p]]
        rows.append(
            [
                pair,
                *(report.spread(values, 2, 100.0) for values in accuracies),
                *(report.percent(task.first_share[:, k, p].mean(), 0) for k in (0, 1)),
            ]
        )
    return report.table(header, rows)


def _gain_table(study: Study, numbers: Numbers) -> str:
    header = ["pair", "UC", "", "CC", "", "CC − UC", "UC beats both", "CC beats both"]
    rows = []
    for pair, task, p in _each(study, numbers):
        ends = [report.interval(*kind[p], 2, 100.0) for kind in task.gain_interval]
        rows.append(
            [
                pair,
                report.spread(task.gain[:, 0, p], 2, 100.0),
                ends[0],
                report.spread(task.gain[:, 1, p], 2, 100.0),
                ends[1],
                ends[2],
                *(
                    f"{task.beats_both[:, k, p].sum()} of {len(task.first)}"
                    for k in (0, 1)
                ),
            ]
        )
    return report.table(header, rows)


def _cleaned_table(study: Study, numbers: Numbers) -> str:
    header = ["pair", "cleaned", "removed (%)", "first", "second", "cascade"]
    header += ["gain", "net"]
    rows = []
    for pair, task, p in _each(study, numbers):
        if task.cleaned is None:
            continue
        for c, condition in enumerate(CONDITIONS):
            removed = task.cleaned.removed[:, c, p]
            if np.isnan(removed).all():
                continue
            accuracies = (
                task.cleaned.first,
                task.cleaned.second,
                task.cleaned.cascade,
            )
            rows.append(
                [
                    pair,
                    condition,
                    report.percent(removed.mean(), 2),
                    *(report.percent(a[:, c, p].mean(), 2) for a in accuracies),
                    report.spread(task.cleaned.gain[:, c, p], 2, 100.0),
                    report.spread(task.cleaned.net_gain[:, c, p], 2, 100.0),
                ]
            )
    return report.table(header, rows)


def _claims(numbers: Numbers) -> list[Claim]:
    tasks = list(numbers.values())
    gains = np.concatenate([task.gain.mean(axis=0) for task in tasks], axis=-1)
    ends = np.concatenate([task.gain_interval for task in tasks], axis=1)
    beaten = np.concatenate([task.beats_both.mean(axis=0) for task in tasks], axis=-1)
    total = gains.shape[1]
    uncalibrated, calibrated = (int(np.sum(gain > 0)) for gain in gains)
    often = int(np.sum(beaten[1] > 0.5))
    claims = [
        Claim(
            "Two large models together beat either of them",
            report.verdict(often, total),
            f"more accurate than both in most halves for {often} of {total} pairs; "
            "mean gain over the better one of the calibration half above 0 for "
            f"{calibrated} with CC ({uncalibrated} with UC), its interval above 0 for "
            f"{int(np.sum(ends[1, :, 0] > 0))}, below 0 for "
            f"{int(np.sum(ends[1, :, 1] < 0))}; "
            f"median gain {report.number(np.median(gains[1]), 2, 100.0)}, largest "
            f"{report.number(gains[1].max(), 2, 100.0)} points",
        )
    ]
    cleaned = [task.cleaned for task in tasks if task.cleaned]
    if cleaned:
        gain, net = (
            np.concatenate([pick(task).mean(axis=0) for task in cleaned], axis=-1)
            for pick in (lambda task: task.gain, lambda task: task.net_gain)
        )
        given, experts, people, random = gain
        more, asked = int(np.sum(experts > given)), ~np.isnan(people)
        means = [report.number(g.mean(), 2, 100.0) for g in (given, experts, random)]
        claims.append(
            Claim(
                "Two large models gain more on cleaned data",
                report.verdict(more, len(given)),
                f"gain higher for {more} of {len(given)} pairs where other experts "
                f"clean, for {int(np.sum(people[asked] > given[asked]))} of "
                f"{int(asked.sum())} where people do, for "
                f"{int(np.sum(random > given))} of {len(given)} with as many random "
                f"removals; mean gain {means[0]} points as given, {means[1]} cleaned "
                f"by experts, {means[2]} at random; net of the smaller denominator the "
                f"experts raise it for {int(np.sum(net[1] > net[0]))} pairs",
            )
        )
    return claims


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
