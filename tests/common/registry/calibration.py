"""Cases of `calib_jax.calibration`."""

import jax.numpy as jnp

import calib_jax as cj

from . import makers
from .kit import FRESH, GIVEN, all_rows, case
from .makers import NUM_BINS


def _fit_parts(result):
    """Without the number of steps and the last gradient, which depend on rounding."""
    params, report = result
    return (), (params, report.loss, report.status, report.converged)


def _applied(arguments):
    """The map at a few scores: a plain call has fewer knots than a traced one."""
    params, report = cj.calibration.fit_isotonic(**arguments)
    return cj.calibrate(params, jnp.linspace(-0.5, 1.5, 64)), report


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
    case("fit_histogram", "scores outcomes num_bins", **FRESH),
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
        "platt",
        cj.Platt(slope=jnp.float32(2.5), intercept=jnp.float32(-1)),
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
