"""Cases of `calib_jax.calibration`."""

import jax
import jax.numpy as jnp
import numpy as np

import calib_jax as cj

from . import makers
from .kit import FRESH, GIVEN, all_rows, case
from .makers import NUM_BINS, NUM_CLASSES


def _fit_parts(result):
    """Without the number of steps and the last gradient, which depend on rounding."""
    params, report = result
    return (), (params, report.loss, report.status, report.converged)


def _applied(arguments):
    """The map at a few scores: a plain call has fewer knots than a traced one."""
    params, report = cj.calibration.fit_isotonic(**arguments)
    return cj.calibrate(params, jnp.linspace(-0.5, 1.5, 64)), report


def _class_parts(result):
    """With probabilities in place of the parameters of classes: these are promised."""
    params, report = result
    scale, other = (np.asarray(leaf) for leaf in jax.tree.leaves(params)[:2])
    if scale.ndim == 2:
        shares = _softmax(np.log(_softmax(_LOGITS)) @ scale.T + other)
    elif scale.ndim == 1:
        shares = _softmax(_LOGITS * scale + other)
    else:
        parts = _softmax(_LOGITS / scale), _softmax(_LOGITS), 1 / NUM_CLASSES
        shares = sum(weight * part for weight, part in zip(other, parts, strict=True))
    shares = shares.astype(np.float32)
    return (), (shares, report.loss, report.status, report.converged)


def _softmax(logits):
    exponentials = np.exp(logits - np.max(logits, axis=1, keepdims=True))
    return exponentials / np.sum(exponentials, axis=1, keepdims=True)


def _calibrate(variant, params, x, **more):
    return case(
        "calibrate",
        "params x",
        variant,
        given={"params": params, "x": x},
        rows={"x": 0},
        split=all_rows,
        **more,
    )


def _of_classes(name, variant="", **more):
    return case(
        name,
        "class_rows",
        variant,
        split=_class_parts,
        exact=False,
        value=lambda result: result[0],
        **GIVEN,
        **more,
    )


_LOGITS = np.float32([[1, 0, -2, 0.5], [0, 3, 1, -1], [-1, -2, 0, 2], [1, 1, 1, 0]])
_SCALE, _BIAS = np.float32([0.5, 0.7, 1.1, 0.9]), np.float32([0.3, -0.1, 0.2, -0.4])
_MATRIX = np.diag(_SCALE) + np.float32(0.1) * np.arange(NUM_CLASSES, dtype=np.float32)

CASES = [
    case(
        "fit_temperature",
        "class_rows",
        split=_fit_parts,
        exact=False,
        gradients=("logits", "weights"),
        value=lambda result: result[0],
        **GIVEN,
    ),
    *(
        case(
            "fit_platt",
            "platt_rows",
            "smooth" if smooth else "",
            given={"smooth_targets": smooth},
            again=smooth,
            split=_fit_parts,
            exact=False,
            gradients=("scores", "outcomes", "weights"),
            value=lambda result: result[0],
            **GIVEN,
        )
        for smooth in (False, True)
    ),
    _of_classes(
        "calibration.fit_vector",
        given={"strength": 0.1},
        gradients=("logits", "weights"),
    ),
    _of_classes("calibration.fit_dirichlet", given={"strength": 0.5}),
    _of_classes("calibration.fit_dirichlet", "chosen", again=True),
    _of_classes("calibration.fit_ensemble_temperature", "mixture"),
    case("fit_histogram", "scores outcomes num_bins", **FRESH),
    case(
        "fit_histogram",
        "platt_rows",
        "leave_out_edges",
        given={"num_bins": 3, "leave_out_edges": True},
        again=True,
        **FRESH,
    ),
    case(
        "calibration.fit_beta",
        "beta_rows",
        split=_fit_parts,
        exact=False,
        gradients=("confidence", "outcomes", "weights"),
        value=lambda result: result[0],
        **GIVEN,
    ),
    # A row goes to a third by its position, so rows cannot be moved or removed.
    case(
        "calibration.fit_scaling_binning",
        "scores",
        given={"outcomes": lambda rng, n: rng.uniform(0.1, 0.9, n), "num_bins": 3},
        rows={},
        split=_fit_parts,
        exact=False,
    ),
    case("calibration.histogram_error_bound", "num_rows", given={"num_bins": 3}),
    case(
        "calibration.fit_isotonic",
        "scores outcomes",
        call=_applied,
        gradients=("outcomes", "weights"),
        value=lambda result: result[0],
        **GIVEN,
    ),
    _calibrate(
        "temperature",
        cj.Temperature(temperature=jnp.float32(1.7)),
        lambda rng, n: makers.class_rows(rng, n)[0],
        gradients=("params", "x"),
    ),
    _calibrate(
        "vector",
        cj.calibration.Vector(scale=jnp.asarray(_SCALE), bias=jnp.asarray(_BIAS)),
        lambda rng, n: makers.class_rows(rng, n)[0],
        gradients=("params", "x"),
    ),
    _calibrate(
        "dirichlet",
        cj.calibration.Dirichlet(
            matrix=jnp.asarray(_MATRIX),
            bias=jnp.asarray(_BIAS),
            strength=jnp.float32(1),
        ),
        lambda rng, n: makers.class_rows(rng, n)[0],
    ),
    _calibrate(
        "ensemble",
        cj.calibration.EnsembleTemperature(
            temperature=jnp.float32(1.7), weights=jnp.float32([0.7, 0.2, 0.1])
        ),
        lambda rng, n: makers.class_rows(rng, n)[0],
        gradients=("params", "x"),
    ),
    _calibrate(
        "platt",
        cj.Platt(slope=jnp.float32(2.5), intercept=jnp.float32(-1)),
        makers.tied,
        gradients=("params", "x"),
    ),
    _calibrate(
        "beta",
        cj.calibration.Beta(
            slope=jnp.float32(0.5),
            complement_slope=jnp.float32(2),
            intercept=jnp.float32(0.25),
        ),
        makers.tied,
        gradients=("params", "x"),
    ),
    _calibrate(
        "histogram",
        lambda rng, n: cj.Histogram(
            bins=makers.bins(rng), values=jnp.asarray(rng.random(NUM_BINS), jnp.float32)
        ),
        makers.tied,
    ),
]
