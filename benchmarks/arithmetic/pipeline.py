"""From problems to a cascade: draw, train, decode, calibrate, route.

Everything is fitted or chosen on the calibration half; the test half is only for
measuring.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from calib_jax.demo import cascade
from calib_jax.demo.calibration import CALIBRATION, TEST
from calib_jax.demo.cascade import Pair

from . import calibration, models, problems
from .calibration import LOG_ODDS, MEAN_LOGIT, CalibratedScore
from .models import Decoded
from .problems import Data, Problems, Settings

# A router beside the paper's routers by mean logit.
LIKELIHOOD = "CC, likelihood"


@dataclasses.dataclass(frozen=True)
class ModelResults:
    """One model; the keys of the first three name the half.

    Attributes:
      decoded: its answers.
      correct: bool `[N]`, whether they match exactly.
      credit: float32 `[N]`, the share of digits that are right.
      scores: name of a score to its quality as a confidence in being right.
      credit_scores: the same, as an expectation of the share of right digits.
    """

    decoded: Mapping[str, Decoded]
    correct: Mapping[str, jax.Array]
    credit: Mapping[str, jax.Array]
    scores: Mapping[str, CalibratedScore]
    credit_scores: Mapping[str, CalibratedScore]


@dataclasses.dataclass(frozen=True)
class Results:
    """All stages of one run."""

    settings: Settings
    test: Problems
    small: ModelResults
    large: ModelResults
    cascade: cascade.Cascade


def run(
    settings: Settings, advance: Callable[[str], None] = lambda name: None
) -> Results:
    """The whole pipeline.

    Args:
      settings: smaller ones run in seconds.
      advance: called with "small" or "large" after each epoch of that model.

    Returns:
      `Results`.
    """
    keys = jax.random.split(jax.random.key(settings.seed), 4)
    data = problems.draw(keys[0], settings)
    small = models.train(
        keys[1],
        settings.small_hidden,
        data.train,
        settings.small_recipe,
        lambda: advance("small"),
    )
    large = models.train(
        keys[2],
        settings.large_hidden,
        data.train,
        settings.large_recipe,
        lambda: advance("large"),
    )
    of_small = evaluate(small, data, settings.num_bins)
    of_large = evaluate(large, data, settings.num_bins)
    return Results(
        settings=settings,
        test=data.test,
        small=of_small,
        large=of_large,
        cascade=route(keys[3], of_small, of_large, settings),
    )


def evaluate(model: models.SequenceModel, data: Data, num_bins: int) -> ModelResults:
    """Answers of a model on both halves, judged, and its scores calibrated."""
    halves = {CALIBRATION: data.calibration, TEST: data.test}
    decoded = {
        half: models.decode(model, some.questions, some.answers.shape[1])
        for half, some in halves.items()
    }
    answers = {half: jnp.asarray(some.answers) for half, some in halves.items()}
    correct = {
        half: problems.exact_match(some.tokens, answers[half])
        for half, some in decoded.items()
    }
    credit = {
        half: problems.share_of_digits(some.tokens, answers[half])
        for half, some in decoded.items()
    }
    scores = {half: some.scores for half, some in decoded.items()}
    return ModelResults(
        decoded=decoded,
        correct=correct,
        credit=credit,
        scores=calibration.calibrate(scores, correct, num_bins),
        credit_scores=calibration.calibrate(scores, credit, num_bins),
    )


def route(
    key: jax.Array, small: ModelResults, large: ModelResults, settings: Settings
) -> cascade.Cascade:
    """Routers by the mean logit, raw and calibrated, and by the likelihood."""

    def mean_logit(model: ModelResults, half: str) -> jax.Array:
        return model.scores[MEAN_LOGIT].score[half]

    # One linear map of all mean logits to [0, 1], which changes no decision.
    known = jnp.concatenate(
        [
            mean_logit(model, half)
            for model in (small, large)
            for half in (CALIBRATION, TEST)
        ]
    )
    lowest, highest = jnp.min(known), jnp.max(known)

    def raw(model: ModelResults, half: str) -> jax.Array:
        scaled = (mean_logit(model, half) - lowest) / (highest - lowest)
        return jnp.clip(scaled, 0.0, 1.0)

    def calibrated(model: ModelResults, half: str, name: str) -> jax.Array:
        return model.scores[name].after[half].confidence

    return cascade.route(
        key,
        {
            cascade.UNCALIBRATED: {
                half: Pair(raw(small, half), raw(large, half))
                for half in (CALIBRATION, TEST)
            },
            cascade.CALIBRATED: {
                half: Pair(
                    calibrated(small, half, MEAN_LOGIT),
                    calibrated(large, half, MEAN_LOGIT),
                )
                for half in (CALIBRATION, TEST)
            },
            LIKELIHOOD: {
                half: Pair(
                    calibrated(small, half, LOG_ODDS),
                    calibrated(large, half, LOG_ODDS),
                )
                for half in (CALIBRATION, TEST)
            },
        },
        {
            half: Pair(small.correct[half], large.correct[half])
            for half in (CALIBRATION, TEST)
        },
        settings.num_bins,
        settings.num_draws,
        settings.max_loss,
    )
