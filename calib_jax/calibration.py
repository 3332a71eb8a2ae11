r"""Calibrators: a few parameters fitted so that confidence equals expected correctness.

Shapes: N examples, C classes. Each `fit_*` returns `(params, report)`; `calibrate`
applies parameters. Functions take one problem; fit several models, groups or splits at
once with `jax.vmap`. Fits run under `jax.jit`, and their parameters are differentiable
by the data (implicit function theorem), except those of histogram binning.

Fit on a calibration half and judge on the other half: on its own half every calibrator
looks better than it is.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from . import _checks, _masking, _reduce, binning, confidence, solvers, summary
from .binning import DEFAULT_NUM_BINS, Bins
from .solvers import Evaluation, FitReport, FitStatus, Solution

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6
# Of scores shifted and scaled to mean 0 and standard deviation 1. A probability from a
# larger slope or intercept is 0 or 1 in float32 for all but the closest scores.
MAX_PLATT = 1e4


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Temperature:
    """Temperature scaling of class logits.

    Attributes:
      temperature: float32 scalar in `[1e-6, 1e6]`; above 1 the model was
        over-confident.
    """

    temperature: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Platt:
    """Logistic calibration of a score: `sigmoid(slope * score + intercept)`.

    Attributes:
      slope: float32 scalar, per unit of score; below 0 a higher score is worse.
      intercept: float32 scalar, in logits.
    """

    slope: jax.Array
    intercept: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Histogram:
    """Histogram binning: the mean outcome of a score's bin.

    Attributes:
      bins: `Bins` of the score.
      values: float32 `[num_bins]`, probability given to scores of each bin.
    """

    bins: Bins
    values: jax.Array


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    class_where: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Temperature, FitReport]:
    r"""Temperature that minimises the negative log-likelihood of the labels.

    .. math:: \min_T \; -\frac{1}{W} \sum_i w_i \log
       \frac{\exp(z_{i,y_i} / T)}{\sum_k \exp(z_{ik} / T)}

    solved for log T in `[log 1e-6, log 1e6]`. Exact limits are found before the first
    step (`FitStatus`): `ZERO_LIMIT` gives T = 1e-6 and `INFINITE_LIMIT` T = 1e6 (also
    where the optimum lies beyond), `CONSTANT` and `INVALID_VALUES` T = 1. Log
    probabilities are valid logits.

    Args:
      logits: floating `[N, C]`; -inf is a class that cannot be.
      labels: integer `[N]` in `[0, C)`.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`; weight 2 is the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that take part.
      solver: optax gradient transformation over the vector (log T,); None is
        `calib_jax.solvers.newton()`. Build it once: each new one is compiled anew. The
        relative accuracy of 1e-5 in T is promised for the default only.

    Returns:
      `Temperature` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599;
      Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> logits = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
      >>> params, report = fit_temperature(logits, [0, 0, 1, 1])
      >>> print(params.temperature.round(4), FitStatus(int(report.status)).name)
      3.641 CONVERGED
    """
    array = _checks.logits("logits", logits, rank=2, axes="[N, C]")
    label = _checks.integers("labels", labels)
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_rows(logits=array, labels=label, where=mask, weights=weight)
    classes = _checks.class_mask(class_where, array)
    return _fit_temperature(array, label, mask, weight, classes, solver=solver)


def fit_platt(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    smooth_targets: bool = False,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Platt, FitReport]:
    r"""Logistic calibration of scores against a verifier, by maximum likelihood.

    .. math:: \min_{a, b} \; -\frac{1}{W} \sum_i w_i \left[ v_i \log \sigma(a s_i + b)
       + (1 - v_i) \log (1 - \sigma(a s_i + b)) \right]

    For any score: the mean logit of a sequence, a log-likelihood, the log of a
    confidence, a confidence the model states itself. Solved for slope and intercept of
    the standardised scores in `[-1e4, 1e4]`. `SEPARABLE` and `ONE_CLASS` outcomes have
    no finite optimum: slope or intercept stand at the end of that range. `CONSTANT`
    scores get slope 0 and the logit of the mean outcome, `INVALID_VALUES` slope and
    intercept 0, a confidence of one half.

    Args:
      scores: floating `[N]`, finite.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`, the verifier's scores.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`; weight 2 is the row twice, 0 removes it.
      smooth_targets: whether to replace outcomes by Platt's targets
        `v t+ + (1 - v) t-` with `t+ = (N+ + 1) / (N+ + 2)`, `t- = 1 / (N- + 2)`,
        `N+ = sum(w v)`, `N- = sum(w (1 - v))`: finite even where outcomes are
        separable.
      solver: optax gradient transformation over the vector (slope, intercept) of the
        standardised scores; None is `calib_jax.solvers.newton()`. Build it once.

    Returns:
      `Platt` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype.

    References:
      Platt, "Probabilistic Outputs for Support Vector Machines", 2000; Lin, Lin and
      Weng 2007; Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> scores = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
      >>> params, report = fit_platt(scores, [0, 0, 1, 0, 1, 1])
      >>> print(f"{params.slope:.3f} {params.intercept:.3f}")
      1.214 -0.607
    """
    score = _checks.floats("scores", scores)
    outcome = _checks.outcomes("outcomes", outcomes)
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_shape(scores=score, outcomes=outcome, where=mask, weights=weight)
    smooth = bool(smooth_targets)
    return _fit_platt(score, outcome, mask, weight, smooth=smooth, solver=solver)


def fit_histogram(
    scores: ArrayLike,
    outcomes: ArrayLike,
    *,
    num_bins: int = DEFAULT_NUM_BINS,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Histogram, FitReport]:
    r"""Histogram binning: the mean outcome of each of `num_bins` equal-count bins.

    The means minimise the negative log-likelihood of all step functions on these bins,
    in closed form, so that `report.num_steps` is 0. An empty bin gets the mean of all
    outcomes; without a valid row (`CONSTANT`) and with `INVALID_VALUES` (NaN scores,
    outcomes outside [0, 1], weights below 0) every bin gets one half.

    Args:
      scores: floating `[N]`.
      outcomes: bool, integer or floating `[N]` in `[0, 1]`.
      num_bins: static number of bins.
      where: optional bool `[N]`; masked rows may hold anything.
      weights: optional non-negative `[N]`; they never move edges.

    Returns:
      `Histogram` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape, dtype or count.

    References:
      Zadrozny and Elkan, "Obtaining calibrated probability estimates from decision
      trees and naive Bayesian classifiers", 2001; Hao et al. 2026, arXiv 2601.07965,
      Table 4.

    Examples:
      >>> params, _ = fit_histogram([0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1], num_bins=2)
      >>> print(params.values, calibrate(params, [0.0, 0.7, 0.8]))
      [0.5 1. ] [0.5 0.5 1. ]
    """
    score = _checks.floats("scores", scores)
    outcome = _checks.outcomes("outcomes", outcomes)
    mask, weight = _checks.mask("where", where), _checks.weights("weights", weights)
    _checks.same_shape(scores=score, outcomes=outcome, where=mask, weights=weight)
    # A row of weight 0 is a removed row, for the edges too.
    keep = _masking.valid_rows(score.shape[0], mask, weight)
    bins = binning.equal_count_bins(score, num_bins, where=keep)
    return _fit_histogram(bins, score, outcome, keep, weight)


@functools.singledispatch
def _calibrate(params: Any, x: ArrayLike, class_where: ArrayLike | None) -> jax.Array:
    raise ValueError(
        "params: expected Temperature, Platt or Histogram, what a fit returns first, "
        f"got {type(params).__name__}."
    )


def calibrate(
    params: Temperature | Platt | Histogram,
    x: ArrayLike,
    *,
    class_where: ArrayLike | None = None,
) -> jax.Array:
    """Calibrated confidence of logits or scores.

    Args:
      params: what a fit returned first.
      x: floating logits `[..., C]` for a `Temperature`, scores `[N]` for the others.
      class_where: optional bool `[C]` or `[..., C]`, for a `Temperature` only.

    Returns:
      float32 in `[0, 1]`: class probabilities `[..., C]` for a temperature (the largest
      alone: `top1(logits, params.temperature)`), `[N]` for a score. NaN gives NaN.

    Raises:
      ValueError: for a wrong rank, shape, dtype or kind of parameters.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> params = Platt(slope=jnp.float32(2.0), intercept=jnp.float32(-1.0))
      >>> print([f"{c:.3f}" for c in calibrate(params, [0.0, 0.5, 1.0])])
      ['0.269', '0.500', '0.731']
    """
    if class_where is not None and not isinstance(params, Temperature):
        raise ValueError("class_where: expected None, since scores have no classes.")
    return _calibrate(params, x, class_where)


@_calibrate.register
def _(params: Temperature, x: ArrayLike, class_where: ArrayLike | None) -> jax.Array:
    return confidence.scaled_softmax(x, params.temperature, class_where=class_where)


@_calibrate.register
def _(params: Platt, x: ArrayLike, class_where: None) -> jax.Array:
    return _apply_platt(params, _checks.floats("x", x))


@_calibrate.register
def _(params: Histogram, x: ArrayLike, class_where: None) -> jax.Array:
    return _apply_histogram(params, _checks.floats("x", x))


@jax.jit
def _apply_platt(params: Platt, scores: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(params.slope * scores + params.intercept)


@_reduce.core(rows_of="scores")
def _apply_histogram(params: Histogram, scores: jax.Array) -> jax.Array:
    index = binning.bin_index(params.bins, scores)
    return jnp.where(index >= 0, params.values[index], jnp.nan)


@_reduce.core(static=["solver"])
def _fit_temperature(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    class_where: jax.Array | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Temperature, FitReport]:
    num_rows = logits.shape[0]
    valid = _masking.valid_rows(num_rows, where, weights)
    weight = jnp.ones(num_rows, jnp.float32) if weights is None else weights
    # Masked rows are zeroed first, so that gradients cannot meet a NaN there.
    maximum = jnp.where(valid, _masking.class_maximum(logits, class_where), 0.0)
    label_logit = _masking.take_last(logits, labels)
    if class_where is not None:
        allowed = _masking.take_last(
            jnp.broadcast_to(class_where, logits.shape).astype(jnp.float32), labels
        )
        label_logit = jnp.where(allowed == 1, label_logit, jnp.nan)
    label_below = jnp.where(valid, label_logit, 0.0) - maximum
    usable = jnp.isfinite(maximum) & jnp.isfinite(label_below)
    usable = usable & (weight >= 0) & (weight < jnp.inf)

    rows = {"logits": logits, "max": maximum, "label": label_below, "weight": weight}
    data = {"rows": rows, "valid": valid}
    if class_where is not None:
        one_for_all = class_where.shape[0] != num_rows or num_rows == 1
        (data if one_for_all else rows)["class_where"] = class_where

    def below_maximum(block: Any, data: Any) -> tuple[jax.Array, jax.Array]:
        classes = block.get("class_where")
        if classes is None and "class_where" in data:
            classes = data["class_where"][None]
        return _masking.below_maximum(block["logits"], block["max"], classes)

    def gaps(block: Any) -> tuple[jax.Array, ...]:
        """Weight; how far the mean logit and the label's lie below the largest."""
        below, inside = below_maximum(block, data)
        count = jnp.sum(inside, axis=-1, dtype=jnp.float32)
        mean = jnp.sum(below, axis=-1) / jnp.maximum(count, 1.0)
        weight = block["weight"]
        return weight, -weight * mean, -weight * block["label"]

    total, mean_gap, label_gap = _reduce.sum_rows(gaps, rows, valid)
    mean_gap, label_gap = jax.lax.stop_gradient((mean_gap, label_gap))
    data["total"] = total

    def evaluate(params: jax.Array, data: Any) -> Evaluation:
        inverse = jnp.exp(-params[0])

        def likelihood(block: Any) -> tuple[jax.Array, ...]:
            below, inside = below_maximum(block, data)
            exponentials = jnp.where(inside, jnp.exp(inverse * below), 0.0)
            first = exponentials * below
            normaliser = jnp.sum(exponentials, axis=-1)
            mean = jnp.sum(first, axis=-1) / normaliser
            square = jnp.sum(first * below, axis=-1) / normaliser
            label, weight = block["label"], block["weight"]
            return (
                weight * (jnp.log(normaliser) - inverse * label),
                weight * (label - mean),
                weight * (square - mean * mean),
            )

        loss, slope, curvature = _reduce.sum_rows(
            likelihood, data["rows"], data["valid"]
        )
        # Derivatives by log T; the curvature is that of the convex problem in 1 / T.
        total = data["total"]
        return Evaluation(
            value=loss / total,
            gradient=(inverse * slope / total)[None],
            hessian=(inverse**2 * curvature / total)[None, None],
        )

    lowest, highest = jnp.float32(MIN_TEMPERATURE), jnp.float32(MAX_TEMPERATURE)
    # In calibrated logits the mean lies some nats below the largest: a first guess.
    guess = jnp.clip(mean_gap / total / 5.0, 2 * lowest, 0.5 * highest)
    status, start = _first(
        (jnp.any(valid & ~usable), FitStatus.INVALID_VALUES, jnp.float32(1)),
        (~(mean_gap > 0), FitStatus.CONSTANT, jnp.float32(1)),
        (label_gap == 0, FitStatus.ZERO_LIMIT, lowest),
        (label_gap >= mean_gap, FitStatus.INFINITE_LIMIT, highest),
        (True, FitStatus.CONVERGED, guess),
    )
    solution = solvers.minimize(
        evaluate,
        data,
        jnp.log(start)[None],
        lower=jnp.log(lowest)[None],
        upper=jnp.log(highest)[None],
        solver=solver,
        enabled=status == FitStatus.CONVERGED,
    )
    temperature = jnp.exp(solution.params[0])
    log_temperature = solution.params[0]
    status, temperature = _first(
        (status != FitStatus.CONVERGED, status, start),
        (log_temperature <= jnp.log(lowest), FitStatus.ZERO_LIMIT, lowest),
        (log_temperature >= jnp.log(highest), FitStatus.INFINITE_LIMIT, highest),
        (~solution.converged, FitStatus.MAX_STEPS, temperature),
        (True, FitStatus.CONVERGED, temperature),
    )
    report = _report(solution, status, total)
    return Temperature(temperature=temperature), report


