"""Accuracy and cost of chains. Shapes: M models, `combinations` of their K."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import cascade
from .._core import checks
from ..cascade.chain_curves import ChainChoice, ChainCurve
from . import panels, styles

# More points are drawn as an image, also in PDF and SVG files.
_MAX_DRAWN_POINTS = 500


def chain_curves(
    curve: ChainCurve,
    *,
    choice: ChainChoice | None = None,
    cost_unit: str | None = None,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Accuracy of a chain of models against its mean cost, for all combinations of K.

    Steps join the frontier, the combinations that are more accurate than all others
    that cost no more: for any budget the step above it is the best accuracy. On the
    rows that the frontier was chosen from it looks better than it is.

    Args:
      curve: `ChainCurve` of `[combinations]`, with accuracies in `[0, 1]`, drawn in %.
      choice: optional `ChainChoice`, such as from `calib_jax.cascade.best_within_cost`,
        which gets a ring.
      cost_unit: optional unit of the costs, such as "US dollars".
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: where `curve` is not one `ChainCurve`, or `choice` is of another
        chain.

    References:
      Chen et al., "FrugalGPT", 2023, arXiv 2305.05176 (accuracy against cost).

    Examples:
      >>> import calib_jax as cj
      >>> confidences = [[0.2, 0.3, 0.8, 0.9], [0.6, 0.9, 0.8, 0.7]]
      >>> chain = cj.cascade.fit_chain(confidences, num_bins=2)
      >>> costs = np.broadcast_to([[1.0], [3.0]], (2, 4))
      >>> curve = cj.cascade.chain_curve(
      ...     chain, confidences, [[0, 0, 1, 1], [0, 1, 1, 1]], costs
      ... )
      >>> print(chain_curves(curve, cost_unit="cents").axes[0].get_xlabel())
      Mean cost per input (cents)
    """
    frontier = np.asarray(cascade.cost_frontier(curve))
    cost, accuracy = panels.read(
        "curve", np.ravel(curve.cost), 100 * np.ravel(curve.accuracy)
    )
    place = None if choice is None else _place(curve, choice)
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        looks = styles.looks(drawn)
        best, rest = next(looks), next(looks)
        drawn.scatter(
            cost,
            accuracy,
            s=6.0,
            marker="o",
            facecolor="none",
            edgecolor=rest.colour,
            linewidth=0.5,
            alpha=0.6,
            rasterized=cost.size > _MAX_DRAWN_POINTS,
            label="all combinations",
            zorder=2,
        )
        kept = np.flatnonzero(frontier)
        kept = kept[np.argsort(cost[kept])]
        drawn.plot(
            cost[kept],
            accuracy[kept],
            color=best.colour,
            marker=best.marker,
            drawstyle="steps-post",
            label="best within each cost",
            zorder=3,
        )
        if place is not None:
            panels.ring(drawn, cost[place], accuracy[place], "chosen")
        drawn.set_xlabel(panels.cost_label(cost_unit), parse_math=False)
        drawn.set_ylabel("Accuracy (%)")
        return panels.finish(drawn, title)


def _place(curve: ChainCurve, choice: ChainChoice) -> int:
    """The place of a chosen combination among all."""
    checks.instance("choice", choice, ChainChoice)
    shape, chosen = np.shape(curve.cost), tuple(np.asarray(choice.num_kept_bins))
    if len(chosen) != len(shape) or not all(
        0 <= number < size for number, size in zip(chosen, shape, strict=True)
    ):
        raise ValueError(
            f"choice: expected a K of each stage, below {list(shape)} as in curve, got "
            f"{[int(number) for number in chosen]}."
        )
    return int(np.ravel_multi_index(chosen, shape))
