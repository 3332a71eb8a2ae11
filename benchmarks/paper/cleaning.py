"""Wrong labels, as judged by people (Table 3, Figure 4).

Shapes: G groups of experts, B bins.
"""

import functools
from collections.abc import Callable, Iterator, Mapping

from matplotlib.figure import Figure

from benchmarks.kit import outputs, report
from benchmarks.kit.flags import FILTERS
from benchmarks.kit.report import Draw, Section

from . import cleaning_claims, flag_counts, flag_figures, text
from .flag_counts import MIN_DRAWN, Counts, FlagNumbers
from .flag_figures import PEER
from .study import Advance, Study

Numbers = Mapping[str, FlagNumbers]


def num_steps(study: Study) -> int:
    return len(_names(study))


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Flags and counts labels of every task whose labels people judged."""
    numbers = {}
    for name in _names(study):
        task = study.tasks[name]
        numbers[name] = flag_counts.evaluate(
            task, study.halves[name], study.settings.num_bins
        )
        advance(task.title)
    return numbers


def _names(study: Study) -> list[str]:
    return [
        name
        for name, task in study.tasks.items()
        if task.is_error is not None and task.experts
    ]


def describe(study: Study, numbers: Numbers) -> Section:
    """Table 3, Figure 4, and precision against confidence."""
    titles = {name: study.tasks[name].title for name in numbers}
    described = outputs.descriptions()
    return text.section(
        "cleaning",
        study,
        numbers,
        figures=_figures(numbers, titles),
        unread=[name for name in study.missing if "truth" in described[name]],
        peer=PEER,
        min_drawn=MIN_DRAWN,
        method_tables={name: _method_table(task) for name, task in numbers.items()},
        overlap_table=_overlap_table(numbers, titles),
        alone_table=_alone_table(study, numbers),
        rank_table=_rank_table(numbers, titles),
        **cleaning_claims.evidence(study, numbers, titles),
    )


def _figures(numbers: Numbers, titles: Mapping[str, str]) -> dict[str, Draw]:
    figures: dict[str, Draw] = {}
    for name, task in numbers.items():
        panels = {_group(task, group): (task, group) for group in _groups(task)}
        figures[f"cleaning-{name}"] = functools.partial(
            flag_figures.draw_panels, panels
        )
        if task.is_complete:
            largest = max(_groups(task), key=lambda group: len(task.experts[group]))
            figures[f"cleaning-{name}-experts"] = functools.partial(
                _draw_one, task, largest, f"{titles[name]}, {_group(task, largest)}"
            )
    if numbers:
        figures["cleaning-confidence"] = functools.partial(
            flag_figures.draw_bins, {titles[name]: numbers[name] for name in numbers}
        )
    return figures


def _groups(task: FlagNumbers) -> range:
    return range(len(task.experts))


def _group(task: FlagNumbers, group: int) -> str:
    return f"{len(task.experts[group])} experts"


def _methods(task: FlagNumbers, group: int) -> Iterator[tuple[str, Counts]]:
    yield "Method 1", task.method_1[group]
    yield "Method 1, same class", task.agreed[group]
    yield f"Method 2, K = {task.half[group]}", task.sure(group, matched=False)
    if task.matched[group] != task.half[group]:
        yield f"Method 2, K = {task.matched[group]}", task.sure(group, matched=True)
    if task.peer is not None:
        yield "Method 3", task.method_3[group]
        for number, name in enumerate(FILTERS):
            yield f"{PEER} `{name}`", task.peer[number, group]
        yield f"{PEER}, for every expert", task.peer_common[0, group]


def _flagged(count: Counts) -> str:
    return report.thousands(count.flagged)


def _method_table(task: FlagNumbers) -> str:
    columns: list[tuple[str, Callable[[tuple[str, Counts]], str]]] = [
        ("experts, method", lambda row: row[0]),
        ("flagged", lambda row: _flagged(row[1])),
        ("judged", lambda row: report.thousands(row[1].judged)),
        ("precision (%)", lambda row: row[1].cell()),
    ]
    if task.is_complete:
        columns.append(("recall (%)", lambda row: report.percent(row[1].recall)))
    return report.table(
        columns,
        [
            (f"{len(task.experts[group])}, {name}", count)
            for group in _groups(task)
            for name, count in _methods(task, group)
        ],
    )


def _overlap_table(numbers: Numbers, titles: Mapping[str, str]) -> str:
    columns = [("task, experts, methods", lambda row: row[0])]
    for part, header in enumerate(("both", "only the first", "only the second")):
        columns += [
            (header, lambda row, part=part: _flagged(row[1][part])),
            ("precision", lambda row, part=part: row[1][part].cell()),
        ]
    return report.table(
        columns,
        [
            (
                f"{titles[name]}, {len(task.experts[group])}, {method} / "
                f"{'Method 1' if task.peer is None else PEER}",
                count[group],
            )
            for name, task in numbers.items()
            for group in _groups(task)
            for method, count in task.overlap.items()
        ],
    )


def _alone_table(study: Study, numbers: Numbers) -> str:
    rows = [
        (f"{study.tasks[name].title}, {title}", task, model)
        for name, task in numbers.items()
        if task.peer is not None
        for model, title in enumerate(study.tasks[name].models)
    ]
    if not rows:
        return ""
    return report.table(
        [
            ("task, expert", lambda row: row[0]),
            (
                "contradicts (%)",
                lambda row: report.percent(
                    row[1].num_contradicted[row[2]] / row[1].num_judged
                ),
            ),
            ("Method 3", lambda row: _flagged(row[1].method_3_alone[row[2]])),
            ("precision", lambda row: row[1].method_3_alone[row[2]].cell()),
            (PEER, lambda row: _flagged(row[1].peer_alone[0, row[2]])),
            ("precision", lambda row: row[1].peer_alone[0, row[2]].cell()),
        ],
        rows,
    )


def _rank_table(numbers: Numbers, titles: Mapping[str, str]) -> str:
    def of_task(
        cell: Callable[[FlagNumbers, int], str],
    ) -> Callable[[tuple[str, int]], str]:
        return lambda row: cell(numbers[row[0]], row[1])

    return report.table(
        [
            (
                "task, experts",
                lambda row: f"{titles[row[0]]}, {len(numbers[row[0]].experts[row[1]])}",
            ),
            (
                "labels a bin",
                of_task(lambda t, g: report.number(t.table.count[g].mean(), 0)),
            ),
            ("lowest third", of_task(lambda t, g: report.percent(t.thirds[g][0]))),
            ("highest third", of_task(lambda t, g: report.percent(t.thirds[g][1]))),
            (
                "rank correlation",
                of_task(lambda t, g: report.number(t.rank_correlation[g], 2)),
            ),
        ],
        [(name, group) for name, task in numbers.items() for group in _groups(task)],
    )


def _draw_one(task: FlagNumbers, group: int, title: str, dark: bool) -> Figure:
    return flag_figures.draw_panel(task, group, title=title, dark=dark)
