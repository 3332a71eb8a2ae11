"""Cases of `calib_jax.cascade`."""

import jax
import jax.numpy as jnp

import calib_jax as cj
from calib_jax._core import records

from . import makers
from .kit import FRESH, GIVEN, all_rows, case, elsewhere
from .makers import NUM_BINS, by_model, partial, tied

_CONFIDENCES = "small_confidence large_confidence"
_ROUTED = "router small_confidence small_outcome large_outcome"
_CHAIN_ROWS = {
    "confidences": by_model(tied, 3),
    "outcomes": by_model(partial, 3),
    "costs": lambda rng, n: rng.choice([0.25, 1.0, 1.5], (3, n)),
}
_ARBITER = cj.cascade.Arbiter(
    small_slope=jnp.float32(1), large_slope=jnp.float32(0.8), intercept=jnp.float32(0)
)
_CHAIN_AXES = dict.fromkeys(_CHAIN_ROWS, 1)
_VOTES = {
    "predictions": lambda rng, n: rng.integers(-1, 3, (3, n)),
    "confidences": by_model(tied, 3),
}
_JUDGED_VOTES = {
    **_VOTES,
    "labels": makers.BY_NAME["labels"],
    "costs": _CHAIN_ROWS["costs"],
}
_VOTE_AXES = {"predictions": 1, "confidences": 1, "labels": 0, "costs": 1}


def _of_curve(name, gradients=("curve",), **given):
    return case(name, "curve", given=given, gradients=gradients)


def _arbiter_parts(result):
    """Without what depends on rounding, and how many rows there were."""
    arbiter, report = result
    found = report.helps, report.gain, report.standard_error
    return (), (arbiter, *found, report.fit.loss, report.fit.status)


def _same(inputs):
    return inputs


def _twice(inputs):
    return 2.0 * inputs


def _negative(inputs):
    return -inputs


def _deferral_parts(result):
    by_row = {name: getattr(result, name) for name in records.per_row(result)}
    return by_row, result.overflow


_CURVES = [
    case("advantage_table", f"bins {_CONFIDENCES}", again=True, **GIVEN),
    case(
        "advantage_table",
        f"bins {_CONFIDENCES} small_outcome large_outcome",
        "outcomes",
        **GIVEN,
    ),
    case("fit_router", f"{_CONFIDENCES} num_bins", **FRESH),
    case("fit_router", f"{_CONFIDENCES} bins", "bins", again=True, **GIVEN),
    case("use_small", "router small_confidence num_small_bins", split=all_rows),
    case("cascade_curve", _ROUTED, **GIVEN),
    case("cascade_curve", f"{_ROUTED} conferred_outcome", "conferred", **GIVEN),
    case(
        "defer",
        "small large inputs small_params large_params router num_small_bins",
        given={
            "small": lambda rng, n: _same,
            "large": lambda rng, n: _twice,
            "inputs": makers.BY_NAME["logits"],
            "small_params": cj.Temperature(temperature=jnp.float32(1.7)),
            "large_params": cj.Temperature(temperature=jnp.float32(2.5)),
            "capacity": 7,
        },
        rows={"inputs": 0},
        split=_deferral_parts,
        where=True,
    ),
    case(
        "defer",
        "small large inputs small_params large_params router num_small_bins",
        "arbiter",
        given={
            "small": lambda rng, n: _same,
            "large": lambda rng, n: _negative,
            "inputs": makers.BY_NAME["logits"],
            "small_params": cj.Temperature(temperature=jnp.float32(1.7)),
            "large_params": cj.Temperature(temperature=jnp.float32(2.5)),
            "capacity": 7,
            "arbiter": _ARBITER,
        },
        rows={"inputs": 0},
        split=_deferral_parts,
        where=True,
        again=True,
    ),
    case(
        "cascade.fit_arbiter",
        "pair_rows differ",
        split=_arbiter_parts,
        exact=False,
        **GIVEN,
    ),
    case(
        "cascade.prefer_large",
        f"arbiter {_CONFIDENCES}",
        split=all_rows,
    ),
    _of_curve("random_curve"),
    _of_curve("performance_gap_recovered"),
    _of_curve("average_performance_gap_recovered"),
    _of_curve("call_performance_threshold", target=0.4),
    # A draw picks rows by their position, so rows cannot be moved or removed.
    case(
        "cascade_interval",
        f"key {_ROUTED} num_resamples",
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "cascade_interval",
        f"key {_ROUTED} conferred_outcome num_resamples",
        "conferred",
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "cascade.router_difference_interval",
        "key first second first_confidence second_confidence small_outcome "
        "large_outcome num_resamples",
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "cascade.router_difference_interval",
        "key first second first_confidence second_confidence small_outcome "
        "large_outcome first_conferred_outcome num_resamples",
        "conferred",
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "cascade.cascade_savings",
        f"key {_ROUTED} num_small_bins small_cost large_cost num_resamples",
        rows={},
        exact=False,
    ),
    case(
        "cascade.cascade_savings",
        f"key {_ROUTED} num_small_bins num_resamples",
        "prices",
        given={"small_cost": 0.25, "large_cost": 1.5},
        rows={},
        exact=False,
        again=True,
    ),
    case(
        "cascade.cascade_savings",
        f"key {_ROUTED} conferred_outcome num_small_bins num_resamples",
        "conferred",
        given={"small_cost": 0.25, "large_cost": 1.5},
        rows={},
        exact=False,
        again=True,
    ),
]

