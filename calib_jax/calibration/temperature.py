"""Temperature scaling: all class logits of a model are divided by one number.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. The fitted
temperature is differentiable with respect to logits and weights (implicit function
theorem); its derivatives are NaN if the status is INVALID_VALUES or MAX_STEPS.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import ArrayLike

from .._core import checks, class_axis, dispatch, masking, records, reduce, transforms
from .._core.domains import Weights
from . import reports, solvers
from .reports import FitReport, FitStatus
from .solvers import Evaluation

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-6, 1e6
# The solver gets near the optimum on this many rows before it reads all of them: after
# the second number, one step over all rows is usually enough.
_FIRST_ROWS = (2**10, 2**16)
# Up to this many logits a small program counts more than a fast one.
_FEW_ENTRIES, _VERY_FEW_ENTRIES = 2**20, 2**15
# Where 1 / T times the mean gap of the logits is below this, the slope of the loss is
# computed from the curvature. Above it the rounding of means moves T by less than 1e-5.
_FLAT = 0.05
# The largest part of that slope that may come from changes of the curvature: the error
# is about twice the square of it.
_MOST_CHANGE = 1e-3
_ONE = np.float32(1)
_LOWEST, _HIGHEST = np.float32(MIN_TEMPERATURE), np.float32(MAX_TEMPERATURE)


@records.record(values={"temperature": records.POSITIVE})
class Temperature(records.Result):
    """Parameters of temperature scaling.

    Attributes:
      temperature: float32 scalar in `[1e-6, 1e6]`; above 1 if the model was
        over-confident.
    """

    temperature: jax.Array


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

    T is searched in `[1e-6, 1e6]`. Problems without a finite optimum are recognised
    before the first step (`FitStatus`): `ZERO_LIMIT` gives T = 1e-6, `INFINITE_LIMIT`
    T = 1e6, and both also stand for an optimum beyond the range. `CONSTANT` and
    `INVALID_VALUES` give T = 1. Log-probabilities are valid logits.

    Args:
      logits: floating `[N, C]`; -inf is an impossible class.
      labels: integer `[N]` in `[0, C)`.
      where: optional bool `[N]`, the rows that count.
      weights: optional non-negative `[N]`; weight 2 counts the row twice, 0 removes it.
      class_where: optional bool `[C]` or `[N, C]`, the classes that count.
      solver: optax gradient transformation over the vector (log T,); None is
        `calib_jax.calibration.newton()`, the only one with a promised relative accuracy
        of 1e-5 in T, for T up to 100 times the spread of a row of logits: farther off
        the rounding of logits to float32 moves T by more. Build it once, because each
        new one is compiled again.

    Returns:
      `Temperature` and `FitReport`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or a negative host weight.

    Warns:
      ConvergenceWarning: where the fit did not converge and no array is on a device.

    References:
      Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599;
      Hao et al. 2026, arXiv 2601.07965, section 2.

    Examples:
      >>> logits = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
      >>> params, report = fit_temperature(logits, [0, 0, 1, 1])
      >>> print(params.temperature.round(4), FitStatus(int(report.status)).name)
      3.641 CONVERGED
    """
    rows = checked_rows(logits, labels, where, weights, class_where)
    checks.solver(solver)
    params, report = fit_rows(*rows, solver=solver)
    given = logits, labels, where, weights, class_where
    reports.warn_of_failure("fit_temperature", report, given, classes=rows)
    return params, report


def checked_rows(
    logits: ArrayLike,
    labels: ArrayLike,
    where: ArrayLike | None,
    weights: ArrayLike | None,
    class_where: ArrayLike | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None, jax.Array | None]:
    """The rows of a fit, checked and converted."""
    array = checks.logits("logits", logits, rank=2, axes="[N, C]")
    label = checks.integers("labels", labels)
    mask, weight = checks.mask("where", where), checks.weights("weights", weights)
    checks.same_rows(logits=array, labels=label, where=mask, weights=weight)
    classes = checks.class_mask(class_where, array)
    return array, label, mask, weight, classes


