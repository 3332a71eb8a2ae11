"""RESULTS.md, results.json and the figure."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Draw, number, percent, table

from .real import KINDS, LOSSES, Judged
from .simulation import Simulated

Judgements = Mapping[str, Mapping[str, Judged]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of the simulation and of each pair of models.

    Attributes:
      simulated: in order.
      judged: by pair and kind.
      num_splits: splits of each pair.
      delta: probability with which a guarantee may be broken.
    """

    simulated: Sequence[Simulated]
    judged: Judgements
    num_splits: int
    delta: float

    @property
    def most(self) -> float:
        """Largest share of splits that may be broken, two standard errors included."""
        error = np.sqrt(self.delta * (1 - self.delta) / self.num_splits)
        return self.delta + 2 * float(error)

    def text(self) -> str:
        values = {}
        if self.judged:
            values = {
                "summary_table": _summary(self),
                "pair_table": _pairs(self.judged),
                "unlabelled_table": _unlabelled(self.judged),
            }
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            delta=self.delta,
            most=self.most,
            num_splits=self.num_splits,
            num_pairs=len(self.judged),
            simulation_table=_simulation(self.simulated),
            **values,
        )

    def figures(self) -> dict[str, Draw]:
        return {"broken": lambda dark: _draw(self)} if self.judged else {}


def _risk(one: Simulated | Judged) -> str:
    return f"{percent(one.risk, 2)} ± {percent(one.risk_error, 2)}"


def _simulation(simulated: Sequence[Simulated]) -> str:
    return table(
        [
            ("limit of", lambda one: one.kind),
            ("rows", lambda one: one.num_rows),
            ("limit (%)", lambda one: percent(one.level, 2)),
            (
                "broken (%)",
                lambda one: "" if one.kind == "regret" else percent(one.broken),
            ),
            ("mean risk (%)", _risk),
            ("answered small (%)", lambda one: percent(one.saved)),
            ("possible (%)", lambda one: percent(one.feasible)),
        ],
        simulated,
    )


def _holds(kind: str, one: Judged, most: float) -> bool:
    if _in_expectation(kind):
        return one.risk <= one.level + 2 * one.risk_error
    return one.broken <= most


def _in_expectation(kind: str) -> bool:
    return kind.startswith(("regret", "large share"))


def _guaranteed() -> list[str]:
    return [kind for kind in KINDS if not kind.startswith("unlabelled")]


def _mean(found: Sequence[Judged], name: str, digits: int = 1) -> str:
    return percent(np.mean([getattr(one, name) for one in found]), digits)


def _summary(results: Results) -> str:
    def kept(row: tuple[str, list[Judged]]) -> str:
        kind, found = row
        number_kept = sum(_holds(kind, one, results.most) for one in found)
        return f"{number_kept} of {len(found)}"

    def worst(row: tuple[str, list[Judged]]) -> str:
        kind, found = row
        if _in_expectation(kind):
            ratio = max(one.risk / one.level for one in found)
            return f"mean risk {number(ratio, 2)} of the limit"
        return f"{percent(max(one.broken for one in found))} % broken"

    return table(
        [
            ("limit of", lambda row: row[0]),
            ("kept", kept),
            ("worst pair", worst),
            ("calls saved (%)", lambda row: _mean(row[1], "saved")),
            ("possible (%)", lambda row: _mean(row[1], "feasible")),
        ],
        [
            (kind, [pair[kind] for pair in results.judged.values()])
            for kind in _guaranteed()
        ],
    )


def _pairs(judged: Judgements) -> str:
    loss = LOSSES[0]
    regret, drop, half = f"regret {loss}", f"drop {loss}", KINDS[6]
    limit = percent(loss)
    return table(
        [
            ("pair", lambda row: row[0]),
            (f"mean regret, limit {limit} (%)", lambda row: _risk(row[1][regret])),
            ("saved (%)", lambda row: percent(row[1][regret].saved)),
            (
                f"drop over {limit} %: broken (%)",
                lambda row: percent(row[1][drop].broken),
            ),
            ("saved (%)", lambda row: percent(row[1][drop].saved)),
            (
                "half the small error: broken (%)",
                lambda row: percent(row[1][half].broken),
            ),
            ("saved (%)", lambda row: percent(row[1][half].saved)),
        ],
        judged.items(),
    )


def _unlabelled(judged: Judgements) -> str:
    def all_of(kind: str) -> list[Judged]:
        return [pair[kind] for pair in judged.values()]

    return table(
        [
            ("expected loss (%)", lambda row: percent(row[0])),
            ("mean loss (%)", lambda row: _mean(row[1], "risk", 2)),
            ("estimate off by (%)", lambda row: _mean(row[1], "off", 2)),
            ("worst pair (%)", lambda row: percent(max(x.off for x in row[1]), 2)),
            ("over the limit (%)", lambda row: _mean(row[1], "broken")),
            ("calls saved (%)", lambda row: _mean(row[1], "saved")),
            ("with the guarantee (%)", lambda row: _mean(row[2], "saved")),
        ],
        [
            (loss, all_of(f"unlabelled {loss}"), all_of(f"drop {loss}"))
            for loss in LOSSES
        ],
    )


def _draw(results: Results) -> Figure:
    kinds = [kind for kind in _guaranteed() if not _in_expectation(kind)]
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.8), layout="constrained")
    axes = drawn.subplots()
    rng = np.random.default_rng(0)
    for place, kind in enumerate(kinds):
        broken = [100 * pair[kind].broken for pair in results.judged.values()]
        places = place + rng.uniform(-0.25, 0.25, len(broken))
        axes.plot(broken, places, "o", color="C0", markersize=3.0, alpha=0.6)
    axes.axvline(100 * results.delta, color="C1", linewidth=1.0, label="promised")
    axes.axvline(
        100 * results.most,
        color="C1",
        linestyle=":",
        linewidth=1.0,
        label="and two errors",
    )
    axes.set_yticks(range(len(kinds)), kinds)
    axes.invert_yaxis()
    axes.set(xlabel="Splits whose limit is broken (%)", xlim=(-0.5, None))
    axes.legend(loc="center")
    return drawn
