"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Draw, number, percent

from . import classes, scores
from .judged import SIZES, Judged

# Of tasks, by their titles, and of calibrators, by their names.
Judgements = Mapping[str, Mapping[str, Judged]]
_MARKERS = "osD^vX"
# The calibrators that others are compared with.
_FIRST = {"scores": "platt", "classes": "temperature"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Calibrators that take the same, on all tasks that have it.

    Attributes:
      judged: by task and calibrator; all have as many splits.
      sizes: of the calibration sets, by task.
    """

    judged: Judgements
    sizes: Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that was measured.

    Attributes:
      of_scores: calibrators of a score.
      of_classes: calibrators of the logits of all classes.
      num_splits: of each task.
    """

    of_scores: Group
    of_classes: Group
    num_splits: int

    def text(self) -> str:
        values = {}
        for name, group, titles in self._groups():
            values |= {
                f"{name}_summary": _summary(group, titles),
                f"{name}_best": _best(group, titles),
                f"{name}_from": _from_rows(group, titles, _FIRST[name]),
                f"{name}_first": titles[_FIRST[name]],
                f"{name}_log_loss": _table(group, titles, "log_loss"),
                f"{name}_brier": _table(group, titles, "brier"),
                f"{name}_ece": _table(group, titles, "ece"),
            }
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            num_splits=self.num_splits,
            accuracy_table=_accuracy(self.of_classes),
            unfound_table=_unfound(self.of_scores, self.of_classes),
            **values,
        )

    def figures(self) -> dict[str, Draw]:
        return {
            name: lambda dark, g=group, t=titles, n=name: _draw(g, t, n == "classes")
            for name, group, titles in self._groups()
        }

    def _groups(self) -> list[tuple[str, Group, Mapping[str, str]]]:
        return [
            ("scores", self.of_scores, _titles(scores.METHODS)),
            ("classes", self.of_classes, _titles(classes.METHODS)),
        ]


def _titles(methods: Mapping[str, scores.Method | classes.Method]) -> dict[str, str]:
    return {name: method.title for name, method in methods.items()}


