"""Where the large model is better. Shapes: `num_bins` bins."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._core import checks
from ..cascade.routers import AdvantageTable, Router
from . import panels, styles


def advantage_bars(
    table: AdvantageTable,
    *,
    router: Router | None = None,
    num_small_bins: int | None = None,
    title: str | None = None,
    axes: Axes | None = None,
    dark: bool = False,
) -> Figure:
    """Advantage of the large model in each bin of the small model's confidence.

    A bar reaches half-way to the mean confidences of its neighbours, at most to 0 and
    1; empty bins are left out. With outcomes in the table, a square is the advantage in
    mean outcome and its line one standard error in either direction: bars far from
    their squares say that confidences mislead the router. With a K, bins that are kept
    small are filled and the others hatched.

    Args:
      table: `AdvantageTable` of `[num_bins]`, on any rows.
      router: optional `Router` on the same bins, whose order says which bins are kept;
        with `num_small_bins`.
      num_small_bins: optional K, 0 to num_bins; with `router`.
      title, axes, dark: as for `cascade_curves`.

    Returns:
      The `Figure` that was drawn into.

    Raises:
      ValueError: where `table` is not one `AdvantageTable`, for a router without a K
        or the reverse, a router of another number of bins, or a K out of range.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 1 (advantage).

    Examples:
      >>> import calib_jax as cj
      >>> router = cj.fit_router([0.2, 0.8], [0.9, 0.7], num_bins=2)
      >>> figure = advantage_bars(router.table, router=router, num_small_bins=1)
      >>> print([text.get_text() for text in figure.axes[0].get_legend().get_texts()])
      ['kept small, K = 1', 'sent on']
    """
    checks.instance("table", table, AdvantageTable)
    weight, confidence, advantage = panels.read(
        "table", table.weight, table.small_confidence, table.advantage
    )
    outcomes = _outcomes(table)
    kept = _kept(weight.size, router, num_small_bins)
    shown = np.argsort(confidence, kind="stable")
    shown = shown[weight[shown] > 0]
    edges = _edges(confidence[shown])
    with panels.panel(axes, height=0.9, dark=dark) as drawn:
        looks = styles.looks(drawn)
        first, second = next(looks), next(looks)
        groups = [(np.ones(shown.size, bool), "confidence advantage", False)]
        if kept is not None:
            groups = [
                (kept[shown], f"kept small, K = {int(kept.sum())}", False),
                (~kept[shown], "sent on", True),
            ]
        for inside, name, hatched in groups:
            drawn.bar(
                edges[:-1][inside],
                100 * advantage[shown][inside],
                width=np.diff(edges)[inside],
                align="edge",
                facecolor="none" if hatched else first.colour,
                edgecolor=second.colour if hatched else drawn.get_facecolor(),
                hatch="/////" if hatched else None,
                linewidth=0.6,
                label=name,
                zorder=2,
            )
        if outcomes is not None:
            _draw_outcomes(drawn, confidence[shown], *(x[shown] for x in outcomes))
        drawn.axhline(0, color=styles.ink(), linewidth=0.7, zorder=2.5)
        drawn.set_xlabel("Mean confidence of the small model")
        drawn.set_ylabel("Advantage (percentage points)")
        return panels.finish(drawn, title)


def _kept(
    num_bins: int, router: Router | None, num_small_bins: int | None
) -> np.ndarray | None:
    """Which bins are kept small, bool `[num_bins]`."""
    if router is None and num_small_bins is None:
        return None
    if router is None or num_small_bins is None:
        raise ValueError(
            "router, num_small_bins: expected both or neither, got one of them."
        )
    checks.instance("router", router, Router)
    if router.bins.num_bins != num_bins:
        raise ValueError(
            f"router: expected one of {num_bins} bins, as table has, got "
            f"{router.bins.num_bins}."
        )
    number = checks.traced_int(
        "num_small_bins", num_small_bins, minimum=0, maximum=num_bins
    )
    return np.isin(np.arange(num_bins), np.asarray(router.order)[: int(number)])


def _edges(confidence: np.ndarray) -> np.ndarray:
    """Ends of the bars: half-way between neighbours, and as far beyond the ends."""
    if confidence.size < 2:
        return np.concatenate([confidence - 0.05, confidence + 0.05])
    middle = 0.5 * (confidence[1:] + confidence[:-1])
    ends = 2 * confidence[[0, -1]] - middle[[0, -1]]
    return np.concatenate([ends[:1], middle, ends[1:]]).clip(0, 1)


def _outcomes(table: AdvantageTable) -> list[np.ndarray] | None:
    """Advantage in mean outcome and its standard error, in %, if the table has them."""
    advantage, error = table.outcome_advantage, table.outcome_advantage_standard_error
    if advantage is None or error is None:
        return None
    return [100 * part for part in panels.read("table", advantage, error)]


def _draw_outcomes(
    axes: Axes, confidence: np.ndarray, advantage: np.ndarray, error: np.ndarray
) -> None:
    axes.errorbar(
        confidence,
        advantage,
        yerr=error,
        color=styles.ink(),
        linestyle="none",
        marker="s",
        markerfacecolor=axes.get_facecolor(),
        elinewidth=0.8,
        label="outcome advantage, ± 1 standard error",
        zorder=3,
    )
