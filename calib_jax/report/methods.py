"""The calibrators by name, and in words what each takes of a model's outputs."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ..calibration import beta as betas
from ..calibration import (
    dirichlet,
    ensemble_temperature,
    histogram,
    isotonic,
    platt,
    scaling_binning,
    temperature,
    vector,
)
from ..calibration.apply import Calibrator, OfClasses
from ..calibration.beta import Beta
from ..io.outputs import Outputs
from .records import class_values


class Takes(enum.Enum):
    """What a calibrator is fitted on and applied to."""

    #: A value of each option, and to fit it labels.
    OPTIONS = enum.auto()
    #: One score for each answer, on any scale.
    SCORE = enum.auto()
    #: The confidence in each answer.
    CONFIDENCE = enum.auto()


class Method(NamedTuple):
    """A calibrator.

    Attributes:
      name: as on the command line.
      title: at the beginning of a sentence.
      takes: what it is fitted on.
      fit: from scores or confidences and outcomes, or from values of options and
        labels, to parameters and a report.
      reorders: whether it may make another option the likeliest.
      needs_all: whether every row must have all options.
    """

    name: str
    title: str
    takes: Takes
    fit: Callable[..., Any]
    reorders: bool = False
    needs_all: bool = False


def _scaling_binning(scores: Any, outcomes: Any) -> Any:
    # In random thirds: files may be in any order.
    key = jax.random.key(0)
    return scaling_binning.fit_scaling_binning(scores, outcomes, key=key)


TEMPERATURE = Method(
    "temperature", "Temperature scaling", Takes.OPTIONS, temperature.fit_temperature
)
PLATT = Method("platt", "Platt scaling", Takes.SCORE, platt.fit_platt)
HISTOGRAM = Method(
    "histogram", "Histogram binning", Takes.SCORE, histogram.fit_histogram
)
_OTHERS = (
    Method("isotonic", "Isotonic regression", Takes.SCORE, isotonic.fit_isotonic),
    Method("beta", "Beta calibration", Takes.CONFIDENCE, betas.fit_beta),
    Method(
        "scaling-binning",
        "Scaling-binning",
        Takes.SCORE,
        _scaling_binning,
    ),
    Method("vector", "Vector scaling", Takes.OPTIONS, vector.fit_vector, reorders=True),
    Method(
        "dirichlet",
        "Dirichlet calibration",
        Takes.OPTIONS,
        dirichlet.fit_dirichlet,
        reorders=True,
        needs_all=True,
    ),
    Method(
        "ensemble-temperature",
        "Ensemble temperature scaling",
        Takes.OPTIONS,
        ensemble_temperature.fit_ensemble_temperature,
    ),
)
METHODS = {one.name: one for one in (TEMPERATURE, PLATT, HISTOGRAM, *_OTHERS)}


def taken_by(params: Calibrator) -> Takes:
    """What fitted parameters are applied to."""
    if isinstance(params, OfClasses):
        return Takes.OPTIONS
    return Takes.CONFIDENCE if isinstance(params, Beta) else Takes.SCORE


def others(method: str, *, has_options: bool, stated: bool = False) -> tuple[str, ...]:
    """Names of at most two calibrators to try instead, the simplest first.

    Args:
      method: name of the one that was taken.
      has_options: whether there are values of the options.
      stated: whether answers have confidences, strictly between 0 and 1.
    """
    second = METHODS["beta"] if stated and method != "beta" else PLATT
    names = [
        one.name
        for one in (TEMPERATURE, second, HISTOGRAM)
        if one.name != method and (has_options or one.takes is not Takes.OPTIONS)
    ]
    return tuple(names[:2])


#: What calibrators take, as records that are served say it.
OF_OPTIONS = "logits or log-probabilities of the options"
OF_LIKELIEST = "log-odds of the likeliest option's probability"
OF_CHOSEN = "log-odds of the chosen option's probability"
PROBABILITY_OF_LIKELIEST = "probability of the likeliest option"
PROBABILITY_OF_CHOSEN = "probability of the chosen option"
OF_STATED = "confidence in each answer, as it is stated"
OF_TOKENS = "mean log-likelihood of the answer's tokens"
OF_LOGITS = "mean raw logit of the answer's tokens"
PROBABILITY_OF_TOKENS = "exponential of the mean log-likelihood of the answer's tokens"
OF_LOG_PROBABILITY = "log-probability of each answer"
PROBABILITY = "probability of each answer"
OF_ANSWER = "one score for each answer"
CONFIDENCE_OF_ANSWER = "one confidence in [0, 1] for each answer"
TAKEN = (
    *(OF_OPTIONS, OF_LIKELIEST, OF_CHOSEN, OF_STATED, OF_TOKENS, OF_LOG_PROBABILITY),
    *(OF_ANSWER, PROBABILITY_OF_LIKELIEST, PROBABILITY_OF_CHOSEN),
    *(PROBABILITY_OF_TOKENS, PROBABILITY, CONFIDENCE_OF_ANSWER, OF_LOGITS),
)
#: The same where nothing else is known.
IN_GENERAL = {
    Takes.OPTIONS: OF_OPTIONS,
    Takes.SCORE: OF_ANSWER,
    Takes.CONFIDENCE: CONFIDENCE_OF_ANSWER,
}
# After logits, where answers are not always the likeliest options.
_IN_CHOSEN = "; the confidence is that of the chosen option"
# Of one score for each answer, by its scale: the score and the confidence.
_OF_SCALE = {
    "confidence": (OF_STATED, OF_STATED),
    "log_probability": (OF_LOG_PROBABILITY, PROBABILITY),
    "logit": (OF_LOGITS, CONFIDENCE_OF_ANSWER),
    "": (OF_ANSWER, CONFIDENCE_OF_ANSWER),
}


def taken(outputs: Outputs, takes: Takes, chosen: bool = False) -> str:
    """What a calibrator takes of outputs like these.

    Args:
      outputs: of the model.
      takes: what the calibrator is fitted on.
      chosen: whether answers are not always the likeliest options.
    """
    as_confidence = takes is Takes.CONFIDENCE
    if class_values(outputs) is None:
        if outputs.format == "answers" and outputs.scale != "logit":
            return PROBABILITY_OF_TOKENS if as_confidence else OF_TOKENS
        return _OF_SCALE.get(outputs.scale or "", _OF_SCALE[""])[as_confidence]
    if takes is Takes.OPTIONS:
        found = f"{OF_OPTIONS}{_IN_CHOSEN if chosen else ''}"
    elif as_confidence:
        found = PROBABILITY_OF_CHOSEN if chosen else PROBABILITY_OF_LIKELIEST
    else:
        found = OF_CHOSEN if chosen else OF_LIKELIEST
    share = outputs.smoothing
    return found if share is None else f"{found}, with --smoothing {share:g}"


def fits(wanted: str, outputs: Outputs, takes: Takes) -> bool:
    """Whether outputs are such as a record says in the words of `taken`.

    New answers need not show whether some are not the likeliest options.
    """
    return wanted in (taken(outputs, takes, chosen) for chosen in (False, True))