@dispatch.core(
    static=["solver"],
    rows=["logits N C", "labels", "where", "weights", "class_where N C"],
    passes=dispatch.Passes.FEW,
)
def fit_rows(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Temperature, FitReport]:
    """The core of `fit_temperature`."""
    few = transforms.at_most(logits.size, _FEW_ENTRIES) and reduce.is_one_block(logits)
    problem = prepare(logits, labels, where, weights, class_where)
    data, mean_gap = problem.data, problem.at_zero[0]
    total = jnp.maximum(problem.weight, 1e-30)
    at_zero = [value / total for value in problem.at_zero]
    rows, valid = data["rows"], data["valid"]
    # The maxima have no derivative, but logits and weights have.
    logits, label = masking.clean_rows(valid, 0, logits, problem.label)
    label = jnp.maximum(label - rows["max"], -1e30)
    varying = rows | {"logits": logits, "label": label}
    if weights is not None:
        varying["weight"] = jnp.where(valid, rows["weight"], 0.0)
    if few:
        # Nothing of a row but this changes with T.
        allowed = rows.get("class_where", data["class_where"])
        below = masking.below_maximum(logits, rows["max"], allowed)
        counts = jnp.float32(1) if valid is None else valid.astype(jnp.float32)
        share = varying.get("weight", counts) / total
        varying = {"below": below, "label": label, "weight": share}
        data = data | {"rows": varying}

    def evaluate(
        params: jax.Array, data: Any, every: Any, closely: bool = False
    ) -> Evaluation:
        inverse = jnp.exp(-params[0])
        if few:
            sums = [jnp.sum(term) for term in derivatives(inverse, **data["rows"])]
        else:
            weight, *sums = reduce.sum_rows(
                lambda block, live: likelihood(
                    inverse, block, live, data["class_where"], masked=valid is not None
                ),
                data["rows"],
                data["valid"],
                every,
            )
            sums = [value / jnp.maximum(weight, 1e-30) for value in sums]
        loss, slope, curvature, third = sums
        if closely:
            better, smooth = slope_from_start(at_zero, inverse, curvature, third)
            smooth = smooth if few else smooth & (jnp.asarray(every) == 1)
            slope = lax.select(smooth, better, slope)
        # Derivatives with respect to log T; the curvature is that of the convex problem
        # in 1 / T.
        return Evaluation(
            value=loss,
            gradient=(inverse * slope)[None],
            hessian=(inverse * inverse * curvature)[None, None],
            bend=(1.0 + inverse * third / jnp.maximum(curvature, 1e-30))[None],
        )

    # First guess: in calibrated logits the mean lies a few nats below the largest.
    guess = lax.clamp(2 * _LOWEST, at_zero[0] / 5.0, _HIGHEST / 2)
    status, start = reports.first_case(
        (problem.invalid, FitStatus.INVALID_VALUES, _ONE),
        (~(mean_gap > 0), FitStatus.CONSTANT, _ONE),
        (problem.label_gap == 0, FitStatus.ZERO_LIMIT, _LOWEST),
        (problem.at_zero[1] <= 0, FitStatus.INFINITE_LIMIT, _HIGHEST),
        (True, FitStatus.CONVERGED, guess),
    )
    searched = status == FitStatus.CONVERGED
    lower, upper = np.log(_LOWEST), np.log(_HIGHEST)
    solution = solvers.minimize(
        functools.partial(evaluate, closely=True),
        data,
        jnp.log(start)[None],
        lower=lower[None],
        upper=upper[None],
        solver=solver,
        enabled=searched,
        thinnings=reduce.thinnings(rows, _FIRST_ROWS),
    )
    lost = problem.invalid | (searched & ~solution.converged)
    log_temperature = solvers.differentiable(
        evaluate,
        solution,
        data | {"rows": varying},
        inside=solution.converged | lost,
    )[0]
    log_temperature = reports.undefined(log_temperature, lost, solution.params[0])
    temperature = jnp.exp(log_temperature)
    status, temperature = reports.first_case(
        (problem.invalid, status, temperature),
        (~searched, status, start),
        (log_temperature <= lower, FitStatus.ZERO_LIMIT, _LOWEST),
        (log_temperature >= upper, FitStatus.INFINITE_LIMIT, _HIGHEST),
        (~solution.converged, FitStatus.MAX_STEPS, temperature),
        (True, FitStatus.CONVERGED, temperature),
    )
    report = reports.fit_report(solution, status, problem.weight)
    return Temperature(temperature=temperature), report


