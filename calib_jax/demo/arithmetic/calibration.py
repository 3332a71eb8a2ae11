"""Four scores of a generated answer, and what Platt scaling makes of each.

Shapes: N problems of a half.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import calib_jax as cj

from ..calibration import CALIBRATION, reliability

MEAN_LOGIT = "mean logit"
SUM, MEAN, MINIMUM = (
    f"{name} log-likelihood" for name in ("sum of", "mean", "minimum")
)


def named(scores: cj.SequenceScores) -> dict[str, jax.Array]:
    """The scores by name: the paper's mean raw logit, and three log-likelihoods."""
    return {
        MEAN_LOGIT: scores.mean_logit,
        SUM: scores.sum_log_likelihood,
        MEAN: scores.mean_log_likelihood,
        MINIMUM: scores.min_log_likelihood,
    }


@dataclasses.dataclass(frozen=True)
class Confidence:
    """A confidence on one half.

    Attributes:
      confidence: float32 `[N]`.
      table: reliability table over fresh equal-count bins.
      error: the ECE of that table.
    """

    confidence: jax.Array
    table: cj.ReliabilityTable
    error: jax.Array


@dataclasses.dataclass(frozen=True)
class CalibratedScore:
    """One score of one model, before and after Platt scaling; keys name the half.

    Attributes:
      score: float32 `[N]`.
      ranking: AUROC of the score, which Platt scaling leaves as it is.
      platt: fitted on the calibration half.
      report: of that fit.
      before: the exponential of a log-likelihood, which is a probability; None for the
        mean logit, which is no confidence before it is calibrated.
      after: the score behind its Platt parameters.
    """

    score: Mapping[str, jax.Array]
    ranking: Mapping[str, jax.Array]
    platt: cj.Platt
    report: cj.FitReport
    before: Mapping[str, Confidence] | None
    after: Mapping[str, Confidence]


def calibrate(
    scores: Mapping[str, cj.SequenceScores],
    outcomes: Mapping[str, jax.Array],
    num_bins: int,
) -> dict[str, CalibratedScore]:
    """Each score by name, calibrated against a verifier on the calibration half.

    Args:
      scores: half to the scores of its answers.
      outcomes: half to what the verifier says of them, `[N]` in `[0, 1]`.
      num_bins: equal-count bins of the tables.
    """
    halves = {half: named(of_half) for half, of_half in scores.items()}
    names = next(iter(halves.values()))
    return {
        name: _calibrate(
            {half: by_name[name] for half, by_name in halves.items()},
            outcomes,
            num_bins,
            is_logarithm=name != MEAN_LOGIT,
        )
        for name in names
    }


def _calibrate(
    score: Mapping[str, jax.Array],
    outcomes: Mapping[str, jax.Array],
    num_bins: int,
    is_logarithm: bool,
) -> CalibratedScore:
    def confidence(half: str, value: jax.Array) -> Confidence:
        return Confidence(value, *reliability(value, outcomes[half], num_bins))

    params, report = cj.fit_platt(score[CALIBRATION], outcomes[CALIBRATION])
    before = {half: confidence(half, jnp.exp(s)) for half, s in score.items()}
    return CalibratedScore(
        score=score,
        ranking={
            half: cj.area_under_roc(s, outcomes[half]) for half, s in score.items()
        },
        platt=params,
        report=report,
        before=before if is_logarithm else None,
        after={
            half: confidence(half, cj.calibrate(params, s)) for half, s in score.items()
        },
    )
