"""Whether a cascade still does what it promised: `calib-jax check`."""

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from ..cascade import risk_control
from ..io.cascade_records import CascadeRecord
from ..io.outputs import Outputs
from ..io.outputs.record import join
from ..monitoring import drift as drifts
from ..monitoring.drift import OccupancyDrift
from ..stats import bounds, tails
from . import applying, phrases, scoring
from .records import Report, source

# Draws for each false alarm that is allowed.
_DRAWS_EACH, _LEAST_DRAWS, _MOST_DRAWS = 10, 1000, 100_000


class Verdict(enum.Enum):
    """What new rows say of a promise."""

    #: New labelled rows show it anew.
    SHOWN = 0
    #: Nothing speaks against it.
    NOT_CONTRADICTED = 1
    #: Inputs are others than those it was made for, so it rests on nothing.
    DRIFTED = 2
    #: New labelled rows contradict it.
    BROKEN = 3


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CheckReport(Report):
    """New rows, compared with those that a cascade's K was chosen on.

    Each test that is made has an equal part of the share of false alarms that
    `confidence_level` leaves, so that all together stay within it.

    Attributes:
      num_rows: new rows.
      num_small_bins: K of the record.
      num_bins: bins of its router.
      drift: `OccupancyDrift` of the small model's confidences in the router's bins, or
        None if the record has no reference.
      small_share: share of new inputs that the small model keeps.
      small_share_before: the same on the rows that K was chosen on, or None.
      small_accuracy: of the small model's answers on new inputs that it keeps, or None
        without labels.
      small_accuracy_before: the same on the rows that K was chosen on, or None.
      accuracy_p_value: probability of a fall this large without a change, or None.
      accuracy_fell: whether it is too small to be chance.
      max_drop: the limit that was promised, or None without such a promise.
      promise_level: the confidence level of the promise, or None.
      drop: accuracy lost against the large model on the new rows, or None.
      drop_bound: the largest loss that the new rows do not exclude at the confidence
        level of the promise, or None.
      drop_p_value: probability of a loss this large if the promise held, or None.
      num_tests: how many tests could raise an alarm.
      alarm_share: false alarms that each of them may raise, as a share of all checks.
      verdict: `Verdict`.
    """

    command: ClassVar[str] = "check"
    title: ClassVar[str] = "Check of a cascade"

    num_rows: int
    num_small_bins: int
    num_bins: int
    drift: OccupancyDrift | None
    small_share: float
    small_share_before: float | None
    small_accuracy: float | None
    small_accuracy_before: float | None
    accuracy_p_value: float | None
    accuracy_fell: bool
    max_drop: float | None
    promise_level: float | None
    drop: float | None
    drop_bound: float | None
    drop_p_value: float | None
    num_tests: int
    alarm_share: float
    verdict: Verdict

    @property
    def alarm(self) -> bool:
        """Whether the record should not be relied on as it stands.

        New rows that show the promise anew outweigh a change of inputs or a fall that
        both models share.
        """
        if self.verdict is Verdict.SHOWN:
            return False
        return self.accuracy_fell or self.verdict is not Verdict.NOT_CONTRADICTED

    @property
    def drifted(self) -> bool:
        """Whether inputs have changed by more than chance."""
        return self.drift is not None and (
            float(self.drift.p_value) <= self.alarm_share
        )

    def headline(self) -> dict[str, Any]:
        return {
            "num_rows": self.num_rows,
            "verdict": self.verdict,
            "alarm": self.alarm,
            "small_share": self.small_share,
            "drift_p_value": None if self.drift is None else self.drift.p_value,
            "small_accuracy": self.small_accuracy,
            "accuracy_fell": self.accuracy_fell,
            "drop": self.drop,
            "drop_bound": self.drop_bound,
            "max_drop": self.max_drop,
        }

    def sentences(self) -> tuple[str, ...]:
        found = [
            f"{self.num_rows:,} new rows; K is {self.num_small_bins} of "
            f"{self.num_bins} bins.",
            *self._on_inputs(),
            *self._on_accuracy(),
            *self._on_drop(),
            self._on_verdict(),
        ]
        if self.num_tests:
            tests = "one test" if self.num_tests == 1 else f"{self.num_tests} tests"
            found.append(
                "If nothing changed and the promise holds, at most "
                f"{phrases.percent(1 - self.confidence_level)} of checks raise an "
                f"alarm: {tests}, at p up to {self.alarm_share:.2g}."
            )
        return tuple(found)

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        again = (
            "Label a few hundred of these inputs and build it again: calib-jax cascade."
        )
        if self.alarm:
            return ("Send everything to the large model until you know why.", again)
        if not self.num_small_bins and not self.alarm:
            return ("It keeps nothing small: build one that does, calib-jax cascade.",)
        if self.verdict is Verdict.SHOWN and (self.drifted or self.accuracy_fell):
            return (
                "The promise holds, but what is saved may have changed: build the "
                "cascade again, calib-jax cascade, when you can.",
            )
        if self.verdict is Verdict.SHOWN:
            return ("Keep using it, and check again on new rows.",)
        if self.small_accuracy is None:
            return (
                "Add labels and the large model's file to test the promise itself.",
            )
        if self.drop is None and self.num_small_bins:
            return ("Add the large model's file to test the promise itself.",)
        return ("Keep using it, and check again with more rows.",)

    def _on_inputs(self) -> list[str]:
        share = f"The small model keeps {phrases.percent(self.small_share)} of inputs"
        if self.drift is None:
            return [f"{share}. The record has no reference to compare inputs with."]
        p_value = float(self.drift.p_value)
        return [
            f"{share}, {phrases.percent(self.small_share_before or 0.0)} before.",
            (
                "Its confidences fall into other bins than before: inputs have changed "
                if self.drifted
                else "Its confidences fall into the bins as before "
            )
            + f"(p = {p_value:.2g}).",
        ]

    def _on_accuracy(self) -> list[str]:
        if self.small_accuracy is None:
            return []
        right = phrases.percent(self.small_accuracy)
        found = f"Of the answers that it keeps {right} are right"
        if self.small_accuracy_before is not None:
            found += f", {phrases.percent(self.small_accuracy_before)} before"
        if self.accuracy_p_value is None:
            return [f"{found}."]
        fell = "more than chance" if self.accuracy_fell else "chance explains a fall"
        if not self.accuracy_fell and (
            self.small_accuracy >= (self.small_accuracy_before or 0.0)
        ):
            fell = "no fall"
        return [f"{found}: {fell} (p = {self.accuracy_p_value:.2g})."]

    def _on_drop(self) -> list[str]:
        if self.drop is None:
            return []
        word = "loses" if self.drop >= 0 else "gains"
        found = (
            f"Against always asking the large model the cascade {word} "
            f"{100 * abs(self.drop):.1f} points of accuracy here"
        )
        if self.drop_bound is None or self.promise_level is None:
            return [f"{found}."]
        return [
            f"{found}; with confidence {phrases.level(self.promise_level)} it "
            f"{phrases.loses(math.ceil(self.drop_bound * 1e3) / 1e3)}."
        ]

    def _on_verdict(self) -> str:
        if self.max_drop is None:
            promise = "The record makes no promise that could be tested"
        else:
            promise = f"Promised was that it {phrases.loses(self.max_drop)}"
        if self.verdict is Verdict.SHOWN:
            return f"{promise}: these rows alone show it anew."
        if self.verdict is Verdict.BROKEN:
            return f"{promise}: these rows contradict it."
        if self.verdict is Verdict.DRIFTED:
            return f"{promise}, on inputs like those before: these are not."
        if self.accuracy_fell:
            return f"{promise}: the small model's answers are worse than then."
        return f"{promise}: nothing speaks against it."


