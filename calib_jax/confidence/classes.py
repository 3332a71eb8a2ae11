r"""Confidence from logits of classes or answer options, and from saved confidences.

Shapes: N examples, C classes, A answer options, V vocabulary. Classes are on the last
axis; leading axes are free. Everything is computed in float32: bfloat16 and float16
logits are read as they are, float64 ones become float32. The largest logit is
subtracted before exponentials are taken, so no finite logit overflows.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._core import checks, class_axis, dispatch, masking, records, reduce
from .._core.domains import Confidence, LogProbability, Positive


@records.record(axes={"confidence": None, "prediction": None})
class Top1(records.Result):
    """The most probable class and its probability.

    Attributes:
      confidence: float32 `[N]`, probability of the predicted class, in `[0, 1]`.
      prediction: int32 `[N]`, the predicted class; -1 if the row has none.
    """

    confidence: jax.Array
    prediction: jax.Array


def scaled_softmax(
    logits: ArrayLike,
    temperature: Any = 1.0,
    *,
    class_where: ArrayLike | None = None,
) -> jax.Array:
    r"""Softmax of logits divided by a temperature.

    .. math:: p_k = \frac{\exp(z_k / T)}{\sum_j \exp(z_j / T)}

    A logit of -inf has probability 0 at any temperature. Masked classes get exactly 0,
    and a fully masked row is all 0. A row is NaN if it holds NaN or +inf or only -inf;
    all rows are NaN if the temperature is not positive and finite.

    Args:
      logits: floating `[..., C]`.
      temperature: floating scalar, positive and finite, or a `Temperature`; above 1
        lowers confidence. Other calibrators are refused: use `calib_jax.calibrate`.
      class_where: optional bool `[C]` or `[..., C]`, the classes that count.

    Returns:
      float32 probabilities of the shape of `logits`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, parameters that are not a
        `Temperature`, or a host temperature not above 0.

    References:
      Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv 1706.04599;
      Hao et al. 2026, arXiv 2601.07965.

    Examples:
      >>> print(scaled_softmax([[2.0, 0.0], [0.0, 0.0]], 2.0).round(3))
      [[0.731 0.269]
       [0.5   0.5  ]]
    """
    array = checks.logits("logits", logits, rank=range(1, 9), axes="[..., C]")
    scale = _checked_temperature(temperature)
    return softmax(array, scale, checks.class_mask(class_where, array))


def top1(
    logits: ArrayLike,
    temperature: Any = 1.0,
    *,
    class_where: ArrayLike | None = None,
) -> Top1:
    r"""Predicted class and confidence :math:`c(x) = \max_k p_k`, in one pass.

    Equals the maximum of `scaled_softmax` without writing the probabilities. Among
    equal logits the first is predicted. A row with a NaN or +inf logit, or with no
    class left (all masked or -inf), has confidence NaN and prediction -1. All
    confidences are NaN if the temperature is not positive and finite.

    Args:
      logits: floating `[..., C]`.
      temperature: floating scalar, positive and finite, or a `Temperature`; other
        calibrators are refused.
      class_where: optional bool `[C]` or `[..., C]`, the classes that count.

    Returns:
      `Top1` with float32 `.confidence` and int32 `.prediction`, each `[...]`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, parameters that are not a
        `Temperature`, or a host temperature not above 0.

    References:
      Hao et al. 2026, arXiv 2601.07965, section 2 (confidence of a classifier).

    Examples:
      >>> best = top1([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]], temperature=2.0)
      >>> print(best.confidence.round(3), best.prediction)
      [0.576 0.452] [0 2]
    """
    array = checks.logits("logits", logits, rank=range(1, 9), axes="[..., C]")
    scale = _checked_temperature(temperature)
    return best_class(array, scale, checks.class_mask(class_where, array))


def log_odds(confidence: ArrayLike) -> jax.Array:
    r"""Log-odds of a stated or saved confidence, a score for `calib_jax.fit_platt`.

    .. math:: s = \log c - \log(1 - c)

    For a log-probability use `calib_jax.confidence.log_odds_from_log`. With two classes
    the log-odds are the difference of the two logits, so Platt scaling of them is a
    temperature with a bias. Confidences are clipped to
    :math:`[2^{-24}, 1 - 2^{-24}]`, since float32 rounds closer ones to 0 or 1: scores
    lie within 24 log 2, about 16.6.

    Args:
      confidence: floating `[...]`, in `[0, 1]`.

    Returns:
      float32 of the same shape, in nats; NaN for NaN or outside `[0, 1]`.

    Raises:
      ValueError: for a wrong dtype, or a host value outside `[0, 1]`.

    References:
      Platt, "Probabilistic outputs for support vector machines", 1999.

    Examples:
      >>> print(log_odds([0.5, 0.9, 1.0]).round(3))
      [ 0.     2.197 16.636]
    """
    value = checks.floats("confidence", confidence, rank=range(9), axes="[...]")
    return as_log_odds(value)


def log_odds_from_log(log_confidence: ArrayLike) -> jax.Array:
    r"""Log-odds of a confidence whose logarithm was kept, a score for `fit_platt`.

    .. math:: s = \ell - \log(1 - e^\ell)

    Use it for log-probabilities, such as a server returns; `calib_jax.log_odds` takes
    the confidence itself. Their exponential would lose the differences between
    confidences near 1, and round those of long texts to 0. Scores are at most 24 log 2,
    as in `log_odds`, but have no lower limit: there the log-odds equal the logarithm.

    Args:
      log_confidence: floating `[...]`, at most 0, in nats; -inf is a confidence of 0.

    Returns:
      float32 of the same shape, in nats. -inf maps to -inf, which the fits reject; NaN
      and values above 0 give NaN.

    Raises:
      ValueError: for a wrong dtype, or a host value above 0.

    References:
      Platt, "Probabilistic outputs for support vector machines", 1999.

    Examples:
      >>> print(log_odds_from_log([-0.6931472, -1e-6, 0.0]).round(3))
      [ 0.    13.816 16.636]
    """
    value = checks.floats("log_confidence", log_confidence, rank=range(9), axes="[...]")
    return _log_odds_from_log(value)


def choice_logits(logits: ArrayLike, choice_ids: ArrayLike) -> jax.Array:
    """Logits of the answer tokens, such as A to D of a multiple-choice question.

    They are class logits of A options: renormalise them with `scaled_softmax`, or pass
    them to `top1` and `calib_jax.fit_temperature`.

    Args:
      logits: floating `[..., V]`, raw logits for the first token of the answer.
      choice_ids: integer `[A]`, the token of each option; an id outside `[0, V)` gives
        NaN.

    Returns:
      `[..., A]`, float32, bfloat16 or float16 as `logits`.

    Raises:
      ValueError: for a wrong rank, shape or dtype, or equal ids on the host.

    References:
      Hao et al. 2026, arXiv 2601.07965 (multiple-choice tasks).

    Examples:
      >>> print(choice_logits([[0.5, 2.0, -1.0, 3.0]], [3, 1]))
      [[3. 2.]]
    """
    array = checks.logits("logits", logits, rank=range(1, 9), axes="[..., V]")
    ids = checks.integers("choice_ids", choice_ids, axes="[A]")
    if isinstance(ids, np.ndarray) and len(np.unique(ids)) < len(ids):
        raise ValueError(
            f"choice_ids: expected a token of its own for each option, got "
            f"{ids.tolist()}. Where options share their first token, take a later one."
        )
    return _choice_logits(array, ids)


def is_right(prediction: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """1 where a prediction is the label, else 0; NaN if the label is not a class."""
    known = (labels >= 0) & (labels < num_classes)
    right = (prediction == labels).astype(jnp.float32)
    return jnp.where(known, right, jnp.nan)


def _checked_temperature(temperature: Any) -> jax.Array:
    # The type `Temperature` lives on a higher floor.
    if records.is_record(temperature) and not isinstance(temperature, type):
        fields = [field.name for field in dataclasses.fields(temperature)]
        if fields != ["temperature"]:
            raise ValueError(
                "temperature: expected a floating scalar or a Temperature, got "
                f"{type(temperature).__name__}, which is not a temperature alone: use "
                "calibrate for it."
            )
        temperature = temperature.temperature
    return checks.scalar("temperature", temperature)


# The distance from 1 to the next smaller float32.
_LEAST = 2.0**-24


@dispatch.core(rows=["confidence N ..."], elementwise=True)
def as_log_odds(confidence: Confidence) -> jax.Array:
    """The core of `log_odds`."""
    inside = jnp.clip(confidence, _LEAST, 1 - _LEAST)
    return jnp.log(inside) - jnp.log1p(-inside)


@dispatch.core(rows=["log_confidence N ..."], elementwise=True)
def _log_odds_from_log(log_confidence: LogProbability) -> jax.Array:
    inside = jnp.minimum(log_confidence, math.log1p(-_LEAST))
    return inside - jnp.log(-jnp.expm1(inside))


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], elementwise=True)
def softmax(
    logits: jax.Array, temperature: Positive, class_where: jax.Array | None
) -> jax.Array:
    """The core of `scaled_softmax`."""
    maximum = masking.class_maximum(logits, class_where)
    below, inside = masking.shifted(logits, maximum, class_where)
    exponentials = jnp.where(inside, jnp.exp(below / temperature), 0.0)
    probabilities = exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)
    # +inf minus +inf is NaN for the largest logit only; the others would become 0.
    bad = jnp.isnan(temperature) | ~jnp.isfinite(maximum[..., None])
    return masking.fill(jnp.where(bad, jnp.nan, probabilities), class_where, 0.0)


@dispatch.core(rows=["logits N ... C", "class_where N ... C"], rows_of="logits")
def best_class(
    logits: jax.Array, temperature: Positive, class_where: jax.Array | None
) -> Top1:
    """The core of `top1`."""
    shape, num_classes = logits.shape[:-1], logits.shape[-1]
    rows, shared = {"logits": logits.reshape(-1, num_classes)}, None
    if class_where is not None and class_where.shape == logits.shape:
        rows["class_where"] = class_where.reshape(-1, num_classes)
    elif class_where is not None:
        shared = class_where.reshape(1, num_classes)

    def best(block: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        classes = block.get("class_where", shared)
        logits = block["logits"].astype(jnp.float32)
        maximum, first = class_axis.largest_class(
            masking.fill(logits, classes, -jnp.inf)
        )
        below, inside = masking.shifted(logits, maximum, classes)
        exponentials = jnp.where(inside, jnp.exp(below / temperature), 0.0)
        total = jnp.sum(exponentials, axis=-1)
        found = jnp.isfinite(maximum)
        return jnp.where(found, 1.0 / total, jnp.nan), jnp.where(found, first, -1)

    confidence, prediction = reduce.map_rows(best, rows)
    return Top1(
        confidence=confidence.reshape(shape), prediction=prediction.reshape(shape)
    )


@dispatch.core(rows=["logits N ... V"], rows_of="logits")
def _choice_logits(logits: jax.Array, choice_ids: jax.Array) -> jax.Array:
    index = jnp.where(choice_ids < 0, logits.shape[-1], choice_ids)
    return jnp.take(logits, index, axis=-1, mode="fill")
