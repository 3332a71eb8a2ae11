"""Calibrators of one score for each answer.

The score is the log-odds of the confidence that a model states.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import calib_jax as cj
from benchmarks.kit.outputs import Outputs

from .judged import Judged, Rows, over_models


class Method(NamedTuple):
    """A calibrator.

    Attributes:
      title: to print.
      fit: from scores, outcomes and `where` to parameters and a report; None leaves the
        confidence as it is.
      of_confidence: whether it takes the confidence and not its log-odds.
    """

    title: str
    fit: Callable[..., Any] | None
    of_confidence: bool = False


METHODS: Mapping[str, Method] = {
    "none": Method("none", None),
    "platt": Method("Platt", cj.fit_platt),
    "smoothed": Method(
        "Platt, smoothed", functools.partial(cj.fit_platt, smooth_targets=True)
    ),
    "beta": Method("beta", cj.calibration.fit_beta, of_confidence=True),
    "isotonic": Method("isotonic", cj.calibration.fit_isotonic),
    "histogram": Method("histogram", cj.fit_histogram),
    "scaling_binning": Method("scaling-binning", cj.calibration.fit_scaling_binning),
}


def judge(outputs: Outputs, method: str, rows: Rows) -> Judged:
    """A calibrator on one task."""
    found = [
        _of_model(
            score,
            correct,
            rows.fitted,
            rows.tested,
            np.asarray(rows.sizes),
            method=METHODS[method],
        )
        for score, correct in zip(outputs.score, outputs.correct, strict=True)
    ]
    return over_models([tuple(map(np.asarray, one)) for one in found])


@functools.partial(jax.jit, static_argnames="method")
def _of_model(
    score: jax.Array,
    correct: jax.Array,
    fitted: jax.Array,
    tested: jax.Array,
    sizes: jax.Array,
    *,
    method: Method,
) -> tuple[jax.Array, jax.Array]:
    """Measures `[S, K, 4]` and whether the fit was found, bool `[S, K]`."""
    confidence = jax.nn.sigmoid(score)
    if method.of_confidence:
        # The log-odds are clipped to those of the confidences next to 0 and 1.
        score = jnp.clip(confidence, 2.0**-24, 1 - 2.0**-24)

    def of_split(split: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, second = split

        def of_size(size: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = jnp.array(True)
            judged = confidence[second]
            if method.fit is not None:
                where = jnp.arange(first.shape[0]) < size
                params, report = method.fit(score[first], correct[first], where=where)
                judged, found = cj.calibrate(params, score[second]), report.converged
            outcome = correct[second]
            measures = (
                cj.log_loss(judged, outcome),
                cj.brier_score(judged, outcome),
                cj.expected_calibration_error(judged, outcome),
                jnp.mean(outcome),
            )
            return jnp.stack(measures), found

        return lax.map(of_size, sizes)

    return lax.map(of_split, (fitted, tested))
