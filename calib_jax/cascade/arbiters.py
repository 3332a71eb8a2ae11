r"""Two models that confer: whose answer to take once both were asked.

Shapes: N examples. The paper takes the large model's answer wherever it was asked, even
where the small model was surer. Calibrated confidences can be compared between models,
so the two answers can be weighed for each input.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce
from .._core.domains import Confidence, Outcome, Weights
from ..calibration import logistic, reports, solvers
from ..calibration.reports import FitReport, FitStatus
from ..calibration.solvers import Evaluation
from ..confidence import classes

# The penalty counts as much as this many rows.
_RIDGE = 1.0
# The surer of two models that err independently.
_SURER = np.array([1.0, 1.0, 0.0], np.float32)
_BOUND = 1e6


@records.record()
class Arbiter:
    r"""Whose answer is right, where two models differ and one of them is right.

    .. math:: P(\text{large right}) = \sigma(a_l \operatorname{logit} c_l
        - a_s \operatorname{logit} c_s + d)

    Slopes of 1 and an intercept of 0 take the surer answer, which is best if the models
    err independently. Slopes of 0 always take the same model: the large one if the
    intercept is at least 0.

    Attributes:
      small_slope: float32 scalar.
      large_slope: float32 scalar.
      intercept: float32 scalar, in logits.
    """

    small_slope: jax.Array
    large_slope: jax.Array
    intercept: jax.Array


@records.record(axes={"fit": None})
class ArbiterReport:
    """What an arbiter gains, on rows that took no part in fitting it.

    Attributes:
      helps: bool scalar, whether the gain is shown. If not, the arbiter always takes
        the model that is better on the calibration rows that differ.
      gain: float32 scalar, gain of accuracy over the better model of the two if all
        rows are asked of both, cross-fitted on the calibration rows.
      standard_error: float32 scalar, of the gain.
      num_decisive: int32 scalar, rows on which the answers differ and exactly one is
        right, or one is more right.
      fit: `FitReport` of the slopes and the intercept.
    """

    helps: jax.Array
    gain: jax.Array
    standard_error: jax.Array
    num_decisive: jax.Array
    fit: FitReport


def fit_arbiter(
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    differ: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Arbiter, ArbiterReport]:
    """Whose answer to take where two models differ."""
    (small, large), by_small, by_large, mask = checks.two_models(
        {"small_confidence": small_confidence, "large_confidence": large_confidence},
        *(small_outcome, large_outcome, where),
    )
    apart, weight = checks.mask("differ", differ), checks.weights("weights", weights)
    checks.same_shape(small_confidence=small, differ=apart, weights=weight)
    return _fit_arbiter(small, large, by_small, by_large, apart, mask, weight)


def prefer_large(
    arbiter: Arbiter, small_confidence: ArrayLike, large_confidence: ArrayLike
) -> jax.Array:
    """Where to take the large model's answer, once both were asked and differ."""
    checks.instance("arbiter", arbiter, Arbiter)
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    checks.same_shape(small_confidence=small, large_confidence=large)
    return _prefer_large(arbiter, small, large)


@dispatch.core(rows=["small_confidence", "large_confidence"])
def _prefer_large(
    arbiter: Arbiter, small_confidence: Confidence, large_confidence: Confidence
) -> jax.Array:
    slopes = arbiter.small_slope, arbiter.large_slope
    margin = arbiter.intercept + sum(
        # 0 times the log-odds of an unknown confidence.
        jnp.where(slope == 0, 0.0, slope * odds)
        for slope, odds in zip(
            slopes, _features(small_confidence, large_confidence), strict=True
        )
    )
    # NaN of the large model is passed over first.
    return jnp.isnan(small_confidence) | (~jnp.isnan(large_confidence) & ~(margin < 0))


