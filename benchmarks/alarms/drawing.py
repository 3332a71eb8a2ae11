"""The figure: alarms against accuracy lost, estimates against the truth."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .digits import Corrupted
from .measure import LEVEL, SIZES

# Points between series of the figure that would otherwise overlap.
APART = 3.0


def draw(found: Corrupted, shown: int, fallen: float) -> Figure:
    """Both panels; `shown` is the index of the batch size of the estimates, and
    `fallen` is marked.
    """
    drawn = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, right = drawn.subplots(1, 2)
    judged = found.judged
    truth = judged.accuracy.mean(axis=0)
    lost = 100 * (truth[:, :1] - truth)
    series = [
        (f"batches of {size:,}", judged.alarms[..., place].mean(axis=0))
        for place, size in enumerate(SIZES)
    ]
    series.append(("stream", judged.stream_alarms.mean(axis=0)))
    for place, ((label, share), marker) in enumerate(zip(series, "osD^", strict=True)):
        _dots(left, lost, 100 * share + APART * (place - 1.5), place, marker, label)
    left.axhline(100 * LEVEL, color="0.5", linewidth=0.7, linestyle=":")
    left.axvline(100 * fallen, color="0.5", linewidth=0.7, linestyle=":")
    left.set(
        xlabel="Accuracy lost (points)", ylabel="With an alarm (%)", ylim=(-8, 108)
    )
    left.set_xscale("symlog", linthresh=2.0)
    left.set_xlim(-0.3, 60)
    left.set_xticks([0, 1, 2, 10, 40], ["0", "1", "2", "10", "40"])
    left.minorticks_off()
    for place, (label, part, marker) in enumerate(
        (
            ("by confidence", judged.by_confidence, "o"),
            ("by bins", judged.by_bins, "s"),
        )
    ):
        estimate = part[..., shown].mean(axis=0)
        _dots(right, 100 * truth, 100 * estimate, place, marker, label)
    ends = [100 * truth.min(), 100 * truth.max()]
    right.plot(ends, ends, color="0.5", linewidth=0.7)
    right.set(xlabel="Accuracy (%)", ylabel="Estimated accuracy (%)")
    for axes in (left, right):
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderpad=0.0)
    return drawn


def _dots(
    axes: Axes, x: ArrayLike, y: ArrayLike, place: int, marker: str, label: str
) -> None:
    axes.plot(
        np.ravel(x),
        np.ravel(y),
        marker,
        color=f"C{place}",
        fillstyle="full" if place % 2 == 0 else "none",
        markersize=3.5,
        alpha=0.8,
        label=label,
    )