_SELECTIONS = [
    _of_curve("choose_num_small_bins", ()),
    case(
        "choose_num_small_bins",
        "curve",
        "targets",
        given={"min_accuracy": 0.7, "max_large_share": 0.5},
        gradients=(),
    ),
    case(
        "cascade.control_regret",
        _ROUTED,
        given={"max_regret": 0.3},
        where=True,
        again=True,
    ),
    *(
        case(
            f"cascade.{name}",
            f"{_ROUTED} conferred_outcome",
            "conferred",
            given=limits,
            where=True,
            again=True,
        )
        for name, limits in (
            ("control_regret", {"max_regret": 0.3}),
            ("control_accuracy_drop", {"max_drop": 0.6, "betting": False}),
        )
    ),
    case("cascade.control_accuracy_drop", _ROUTED, given={"max_drop": 0.6}, where=True),
    case(
        "cascade.control_accuracy_drop",
        _ROUTED,
        "hoeffding_bentkus",
        given={"max_drop": 0.6, "betting": False},
        where=True,
        again=True,
    ),
    case(
        "cascade.control_small_error",
        "router small_confidence",
        given={
            "small_outcome": lambda rng, n: rng.random(n) < 0.7,
            "max_error": 0.6,
        },
        where=True,
        again=True,
    ),
    case(
        "cascade.control_cost",
        "router small_confidence small_cost large_cost",
        given={"max_cost": 0.9, "cost_limit": 2.0},
        where=True,
        again=True,
    ),
    case(
        "cascade.choose_by_confidence",
        given={
            "router": lambda rng, n: cj.fit_router(
                tied(rng, n), tied(rng, n), num_bins=NUM_BINS
            ),
            "max_loss": 0.1,
        },
    ),
    case(
        "cascade.choose_by_confidence",
        f"router {_CONFIDENCES}",
        "rows",
        given={"max_loss": 0.1},
        where=True,
        again=True,
    ),
    # See test_guarantees.py.
    *elsewhere("cascade.fit_router_with_guarantee"),
]

_CHAINS = [
    case("cascade.fit_chain", "confidences num_bins", again=True, **FRESH),
    case(
        "cascade.chain_answers",
        "chain",
        given={
            "confidences": by_model(tied, 3),
            "num_kept_bins": lambda rng, n: rng.integers(1, NUM_BINS, 2),
        },
        split=all_rows,
    ),
    case(
        "cascade.chain_curve",
        "chain",
        given=_CHAIN_ROWS,
        rows=_CHAIN_AXES,
        again=True,
        **GIVEN,
    ),
    *(
        case(name, given={"curve": makers.chain_curve, **more}, again=True)
        for name, more in (
            ("cascade.cost_frontier", {}),
            ("cascade.best_within_cost", {"max_cost": 0.8}),
            ("cascade.selective_accuracy", {}),
        )
    ),
    case(
        "cascade.with_abstaining",
        given={**_CHAIN_ROWS, "worth": 0.6, "cost": 2.0},
        rows=_CHAIN_AXES,
        split=lambda rows: (jax.tree.map(jnp.transpose, rows), ()),
        again=True,
    ),
]

_COMMITTEES = [
    case("cascade.committee", given=_VOTES, split=all_rows, where=True),
    case(
        "cascade.growing_committees",
        given=_VOTES,
        split=lambda found: (jax.tree.map(jnp.transpose, found), ()),
        where=True,
        again=True,
    ),
    case(
        "cascade.committee_curve",
        given={**_JUDGED_VOTES, "min_evidence": 1.5},
        rows=_VOTE_AXES,
        **GIVEN,
    ),
    case(
        "cascade.order_committee",
        given=_JUDGED_VOTES,
        rows=_VOTE_AXES,
        again=True,
        **GIVEN,
    ),
]

CASES = [*_CURVES, *_SELECTIONS, *_CHAINS, *_COMMITTEES]
