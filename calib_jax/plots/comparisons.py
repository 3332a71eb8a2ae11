"""Several models: errors before and after calibration, and accuracy against price.

Reports draw these; they take names and numbers. Shapes: M models.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import panels, styles

# Letters of a model's name beside an axis.
_MOST_LETTERS = 22
# More models are told apart by the table alone.
_MOST_NAMED = 12
# Where the largest price is as many times the least, the axis is logarithmic.
_WIDE = 20.0


def error_dots(
    names: Sequence[str],
    before: Sequence[Sequence[float | None]],
    after: Sequence[Sequence[float | None]],
    floor: Sequence[Sequence[float | None]],
    *,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """ECE of each model on its tasks, before calibration and after it.

    A row for each model, the first on top: hollow squares above its line are tasks
    before calibration, dots below it after. A bar joins the two means. A thin mark is
    the mean ECE of perfectly calibrated models.

    Args:
      names: M names.
      before: M lists of ECEs, None where there is none.
      after: likewise.
      floor: likewise.
      axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.
    """
    height = (0.9 + 0.26 * len(names)) / styles.COLUMN_WIDTH
    with panels.panel(axes, height=max(height, 0.5), dark=dark) as drawn:
        looks = styles.looks(drawn)
        own, other = next(looks), next(looks)
        for row in range(len(names)):
            means = [mean_known(some[row]) for some in (before, after)]
            if None not in means:
                drawn.plot(
                    np.array(means, np.float64),
                    [row - 0.16, row + 0.16],
                    color=styles.ink(),
                    linewidth=0.9,
                    zorder=2,
                )
            ideal = mean_known(floor[row])
            drawn.plot(
                [] if ideal is None else [ideal, ideal],
                [] if ideal is None else [row - 0.34, row + 0.34],
                color=styles.ink(),
                linestyle=(0, (1, 1)),
                linewidth=0.9,
                label=None if row else "perfectly calibrated, mean",
                zorder=1.5,
            )
            for values, place, look, name in (
                (before[row], row - 0.16, other, "before, each task"),
                (after[row], row + 0.16, own, "after, each task"),
            ):
                known = [value for value in values if value is not None]
                drawn.plot(
                    known,
                    [place] * len(known),
                    color=look.colour,
                    linestyle="none",
                    marker=look.marker,
                    markerfacecolor=look.fill,
                    alpha=0.9,
                    label=None if row else name,
                    zorder=3,
                )
        drawn.set_yticks(
            range(len(names)),
            [panels.one_line(name, _MOST_LETTERS) for name in names],
            parse_math=False,
        )
        drawn.set_ylim(len(names) - 0.4, -0.6)
        drawn.set_xlim(left=0)
        drawn.grid(visible=False, axis="y")
        drawn.set_xlabel("ECE (0 is perfect)")
        return panels.finish(drawn, None)


def accuracy_costs(
    names: Sequence[str],
    alone: Sequence[tuple[float, float]],
    best: Sequence[tuple[float, float]],
    errors: Sequence[float],
    *,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Accuracy against mean cost: models alone, and the best choices by price.

    Args:
      names: M names.
      alone: M pairs of a cost and an accuracy in `[0, 1]`, drawn in %.
      best: such pairs of the best choices, the cheapest first, joined by steps.
      errors: the standard error of each of these accuracies, drawn as bars.
      axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.
    """
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        looks = styles.looks(drawn)
        own, other = next(looks), next(looks)
        cost, accuracy = np.array(best, np.float64).reshape(-1, 2).T
        drawn.errorbar(
            cost,
            100 * accuracy,
            yerr=100 * np.array(errors, np.float64),
            color=own.colour,
            marker=own.marker,
            drawstyle="steps-post",
            elinewidth=0.8,
            label="best within each price, ± 1 standard error",
            zorder=3,
        )
        x, y = np.array(alone, np.float64).reshape(-1, 2).T
        drawn.plot(
            x,
            100 * y,
            color=other.colour,
            linestyle="none",
            marker=other.marker,
            markerfacecolor=other.fill,
            markersize=5.5,
            label="one model alone",
            zorder=4,
        )
        every = np.concatenate([cost, x])
        if every.min() > 0 and every.max() > _WIDE * every.min():
            drawn.set_xscale("log")
        drawn.margins(x=0.08, y=0.12)
        if len(names) <= _MOST_NAMED:
            _add_names(drawn, names, x, 100 * y)
        drawn.set_xlabel(f"{panels.cost_label(None)}, in the unit of the prices")
        drawn.set_ylabel("Accuracy (%)")
        return panels.finish(drawn, None)


def _add_names(axes: Axes, names: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """Names below their points, within the panel."""
    axes.autoscale_view()
    points = np.column_stack([x, y])
    places = axes.transAxes.inverted().transform(axes.transData.transform(points))
    for name, point, (right, _) in zip(names, points, places, strict=True):
        side = "left" if right < 1 / 3 else "right" if right > 2 / 3 else "center"
        axes.annotate(
            panels.one_line(name, _MOST_LETTERS),
            xy=(float(point[0]), float(point[1])),
            xytext=(0, -5),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=7,
            parse_math=False,
            zorder=5,
        )


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the numbers that are there, or None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
