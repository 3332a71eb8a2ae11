"""False alarms, and how often estimates are right, where the truth is known.

Shapes: R reference rows, N new rows, both padded to the larger of the two.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj

from .measure import LEVEL, NUM_BINS

_NUM_MANY, _NUM_DRAWS = 50_000, 199


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A population and its samples.

    Attributes:
      num_reference: R.
      num_rows: N.
      tied: whether confidences are rounded to one of 20 values.
      fitted: whether bins are cut from the reference rows themselves.
      accurate: whether both models are nearly always right.
      drift: by how much the log-odds of new confidences, all calibrated, are lower.
      num_bins: bins of the router.
    """

    num_reference: int
    num_rows: int
    tied: bool = False
    fitted: bool = False
    accurate: bool = False
    drift: float = 0.0
    num_bins: int = NUM_BINS

    def __str__(self) -> str:
        return f"{self.num_reference} and {self.num_rows} rows"


_SHAPES = ((50, 50), (300, 200), (1000, 50), (1000, 1000))
_SMALL = ((300, 2), (300, 5), (300, 10), (300, 20))
_KINDS: tuple[tuple[dict[str, Any], tuple[tuple[int, int], ...]], ...] = (
    ({}, (*_SMALL, *_SHAPES)),
    ({"tied": True}, _SHAPES),
    ({"fitted": True}, ((30, 2000), (50, 500), *_SHAPES)),
    ({"drift": 0.5}, _SHAPES),
    ({"drift": 0.5, "accurate": True}, _SHAPES),
    ({"drift": 1.5}, ((1000, 200), (1000, 1000))),
    ({"drift": 1.5, "num_bins": 5}, ((1000, 200), (1000, 1000))),
)
SETTINGS = tuple(
    Setting(num_reference=r, num_rows=n, **kind)
    for kind, shapes in _KINDS
    for r, n in shapes
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """Shares of samples.

    Attributes:
      setting: the setting.
      occupancy: with an alarm from `occupancy_drift` on all new rows.
      stream: with an alarm from a monitor at any of the new rows.
      changed: whose outcomes seem to have changed at the same confidence.
      by_bins: float64 `[num_bins + 1]`, whose interval contains the accuracy, for each
        K.
      by_confidence: the same.
      wrong: mean number of wrong answers of the small model on the reference.
    """

    setting: Setting
    occupancy: float
    stream: float
    changed: float
    by_bins: np.ndarray
    by_confidence: np.ndarray
    wrong: float


def simulate(setting: Setting, seed: int, num_samples: int) -> Simulated:
    """All samples of one setting."""
    key = jax.random.fold_in(jax.random.key(seed), SETTINGS.index(setting))
    keys = jax.random.split(key, num_samples)
    flags = (setting.tied, setting.fitted, setting.accurate)
    shares = _simulate(
        keys,
        jnp.int32(setting.num_reference),
        jnp.int32(setting.num_rows),
        jnp.asarray(flags),
        jnp.float32(setting.drift),
        num_bins=setting.num_bins,
        most=max(setting.num_reference, setting.num_rows, 1000),
    )
    occupancy, stream, changed, by_bins, by_confidence, wrong = map(np.asarray, shares)
    return Simulated(
        setting=setting,
        occupancy=float(occupancy),
        stream=float(stream),
        changed=float(changed),
        by_bins=by_bins,
        by_confidence=by_confidence,
        wrong=float(wrong),
    )


@functools.partial(jax.jit, static_argnames=("num_bins", "most"))
def _simulate(
    keys: jax.Array,
    num_reference: jax.Array,
    num_rows: jax.Array,
    flags: jax.Array,
    shift: jax.Array,
    *,
    num_bins: int,
    most: int,
) -> tuple[jax.Array, ...]:
    tied, fitted, accurate = flags

    def draw(key: jax.Array, shift: jax.Array, size: int = most) -> jax.Array:
        """Confidences of the small model, calibrated."""
        middle = jnp.where(accurate, 4.5, 1.0) - shift
        odds = middle + jax.random.normal(key, (size,), jnp.float32)
        confidence = jax.nn.sigmoid(odds)
        return jnp.where(tied, jnp.round(confidence * 20) / 20, confidence)

    def large_of(small: jax.Array) -> jax.Array:
        return 0.5 + 0.5 * small

    row = jnp.arange(most, dtype=jnp.int32)
    was, now = row < num_reference, row < num_rows
    # The truth from many more rows, for each sample's own router and each K.
    many = draw(jax.random.key(2**20), shift, _NUM_MANY)

    def one(key: jax.Array) -> tuple[jax.Array, ...]:
        keys = jax.random.split(key, 12)
        reference = draw(keys[0], jnp.float32(0))
        new, other = draw(keys[1], shift), draw(keys[2], jnp.float32(0))
        fitted_on = jnp.where(fitted, reference, other)
        router = cj.fit_router(
            fitted_on, large_of(fitted_on), num_bins=num_bins, where=was
        )

        def right(key: jax.Array, chance: jax.Array) -> jax.Array:
            return jax.random.uniform(key, chance.shape, jnp.float32) < chance

        by_small, by_large = (
            right(keys[3], reference),
            right(keys[4], large_of(reference)),
        )
        found = cj.monitoring.estimated_accuracy(
            router,
            reference,
            by_small,
            by_large,
            new,
            large_of(new),
            reference_where=was,
            where=now,
        )
        truth = cj.cascade_curve(router, many, many, large_of(many)).accuracy

        def holds(one: cj.Interval) -> jax.Array:
            return (one.lower <= truth) & (truth <= one.upper)

        masks = {"reference_where": was, "where": now}
        drifted = cj.monitoring.occupancy_drift(
            keys[5], router.bins, reference, new, num_resamples=_NUM_DRAWS, **masks
        )
        labelled = cj.monitoring.calibration_drift(
            keys[6],
            router.bins,
            reference,
            by_small,
            new,
            right(keys[7], new),
            num_resamples=_NUM_DRAWS,
            **masks,
        )
        monitor = cj.monitoring.init_monitor(
            keys[8], reference, confidence_level=1 - LEVEL, where=was
        )
        monitor = cj.monitoring.update_monitor(keys[9], monitor, new, where=now)
        wrong = jnp.sum(was & ~by_small, dtype=jnp.int32)
        return (
            drifted.p_value <= LEVEL,
            cj.monitoring.read_monitor(monitor).alarm,
            labelled.p_value <= LEVEL,
            holds(found.by_bins),
            holds(found.by_confidence),
            wrong,
        )

    results = lax.map(one, keys, batch_size=25)
    mean = functools.partial(jnp.mean, axis=0)
    return jax.tree.map(lambda part: mean(part.astype(jnp.float32)), results)
