"""The labels that each method flags on one task.

Models are calibrated on each half of the examples and judge the labels of the other
half, so that every label is judged once, by models not calibrated on it.

Shapes: G groups of experts, M models, N examples, C classes, B bins, F filters of
cleanlab.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cleanlab.filter import find_label_issues
from jax import lax

import calib_jax as cj

from . import halves as halves_
from .halves import Halves
from .outputs import Outputs

# The filters of cleanlab, with its default first.
FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contradictions:
    """Flags that need answers and confidences only.

    Attributes:
      method_1: bool `[G, N]`, every expert contradicts the label.
      agreed: bool `[G, N]`, and all predict the same other class.
      method_2: bool `[G, B + 1, N]`, and each does so from one of its K best bins, K
        from 0.
      ranking: `CleaningCurve` of arrays `[G, N]` over the judged labels: Method 1's
        flags by falling least confidence over the experts, then all other labels.
      table: `ReliabilityTable` of arrays `[G, B]`: share of wrong labels in bins of
        that confidence, among the judged flags of Method 1.
      rank_correlation: float32 `[G]`, of that table.
    """

    method_1: np.ndarray
    agreed: np.ndarray
    method_2: np.ndarray
    ranking: cj.CleaningCurve
    table: cj.ReliabilityTable
    rank_correlation: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfidentLearning:
    """Flags that need the probabilities of all classes.

    Attributes:
      method_3: bool `[G, N]`, flagged for every expert.
      method_3_alone: bool `[M, N]`.
      peer: bool `[F, G, N]`, cleanlab on the mean probabilities of the experts.
      peer_common: bool `[F, G, N]`, cleanlab on each, flagged for every expert.
      peer_alone: bool `[F, M, N]`.
    """

    method_3: np.ndarray
    method_3_alone: np.ndarray
    peer: np.ndarray
    peer_common: np.ndarray
    peer_alone: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossFit:
    """Models calibrated on each half.

    Attributes:
      in_first: bool `[N]`, rows of the first half.
      by_half: float32 `[2, M, N]`, confidence by the fits on the first and the second
        half.
      temperature: float32 `[2, M]`, temperature of these fits, or the slope of Platt
        scaling.
    """

    in_first: np.ndarray
    by_half: np.ndarray
    temperature: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """`[M, N]`, each row by the fit on the other half."""
        return np.where(self.in_first, self.by_half[1], self.by_half[0])


def cross_fit(outputs: Outputs, halves: Halves) -> CrossFit:
    """Calibrates on each half of the first split."""
    first, second = halves.calibration.rows[:1], halves.test.rows[:1]
    # If the number of rows is odd, the last one is not used to fit.
    rows = np.concatenate([first, second[:, : first.shape[1]]])
    by_half, temperature, _ = halves_.fit(outputs, rows)
    in_first = np.zeros(outputs.num_examples, bool)
    in_first[first[0]] = True
    return CrossFit(in_first=in_first, by_half=by_half, temperature=temperature)


def groups(outputs: Outputs) -> np.ndarray:
    """int32 `[G, L]`, each group padded with its last model.

    Repeating a model changes neither which labels all contradict nor the least
    confidence, and groups of one size share one computation.
    """
    size = max(map(len, outputs.experts))
    filled = [group + group[-1:] * (size - len(group)) for group in outputs.experts]
    return np.array(filled, np.int32)


def contradict(outputs: Outputs, fitted: CrossFit, num_bins: int) -> Contradictions:
    """Methods 1 and 2 of all groups.

    Args:
      outputs: those of a task with `is_error`, `is_judged` and `experts`.
      fitted: its models, calibrated.
      num_bins: bins of every expert, and of the table.
    """
    found = _contradict(
        fitted.by_half,
        fitted.confidence,
        outputs.prediction,
        outputs.label,
        fitted.in_first,
        groups(outputs),
        outputs.is_error,
        outputs.is_judged,
        num_bins=num_bins,
    )
    # In a program of its own: inside the other one rounding can make equal means
    # differ.
    correlation = _rank_correlations(found["table"])
    found = jax.tree.map(np.asarray, found | {"rank_correlation": correlation})
    return Contradictions(**found)


_rank_correlations = jax.jit(jax.vmap(cj.metrics.rank_correlation))


@functools.partial(jax.jit, static_argnames="num_bins")
def _contradict(
    by_half: jax.Array,
    confidence: jax.Array,
    prediction: jax.Array,
    label: jax.Array,
    in_first: jax.Array,
    groups: jax.Array,
    is_error: jax.Array,
    is_judged: jax.Array,
    *,
    num_bins: int,
) -> dict[str, Any]:
    """The fields of `Contradictions`, except the rank correlation."""
    correct = prediction == label[None]
    method_1 = jax.vmap(cj.top1_disagreement, (0, None))(prediction[groups], label)
    least = jnp.min(confidence[groups], axis=1)
    counted = method_1 & is_judged[None]

    def binned(confidence: jax.Array, outcome: jax.Array, where: jax.Array):
        return cj.fit_expert_bins(
            confidence[None], outcome[None], num_bins=num_bins, where=where
        )

    # The bins of the experts on each half and those of the flags share one computation,
    # since compiling it takes most of the time.
    halves = jnp.stack([in_first, ~in_first])
    num_models, num_examples = correct.shape
    shape = (2, num_models, num_examples)
    fits = jax.vmap(binned)(
        jnp.concatenate([by_half.reshape(-1, num_examples), least]),
        jnp.concatenate([correct, correct, jnp.broadcast_to(is_error, least.shape)]),
        jnp.concatenate(
            [jnp.broadcast_to(halves[:, None], shape).reshape(-1, num_examples)]
            + [counted]
        ),
    )
    experts = jax.tree.map(
        lambda array: array[: 2 * num_models].reshape(2, num_models, *array.shape[2:]),
        fits,
    )
    table = jax.tree.map(lambda array: array[2 * num_models :, 0], fits.table)

    def of_half(half: tuple[cj.ExpertBins, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Flags by the bins of one half: `[G, B + 1, N]` and `[G, N]`."""
        experts, confidence = half

        def of_group(group: jax.Array) -> tuple[jax.Array, jax.Array]:
            def flag(num_top_bins: int | jax.Array, consensus: bool = False):
                return cj.high_confidence_disagreement(
                    jax.tree.map(lambda array: array[group], experts),
                    prediction[group],
                    confidence[group],
                    label,
                    num_top_bins,
                    consensus=consensus,
                )

            each = jax.vmap(flag)(jnp.arange(num_bins + 1, dtype=jnp.int32))
            return each, flag(num_bins, consensus=True)

        return jax.vmap(of_group)(groups)

    # Rows of the first half are flagged by the fits on the second.
    method_2, agreed = (
        jnp.where(jnp.broadcast_to(in_first, flags[0].shape), flags[1], flags[0])
        for flags in lax.map(of_half, (experts, by_half))
    )
    # Labels that Method 1 does not flag come last.
    score = jnp.where(method_1, least, -jnp.inf)
    return {
        "method_1": method_1,
        "agreed": agreed,
        "method_2": method_2,
        "ranking": jax.vmap(
            lambda score: cj.cleaning_curve(score, is_error, where=is_judged)
        )(score),
        "table": table,
    }


