"""Selective prediction: what answering only the most confident rows leaves wrong."""

import dataclasses

import numpy as np

from ..metrics import selective
from ..metrics.selective import RiskCoverageCurve
from . import phrases, points

# Coverages that the page shows, and the one of the sentence.
_SHARES, _SHARE = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5), 0.8
# Limits on the risk, of which one suits a model.
_LIMITS = (0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)


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
      limit: a round risk of about half that of answering all rows of the other half.
      coverage_at_limit: the largest coverage whose risk is at most the limit, 0 if none
        is.
      promised_coverage: the largest coverage whose risk on new inputs is at most the
        limit with the confidence level of the report, 0 if none can be promised.
      promised_above: answers with a confidence above this have that promise; None
        without a promise, and where it is for all.
      partial: whether answers have partial credit.
      curve: `RiskCoverageCurve`.
    """

    answered: tuple[Answered, ...]
    limit: float
    coverage_at_limit: float
    promised_coverage: float
    promised_above: float | None
    partial: bool
    curve: RiskCoverageCurve = dataclasses.field(metadata={"plain": False})

    def sentences(self, confidence_level: float) -> tuple[str, ...]:
        """What it is worth to leave out unsure answers."""
        whole = self.answered[0].risk
        (some,) = (one.risk for one in self.answered if one.coverage == _SHARE)
        if not whole:
            return ()
        lost = "of the credit lost" if self.partial else "wrong"
        found = (
            f"Answering only the most confident {_SHARE:.0%} of the judged rows leaves "
            f"{phrases.percent(some)} {lost} instead of {phrases.percent(whole)}"
        )
        if some >= whole:
            return (f"{found}: confidence does not tell right from wrong answers.",)
        most = f"at most {100 * self.limit:g}% {lost}"
        if not self.coverage_at_limit:
            return (f"{found}; {most} is not reached by answering fewer.",)
        share = phrases.percent(self.coverage_at_limit)
        level = phrases.level(confidence_level)
        promise = f"With confidence {level}, no share of new inputs can be promised it."
        if self.promised_coverage:
            given = "all are given."
            if self.promised_above is not None:
                given = (
                    "only those with a calibrated confidence above "
                    f"{self.promised_above:.4f} are given, about "
                    f"{phrases.percent(self.promised_coverage)} of all."
                )
            what = "the credit is lost" if self.partial else "answers are wrong"
            promise = (
                f"With confidence {level}, on new inputs like these at most "
                f"{100 * self.limit:g}% of {what} if {given}"
            )
        return f"{found}; {most} is reached by answering {share}.", promise


def of(
    confidence: np.ndarray,
    outcome: np.ndarray,
    fitted: np.ndarray,
    judged: np.ndarray,
    confidence_level: float,
) -> Selective:
    """Risk and coverage of the judged rows.

    Args:
      confidence: float32 `[N]`, calibrated.
      outcome: `[N]`, bool where all are 0 or 1.
      fitted: numbers of the rows that were fitted on, which say what limit suits.
      judged: of the others.
      confidence_level: of the promise.
    """
    curve = selective.risk_coverage_curve(confidence[judged], outcome[judged])
    wrong = 1 - float(np.mean(outcome[fitted], dtype=np.float64))
    limit = next((one for one in _LIMITS if one <= 0.6 * wrong), _LIMITS[-1])

    def risk(coverage: float) -> float:
        return points.short(selective.risk_at_coverage(curve, coverage))

    def coverage(level: float | None) -> float:
        found = selective.coverage_at_risk(curve, limit, confidence_level=level)
        return points.short(found)

    promised = coverage(confidence_level)
    # Of the rows that are not answered, the most confident one.
    rest = np.flatnonzero(np.asarray(curve.coverage) > promised)
    return Selective(
        answered=tuple(Answered(coverage=one, risk=risk(one)) for one in _SHARES),
        limit=limit,
        coverage_at_limit=coverage(None),
        promised_coverage=promised,
        promised_above=(
            points.short(curve.threshold[rest[0]]) if promised and rest.size else None
        ),
        partial=outcome.dtype != bool,
        curve=curve,
    )
