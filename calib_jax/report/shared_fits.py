"""What repeats across tasks: one calibrator of a model for all, or one for each?

For each model three fits are compared on the halves that are judged: on the first half
of the task itself, on those of all tasks together, and on those of all other tasks, as
for a task without labels. Models with a value for each option get a temperature, others
Platt scaling.

Shapes: N rows, C options.
"""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..binning import bins
from ..binning.bins import DEFAULT_NUM_BINS
from ..calibration.reports import ConvergenceWarning, FitStatus
from ..metrics import calibration_errors
from . import phrases, scoring
from .methods import PLATT, TEMPERATURE, Method
from .on_tasks import Halved
from .records import class_values

# More values are not put together.
_MOST_VALUES = 2**27
# Confidences are kept as far from 0 and 1 as float32 is below 1, so that no log loss is
# infinite.
_EDGE = 2.0**-24
# The fits that are compared, in the order of fields.
_WAYS = ("own", "all", "others")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OnOne:
    """A model on one of its tasks, with three fits of one calibrator.

    Attributes:
      model: its name.
      task: likewise.
      method: name of the calibrator.
      num_judged: rows of the half that is judged.
      log_loss_before: mean without calibration, in nats; None where scores are not
        confidences. Confidences of 0 and 1 are moved by 6e-8.
      log_loss_own: with the fit on the task's own first half.
      log_loss_all: with the fit on the first halves of all tasks.
      log_loss_others: with the fit on those of all other tasks.
      ece_before: ECE without calibration, on bins cut from the first half.
      ece_own: with the fit on the task's own first half.
      ece_all: with the fit on those of all.
      ece_others: with the fit on those of all others.
      temperature_own: the temperature, or None of Platt scaling.
      temperature_all: likewise.
      temperature_others: likewise.
    """

    model: str
    task: str
    method: str
    num_judged: int
    log_loss_before: float | None
    log_loss_own: float
    log_loss_all: float
    log_loss_others: float
    ece_before: float | None
    ece_own: float
    ece_all: float
    ece_others: float
    temperature_own: float | None
    temperature_all: float | None
    temperature_others: float | None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Shared:
    """A model on all of its tasks: means over all rows that are judged.

    Attributes:
      model: its name.
      method: name of the calibrator.
      num_tasks: number of its tasks.
      num_judged: rows of the halves that are judged.
      log_loss_before: as for one task.
      log_loss_own: likewise.
      log_loss_all: likewise.
      log_loss_others: likewise.
      ece_before: mean of the tasks' ECEs by their rows.
      ece_own: likewise.
      ece_all: likewise.
      ece_others: likewise.
      all_minus_own: log loss of one fit for all minus that of one for each.
      all_minus_own_standard_error: its standard error, of paired rows.
      others_minus_before: log loss of the fit on other tasks minus that without
        calibration, or None.
      others_minus_before_standard_error: likewise.
      num_helped: tasks on which the fit on other tasks has the smaller log loss than
        none, or None.
      temperature_all: the temperature of all tasks, or None of Platt scaling.
      temperature_least: the least of the tasks' own temperatures, or None.
      temperature_most: the largest.
    """

    model: str
    method: str
    num_tasks: int
    num_judged: int
    log_loss_before: float | None
    log_loss_own: float
    log_loss_all: float
    log_loss_others: float
    ece_before: float | None
    ece_own: float
    ece_all: float
    ece_others: float
    all_minus_own: float
    all_minus_own_standard_error: float
    others_minus_before: float | None
    others_minus_before_standard_error: float | None
    num_helped: int | None
    temperature_all: float | None
    temperature_least: float | None
    temperature_most: float | None

    @property
    def verdict(self) -> str:
        """Which of both is better, in a few words."""
        if abs(self.all_minus_own) <= 2 * self.all_minus_own_standard_error:
            return "no difference seen"
        return f"one for {'each' if self.all_minus_own > 0 else 'all'} is better"

    def sentence(self) -> str:
        """What repeats, in two sentences at most."""
        what, values, each = "fit of Platt scaling", "", ""
        if self.temperature_all is not None:
            what, values = "temperature", f" ({self.temperature_all:.2f})"
            each = f" ({self.temperature_least:.2f} to {self.temperature_most:.2f})"
        found = (
            f"{self.model}: one {what} for all {self.num_tasks} tasks{values} instead "
            f"of one for each{each} changes the log loss by "
            f"{_signed(self.all_minus_own)} nats a row (standard error "
            f"{self.all_minus_own_standard_error:.4f}): {self.verdict}."
        )
        if self.others_minus_before is None:
            return found
        return (
            f"{found} Taken from the other tasks alone, it changes the log loss by "
            f"{_signed(self.others_minus_before)} against no calibration (standard "
            f"error {self.others_minus_before_standard_error:.4f}), for the better on "
            f"{self.num_helped} of {self.num_tasks} tasks."
        )


