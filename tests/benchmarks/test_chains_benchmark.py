"""Comparisons of families in benchmarks/chains, against a loop over them."""

import dataclasses

import jax
import numpy as np
import pytest

from benchmarks.chains import choices, comparing
from benchmarks.chains.problems import Rows, Setting

pytestmark = pytest.mark.once

NUM_PROBLEMS, NUM_MODELS, NUM_ROWS = 2, 3, 40
PRICES = np.array([1.0, 1.0, 5.0])
BUDGETS = np.tile(np.float32([1.0, 2.0, 5.0]), (NUM_PROBLEMS, 1))


def rows(rng):
    shape = NUM_PROBLEMS, NUM_MODELS, NUM_ROWS
    where = np.arange(NUM_ROWS) < 30
    return Rows(
        confidence=rng.random(shape),
        correct=rng.random(shape) < 0.6,
        cost=np.broadcast_to(PRICES[:, None], shape),
        where=np.tile(where, (NUM_PROBLEMS, 1)),
        number=np.tile(np.arange(NUM_ROWS), (NUM_PROBLEMS, 1)),
    )


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    return rows(rng), rows(rng)


@pytest.fixture(scope="module")
def by_family(sides):
    """Made-up chains: each value and right answer is drawn."""
    rng = np.random.default_rng(1)
    shape = NUM_PROBLEMS, 2, BUDGETS.shape[1]
    found = [
        choices.Chosen(
            value=rng.random(shape),
            seen=rng.random(shape),
            right=(rng.random((*shape, NUM_ROWS)) < 0.5) & sides[1].where[0],
            cost=rng.random(shape),
        )
        for _ in choices.subsets(NUM_MODELS)
    ]
    subsets = choices.subsets(NUM_MODELS)
    return found, comparing.best_of(subsets, found, sides, BUDGETS)


def test_families_take_their_best(by_family):
    found, best = by_family
    values = np.stack([chosen.value for chosen in found])
    # Three single models, three pairs, one chain of all.
    for family, last in ((comparing.CHAIN, 7), (comparing.PAIR, 6)):
        np.testing.assert_array_equal(best[family].value, values[:last].max(axis=0))
    at = values[:6].argmax(axis=0)[1, 0, 2]
    np.testing.assert_array_equal(
        best[comparing.PAIR].right[1, 0, 2], found[at].right[1, 0, 2]
    )


def test_a_single_model_is_judged_at_any_budget(sides):
    """Always the largest is compared with at budgets that it exceeds, too."""
    subset, new = np.array([NUM_MODELS - 1], np.int32), sides[1]
    rows = [
        dataclasses.replace(
            side,
            confidence=np.float32(side.confidence),
            cost=np.array(side.cost, np.float32),
        )
        for side in sides
    ]
    with jax.numpy_dtype_promotion("standard"):  # As outside of tests.
        found = choices._choose(subset, *rows, BUDGETS, num_bins=2)
    np.testing.assert_array_equal(np.isfinite(found.value[0, 0]), [False, False, True])
    expected = np.broadcast_to(
        (new.correct[:, -1] & new.where)[:, None, None], found.right.shape
    )
    np.testing.assert_array_equal(found.right, expected)
    np.testing.assert_allclose(found.cost, PRICES[-1], rtol=1e-6)


def test_random_mixes_spend_the_budget(by_family, sides):
    seen, new = sides
    mix = by_family[1][comparing.MIX]
    for problem in range(NUM_PROBLEMS):
        where = seen.where[problem]
        before, after = (
            side.correct[problem][:, where].mean(axis=1) for side in (seen, new)
        )
        # The cheap model, and the expensive one with the rest of the money.
        for place, share in ((0, 0.0), (1, 0.25), (2, 1.0)):
            mixed = (1 - share) * before[:2] + share * before[2]
            alone = [before[:2].max(), *([before[2]] if place == 2 else [])]
            expected = max(mixed.max(), *alone)
            np.testing.assert_allclose(mix.value[problem, 0, place], expected)
            spent = mix.right[problem, 0, place][where].mean()
            best = int(np.argmax(mixed))
            if expected == mixed.max() and share < 1:
                then = (1 - share) * after[best] + share * after[2]
                np.testing.assert_allclose(spent, then, rtol=1e-6)
                cost = 1 + 4 * share
                np.testing.assert_allclose(mix.cost[problem, 0, place], cost)


def test_rivals_at_the_cost_of_a_chain():
    """Interpolated by hand, in order of cost, for each question."""
    rng = np.random.default_rng(2)
    shape = NUM_PROBLEMS, 2, 4

    def made_up(cost):
        return choices.Chosen(
            value=np.zeros(shape),
            seen=np.zeros(shape),
            right=rng.random((*shape, NUM_ROWS)) < 0.5,
            cost=np.float64(np.broadcast_to(cost, shape)),
        )

    rival, always = made_up([2.0, 1.0, 3.0, 7.0]), made_up(5.0)
    rival.value[..., 3] = -np.inf
    chain = made_up([0.5, 1.75, 3.0, 4.5])
    found = comparing.at_cost_of(chain, rival, always)
    np.testing.assert_allclose(found.cost, np.broadcast_to([1, 1.75, 3, 4.5], shape))
    line = np.stack(
        [*(rival.right[:, :, k] for k in (1, 0, 2)), always.right[:, :, -1]], axis=2
    )
    for k, cost in enumerate(chain.cost[0, 0]):
        expected = np.apply_along_axis(
            lambda right, cost=cost: np.interp(cost, [1.0, 2.0, 3.0, 5.0], right),
            2,
            line,
        )
        np.testing.assert_allclose(found.right[:, :, k], expected, rtol=1e-6)


def test_differences_are_paired(by_family, sides):
    setting = Setting(
        name="made-up",
        title="Made-up",
        models=("a", "b", "c"),
        num_chosen_on=30,
        num_judged_on=30,
        num_questions=NUM_ROWS,
        problems=slice(0, NUM_PROBLEMS),
    )
    judged = {
        family: comparing.judge(setting, chosen, sides[1], BUDGETS[0] / 5).accuracy
        for family, chosen in by_family[1].items()
    }
    rivals = {name: by_family[1][name] for name in comparing.RIVALS}
    # Within the smallest budget one rival has no choice.
    value = np.where(np.arange(3) == 0, -np.inf, np.zeros((NUM_PROBLEMS, 2, 3)))
    rivals["dear"] = dataclasses.replace(rivals[comparing.PAIR], value=value)
    chain = by_family[1][comparing.CHAIN]
    found = comparing.compare(setting, chain, rivals, sides[1], 0, 50)
    dear, pair = found["dear"].estimate, found[comparing.PAIR].estimate
    assert np.isnan(dear[:, 0]).all() and np.isnan(found["dear"].interval[:, 0]).all()
    np.testing.assert_array_equal(dear[:, 1:-1], pair[:, 1:-1])
    np.testing.assert_allclose(dear[:, -1], pair[:, 1:-1].mean(1), atol=1e-6)
    for rival in comparing.RIVALS:
        one = found[rival]
        expected = judged[comparing.CHAIN] - judged[rival]
        np.testing.assert_allclose(one.estimate[:, :-1], expected, atol=1e-6)
        np.testing.assert_allclose(one.estimate[:, -1], expected.mean(1), atol=1e-6)
        assert (one.interval[..., 0] <= one.estimate + 1e-6).all()
        assert (one.estimate <= one.interval[..., 1] + 1e-6).all()
