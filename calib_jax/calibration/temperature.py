"""Temperature scaling: all class logits of a model are divided by one number.

Shapes: N examples, C classes. One problem at a time; batch with `jax.vmap`. The fitted
temperature is differentiable with respect to logits and weights (implicit function
theorem); its derivatives are NaN if the status is INVALID_VALUES or MAX_STEPS.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
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
# Where 1 / T times the mean gap of the logits is below this, the slope of the loss is
# computed from the curvature at these shares of 1 / T, two for quadrature and 1 / T.
# Above it the rounding of that mean moves T by less than 1e-5.
FLAT = 0.05
NODES = np.array([0.5 - 0.75**0.5 / 3, 0.5 + 0.75**0.5 / 3, 1.0], np.float32)
# The most by which the curvature may change from one node to another: the error of the
# quadrature grows with the square of the change and is then about 1e-6.
_MOST_CHANGE = 1.02


@records.record(values={"temperature": records.POSITIVE})
class Temperature:
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
    params, report = _fit_temperature(*rows, solver=solver)
    given = logits, labels, where, weights, class_where
    reports.warn_of_failure("fit_temperature", report, given)
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
    loops=True,
)
def _fit_temperature(
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array | None,
    weights: Weights | None,
    class_where: jax.Array | None,
    *,
    solver: optax.GradientTransformation | None,
) -> tuple[Temperature, FitReport]:
    problem = prepare(logits, labels, where, weights, class_where)
    data, rows, valid = problem.data, problem.data["rows"], problem.data["valid"]
    masked = valid is not None
    total, mean_above, label_gap = problem.weight, problem.mean_above, problem.label_gap
    mean_gap = label_gap - mean_above

    def evaluate(params: jax.Array, data: Any, every: Any) -> Evaluation:
        inverse = jnp.exp(-params[0])
        total, loss, slope, curvature, third = reduce.sum_rows(
            lambda block, live: likelihood(
                inverse, block, live, data["class_where"], masked=masked
            ),
            data["rows"],
            data["valid"],
            every,
        )
        total = jnp.where(total > 0, total, 1.0)
        # Derivatives with respect to log T; the curvature is that of the convex problem
        # in 1 / T.
        return Evaluation(
            value=loss / total,
            gradient=(inverse * slope / total)[None],
            hessian=(inverse**2 * curvature / total)[None, None],
            bend=(1.0 + inverse * third / jnp.maximum(curvature, 1e-30))[None],
        )

    def evaluate_closely(params: jax.Array, data: Any, every: Any) -> Evaluation:
        """`evaluate`, with an accurate gradient where T is far above the logits.

        There the mean logit hardly depends on T, and its rounding would hide how much.
        """
        inverse = jnp.exp(-params[0])
        flat = (inverse * mean_gap < FLAT * total) & (jnp.asarray(every) == 1)

        def visit(number: jax.Array, state: Any) -> Any:
            place = params - jnp.log(jnp.asarray(NODES)[number])
            found = evaluate(place, data, every)
            curvature = found.hessian[0, 0] * jnp.exp(2 * place[0])
            return found, state[1].at[number].set(curvature)

        state = solvers.unsolved(params).evaluation._replace(bend=params)
        initial = state, jnp.zeros(len(NODES), jnp.float32)
        found, curvatures = jax.lax.fori_loop(
            jnp.where(flat, 0, len(NODES) - 1),
            len(NODES),
            visit,
            transforms.carry(lambda state: visit(jnp.int32(0), state), initial),
        )
        start = -mean_above / jnp.where(total > 0, total, 1.0)
        slope = slope_from_start(start, inverse, curvatures, found.gradient / inverse)
        gradient = jnp.where(flat, inverse * slope, found.gradient)
        return found._replace(gradient=gradient)

    lowest, highest = jnp.float32(MIN_TEMPERATURE), jnp.float32(MAX_TEMPERATURE)
    # First guess: in calibrated logits the mean lies a few nats below the largest.
    guess = jnp.clip(mean_gap / total / 5.0, 2 * lowest, 0.5 * highest)
    status, start = reports.first_case(
        (problem.invalid, FitStatus.INVALID_VALUES, jnp.float32(1)),
        (~(mean_gap > 0), FitStatus.CONSTANT, jnp.float32(1)),
        (label_gap == 0, FitStatus.ZERO_LIMIT, lowest),
        (mean_above >= 0, FitStatus.INFINITE_LIMIT, highest),
        (True, FitStatus.CONVERGED, guess),
    )
    solution = solvers.minimize(
        evaluate_closely,
        data,
        jnp.log(start)[None],
        lower=jnp.log(lowest)[None],
        upper=jnp.log(highest)[None],
        solver=solver,
        enabled=status == FitStatus.CONVERGED,
        thinnings=reduce.thinnings(rows, _FIRST_ROWS),
    )
    # The maxima have no derivative, but the labels' logits have.
    logits, label = masking.clean_rows(valid, 0, logits, problem.label)
    if weights is not None:
        (weight,) = masking.clean_rows(valid, 0, rows["weight"])
        rows = rows | {"weight": weight}
    data = data | {"rows": rows | {"logits": logits, "label": label - rows["max"]}}
    searched = status == FitStatus.CONVERGED
    lost = problem.invalid | (searched & ~solution.converged)
    log_temperature = solvers.differentiable(
        evaluate, solution, data, inside=solution.converged | lost
    )[0]
    log_temperature = reports.undefined(log_temperature, lost, solution.params[0])
    temperature = jnp.exp(log_temperature)
    status, temperature = reports.first_case(
        (problem.invalid, status, temperature),
        (~searched, status, start),
        (log_temperature <= jnp.log(lowest), FitStatus.ZERO_LIMIT, lowest),
        (log_temperature >= jnp.log(highest), FitStatus.INFINITE_LIMIT, highest),
        (~solution.converged, FitStatus.MAX_STEPS, temperature),
        (True, FitStatus.CONVERGED, temperature),
    )
    report = reports.fit_report(solution, status, total)
    return Temperature(temperature=temperature), report


class Problem(NamedTuple):
    """The rows of a fit, and the sums that decide whether it has an optimum.

    Attributes:
      data: rows, mask and shared classes, as `likelihood` takes them.
      weight: float32 scalar, sum of weights of the valid rows.
      mean_above: float32 scalar, weighted sum of the mean logit less the label's.
      label_gap: float32 scalar, weighted sum of the largest logit less the label's.
      invalid: bool scalar, whether a valid row holds an invalid value.
      unit: float32 scalar, by which the weights are divided.
      label: float32 `[N]`, logits of the labels, differentiable.
    """

    data: dict[str, Any]
    weight: jax.Array
    mean_above: jax.Array
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
        """The largest logit, the label's less the largest, and the four sums."""
        logits, label = block["logits"], block["label"]
        allowed = block.get("class_where", classes)
        above, inside = masking.shifted(logits, label, allowed)
        largest = masking.nan_as_infinity(logits.astype(jnp.float32))
        maximum, total, count = class_axis.reduce_classes(
            (class_axis.MAX, class_axis.SUM, class_axis.SUM),
            (
                jnp.where(inside, largest, -jnp.inf),
                above,
                inside.astype(jnp.float32),
            ),
        )
        weight = block.get("weight", jnp.ones_like(maximum))
        usable = jnp.isfinite(maximum) & jnp.isfinite(label)
        usable = usable & masking.usable_weights(weight)
        # Subtracting a number from all logits of a row does not move the optimum.
        maximum = jnp.where(counts, maximum, 0.0)
        # Large negative logits may stand for masked classes; sums must not overflow.
        below = jnp.maximum(jnp.where(counts, label, 0.0) - maximum, -1e30)
        weight = jnp.where(live, weight, 0.0)
        mean_above = jnp.clip(total / jnp.maximum(count, 1.0), -1e30, 1e30)
        mean_above = jnp.where(live, mean_above, 0.0)
        sums = weight, weight * mean_above, -weight * below, live & ~usable
        return (maximum, below), tuple(value.astype(jnp.float32) for value in sums)

    (maximum, below), (total, mean_above, label_gap, unusable) = (
        reduce.map_and_sum_rows(
            first_look, jax.lax.stop_gradient(rows | {"label": label}), valid
        )
    )
    rows |= {"max": maximum, "label": below}
    return Problem(
        data={"rows": rows, "valid": valid, "class_where": classes},
        weight=total,
        mean_above=mean_above,
        label_gap=label_gap,
        invalid=unusable > 0,
        unit=unit,
        label=label,
    )