class Repeats(NamedTuple):
    """What `of` finds; sentences say for which models it finds nothing."""

    shared: tuple[Shared, ...]
    on_one: tuple[OnOne, ...]
    reasons: tuple[str, ...]


class _Judged(NamedTuple):
    """Confidences on the half that is judged, by fit; "before" may be missing."""

    row: OnOne
    losses: Mapping[str, np.ndarray]


def of(halved: Sequence[Halved]) -> Repeats:
    """Compares fits across the tasks of each model that has several.

    Args:
      halved: models on tasks.
    """
    shared: list[Shared] = []
    rows: list[OnOne] = []
    reasons: list[str] = []
    by_model = sorted(halved, key=lambda one: one.outputs.model)
    for name, group in itertools.groupby(by_model, lambda one: one.outputs.model):
        some = list(group)
        if len(some) < 2:
            continue
        try:
            judged = _model(some)
        except ValueError as error:
            reasons.append(f"{name}: its fits across tasks are not compared: {error}")
            continue
        shared.append(_summary(judged))
        rows += [one.row for one in judged]
    return Repeats(tuple(shared), tuple(rows), tuple(reasons))


def _model(halved: Sequence[Halved]) -> list[_Judged]:
    method = TEMPERATURE if all(map(_has_temperature, halved)) else PLATT
    if method is PLATT and len({_scale(one) for one in halved}) > 1:
        raise ValueError("some tasks have scores on another scale than others.")
    given = [_given(one, method) for one in halved]
    together = _fit(given, method)
    found = []
    for number, one in enumerate(halved):
        fits = {
            "own": _fit(given[number : number + 1], method),
            "all": together,
            "others": _fit([*given[:number], *given[number + 1 :]], method),
        }
        found.append(_judge(one, method, fits))
    return found


def _has_temperature(one: Halved) -> bool:
    """Whether a temperature can be fitted: options have finite values, and labels."""
    values, real = class_values(one.outputs), one.outputs.class_where
    if values is None or one.outputs.labels is None:
        return False
    finite = np.isfinite(np.asarray(values, np.float32))
    return bool(np.all(finite if real is None else finite | ~real))


def _scale(one: Halved) -> str:
    """What scores mean: log-odds, where options have values."""
    if class_values(one.outputs) is not None:
        return "log-odds"
    return one.outputs.scale or ""


class _Given(NamedTuple):
    """What a fit takes of one task: of its first half."""

    x: np.ndarray
    y: np.ndarray
    class_where: np.ndarray | None


def _given(one: Halved, method: Method) -> _Given:
    outputs, first = one.outputs, one.first
    if method is PLATT:
        return _Given(
            one.fitted.rows.score[first], one.fitted.rows.outcome[first], None
        )
    values, real = class_values(outputs), outputs.class_where
    assert outputs.labels is not None
    return _Given(
        np.asarray(values[first], np.float32),
        outputs.labels[first],
        None if real is None else real[first],
    )


def _fit(given: Sequence[_Given], method: Method) -> Any:
    """Parameters of a fit on several tasks, whose numbers of options may differ."""
    y = np.concatenate([one.y for one in given])
    more = {}
    if method is PLATT:
        x = np.concatenate([one.x for one in given])
    else:
        widths = {one.x.shape[1] for one in given}
        if len(y) * max(widths) > _MOST_VALUES:
            raise ValueError("together their options have too many values.")
        x = np.zeros((len(y), max(widths)), np.float32)
        real = np.zeros(x.shape, bool)
        start = 0
        for one in given:
            rows = slice(start, start + len(one.y))
            x[rows, : one.x.shape[1]] = one.x
            real[rows, : one.x.shape[1]] = (
                True if one.class_where is None else one.class_where
            )
            start += len(one.y)
        if not real.all():
            x[~real] = 0
            more = {"class_where": real}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        params, report = method.fit(x, y, **more)
    if FitStatus(int(report.status)) == FitStatus.INVALID_VALUES:
        raise ValueError(f"{method.title} cannot be fitted to their values.")
    return params


