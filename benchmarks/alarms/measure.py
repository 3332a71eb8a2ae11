"""One cascade on new inputs: alarms and estimates against the truth.

Shapes: C conditions, B batches in each, n new rows of a condition, R reference rows, a
few batch sizes. Rows are padded and masked, so that all share one program.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

import calib_jax as cj

# Batch sizes; the first two are also used as numbers of labels.
SIZES = (50, 200, 1000)
LABELLED = SIZES[:2]
LEVEL = 0.05
NUM_BINS = 15
_NUM_DRAWS = 199


class Rows(NamedTuple):
    """Calibrated confidences and outcomes of two models, `[..., n]` each."""

    small: jax.Array
    large: jax.Array
    small_right: jax.Array
    large_right: jax.Array
    where: jax.Array


class Judged(NamedTuple):
    """The results in one condition, means over batches unless stated otherwise.

    Attributes:
      accuracy: float32 scalar, accuracy of the cascade at K on all rows of the
        condition.
      small_accuracy: float32 scalar.
      large_accuracy: float32 scalar.
      recovered: float32 scalar, APGR.
      gap_error: float32 scalar, standard error of the gap between both models.
      kept: float32 scalar, share kept small.
      alarms: float32 `[3]`, share of batches of each size with an alarm.
      by_confidence: float32 `[3]`, estimated accuracy.
      by_bins: float32 `[3]`, the same.
      confidence_holds: float32 `[3]`, share of intervals that contain the accuracy.
      bins_hold: float32 `[3]`, the same.
      changed: float32 `[3]`, share of fully labelled batches whose outcomes at the same
        confidence have changed.
      miscalibrated: float32 `[3]`, share of them in which the small model's confidence
        is no longer calibrated, by the p-value of its ECE.
      stream_alarms: float32 scalar, share of streams of all rows with an alarm.
      stream_rows: float32 `[B]`, rows until the alarm; inf without one.
    """

    accuracy: jax.Array
    small_accuracy: jax.Array
    large_accuracy: jax.Array
    recovered: jax.Array
    gap_error: jax.Array
    kept: jax.Array
    alarms: jax.Array
    by_confidence: jax.Array
    by_bins: jax.Array
    confidence_holds: jax.Array
    bins_hold: jax.Array
    changed: jax.Array
    miscalibrated: jax.Array
    stream_alarms: jax.Array
    stream_rows: jax.Array


class _Batch(NamedTuple):
    """Results for one batch size."""

    alarm: jax.Array
    by_confidence: jax.Array
    by_bins: jax.Array
    confidence_holds: jax.Array
    bins_hold: jax.Array
    changed: jax.Array
    miscalibrated: jax.Array


@jax.jit
def platt(score: jax.Array, correct: jax.Array, where: jax.Array) -> cj.Platt:
    """Platt scaling of both models, `[2, n]` each."""
    fit = functools.partial(cj.fit_platt, where=where)
    return jax.vmap(lambda s, c: fit(s, c)[0])(score, correct)


@functools.partial(jax.jit, static_argnames="num_batches")
def judge(
    key: jax.Array,
    calibration: Rows,
    reference: Rows,
    new: Rows,
    *,
    num_batches: int,
) -> Judged:
    """Fits a router and K on calibration rows; judges `new`, entries `[C, n]`."""
    router = cj.fit_router(
        calibration.small,
        calibration.large,
        num_bins=NUM_BINS,
        where=calibration.where,
    )
    seen = _curve(router, calibration)
    # The K without loss, but at least one bin, so that there is a cascade to judge.
    chosen = cj.choose_num_small_bins(seen, min_accuracy=seen.large_accuracy)
    k = jnp.maximum(chosen.num_small_bins, 1)
    keys = jax.random.split(key, new.small.shape[0])

    def one(given: tuple[jax.Array, Rows]) -> Judged:
        return _judge_one(*given, router, k, reference, num_batches)

    return lax.map(one, (keys, new))


def _curve(router: cj.Router, rows: Rows) -> cj.CascadeCurve:
    return cj.cascade_curve(
        router, rows.small, rows.small_right, rows.large_right, where=rows.where
    )


def _judge_one(
    key: jax.Array,
    rows: Rows,
    router: cj.Router,
    k: jax.Array,
    reference: Rows,
    num_batches: int,
) -> Judged:
    curve = _curve(router, rows)
    gain = jnp.where(
        rows.where,
        rows.large_right.astype(jnp.float32) - rows.small_right.astype(jnp.float32),
        0.0,
    )
    num_rows = jnp.sum(rows.where, dtype=jnp.int32).astype(jnp.float32)
    variance = jnp.sum(gain**2) / num_rows - (jnp.sum(gain) / num_rows) ** 2
    accuracy = curve.accuracy[k]

    def of_batch(key: jax.Array) -> tuple[_Batch, jax.Array]:
        order, *rest = jax.random.split(key, 5)
        drawn = jax.random.uniform(order, rows.small.shape, jnp.float32)
        place = jnp.argsort(jnp.where(rows.where, drawn, 2.0))
        shuffled = jax.tree.map(lambda part: part[place], rows)
        batches = lax.map(
            lambda size: _batch(
                rest[0], shuffled, size, router, k, reference, accuracy
            ),
            jnp.asarray(SIZES, jnp.int32),
        )
        monitor = cj.monitoring.init_monitor(
            rest[1], reference.small, confidence_level=1 - LEVEL, where=reference.where
        )
        monitor = cj.monitoring.update_monitor(
            rest[2], monitor, shuffled.small, where=shuffled.where
        )
        return batches, cj.monitoring.read_monitor(monitor).alarm_row

    batches, alarm_row = lax.map(of_batch, jax.random.split(key, num_batches))
    means = jax.tree.map(
        lambda part: jnp.mean(part.astype(jnp.float32), axis=0), batches
    )
    return Judged(
        accuracy=accuracy,
        small_accuracy=curve.small_accuracy,
        large_accuracy=curve.large_accuracy,
        recovered=cj.average_performance_gap_recovered(curve),
        gap_error=jnp.sqrt(variance / num_rows),
        kept=curve.small_share[k],
        alarms=means.alarm,
        by_confidence=means.by_confidence,
        by_bins=means.by_bins,
        confidence_holds=means.confidence_holds,
        bins_hold=means.bins_hold,
        changed=means.changed,
        miscalibrated=means.miscalibrated,
        stream_alarms=jnp.mean((alarm_row >= 0).astype(jnp.float32)),
        stream_rows=jnp.where(alarm_row >= 0, alarm_row.astype(jnp.float32), jnp.inf),
    )


def _batch(
    key: jax.Array,
    rows: Rows,
    size: jax.Array,
    router: cj.Router,
    k: jax.Array,
    reference: Rows,
    accuracy: jax.Array,
) -> _Batch:
    """Results on the first `size` of shuffled rows."""
    first = min(max(SIZES), rows.small.shape[0])
    rows = jax.tree.map(lambda part: part[:first], rows)
    where = rows.where & (jnp.arange(first, dtype=jnp.int32) < size)
    keys = jax.random.split(key, 2)
    drift = cj.monitoring.occupancy_drift(
        keys[0],
        router.bins,
        reference.small,
        rows.small,
        num_resamples=_NUM_DRAWS,
        reference_where=reference.where,
        where=where,
    )
    found = cj.monitoring.estimated_accuracy(
        router,
        reference.small,
        reference.small_right,
        reference.large_right,
        rows.small,
        rows.large,
        reference_where=reference.where,
        where=where,
    )
    labelled = cj.monitoring.calibration_drift(
        keys[1],
        router.bins,
        reference.small,
        reference.small_right,
        rows.small,
        rows.small_right,
        num_resamples=_NUM_DRAWS,
        reference_where=reference.where,
        where=where,
    )

    def holds(one: cj.Interval) -> jax.Array:
        return (one.lower[k] <= accuracy) & (accuracy <= one.upper[k])

    return _Batch(
        alarm=drift.p_value <= LEVEL,
        by_confidence=found.by_confidence.estimate[k],
        by_bins=found.by_bins.estimate[k],
        confidence_holds=holds(found.by_confidence),
        bins_hold=holds(found.by_bins),
        changed=labelled.p_value <= LEVEL,
        miscalibrated=labelled.new.p_value <= LEVEL,
    )