class Problem(NamedTuple):
    """The rows of a fit, and the sums that decide whether it has an optimum.

    Attributes:
      data: rows, mask and shared classes, as `likelihood` takes them.
      weight: float32 scalar, sum of weights of the valid rows.
      at_zero: float32 scalars, weighted sums at 1 / T = 0: of the largest logit less
        the mean, of the label's less the mean, which is the slope, of the curvature and
        of its derivative.
      label_gap: float32 scalar, weighted sum of the largest logit less the label's.
      invalid: bool scalar, whether a valid row holds an invalid value.
      unit: float32 scalar, by which the weights are divided.
      label: float32 `[N]`, logits of the labels, differentiable.
    """

    data: dict[str, Any]
    weight: jax.Array
    at_zero: tuple[jax.Array, ...]
    label_gap: jax.Array
    invalid: jax.Array
    unit: jax.Array
    label: jax.Array


def prepare(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: jax.Array | None,
    class_where: jax.Array | None,
) -> Problem:
    """The `Problem` of some rows, by one pass over them."""
    num_rows = logits.shape[0]
    masked = where is not None or weights is not None
    counts = masking.valid_rows(num_rows, where, weights)
    valid = counts if masked else None
    shared = class_where is None or class_where.shape[0] != num_rows or num_rows == 1
    # A mask per row is cut into blocks with the rows; a shared one stays whole.
    rows: dict[str, Any] = {"logits": logits}
    rows |= {} if shared else {"class_where": class_where}
    classes = class_where if shared else None
    unit = jnp.float32(1)
    if weights is not None:
        rows["weight"], unit = masking.scaled_weights(num_rows, weights, counts)

    # Before the pass, because a gather from a block would copy the block.
    label = masking.take_last(logits, labels)
    if class_where is not None:
        index = jnp.clip(labels, 0, logits.shape[1] - 1)[:, None]
        allowed = (
            class_where[0, index]
            if shared
            else jnp.take_along_axis(class_where, index, 1)
        )
        label = jnp.where(allowed[:, 0], label, jnp.nan)

    def first_look(block: Any, counts: jax.Array, live: jax.Array) -> tuple[Any, Any]:
        """The largest logit, the label's less the largest, and the sums."""
        logits, label = block["logits"], block["label"]
        allowed = block.get("class_where", classes)
        above, inside = masking.shifted(logits, label, allowed)
        largest = masking.nan_as_infinity(logits.astype(jnp.float32))
        square = above * above
        maximum, count, *sums = _reduce_classes(
            (class_axis.MAX, *[class_axis.SUM] * 4),
            (
                jnp.where(inside, largest, -jnp.inf),
                inside.astype(jnp.float32),
                above,
                square,
                square * above,
            ),
        )
        usable = jnp.isfinite(maximum) & jnp.isfinite(label)
        weight = block.get("weight")
        if weight is not None:
            usable = usable & masking.usable_weights(weight)
        weight = jnp.where(
            live, np.float32(1) if weight is None else weight, np.float32(0)
        )
        # Subtracting a number from all logits of a row does not move the optimum.
        maximum = jnp.where(counts, maximum, 0.0)
        # Large negative logits may stand for masked classes; sums must not overflow.
        below = jnp.maximum(jnp.where(counts, label, 0.0) - maximum, -1e30)
        count = jnp.maximum(count, 1.0)
        mean, square, cube = (jnp.where(live, total / count, 0.0) for total in sums)
        mean = jnp.clip(mean, -1e30, 1e30)
        moments = mean, *central_moments(mean, square, cube)
        parts = weight, *(weight * moment for moment in moments), -weight * below
        return (maximum, below), (*parts, (live & ~usable).astype(jnp.float32))

    (maximum, below), sums = reduce.map_and_sum_rows(
        first_look, lax.stop_gradient(rows | {"label": label}), valid
    )
    total, mean_above, curvature, third, label_gap, unusable = sums
    rows |= {"max": maximum, "label": below}
    return Problem(
        data={"rows": rows, "valid": valid, "class_where": classes},
        weight=total,
        at_zero=(label_gap - mean_above, -mean_above, curvature, third),
        label_gap=label_gap,
        invalid=unusable > 0,
        unit=unit,
        label=label,
    )


