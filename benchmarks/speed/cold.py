"""First calls, without a compilation cache: `python -m benchmarks.speed.cold`.

Prints the section *Cold* of RESULTS.md. With `--output FOLDER` it takes the place of
that section in the RESULTS.md, results.json and figures of a folder, whose other
sections stay as they are.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.kit.command import bar, progress
from benchmarks.kit.machine import Machine, Watch
from benchmarks.kit.report import Section, figure, grid

from . import stored
from .cases import OURS, Case, CaseResult
from .child import load
from .measure import Advance, Settings, Start, run_case
from .process import ROOT, ChildSession, environment
from .tables import significant

TITLE = "Cold"
_FIRST, _HUNDRED = "the first answer", "a hundred answers"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limited:
    """A call of `cold_calls` and its target.

    Attributes:
      text: the call, in Markdown.
      limit: the most that it may cost, over both reference programs.
    """

    text: str
    limit: float


_EACH = 1.2
LIMITS = {
    "expected_calibration_error": Limited(
        text="`expected_calibration_error`", limit=_EACH
    ),
    "fit_router": Limited(text="`fit_router`", limit=_EACH),
    "cascade_curve": Limited(text="`cascade_curve`", limit=_EACH),
    "fit_temperature": Limited(text="`fit_temperature`", limit=_EACH),
    "fit_platt": Limited(text="`fit_platt`", limit=_EACH),
    "fit_expert_bins": Limited(text="`fit_expert_bins`, 2 models", limit=_EACH),
    "confident_learning": Limited(text="`confident_learning`", limit=_EACH),
    "calibration_error_interval": Limited(
        text="`calibration_error_interval`", limit=3.0
    ),
    "cascade_interval": Limited(text="`cascade_interval`", limit=3.0),
    "pipeline": Limited(text="the README's pipeline", limit=15.0),
    "groups": Limited(text="20 groups of different sizes", limit=10.0),
    "plans": Limited(text="scalars and plans", limit=0.1),
}
# Workloads whose answers are timed against the number of rows, and their candidates.
CURVES: Mapping[str, Sequence[str]] = {
    "temperature": (OURS, "scikit-learn", "torch"),
    "platt": (OURS, "scikit-learn", "torch"),
    "calibration_error": (OURS, "scikit-learn", "NumPy argsort"),
}
_SIZES = {"temperature": {"classes": 10}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
      rows: rows of a half.
      classes: of the logits.
      processes: fresh processes of each call, to take the median.
      counts: numbers of rows of the curves.
      rounds: warm calls of each candidate of the curves.
    """

    rows: int = 5000
    classes: int = 100
    processes: int = 5
    counts: Sequence[int] = (100, 1_000, 10_000, 100_000, 1_000_000)
    rounds: int = 5


