"""Which labels are wrong, judged by people (Table 3, Figure 4).

Shapes: G groups of experts, B bins.
"""

import functools
from collections.abc import Iterator, Mapping

from matplotlib.figure import Figure

from benchmarks.kit import outputs, report
from benchmarks.kit.flags import FILTERS
from benchmarks.kit.report import Section

from . import cleaning_claims, flag_counts, flag_figures
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
    """Table 3, Figure 4, and what confidence has to do with precision."""
    title = "Cleaning labels (Table 3, Figure 4)"
    missing = [
        name
        for name, task in outputs.descriptions().items()
        if "truth" in task and name in study.missing
    ]
    blocks = [f"Missing here: {', '.join(missing)}."] if missing else []
    if not numbers:
        return Section(title=title, blocks=[*blocks, "No task with judged labels."])
    titles = {name: study.tasks[name].title for name in numbers}
    figures = {}
    blocks += [
        _METHODS,
        _READING,
        *(_judged(titles[name], numbers[name]) for name in numbers),
    ]
    for name, task in numbers.items():
        panels = {_group(task, group): (task, group) for group in _groups(task)}
        figures[f"cleaning-{name}"] = functools.partial(
            flag_figures.draw_panels, panels
        )
        blocks += [
            f"### {titles[name]}",
            _what_runs(task),
            report.table(*_method_table(task)),
            report.figure(
                f"cleaning-{name}",
                f"{titles[name]}: precision against the share of the judged labels "
                "that is flagged, for each group of experts; up and to the right is "
                "better.",
            ),
        ]
        if task.is_complete:
            largest = max(_groups(task), key=lambda group: len(task.experts[group]))
            figures[f"cleaning-{name}-experts"] = functools.partial(
                _draw_one, task, largest, f"{titles[name]}, {_group(task, largest)}"
            )
    figures["cleaning-confidence"] = functools.partial(
        flag_figures.draw_bins, {titles[name]: task for name, task in numbers.items()}
    )
    blocks += ["### Who finds what", _OVERLAP]
    blocks.append(report.table(*_overlap_table(numbers, titles)))
    alone = {name: task for name, task in numbers.items() if task.peer is not None}
    if alone:
        blocks += [
            "### Each expert alone",
            "Method 3 and the default filter of cleanlab on the calibrated "
            "probabilities of one expert, precision in %. *Contradicts* is the share "
            "(%) of the judged labels that the expert contradicts: of an expert near "
            "100 the judged labels were chosen by its own kind, and all precisions of "
            "methods that use it lean on that choice.",
            report.table(*_alone_table(study, alone)),
        ]
    bins = study.settings.num_bins
    chance = cleaning_claims.critical(bins)
    blocks += [
        "### Precision and confidence",
        "The judged flags of Method 1, sorted by the least calibrated confidence over "
        f"the experts and cut into {bins} bins of equal count. The rank correlation of "
        "confidence and precision over the bins is 1 where every more confident bin is "
        f"more precise; by chance it exceeds {chance:.2f} in one case of 20.",
        report.table(*_rank_table(numbers, titles)),
        report.figure(
            "cleaning-confidence",
            f"Precision in {bins} bins of the flags of Method 1, against the mean of "
            "the least calibrated confidence over the experts.",
        ),
    ]
    return Section(
        title=title,
        blocks=blocks,
        figures=figures,
        claims=cleaning_claims.claims(study, numbers, titles),
        numbers=numbers,
    )


_METHODS = (
    "Method 1 flags a label that every expert contradicts; Method 2 asks in addition "
    "that each does so from one of its K most accurate confidence bins; Method 3 is "
    "confident learning on calibrated probabilities, flagged for every expert. The "
    f"peer is `find_label_issues` of {PEER}, with every filter, on the mean of the "
    "calibrated probabilities of the experts, and with its default filter also where "
    "each expert's own probabilities give a flag (*for every expert*). Calibration "
    "and bins are fitted on one half and flag the other, and the other way round, so "
    "that every label is looked at once."
)

