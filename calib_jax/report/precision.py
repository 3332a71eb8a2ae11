"""How many suspects are expected to be wrong, and how many of them to audit.

Shapes: N rows, M models.
"""

import dataclasses
import math

import numpy as np

from ..cleaning import audits, shared_errors
from ..cleaning.audits import AuditPlan

# The precision to show lies this much below a careful expectation, and no audit is
# planned for a precision outside these limits: expectations are not that good.
_MARGIN, _LEAST_EXPECTED, _MOST_EXPECTED = 0.1, 0.2, 0.95
# What is planned for where nothing is expected.
_UNKNOWN = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """What to expect of suspects, before anybody looks at one.

    Attributes:
      precision: share of them that are wrong.
      lower: end of its interval.
      upper: the other end.
    """

    precision: float
    lower: float
    upper: float


def expected(
    confidences: np.ndarray,
    outcomes: np.ndarray,
    flagged: np.ndarray,
    confidence_level: float,
) -> Expected | None:
    """The precision of labels that all models contradict with confidence.

    Args:
      confidences: floating `[M, N]`, each row's by calibrators that did not see it.
      outcomes: bool `[M, N]`, whether the answer agrees with the given label.
      flagged: bool `[N]`, labels that all models contradict.
      confidence_level: of the interval.

    Returns:
      `Expected`; None without flags, and for one model, of which nothing but the labels
      says whether it is right.
    """
    if len(confidences) < 2 or not np.any(flagged):
        return None
    shared = shared_errors.fit_shared_errors(confidences, outcomes)
    # A thousand possibilities are looked at for each row: of suspects only.
    suspects = confidences[:, flagged]
    found = shared_errors.expected_precision_interval(
        shared,
        suspects,
        np.ones(suspects.shape[1], bool),
        confidence_level=confidence_level,
    )
    return Expected(
        precision=float(found.estimate),
        lower=float(found.lower),
        upper=float(found.upper),
    )


def plan(
    found: Expected | None, num_flagged: int, confidence_level: float
) -> tuple[AuditPlan, float]:
    """An audit that is likely to show a little less than is expected, and how much.

    It is planned for a precision halfway down to the lower end of the interval.
    """
    careful = _UNKNOWN
    if found is not None:
        halfway = (found.precision + found.lower) / 2
        careful = float(np.clip(halfway, _LEAST_EXPECTED, _MOST_EXPECTED))
    target = math.floor(20 * (careful - _MARGIN) + 1e-6) / 20
    if not num_flagged:
        none = AuditPlan(num_audited=0, num_wrong=0, chance=0.0, feasible=False)
        return none, target
    audit = audits.audit_size(
        target, careful, confidence_level, num_flagged=num_flagged
    )
    return audit, target