SMALL = Plan(rows=500, classes=5, processes=1, counts=(50, 70), rounds=2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class First:
    """First calls, an entry for each process.

    Attributes:
      name: of the call.
      references: CPU seconds of the two reference programs, together.
      seconds: CPU seconds of the call.
      programs: programs that it compiled.
    """

    name: str
    references: Sequence[float]
    seconds: Sequence[float]
    programs: Sequence[int]

    @property
    def ratio(self) -> float:
        """The median over processes of the call over its references."""
        pairs = zip(self.seconds, self.references, strict=True)
        return statistics.median(call / reference for call, reference in pairs)

    @property
    def met(self) -> bool:
        """Whether the target is met; plans compile nothing either."""
        enough = self.ratio <= LIMITS[self.name].limit
        return enough and (self.name != "plans" or not any(self.programs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """One workload against the number of rows.

    Attributes:
      title: of the workload.
      counts: numbers of rows.
      results: one for each.
    """

    title: str
    counts: Sequence[int]
    results: Sequence[CaseResult]

    def times(self, candidate: str, answers: int) -> list[tuple[int, float]]:
        """Numbers of rows, and seconds of the first answers of a candidate."""
        found = []
        for count, result in zip(self.counts, self.results, strict=True):
            row = result.row(candidate)
            if row is not None and row.first is not None:
                found.append((count, row.first + (answers - 1) * row.median))
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cold:
    """Everything that was measured.

    Attributes:
      plan: how much.
      firsts: first calls, in order.
      answers: of each workload.
      machine: the machine of the run.
    """

    plan: Plan
    firsts: Sequence[First]
    answers: Sequence[Answers]
    machine: Machine

    def section(self) -> Section:
        """The section of RESULTS.md."""
        return Section(
            title=TITLE,
            text="\n\n".join(self._blocks()),
            figures={"cold": lambda dark: draw(self.answers)},
            numbers=self,
        )

    def _blocks(self) -> list[str]:
        plan, used = self.plan, self.machine
        versions = ", ".join(
            f"{name} {used.versions[name]}" for name in ("jax", "numpy", "scipy")
        )
        load = f"; load average {used.load[0]:.2f} before" if used.load else ""
        rows = [
            [
                LIMITS[one.name].text,
                significant(statistics.median(one.seconds)),
                significant(statistics.median(one.references)),
                f"{significant(one.ratio)}x",
                _limit(one.name),
                f"{statistics.median(one.programs):.0f}",
                "yes" if one.met else "**no**",
            ]
            for one in self.firsts
        ]
        header = (
            "first call of",
            "CPU (s)",
            "references (s)",
            "ratio",
            "at most",
            "programs",
            "met",
        )
        caption = (
            f"Seconds to {_FIRST} (above) and to {_HUNDRED} (below) against the number "
            "of rows."
        )
        small = ["**Small sizes: this measures nothing.**"] if plan == SMALL else []
        return [
            *small,
            _TEXT.format(
                rows=f"{plan.rows:,}",
                classes=plan.classes,
                smallest=plan.rows // 50,
                largest=plan.rows // 10,
                processes=plan.processes,
            ),
            grid(header, rows),
            _CURVES,
            figure("cold", caption),
            f"Measured on {used.processor}, {used.cores} cores, with {versions}{load}.",
        ]


def _limit(name: str) -> str:
    most = f"{LIMITS[name].limit:g}x"
    return f"{most}, no program" if name == "plans" else most


_TEXT = """\
CPU seconds of a first call in a fresh process, without a compilation cache: of all
threads, since on a busy machine they vary less than the time on the clock. The ratio is
that of the call to **the sum of the first calls of two short programs, compiled just
before in the same process**: an ECE by `lax.sort` and one-hot sums, and a temperature
fit by Newton's method in a `while_loop`, jitted, without masks, ties, checks or exact
sums, on arrays of the same sizes. JAX has started before, and what a call starts from,
such as a router or bins, was made before and does not count. Each call is the only one
of its process; ratios are medians over {processes} processes. *Programs* are those that
XLA compiled for the call, among them up to three empty ones that try whether it knows
an option.

All have {rows} rows and {classes} classes, NumPy arrays. The pipeline has {rows} rows a
half, from the logits of two models: two temperature fits, four `top1`, four ECEs,
`fit_router`, two curves, K, `use_small`, APGR, `fit_expert_bins`, flags, suggestions
and the repair, as in the README; then also `scaled_softmax`, `confident_learning`,
`calibration_error_interval` and `cascade_interval`. The groups have 20 sizes from
{smallest} to {largest} rows: `fit_temperature`, `top1` and ECE of each. Scalars and
plans are a Clopper-Pearson bound, two p-values, the size and the bounds of an audit,
and PGR, APGR, CPT, the random curve and K of a curve in hand: they compile nothing."""

_CURVES = """\
How long one waits, on the clock, for the first answer and for a hundred of the same
size: the first call in a fresh process, compiling included, and 99 times the median of
the warm ones. Importing a library and converting the inputs to its arrays is not
counted. Temperature is fitted to 10 classes."""


def measure(
    plan: Plan,
    *,
    start: Start = ChildSession,
    first: Callable[[str, Plan], dict] | None = None,
    advance: Advance = lambda step: None,
) -> Cold:
    """Measures first calls, and answers against the number of rows.

    Args:
      plan: how much.
      start: starts a session of a candidate.
      first: measures one first call, in a process of its own if not given.
      advance: called before each step with its description.
    """
    watch = Watch()
    firsts = []
    for name in LIMITS:
        advance(name)
        found = [(first or in_process)(name, plan) for _ in range(plan.processes)]
        firsts.append(
            First(
                name=name,
                references=[sum(one["references"]) for one in found],
                seconds=[one["seconds"] for one in found],
                programs=[one["programs"] for one in found],
            )
        )
    settings = Settings(rounds=plan.rounds, starts=1, budget=2.0)
    answers = []
    for name, candidates in CURVES.items():
        workload, results = load(name), []
        for count in plan.counts:
            advance(f"{name}, {count:,} rows")
            size = {"rows": count, **_SIZES.get(name, {})}
            case = Case(name=f"{count:,}", size=size, small=size)
            results.append(
                run_case(workload, case, settings, only=candidates, start=start)
            )
        answers.append(
            Answers(title=workload.title, counts=plan.counts, results=results)
        )
    return Cold(plan=plan, firsts=firsts, answers=answers, machine=watch.finish())


def num_steps(plan: Plan) -> int:
    """How often `measure` calls `advance`."""
    return len(LIMITS) + len(CURVES) * len(plan.counts)


def in_process(name: str, plan: Plan) -> dict:
    """`cold_calls.measure` in a fresh process."""
    command = [sys.executable, "-m", f"{__package__}.cold_calls", name]
    done = subprocess.run(
        [*command, str(plan.rows), str(plan.classes)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment(),
    )
    return json.loads(done.stdout)


def draw(answers: Sequence[Answers]) -> Figure:
    """Seconds of the first answer and of a hundred, a column for each workload."""
    figure = Figure(figsize=(7.0, 3.9), layout="constrained")
    grid = figure.subplots(2, len(answers), sharex=True, sharey="row", squeeze=False)
    looks = {OURS: ("C0", "-", "o"), "scikit-learn": ("C1", "--", "s")}
    handles = {}
    for column, one in zip(grid.T, answers, strict=True):
        column[0].set_title(one.title)
        column[1].set_xlabel("Rows")
        names = [row.name for row in one.results[0].rows]
        for axes, number in zip(column, (1, 100), strict=True):
            for name in names:
                other = {"torch": ("C2", ":", "^")}.get(name, ("C3", "-.", "D"))
                colour, line, marker = looks.get(name, other)
                points = one.times(name, number)
                (handles[name],) = axes.plot(
                    [count for count, _ in points],
                    [seconds for _, seconds in points],
                    color=colour,
                    linestyle=line,
                    marker=marker,
                    markersize=3.5,
                    label=name,
                )
            axes.set(xscale="log", yscale="log")
    for axes, what in zip(grid[:, 0], (_FIRST, _HUNDRED), strict=True):
        axes.set_ylabel(f"Seconds to\n{what}")
    figure.legend(
        handles=list(handles.values()), loc="outside lower center", ncols=len(handles)
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.cold", description="Times first calls."
    )
    parser.add_argument(
        "--small", action="store_true", help="sizes that only show that it works"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="a folder with RESULTS.md and results.json, whose section is replaced "
        "(default: nothing is written)",
    )
    options = parser.parse_args()
    plan = SMALL if options.small else Plan()
    with progress() as bars:
        measured = measure(plan, advance=bar(bars, "cold", num_steps(plan)))
    section = measured.section()
    print(section.text)
    if options.output is not None:
        stored.put(options.output, [section])


if __name__ == "__main__":
    main()
