"""Beta calibration: a curve from one confidence to another.

Shapes: N examples. One problem at a time; batch with `jax.vmap`.
"""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from .._core import dispatch, records
from .._core.domains import Confidence
from .reports import FitReport


@records.record(
    values={"slope": records.NON_NEGATIVE, "complement_slope": records.NON_NEGATIVE}
)
class Beta:
    """Parameters of beta calibration.

    The confidence c becomes `sigmoid(slope log c - complement_slope log(1 - c) +
    intercept)`.

    Attributes:
      slope: float32 scalar, at least 0.
      complement_slope: float32 scalar, at least 0.
      intercept: float32 scalar, in logits.
    """

    slope: jax.Array
    complement_slope: jax.Array
    intercept: jax.Array


def fit_beta(
    confidence: ArrayLike,
    outcomes: ArrayLike,
    *,
    where: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    solver: optax.GradientTransformation | None = None,
) -> tuple[Beta, FitReport]:
    """To be built."""
    raise NotImplementedError


@dispatch.core(rows=["confidence N ..."], elementwise=True)
def apply_beta(params: Beta, confidence: Confidence) -> jax.Array:
    """Confidence float32 `[...]` of confidences float32 `[...]`."""

    def times(slope: jax.Array, logarithm: jax.Array) -> jax.Array:
        """0 times the infinite logarithm of a confidence of 0 or 1 is 0."""
        return jnp.where(slope == 0, 0.0, slope * jnp.where(slope == 0, 0.0, logarithm))

    logit = times(params.slope, jnp.log(confidence))
    logit = logit - times(params.complement_slope, jnp.log1p(-confidence))
    found = jax.nn.sigmoid(logit + params.intercept)
    return jnp.where(jnp.isnan(confidence), jnp.nan, found)
