"""Cases of `calib_jax.streaming`."""

import jax.numpy as jnp
import numpy as np

import calib_jax as cj
from calib_jax._core import exact

from . import makers
from .kit import FRESH, GIVEN, case, elsewhere
from .makers import (
    cascade_state,
    class_loss_state,
    platt_state,
    reliability_state,
    temperature_state,
)


def _state(make):
    """A maker of a state with `ROWS` rows, whatever the number of new ones."""
    return lambda rng, n: make(rng)


def _temperature_sums(given):
    """The sums of an update as floats, which rounding may change."""
    state = cj.streaming.update_temperature(**given)
    return exact.to_float(state.totals)[0], exact.to_float(state.curves)[0]


def _class_loss_sums(given):
    state = cj.streaming.update_class_losses(**given)
    # Weight 2 is not two rows.
    return exact.to_float(state.sums.sums)[0][1:]


def _fit_parts(result):
    """Without the estimates made from differences of rounded numbers."""
    params, fit = result
    return (), (params, fit.lower, fit.upper, fit.loss, fit.converged, fit.status)


def _summary_parts(result):
    """Without the infinite ends of empty buckets."""
    ends = [
        jnp.where(jnp.isinf(x), jnp.float32(0), x)
        for x in (result.least, result.greatest)
    ]
    return (), (result.sums, ends)


_SUMMARIES = [
    case("streaming.score_buckets", "num_buckets"),
    case("streaming.init_reliability", "buckets"),
    case("streaming.init_cascade", "buckets"),
    case(
        "streaming.update_reliability",
        "state scores outcomes",
        given={"state": lambda rng, n: cj.streaming.init_reliability(makers.bins(rng))},
        split=_summary_parts,
        **FRESH,
    ),
    case(
        "streaming.update_cascade",
        "state small_confidence large_confidence small_outcome large_outcome",
        given={"state": _state(cascade_state)},
        split=_summary_parts,
        again=True,
        **FRESH,
    ),
    case(
        "streaming.merge",
        given={"first": _state(reliability_state), "second": _state(reliability_state)},
    ),
    *(
        case(
            name,
            "state num_bins",
            given={"state": _state(make)},
            again=name != "streaming.expected_calibration_error",
        )
        for name, make in (
            ("streaming.reliability_table", reliability_state),
            ("streaming.expected_calibration_error", reliability_state),
            ("streaming.fit_router", cascade_state),
        )
    ),
    case("streaming.brier_score", given={"state": _state(reliability_state)}),
    case(
        "streaming.update_class_losses",
        "state class_rows",
        given={"state": lambda rng, n: cj.streaming.init_class_losses()},
        exact=False,
        call=_class_loss_sums,
        **GIVEN,
    ),
    *(
        case(f"streaming.{name}", given={"state": _state(class_loss_state)})
        for name in ("multiclass_log_loss", "multiclass_brier_score")
    ),
    case(
        "streaming.cascade_curve",
        "state router",
        given={"state": _state(cascade_state)},
    ),
    case(
        "streaming.average_performance_gap_recovered",
        "state router",
        given={"state": _state(cascade_state)},
        again=True,
    ),
    # Inside a mapped function, and on blocks: see test_streaming.py, test_blocks.py.
    *elsewhere(
        "streaming.psum",
        "streaming.init_class_losses",
        "streaming.blocks.from_arrays",
        "streaming.blocks.reliability_table",
        "streaming.blocks.expected_calibration_error",
    ),
]

_FITS = [
    case(
        "streaming.init_temperature",
        given={"log_temperatures": lambda rng, n: np.arange(5.0)},
    ),
    case(
        "streaming.update_temperature",
        "state class_rows",
        given={
            "state": lambda rng, n: cj.streaming.init_temperature([-1.0, 0.0, 1.0, 2.0])
        },
        exact=False,
        call=_temperature_sums,
        again=True,
        **GIVEN,
    ),
    case(
        "streaming.fit_temperature",
        given={"state": _state(temperature_state)},
        split=_fit_parts,
    ),
    case("streaming.init_platt", given={"num_buckets": 512}),
    case(
        "streaming.update_platt",
        "state platt_rows",
        given={"state": _state(platt_state)},
        split=_summary_parts,
        again=True,
        **FRESH,
    ),
    case("streaming.fit_platt", given={"state": _state(platt_state)}, again=True),
    case(
        "streaming.merge",
        variant="fits",
        given={"first": _state(temperature_state), "second": _state(temperature_state)},
    ),
    # See test_streaming_fits.py.
    *elsewhere("streaming.blocks.fit_temperature", "streaming.blocks.fit_platt"),
]

CASES = [*_SUMMARIES, *_FITS]
