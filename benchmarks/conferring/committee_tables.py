"""What committees are worth: text, tables and a figure."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Section, number, percent, spread

from .committee_chains import BUDGETS, MOST_MODELS
from .committees import CHANCES, MEASURES, RULES, SCORES, TOLERANCE, Bounds, Group

_TEMPLATE = Path(__file__).with_name("templates") / "committees.md.jinja"


def describe(groups: Mapping[str, Group], bounds: Mapping[str, Bounds]) -> Section:
    """What committees are worth, from those of all tasks by title."""
    gains = {
        title: {
            rule: group.accuracy[rule] - group.accuracy["best"]
            for rule in group.accuracy
        }
        for title, group in groups.items()
    }
    return report.section(
        _TEMPLATE,
        stored=None,
        figures={"committees": lambda dark: _draw(groups)} if groups else {},
        num_splits=max((len(g.order) for g in groups.values()), default=0),
        total=len(groups),
        most_models=MOST_MODELS,
        tolerance=percent(TOLERANCE),
        accuracy_table=_accuracy_table(groups),
        against_table=_against_table(groups),
        weak_table=_weak_table(groups),
        score_table=_score_table(groups),
        size_table=_size_table(groups),
        early_table=_early_table(groups),
        chosen_table=_chosen_table(groups),
        within_table=_within_table(groups),
        bounds_table=_bounds_table(bounds) if bounds else "",
        worth=_titles(gains, lambda gain: _surely(gain["calibrated"])),
        worthless=_titles(gains, lambda gain: not _surely(gain["calibrated"])),
        ranks=_ranks(groups),
        saved=[
            1 - group.num_decided[:, -1].mean() / len(group.models)
            for group in groups.values()
        ],
    )


def _surely(gain: np.ndarray) -> bool:
    """Whether a gain is above 0 in nearly all splits."""
    return bool(gain.mean() > 2 * gain.std())


def _titles(
    gains: Mapping[str, Mapping[str, np.ndarray]],
    wanted: Callable[[Mapping[str, np.ndarray]], bool],
) -> list[str]:
    return [title for title, gain in gains.items() if wanted(gain)]


def _ranks(groups: Mapping[str, Group]) -> dict[str, float]:
    """Mean over committees of the area under the ROC curve of each score."""
    if not groups:
        return {}
    place = MEASURES.index("auroc")
    return {
        name: float(np.mean([g.scores[name][:, place].mean() for g in groups.values()]))
        for name in ("share", "margin", "evidence")
    }


def _points(values: np.ndarray) -> str:
    return spread(values, 2, 100.0)


def _accuracy_table(groups: Mapping[str, Group]) -> str:
    """Accuracy of the best model, and by how much each rule exceeds it."""
    rules = [rule for rule in RULES if rule != "best"]
    rows = []
    for title, group in groups.items():
        best = group.accuracy["best"]
        cells = [
            _points(group.accuracy[rule] - best) if rule in group.accuracy else ""
            for rule in rules
        ]
        rows.append([title, _points(best), *cells])
    header = ["committee", "best model (%)", *(RULES[rule] for rule in rules)]
    return report.grid(header, rows)


def _against_table(groups: Mapping[str, Group]) -> str:
    """Differences between rules, split by split, and how often they are above 0."""
    others = [rule for rule in RULES if rule not in ("best", "calibrated")]
    rows = []
    for title, group in groups.items():
        cells = []
        for rule in others:
            if rule not in group.accuracy:
                cells.append("")
                continue
            gain = group.accuracy["calibrated"] - group.accuracy[rule]
            cells.append(f"{_points(gain)} ({np.sum(gain > 0)})")
        rows.append([title, *cells])
    header = ["committee", *(RULES[rule] for rule in others)]
    return report.grid(header, rows)


def _weak_table(groups: Mapping[str, Group]) -> str:
    """How accuracy changes without each model."""
    rows = [
        [
            f"{title}: {model}",
            _points(group.without[:, place] - group.accuracy["calibrated"]),
        ]
        for title, group in groups.items()
        if len(group.models) > 2
        for place, model in enumerate(group.models)
    ]
    return report.grid(["left out", "change of accuracy (points)"], rows)


def _score_table(groups: Mapping[str, Group]) -> str:
    rows = []
    for title, group in groups.items():
        for name, measures in group.scores.items():
            mean = dict(zip(MEASURES, measures.mean(axis=0), strict=True))
            rows.append(
                [
                    f"{title}: {SCORES[name]}",
                    number(mean["auroc"], 4),
                    *(percent(mean[k], 2) for k in MEASURES if k.startswith("ece")),
                    *(number(mean[k], 4) for k in MEASURES if k.startswith("brier")),
                ]
            )
    header = ["score", "AUROC", "ECE (%)", "after Platt", "after isotonic"]
    header += ["Brier score after Platt", "after isotonic"]
    return report.grid(header, rows)


def _size_table(groups: Mapping[str, Group]) -> str:
    """Accuracy and questions asked against the number of models."""
    most = max((len(group.models) for group in groups.values()), default=0)
    rows = []
    for title, group in groups.items():
        blank = [""] * (most - len(group.models))
        accuracy = [_points(one) for one in group.full_accuracy.T]
        asked = [number(one.mean(), 2) for one in group.num_decided.T]
        rows.append([f"{title}: accuracy (%)", *accuracy, *blank])
        rows.append([f"{title}: asked until decided", *asked, *blank])
    return report.grid(["first m models", *map(str, range(1, most + 1))], rows)


def _early_table(groups: Mapping[str, Group]) -> str:
    rows = []
    for title, group in groups.items():
        accuracy = [percent(one.mean(), 2) for one in group.early_accuracy.T]
        asked = [number(one.mean(), 2) for one in group.num_early.T]
        rows.append([f"{title}: accuracy (%)", *accuracy])
        rows.append([f"{title}: models asked", *asked])
    return report.grid(["1 - exp(-limit)", *map(str, CHANCES)], rows)


def _chosen_table(groups: Mapping[str, Group]) -> str:
    rows = []
    for title, group in groups.items():
        rows.append(
            [
                title,
                _points(group.accuracy["best"]),
                f"{_points(group.accuracy['calibrated'])} at {len(group.models)}",
                *(
                    f"{_points(accuracy)} at {number(asked.mean(), 2)}"
                    for accuracy, asked in zip(
                        group.chosen_accuracy.T, group.num_chosen.T, strict=True
                    )
                ),
            ]
        )
    header = ["committee", "best model", "all asked", "most accurate", "cheaper"]
    return report.grid(header, rows)


def _within_table(groups: Mapping[str, Group]) -> str:
    ways = ("chain of models", "chain of committees", "one limit")
    rows = [
        [
            f"{title}: {way}",
            *(
                f"{percent(accuracy, 2)} at {number(asked, 2)}"
                for accuracy, asked in zip(
                    group.within_accuracy[:, place].mean(axis=0),
                    group.within_asked[:, place].mean(axis=0),
                    strict=True,
                )
            ),
        ]
        for title, group in groups.items()
        if len(group.models) <= MOST_MODELS
        for place, way in enumerate(ways)
    ]
    return report.grid(["models asked, at most", *map(str, BUDGETS)], rows)


def _bounds_table(bounds: Mapping[str, Bounds]) -> str:
    rows = [
        [title, *map(_points, (found.best, found.lower, found.upper))]
        for title, found in bounds.items()
    ]
    return report.grid(["task", "best model (%)", "at least (%)", "at most (%)"], rows)


def _draw(groups: Mapping[str, Group]) -> Figure:
    """A panel for each committee: accuracy against the number of models asked."""
    columns = 2
    lines = -(-len(groups) // columns)
    drawn = Figure(figsize=(7.0, 0.6 + 1.7 * lines), layout="constrained")
    panels = drawn.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.set_visible(False)
    for axes, (title, group) in zip(panels, groups.items(), strict=False):
        accuracy = 100 * group.full_accuracy.mean(axis=0)
        series = (
            (np.arange(1, len(accuracy) + 1), accuracy, "o:", "first m models"),
            (group.num_decided.mean(axis=0), accuracy, "s-", "until decided"),
            (
                group.num_early.mean(axis=0),
                100 * group.early_accuracy.mean(axis=0),
                "^-",
                "until sure enough",
            ),
        )
        for asked, values, look, label in series:
            axes.plot(asked, values, look, markersize=3.5, linewidth=1.0, label=label)
        axes.set_title(title, fontsize="small")
    drawn.supxlabel("Mean number of models asked", fontsize="small")
    drawn.supylabel("Accuracy (%)", fontsize="small")
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=3)
    return drawn
