"""How a fit ended: its status, and the report that every fit returns second."""

import dataclasses
import enum
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core import plain, records, reduce
from .solvers import Solution


class FitStatus(enum.IntEnum):
    """How a fit ended; compare `report.status` with these.

    Only `CONVERGED` and `REVERSED` found the optimum. If there is no finite optimum,
    the parameters are the finite end of their range and mean nothing on their own.
    """

    #: Another Newton step would change no parameter noticeably.
    CONVERGED = 0
    #: The solver ran out of steps; the parameters are its last ones.
    MAX_STEPS = 1
    #: Temperatures only. Every label has a largest logit, so the loss falls as T goes
    #: to 0.
    ZERO_LIMIT = 2
    #: Temperatures only. The labels do no better than chance, so the loss falls as T
    #: grows.
    INFINITE_LIMIT = 3
    #: There is nothing to fit, since no row is valid, the logits of each row are equal,
    #: or all scores are equal.
    CONSTANT = 4
    #: A threshold separates the outcomes, so the loss falls as the slope grows. With
    #: scales or a matrix for classes: it falls without end along some direction, as it
    #: does if a class is nobody's label.
    SEPARABLE = 5
    #: All outcomes are 1, or all are 0, or all labels are one class, so the loss falls
    #: as the intercept grows.
    ONE_CLASS = 6
    #: Scores only. Converged, but higher scores mean worse answers. Platt's slope is
    #: negative; the slopes of a `Beta` are 0 and an `Isotonic` is constant, since
    #: neither may fall.
    REVERSED = 7
    #: A valid row holds NaN or inf, a label outside [0, C) (-1 included), a label whose
    #: class is masked or has logit -inf, an outcome outside [0, 1], a negative or
    #: infinite weight, a score that is a mask's fill value (`fit_platt`), a confidence
    #: of 0 or 1 (`fit_beta`), or scores or weights that break a guarantee
    #: (`fit_histogram`).
    INVALID_VALUES = 8


class ConvergenceWarning(UserWarning):
    """A fit of arrays on the host found no optimum."""


@records.record()
class FitReport(records.Result):
    """Diagnostics of a fit.

    Attributes:
      converged: bool scalar, whether the parameters are the optimum.
      num_steps: int32 scalar, number of solver steps.
      loss: float32 scalar, mean negative log-likelihood at the parameters, in nats; NaN
        without a valid row or with invalid values.
      gradient_norm: float32 scalar, largest absolute derivative of the loss with
        respect to the unconstrained parameters, as the quadratic model of the last step
        has it: after convergence near 0, and no measure of the accuracy; NaN whenever
        the loss is.
      status: int32 scalar, a `FitStatus`.
    """

    converged: jax.Array
    num_steps: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    status: jax.Array = plain.coded(FitStatus)

    def __repr__(self) -> str:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if _is_concrete(self.status):
            fields = {name: value.item() for name, value in fields.items()}
            fields["status"] = FitStatus(fields["status"]).name
        inside = ", ".join(f"{name}={value}" for name, value in fields.items())
        return f"{type(self).__name__}({inside})"


def _is_concrete(status: Any) -> bool:
    """Whether a status is one number that can be read; reading waits for the fit."""
    return (
        not isinstance(status, jax.core.Tracer)
        and hasattr(status, "ndim")
        and status.ndim == 0
        and getattr(status, "is_fully_addressable", True)
    )


def warn_of_failure(
    name: str,
    report: FitReport,
    *given: Any,
    detail: Callable[[], str] = str,
    classes: tuple[Any, ...] | None = None,
) -> None:
    """Warns that a fit did not converge, if nothing that it was given is on a device.

    Reading the status waits for the fit; who holds arrays of a device may not want to.

    Args:
      name: of the public function.
      report: its report.
      *given: its arrays, as the caller gave them.
      detail: gives more sentences to add, or nothing.
      classes: of a fit to labels, its rows as `temperature.checked_rows` has them; the
        last may be left out.
    """
    if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(given)):
        return
    if _is_concrete(report.status) and not bool(report.converged):
        status = FitStatus(int(report.status))
        meaning = _MEANING[status]
        if classes is not None:
            meaning = _meaning_for_classes(status, *classes) or meaning
        warnings.warn(
            f"{name} did not converge: {status.name}. {meaning}{detail()} "
            "Look at the report before using the parameters.",
            ConvergenceWarning,
            stacklevel=3,
        )


_MEANING = {
    FitStatus.MAX_STEPS: "The solver ran out of steps.",
    FitStatus.ZERO_LIMIT: "Every label has a largest logit, so there is no best "
    "temperature above 0.",
    FitStatus.INFINITE_LIMIT: "The labels do no better than chance, so there is no "
    "finite best temperature.",
    FitStatus.CONSTANT: "No row is valid, or all scores are equal.",
    FitStatus.SEPARABLE: "A threshold separates right from wrong answers, so there is "
    "no finite best slope: give more rows, or use fit_platt with smooth_targets=True.",
    FitStatus.ONE_CLASS: "All outcomes are 1, or all are 0: give more rows, or use "
    "fit_platt with smooth_targets=True.",
    FitStatus.INVALID_VALUES: "A valid row holds NaN or inf, a label that is no class "
    "or whose logit is -inf, a value outside its domain, or scores so far from the "
    "others that they look like fill values: mask it with where=, or find it with "
    "validate_logits, validate_labels or validate_scores.",
}


