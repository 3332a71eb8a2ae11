"""Scores that rank labels: higher is more suspect.

Shapes: M models, N examples, C classes.
"""

from collections.abc import Mapping

import numpy as np
from cleanlab import filter as peer_filter
from cleanlab import rank as peer_rank
from scipy import special

import calib_jax as cj
from benchmarks.kit import halves
from benchmarks.kit.outputs import Outputs

from .ranking_cases import Case

POOL = "pool"
BEST = "label, best model"
MEAN = "label, mean (cleanlab)"
PRODUCT = "label, product"
LEAST = "least confidence against (paper)"
TIMES = "product of confidences against"
SIGNED = "mean confidence against"
MARGIN = "committee margin"
# What cleanlab makes of the mean probabilities.
PEER_SCORES = {
    "cleanlab, margin": "normalized_margin",
    "cleanlab, entropy": "confidence_weighted_entropy",
}
PEER_FILTER = "prune_by_noise_rate"
_TINY = 1e-30


def calibrated(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Cross-fitted confidences `[M, N]`, and probabilities `[M, N, C]` or None.

    Each half is calibrated by fits to the given labels of the other one.
    """
    task = case.outputs
    first, second = halves.random_rows(seed, task.num_examples, 1)
    confidence, parameter, _ = halves.fit(task, np.concatenate([first, second]))
    in_first = np.zeros(task.num_examples, bool)
    in_first[first[0]] = True
    own = np.where(in_first, confidence[1], confidence[0])
    if task.logits is None:
        return own, None
    scale = np.where(in_first, parameter[1][:, None], parameter[0][:, None])
    return own, special.softmax(task.logits / scale[:, :, None], axis=2)


def raw(task: Outputs) -> tuple[np.ndarray, np.ndarray | None]:
    """As `calibrated`, of the models as they are."""
    if task.logits is None:
        return task.confidence, None
    return task.confidence, special.softmax(task.logits, axis=2)


def every(
    case: Case, confidence: np.ndarray, probabilities: np.ndarray | None
) -> Mapping[str, np.ndarray]:
    """Scores `[N]` by name.

    Where only answers are known, the rest of the probability is shared by the other
    options; where only right or wrong, wrong answers count as one other option.
    """
    task = case.outputs
    against = ~task.correct
    given = np.where(against, (1 - confidence) / (case.num_options - 1), confidence)
    if probabilities is not None:
        given = probabilities[:, np.arange(task.num_examples), task.label]
    given = np.maximum(given, _TINY)
    signed = np.where(against, confidence, -confidence)
    least = signed.min(axis=0)
    times = np.log(np.maximum(confidence, _TINY)).sum(axis=0)
    best = task.correct.mean(axis=1).argmax()
    found = {
        BEST: -np.log(given[best]),
        MEAN: 1 - given.mean(axis=0),
        PRODUCT: -np.log(given).sum(axis=0),
        LEAST: least,
        # Labels that some model expects come after those that none does.
        TIMES: np.where(against.all(axis=0), times, -1e6 + least),
        SIGNED: signed.mean(axis=0),
        MARGIN: _margin(task, confidence),
    }
    if probabilities is not None:
        mean = probabilities.mean(axis=0)
        mean = np.float64(mean / mean.sum(axis=1, keepdims=True))
        found |= {
            name: 1
            - peer_rank.get_label_quality_scores(task.label, mean, method=method)
            for name, method in PEER_SCORES.items()
        }
    return found


def _margin(task: Outputs, confidence: np.ndarray) -> np.ndarray:
    """The votes for the strongest other answer less those for the label, as shares."""
    answer = np.where(task.correct, 0, 1)
    label = np.zeros(task.num_examples, int)
    if task.prediction is not None:
        answer, label = task.prediction, task.label
    votes = np.zeros(task.num_examples)
    for model in answer:
        own = (confidence * (answer == model)).sum(axis=0)
        votes = np.maximum(votes, np.where(model == label, 0.0, own))
    kept = (confidence * (answer == label)).sum(axis=0)
    return (votes - kept) / confidence.sum(axis=0)


def ranked(case: Case, probabilities: np.ndarray) -> cj.cleaning.RankedLabels:
    """The labels as `find_label_issues` ranks them."""
    return cj.cleaning.find_label_issues(np.float32(probabilities), case.outputs.label)


def places(order: np.ndarray) -> np.ndarray:
    """A score `[N]` that ranks labels in this order."""
    found = np.empty(len(order))
    found[order] = -np.arange(len(order))
    return found


def equal_pool(case: Case, probabilities: np.ndarray) -> np.ndarray:
    """The pool before calibration: equal weights that add up to 1."""
    logs = np.log(np.maximum(probabilities, _TINY)).mean(axis=0)
    rows = np.arange(case.outputs.num_examples)
    return -special.log_softmax(logs, axis=1)[rows, case.outputs.label]


def method_1(case: Case) -> np.ndarray:
    """Flags `[N]`: all models contradict the label."""
    return (~case.outputs.correct).all(axis=0)


def method_2(case: Case, confidence: np.ndarray, num_top_bins: int) -> np.ndarray:
    """Flags `[N]` among those, by bins that the even and the odd rows cut in turn."""
    task = case.outputs
    answer = np.where(task.correct, 0, 1).astype(np.int32)
    label = np.zeros(task.num_examples, np.int32)
    even = np.arange(task.num_examples) % 2 == 0
    flagged = np.zeros(task.num_examples, bool)
    for judged in (even, ~even):
        bins = cj.fit_expert_bins(confidence, task.correct, where=~judged)
        found = cj.high_confidence_disagreement(
            bins, answer, confidence, label, num_top_bins
        )
        flagged[judged] = np.asarray(found)[judged]
    return flagged


def peer_flags(case: Case, probabilities: np.ndarray) -> np.ndarray:
    """Flags `[N]` of cleanlab's default filter, from the mean probabilities."""
    mean = np.float64(probabilities).mean(axis=0)
    return peer_filter.find_label_issues(
        case.outputs.label, mean, filter_by=PEER_FILTER, n_jobs=1
    )