def _first(
    *cases: tuple[jax.Array | bool, jax.Array | FitStatus, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Status and value of the first case that holds."""
    _, status, value = cases[-1]
    status = jnp.int32(status)
    for holds, case_status, case_value in reversed(cases[:-1]):
        status = jnp.where(holds, jnp.int32(case_status), status)
        value = jnp.where(holds, case_value, value)
    return status, value


def _report(solution: Solution, status: jax.Array, total: jax.Array) -> FitReport:
    known = (status != FitStatus.INVALID_VALUES) & (total > 0)
    gradient_norm = jnp.max(jnp.abs(solution.evaluation.gradient))
    report = FitReport(
        converged=(status == FitStatus.CONVERGED) | (status == FitStatus.REVERSED),
        num_steps=solution.num_steps,
        loss=jnp.where(known, solution.evaluation.value, jnp.nan),
        gradient_norm=jnp.where(known, gradient_norm, jnp.nan),
        status=status,
    )
    return jax.lax.stop_gradient(report)


@_reduce.core(static=["smooth", "solver"])
def _fit_platt(
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    *,
    smooth: bool,
    solver: optax.GradientTransformation | None,
) -> tuple[Platt, FitReport]:
    num_rows = scores.shape[0]
    valid = _masking.valid_rows(num_rows, where, weights)
    weight = jnp.ones(num_rows, jnp.float32) if weights is None else weights
    usable = jnp.isfinite(scores) & (outcomes >= 0) & (outcomes <= 1)
    usable = usable & (weight >= 0) & (weight < jnp.inf)
    invalid = jnp.any(valid & ~usable)
    valid = valid & usable

    def range_of(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        lowest = jnp.min(scores, where=valid & rows, initial=jnp.inf)
        return lowest, jnp.max(scores, where=valid & rows, initial=-jnp.inf)

    lowest, highest = range_of(valid)
    some_row = lowest <= highest
    middle = jnp.where(some_row, 0.5 * lowest + 0.5 * highest, 0.0)

    def moments(rows: Any) -> tuple[jax.Array, ...]:
        score, outcome, weight = rows
        x = score - middle
        return (
            weight,
            weight * x,
            weight * x * x,
            weight * outcome,
            weight * (1 - outcome),
        )

    total, first, second, positive, negative = _reduce.sum_rows(
        moments, (scores, outcomes, weight), valid
    )
    some = jnp.where(total > 0, total, 1.0)
    # The problem is solved in standardised scores: a choice of coordinates, which moves
    # neither the optimum nor its derivatives, and need not be exact.
    variance = second / some - (first / some) ** 2
    width = jnp.where(some_row, highest - lowest, 0.0)
    scale = jnp.sqrt(jnp.maximum(variance, (1e-4 * width) ** 2))
    scale = jax.lax.stop_gradient(jnp.where(width > 0, scale, 1.0))
    center = jax.lax.stop_gradient(middle + first / some)

    targets, target_sum = outcomes, positive
    if smooth:
        top, bottom = (positive + 1) / (positive + 2), 1 / (negative + 2)
        targets = outcomes * top + (1 - outcomes) * bottom
        target_sum = positive * top + negative * bottom
    data = {
        "rows": (scores, targets, weight),
        "valid": valid,
        "total": some,
        "center": center,
        "scale": scale,
    }

    def evaluate(params: jax.Array, data: Any) -> Evaluation:
        slope, intercept = params

        def likelihood(rows: Any) -> tuple[jax.Array, ...]:
            score, target, weight = rows
            x = (score - data["center"]) / data["scale"]
            logit = slope * x + intercept
            # Both tails of the sigmoid, and the loss, from one exponential.
            small = jnp.exp(-jnp.abs(logit))
            tail, body = small / (1 + small), 1 / (1 + small)
            up = jnp.where(logit >= 0, body, tail)
            down = jnp.where(logit >= 0, tail, body)
            loss = jnp.maximum(logit, 0.0) - logit * target + jnp.log1p(small)
            # up - target, without the cancellation where both are close to 1.
            residual = weight * ((1 - target) * up - target * down)
            curvature = weight * up * down
            return (
                weight * loss,
                residual * x,
                residual,
                curvature * x * x,
                curvature * x,
                curvature,
            )

        loss, by_slope, by_intercept, xx, x, one = _reduce.sum_rows(
            likelihood, data["rows"], data["valid"]
        )
        total = data["total"]
        return Evaluation(
            value=loss / total,
            gradient=jnp.stack([by_slope, by_intercept]) / total,
            hessian=jnp.stack([jnp.stack([xx, x]), jnp.stack([x, one])]) / total,
        )

    # A partly right row counts on both sides; a threshold must have it at its very
    # edge.
    lowest_right, highest_right = range_of(targets > 0)
    lowest_wrong, highest_wrong = range_of(targets < 1)
    rising, falling = lowest_right >= highest_wrong, highest_right <= lowest_wrong
    one_class = (positive == 0) | (negative == 0)

    # Without an optimum: the steepest slope, with one half in the middle of the gap.
    rate = jax.lax.stop_gradient(target_sum / some)
    base = jnp.clip(jnp.log(rate) - jnp.log1p(-rate), -MAX_PLATT, MAX_PLATT)
    flat = jnp.stack([jnp.float32(0), base])
    gap = jnp.where(rising, lowest_right + highest_wrong, highest_right + lowest_wrong)
    steepest = jnp.where(rising, MAX_PLATT, -MAX_PLATT)
    threshold = (0.5 * gap - center) / scale
    status, start = _first(
        (invalid | ~(total > 0), FitStatus.INVALID_VALUES, jnp.zeros(2, jnp.float32)),
        (one_class & (not smooth), FitStatus.ONE_CLASS, flat),
        (~(width > 0), FitStatus.CONSTANT, flat),
        (
            rising | falling,
            FitStatus.SEPARABLE,
            jnp.stack([steepest, -steepest * threshold]),
        ),
        (True, FitStatus.CONVERGED, flat),
    )
    status = jnp.where(~invalid & ~(total > 0), jnp.int32(FitStatus.CONSTANT), status)
    bound = jnp.full(2, MAX_PLATT, jnp.float32)
    solution = solvers.minimize(
        evaluate,
        data,
        start,
        lower=-bound,
        upper=bound,
        solver=solver,
        enabled=status == FitStatus.CONVERGED,
    )
    status, standardised = _first(
        (status != FitStatus.CONVERGED, status, start),
        (
            jnp.any(jnp.abs(solution.params) >= MAX_PLATT),
            FitStatus.SEPARABLE,
            solution.params,
        ),
        (~solution.converged, FitStatus.MAX_STEPS, solution.params),
        (solution.params[0] < 0, FitStatus.REVERSED, solution.params),
        (True, FitStatus.CONVERGED, solution.params),
    )
    slope = standardised[0] / scale
    params = Platt(slope=slope, intercept=standardised[1] - slope * center)
    return params, _report(solution, status, total)


@_reduce.core
def _fit_histogram(
    bins: Bins,
    scores: jax.Array,
    outcomes: jax.Array,
    where: jax.Array,
    weights: jax.Array | None,
) -> tuple[Histogram, FitReport]:
    usable = ~jnp.isnan(scores) & (outcomes >= 0) & (outcomes <= 1)
    if weights is not None:
        usable = usable & (weights >= 0)
    invalid = jnp.any(where & ~usable)
    table = summary.bin_means(bins, scores, (outcomes,), where & usable, weights)
    rate, weight = table.means[0], table.weight
    total = jnp.sum(weight)
    some = jnp.where(total > 0, total, 1.0)
    overall = jnp.where(total > 0, jnp.sum(weight * rate) / some, 0.5)
    values = jnp.where(table.count > 0, rate, overall)
    loss = -jnp.sum(
        weight
        * (
            jax.scipy.special.xlogy(rate, rate)
            + jax.scipy.special.xlog1py(1 - rate, -rate)
        )
    )
    status = jnp.select(
        [invalid, ~(total > 0)],
        [FitStatus.INVALID_VALUES, FitStatus.CONSTANT],
        FitStatus.CONVERGED,
    ).astype(jnp.int32)
    found = status == FitStatus.CONVERGED
    report = FitReport(
        converged=found,
        num_steps=jnp.int32(0),
        loss=jnp.where(found, loss / some, jnp.nan),
        gradient_norm=jnp.where(found, 0.0, jnp.nan),
        status=status,
    )
    return Histogram(bins=bins, values=jnp.where(found, values, 0.5)), report
