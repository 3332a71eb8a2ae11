"""Five scores of a generated answer, before and after Platt scaling.

Shapes: N problems of a half.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

import calib_jax as cj
from calib_jax.demo.calibration import CALIBRATION, reliability

MEAN_LOGIT = "mean logit"
SUM, MEAN, MINIMUM = (
    f"{name} log-likelihood" for name in ("sum of", "mean", "minimum")
)
LOG_ODDS = "log-odds of the sum"


def named(scores: cj.confidence.SequenceScores) -> dict[str, jax.Array]:
    """The scores by name.

    The paper's mean raw logit; three log-likelihoods, where the sum is the answer's;
    and the log-odds of the answer's probability, which rank answers as the sum does.
    """
    return {
        MEAN_LOGIT: scores.mean_logit,
        SUM: scores.sum_log_likelihood,
        MEAN: scores.mean_log_likelihood,
        MINIMUM: scores.min_log_likelihood,
        LOG_ODDS: cj.confidence.log_odds_from_log(scores.sum_log_likelihood),
    }


def probability(name: str, score: jax.Array) -> jax.Array | None:
    """The probability that a score states without calibration; None for a mean logit.

    The exponential of a log-likelihood: for the sum it is the probability of the
    answer, for the mean that of a symbol (their geometric mean), for the minimum that
    of the least likely symbol.
    """
    if name == MEAN_LOGIT:
        return None
    return jax.nn.sigmoid(score) if name == LOG_ODDS else jnp.exp(score)


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
      before: confidence by its `probability`; None if it has none.
      after: the score after Platt scaling.
    """

    score: Mapping[str, jax.Array]
    ranking: Mapping[str, jax.Array]
    platt: cj.Platt
    report: cj.FitReport
    before: Mapping[str, Confidence] | None
    after: Mapping[str, Confidence]


def calibrate(
    scores: Mapping[str, cj.confidence.SequenceScores],
    outcomes: Mapping[str, jax.Array],
    num_bins: int,
) -> dict[str, CalibratedScore]:
    """Each score by name, calibrated against a verifier on the calibration half.

    Args:
      scores: half to the scores of its answers.
      outcomes: half to the verifier's judgement of them, `[N]` in `[0, 1]`.
      num_bins: equal-count bins of the tables.
    """
    by_half = {half: named(of_half) for half, of_half in scores.items()}
    names = list(by_half[CALIBRATION])
    # One dtype, so that all verifiers share programs.
    outcomes = {half: v.astype(jnp.float32) for half, v in outcomes.items()}
    return {
        name: _calibrate(
            name, {half: s[name] for half, s in by_half.items()}, outcomes, num_bins
        )
        for name in names
    }


def _calibrate(
    name: str,
    score: Mapping[str, jax.Array],
    outcomes: Mapping[str, jax.Array],
    num_bins: int,
) -> CalibratedScore:
    def confidence(half: str, value: jax.Array) -> Confidence:
        return Confidence(value, *reliability(value, outcomes[half], num_bins))

    params, report = cj.fit_platt(score[CALIBRATION], outcomes[CALIBRATION])
    before = {
        half: confidence(half, value)
        for half, s in score.items()
        if (value := probability(name, s)) is not None
    }
    return CalibratedScore(
        score=score,
        ranking={
            half: cj.area_under_roc(s, outcomes[half]) for half, s in score.items()
        },
        platt=params,
        report=report,
        before=before or None,
        after={
            half: confidence(half, cj.calibrate(params, s)) for half, s in score.items()
        },
    )
