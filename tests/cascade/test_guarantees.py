"""Choices of K, against simulations whose risks are known and formulas in NumPy."""

import functools

import jax
import numpy as np
import pytest
from by_hand import equal
from scipy import stats

import calib_jax as cj

pytestmark = pytest.mark.once

# For each fifth of the small model's confidence, how often the small model, the large
# model and both are right; the first fifth is kept small last.
SMALL = np.array([0.3, 0.5, 0.7, 0.85, 0.95])
LARGE = np.array([0.8, 0.8, 0.85, 0.88, 0.95])
NUM_BINS, NUM_SPLITS, NUM_ROWS, BATCH = 5, 192, 300, 32
EVERY = np.ones(NUM_ROWS, bool)


def draw(rng, *shape):
    """Confidence of the small model and outcomes of both, independent given the bin."""
    index = rng.integers(0, NUM_BINS, shape)
    confidence = (index + rng.uniform(0.05, 0.95, shape)) / NUM_BINS
    small = rng.random(shape) < SMALL[index]
    return confidence.astype(np.float32), small, rng.random(shape) < LARGE[index]


def true_risks():
    """Regret, drop and error of the small model for every K."""
    order = np.arange(NUM_BINS)[::-1]
    regret = np.cumsum((LARGE * (1 - SMALL))[order]) / NUM_BINS
    drop = np.cumsum((LARGE - SMALL)[order]) / NUM_BINS
    error = np.cumsum((1 - SMALL)[order]) / np.arange(1, NUM_BINS + 1)
    return tuple(np.concatenate([[0], risk]) for risk in (regret, drop, error))


@pytest.fixture(scope="module")
def router():
    """Bins of one fifth each, in the order of the true advantage."""
    middle = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    bins = cj.equal_width_bins(NUM_BINS)
    return cj.fit_router(middle, middle + LARGE - SMALL, bins=bins)


@pytest.fixture(scope="module")
def splits():
    return draw(np.random.default_rng(0), NUM_SPLITS, NUM_ROWS)


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, 0, 0, 0, 0, 0))
def decide(router, confidence, small, large, where, level, delta):
    """Every choice that takes outcomes, on many splits: one program for all tests."""
    rows, mask = (router, confidence, small, large), {"where": where}
    sure = 1 - delta
    drop = functools.partial(cj.cascade.control_accuracy_drop, *rows, level, sure)
    return {
        "regret": cj.cascade.control_regret(*rows, level, **mask),
        "betting": drop(**mask),
        "hoeffding_bentkus": drop(betting=False, **mask),
        "small_error": cj.cascade.control_small_error(*rows[:3], level, sure, **mask),
    }


def decide_all(router, rows, level, delta, where=EVERY):
    """The choices on many splits, or at many levels, in batches of one shape."""
    size = max(len(rows[0]) if rows[0].ndim == 2 else 1, np.size(level))
    shape = (size + -size % BATCH,)
    columns = [
        np.resize(np.broadcast_to(row, (size, NUM_ROWS)), shape + (NUM_ROWS,))
        for row in (*rows, where)
    ]
    columns += [np.resize(np.float32(x), shape) for x in (level, delta)]
    parts = [
        decide(router, *(column[first : first + BATCH] for column in columns))
        for first in range(0, shape[0], BATCH)
    ]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *parts)


def decide_one(router, rows, level, delta=0.05, where=EVERY):
    """The choices from one set of rows, padded with masked rows."""
    where = where & (np.arange(NUM_ROWS) < len(rows[0]))
    rows = [np.resize(row, NUM_ROWS) for row in rows]
    all_levels = decide_all(router, rows, level, delta, where)
    return (
        jax.tree.map(lambda x: x[0], all_levels) if np.ndim(level) == 0 else all_levels
    )


def at(risk, chosen):
    """The risk at each chosen K; 0 where nothing is chosen."""
    return np.where(chosen.feasible, risk[np.asarray(chosen.num_small_bins)], 0.0)


def test_order_of_the_router(router):
    np.testing.assert_array_equal(router.order, [4, 3, 2, 1, 0])


@pytest.mark.parametrize("level", [0.03, 0.08])
def test_regret_is_within_its_limit_on_average(router, splits, level):
    chosen = decide_all(router, splits, level, 0.1)["regret"]
    risk = at(true_risks()[0], chosen)
    assert risk.mean() <= level + 2 * risk.std() / np.sqrt(NUM_SPLITS)
    # And the limit is used.
    assert risk.mean() > 0.3 * level and risk.max() > level


