"""The paper's claims on cleaning against the numbers."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from benchmarks.kit import report

from .flag_counts import FlagNumbers
from .study import Study

Numbers = Mapping[str, FlagNumbers]


def critical(num_bins: int) -> float:
    """Rank correlation that independent bins exceed in about one case of 20."""
    return 1.645 / math.sqrt(max(num_bins - 1, 1))


def evidence(
    study: Study, numbers: Numbers, titles: Mapping[str, str]
) -> dict[str, Any]:
    """Evidence over all groups of experts of all tasks."""
    chance = critical(study.settings.num_bins)
    cases = [
        (titles[name], task, group)
        for name, task in numbers.items()
        for group in range(len(task.experts))
    ]
    rising = [task.rank_correlation[group] > chance for _, task, group in cases]
    plain = [
        (title, task.sure(group, matched=False), task.method_1[group])
        for title, task, group in cases
    ]
    peer = [
        (title, task.sure(group, matched=True), task.peer[0, group])
        for title, task, group in cases
        if task.peer is not None
    ]
    rises = [
        after > before
        for task in numbers.values()
        for before, after in itertools.pairwise(task.method_1.precision)
    ]
    return {
        "critical": chance,
        "num_groups": len(cases),
        "num_rising": sum(map(bool, rising)),
        "correlations": [
            f"{titles[name]} "
            + ", ".join(report.number(value, 2) for value in task.rank_correlation)
            for name, task in numbers.items()
        ],
        "num_sharper": sum(bool(sure.low > one.precision) for _, sure, one in plain),
        "sharper": [
            f"{title} {sure.cell()} against {report.percent(one.precision)}"
            for title, sure, one in plain
        ],
        "num_above_peer": sum(
            bool(sure.precision > other.precision) for _, sure, other in peer
        ),
        "against_peer": [
            f"{title} {sure.cell()} ({sure.flagged:,} flags) against {other.cell()} "
            f"({other.flagged:,})"
            for title, sure, other in peer
        ],
        "num_rises": sum(map(bool, rises)),
        "num_additions": len(rises),
        "by_experts": [
            f"{titles[name]} {', '.join(map(report.percent, task.method_1.precision))} "
            f"for {', '.join(str(len(group)) for group in task.experts)}"
            for name, task in numbers.items()
        ],
    }
