"""Confidence from logits: of classes, of sequences, and while decoding.

For a confidence that was saved, or that the model states, use `log_odds`; for a saved
log-probability use `log_odds_from_log`. Both give scores for `calib_jax.fit_platt`.
Masked rows, tokens and classes may hold anything, NaN included.
"""

from .classes import (
    Top1,
    choice_logits,
    log_odds,
    log_odds_from_log,
    scaled_softmax,
    top1,
)
from .decoding import (
    DecodingSummary,
    LikelihoodScores,
    SequenceScores,
    init_decoding,
    likelihood_scores,
    sequence_scores,
    update_decoding,
)
from .sequences import sequence_log_likelihood, sequence_mean_logit

__all__ = [
    "DecodingSummary",
    "LikelihoodScores",
    "SequenceScores",
    "Top1",
    "choice_logits",
    "init_decoding",
    "likelihood_scores",
    "log_odds",
    "log_odds_from_log",
    "scaled_softmax",
    "sequence_log_likelihood",
    "sequence_mean_logit",
    "sequence_scores",
    "top1",
    "update_decoding",
]


def __dir__() -> list[str]:
    return __all__