def _features(
    small_confidence: jax.Array, large_confidence: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What the small slope and the large one are multiplied with."""
    small, large = map(classes.as_log_odds, (small_confidence, large_confidence))
    return -small, large


@dispatch.core(
    rows=[
        *("small_confidence", "large_confidence", "small_outcome", "large_outcome"),
        *("differ", "where", "weights"),
    ],
    passes=dispatch.Passes.FEW,
)
def _fit_arbiter(
    small_confidence: Confidence,
    large_confidence: Confidence,
    small_outcome: Outcome,
    large_outcome: Outcome,
    differ: jax.Array | None,
    where: jax.Array | None,
    weights: Weights | None,
) -> tuple[Arbiter, ArbiterReport]:
    num_rows = small_confidence.shape[0]
    valid = masking.valid_rows(num_rows, where, weights)
    apart = valid if differ is None else valid & differ
    given = (small_confidence, large_confidence, small_outcome, large_outcome)
    weight = jnp.ones(num_rows, jnp.float32) if weights is None else weights
    invalid = jnp.any(valid & ~jnp.isfinite(sum(given) + weight))
    small, large, by_small, by_large, weight = masking.clean_rows(
        apart, 0.0, *given, weight
    )
    weight = jnp.where(apart, weight, 0.0)
    advantage = by_large - by_small
    decisive = apart & (advantage != 0) & ~invalid
    say = jnp.where(decisive, weight * jnp.abs(advantage), 0.0)
    total = reduce.pairwise_sum(say)
    some = jnp.maximum(total, 1e-30)
    data: Any = {
        "rows": {
            "score": _features(small, large),
            "outcome": jnp.where(advantage > 0, 1.0, 0.0),
            "share": say / some,
        },
        "ridge": _RIDGE / jnp.maximum(some, 1e-6),
    }
    solution = solvers.minimize(
        _evaluate,
        data,
        jnp.asarray(_SURER),
        lower=np.full(3, -_BOUND, np.float32),
        upper=np.full(3, _BOUND, np.float32),
        enabled=(total > 0) & ~invalid,
    )
    status, *found = reports.first_case(
        (invalid, FitStatus.INVALID_VALUES),
        (~(total > 0), FitStatus.CONSTANT),
        (~solution.converged, FitStatus.MAX_STEPS),
        (True, FitStatus.CONVERGED),
    )
    small_slope, large_slope, intercept = solution.params
    features = data["rows"]["score"]
    margin = small_slope * features[0] + large_slope * features[1] + intercept
    every = jnp.where(valid & ~invalid, 1.0 if weights is None else weights, 0.0)
    every_total = jnp.maximum(reduce.pairwise_sum(every), 1e-30)
    large_better = reduce.pairwise_sum(weight * advantage) >= 0
    over = jnp.where(large_better, 0.0, -advantage)
    won = jnp.where(margin >= 0, advantage, 0.0) - (advantage + over)
    gain = reduce.pairwise_sum(every * won) / every_total
    spread = reduce.pairwise_sum(every * (won - gain) ** 2) / every_total
    error = jnp.sqrt(spread / every_total)
    helps = (gain > error) & (status == FitStatus.CONVERGED)
    level = jnp.where(large_better, np.float32(1), np.float32(-1))
    arbiter = Arbiter(
        small_slope=jnp.where(helps, small_slope, 0.0),
        large_slope=jnp.where(helps, large_slope, 0.0),
        intercept=jnp.where(helps, intercept, level),
    )
    report = ArbiterReport(
        helps=helps,
        gain=gain,
        standard_error=error,
        num_decisive=jnp.sum(decisive, dtype=jnp.int32),
        fit=reports.fit_report(solution, status, total),
    )
    return jax.lax.stop_gradient((arbiter, report))


def _evaluate(params: jax.Array, data: Any, every: Any) -> Evaluation:
    found = logistic.evaluate(params, data, every)
    away = params - _SURER
    ridge = data["ridge"]
    return found._replace(
        value=found.value + 0.5 * ridge * jnp.sum(away**2),
        gradient=found.gradient + ridge * away,
        hessian=found.hessian + ridge * jnp.eye(3, dtype=np.float32),
    )
