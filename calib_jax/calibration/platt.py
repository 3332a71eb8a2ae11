"""Platt scaling: a logistic curve from any score to a confidence.

Shapes: N examples. One problem at a time; batch with `jax.vmap`. The fitted parameters
are differentiable with respect to scores, outcomes and weights (implicit function
theorem); their derivatives are NaN if the status is INVALID_VALUES or MAX_STEPS.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, dispatch, exact, masking, records, reduce, transforms
from .._core.domains import Outcome, Weights
from . import logistic, reports, solvers
from .reports import FitReport, FitStatus
from .solvers import Solution

# Largest slope or intercept of scores with mean 0 and standard deviation 1. Beyond it
# nearly every probability is 0 or 1 in float32.
MAX_PLATT = 1e6
_MAX_ROUNDS = 4
# If all scores lie within this width they count as equal: a slope would overflow.
_MIN_WIDTH = 1e-30
# A scale this many times as large as the range of scores whose outcomes are mixed is
# one of outliers.
_OUTLYING = 1e3
# Scores this close to the least or greatest, in units of half their range, are equal to
# it in float32; and logits this close do not tell such scores apart.
_COLLAPSED, _NO_SPREAD = 2.0**-23, 1e-3
# Half a range that only fill values of masks have, not all of them the same.
_OVERFLOWING = 1e30
# A slope is chosen among as many neighbours in float32 on either side.
_NEIGHBOURS = 256
# Up to this product of slope and center both roundings move a logit by 1e-6 at most.
_NEAR = 16.0


@records.record()
class Platt(records.Result):
    """Logistic calibration of a score: `sigmoid(slope * score + intercept)`.

    Attributes:
      slope: float32 scalar, per unit of score; negative if higher scores are worse.
      intercept: float32 scalar, in logits.
    """

    slope: jax.Array
    intercept: jax.Array


def fit_platt(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    smooth_targets: bool = False,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Platt, FitReport]:
    r"""Logistic calibration of scores to outcomes, by maximum likelihood.

    .. math:: \min_{a, b} \; -\frac{1}{W} \sum_i w_i \left[ v_i \log \sigma(a s_i + b)
       + (1 - v_i) \log (1 - \sigma(a s_i + b)) \right]

    Takes any score, such as the mean logit or log-likelihood of a sequence, or the
    log-odds of a confidence. Slope and intercept of the standardised scores are limited
    to `[-1e6, 1e6]`; `SEPARABLE` and `ONE_CLASS` outcomes have no finite optimum and
    end up at a bound of that range. `CONSTANT` scores get slope 0 and the logit of the
    mean outcome. `INVALID_VALUES` get slope and intercept 0, a confidence of one half;
    they include scores so extreme, such as a mask's fill value, that float32 cannot
    tell the others apart, unless their outcomes are certain at any slope.

    Slope and intercept are rounded to float32 together. Confidences are right to 2e-5
    for scores up to about 1e3 standard deviations from 0, to 2e-4 up to 1e4 and to 1e-3
    up to 1e7, where float32 hardly tells the scores apart: subtract their mean first.

    Args:
      scores: floating `[N]`, finite.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      smooth_targets: whether to replace outcomes by Platt's targets
        `v t+ + (1 - v) t-` with `t+ = (N+ + 1) / (N+ + 2)`, `t- = 1 / (N- + 2)`,
        `N+ = sum(w v)`, `N- = sum(w (1 - v))`. Separable outcomes then have a finite
        optimum.
      solver: optax gradient transformation over the vector (slope, intercept) of the
        standardised scores; None is `calib_jax.calibration.newton()`. Build it once,
        because each new one is compiled again.

    Returns:
      `Platt` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a host outcome or weight outside
        its range.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000; Lin, Lin and
      Weng 2007; Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> scores = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
      >>> params, report = fit_platt(scores, [0, 0, 1, 0, 1, 1])
      >>> print(f"{params.slope:.3f} {params.intercept:.3f}")
      1.214 -0.607
    """
    rows = checks.scored_rows(scores, outcomes, where, weights)
    checks.solver(solver)
    params, report = fit_rows(
        *rows, smooth=checks.flag("smooth_targets", smooth_targets), solver=solver
    )
    given = scores, outcomes, where, weights
    reports.warn_of_failure("fit_platt", report, given)
    return params, report


@dispatch.core(rows=["scores N ..."], elementwise=True)
def apply_platt(params: Platt, scores: jax.Array) -> jax.Array:
    """Confidence float32 `[...]` of scores float32 `[...]`."""
    head, rest = exact.product_in_parts(params.slope, scores)
    logit = (head + params.intercept) + rest
    plain = params.slope * scores + params.intercept
    return jax.nn.sigmoid(jnp.where(jnp.isfinite(logit), logit, plain))


@jax.jit
def in_units_of_scores(params: jax.Array, center: jax.Array, scale: jax.Array) -> Platt:
    """The curve of standardised scores, `(score - center) / scale`, as a `Platt`.

    Far from 0 the rounding of the intercept would move the whole curve. So of the
    slopes next to the best one, whose rounding differs, it takes the one that moves the
    curve least.

    Args:
      params: float32 `[2]`, slope and intercept of the standardised scores.
      center: float32 scalar.
      scale: float32 scalar, positive.
    """
    most = np.finfo(np.float32).max
    slope = lax.clamp(-most, params[0] / scale, most)
    intercept = lax.clamp(-most, params[1] - slope * center, most)
    best, last, (steep, level), center = lax.stop_gradient(
        (slope, intercept, params, center)
    )
    turns = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1, dtype=np.int32)
    bits = lax.bitcast_convert_type(best, jnp.int32)

    def of_neighbour(turn: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        slope = lax.bitcast_convert_type(bits + turn, jnp.float32)
        head, rest = exact.product_in_parts(slope, center)
        intercept = (level - rest) - head
        return slope, intercept, ((intercept + head) + rest) - level

    # By how much the curve moves in the middle, and two deviations from there.
    *_, moved = of_neighbour(turns)
    moved = jnp.abs(moved) + jnp.abs(steep * np.float32(2.0**-22 * turns))
    moved = jnp.where(moved < jnp.inf, moved, jnp.inf)
    near = of_neighbour(jnp.argmin(moved).astype(jnp.int32) - _NEIGHBOURS)
    # Near 0 both roundings are small.
    found = (jnp.min(moved) < jnp.inf) & (jnp.abs(best * center) > _NEAR)
    # Both differences are exact, and the derivatives are those of the best slope.
    zero = np.float32(0)
    slope = slope + lax.select(found, near[0] - best, zero)
    intercept = intercept + lax.select(found, near[1] - last, zero)
    return Platt(slope=slope, intercept=intercept)


@dispatch.core(
    static=["smooth", "solver"],
    rows=["scores", "outcomes", "where", "weights"],
    passes=dispatch.Passes.FEW,
)
def fit_rows(
    scores: jax.Array,
    outcomes: Outcome,
    where: jax.Array | None,
    weights: Weights | None,
    *,
    smooth: bool,
    solver: optax.GradientTransformation | None,
) -> tuple[Platt, FitReport]:
    """The core of `fit_platt`."""
    rows = {"score": scores, "outcome": outcomes}
    rows |= {} if where is None else {"where": where}
    unit = jnp.float32(1)
    if weights is not None:
        valid = masking.valid_rows(scores.shape[0], where, weights)
        rows["weight"], unit = masking.scaled_weights(scores.shape[0], weights, valid)

    invalid, lowest_right, highest_right, lowest_wrong, highest_wrong = (
        logistic.extremes(rows, jnp.isfinite)
    )
    lowest = jnp.minimum(lowest_right, lowest_wrong)
    highest = jnp.maximum(highest_right, highest_wrong)
    # Half the range, which is finite for any finite scores.
    width = 0.5 * highest - 0.5 * lowest
    wide = width > _MIN_WIDTH
    middle = 0.5 * lowest + 0.5 * highest
    # Two factors, because the reciprocal of a very large width is subnormal.
    factor = lax.rsqrt(width)

    def moments(
        score: jax.Array, outcome: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, ...]:
        x = (score - middle) * factor * factor
        first, right = weight * x, weight * outcome
        to_end = jnp.minimum(score - lowest, highest - score)
        apart = jnp.where(to_end < _COLLAPSED * width, 0.0, weight)
        between = jnp.where(to_end > 0, weight, 0.0)
        wrong = weight * (1 - outcome)
        return weight, first, first * x, right, wrong, apart, between

    few = logistic.are_few(rows)
    if few:
        clean = logistic.clean(rows)
        sums: Any = [jnp.sum(moment) for moment in moments(*clean)]
    else:
        sums = reduce.sum_rows(lambda *block: moments(*logistic.clean(*block)), rows)
    total, first, second, positive, negative, apart, between = sums
    some = jnp.maximum(total, 1e-30)
    # Standardising only changes coordinates, not the optimum or its derivatives, so it
    # need not be exact.
    mean = first / some
    scale = jnp.sqrt(jnp.maximum(second / some - mean * mean, 1e-8)) * width
    center = middle + mean * width
    zero, one = np.float32(0), np.float32(1)
    rate = positive / some
    slope: Any = zero
    if not smooth:
        # Outliers whose outcomes are certain have no say: what counts are the scores at
        # which some rows are right and some are wrong, whichever way the slope goes. No
        # smoothed target is certain.
        rising_reach = 0.5 * highest_wrong - 0.5 * lowest_right
        falling_reach = 0.5 * highest_right - 0.5 * lowest_wrong
        up = rising_reach <= falling_reach
        reach = jnp.minimum(rising_reach, falling_reach)
        outliers = (reach > 0) & (scale > _OUTLYING * reach)
        mixed = lax.select(up, highest_wrong, highest_right) - reach
        center = lax.select(outliers, mixed, center)
        scale = lax.select(outliers, reach, scale)
        # From a slope of 0 they would keep the solver from moving.
        slope = lax.select(outliers, lax.select(up, one, -one), zero)
    apart_at_all = wide & ~invalid
    center, scale = lax.stop_gradient(
        (
            lax.select(apart_at_all, center, zero),
            lax.select(apart_at_all, scale, one),
        )
    )

    data: dict[str, Any] = {"rows": rows, "center": center, "scale": scale}
    if few:
        names, share = ("score", "outcome"), clean[2] / lax.stop_gradient(some)
        data["rows"] = dict(zip(names, clean, strict=False)) | {"share": share}
    if smooth:
        top = (positive * unit + 1) / (positive * unit + 2)
        bottom = 1 / (negative * unit + 2)
        rate = (positive * top + negative * bottom) / some
        # One minus the targets, which may be too close to 1 to be subtracted from it.
        rest_of_top = 1 / (positive * unit + 2)
        rest_of_bottom = (negative * unit + 1) / (negative * unit + 2)
        data["targets"] = (bottom, top), (rest_of_bottom, rest_of_top)
    base = jnp.log(rate) - jnp.log1p(-rate)
    base = lax.clamp(np.float32(-MAX_PLATT), base, np.float32(MAX_PLATT))
    cases: list[tuple[Any, ...]] = [
        (invalid, FitStatus.INVALID_VALUES, zero, zero),
        (~(total > 0), FitStatus.CONSTANT, zero, zero),
        (~wide, FitStatus.CONSTANT, zero, base),
        (True, FitStatus.CONVERGED, slope, base),
    ]
    if not smooth:
        # Without an optimum: the steepest slope, with confidence 1/2 in the middle of
        # the gap. Smoothed targets lie strictly between 0 and 1 and always have one.
        rising, falling = lowest_right >= highest_wrong, highest_right <= lowest_wrong
        one_class = (positive == 0) | (negative == 0)
        gap = lax.select(
            rising, lowest_right + highest_wrong, highest_right + lowest_wrong
        )
        steepest = lax.select(rising, np.float32(MAX_PLATT), np.float32(-MAX_PLATT))
        threshold = (0.5 * gap - center) / scale
        step = steepest, -steepest * threshold
        cases.insert(2, (one_class, FitStatus.ONE_CLASS, zero, base))
        cases.insert(4, (rising | falling, FitStatus.SEPARABLE, *step))
        level = lax.select(outliers, zero, base)
        cases[-1] = True, FitStatus.CONVERGED, slope, level
    status, *start = reports.first_case(*cases)
    searched = status == FitStatus.CONVERGED
    solution, data = _solve(data, jnp.stack(start), searched, solver)
    lost = invalid | (searched & ~solution.converged)
    params = solvers.differentiable(
        functools.partial(logistic.evaluate, with_loss=False),
        solution,
        data,
        inside=(searched & solution.converged) | lost,
    )
    # A few scores, so far from the others that float32 cannot tell those apart, have
    # set the slope, which is the same to all others.
    found = solution.params
    extreme = (width > _OVERFLOWING) & (apart <= 0.5 * total)
    spread = _COLLAPSED * jnp.abs(found[0]) * (width / data["scale"])
    useless = (spread < _NO_SPREAD) | ~solution.converged
    useless = searched & useless & ((apart <= 0) | extreme) & (between > 0)
    nothing = np.zeros(2, np.float32)
    params = reports.undefined(
        params, lost | useless, lax.select(useless, nothing, found)
    )
    (status,) = reports.first_case(
        (~searched, status),
        (useless, FitStatus.INVALID_VALUES),
        (jnp.max(jnp.abs(found)) >= MAX_PLATT, FitStatus.SEPARABLE),
        (~solution.converged, FitStatus.MAX_STEPS),
        (found[0] < 0, FitStatus.REVERSED),
        (True, FitStatus.CONVERGED),
    )
    report = reports.fit_report(solution, status, total)
    return in_units_of_scores(params, data["center"], data["scale"]), report


def _solve(
    data: Any,
    start: jax.Array,
    enabled: jax.Array,
    solver: optax.GradientTransformation | None,
) -> tuple[Solution, Any]:
    """The solution, and the data with the coordinates in which it was found.

    If a few extreme scores set mean and spread, those that matter can lie too close
    together for float32. The problem is then solved again in coordinates that
    standardise the latter: their moments, weighted by p (1 - p), are in the Hessian.
    """
    bound = np.full(2, MAX_PLATT, np.float32)
    few = "share" in data["rows"]

    def solve(coordinates: Any, start: jax.Array) -> Solution:
        return solvers.minimize(
            functools.partial(logistic.evaluate, with_loss=few or solver is not None),
            data | coordinates,
            start,
            lower=-bound,
            upper=bound,
            solver=solver,
            enabled=enabled,
            thinnings=reduce.thinnings(data["rows"], logistic.FIRST_ROWS),
        )

    def next_round(state: Any) -> Any:
        coordinates, start, steps, rounds, _, _ = state
        solution = solve(coordinates, start)
        steps = steps + solution.num_steps
        square, mean, _, one = solution.evaluation.hessian.reshape(4)
        one = jnp.maximum(one, np.finfo(np.float32).tiny)
        mean, square = mean / one, square / one
        spread = jnp.sqrt(jnp.maximum(square - mean**2, 1e-7))
        settled = (jnp.abs(mean) < 2) & (spread > 0.2) & (spread < 5)
        again = enabled & ~settled & (square < jnp.inf) & (rounds < _MAX_ROUNDS)
        moved = {
            "center": coordinates["center"] + coordinates["scale"] * mean,
            "scale": coordinates["scale"] * spread,
        }
        slope, intercept = solution.params
        start = jnp.stack([slope * spread, intercept + slope * mean])
        coordinates = jax.tree.map(
            lambda new, old: lax.select(again, new, old), moved, coordinates
        )
        solution = solution._replace(num_steps=steps)
        return coordinates, start, steps, rounds + 1, solution, again

    coordinates = {"center": data["center"], "scale": data["scale"]}
    start = lax.stop_gradient(start)
    nothing = solvers.unsolved(start)
    state = (coordinates, start, jnp.int32(0), jnp.int32(1), nothing, jnp.array(True))
    coordinates, _, _, _, solution, _ = lax.while_loop(
        lambda state: state[-1], next_round, transforms.carry(next_round, state)
    )
    data = data | coordinates
    if few:
        return solution, data
    value = logistic.loss(solution.params, lax.stop_gradient(data))
    evaluation = solution.evaluation._replace(value=value)
    return solution._replace(evaluation=evaluation), data
