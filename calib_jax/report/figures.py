"""Figures of a report as SVG, whose colours follow the page's.

No text from files is drawn but names of models: names of series are fixed.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from .. import plots
from ..cascade.curves import CascadeCurve
from ..cascade.intervals import CascadeInterval
from ..cascade.routers import Router
from ..plots import comparisons, svg
from .budgets import Alone, Best
from .drawings import Drawing
from .models import Model
from .on_tasks import OnTask
from .selective import Selective


def reliability(model: Model, confidence_level: float, prefix: str) -> Drawing:
    """The reliability diagram of a model; `prefix` starts all ids in it."""
    judged = {"before": model.before, "after": model.after}
    known = {name: one for name, one in judged.items() if one is not None}
    figure = plots.reliability_diagram(
        {name: one.table for name, one in known.items()},
        densities={name: one.density for name, one in known.items()},
        confidence_level=confidence_level,
    )
    said = " and ".join(
        f"{name} calibration, with an ECE of {one.error.estimate:.4f}"
        for name, one in known.items()
    )
    text = (
        f"Reliability diagram: accuracy against mean confidence in bins, {said}. "
        "The table of bins has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))


def risk_coverage(found: Selective, prefix: str) -> Drawing:
    """Risk against coverage of a calibrated model."""
    figure = plots.risk_coverage({"calibrated": found.curve})
    text = (
        "Share of wrong answers among the most confident rows against their share of "
        "all rows. The table of coverages has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))


def cascade_curve(
    curve: CascadeCurve,
    interval: CascadeInterval,
    num_small_bins: int,
    costs: tuple[float, float] | None,
    prefix: str,
    *,
    unused_arbiter: bool = False,
) -> Drawing:
    """The curve of a cascade with a ring at K.

    With an arbiter that is not used, K = 0 alone is as it is written.
    """
    name = "with the arbiter, not used" if unused_arbiter else "cascade"
    figure = plots.cascade_curves(
        {name: curve},
        intervals={name: interval},
        num_small_bins=num_small_bins,
        costs=costs,
    )
    share, accuracy = (
        100 * np.asarray(values, np.float64)
        for values in (curve.small_share, curve.accuracy)
    )
    text = (
        "Accuracy of the cascade against the share of inputs that the small model "
        f"answers, for each K from 0 to {len(share) - 1}; the ring is at "
        f"K = {num_small_bins}. "
        + (
            "Above K = 0 an arbiter decides that is not used. "
            if unused_arbiter
            else ""
        )
        + "The table of K has the numbers."
    )
    element = Markup(svg.element(figure, text=text, prefix=prefix))
    moves = svg.moves(figure, share, accuracy, num_small_bins)
    return Drawing(element, tuple((right, down) for right, down in moves.tolist()))


def advantage(router: Router, num_small_bins: int, prefix: str) -> Drawing:
    """The advantage of the large model in each bin."""
    figure = plots.advantage_bars(
        router.table, router=router, num_small_bins=num_small_bins
    )
    text = (
        "Advantage of the large model in mean confidence, in bins of the small model's "
        f"confidence; {num_small_bins} bins are kept small. The table has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))


def errors(models: Sequence[str], cells: Sequence[OnTask], prefix: str) -> Drawing:
    """ECE before and after calibration of every model on every task."""
    by_model = {
        name: [one for one in cells if one.model == name]
        for name in models
        if any(one.model == name for one in cells)
    }
    figure = comparisons.error_dots(
        list(by_model),
        [[one.ece_before for one in some] for some in by_model.values()],
        [[one.ece_after for one in some] for some in by_model.values()],
        [[one.ece_floor for one in some] for some in by_model.values()],
    )
    text = (
        "ECE of each model before and after calibration, a dot for each task, beside "
        "that of a perfectly calibrated model. The table has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))


def prices(best: Sequence[Best], alone: Sequence[Alone], prefix: str) -> Drawing:
    """Accuracy against cost: the best within each price, and models alone."""
    # The same choice at several prices is one point.
    points = {(one.first, one.then, one.num_small_bins): one for one in best}
    shown = sorted(points.values(), key=lambda one: one.cost)
    figure = comparisons.accuracy_costs(
        [one.model for one in alone],
        [(one.cost, one.accuracy) for one in alone],
        [(one.cost, one.accuracy) for one in shown],
        [one.accuracy_standard_error for one in shown],
    )
    text = (
        "Accuracy against mean cost of a question, on rows on which nothing was "
        "chosen: models alone, and the best model or pair within each price. The table "
        "has the numbers."
    )
    return Drawing(Markup(svg.element(figure, text=text, prefix=prefix)))
