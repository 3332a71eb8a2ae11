"""Cascade: which inputs the small model can keep, by three routers side by side.

Shapes: N examples of a half.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import calib_jax as cj

from .calibration import CALIBRATION, TEST, CalibratedModel

RANDOM, UNCALIBRATED, CALIBRATED = "random", "uncalibrated (UC)", "calibrated (CC)"


@dataclasses.dataclass(frozen=True)
class Pair:
    """Confidences or outcomes of both models on one half.

    Attributes:
      small: `[N]`, for the small model.
      large: `[N]`, for the large model.
    """

    small: jax.Array
    large: jax.Array


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A number of bins kept small, chosen on one half and measured on both.

    Attributes:
      num_small_bins: the paper's K; 0, always the large model, where no other meets
        the condition.
      small_share: share the small model answers, by half.
      accuracy: accuracy of the cascade, by half.
    """

    num_small_bins: int
    small_share: Mapping[str, float]
    accuracy: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Cascade:
    """Routers side by side, by name.

    Attributes:
      curves: accuracy against share on the test half.
      apgr: average performance gap recovered, APGR, of each curve.
      gain_interval: 95 % bootstrap interval of APGR (CC) minus APGR (UC), resampling
        test examples with models and routers held fixed.
      max_loss: accuracy that may be lost on the calibration half.
      chosen: the largest number of bins kept small that loses no more than that.
      hindsight: the same, chosen on the test half itself; for comparison only.
      best: the number of bins kept small that is most accurate on the calibration half;
        the largest of equal ones.
    """

    curves: Mapping[str, cj.CascadeCurve]
    apgr: Mapping[str, jax.Array]
    gain_interval: tuple[float, float]
    max_loss: float
    chosen: Mapping[str, OperatingPoint]
    hindsight: Mapping[str, OperatingPoint]
    best: Mapping[str, OperatingPoint]


def route(
    key: jax.Array,
    confidences: Mapping[str, Mapping[str, Pair]],
    correct: Mapping[str, Pair],
    num_bins: int,
    num_resamples: int,
    max_loss: float = 0.0,
) -> Cascade:
    """A router for each kind of confidence, and random routing.

    Args:
      key: a JAX random key, for the bootstrap.
      confidences: the confidences `[N]` that each router sees, by name of the router
        and half; `UNCALIBRATED` and `CALIBRATED` must be among the names.
      correct: whether each model is right, bool `[N]`, by half.
      num_bins: number of equal-count bins of a router.
      num_resamples: number of bootstrap resamples.
      max_loss: accuracy that may be lost against the large model, as a share.
    """
    routers = {
        name: cj.fit_router(
            halves[CALIBRATION].small, halves[CALIBRATION].large, num_bins=num_bins
        )
        for name, halves in confidences.items()
    }
    curves = {
        name: {
            half: cj.cascade_curve(
                routers[name],
                confidence.small,
                correct[half].small,
                correct[half].large,
            )
            for half, confidence in halves.items()
        }
        for name, halves in confidences.items()
    }
    test_curves = {
        RANDOM: cj.random_curve(curves[CALIBRATED][TEST]),
        **{name: by_half[TEST] for name, by_half in curves.items()},
    }
    return Cascade(
        curves=test_curves,
        apgr={
            name: cj.average_performance_gap_recovered(test_curve)
            for name, test_curve in test_curves.items()
        },
        gain_interval=_gain_interval(
            key,
            {name: halves[TEST].small for name, halves in confidences.items()},
            correct[TEST],
            routers,
            num_resamples,
        ),
        max_loss=max_loss,
        chosen={
            name: _choose(by_half, CALIBRATION, max_loss)
            for name, by_half in curves.items()
        },
        hindsight={
            name: _choose(by_half, TEST, max_loss) for name, by_half in curves.items()
        },
        best={name: _most_accurate(by_half) for name, by_half in curves.items()},
    )


def compare(
    key: jax.Array,
    small: CalibratedModel,
    large: CalibratedModel,
    num_bins: int,
    num_resamples: int,
) -> Cascade:
    """Routers of two models by confidence before and after calibration."""
    both = {
        UNCALIBRATED: (small.before, large.before),
        CALIBRATED: (small.after, large.after),
    }
    return route(
        key,
        {
            name: {
                half: Pair(of_small[half].confidence, of_large[half].confidence)
                for half in (CALIBRATION, TEST)
            }
            for name, (of_small, of_large) in both.items()
        },
        {
            half: Pair(small.after[half].correct, large.after[half].correct)
            for half in (CALIBRATION, TEST)
        },
        num_bins,
        num_resamples,
    )


def _choose(
    curves: Mapping[str, cj.CascadeCurve], chosen_on: str, max_loss: float
) -> OperatingPoint:
    curve = curves[chosen_on]
    chosen = cj.choose_num_small_bins(
        curve, min_accuracy=curve.large_accuracy - max_loss
    )
    return _at(curves, int(chosen.num_small_bins))


def _most_accurate(curves: Mapping[str, cj.CascadeCurve]) -> OperatingPoint:
    accuracy = curves[CALIBRATION].accuracy
    return _at(curves, int(jnp.flatnonzero(accuracy == jnp.max(accuracy))[-1]))


def _at(curves: Mapping[str, cj.CascadeCurve], kept: int) -> OperatingPoint:
    return OperatingPoint(
        num_small_bins=kept,
        small_share={half: float(c.small_share[kept]) for half, c in curves.items()},
        accuracy={half: float(c.accuracy[kept]) for half, c in curves.items()},
    )


def _gain_interval(
    key: jax.Array,
    small_confidences: Mapping[str, jax.Array],
    correct: Pair,
    routers: Mapping[str, cj.Router],
    num_resamples: int,
) -> tuple[float, float]:
    def gain(*arrays: jax.Array, weights: jax.Array) -> jax.Array:
        uncalibrated, calibrated, *outcomes = arrays
        scores = {UNCALIBRATED: uncalibrated, CALIBRATED: calibrated}
        apgr = {
            name: cj.average_performance_gap_recovered(
                cj.cascade_curve(routers[name], score, *outcomes, weights=weights)
            )
            for name, score in scores.items()
        }
        return apgr[CALIBRATED] - apgr[UNCALIBRATED]

    draws = cj.bootstrap(
        key,
        gain,
        num_resamples,
        small_confidences[UNCALIBRATED],
        small_confidences[CALIBRATED],
        correct.small,
        correct.large,
    )
    low, high = jnp.quantile(draws, jnp.array([0.025, 0.975]))
    return float(low), float(high)
