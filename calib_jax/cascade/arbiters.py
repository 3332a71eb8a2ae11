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
from ..calibration.solvers import Evaluation, Solution
from ..confidence import classes

# Strengths of the penalty: on the mean of the two slopes, on half their difference, and
# on the intercept, which needs one only where one model is always right.
# benchmarks/conferring compares others.
_PENALTY = np.array([20.0, 60.0, 0.1], np.float32)
_TOTAL_PENALTY = np.float32(_PENALTY.sum())
# A gain of fewer standard errors than this is not believed. The penalty has made most
# rules that gain nothing into the better model already.
_BELIEVED = 0.5
_BOUND = 1e6


@records.record()
class Arbiter(records.Result):
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


@records.record(
    axes={"fit": None},
    values={"standard_error": records.NON_NEGATIVE, "num_decisive": records.COUNT},
)
class ArbiterReport(records.Result):
    """What an arbiter gains, each calibration row judged without its own help.

    Attributes:
      helps: bool scalar, whether the arbiter uses the fitted rule: its gain is above
        half a standard error, which is a low bar and no test. If not, it always takes
        the model that is better on the calibration rows that differ. Use an arbiter in
        a cascade only where it helps; elsewhere take the large model's answer wherever
        it was asked, which is the paper's cascade.
      gain: float32 scalar, accuracy that the fitted rule gains over the better model of
        the two if both models are asked for every row, by leaving out one row at a
        time; NaN without a valid row.
      standard_error: float32 scalar, of the gain.
      num_decisive: int32 scalar, rows where the answers differ and one is more right
        than the other: all that the fit learns from.
      fit: `FitReport` of slopes and intercept, with the penalty in its loss.
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
    r"""Whose answer to take where two models differ, fitted on calibration rows.

    .. math:: \min_{a_l, a_s, d} \sum_i w_i \, |v^l_i - v^s_i| \,
       \log (1 + e^{-y_i m_i}) + \frac{1}{2} \left( 20 \, \bar a^2
       + 60 \, \delta^2 + 0.1 \, d^2 \right)

    with :math:`m = a_l \operatorname{logit} c_l - a_s \operatorname{logit} c_s + d`,
    :math:`y = 1` where the large model is more right and -1 where the small one is,
    :math:`\bar a = (a_l + a_s) / 2` and :math:`\delta = (a_l - a_s) / 2`. Rows on which
    the answers are equally right say nothing about whom to believe.

    With few rows the penalty leaves little of the slopes, and the arbiter takes the
    model that is right more often. It does the same if the gain of the fitted rule is
    not above half its standard error: `helps` is False then. The bar is that low
    because the penalty has done most of the holding back. The gain is cross-validated
    by leaving out one row at a time, to first order in the influence of a row, which
    takes neither folds nor further fits.

    In a cascade, use the arbiter only where `helps` is True. Elsewhere take the large
    model's answer wherever it was asked, as in the paper: an arbiter that always takes
    the small model would pay for answers that it does not use.

    Give confidences of calibrators that were fitted with few parameters, such as
    `fit_temperature` and `fit_platt`, or on other rows: those that follow the
    calibration rows too closely make a gain look larger than it is.

    Args:
      small_confidence: floating `[N]`, calibrated confidence in `[0, 1]`; 0 and 1 count
        as in `calib_jax.log_odds`.
      large_confidence: `[N]`, like `small_confidence` for the large model.
      small_outcome: bool, integer or floating `[N]` in `[0, 1]`, whether the small
        model's answer is right.
      large_outcome: `[N]`, like `small_outcome` for the large model.
      differ: optional bool `[N]`, whether the answers differ; all do if it is not
        given. It makes no difference if equal answers have equal outcomes.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`, in rows: weight 2 counts the row twice, 0
        removes it. The penalty is in rows, too, so the scale matters: weights that sum
        to 1 count as a single row, and the arbiter holds back without a warning.
        Multiply normalised weights by the number of valid rows first.

    Returns:
      `Arbiter` and `ArbiterReport`. Without a decisive row, or if a valid row holds NaN
      (`INVALID_VALUES`), slopes and intercept are 0: take the large model's answer.
      They have no derivatives.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host confidence, outcome or
        weight outside its range.

    Warns:
      ConvergenceWarning: for invalid values, where no array is on a device.

    References:
      Hao et al. 2026, arXiv 2601.07965 (calibrated confidences of two models can be
      compared); Pregibon, "Logistic Regression Diagnostics", 1981 (leaving out one
      row).

    Examples:
      Each model is right where it is surer, on 200 rows:

      >>> small, large = [0.6, 0.9] * 100, [0.8, 0.7] * 100
      >>> arbiter, report = fit_arbiter(small, large, [0, 1] * 100, [1, 0] * 100)
      >>> print(report.helps, report.gain.round(2))
      True 0.5
      >>> print(prefer_large(arbiter, [0.6, 0.9], [0.8, 0.7]))
      [ True False]
    """
    (small, large), by_small, by_large, mask = checks.two_models(
        {"small_confidence": small_confidence, "large_confidence": large_confidence},
        *(small_outcome, large_outcome, where),
    )
    apart, weight = checks.mask("differ", differ), checks.weights("weights", weights)
    checks.same_shape(small_confidence=small, differ=apart, weights=weight)
    arbiter, report = _fit_arbiter(
        small, large, by_small, by_large, apart, mask, weight
    )
    given = small_confidence, large_confidence, small_outcome, large_outcome
    reports.warn_of_failure("fit_arbiter", report.fit, given, differ, where, weights)
    return arbiter, report


def prefer_large(
    arbiter: Arbiter, small_confidence: ArrayLike, large_confidence: ArrayLike
) -> jax.Array:
    """Where to take the large model's answer, once both were asked and differ.

    Args:
      arbiter: `Arbiter`.
      small_confidence: floating `[N]` in `[0, 1]`, calibrated as in the fit.
      large_confidence: `[N]`, like `small_confidence` for the large model.

    Returns:
      bool `[N]`; True at a probability of one half, and where the small model's
      confidence is NaN; False where only the large model's is.

    Raises:
      ValueError: where `arbiter` is not an `Arbiter`, for a wrong rank, shape or dtype,
        or a confidence on the host outside `[0, 1]`; in a device array it counts as
        NaN.

    References:
      Hao et al. 2026, arXiv 2601.07965 (calibrated confidences of two models can be
      compared).

    Examples:
      The surer of the two:

      >>> one, zero = jnp.float32(1), jnp.float32(0)
      >>> surer = Arbiter(small_slope=one, large_slope=one, intercept=zero)
      >>> print(prefer_large(surer, [0.7, 0.9, 0.8], [0.8, 0.6, 0.8]))
      [ True False  True]
    """
    checks.instance("arbiter", arbiter, Arbiter)
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    checks.same_shape(small_confidence=small, large_confidence=large)
    return _prefer_large(arbiter, small, large)


def conferred(
    arbiter: Arbiter,
    helps: ArrayLike,
    confidences: tuple[ArrayLike, ArrayLike],
    outcomes: tuple[ArrayLike, ArrayLike],
    differ: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Confidence and outcome of the answer that is taken where both were asked.

    Args:
      arbiter: `Arbiter`.
      helps: bool scalar, of its report; where it is False the large model's answer is
        taken, as in the paper.
      confidences: of the small and of the large model, `[N]` each.
      outcomes: of the small and of the large model, `[N]` each.
      differ: optional bool `[N]`, where the answers differ; elsewhere the large one is
        taken.

    Returns:
      Two arrays `[N]`. Outcomes of two types become float32.
    """
    keep = jnp.logical_and(helps, ~prefer_large(arbiter, *confidences))
    if differ is not None:
        keep = jnp.logical_and(keep, differ)
    by_small, by_large = map(jnp.asarray, outcomes)
    if by_small.dtype != by_large.dtype:
        by_small, by_large = (one.astype(jnp.float32) for one in (by_small, by_large))
    return jnp.where(keep, *confidences), jnp.where(keep, by_small, by_large)


def held_back(arbiter: Arbiter, unless: jax.Array) -> Arbiter:
    """The arbiter that always takes the large model, unless a bool scalar is True."""
    return jax.tree.map(
        lambda leaf: jnp.where(unless, leaf, jnp.zeros_like(leaf)), arbiter
    )


@dispatch.core(
    rows=["small_confidence", "large_confidence"], rows_of="small_confidence"
)
def _prefer_large(
    arbiter: Arbiter, small_confidence: Confidence, large_confidence: Confidence
) -> jax.Array:
    small, large = map(classes.as_log_odds, (small_confidence, large_confidence))
    margin = arbiter.large_slope * large - arbiter.small_slope * small
    takes_large = ~(margin + arbiter.intercept < 0) & ~jnp.isnan(large)
    return jnp.isnan(small) | takes_large


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
    weight, unit = masking.scaled_weights(num_rows, weights, valid)
    given = small_confidence, large_confidence, small_outcome, large_outcome, weight
    usable = jnp.isfinite(sum(given))
    invalid = jnp.any(valid & ~usable)
    small, large, by_small, by_large = masking.clean_rows(
        valid & usable, 0.5, *given[:4]
    )
    weight = jnp.where(valid & ~invalid, weight, 0.0)
    advantage = by_large - by_small
    if differ is not None:
        advantage = jnp.where(differ, advantage, 0.0)
    odds_small, odds_large = map(classes.as_log_odds, (small, large))
    rows: dict[str, Any] = {
        # Their slopes are the mean of the two, and half the difference.
        "score": (odds_large - odds_small, odds_large + odds_small),
        "outcome": (advantage > 0).astype(jnp.float32),
        "weight": weight * jnp.abs(advantage),
    }
    total, decisive, ahead = _sums(weight, rows["weight"], weight * advantage)
    # The penalty in units of the weights; it may not exceed the range of float32.
    penalty = jnp.minimum(1 / unit, 1e30)
    scale = 1 / (decisive + _TOTAL_PENALTY * penalty)
    data = {"rows": rows, "part": decisive * scale, "penalty": penalty * scale}
    solution = solvers.minimize(
        _evaluate,
        data,
        jnp.zeros(3, jnp.float32),
        lower=np.full(3, -_BOUND, np.float32),
        upper=np.full(3, _BOUND, np.float32),
        enabled=~invalid,
    )
    (status,) = reports.first_case(
        (invalid, FitStatus.INVALID_VALUES),
        (~solution.converged, FitStatus.MAX_STEPS),
        (True, FitStatus.CONVERGED),
    )
    takes_large = ahead >= 0
    copy = jnp.minimum(weight, penalty) * jnp.abs(advantage)
    left_out = _left_out(solution, rows, copy * scale)
    # Accuracy gained where the rule takes the other model.
    change = jnp.where(takes_large, -advantage, advantage)
    change = jnp.where((left_out >= 0) == takes_large, 0.0, change)
    first, second = _sums(weight * change, weight * change * change)
    gain, square = masking.ratio(first, total), masking.ratio(second, total)
    error = jnp.sqrt(
        masking.ratio(jnp.maximum(square - gain * gain, 0.0), total) * penalty
    )
    helps = (gain > _BELIEVED * error) & (status == FitStatus.CONVERGED)
    mean, difference, intercept = solution.params
    none = jnp.where(takes_large, np.float32(1), np.float32(-1))
    none = jnp.where(decisive > 0, none, 0.0)
    zero = np.float32(0)
    arbiter = Arbiter(
        small_slope=jnp.where(helps, mean - difference, zero),
        large_slope=jnp.where(helps, mean + difference, zero),
        intercept=jnp.where(helps, intercept, none),
    )
    unknown = jnp.where(invalid, jnp.nan, zero)
    report = ArbiterReport(
        helps=helps,
        gain=gain + unknown,
        standard_error=error + unknown,
        num_decisive=jnp.sum(rows["weight"] > 0, dtype=jnp.int32),
        fit=reports.fit_report(solution, status, decisive),
    )
    return jax.lax.stop_gradient((arbiter, report))


def _sums(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Sums of arrays `[N]`."""

    def of_block(block: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.where(live, array, 0.0) for array in block)

    sums: tuple[jax.Array, ...] = reduce.sum_rows(of_block, arrays)
    return sums


def _evaluate(params: jax.Array, data: Any, every: Any) -> Evaluation:
    """The loss of rows and penalty over their total weight."""
    found, part = logistic.evaluate(params, data, every), data["part"]
    share = data["penalty"] * _PENALTY
    return Evaluation(
        value=part * found.value + 0.5 * jnp.sum(share * params**2),
        gradient=part * found.gradient + share * params,
        hessian=part * found.hessian + jnp.diag(share),
    )


def _left_out(solution: Solution, rows: Any, share: jax.Array) -> jax.Array:
    """The margin of each row by the fit without it, float32 `[N]`, to first order.

    Args:
      solution: of the fit to all rows.
      rows: those of the fit.
      share: float32 `[N]`, the part of the total weight that is left out. Of a row that
        counts more than once it is one copy.
    """
    columns = jax.vmap(solvers.newton_step, (0, None))
    inverse = -columns(jnp.eye(3, dtype=np.float32), solution.evaluation.hessian)
    features = [*rows["score"], np.float32(1)]
    margin, leverage = jnp.zeros_like(share), jnp.zeros_like(share)
    for i, feature in enumerate(features):
        margin = margin + solution.params[i] * feature
        for j, other in enumerate(features):
            leverage = leverage + share * (inverse[i, j] * feature * other)
    chance = jax.nn.sigmoid(margin)
    rest = jnp.maximum(1 - leverage * chance * (1 - chance), 1e-6)
    return margin - leverage * (rows["outcome"] - chance) / rest
