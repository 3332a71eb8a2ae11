"""Routers, curves and choices of K, in cases small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NAN, close, equal

import calib_jax as cj

# Values by hand are the same in both precision modes.
pytestmark = pytest.mark.once


SMALL = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
LARGE = np.array([0.6, 0.7, 0.8, 0.5, 0.6, 0.4, 0.9, 1.0])
SMALL_OUTCOME = np.array([0, 0, 1, 0, 1, 1, 1, 1])
LARGE_OUTCOME = np.array([1, 1, 1, 1, 0, 0, 1, 1])


def test_advantage_table():
    bins = cj.Bins(edges=jnp.array([0.5, 0.75, 0.95], jnp.float32))
    table = cj.advantage_table(
        bins, SMALL, LARGE, small_outcome=SMALL_OUTCOME, large_outcome=LARGE_OUTCOME
    )
    equal(table.count, [3, 3, 2, 0])
    close(table.weight, [3, 3, 2, 0])
    close(table.small_confidence, [0.2, 0.6, 0.85, 0])
    close(table.large_confidence, [0.7, 0.5, 0.95, 0])
    close(table.advantage, [0.5, -0.1, 0.1, 0])
    close(table.small_outcome, [1 / 3, 2 / 3, 1, 0])
    close(table.large_outcome, [1, 1 / 3, 1, 0])
    close(table.outcome_advantage, [2 / 3, -1 / 3, 0, 0])
    # Paired differences 1, 1, 0 and 1, -1, -1 and 0, 0.
    error = [np.sqrt(2 / 9 / 3), np.sqrt(8 / 9 / 3), 0, 0]
    close(table.outcome_advantage_standard_error, error)


def test_advantage_table_without_outcomes():
    bins = cj.Bins(edges=jnp.array([0.5, 0.75, 0.95], jnp.float32))
    weights = np.array([2.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5])
    table = cj.advantage_table(bins, SMALL, LARGE, weights=weights)
    assert table.small_outcome is None
    assert table.outcome_advantage is None
    assert table.outcome_advantage_standard_error is None
    equal(table.count, [2, 3, 2, 0])
    close(table.weight, [3, 3, 1, 0])
    close(table.advantage, [0.5, -0.1, 0.1, 0])


@pytest.mark.parametrize(
    ("small", "advantage", "order"),
    [
        ([1, 2, 3, 4], [3, 1, 0, 2], [2, 1, 3, 0]),
        ([4, 3, 2, 1], [2, 0, 1, 3], [2, 1, 3, 0]),  # the same rows, reversed
        ([1, 2, 3, 4], [-3, -1, 0, -2], [0, 3, 1, 2]),
        ([1, 2, 3, 4], [1, 1, 1, 1], [3, 2, 1, 0]),  # equal: high confidence first
        ([1, 2, 3, 4], [0, 0, -1, 0], [2, 3, 1, 0]),
        ([1, 1, 1, 4], [1, 1, 1, 2], [2, 3]),  # bins 0 and 1 are empty
        ([2, 2, 2, 2], [5, 5, 5, 5], [3]),
    ],
)
def test_fit_router_orders_its_bins(small, advantage, order):
    small, advantage = np.array(small) / 16, np.array(advantage) / 16
    router = cj.fit_router(small, small + advantage + 0.25, num_bins=4)
    assert router.order.dtype == jnp.int32
    equal(router.order[: len(order)], order)  # empty bins last
    equal(np.sort(router.order), np.arange(4))


def test_fit_router_on_given_bins():
    bins = cj.equal_width_bins(4)
    small, large = np.array([2, 3, 4, 14]) / 16, np.array([9, 10, 5, 14]) / 16
    router = cj.fit_router(small, large, num_bins=99, bins=bins)
    equal(router.bins.edges, bins.edges)
    equal(router.table.count, [2, 1, 0, 1])
    equal(router.order, [3, 1, 0, 2])


@pytest.fixture(scope="module")
def router():
    """Four bins of two rows, advantages 1/2, 1/4, -1/8 and 1/8 of confidence."""
    small = np.arange(8) / 16
    large = small + np.repeat([0.5, 0.25, -0.125, 0.125], 2)
    return cj.fit_router(small, large, num_bins=4)


@pytest.mark.parametrize(
    ("num_small_bins", "kept"),
    [
        (0, [0, 0, 0, 0, 0, 0]),
        (1, [0, 0, 0, 1, 0, 0]),
        (2, [0, 0, 0, 1, 1, 0]),
        (3, [0, 0, 1, 1, 1, 0]),
        (4, [1, 1, 1, 1, 1, 0]),
    ],
)
def test_use_small(router, num_small_bins, kept):
    scores = np.array([0.0, 1 / 16, 3 / 16, 4 / 16, 1.0, NAN])
    result = cj.use_small(router, scores, num_small_bins)
    assert result.dtype == jnp.bool_
    equal(result, np.array(kept, bool))
    traced = jax.jit(cj.use_small)(router, scores, num_small_bins)
    equal(traced, np.array(kept, bool))


def test_cascade_curve(router):
    small = np.array([0.0, 3 / 16, 4 / 16, 5 / 16, 7 / 16, NAN])  # bins 0 1 2 2 3
    where = np.arange(6) < 5
    small_outcome = np.array([0, 1, 1, 1, 0, 1])
    large_outcome = np.array([1, 0, 0, 1, 1, 1])
    curve = cj.cascade_curve(router, small, small_outcome, large_outcome, where=where)
    close(curve.small_share, [0, 0.4, 0.6, 0.8, 1.0])  # order: bins 2, 3, 1, 0
    close(curve.accuracy, [0.6, 0.8, 0.6, 0.8, 0.6])
    close(curve.small_accuracy, 0.6)
    close(curve.large_accuracy, 0.6)
    # With equally accurate models there is no gap to recover.
    assert np.isnan(cj.performance_gap_recovered(curve)).all()
    assert np.isnan(cj.average_performance_gap_recovered(curve))
    assert np.isnan(cj.call_performance_threshold(curve, 0.5))
    weights = np.array([3.0, 1.0, 1.0, 1.0, 2.0, NAN])
    curve = cj.cascade_curve(
        router, small, small_outcome, large_outcome, where=where, weights=weights
    )
    close(curve.small_share, [0, 0.25, 0.5, 0.625, 1.0])
    close(curve.accuracy, [0.75, 0.875, 0.625, 0.75, 0.375])
    close(cj.random_curve(curve).accuracy, [0.75, 0.65625, 0.5625, 0.515625, 0.375])
    close(cj.performance_gap_recovered(curve), [1, 4 / 3, 2 / 3, 1, 0])
    # Large shares 0, .375, .5, .75, 1.
    area = 0.375 * 1 / 2 + 0.125 * 5 / 6 + 0.25 * 1 + 0.25 * 7 / 6
    close(cj.average_performance_gap_recovered(curve), area)
    close(cj.average_performance_gap_recovered(cj.random_curve(curve)), 0.5)


def test_cascade_curve_of_no_valid_row(router):
    nothing = np.zeros(6, bool)
    curve = cj.cascade_curve(router, np.ones(6), nothing, nothing, where=nothing)
    assert np.isnan(curve.accuracy).all()
    assert np.isnan(cj.average_performance_gap_recovered(curve))


def curve_of(accuracy):
    """A curve over even shares, from all large to all small."""
    accuracy = np.asarray(accuracy, np.float32)
    return cj.CascadeCurve(
        small_share=jnp.asarray(np.linspace(0, 1, len(accuracy)), jnp.float32),
        accuracy=jnp.asarray(accuracy),
        small_accuracy=jnp.asarray(accuracy[-1]),
        large_accuracy=jnp.asarray(accuracy[0]),
    )


@pytest.mark.parametrize(
    ("accuracy", "target", "share"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.0, 0.0),  # PGR 0, 1/4, 1/2, 3/4, 1 from the end
        ([0.9, 0.8, 0.7, 0.6, 0.5], 0.6, 0.6),
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1.0, 1.0),
        ([0.9, 0.9, 0.7, 0.9, 0.5], 0.5, 0.125),  # the first of three crossings
        ([0.9, 1.3, 0.5, 0.5, 0.5], 1.0, 0.625),  # reached before all are large
        ([0.5, 0.6, 0.7, 0.8, 0.9], 0.5, 0.5),  # the large model is the worse one
    ],
)
def test_call_performance_threshold(accuracy, target, share):
    threshold = cj.call_performance_threshold(curve_of(accuracy), target)
    close(threshold, share, rtol=1e-6, atol=1e-6)


def test_call_performance_threshold_may_never_be_reached():
    curve = curve_of([0.9, 0.8, 0.7, 0.6, 0.5])
    level = curve_of([0.5, 0.6, 0.4, 0.5])
    assert np.isnan(cj.call_performance_threshold(level, 0.5))
    assert np.isnan(cj.call_performance_threshold(curve, jnp.float32(1.01)))
    with pytest.raises(ValueError, match=r"target: expected a number in \[0, 1\]"):
        cj.call_performance_threshold(curve, 1.01)


def test_two_models_together_beat_either():
    small = np.arange(16) / 16
    small_outcome, large_outcome = small >= 0.5, small < 0.75
    router = cj.fit_router(small, np.full(16, 0.6), num_bins=4)
    curve = cj.cascade_curve(router, small, small_outcome, large_outcome)
    close(curve.accuracy, [0.75, 1.0, 1.0, 0.75, 0.5])
    # Among equals, the fewest large calls.
    equal(cj.choose_num_small_bins(curve).num_small_bins, 2)


def test_choosing_the_number_of_small_bins():
    curve = curve_of([0.75, 0.875, 0.625, 0.75, 0.5])

    def check(targets, numbers, feasible):
        chosen = [cj.choose_num_small_bins(curve, **target) for target in targets]
        equal([one.num_small_bins for one in chosen], numbers)
        equal([one.feasible for one in chosen], feasible)

    # As many large calls as the budget allows; 4 is safe if no K is within it.
    shares = (1.0, 0.5, 0.3, 0.0, jnp.float32(-0.1))
    check(
        [{"max_large_share": x} for x in shares], [0, 2, 3, 4, 4], [True] * 4 + [False]
    )
    accuracies = (0.5, 0.75, 0.8, 0.9)
    check([{"min_accuracy": x} for x in accuracies], [4, 3, 1, 0], [True] * 3 + [False])
    both = ((0.75, 0.5), (0.8, 0.75), (0.8, 0.5), (0.5, 0.0))
    targets = [{"min_accuracy": x, "max_large_share": y} for x, y in both]
    check(targets, [3, 1, 0, 4], [True, True, False, True])
    check([{}], [1], [True])
    chosen = cj.choose_num_small_bins(curve, min_accuracy=0.8, max_large_share=0.5)
    close(chosen.level, 0.2, rtol=1e-6)
    close(chosen.min_feasible_level, 0.25)
    close(chosen.risk, [0.25, 0.125, 0.375, 0.25, 0.5])
    close(chosen.large_share, [1.0, 0.75, 0.5, 0.25, 0.0])
    budget = {"max_large_share": 0.5}
    for target in ({"min_accuracy": 0.5}, budget, {"min_accuracy": 0.5} | budget, {}):
        blank = cj.choose_num_small_bins(curve_of([np.nan] * 5), **target)
        equal(blank.feasible, target == budget)
        equal(np.isnan(blank.min_feasible_level), target != budget)
    # Nothing is within this budget.
    none = {"min_accuracy": 0.5, "max_large_share": jnp.float32(-0.1)}
    chosen = cj.choose_num_small_bins(curve, **none)
    assert not chosen.feasible and chosen.num_small_bins == 0
    assert np.isnan(chosen.min_feasible_level)
    assert not cj.choose_num_small_bins(curve, min_accuracy=jnp.float32(93)).feasible


@pytest.mark.parametrize("number", [93, -0.1, np.float64(1.01), np.inf])
@pytest.mark.parametrize("name", ["min_accuracy", "max_large_share"])
def test_targets_on_the_host_are_shares(name, number):
    curve = curve_of([0.75, 0.875, 0.625, 0.75, 0.5])
    with pytest.raises(ValueError, match=rf"{name}: expected a number in \[0, 1\]"):
        cj.choose_num_small_bins(curve, **{name: number})


def test_a_selection_is_not_a_number_of_bins():
    router = cj.fit_router(SMALL, LARGE, num_bins=2)
    chosen = cj.cascade.choose_by_confidence(router, 0.1)
    with pytest.raises(ValueError, match="got Selection; pass its .num_small_bins"):
        cj.use_small(router, SMALL, chosen)


@pytest.mark.parametrize("count", [41, 47, 55, 61])
def test_accuracy_of_right_answers_is_one(count):
    scores, right = np.linspace(0, 1, count), np.ones(count, bool)
    router = cj.fit_router(scores, np.full(count, 0.5), num_bins=4)
    curve = cj.cascade_curve(router, scores, right, right)
    equal(curve.accuracy, np.ones(5))
    chosen = cj.choose_num_small_bins(curve, min_accuracy=1.0)
    assert chosen.feasible and chosen.num_small_bins == 4


@pytest.mark.parametrize("count", [55, 41, 61, 110])
def test_the_large_model_recovers_the_whole_gap(count):
    """A gap of one row: the small model is wrong on one of the middle."""
    scores, small = np.arange(count) / count, np.ones(count, bool)
    small[27] = False
    router = cj.fit_router(scores, scores[::-1], num_bins=count)
    curve = cj.cascade_curve(router, scores, small, np.ones(count, bool))
    assert cj.cascade.performance_gap_recovered(curve)[0] == 1
    share = cj.cascade.call_performance_threshold(curve, 1.0)
    close(share, 28 / count)


def test_regret_at_its_limit_is_within_it():
    """4 regrets among 499 rows: (4 + 1) / (499 + 1) is the limit."""
    scores = np.linspace(0, 1, 499)
    router = cj.fit_router(np.linspace(0, 1, 400), np.full(400, 0.7), num_bins=4)
    small = np.ones(499, bool)
    small[:300] = small[-4:] = False
    chosen = cj.cascade.control_regret(router, scores, small, np.ones(499, bool), 0.01)
    assert chosen.feasible and chosen.num_small_bins == 1
    equal(chosen.bound[1], np.float32(0.01))
    costs = np.zeros(499), np.repeat([0.0, 1.0], [495, 4])
    chosen = cj.cascade.control_cost(router, scores, *costs, 0.01, 1.0)
    assert chosen.num_small_bins == 0
