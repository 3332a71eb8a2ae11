"""RESULTS.md, results.json and the figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.paper.report import Section, figure, number, percent, table, write
from calib_jax import plots

from .real import KINDS, LOSSES, Judged
from .simulation import Simulated

Judgements = Mapping[str, Mapping[str, Judged]]  # By pair and kind.

_METHOD = """\
A split counts as broken where the risk of the chosen K exceeds its limit; where a
target is impossible the large model answers everything, and nothing is risked. Of
guarantees with a probability at most {delta} % of splits may be broken, within two
binomial standard errors: {most} %. Conformal risk control promises the mean risk over
splits, not the risk of each."""


def write_results(
    folder: Path,
    simulated: Sequence[Simulated],
    judged: Judgements,
    num_splits: int,
    delta: float,
) -> None:
    """Writes what came of the simulation and of each pair of models."""
    preface = [
        "# Choosing K with a guarantee",
        "Written by `python -m benchmarks.guarantees`; nothing here is typed by hand. "
        "The numbers behind the tables are in `results.json`.",
        _METHOD.format(delta=percent(delta), most=percent(_most(delta, num_splits))),
    ]
    sections = [_simulation(simulated, delta)]
    if judged:
        sections += [
            _summary(judged, num_splits, delta),
            _pairs(judged, num_splits, delta),
            _unlabelled(judged),
        ]
    write(folder, preface, sections)


def _most(delta: float, num_splits: int) -> float:
    return delta + 2 * float(np.sqrt(delta * (1 - delta) / num_splits))


def _simulation(simulated: Sequence[Simulated], delta: float) -> Section:
    rows = [
        [
            one.kind,
            one.num_rows,
            percent(one.level, 2),
            "" if one.kind == "regret" else percent(one.broken),
            f"{percent(one.risk, 2)} ± {percent(one.risk_error, 2)}",
            percent(one.saved),
            percent(one.feasible),
        ]
        for one in simulated
    ]
    header = (
        "limit of",
        "rows",
        "limit (%)",
        "broken (%)",
        "mean risk (%)",
        "answered small (%)",
        "possible (%)",
    )
    return Section(
        title="Simulation with known truth",
        blocks=[
            "Two models whose accuracy in each of 15 bins is known, and limits 0.01 % "
            "below the risk of the first 8 bins: the hardest ones, since K = 8 "
            f"breaks them by next to nothing. delta is {percent(delta)} %.",
            table(header, rows),
        ],
        numbers=simulated,
    )


def _holds(kind: str, one: Judged, most: float) -> bool:
    if _in_expectation(kind):
        return one.risk <= one.level + 2 * one.risk_error
    return one.broken <= most


def _in_expectation(kind: str) -> bool:
    return kind.startswith("regret") or kind.startswith("large share")


def _guaranteed() -> list[str]:
    return [kind for kind in KINDS if not kind.startswith("unlabelled")]


def _summary(judged: Judgements, num_splits: int, delta: float) -> Section:
    rows, most = [], _most(delta, num_splits)
    for kind in _guaranteed():
        of_kind = [pair[kind] for pair in judged.values()]
        kept = sum(_holds(kind, one, most) for one in of_kind)
        if _in_expectation(kind):
            ratio = max(one.risk / one.level for one in of_kind)
            worst = f"mean risk {number(ratio, 2)} of the limit"
        else:
            worst = f"{percent(max(one.broken for one in of_kind))} % broken"
        rows.append(
            [
                kind,
                f"{kept} of {len(of_kind)}",
                worst,
                percent(np.mean([one.saved for one in of_kind])),
                percent(np.mean([one.feasible for one in of_kind])),
            ]
        )
    header = ("limit of", "kept", "worst pair", "calls saved (%)", "possible (%)")
    caption = "Share of broken splits of every pair, for each limit with a probability."

    def draw(dark: bool) -> Figure:
        return _draw(judged, delta, most)

    return Section(
        title="Real models",
        blocks=[
            f"{len(judged)} pairs, {num_splits} random splits of each in two halves: "
            "Platt scaling and a router of 15 bins on the first, K on the second, "
            "judged on all rows. Small errors are limited to a share of the small "
            "model's error where it answers everything. Calls saved are the mean over "
            "pairs and splits of the share that the small model answers, 0 where "
            "impossible.",
            table(header, rows),
            figure("broken", caption),
        ],
        figures={"broken": draw},
        numbers=judged,
    )


def _pairs(judged: Judgements, num_splits: int, delta: float) -> Section:
    loss = LOSSES[0]
    kinds = [f"regret {loss}", f"drop {loss}", KINDS[6]]
    rows = []
    for pair, by_kind in judged.items():
        row = [pair]
        for kind in kinds:
            one = by_kind[kind]
            if _in_expectation(kind):
                row.append(f"{percent(one.risk, 2)} ± {percent(one.risk_error, 2)}")
            else:
                row.append(percent(one.broken))
            row.append(percent(one.saved))
        rows.append(row)
    header = [
        "pair",
        f"mean regret, limit {percent(loss)} (%)",
        "saved (%)",
        f"drop over {percent(loss)} %: broken (%)",
        "saved (%)",
        "half the small error: broken (%)",
        "saved (%)",
    ]
    return Section(title="Every pair", blocks=[table(header, rows)])


def _unlabelled(judged: Judgements) -> Section:
    rows = []
    for loss in LOSSES:
        of_kind = [pair[f"unlabelled {loss}"] for pair in judged.values()]
        tested = [pair[f"drop {loss}"] for pair in judged.values()]
        rows.append(
            [
                percent(loss),
                percent(np.mean([one.risk for one in of_kind]), 2),
                percent(np.mean([one.off for one in of_kind]), 2),
                percent(max(one.off for one in of_kind), 2),
                percent(np.mean([one.broken for one in of_kind])),
                percent(np.mean([one.saved for one in of_kind])),
                percent(np.mean([one.saved for one in tested])),
            ]
        )
    header = (
        "expected loss (%)",
        "mean loss (%)",
        "estimate off by (%)",
        "worst pair (%)",
        "over the limit (%)",
        "calls saved (%)",
        "with the guarantee (%)",
    )
    return Section(
        title="Without labels",
        blocks=[
            "K from the calibrated confidences of the first half alone, with no "
            "guarantee. The estimate is off by the mean size of its difference from "
            "the loss on all rows.",
            table(header, rows),
        ],
    )


def _draw(judged: Judgements, delta: float, most: float) -> Figure:
    kinds = [kind for kind in _guaranteed() if not _in_expectation(kind)]
    drawn = Figure(figsize=(plots.COLUMN_WIDTH, 2.8), layout="constrained")
    axes = drawn.subplots()
    rng = np.random.default_rng(0)
    for place, kind in enumerate(kinds):
        broken = [100 * pair[kind].broken for pair in judged.values()]
        places = place + rng.uniform(-0.25, 0.25, len(broken))
        axes.plot(broken, places, "o", color="C0", markersize=3.0, alpha=0.6)
    axes.axvline(100 * delta, color="C1", linewidth=1.0, label="promised")
    axes.axvline(
        100 * most, color="C1", linestyle=":", linewidth=1.0, label="and two errors"
    )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set(xlabel="Splits whose limit is broken (%)", xlim=(-0.5, None))
    axes.legend(loc="center")
    return drawn
