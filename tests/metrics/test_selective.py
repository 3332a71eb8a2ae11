"""Curves of risk and coverage, their areas, and a promise about new rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj
from calib_jax.metrics import cumulative

metrics = cj.metrics
AREAS = (
    metrics.area_under_risk_coverage,
    metrics.excess_area_under_risk_coverage,
    metrics.area_under_generalised_risk_coverage,
)


def by_rank(scores, error, weights):
    """Weight and error of the rows by falling score, each the mean of its tie."""
    _, tie = np.unique(-scores, return_inverse=True)
    size = np.bincount(tie)
    weight, wrong = (
        (np.bincount(tie, values) / size)[tie] for values in (weights, weights * error)
    )
    order = np.argsort(tie, kind="stable")
    return weight[order], wrong[order]


def reference(scores, outcomes, weights=None):
    """Coverage, risk, AURC, its excess and AUGRC in float64."""
    scores = np.asarray(scores, np.float32).astype(np.float64)
    error = 1 - np.asarray(outcomes, np.float64)
    weights = np.ones(len(scores)) if weights is None else weights

    def curve(scores):
        weight, wrong = by_rank(scores, error, weights)
        covered, wrong = np.cumsum(weight), np.cumsum(wrong)
        return weight / covered[-1], covered / covered[-1], wrong / covered

    share, coverage, risk = curve(scores)
    least, _, least_risk = curve(-error)
    area = np.sum(share * risk)
    excess = area - np.sum(least * least_risk)
    return coverage, risk, area, excess, np.sum(share * coverage * risk)


def rows(kind, size):
    rng = np.random.default_rng([size, len(kind)])
    scores = rng.normal(size=size).astype(np.float32)
    scores = {"positive": np.abs, "negative": lambda s: -np.abs(s)}.get(
        kind, lambda s: np.round(s, 1)
    )(scores)
    outcomes = rng.random(size) < 1 / (1 + np.exp(-scores))
    if kind == "partly right":
        outcomes = outcomes * rng.choice([1.0, 0.5, 0.25], size)
    return scores, outcomes


@pytest.mark.parametrize("size", [7, 300, 70_001])
@pytest.mark.parametrize("kind", ["positive", "negative", "ties", "partly right"])
def test_as_in_float64(kind, size):
    """By each way of sorting; scores of one sign share an integer with the outcome."""
    scores, outcomes = rows(kind, size)
    _, risk, *areas = reference(scores, outcomes)
    curve = metrics.risk_coverage_curve(scores, outcomes)
    rank = np.arange(1, size + 1, dtype=np.float32)
    np.testing.assert_array_equal(curve.coverage, rank / np.float32(size))
    np.testing.assert_allclose(curve.risk, risk, atol=1e-6)
    np.testing.assert_array_equal(curve.threshold, np.sort(scores)[::-1])
    assert curve.num_rows == size and curve.whole == (kind != "partly right")
    for area, expected in zip(AREAS, areas, strict=True):
        np.testing.assert_allclose(area(curve), expected, atol=1e-6)
        np.testing.assert_allclose(area(scores, outcomes), expected, atol=1e-6)


@pytest.mark.parametrize("size", [4, 300])
def test_ties_across_pieces(size):
    """Sorted rows are read in pieces; a tie may start in one and end in another."""
    rng = np.random.default_rng(size)
    outcomes, where = rng.random(size) < 0.6, rng.random(size) < 0.9
    # The keys of -1 and of the number just below 4 differ in the first bit alone.
    signs = np.where(rng.random(size) < 0.5, np.float32(-1), np.float32(3.9999998))
    for scores in (
        signs,
        np.zeros(size),
        -np.ones(size),
        np.round(signs * rng.random(size)),
    ):
        scores = scores.astype(np.float32)
        _, _, *areas = reference(scores[where], outcomes[where])
        for area, expected in zip(AREAS, areas, strict=True):
            found = area(scores, outcomes, where=where)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_weights():
    scores, outcomes = rows("partly right", 100)
    weights = np.random.default_rng(0).choice([0.5, 1.0, 4.0], 100)
    coverage, risk, *areas = reference(scores, outcomes, weights)
    curve = metrics.risk_coverage_curve(scores, outcomes, weights=weights)
    np.testing.assert_allclose(curve.coverage, coverage, atol=1e-6)
    np.testing.assert_allclose(curve.risk, risk, atol=1e-6)
    for area, expected in zip(AREAS, areas, strict=True):
        np.testing.assert_allclose(area(curve), expected, atol=1e-6)
    assert curve.num_rows is None
    assert metrics.coverage_at_risk(curve, 1.0) == 1
    with pytest.raises(ValueError, match="confidence_level: .*weights"):
        metrics.coverage_at_risk(curve, 0.1, confidence_level=0.9)


def test_by_hand():
    """One wrong answer, second of four; and tied with the third."""
    outcomes = [1, 0, 1, 1]
    curve = metrics.risk_coverage_curve([0.9, 0.8, 0.3, 0.1], outcomes)
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, 1 / 3, 1 / 4], rtol=1e-6)
    found = [float(area(curve)) for area in AREAS]
    area = (1 / 2 + 1 / 3 + 1 / 4) / 4
    np.testing.assert_allclose(found, [area, area - 1 / 16, 3 / 16], rtol=1e-6)
    tied = metrics.risk_coverage_curve([0.9, 0.3, 0.3, 0.1], outcomes)
    np.testing.assert_allclose(tied.risk, [0, 1 / 4, 1 / 3, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(tied.threshold, np.float32([0.9, 0.3, 0.3, 0.1]))
    for limit, coverage in ((0.2, 0.25), (0.25, 1.0), (0.0, 0.25)):
        assert metrics.coverage_at_risk(tied, limit) == coverage
    none = metrics.risk_coverage_curve([0.5, 0.5], [0, 1])
    assert metrics.coverage_at_risk(none, 0.2) == 0
    for coverage, risk in ((0.0, 0.0), (0.25, 0.0), (0.26, 0.25), (1.0, 0.25)):
        np.testing.assert_allclose(metrics.risk_at_coverage(tied, coverage), risk)


def test_the_threshold_of_a_limit():
    """Scores from it on are the largest set of whole ties within the limit."""
    outcomes = [1, 0, 1, 1]
    tied = np.float32([0.9, 0.3, 0.3, 0.1])
    curve = metrics.risk_coverage_curve(tied, outcomes)
    after = np.nextafter(np.float32([0.3, 0.1]), np.float32(1))
    # Half of the tie has a risk of 1/4, all of it one of 1/3.
    for limit, least in ((0.2, after[0]), (0.25, -np.inf)):
        assert metrics.threshold_at_risk(curve, limit) == least
    half = metrics.risk_coverage_curve([0.9, 0.3, 0.3, 0.1], [1, 0, 1, 0])
    assert metrics.coverage_at_risk(half, 0.3) == 0.5
    assert metrics.threshold_at_risk(half, 0.3) == after[0]
    assert metrics.threshold_at_risk(half, 0.4) == after[1]
    none = metrics.risk_coverage_curve([0.5, 0.5], [0, 1])
    assert metrics.threshold_at_risk(none, 0.2) == np.inf
    assert metrics.threshold_at_risk(none, 0.2, confidence_level=0.9) == np.inf
    # Subnormals count as 0; rows that do not count are not looked at.
    least = np.finfo(np.float32).tiny
    for scores, found in (
        ([1, 0, 0], least),
        ([1, -least, -least], 0),
        ([1, -np.inf, -np.inf], -np.finfo(np.float32).max),
        ([np.inf, 2, 2], np.nextafter(np.float32(2), np.float32(3))),
    ):
        scores = np.array([*scores, 9], np.float32)
        some = metrics.risk_coverage_curve(scores, [1, 0, 0, 0], where=np.arange(4) < 3)
        assert metrics.threshold_at_risk(some, 0.1) == found
        assert metrics.threshold_at_risk(some, 0.7) == -np.inf
    weighed = metrics.risk_coverage_curve(tied, outcomes, weights=[1.0, 0, 1, 2])
    assert metrics.threshold_at_risk(weighed, 0) == -np.inf
    with pytest.raises(ValueError, match="confidence_level: .*weights"):
        metrics.threshold_at_risk(weighed, 0.1, confidence_level=0.9)
    for unknown in ([np.nan, 0.5], []):
        bad = metrics.risk_coverage_curve(unknown, np.ones(len(unknown)))
        assert np.isnan(metrics.threshold_at_risk(bad, 0.5))


@pytest.mark.parametrize("kind", ["positive", "ties"])
def test_the_threshold_of_a_promise_is_that_of_its_coverage(kind):
    scores, outcomes = rows(kind, 3000)
    curve = metrics.risk_coverage_curve(scores, outcomes)
    seen = []
    for limit in (0.05, 0.1, 0.2, 0.3, 0.9, 1.0):
        share = metrics.coverage_at_risk(curve, limit, confidence_level=0.9)
        least = metrics.threshold_at_risk(curve, limit, confidence_level=0.9)
        np.testing.assert_allclose(np.mean(scores >= least), share, rtol=1e-6)
        seen.append(float(share))
    assert seen[-1] == 1 and len(set(seen)) > 2


def test_no_score_does_better_than_the_least_area():
    outcomes = np.array([1, 0.25, 0, 1, 0.5, 0.25])
    np.testing.assert_allclose(AREAS[1](outcomes, outcomes), 0, atol=1e-7)
    assert AREAS[1](-outcomes, outcomes) > 0.1


def test_rows_that_do_not_count_come_last():
    scores = np.array([0.9, np.nan, 0.4, 5.0, -np.inf])
    outcomes, where = np.array([1, 1, 0, np.nan, 1]), np.array([1, 0, 1, 0, 1], bool)
    curve = metrics.risk_coverage_curve(scores, outcomes, where=where)
    thirds = np.float32([1, 2, 3, 3, 3]) / np.float32(3)
    np.testing.assert_array_equal(curve.coverage, thirds)
    np.testing.assert_allclose(curve.risk, [0, 1 / 2, *[1 / 3] * 3], rtol=1e-6)
    np.testing.assert_array_equal(curve.threshold[2:], -np.inf)
    assert curve.num_rows == 3
    bad = metrics.risk_coverage_curve(scores, np.ones(5))
    assert np.isnan(bad.risk).all() and np.isnan(AREAS[0](bad))
    for size in (0, 4):
        empty = np.zeros(size), np.zeros(size)
        nothing = metrics.risk_coverage_curve(*empty, where=np.zeros(size, bool))
        for area in AREAS:
            assert np.isnan(area(nothing))
        assert np.isnan(metrics.coverage_at_risk(nothing, 0.5))
        assert np.isnan(metrics.coverage_at_risk(nothing, 0.5, confidence_level=0.9))
        assert np.isnan(metrics.risk_at_coverage(nothing, 0.5))


def test_rows_and_a_curve_are_refused_together():
    curve = metrics.risk_coverage_curve([0.5], [1])
    for area in AREAS:
        with pytest.raises(ValueError, match="outcomes: expected None beside"):
            area(curve, [1])
        with pytest.raises(ValueError, match="outcomes: expected an array"):
            area([0.5])


@pytest.mark.once
def test_derivative_of_many_rows():
    """Bits that are sorted with scores have no derivative; the errors have."""
    size = cumulative._FEW_ROWS + 1
    scores = jnp.asarray(rows("positive", size)[0])
    outcomes = (scores > 0.5).astype(jnp.float32)
    area = metrics.area_under_generalised_risk_coverage
    slope = jax.grad(lambda outcomes: area(scores, outcomes))(outcomes)
    # An error counts at its own rank and at all that follow.
    found = size * np.asarray(slope)[np.argsort(-scores, stable=True)]
    np.testing.assert_allclose(found, np.arange(size, 0, -1) / -size, atol=1e-4)


def promised(key, size, level, *, ties, partly):
    """A promise for one sample, and the true risk of what it lets through."""
    first, second, third = jax.random.split(key, 3)
    scores = jax.random.uniform(first, (size,))
    # Outcomes are worst in the middle, so the risk is not monotone in coverage.
    scores = jnp.round(20 * scores) / 20 if ties else scores
    chance = jnp.abs(2 * scores - 1) ** 0.15
    right = (jax.random.uniform(second, (size,)) < chance).astype(jnp.float32)
    if partly:
        right = right * jax.random.choice(third, jnp.array([1.0, 0.9]), (size,))
    curve = metrics.risk_coverage_curve(scores, right)
    coverage = metrics.coverage_at_risk(curve, level, confidence_level=0.8)
    place = jnp.round(coverage * size).astype(jnp.int32)
    lower = jnp.where(place == size, -1.0, curve.threshold.at[place].get(mode="clip"))
    grid = (np.arange(20_000, dtype=np.float32) + 0.5) / 20_000
    grid = np.round(20 * grid) / 20 if ties else grid
    right = np.abs(2 * grid - 1) ** 0.15 * (0.95 if partly else 1.0)
    risk = jnp.mean(1 - right, where=grid > lower)
    return coverage, jnp.where(coverage > 0, risk, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("partly", [False, True])
def test_promises_are_kept(ties, partly):
    keys = jax.random.split(jax.random.key(0), 400)
    # Below the risk of the upper half, so that some coverages break it.
    level = 0.16 if partly else 0.12

    def draw(key):
        return promised(key, 2000, level, ties=ties, partly=partly)

    coverage, risk = jax.jit(lambda keys: jax.lax.map(draw, keys, batch_size=100))(keys)
    assert np.mean(risk > level) < 0.2
    assert np.mean(coverage) > 0.1