def slope_from_start(
    start: jax.Array, inverse: jax.Array, curvatures: jax.Array, slope: jax.Array
) -> jax.Array:
    """The slope at 1 / T as that at 0 less the integral of the curvature in between.

    For large T it is far more accurate than the given slope, a difference of means.

    Args:
      start: float32 scalar, the slope at 1 / T = 0, with its sign as in `likelihood`.
      inverse: float32 scalar, 1 / T.
      curvatures: float32 `[3]`, the curvature at the `NODES`.
      slope: float32 `[...]`, the slope if the curvature changes too much.
    """
    smooth = jnp.max(curvatures) < _MOST_CHANGE * jnp.min(curvatures)
    return jnp.where(smooth, start - inverse * jnp.mean(curvatures[:-1]), slope)


def likelihood(
    inverse: jax.Array,
    block: Any,
    live: jax.Array,
    class_where: jax.Array | None,
    *,
    masked: bool = True,
) -> tuple[jax.Array, ...]:
    """Weight, loss and its first three derivatives by 1 / T, for a block of rows.

    The first derivative has its sign flipped, to match a derivative by log T. If rows
    are not `masked`, those that are not live have weight 0 and finite values.
    """
    classes = block.get("class_where", class_where)
    below = masking.below_maximum(block["logits"], block["max"], classes)
    exponentials = jnp.exp(inverse * below)
    first = exponentials * below
    second = first * below
    normaliser, first, second, third = class_axis.sum_classes(
        exponentials, first, second, second * below
    )
    mean, square, cube = first / normaliser, second / normaliser, third / normaliser
    variance = square - mean * mean
    label = block["label"]
    # Setting the weight to 0 costs less than setting each value.
    weight = jnp.where(live, block.get("weight", jnp.float32(1)), 0.0)
    values = (
        weight,
        weight * (jnp.log(normaliser) - inverse * label),
        weight * (label - mean),
        weight * variance,
        weight * (cube - mean * (square + 2.0 * variance)),
    )
    return tuple(jnp.where(live, x, 0.0) for x in values) if masked else values
