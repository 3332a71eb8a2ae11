"""Values outside their domain, ranks inside records, and K out of range, in cascades.

A wrong value raises for arrays of the host, and is NaN in those of a device.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

SIZE, NUM_BINS, BAD = 24, 4, 5
RNG = np.random.default_rng(0)
ROWS = {
    "small_confidence": np.float32(RNG.permutation(SIZE) / SIZE),
    "large_confidence": np.float32(RNG.uniform(0.5, 1.0, SIZE)),
    "small_outcome": np.float32(RNG.random(SIZE) < 0.6),
    "large_outcome": np.float32(RNG.random(SIZE) < 0.9),
    "small_cost": np.float32(RNG.uniform(0.0, 1.0, SIZE)),
    "large_cost": np.float32(RNG.uniform(0.0, 1.0, SIZE)),
    "first_confidence": np.float32(RNG.permutation(SIZE) / SIZE),
    "second_confidence": np.float32(RNG.permutation(SIZE) / SIZE),
    "weights": np.float32(RNG.integers(1, 3, SIZE)),
}
CONFIDENCES = ("small_confidence", "large_confidence")
OUTCOMES = ("small_outcome", "large_outcome")
ROUTER = cj.fit_router(*(ROWS[name] for name in CONFIDENCES), num_bins=NUM_BINS)
CURVE = cj.cascade_curve(ROUTER, ROWS["small_confidence"], *(ROWS[x] for x in OUTCOMES))
KEY = jax.random.key(0)
# Each function with the rows that it takes, and what a wrong row makes NaN.
FUNCTIONS = {
    "fit_router": (
        functools.partial(cj.fit_router, num_bins=NUM_BINS),
        (*CONFIDENCES, "weights"),
        lambda found: jnp.sum(found.table.advantage),
    ),
    "advantage_table": (
        functools.partial(cj.advantage_table, cj.equal_width_bins(1)),
        (*CONFIDENCES, *OUTCOMES, "weights"),
        lambda found: found.outcome_advantage + found.advantage,
    ),
    "cascade_curve": (
        functools.partial(cj.cascade_curve, ROUTER),
        (CONFIDENCES[0], *OUTCOMES, "weights"),
        lambda found: found.accuracy,
    ),
    "cascade_interval": (
        functools.partial(cj.cascade_interval, KEY, ROUTER, num_resamples=9),
        (CONFIDENCES[0], *OUTCOMES),
        lambda found: jnp.stack([*jax.tree.leaves(found.accuracy)]),
    ),
    "router_difference_interval": (
        functools.partial(
            cj.cascade.router_difference_interval, KEY, ROUTER, ROUTER, num_resamples=9
        ),
        ("first_confidence", "second_confidence", *OUTCOMES),
        lambda found: jnp.stack([*jax.tree.leaves(found.area)]),
    ),
    "control_regret": (
        functools.partial(cj.cascade.control_regret, ROUTER, max_regret=0.9),
        (CONFIDENCES[0], *OUTCOMES),
        lambda found: found.bound[-1],
    ),
    "control_accuracy_drop": (
        functools.partial(cj.cascade.control_accuracy_drop, ROUTER, max_drop=0.9),
        (CONFIDENCES[0], *OUTCOMES),
        lambda found: found.bound[-1],
    ),
    "control_small_error": (
        functools.partial(
            cj.cascade.control_small_error,
            ROUTER,
            small_outcome=ROWS["small_outcome"] > 0,
            max_error=0.9,
        ),
        (CONFIDENCES[0],),
        lambda found: found.bound[-1],
    ),
    "control_cost": (
        functools.partial(
            cj.cascade.control_cost, ROUTER, max_cost=3.0, cost_limit=2.0
        ),
        (CONFIDENCES[0], "small_cost", "large_cost"),
        lambda found: found.bound,
    ),
    "choose_by_confidence": (
        functools.partial(cj.cascade.choose_by_confidence, ROUTER, max_loss=0.5),
        CONFIDENCES,
        lambda found: found.bound[-1],
    ),
}
LIMITS = {
    "control_regret": ("max_regret", 95.0),
    "control_accuracy_drop": ("max_drop", -1.5),
    "control_small_error": ("max_error", 95.0),
    "control_cost": ("max_cost", -1.0),
    "choose_by_confidence": ("max_loss", 93.0),
}


def wrong_value(name):
    return {"confidence": 93.0, "outcome": 7.0}.get(name.split("_")[-1], -1.0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_rows(function):
    call, names, read = FUNCTIONS[function]
    rows, every = {name: ROWS[name] for name in names}, np.ones(SIZE, bool)
    some = np.arange(SIZE) != BAD
    clean = call(**rows, where=some)
    assert np.isfinite(read(clean)).all()
    for name in names:
        wrong = np.where(some, rows[name], wrong_value(name)).astype(np.float32)
        reason = rf"{name}: expected values in \[0, .*row {BAD} holds {wrong[BAD]:g}"
        with pytest.raises(ValueError, match=reason):
            call(**rows | {name: wrong}, where=every)
        # A device is not waited for.
        found = call(**rows | {name: jnp.asarray(wrong)}, where=every)
        assert np.isnan(read(found)).all(), name
        # A row that is removed may hold anything.
        same = call(**rows | {name: wrong}, where=some)
        jax.tree.map(np.testing.assert_array_equal, same, clean)


@pytest.mark.parametrize("function", LIMITS)
def test_wrong_limits_are_not_feasible(function):
    (name, wrong), (call, names, _) = LIMITS[function], FUNCTIONS[function]
    rows = {row: ROWS[row] for row in names}
    with pytest.raises(ValueError, match=rf"{name}: expected a number in .*{wrong:g}"):
        call(**rows, **{name: wrong})
    safe = NUM_BINS if name == "max_cost" else 0
    for level in (jnp.float32(wrong), np.nan):
        found = call(**rows, **{name: level})
        assert not found.feasible and found.num_small_bins == safe
        assert np.isnan(found.level)


def test_wrong_limits_of_a_curve():
    for name, safe in (("min_accuracy", 0), ("max_large_share", NUM_BINS)):
        for level in (jnp.float32(93), np.nan):
            found = cj.choose_num_small_bins(CURVE, **{name: level})
            assert not found.feasible and found.num_small_bins == safe
    assert np.isnan(cj.call_performance_threshold(CURVE, np.nan))
    limit = functools.partial(FUNCTIONS["control_cost"][0], **CHEAP)
    with pytest.raises(ValueError, match=r"cost_limit: expected a number in \[0, inf"):
        limit(cost_limit=-2.0)
    assert not limit(cost_limit=jnp.float32(-2)).feasible


CHEAP = {name: ROWS[name] for name in ("small_confidence", "small_cost", "large_cost")}


def test_under_transformations():
    """One bad row spoils its own problem only, and no gradient of a removed row."""
    curve, names, _ = FUNCTIONS["cascade_curve"]
    confidence, small, large, _ = (ROWS[name] for name in names)
    some = np.arange(SIZE) != BAD
    wrong = np.where(some, small, 3.0).astype(np.float32)
    found = jax.vmap(lambda one: curve(confidence, one, large).accuracy)(
        jnp.stack([small, wrong])
    )
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()

    @jax.jit
    @jax.grad
    def slope(small, where):
        return curve(confidence, small, large, where=where).small_accuracy

    np.testing.assert_allclose(slope(wrong, some), some / (SIZE - 1), rtol=1e-6)


def test_rounding_is_clipped_and_no_rows_are_nan():
    curve, names, _ = FUNCTIONS["cascade_curve"]
    confidence, small, large, _ = (ROWS[name] for name in names)
    found = curve(confidence, small + np.float32(5e-7), large)
    # What is right already does not become more than right.
    most = small.mean() + 5e-7 * np.mean(small == 0)
    assert float(found.small_accuracy) <= most + 1e-7
    none = np.zeros(0, np.float32)
    assert np.isnan(curve(none, none, none).accuracy).all()
    assert cj.use_small(ROUTER, none, 1).shape == (0,)
    router = cj.fit_router(none, none, num_bins=NUM_BINS)
    assert not cj.cascade.choose_by_confidence(router, 0.5).feasible
    right = curve(confidence, small > 0, large > 0)
    jax.tree.map(np.testing.assert_array_equal, right, curve(confidence, small, large))


def test_use_small_takes_any_shape():
    confidence = np.append(ROWS["small_confidence"][1:], np.nan)
    kept = cj.use_small(ROUTER, confidence, 2)
    assert 0 < kept.sum() < SIZE - 1
    for shape in ((4, 6), (2, 3, 4)):
        found = cj.use_small(ROUTER, confidence.reshape(shape), 2)
        np.testing.assert_array_equal(found, kept.reshape(shape))
    one = cj.use_small(ROUTER, float(confidence[0]), 2)
    assert one.shape == () and one == kept[0]
    # Many edges are searched, not compared with one by one.
    rows = (ROWS[name] for name in CONFIDENCES)
    router = cj.fit_router(*rows, bins=cj.equal_width_bins(300))
    some = [[0.2, 0.8], [0.4, 0.9]]
    found = cj.use_small(router, some, 290)
    for place in np.ndindex(2, 2):
        assert cj.use_small(router, some[place[0]][place[1]], 290) == found[place]
    with pytest.raises(ValueError, match="small_confidence: .*, got 93"):
        cj.use_small(ROUTER, 93.0, 2)


@pytest.mark.parametrize("number", [-1, NUM_BINS + 1])
def test_a_number_of_bins_out_of_range_keeps_nothing_small(number):
    confidence = ROWS["small_confidence"]
    with pytest.raises(ValueError, match="num_small_bins: expected at"):
        cj.use_small(ROUTER, confidence, number)
    assert not cj.use_small(ROUTER, confidence, jnp.int32(number)).any()
    confident = cj.Temperature(temperature=jnp.float32(1))
    found = cj.defer(
        lambda x: x,
        lambda x: 2 * x,
        np.float32(RNG.normal(size=(SIZE, 2))),
        small_params=confident,
        large_params=confident,
        router=ROUTER,
        num_small_bins=jnp.int32(number),
        capacity=SIZE,
    )
    assert found.used_large.all()


ONE_CURVE = {
    "random_curve": cj.random_curve,
    "performance_gap_recovered": cj.performance_gap_recovered,
    "average_performance_gap_recovered": cj.average_performance_gap_recovered,
    "call_performance_threshold": lambda curve: cj.call_performance_threshold(curve, 1),
    "choose_num_small_bins": cj.choose_num_small_bins,
}


@pytest.mark.parametrize("name", ONE_CURVE)
def test_several_curves_are_not_one(name):
    curves = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), CURVE)
    with pytest.raises(ValueError, match=r"curve.small_share: .*\[3, 5\].*jax.vmap"):
        ONE_CURVE[name](curves)


CHAIN_ROWS = (
    np.stack([ROWS["small_confidence"], ROWS["large_confidence"], ROWS["small_cost"]]),
    np.stack([ROWS["small_outcome"], ROWS["large_outcome"], ROWS["large_outcome"]]),
    np.stack([ROWS["small_cost"], ROWS["large_cost"], 1 + ROWS["large_cost"]]),
)
CHAIN = cj.cascade.fit_chain(CHAIN_ROWS[0], num_bins=NUM_BINS)


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [("confidences", 0, 93.0), ("outcomes", 1, 7.0), ("costs", 2, -1.0)],
)
def test_wrong_rows_of_chains(name, place, wrong):
    some, every = np.arange(SIZE) != BAD, np.ones(SIZE, bool)

    def spoil(model):
        rows = [rows.copy() for rows in CHAIN_ROWS]
        rows[place][model, BAD] = wrong
        return rows

    reason = rf"{name}: expected values in \[0, .*, entry \[1, {BAD}\] holds {wrong:g}"
    curve = functools.partial(cj.cascade.chain_curve, CHAIN)
    with pytest.raises(ValueError, match=reason):
        curve(*spoil(1), where=every)
    with pytest.raises(ValueError, match=reason):
        cj.cascade.with_abstaining(*spoil(1), 0.5)
    on_device = map(jnp.asarray, spoil(1))
    assert np.isnan(curve(*on_device, where=every).accuracy).all()
    clean = curve(*CHAIN_ROWS, where=some)
    same = curve(*spoil(1), where=some)
    jax.tree.map(np.testing.assert_array_equal, same, clean)
    if name != "confidences":
        return
    with pytest.raises(ValueError, match=reason):
        cj.cascade.fit_chain(spoil(1)[0], num_bins=NUM_BINS)
    fitted = cj.cascade.fit_chain(jnp.asarray(spoil(1)[0]), num_bins=NUM_BINS)
    assert np.isnan(fitted.routers.table.advantage).any(axis=1).all()
    with pytest.raises(ValueError, match=reason):
        cj.cascade.chain_answers(CHAIN, spoil(1)[0], [4, 4])
    # Neither is kept, so the next model is asked; the last one's are not used.
    answers = cj.cascade.chain_answers(CHAIN, jnp.asarray(spoil(0)[0]), [4, 4])
    np.testing.assert_array_equal(answers, np.where(some, 0, 1))
    last = curve(*spoil(2), where=every)
    jax.tree.map(np.testing.assert_array_equal, last, curve(*CHAIN_ROWS, where=every))


def test_chains_and_rows_must_agree():
    two = [rows[:2] for rows in CHAIN_ROWS]
    with pytest.raises(ValueError, match="a row for each of the 3 models"):
        cj.cascade.chain_curve(CHAIN, *two)
    rows = cj.cascade.with_abstaining(*two, jnp.float32(1.5))
    assert np.isnan(rows[0][2]).all() and np.isnan(rows[1][2]).all()
    with pytest.raises(ValueError, match=r"worth: expected a number in \[0, 1\]"):
        cj.cascade.with_abstaining(*two, 1.5)
    curve = cj.cascade.chain_curve(CHAIN, *CHAIN_ROWS)
    assert not cj.cascade.best_within_cost(curve, np.nan).feasible
    several = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), curve)
    first = jax.tree.map(lambda leaf: leaf[0], curve)
    for wrong, shape in ((several, "[3, 5, 5]"), (first, "[5]")):
        for read in (
            cj.cascade.cost_frontier,
            cj.cascade.selective_accuracy,
            lambda curve: cj.cascade.best_within_cost(curve, 1.0),
        ):
            with pytest.raises(ValueError, match=f"^curve: .*{re.escape(shape)}"):
                read(wrong)


def test_a_router_fitted_with_a_promise_names_its_own_arguments():
    def fit(choose=cj.cascade.choose_by_confidence, fit=None, **changed):
        given = {
            "small_scores": ROWS["small_confidence"],
            "large_scores": ROWS["large_confidence"],
            "small_outcome": ROWS["small_outcome"],
            "large_outcome": ROWS["large_outcome"],
        }
        choose = functools.partial(choose, max_loss=0.5)
        return cj.cascade.fit_router_with_guarantee(
            KEY, **given | changed, choose=choose, fit=fit, num_bins=2
        )

    raw = 20 * ROWS["small_confidence"] - 10
    reason = r"{}: expected values in \[0, .*, row {} holds"
    for name, rows, first in (
        ("small_scores", raw, 0),
        ("large_scores", raw, 0),
        ("small_outcome", 3 * ROWS["small_outcome"], np.argmax(ROWS["small_outcome"])),
        ("large_cost", -1 - ROWS["large_cost"], 0),
    ):
        with pytest.raises(ValueError, match=reason.format(name, first)):
            fit(**{name: rows})
    # Scores that are to be calibrated may be any numbers.
    found = fit(small_scores=raw, fit=cj.fit_histogram)
    assert np.isfinite(found.selection.risk).all()
    assert not fit(small_scores=jnp.asarray(raw)).selection.feasible
