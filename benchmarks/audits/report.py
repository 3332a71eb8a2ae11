"""RESULTS.md, results.json and the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.paper.report import (
    Section,
    figure,
    interval,
    number,
    percent,
    spread,
    table,
    write,
)
from calib_jax import plots

from .real import CHANCE, DELTA, RATES, Judged
from .simulated import ESTIMATES, Expected, Shared

Judgements = Mapping[str, Sequence[Judged]]  # By task.


def write_results(
    folder: Path,
    expected: Sequence[Expected],
    shared: Sequence[Shared],
    judged: Judgements,
    num_rows: int,
    num_audits: int,
) -> None:
    """Writes what came of the simulations and of each group of experts."""
    preface = [
        "# Can cleaning be planned?",
        "Written by `python -m benchmarks.audits`; nothing here is typed by hand. The "
        "numbers behind the tables are in `results.json`.",
    ]
    sections = [
        _expected(expected, num_rows),
        _shared(shared, num_rows),
        _real(judged),
        _audits(judged, num_audits),
    ]
    write(folder, preface, sections)


def _expected(found: Sequence[Expected], num_rows: int) -> Section:
    rows, off = [], []
    for one in found:
        error = one.expected - one.precision[:, None]
        off.append(np.mean(np.abs(error[:, 1]) <= 2 * one.standard_error))
        rows.append(
            [one.noise, percent(one.precision.mean())]
            + [spread(error[:, k], 1, 100.0) for k in range(len(ESTIMATES))]
        )
    return Section(
        title="Expected precision where the assumptions hold",
        blocks=[
            f"{len(found[0].precision)} samples of {num_rows:,} rows of ten classes. p "
            "are calibrated probabilities of the true label, q of the given one, which "
            "a model calibrated on noisy labels has; flagged is what the most probable "
            "class contradicts. Expected less actual precision in points, mean and "
            "standard deviation over samples. The estimate with the true noise is "
            "within two of its stated standard errors of the actual precision in "
            f"{percent(np.mean(off))} % of samples.",
            table(("noise", "precision (%)", *ESTIMATES), rows),
        ],
        numbers=found,
    )


def _shared(found: Sequence[Shared], num_rows: int) -> Section:
    rows = [
        [
            percent(one.share, 0),
            percent(one.precision.mean()),
            percent(one.if_independent.mean()),
            percent(one.expected_lift.mean()),
            percent(one.least.mean()),
            number(one.lift[:, 0].mean(), 2),
            percent(np.mean(one.lift[:, 1] > 1), 0),
        ]
        for one in found
    ]
    header = (
        "errors shared (%)",
        "precision (%)",
        "expected if independent (%)",
        "times the lift (%)",
        "least expected (%)",
        "lift",
        "seen (%)",
    )
    caption = (
        "Precision of labels that two experts contradict, what is expected of it, and "
        "the lift of their joint errors, against the share of errors in common."
    )
    first, last = found[0], found[-1]
    never = np.mean([one.precision.mean() >= one.least.mean() for one in found])
    return Section(
        title="Experts that share a bias",
        blocks=[
            "Two calibrated experts that find the same examples hard, and say so. On a "
            "share of the examples both have the same luck, so that they are wrong "
            f"together. Labels are wrong at random; {num_rows:,} rows, of which 2,000 "
            "have trusted labels, on which the dependence is measured. *Lift* is that "
            "given confidence, *seen* the share of samples in which its interval lies "
            "above 1. *Times the lift* expects so many times the false flags of "
            "independent experts, *least expected* holds for any dependence; both take "
            "every label for right that experts would flag wrongly, and so expect a "
            "little too little.",
            table(header, rows),
            f"Precision falls from {percent(first.precision.mean())} to "
            f"{percent(last.precision.mean())} %, while that expected of independent "
            f"experts goes from {percent(first.if_independent.mean())} to "
            f"{percent(last.if_independent.mean())} %. The mean precision is at or "
            f"above the least expected one at {percent(never, 0)} % of the shares.",
            figure("shared-errors", caption),
        ],
        figures={"shared-errors": lambda dark: _draw_shared(found)},
        numbers=found,
    )


def _draw_shared(found: Sequence[Shared]) -> Figure:
    drawn = Figure(figsize=(plots.COLUMN_WIDTH, 4.2), layout="constrained")
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


def _groups(judged: Judgements) -> list[tuple[str, Judged]]:
    return [
        (f"{task}: {', '.join(one.experts)}", one)
        for task, groups in judged.items()
        for one in groups
    ]


def _real(judged: Judgements) -> Section:
    groups = _groups(judged)
    rows = [
        [
            name,
            one.num_flagged,
            one.num_judged,
            percent(one.precision),
            percent(one.naive),
            *(percent(value) for value in one.expected),
            percent(one.by_class),
            percent(one.error_rate),
            f"{number(one.lift[0], 2)} {interval(*one.lift[1:], 2)}",
        ]
        for name, one in groups
    ]
    header = (
        "experts",
        "flagged",
        "judged",
        "precision (%)",
        "least confidence (%)",
        *(f"expected, {percent(rate, 0)} % wrong" for rate in RATES),
        "by class noise",
        "wrong labels (%)",
        "lift",
    )
    above = sum(one.lift[1] > 1 for _, one in groups)
    gaps = [abs(one.by_class - one.precision) for _, one in groups]
    known = [gap for gap in gaps if np.isfinite(gap)]
    off = [
        min(value - one.precision for value in one.expected) for _, one in groups
    ] + [max(value - one.precision for value in one.expected) for _, one in groups]
    blocks = [
        "Labels that every expert of a group contradicts; models are calibrated on the "
        "given labels of the other half. Actual precision is of the flags that people "
        "judged: all images of ImageNet-1K, but of the CIFARs only those that an "
        "earlier method suspected, which are wrong more often than other flags. "
        "*Expected* is that of independent experts if so many labels were wrong, with "
        "any other class; *by class noise* from probabilities of all classes and noise "
        "by confident learning. *Least confidence* is the mean over the flags "
        "of that of the least confident expert: what one would expect who took it for "
        "the chance that the label is wrong. *Lift* is of joint errors given "
        "confidence on labels that nobody found wrong, with its interval at 95 %; of "
        "the CIFARs that takes every label that nobody judged for right, and those "
        "that are not count as errors of all experts: their lift is too high. In %.",
        table(header, rows),
        f"The lift is above 1 for {above} of {len(groups)} groups. Over the supposed "
        "rates the expectation from answers and confidences, less the actual "
        f"precision, is {number(min(off), 0, 100.0)} to {number(max(off), 0, 100.0)} "
        "points"
        + (
            "; that by class noise is off by "
            f"{number(min(known), 0, 100.0)} to {number(max(known), 0, 100.0)} points."
            if known
            else "."
        ),
    ]
    return Section(title="Real experts", blocks=blocks, numbers=judged)


def _audits(judged: Judgements, num_audits: int) -> Section:
    rows, missed, planned = [], [], []
    for name, one in _groups(judged):
        for size, miss, bound, other_miss, other in one.audits:
            missed += [miss, other_miss]
            rows.append(
                [
                    name,
                    f"{size:.0f} of {one.num_judged}",
                    percent(one.precision),
                    percent(bound),
                    percent(miss),
                    percent(other),
                    percent(other_miss),
                ]
            )
        if np.isfinite(one.planned[0]):
            planned.append(one.planned)
    most = DELTA + 2 * float(np.sqrt(DELTA * (1 - DELTA) / num_audits))
    header = (
        "experts",
        "audited",
        "precision (%)",
        "mean lower bound (%)",
        "misses (%)",
        "Clopper-Pearson (%)",
        "misses (%)",
    )
    blocks = [
        f"{num_audits:,} random audits of the flags that people judged, whose "
        "precision is known. A lower bound misses where it exceeds that. The first is "
        "of these flags, the second of all flags of the kind.",
        table(header, rows),
    ]
    if missed:
        kept = sum(miss <= most for miss in missed)
        blocks.append(
            f"At most {percent(DELTA)} % may miss, within two standard errors "
            f"{percent(most)} %: so in {kept} of {len(missed)} cases, and "
            f"{percent(max(missed))} % in the worst."
        )
    if planned:
        sizes, reached = np.transpose(planned)
        blocks.append(
            "`num_to_audit` with the precision as expected one, for a bound five "
            f"points below it with a chance of {percent(CHANCE, 0)} %, asks for "
            f"{sizes.min():.0f} to {sizes.max():.0f} of the flags; the bound was "
            f"reached in {percent(reached.min())} to {percent(reached.max())} % of "
            "the audits."
        )
    return Section(title="Audits", blocks=blocks)
