"""The paper's claims on further language models, by two kinds of score."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import further_claims, judging, text
from .further_numbers import (
    LEAST_GAP,
    LENGTHS,
    LOGIT,
    MOST_GAP,
    SOFTMAX,
    Cleaning,
    Numbers,
    Scored,
    TaskNumbers,
    names,
)
from .further_numbers import evaluate as evaluate
from .further_numbers import num_steps as num_steps
from .study import Study


def describe(study: Study, numbers: Numbers) -> Section:
    """A verdict on each claim by each kind of score, and the numbers behind it."""
    return text.section(
        "further",
        study,
        numbers,
        stored={name: _stored(task) for name, task in numbers.items()},
        figures={"further": functools.partial(_draw, numbers)} if numbers else {},
        unread=names(study, missing=True),
        least_gap=LEAST_GAP,
        most_gap=MOST_GAP,
        quality_tables={name: _quality_table(task) for name, task in numbers.items()},
        cascade_table=_cascade_table(numbers),
        family_table=_family_table(numbers),
        large_table=_large_table(numbers),
        cleaning_table=_cleaning_table(numbers),
        **(further_claims.evidence(numbers) if numbers else {}),
    )


def _quality_table(task: TaskNumbers) -> str:
    softmax, logit = task.scores[SOFTMAX], task.scores.get(LOGIT)
    models = softmax.calibration.models

    def of_logit(cell: Callable[[Scored, int], str]) -> Callable[[int], str]:
        def found(m: int) -> str:
            if logit is None or models[m] not in logit.calibration.models:
                return "-"
            return cell(logit, logit.calibration.models.index(models[m]))

        return found

    def error(scored: Scored, m: int, when: str = "after") -> str:
        return report.spread(getattr(scored.calibration, when)["test"].error[:, m])

    def area(scored: Scored, m: int) -> str:
        return report.spread(scored.calibration.before["test"].area[:, m])

    def tied(scored: Scored, m: int) -> str:
        return f"{report.percent(scored.tied[m], 0)} ({scored.filled[m]})"

    accuracy = softmax.calibration.accuracy
    chance = softmax.calibration.after["test"].chance_error
    columns: list[tuple[str, Callable[[int], str]]] = [
        ("model", lambda m: models[m]),
        ("accuracy (%)", lambda m: report.percent(accuracy[:, m].mean())),
        ("tied (%): softmax", lambda m: tied(softmax, m)),
        ("raw logit", of_logit(tied)),
        ("ECE: as stated", lambda m: error(softmax, m, "before")),
        ("softmax", lambda m: error(softmax, m)),
        ("raw logit", of_logit(error)),
        ("by chance", lambda m: report.number(chance[:, m].mean())),
        ("ROC area: softmax", lambda m: area(softmax, m)),
        ("raw logit", of_logit(area)),
    ]
    if logit is None:
        columns = [column for column in columns if column[0] != "raw logit"]
    return report.table(columns, range(len(models)))


def _rows(numbers: Numbers) -> Iterator[tuple[TaskNumbers, str, Scored]]:
    for task in numbers.values():
        for score, scored in task.scores.items():
            yield task, score, scored


def _cascade_table(numbers: Numbers) -> str:
    rows = [
        (f"{task.title}, {score}", further_claims.routed({"": task}, score))
        for task, score, scored in _rows(numbers)
        if scored.cascades is not None
    ]

    def count(name: str) -> Callable[[tuple[str, Mapping[str, Any]]], str]:
        return lambda row: str(row[1][name])

    def median(kind: int) -> Callable[[tuple[str, Mapping[str, Any]]], str]:
        return lambda row: report.number(row[1]["medians"][kind])

    return report.table(
        [
            ("task, score", lambda row: row[0]),
            ("pairs", count("total")),
            ("UC (median APGR)", median(0)),
            ("CC (median APGR)", median(1)),
            ("above random: UC", lambda row: str(row[1]["better"][0])),
            ("CC", lambda row: str(row[1]["better"][1])),
            ("CC above UC", count("ahead")),
            ("in nearly all halves", count("mostly_ahead")),
            ("below in nearly all", count("mostly_behind")),
            (
                "CC − UC: interval above 0",
                lambda row: str(row[1]["surely"][2]),
            ),
            ("below 0", lambda row: str(row[1]["surely_not"][2])),
            ("saved (%)", lambda row: report.percent(np.median(row[1]["saved"]))),
            (
                "change (points)",
                lambda row: report.number(np.median(row[1]["change"]), 2, 100.0),
            ),
        ],
        rows,
    )


def _family_table(numbers: Numbers) -> str:
    def spread(kind: int) -> Callable[[tuple[str, str, Any, int]], str]:
        return lambda row: report.spread(row[2].recovered[:, kind, row[3]])

    return report.table(
        [
            ("pair", lambda row: row[0]),
            ("score", lambda row: row[1]),
            ("gap (points)", lambda row: report.spread(row[2].gap[:, row[3]], 1, 100)),
            ("UC (APGR)", spread(0)),
            ("CC (APGR)", spread(1)),
            (
                "CC above UC",
                lambda row: (
                    f"{np.sum(np.diff(row[2].recovered[:, :, row[3]], axis=1) > 0)} "
                    f"of {len(row[2].recovered)}"
                ),
            ),
        ],
        [
            (f"{task.title}: {scored.cascades.pairs[p]}", score, scored.cascades, p)
            for task in numbers.values()
            for p in _named(task)
            for score, scored in task.scores.items()
            if scored.cascades is not None
            for p in [_place(task, score, p)]
            if p is not None
        ],
    )


def _named(task: TaskNumbers) -> tuple[int, ...]:
    """Pairs to name: those of a family, or all of a task that has no more than one."""
    softmax = task.scores[SOFTMAX]
    few = len(softmax.small_large) == 1
    return tuple(range(len(softmax.small_large))) if few else softmax.families


def _place(task: TaskNumbers, score: str, pair: int) -> int | None:
    """Where a pair of the softmax maximum is among those of another score."""
    softmax, other = task.scores[SOFTMAX].cascades, task.scores[score].cascades
    if softmax is None or other is None or softmax.pairs[pair] not in other.pairs:
        return None
    return other.pairs.index(softmax.pairs[pair])


def _large_table(numbers: Numbers) -> str:
    def accuracy(name: str) -> Callable[[tuple[str, str, Any, int]], str]:
        return lambda row: report.percent(getattr(row[2], name)[:, row[3]].mean(), 2)

    def gain(kind: int) -> Callable[[tuple[str, str, Any, int]], str]:
        return lambda row: report.spread(row[2].gain[:, kind, row[3]], 2, 100.0)

    return report.table(
        [
            ("pair", lambda row: row[0]),
            ("score", lambda row: row[1]),
            ("first (%)", accuracy("first")),
            ("second (%)", accuracy("second")),
            ("either (%)", accuracy("union")),
            ("gain UC (points)", gain(0)),
            ("gain CC (points)", gain(1)),
            (
                "its 95 % interval",
                lambda row: report.interval(row[2].gain_interval[1, row[3]], 2, 100.0),
            ),
            (
                "CC beats both",
                lambda row: (
                    f"{row[2].beats_both[:, 1, row[3]].sum()} of {len(row[2].first)}"
                ),
            ),
        ],
        [
            (
                f"{task.title}: {' + '.join(pair)}",
                score,
                scored.large_pairs,
                p,
            )
            for task, score, scored in _rows(numbers)
            if scored.large_pairs is not None
            for p, pair in enumerate(scored.large_pairs.pairs)
        ],
    )


def _cleaning_table(numbers: Numbers) -> str:
    def most(kind: str, k: int) -> Callable[[tuple[str, Cleaning, int]], str]:
        return lambda row: report.percent(getattr(row[1], kind)[row[2], k].precision)

    columns: list[tuple[str, Callable[[tuple[str, Cleaning, int]], str]]] = [
        ("task, experts, score", lambda row: row[0]),
        ("flagged", lambda row: report.thousands(row[1].all[row[2]].flagged)),
        ("judged", lambda row: report.thousands(row[1].all[row[2]].judged)),
        ("precision (%)", lambda row: row[1].all[row[2]].cell()),
    ]
    for k, length in enumerate(LENGTHS):
        which = "half" if length is None else str(length)
        columns += [
            (f"surest {which}: as stated", most("stated", k)),
            (
                "calibrated",
                lambda row, k=k: row[1].calibrated[row[2], k].cell(),
            ),
        ]
    return report.table(
        columns,
        [
            (f"{task.title}, {', '.join(experts)}, {score}", scored.cleaning, g)
            for task, score, scored in _rows(numbers)
            if scored.cleaning is not None
            for g, experts in enumerate(scored.cleaning.experts)
        ],
    )


def _stored(task: TaskNumbers) -> dict[str, Any]:
    """Means and deviations over the halves, without curves and tables."""
    return {
        "num_examples": task.num_examples,
        "num_left_out": task.num_left_out,
        "scores": {
            score: {
                "tied": scored.tied.tolist(),
                "filled": scored.filled,
                "cleaning": scored.cleaning,
                "models": scored.calibration.models,
                "status": scored.calibration.status,
                **judging.over_splits(
                    {
                        "accuracy": scored.calibration.accuracy,
                        "slope": scored.calibration.parameter,
                        "error_before": scored.calibration.before["test"].error,
                        "error": scored.calibration.after["test"].error,
                        "chance_error": scored.calibration.after["test"].chance_error,
                        "area_before": scored.calibration.before["test"].area,
                        "area": scored.calibration.after["test"].area,
                    }
                ),
                "cascades": scored.cascades
                and {
                    "pairs": scored.cascades.pairs,
                    "area_interval": scored.cascades.area_interval.tolist(),
                    **judging.over_splits(
                        {
                            name: getattr(scored.cascades, name)
                            for name in (
                                *("gap", "recovered", "area"),
                                *("calls_saved", "change"),
                            )
                        }
                    ),
                },
                "large_pairs": scored.large_pairs,
            }
            for score, scored in task.scores.items()
        },
    }


def _draw(numbers: Numbers, dark: bool) -> Figure:
    """The raw logit against the softmax maximum: each model, and each pair."""
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, task in enumerate(numbers.values()):
        one = {"": task}
        for axes, both in (
            (left, further_claims.of_models(one, "area", "before")),
            (right, further_claims.of_pairs(one, "recovered")),
        ):
            if both is not None:
                axes.plot(
                    both.softmax.mean(axis=0),
                    both.logit.mean(axis=0),
                    color=f"C{number}",
                    marker="osD^vP"[number],
                    markersize=4.0,
                    linestyle="none",
                    label=task.title,
                )
    _diagonal(left, "ROC area")
    _diagonal(right, "APGR of CC")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=max(len(labels), 1))
    return figure


def _diagonal(axes: Axes, what: str) -> None:
    """On the line, both kinds of score give the same."""
    limits = axes.get_xlim()
    axes.axline((limits[0], limits[0]), slope=1.0, color="0.5", linewidth=0.8, zorder=1)
    axes.set(
        xlim=limits,
        xlabel=f"{what}, softmax maximum",
        ylabel=f"{what}, raw maximal logit",
    )
