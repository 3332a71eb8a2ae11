"""Calibrate: a temperature for each model, and confidence before and after.

Shapes: N examples in a half, C classes.
"""

import dataclasses
from collections.abc import Mapping

import jax

import calib_jax as cj

CALIBRATION, TEST = "calibration", "test"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One model on one half, at one temperature.

    Attributes:
      confidence: float32 `[N]`, top-1 probability.
      prediction: int32 `[N]`.
      correct: bool `[N]`.
      table: reliability table over fresh equal-count bins.
      error: the ECE of that table.
    """

    confidence: jax.Array
    prediction: jax.Array
    correct: jax.Array
    table: cj.ReliabilityTable
    error: jax.Array


def reliability(
    confidence: jax.Array, outcome: jax.Array, num_bins: int
) -> tuple[cj.ReliabilityTable, jax.Array]:
    """Reliability table over fresh equal-count bins, and its ECE."""
    bins = cj.equal_count_bins(confidence, num_bins)
    table = cj.reliability_table(bins, confidence, outcome)
    return table, cj.expected_calibration_error(confidence, outcome, bins=bins)


@dataclasses.dataclass(frozen=True)
class CalibratedModel:
    """A model before and after temperature scaling; mappings are from half to value.

    Attributes:
      logits: float32 `[N, C]`.
      temperature: fitted on the calibration half.
      report: report of that fit.
      before: predictions at temperature 1.
      after: predictions at the fitted temperature.
    """

    logits: Mapping[str, jax.Array]
    temperature: cj.Temperature
    report: cj.FitReport
    before: Mapping[str, Predictions]
    after: Mapping[str, Predictions]


def calibrate(
    logits: Mapping[str, jax.Array], labels: Mapping[str, jax.Array], num_bins: int
) -> CalibratedModel:
    """Fits a temperature on the calibration half, and predicts with and without it."""
    temperature, report = cj.fit_temperature(logits[CALIBRATION], labels[CALIBRATION])

    def predict(half: str, value: jax.Array | float) -> Predictions:
        top1 = cj.top1(logits[half], value)
        correct = top1.prediction == labels[half]
        table, error = reliability(top1.confidence, correct, num_bins)
        return Predictions(
            confidence=top1.confidence,
            prediction=top1.prediction,
            correct=correct,
            table=table,
            error=error,
        )

    return CalibratedModel(
        logits=logits,
        temperature=temperature,
        report=report,
        before={half: predict(half, 1.0) for half in logits},
        after={half: predict(half, temperature.temperature) for half in logits},
    )
