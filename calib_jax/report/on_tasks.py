"""A model on a task: calibrated on one half of the rows and judged on the other."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from ..io.outputs import Outputs
from . import models, pairs, scoring
from .methods import Method
from .models import Fitted


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OnTask:
    """A model on a task; numbers are None where it was not calibrated.

    One whose answers are all right, or all wrong, in the fitting half has an accuracy.

    Attributes:
      model: its name.
      task: likewise.
      file: what it was read from.
      num_rows: its labelled rows.
      num_judged: rows of the half that it is judged on.
      accuracy: mean outcome of these.
      method: name of the calibrator.
      confidence_before: mean confidence before calibration; None also where scores are
        not confidences, as the other numbers "before".
      confidence_after: mean confidence after it.
      ece_before: ECE before calibration, on bins cut from the other half.
      ece_before_lower: lower end of its interval, at the report's confidence level.
      ece_before_upper: upper end.
      ece_after: ECE after calibration.
      ece_after_lower: lower end of its interval.
      ece_after_upper: upper end.
      ece_floor: mean ECE of a perfectly calibrated model on as many rows.
      log_loss_before: mean, in nats.
      log_loss_after: likewise.
      why_not: why it was not calibrated, in a sentence, or None.
    """

    model: str
    task: str
    file: str
    num_rows: int
    num_judged: int | None = None
    accuracy: float | None = None
    method: str | None = None
    confidence_before: float | None = None
    confidence_after: float | None = None
    ece_before: float | None = None
    ece_before_lower: float | None = None
    ece_before_upper: float | None = None
    ece_after: float | None = None
    ece_after_lower: float | None = None
    ece_after_upper: float | None = None
    ece_floor: float | None = None
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    why_not: str | None = None


class Halved(NamedTuple):
    """A model that was fitted on one half of its rows.

    Attributes:
      outputs: the rows.
      fitted: the calibrator and the confidences of all rows.
      first: numbers of the rows that it was fitted on.
      second: numbers of the rows to judge on.
    """

    outputs: Outputs
    fitted: Fitted
    first: np.ndarray
    second: np.ndarray


class Constant(NamedTuple):
    """A model whose answers in the fitting half are all right, or all wrong.

    Attributes:
      outcome: float64 `[N]`.
      first: numbers of the rows of the fitting half.
      second: numbers of the rows to judge on.
    """

    outcome: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Fits:
    """Fits of models on tasks, each made once.

    Halves are those that the commands on one or two files draw with the same seed.
    """

    def __init__(self, method: Method | None, seed: int) -> None:
        self._method, self._seed = method, seed
        self._made: dict[tuple[str, str, tuple[str, ...]], Halved] = {}

    def of(self, outputs: Outputs) -> Halved:
        """The fit on a half of these rows.

        Raises:
          ValueError: if there are too few, or nothing can be fitted.
        """
        key = outputs.model, outputs.task, outputs.ids
        if key not in self._made:
            pairs.check(outputs)
            first, second = models.halves(len(outputs), self._seed)
            fitted = models.fit_half(outputs, first, self._method)
            self._made[key] = Halved(outputs, fitted, first, second)
        return self._made[key]

    def constant(self, outputs: Outputs) -> Constant | None:
        """What is known of a model to which nothing can be fitted, or None."""
        try:
            pairs.check(outputs)
            first, second = models.halves(len(outputs), self._seed)
            outcome = np.asarray(scoring.scored(outputs).outcome, np.float64)
        except ValueError:
            return None
        if np.any(outcome[first] != outcome[first[0]]):
            return None
        return Constant(outcome, first, second)


def of(outputs: Outputs, fits: Fits, seed: int, confidence_level: float) -> OnTask:
    """What is found about a model on a task, or why nothing is."""
    names: dict[str, Any] = {
        "model": outputs.model,
        "task": outputs.task,
        "file": outputs.name,
    }
    try:
        halved = fits.of(outputs)
    except ValueError as error:
        known = fits.constant(outputs)
        return OnTask(
            **names,
            num_rows=len(outputs),
            num_judged=None if known is None else len(known.second),
            accuracy=None
            if known is None
            else float(np.mean(known.outcome[known.second])),
            why_not=_reason(outputs, error),
        )
    found = models.judge(
        halved.fitted,
        # Groups have the page of one model.
        dataclasses.replace(outputs, groups=None),
        "outputs",
        halved.first,
        halved.second,
        seed=seed,
        confidence_level=confidence_level,
    )
    before, after = found.before, found.after
    return OnTask(
        **names,
        num_rows=len(outputs),
        num_judged=found.num_judged,
        accuracy=found.accuracy,
        method=found.method,
        confidence_before=None if before is None else before.mean_confidence,
        confidence_after=after.mean_confidence,
        ece_before=None if before is None else float(before.error.estimate),
        ece_before_lower=None if before is None else float(before.error.lower),
        ece_before_upper=None if before is None else float(before.error.upper),
        ece_after=float(after.error.estimate),
        ece_after_lower=float(after.error.lower),
        ece_after_upper=float(after.error.upper),
        ece_floor=float(after.error.null_error),
        log_loss_before=None if before is None else before.log_loss,
        log_loss_after=after.log_loss,
    )


def _reason(outputs: Outputs, error: ValueError) -> str:
    """Why, without the name of the file, which stands beside it."""
    text = str(error).removeprefix(f"{outputs.name}: ")
    return text[:1].upper() + text[1:]
