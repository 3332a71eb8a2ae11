"""Beta calibration: a curve from one confidence to another.

Shapes: N examples. One problem at a time; batch with `jax.vmap`. The fitted parameters
are differentiable with respect to confidences, outcomes and weights (implicit function
theorem), with a slope of 0 held there; their derivatives are NaN if the status is
INVALID_VALUES or MAX_STEPS.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, masking, records, reduce, transforms
from .._core.domains import Confidence, Outcome, Weights
from . import log_features, logistic, reports, solvers
from .log_features import Coordinates
from .platt import MAX_PLATT
from .reports import FitReport, FitStatus
from .solvers import Evaluation, Solution

# Below the least normal float32 numbers count as 0.
_TINY = np.finfo(np.float32).tiny
# From this size on, standardised slopes of which one is negative may go to infinity.
_FAR = 30.0
# The loss falls along a direction if its derivative is below this, which is not
# rounding.
_FALLING = -3e-7


@records.record(
    values={"slope": records.NON_NEGATIVE, "complement_slope": records.NON_NEGATIVE}
)
class Beta(records.Result):
    """Parameters of beta calibration.

    The confidence c becomes `sigmoid(slope log c - complement_slope log(1 - c) +
    intercept)`.

    Attributes:
      slope: float32 scalar, at least 0.
      complement_slope: float32 scalar, at least 0.
      intercept: float32 scalar, in logits.
    """

    slope: jax.Array
    complement_slope: jax.Array
    intercept: jax.Array


def fit_beta(
    confidence: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Beta, FitReport]:
    r"""Beta calibration of confidences to outcomes, by maximum likelihood.

    .. math:: \min_{a \ge 0, b \ge 0, d} \; -\frac{1}{W} \sum_i w_i \left[ v_i \log p_i
       + (1 - v_i) \log (1 - p_i) \right], \quad
       p_i = \sigma(a \log c_i - b \log (1 - c_i) + d)

    For a confidence that is off near 0 in another way than near 1: Platt scaling of
    `log_odds` is the case a = b, and a = b = 1, d = 0 changes nothing. The curve never
    falls. Its optimum may have a slope of exactly 0; if both are 0, higher confidence
    means worse answers, the curve is constant, and the status is `REVERSED`. With only
    two different confidences, or a range so narrow that float32 cannot tell the slopes
    apart, they are equal. Calibrated confidences are right to 1e-5 where those given
    span 1e-3 or more, and to 1e-3 in a narrower range.

    `SEPARABLE` and `ONE_CLASS` outcomes have no finite optimum and end up at a bound of
    the slope or intercept; `CONSTANT` confidences get slopes 0 and the logit of the
    mean outcome. `INVALID_VALUES` get 0 everywhere, a confidence of one half; they
    include confidences of exactly 0 or 1, which have no logarithm: mask those rows, or
    clip them on purpose. In float32 a confidence above 1 - 3e-8 is 1, and `log(1 - c)`
    is that of the rounded confidence.

    Args:
      confidence: floating `[N]` in `(0, 1)`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      solver: optax gradient transformation over a vector of two slopes and an intercept
        in standardised coordinates; None is `calib_jax.calibration.newton()`. Build it
        once, because each new one is compiled again.

    Returns:
      `Beta` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host confidence, outcome or
        weight outside its range.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device; it
        counts the rows whose confidence is 0 or 1.

    References:
      Kull, Silva Filho and Flach, "Beta calibration: a well-founded and easily
      implemented improvement on logistic calibration for binary classifiers", 2017.

    Examples:
      >>> confidence = [0.2, 0.4, 0.5, 0.7, 0.8, 0.9]
      >>> params, report = fit_beta(confidence, [0, 1, 0, 1, 0, 1])
      >>> print(f"{params.slope:.3f} {params.complement_slope:.3f}")
      1.440 0.184
    """
    rows = (
        checks.floats("confidence", confidence),
        checks.outcomes("outcomes", outcomes),
        checks.mask("where", where),
        checks.weights("weights", weights),
    )
    names = "confidence", "outcomes", "where", "weights"
    checks.same_shape(**dict(zip(names, rows, strict=True)))
    checks.solver(solver)
    params, report = _fit_beta(*rows, solver=solver)
    reports.warn_of_failure(
        "fit_beta",
        report,
        *(confidence, outcomes, where, weights),
        detail=lambda: _about_certain(rows[0], *rows[2:]),
    )
    return params, report


def _about_certain(confidence: Any, where: Any, weights: Any) -> str:
    """What the warning says about rows of the host that are certain."""
    certain = (confidence < _TINY) | (confidence == 1)
    certain &= True if where is None else where
    certain &= True if weights is None else weights != 0
    count = np.count_nonzero(certain)
    if not count:
        return ""
    hold = "1 row holds" if count == 1 else f"{count} rows hold"
    return (
        f" {hold} a confidence of 0 or 1, whose logarithm is infinite: mask with "
        "where=, or clip the confidences first, such as to [1e-6, 1 - 1e-6]."
    )


@dispatch.core(rows=["confidence N ..."], elementwise=True)
def apply_beta(params: Beta, confidence: Confidence) -> jax.Array:
    """Confidence float32 `[...]` of confidences float32 `[...]`."""

    def times(slope: jax.Array, logarithm: jax.Array) -> jax.Array:
        """0 times the infinite logarithm of a confidence of 0 or 1 is 0."""
        return jnp.where(slope == 0, 0.0, slope * jnp.where(slope == 0, 0.0, logarithm))

    logit = times(params.slope, jnp.log(confidence))
    logit = logit - times(params.complement_slope, jnp.log1p(-confidence))
    found = jax.nn.sigmoid(logit + params.intercept)
    return jnp.where(jnp.isnan(confidence), jnp.nan, found)


_times = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def _evaluate(
    params: jax.Array, data: Any, every: Any, *, with_loss: bool
) -> Evaluation:
    """The loss and its derivatives with respect to the free parameters."""
    face = data["face"]
    found = logistic.evaluate(_times(face, params), data, every, with_loss=with_loss)
    return Evaluation(
        value=found.value,
        gradient=_times(found.gradient, face),
        hessian=_times(face.T, _times(found.hessian, face)),
    )


@dispatch.core(
    static=["solver"],
    rows=["confidence", "outcomes", "where", "weights"],
    passes=dispatch.Passes.FEW,
)
def _fit_beta(
    confidence: Confidence,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Beta, FitReport]:
    rows: dict[str, Any] = {"score": confidence, "outcome": outcomes}
    rows |= {} if where is None else {"where": where}
    if weights is not None:
        valid = masking.valid_rows(confidence.shape[0], where, weights)
        rows["weight"], _ = masking.scaled_weights(confidence.shape[0], weights, valid)
    inside = (confidence >= _TINY) & (confidence < 1)
    invalid, lowest_right, highest_right, lowest_wrong, highest_wrong = (
        logistic.extremes(rows, lambda score: (score >= _TINY) & (score < 1))
    )
    # What is outside does not count, or makes the fit invalid.
    rows["score"] = confidence = jnp.where(inside, confidence, 0.5)
    lowest = jnp.minimum(lowest_right, lowest_wrong)
    highest = jnp.maximum(highest_right, highest_wrong)

    def sums(block: Any, live: jax.Array) -> tuple[jax.Array, ...]:
        score, outcome, weight = logistic.clean(block, live)
        return weight, weight * score, weight * outcome, weight * (1 - outcome)

    total, first, positive, negative = reduce.sum_rows(sums, rows)
    some = jnp.maximum(total, 1e-30)
    rate = positive / some
    wide = (highest > lowest) & ~invalid
    half = np.float32(0.5)
    center = lax.select(wide, lax.clamp(lowest, first / some, highest), half)
    center = lax.stop_gradient(center)
    fixed = {**rows, "score": log_features.logarithms(confidence, center)}
    coordinates, helps = log_features.standardise(
        *lax.stop_gradient((fixed, center, rate))
    )
    rows["score"] = coordinates.features(confidence)
    few = logistic.are_few(rows)
    if few:
        features, outcome, weight = logistic.clean(rows)
        share = weight / lax.stop_gradient(some)
        rows = {"score": features, "outcome": outcome, "share": share}

    zero, most = np.float32(0), np.float32(MAX_PLATT)
    base = lax.clamp(-most, jnp.log(rate) - jnp.log1p(-rate), most)
    rising = lowest_right >= highest_wrong
    ends = [lax.select(wide, end, center) for end in (lowest_right, highest_wrong)]
    right, wrong = (coordinates.features(end)[0] for end in ends)
    wide = wide & (coordinates.factors[0] > 0)
    status, *start = reports.first_case(
        (invalid, FitStatus.INVALID_VALUES, zero, zero),
        (~(total > 0), FitStatus.CONSTANT, zero, zero),
        ((positive == 0) | (negative == 0), FitStatus.ONE_CLASS, zero, base),
        (~wide, FitStatus.CONSTANT, zero, base),
        (rising, FitStatus.SEPARABLE, most, -most * (0.5 * (right + wrong))),
        (True, FitStatus.CONVERGED, zero, base),
    )
    searched = status == FitStatus.CONVERGED
    solution, face, data = _solve(
        {"rows": rows},
        *(coordinates, helps),
        jnp.stack([start[0], zero, start[1]]),
        searched,
        solver,
    )
    lost = invalid | (searched & ~solution.converged)
    params = solvers.differentiable(
        functools.partial(_evaluate, with_loss=False),
        solution,
        data,
        inside=(searched & solution.converged) | lost,
    )
    params = reports.undefined(params, lost, solution.params)
    (status,) = reports.first_case(
        (~searched, status),
        (jnp.max(jnp.abs(solution.params)) >= MAX_PLATT, FitStatus.SEPARABLE),
        (~solution.converged, FitStatus.MAX_STEPS),
        (
            (face == log_features.NEITHER) & ((helps[0] < 0) | (helps[1] < 0)),
            FitStatus.REVERSED,
        ),
        (True, FitStatus.CONVERGED),
    )
    report = reports.fit_report(solution, status, total)
    params = _times(data["face"], params)
    slope, complement_slope = coordinates.slopes(params)
    slope = jnp.where(
        (face == log_features.BOTH) | (face == log_features.FIRST), slope, 0.0
    )
    complement_slope = jnp.where(
        (face == log_features.BOTH) | (face == log_features.SECOND),
        complement_slope,
        0.0,
    )
    # Less than 0 by rounding only.
    slope = jnp.where(slope > 0, slope, 0.0)
    complement_slope = jnp.where(complement_slope > 0, complement_slope, 0.0)
    level = params[2]
    for place in (0, 1):
        moved = coordinates.means[place] * coordinates.factors[place]
        level = level - params[place] * moved
    intercept = level - slope * jnp.log(center)
    intercept = intercept + complement_slope * jnp.log1p(-center)
    return (
        Beta(slope=slope, complement_slope=complement_slope, intercept=intercept),
        report,
    )


def _solve(
    data: Any,
    coordinates: Coordinates,
    helps: tuple[jax.Array, jax.Array],
    start: jax.Array,
    enabled: jax.Array,
    solver: optax.GradientTransformation | None,
) -> tuple[Solution, jax.Array, Any]:
    """The solution, which slopes are free in it, and the data with their directions.

    The loss is convex. Both slopes are 0 if neither logarithm rises with the outcome.
    Otherwise a straight line through the outcomes guesses which are free. Where both
    are and one turns out negative, the optimum is where that one is 0. If outcomes that
    a band of confidences separates send the slopes to infinity, they do not get there.
    A slope held at 0 stays there if the loss does not fall as it grows (the conditions
    of Karush, Kuhn and Tucker); if it does, both are fitted as far as it takes.
    """
    bound = np.full(3, MAX_PLATT, np.float32)
    faces = lax.stop_gradient(coordinates.faces())
    first_helps, second_helps = (help > 0 for help in helps)

    def edge(slopes: tuple[jax.Array, jax.Array]) -> jax.Array:
        """The face for slopes of which one is negative."""
        first_wrong, second_wrong = (slope < 0 for slope in slopes)
        second = second_helps & (~first_helps | (first_wrong & ~second_wrong))
        return jnp.where(second, jnp.int32(log_features.SECOND), log_features.FIRST)

    def next_round(state: Any) -> Any:
        face, patient, steps, _, _ = state

        def infeasible(params: jax.Array) -> jax.Array:
            first, second = coordinates.slopes(params)
            return (face == log_features.BOTH) & ((first < 0) | (second < 0))

        def hopeless(params: jax.Array) -> jax.Array:
            return ~patient & infeasible(params) & (jnp.max(jnp.abs(params)) > _FAR)

        solution = solvers.minimize(
            functools.partial(_evaluate, with_loss=True),
            data | {"face": faces[face]},
            jnp.where(face == log_features.BOTH, start, flat),
            lower=-bound,
            upper=bound,
            solver=solver,
            enabled=enabled,
            thinnings=reduce.thinnings(data["rows"], logistic.FIRST_ROWS),
            stop=hopeless,
        )
        steps = steps + solution.num_steps
        params = _times(faces[face], solution.params)
        # Along the direction in which the slope that is held at 0 would grow.
        gradient = logistic.evaluate(params, data, 1, with_loss=False).gradient
        held = jnp.where(
            face == log_features.FIRST,
            jnp.int32(log_features.SECOND),
            log_features.FIRST,
        )
        falls = jnp.sum(gradient * faces[held, :, 0]) < _FALLING
        falls = (
            falls
            & ~patient
            & ((face == log_features.FIRST) | (face == log_features.SECOND))
        )
        again = enabled & (infeasible(params) | falls)
        other = lax.select(
            falls, jnp.int32(log_features.BOTH), edge(coordinates.slopes(params))
        )
        face = lax.select(again, other, face)
        return face, patient | falls, steps, solution._replace(num_steps=steps), again

    guess = coordinates.slopes(coordinates.line(helps))
    face = lax.select(
        (guess[0] < 0) | (guess[1] < 0), edge(guess), jnp.int32(log_features.BOTH)
    )
    face = jnp.where(first_helps | second_helps, face, log_features.NEITHER)
    face = jnp.where(enabled, face, log_features.BOTH)
    # A confidence that is about right needs few steps from where it is.
    given = coordinates.unchanged()
    base = start[2]
    entropy = jax.nn.softplus(base) - jax.nn.sigmoid(base) * base
    better = logistic.loss(given, data) < entropy
    flat, start = start, jnp.where(enabled & better, given, start)
    no, nothing = jnp.array(False), solvers.unsolved(start)
    state = face, no, jnp.int32(0), nothing, jnp.array(True)
    face, _, _, solution, _ = lax.while_loop(
        lambda state: state[-1], next_round, transforms.carry(next_round, state)
    )
    return solution, face, data | {"face": faces[face]}
