"""Whose answer a cascade takes where both models were asked, and what that is worth.

Shapes: N joined rows, of which one half is fitted on and the other judged.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..cascade import arbiters
from ..cascade.arbiters import Arbiter, ArbiterReport
from ..io.outputs import Outputs
from ..stats import intervals
from . import phrases
from .models import Calibrated
from .points import short


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Conferring:
    """An arbiter between two models, from the first half, judged on the second.

    Attributes:
      used: whether every K is judged with the arbiter's answers: if its gain over the
        better model was shown on the first half (`ArbiterReport.helps`).
      arbiter: `Arbiter`.
      report: `ArbiterReport`.
      differ_share: share of judged rows in which the models' answers differ, or None
        where the files do not say it and all rows count as differing.
      both_accuracy: accuracy on the second half if both models are asked for every
        input.
      gain: the same minus the accuracy of the better model on that half.
      gain_interval: its lower and upper end.
    """

    used: bool
    arbiter: Arbiter
    report: ArbiterReport
    differ_share: float | None
    both_accuracy: float
    gain: float
    gain_interval: tuple[float, float]

    def sentences(self, confidence_level: float, promised: bool) -> tuple[str, ...]:
        """What it is worth, or that it did not help.

        Args:
          confidence_level: of the interval.
          promised: whether a K is promised, without which the arbiter is not used.
        """
        if not self.used:
            return (
                "Weighing both answers by their confidence was not shown to help: the "
                "large model's answer is taken wherever it is asked.",
            )
        lower, upper = (phrases.signed_points(end, 2) for end in self.gain_interval)
        found = [
            "If both models are asked for every input, the arbiter's answer is right "
            f"{phrases.percent(self.both_accuracy)} of the time: "
            f"{phrases.signed_points(self.gain, 2)} points against the better model "
            f"alone ({phrases.level(confidence_level)} interval {lower} to {upper})."
        ]
        if self.gain_interval[0] <= 0:
            found.append("This half does not confirm the gain.")
        if promised:
            apart = ""
            if self.differ_share is not None:
                apart = (
                    f"; they differ in {phrases.percent(self.differ_share)} of the "
                    "judged rows"
                )
            found.insert(
                0,
                "Where the large model is asked, the arbiter weighs both answers by "
                f"their confidence and takes one{apart}.",
            )
        return tuple(found)


class Pair(NamedTuple):
    """What a cascade of two models is built from; host arrays.

    Attributes:
      conferring: `Conferring`, or None if the large model always decides.
      confidence: float32 `[N]`, of the answer that is taken where both were asked: its
        advantage orders the bins of the router.
      conferred_outcome: `[N]`, whether that answer is right, or None if it is the large
        model's.
    """

    conferring: Conferring | None
    confidence: np.ndarray
    conferred_outcome: np.ndarray | None


def of_large(large: Calibrated) -> Pair:
    """A pair in which the large model decides."""
    return Pair(None, large.confidence, None)


def fit(
    outputs: tuple[Outputs, Outputs],
    pair: tuple[Calibrated, Calibrated],
    fitted: np.ndarray,
    judged: np.ndarray,
    confidence_level: float,
) -> Pair:
    """Fits an arbiter on some rows, judges it on others, and uses it if it helps.

    Args:
      outputs: of the small and of the large model, joined.
      pair: both of them, calibrated.
      fitted: numbers of the rows to fit on.
      judged: numbers of the rows to judge on.
      confidence_level: of the interval of the gain.
    """
    small, large = pair
    apart = differ(outputs, pair)
    arbiter, report = arbiters.fit_arbiter(
        small.confidence[fitted],
        large.confidence[fitted],
        small.outcome[fitted],
        large.outcome[fitted],
        differ=None if apart is None else apart[fitted],
    )
    confidence, outcome = map(
        np.asarray,
        arbiters.conferred(
            arbiter,
            True,
            (small.confidence, large.confidence),
            (small.outcome, large.outcome),
            apart,
        ),
    )
    best = max(
        (one.outcome[judged] for one in (small, large)),
        key=lambda right: right.mean(dtype=np.float64),
    )
    gain = outcome[judged].astype(np.float64) - best
    total, squares = (jnp.float32(np.sum(part)) for part in (gain, gain**2))
    rows, error_rate = jnp.float32(len(judged)), jnp.float32(1 - confidence_level)
    ends = intervals.bonett_price(total, squares, rows, error_rate)
    found = Conferring(
        used=bool(report.helps),
        arbiter=arbiter,
        report=jax.device_get(report),
        differ_share=None if apart is None else float(np.mean(apart[judged])),
        both_accuracy=float(np.mean(outcome[judged], dtype=np.float64)),
        gain=float(np.mean(gain)),
        gain_interval=(short(ends[0]), short(ends[1])),
    )
    if not found.used:
        return Pair(found, large.confidence, None)
    return Pair(found, confidence, outcome)


def differ(
    outputs: tuple[Outputs, Outputs], pair: tuple[Calibrated, Calibrated]
) -> np.ndarray | None:
    """Bool `[N]`, where answers differ, or None where the files do not say it.

    They do if both say which option was chosen, and of the same options. Equal answers
    with other outcomes are of different options after all.
    """
    small, large = pair
    first, second = map(_named, outputs, pair)
    if first is None or second is None or first.dtype.kind != second.dtype.kind:
        return None
    sizes = {
        one.shape[1]
        for each in outputs
        for one in (each.logits, each.log_probabilities)
        if one is not None
    }
    apart = first != second
    for one in pair:
        assert one.prediction is not None
        apart |= one.prediction < 0
    contradicted = np.any(small.outcome[~apart] != large.outcome[~apart])
    # Numbers alone do not say of which options they are.
    if contradicted or (first.dtype.kind != "U" and len(sizes) > 1):
        return None
    return apart


def _named(outputs: Outputs, model: Calibrated) -> np.ndarray | None:
    """Options that were chosen, by name if they have names."""
    if model.prediction is None or outputs.choices is None:
        return model.prediction
    return np.array(outputs.choices, str)[model.prediction]