def _over_tasks(
    group: Group, size: int, value: Callable[[Judged], np.ndarray]
) -> dict[str, np.ndarray]:
    """Means over the tasks that have a size, `[S]` for each calibrator."""
    tasks = [task for task, sizes in group.sizes.items() if size in sizes]
    if not tasks:
        return {}
    return {
        name: np.mean(
            [
                value(group.judged[task][name])[:, list(group.sizes[task]).index(size)]
                for task in tasks
            ],
            axis=0,
        )
        for name in group.judged[tasks[0]]
    }


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean over splits and 1.96 of its standard errors."""
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(error)


def _signed(values: np.ndarray) -> str:
    """Mean over splits, in units of 1e-3, and its 95 % interval."""
    if not np.all(np.isfinite(values)):
        return "inf"
    mean, error = _mean_and_error(values)
    return f"{number(mean, 1, 1e3)} ± {number(error, 1, 1e3)}"


def _sizes(group: Group) -> list[int]:
    return [size for size in SIZES if any(size in n for n in group.sizes.values())]


def _summary(group: Group, titles: Mapping[str, str]) -> str:
    """Brier scores less those of no calibration, means over tasks."""
    rows = []
    for size in _sizes(group):
        found = _over_tasks(group, size, lambda judged: judged.brier)
        before = found.pop("none")
        rows.append([f"{size:,}", *(_signed(x - before) for x in found.values())])
    header = ["rows", *(title for name, title in titles.items() if name != "none")]
    return report.grid(header, rows)


def _best(group: Group, titles: Mapping[str, str]) -> str:
    """The calibrators of least Brier score, and those that cannot be told from it."""
    rows = []
    for size in _sizes(group):
        found = _over_tasks(group, size, lambda judged: judged.brier)
        best = min(found, key=lambda name: found[name].mean())
        alike = []
        for name, values in found.items():
            mean, error = _mean_and_error(values - found[best])
            if name != best and mean <= error:
                alike.append(titles[name])
        tasks = sum(size in sizes for sizes in group.sizes.values())
        rows.append([f"{size:,}", tasks, titles[best], ", ".join(alike) or "-"])
    header = ["rows", "tasks", "least Brier score", "not told from it"]
    return report.grid(header, rows)


def _from_rows(group: Group, titles: Mapping[str, str], first: str) -> str:
    """From how many rows on each calibrator has a lower Brier score than the first."""
    sizes = _sizes(group)
    differences = {
        size: {
            name: _mean_and_error(values - found[first])
            for name, values in found.items()
        }
        for size in sizes
        for found in [_over_tasks(group, size, lambda judged: judged.brier)]
    }
    rows = []
    for name, title in titles.items():
        if name in ("none", first):
            continue
        # The last sizes at which it is lower, and clearly so.
        least = None
        for size in reversed(sizes):
            mean, error = differences[size][name]
            if mean + error >= 0:
                break
            least = size
        mean, error = differences[sizes[-1]][name]
        last = f"{number(mean, 1, 1e3)} ± {number(error, 1, 1e3)}"
        rows.append([title, f"{least:,}" if least else "never", last])
    header = ["calibrator", "lower from (rows)", f"difference with {sizes[-1]:,}"]
    return report.grid(header, rows)


def _table(group: Group, titles: Mapping[str, str], name: str) -> str:
    """A measure on each task, by calibrator and size."""
    sizes = _sizes(group)
    rows = []
    for task, of_methods in group.judged.items():
        for method, judged in of_methods.items():
            values = dict(zip(group.sizes[task], getattr(judged, name).T, strict=True))
            cells = [_cell(values[size]) if size in values else "" for size in sizes]
            rows.append([f"{task}: {titles[method]}", *cells])
    return report.grid(["task", *(f"{size:,}" for size in sizes)], rows)


def _cell(values: np.ndarray) -> str:
    if not np.all(np.isfinite(values)):
        return f"inf in {np.sum(~np.isfinite(values))} of {len(values)}"
    mean, error = _mean_and_error(values)
    return f"{number(mean, 4)} ± {number(error, 4)}"


def _accuracy(group: Group) -> str:
    """By how many points calibration changes accuracy."""
    sizes = _sizes(group)
    rows = []
    for task, of_methods in group.judged.items():
        before = of_methods["none"].accuracy
        for name, judged in of_methods.items():
            if name == "none":
                continue
            changes = dict(
                zip(group.sizes[task], (judged.accuracy - before).T, strict=True)
            )
            cells = []
            for size in sizes:
                if size not in changes:
                    cells.append("")
                    continue
                mean, error = _mean_and_error(changes[size])
                cells.append(f"{percent(mean, 2)} ± {percent(error, 2)}")
            rows.append([f"{task}: {classes.METHODS[name].title}", *cells])
    return report.grid(["task", *(f"{size:,}" for size in sizes)], rows)


def _unfound(*groups: Group) -> str:
    """Share of fits without an optimum, by size, means over tasks."""
    sizes = sorted({size for group in groups for size in _sizes(group)})
    rows = []
    for group, methods in zip(groups, (scores.METHODS, classes.METHODS), strict=True):
        for name, method in methods.items():
            if method.fit is None:
                continue
            cells = []
            for size in sizes:
                found = [
                    of_methods[name].fitted[list(group.sizes[task]).index(size)]
                    for task, of_methods in group.judged.items()
                    if size in group.sizes[task]
                ]
                cells.append(percent(1 - np.mean(found)) if found else "")
            rows.append([method.title, *cells])
    return report.grid(["calibrator", *(f"{size:,}" for size in sizes)], rows)


def _draw(group: Group, titles: Mapping[str, str], of_classes: bool) -> Figure:
    """A panel for each task: Brier score against the size of the calibration set."""
    tasks = list(group.judged)
    columns = 3
    lines = -(-len(tasks) // columns)
    drawn = Figure(figsize=(7.0, 0.5 + 1.9 * lines), layout="constrained")
    panels = drawn.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(tasks) :]:
        axes.set_visible(False)
    for axes, task in zip(panels, tasks, strict=False):
        for place, (name, judged) in enumerate(group.judged[task].items()):
            plain = name == "none"
            axes.plot(
                group.sizes[task],
                judged.brier.mean(axis=0),
                linestyle=":" if plain else "-",
                marker="" if plain else _MARKERS[place - 1],
                color="0.5" if plain else f"C{place - 1}",
                fillstyle="full" if place % 2 else "none",
                markersize=3.5,
                linewidth=1.0,
                label="not calibrated" if plain else titles[name],
            )
        # Few rows may be far off, and hide the rest.
        every = [judged.brier.mean(axis=0) for judged in group.judged[task].values()]
        least = min(values.min() for values in every)
        before = group.judged[task]["none"].brier.mean()
        axes.set_ylim(least - 0.1 * (before - least) - 1e-3, 1.15 * before)
        axes.set_xscale("log")
        axes.set_title(task, fontsize="small")
    unit = "Brier score over all classes" if of_classes else "Brier score"
    drawn.supxlabel("Rows to calibrate on", fontsize="small")
    drawn.supylabel(unit, fontsize="small")
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=4)
    return drawn
