"""Whether a cascade still does what it promised: `calib-jax check`."""

import dataclasses
import enum
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..io.cascade_records import CascadeRecord
from ..io.outputs import Outputs
from ..stats import tails
from . import applying, evidence, pairs, phrases, scoring
from .evidence import Drift, Loss
from .records import Report, source

# Rows that are missing by chance are not missing so unevenly.
_CHANCE = 0.01


class Verdict(enum.Enum):
    """What new rows say of a promise."""

    #: New labelled rows confirm it on their own.
    SHOWN = 0
    #: Nothing contradicts it.
    NOT_CONTRADICTED = 1
    #: The inputs changed, so the promise no longer applies.
    DRIFTED = 2
    #: New labelled rows contradict it.
    BROKEN = 3


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CheckReport(Report):
    """New rows, compared with those that a cascade's K was chosen on.

    Each test that is made has an equal part of the share of false alarms that
    `confidence_level` leaves, so that all together stay within it.

    Attributes:
      num_rows: new rows of the small model.
      num_labelled: those of them that have a label, and an answer of the large model if
        there are any; None without labels.
      num_small_bins: K of the record.
      num_bins: bins of its router.
      confers: whether an arbiter decides where both models were asked.
      drift: `Drift` of all new rows, or None if the record has no reference.
      small_share: share of new inputs that the small model keeps.
      small_share_before: the same on the rows that K was chosen on, or None.
      small_accuracy: of the small model's answers on new inputs that it keeps, or None
        without labels.
      small_accuracy_before: the same on the rows that the router was fitted on.
      accuracy_p_value: probability of a drop this large without a change, or None.
      accuracy_fell: whether it is too small to be chance.
      max_drop: the limit that was promised, or None without such a promise.
      promise_level: the confidence level of the promise, or None.
      drop: accuracy lost against the large model on the new rows, or None.
      drop_bound: the largest loss that the new rows do not exclude at the confidence
        level of the promise, or None.
      drop_p_value: probability of a loss this large if the promise held, or None.
      untested: why the large model's rows cannot test the promise, in sentences, or
        None.
      num_tests: how many tests could raise an alarm.
      alarm_share: false alarms that each of them may raise, as a share of all checks.
      verdict: `Verdict`.
    """

    command: ClassVar[str] = "check"
    title: ClassVar[str] = "Check of a cascade"

    num_rows: int
    num_labelled: int | None
    num_small_bins: int
    num_bins: int
    confers: bool
    drift: Drift | None
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
    untested: str | None
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
        """Whether inputs have changed by more than chance, and it matters.

        At K = 0 the large model answers all inputs, whatever they are.
        """
        changed = self.drift is not None and self.drift.p_value <= self.alarm_share
        return changed and self.num_small_bins > 0

    def headline(self) -> dict[str, Any]:
        return {
            "num_rows": self.num_rows,
            "num_labelled": self.num_labelled,
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
            self._on_rows(),
            *self._on_inputs(),
            *self._on_accuracy(),
            *self._on_drop(),
            *([] if self.untested is None else [self.untested]),
            self._on_verdict(),
        ]
        if self.num_tests:
            alarms = f"alarms at p <= {self.alarm_share:.2g}"
            found.append(
                "If nothing changed and the promise holds, the chance of a false alarm "
                f"is at most {100 * (1 - self.confidence_level):.3g}%; "
                + (
                    f"the test {alarms}."
                    if self.num_tests == 1
                    else f"each of {self.num_tests} tests {alarms}."
                )
            )
        return tuple(found)

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        again = (
            "Label a few hundred of these inputs and build it again: calib-jax cascade."
        )
        if self.alarm:
            return ("Send everything to the large model until you know why.", again)
        if not self.num_small_bins:
            return (
                "It keeps nothing small, so there is nothing to watch: with more "
                "labelled rows, build it again, calib-jax cascade.",
            )
        if self.verdict is Verdict.SHOWN and (self.drifted or self.accuracy_fell):
            return (
                "The promise holds, but what is saved may have changed: build the "
                "cascade again, calib-jax cascade, when you can.",
            )
        if self.verdict is Verdict.SHOWN:
            return ("Keep using it, and check again on new rows.",)
        if self.untested is not None:
            return (
                "To test the promise itself, ask the large model about all these "
                "inputs, kept small or not, or about a random part, and label that.",
            )
        if self.small_accuracy is None:
            return (
                "Add labels and the large model's file to test the promise itself.",
            )
        if self.drop is None and self.num_small_bins:
            return ("Add the large model's file to test the promise itself.",)
        return ("Keep using it, and check again with more rows.",)

    def _on_rows(self) -> str:
        found = f"{self.num_rows:,} new rows"
        if self.num_labelled is not None and self.num_labelled < self.num_rows:
            found += f", {self.num_labelled:,} of them to judge answers on"
        return f"{found}; K is {self.num_small_bins} of {self.num_bins} bins."

    def _on_inputs(self) -> list[str]:
        share = f"The small model keeps {phrases.percent(self.small_share)} of inputs"
        if self.drift is None:
            return [f"{share}. The record has no reference to compare inputs with."]
        before = f"{share} ({phrases.percent(self.small_share_before or 0.0)} before)."
        p_value = f"(p = {self.drift.p_value:.2g})"
        if not self.num_small_bins:
            return [before, f"At K = 0 a change of inputs is not an alarm {p_value}."]
        changed = "changed" if self.drifted else "not changed"
        return [before, f"The distribution of confidence has {changed} {p_value}."]

    def _on_accuracy(self) -> list[str]:
        if self.small_accuracy is None:
            return []
        now, then = self.small_accuracy, self.small_accuracy_before
        found = f"{phrases.percent(now)} of the answers it keeps are right"
        if then is not None:
            found += f" ({phrases.percent(then)} before)"
        if self.accuracy_p_value is None:
            return [f"{found}."]
        if self.accuracy_fell:
            drop = "the drop is more than chance"
        elif now >= (then or 0.0):
            drop = "no drop"
        else:
            drop = "the drop could be chance"
        return [f"{found}: {drop} (p = {self.accuracy_p_value:.2g})."]

    def _on_drop(self) -> list[str]:
        if self.drop is None:
            return []
        by = ", with its arbiter," if self.confers else ""
        found = (
            f"On these rows the cascade{by} {phrases.lost(self.drop)} against the "
            "large model alone"
        )
        if self.drop_bound is None or self.promise_level is None:
            return [f"{found}."]
        bound = phrases.limit(float(phrases.rounded_up(self.drop_bound, 3)))
        level = phrases.level(self.promise_level)
        return [f"{found} (with confidence {level}, {bound})."]

    def _on_verdict(self) -> str:
        if self.max_drop is None:
            promise = "The record makes no promise that could be tested"
            return {
                Verdict.DRIFTED: f"{promise}, and the inputs have changed.",
                Verdict.NOT_CONTRADICTED: f"{promise}.",
            }[self.verdict] + (
                " The small model has become less accurate."
                if self.accuracy_fell
                else ""
            )
        promise = f"The promise ({phrases.limit(self.max_drop)})"
        if self.verdict is Verdict.SHOWN:
            return f"{promise} holds: these rows confirm it on their own."
        if self.verdict is Verdict.BROKEN:
            return f"{promise} is broken: these rows contradict it."
        if self.verdict is Verdict.DRIFTED:
            return f"{promise} was made for other inputs: these have changed."
        if self.untested is not None and not self.accuracy_fell:
            return f"{promise} was not tested; nothing else contradicts it."
        if self.accuracy_fell:
            return f"{promise} is in doubt: the small model has become less accurate."
        return f"{promise} stands: nothing contradicts it."


