"""Audits and expected precision, against SciPy, NumPy and simulated truths."""

import jax
import numpy as np
import pytest
from scipy import stats

import calib_jax as cj

pytestmark = pytest.mark.once

SIZE = 256  # The number of samples of every vmap here, so that there are few shapes.


def least_wrong(k, n, total, delta):
    """By trying every number."""
    wrong = np.arange(k, total - n + k + 1)
    return wrong[stats.hypergeom.sf(k - 1, total, wrong, n) > delta][0]


def test_audit_bounds():
    rng = np.random.default_rng(1)
    total = rng.integers(1, 200, 48)
    audited = (rng.random(48) * (total + 1)).astype(int)
    wrong = (rng.random(48) * (audited + 1)).astype(int)
    audited[:2], wrong[:2] = 0, 0
    # All are audited; more than exist; more wrong than audited; fewer than 0.
    dirty = [
        np.append(x, y)
        for x, y in zip(
            (wrong, audited, total),
            ([3, 3, 6, -1], [5] * 4, [5, 4, 9, 9]),
            strict=True,
        )
    ]
    found = cj.cleaning.audit_bounds(*dirty[:2], 0.9, num_flagged=dirty[2])
    every = [found.lower[48:], found.upper[48:], found.estimate[48:]]
    np.testing.assert_allclose(every, [[0.6, np.nan, np.nan, np.nan]] * 3, rtol=1e-6)
    for level in (0.0, 1.0, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"confidence_level: .* \(0, 1\)"):
            cj.cleaning.audit_bounds(3, 5, level, num_flagged=9)
    found = jax.tree.map(lambda x: x[:48], found)
    rows = list(zip(wrong, audited, total, strict=True))
    lower = [least_wrong(k, n, f, 0.1) / f for k, n, f in rows]
    upper = [1 - least_wrong(n - k, n, f, 0.1) / f for k, n, f in rows]
    np.testing.assert_allclose(found.lower, lower, atol=1e-6)
    np.testing.assert_allclose(found.upper, upper, atol=1e-6)
    some = audited > 0
    np.testing.assert_allclose(found.estimate[some], wrong[some] / audited[some])
    assert (
        np.isnan(found.estimate[:2]).all() and (np.asarray(found.lower[:2]) == 0).all()
    )
    # For all flags of the kind, and for each answer.
    beyond = cj.cleaning.audit_bounds([45, 3, 0, 2, -1, 51], 50, 0.9)
    np.testing.assert_allclose(beyond.lower[0], stats.beta.ppf(0.1, 45, 6), rtol=1e-9)
    np.testing.assert_allclose(beyond.upper[2], 1 - 0.1 ** (1 / 50), rtol=1e-9)
    assert np.isnan([beyond.estimate[4:], beyond.lower[4:], beyond.upper[4:]]).all()


def test_audits_run_on_the_host():
    """Arrays broadcast; traced arrays, and shapes that do not fit, are refused by
    name.
    """
    found = cj.cleaning.audit_bounds([[3], [4]], [5, 6, 7], num_flagged=20)
    assert isinstance(found.lower, np.ndarray) and found.lower.shape == (2, 3)
    one = cj.cleaning.audit_bounds(4, 6, num_flagged=20)
    assert (one.lower, one.upper) == (found.lower[1, 1], found.upper[1, 1])
    np.testing.assert_array_equal(found.num_audited, [[5, 6, 7]] * 2)
    with pytest.raises(ValueError, match="num_wrong: .*traced"):
        jax.jit(lambda k: cj.cleaning.audit_bounds(k, 9).lower)(3)
    with pytest.raises(ValueError, match="expected: .*traced"):
        jax.jit(lambda p: cj.cleaning.audit_size(0.5, p).num_audited)(0.9)
    with pytest.raises(ValueError, match=r"num_wrong, num_audited.*\[2\].*\[3\]"):
        cj.cleaning.audit_bounds([1, 2], [3, 3, 3])
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"expected: .* in \[0, 1\]"):
            cj.cleaning.audit_size(0.5, wrong)
    with pytest.raises(ValueError, match=r"expected: expected a scalar"):
        cj.cleaning.audit_size(0.5, [0.9])


