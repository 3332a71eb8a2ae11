"""RESULTS.md, results.json and the figures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit import report
from benchmarks.kit.report import Draw

from . import expected, ranking
from .expected import Foreseen
from .ranking import Ranked


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of both sections.

    Attributes:
      expected: of each case, split and K.
      ranking: of each case.
      num_splits: random halves of each case.
    """

    expected: Sequence[Foreseen]
    ranking: Sequence[Ranked]
    num_splits: int

    def text(self) -> str:
        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            num_splits=self.num_splits,
            expected=expected.describe(self.expected),
            ranking=ranking.describe(self.ranking),
        )

    def figures(self) -> dict[str, Draw]:
        return expected.figures(self.expected)
