"""Cascades whose models confer: the answer of the better one where both were asked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NAN, close, equal
from scipy import stats

import calib_jax as cj

pytestmark = pytest.mark.once

# Two bins of four rows, the second kept first. Where the models differ the arbiter is
# right in rows 0, 2, 4 and 6, and wrong in row 5.
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], np.float32)
SMALL = np.array([1, 0, 0, 0, 1, 1, 0, 1], bool)
LARGE = np.array([0, 0, 1, 0, 0, 0, 1, 1], bool)
CONFERRED = np.array([1, 0, 1, 0, 1, 0, 1, 1], bool)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def router():
    bins = cj.equal_width_bins(2)
    return cj.fit_router(SCORES, np.where(SCORES < 0.5, 0.9, 0.5), bins=bins)


def curve(router, **more):
    rows = SCORES, SMALL, LARGE
    return cj.cascade_curve(router, *rows, conferred_outcome=CONFERRED, **more)


def test_curve_of_models_that_confer(router):
    equal(router.order, [1, 0])
    found = curve(router)
    close(found.small_share, [0, 0.5, 1])
    close(found.accuracy, [5 / 8, 5 / 8, 4 / 8])
    close([found.small_accuracy, found.large_accuracy], [4 / 8, 3 / 8])
    close(found.gap, -1 / 8)
    # The ends are the two models alone: the cascade gains where the large one loses.
    close(cj.performance_gap_recovered(found), [-1, -1, 0])
    close(cj.average_performance_gap_recovered(found), -0.75)
    random = cj.random_curve(found)
    close(random.accuracy, [3 / 8, 3.5 / 8, 4 / 8])
    close(cj.average_performance_gap_recovered(random), 0.5)
    # The large model's accuracy is reached without a call.
    chosen = cj.choose_num_small_bins(found, min_accuracy=found.large_accuracy)
    equal(chosen.num_small_bins, 2)
    equal(cj.choose_num_small_bins(found).num_small_bins, 1)


def test_the_gap_is_recovered_by_fewer_calls(router):
    """The small model is right on 1/4, the large on 1/2, both together on 3/4."""
    small, large = np.arange(8) % 4 == 0, np.arange(8) % 4 > 1
    found = cj.cascade_curve(
        router, SCORES, small, large, conferred_outcome=small | large
    )
    close(found.accuracy, [0.75, 0.5, 0.25])
    close(cj.performance_gap_recovered(found), [2, 1, 0])
    close(cj.average_performance_gap_recovered(found), 1)
    close(cj.call_performance_threshold(found, 1.0), 0.5)
    chosen = cj.choose_num_small_bins(found, min_accuracy=found.large_accuracy)
    equal(chosen.num_small_bins, 1)


def test_curve_with_weights_masks_and_partial_credit(router):
    rng = np.random.default_rng(0)
    small, large, answer = rng.random((3, 8)).astype(np.float32)
    weights, where = rng.random(8).astype(np.float32), np.arange(8) != 3
    masked = np.where(where, answer, NAN)
    found = cj.cascade_curve(
        router,
        SCORES,
        small,
        large,
        conferred_outcome=masked,
        where=where,
        weights=weights,
    )
    w = np.where(where, weights, 0).astype(float)
    kept = np.array([SCORES > 1, SCORES > 0.5, SCORES > 0])
    close(found.accuracy, np.where(kept, small, answer) @ w / w.sum(), rtol=1e-6)
    close(found.large_accuracy, large @ w / w.sum(), rtol=1e-6)
    close(found.gap, (large - small) @ w / w.sum(), rtol=1e-6)
    close(found.gain, (~kept * (answer - small)) @ w / w.sum(), rtol=1e-6)


def test_the_large_answer_as_the_conferred_one_changes_nothing(router):
    rows = router, SCORES, SMALL, LARGE
    plain, same = (
        cj.cascade_curve(*rows, conferred_outcome=given) for given in (None, LARGE)
    )
    assert plain.gap is None and same.gap == plain.gain[0]
    for name in ("small_share", "accuracy", "large_accuracy", "gain"):
        equal(getattr(same, name), getattr(plain, name))
    equal(*map(cj.performance_gap_recovered, (plain, same)))


def test_derivatives_of_a_curve(router):
    """By the weight of a row: exact sums alone would have none."""

    def read(weights):
        found = curve(router, weights=weights)
        return jnp.stack([found.accuracy[1], found.large_accuracy, found.gap])

    found = jax.jacobian(read)(jnp.ones(8))
    answer = np.where(SCORES > 0.5, SMALL, CONFERRED) / 1.0
    expected = [(x - x.mean()) / 8 for x in (answer, LARGE / 1, LARGE / 1 - SMALL)]
    close(found, expected, rtol=1e-5, atol=1e-6)


def test_conferred_outcomes_are_checked_like_the_others(router):
    rows = router, SCORES, SMALL, LARGE
    with pytest.raises(ValueError, match=r"conferred_outcome: .* row 2 holds 3"):
        cj.cascade_curve(*rows, conferred_outcome=np.array([0, 1, 3, 0, 1, 0, 1, 0.0]))
    with pytest.raises(ValueError, match=r"conferred_outcome"):
        cj.cascade_curve(*rows, conferred_outcome=CONFERRED[:4])
    broken = np.where(np.arange(8) == 2, NAN, 1.0)
    assert np.isnan(cj.cascade_curve(*rows, conferred_outcome=broken).accuracy).all()


def test_a_curve_is_saved_with_its_gap(router, tmp_path):
    found = curve(router)
    cj.save(tmp_path / "curve.json", found)
    equal(cj.load(tmp_path / "curve.json").gap, found.gap)


# Promises


def drawn(rng, *shape):
    """Outcomes in four bins kept in descending order, and of an arbiter that is right
    on 80 % of the rows on which one model is."""
    index = rng.integers(0, 4, shape)
    confidence = ((index + rng.uniform(0.05, 0.95, shape)) / 4).astype(np.float32)
    small = rng.random(shape) < SMALL_RATE[index]
    large = rng.random(shape) < LARGE_RATE[index]
    prefer = np.where(small == large, True, rng.random(shape) < 0.8) == large
    answer = np.where(prefer, large, small)
    return confidence, small, large, answer


SMALL_RATE = np.array([0.6, 0.7, 0.75, 0.9])
LARGE_RATE = np.array([0.85, 0.8, 0.72, 0.8])


def true_drops():
    """For every K: negative up to 3, where the cascade beats the large model."""
    one = SMALL_RATE * (1 - LARGE_RATE) + LARGE_RATE * (1 - SMALL_RATE)
    both = SMALL_RATE * LARGE_RATE
    kept = (LARGE_RATE - SMALL_RATE)[::-1] / 4
    sent_on = (LARGE_RATE - both - 0.8 * one)[::-1] / 4
    parts = [[*kept[:k], *sent_on[k:]] for k in range(5)]
    return np.sum(parts, axis=1)


@pytest.fixture(scope="module")
def four_bins():
    middle = (np.arange(4) + 0.5) / 4
    bins = cj.equal_width_bins(4)
    return cj.fit_router(middle, np.linspace(1, 0, 4), bins=bins)


def losses(confidence, small, large, answer):
    """Large minus final outcome of each row, for every K, `[num_bins + 1, N]`."""
    kept = np.floor(confidence * 4) >= 4 - np.arange(5)[:, None]
    final = np.where(kept, small, answer)
    return kept, large.astype(float) - final


@pytest.mark.parametrize("betting", [True, False])
def test_bounds_of_a_drop(four_bins, betting):
    """At each bound the p-value is the error rate; a gain can be promised."""
    rows = drawn(np.random.default_rng(0), 800)
    _, lost = losses(*rows)
    choose = functools.partial(cj.cascade.control_accuracy_drop, betting=betting)
    chosen = choose(four_bins, *rows[:3], 0.0, 0.9, conferred_outcome=rows[3])
    close(chosen.risk, lost.mean(axis=1), atol=1e-7)
    shifted, bound = np.tile((lost + 1) / 2, (2, 1)), np.asarray(chosen.bound)
    means = np.concatenate([bound + 1 + 1e-5, bound + 1 - 1e-5]) / 2
    if betting:
        p_values = jax.vmap(cj.stats.betting_p_value)(shifted, means)
    else:
        p_values = jax.vmap(cj.stats.hoeffding_bentkus_p_value, (0, None, 0))(
            shifted.sum(axis=1), 800, means
        )
    above, below = np.split(np.asarray(p_values), 2)
    assert (above <= 0.1).all() and (below >= 0.1).all()
    equal(chosen.num_small_bins, 1)
    # Without the arbiter there is less of a gain to promise.
    without = choose(four_bins, *rows[:3], 0.0, 0.9)
    assert (chosen.bound[:2] < without.bound[:2] - 0.02).all()


def test_regret_of_the_final_answer(four_bins):
    rows = drawn(np.random.default_rng(1), 400)
    _, lost = losses(*rows)
    given = {"max_regret": 0.1, "conferred_outcome": rows[3]}
    chosen = cj.cascade.control_regret(four_bins, *rows[:3], **given)
    regret = np.maximum(lost, 0).sum(axis=1)
    assert (np.diff(regret) >= 0).all() and regret[0] > 0
    close(chosen.risk, regret / 400)
    close(chosen.bound, (regret + 1) / 401)
    equal(chosen.num_small_bins, np.flatnonzero(chosen.bound <= 0.1)[-1])


def test_regret_can_only_grow_whatever_the_answer(four_bins):
    """A third answer may be worse than both: it counts where the small one is kept."""
    small, large, answer = np.random.default_rng(2).random((3, 8)).astype(np.float32)
    given = {"max_regret": 0.1, "conferred_outcome": answer}
    chosen = cj.cascade.control_regret(four_bins, SCORES, small, large, **given)
    kept, sent_on = (
        np.maximum(large - other, 0) for other in (np.minimum(small, answer), answer)
    )
    inside = np.floor(SCORES * 4) >= 4 - np.arange(5)[:, None]
    expected = np.where(inside, kept, sent_on).mean(axis=1)
    close(chosen.risk, expected)
    assert (np.diff(chosen.risk) >= 0).all() and (answer < small).any()


def test_promises_of_unlike_types(four_bins):
    """Bools beside floats, and NaN in the conferred outcomes."""
    rows = drawn(np.random.default_rng(0), 24)
    for control, limit in (
        (cj.cascade.control_regret, {"max_regret": 0.9}),
        (cj.cascade.control_accuracy_drop, {"max_drop": 0.9, "betting": False}),
    ):
        one, two = (
            control(four_bins, *rows[:3], conferred_outcome=answer, **limit)
            for answer in (rows[3], rows[3].astype(np.float32))
        )
        close(one.bound, two.bound, atol=1e-6)
        spoiled = np.where(np.arange(24) == 3, NAN, rows[3])
        found = control(four_bins, *rows[:3], conferred_outcome=spoiled, **limit)
        assert np.isnan(found.bound[0]) and not found.feasible


@pytest.mark.slow
@pytest.mark.parametrize("betting", [True, False])
def test_promises_with_an_arbiter_are_seldom_broken(four_bins, betting):
    """At limits just below the true drop of some K, where it is hardest."""
    splits, delta, drop = drawn(np.random.default_rng(3), 192, 300), 0.2, true_drops()
    choose = jax.jit(
        jax.vmap(
            lambda level, *rows: cj.cascade.control_accuracy_drop(
                four_bins,
                *rows[:3],
                level,
                1 - delta,
                betting=betting,
                conferred_outcome=rows[3],
            ),
            (None, 0, 0, 0, 0),
        )
    )
    for worst in (1, 3):
        assert (drop[worst] > drop[1:worst]).all()
        level = np.float32(drop[worst] - 1e-4)
        chosen = choose(level, *splits)
        number = np.asarray(chosen.num_small_bins)
        broken = chosen.feasible & (drop[number] > level)
        assert broken.mean() <= delta + 2 * np.sqrt(delta * (1 - delta) / 192)
    # With some room below the limit, the guarantee is useful.
    chosen = choose(np.float32(drop[3] + 0.15), *splits)
    assert np.mean(np.asarray(chosen.num_small_bins) >= 3) > 0.5


@pytest.mark.slow
def test_regret_with_an_arbiter_is_within_its_limit_on_average(four_bins):
    splits = drawn(np.random.default_rng(4), 192, 300)
    every = drawn(np.random.default_rng(5), 100_000)
    regret = np.maximum(losses(*every)[1], 0).mean(axis=1)
    level = np.float32(regret[2] + 0.01)
    chosen = jax.jit(
        jax.vmap(
            lambda *rows: cj.cascade.control_regret(
                four_bins, *rows[:3], level, conferred_outcome=rows[3]
            )
        )
    )(*splits)
    risk = np.where(chosen.feasible, regret[np.asarray(chosen.num_small_bins)], 0)
    assert risk.mean() <= level + 2 * risk.std() / np.sqrt(192)
    assert risk.mean() > 0.5 * level and risk.max() > level


# Error bars


def test_intervals_of_models_that_confer(router):
    """Estimates and resamples by plain NumPy, and the ends of a paired difference."""
    rng = np.random.default_rng(6)
    size, draws = 60, 39
    confidence = rng.random(size).astype(np.float32)
    small, large, answer = rng.random((3, size)) < np.array([[0.3], [0.8], [0.9]])
    found = cj.cascade_interval(
        KEY,
        router,
        confidence,
        small,
        large,
        conferred_outcome=answer,
        num_resamples=draws,
    )
    kept = confidence >= np.array([2, 0.5, -1])[:, None]
    final = np.where(kept, small, answer).astype(float)
    close(found.accuracy.estimate, final.mean(axis=1))
    gain = final - large
    z = stats.norm.ppf(0.975)
    for k in range(3):
        middle = gain[k].sum() / (size + 2)
        square = (np.sum(gain[k] ** 2) + 2) / (size + 2)
        reach = z * np.sqrt((square - middle**2) / (size + 2))
        over = [leaf[k] for leaf in jax.tree.leaves(found.over_large)]
        close(over, [gain[k].mean(), middle - reach, middle + reach], rtol=1e-4)
    close(
        found.outcome_advantage.estimate,
        [np.mean((large * 1.0 - small)[part]) for part in (~kept[1], kept[1])],
    )
    taken = np.asarray(
        cj.bootstrap(KEY, lambda x, weights: weights, draws, confidence), float
    )

    def apgr(weights):
        share, accuracy = kept @ weights, final @ weights
        gap = (large * 1.0 - small) @ weights
        pgr = (accuracy - small @ weights) / gap
        return np.trapezoid(pgr, share) / weights.sum()

    ordered = np.sort([apgr(weights) for weights in taken])
    close(found.apgr.estimate, apgr(np.ones(size)), rtol=1e-5)
    close([found.apgr.lower, found.apgr.upper], ordered[[0, -1]], rtol=1e-4)


@pytest.mark.slow
def test_intervals_cover_what_the_arbiter_gains(four_bins):
    splits = drawn(np.random.default_rng(8), 400, 200)
    found = jax.jit(
        jax.vmap(
            lambda *rows: (
                cj.cascade_interval(
                    KEY,
                    four_bins,
                    *rows[:3],
                    conferred_outcome=rows[3],
                    num_resamples=1,
                ).over_large
            )
        )
    )(*splits)
    lower, upper, gain = np.array(found.lower), np.array(found.upper), -true_drops()
    covered = ((lower <= gain) & (gain <= upper)).mean(axis=0)
    assert (covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)).all()
    # At K = 0 too, where without an arbiter nothing is gained or lost.
    assert covered[0] < 1 and (upper - lower)[:, 0].min() > 0.05


def test_what_an_arbiter_is_worth(router):
    """One router twice, with the arbiter and without it."""
    rows = KEY, router, router, SCORES, SCORES, SMALL, LARGE
    worth = cj.cascade.router_difference_interval(
        *rows, first_conferred_outcome=CONFERRED, num_resamples=9
    )
    close(worth.accuracy.estimate, [2 / 8, 1 / 8, 0])
    close(worth.area.estimate, 1 / 8)
    close(worth.apgr.estimate, (1 / 8) / (-1 / 8))
    less = cj.cascade.router_difference_interval(
        *rows, second_conferred_outcome=CONFERRED, num_resamples=9
    )
    close(less.area.lower, -worth.area.upper)
    with pytest.raises(ValueError, match="second_conferred_outcome: expected val"):
        cj.cascade.router_difference_interval(
            *rows, second_conferred_outcome=2.0 * CONFERRED, num_resamples=9
        )


def test_savings_of_models_that_confer(router):
    found = cj.cascade.cascade_savings(
        KEY,
        router,
        SCORES,
        SMALL,
        LARGE,
        1,
        small_cost=1.0,
        large_cost=4.0,
        conferred_outcome=CONFERRED,
        num_resamples=9,
    )
    close(found.accuracy.estimate, 5 / 8)
    close(found.accuracy_change.estimate, 2 / 8)
    close([found.calls_saved.estimate, found.cost.estimate], [0.5, 3.0])


def test_one_call_fits_an_arbiter_too():
    """On the first half only; the choice sees its outcomes on the other half."""
    rng = np.random.default_rng(7)
    size = 400
    small_score, large_score = rng.normal(1, 1.5, (2, size)).astype(np.float32)
    small, large = (
        rng.random(size) < 1 / (1 + np.exp(-s)) for s in (small_score, large_score)
    )
    differ = ~(small & large)
    seen = {}

    def choose(router, large_confidence, **given):
        seen.update(given, large_confidence=large_confidence)
        return cj.cascade.control_accuracy_drop(
            router, max_drop=0.05, betting=False, **given
        )

    def fit(*rows, **more):
        return cj.cascade.fit_router_with_guarantee(
            KEY, small_score, large_score, *rows, fit=cj.fit_platt, num_bins=4, **more
        )

    found = fit(small, large, choose, differ=differ)
    first = ~np.asarray(seen["where"])
    confidences = seen["small_confidence"], seen["large_confidence"]
    arbiter, _ = cj.cascade.fit_arbiter(
        *confidences, small, large, differ=differ, where=first
    )
    equal(jax.tree.leaves(found.arbiter), jax.tree.leaves(arbiter))
    assert found.arbiter_report.helps
    keep = differ & ~cj.cascade.prefer_large(arbiter, *confidences)
    equal(seen["conferred_outcome"], np.where(keep, small, large))
    surer = jnp.where(keep, *confidences)
    router = cj.fit_router(confidences[0], surer, num_bins=4, where=first)
    equal(found.router.order, router.order)
    close(found.router.table.large_confidence, router.table.large_confidence)
    # Outcomes of two types are conferred as numbers.
    mixed = fit(small.astype(float), large, choose, differ=differ)
    close(mixed.selection.risk, found.selection.risk, atol=1e-6)
    plain = fit(
        small, large, functools.partial(cj.cascade.control_regret, max_regret=1)
    )
    assert plain.arbiter is None and plain.arbiter_report is None


def test_a_chain_of_two_models_that_confer_is_their_cascade():
    """Its second row is about the answer of both, not of the second model alone."""
    large_scores = np.array([0.3, 0.9, 0.5, 0.7, 0.2, 0.9, 0.5, 0.7], np.float32)
    keep = CONFERRED != LARGE
    confidences = np.stack([SCORES, np.where(keep, SCORES, large_scores)])
    outcomes = np.stack([SMALL, CONFERRED])
    costs = np.array([[1.0], [4.0]], np.float32) + np.zeros((2, 8), np.float32)
    chain = cj.cascade.fit_chain(confidences, num_bins=4)
    router = cj.fit_router(*confidences, num_bins=4)
    equal(chain.routers.order[0], router.order)
    found = cj.cascade.chain_curve(chain, confidences, outcomes, costs)
    expected = cj.cascade_curve(
        router, SCORES, SMALL, LARGE, conferred_outcome=CONFERRED
    )
    close(found.accuracy, expected.accuracy)
    close(found.share[0], expected.small_share)
    for number in range(5):
        last = cj.cascade.chain_answers(chain, confidences, [number])
        equal(last == 0, cj.use_small(router, SCORES, number))
        answers = np.take_along_axis(outcomes, np.asarray(last)[None], 0)
        close(answers.mean(), expected.accuracy[number])
