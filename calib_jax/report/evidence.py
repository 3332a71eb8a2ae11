"""What new rows say of a cascade: its inputs, its small model, and what it loses.

Shapes: N new rows, `num_bins` bins of the router.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import numpy as np

from ..binning import bins
from ..cascade import arbiters, risk_control
from ..io.cascade_records import CascadeRecord
from ..monitoring import drift as drifts
from ..stats import bounds, tails
from . import applying, points
from .points import JudgedRows

# Draws for each false alarm that is allowed.
_DRAWS_EACH, _LEAST_DRAWS, MOST_DRAWS = 10, 1000, 100_000


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Drift:
    """How the small model's confidences fall into the router's bins, then and now.

    Attributes:
      reference_count: int32 `[num_bins]`, rows that K was chosen on.
      count: int32 `[num_bins]`, new rows.
      stability_index: population stability index (PSI), at least 0.
      null_index: its mean without drift for these numbers of rows.
      p_value: probability of this index or more without drift.
    """

    reference_count: np.ndarray
    count: np.ndarray
    stability_index: float
    null_index: float
    p_value: float


class Before(NamedTuple):
    """What a cascade did when it was made.

    Attributes:
      share: of the rows that K was chosen on, those kept small.
      num_kept: rows kept small of those that the router was fitted on. K was chosen
        where the small model happened to do well, so only these can be compared with.
      num_right: those of them whose answers were right.
      accuracy: their share, or None if the router was fitted without outcomes.
    """

    share: float
    num_kept: int
    num_right: float
    accuracy: float | None


class Loss(NamedTuple):
    """Accuracy lost on the new rows, as in `CheckReport`."""

    drop: float | None
    bound: float | None
    p_value: float | None


def before(record: CascadeRecord) -> Before | None:
    """What the record says of its own rows, or None if it has no reference."""
    if record.reference is None:
        return None
    kept = np.asarray(record.router.order)[: record.num_small_bins]
    chosen_on = np.asarray(record.reference.count, np.int64)
    share = int(chosen_on[kept].sum()) / max(int(chosen_on.sum()), 1)
    table = record.router.table
    if table.small_outcome is None:
        return Before(share, 0, 0.0, None)
    count = np.asarray(table.count, np.int64)
    outcome = np.asarray(table.small_outcome, np.float64)
    num, right = int(count[kept].sum()), float((count * outcome)[kept].sum())
    return Before(share, num, right, right / num if num else None)


def limit(record: CascadeRecord) -> tuple[float, float] | None:
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


def drop_p_value(
    outcome: np.ndarray | None, kept: np.ndarray, earlier: Before | None
) -> float | None:
    """Probability that as few kept answers or fewer are right without a change."""
    if outcome is None or earlier is None or not earlier.num_kept or not kept.any():
        return None
    right = outcome[kept].astype(np.float64)
    num_right = round(earlier.num_right)
    # Means in bins are float32.
    whole = abs(earlier.num_right - num_right) <= 1e-6 * earlier.num_kept + 1e-3
    if not whole or np.any((right != 0) & (right != 1)):
        return None
    wrong_now, wrong_before = int(np.sum(1 - right)), earlier.num_kept - num_right
    return tails.hypergeometric_at_least(
        wrong_now,
        len(right),
        wrong_now + wrong_before,
        len(right) + earlier.num_kept,
    )


def drift(
    record: CascadeRecord, decided: applying.Decisions, share: float, seed: int
) -> Drift:
    """Whether inputs changed, where an alarm may be false in this share of checks.

    Only counts in bins are compared: those of a record may be any, and take no memory.
    """
    assert record.reference is not None
    earlier = np.asarray(record.reference.count)
    index = np.asarray(bins.bin_index(record.router.bins, decided.confidence))
    count = np.bincount(index, minlength=len(earlier)).astype(np.int32)
    draws = min(max(_LEAST_DRAWS, math.ceil(_DRAWS_EACH / share)), MOST_DRAWS)
    found = jax.device_get(
        drifts.stability_index(
            jax.random.key(seed), earlier, count, num_resamples=draws
        )
    )
    estimate, null, p_value = (points.short(one) for one in found)
    return Drift(
        reference_count=earlier,
        count=count,
        stability_index=estimate,
        null_index=null,
        p_value=p_value,
    )


def loss(
    record: CascadeRecord,
    decided: applying.Decisions,
    outcomes: list[np.ndarray | None],
    large_confidence: np.ndarray | None,
    promised: tuple[float, float] | None,
) -> Loss:
    """What the cascade loses, against the promise of `limit`.

    Args:
      record: of the cascade.
      decided: on the new rows of the small model.
      outcomes: of both models, or None.
      large_confidence: of the large model, calibrated; None without an arbiter.
      promised: from `limit`.
    """
    small, large = outcomes
    if small is None or large is None or decided.small is None:
        return Loss(None, None, None)
    both = decided.confidence, large_confidence
    rows = _rows(record, *both, small, large)
    lost = points.losses(rows, decided.small).astype(np.float64)
    drop = float(np.mean(lost))
    if promised is None:
        return Loss(drop, None, None)
    max_drop, level = promised
    chosen = risk_control.control_accuracy_drop(
        record.router, max_drop=max_drop, confidence_level=level, **rows._asdict()
    )
    bound = np.asarray(chosen.bound)[record.num_small_bins]
    # That the mean gain is at least -max_drop, by betting that it is less.
    p_value = bounds.betting_p_value(
        np.float32((1 - lost) / 2), np.float32((1 - max_drop) / 2)
    )
    return Loss(drop, float(str(bound)), float(p_value))


def _rows(
    record: CascadeRecord,
    small_confidence: np.ndarray,
    large_confidence: np.ndarray | None,
    small: np.ndarray,
    large: np.ndarray,
) -> JudgedRows:
    """Outcomes of both models, and those of the arbiter's answers if there is one."""
    binary = all(np.all((one == 0) | (one == 1)) for one in (small, large))
    small, large = (
        one.astype(bool if binary else np.float32) for one in (small, large)
    )
    conferred = None
    if record.arbiter is not None and large_confidence is not None:
        _, answer = arbiters.conferred(
            record.arbiter, True, (small_confidence, large_confidence), (small, large)
        )
        conferred = np.asarray(answer)
    return JudgedRows(small_confidence, small, large, conferred)
