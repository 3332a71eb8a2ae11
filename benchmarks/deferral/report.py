"""RESULTS.md, results.json and the figure."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.kit import report
from benchmarks.kit.machine import Machine
from benchmarks.kit.report import number, percent, table
from calib_jax.demo.data import Settings

from .measure import CASCADE, LARGE, LOSSES, SMALL, Measured

_PACKAGES = ("calib_jax", "jax", "jaxlib", "flax", "numpy")


def write_results(
    folder: Path, measured: Sequence[Measured], settings: Settings, machine: Machine
) -> None:
    """Writes the measurements, a `Measured` for each seed."""
    small = [one.answers[SMALL].correct.mean() for one in measured]
    versions = machine.versions
    curve = _curve(measured)
    text = report.render(
        Path(__file__).with_name("RESULTS.md.jinja"),
        settings=settings,
        loss=LOSSES[-1],
        machine=machine,
        versions=[f"{name} {versions[name]}" for name in _PACKAGES if name in versions],
        num_seeds=len(measured),
        size=next(iter(measured[0].by_batch)),
        small=np.mean(small),
        most_bins=list(measured[0].by_bins)[-1],
        time_table=_times(measured),
        accuracy_table=_accuracy(measured),
    )
    numbers = {
        "Time": [one.by_batch for one in measured],
        "Accuracy": {
            "chosen": [one.chosen for one in measured],
            "difference": {
                f"{loss}": [gain.mean() for gain in _gains(measured, loss)]
                for loss in LOSSES
            },
        },
        "Accuracy against time": {
            name: curve[name] for name in ("time", "gain", "small_time")
        },
    }
    report.write(folder, text, numbers, {"accuracy-time": lambda dark: _draw(**curve)})


def ratios(measured: Sequence[Measured], batch_size: int) -> np.ndarray:
    """The speed-up: time of the large model over the cascade's, for every seed."""
    pairs = [one.by_batch[batch_size] for one in measured]
    return np.array(
        [np.median(pair[LARGE].rounds / pair[CASCADE].rounds) for pair in pairs]
    )


def _times(measured: Sequence[Measured]) -> str:
    def timings(row: tuple[int, str]) -> list[Any]:
        return [one.by_batch[row[0]][row[1]] for one in measured]

    def if_cascade(cell: Callable[[int], str]) -> Callable[[tuple[int, str]], str]:
        return lambda row: cell(row[0]) if row[1] == CASCADE else ""

    def capacity(batch_size: int) -> str:
        found = [one.capacities[batch_size] for one in measured]
        return f"{min(found)} to {max(found)}"

    def saving(batch_size: int) -> str:
        found = ratios(measured, batch_size)
        least, most = number(found.min(), 2), number(found.max(), 2)
        return f"**{number(found.mean(), 2)}x** ({least} to {most})"

    return table(
        [
            ("program", lambda row: row[1]),
            ("batch", lambda row: row[0]),
            (
                "operations a row",
                lambda row: number(np.mean([t.operations for t in timings(row)]), 0),
            ),
            ("capacity", if_cascade(capacity)),
            (
                "a call (ms)",
                lambda row: number(
                    np.mean([np.median(t.rounds) for t in timings(row)]), 2, 1e3
                ),
            ),
            ("faster than large alone", if_cascade(saving)),
            (
                "compiling (s)",
                lambda row: number(np.mean([t.compile for t in timings(row)]), 2),
            ),
        ],
        [
            (batch_size, name)
            for batch_size in measured[0].by_batch
            for name in (LARGE, CASCADE, SMALL)
        ],
    )


def _gains(measured: Sequence[Measured], loss: float) -> list[np.ndarray]:
    """Outcomes of the cascade minus those of the large model, for each seed."""
    return [
        one.by_bins[one.chosen[loss]][0].correct.astype(float)
        - one.answers[LARGE].correct
        for one in measured
    ]


def _accuracy(measured: Sequence[Measured]) -> str:
    rows = []
    for loss in LOSSES:
        gains, times = _gains(measured, loss), []
        for seed, one in enumerate(measured):
            cascade, time = one.by_bins[one.chosen[loss]]
            times.append(time)
            rows.append(
                [
                    f"{percent(loss)} %",
                    seed,
                    one.chosen[loss],
                    percent(cascade.correct.mean(), 2),
                    percent(one.answers[LARGE].correct.mean(), 2),
                    _with_error(gains[seed]),
                    f"{number(1 / time, 2)}x",
                    percent(cascade.used_large),
                    percent(cascade.overflow, 2),
                ]
            )
        saving = number(np.mean(1 / np.array(times)), 2)
        gain = _with_error(np.concatenate(gains))
        blank = [f"{percent(loss)} %", "all", "", "", ""]
        rows.append([*blank, f"**{gain}**", f"**{saving}x**", "", ""])
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
    return report.grid(header, rows)


def _with_error(difference: np.ndarray) -> str:
    error = difference.std() / np.sqrt(len(difference))
    return f"{percent(difference.mean(), 2)} ± {percent(error, 2)}"


def _curve(measured: Sequence[Measured]) -> dict[str, Any]:
    """Times by seed and K, gains by K in %, and both for the small model alone."""
    counts = list(measured[0].by_bins)
    large = np.array([one.answers[LARGE].correct.mean() for one in measured])
    small = np.array([one.answers[SMALL].correct.mean() for one in measured])
    cascade = np.array(
        [[one.by_bins[k][0].correct.mean() for k in counts] for one in measured]
    )
    return {
        "time": np.array([[one.by_bins[k][1] for k in counts] for one in measured]),
        "gain": 100 * np.mean(cascade - large[:, None], axis=0),
        "small_time": float(np.mean([one.small_time for one in measured])),
        "small_gain": 100 * float(np.mean(small - large)),
    }


def _draw(
    time: np.ndarray, gain: np.ndarray, small_time: float, small_gain: float
) -> Figure:
    drawn = Figure(figsize=(report.COLUMN_WIDTH, 2.5), layout="constrained")
    axes = drawn.subplots()
    axes.axhline(0.0, color="0.5", linewidth=0.7)
    axes.axvline(1.0, color="0.5", linewidth=0.7)
    axes.plot(time.mean(axis=0), gain, "o-", color="C0", label="cascade, K = 0 to 15")
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
