"""Calibrators of the logits of all classes."""

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
      fit: from logits and labels to parameters and a report; None leaves the logits as
        they are.
    """

    title: str
    fit: Callable[..., Any] | None


METHODS: Mapping[str, Method] = {
    "none": Method("none", None),
    "temperature": Method("temperature", cj.fit_temperature),
    "ensemble": Method("ensemble temperature", cj.calibration.fit_ensemble_temperature),
    "vector": Method("vector", cj.calibration.fit_vector),
    "dirichlet": Method("Dirichlet", cj.calibration.fit_dirichlet),
}


def judge(outputs: Outputs, method: str, rows: Rows) -> Judged:
    """A calibrator on one task."""
    found = []
    for logits in outputs.logits:
        # Each size is a program of its own: fits of few rows would otherwise take as
        # long as those of many.
        of_sizes = [
            _of_model(
                logits,
                outputs.label,
                rows.fitted[:, :size],
                rows.tested,
                method=METHODS[method],
            )
            for size in rows.sizes
        ]
        measures, fits = zip(*of_sizes, strict=True)
        found.append((np.stack(measures, axis=1), np.stack(fits, axis=1)))
    return over_models(found)


@functools.partial(jax.jit, static_argnames="method")
def _of_model(
    logits: jax.Array,
    labels: jax.Array,
    fitted: jax.Array,
    tested: jax.Array,
    *,
    method: Method,
) -> tuple[jax.Array, jax.Array]:
    """Measures `[S, 4]` and whether the fit was found, bool `[S]`."""

    def of_split(split: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        first, second = split
        found, judged = jnp.array(True), cj.scaled_softmax(logits[second])
        if method.fit is not None:
            params, report = method.fit(logits[first], labels[first])
            judged, found = cj.calibrate(params, logits[second]), report.converged
        label, outcome = labels[second], jnp.argmax(judged, axis=1) == labels[second]
        measures = (
            cj.metrics.multiclass_log_loss(judged, label),
            cj.metrics.multiclass_brier_score(judged, label),
            cj.expected_calibration_error(jnp.max(judged, axis=1), outcome),
            jnp.mean(outcome),
        )
        return jnp.stack(measures), found

    return lax.map(of_split, (fitted, tested))