def check_report(
    record: CascadeRecord,
    small: Outputs,
    large: Outputs | None = None,
    *,
    confidence_level: float = 0.99,
    seed: int = 0,
) -> CheckReport:
    """Compares new rows with those that a cascade's K was chosen on.

    Without labels it is tested whether confidences fall into the router's bins as
    before. With labels also whether the answers that stay small are right less often
    (Fisher's exact test, one-sided), and with the large model's outputs whether the
    loss of accuracy contradicts the promise (by betting, one-sided), or is shown to be
    within it anew, at the promise's own confidence level.

    Args:
      record: from `calib_jax.load` of a `cascade.json`.
      small: new outputs of the small model, with labels or without.
      large: new outputs of the large model on the same inputs, if there are labels.
      confidence_level: the share of checks without an alarm if nothing has changed, in
        `(0, 1)`.
      seed: of the draws of the test of inputs.

    Returns:
      `CheckReport`.

    Raises:
      ValueError: if the outputs are not what the record takes; if nothing says which of
        the large model's answers are right, or the files share no row; and if there is
        neither a reference in the record nor a label.

    References:
      Fisher, "The Logic of Inductive Inference", 1935; Waudby-Smith and Ramdas,
      "Estimating Means of Bounded Random Variables by Betting", 2024, arXiv 2010.09686.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> from calib_jax import report
      >>> folder, read = pathlib.Path(tempfile.mkdtemp()), []
      >>> for name, wrong in (("small", 4), ("large", 3)):
      ...     rows = [f"{i},{i % 10 / 10},{int(i % 10 >= wrong)}" for i in range(4000)]
      ...     path = folder / f"{name}.csv"
      ...     _ = path.write_text("\\n".join(["id,score,correct", *rows]))
      ...     read.append(cj.io.read_outputs(path))
      >>> _ = report.write(report.cascade_report(*read), folder / "cascade")
      >>> record = cj.load(folder / "cascade" / "cascade.json")
      >>> print(check_report(record, *read).verdict.name)
      SHOWN
    """
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level: expected a number in (0, 1), got {confidence_level}."
        )
    if large is not None:
        small, large = join(small, large)
    decided = applying.decide(applying.of_record(record, "the record"), small)
    kept = decided.small
    assert kept is not None
    labelled = large is not None or _has_labels(small)
    outcomes = [
        None if one is None or not labelled else scoring.scored(one).outcome
        for one in (small, large)
    ]
    before = _before(record)
    if before is None and outcomes[0] is None:
        raise ValueError(
            "the record has no reference to compare new inputs with: give labels, with "
            "--labels."
        )
    fall = _fall(outcomes[0], kept, before)
    limit = _limit(record)
    tested = limit is not None and outcomes[1] is not None
    num_tests = (before is not None) + (fall is not None) + tested
    share = (1 - confidence_level) / max(num_tests, 1)
    drift = None if before is None else _drift(record, decided, share, seed)
    lost = _loss(record, decided, outcomes, limit)
    fell = fall is not None and fall <= share
    sources = [source("small model", small)]
    if large is not None:
        sources.append(source("large model", large))
    right = None if outcomes[0] is None or not kept.any() else outcomes[0][kept]
    return CheckReport(
        sources=tuple(sources),
        seed=seed,
        confidence_level=confidence_level,
        num_rows=len(small),
        num_small_bins=record.num_small_bins,
        num_bins=record.router.bins.num_bins,
        drift=drift,
        small_share=float(np.mean(kept)),
        small_share_before=None if before is None else before.share,
        small_accuracy=None if right is None else float(np.mean(right, dtype=float)),
        small_accuracy_before=None if before is None else before.accuracy,
        accuracy_p_value=fall,
        accuracy_fell=fell,
        max_drop=None if limit is None else limit[0],
        promise_level=None if limit is None else limit[1],
        drop=lost.drop,
        drop_bound=lost.bound,
        drop_p_value=lost.p_value,
        num_tests=num_tests,
        alarm_share=share,
        verdict=_verdict(drift, lost, limit, share),
    )


