"""RESULTS.md, results.json and the figure."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.report import Draw, number, percent, table, thousands

from . import cascades, flags
from .calibration_errors import Coverage

# An ECE this many times that of noise alone is clearly above it.
CLEAR = 3.0
# An interval of an APGR this wide says nothing.
WIDE = 10.0
# The least coverage there should be, and for a clear error the most.
LEAST, MOST = 0.93, 0.97


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What was counted.

    Attributes:
      calibration_errors: by setting.
      cascades: by pair and number of rows.
      flags: by number of rows and precision.
      num_samples: samples of a setting.
      num_samples_of_large: samples of a setting with many rows.
    """

    calibration_errors: Sequence[Coverage]
    cascades: Sequence[cascades.Coverage]
    flags: Sequence[flags.Coverage]
    num_samples: int
    num_samples_of_large: int

    def text(self) -> str:
        def error(num_samples: int) -> np.floating:
            return np.sqrt(0.05 * 0.95 / num_samples)

        return report.render(
            Path(__file__).with_name("RESULTS.md.jinja"),
            num_samples=self.num_samples,
            few=self.num_samples_of_large,
            error=error(self.num_samples),
            more_error=error(self.num_samples_of_large),
            wide=WIDE,
            **self._errors(),
            cascade_table=_cascades(self.cascades),
            flag_table=_flags(self.flags),
        )

    def figures(self) -> dict[str, Draw]:
        found = self.calibration_errors
        return {"calibration-error-coverage": lambda dark: _draw(found)}

    def _errors(self) -> dict[str, Any]:
        found = self.calibration_errors

        def chance(one: Coverage, share: float) -> float:
            large = one.setting.num_rows >= 10_000
            num_samples = self.num_samples_of_large if large else self.num_samples
            return 2 * float(np.sqrt(share * (1 - share) / num_samples))

        clear = [one for one in found if ratio(one) >= CLEAR]
        least = min(found, key=lambda one: one.coverage)
        beside = [one for one in found if np.isfinite(one.percentile_coverage)]
        return {
            "num_scores": len({one.setting.scores for one in found}),
            "num_gaps": len({one.setting.gap for one in found}),
            "num_coverages": len(found),
            "error_table": _error_table(found),
            "least": least,
            "least_shape": _shape(least),
            "lower_limit": LEAST,
            "upper_limit": MOST,
            "num_low": sum(one.coverage < LEAST - chance(one, LEAST) for one in found),
            "clear": clear,
            "mean_clear": np.mean([one.coverage for one in clear]) if clear else None,
            "num_high": sum(one.coverage > MOST + chance(one, MOST) for one in clear),
            "beside_shape": _shape(beside[0]) if beside else None,
            "beside_scores": beside[0].setting.scores if beside else None,
            "beside_table": _beside_table(beside),
        }


def ratio(one: Coverage) -> float:
    """The true ECE over the ECE from noise alone."""
    return one.truth / one.noise


def _shape(one: Coverage) -> str:
    num_rows, num_bins = one.setting.num_rows, one.setting.num_bins
    return f"{num_rows:,} rows, {num_bins} bin{'s' if num_bins > 1 else ''}"


def _error_table(found: Sequence[Coverage]) -> str:
    def span(found: Sequence[Coverage]) -> str:
        values = [one.coverage for one in found]
        return f"{percent(min(values))} to {percent(max(values))}" if values else "-"

    def clear(found: Sequence[Coverage]) -> list[Coverage]:
        return [one for one in found if ratio(one) >= CLEAR]

    def between(found: Sequence[Coverage]) -> list[Coverage]:
        return [one for one in found if 0 < one.truth and ratio(one) < CLEAR]

    def width(found: Sequence[Coverage]) -> str:
        widths = [one.width for one in found]
        return f"{number(min(widths))} to {number(max(widths))}"

    def spare(found: Sequence[Coverage]) -> str:
        widths = [one.width / one.least_width for one in clear(found)]
        return number(np.median(widths), 2) if widths else "-"

    by_shape: dict[tuple[int, int], list[Coverage]] = {}
    for one in found:
        shape = one.setting.num_rows, one.setting.num_bins
        by_shape.setdefault(shape, []).append(one)
    return table(
        [
            ("", lambda found: _shape(found[0])),
            (
                "calibrated (%)",
                lambda found: span([one for one in found if one.truth == 0]),
            ),
            ("in between (%)", lambda found: span(between(found))),
            (
                f"ECE {CLEAR:.0f} times what noise makes, or more (%)",
                lambda found: span(clear(found)),
            ),
            ("width", width),
            ("over the least (clear)", spare),
        ],
        [by_shape[shape] for shape in sorted(by_shape)],
    )


