"""Results on further language models, by two kinds of score.

The score of an answer is the softmax maximum over the options, as in most of the other
outputs, or the raw maximal logit, as in the paper. Sections 1 to 3 are evaluated as
they are, on pairs that a rule makes.

Shapes: S splits, M models, P pairs, N examples, G groups of experts.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from benchmarks.kit import flags, halves, outputs
from benchmarks.kit.halves import Halves
from benchmarks.kit.outputs import Outputs, Pair

from . import calibration, cascade_numbers, flag_counts, large_pair_numbers
from .flag_counts import Counts
from .study import Advance, Study

SOFTMAX, LOGIT = "softmax", "raw logit"

# Small and large: their accuracies are so far apart. Two large models: both are at
# least as accurate as the median model, and not further apart than this.
LEAST_GAP, MOST_GAP = 0.02, 0.05

# So many of the most confident flags are looked at; None is half of them.
LENGTHS = (None, 50, 25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Labels that all experts of a group contradict, against verdicts of people.

    Attributes:
      experts: names of each group.
      all: `Counts` `[G]`, the labels that all experts contradict (Method 1).
      stated: `Counts` `[G, len(LENGTHS)]`, the judged ones for which the least
        confidence over the experts, as they state it, is highest.
      calibrated: the same by the least calibrated confidence.
    """

    experts: tuple[tuple[str, ...], ...]
    all: Counts
    stated: Counts
    calibrated: Counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """One task by one kind of score.

    Attributes:
      tied: float64 `[M]`, share of the answers with the most frequent score.
      filled: int `[M]`, bins that are not empty on the first calibration half.
      small_large: P pairs of models.
      families: which of these pairs are the smallest and the largest of a family.
      calibration: as in section 1.
      cascades: as in section 2, or None without pairs.
      large_pairs: as in section 3, or None without such pairs.
      cleaning: `Cleaning`, or None if nobody judged the labels.
    """

    tied: np.ndarray
    filled: np.ndarray
    small_large: tuple[Pair, ...]
    families: tuple[int, ...]
    calibration: calibration.TaskNumbers
    cascades: cascade_numbers.TaskNumbers | None
    large_pairs: large_pair_numbers.TaskNumbers | None
    cleaning: Cleaning | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskNumbers:
    """One task.

    Attributes:
      title: to print.
      num_examples: N.
      num_left_out: examples left out because a raw logit is missing.
      scores: `Scored` by kind of score.
    """

    title: str
    num_examples: int
    num_left_out: int
    scores: Mapping[str, Scored]


Numbers = Mapping[str, TaskNumbers]


def names(study: Study, *, missing: bool = False) -> list[str]:
    """The tasks in question whose files are there, or those whose files are not."""
    described = outputs.descriptions(without_pairs=True)
    return [
        name
        for name, task in described.items()
        if task.get("further") and outputs.present(study.folder, task) != missing
    ]


def num_steps(study: Study) -> int:
    return 3 * len(names(study))


def evaluate(study: Study, advance: Advance) -> Numbers:
    """Calibrates, routes and cleans by each kind of score."""
    return {name: _evaluate_task(study, name, advance) for name in names(study)}


def _evaluate_task(study: Study, name: str, advance: Advance) -> TaskNumbers:
    task = outputs.read(study.folder, name)
    by_score = _by_score(task)
    settings = study.settings
    splits = {
        score: halves.split(one, settings.seed, settings.num_halves)
        for score, one in by_score.items()
    }
    small_large = dataclasses.replace(study, tasks=by_score, halves=splits)
    calibrated = calibration.evaluate(small_large, lambda _: None)
    advance(f"{task.title}, calibration")
    routed = cascade_numbers.evaluate(small_large, lambda _: None)
    advance(f"{task.title}, cascades")
    # Without the other pairs, to which these would be padded.
    alone = {
        score: dataclasses.replace(one, small_large=())
        for score, one in by_score.items()
    }
    large_large = dataclasses.replace(small_large, tasks=alone)
    together = large_pair_numbers.evaluate(large_large, lambda _: None)
    families = outputs.descriptions(without_pairs=True)[name].get("families", ())
    titles = outputs.descriptions(without_pairs=True)[name]["models"]
    scores = {
        score: Scored(
            tied=np.array([_most_frequent(row) for row in one.score]),
            filled=np.sum(
                calibrated[score].before["calibration"].table.count > 0, axis=-1
            ),
            small_large=one.small_large,
            families=tuple(
                p
                for p, pair in enumerate(one.small_large)
                if [one.models[m] for m in pair]
                in [[titles[key] for key in family] for family in families]
            ),
            calibration=calibrated[score],
            cascades=routed.get(score),
            large_pairs=together.get(score),
            cleaning=_clean(one, splits[score]),
        )
        for score, one in by_score.items()
    }
    advance(f"{task.title}, large pairs")
    num_examples = by_score[SOFTMAX].num_examples
    return TaskNumbers(
        title=task.title,
        num_examples=num_examples,
        num_left_out=task.num_examples - num_examples,
        scores=scores,
    )


