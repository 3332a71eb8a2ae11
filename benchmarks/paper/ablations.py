"""Calibrators (Table 4), bins (Table 5) and the size of the calibration set.

Shapes: S splits, Z sizes, M models, P pairs, B numbers of bins.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.kit import report
from benchmarks.kit.report import Section

from . import ablation_bins, ablation_sizes, judging, text
from .ablation_bins import BinNumbers
from .ablation_sizes import Judged, SizeNumbers
from .judging import HISTOGRAM, NONE, PLATT, TEMPERATURE
from .study import Advance, Study

CALIBRATORS = (NONE, HISTOGRAM, PLATT, TEMPERATURE)

# Shown for a calibrator whose inputs were not saved.
_ABSENT = "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """The results of the ablations.

    Attributes:
      sizes: `SizeNumbers` by task: every calibrator, at every size.
      bins: `BinNumbers` by task.
    """

    sizes: Mapping[str, SizeNumbers]
    bins: Mapping[str, BinNumbers]


def num_steps(study: Study) -> int:
    return 2 * len(study.tasks)


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Fits and judges every task in each of the settings."""

    def measure(name: str) -> tuple[SizeNumbers, BinNumbers]:
        task, halves = study.tasks[name], study.halves[name]
        sizes = ablation_sizes.evaluate(task, halves, study.settings)
        advance(f"{task.title}, sizes")
        bins = ablation_bins.evaluate(task, halves, study.settings)
        advance(f"{task.title}, bins")
        return sizes, bins

    # Tasks of one length share their programs. Compiling uses one core, so programs of
    # other lengths are compiled at the same time.
    groups: dict[int, list[str]] = {}
    for name, halves in study.halves.items():
        length = judging.length_for(halves.test.rows.shape[1])
        groups.setdefault(length, []).append(name)
    with ThreadPoolExecutor(len(groups)) as pool:
        parts = list(pool.map(lambda group: list(map(measure, group)), groups.values()))
    found = {
        name: measured
        for group, part in zip(groups.values(), parts, strict=True)
        for name, measured in zip(group, part, strict=True)
    }
    return Numbers(
        sizes={name: found[name][0] for name in study.tasks},
        bins={name: found[name][1] for name in study.tasks},
    )


def describe(study: Study, numbers: Numbers) -> Section:
    """Tables 4 and 5, and how many calibration examples are needed."""
    sizes = numbers.sizes
    fewer = {
        f"{len(task.gap)} ({study.tasks[name].title})"
        for name, task in sizes.items()
        if len(task.gap) < study.settings.num_halves
    }
    filled = [np.mean(_whole(task, HISTOGRAM).filled) for task in sizes.values()]
    return text.section(
        "ablations",
        study,
        numbers,
        stored=judging.over_splits(numbers),
        figures={
            **ablation_bins.figures(study, numbers.bins),
            **ablation_sizes.figures(study, sizes),
        },
        least_gap=judging.LEAST_GAP,
        tolerance=judging.TOLERANCE,
        fewer=sorted(fewer),
        num_left_out=sum(np.sum(~judging.is_clear(t.gap)) for t in sizes.values()),
        num_filled=np.mean(filled),
        pair_table=_pair_table(study, sizes),
        model_table=_model_table(study, sizes),
        count_table=_count_table(sizes),
        **_evidence(sizes),
        **ablation_bins.values(study, numbers.bins),
        **ablation_sizes.values(study, sizes),
    )


def _whole(task: SizeNumbers, calibrator: str) -> Judged:
    """Results of a calibrator with the whole calibration half: axes `[S, M or P]`."""
    judged = task.judged[calibrator]
    return Judged(
        error=judged.error[:, -1],
        recovered=judged.recovered[:, -1],
        filled=judged.filled[:, -1],
    )


