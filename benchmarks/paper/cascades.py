"""Cascades of a small and a large model (Figures 2 and 3)."""

import functools
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import calib_jax as cj
from benchmarks.kit import report
from benchmarks.kit.report import Claim, Section
from calib_jax import plots

from . import routing
from .cascade_numbers import Numbers, TaskNumbers
from .cascade_numbers import evaluate as evaluate
from .cascade_numbers import num_steps as num_steps
from .study import Study

# More panels than these no page holds.
_MAX_PANELS = 10


def describe(study: Study, numbers: Numbers) -> Section:
    """Figures 2 and 3, their areas, and what a cascade saves."""
    settings = study.settings
    blocks = [
        "A router is fitted on the calibration half, with the confidences as the "
        "models state them (UC) and calibrated (CC); it needs no labels. The test half "
        "gives the accuracy for every number of bins kept on the small model. Numbers "
        f"are mean ± standard deviation over {settings.num_halves} random halves; "
        f"brackets are 95 % intervals of {settings.num_draws:,} paired bootstrap draws "
        "of the first test half, routers held fixed.",
        "APGR is the share of the accuracy gap between the two models that is "
        "recovered, averaged over all shares of large-model calls: random routing has "
        "exactly 0.5. It means nothing where the gap may be 0. Pairs whose interval of "
        "the gap does not lie above 0 are therefore reported in the accuracy gained "
        "over random routing, in points, averaged over all shares.",
        "*Saved* is the share of large-model calls that are avoided by keeping as many "
        "bins small as possible while losing nothing, or at most one point, on the "
        "calibration half; *change* is what that does to the accuracy of the test half "
        "against the large model alone, in points. Where prices are known, *dollars* "
        "is the share of the large model's bill that is saved; every question pays for "
        "the small model, so it can be negative.",
    ]
    for name, task in numbers.items():
        blocks += _describe_task(study, name, task)
    pictured = {
        name: study.tasks[name].small_large.index(study.tasks[name].pictured)
        for name in numbers
        if study.tasks[name].pictured
    }
    return Section(
        title="Cascades of a small and a large model (Figures 2 and 3)",
        blocks=blocks,
        figures={
            f"cascades-{name}": functools.partial(_draw_all, task)
            for name, task in numbers.items()
        }
        | {
            f"cascade-{name}": functools.partial(_draw_one, numbers[name], p)
            for name, p in pictured.items()
        },
        claims=_claims(numbers) if numbers else (),
        numbers=numbers,
    )


def _describe_task(study: Study, name: str, task: TaskNumbers) -> Iterator[str]:
    title = study.tasks[name].title
    shown = min(len(task.pairs), _MAX_PANELS)
    yield f"### {title} ({len(study.halves[name].test.rows[0]):,} examples a half)"
    yield report.figure(
        f"cascades-{name}",
        f"{title}: accuracy against the share answered by the small model, on the test "
        f"half of the first split, {shown} of {len(task.pairs)} pairs. Above the "
        "straight line a router does better than chance; above the upper horizontal "
        "line the cascade does better than the better of its models.",
    )
    clear, unclear = np.flatnonzero(task.clear), np.flatnonzero(~task.clear)
    if clear.size:
        yield _area_table(task, clear, "APGR", task.recovered, task.recovered_interval)
    if unclear.size:
        yield (
            f"For {unclear.size} of {len(task.pairs)} pairs the interval does not say "
            "that the large model is the better one; points of accuracy gained over "
            "random routing:"
        )
        yield _area_table(
            task, unclear, "points", task.area, task.area_interval, 2, 100.0
        )
    yield "What is saved, and what it costs in accuracy:"
    yield _saving_table(task)


def _area_table(
    task: TaskNumbers,
    pairs: Sequence[int],
    unit: str,
    values: np.ndarray,
    intervals: np.ndarray,
    digits: int = 3,
    scale: float = 1.0,
) -> str:
    header = ["pair", "gap (points)", f"UC ({unit})", "", f"CC ({unit})", ""]
    header += ["CC − UC", "CC above UC"]
    rows = []
    for p in pairs:
        uncalibrated, calibrated, difference = (
            report.interval(*ends[p], digits, scale) for ends in intervals
        )
        better = int(np.sum(values[:, 1, p] > values[:, 0, p]))
        rows.append(
            [
                task.pairs[p],
                f"{report.number(task.gap[0, p], 1, 100.0)} "
                f"{report.interval(*task.gap_interval[p], 1, 100.0)}",
                report.spread(values[:, 0, p], digits, scale),
                uncalibrated,
                report.spread(values[:, 1, p], digits, scale),
                calibrated,
                difference,
                f"{better} of {len(values)}",
            ]
        )
    return report.table(header, rows)


