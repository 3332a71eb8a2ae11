"""Selective prediction: what answering only the most confident rows leaves wrong."""

import dataclasses
import math
from typing import Any

import numpy as np

from .. import metrics
from . import phrases, points

# Coverages that the page shows, and the one of the sentence.
_SHARES, _SHARE = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5), 0.8
# Limits on the risk, of which one suits a model.
_LIMITS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answered:
    """The most confident rows.

    Attributes:
      coverage: their share.
      risk: share of wrong answers among them, or of the credit that they lose.
    """

    coverage: float
    risk: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Selective:
    """Risk of answering only the most confident rows, on the half that is judged.

    Attributes:
      answered: for coverages from 1 down to 0.5.
      limit: a risk of about half that of answering all; None if no answer is wrong.
      coverage_at_limit: the largest coverage whose risk is at most the limit, 0 if none
        is; None without a limit.
      partial: whether answers have partial credit.
      curve: `RiskCoverageCurve`.
    """

    answered: tuple[Answered, ...]
    limit: float | None
    coverage_at_limit: float | None
    partial: bool
    curve: Any = dataclasses.field(metadata={"plain": False})

    def sentences(self) -> tuple[str, ...]:
        if self.limit is None or self.coverage_at_limit is None:
            return ()
        whole = self.answered[0].risk
        (some,) = (one.risk for one in self.answered if one.coverage == _SHARE)
        lost = "of the credit lost" if self.partial else "wrong"
        found = (
            f"Answering only the most confident {_SHARE:.0%} of the judged rows leaves "
            f"{phrases.percent(some)} {lost} instead of {phrases.percent(whole)}"
        )
        most = f"at most {100 * self.limit:g}% {lost}"
        if some >= whole:
            return (f"{found}: confidence does not tell right from wrong answers.",)
        if not self.coverage_at_limit:
            return (f"{found}; no share of them has {most}.",)
        share = phrases.percent(self.coverage_at_limit)
        return (
            f"{found}; {most} is reached by answering {share}. These shares are "
            "estimates, not promises.",
        )


def of(confidence: np.ndarray, outcome: np.ndarray) -> Selective:
    """Risk and coverage of calibrated confidences `[N]` and outcomes `[N]`."""
    curve = metrics.risk_coverage_curve(confidence, outcome)
    answered = tuple(
        Answered(
            coverage=share, risk=points.short(metrics.risk_at_coverage(curve, share))
        )
        for share in _SHARES
    )
    limit = coverage = None
    if answered[0].risk > 0:
        limits = [one for one in _LIMITS if one <= answered[0].risk / 2]
        limit = limits[0] if limits else _LIMITS[-1]
        coverage = points.short(metrics.coverage_at_risk(curve, limit))
        coverage = 0.0 if math.isnan(coverage) else coverage
    return Selective(
        answered=answered,
        limit=limit,
        coverage_at_limit=coverage,
        partial=outcome.dtype != bool,
        curve=curve,
    )