def test_bounds_hold_for_samples_of_real_draws():
    """Audits of 40 out of 100 flags, of which 80 are wrong: the bound seldom misses."""
    flagged = np.arange(150) % 3 != 0
    wrong = flagged & (np.cumsum(flagged) <= 80)
    draw = jax.vmap(lambda key: cj.cleaning.sample_audit(key, flagged, 40))
    rows = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    assert flagged[rows].all() and all(len(set(row)) == 40 for row in rows[:50])
    found = wrong[rows].sum(axis=1)
    # A simple random sample: the number found is hypergeometric.
    expected = 4000 * stats.hypergeom.pmf(np.arange(41), 100, 80, 40)
    seen = np.bincount(found, minlength=41)
    some = expected > 5
    assert (
        stats.chisquare(
            [*seen[some], seen[~some].sum()], [*expected[some], expected[~some].sum()]
        ).pvalue
        > 1e-3
    )
    bound = cj.cleaning.audit_bounds(int(found.min()), 40, num_flagged=100).lower
    missed = np.array([least_wrong(k, 40, 100, 0.05) > 80 for k in range(41)])[found]
    assert bound <= 0.8 and missed.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    # Each row is equally likely in each place.
    first = np.bincount(rows[:, 0], minlength=150)[flagged]
    assert stats.chisquare(first).pvalue > 1e-3


@pytest.mark.parametrize("total", [None, 200])
def test_audit_size(total):
    wanted, expected, delta, chance, most = 0.8, 0.92, 0.05, 0.85, 80
    plan = cj.cleaning.audit_size(
        wanted, expected, 1 - delta, chance, num_flagged=total, max_audited=most
    )

    def upper(k, n, rate):
        if total is None:
            return stats.binom.sf(k - 1, n, rate)
        return stats.hypergeom.sf(k - 1, total, rate, n)

    null, true = (wanted, expected) if total is None else (159, 184)
    for n in range(1, most + 1):
        k = np.arange(n + 1)
        enough = k[upper(k, n, null) <= delta]
        if len(enough) and upper(enough[0], n, true) >= chance:
            break
    assert plan.feasible and (plan.num_audited, plan.num_wrong) == (n, enough[0])
    np.testing.assert_allclose(plan.chance, upper(enough[0], n, true), rtol=1e-4)
    # With this number wrong the audit reaches the bound.
    if total is not None:
        assert least_wrong(enough[0], n, total, delta) / total >= wanted
    hopeless = cj.cleaning.audit_size(
        wanted, 0.7, 1 - delta, chance, num_flagged=total, max_audited=most
    )
    # The safe end, with numbers that are true of it.
    assert not hopeless.feasible and hopeless.num_audited == most
    enough = np.flatnonzero(upper(np.arange(most + 1), most, null) <= delta)
    assert hopeless.num_wrong == enough[0]
    true = 0.7 if total is None else 140
    np.testing.assert_allclose(hopeless.chance, upper(enough[0], most, true), rtol=1e-4)
    trivial = cj.cleaning.audit_size(
        0.0, 0.7, 1 - delta, chance, num_flagged=total, max_audited=most
    )
    assert (trivial.num_audited, trivial.num_wrong) == (1, 0)


def noisy(rng, size, noise):
    """Calibrated probabilities of true labels, true labels and given ones."""
    p = rng.dirichlet(0.15 * np.ones(len(noise)), size)
    true = (p.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1)
    given = (noise[true].cumsum(axis=1) < rng.random((size, 1))).sum(axis=1)
    return np.float32(p), np.minimum(true, len(p[0]) - 1), given


NOISE = {
    "uniform": np.asarray(cj.cleaning.uniform_label_noise(0.1, 4)),
    "one way": np.array(
        [[1, 0, 0, 0], [0.3, 0.7, 0, 0], [0, 0, 1, 0], [0, 0, 0.1, 0.9]]
    ),
}


