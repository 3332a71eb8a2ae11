"""One model: calibrated on one half of its rows and judged on the other.

Shapes: N rows, G groups, `num_bins` bins.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from .._core.domains import CONFIDENCE
from ..binning import bins, tables
from ..binning.bins import DEFAULT_NUM_BINS
from ..binning.tables import ReliabilityTable
from ..calibration.apply import Calibrator
from ..calibration.reports import ConvergenceWarning, FitReport, FitStatus
from ..io.outputs import Outputs
from ..metrics import calibration_errors, intervals, proper_scores
from ..metrics.intervals import CalibrationErrorInterval
from ..stats import bounds
from . import likeliest, methods, scoring, statuses
from .likeliest import Likeliest
from .methods import Method, Takes
from .records import Source, class_values, source

# Fewer rows than this in a half say nothing.
LEAST_ROWS = 20
# Bins of equal width for the density of confidences.
_DENSITY_BINS = 40
# Groups shown, and draws for the floor of each.
_MOST_GROUPS, _GROUP_RESAMPLES = 100, 200


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Judged:
    """Confidences of a model on the half that it is judged on.

    Attributes:
      mean_confidence: their mean, in `[0, 1]`.
      error: the ECE on bins cut from the other half, with its interval, and the ECE of
        a perfectly calibrated model (`null_error`, the noise floor).
      brier_score: mean squared difference of confidence and outcome.
      log_loss: mean, in nats; infinite if a confidence of 0 or 1 is wrong.
      table: `ReliabilityTable` on the same bins.
      density: `ReliabilityTable` on 40 bins of equal width.
    """

    mean_confidence: float
    error: CalibrationErrorInterval
    brier_score: float
    log_loss: float
    table: ReliabilityTable
    density: ReliabilityTable


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Group:
    """A group of rows, such as a subject, on the half that is judged.

    Attributes:
      name: of the group.
      num_rows: its rows.
      accuracy: mean outcome.
      accuracy_interval: its lower and upper end, at the report's confidence level; None
        with partial credit.
      confidence_before: mean confidence, or None where scores are not confidences.
      confidence_after: mean calibrated confidence.
      ece_before: ECE, or None.
      ece_after: ECE.
      floor: mean ECE of a perfectly calibrated model with the same confidences.
    """

    name: str
    num_rows: int
    accuracy: float
    accuracy_interval: tuple[float, float] | None
    confidence_before: float | None
    confidence_after: float
    ece_before: float | None
    ece_after: float
    floor: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A calibrated model.

    Attributes:
      source: the file of its outputs.
      method: name of the calibrator.
      reason: why this one, in a sentence.
      params: what was fitted.
      taken: what they take, in words.
      fit: `FitReport`.
      status: how the fit ended, by name; in `clean`, the worse of both halves' fits.
      num_fitted: rows of the half that it was fitted on.
      num_judged: rows of the other half.
      accuracy: mean outcome of the judged half.
      before: without calibration; None where scores are not confidences.
      after: with it.
      groups: the groups with the most rows, if the file has groups.
      num_groups: how many groups the judged rows are in; `groups` has 100 at most.
      likeliest: what a calibrator that may make another option the likeliest does to
        answers; None of all others.
    """

    source: Source
    method: str
    reason: str
    params: Calibrator
    taken: str
    fit: FitReport
    status: str
    num_fitted: int
    num_judged: int
    accuracy: float
    before: Judged | None
    after: Judged
    groups: tuple[Group, ...]
    num_groups: int = 0
    likeliest: Likeliest | None = None

    @property
    def title(self) -> str:
        """What the calibrator is called."""
        return methods.METHODS[self.method].title

    @property
    def remarks(self) -> tuple[str, ...]:
        """How the fit ended, if not well, and what it does to answers, in sentences."""
        method = methods.METHODS[self.method]
        role = "" if self.source.role == "outputs" else self.source.role
        of_options = method.takes is Takes.OPTIONS
        found = statuses.sentences(self.status, role, of_options=of_options)
        if self.likeliest is not None:
            found += self.likeliest.sentences(self.title, role)
        return found


class Calibrated(NamedTuple):
    """A model and its rows; host arrays.

    Attributes:
      model: what is reported of it.
      confidence: float32 `[N]`, calibrated.
      outcome: float32 `[N]`, or bool where all are 0 or 1.
      prediction: int32 `[N]`, the options that it chose, or None for scores without
        any.
    """

    model: Model
    confidence: np.ndarray
    outcome: np.ndarray
    prediction: np.ndarray | None


