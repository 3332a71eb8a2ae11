"""Parts of a gain, against sums over pairs in NumPy and simulated worlds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import calib_jax as cj
from benchmarks.specialisation.gain import cascade_gain_test
from benchmarks.specialisation.gain_of_runs import cascade_gain_of_runs

pytestmark = pytest.mark.once

NUM_ROWS, NUM_GROUPS, NUM_BINS, NUM_WORLDS, NUM_DRAWS = 400, 8, 5, 100, 19


def draw(rng, kind, *shape):
    """Group, confidences and outcomes of two models that agree on how hard a row is."""
    group = rng.integers(0, NUM_GROUPS, shape)
    hard = 0.8 * np.sin(2.3 * group) + rng.normal(size=shape)
    better = {"runs": 0.0, "better": 0.6, "specialists": 1.4 * (group % 2) - 0.7}[kind]
    skill = [0.0, better] if kind != "specialists" else [-better, better]
    log_odds = [1.8 + 1.5 * (hard + s + rng.normal(size=shape)) for s in skill]
    confidence = [(1 / (1 + np.exp(-x))).astype(np.float32) for x in log_odds]
    return group, confidence, [rng.random(shape) < c for c in confidence]


@pytest.fixture(scope="module")
def routers():
    """A router of each kind from a large sample, with its best K."""

    def fit(kind):
        rng = np.random.default_rng(1)
        _, confidence, outcome = draw(rng, kind, 20_000)
        router = cj.fit_router(*confidence, num_bins=NUM_BINS)
        curve = cj.cascade_curve(router, confidence[0], *outcome)
        return router, int(cj.choose_num_small_bins(curve).num_small_bins)

    return {kind: fit(kind) for kind in ("runs", "better", "specialists")}


@jax.jit
def test_of(key, router, confidence, first, second, group, where, budget):
    return cascade_gain_test(
        key,
        router,
        confidence,
        first,
        second,
        group,
        num_groups=NUM_GROUPS,
        num_small_bins=budget,
        num_draws=NUM_DRAWS,
        where=where,
    )


test_of.__test__ = False
EVERY = jnp.ones(NUM_ROWS, bool)
many = jax.jit(
    lambda router, budget, rows: jax.vmap(
        lambda row: test_of(row[0], router, *row[1:], EVERY, budget)
    )(rows)
)


def worlds(router, budget, kind, *, group=None, shuffle=False):
    """Runs the test on many samples of one kind of world."""
    rng = np.random.default_rng(2)
    groups, confidence, outcome = draw(rng, kind, NUM_WORLDS, NUM_ROWS)
    if shuffle:
        # Which model is right, on rows where confidence says nothing about it.
        order = rng.permuted(np.tile(np.arange(NUM_ROWS), (NUM_WORLDS, 1)), axis=1)
        outcome = [np.take_along_axis(part, order, 1) for part in outcome]
    keys = jax.random.split(jax.random.key(3), NUM_WORLDS)
    rows = keys, confidence[0], *(part.astype(np.float32) for part in outcome)
    groups = groups if group is None else group(groups)
    return many(router, budget, (*rows, groups.astype(np.int32)))


def uniform_enough(p_values, exactly=True):
    """No more small p-values than promised, within two standard errors."""
    p_values = np.asarray(p_values)
    for level in (0.05, 0.1, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / len(p_values))
        assert (p_values <= level).mean() <= level + 2 * error, level
    if exactly:
        assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_parts_are_means_over_pairs(routers):
    """With partial credit, rows alone in a group, rows outside all groups, and masked
    rows.
    """
    router, budget = routers["specialists"]
    rng = np.random.default_rng(4)
    _, confidence, _ = draw(rng, "specialists", NUM_ROWS)
    first, second = (registry_like(rng) for _ in range(2))
    group = rng.integers(-1, NUM_GROUPS + 1, NUM_ROWS)
    group[group == 3] = 4
    where = rng.random(NUM_ROWS) < 0.8
    group[np.flatnonzero(where)[0]] = 3
    dirty = [np.where(where, part, np.nan) for part in (confidence[0], first, second)]
    key = jax.random.key(0)
    found = test_of(
        key, router, *(jnp.asarray(x, jnp.float32) for x in dirty), group, where, budget
    )

    c, v1, v2, g = (part[where] for part in (confidence[0], first, second, group))
    n, d = len(c), v2 - v1
    r = np.where(cj.use_small(router, c, budget), -1.0, 1.0)
    theta = d.sum() / np.abs(d).sum()
    e = d - theta * np.abs(d)
    same = (g[:, None] == g) & (g >= 0) & (g < NUM_GROUPS) & ~np.eye(n, dtype=bool)
    shared = same.any(axis=1)
    inside = (same @ r)[shared] / same.sum(axis=1)[shared]
    anywhere = ((r.sum() - r) / (n - 1))[shared]
    special = (e[shared] * (inside - anywhere)).sum() / (2 * n)
    handicap = (theta * (np.abs(d) * r).sum() - abs(d.sum())) / (2 * n)
    gain = np.where(r < 0, v1, v2).mean() - max(v1.mean(), v2.mean())
    np.testing.assert_allclose(found.gain.estimate, gain, atol=1e-6)
    np.testing.assert_allclose(found.handicap, handicap, atol=1e-6)
    np.testing.assert_allclose(found.specialisation.estimate, special, atol=1e-6)
    rest = gain - handicap - special
    np.testing.assert_allclose(found.chance, rest, atol=1e-6)
    assert found.selection == 0 and handicap < 0
    counts = {
        "num_discordant": (d != 0).sum(),
        "num_groups": len(np.unique(g[shared])),
        "num_alone": (~shared).sum(),
        "num_small_bins": budget,
    }
    assert counts == {name: int(getattr(found, name)) for name in counts}
    rows = {"num_rows": n, "num_masked": NUM_ROWS - n, "num_bins": NUM_BINS}
    assert rows == {name: int(getattr(found.counts, name)) for name in rows}


def registry_like(rng):
    return rng.choice([0.0, 1.0, 1.0, 0.3], NUM_ROWS)


def test_two_runs_of_one_kind_have_chance_only(routers):
    found = worlds(*routers["runs"], "runs")
    uniform_enough(found.interaction_p_value)
    special = np.asarray(found.specialisation.estimate)
    assert abs(special.mean()) < 3 * special.std() / np.sqrt(NUM_WORLDS)
    assert np.mean(found.chance) > 0.03 and np.mean(found.gain.estimate) > 0.03
    # For the interval, the truth is 0; three standard errors.
    ends = (
        np.asarray(found.specialisation.lower),
        np.asarray(found.specialisation.upper),
    )
    assert ((ends[0] <= 0) & (ends[1] >= 0)).mean() > 0.95 - 3 * 0.02


def test_a_better_model_is_not_a_specialist(routers):
    """Groups differ in how hard they are, not in odds, whichever model is better."""
    found = worlds(*routers["better"], "better")
    uniform_enough(found.interaction_p_value)
    assert np.mean(found.handicap) < -0.01
    assert abs(np.mean(found.specialisation.estimate)) < 0.002


def test_specialists_are_found(routers):
    found = worlds(*routers["specialists"], "specialists")
    assert np.mean(found.interaction_p_value <= 0.05) == 1
    assert np.mean(found.routing_p_value <= 0.05) == 1
    assert np.mean(found.specialisation.estimate) > 0.02
    assert np.mean(found.specialisation.lower > 0) > 0.9
    # Groups unrelated to the topics show no specialisation.
    blind = worlds(*routers["specialists"], "specialists", group=lambda g: g[::-1])
    uniform_enough(blind.interaction_p_value)
    assert abs(np.mean(blind.specialisation.estimate)) < 0.002
    np.testing.assert_allclose(blind.gain.estimate, found.gain.estimate, atol=1e-6)


def test_models_that_change_places_gain_as_much(routers):
    """Why the gain alone cannot tell specialists from runs of one kind."""
    router, budget = routers["specialists"]
    rng = np.random.default_rng(5)
    _, confidence, outcome = draw(rng, "specialists", 20_000)
    swap = rng.random(20_000) < 0.5
    changed = [
        [np.where(swap, b, a), np.where(swap, a, b)] for a, b in (confidence, outcome)
    ]
    gains = []
    for (first, _), right in ((confidence, outcome), changed):
        curve = cj.cascade_curve(router, first, *right)
        better = max(curve.small_accuracy, curve.large_accuracy)
        gains.append(float(curve.accuracy[budget] - better))
    assert gains[0] > 0.05 and abs(gains[0] - gains[1]) < 0.01


def test_routing_at_random(routers):
    router, budget = routers["runs"]
    found = worlds(router, budget, "runs", shuffle=True)
    # Gains are whole numbers of rows, so many tie.
    uniform_enough(found.routing_p_value, exactly=False)
    assert np.mean(found.routing_p_value <= 0.5) > 0.3


def test_gain_from_choosing_k_by_chance(routers):
    router, _ = routers["runs"]
    found = worlds(router, None, "runs", shuffle=True)
    # The best K may gain nothing, as it often does in the draws; then p is 1.
    uniform_enough(found.routing_p_value, exactly=False)
    gain, selection = np.asarray(found.gain.estimate), np.asarray(found.selection)
    assert (gain >= 0).all() and (selection >= 0).all()
    np.testing.assert_allclose(gain.mean(), selection.mean(), atol=0.002)
    assert np.isnan(found.gain.lower).all() and np.isnan(found.gain.upper).all()


def test_the_interval_of_the_gain(routers):
    router, budget = routers["better"]
    rng = np.random.default_rng(6)
    _, confidence, outcome = draw(rng, "better", 20_000)
    curve = cj.cascade_curve(router, confidence[0], *outcome)
    better = max(curve.small_accuracy, curve.large_accuracy)
    truth = float(curve.accuracy[budget] - better)
    found = worlds(router, budget, "better").gain
    inside = (np.asarray(found.lower) <= truth) & (truth <= np.asarray(found.upper))
    assert inside.mean() > 0.95 - 3 * 0.02


@pytest.mark.parametrize("case", ["masked", "equal", "nan", "one row", "one group"])
def test_corners(routers, case):
    router, budget = routers["runs"]
    rng = np.random.default_rng(7)
    group, confidence, outcome = draw(rng, "runs", NUM_ROWS)
    c, first, second = (jnp.asarray(x, jnp.float32) for x in (confidence[0], *outcome))
    where = {"masked": ~EVERY, "one row": EVERY.at[1:].set(False)}.get(case, EVERY)
    if case == "equal":
        second = first
    if case == "nan":
        second = second.at[7].set(jnp.nan)
    if case == "one group":
        group = np.zeros_like(group)
    rows = [c, first, second, jnp.asarray(group, jnp.int32), where]
    found = test_of(jax.random.key(0), router, *rows, budget)
    numbers = [leaf for leaf in jax.tree.leaves(found) if leaf.dtype == jnp.float32]
    if case in ("masked", "nan"):
        assert all(np.isnan(leaf) for leaf in numbers)
    else:
        assert all(np.isfinite(leaf) for leaf in numbers)
        assert found.specialisation.estimate == 0
    if case == "equal":
        assert found.num_discordant == 0 and found.gain.estimate == 0
        assert found.routing_p_value == 1 and found.interaction_p_value == 1
    if case == "one row":
        assert found.counts.num_rows == 1 and found.num_alone == 1
        assert found.interaction_p_value == 1


def runs_of(rng, kinds, num_rows):
    """Confidences and outcomes `[len(kinds), N]` of runs on the same rows."""
    group = rng.integers(0, NUM_GROUPS, num_rows)
    hard = 0.8 * np.sin(2.3 * group) + rng.normal(size=num_rows)
    noise = rng.normal(size=(len(kinds), num_rows))
    skill = np.stack([kind * (1.4 * (group % 2) - 0.7) for kind in kinds])
    log_odds = 1.8 + 1.5 * (hard + skill + noise)
    confidence = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    return confidence, rng.random(confidence.shape) < confidence


NUM_RUN_ROWS = 200


@pytest.fixture(scope="module")
def gain_of_runs():
    half = np.arange(NUM_RUN_ROWS) < NUM_RUN_ROWS // 2
    one = jax.jit(
        lambda key, c, v: cascade_gain_of_runs(
            key,
            c[:3],
            c[3:],
            v[:3],
            v[3:],
            half,
            num_bins=NUM_BINS,
            num_draws=20,
        )
    )

    def many(kinds, count):
        rng = np.random.default_rng(8)
        drawn = [runs_of(rng, kinds, NUM_RUN_ROWS) for _ in range(count)]
        keys = jax.random.split(jax.random.key(1), len(drawn))
        found = [
            one(key, c, v.astype(np.float32))
            for key, (c, v) in zip(keys, drawn, strict=True)
        ]
        return drawn, jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    return many


def test_runs_of_two_architectures(gain_of_runs):
    drawn, alike = gain_of_runs([0] * 6, 16)
    # Twenty ways, in mirror pairs, so p-values are tenths.
    for level in (0.1, 0.2, 0.5):
        error = np.sqrt(level * (1 - level) / 16)
        assert np.mean(alike.p_value <= level + 1e-3) <= level + 2 * error
    assert abs(alike.difference.mean()) < 3 * alike.difference.std() / np.sqrt(16)
    _, apart = gain_of_runs([-1] * 3 + [1] * 3, 6)
    assert apart.difference.mean() > 0.02
    assert np.mean(apart.p_value <= 0.2) > 0.5
    # One of the gains by hand.
    (c, v), gains = drawn[0], alike.gains[0]
    half = np.arange(NUM_RUN_ROWS) < NUM_RUN_ROWS // 2
    edges = np.sort(c[1, half])[np.arange(1, NUM_BINS) * half.sum() // NUM_BINS]
    index = np.searchsorted(edges, c[1], side="right")
    count = np.bincount(index[half], minlength=NUM_BINS)
    order = np.argsort(np.bincount(index[half], (c[4] - c[1])[half]) / count)
    place = np.argsort(order)[index]
    routed = np.stack([np.where(place < k, v[1], v[4]) for k in range(NUM_BINS + 1)])
    seen = routed[:, half].mean(axis=1)
    then = routed[:, ~half].mean(axis=1)
    k = NUM_BINS - np.argmax(seen[::-1])
    better = then[0] if seen[0] >= seen[-1] else then[-1]
    np.testing.assert_allclose(gains[1, 4], then[k] - better, atol=1e-6)
    assert np.isnan(np.diag(gains)).all()
    across = np.concatenate([gains[:3, 3:], gains[3:, :3]]).mean()
    np.testing.assert_allclose(alike.across[0], across, atol=1e-6)
    # All ways to divide six runs, the actual one included.
    differences = []
    for split in itertools.combinations(range(6), 3):
        first = np.isin(np.arange(6), split)
        within = [np.nanmean(gains[np.ix_(one, one)]) for one in (first, ~first)]
        across = (gains[np.ix_(first, ~first)], gains[np.ix_(~first, first)])
        differences.append(np.mean(across) - np.mean(within))
    as_large = np.array(differences) >= differences[0] - 1e-6
    np.testing.assert_allclose(alike.p_value[0], as_large.mean(), rtol=1e-6)


def test_wrong_arguments(routers):
    key, router = jax.random.key(0), routers["runs"][0]
    with pytest.raises(ValueError, match="groups: expected N > 0 examples, got 0"):
        cascade_gain_test(key, router, *[np.zeros(0)] * 3, [], num_groups=1)
    rows = np.full((1, 4), 0.5), np.full((2, 4), 0.5), np.ones((1, 4)), np.ones((2, 4))
    with pytest.raises(ValueError, match="first_confidence: expected at least 2 runs"):
        cascade_gain_of_runs(key, *rows, np.ones(4, bool))
