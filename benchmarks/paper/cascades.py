"""Cascades of a small and a large model (Figures 2 and 3)."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import calib_jax as cj
from benchmarks.kit import report
from benchmarks.kit.report import Section
from calib_jax import plots

from . import routing, text
from .cascade_numbers import Numbers, TaskNumbers
from .cascade_numbers import evaluate as evaluate
from .cascade_numbers import num_steps as num_steps
from .study import Study

# No page holds more panels than this.
_MAX_PANELS = 10


def describe(study: Study, numbers: Numbers) -> Section:
    """Figures 2 and 3, their areas, and the savings of a cascade."""
    pictured = {
        name: study.tasks[name].small_large.index(study.tasks[name].pictured)
        for name in numbers
        if study.tasks[name].pictured
    }
    return text.section(
        "cascades",
        study,
        numbers,
        figures={
            f"cascades-{name}": functools.partial(_draw_all, task)
            for name, task in numbers.items()
        }
        | {
            f"cascade-{name}": functools.partial(_draw_one, numbers[name], p)
            for name, p in pictured.items()
        },
        max_panels=_MAX_PANELS,
        sizes={name: study.halves[name].test.rows.shape[1] for name in numbers},
        clear_tables={name: _clear_table(task) for name, task in numbers.items()},
        unclear_tables={name: _unclear_table(task) for name, task in numbers.items()},
        saving_tables={name: _saving_table(task) for name, task in numbers.items()},
        **(evidence(list(numbers.values())) if numbers else {}),
    )


def _clear_table(task: TaskNumbers) -> str:
    if not task.clear.any():
        return ""
    pairs = np.flatnonzero(task.clear)
    return _area_table(task, pairs, "APGR", task.recovered, task.recovered_interval)


def _unclear_table(task: TaskNumbers) -> str:
    if task.clear.all():
        return ""
    pairs = np.flatnonzero(~task.clear)
    return _area_table(task, pairs, "points", task.area, task.area_interval, 2, 100.0)


def _area_table(
    task: TaskNumbers,
    pairs: Sequence[int],
    unit: str,
    values: np.ndarray,
    intervals: np.ndarray,
    digits: int = 3,
    scale: float = 1.0,
) -> str:
    def spread(kind: int) -> Callable[[int], str]:
        return lambda p: report.spread(values[:, kind, p], digits, scale)

    def ends(kind: int) -> Callable[[int], str]:
        return lambda p: report.interval(intervals[kind, p], digits, scale)

    def gap(p: int) -> str:
        interval = report.interval(task.gap_interval[p], 1, 100.0)
        return f"{report.number(task.gap[0, p], 1, 100.0)} {interval}"

    def better(p: int) -> str:
        return f"{np.sum(values[:, 1, p] > values[:, 0, p])} of {len(values)}"

    return report.table(
        [
            ("pair", lambda p: task.pairs[p]),
            ("gap (points)", gap),
            (f"UC ({unit})", spread(0)),
            ("95 % interval", ends(0)),
            (f"CC ({unit})", spread(1)),
            ("95 % interval", ends(1)),
            ("CC − UC, 95 % interval", ends(2)),
            ("CC above UC", better),
        ],
        pairs,
    )


def _saving_table(task: TaskNumbers) -> str:
    columns: list[tuple[str, Callable[[tuple[int, int]], str]]] = [
        ("pair", lambda row: task.pairs[row[0]]),
        (
            "loss allowed",
            lambda row: report.number(routing.LOSSES[row[1]], 0, 100.0),
        ),
    ]
    for header, values, digits in (
        ("saved {} (%)", task.calls_saved, 1),
        ("change {}", task.change, 2),
        ("dollars {} (%)", task.dollars_saved, 1),
    ):
        if values is None:
            continue
        for k, kind in enumerate(routing.KINDS):
            columns.append(
                (
                    header.format(kind),
                    lambda row, values=values[:, k], digits=digits: report.spread(
                        values[:, *row], digits, 100.0
                    ),
                )
            )
    rows = itertools.product(range(len(task.pairs)), range(len(routing.LOSSES)))
    return report.table(columns, rows)


def evidence(tasks: Sequence[TaskNumbers]) -> dict[str, Any]:
    """Evidence for the claims, over all pairs of all tasks.

    APGR exceeds 0.5 where the area exceeds 0, and ranks two routers in the same order,
    so the area can be used for pairs of any gap.
    """
    areas = np.concatenate([task.area.mean(axis=0) for task in tasks], axis=-1)
    ends = np.concatenate([task.area_interval for task in tasks], axis=1)
    clear = np.concatenate([task.clear for task in tasks])
    recovered = np.concatenate([t.recovered.mean(axis=0) for t in tasks], axis=-1)
    change, saved = (
        np.concatenate([values[:, 1, :, 0].mean(axis=0) for values in parts])
        for parts in (
            [task.change for task in tasks],
            [task.calls_saved for task in tasks],
        )
    )
    saves = saved > 0
    return {
        "total": areas.shape[1],
        "better": [int(np.sum(area > 0)) for area in areas],
        "surely": np.sum(ends[:, :, 0] > 0, axis=1),
        "surely_not": np.sum(ends[:, :, 1] < 0, axis=1),
        "ahead": int(np.sum(areas[1] > areas[0])),
        "same": int(np.sum(areas[1] == areas[0])),
        "num_clear": int(clear.sum()),
        "medians": [
            np.median(row[clear]) if clear.any() else np.nan for row in recovered
        ],
        "saved": saved,
        "change": change,
        "kept": int(np.sum(saves & (change >= 0))),
        "close": int(np.sum(saves & (change < 0) & (change > -0.001))),
    }


def _draw_all(task: TaskNumbers, dark: bool) -> Figure:
    count = min(len(task.pairs), _MAX_PANELS)
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(2.33 * columns, 1.9 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flat
    for p, axes in enumerate(panels):
        if p >= count:
            axes.set_axis_off()
            continue
        _draw_panel(axes, task, p)
        # One legend for all panels; the areas go below the names of the models.
        handles, labels = axes.get_legend_handles_labels()
        axes.get_legend().remove()
        title = task.pairs[p]
        if task.clear[p]:
            areas = (label.replace(", APGR", "") for label in labels[1:])
            title += f"\nAPGR: {', '.join(areas)}"
        axes.set_title(title, loc="left", fontsize=7)
        axes.set(xlabel="", ylabel="")
        axes.tick_params(labelbottom=p + columns >= count)
    names = [label.partition(",")[0] for label in labels]
    figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    figure.supxlabel("Inputs answered by the small model (%)", fontsize=8)
    figure.supylabel("Accuracy (%)", fontsize=8)
    return figure


def _draw_one(task: TaskNumbers, p: int, dark: bool) -> Figure:
    width = report.COLUMN_WIDTH
    figure = Figure(figsize=(width, 0.9 * width), layout="constrained")
    _draw_panel(figure.add_subplot(), task, p, title=task.pairs[p])
    return figure


def _draw_panel(
    axes: Axes, task: TaskNumbers, p: int, title: str | None = None
) -> None:
    curves = {
        kind: jax.tree.map(lambda array, k=k: array[k, p], task.curve)
        for k, kind in enumerate(routing.KINDS)
    }
    curves = {"random": cj.random_curve(curves["CC"]), **curves}
    plots.cascade_curves(curves, title=title, axes=axes)
