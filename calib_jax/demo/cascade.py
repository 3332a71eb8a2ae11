"""Cascade: which inputs the small model may keep, by three routers side by side.

Shapes: N examples of a half.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import calib_jax as cj

from .calibration import CALIBRATION, TEST, CalibratedModel, Predictions

RANDOM, UNCALIBRATED, CALIBRATED = "random", "uncalibrated (UC)", "calibrated (CC)"


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A number of bins kept small, chosen on one half and measured on both.

    Attributes:
      num_small_bins: the paper's K; -1 where none meets the condition.
      small_share: share the small model answers, by half; 0 where none does.
      accuracy: of the cascade, by half.
    """

    num_small_bins: int
    small_share: Mapping[str, float]
    accuracy: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Cascade:
    """Three routers side by side; the keys name the router.

    Attributes:
      curves: accuracy against share on the test half.
      recovered: APGR of the curves.
      gain_interval: 95 % bootstrap interval of APGR (CC) minus APGR (UC), of test
        examples drawn anew while models and routers stay.
      no_loss: the most bins kept small at which the calibration half loses no accuracy.
      hindsight: the same, chosen on the test half itself: out of reach, for comparison.
    """

    curves: Mapping[str, cj.CascadeCurve]
    recovered: Mapping[str, jax.Array]
    gain_interval: tuple[float, float]
    no_loss: Mapping[str, OperatingPoint]
    hindsight: Mapping[str, OperatingPoint]


def route(
    key: jax.Array,
    small: CalibratedModel,
    large: CalibratedModel,
    num_bins: int,
    num_draws: int,
) -> Cascade:
    """Routers of uncalibrated and of calibrated confidences, and routing at random."""
    confidences = {
        UNCALIBRATED: (small.before, large.before),
        CALIBRATED: (small.after, large.after),
    }
    routers = {
        name: cj.fit_router(
            of_small[CALIBRATION].confidence,
            of_large[CALIBRATION].confidence,
            num_bins=num_bins,
        )
        for name, (of_small, of_large) in confidences.items()
    }

    def curve(
        name: str, half: str, weights: jax.Array | None = None
    ) -> cj.CascadeCurve:
        of_small, of_large = confidences[name]
        return cj.cascade_curve(
            routers[name],
            of_small[half].confidence,
            of_small[half].correct,
            of_large[half].correct,
            weights=weights,
        )

    curves = {
        name: {half: curve(name, half) for half in (CALIBRATION, TEST)}
        for name in routers
    }
    test_curves = {
        RANDOM: cj.random_curve(curves[CALIBRATED][TEST]),
        **{name: by_half[TEST] for name, by_half in curves.items()},
    }
    return Cascade(
        curves=test_curves,
        recovered={
            name: cj.average_performance_gap_recovered(test_curve)
            for name, test_curve in test_curves.items()
        },
        gain_interval=_gain_interval(key, confidences, routers, num_draws),
        no_loss={n: _no_loss(by_half, CALIBRATION) for n, by_half in curves.items()},
        hindsight={n: _no_loss(by_half, TEST) for n, by_half in curves.items()},
    )


def _no_loss(curves: Mapping[str, cj.CascadeCurve], chosen_on: str) -> OperatingPoint:
    curve = curves[chosen_on]
    chosen = cj.num_small_bins_for_accuracy(curve, curve.large_accuracy)
    # Without a choice every input goes to the large model.
    kept = max(int(chosen), 0)
    return OperatingPoint(
        num_small_bins=int(chosen),
        small_share={half: float(c.small_share[kept]) for half, c in curves.items()},
        accuracy={half: float(c.accuracy[kept]) for half, c in curves.items()},
    )


def _gain_interval(
    key: jax.Array,
    confidences: Mapping[
        str, tuple[Mapping[str, Predictions], Mapping[str, Predictions]]
    ],
    routers: Mapping[str, cj.Router],
    num_draws: int,
) -> tuple[float, float]:
    def gain(*arrays: jax.Array, weights: jax.Array) -> jax.Array:
        small_uncalibrated, small_calibrated, small_correct, large_correct = arrays
        scores = {UNCALIBRATED: small_uncalibrated, CALIBRATED: small_calibrated}
        recovered = {
            name: cj.average_performance_gap_recovered(
                cj.cascade_curve(
                    routers[name], score, small_correct, large_correct, weights=weights
                )
            )
            for name, score in scores.items()
        }
        return recovered[CALIBRATED] - recovered[UNCALIBRATED]

    of_small, of_large = confidences[CALIBRATED]
    draws = cj.bootstrap(
        key,
        gain,
        num_draws,
        confidences[UNCALIBRATED][0][TEST].confidence,
        of_small[TEST].confidence,
        of_small[TEST].correct,
        of_large[TEST].correct,
    )
    low, high = jnp.quantile(draws, jnp.array([0.025, 0.975]))
    return float(low), float(high)
