"""Curves of label cleaning. Shapes: N rows of a curve, P points."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..cleaning.curves import CleaningCurve
from . import panels, styles

# A longer curve is thinned: the eye sees no difference, and the file stays small.
_MAX_DRAWN_ROWS = 2000


def cleaning_curves(
    curves: Mapping[str, CleaningCurve],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    *,
    max_flagged_share: float = 1.0,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Precision of flagged labels against the share flagged (Figure 4).

    A curve ranks labels by a score and flags more and more of them; a point is a method
    that flags a fixed set. The line "random" is the share of wrong labels, which is the
    precision of flags placed at random. The paper calls the flagged share "detection
    rate"; it is not the recall.

    Args:
      curves: from names to a `CleaningCurve` each of `[N]` points, with shares and
        precisions in `[0, 1]`, drawn in %. Curves of more than 2,000 rows are thinned.
      points: optional, from names to `(flagged_share, precision)`: scalars, or arrays
        of one shape `[P]` for a method with a parameter, whose P points are joined.
      max_flagged_share: right end of the panel, in `(0, 1]`.
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: without a curve or point, if one is not of rank 1, or
        `max_flagged_share` is out of range.

    Examples:
      >>> import calib_jax as cj
      >>> curve = cj.cleaning_curve([0.9, 0.1, 0.8, 0.3], [1, 0, 1, 0])
      >>> figure = cleaning_curves({"ranked": curve}, {"Method 1": (0.75, 0.67)})
      >>> print(figure.axes[0].get_xlabel())
      Labels flagged (%)
    """
    points = {} if points is None else points
    panels.check_names("curves and points", {**curves, **points})
    if not 0 < max_flagged_share <= 1:
        raise ValueError(
            "max_flagged_share: expected a number in (0, 1], such as 0.2, got "
            f"{max_flagged_share}."
        )
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        _draw(drawn, curves, points)
        drawn.set_xlim(0, 102 * max_flagged_share)
        return panels.finish(drawn, title)


def _draw(
    axes: Axes,
    curves: Mapping[str, CleaningCurve],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
) -> None:
    looks = styles.looks(axes)
    error_share = None
    for (name, curve), look in zip(curves.items(), looks, strict=False):
        share, precision = panels.read(
            f"curves[{name!r}]", curve.flagged_share, curve.precision
        )
        # With all labels flagged, precision is the share of wrong labels.
        error_share = float(precision[-1]) if precision.size else error_share
        drawn = np.linspace(0, share.size - 1, min(share.size, _MAX_DRAWN_ROWS))
        drawn = np.round(drawn).astype(int)
        axes.plot(
            100 * share[drawn],
            100 * precision[drawn],
            color=look.colour,
            linestyle=look.line,
            label=panels.label(name),
        )
    for (name, (shares, precisions)), look in zip(points.items(), looks, strict=False):
        share, precision = panels.read(
            f"points[{name!r}]", np.atleast_1d(shares), np.atleast_1d(precisions)
        )
        axes.plot(
            100 * share,
            100 * precision,
            color=look.colour,
            linestyle=look.line if share.size > 1 else "none",
            linewidth=0.7,
            marker=look.marker,
            markersize=4.0 if share.size > 1 else 5.0,
            markerfacecolor=look.fill,
            markeredgewidth=0.8,
            label=panels.label(name),
            zorder=3,
        )
    if error_share is not None:
        panels.reference_line(axes, "random", 100 * error_share, "center")
    axes.set_ylim(0, 103)
    axes.set_xlabel("Labels flagged (%)")
    axes.set_ylabel("Precision (%)")