def _meaning_for_classes(
    status: FitStatus,
    logits: Any,
    labels: Any,
    where: Any,
    weights: Any,
    class_where: Any = None,
) -> str:
    """What a status says of these rows of the host; nothing where that is unknown."""
    if status == FitStatus.CONSTANT:
        return "No row is valid, or the logits of each row are equal."
    if status == FitStatus.ONE_CLASS:
        return "All labels are one class: give rows of others."
    x, label = np.asarray(logits, np.float32), np.asarray(labels)
    valid = np.ones(len(label), bool) if where is None else np.asarray(where)
    valid = valid if weights is None else valid & (np.asarray(weights) != 0)
    allowed = np.bool_(True) if class_where is None else np.asarray(class_where)
    allowed = np.broadcast_to(allowed, x.shape)
    if status == FitStatus.INVALID_VALUES:
        found = _first_invalid(x, label, valid, weights, allowed)
        return found and (
            f"{found}. Correct it, or mask such rows with where=; validate_logits and "
            "validate_labels count them."
        )
    if status == FitStatus.SEPARABLE:
        named = np.isin(np.arange(x.shape[1]), label[valid])
        absent = np.flatnonzero(~named & allowed[valid].any(axis=0))
        if absent.size:
            some = ", ".join(map(str, absent[:5])) + ", ..." * (absent.size > 5)
            which = f"Class {some} is" if absent.size == 1 else f"Classes {some} are"
            return (
                f"{which} nobody's label, and the best probability of such a class is "
                "0: give rows of every class, leave such classes out, or give the "
                "fit a strength."
            )
        return (
            "Some scale or bias separates the labels, so there are no finite best "
            "parameters: give more rows, or a strength if there is none."
        )
    return ""


def _first_invalid(
    logits: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray,
    weights: Any,
    allowed: np.ndarray,
) -> str:
    """What the first valid row that no fit takes holds; nothing if all are fine."""
    size = logits.shape[1]
    known = (labels >= 0) & (labels < size)
    own = np.where(known, labels, 0)[:, None]
    impossible = logits == -np.inf
    bad = ~np.isfinite(logits) & ~impossible & allowed
    reasons = {
        "label": ~known,
        "logit": bad.any(axis=1),
        "masked": known & ~np.take_along_axis(allowed, own, axis=1)[:, 0],
        "zero": known & np.take_along_axis(impossible, own, axis=1)[:, 0],
    }
    if weights is not None:
        reasons["weight"] = np.isnan(weights)
    invalid = np.any(list(reasons.values()), axis=0) & valid
    if not invalid.any():
        # Some fits take the logarithm of every probability.
        reasons = {"impossible": impossible.any(axis=1)}
        invalid = reasons["impossible"] & valid
    if not invalid.any():
        return ""
    row = int(np.argmax(invalid))
    reason = next(name for name, holds in reasons.items() if holds[row])
    label = labels[row]
    if reason == "logit":
        return f"Row {row} holds {logits[row][bad[row]][0]}".replace("nan", "NaN")
    return {
        "label": f"Row {row} has label {label}: labels count from 0 to {size - 1}",
        "masked": f"Row {row} has label {label}, a class that class_where= masks",
        "zero": f"Row {row} gives its label {label} the logit -inf, probability 0",
        "weight": f"Row {row} has the weight NaN",
        "impossible": f"Row {row} holds -inf, the logarithm of a probability of 0",
    }[reason]


def fit_report(solution: Solution, status: jax.Array, total: jax.Array) -> FitReport:
    """The report of a solution and its final status; `total` is the sum of weights."""
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


def report_of_means(
    weight: jax.Array, mean: jax.Array, status: jax.Array | FitStatus
) -> FitReport:
    """The report of a fit whose parameters are means of outcomes, found without steps.

    Args:
      weight: float32 `[B]`, the weight of each mean.
      mean: float32 `[B]`, anything where the weight is 0.
      status: the final status.
    """
    status = jnp.asarray(status, jnp.int32)
    total = reduce.pairwise_sum(weight)
    known = (status != FitStatus.INVALID_VALUES) & (total > 0)
    entropy = -(
        jax.scipy.special.xlogy(mean, mean) + jax.scipy.special.xlog1py(1 - mean, -mean)
    )
    loss = reduce.pairwise_sum(weight * entropy) / jnp.where(total > 0, total, 1.0)
    return FitReport(
        converged=(status == FitStatus.CONVERGED) | (status == FitStatus.REVERSED),
        num_steps=jnp.int32(0),
        loss=jnp.where(known, loss, jnp.nan),
        gradient_norm=jnp.where(known, jnp.float32(0), jnp.nan),
        status=status,
    )


def first_case(*cases: Any) -> tuple[jax.Array, ...]:
    """Status and values of the first case `(holds, status, *values)` that holds."""
    *others, (_, *chosen) = cases
    chosen = [_as_array(value) for value in chosen]
    for holds, *values in reversed(others):
        chosen = [
            jax.lax.select(holds, _as_array(value), other)
            for value, other in zip(values, chosen, strict=True)
        ]
    return tuple(chosen)


def _as_array(value: Any) -> Any:
    return np.int32(value) if isinstance(value, FitStatus) else value


@jax.custom_jvp
def undefined(value: jax.Array, holds: jax.Array, fallback: jax.Array) -> jax.Array:
    """`value`, or the fallback where `holds`: there its derivatives are NaN.

    A fallback would have derivatives of 0, as if the data did not matter.
    """
    return jnp.where(holds, fallback, value)


@undefined.defjvp
def _undefined_derivative(primals: Any, tangents: Any) -> Any:
    return undefined(*primals), tangents[0] * jnp.where(primals[1], jnp.nan, 1.0)
