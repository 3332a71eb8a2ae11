"""Whether a cascade still does what it promised: `calib-jax check`."""

import dataclasses
import enum
from typing import ClassVar

from ..monitoring.drift import OccupancyDrift
from .records import Report


class Verdict(enum.Enum):
    """What new rows say of a promise."""

    #: New labelled rows show it anew.
    SHOWN = 0
    #: Nothing speaks against it.
    NOT_CONTRADICTED = 1
    #: Inputs are others than those it was made for, so it rests on nothing.
    DRIFTED = 2
    #: New labelled rows contradict it.
    BROKEN = 3


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CheckReport(Report):
    """New rows, compared with those that a cascade's K was chosen on.

    Attributes:
      num_rows: new rows.
      drift: `OccupancyDrift` of the small model's confidences in the router's bins.
      small_share: share of new inputs that the small model keeps.
      small_share_before: the same on the rows that K was chosen on, or None.
      small_accuracy: of the small model's answers on new inputs that it keeps, or None
        without labels.
      small_accuracy_before: the same on the rows that K was chosen on, or None.
      accuracy_p_value: probability of a fall this large without a change, or None.
      drop: accuracy lost against the large model on the new rows, or None.
      drop_bound: the largest loss that the new rows do not exclude, or None.
      drop_p_value: probability of a loss this large if the promise held, or None.
      verdict: `Verdict`.
    """

    command: ClassVar[str] = "check"
    title: ClassVar[str] = "Check of a cascade"

    num_rows: int
    drift: OccupancyDrift | None
    small_share: float
    small_share_before: float | None
    small_accuracy: float | None
    small_accuracy_before: float | None
    accuracy_p_value: float | None
    drop: float | None
    drop_bound: float | None
    drop_p_value: float | None
    verdict: Verdict