@pytest.mark.parametrize("kind", NOISE)
def test_expected_precision_is_the_precision(kind):
    rng, noise = np.random.default_rng(2), NOISE[kind]
    p, true, given = noisy(rng, 8000, noise)
    wrong = given != true
    own = p[np.arange(len(p)), given]
    error = cj.cleaning.label_error_probability(p, given, noise)
    brute = 1 - own * noise[given, given] / (p * noise[:, given].T).sum(axis=1)
    np.testing.assert_allclose(error, brute, atol=2e-5)
    for flagged in (p.argmax(axis=1) != given, p.max(axis=1) * (own < 0.3) > 0.5):
        found = cj.cleaning.expected_precision(error, flagged)
        actual = wrong[flagged].mean()
        np.testing.assert_allclose(found.precision, brute[flagged].mean(), rtol=1e-4)
        assert abs(found.precision - actual) < 4 * found.standard_error
        # The given label is evidence: without it the estimate is far too high.
        assert (1 - own)[flagged].mean() - actual > 0.05
    # From probabilities of given labels back to those of true labels.
    back = cj.cleaning.true_label_probabilities(p @ np.float32(noise), noise)
    np.testing.assert_allclose(back, p, atol=2e-5)
    bins = cj.equal_width_bins(3)
    by_bin = cj.cleaning.expected_precision_by_bin(bins, p.max(axis=1), error, flagged)
    place = np.digitize(p.max(axis=1), bins.edges)[flagged]
    for b in range(3):
        e = brute[flagged][place == b]
        assert by_bin.num_flagged[b] == len(e)
        if len(e):
            expected = [e.mean(), np.sqrt((e * (1 - e)).sum()) / len(e)]
            actual = [by_bin.precision[b], by_bin.standard_error[b]]
            np.testing.assert_allclose(actual, expected, rtol=2e-3)
        else:
            assert np.isnan(by_bin.precision[b])


def test_impossible_labels():
    error = cj.cleaning.label_error_probability(
        [[1.0, 0.0], [1.0, 0.0], [0.5, np.nan], [0.5, 0.5]],
        [1, 2, 0, -1],
        np.eye(2),
    )
    np.testing.assert_array_equal(error, [1.0, np.nan, np.nan, np.nan])
    assert np.isnan(cj.cleaning.expected_precision([0.5], [False]).precision)
    q, noise = np.full((1, 10), 0.1), cj.cleaning.uniform_label_noise(0.9, 10)
    q[0, :2] += [0.005, -0.005]
    # Every label is equally likely, so nothing can be said in any precision.
    assert np.isnan(cj.cleaning.true_label_probabilities(q, noise)).all()
    almost = 0.999 * noise + 1e-3 * np.eye(10, dtype=np.float32)
    assert np.isfinite(cj.cleaning.true_label_probabilities(q, almost)).all()
    with pytest.raises(ValueError, match="noise: expected a row and a column for each"):
        cj.cleaning.label_error_probability([[0.5, 0.5]], [0], np.eye(3))


def test_estimated_noise():
    rng = np.random.default_rng(3)
    p, _, given = noisy(rng, 3000, NOISE["uniform"])
    given[given == 3] = 2  # A class that is never given.
    thresholds = [
        p[given == k, k].mean() if (given == k).any() else 9 for k in range(4)
    ]
    counts = np.zeros((4, 4))
    for row, label in zip(p, given, strict=True):
        above = np.where(row > thresholds, row, -1)
        if above.max() > 0:
            counts[label, above.argmax()] += 1
    size = np.bincount(given, minlength=4)
    joint = counts / np.maximum(counts.sum(axis=1), 1)[:, None] * size[:, None]
    expected = np.eye(4)
    some = joint.sum(axis=0) > 0
    expected[some] = (joint / joint.sum(axis=0).clip(1e-9)).T[some]
    np.testing.assert_allclose(
        cj.cleaning.estimate_label_noise(p, given), expected, atol=1e-5
    )
    np.testing.assert_allclose(
        cj.cleaning.true_label_confidence(
            0.9 * np.float32([0, 0.5, 1]) + 0.1 / 3, 0.1, 4
        )[:2],
        [0.0, 0.9 * 0.5 / (1 - 0.4 / 3)],
        atol=1e-6,
    )
    assert np.isnan(
        cj.cleaning.true_label_confidence(np.float32([0, 0.5, 1]), 0.75, 4)
    ).all()


