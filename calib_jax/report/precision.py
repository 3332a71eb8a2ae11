"""How many suspects are expected to be wrong, and how many of them to audit.

Shapes: N rows, M models.
"""

import dataclasses
import math

import numpy as np
from scipy import optimize

from ..cleaning import audits, expectations, noise
from ..cleaning.audits import AuditPlan

# The precision to show lies this much below the expected one, and no audit is planned
# for a precision outside these limits: expectations are not that good.
_MARGIN, _LEAST_EXPECTED, _MOST_EXPECTED = 0.1, 0.5, 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expected:
    """What to expect of suspects, before anybody looks at one.

    Attributes:
      precision: share of them that are wrong, if models err independently.
      least: the same under any dependence.
      standard_error: of `precision`, if models err independently.
      noise: share of wrong labels among the rows on which all models are confident, if
        models err independently.
    """

    precision: float
    least: float
    standard_error: float
    noise: float


def expected(
    accuracy: np.ndarray, candidates: np.ndarray, flagged: np.ndarray, num_options: int
) -> Expected | None:
    """The precision of labels that all models contradict with confidence.

    Accuracies measured against given labels count wrong labels as the models' mistakes.
    How many labels are wrong is estimated first: it is the share at which models that
    err independently would contradict as many labels as they do. Then the share of
    wrong labels is taken out of the accuracies.

    Args:
      accuracy: floating `[M, N]`, how often a model's answers of such a confidence
        agree with the given labels, on other rows.
      candidates: bool `[N]`, rows on which all models are confident.
      flagged: bool `[N]`, those of them whose label all models contradict.
      num_options: options that labels have.

    Returns:
      `Expected`; None without flags, and for one model, of which nothing but the labels
      says whether it is right.
    """
    agrees = np.asarray(accuracy, np.float64)[:, candidates]
    num_flagged = int(np.sum(flagged & candidates))
    if len(agrees) < 2 or not num_flagged:
        return None

    def of(rate: float) -> expectations.FalseFlags:
        right = noise.true_label_confidence(agrees, np.float32(rate), num_options)
        return expectations.expected_false_flags(
            right, np.ones(agrees.shape[1], bool), flagged[candidates]
        )

    rate = _noise(agrees, num_flagged, num_options)
    found = of(rate)
    # The number of flags is itself drawn, and the estimated noise goes by it.
    more, fewer = (
        float(of(_noise(agrees, num, num_options)).if_independent) / num
        for num in (
            num_flagged + math.sqrt(num_flagged),
            num_flagged - math.sqrt(num_flagged) if num_flagged > 1 else 0.5,
        )
    )
    return Expected(
        precision=float(found.precision_if_independent),
        least=float(of(0.0).least_precision),
        standard_error=math.hypot(float(found.standard_error), (fewer - more) / 2),
        noise=rate,
    )


def _noise(agrees: np.ndarray, num_flagged: float, num_options: int) -> float:
    r"""Share of wrong labels at which so many labels are contradicted by all models.

    .. math:: F = \sum_i (1 - \epsilon) \prod_m (1 - c_{mi})
        + \epsilon \prod_m \left(1 - \frac{1 - c_{mi}}{C - 1}\right)

    with c as `calib_jax.cleaning.true_label_confidence` has it.
    """

    def too_many(rate: float) -> float:
        other = rate / (num_options - 1)
        right = np.clip((agrees - other) / (1 - rate - other), 0.0, 1.0)
        of_right = np.prod(1 - right, axis=0)
        of_wrong = np.prod(1 - (1 - right) / (num_options - 1), axis=0)
        return float(np.sum((1 - rate) * of_right + rate * of_wrong)) - num_flagged

    most = 0.99 * (1 - 1 / num_options)
    if too_many(0.0) >= 0:
        return 0.0
    if too_many(most) <= 0:
        return most
    return float(optimize.brentq(too_many, 0.0, most, xtol=1e-6))


def plan(
    found: Expected | None, num_flagged: int, confidence_level: float
) -> tuple[AuditPlan, float]:
    """An audit that is likely to show a little less than is expected, and how much."""
    careful = (
        _LEAST_EXPECTED
        if found is None
        else float(
            np.clip(
                found.precision - 2 * found.standard_error,
                _LEAST_EXPECTED,
                _MOST_EXPECTED,
            )
        )
    )
    target = math.floor(20 * (careful - _MARGIN) + 1e-6) / 20
    if not num_flagged:
        none = AuditPlan(num_audited=0, num_wrong=0, chance=0.0, feasible=False)
        return none, target
    audit = audits.audit_size(
        target, careful, confidence_level, num_flagged=num_flagged
    )
    return audit, target