class _Before(NamedTuple):
    """Rows that K was chosen on: how many, the share kept, and those right of them."""

    num_kept: int
    num_right: float
    share: float
    accuracy: float | None


class _Loss(NamedTuple):
    """Accuracy lost on the new rows, as in `CheckReport`."""

    drop: float | None
    bound: float | None
    p_value: float | None


def _has_labels(outputs: Outputs) -> bool:
    return outputs.labels is not None or outputs.outcomes is not None


def _before(record: CascadeRecord) -> _Before | None:
    if record.reference is None:
        return None
    count = np.asarray(record.reference.count, np.int64)
    outcome = np.asarray(record.reference.outcome, np.float64)
    kept = np.asarray(record.router.order)[: record.num_small_bins]
    num, right = int(count[kept].sum()), float((count * outcome)[kept].sum())
    share = num / max(int(count.sum()), 1)
    return _Before(num, right, share, right / num if num else None)


def _limit(record: CascadeRecord) -> tuple[float, float] | None:
    """The loss that the record promises not to exceed, and with which confidence."""
    promise, chosen = record.promise, record.selection
    if (
        promise is None
        or promise.made_by is not risk_control.control_accuracy_drop
        or promise.confidence_level is None
        or chosen is None
        or not bool(chosen.feasible)
    ):
        return None
    return float(str(np.float32(chosen.level))), promise.confidence_level


