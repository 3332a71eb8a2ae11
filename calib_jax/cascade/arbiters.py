r"""Two models that confer: whose answer to take once both were asked.

Shapes: N examples. The paper takes the large model's answer wherever it was asked, even
where the small model was surer. Calibrated confidences can be compared between models,
so the two answers can be weighed for each input.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._core import checks, dispatch, records
from .._core.domains import Confidence
from ..calibration.reports import FitReport


@records.record()
class Arbiter:
    r"""Whose answer is right, where two models differ and one of them is right.

    .. math:: P(\text{large right}) = \sigma(a_l \operatorname{logit} c_l
        - a_s \operatorname{logit} c_s + d)

    Slopes of 1 and an intercept of 0 take the surer answer, which is best if the models
    err independently. Slopes of 0 always take the same model: the large one if the
    intercept is at least 0.

    Attributes:
      small_slope: float32 scalar.
      large_slope: float32 scalar.
      intercept: float32 scalar, in logits.
    """

    small_slope: jax.Array
    large_slope: jax.Array
    intercept: jax.Array


@records.record(axes={"fit": None})
class ArbiterReport:
    """What an arbiter gains, on rows that took no part in fitting it.

    Attributes:
      helps: bool scalar, whether the gain is shown. If not, the arbiter always takes
        the model that is better on the calibration rows that differ.
      gain: float32 scalar, gain of accuracy over the better model of the two if all
        rows are asked of both, cross-fitted on the calibration rows.
      standard_error: float32 scalar, of the gain.
      num_decisive: int32 scalar, rows on which the answers differ and exactly one is
        right, or one is more right.
      fit: `FitReport` of the slopes and the intercept.
    """

    helps: jax.Array
    gain: jax.Array
    standard_error: jax.Array
    num_decisive: jax.Array
    fit: FitReport


def fit_arbiter(
    small_confidence: ArrayLike,
    large_confidence: ArrayLike,
    small_outcome: ArrayLike,
    large_outcome: ArrayLike,
    *,
    differ: ArrayLike | None = None,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Arbiter, ArbiterReport]:
    """To be written."""
    raise NotImplementedError


def prefer_large(
    arbiter: Arbiter, small_confidence: ArrayLike, large_confidence: ArrayLike
) -> jax.Array:
    """Where to take the large model's answer, once both were asked and differ."""
    checks.instance("arbiter", arbiter, Arbiter)
    small = checks.floats("small_confidence", small_confidence)
    large = checks.floats("large_confidence", large_confidence)
    checks.same_shape(small_confidence=small, large_confidence=large)
    return _prefer_large(arbiter, small, large)


@dispatch.core(rows=["small_confidence", "large_confidence"])
def _prefer_large(
    arbiter: Arbiter, small_confidence: Confidence, large_confidence: Confidence
) -> jax.Array:
    def log_odds(confidence: jax.Array) -> jax.Array:
        inside = jnp.clip(confidence, 1e-6, 1 - 1e-6)
        return jnp.log(inside) - jnp.log1p(-inside)

    margin = (
        arbiter.large_slope * log_odds(large_confidence)
        - arbiter.small_slope * log_odds(small_confidence)
        + arbiter.intercept
    )
    return ~(margin < 0)