def learn(
    outputs: Outputs, fitted: CrossFit, filters: tuple[str, ...]
) -> ConfidentLearning:
    """Method 3 and cleanlab, for all groups and for every model alone.

    Args:
      outputs: those of a task with `logits` and `experts`.
      fitted: its models, calibrated.
      filters: those of cleanlab.
    """
    alone, probabilities = map(
        np.asarray,
        _learn(outputs.logits, fitted.temperature, outputs.label, fitted.in_first),
    )
    means = [probabilities[list(group)].mean(axis=0) for group in outputs.experts]
    peer_alone = _by_peer(outputs.label, probabilities, filters)
    members = groups(outputs)
    return ConfidentLearning(
        method_3=alone[members].all(axis=1),
        method_3_alone=alone,
        peer=_by_peer(outputs.label, np.stack(means), filters),
        peer_common=peer_alone[:, members].all(axis=2),
        peer_alone=peer_alone,
    )


@jax.jit
def _learn(
    logits: jax.Array, temperature: jax.Array, label: jax.Array, in_first: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Flags `[M, N]`, and the calibrated probabilities `[M, N, C]`."""
    models = jax.vmap(cj.scaled_softmax)
    by_half = jax.vmap(models, (None, 0))(logits, temperature)
    probabilities = jnp.where(in_first[None, :, None], by_half[1], by_half[0])
    issues = jax.vmap(cj.confident_learning, (0, None))(probabilities, label)
    return issues.flagged, probabilities


def _by_peer(
    label: np.ndarray, probabilities: np.ndarray, filters: tuple[str, ...]
) -> np.ndarray:
    """Flags `[F, X, N]` of cleanlab from X matrices of probabilities `[X, N, C]`."""
    return np.stack(
        [
            [
                find_label_issues(label, matrix, filter_by=name, n_jobs=1)
                for matrix in probabilities.astype(np.float64)
            ]
            for name in filters
        ]
    )
