"""Measurements of the workloads, as Markdown tables and as JSON."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.kit.plain import as_plain
from benchmarks.kit.report import grid

from .cases import OURS, Case, CaseResult, Kind, Measurement, Target, Workload, ratio

_MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkloadResult:
    """Measurements of one workload.

    Attributes:
      workload: the workload.
      cases: its cases that were run.
      results: one for each of the cases.
    """

    workload: Workload
    cases: Sequence[Case]
    results: Sequence[CaseResult]

    def plain(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "error": self.workload.error_text,
            "cases": as_plain(self.results),
            "targets": [
                {
                    "case": result.name,
                    "target": target.text,
                    "measured": as_plain(target.value(result)),
                    "limit": target.limit,
                    "met": target.met(result),
                }
                for case, result in zip(self.cases, self.results, strict=True)
                for target in case.targets
            ],
        }


def significant(value: float | None, digits: int = 3) -> str:
    """A number of three digits; "-" for None."""
    if value is None:
        return "-"
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else text


def scientific(value: float | None) -> str:
    """As `significant`, with an exponent where the number is small."""
    if value is None or value == 0 or abs(value) >= 1e-3:
        return significant(value)
    return f"{value:.1e}"


def megabytes(value: int | None) -> str:
    """Bytes as megabytes, three digits."""
    return significant(None if value is None else value / _MEGABYTE)


def _row(row: Measurement, ours: Measurement | None) -> list[str]:
    if row.failure:
        return [row.name, f"failed: {row.failure[:60]}", *["-"] * 6]
    low, high = min(row.warm) * 1e3, max(row.warm) * 1e3
    return [
        f"**{row.name}**" if row.name == OURS else row.name,
        significant(row.median * 1e3),
        f"{significant(low)} to {significant(high)}",
        significant(row.first),
        megabytes(row.peak),
        megabytes(row.warm_peak),
        scientific(row.error),
        significant(ratio(row, ours)),
    ]


_HEADER = (
    "candidate",
    "warm (ms)",
    "range (ms)",
    "first (s)",
    "memory (MB)",
    "warm only (MB)",
)


def case_blocks(result: CaseResult, error_text: str) -> list[str]:
    """Markdown: the table of a case, and how calib_jax stands in it."""
    ours = result.row(OURS)
    rows = [_row(row, ours) for row in result.rows]
    header = (*_HEADER, error_text, f"x {OURS}")
    blocks = [f"**{result.name}**", grid(header, rows)]
    said = []
    best, floor = result.best(Kind.LIBRARY), result.row("floor")
    if (faster := ratio(best, ours)) is not None and best is not None:
        many, how = (faster, "faster") if faster >= 1 else (1 / faster, "slower")
        said.append(
            f"{significant(many)} times {how} than the best library, {best.name}"
        )
    if (over := ratio(ours, floor)) is not None:
        said.append(f"{significant(over)} times the floor")
    if said:
        blocks.append(f"{OURS}: {'; '.join(said)}.")
    if result.missing:
        blocks.append(f"Not installed: {', '.join(result.missing)}.")
    return blocks


def _verdict(target: Target, result: CaseResult) -> list[str]:
    value, met = target.value(result), target.met(result)
    words = {True: "yes", False: "**no**", None: "not measured"}
    unit = "x" if target.unit == "x" else f" {target.unit}".rstrip()
    measured = scientific(value) + (unit if value is not None else "")
    return [target.text, measured, words[met]]


def target_table(measured: Sequence[WorkloadResult]) -> str:
    """Markdown: every target, its measurement, and whether it is met."""
    rows = [
        [f"{one.workload.title}, {result.name}", *_verdict(target, result)]
        for one in measured
        for case, result in zip(one.cases, one.results, strict=True)
        for target in case.targets
    ]
    return grid(("workload", "target", "measured", "met"), rows)


def workload_blocks(measured: WorkloadResult) -> list[str]:
    """Markdown: notes and tables of one workload."""
    blocks = [measured.workload.notes]
    for result in measured.results:
        blocks += case_blocks(result, measured.workload.error_text)
    return blocks


def as_json(measured: Sequence[WorkloadResult]) -> str:
    """JSON of all cases and targets."""
    plain = {one.workload.title: one.plain() for one in measured}
    return json.dumps(plain, allow_nan=False, indent=1)
