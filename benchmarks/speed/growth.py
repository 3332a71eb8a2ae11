"""How time and memory grow with the data."""

import dataclasses
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .cases import OURS, Case, CaseResult, Measurement, Workload
from .measure import Advance, Settings, Start, run_case
from .process import ChildSession

FACTORS = (1, 4, 16)
# Memory that differs by no more than this between sizes counts as flat.
FLAT = 16_000_000
_COLUMNS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
    """One workload at 1, 4 and 16 times a size.

    Attributes:
      title: title of the workload.
      results: results of calib_jax alone, one for each size.
    """

    title: str
    results: Sequence[CaseResult]

    @property
    def rows(self) -> list[Measurement | None]:
        """Measurements in order; None where one failed."""
        return [result.row(OURS) for result in self.results]

    @property
    def times(self) -> list[float] | None:
        """Seconds of a warm call."""
        rows = self.rows
        return None if None in rows else [row.median for row in rows if row]

    @property
    def peaks(self) -> list[int] | None:
        """Bytes beyond the inputs, where known."""
        peaks = [None if row is None else row.peak for row in self.rows]
        return None if None in peaks else [peak for peak in peaks if peak is not None]


def run(
    workload: Workload,
    settings: Settings,
    *,
    start: Start = ChildSession,
    advance: Advance = lambda step: None,
) -> Growth:
    """Measures one workload at each size."""
    settings = dataclasses.replace(settings, starts=1)
    results = []
    for factor, size in zip(FACTORS, workload.growth, strict=True):
        case = Case(name=f"{factor}x", size=size, small=size)
        results.append(
            run_case(
                workload, case, settings, only=(OURS,), start=start, advance=advance
            )
        )
    return Growth(title=workload.title, results=results)


def draw(growths: Sequence[Growth]) -> Figure:
    """Time and memory over those at the smallest size, a panel for each workload."""
    rows = -(-len(growths) // _COLUMNS)
    figure = Figure(figsize=(7.0, 1.75 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, min(_COLUMNS, len(growths)), squeeze=False)
    handles = []
    reached = list(map(float, FACTORS))
    for axes, growth in zip(grid.flat, growths, strict=False):
        axes.set_title(growth.title, fontsize=7.0)
        (guide,) = axes.plot(
            FACTORS, FACTORS, color="0.5", linewidth=0.7, label="as the data"
        )
        handles = [guide]
        lines = (("time", growth.times, "o-"), ("memory", growth.peaks, "s--"))
        for number, (name, values, look) in enumerate(lines):
            # Nothing allocated at the smallest size is nothing to compare with.
            relative = [v / values[0] for v in values] if values and values[0] else []
            # Nothing allocated later has no place on a logarithmic axis.
            reached += [value for value in relative if value > 0]
            drawn = FACTORS if relative else ()
            handles += axes.plot(drawn, relative, look, color=f"C{number}", label=name)
        axes.set(xscale="log", yscale="log")
        axes.set_yticks(FACTORS, [f"{factor}x" for factor in FACTORS])
        axes.set_xticks(FACTORS, [f"{factor}x" for factor in FACTORS])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(FixedLocator([]))
    for axes in grid.flat[: len(growths)]:
        axes.set_ylim(min(reached) / 1.3, 1.3 * max(reached))
    for axes in grid.flat[len(growths) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("Data, over 1x")
    for axes in grid[:, 0]:
        axes.set_ylabel("Time and memory, over 1x")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