def central_moments(
    mean: jax.Array, square: jax.Array, cube: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The second and third central moment, from means of powers."""
    variance = square - mean * mean
    return variance, cube - mean * (square + 2.0 * variance)


def slope_from_start(
    start: Sequence[jax.Array],
    inverse: jax.Array,
    curvature: jax.Array,
    third: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The slope at 1 / T as that at 0 less the integral of the curvature in between.

    For large T it is far more accurate than a difference of means, which hardly depends
    on T. The integral is that of the cubic with the same values and derivatives at both
    ends (Hermite).

    Args:
      start: float32 scalars: how far the largest logit is above the mean, and slope,
        curvature and its derivative at 1 / T = 0.
      inverse: float32 `[...]`, 1 / T.
      curvature: float32 `[...]`, the curvature there.
      third: float32 `[...]`, its derivative there.

    Returns:
      float32 `[...]`, with its sign as in `derivatives`, and bool `[...]`, whether the
      curvature is smooth enough for it.
    """
    gap, slope, first_curvature, first_third = start
    mean = 0.5 * (first_curvature + curvature)
    turn = inverse * (first_third - third) / 12.0
    # Either may be small by chance, where the curvature is not smooth.
    change = jnp.abs(turn) + jnp.abs(curvature - first_curvature) / 32.0
    smooth = (inverse * gap < _FLAT) & (change < _MOST_CHANGE * mean)
    return slope - inverse * (mean + turn), smooth


def derivatives(
    inverse: jax.Array,
    below: jax.Array,
    label: jax.Array,
    weight: jax.Array,
) -> tuple[jax.Array, ...]:
    """Loss and its first three derivatives by 1 / T of each row, times its weight.

    The first derivative has its sign flipped, to match a derivative by log T.

    Args:
      inverse: float32 scalar.
      below: float32 `[N, C]`, logits less the largest of their row.
      label: float32 `[N]`, the same of the labels' logits.
      weight: float32 `[N]` or scalar.
    """
    copies = (inverse,) * 4
    if transforms.at_most(below.size, _VERY_FEW_ENTRIES):
        # Equal numbers that the compiler does not join: each sum computes exponentials
        # of its own and keeps none.
        copies = lax.optimization_barrier(copies)
    one, first, second, third = (jnp.exp(copy * below) for copy in copies)
    normaliser, *sums = _reduce_classes(
        [class_axis.SUM] * 4,
        (one, first * below, second * below * below, third * below * below * below),
    )
    # It is 0 only in rows that do not count, if all their classes are masked.
    normaliser = jnp.maximum(normaliser, 1e-30)
    mean, square, cube = (total / normaliser for total in sums)
    terms = (
        jnp.log(normaliser) - inverse * label,
        label - mean,
        *central_moments(mean, square, cube),
    )
    return tuple(weight * term for term in terms)


def _reduce_classes(
    reductions: Sequence[class_axis.Reduction], terms: Sequence[jax.Array]
) -> tuple[jax.Array, ...]:
    """`class_axis.reduce_classes`, but very few entries are reduced term by term.

    On the CPU, XLA then calls a library: there is hardly anything to compile, and it is
    as fast without the compiler's optimisations.
    """
    if not transforms.at_most(terms[0].size, _VERY_FEW_ENTRIES):
        return class_axis.reduce_classes(reductions, terms)
    each = zip(reductions, terms, strict=True)
    return tuple(reduction.along(term, axis=-1) for reduction, term in each)


def likelihood(
    inverse: jax.Array,
    block: Any,
    live: jax.Array,
    class_where: jax.Array | None,
    *,
    masked: bool = True,
) -> tuple[jax.Array, ...]:
    """Weight and `derivatives` of a block of rows.

    If rows are not `masked`, those that are not live have weight 0 and finite values.
    """
    classes = block.get("class_where", class_where)
    below = masking.below_maximum(block["logits"], block["max"], classes)
    # Setting the weight to 0 costs less than setting each value.
    weight = jnp.where(live, block.get("weight", jnp.float32(1)), 0.0)
    terms = derivatives(inverse, below, block["label"], weight)
    values = weight, *terms
    return tuple(jnp.where(live, x, 0.0) for x in values) if masked else values