def _judge(one: Halved, method: Method, fits: Mapping[str, Any]) -> _Judged:
    rows, outputs = one.fitted.rows, one.outputs
    confidences = {
        way: scoring.calibrated(
            params, outputs, rows.score, rows.confidence, rows.prediction
        )
        for way, params in fits.items()
    }
    if rows.confidence is not None:
        confidences["before"] = rows.confidence
    outcome = np.asarray(rows.outcome, np.float64)[one.second]
    losses = {
        way: _losses(values[one.second], outcome) for way, values in confidences.items()
    }
    errors = {way: _ece(values, one) for way, values in confidences.items()}
    means = {way: float(np.mean(values)) for way, values in losses.items()}
    temperatures = {
        way: float(params.temperature) if method is TEMPERATURE else None
        for way, params in fits.items()
    }
    row = OnOne(
        model=outputs.model,
        task=outputs.task,
        method=method.name,
        num_judged=len(one.second),
        log_loss_before=means.get("before"),
        ece_before=errors.get("before"),
        log_loss_own=means["own"],
        log_loss_all=means["all"],
        log_loss_others=means["others"],
        ece_own=errors["own"],
        ece_all=errors["all"],
        ece_others=errors["others"],
        temperature_own=temperatures["own"],
        temperature_all=temperatures["all"],
        temperature_others=temperatures["others"],
    )
    return _Judged(row, losses)


def _losses(confidence: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Log loss of each row, in nats."""
    inside = np.clip(np.asarray(confidence, np.float64), _EDGE, 1 - _EDGE)
    return -(outcome * np.log(inside) + (1 - outcome) * np.log1p(-inside))


def _ece(confidence: np.ndarray, one: Halved) -> float:
    cut = bins.equal_count_bins(confidence[one.first], DEFAULT_NUM_BINS)
    outcome = one.fitted.outcome[one.second]
    return float(
        calibration_errors.expected_calibration_error(
            confidence[one.second], outcome, bins=cut
        )
    )


def _summary(judged: Sequence[_Judged]) -> Shared:
    rows = [one.row for one in judged]
    weights = np.array([one.num_judged for one in rows], np.float64)

    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in rows]
        if any(value is None for value in values):
            return None
        return float(np.average(values, weights=weights))

    def difference(one: str, other: str) -> tuple[float, float]:
        """Mean over all rows, and its standard error: tasks are as they are."""
        each = [task.losses[one] - task.losses[other] for task in judged]
        total = sum(len(some) ** 2 * np.var(some, ddof=1) / len(some) for some in each)
        return (
            float(np.mean(np.concatenate(each))),
            math.sqrt(total) / float(weights.sum()),
        )

    has_before = all("before" in one.losses for one in judged)
    own, own_error = difference("all", "own")
    new, new_error = difference("others", "before") if has_before else (None, None)
    temperatures = [
        one.temperature_own for one in rows if one.temperature_own is not None
    ]
    means: dict[str, Any] = {
        f"{measure}_{way}": mean(f"{measure}_{way}")
        for measure in ("log_loss", "ece")
        for way in ("before", *_WAYS)
    }
    return Shared(
        model=rows[0].model,
        method=rows[0].method,
        num_tasks=len(rows),
        num_judged=int(weights.sum()),
        **means,
        all_minus_own=own,
        all_minus_own_standard_error=own_error,
        others_minus_before=new,
        others_minus_before_standard_error=new_error,
        num_helped=sum(
            bool(np.mean(one.losses["others"]) < np.mean(one.losses["before"]))
            for one in judged
        )
        if has_before
        else None,
        temperature_all=rows[0].temperature_all,
        temperature_least=min(temperatures, default=None),
        temperature_most=max(temperatures, default=None),
    )


def _signed(value: float) -> str:
    text = phrases.number(value)
    return f"+{text}" if value > 0 and text.strip("0.") else text