@pytest.mark.parametrize("name", ["drop", "error"])
def test_promises_are_seldom_broken(router, splits, name):
    """At limits just below the risk of some K, where it is hardest."""
    _, drop, error = true_risks()
    risk = error if name == "error" else drop
    kinds = ["small_error"] if name == "error" else ["betting", "hoeffding_bentkus"]
    level, delta = risk[3] - 1e-4, 0.2
    choices = decide_all(router, splits, level, delta)
    for kind in kinds:
        broken = at(risk, choices[kind]) > level
        assert broken.mean() <= delta + 2 * np.sqrt(delta * (1 - delta) / NUM_SPLITS)
    if name == "error":
        assert broken.mean() > 0.05
    # With some room below the limit, the guarantee is useful.
    choices = decide_all(router, splits, level + 0.08, delta)
    for kind in kinds:
        assert np.mean(choices[kind].num_small_bins >= 2) > 0.5


def test_bounds_follow_their_formulas(router, splits):
    confidence, small, large = (part[0] for part in splits)
    kept = (
        np.floor(confidence * NUM_BINS) >= NUM_BINS - np.arange(NUM_BINS + 1)[:, None]
    )
    lost = large.astype(float) - small
    regret = (kept * np.maximum(lost, 0)).sum(axis=1)
    choices = decide_one(router, (confidence, small, large), 0.1, 0.1)
    chosen = choices["regret"]
    np.testing.assert_allclose(chosen.risk, regret / NUM_ROWS, rtol=1e-6)
    np.testing.assert_allclose(chosen.bound, (regret + 1) / (NUM_ROWS + 1), rtol=1e-6)
    np.testing.assert_allclose(chosen.large_share, 1 - kept.mean(axis=1), atol=1e-6)
    assert chosen.num_small_bins == np.flatnonzero(chosen.bound <= 0.1)[-1]
    assert chosen.num_rows == NUM_ROWS and not chosen.same_rows

    chosen = choices["small_error"]
    wrong, rows = (kept * ~small).sum(axis=1), kept.sum(axis=1)
    expected = stats.beta.isf(0.1, wrong + 1, np.maximum(rows - wrong, 1))
    expected[0] = 1
    np.testing.assert_allclose(chosen.bound, expected, rtol=1e-5)

    drop = (kept * lost).mean(axis=1)
    shifted = (kept * lost + 1) / 2
    for kind in ("betting", "hoeffding_bentkus"):
        np.testing.assert_allclose(choices[kind].risk, drop, atol=1e-7)
        # The bound of each K is the level at which its p-value equals the error rate.
        bound = np.asarray(choices[kind].bound)
        means = np.concatenate([bound + 1 + 1e-5, bound + 1 - 1e-5]) / 2
        rows = np.tile(shifted, (2, 1))
        if kind == "betting":
            p_values = jax.vmap(cj.stats.betting_p_value)(rows, means)
        else:
            p_values = jax.vmap(cj.stats.hoeffding_bentkus_p_value, (0, None, 0))(
                rows.sum(axis=1), NUM_ROWS, means
            )
        above, below = np.split(np.asarray(p_values), 2)
        assert (above <= 0.1).all() and (below >= 0.1).all()


def test_partial_credit_is_rounded_up(router, splits):
    """Outcomes 0 and 1 as floats give the same as bools; partial ones a little more."""
    rows = [part[0][:24] for part in splits]
    choose = functools.partial(cj.cascade.control_accuracy_drop, router, rows[0])
    of_bools = decide_one(router, rows, 0.1)["betting"]
    small, large = (part.astype(float) for part in rows[1:])
    of_floats = choose(small, large, 0.1)
    np.testing.assert_allclose(of_floats.bound, of_bools.bound, atol=1e-6)
    shaded = choose(0.999 * small, 0.999 * large, 0.1)
    assert np.all(shaded.bound >= 0.999 * of_bools.bound - 1e-6)
    assert np.all(shaded.bound <= of_bools.bound + 1 / 128)


def test_sequence_stops_at_the_first_failure(router):
    """A bin with a large loss hides the bins after it, however good."""
    index = np.arange(NUM_ROWS) % NUM_BINS
    confidence = ((index + 0.5) / NUM_BINS).astype(np.float32)
    rows = confidence, index != 3, np.ones(NUM_ROWS, bool)
    chosen = decide_one(router, rows, 0.15)["betting"]
    assert chosen.num_small_bins == 1
    chosen = decide_one(router, rows, 0.33)["small_error"]
    assert chosen.num_small_bins == 1 and chosen.bound[5] < 0.33