def _pair_table(study: Study, sizes: Mapping[str, SizeNumbers]) -> str:
    rows = []
    for name, task in sizes.items():
        for p in np.flatnonzero(judging.is_clear(task.gap)):
            small, large = (task.models[model] for model in task.pairs[p])
            parts = {each: _whole(task, each).recovered[:, p] for each in task.judged}
            best = max(parts, key=lambda each: parts[each].mean())
            rows.append((f"{study.tasks[name].title}, {small} → {large}", parts, best))
    return _table("task, pair: APGR", rows)


def _model_table(study: Study, sizes: Mapping[str, SizeNumbers]) -> str:
    rows = []
    for name, task in sizes.items():
        for m, model in enumerate(task.models):
            parts = {each: _whole(task, each).error[:, m] for each in task.judged}
            best = min(parts, key=lambda each: parts[each].mean())
            rows.append((f"{study.tasks[name].title}, {model}", parts, best))
    return _table("task, model: ECE", rows)


_Row = tuple[str, Mapping[str, np.ndarray], str]


def _table(header: str, rows: Sequence[_Row]) -> str:
    """A table from rows of a label, values by calibrator, and the best (bold)."""

    def cell(calibrator: str) -> Callable[[_Row], str]:
        def found(row: _Row) -> str:
            _, parts, best = row
            if calibrator not in parts:
                return _ABSENT
            cell = report.spread(parts[calibrator])
            return f"**{cell}**" if calibrator == best else cell

        return found

    columns = [(calibrator, cell(calibrator)) for calibrator in CALIBRATORS]
    return report.table([(header, lambda row: row[0]), *columns], rows)


def _best(sizes: Mapping[str, SizeNumbers], with_logits: bool) -> dict[str, list[int]]:
    """For each calibrator, in how many pairs and models it is best, in tasks with or
    without logits.
    """
    best = {calibrator: [0, 0] for calibrator in CALIBRATORS}
    for task in sizes.values():
        names = list(task.judged)
        if (TEMPERATURE in names) != with_logits:
            continue
        whole = [_whole(task, calibrator) for calibrator in names]
        recovered = np.stack([each.recovered.mean(axis=0) for each in whole])
        error = np.stack([each.error.mean(axis=0) for each in whole])
        for place in recovered[:, judging.is_clear(task.gap)].argmax(axis=0):
            best[names[place]][0] += 1
        for place in error.argmin(axis=0):
            best[names[place]][1] += 1
    return best


def _count_table(sizes: Mapping[str, SizeNumbers]) -> str:
    with_logits, without = _best(sizes, True), _best(sizes, False)

    def unless_missing(place: int) -> Callable[[str], object]:
        return lambda name: _ABSENT if name == TEMPERATURE else without[name][place]

    return report.table(
        [
            ("best", lambda name: name),
            ("pairs of tasks with logits", lambda name: with_logits[name][0]),
            ("models", lambda name: with_logits[name][1]),
            ("pairs of tasks without", unless_missing(0)),
            ("models", unless_missing(1)),
        ],
        CALIBRATORS,
    )


def _evidence(sizes: Mapping[str, SizeNumbers]) -> dict[str, Any]:
    """Evidence on whether one or two parameters route better than a histogram."""
    gains: dict[str, list[np.ndarray]] = {HISTOGRAM: [], NONE: []}
    for task in sizes.values():
        clear = judging.is_clear(task.gap)
        for other, parts in gains.items():
            gain = _whole(task, task.default).recovered - _whole(task, other).recovered
            parts.append(gain.mean(axis=0)[clear])
    histogram, none = (np.concatenate(parts) for parts in gains.values())
    if not len(histogram):
        return {}
    with_logits, without = _best(sizes, True), _best(sizes, False)
    return {
        "histogram": histogram,
        "uncalibrated": none,
        "num_better": int(np.sum(histogram >= 0)),
        "best_of_all": [
            f"{name} {with_logits[name][0] + without[name][0]}" for name in CALIBRATORS
        ],
    }
