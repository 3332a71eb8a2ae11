"""Which calibrator suits a model's outputs, and the scores and answers it is fitted on.

Shapes: N rows, C options.
"""

import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from .._core import domains
from ..calibration.apply import Calibrator, OfClasses, calibrate
from ..calibration.reports import ConvergenceWarning
from ..calibration.temperature import Temperature
from ..confidence import classes
from ..io.outputs import Outputs
from . import methods
from .methods import HISTOGRAM, METHODS, PLATT, TEMPERATURE, Method, Takes
from .records import class_values

# Up to so many different values, a score is a table and not a scale.
_FEW_VALUES = 101
# Parts of the rows that a calibrator is fitted on, to choose between two.
_NUM_FOLDS = 5
# A lead of the likeliest option, in nats, that is no probability, how often it shows,
# and of how many rows.
_FAR, _OFTEN, _FEW_ROWS = 50.0, 0.1, 2000
# The lead over options of probability 0: those of float32 lead by less.
_ALONE = 104.0
# So many values are made float64 together.
_BLOCK = 2**22
# The float32 before 1.
_NEARLY_ONE = np.nextafter(np.float32(1), np.float32(0))


class Scored(NamedTuple):
    """What a model says and whether it is right; host arrays.

    Attributes:
      score: float32 `[N]`, what calibrators of a score are fitted on.
      confidence: float32 `[N]`, its confidence in its answer before calibration, in
        `[0, 1]`; None where scores are not confidences.
      outcome: float32 `[N]`, whether it is right, in `[0, 1]`.
      prediction: int32 `[N]`, the option it chose, or None for scores without any.
      chosen: whether an answer is not the option with the largest value.
    """

    score: np.ndarray
    confidence: np.ndarray | None
    outcome: np.ndarray
    prediction: np.ndarray | None
    chosen: bool


def scored(outputs: Outputs) -> Scored:
    """Scores, confidences, outcomes and answers of a model.

    Raises:
      ValueError: if nothing says which answers are right.
    """
    score, confidence, prediction, chosen = _read(outputs)
    outcome = _outcome(outputs, prediction)
    return Scored(score, confidence, outcome, prediction, chosen)


