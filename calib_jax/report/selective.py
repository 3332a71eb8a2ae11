"""Selective prediction: what answering only the most confident rows leaves wrong."""

import dataclasses
import math

import numpy as np

from ..metrics import risk_limits, selective
from ..metrics.selective import RiskCoverageCurve
from . import phrases, points

# Coverages that the page shows, and the one of the sentence.
_SHARES, _SHARE = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5), 0.8
# Limits on the risk, of which one suits a model, and the largest part of its errors
# that this one may be.
_LIMITS = (0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)
_MOST_OF_ERRORS = 0.6


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
      limit: on the risk; by default the largest of some round numbers that is at most
        0.6 times the risk of answering all rows of the other half, or 0.001.
      asked: whether the limit was asked for.
      coverage_at_limit: the largest coverage whose risk is at most the limit, 0 if none
        is.
      promised_coverage: the largest coverage whose risk on new inputs is at most the
        limit with the confidence level of the report, 0 if none can be promised.
      promised_from: answers with a confidence at or above this have that promise, a
        float32 with the fewest digits that restore it; None without a promise, and
        where it is for all.
      partial: whether answers have partial credit.
      curve: `RiskCoverageCurve`.
    """

    answered: tuple[Answered, ...]
    limit: float
    asked: bool
    coverage_at_limit: float
    promised_coverage: float
    promised_from: float | None
    partial: bool
    curve: RiskCoverageCurve = dataclasses.field(metadata={"plain": False})

    @property
    def most(self) -> str:
        """The limit in per cent."""
        return f"{100 * self.limit:.6g}%"

    @property
    def lost(self) -> str:
        """What the limit is on."""
        return "of the credit lost" if self.partial else "wrong"

    def sentences(self, confidence_level: float) -> tuple[str, ...]:
        """What it is worth to leave out unsure answers."""
        whole = self.answered[0].risk
        (some,) = (one.risk for one in self.answered if one.coverage == _SHARE)
        promise = self._promise(phrases.level(confidence_level))
        if not whole:
            return (promise,) if self.asked else ()
        lost = self.lost
        found = (
            f"Answering only the most confident {_SHARE:.0%} of the judged rows leaves "
            f"{phrases.percent(some)} {lost} instead of {phrases.percent(whole)}"
        )
        # Ties are answered in part, which may round.
        if some > (1 - 1e-6) * whole:
            found = f"{found}: confidence does not tell right from wrong answers."
        elif not self.coverage_at_limit:
            found = f"{found}; it stays above {self.most}, however few are answered."
        else:
            share = phrases.percent(self.coverage_at_limit)
            share = "all" if self.coverage_at_limit == 1 else share
            found = (
                f"{found}; at most {self.most} {lost} is reached by answering {share}."
            )
            return found, promise
        return (found, promise) if self.asked else (found,)

    def _promise(self, level: str) -> str:
        if not self.promised_coverage:
            return (
                f"With confidence {level}, at most {self.most} {self.lost} can be "
                "promised for no share of new inputs."
            )
        given = "all are given."
        if self.promised_from is not None:
            given = (
                "only those with a calibrated confidence at or above "
                f"{self.promised_from} are given, about "
                f"{phrases.percent(self.promised_coverage)} of all."
            )
        what = "the credit is lost" if self.partial else "answers are wrong"
        return (
            f"With confidence {level}, on new inputs like these at most {self.most} of "
            f"{what} if {given}"
        )


def of(
    confidence: np.ndarray,
    outcome: np.ndarray,
    fitted: np.ndarray,
    judged: np.ndarray,
    confidence_level: float,
    limit: float | None = None,
) -> Selective:
    """Risk and coverage of the judged rows.

    Args:
      confidence: float32 `[N]`, calibrated.
      outcome: `[N]`, bool where all are 0 or 1.
      fitted: numbers of the rows that were fitted on, which say what limit suits.
      judged: of the others.
      confidence_level: of the promise.
      limit: on the risk, in `(0, 1)`; by default one that suits.
    """
    curve = selective.risk_coverage_curve(confidence[judged], outcome[judged])
    most = _suitable(outcome[fitted]) if limit is None else float(limit)
    promised = points.short(
        risk_limits.coverage_at_risk(curve, most, confidence_level=confidence_level)
    )
    least = points.short(
        risk_limits.threshold_at_risk(curve, most, confidence_level=confidence_level)
    )

    def risk(coverage: float) -> float:
        return points.short(risk_limits.risk_at_coverage(curve, coverage))

    return Selective(
        answered=tuple(Answered(coverage=one, risk=risk(one)) for one in _SHARES),
        limit=most,
        asked=limit is not None,
        coverage_at_limit=points.short(risk_limits.coverage_at_risk(curve, most)),
        promised_coverage=promised,
        promised_from=least if math.isfinite(least) else None,
        partial=outcome.dtype != bool,
        curve=curve,
    )


def _suitable(outcome: np.ndarray) -> float:
    """A limit that suits a model with these outcomes."""
    wrong = 1 - float(np.mean(outcome, dtype=np.float64))
    fit = (one for one in _LIMITS if one <= _MOST_OF_ERRORS * wrong)
    return next(fit, _LIMITS[-1])
