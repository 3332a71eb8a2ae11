"""Results of two experts together, from their logits, in one program.

Shapes: P pairs of experts, n images to calibrate on, as many to test on, B bins.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj

from . import routing
from .shift_measures import cell_weights


class Pair(NamedTuple):
    """Two experts on one repetition's images; `[P, ...]` for many pairs.

    Attributes:
      calibration: float32 `[2, n, 10]`, logits.
      calibration_labels: int32 `[n]`.
      test: float32 `[2, n, 10]`, logits.
      truth: int32 `[n]`, labels of the test part.
      given: int32 `[n]`, the same labels with some made wrong.
      is_habit: bool `[n]`, which of those are wrong by habit; the others are wrong at
        random.
    """

    calibration: np.ndarray
    calibration_labels: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    given: np.ndarray
    is_habit: np.ndarray


class Measured(NamedTuple):
    """Results of one or many pairs, float32. Shares and precisions are in `[0, 1]`.

    Attributes:
      accuracy: `[..., 2]`, of each expert on the test part.
      agreement: share of images for which both predict the same.
      joint_error: share of images on which both are wrong.
      lift: joint error over the product of both error rates, its value if they erred
        independently.
      flagged: share of labels flagged by Method 2.
      precision: share of the flagged labels that is wrong.
      recall: share of the labels wrong at random that is flagged.
      habit_recall: share of the labels wrong by habit that is flagged; NaN without any.
      matched_precision: share of wrong labels among the most suspect, as many as are
        wrong.
      gain: accuracy of the cascade minus that of the better expert.
      union_gain: accuracy if either were right, minus that of the better expert.
    """

    accuracy: np.ndarray
    agreement: np.ndarray
    joint_error: np.ndarray
    lift: np.ndarray
    flagged: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    habit_recall: np.ndarray
    matched_precision: np.ndarray
    gain: np.ndarray
    union_gain: np.ndarray


class _Counted(NamedTuple):
    """`Measured` for one pair, with the router and weights of its cascade.

    Attributes:
      either: share of images that either expert has right.
      router: `Router` from the first expert to the second.
      weights: float32 `[2, 4 B]`, cell weights on the calibration and the test part.
    """

    accuracy: jax.Array
    agreement: jax.Array
    joint_error: jax.Array
    lift: jax.Array
    flagged: jax.Array
    precision: jax.Array
    recall: jax.Array
    habit_recall: jax.Array
    matched_precision: jax.Array
    either: jax.Array
    router: cj.Router
    weights: jax.Array


def measure(pairs: Pair, *, num_bins: int, num_top_bins: int, share: float) -> Measured:
    """Measures many pairs.

    Args:
      pairs: arrays `[P, ...]`.
      num_bins: equal-count bins.
      num_top_bins: the K of Method 2.
      share: share of the labels that is counted as most suspect.

    Returns:
      `Measured` of NumPy arrays `[P, ...]`.
    """
    counted = jax.tree.map(
        np.asarray,
        _count(pairs, num_bins=num_bins, num_top_bins=num_top_bins, share=share),
    )
    both = jax.tree.map(lambda part: part[:, None], counted.router)
    read = routing.read(both, counted.weights)
    curve = read.curve
    # The most accurate K, and the better expert, on the calibration part.
    cascade = routing.at(curve.accuracy[:, 1], read.best[:, 0])
    first, second = curve.small_accuracy, curve.large_accuracy
    single = np.where(first[:, 0] >= second[:, 0], first[:, 1], second[:, 1])
    values = {name: getattr(counted, name) for name in Measured._fields[:-2]}
    return Measured(**values, gain=cascade - single, union_gain=counted.either - single)


@functools.partial(jax.jit, static_argnames=("num_bins", "num_top_bins", "share"))
def _count(pairs: Pair, **options: int | float) -> _Counted:
    return jax.vmap(functools.partial(_count_one, **options))(pairs)


def _count_one(
    pair: Pair, *, num_bins: int, num_top_bins: int, share: float
) -> _Counted:
    def calibrated(logits: jax.Array, other: jax.Array) -> tuple[cj.Top1, cj.Top1]:
        params, _ = cj.fit_temperature(logits, pair.calibration_labels)
        best = cj.top1(jnp.concatenate([logits, other]), params.temperature)
        size = len(logits)
        return tuple(
            jax.tree.map(lambda entry, part=part: entry[part], best)
            for part in (slice(size), slice(size, None))
        )

    before, after = jax.vmap(calibrated)(pair.calibration, pair.test)
    known = before.prediction == pair.calibration_labels[None]
    right = after.prediction == pair.truth[None]
    wrong = (~right).astype(jnp.float32)
    joint_error = jnp.mean(wrong[0] * wrong[1])

    experts = cj.fit_expert_bins(before.confidence, known, num_bins=num_bins)
    flagged = cj.high_confidence_disagreement(
        experts, after.prediction, after.confidence, pair.given, num_top_bins
    )
    is_error = pair.given != pair.truth
    ranked = cj.cleaning_curve(
        cj.cleaning.label_issue_score(after.prediction, after.confidence, pair.given),
        is_error,
    )
    row = max(round(share * len(pair.truth)), 1) - 1
    router = cj.fit_router(*before.confidence, num_bins=num_bins)

    all_rows = jnp.ones_like(is_error)

    def meets(confidence: jax.Array, correct: jax.Array) -> jax.Array:
        return cell_weights(router, confidence[0], *correct, all_rows)

    return _Counted(
        accuracy=1.0 - jnp.mean(wrong, axis=1),
        agreement=_share(after.prediction[0] == after.prediction[1]),
        joint_error=joint_error,
        lift=joint_error / jnp.prod(jnp.mean(wrong, axis=1)),
        flagged=_share(flagged),
        precision=_share(is_error, flagged),
        recall=_share(flagged, is_error & ~pair.is_habit),
        habit_recall=_share(flagged, is_error & pair.is_habit),
        matched_precision=ranked.precision[row],
        either=_share(right[0] | right[1]),
        router=router,
        weights=jnp.stack(
            [meets(before.confidence, known), meets(after.confidence, right)]
        ),
    )


def _share(which: jax.Array, of: jax.Array | None = None) -> jax.Array:
    """Share of rows; NaN if there are none."""
    if of is None:
        return jnp.mean(which, dtype=jnp.float32)
    return jnp.sum(which & of, dtype=jnp.float32) / jnp.sum(of, dtype=jnp.float32)
