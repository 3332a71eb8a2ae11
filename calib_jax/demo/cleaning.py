"""Clean: look for wrong labels of the test half by three methods.

Shapes: N examples in a half, M models.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

import calib_jax as cj

from .calibration import CALIBRATION, TEST, CalibratedModel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags of one method, and how good they are.

    Attributes:
      flagged: bool `[N]`.
      suggestion: int32 `[N]`; the given label where not flagged.
      flagged_share: share of labels that are flagged.
      precision: share of flagged labels that are wrong; NaN if none is flagged.
      recall: share of wrong labels that are flagged.
      suggestions_correct: share of flagged labels whose suggestion is right; NaN if
        none is flagged.
      repaired_accuracy: share of labels that are right after suggestions replace the
        flagged ones.
    """

    flagged: jax.Array
    suggestion: jax.Array
    flagged_share: jax.Array
    precision: jax.Array
    recall: jax.Array
    suggestions_correct: jax.Array
    repaired_accuracy: jax.Array


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """Wrong labels of the test half, and how well they are found.

    Attributes:
      labels: int32 `[N]`, test labels, some of them wrong.
      is_error: bool `[N]`, whether a label is wrong.
      top1: Method 1, all models contradict the label.
      high_confidence: Method 2 for each K, the number of most accurate bins that count.
      confident_learning: Method 3, on the large model's probabilities.
      curves: labels ranked by calibrated and by uncalibrated confidence.
    """

    labels: jax.Array
    is_error: jax.Array
    top1: Flags
    high_confidence: Mapping[int, Flags]
    confident_learning: Flags
    curves: Mapping[str, cj.CleaningCurve]


def clean(
    experts: Sequence[CalibratedModel],
    large: CalibratedModel,
    labels: jax.Array,
    true_labels: jax.Array,
    num_bins: int,
) -> Cleaning:
    """Looks for wrong test labels with all three methods.

    Args:
      experts: the models that vote; their bins come from the calibration half.
      large: the model of Method 3.
      labels: int32 `[N]`, test labels, some of them wrong.
      true_labels: int32 `[N]`, to judge by.
      num_bins: number of bins of each expert.
    """
    is_error = labels != true_labels
    confidences = _stack(expert.after[TEST].confidence for expert in experts)
    uncalibrated = _stack(expert.before[TEST].confidence for expert in experts)
    predictions = _stack(expert.after[TEST].prediction for expert in experts)
    expert_bins = cj.fit_expert_bins(
        _stack(expert.after[CALIBRATION].confidence for expert in experts),
        _stack(expert.after[CALIBRATION].correct for expert in experts),
        num_bins=num_bins,
    )

    def judge_votes(flagged: jax.Array) -> Flags:
        suggestion = cj.suggest_labels(predictions, confidences, labels, flagged)
        return judge(flagged, suggestion, labels, true_labels)

    issues = cj.confident_learning(
        cj.calibrate(large.temperature, large.logits[TEST]), labels
    )
    return Cleaning(
        labels=labels,
        is_error=is_error,
        top1=judge_votes(cj.top1_disagreement(predictions, labels)),
        high_confidence={
            num_top_bins: judge_votes(
                cj.high_confidence_disagreement(
                    expert_bins, predictions, confidences, labels, num_top_bins
                )
            )
            for num_top_bins in range(1, num_bins + 1)
        },
        confident_learning=judge(
            issues.flagged, issues.suggestion, labels, true_labels
        ),
        curves={
            "ranked, calibrated": cj.cleaning_curve(
                cj.cleaning.label_issue_score(predictions, confidences, labels),
                is_error,
            ),
            "ranked, uncalibrated": cj.cleaning_curve(
                cj.cleaning.label_issue_score(predictions, uncalibrated, labels),
                is_error,
            ),
        },
    )


@jax.jit
def judge(
    flagged: jax.Array, suggestion: jax.Array, labels: jax.Array, truth: jax.Array
) -> Flags:
    """Compares flags and suggestions with the true labels."""
    is_error = labels != truth
    num_flagged, num_errors = jnp.sum(flagged), jnp.sum(is_error)
    num_found = jnp.sum(flagged & is_error)
    repaired = cj.repair_labels(labels, flagged, suggestion)
    return Flags(
        flagged=flagged,
        suggestion=suggestion,
        flagged_share=jnp.mean(flagged),
        precision=num_found / num_flagged,
        recall=num_found / num_errors,
        suggestions_correct=jnp.sum(flagged & (suggestion == truth)) / num_flagged,
        repaired_accuracy=jnp.mean(repaired == truth),
    )


def _stack(arrays: Iterable[jax.Array]) -> jax.Array:
    return jnp.stack(list(arrays))