def read(
    outputs: Outputs,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """As `scored`: score, confidence and prediction, without outcomes."""
    return _read(outputs)[:3]


def _read(
    outputs: Outputs,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
    prediction = outputs.predictions
    values = class_values(outputs)
    if values is None:
        assert outputs.scores is not None
        score = np.asarray(outputs.scores, np.float32)
        return score, _stated(outputs, score), prediction, False
    confidence, best = _of_classes(outputs, values)
    prediction = _chosen(prediction, best)
    confidence = _in_chosen(confidence, values, best, prediction)
    if outputs.kind == "probabilities":
        # As they were written, again.
        score = np.asarray(classes.log_odds(confidence))
    else:
        score = _lead(values, outputs.class_where, prediction)
    return score, confidence, prediction, bool(np.any(prediction != best))


def _lead(values: Any, real: Any, chosen: np.ndarray) -> np.ndarray:
    """Log-odds float32 `[N]` of the options that were chosen.

    In float64 and from the values, since a probability near 1 is rounded to it.
    """
    found = np.empty(len(values), np.float32)
    size = max(1, _BLOCK // values.shape[1])
    for start in range(0, len(values), size):
        block = slice(start, start + size)
        some = np.array(values[block], np.float64)
        if real is not None:
            some[~real[block]] = -np.inf
        place = np.arange(len(some)), chosen[block]
        own = some[place]
        some[place] = -np.inf
        most = some.max(axis=1)
        base = np.where(np.isfinite(most), most, 0.0)
        with np.errstate(divide="ignore"):
            rest = base + np.log(np.exp(some - base[:, None]).sum(axis=1))
        lead = own - rest
        found[block] = np.where(np.isinf(lead), np.copysign(_ALONE, lead), lead)
    return found


def inputs(
    takes: Takes, outputs: Outputs, score: np.ndarray, confidence: np.ndarray | None
) -> np.ndarray:
    """What a calibrator of one number for each answer takes, float32 `[N]`.

    Args:
      takes: a score or a confidence.
      outputs: of the model.
      score: of each answer, from `read`.
      confidence: likewise, or None.
    """
    if takes is Takes.SCORE:
        return score
    if class_values(outputs) is not None and confidence is not None:
        # As they were written, or rounded to certainty by float32.
        certain = outputs.kind == "probabilities" or score >= np.float32(_ALONE)
    elif outputs.scale == "log_probability":
        confidence, certain = np.exp(np.minimum(score, np.float32(0))), score >= 0
    else:
        return score
    return np.where(certain, confidence, np.minimum(confidence, _NEARLY_ONE))


def calibrated(
    params: Calibrator,
    outputs: Outputs,
    score: np.ndarray,
    confidence: np.ndarray | None,
    prediction: np.ndarray | None,
) -> np.ndarray:
    """Confidence float32 `[N]` in the answers of a model; the rest is from `read`."""
    if isinstance(params, OfClasses):
        values, real = class_values(outputs), outputs.class_where
        return top_confidence(params, values, real, prediction)
    x = inputs(methods.taken_by(params), outputs, score, confidence)
    return np.asarray(calibrate(params, x))


def top_confidence(
    params: OfClasses, values: Any, class_where: Any, prediction: Any = None
) -> np.ndarray:
    """Confidence float32 `[N]` calibrated from the values of options.

    It is that of the option that was the likeliest before calibration, or where
    `prediction` names another one, such as a server that draws its answers, of that.
    """
    scale = params.temperature if isinstance(params, Temperature) else 1.0
    top1 = classes.top1(values, scale, class_where=class_where)
    confidence, best = jax.device_get((top1.confidence, top1.prediction))
    chosen = _chosen(prediction, best)
    if isinstance(params, Temperature):
        return _in_chosen(confidence, values, best, chosen, float(scale))
    found = np.asarray(calibrate(params, values, class_where=class_where))
    # A row without an option has no number.
    return np.where(best < 0, np.float32(np.nan), found[np.arange(len(best)), chosen])


def likeliest(outputs: Outputs) -> np.ndarray:
    """The likeliest option of each row, int32 `[N]`, of outputs with options."""
    return _of_classes(outputs, class_values(outputs))[1]


def _chosen(prediction: np.ndarray | None, best: np.ndarray) -> np.ndarray:
    """The options that were chosen: the likeliest ones where nothing says it."""
    return best if prediction is None else np.where(prediction < 0, best, prediction)


def _in_chosen(
    confidence: np.ndarray,
    values: Any,
    best: np.ndarray,
    chosen: np.ndarray,
    temperature: float = 1.0,
) -> np.ndarray:
    """Confidence in the option that was chosen, from that in the likeliest."""
    rows = np.flatnonzero(chosen != best)
    if not rows.size:
        return confidence
    one, other = (
        np.asarray(values[rows, option[rows]], np.float32) for option in (best, chosen)
    )
    found = np.array(confidence)
    found[rows] *= np.exp((other - one) / np.float32(temperature))
    return found


def choose(outputs: Outputs, scores: Scored, fitted: np.ndarray) -> tuple[Method, str]:
    """The calibrator that suits the kind of outputs, and why, in one sentence.

    Where a smooth curve may not fit, Platt scaling and histogram binning are compared
    on the rows to fit on, whose numbers are `fitted`.
    """
    values = class_values(outputs)
    stated = "confidence as it is stated" if outputs.scale == "confidence" else ""
    num_values = len(np.unique(scores.score))
    if num_values <= min(_FEW_VALUES, len(outputs) // 3):
        why = f"the scores have only {num_values} different values"
        why = why if num_values > 1 else "all are equal"
        return _better(scores, fitted, why, stated)
    if values is None and stated:
        return _better(scores, fitted, "each answer has one", stated)
    if values is None:
        return PLATT, "Platt scaling, because there is one score for each answer."
    real = True if outputs.class_where is None else outputs.class_where
    if np.any(np.isneginf(values) & real):
        why = "some probabilities are 0, which temperature scaling cannot handle "
        return _better(scores, fitted, f"{why}without --smoothing", "answer's log-odds")
    if outputs.labels is None:
        return PLATT, "Platt scaling, because there are outcomes and no labels."
    if _far_apart(values, real):
        why = "the values of options are hundreds apart, which a temperature cannot fix"
        return _better(scores, fitted, why, "answer's log-odds")
    return TEMPERATURE, "Temperature scaling, because each option has a value."


def within(outputs: Outputs) -> bool:
    """Whether each answer has a stated confidence, strictly between 0 and 1."""
    scores = outputs.scores
    if scores is None or outputs.scale != "confidence":
        return False
    return bool(np.all((scores > 0) & (scores < 1)))


def _better(
    scores: Scored, fitted: np.ndarray, why: str, of: str = ""
) -> tuple[Method, str]:
    """The calibrator of a score with the smaller cross-validated Brier score."""
    order = np.random.default_rng(0).permutation(fitted)
    folds = np.array_split(order, _NUM_FOLDS)

    def brier(method: Method) -> float:
        total = 0.0
        for number, fold in enumerate(folds):
            rest = np.concatenate([*folds[:number], *folds[number + 1 :]])
            params, _ = method.fit(scores.score[rest], scores.outcome[rest])
            confidence = np.asarray(calibrate(params, scores.score[fold]), np.float64)
            total += float(np.sum((confidence - scores.outcome[fold]) ** 2))
        return total / len(order)

    with warnings.catch_warnings():
        # The report says how the fit of the chosen one ended.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = {method.name: brier(method) for method in (PLATT, HISTOGRAM)}
    # A fit that found nothing has NaN, and is not taken.
    name = "histogram" if found["histogram"] < found["platt"] else "platt"
    method = METHODS[name]
    other, that = ("platt", "Platt scaling")
    if name == "platt":
        other, that = ("histogram", "histogram binning")
    return method, (
        f"{method.title}{f' of the {of}' if of else ''}, because {why}; its "
        f"cross-validated Brier score is {found[name]:.4f}, that of "
        f"{that} {found[other]:.4f}."
    )


def _far_apart(values: Any, real: Any) -> bool:
    """Whether the likeliest options lead by more than any softmax layer lets them.

    So do sums of evidence that is counted many times, as in naive Bayes.
    """
    step = -(-len(values) // _FEW_ROWS)
    some = np.asarray(values[::step], np.float32)
    some = np.where(real if real is True else real[::step], some, -np.inf)
    second, first = np.partition(some, -2, axis=1)[:, -2:].T
    leads = first - second
    return bool(np.mean(leads[np.isfinite(leads)] > _FAR) > _OFTEN)


def _of_classes(outputs: Outputs, values: Any) -> tuple[np.ndarray, np.ndarray]:
    if outputs.kind == "probabilities":
        # As they were written, so that rounded ones that are equal stay equal.
        best = np.argmax(values, axis=1)
        top = np.exp(np.max(values, axis=1))
        return np.minimum(top, np.float32(1)), best.astype(np.int32)
    top1 = classes.top1(values, class_where=outputs.class_where)
    confidence, best = jax.device_get((top1.confidence, top1.prediction))
    return confidence, best


def _stated(outputs: Outputs, score: np.ndarray) -> np.ndarray | None:
    """Confidences before calibration: scores as they are, if all are in [0, 1].

    This is for the ECE before; no calibrator is chosen by it.
    """
    if outputs.scale == "log_probability":
        # Of mean log-likelihoods these are mean probabilities of a token.
        return np.exp(np.minimum(score, np.float32(0)))
    inside = outputs.scale != "logit" and np.all(domains.CONFIDENCE.holds(score))
    # Rounding may add a little.
    return np.clip(score, 0, 1) if inside else None


def _outcome(outputs: Outputs, prediction: np.ndarray | None) -> np.ndarray:
    if outputs.outcomes is not None:
        return np.asarray(outputs.outcomes, np.float32)
    if outputs.labels is not None and prediction is None:
        raise ValueError(
            f"{outputs.name}: it has scores but no predictions. Add a column "
            "prediction, or the probabilities of all options."
        )
    if outputs.labels is None or prediction is None:
        raise ValueError(
            f"{outputs.name}: nothing says which answers are right. Pass a file of "
            "labels or outcomes with --labels."
        )
    return (prediction == outputs.labels).astype(np.float32)
