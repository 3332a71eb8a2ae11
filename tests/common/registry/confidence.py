"""Cases of `calib_jax.confidence`."""

import numpy as np

from . import makers
from .kit import all_rows, case, floating
from .makers import NUM_CLASSES, NUM_TOKENS

_OF_TOKENS = {"where": True, "masked": {"logits": 1, "tokens": 1}}


def _decoding_parts(result):
    """Sums with their errors added; the errors alone are only rounding."""
    sums = [
        result.sum_logit + result.logit_error,
        result.sum_log_likelihood + result.log_likelihood_error,
    ]
    return (result.num_tokens, sums, result.min_log_likelihood), ()


def _likelihood_parts(result):
    """Without the number of tokens, a constant on every device if there is no mask."""
    return floating(result), ()


def _inside(rng, n):
    """Confidences at which a finite difference equals the derivative."""
    return 0.1 + 0.8 * makers.tied(rng, n)


CASES = [
    case(
        "scaled_softmax",
        "logits temperature",
        split=all_rows,
        gradients=("logits", "temperature"),
    ),
    case(
        "top1",
        "logits temperature",
        split=all_rows,
        gradients=("logits", "temperature"),
        value=lambda result: result.confidence,
    ),
    case(
        "choice_logits",
        "logits",
        given={"choice_ids": np.array([2, 0])},
        split=all_rows,
        gradients=("logits",),
    ),
    case(
        "sequence_mean_logit",
        "token_rows",
        split=all_rows,
        gradients=("logits",),
        **_OF_TOKENS,
    ),
    *(
        case(
            "sequence_log_likelihood",
            "token_rows",
            reduction,
            given={"reduction": reduction},
            again=reduction != "mean",
            split=all_rows,
            gradients=("logits",),
            **_OF_TOKENS,
        )
        for reduction in ("sum", "mean", "min")
    ),
    case(
        "log_odds",
        given={"confidence": _inside},
        split=all_rows,
        gradients=("confidence",),
    ),
    case(
        "confidence.log_odds_from_log",
        given={"log_confidence": lambda rng, n: np.log(_inside(rng, n))},
        rows={"log_confidence": 0},
        split=all_rows,
        gradients=("log_confidence",),
    ),
    case("confidence.init_decoding", given={"num_sequences": 7}),
    case(
        "confidence.update_decoding",
        given={
            "state": makers.decoding_state,
            "logits": lambda rng, n: 2 * rng.normal(size=(n, NUM_CLASSES)),
            "tokens": lambda rng, n: rng.integers(0, NUM_CLASSES, n),
        },
        rows={"state": 0, "logits": 0, "tokens": 0},
        split=_decoding_parts,
        where=True,
        gradients=("logits",),
        value=floating,
    ),
    case(
        "confidence.sequence_scores",
        given={"state": makers.decoding_state},
        rows={"state": 0},
        split=all_rows,
    ),
    case(
        "confidence.likelihood_scores",
        given={
            "log_likelihoods": lambda rng, n: np.log(
                rng.uniform(0.1, 1.0, (n, NUM_TOKENS))
            )
        },
        rows={"log_likelihoods": 0},
        split=_likelihood_parts,
        where=True,
        masked={"log_likelihoods": 1},
        gradients=("log_likelihoods",),
        value=floating,
    ),
]