def _beside_table(found: Sequence[Coverage]) -> str:
    return table(
        [
            ("confidence less accuracy", lambda one: one.setting.gap),
            ("true ECE", lambda one: number(one.truth)),
            ("mean ECE", lambda one: number(one.estimate)),
            ("of a calibrated model", lambda one: number(one.null_error)),
            ("debiased", lambda one: number(one.debiased)),
            ("p up to 0.05 (%)", lambda one: percent(one.rejected)),
            ("coverage (%)", lambda one: percent(one.coverage)),
            (
                "percentile bootstrap (%)",
                lambda one: percent(one.percentile_coverage),
            ),
            ("width", lambda one: number(one.width)),
            ("least width", lambda one: number(one.least_width)),
        ],
        found,
    )


def _draw(found: Sequence[Coverage]) -> Figure:
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 3.6), layout="constrained")
    top, bottom = drawn.subplots(2, 1, sharex=True)
    top.axhspan(93, 97, color="0.5", alpha=0.2, linewidth=0)
    markers = "osD"
    sizes = sorted({one.setting.num_rows for one in found})
    for place, num_rows in enumerate(sizes):
        mine = [one for one in found if one.setting.num_rows == num_rows]
        ratios = [ratio(one) for one in mine]
        look = {
            "marker": markers[place % 3],
            "linestyle": "none",
            "color": f"C{place}",
            "fillstyle": "none",
            "alpha": 0.8,
        }
        label = f"{num_rows:,} rows"
        top.plot(ratios, [100 * one.coverage for one in mine], label=label, **look)
        bottom.plot(ratios, [one.width / one.least_width for one in mine], **look)
    beside = [one for one in found if np.isfinite(one.percentile_coverage)]
    top.plot(
        [ratio(one) for one in beside],
        [100 * one.percentile_coverage for one in beside],
        "x",
        color="C3",
        label="percentile bootstrap",
    )
    bottom.axhline(1.0, color="0.5", linewidth=0.7)
    bottom.axvline(CLEAR, color="0.5", linewidth=0.7, linestyle=":")
    top.axvline(CLEAR, color="0.5", linewidth=0.7, linestyle=":")
    bottom.set_xscale("symlog", linthresh=0.5)
    bottom.set_xlim(-0.05, None)
    bottom.set_xticks([0, 0.5, 1, 3, 10, 30], ["0", "0.5", "1", "3", "10", "30"])
    bottom.set(
        xlabel="True ECE over what noise alone makes",
        ylabel="Width over the least",
        ylim=(0, None),
    )
    top.set(ylabel="Coverage (%)", ylim=(-3, 103))
    top.legend(loc="lower right")
    return drawn


def _cascades(found: Sequence[cascades.Coverage]) -> str:
    def shown(row: tuple[str, cascades.Coverage]) -> np.ndarray:
        # At both ends some curves are the same number in every sample.
        coverage, width = row[1].coverage[row[0]], row[1].width[row[0]]
        return coverage[width > 0] if coverage.ndim else coverage[None]

    def ends(row: tuple[str, cascades.Coverage]) -> str:
        if not row[1].coverage[row[0]].ndim:
            return ""
        return f"{percent(shown(row).min())} to {percent(shown(row).max())}"

    def width(row: tuple[str, cascades.Coverage]) -> str:
        median = np.median(row[1].width[row[0]])
        return number(median) if median < WIDE else "wide"

    return table(
        [
            ("of", lambda row: row[0]),
            ("models", lambda row: row[1].pair),
            ("rows", lambda row: thousands(row[1].num_rows)),
            ("coverage (%)", lambda row: percent(shown(row).mean())),
            ("over K or bins (%)", ends),
            ("median width", width),
        ],
        [(name, one) for name in found[0].coverage for one in found],
    )


def _flags(found: Sequence[flags.Coverage]) -> str:
    return table(
        [
            ("rows", lambda one: thousands(one.num_rows)),
            ("precision", lambda one: number(one.precision, 2)),
            ("coverage (%)", lambda one: percent(one.precision_coverage)),
            ("width", lambda one: number(one.precision_width)),
            ("recall", lambda one: number(one.recall, 2)),
            ("coverage (%)", lambda one: percent(one.recall_coverage)),
            ("width", lambda one: number(one.recall_width)),
        ],
        found,
    )