_READING = (
    "Precision is the share of wrong labels among the flagged ones that people "
    "judged, with Wilson's 95 % interval. The tables show Method 2 at the K whose "
    "number of flags is nearest to half that of Method 1, and at the K nearest to the "
    "peer's default filter: no judgement decides these. In the "
    "figures, the curve *ranked* takes the flags of Method 1 by falling least "
    "calibrated confidence over the experts, and after them all other labels at "
    "random; the joined points are Method 2, K growing to the right; the line "
    "*random* is the share of wrong labels among the judged. Shares are of the judged "
    "labels, the only ones on which all methods can be compared. Nothing is drawn of "
    f"fewer than {MIN_DRAWN} flags."
)

_OVERLAP = (
    "Of two methods: how many labels both flag and how many only one of them, and the "
    "precision (%) of each part, with its 95 % interval. Where probabilities exist "
    f"the second method is the default filter of {PEER} on mean probabilities, and "
    "Method 2 is that with about as many flags; else the second is Method 1, whose "
    "flags contain those of Method 2."
)


def _groups(task: FlagNumbers) -> range:
    return range(len(task.experts))


def _group(task: FlagNumbers, group: int) -> str:
    return f"{len(task.experts[group])} experts"


def _judged(title: str, task: FlagNumbers) -> str:
    text = (
        f"**{title}**: {task.num_judged:,} of {task.num_examples:,} labels judged, "
        f"{task.num_wrong:,} of these wrong "
        f"({report.percent(task.num_wrong / task.num_judged)} %)."
    )
    if task.is_complete:
        return text + " Recall is the share of these that is flagged."
    return (
        f"{text} Only labels that an earlier method had flagged were judged, here "
        "confident learning by the authors of the peer: what follows is precision on "
        "checked labels, which leans towards methods like that, and there is no recall."
    )


def _what_runs(task: FlagNumbers) -> str:
    groups = "; ".join(
        f"{_group(task, group)}: {', '.join(task.experts[group])}"
        for group in _groups(task)
    )
    if task.peer is None:
        return (
            "Only the answers and their confidences were saved: Method 3 and "
            f"{PEER} need the probabilities of all classes and cannot run here. "
            f"{groups}."
        )
    return f"All methods run. {groups}."


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


def _method_table(task: FlagNumbers) -> tuple[list[str], list[list[str]]]:
    header = ["experts, method", "flagged", "judged", "precision (%)"]
    rows = [
        [f"{len(task.experts[group])}, {name}", f"{count.flagged:,}"]
        + [f"{count.judged:,}", count.cell()]
        + ([report.percent(count.recall)] if task.is_complete else [])
        for group in _groups(task)
        for name, count in _methods(task, group)
    ]
    return header + (["recall (%)"] if task.is_complete else []), rows


def _overlap_table(
    numbers: Numbers, titles: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    header = ["task, experts, methods", "both", "precision"]
    header += ["only the first", "precision", "only the second", "precision"]
    rows = []
    for name, task in numbers.items():
        other = "Method 1" if task.peer is None else PEER
        for group in _groups(task):
            for method, count in task.overlap.items():
                row = [
                    f"{titles[name]}, {len(task.experts[group])}, {method} / {other}"
                ]
                for part in range(3):
                    cell = count[group, part]
                    row += [f"{cell.flagged:,}", cell.cell()]
                rows.append(row)
    return header, rows


def _alone_table(study: Study, numbers: Numbers) -> tuple[list[str], list[list[str]]]:
    header = ["task, expert", "contradicts (%)", "Method 3", "precision", PEER]
    rows = []
    for name, task in numbers.items():
        for model, title in enumerate(study.tasks[name].models):
            row = [f"{study.tasks[name].title}, {title}"]
            row += [report.percent(task.num_contradicted[model] / task.num_judged)]
            for count in (task.method_3_alone[model], task.peer_alone[0, model]):
                row += [f"{count.flagged:,}", count.cell()]
            rows.append(row)
    return [*header, "precision"], rows


def _rank_table(
    numbers: Numbers, titles: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    header = ["task, experts", "labels a bin", "lowest third", "highest third"]
    rows = []
    for name, task in numbers.items():
        for group in _groups(task):
            rows.append(
                [
                    f"{titles[name]}, {len(task.experts[group])}",
                    report.number(task.table.count[group].mean(), 0),
                    *map(report.percent, task.thirds[group]),
                    report.number(task.rank_correlation[group], 2),
                ]
            )
    return [*header, "rank correlation"], rows


def _draw_one(task: FlagNumbers, group: int, title: str, dark: bool) -> Figure:
    return flag_figures.draw_panel(task, group, title=title, dark=dark)