def _saving_table(task: TaskNumbers) -> str:
    header = ["pair", "loss allowed", "saved UC (%)", "saved CC (%)"]
    header += ["change UC", "change CC"]
    columns = [(task.calls_saved, 1), (task.change, 2)]
    if task.dollars_saved is not None:
        header += ["dollars UC (%)", "dollars CC (%)"]
        columns.append((task.dollars_saved, 1))
    rows = [
        [
            pair,
            f"{report.number(loss, 0, 100.0)}",
            *(
                report.spread(values[:, kind, p, place], digits, 100.0)
                for values, digits in columns
                for kind in (0, 1)
            ),
        ]
        for p, pair in enumerate(task.pairs)
        for place, loss in enumerate(routing.LOSSES)
    ]
    return report.table(header, rows)


def _claims(numbers: Numbers) -> list[Claim]:
    # Over all pairs of all tasks. APGR exceeds 0.5 where the area exceeds 0, and ranks
    # two routers alike, so that the area serves pairs of any gap.
    areas = np.concatenate([t.area.mean(axis=0) for t in numbers.values()], axis=-1)
    ends = np.concatenate([t.area_interval for t in numbers.values()], axis=1)
    clear = np.concatenate([task.clear for task in numbers.values()])
    recovered = np.concatenate(
        [t.recovered.mean(axis=0) for t in numbers.values()], axis=-1
    )
    change, saved = (
        np.concatenate([pick(task) for task in numbers.values()])
        for pick in (
            lambda task: task.change[:, 1, :, 0].mean(axis=0),
            lambda task: task.calls_saved[:, 1, :, 0].mean(axis=0),
        )
    )
    total = areas.shape[1]
    uncalibrated, calibrated = (int(np.sum(area > 0)) for area in areas)
    surely = np.sum(ends[:, :, 0] > 0, axis=1)
    surely_not = np.sum(ends[:, :, 1] < 0, axis=1)
    ahead = int(np.sum(areas[1] > areas[0]))
    same = int(np.sum(areas[1] == areas[0]))
    saves = saved > 0
    kept = int(np.sum(saves & (change >= 0)))
    close = int(np.sum(saves & (change < 0) & (change > -0.001)))
    medians = [
        report.number(np.median(row[clear])) if clear.any() else "-"
        for row in recovered
    ]
    return [
        Claim(
            "Routing by calibrated confidence (CC) beats random routing",
            report.verdict(calibrated, total),
            f"on average over halves for {calibrated} of {total} pairs; the 95 % "
            f"interval of the first split lies above random for {surely[1]}, below for "
            f"{surely_not[1]}; without calibration (UC) {uncalibrated}, {surely[0]} "
            f"and {surely_not[0]}; median APGR of the {int(clear.sum())} pairs with a "
            f"clear gap: CC {medians[1]}, UC {medians[0]}, random 0.5",
        ),
        Claim(
            "Routing by calibrated confidence beats uncalibrated routing",
            report.verdict(ahead, total),
            f"CC above UC on average over halves for {ahead} of {total} pairs; the "
            f"interval of the difference lies above 0 for {surely[2]} and below 0 for "
            f"{surely_not[2]}; the two are the same for {same}",
        ),
        Claim(
            "A cascade saves large-model calls at no loss of accuracy",
            report.verdict(kept, total),
            "where K loses nothing on the calibration half, CC saves "
            f"{report.percent(np.median(saved), 0)} % of the calls (median of {total} "
            f"pairs), and some for {int(saves.sum())}; of these the mean change of "
            f"test accuracy is not negative for {kept} and less than 0.1 points below "
            f"for {close} more; median change of all pairs "
            f"{report.number(np.median(change), 2, 100.0)}, worst "
            f"{report.number(np.min(change), 2, 100.0)} points",
        ),
    ]


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
