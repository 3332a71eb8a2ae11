"""What the numbers of cleaning say of the paper's claims."""

import itertools
import math
from collections.abc import Mapping

from benchmarks.kit import report
from benchmarks.kit.report import Claim

from .flag_counts import FlagNumbers
from .flag_figures import PEER
from .study import Study

Numbers = Mapping[str, FlagNumbers]


def critical(num_bins: int) -> float:
    """Rank correlation that independent bins exceed in one case of 20, about."""
    return 1.645 / math.sqrt(max(num_bins - 1, 1))


def claims(study: Study, numbers: Numbers, titles: Mapping[str, str]) -> list[Claim]:
    claims = [_claim_confidence(study, numbers, titles), _claim_bins(numbers, titles)]
    if any(task.peer is not None for task in numbers.values()):
        claims.append(_claim_peer(numbers, titles))
    return [*claims, _claim_experts(numbers, titles)]


def _cases(numbers: Numbers) -> list[tuple[str, FlagNumbers, int]]:
    return [
        (name, task, group)
        for name, task in numbers.items()
        for group in range(len(task.experts))
    ]


def _claim_confidence(
    study: Study, numbers: Numbers, titles: Mapping[str, str]
) -> Claim:
    chance = critical(study.settings.num_bins)
    rising = [
        task.rank_correlation[group] > chance for _, task, group in _cases(numbers)
    ]
    found = "; ".join(
        f"{titles[name]} "
        + ", ".join(report.number(value, 2) for value in task.rank_correlation)
        for name, task in numbers.items()
    )
    return Claim(
        "The more confident the contradicting experts, the more of the flagged labels "
        "are wrong",
        report.verdict(sum(rising), len(rising)),
        f"rank correlation over the bins above {chance:.2f} (5 % by chance) for "
        f"{sum(rising)} of {len(rising)} groups of experts; {found}",
    )


def _claim_bins(numbers: Numbers, titles: Mapping[str, str]) -> Claim:
    cases = [
        (titles[name], task.sure(group, matched=False), task.method_1[group])
        for name, task, group in _cases(numbers)
    ]
    better = sum(bool(sure.low > plain.precision) for _, sure, plain in cases)
    found = "; ".join(
        f"{title} {sure.cell()} against {report.percent(plain.precision)}"
        for title, sure, plain in cases
    )
    return Claim(
        "Contradiction with high confidence (Method 2) is more precise than "
        "contradiction alone (Method 1)",
        report.verdict(better, len(cases)),
        "with half the flags, the interval of Method 2 lies above Method 1 for "
        f"{better} of {len(cases)} groups of experts; precision in %: {found}",
    )


def _claim_peer(numbers: Numbers, titles: Mapping[str, str]) -> Claim:
    cases = [
        (titles[name], task.sure(group, matched=True), task.peer[0, group])
        for name, task, group in _cases(numbers)
        if task.peer is not None
    ]
    better = sum(bool(sure.precision > peer.precision) for _, sure, peer in cases)
    found = "; ".join(
        f"{title} {sure.cell()} ({sure.flagged:,} flags) against {peer.cell()} "
        f"({peer.flagged:,})"
        for title, sure, peer in cases
    )
    return Claim(
        "Contradiction by calibrated experts finds wrong labels more precisely than "
        "confident learning",
        report.verdict(better, len(cases)),
        f"Method 2 at about as many flags is more precise than the default filter of "
        f"{PEER} for {better} of {len(cases)} groups of experts; precision in %: "
        f"{found}",
    )


def _claim_experts(numbers: Numbers, titles: Mapping[str, str]) -> Claim:
    rises, found = [], []
    for name, task in numbers.items():
        values = task.method_1.precision
        rises += [after > before for before, after in itertools.pairwise(values)]
        sizes = ", ".join(str(len(group)) for group in task.experts)
        found.append(
            f"{titles[name]} {', '.join(map(report.percent, values))} for {sizes}"
        )
    return Claim(
        "More experts flag fewer labels, and more precisely",
        report.verdict(sum(rises), len(rises)),
        f"the precision of Method 1 rises with {sum(rises)} of {len(rises)} additions "
        f"of experts; in %: {'; '.join(found)} experts",
    )
