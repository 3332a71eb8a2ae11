"""RESULTS.md, results.json and the figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit.report import Section, figure, number, percent, table, write
from calib_jax import plots

from . import calibration_errors, cascades, flags

# An ECE so many times what noise alone makes is clearly above it.
CLEAR = 3.0
# From this width on an interval of an APGR says nothing.
WIDE = 10.0
# What coverage should be at the least, and of what is clearly above 0 at the most.
LEAST, MOST = 0.93, 0.97

_METHOD = """\
Rows are drawn from populations of 20,000 confidences with known probabilities of being
right, so that what an interval is of is known exactly. Bins and routers come from as
many other rows and stay as they are. Intervals are of 95 %. Coverage is the share of
{num_samples} samples ({few} of 10,000 rows) whose interval holds the truth; at 95 % its
standard error is {error} points ({more_error})."""


def write_results(
    folder: Path,
    errors: Sequence[calibration_errors.Coverage],
    of_cascades: Sequence[cascades.Coverage],
    of_flags: Sequence[flags.Coverage],
    num_samples: int,
    few: int,
) -> None:
    """Writes what was counted."""
    preface = [
        "# Whether error bars hold what they say",
        "Written by `python -m benchmarks.intervals`; nothing here is typed by hand. "
        "The numbers behind the tables are in `results.json`.",
        _METHOD.format(
            num_samples=f"{num_samples:,}",
            few=f"{few:,}",
            error=percent(np.sqrt(0.05 * 0.95 / num_samples)),
            more_error=percent(np.sqrt(0.05 * 0.95 / few)),
        ),
    ]
    samples = {
        one.setting.num_rows: few if one.setting.num_rows >= 10_000 else num_samples
        for one in errors
    }
    sections = [_errors(errors, samples), _cascades(of_cascades), _flags(of_flags)]
    write(folder, preface, sections)


def ratio(one: calibration_errors.Coverage) -> float:
    """The true ECE over what noise alone would make of none."""
    return one.truth / one.noise


def _shape(num_rows: int, num_bins: int) -> str:
    return f"{num_rows:,} rows, {num_bins} bin{'s' if num_bins > 1 else ''}"


def _judged(
    found: Sequence[calibration_errors.Coverage], samples: dict[int, int]
) -> str:
    """How many coverages are too low or, of clear errors, too high, beyond chance."""

    def error(one: calibration_errors.Coverage, share: float) -> float:
        return 2 * float(np.sqrt(share * (1 - share) / samples[one.setting.num_rows]))

    clear = [one for one in found if ratio(one) >= CLEAR]
    low = sum(one.coverage < LEAST - error(one, LEAST) for one in found)
    high = sum(one.coverage > MOST + error(one, MOST) for one in clear)
    text = (
        f"Below {percent(LEAST, 0)} % by more than two standard errors are {low} of "
        f"{len(found)} coverages"
    )
    if not clear:
        return f"{text}."
    mean = np.mean([one.coverage for one in clear])
    return (
        f"{text}; of the {len(clear)} of a clear error, whose mean is {percent(mean)} "
        f"%, {high} are above {percent(MOST, 0)} % by as much."
    )


def _errors(
    found: Sequence[calibration_errors.Coverage], samples: dict[int, int]
) -> Section:
    def span(values: list[float]) -> str:
        return f"{percent(min(values))} to {percent(max(values))}" if values else "-"

    rows = []
    shapes = sorted({(one.setting.num_rows, one.setting.num_bins) for one in found})
    for shape in shapes:
        mine = [
            one
            for one in found
            if (one.setting.num_rows, one.setting.num_bins) == shape
        ]
        clear = [one.coverage for one in mine if ratio(one) >= CLEAR]
        zero = [one.coverage for one in mine if one.truth == 0]
        rest = [one.coverage for one in mine if 0 < one.truth and ratio(one) < CLEAR]
        widths = [one.width for one in mine]
        spare = [one.width / one.least_width for one in mine if ratio(one) >= CLEAR]
        rows.append(
            [
                _shape(*shape),
                span(zero),
                span(rest),
                span(clear),
                f"{number(min(widths))} to {number(max(widths))}",
                number(np.median(spare), 2) if spare else "-",
            ]
        )
    header = (
        "",
        "calibrated (%)",
        "in between (%)",
        f"ECE {CLEAR:.0f} times what noise makes, or more (%)",
        "width",
        "over the least (clear)",
    )
    beside = [one for one in found if np.isfinite(one.percentile_coverage)]
    examples = [
        [
            one.setting.gap,
            number(one.truth),
            number(one.estimate),
            number(one.null_error),
            number(one.debiased),
            percent(one.rejected),
            percent(one.coverage),
            percent(one.percentile_coverage),
            number(one.width),
            number(one.least_width),
        ]
        for one in beside
    ]
    example_header = (
        "confidence less accuracy",
        "true ECE",
        "mean ECE",
        "of a calibrated model",
        "debiased",
        "p up to 0.05 (%)",
        "coverage (%)",
        "percentile bootstrap (%)",
        "width",
        "least width",
    )
    least = min(found, key=lambda one: one.coverage)
    caption = (
        "Coverage of the interval of the ECE and of a percentile bootstrap, and width "
        "of the former over the least possible, against the true ECE."
    )
    blocks = [
        "`calibration_error_interval` on confidences of "
        f"{len({one.setting.scores for one in found})} kinds (confident, wide, tied, "
        f"saturated) and {len({one.setting.gap for one in found})} kinds of "
        "miscalibration: least and greatest coverage over these. The least width is "
        "that of a normal interval around an unbiased estimate that varies as the ECE "
        "does. Where gaps are of the size of their errors no interval can be short and "
        "right (Cai and Low 2011), and this one covers more than it says.",
        table(header, rows),
        f"The least of {len(found)} coverages is {percent(least.coverage)} % "
        f"({_shape(least.setting.num_rows, least.setting.num_bins)}, "
        f"{least.setting.scores}, {least.setting.gap}). {_judged(found, samples)}",
    ]
    if beside:
        setting = beside[0].setting
        blocks += [
            f"Of {_shape(setting.num_rows, setting.num_bins)}, "
            f"{setting.scores} scores, with a percentile bootstrap of the ECE beside, "
            "which is biased twice and offered nowhere in the library:",
            table(example_header, examples),
        ]
    blocks.append(figure("calibration-error-coverage", caption))
    return Section(
        title="Expected calibration error",
        blocks=blocks,
        figures={"calibration-error-coverage": lambda dark: _draw(found)},
        numbers=found,
    )


def _draw(found: Sequence[calibration_errors.Coverage]) -> Figure:
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


def _cascades(found: Sequence[cascades.Coverage]) -> Section:
    rows = []
    for name in found[0].coverage:
        for one in found:
            coverage, width = one.coverage[name], one.width[name]
            # Both ends of some curves are the same number in every sample.
            shown = coverage[width > 0] if coverage.ndim else coverage[None]
            rows.append(
                [
                    name,
                    one.pair,
                    f"{one.num_rows:,}",
                    percent(shown.mean()),
                    f"{percent(shown.min())} to {percent(shown.max())}"
                    if coverage.ndim
                    else "",
                    number(np.median(width)) if np.median(width) < WIDE else "wide",
                ]
            )
    header = (
        "of",
        "models",
        "rows",
        "coverage (%)",
        "over K or bins (%)",
        "median width",
    )
    return Section(
        title="Cascades",
        blocks=[
            "`cascade_interval` and `cascade_difference_interval` of 15 bins: a small "
            "model of mean accuracy 0.62 and a large one that is 0.15 (clear gap) or "
            "0.03 better, or right on next to all rows; by half they are right on the "
            "same rows. Where the gap is small PGR and APGR divide by what may be 0, "
            f"and their intervals are as wide as that asks for: wide is {WIDE:.0f} or "
            "more.",
            table(header, rows),
        ],
        numbers=found,
    )


def _flags(found: Sequence[flags.Coverage]) -> Section:
    rows = [
        [
            f"{one.num_rows:,}",
            number(one.precision, 2),
            percent(one.precision_coverage),
            number(one.precision_width),
            number(one.recall, 2),
            percent(one.recall_coverage),
            number(one.recall_width),
        ]
        for one in found
    ]
    header = (
        "rows",
        "precision",
        "coverage (%)",
        "width",
        "recall",
        "coverage (%)",
        "width",
    )
    return Section(
        title="Flagged labels",
        blocks=[
            "`cleaning_interval`: a tenth of the rows is flagged, and of the others "
            "one in twenty is wrong.",
            table(header, rows),
        ],
        numbers=found,
    )