class Fitted(NamedTuple):
    """A calibrator and the confidences that it gives, not judged yet; host arrays.

    Attributes:
      method: the calibrator.
      reason: why this one, in a sentence.
      params: what was fitted.
      report: `FitReport`.
      rows: what the model says, before calibration.
      confidence: float32 `[N]`, calibrated.
      outcome: float32 `[N]`, or bool where all are 0 or 1.
    """

    method: Method
    reason: str
    params: Any
    report: FitReport
    rows: scoring.Scored
    confidence: np.ndarray
    outcome: np.ndarray

    @property
    def status(self) -> str:
        """How the fit ended, by name."""
        return FitStatus(int(self.report.status)).name


def halves(num_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of two random halves, each in ascending order.

    Raises:
      ValueError: if there are too few rows.
    """
    if num_rows < 2 * LEAST_ROWS:
        raise ValueError(
            f"expected at least {2 * LEAST_ROWS} rows with labels, half of them to fit "
            f"on and half to judge on, got {num_rows}."
        )
    order = np.random.default_rng(seed).permutation(num_rows)
    first, second = order[: num_rows // 2], order[num_rows // 2 :]
    return np.sort(first), np.sort(second)


def fit(
    outputs: Outputs,
    role: str,
    fitted: np.ndarray,
    judged: np.ndarray,
    *,
    method: Method | None,
    seed: int,
    confidence_level: float,
) -> Calibrated:
    """Calibrates a model on some rows and judges it on others.

    Args:
      outputs: of the model, with labels or outcomes.
      role: of its file in the report.
      fitted: numbers of the rows to fit on.
      judged: numbers of the rows to judge on.
      method: the calibrator; by default what `scoring.choose` says.
      seed: of the draws of intervals.
      confidence_level: of the intervals.
    """
    found = fit_half(outputs, fitted, method)
    model = judge(
        found,
        outputs,
        role,
        fitted,
        judged,
        seed=seed,
        confidence_level=confidence_level,
    )
    return Calibrated(model, found.confidence, found.outcome, found.rows.prediction)


def fit_half(outputs: Outputs, fitted: np.ndarray, method: Method | None) -> Fitted:
    """Calibrates a model on some rows.

    Args:
      outputs: of the model, with labels or outcomes.
      fitted: numbers of the rows to fit on.
      method: the calibrator; by default what `scoring.choose` says.
    """
    rows = scoring.scored(outputs)
    if method is None:
        method, reason = scoring.choose(outputs, rows, fitted)
    else:
        reason = f"{method.title}, as asked for."
    outcome = rows.outcome
    if np.all((outcome == 0) | (outcome == 1)):
        outcome = outcome.astype(bool)
    first = float(outcome[fitted][0])
    if np.all(outcome[fitted] == first):
        raise ValueError(
            f"{outputs.name}: all answers in the fitting half are "
            f"{'right' if first else 'wrong'}, so nothing can be fitted. Check the "
            "labels."
        )
    params, report, confidence = _calibrate(outputs, rows, method, fitted)
    return Fitted(method, reason, params, report, rows, confidence, outcome)


def judge(
    found: Fitted,
    outputs: Outputs,
    role: str,
    fitted: np.ndarray,
    judged: np.ndarray,
    *,
    seed: int,
    confidence_level: float,
) -> Model:
    """Judges a calibrated model on other rows than it was fitted on.

    Args, as for `fit`, and also:

    Args:
      found: from `fit_half`, on the rows `fitted`.
    """
    before, outcome = found.rows.confidence, found.outcome

    def on_rows(values: np.ndarray) -> Judged:
        return _judge(values, outcome, fitted, judged, seed, confidence_level)

    num_groups, groups = _groups(
        outputs, before, found.confidence, outcome, judged, seed, confidence_level
    )
    return Model(
        source=source(role, outputs),
        method=found.method.name,
        reason=found.reason,
        params=found.params,
        taken=methods.taken(outputs, found.method.takes, found.rows.chosen),
        fit=found.report,
        status=found.status,
        num_fitted=len(fitted),
        num_judged=len(judged),
        accuracy=float(np.mean(outcome[judged], dtype=np.float64)),
        before=None if before is None else on_rows(before),
        after=on_rows(found.confidence),
        groups=groups,
        num_groups=num_groups,
        likeliest=(
            likeliest.of(found.params, outputs, judged)
            if found.method.reorders
            else None
        ),
    )


def _calibrate(
    outputs: Outputs, rows: scoring.Scored, method: Method, fitted: np.ndarray
) -> tuple[Any, FitReport, np.ndarray]:
    """Parameters, the report of the fit, and float32 `[N]` calibrated confidences."""
    given = _given(outputs, rows, method)
    more = {}
    if outputs.class_where is not None and method.takes is Takes.OPTIONS:
        more["class_where"] = outputs.class_where[fitted]
    with warnings.catch_warnings():
        # The report says it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        params, report = method.fit(*(one[fitted] for one in given), **more)
    found = scoring.calibrated(
        params, outputs, rows.score, rows.confidence, rows.prediction
    )
    status = FitStatus(int(report.status))
    if status == FitStatus.INVALID_VALUES or not np.all(np.isfinite(found)):
        why = statuses.invalid(outputs.kind)
        if method.takes is Takes.CONFIDENCE:
            why = statuses.certain(given[0][fitted], outputs.kind)
        raise ValueError(
            f"{outputs.name}: {method.title} cannot be fitted to these values: {why}"
        )
    return params, report, found


def _given(
    outputs: Outputs, rows: scoring.Scored, method: Method
) -> tuple[np.ndarray, np.ndarray]:
    """What a calibrator is fitted on, of all rows, or `ValueError` in one line."""
    values = class_values(outputs)
    if method.takes is not Takes.OPTIONS:
        x = scoring.inputs(method.takes, outputs, rows.score, rows.confidence)
        outside = np.flatnonzero(~CONFIDENCE.holds(x))
        if method.takes is Takes.CONFIDENCE and outside.size:
            row = int(outside[0])
            raise ValueError(
                f"{outputs.name}: {method.title} takes confidences in [0, 1], which "
                f"these scores are not (id {outputs.ids[row]!r} has {x[row]:g}). Use "
                "--method platt."
            )
        return x, rows.outcome
    if values is None or outputs.labels is None:
        raise ValueError(
            f"{outputs.name}: {method.title} needs a value for each option, and "
            f"labels; this file has {'scores' if values is None else 'outcomes'}. Use "
            "--method platt."
        )
    if method.needs_all and outputs.class_where is not None:
        raise ValueError(
            f"{outputs.name}: {method.title} needs the same options in every row, and "
            "some rows have fewer. Use --method temperature."
        )
    return values, outputs.labels


def _judge(
    confidence: np.ndarray,
    outcome: np.ndarray,
    fitted: np.ndarray,
    judged: np.ndarray,
    seed: int,
    confidence_level: float,
) -> Judged:
    cut = bins.equal_count_bins(confidence[fitted], DEFAULT_NUM_BINS)
    rows = confidence[judged], outcome[judged]
    error = intervals.calibration_error_interval(
        jax.random.key(seed), cut, *rows, confidence_level=confidence_level
    )
    fine = bins.equal_width_bins(_DENSITY_BINS)
    return Judged(
        mean_confidence=float(np.mean(rows[0], dtype=np.float64)),
        error=error,
        brier_score=float(proper_scores.brier_score(*rows)),
        log_loss=float(proper_scores.log_loss(*rows)),
        table=tables.reliability_table(cut, *rows),
        density=tables.reliability_table(fine, *rows),
    )


def _groups(
    outputs: Outputs,
    before: np.ndarray | None,
    after: np.ndarray,
    outcome: np.ndarray,
    judged: np.ndarray,
    seed: int,
    confidence_level: float,
) -> tuple[int, tuple[Group, ...]]:
    """How many groups the judged rows have, and the largest of them first."""
    if outputs.groups is None:
        return 0, ()
    names, place, sizes = np.unique(
        np.array(outputs.groups)[judged], return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        return len(names), ()
    found = []
    for number in np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]:
        rows = judged[place == number]
        found.append(
            _group(
                str(names[number]),
                None if before is None else before[rows],
                after[rows],
                outcome[rows],
                seed,
                confidence_level,
            )
        )
    return len(names), tuple(found)


def _group(
    name: str,
    before: np.ndarray | None,
    after: np.ndarray,
    outcome: np.ndarray,
    seed: int,
    confidence_level: float,
) -> Group:
    interval = None
    if outcome.dtype == bool:
        ends = bounds.clopper_pearson(
            int(np.sum(outcome)), len(outcome), confidence_level
        )
        interval = float(ends[0]), float(ends[1])

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values, dtype=np.float64))

    cut = bins.equal_count_bins(after, DEFAULT_NUM_BINS)
    error = intervals.calibration_error_interval(
        jax.random.key(seed), cut, after, outcome, num_resamples=_GROUP_RESAMPLES
    )
    raw = None
    if before is not None:
        raw = calibration_errors.expected_calibration_error(before, outcome)
    return Group(
        name=name,
        num_rows=len(outcome),
        accuracy=mean(outcome),
        accuracy_interval=interval,
        confidence_before=None if before is None else mean(before),
        confidence_after=mean(after),
        ece_before=None if raw is None else float(raw),
        ece_after=float(error.estimate),
        floor=float(error.null_error),
    )