def test_the_rows_of_the_router_are_refused(router, splits):
    confidence, small, large = (part[0] for part in splits)
    bins = router.bins
    order = np.random.default_rng(0).permutation(NUM_ROWS)
    rows = [part[order] for part in (confidence, small, large)]
    fitted = cj.fit_router(confidence, 0.9 * confidence + 0.1, bins=bins)
    for chosen in decide_one(fitted, rows, 0.99).values():
        assert chosen.same_rows and not chosen.feasible
        assert chosen.num_small_bins == 0
    # With one row less they count as other rows; the overlap cannot be known.
    fewer = [part[1:] for part in rows]
    for chosen in decide_one(fitted, fewer, 0.99).values():
        assert chosen.feasible and not chosen.same_rows

    # With one value these rows cannot have influenced the order.
    rows[0] = np.full(NUM_ROWS, 0.5, np.float32)
    fitted = cj.fit_router(rows[0], rows[0] + 0.1, bins=bins)
    for chosen in decide_one(fitted, rows, 0.99).values():
        assert chosen.feasible and not chosen.same_rows


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_infeasible_targets_give_the_smallest_feasible_level(router, splits, rows):
    parts = [part[0][:rows] for part in splits]
    if rows == 0:
        parts = [np.zeros(1, part.dtype) for part in parts]
    where = EVERY & (rows > 0)
    first = decide_one(router, parts, 0.001, where=where)
    least = np.array([chosen.min_feasible_level for chosen in first.values()])
    levels = np.concatenate([least, least - 1e-5])
    again = decide_one(router, parts, levels, where=where)
    for number, (kind, chosen) in enumerate(first.items()):
        assert not chosen.feasible and chosen.num_small_bins == 0
        assert chosen.num_rows == rows and 0.001 < least[number] <= 1
        # Just at that limit a K is feasible, and just below none is.
        feasible = again[kind].feasible
        assert feasible[number] and not feasible[number + len(least)]


def test_a_valid_nan_makes_everything_infeasible(router, splits):
    confidence, small, large = (part[0] for part in splits)
    spoiled = np.where(np.arange(NUM_ROWS) == 7, np.nan, confidence)
    for chosen in decide_one(router, (spoiled, small, large), 0.99).values():
        assert not chosen.feasible and np.isnan(chosen.bound[1:]).all()
    choices = decide_one(router, (confidence, small, large), 1.0, np.nan)
    for name in ("betting", "hoeffding_bentkus", "small_error"):
        assert not choices[name].feasible and np.isnan(choices[name].bound).all()


def test_costs(router, splits):
    """The share of large-model calls, with a known mean, expected and bounded."""
    share = 1 - np.arange(NUM_BINS + 1) / NUM_BINS
    choose = functools.partial(cj.cascade.control_cost, router)
    size = 16
    confidence = splits[0][:size]
    zero, one = np.zeros((size, NUM_ROWS)), np.ones((size, NUM_ROWS))
    # The last three: infeasible, above the limit, affordable at K = 0.
    small = np.concatenate([zero[:-2], one[:2]])
    level = np.array([0.41] * (size - 3) + [0.0, 1.9, 2.5])
    limit = np.array([1.0] * (size - 2) + [1.5, 3.0])
    chosen = jax.vmap(choose)(confidence, small, one, level, limit)
    number = np.asarray(chosen.num_small_bins)
    assert number[-1] == 0 and not chosen.feasible[-3:-1].any()
    np.testing.assert_array_equal(number[-3:-1], NUM_BINS)
    assert chosen.min_feasible_level[-3] == np.float32(1 / 301)
    assert np.isinf(chosen.bound[-2]).all()
    np.testing.assert_allclose(chosen.risk[-1], 1 + np.asarray(chosen.large_share[-1]))
    assert 0.3 < share[number[:-3]].mean() <= 0.41
    bounded = jax.vmap(lambda *rows: choose(*rows, 0.399, 1.0, 0.9))(
        confidence, zero, one
    )
    assert bounded.feasible.all() and np.mean(bounded.num_small_bins == 4) > 0.5


def test_expected_loss_agrees_with_the_table(router):
    chosen = cj.cascade.choose_by_confidence(router, 0.025)
    _, drop, _ = true_risks()
    np.testing.assert_allclose(chosen.risk, drop, atol=1e-6)
    assert drop[2] <= 0.025 < drop[3] and chosen.num_small_bins == 2
    assert chosen.num_rows == NUM_BINS and not chosen.same_rows
    impossible = cj.cascade.choose_by_confidence(router, -0.1)
    assert not impossible.feasible and impossible.num_small_bins == 0
    np.testing.assert_allclose(impossible.min_feasible_level, drop[1], atol=1e-7)