def _fall(
    outcome: np.ndarray | None, kept: np.ndarray, before: _Before | None
) -> float | None:
    """Probability that as few kept answers or fewer are right without a change."""
    if outcome is None or before is None or not before.num_kept or not kept.any():
        return None
    right = outcome[kept].astype(np.float64)
    num_right = round(before.num_right)
    # Means in bins are float32.
    whole = abs(before.num_right - num_right) <= 1e-6 * before.num_kept + 1e-3
    if not whole or np.any((right != 0) & (right != 1)):
        return None
    wrong_now, wrong_before = int(np.sum(1 - right)), before.num_kept - num_right
    return tails.hypergeometric_at_least(
        wrong_now,
        len(right),
        wrong_now + wrong_before,
        len(right) + before.num_kept,
    )


def _drift(
    record: CascadeRecord, decided: applying.Decisions, share: float, seed: int
) -> OccupancyDrift:
    assert record.reference is not None
    # Only their bins count: the least confidence of each.
    least = np.concatenate([[0.0], np.asarray(record.router.bins.edges)])
    earlier = np.repeat(least, np.asarray(record.reference.count)).astype(np.float32)
    draws = min(max(_LEAST_DRAWS, math.ceil(_DRAWS_EACH / share)), _MOST_DRAWS)
    return drifts.occupancy_drift(
        jax.random.key(seed),
        record.router.bins,
        earlier,
        decided.confidence,
        num_resamples=draws,
    )


def _loss(
    record: CascadeRecord,
    decided: applying.Decisions,
    outcomes: list[np.ndarray | None],
    limit: tuple[float, float] | None,
) -> _Loss:
    small, large = outcomes
    if small is None or large is None or decided.small is None:
        return _Loss(None, None, None)
    lost = np.where(decided.small, large - small, 0.0).astype(np.float64)
    drop = float(np.mean(lost))
    if limit is None:
        return _Loss(drop, None, None)
    max_drop, level = limit
    binary = all(np.all((one == 0) | (one == 1)) for one in (small, large))
    dtype = bool if binary else np.float32
    chosen = risk_control.control_accuracy_drop(
        record.router,
        decided.confidence,
        small.astype(dtype),
        large.astype(dtype),
        max_drop,
        confidence_level=level,
    )
    bound = np.asarray(chosen.bound)[record.num_small_bins]
    # That the mean gain is at least -max_drop, by betting that it is less.
    p_value = bounds.betting_p_value(
        np.float32((1 - lost) / 2), np.float32((1 - max_drop) / 2)
    )
    return _Loss(drop, float(str(bound)), float(p_value))


def _verdict(
    drift: OccupancyDrift | None,
    lost: _Loss,
    limit: tuple[float, float] | None,
    share: float,
) -> Verdict:
    if lost.p_value is not None and lost.p_value <= share:
        return Verdict.BROKEN
    if limit is not None and lost.bound is not None and lost.bound <= limit[0]:
        return Verdict.SHOWN
    if drift is not None and float(drift.p_value) <= share:
        return Verdict.DRIFTED
    return Verdict.NOT_CONTRADICTED