def check_report(
    record: CascadeRecord,
    small: Outputs,
    large: Outputs | None = None,
    *,
    inputs: Outputs | None = None,
    confidence_level: float = 0.99,
    seed: int = 0,
) -> CheckReport:
    """Compares new rows with those that a cascade's K was chosen on.

    Without labels it is tested whether confidences fall into the router's bins as
    before; at K = 0 that does not matter and raises no alarm. With labels it is also
    tested whether the answers that stay small are right less often (Fisher's exact
    test, one-sided), and with the large model's outputs whether the loss of accuracy
    contradicts the promise (by betting, one-sided), or confirms it at the promise's own
    confidence level. An arbiter of the record takes the answers of inputs sent on.

    Args:
      record: from `calib_jax.load` of a `cascade.json`.
      small: new outputs of the small model, with labels or without.
      large: new outputs of the large model on the same inputs, if there are labels, or
        on a random part of them. The promise is not tested on those sent on alone.
      inputs: all new outputs of the small model, where only some of them have labels;
        by default `small`. Whether the inputs changed is tested on these.
      confidence_level: 1 minus the false-alarm rate, in `(0, 1)`.
      seed: of the draws of the test of inputs.

    Returns:
      `CheckReport`.

    Raises:
      ValueError: if the outputs are not what the record takes; if nothing says which of
        the large model's answers are right, or the files share no row; if there is
        neither a reference in the record nor a label; and for a confidence level so
        high that no alarm could be raised.

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
    served = applying.of_record(record, "the record")
    whole = small if inputs is None else inputs
    pairs.check(small)
    everything = applying.decide(served, whole)
    kept_of_all = everything.small
    assert kept_of_all is not None
    untested, answered = None, large
    if large is not None:
        both = pairs.joined(small, large)
        answered = both[1]
        untested = _unfair(kept_of_all, whole, answered)
        small, large = (small, None) if untested else both
    decided = everything if small is whole else applying.decide(served, small)
    kept = decided.small
    assert kept is not None
    labelled = large is not None or _has_labels(small)
    outcomes = [
        None if one is None or not labelled else scoring.scored(one).outcome
        for one in (small, large)
    ]
    before = evidence.before(record)
    if before is None and outcomes[0] is None:
        raise ValueError(
            "the record has no reference to compare new inputs with: give labels, with "
            "--labels."
        )
    fall = evidence.drop_p_value(outcomes[0], kept, before)
    limit = evidence.limit(record)
    tests = [
        before is not None and record.num_small_bins > 0,
        fall is not None,
        limit is not None and outcomes[1] is not None,
    ]
    share = (1 - confidence_level) / max(sum(tests), 1)
    if tests[0] and share * (1 + evidence.MOST_DRAWS) < 1:
        most = 1 - sum(tests) / (1 + evidence.MOST_DRAWS)
        raise ValueError(
            "confidence_level: the test for changed inputs, of "
            f"{evidence.MOST_DRAWS:,} draws, cannot raise an alarm at "
            f"{confidence_level}; expected at most "
            f"{math.floor(1e6 * most) / 1e6}."
        )
    drift = None if before is None else evidence.drift(record, everything, share, seed)
    weighed = None
    if large is not None and record.arbiter is not None:
        weighed = applying.large_confidence(served, large)
    lost = evidence.loss(record, decided, outcomes, weighed, limit)
    fell = fall is not None and fall <= share
    sources = [source("small model", small)]
    if answered is not None:
        sources.append(source("large model", answered))
    right = None if outcomes[0] is None or not kept.any() else outcomes[0][kept]
    return CheckReport(
        sources=tuple(sources),
        seed=seed,
        confidence_level=confidence_level,
        num_rows=len(whole),
        num_labelled=len(small) if labelled else None,
        num_small_bins=record.num_small_bins,
        num_bins=record.router.bins.num_bins,
        confers=record.arbiter is not None,
        drift=drift,
        small_share=float(np.mean(kept_of_all)),
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
        untested=untested,
        num_tests=sum(tests),
        alarm_share=share,
        verdict=_verdict(drift if tests[0] else None, lost, limit, share),
    )


def _unfair(kept: np.ndarray, whole: Outputs, large: Outputs) -> str | None:
    """Why rows with answers of both models are no random part of all, or None.

    A cascade asks the large model only for what it sends on, and those rows tell
    nothing of the answers that it keeps.

    Args:
      kept: whether the small model's answer is kept, of all rows.
      whole: all rows of the small model.
      large: the rows of both that can be judged.
    """
    judged = set(large.ids)
    there = np.array([one in judged for one in whole.ids])
    parts = [(int(np.sum(there & part)), int(np.sum(part))) for part in (kept, ~kept)]
    total = int(np.sum(there)), len(kept)
    p_value = 2 * min(
        tails.hypergeometric_at_least(size - num, size, total[1] - total[0], total[1])
        for num, size in parts
    )
    (num_kept, of_kept), (num_sent, of_sent) = parts
    if p_value > _CHANCE and (num_kept or not of_kept):
        return None
    return (
        f"Both models' answers can be judged for {num_kept:,} of the {of_kept:,} "
        f"inputs that the small model keeps, and for {num_sent:,} of the {of_sent:,} "
        "that are sent on: not a random part of them, so the promise is not tested."
    )


def _has_labels(outputs: Outputs) -> bool:
    return outputs.labels is not None or outputs.outcomes is not None


def _verdict(
    drift: Drift | None,
    lost: Loss,
    limit: tuple[float, float] | None,
    share: float,
) -> Verdict:
    if lost.p_value is not None and lost.p_value <= share:
        return Verdict.BROKEN
    if limit is not None and lost.bound is not None and lost.bound <= limit[0]:
        return Verdict.SHOWN
    if drift is not None and drift.p_value <= share:
        return Verdict.DRIFTED
    return Verdict.NOT_CONTRADICTED