def test_expected_loss_of_other_rows(router, splits):
    """Bins and their order stay the router's."""
    confidence = splits[0][0]
    large = np.where(confidence > 0.8, np.minimum(confidence + 0.1, 1), confidence)
    where = np.arange(NUM_ROWS) < 200
    large[250] = np.nan
    choose = functools.partial(
        cj.cascade.choose_by_confidence, router, small_confidence=confidence
    )
    chosen = choose(0.01, large_confidence=large, where=where)
    place = NUM_BINS - 1 - np.floor(confidence[where] * NUM_BINS)
    lost = (large - confidence)[where]
    risk = [np.sum(lost[place < k]) / 200 for k in range(NUM_BINS + 1)]
    np.testing.assert_allclose(chosen.risk, risk, atol=1e-6)
    assert chosen.num_rows == 200 and not chosen.feasible
    assert choose(0.03, large_confidence=large, where=where).num_small_bins == NUM_BINS
    with pytest.raises(ValueError, match="got only small_confidence and where"):
        choose(0.1, where=where)
    with pytest.raises(ValueError, match="got only where"):
        cj.cascade.choose_by_confidence(router, 0.1, where=where)


def test_one_call_splits_fits_and_chooses():
    rng = np.random.default_rng(6)
    confidence, small, large = draw(rng, 1001)
    scores = np.asarray(cj.log_odds(confidence))
    choose = functools.partial(cj.cascade.control_regret, max_regret=0.15)
    first, second = (
        cj.cascade.fit_router_with_guarantee(
            jax.random.key(seed),
            scores,
            scores + 0.3,
            small,
            large,
            choose,
            fit=cj.fit_platt,
            num_bins=NUM_BINS,
            where=np.arange(1001) < num_rows,
        )
        for seed, num_rows in ((1, 601), (2, 600))
    )
    for found, num_first in ((first, 300), (second, 299)):
        assert found.router.table.count.sum() == num_first
        assert found.selection.num_rows == 301 and found.selection.feasible
        assert not found.selection.same_rows
    # Another key gives other halves.
    tables = first.router.table, second.router.table
    assert (tables[0].small_confidence != tables[1].small_confidence).any()
    # The fit and the choice are the same as by hand on the same rows.
    calibrated = cj.calibrate(first.small_params, scores)
    assert np.isin(first.router.bins.edges, calibrated).all()


def test_every_choice_takes_the_same_call():
    """Each member of the family, with its limits bound, chooses as it does by hand."""
    rng = np.random.default_rng(7)
    confidence, small, large = draw(rng, NUM_ROWS)
    cost = rng.choice([0.5, 1.0], NUM_ROWS).astype(np.float32)
    members = {
        "control_accuracy_drop": {"max_drop": 0.3, "betting": False},
        "control_regret": {"max_regret": 0.3},
        "control_small_error": {"max_error": 0.5, "confidence_level": 0.9},
        "control_cost": {"max_cost": 0.5, "cost_limit": 2.0},
        "choose_by_confidence": {"max_loss": 0.1},
    }
    taken = {
        "control_accuracy_drop": "small_confidence small_outcome large_outcome where",
        "control_regret": "small_confidence small_outcome large_outcome where",
        "control_small_error": "small_confidence small_outcome where",
        "control_cost": "small_confidence small_cost large_cost where",
        "choose_by_confidence": "small_confidence large_confidence where",
    }
    rows = confidence, np.float32(confidence / 2 + 0.4), small, large
    costs = {"small_cost": 0 * cost, "large_cost": cost}

    def fit(choose):
        return cj.cascade.fit_router_with_guarantee(
            jax.random.key(0), *rows, choose, num_bins=NUM_BINS, **costs
        )

    def note(router, **given):
        """Notes the rows that a function with any argument names is given."""
        seen.update(given)
        return cj.cascade.choose_by_confidence(router, 0.1)

    seen = {}
    by_hand = fit(note)
    assert set(seen) == {
        "small_confidence",
        "large_confidence",
        "small_outcome",
        "large_outcome",
        "small_cost",
        "large_cost",
        "where",
    }
    for name, limits in members.items():
        choose = functools.partial(getattr(cj.cascade, name), **limits)
        found = fit(choose).selection
        expected = choose(
            by_hand.router, **{word: seen[word] for word in taken[name].split()}
        )
        assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
        assert found.feasible and found.num_small_bins > 0
        assert found.num_rows == 151

    def of_curve(router, small_confidence, small_outcome, large_outcome, where):
        rows = small_confidence, small_outcome, large_outcome
        curve = cj.cascade_curve(router, *rows, where=where)
        return cj.choose_num_small_bins(curve, min_accuracy=0.7)

    assert fit(of_curve).selection.feasible


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("control_regret", {}, "router, .* missing .*'max_regret'. Bind limits"),
        ("control_cost", {"max_cost": 1.0, "cost_limit": 2.0}, "Give small_cost and"),
        ("choose_num_small_bins", {"min_accuracy": 0.9}, "which takes a curve"),
        ("control_accuracy_drop", 0.1, "multiple values for .* Bind limits by keyword"),
    ],
)
def test_a_choice_that_cannot_be_called_is_refused_first(name, limits, reason):
    def fit(*rows, where):
        raise AssertionError("fitted before the check")

    rows = [np.linspace(0, 1, 8)] * 2 + [np.ones(8, bool)] * 2
    choose = getattr(cj.cascade, name)
    if limits == 0.1:
        choose = functools.partial(choose, limits)
    else:
        choose = functools.partial(choose, **limits)
    with pytest.raises(ValueError, match=f"^choose: .*{reason}"):
        cj.cascade.fit_router_with_guarantee(jax.random.key(0), *rows, choose, fit=fit)


