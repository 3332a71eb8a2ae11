"""Measurements on an accelerator, as JSON and as Markdown."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kit.plain import as_plain
from benchmarks.kit.report import grid

from .tables import significant

FILE = "accelerator.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate of one workload.

    Attributes:
      workload: name and size.
      candidate: OURS or "torch".
      first: seconds of the first call.
      warm: seconds of the later ones.
      input_bytes: bytes that a call reads.
      fraction: of the copy bandwidth, reading the inputs once.
      error: error against float64.
    """

    workload: str
    candidate: str
    first: float
    warm: Sequence[float]
    input_bytes: int
    fraction: float
    error: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerated:
    """Measurements on a device.

    Attributes:
      device: its kind.
      platform: "gpu", "tpu" or "cpu".
      versions: versions of calib_jax, jax and torch.
      bandwidth: bytes read and written by a copy, per second.
      rows: in order.
      small: whether sizes are too small to measure anything.
    """

    device: str
    platform: str
    versions: dict[str, str]
    bandwidth: float
    rows: Sequence[Row]
    small: bool

    @staticmethod
    def read(path: Path) -> "Accelerated":
        """Reads what `write` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Accelerated(**fields | {"rows": [Row(**row) for row in fields["rows"]]})

    def write(self, path: Path) -> None:
        """Writes JSON."""
        text = json.dumps(as_plain(self), allow_nan=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    def blocks(self) -> list[str]:
        """As Markdown."""
        versions = ", ".join(f"{name} {text}" for name, text in self.versions.items())
        head = (
            f"{self.device} ({self.platform}), {versions}; a copy reads and writes "
            f"{significant(self.bandwidth / 1e9)} GB/s. The fraction of it is that of "
            "reading the inputs once."
        )
        rows = []
        for row in self.rows:
            median = statistics.median(row.warm)
            theirs = [
                statistics.median(other.warm) / median
                for other in self.rows
                if other.workload == row.workload and other.candidate != row.candidate
            ]
            rows.append(
                [
                    f"{row.workload}, {row.candidate}",
                    significant(median * 1e3),
                    f"{significant(min(row.warm) * 1e3)} to "
                    f"{significant(max(row.warm) * 1e3)}",
                    significant(row.first),
                    significant(row.fraction),
                    f"{row.error:.1e}",
                    significant(theirs[0] if theirs else None),
                ]
            )
        header = (
            "call",
            "warm (ms)",
            "range (ms)",
            "first (s)",
            "of copy bandwidth",
            "error",
            "faster than the other",
        )
        small = ["**Small sizes: this measures nothing.**"] if self.small else []
        return [*small, head, grid(header, rows)]
