"""Which calibrator suits a model's outputs, and the scores and answers it is fitted on.

Shapes: N rows, C options.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ..calibration import histogram, platt, temperature
from ..confidence import classes
from ..io.outputs import Outputs
from .records import class_values

# Up to so many different values, a score is a table and not a scale.
_FEW_VALUES = 101
# Rows for fifteen bins of twenty.
_ENOUGH_FOR_BINS = 300
# A lead of the likeliest option, in nats, that is no probability, how often it shows,
# and of how many rows.
_FAR, _OFTEN, _FEW_ROWS = 50.0, 0.1, 2000


class Method(NamedTuple):
    """A calibrator.

    Attributes:
      name: as on the command line.
      fit: from scores and outcomes, or from logits and labels, to parameters and a
        report.
      of_classes: whether it takes logits `[N, C]` and labels.
    """

    name: str
    fit: Callable[..., Any]
    of_classes: bool

    @property
    def title(self) -> str:
        """At the beginning of a sentence."""
        return _TITLES[self.name]


_TITLES = {
    "temperature": "Temperature scaling",
    "platt": "Platt scaling",
    "histogram": "Histogram binning",
}
TEMPERATURE = Method("temperature", temperature.fit_temperature, True)
PLATT = Method("platt", platt.fit_platt, False)
HISTOGRAM = Method("histogram", histogram.fit_histogram, False)
METHODS = {method.name: method for method in (TEMPERATURE, PLATT, HISTOGRAM)}


class Scored(NamedTuple):
    """What a model says and whether it is right; host arrays.

    Attributes:
      score: float32 `[N]`, what Platt scaling and histograms are fitted on.
      confidence: float32 `[N]`, its confidence in its answer before calibration, in
        `[0, 1]`; None if its scores are none.
      outcome: float32 `[N]`, whether it is right, in `[0, 1]`.
      prediction: int32 `[N]`, the option it chose, or None for scores without any.
    """

    score: np.ndarray
    confidence: np.ndarray | None
    outcome: np.ndarray
    prediction: np.ndarray | None


#: What calibrators take, as records that are served say it.
OF_OPTIONS = "logits or log-probabilities of the options"
OF_LIKELIEST = "log-odds of the likeliest option's probability"
OF_TOKENS = "mean log-likelihood of the answer's tokens"
OF_ANSWER = "one score for each answer"
TAKEN = (OF_OPTIONS, OF_LIKELIEST, OF_TOKENS, OF_ANSWER)


def taken(outputs: Outputs, of_classes: bool) -> str:
    """What a calibrator, of classes or of a score, takes of outputs like these."""
    if class_values(outputs) is not None:
        found = OF_OPTIONS if of_classes else OF_LIKELIEST
        share = outputs.smoothing
        return found if share is None else f"{found}, with --smoothing {share:g}"
    return OF_TOKENS if outputs.format == "answers" else OF_ANSWER


def scored(outputs: Outputs) -> Scored:
    """Scores, confidences, outcomes and answers of a model.

    Raises:
      ValueError: if nothing says which answers are right.
    """
    score, confidence, prediction = read(outputs)
    return Scored(score, confidence, _outcome(outputs, prediction), prediction)


def read(
    outputs: Outputs,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """As `scored`, without outcomes."""
    prediction = outputs.predictions
    values = class_values(outputs)
    if values is None:
        assert outputs.scores is not None
        score = np.asarray(outputs.scores, np.float32)
        confidence = _stated(outputs, score)
    else:
        confidence, best = _of_classes(outputs, values)
        prediction = _chosen(prediction, best)
        confidence = _in_chosen(confidence, values, best, prediction)
        score = np.asarray(classes.log_odds(confidence))
    return score, confidence, prediction


def top_confidence(
    params: Any, values: Any, class_where: Any, prediction: np.ndarray | None = None
) -> np.ndarray:
    """Confidence float32 `[N]` calibrated by a temperature.

    It is that of the likeliest option, or where `prediction` names another one, such as
    a server that draws its answers, of that.
    """
    top1 = classes.top1(values, params.temperature, class_where=class_where)
    confidence, best = jax.device_get((top1.confidence, top1.prediction))
    chosen = _chosen(prediction, best)
    return _in_chosen(confidence, values, best, chosen, float(params.temperature))


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


def choose(outputs: Outputs, scores: Scored) -> tuple[Method, str]:
    """The calibrator that suits the kind of outputs, and why, in one sentence."""
    values = class_values(outputs)
    num_values = len(np.unique(scores.score))
    few = num_values <= min(_FEW_VALUES, len(outputs) // 3)
    enough = len(outputs) >= 2 * _ENOUGH_FOR_BINS
    table = HISTOGRAM if enough else PLATT
    if few:
        many = (
            f"its scores have only {num_values} different values"
            if num_values > 1
            else "all its scores are equal"
        )
        if enough:
            return table, f"Histogram binning, because {many}."
        return table, f"Platt scaling, because {many}, and few rows."
    if values is None:
        one = "there is one score for each answer"
        if enough and outputs.format != "answers" and scores.confidence is not None:
            # Platt scaling would need the log-odds of what is between 0 and 1.
            return table, f"Histogram binning, because {one}, between 0 and 1."
        return PLATT, f"Platt scaling, because {one}."
    real = True if outputs.class_where is None else outputs.class_where
    if np.any(np.isneginf(values) & real):
        zeros = "some probabilities are 0, which no temperature can explain without "
        zeros += "--smoothing"
        name = "Histogram binning" if enough else "Platt scaling"
        return table, f"{name} of the answer's probability, because {zeros}."
    if outputs.labels is None:
        return PLATT, "Platt scaling, because there are outcomes and no labels."
    if enough and _far_apart(values, real):
        return HISTOGRAM, (
            "Histogram binning of the answer's probability, because the values of "
            "options lie hundreds apart, which no temperature mends."
        )
    return TEMPERATURE, "Temperature scaling, because each option has a value."


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
    if outputs.format == "answers":
        # Mean log-likelihoods: their exponentials are mean probabilities of a token.
        return np.exp(np.minimum(score, np.float32(0)))
    inside = np.all((score >= 0) & (score <= 1))
    return score if inside else None


def _outcome(outputs: Outputs, prediction: np.ndarray | None) -> np.ndarray:
    if outputs.outcomes is not None:
        return np.asarray(outputs.outcomes, np.float32)
    if outputs.labels is not None and prediction is None:
        raise ValueError(
            f"{outputs.name}: it has scores and does not say which option each answer "
            "chose. Add a column prediction, or the probabilities of all options."
        )
    if outputs.labels is None or prediction is None:
        raise ValueError(
            f"{outputs.name}: nothing says which answers are right. Pass a file of "
            "labels or outcomes with --labels."
        )
    return (prediction == outputs.labels).astype(np.float32)
