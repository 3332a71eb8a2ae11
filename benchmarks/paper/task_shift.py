"""Shift of the task: calibrated on other questions, or on other classes."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import judging, text
from .study import Study
from .task_shift_numbers import HeldOut, Numbers, Target, Worth
from .task_shift_numbers import evaluate as evaluate
from .task_shift_numbers import num_steps as num_steps

STATED, PUBLISHED = "none", "published split"

_MARKERS = "xosD^v"


def describe(study: Study, numbers: Numbers) -> Section:
    """Calibration carried over to other tasks and other classes."""
    titles = {name: task.title for name, task in study.tasks.items()}
    targets, held_out = numbers.targets, numbers.held_out
    figures = {}
    if targets:
        figures["task-shift"] = functools.partial(_draw, study, targets)
    return text.section(
        "task_shift",
        study,
        numbers,
        stored=judging.over_splits(numbers),
        figures=figures,
        published=[
            f"{target.num_published} questions for {titles[name]}"
            for name, target in targets.items()
            if target.published is not None
        ],
        # A table for the tasks of one set of models.
        target_tables=[
            _targets_table(
                study, {n: t for n, t in targets.items() if t.models == models}, models
            )
            for models in dict.fromkeys(target.models for target in targets.values())
        ],
        held_out_sizes=[
            f"{task.num_fitted.mean():,.0f} examples on {titles[name]}"
            for name, task in held_out.items()
        ],
        held_out_table=_held_out_table(study, held_out),
        **_transfer_evidence(targets),
        **_published_evidence(targets),
        **_held_out_evidence(held_out),
    )


def _ways(study: Study, name: str, target: Target) -> dict[str, Worth]:
    """The sources that a target was calibrated by, its own half first."""
    ways = {STATED: target.stated, study.tasks[name].title: target.sources[name]}
    ways |= {
        study.tasks[source].title: worth for source, worth in target.sources.items()
    }
    if target.published is not None:
        ways[PUBLISHED] = target.published
    return ways


def _targets_table(
    study: Study, targets: Mapping[str, Target], models: tuple[str, ...]
) -> str:
    def recovered(row: tuple[str, Target, Worth]) -> str:
        _, target, worth = row
        clear = judging.is_clear(target.gap)
        if not clear.any():
            return "-"
        return report.spread(worth.recovered[:, clear].mean(axis=1))

    return report.table(
        [
            ("judged on ← calibrated on", lambda row: row[0]),
            *(
                (model, lambda row, m=m: report.number(row[2].error[:, m].mean()))
                for m, model in enumerate(models)
            ),
            ("mean ECE", lambda row: report.spread(row[2].error.mean(axis=1))),
            ("mean APGR", recovered),
        ],
        [
            (f"{study.tasks[name].title} ← {label}", target, worth)
            for name, target in targets.items()
            for label, worth in _ways(study, name, target).items()
        ],
    )


def _held_out_table(study: Study, held_out: Mapping[str, HeldOut]) -> str:
    rows: list[tuple[str, HeldOut, Callable[[Worth], np.ndarray]]] = []
    for name, task in held_out.items():
        title = study.tasks[name].title
        rows += [
            (f"{title}, {model}: ECE", task, lambda worth, m=m: worth.error[:, m])
            for m, model in enumerate(task.models)
        ]
        for p in np.flatnonzero(judging.is_clear(task.gap)):
            small, large = (task.models[model] for model in task.pairs[p])
            rows.append(
                (
                    f"{title}, {small} → {large}: APGR",
                    task,
                    lambda worth, p=p: worth.recovered[:, p],
                )
            )
    return report.table(
        [
            ("", lambda row: row[0]),
            ("not calibrated", lambda row: report.spread(row[2](row[1].stated))),
            ("on all classes", lambda row: report.spread(row[2](row[1].all_classes))),
            (
                "on other classes only",
                lambda row: report.spread(row[2](row[1].other_classes)),
            ),
        ],
        rows,
    )


def _transfer_evidence(targets: Mapping[str, Target]) -> dict[str, Any]:
    """Evidence over every task, other source and model, means over splits."""
    own, foreign, stated, lost = [], [], [], []
    for name, target in targets.items():
        clear = judging.is_clear(target.gap)
        home = target.sources[name]
        for source, worth in target.sources.items():
            if source != name:
                foreign.append(worth.error.mean(axis=0))
                own.append(home.error.mean(axis=0))
                stated.append(target.stated.error.mean(axis=0))
                lost.append((home.recovered - worth.recovered)[:, clear].mean(axis=0))
    if not foreign:
        return {}
    ours, theirs, none, loss = map(np.concatenate, (own, foreign, stated, lost))
    return {
        "own": ours,
        "foreign": theirs,
        "stated": none,
        "lost": loss,
        "num_worse": int(np.sum(theirs > ours)),
        "num_useless": int(np.sum(theirs >= none)),
        "num_down": int(np.sum(loss > 0)),
    }


def _published_evidence(targets: Mapping[str, Target]) -> dict[str, Any]:
    """Evidence over models and tasks with a published split, means over splits."""
    by_half, by_published, by_none = [], [], []
    for name, target in targets.items():
        if target.published is not None:
            by_half.append(target.sources[name].error.mean(axis=0))
            by_published.append(target.published.error.mean(axis=0))
            by_none.append(target.stated.error.mean(axis=0))
    if not by_published:
        return {}
    half, other, none = map(np.concatenate, (by_half, by_published, by_none))
    return {
        "by_half": half,
        "by_published": other,
        "by_none": none,
        "num_served": int(np.sum(other < none)),
    }


def _held_out_evidence(held_out: Mapping[str, HeldOut]) -> dict[str, Any]:
    """Evidence over models and tasks of several classes, means over splits."""
    if not held_out:
        return {}

    def means(kind: str) -> np.ndarray:
        return np.concatenate(
            [getattr(task, kind).error.mean(axis=0) for task in held_out.values()]
        )

    none, ours, theirs = map(means, ("stated", "all_classes", "other_classes"))
    return {
        "no_classes": none,
        "all_classes": ours,
        "other_classes": theirs,
        "num_classes_served": int(np.sum(theirs < none)),
    }


def _draw(study: Study, targets: Mapping[str, Target], dark: bool) -> Figure:
    del dark
    columns = min(3, len(targets))
    rows = math.ceil(len(targets) / columns)
    figure = Figure(figsize=(7.0, 2.5 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    # Each source has one style in all panels.
    names = [STATED, *(study.tasks[name].title for name in targets), PUBLISHED]
    handles = {}
    for axes, (name, target) in zip(grid.flat, targets.items(), strict=False):
        ways = _ways(study, name, target)
        for number, label in enumerate(names):
            if label not in ways:
                continue
            error = ways[label].error
            place = np.arange(error.shape[1]) + 0.15 * (number - (len(names) - 1) / 2)
            hollow = mpl.rcParams["axes.facecolor"] if number % 2 else f"C{number}"
            handles[label] = axes.errorbar(
                place,
                error.mean(axis=0),
                error.std(axis=0),
                color=f"C{number}",
                linestyle="none",
                marker=_MARKERS[number % len(_MARKERS)],
                markerfacecolor=hollow,
                elinewidth=0.8,
            )
        axes.set_title(f"judged on {study.tasks[name].title}")
        axes.set_xticks(
            range(len(target.models)), target.models, rotation=40, ha="right"
        )
        axes.grid(visible=False, axis="x")
    for axes in list(grid.flat)[len(targets) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("ECE")
    # All panels share the legend.
    grid[0, 0].set_ylim(bottom=0.0)
    labels = [label for label in names if label in handles]
    figure.legend(
        [handles[label] for label in labels],
        labels,
        title="calibrated on",
        loc="outside lower center",
        ncols=len(labels),
    )
    return figure