def test_false_flags_of_experts():
    """Independent experts make as many as expected, identical ones the most."""
    rng = np.random.default_rng(4)
    size = 20_000
    confidence = rng.uniform(0.5, 1.0, (2, size))
    luck = rng.random((2, size))
    is_wrong = rng.random(size) < 0.05
    for equal in (False, True):
        if equal:
            confidence[1], luck[1] = confidence[0], luck[0]
        flagged = is_wrong | np.all(luck > confidence, axis=0)
        candidates = confidence.min(axis=0) > 0.6
        found = cj.cleaning.expected_false_flags(confidence, candidates, flagged)
        flags = flagged & candidates
        false = (flags & ~is_wrong).sum()
        wrong = 1 - confidence[:, candidates]
        expected = [wrong.prod(axis=0).sum(), wrong.min(axis=0).sum()]
        np.testing.assert_allclose(
            [found.if_independent, found.most], expected, rtol=1e-5
        )
        assert found.num_flagged == flags.sum()
        limit = expected[equal]
        # The expected number on right labels, which 95 % of the rows have.
        assert abs(false - 0.95 * limit) < 4 * np.sqrt(limit)
        np.testing.assert_allclose(
            found.least_precision, max(1 - expected[1] / flags.sum(), 0), atol=1e-5
        )
        if equal:
            assert found.precision_if_independent > 1 - false / flags.sum() + 0.05


def joint(rng, samples, size, shared):
    """Errors `[samples, 3, size]`, some with a shared cause, and confidences."""
    c = rng.uniform(0.6, 1.0, (samples, 3, size))
    luck, common = rng.random(c.shape), rng.random((samples, 1, size))
    both = rng.random((samples, 1, size)) < shared
    return np.where(both, common, luck) > c, np.float32(c)


def test_dependence():
    rng = np.random.default_rng(5)
    wrong, c = (part[0] for part in joint(rng, 1, 5000, 0.3))
    where = rng.random(5000) < 0.8
    dirty = np.where(where, c, np.nan)
    found = cj.cleaning.expert_dependence(~wrong, dirty, where=where)
    w = wrong[:, where].astype(float)
    rate = w.mean(axis=1)
    np.testing.assert_allclose(found.error_rate, rate, rtol=1e-6)
    together = w.prod(axis=0).mean()
    np.testing.assert_allclose(found.lift.estimate, together / rate.prod(), rtol=1e-5)
    np.testing.assert_allclose(found.correlation, np.corrcoef(w), atol=1e-5)
    np.testing.assert_allclose(
        found.pair_lift, (w @ w.T) / w.shape[1] / np.outer(rate, rate), rtol=1e-5
    )
    expected = (1 - c[:, where]).prod(axis=0)
    given = found.lift_given_confidence
    np.testing.assert_allclose(
        given.estimate, w.prod(0).sum() / expected.sum(), rtol=1e-5
    )
    assert given.lower > 1.5 and found.counts.num_rows == where.sum()
    # The ends are where the squared distance is z^2 times the residual's variance.
    for end in (given.lower, given.upper):
        off = w.prod(axis=0) - end * expected
        # The variance uses as many joint errors as this lift implies.
        variance = np.sum(off**2) - off.sum()
        z = off.sum() / np.sqrt(variance)
        np.testing.assert_allclose(abs(z), stats.norm.isf(0.025), rtol=0.01)


def test_coverage_of_the_lift():
    rng = np.random.default_rng(6)
    for shared in (0.0, 0.3):
        draws = [joint(rng, 400, 500, shared) for _ in range(2)]
        wrong, c = (np.concatenate(parts) for parts in zip(*draws, strict=True))
        found = jax.vmap(cj.cleaning.expert_dependence)(~wrong, c)
        mean = 0.2 - 0.0  # The mean error when confidence is uniform between 0.6 and 1.
        # All wrong: through a shared cause with the least of three, or independently.
        least = 0.4 / 4
        together = shared * least + (1 - shared) * mean**3
        for lift, product in (
            (found.lift, mean**3),
            (found.lift_given_confidence, mean**3),
        ):
            truth = together / product
            held = np.mean((lift.lower <= truth) & (truth <= lift.upper))
            assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 800) < held < 0.99


@pytest.mark.parametrize(
    ("size", "num_experts", "rate"), [(150, 3, 0.1), (300, 2, 0.02)]
)
def test_coverage_of_the_lift_of_few_joint_errors(size, num_experts, rate):
    """With fewer than one expected, the ends are those of a Poisson mean."""
    rng = np.random.default_rng(7)
    wrong = rng.random((1000, num_experts, size)) < rate
    lift = jax.vmap(cj.cleaning.expert_dependence)(~wrong).lift
    assert np.mean(lift.lower > 1) < 0.025 + 3 * np.sqrt(0.025 * 0.975 / 1000)
    assert np.mean((lift.lower <= 1) & (1 <= lift.upper)) > 0.95
