"""What a calibrator does to answers if it can make another option the likeliest.

Confidences are in the model's own answers, before calibration and after it: these are
what was judged right or wrong, and what a service returns.
"""

import dataclasses
from typing import Any

import numpy as np

from ..calibration.apply import calibrate
from ..io.outputs import Outputs
from . import phrases, scoring
from .records import class_values


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Likeliest:
    """The likeliest options before and after calibration, on the half that is judged.

    Attributes:
      changed_share: share of rows in which they differ.
      accuracy_before: share of rows whose likeliest option was the label before.
      accuracy_after: the same after calibration.
    """

    changed_share: float
    accuracy_before: float
    accuracy_after: float

    def sentences(self, title: str, role: str = "") -> tuple[str, ...]:
        """What it means for answers.

        Args:
          title: of the calibrator.
          role: of the model, if there are several.
        """
        of = phrases.of_role(role)
        if not self.changed_share:
            return (
                f"{title}{of} can make another option the likeliest, but does so in "
                "none of the judged rows.",
            )
        return (
            f"{title}{of} makes another option the likeliest in "
            f"{phrases.percent(self.changed_share)} of the judged rows: the likeliest "
            f"is right {phrases.percent(self.accuracy_after)} of the time with it and "
            f"{phrases.percent(self.accuracy_before)} without. All else here is about "
            "the model's own answers, and the confidence in these.",
        )


def of(params: Any, outputs: Outputs, judged: np.ndarray) -> Likeliest:
    """How parameters change the likeliest options of rows with labels."""
    values, real = class_values(outputs), outputs.class_where
    assert values is not None and outputs.labels is not None
    where = None if real is None else real[judged]
    before = scoring.likeliest(outputs)[judged]
    found = np.asarray(calibrate(params, values[judged], class_where=where))
    after, labels = found.argmax(axis=1), outputs.labels[judged]
    return Likeliest(
        changed_share=float(np.mean(after != before)),
        accuracy_before=float(np.mean(before == labels)),
        accuracy_after=float(np.mean(after == labels)),
    )
