"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Draw, interval, number, percent, spread, table

from .real import CHANCE, DELTA, RATES, Judged
from .simulated import ESTIMATES, Expected, Shared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the simulations and of each group of experts.

    Attributes:
      expected: by noise.
      shared: by share of errors in common.
      judged: by task.
      num_rows: rows of a simulated sample.
      num_audits: audits of a set of flags.
    """

    expected: Sequence[Expected]
    shared: Sequence[Shared]
    judged: Mapping[str, Sequence[Judged]]
    num_rows: int
    num_audits: int

    @property
    def groups(self) -> list[tuple[str, Judged]]:
        return [
            (f"{task}: {', '.join(one.experts)}", one)
            for task, groups in self.judged.items()
            for one in groups
        ]

    def text(self) -> str:
        groups = [one for _, one in self.groups]
        gaps = [abs(one.by_class - one.precision) for one in groups]
        # An audit is its size, then misses and mean bound for two kinds of bound.
        missed = [
            miss for one in groups for audit in one.audits for miss in audit[1::2]
        ]
        planned = [one.planned for one in groups if np.isfinite(one.planned[0])]
        sizes, reached = np.transpose(planned) if planned else ((), ())
        most = DELTA + 2 * float(np.sqrt(DELTA * (1 - DELTA) / self.num_audits))
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            num_samples=len(self.expected[0].precision),
            num_rows=self.num_rows,
            within=np.mean([_within(one) for one in self.expected]),
            expected_table=_expected(self.expected),
            shared=self.shared,
            shared_table=_shared(self.shared),
            above_least=np.mean(
                [one.precision.mean() >= one.least.mean() for one in self.shared]
            ),
            real_table=_real(self.groups),
            lifted=sum(one.lift[1] > 1 for one in groups),
            num_groups=len(groups),
            off=[value - one.precision for one in groups for value in one.expected],
            gaps=[gap for gap in gaps if np.isfinite(gap)],
            num_audits=self.num_audits,
            audit_table=_audits(self.groups),
            missed=missed,
            delta=DELTA,
            most=most,
            kept=sum(miss <= most for miss in missed),
            planned=planned,
            chance=CHANCE,
            sizes=sizes,
            reached=reached,
        )

    def figures(self) -> dict[str, Draw]:
        return {"shared-errors": lambda dark: _draw_shared(self.shared)}


def _errors(one: Expected) -> np.ndarray:
    return one.expected - one.precision[:, None]


def _within(one: Expected) -> np.floating:
    """Share of samples in which the estimate with the true noise is close."""
    return np.mean(np.abs(_errors(one)[:, 1]) <= 2 * one.standard_error)


def _expected(found: Sequence[Expected]) -> str:
    return table(
        [
            ("noise", lambda one: one.noise),
            ("precision (%)", lambda one: percent(one.precision.mean())),
            *(
                (name, lambda one, k=k: spread(_errors(one)[:, k], 1, 100.0))
                for k, name in enumerate(ESTIMATES)
            ),
        ],
        found,
    )


def _shared(found: Sequence[Shared]) -> str:
    return table(
        [
            ("errors shared (%)", lambda one: percent(one.share, 0)),
            ("precision (%)", lambda one: percent(one.precision.mean())),
            (
                "expected if independent (%)",
                lambda one: percent(one.if_independent.mean()),
            ),
            ("times the lift (%)", lambda one: percent(one.expected_lift.mean())),
            ("least expected (%)", lambda one: percent(one.least.mean())),
            ("lift", lambda one: number(one.lift[:, 0].mean(), 2)),
            ("seen (%)", lambda one: percent(np.mean(one.lift[:, 1] > 1), 0)),
        ],
        found,
    )


def _draw_shared(found: Sequence[Shared]) -> Figure:
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 4.2), layout="constrained")
    top, bottom = drawn.subplots(2, 1, sharex=True)
    x = [100 * one.share for one in found]
    lines = (
        ("precision", "actual", "o-"),
        ("if_independent", "expected if independent", "s--"),
        ("expected_lift", "times the lift", "^:"),
        ("least", "least expected", "v-."),
    )
    for name, label, look in lines:
        y = [100 * getattr(one, name).mean() for one in found]
        top.plot(x, y, look, label=label, markersize=3.5)
    top.set(ylabel="Precision (%)", ylim=(0, 100))
    top.legend(fontsize="x-small", loc="upper left", ncols=2)
    lift = np.array([one.lift.mean(axis=0) for one in found])
    ends = np.abs(lift[:, 1:] - lift[:, :1]).T
    bottom.errorbar(x, lift[:, 0], yerr=ends, fmt="o-", markersize=3.5, elinewidth=0.8)
    bottom.axhline(1.0, color="0.5", linewidth=0.7)
    bottom.set(
        xlabel="Examples on which both have the same luck (%)",
        ylabel="Lift given confidence",
        ylim=(0, None),
    )
    return drawn


def _real(groups: Sequence[tuple[str, Judged]]) -> str:
    return table(
        [
            ("experts", lambda row: row[0]),
            ("flagged", lambda row: row[1].num_flagged),
            ("judged", lambda row: row[1].num_judged),
            ("precision (%)", lambda row: percent(row[1].precision)),
            ("least confidence (%)", lambda row: percent(row[1].naive)),
            *(
                (
                    f"expected, {percent(rate, 0)} % wrong",
                    lambda row, k=k: percent(row[1].expected[k]),
                )
                for k, rate in enumerate(RATES)
            ),
            ("by class noise", lambda row: percent(row[1].by_class)),
            ("wrong labels (%)", lambda row: percent(row[1].error_rate)),
            (
                "lift",
                lambda row: (
                    f"{number(row[1].lift[0], 2)} {interval(row[1].lift[1:], 2)}"
                ),
            ),
        ],
        groups,
    )


def _lift(lift: Sequence[float]) -> str:
    return f"{number(lift[0], 2)} {interval(lift[1:], 2)}"


def _audits(groups: Sequence[tuple[str, Judged]]) -> str:
    return table(
        [
            ("experts", lambda row: row[0]),
            ("audited", lambda row: f"{row[2][0]:.0f} of {row[1].num_judged}"),
            ("precision (%)", lambda row: percent(row[1].precision)),
            ("mean lower bound (%)", lambda row: percent(row[2][2])),
            ("misses (%)", lambda row: percent(row[2][1])),
            ("Clopper-Pearson (%)", lambda row: percent(row[2][4])),
            ("misses (%)", lambda row: percent(row[2][3])),
        ],
        [(name, one, audit) for name, one in groups for audit in one.audits],
    )
