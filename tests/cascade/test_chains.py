"""Chains of models, against a NumPy loop over every combination."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj
from calib_jax.cascade import chain_curves

pytestmark = pytest.mark.once

NUM_ROWS, NUM_BINS, NUM_MODELS = 60, 4, 3
NUMBERS = range(NUM_BINS + 1)
COMBINATIONS = np.array(list(itertools.product(NUMBERS, NUMBERS)))


def draw(seed=0):
    """Tied confidences, outcomes with partial credit, and prices that differ by row."""
    rng = np.random.default_rng(seed)
    shape = NUM_MODELS, NUM_ROWS
    confidence = rng.choice(np.linspace(0.05, 0.95, 19), shape).astype(np.float32)
    outcome = rng.choice([0.0, 1.0, 0.25], shape).astype(np.float32)
    price = np.array([[1.0], [3.0], [10.0]]) * rng.uniform(0.5, 1.5, shape)
    return confidence, outcome, price.astype(np.float32)


def router(chain, stage):
    return jax.tree.map(lambda leaf: leaf[stage], chain.routers)


def by_hand(chain, confidence, outcome, price, weight):
    """Accuracy, cost and the shares of each model, by combination, in float64."""
    kept = [
        [np.asarray(cj.use_small(router(chain, k), confidence[k], j)) for j in NUMBERS]
        for k in range(NUM_MODELS - 1)
    ]
    for first, second in COMBINATIONS:
        stays = kept[0][first], ~kept[0][first] & kept[1][second]
        answers = np.stack([*stays, ~stays[0] & ~stays[1]])
        asked = np.stack([np.ones(len(stays[0]), bool), ~stays[0], answers[2]])
        rows = weight / weight.sum()
        right = (np.where(answers, outcome, 0.0) * rows).sum(axis=1)
        yield (
            right.sum(),
            (np.where(asked, price, 0.0) * rows).sum(),
            *(answers * rows).sum(axis=1),
            *right,
        )


@pytest.fixture(scope="module")
def rows():
    return draw()


@pytest.fixture(scope="module")
def chain(rows):
    return cj.cascade.fit_chain(rows[0], num_bins=NUM_BINS)


@pytest.fixture(scope="module")
def curve(chain, rows):
    return cj.cascade.chain_curve(chain, *rows)


def flat(curve):
    parts = [curve.accuracy[None], curve.cost[None], curve.share, curve.right_share]
    return np.concatenate([np.reshape(part, (len(part), -1)) for part in parts]).T


def test_stages_are_routers_of_neighbours(chain, rows):
    for stage in range(NUM_MODELS - 1):
        alone = cj.fit_router(*rows[0][stage : stage + 2], num_bins=NUM_BINS)
        for ours, theirs in zip(
            jax.tree.leaves(router(chain, stage)), jax.tree.leaves(alone), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert chain.num_models == NUM_MODELS and chain.num_bins == NUM_BINS


def test_every_combination(chain, rows, curve):
    expected = np.array(list(by_hand(chain, *rows, np.ones(NUM_ROWS))))
    np.testing.assert_allclose(flat(curve), expected, rtol=2e-6, atol=1e-7)


def test_weights_and_masks(chain, rows):
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, NUM_ROWS) * 0.5
    where = rng.random(NUM_ROWS) < 0.8
    spoiled = [np.where(where & (weight > 0), part, np.nan) for part in rows]
    actual = cj.cascade.chain_curve(chain, *spoiled, where=where, weights=weight)
    expected = np.array(list(by_hand(chain, *rows, weight * where)))
    np.testing.assert_allclose(flat(actual), expected, rtol=2e-6, atol=1e-7)


def test_answers_match_the_curve(chain, rows, curve):
    confidence, outcome, price = rows
    answers = jax.vmap(lambda kept: cj.cascade.chain_answers(chain, confidence, kept))(
        COMBINATIONS
    )
    picked = np.take_along_axis(outcome.T[None], np.asarray(answers)[..., None], 2)
    np.testing.assert_allclose(
        picked[..., 0].mean(axis=1), np.ravel(curve.accuracy), rtol=2e-6
    )
    paid = np.take_along_axis(
        np.cumsum(price, axis=0).T[None], np.asarray(answers)[..., None], 2
    )
    np.testing.assert_allclose(
        paid[..., 0].mean(axis=1), np.ravel(curve.cost), rtol=2e-6
    )
    # Models that were not asked do not matter; NaN confidences are passed on.
    unread = confidence.copy()
    unread[0, :5] = unread[2] = np.nan
    passed = cj.cascade.chain_answers(chain, unread, [NUM_BINS, NUM_BINS])
    np.testing.assert_array_equal(passed, np.arange(NUM_ROWS) < 5)
    # Without a combination no model answers.
    for kept in ([-1, -1], [NUM_BINS, -1], [NUM_BINS + 1, 0]):
        np.testing.assert_array_equal(
            cj.cascade.chain_answers(chain, confidence, jnp.array(kept)), -1
        )
        with pytest.raises(
            ValueError, match=rf"num_kept_bins: .* in \[0, {NUM_BINS}\]"
        ):
            cj.cascade.chain_answers(chain, confidence, kept)


def first_of(chain, num_stages):
    return jax.tree.map(lambda leaf: leaf[:num_stages], chain)


def test_two_models_make_a_cascade(chain, rows):
    """With ties and weights: the same sums, divided."""
    confidence, outcome, price = (part[:2] for part in rows)
    two = first_of(chain, 1)
    counts = np.random.default_rng(3).integers(0, 3, NUM_ROWS)
    for weights in (np.ones(NUM_ROWS), counts.astype(float)):
        ours = cj.cascade.chain_curve(two, confidence, outcome, price, weights=weights)
        theirs = cj.cascade_curve(
            router(chain, 0), confidence[0], *outcome, weights=weights
        )
        # A division may differ in the last place from program to program.
        for one, other in (
            (ours.accuracy, theirs.accuracy),
            (ours.share[0], theirs.small_share),
            (ours.cost[-1], np.average(price[0], weights=weights)),
            (ours.cost[0], np.average(price.sum(axis=0), weights=weights)),
        ):
            np.testing.assert_allclose(one, other, rtol=2.5e-7)


def test_one_model_and_one_bin(chain, rows):
    confidence, outcome, price = rows
    alone = first_of(chain, 0)
    fitted = jax.eval_shape(
        lambda rows: cj.cascade.fit_chain(rows, num_bins=NUM_BINS), confidence[:1]
    )
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, fitted, alone))
    curve = cj.cascade.chain_curve(alone, confidence[:1], outcome[:1], price[:1])
    assert curve.accuracy.shape == () and curve.share == 1
    np.testing.assert_allclose(curve.accuracy, outcome[0].mean(), rtol=1e-6)
    np.testing.assert_allclose(curve.cost, price[0].mean(), rtol=1e-6)
    for budget, feasible in ((9.0, True), (0.1, False)):
        choice = cj.cascade.best_within_cost(curve, budget)
        assert choice.num_kept_bins.shape == (0,) and choice.feasible == feasible
    assert not cj.cascade.chain_answers(alone, confidence[:1], np.zeros(0, int)).any()
    blank = cj.Bins(edges=jnp.zeros((1, 0), jnp.float32))
    routers = jax.tree.map(lambda leaf: jnp.zeros((1, 1), leaf.dtype), chain.routers)
    single = cj.cascade.Chain(routers=dataclasses.replace(routers, bins=blank))
    curve = cj.cascade.chain_curve(single, confidence[:2], outcome[:2], price[:2])
    np.testing.assert_allclose(curve.accuracy, outcome[1::-1].mean(axis=1), rtol=1e-6)


def test_nan_and_nothing(chain, rows):
    def run(place, number):
        parts = [part.copy() for part in rows]
        parts[place][number, 7] = np.nan
        return parts

    # The confidence of the last model is not used; all others are.
    last = flat(cj.cascade.chain_curve(chain, *run(0, 2)))
    np.testing.assert_array_equal(last, flat(cj.cascade.chain_curve(chain, *rows)))
    some = np.arange(NUM_ROWS) != 7
    for place, number in ((0, 0), (0, 1), (1, 2), (2, 1)):
        parts = run(place, number)
        assert np.isnan(flat(cj.cascade.chain_curve(chain, *parts))).all()
        clean = cj.cascade.chain_curve(
            chain, *parts, where=some, weights=np.ones(NUM_ROWS)
        )
        assert np.isfinite(flat(clean)).all()
    nothing = cj.cascade.chain_curve(
        chain, *rows, where=np.zeros(NUM_ROWS, bool), weights=np.ones(NUM_ROWS)
    )
    empty = cj.cascade.chain_curve(chain, *(part[:, :0] for part in rows))
    assert np.isnan(flat(nothing)).all() and np.isnan(flat(empty)).all()
    assert not cj.cascade.cost_frontier(nothing).any()
    choice = cj.cascade.best_within_cost(nothing, 1e9)
    np.testing.assert_array_equal(choice.num_kept_bins, NUM_BINS)
    assert not choice.feasible


def frontier_by_hand(accuracy, cost):
    """Bool: not beaten by a combination that is better in one respect and no worse in
    the other, or equal and later.
    """
    later = np.arange(len(cost))
    equal = (accuracy[:, None] == accuracy) & (cost[:, None] == cost)
    beaten = (accuracy[:, None] <= accuracy) & (cost[:, None] >= cost)
    return ~np.any(beaten & (~equal | (later[:, None] < later)), axis=1)


def test_frontier_and_budgets(curve):
    accuracy, cost = np.ravel(curve.accuracy), np.ravel(curve.cost)
    # With ties, as from few rows and whole prices.
    for digits in (6, 1, 0):
        a, c = (np.round(x, digits).astype(np.float32) for x in (accuracy, cost))
        shape = curve.accuracy.shape
        given = cj.cascade.ChainCurve(
            accuracy=jnp.asarray(a.reshape(shape)),
            cost=jnp.asarray(c.reshape(shape)),
            share=curve.share,
            right_share=curve.right_share,
        )
        on = np.ravel(cj.cascade.cost_frontier(given))
        np.testing.assert_array_equal(on, frontier_by_hand(a, c))
        budgets = np.append(c, 0.99 * c.min())
        choice = jax.vmap(cj.cascade.best_within_cost, (None, 0))(given, budgets)
        kept = np.asarray(choice.num_kept_bins)
        assert (kept[-1] == NUM_BINS).all()
        np.testing.assert_array_equal(choice.feasible, np.arange(len(budgets)) < len(c))
        chosen = np.ravel_multi_index(kept[:-1].T, shape)
        assert set(chosen) == set(np.flatnonzero(on))
        within = np.where(c[None] <= budgets[:-1, None], a, -1)
        np.testing.assert_array_equal(a[chosen], within.max(axis=1))
        assert (c[chosen] <= budgets[:-1]).all()


def test_exactly_the_budget(curve):
    """The exact budget is within it, with either sign; a little more is not."""
    for sign in (1, -1):
        cost = sign * np.asarray(curve.cost)
        given = dataclasses.replace(curve, cost=jnp.asarray(cost))
        least = cost.min()
        assert cj.cascade.best_within_cost(given, least).feasible
        assert not cj.cascade.best_within_cost(
            given, least - 1e-5 * abs(least)
        ).feasible


def test_sums_of_more_cells_than_rows():
    rng = np.random.default_rng(5)
    cell, valid = rng.integers(0, 200, NUM_ROWS), rng.random(NUM_ROWS) < 0.7
    values = rng.normal(size=(2, NUM_ROWS)).astype(np.float32)
    count, sums = jax.jit(chain_curves.sum_joint_cells, static_argnums=2)(
        jnp.asarray(cell, jnp.int32), values, 200, valid
    )
    np.testing.assert_array_equal(count, np.bincount(cell[valid], minlength=200))
    for ours, row in zip(sums, values, strict=True):
        theirs = np.bincount(cell[valid], row[valid], minlength=200)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_abstaining_is_chows_rule():
    """With calibrated confidences the best choice passes on answers worth less."""
    rng = np.random.default_rng(6)
    level = np.array([0.3, 0.5, 0.7, 0.9])
    # One bin for each confidence level of the answering model.
    confidence = rng.permuted(np.resize(level, (2, NUM_ROWS)), axis=1)
    outcome = rng.random((2, NUM_ROWS)) < confidence
    costs = np.ones((2, NUM_ROWS))
    costs[0] = 0.0
    # The first model keeps nothing: only the second answers, or none.
    for worth, price in ((0.6, 0.0), (0.45, 2.0)):
        rows = cj.cascade.with_abstaining(confidence, confidence, costs, worth, price)
        assert rows[0].shape == (NUM_MODELS, NUM_ROWS)
        chain = cj.cascade.fit_chain(rows[0], num_bins=NUM_BINS)
        expected = cj.cascade.chain_curve(chain, *rows)
        curve = cj.cascade.chain_curve(
            chain, *cj.cascade.with_abstaining(confidence, outcome, costs, worth, price)
        )
        for kept in NUMBERS:
            answers = np.asarray(cj.cascade.chain_answers(chain, rows[0], [0, kept]))
            answered = answers < 2
            coverage, accuracy = cj.cascade.selective_accuracy(curve)
            np.testing.assert_allclose(coverage[0, kept], answered.mean(), atol=1e-6)
            if answered.any():
                right = outcome[1][answered].mean()
                np.testing.assert_allclose(accuracy[0, kept], right, rtol=1e-6)
            else:
                assert np.isnan(accuracy[0, kept])
            np.testing.assert_allclose(
                curve.cost[0, kept], 1 + price * (answers == 2).mean(), rtol=1e-6
            )
        best = int(np.argmax(np.asarray(expected.accuracy)[0]))
        answers = np.asarray(cj.cascade.chain_answers(chain, rows[0], [0, best]))
        np.testing.assert_array_equal(answers < 2, confidence[1] > worth)


def test_wrong_chains(chain, rows):
    with pytest.raises(ValueError, match=r"confidences: expected at least one model"):
        cj.cascade.fit_chain(np.zeros((0, 5)))
    with pytest.raises(ValueError, match=r"confidences: expected a row for each of"):
        cj.cascade.chain_curve(chain, *(part[:2] for part in rows))
    with pytest.raises(ValueError, match=r"num_kept_bins: .* 2 stages, got \[3\]"):
        cj.cascade.chain_answers(chain, rows[0], [1, 2, 3])
    large = jax.tree.map(lambda leaf: jnp.zeros((4, *leaf.shape[1:])), chain)
    fine = cj.cascade.Chain(
        routers=jax.tree.map(
            lambda leaf: jnp.zeros((4, 20 - (leaf.shape[1] == NUM_BINS - 1))), large
        ).routers
    )
    with pytest.raises(ValueError, match=r"at most 131072 .* 21 \*\* 4 = 194481; fit"):
        cj.cascade.chain_curve(fine, *(np.zeros((5, 3)) for _ in range(3)))
