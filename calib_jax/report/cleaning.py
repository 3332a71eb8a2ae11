"""The report of suspect labels: `calib-jax clean`.

Shapes: N joined rows, M models.
"""

import csv
import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from ..binning.bins import DEFAULT_NUM_BINS
from ..cleaning import audits, experts, label_issues, repairs
from ..io import cells, review_sheets
from ..io.outputs import Outputs, join
from . import agreed, figures, models, phrases, precision, statuses
from .agreed import Answers
from .drawings import Drawing
from .methods import Method
from .models import Fitted, Model
from .records import Report, Writer, in_python, place

# Of 15 bins. On images and exam questions whose labels people checked, and on flipped
# labels, two models found about twice as many wrong labels with 10 as with 5, and
# nearly as large a share of the suspects was wrong; with more, it fell.
DEFAULT_TOP_BINS = 10

# Models whose reliability diagrams are on the page.
_MOST_DRAWN = 6

#: Names of the files beside the page.
SUSPECTS, SHEET = FILES = ("suspects.csv", review_sheets.NAME)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """A model's answer to a suspect row.

    Attributes:
      option: its name, or its number as a text.
      confidence: calibrated, in `[0, 1]`.
    """

    option: str
    confidence: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Suspect:
    """A label that every model contradicts with confidence.

    Attributes:
      rank: 1 for the most suspect.
      id: of the row.
      given: the given label's name, or its number as a text.
      suggestion: the most confident other answer, by name.
      score: label issue score, in `[0, 1]`; larger is more suspect.
      answers: of each model.
    """

    rank: int
    id: str
    given: str
    suggestion: str
    score: float
    answers: tuple[Answer, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Ranking:
    """All labels, suspect or not; host arrays.

    Attributes:
      ids: N texts.
      labels: int32 `[N]`, as given.
      predictions: int32 `[M, N]`.
      confidences: float32 `[M, N]`, calibrated on the half that the row is not in.
      score: float32 `[N]` in `[-1, 1]`, label issue score.
      flagged: bool `[N]`, the suspects.
      suggestion: int32 `[N]`, the given label where not flagged.
      order: int `[N]`, row numbers: suspects first, then by falling score.
      names: names of the options, or None for numbers.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    suggestion: np.ndarray
    order: np.ndarray
    names: tuple[str, ...] | None

    def name(self, number: int) -> str:
        """An option as text."""
        return str(number) if self.names is None else self.names[number]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CleaningReport(Report):
    """Labels that calibrated models contradict, the most suspect first.

    Attributes:
      models: the models, calibrated.
      num_rows: joined rows.
      num_flagged: suspects.
      num_top_bins: most accurate bins of each model that count, the paper's K.
      num_bins: bins of each model.
      suspects: all of them.
      expected_precision: share of suspects expected to be wrong; None without suspects
        and for one model, of which nothing but the labels says whether it is right.
      least_precision: the lower end of its interval.
      most_precision: the upper end.
      num_to_audit: how many suspects a person should look at, chosen at random, to
        know their precision; None without suspects.
      audit_target: the precision that such an audit would show.
      audit_num_wrong: how many of them must be wrong to show it; None without suspects.
      ranking: `Ranking` of all labels; None if only the suspects are known.
    """

    command: ClassVar[str] = "clean"
    title: ClassVar[str] = "Suspect labels"

    models: tuple[Model, ...]
    num_rows: int
    num_flagged: int
    num_top_bins: int
    num_bins: int = DEFAULT_NUM_BINS
    suspects: tuple[Suspect, ...]
    expected_precision: float | None
    least_precision: float | None
    most_precision: float | None
    num_to_audit: int | None
    audit_target: float
    audit_num_wrong: int | None = None
    ranking: Ranking | None = dataclasses.field(default=None, metadata={"plain": False})

    def headline(self) -> dict[str, Any]:
        return {
            "num_rows": self.num_rows,
            "num_flagged": self.num_flagged,
            "num_models": len(self.models),
            "num_top_bins": self.num_top_bins,
            "expected_precision": self.expected_precision,
            "num_to_audit": self.num_to_audit,
        }

    def sentences(self) -> tuple[str, ...]:
        number, several = len(self.models), len(self.models) > 1
        who = {1: "the model", 2: "both models"}.get(number, f"all {number} models")
        verb = "contradict" if several else "contradicts"
        them = "it" if self.num_flagged == 1 else "them"
        sure = ", and each is" if several else " and is"
        its = "its" if several else "the"
        found = [
            f"{_count(self.num_flagged, 'label is', 'labels are')} suspect, of "
            f"{self.num_rows:,}: {who} {verb} {them}{sure} confident (in {its} "
            f"{self.num_top_bins} most accurate of {self.num_bins} bins).",
            "Each half of the rows was judged by calibrators and bins fitted on the "
            "other half.",
            "Calibration is measured against the given labels, not the truth. Wrong "
            "labels make models look overconfident: they are usually right more often "
            "than their confidence here says, and the ECE against true labels would "
            "differ.",
        ]
        for model in self.models:
            found += model.remarks
        if self.num_flagged:
            found += [self._expected(), self._planned()]
        return tuple(found)

    def _expected(self) -> str:
        share, lower, upper = (
            self.expected_precision,
            self.least_precision,
            self.most_precision,
        )
        if share is None or lower is None or upper is None:
            return (
                "How many of them are wrong cannot be estimated: one model, calibrated "
                "to the given labels, counts wrong labels as its own mistakes. A "
                "second model or an audit can tell."
            )
        about = f"About {share:.0%}" if share < 0.995 else "Nearly all"
        least, most = math.floor(100 * lower), math.ceil(100 * upper)
        return (
            f"{about} of them are expected to be wrong, and between {least}% and "
            f"{most}% at a confidence level of {phrases.level(self.confidence_level)}. "
            "A mistake that all models make looks like a wrong label; how often models "
            "share mistakes is known from other data only, so the range is wide until "
            "people look."
        )

    def _planned(self) -> str:
        if self.num_to_audit == self.num_flagged:
            return f"Check {'all of them' if self.num_flagged > 1 else 'it'}."
        return (
            f"Check {self.num_to_audit:,} of them, drawn at random: if "
            f"{self.audit_num_wrong:,} or more are wrong, at least "
            f"{self.audit_target:.0%} of all suspects are, at a confidence level of "
            f"{phrases.level(self.confidence_level)}."
        )

    def next_steps(self, folder: Path | None = None) -> tuple[str, ...]:
        more = "; ".join(
            f"--top-bins {number} flags {what}"
            for number, what in (
                (min(self.num_top_bins + 2, self.num_bins), "more labels"),
                (max(self.num_top_bins - 2, 1), "fewer, with higher precision"),
            )
            if number != self.num_top_bins
        )
        if not self.num_flagged:
            return (f"{more}.",)
        return (
            f"Open {place(folder, SHEET)}, which has the suspects in random order, and "
            f"fill in its last column for the first {self.num_to_audit:,} lines: "
            "wrong, both, right or cannot tell.",
            "In Python: sheet = calib_jax.io.read_review_sheet("
            f"{in_python(folder, SHEET)}), then "
            "calib_jax.cleaning.audit_bounds(sheet.counts, sheet.counts.sum(), "
            f"num_flagged={self.num_flagged}) bounds the share of each answer, wrong "
            "ones first.",
            f"Correct labels from {place(folder, SUSPECTS)}, whose column `suggestion` "
            "holds the most confident other answer, or leave these rows out.",
            f"If most were wrong, run it again: {more}.",
        )

    def figures(self, prefix: str) -> Mapping[str, Drawing]:
        found = {}
        for number, model in enumerate(self.models[:_MOST_DRAWN], 1):
            name = f"model-{number}"
            found[name] = figures.reliability(
                model, self.confidence_level, f"{prefix}{name}"
            )
        return found

    def files(self) -> Mapping[str, Writer]:
        found: dict[str, Writer] = {SUSPECTS: self._write_suspects}
        if self.ranking is not None:
            found[SHEET] = functools.partial(_write_sheet, self, self.ranking)
        return found

    def _write_suspects(self, path: Path) -> None:
        header = ["rank", "id", "given", "suggestion", "score"]
        for number in range(1, len(self.models) + 1):
            header += [f"answer_{number}", f"confidence_{number}"]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for one in self.suspects:
                texts = map(cells.text, (one.id, one.given, one.suggestion))
                line = [one.rank, *texts, f"{one.score:.4f}"]
                for answer in one.answers:
                    line += [cells.text(answer.option), f"{answer.confidence:.4f}"]
                writer.writerow(line)


def _write_sheet(report: CleaningReport, ranking: Ranking, path: Path) -> None:
    names = ranking.names and [*map(cells.unicode, ranking.names)]
    rows = audits.sample_audit(
        jax.random.key(report.seed), ranking.flagged, max(report.num_flagged, 1)
    )
    review_sheets.write_review_sheet(
        path,
        np.asarray(rows),
        ranking.labels,
        ranking.predictions,
        ranking.confidences,
        class_names=names,
        ids=[*map(cells.unicode, ranking.ids)],
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def cleaning_report(
    *outputs: Outputs,
    num_top_bins: int | None = None,
    confidence_level: float = 0.95,
    seed: int = 0,
    method: Method | None = None,
) -> CleaningReport:
    """Labels that every model contradicts with high confidence, the most suspect first.

    All labels may be wrong, so that no trusted rows are needed: each random half is
    judged by calibrators and bins that were fitted on the other one (Method 2 of the
    paper, cross-fitted).

    Args:
      *outputs: of one model or more, with predictions and labels, from
        `calib_jax.io.read_outputs`; joined by `calib_jax.io.join`.
      num_top_bins: the paper's K, from 1 to 15: how many of each model's bins, the most
        accurate first, count as confident. More flag more labels, of which fewer are
        wrong. By default 10.
      confidence_level: of the intervals and of the audit, in `(0, 1)`.
      seed: of the halves, and of the order of the review sheet.
      method: the calibrator; by default one that suits the kind of outputs.

    Returns:
      `CleaningReport`.

    Raises:
      ValueError: if outputs have no labels or do not say which option a model chose, if
        they cannot be joined, if two are those of one model, if fewer than 40 rows are
        left, or if all answers of a half agree with the labels.

    References:
      Hao et al. 2026, arXiv 2601.07965, Algorithm 2, method 2.

    Examples:
      >>> import pathlib, tempfile
      >>> import calib_jax as cj
      >>> rng = np.random.default_rng(0)
      >>> sure = rng.uniform(0.5, 1, 400)
      >>> truth = rng.integers(0, 2, 400)
      >>> answer = np.where(rng.random(400) < sure, truth, 1 - truth)
      >>> given = np.where(np.arange(400) % 20 == 0, 1 - truth, truth)
      >>> yes = np.where(answer == 1, sure, 1 - sure)
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "outputs.npz"
      >>> np.savez(path, probabilities=np.stack([1 - yes, yes], 1), labels=given)
      >>> report = cleaning_report(cj.io.read_outputs(path), num_top_bins=2)
      >>> print([suspect.id for suspect in report.suspects])
      ['220', '180']
    """
    top = DEFAULT_TOP_BINS if num_top_bins is None else num_top_bins
    if not 1 <= top <= DEFAULT_NUM_BINS:
        raise ValueError(
            f"num_top_bins: expected a number from 1 to {DEFAULT_NUM_BINS}, got {top}."
        )
    joined = agreed.answers(join(*outputs) if len(outputs) > 1 else outputs)
    parts = models.halves(len(joined.ids), seed)
    how = _How(top, method, seed, confidence_level)
    first, second = (_of_half(joined, *one, how) for one in (parts, parts[::-1]))
    found = _put_together(joined, first, second)
    expected = precision.expected(
        found.confidences,
        joined.predictions == joined.labels,
        found.flagged,
        confidence_level,
    )
    suspects = _suspects(found)
    some = len(suspects) > 0
    plan, target = precision.plan(expected, len(suspects), confidence_level)
    fitted = _judged(joined, first, second, parts, how)
    return CleaningReport(
        sources=tuple(model.source for model in fitted),
        seed=seed,
        confidence_level=confidence_level,
        models=fitted,
        num_rows=len(found.ids),
        num_flagged=len(suspects),
        num_top_bins=top,
        suspects=suspects,
        expected_precision=None if expected is None else expected.precision,
        least_precision=None if expected is None else expected.lower,
        most_precision=None if expected is None else expected.upper,
        num_to_audit=plan.num_audited if some else None,
        audit_target=target,
        audit_num_wrong=plan.num_wrong if some else None,
        ranking=found,
    )


class _How(NamedTuple):
    num_top_bins: int
    method: Method | None
    seed: int
    confidence_level: float


class _Half(NamedTuple):
    """What is known of the rows that were judged, and nothing of the others.

    Attributes:
      fits: of each model, on the other rows.
      confidences: float32 `[M, N]`.
      flagged: bool `[N]`, the suspects.
    """

    fits: tuple[Fitted, ...]
    confidences: np.ndarray
    flagged: np.ndarray


def _of_half(
    joined: Answers, fitted: np.ndarray, judged: np.ndarray, how: _How
) -> _Half:
    """Calibrates and cuts bins on one half, and flags the other."""
    fits = tuple(models.fit_half(one, fitted, how.method) for one in joined.outputs)
    confidences = np.stack([fit.confidence for fit in fits])
    right = joined.predictions == joined.labels
    cut = experts.fit_expert_bins(confidences[:, fitted], right[:, fitted])
    flagged = np.zeros(len(joined.ids), bool)
    flagged[judged] = experts.high_confidence_disagreement(
        cut,
        joined.predictions[:, judged],
        confidences[:, judged],
        joined.labels[judged],
        how.num_top_bins,
    )
    rest = np.setdiff1d(np.arange(len(joined.ids)), judged)
    confidences[:, rest] = 0
    return _Half(fits, confidences, flagged)


def _judged(
    joined: Answers,
    first: _Half,
    second: _Half,
    parts: tuple[np.ndarray, np.ndarray],
    how: _How,
) -> tuple[Model, ...]:
    """The models as fitted on the first half, with the worse status of both halves."""
    found = []
    for number, one in enumerate(joined.outputs):
        model = models.judge(
            first.fits[number],
            one,
            "outputs" if len(joined.outputs) == 1 else f"model {number + 1}",
            *parts,
            seed=how.seed,
            confidence_level=how.confidence_level,
        )
        status = statuses.worst(model.status, second.fits[number].status)
        found.append(dataclasses.replace(model, status=status))
    return tuple(found)


def _put_together(joined: Answers, first: _Half, second: _Half) -> Ranking:
    confidences = first.confidences + second.confidences
    flagged = first.flagged | second.flagged
    rows = joined.predictions, confidences, joined.labels
    score = np.asarray(label_issues.label_issue_score(*rows))
    return Ranking(
        ids=joined.ids,
        labels=joined.labels,
        predictions=joined.predictions,
        confidences=confidences,
        score=score,
        flagged=flagged,
        suggestion=np.asarray(repairs.suggest_labels(*rows, flagged)),
        order=np.lexsort((-score, ~flagged)),
        names=joined.names,
    )


def _suspects(found: Ranking) -> tuple[Suspect, ...]:
    def suspect(rank: int, row: int) -> Suspect:
        answers = zip(found.predictions[:, row], found.confidences[:, row], strict=True)
        return Suspect(
            rank=rank,
            id=found.ids[row],
            given=found.name(found.labels[row]),
            suggestion=found.name(found.suggestion[row]),
            score=float(found.score[row]),
            answers=tuple(
                Answer(option=found.name(option), confidence=float(confidence))
                for option, confidence in answers
            ),
        )

    rows = found.order[: np.sum(found.flagged)].tolist()
    return tuple(suspect(rank, row) for rank, row in enumerate(rows, start=1))
