"""Committees, against loops in float64 NumPy and votes counted by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

NUM_MODELS, NUM_ROWS, NUM_CLASSES = 4, 60, 3
NAMES = ("prediction", "score", "evidence", "margin")


def draw(seed=0):
    """Votes of which many tie, and some models that abstain."""
    rng = np.random.default_rng(seed)
    shape = NUM_MODELS, NUM_ROWS
    prediction = rng.integers(-1, NUM_CLASSES, shape)
    confidence = np.float32(rng.choice([0.0, 0.25, 0.5, 0.5, 0.75, 1.0], shape))
    label = rng.integers(0, NUM_CLASSES, NUM_ROWS)
    return prediction, confidence, label


def by_hand(prediction, confidence, votes):
    """The four fields for one example, from the votes of M models."""
    sums, tops, firsts = {}, {}, {}
    for place in np.flatnonzero(votes & (prediction >= 0)):
        one, share = prediction[place], float(confidence[place])
        sums[one] = sums.get(one, 0.0) + share
        tops[one] = max(tops.get(one, 0.0), share)
        firsts.setdefault(one, place)
    if not sums:
        return -1, 0.0, 0.0, 0.0
    winner = max(sums, key=lambda one: (sums[one], tops[one], -firsts[one]))
    others = [total for one, total in sums.items() if one != winner]
    supporters = confidence[votes & (prediction == winner)].astype(float)
    return (
        winner,
        sums[winner] / sum(sums.values()) if any(sums.values()) else 0.0,
        -np.log1p(-np.minimum(supporters, 1 - 2.0**-24)).sum(),
        sums[winner] - max(others, default=0.0),
    )


def expected(prediction, confidence, votes):
    rows = zip(prediction.T, confidence.T, votes.T, strict=True)
    return list(zip(*(by_hand(*row) for row in rows), strict=True))


def check(found, wanted):
    for name, values in zip(NAMES, wanted, strict=True):
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-6, atol=1e-7)


def test_votes_counted_by_hand():
    """Two weak votes against a strong one, a draw, agreement, and nobody."""
    prediction = [[0, 0, 2, -1], [1, 1, 2, -1], [1, 2, 2, -1]]
    confidence = [[0.75, 0.5, 0.5, 0.9], [0.5, 0.5, 0.25, 0.9], [0.375, 0.25, 1.0, 0.9]]
    found = cj.cascade.committee(prediction, confidence)
    np.testing.assert_array_equal(found.prediction, [1, 0, 2, -1])
    np.testing.assert_allclose(found.score, [0.875 / 1.625, 0.4, 1.0, 0.0])
    np.testing.assert_array_equal(found.margin, [0.125, 0.0, 1.75, 0.0])
    np.testing.assert_allclose(found.evidence[:2], np.log([1 / 0.3125, 2]), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_random_votes(seed):
    prediction, confidence, _ = draw(seed)
    rng = np.random.default_rng(seed)
    votes = rng.random(prediction.shape) < 0.8
    found = cj.cascade.committee(prediction, confidence, where=votes)
    check(found, expected(prediction, confidence, votes))
    grown = cj.cascade.growing_committees(prediction, confidence, where=votes)
    for size in range(NUM_MODELS):
        asked = votes & (np.arange(NUM_MODELS) <= size)[:, None]
        part = jax.tree.map(lambda leaf, size=size: leaf[size], grown)
        check(part, expected(prediction, confidence, asked))


def test_order_of_models_and_numbers_of_classes():
    """Neither matters to the last bit where no votes tie."""
    rng = np.random.default_rng(3)
    prediction = rng.integers(0, NUM_CLASSES, (NUM_MODELS, NUM_ROWS))
    confidence = np.float32(rng.random(prediction.shape))
    first = cj.cascade.committee(prediction, confidence)
    for order in itertools.islice(itertools.permutations(range(NUM_MODELS)), 1, 24, 5):
        order = list(order)
        other = cj.cascade.committee(prediction[order], confidence[order])
        for name in ("prediction", "score", "margin"):
            np.testing.assert_array_equal(getattr(other, name), getattr(first, name))
    renamed = cj.cascade.committee(np.array([7, 0, 3])[prediction], confidence)
    np.testing.assert_array_equal(
        renamed.prediction, np.array([7, 0, 3])[first.prediction]
    )
    np.testing.assert_array_equal(renamed.score, first.score)


def test_sums_that_float32_would_round_alike():
    """2^-26 decides, beside a sum of 1.5."""
    tiny = 2.0**-26
    found = cj.cascade.committee(
        [[0], [0], [1], [1], [1]], [[0.75], [0.75], [0.75], [0.75], [tiny]]
    )
    assert found.prediction[0] == 1 and found.margin[0] == tiny
    # Confidences as small as those of long texts are weighed like others.
    small = cj.cascade.committee([[0], [1], [1]], [[3e-30], [2e-30], [2e-30]])
    assert small.prediction[0] == 1
    np.testing.assert_allclose(small.score, 4 / 7, rtol=1e-6)


def test_rows_without_a_number():
    """NaN in a vote, in one that is masked, and in a model that abstains."""
    prediction = np.array([[0, 0, 0], [1, 1, -1]])
    confidence = np.array([[0.5, 0.5, 0.5], [np.nan, np.nan, np.nan]])
    votes = np.array([[True, True, True], [True, False, True]])
    found = cj.cascade.committee(prediction, confidence, where=votes)
    np.testing.assert_array_equal(found.prediction, [-1, 0, 0])
    for name in NAMES[1:]:
        np.testing.assert_array_equal(
            np.isnan(getattr(found, name)), [True, False, False]
        )
    # A device array may hold what the host would refuse: it counts as NaN.
    traced = jax.jit(cj.cascade.committee)(prediction, jnp.array(confidence + 7))
    np.testing.assert_array_equal(traced.prediction, -1)
    with pytest.raises(ValueError, match=r"confidences: .* \[0, 1\].* holds 7.5"):
        cj.cascade.committee(prediction, confidence + 7)
    # Masks of rows and of entries, and confidences of those that abstain.
    rows = [False, True, True]
    confidence[0, 0], confidence[1] = 7.0, [8.0, 0.25, 9.0]
    found = cj.cascade.committee(prediction, confidence, where=rows)
    np.testing.assert_array_equal(found.prediction, [-1, 0, 0])
    np.testing.assert_array_equal(found.score, [0.0, np.float32(2 / 3), 1.0])


def test_shapes_that_do_not_fit():
    ones = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="at least one model"):
        cj.cascade.committee(np.ones((0, 3), int), np.ones((0, 3)))
    with pytest.raises(ValueError, match="where: expected a bool array"):
        cj.cascade.committee(ones, np.ones((2, 3)), where=np.ones((2, 3, 1), bool))
    with pytest.raises(ValueError, match=r"where: expected .* or \[2, 3\]"):
        cj.cascade.committee(ones, np.ones((2, 3)), where=np.ones((1, 3), bool))
    for costs in (np.ones(3), np.ones((3, 3))):
        with pytest.raises(ValueError, match="costs: expected one|predictions, costs"):
            cj.cascade.committee_curve(ones, np.ones((2, 3)), [1, 1, 1], costs)
    with pytest.raises(ValueError, match=r"costs: .* \[0, inf\)"):
        cj.cascade.committee_curve(ones, np.ones((2, 3)), [1, 1, 1], [1.0, -1.0])
    with pytest.raises(ValueError, match="min_evidence: expected at least 0 nats"):
        cj.cascade.committee_curve(ones, np.ones((2, 3)), [1] * 3, min_evidence=-1.0)


def decided_curve(prediction, confidence, label, price, weight, least=np.inf):
    """Accuracy, cost and number asked of committees that ask one after another."""
    weight = weight / weight.sum()
    for size in range(1, NUM_MODELS + 1):
        found = np.zeros(5)
        for row in np.flatnonzero(weight):
            one, sure = prediction[:size, row], confidence[:size, row]
            for asked in range(1, size + 1):
                votes = np.arange(size) < asked
                winner, _, evidence, margin = by_hand(one, sure, votes)
                if margin > size - asked or evidence >= least or asked == size:
                    break
            last = by_hand(one, sure, np.ones(size, bool))[0]
            found += weight[row] * np.array(
                [
                    winner == label[row],
                    price[:asked, row].sum(),
                    asked,
                    last == label[row],
                    price[:size, row].sum(),
                ]
            )
        yield found


def flat(curve):
    return np.stack(
        [
            curve.accuracy,
            curve.cost,
            curve.num_asked,
            curve.full_accuracy,
            curve.full_cost,
        ],
        axis=1,
    )


def test_curve():
    prediction, confidence, label = draw(5)
    rng = np.random.default_rng(5)
    price = rng.choice([0.25, 1.0, 1.5], prediction.shape)
    weight = rng.integers(0, 4, NUM_ROWS) * 0.5
    where = rng.random(NUM_ROWS) < 0.8
    removed = ~where | (weight == 0)
    spoiled = np.where(removed, np.nan, confidence), np.where(removed, np.nan, price)
    curve = cj.cascade.committee_curve(
        prediction, spoiled[0], label, spoiled[1], where=where, weights=weight
    )
    wanted = decided_curve(prediction, confidence, label, price, weight * where)
    np.testing.assert_allclose(flat(curve), list(wanted), rtol=2e-6)
    limits = jnp.array([0.5, 1.5])
    curves = jax.vmap(
        lambda least: cj.cascade.committee_curve(
            prediction, confidence, label, price[:, 0], min_evidence=least
        )
    )(limits)
    constant = np.broadcast_to(price[:, :1], prediction.shape)
    for k, least in enumerate(limits):
        wanted = decided_curve(
            prediction, confidence, label, constant, np.ones(NUM_ROWS), least
        )
        part = jax.tree.map(lambda leaf, k=k: leaf[k], curves)
        np.testing.assert_allclose(flat(part), list(wanted), rtol=2e-6)


@pytest.mark.parametrize("weight", [1e-36, 2.0**-110, 1e30])
def test_weights_of_any_size(weight):
    """However small or large all are, the numbers are those of equal weights."""
    prediction, confidence, label = draw()
    costs = np.float32([1, 2, 3, 4])[:, None] + np.zeros(NUM_ROWS, np.float32)
    weights = np.full(NUM_ROWS, weight, np.float32)
    curves, orders = [], []
    for given in (None, weights):
        rows = prediction, confidence, label, costs
        curves.append(cj.cascade.committee_curve(*rows, weights=given))
        orders.append(cj.cascade.order_committee(*rows, weights=given))
    for one, other in zip(*map(jax.tree.leaves, curves), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_array_equal(*orders)


def test_stopping_once_decided_changes_no_answer():
    """On votes of many kinds, and it does save calls."""
    for seed in range(4):
        prediction, confidence, label = draw(seed + 10)
        curve = cj.cascade.committee_curve(prediction, confidence, label)
        np.testing.assert_array_equal(curve.accuracy, curve.full_accuracy)
        np.testing.assert_array_equal(curve.full_cost, np.arange(1, NUM_MODELS + 1))
        assert np.all(curve.cost <= curve.full_cost) and curve.cost[-1] < NUM_MODELS
        grown = cj.cascade.growing_committees(prediction, confidence)
        outstanding = NUM_MODELS - 1 - np.arange(NUM_MODELS)[:, None]
        decided = np.asarray(grown.margin) > outstanding
        same = np.asarray(grown.prediction) == np.asarray(grown.prediction[-1])
        assert decided.any() and same[decided].all()


def test_votes_that_could_still_turn():
    """A margin equal to what is outstanding is not enough."""
    prediction, confidence = [[1], [1], [0], [0]], [[1.0], [1.0], [1.0], [1.0]]
    grown = cj.cascade.growing_committees(prediction, confidence)
    np.testing.assert_array_equal(grown.margin[:, 0], [1.0, 2.0, 1.0, 0.0])
    curve = cj.cascade.committee_curve(prediction, confidence, [1])
    np.testing.assert_array_equal(curve.num_asked, [1, 2, 2, 4])


def test_curve_of_what_is_not_a_number():
    prediction, confidence, label = draw(6)
    prediction[1] = 0
    confidence[1, 0] = np.nan
    curve = cj.cascade.committee_curve(prediction, confidence, label)
    np.testing.assert_array_equal(np.isnan(curve.full_accuracy), [False] + [True] * 3)
    assert np.isfinite(curve.full_cost).all()
    order = cj.cascade.order_committee(prediction, confidence, label)
    np.testing.assert_array_equal(order, -1)
    nobody = np.zeros(NUM_ROWS, bool)
    curve = cj.cascade.committee_curve(prediction, confidence, label, where=nobody)
    assert np.isnan(flat(curve)).all()
    order = cj.cascade.order_committee(prediction, confidence, label, where=nobody)
    np.testing.assert_array_equal(order, -1)
    # A negative label is never right, not even where nobody votes.
    unknown = cj.cascade.committee_curve(
        -np.ones((2, 3), int), np.ones((2, 3)), [-1] * 3
    )
    np.testing.assert_array_equal(unknown.accuracy, 0.0)


def greedy(prediction, confidence, label, price, weight):
    """The order by trying every model next."""
    weight = weight / weight.sum()
    order, accuracy = [], 0.0
    while len(order) < NUM_MODELS:
        tried = []
        for one in sorted(set(range(NUM_MODELS)) - set(order)):
            group = [*order, one]
            votes = np.ones((len(group), NUM_ROWS), bool)
            winners = np.array(expected(prediction[group], confidence[group], votes)[0])
            found = ((winners == label) * weight).sum()
            gain = found - accuracy
            worth = gain / price[one] if gain > 1e-9 else gain
            tried.append((round(-worth, 6), round(-gain, 6), price[one], one, found))
        *_, best, accuracy = min(tried)
        order.append(best)
    return order


@pytest.mark.parametrize("seed", range(3))
def test_order(seed):
    prediction, confidence, label = draw(seed + 20)
    rng = np.random.default_rng(seed)
    right = rng.random(prediction.shape) < np.array([[0.3], [0.7], [0.5], [0.4]])
    prediction = np.where(right, label, prediction)
    price, weight = (
        rng.choice([1.0, 2.0, 5.0], NUM_MODELS),
        rng.integers(0, 3, NUM_ROWS),
    )
    found = cj.cascade.order_committee(
        prediction, confidence, label, price, weights=weight
    )
    wanted = greedy(prediction, confidence, label, price, weight)
    np.testing.assert_array_equal(found, wanted)


def test_a_chain_of_growing_committees():
    """With their calibrated evidence as confidence, chains take them as models."""
    prediction, confidence, label = draw(30)
    grown = cj.cascade.growing_committees(prediction, confidence)
    right = jnp.asarray(np.asarray(grown.prediction) == label)
    params, _ = jax.vmap(cj.fit_platt)(grown.evidence, right)
    sure = jax.vmap(cj.calibrate)(params, grown.evidence)
    chain = cj.cascade.fit_chain(sure, num_bins=3)
    costs = np.ones(prediction.shape)
    curve = cj.cascade.chain_curve(chain, sure, right, costs)
    full = cj.cascade.committee_curve(prediction, confidence, label)
    np.testing.assert_allclose(curve.accuracy[0, 0, 0], full.accuracy[-1], rtol=1e-6)
    np.testing.assert_allclose(curve.accuracy[3, 0, 0], full.accuracy[0], rtol=1e-6)
    assert curve.cost[0, 0, 0] == NUM_MODELS and curve.cost[3, 0, 0] == 1
