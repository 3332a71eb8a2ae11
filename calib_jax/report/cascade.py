"""The report of a small and a large model in a cascade: `calib-jax cascade`.

Shapes: N joined rows, `num_bins` bins, K from 0 to num_bins.
"""

import dataclasses
from typing import ClassVar

from ..cascade.curves import CascadeCurve
from ..cascade.intervals import CascadeInterval
from ..cascade.routers import Router
from ..cascade.selection import Selection
from .models import Model
from .records import Report


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Point:
    """What a cascade achieves with K bins kept small, on the rows that K is chosen on.

    Attributes:
      num_small_bins: K.
      small_share: share of inputs that the small model answers: large calls saved.
      accuracy: of the cascade.
      accuracy_interval: its lower and upper end.
      accuracy_change: accuracy minus that of always asking the large model.
      accuracy_change_interval: its lower and upper end.
      drop_bound: the largest loss of accuracy that cannot be excluded at the report's
        confidence level; what the promise compares with its limit.
      cost: mean cost of an input, or None without costs.
      cost_saved_share: cost saved as a share of always asking the large model, or None.
      cost_saved_share_interval: its lower and upper end, or None.
      allowed: whether the promise holds for this K.
    """

    num_small_bins: int
    small_share: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_change: float
    accuracy_change_interval: tuple[float, float]
    drop_bound: float
    cost: float | None
    cost_saved_share: float | None
    cost_saved_share_interval: tuple[float, float] | None
    allowed: bool


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CascadeReport(Report):
    """A cascade, fitted on one half of the rows; K is chosen and judged on the other.

    Attributes:
      small: the small model, calibrated.
      large: the large model, calibrated.
      num_rows: joined rows, of both halves.
      router: `Router`, from the first half.
      max_drop: the loss of accuracy that is allowed.
      selection: `Selection` of `control_accuracy_drop` on the second half.
      num_small_bins: K, 0 if the promise is not possible: always the large model.
      feasible: whether it is possible.
      least_max_drop: the least limit that is possible, or None if none is.
      curve: `CascadeCurve` on the second half.
      interval: `CascadeInterval` on the second half.
      apgr: average performance gap recovered, on the second half.
      points: what every K achieves, K = 0 first.
      small_cost: mean cost of a small call, or None without costs.
      large_cost: mean cost of a large call, or None without costs.
      cost_unit: what costs are counted in, such as "of the file", or "".
    """

    command: ClassVar[str] = "cascade"
    title: ClassVar[str] = "Cascade"

    small: Model
    large: Model
    num_rows: int
    router: Router
    max_drop: float
    selection: Selection
    num_small_bins: int
    feasible: bool
    least_max_drop: float | None
    curve: CascadeCurve
    interval: CascadeInterval
    apgr: float
    points: tuple[Point, ...]
    small_cost: float | None
    large_cost: float | None
    cost_unit: str