def _by_score(task: Outputs) -> dict[str, Outputs]:
    """The task by each kind of score, on the same examples and by the same pairs."""
    task = _pair(task)
    if task.max_logit is None:
        return {SOFTMAX: task}
    known = np.isfinite(task.max_logit)
    # A model that never gives logits has only the other score.
    has_logits = known.any(axis=1)
    rows = np.flatnonzero(known[has_logits].all(axis=0))
    softmax = _take(task, np.arange(len(task.models)), rows)
    raw = _take(task, np.flatnonzero(has_logits), rows)
    logit = task.max_logit[np.ix_(has_logits, rows)]
    # The same line for all models: in [0, 1], with the differences in the same order.
    stated = (logit - logit.min()) / (logit.max() - logit.min())
    raw = dataclasses.replace(raw, confidence=stated, score=logit)
    return {SOFTMAX: softmax, LOGIT: raw}


def _pair(task: Outputs) -> Outputs:
    """Pairs of models by their accuracy on all examples, the less accurate one first.

    Pairs of two large models that the task already has stay.
    """
    accuracy = task.correct.mean(axis=1)
    order = np.argsort(accuracy, kind="stable").tolist()
    pairs = [(i, j) for k, i in enumerate(order) for j in order[k + 1 :]]

    def gap(pair: Pair) -> float:
        return float(accuracy[pair[1]] - accuracy[pair[0]])

    # The last bits of the means do not decide.
    strong = accuracy >= np.median(accuracy) - 1e-9
    large = tuple(
        pair for pair in pairs if gap(pair) <= MOST_GAP and strong[list(pair)].all()
    )
    return dataclasses.replace(
        task,
        small_large=tuple(pair for pair in pairs if gap(pair) >= LEAST_GAP),
        large_large=task.large_large or large,
    )


def _take(task: Outputs, models: np.ndarray, rows: np.ndarray) -> Outputs:
    """Some models and examples of a task without predictions."""
    place = {int(model): new for new, model in enumerate(models)}

    def groups(old: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        """Those of which all models are there, by their new places."""
        return tuple(
            tuple(place[model] for model in group)
            for group in old
            if set(group) <= set(place)
        )

    judged = {
        name: None if values is None else values[rows]
        for name, values in (
            ("is_error", task.is_error),
            ("is_judged", task.is_judged),
        )
    }
    return dataclasses.replace(
        task,
        models=tuple(task.models[model] for model in models),
        confidence=task.confidence[np.ix_(models, rows)],
        score=task.score[np.ix_(models, rows)],
        correct=task.correct[np.ix_(models, rows)],
        max_logit=None,
        small_large=groups(task.small_large),
        large_large=groups(task.large_large),
        experts=groups(task.experts),
        **judged,
    )


def _most_frequent(values: np.ndarray) -> float:
    """Share of the values that are equal to the most frequent one."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def _clean(task: Outputs, splits: Halves) -> Cleaning | None:
    """Judges the labels that all experts of a group contradict."""
    if task.is_error is None or task.is_judged is None or not task.experts:
        return None
    judged, error = task.is_judged, task.is_error
    calibrated = flags.cross_fit(task, splits).confidence
    contradicted = np.stack(
        [~task.correct[list(group)].any(axis=0) for group in task.experts]
    )

    def count(flagged: np.ndarray) -> Counts:
        return flag_counts.count_wrong(flagged, is_judged=judged, is_error=error)

    def surest(confidence: np.ndarray) -> Counts:
        found = np.zeros((len(task.experts), len(LENGTHS), task.num_examples), bool)
        for g, group in enumerate(task.experts):
            rows = np.flatnonzero(contradicted[g] & judged)
            least = confidence[list(group)].min(axis=0)[rows]
            # Where confidences tie, the order of the file decides.
            rows = rows[np.argsort(-least, kind="stable")]
            for k, length in enumerate(LENGTHS):
                found[g, k, rows[: length or len(rows) // 2]] = True
        return count(found)

    return Cleaning(
        experts=tuple(
            tuple(task.models[model] for model in group) for group in task.experts
        ),
        all=count(contradicted),
        stated=surest(task.confidence),
        calibrated=surest(calibrated),
    )
