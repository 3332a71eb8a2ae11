"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from benchmarks.kit import report
from benchmarks.kit.report import Draw, Section

from . import committee_tables, pair_tables, tried
from .committees import Bounds, Group
from .pairs import Judged

TEMPLATES = Path(__file__).with_name("templates")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of every section.

    Attributes:
      pairs: of two models, by task.
      tried: ways to guard an arbiter.
      committees: by title.
      bounds: of votes whose answers were not saved, by task.
      num_splits: of each task.
      num_bins: of routers.
    """

    pairs: Mapping[str, Judged]
    tried: tried.Tried
    committees: Mapping[str, Group]
    bounds: Mapping[str, Bounds]
    num_splits: int
    num_bins: int

    def sections(self) -> list[Section]:
        return [
            pair_tables.describe(self.pairs, self.num_splits),
            tried.describe(self.tried),
            committee_tables.describe(self.committees, self.bounds),
        ]

    def text(self) -> str:
        preface = report.render(
            TEMPLATES / "preface.md.jinja",
            num_splits=self.num_splits,
            num_bins=self.num_bins,
        )
        blocks = [preface]
        for count, one in enumerate(self.sections(), 1):
            blocks += [report.heading(count, one.title), one.text]
        return "\n\n".join(blocks)

    def figures(self) -> dict[str, Draw]:
        return {
            name: draw for one in self.sections() for name, draw in one.figures.items()
        }
