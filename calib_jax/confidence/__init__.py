"""Confidence from logits: of classes, of sequences, and while decoding."""

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