def test_wrong_functions(router):
    rows = [np.linspace(0, 1, 8)] * 2 + [np.ones(8, bool)] * 2
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="choose: expected a function, got float"):
        cj.cascade.fit_router_with_guarantee(key, *rows, 0.1)
    with pytest.raises(ValueError, match="fit: expected a function, got str"):
        cj.cascade.fit_router_with_guarantee(key, *rows, print, fit="platt")
    with pytest.raises(ValueError, match="small_outcome: expected a bool array"):
        cj.cascade.control_small_error(router, rows[0], np.ones(8), 0.1)


def always_takes_large(arbiter):
    equal(jax.tree.leaves(arbiter), np.zeros(3))


def test_without_help_the_router_with_an_arbiter_is_the_papers():
    """The models are about equally good, but only the small one is sometimes sure."""
    size, taken, seen = 150, [], {}

    def choose(router, small_confidence, small_outcome, large_outcome, where, **more):
        more.pop("large_confidence")
        seen["first"] = ~where
        rows = small_confidence, small_outcome, large_outcome
        return cj.choose_num_small_bins(
            cj.cascade_curve(router, *rows, where=where, **more)
        )

    for seed in range(6):
        rng = np.random.default_rng(seed)
        small = np.where(rng.random(size) < 0.5, 0.95, 0.5)
        small = np.float32(small + rng.uniform(-0.04, 0.04, size))
        large = np.float32(0.71 + rng.uniform(-0.01, 0.01, size))
        rows = small, large, *(rng.random((2, size)) < np.stack([small, large]))
        found, paper = (
            cj.cascade.fit_router_with_guarantee(
                jax.random.key(seed), *rows, choose, **more
            )
            for more in ({"differ": np.ones(size, bool)}, {})
        )
        if found.arbiter_report.helps:
            continue
        always_takes_large(found.arbiter)
        for name in ("router", "selection"):
            pair = (jax.tree.leaves(getattr(one, name)) for one in (found, paper))
            for one, other in zip(*pair, strict=True):
                equal(one, other)
        arbiter, _ = cj.cascade.fit_arbiter(*rows, where=seen["first"])
        taken.append(bool(arbiter.intercept < 0))
    # The arbiter alone would have taken the small model always.
    assert any(taken)


def test_without_a_feasible_choice_the_arbiter_takes_the_large_answer():
    """So that K = 0, used unread, is the large model alone."""
    size, rng = 400, np.random.default_rng(0)
    scores = rng.normal(1, 1.5, (2, size)).astype(np.float32)
    outcomes = rng.random((2, size)) < 1 / (1 + np.exp(-scores))
    for max_drop, feasible in ((0.5, True), (-1.0, False)):
        found = cj.cascade.fit_router_with_guarantee(
            *(jax.random.key(0), *scores, *outcomes),
            functools.partial(
                cj.cascade.control_accuracy_drop, max_drop=max_drop, betting=False
            ),
            differ=np.ones(size, bool),
            fit=cj.fit_platt,
        )
        assert found.arbiter_report.helps and found.selection.feasible == feasible
        if feasible:
            assert found.arbiter.small_slope > 0
        else:
            always_takes_large(found.arbiter)
            equal(found.selection.num_small_bins, 0)
