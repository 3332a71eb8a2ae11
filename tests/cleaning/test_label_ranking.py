"""`find_label_issues` against a pool fitted in float64, and on flipped labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats
from scipy.stats import qmc

import calib_jax as cj
from calib_jax._core import hashing, reduce
from calib_jax.cleaning import pools, ranked_precision

pytestmark = pytest.mark.once

# Most tests share these shapes, and so their programs.
ROWS, CLASSES, MODELS = 400, 4, 2


def made(seed=0, num_rows=ROWS, flipped=0.1, shared=0.0):
    """Two models of different skill, each too sure, and labels of which some are wrong.

    A part of their noise is the same.

    Returns:
      probabilities `[M, N, C]`, true labels, given ones.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, num_rows)
    logits = rng.normal(size=(MODELS, num_rows, CLASSES))
    same = rng.normal(size=(num_rows, CLASSES)) if shared else 0.0
    logits = np.sqrt(1 - shared) * logits + np.sqrt(shared) * same
    logits[:, np.arange(num_rows), truth] += np.array([[2.5], [1.5]])
    probabilities = special.softmax(logits * np.array([2, 3])[:, None, None], axis=2)
    moved = rng.integers(1, CLASSES, num_rows) * (rng.random(num_rows) < flipped)
    return np.float32(probabilities), truth, (truth + moved) % CLASSES


@pytest.fixture(scope="module")
def rows():
    return made()


@pytest.fixture(scope="module")
def ranked(rows):
    probabilities, _, labels = rows
    return cj.cleaning.find_label_issues(probabilities, labels)


def halves(probabilities, labels):
    """The half of each row; the library's own, because no other hash is its equal."""
    parts = tuple(np.asarray(model) for model in probabilities)
    return np.asarray(pools.look(parts, np.asarray(labels, np.int32), None)[1])


def pooled(probabilities, labels, half):
    """Log-probabilities `[N, C]` of the pool, cross-fitted in float64 by SciPy."""
    logs = np.log(np.float64(probabilities))
    num_models, num_rows, _ = logs.shape
    found = np.empty(logs.shape[1:])

    def loss(weights, fitted):
        pool = special.log_softmax(np.tensordot(weights, logs[:, fitted], 1), axis=1)
        held = np.sum((weights - 1 / num_models) ** 2) / 2
        return held - np.sum(pool[np.arange(len(pool)), labels[fitted]])

    for side in (0, 1):
        weights = optimize.minimize(
            loss,
            np.full(num_models, 0.5),
            args=(half != side,),
            bounds=[(0, None)] * num_models,
            method="L-BFGS-B",
            options={"ftol": 1e-14, "gtol": 1e-9},
        ).x
        found[half == side] = np.tensordot(weights, logs[:, half == side], 1)
    return special.log_softmax(found, axis=1)


def test_scores_are_those_of_the_cross_fitted_pool(rows, ranked):
    probabilities, _, labels = rows
    half = halves(probabilities, labels)
    assert 0.4 < half.mean() < 0.6
    logs = pooled(probabilities, labels, half)
    own = logs[np.arange(ROWS), labels]
    np.testing.assert_allclose(ranked.score, -np.expm1(own), atol=2e-4)
    np.testing.assert_array_equal(ranked.suggestion, logs.argmax(1))
    for number, model in enumerate(probabilities):
        alone = np.exp(pooled(model[None], labels, half))
        np.testing.assert_allclose(ranked.confidences[number], alone.max(1), atol=2e-4)
        np.testing.assert_array_equal(ranked.predictions[number], model.argmax(1))


def test_labels_are_ordered_by_their_score(ranked):
    order, score = np.asarray(ranked.order), np.asarray(ranked.score)
    np.testing.assert_array_equal(np.sort(order), np.arange(ROWS))
    assert np.all(np.diff(score[order]) <= 0)


def errors(ranked, shared, logs, labels):
    """Probability that each label is wrong, `[N, D]`, in float64 for every point."""
    draws = jax.tree.map(lambda leaf: np.float64(leaf)[None], shared)
    logit = special.logit(np.float64(ranked.confidences)).T
    again = draws.recalibration
    error = np.maximum(special.expit(-(again.slope * logit + again.intercept)), 1e-5)
    contradicts = (np.asarray(ranked.predictions) != labels).T
    number = contradicts.sum(1, keepdims=True)
    group = np.where(contradicts, np.log(error), np.nan)
    alone = number[:, 0] > 0
    mean, least = np.log(error).mean(1, keepdims=True), np.zeros((ROWS, 1))
    mean[alone, 0] = np.nanmean(group[alone], axis=1)
    least[alone, 0] = np.nanmin(group[alone], axis=1)
    wrong = np.minimum(draws.constant + draws.share * np.exp(mean), 0.95)
    correlation = special.expit(draws.log_odds - draws.slope * (mean + 1.5))

    def on_right_labels(log_error):
        return np.maximum((np.exp(log_error) - wrong) / (1 - wrong), 1e-6)

    effective = number / (1 + (number - 1) * correlation)
    together = np.minimum(on_right_labels(mean) ** effective, on_right_labels(least))
    together = np.where(number > 0, together, 1)
    # A wrong label is any other class alike, as far as the label tells.
    pool = np.exp(logs)
    own, best = pool[np.arange(ROWS), labels], pool.max(1)
    even = qmc.Sobol(6, scramble=False).random_base2(10).T + 2.0**-11
    times = np.where(own == best, 1, (1 - best) / own / (CLASSES - 1))[:, None]
    times = times ** (2 * even[4]) * np.where(
        number > 0, np.exp(stats.norm.ppf(even[5])), 1
    )
    confirms = error / (CLASSES - 1) / (1 - error)
    confirms = np.where(contradicts, 1, confirms).min(1, keepdims=True)
    likely = wrong * times * np.minimum(confirms, 1)
    return likely / (likely + (1 - wrong) * together)


def test_the_expected_precision_and_its_interval(rows, ranked):
    """At lengths of which they are computed; between these are straight lines."""
    probabilities, _, labels = rows
    right = np.asarray(ranked.predictions) == labels
    shared = cj.cleaning.fit_shared_errors(ranked.confidences, right)
    logs = pooled(probabilities, labels, halves(probabilities, labels))
    order = np.asarray(ranked.order)
    each = errors(ranked, shared, logs, labels)[order].cumsum(0)
    each /= np.arange(1, ROWS + 1)[:, None]
    weight = np.float64(shared.weight)
    normal = stats.norm.ppf((np.arange(9) + 0.5) / 9)
    normal /= normal.std()
    for length in (1, 2, 16, 64, 256, ROWS):
        points = each[length - 1][:, None]
        luck = np.sqrt(points * (1 - points) / length)
        value = np.clip(points + luck * normal, 0, 1).ravel()
        place = np.argsort(value)
        below = np.repeat(weight / 9, 9)[place].cumsum()
        below -= np.repeat(weight / 9, 9)[place] / 2
        ends = np.interp([0.025, 0.975], below, value[place])
        found = (
            getattr(ranked, f"expected_{name}")[length - 1]
            for name in ("lower", "precision", "upper")
        )
        wanted = ends[0], weight @ points[:, 0], ends[1]
        np.testing.assert_allclose([*found], wanted, atol=3e-3)
    total = np.asarray(ranked.expected_precision) * np.arange(1, ROWS + 1)
    np.testing.assert_allclose(total, each @ weight * np.arange(1, ROWS + 1), atol=0.3)


def test_a_lower_confidence_level_is_a_narrower_interval(rows, ranked):
    half = cj.cleaning.find_label_issues(*rows[::2], confidence_level=0.5)
    assert np.all(half.expected_lower >= ranked.expected_lower)
    assert np.all(half.expected_upper <= ranked.expected_upper)
    np.testing.assert_array_equal(half.expected_precision, ranked.expected_precision)


def test_the_interval_holds_the_estimate(ranked):
    lower, middle, upper = (
        np.asarray(getattr(ranked, f"expected_{name}"))
        for name in ("lower", "precision", "upper")
    )
    assert np.all((lower >= 0) & (lower <= middle) & (middle <= upper) & (upper <= 1))
    assert np.all(upper - lower > 0)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_the_expected_precision_is_truthful(shared):
    """Models that share some of their mistakes, or none, and few or many wrong labels.

    It never promises too much. The prior expects shared mistakes and few wrong labels:
    where there are many, or no mistake is shared, it is too careful.
    """
    above, inside, off = [], [], []
    for seed in range(36):
        rate = (0.01, 0.05, 0.15)[seed % 3]
        probabilities, truth, labels = made(seed, 2000, rate, shared)
        found = cj.cleaning.find_label_issues(probabilities, labels)
        wrong = (truth != labels)[np.asarray(found.order)]
        for length in (20, 60, 200):
            actual = wrong[:length].mean()
            low, middle, high = (
                float(getattr(found, f"expected_{name}")[length - 1])
                for name in ("lower", "precision", "upper")
            )
            above.append(actual >= low)
            if rate < 0.1:
                inside.append(low <= actual <= high)
                off.append(middle - actual)
    # An end of a 95 % interval, less two standard errors of the 108 lengths.
    assert np.mean(above) > 0.945
    assert np.mean(inside) > (0.9 if shared else 0.7)
    assert -0.2 < np.mean(off) < 0.1


def test_flipped_labels_come_first(rows, ranked):
    probabilities, truth, labels = rows
    wrong = truth != labels
    first = np.asarray(ranked.order)[: wrong.sum()]
    assert wrong[first].mean() > 0.8
    assert np.mean(np.asarray(ranked.suggestion)[first] == truth[first]) > 0.85
    # Better than either model alone.
    for model in probabilities:
        one = np.asarray(cj.cleaning.find_label_issues(model, labels).order)
        assert wrong[first].sum() >= wrong[one[: wrong.sum()]].sum()


def test_one_model_may_have_an_axis_of_its_own(rows):
    probabilities, _, labels = rows
    plain, apart = (
        cj.cleaning.find_label_issues(given, labels)
        for given in (probabilities[0], probabilities[:1])
    )
    jax.tree.map(np.testing.assert_array_equal, plain, apart)
    # Calibrated to the given labels, it cannot tell its mistakes from wrong labels.
    for name in ("lower", "precision", "upper"):
        assert np.isnan(getattr(plain, f"expected_{name}")).all()
    # One model alone is its own pool.
    right = np.asarray(plain.suggestion) == np.asarray(labels)
    np.testing.assert_allclose(
        np.where(right, 1 - np.asarray(plain.score), 0),
        np.where(right, np.asarray(plain.confidences[0]), 0),
        atol=1e-6,
    )


def test_a_label_has_no_say_in_the_judgement_of_its_own_half(rows, ranked):
    probabilities, _, labels = rows
    row = int(np.asarray(ranked.order)[-1])
    changed = np.array(labels)
    changed[row] = (changed[row] + 1) % CLASSES
    again = cj.cleaning.find_label_issues(probabilities, changed)
    half = halves(probabilities, labels)
    own, other = half == half[row], half != half[row]
    same = own & (np.arange(ROWS) != row)
    np.testing.assert_array_equal(again.score[same], ranked.score[same])
    for name in ("confidences", "predictions"):
        before, after = (np.asarray(getattr(r, name)) for r in (ranked, again))
        np.testing.assert_array_equal(after[:, own], before[:, own])
    # The other half was fitted on the row.
    assert np.all(again.confidences[:, other] != ranked.confidences[:, other])
    assert again.score[row] > ranked.score[row]


def test_the_order_of_the_rows_does_not_matter(rows, ranked):
    probabilities, _, labels = rows
    moved = np.random.default_rng(1).permutation(ROWS)
    again = cj.cleaning.find_label_issues(probabilities[:, moved], labels[moved])
    np.testing.assert_allclose(again.score, ranked.score[moved], atol=1e-6)
    np.testing.assert_array_equal(moved[np.asarray(again.order)], ranked.order)


def test_rows_without_a_score(rows):
    probabilities, _, labels = rows
    clean = np.ones(ROWS, bool)
    clean[:40] = False
    spoiled, given = np.array(probabilities), np.array(labels)
    where = np.ones(ROWS, bool)
    where[:10], spoiled[:, :10], given[:10] = False, np.nan, 99
    spoiled[0, 10:20, 0] = np.nan
    given[20:30] = -1
    # On a device rows that do not sum to 1, and labels beyond the classes, are unknown.
    spoiled[1, 30:36], given[36:40] = 0.5, CLASSES
    found = cj.cleaning.find_label_issues(
        jnp.asarray(spoiled), jnp.asarray(given), where=where
    )
    expected = cj.cleaning.find_label_issues(probabilities, labels, where=clean)
    jax.tree.map(np.testing.assert_array_equal, found.order, expected.order)
    order = np.asarray(found.order)
    np.testing.assert_array_equal(order[-40:], np.arange(40))
    np.testing.assert_array_equal(found.score[40:], expected.score[40:])
    assert np.isnan(found.score[:40]).all()
    assert np.isnan(found.confidences[:, :40]).all()
    assert np.all(np.asarray(found.predictions)[:, :40] == -1)
    np.testing.assert_array_equal(found.suggestion[:40], given[:40])
    for name in ("lower", "precision", "upper"):
        values = np.asarray(getattr(found, f"expected_{name}"))
        assert np.isnan(values[-40:]).all() and np.isfinite(values[:-40]).all()
    taken = cj.cleaning.find_label_issues(probabilities[:, clean], labels[clean])
    np.testing.assert_allclose(found.score[40:], taken.score, atol=1e-6)


def test_a_probability_of_0_counts_as_half_the_least(rows):
    probabilities, _, labels = rows
    voted = np.round(probabilities[0] * 20) / 20
    voted[:, 0] += 1 - voted.sum(1)
    voted = np.float32(np.maximum(voted, 0))
    voted /= voted.sum(1, keepdims=True)
    least = voted[voted > 0].min()
    filled = np.where(voted == 0, least / 2, voted)
    found = cj.cleaning.find_label_issues(voted, labels)
    logs = pooled(filled[None], labels, halves(voted[None], labels))
    own = logs[np.arange(ROWS), labels]
    np.testing.assert_allclose(found.score, -np.expm1(own), atol=2e-4)


def test_a_model_that_knows_nothing_has_no_weight(rows):
    """One against the labels would have a negative one."""
    probabilities, _, labels = rows
    against = np.float32(1 - probabilities[0])
    against /= against.sum(1, keepdims=True)
    both = np.stack([probabilities[0], against])
    found = cj.cleaning.find_label_issues(both, labels)
    alone = cj.cleaning.find_label_issues(probabilities[0], labels)
    half = halves(both, labels)
    logs = pooled(both, labels, half)
    own = logs[np.arange(ROWS), labels]
    np.testing.assert_allclose(found.score, -np.expm1(own), atol=2e-4)
    np.testing.assert_array_equal(found.suggestion, alone.suggestion)


def test_labels_that_all_models_expect_leave_the_weights_finite(rows):
    probabilities = rows[0]
    labels = probabilities[0].argmax(1)
    found = cj.cleaning.find_label_issues(probabilities[0], labels)
    assert np.all(np.asarray(found.suggestion) == labels)
    assert 0 < np.max(found.score) < 0.7


def test_few_rows():
    empty = cj.cleaning.find_label_issues(np.zeros((2, 0, 3)), np.zeros(0, int))
    assert empty.order.shape == (0,) and empty.predictions.shape == (2, 0)
    probabilities = np.float32([[[0.7, 0.2, 0.1]], [[0.1, 0.8, 0.1]]])
    one = cj.cleaning.find_label_issues(probabilities, [0])
    # Nothing was fitted: the geometric mean.
    mean = special.softmax(np.log(probabilities).mean(0), axis=1)
    np.testing.assert_allclose(one.score, 1 - mean[:, 0], rtol=1e-5)
    assert int(one.suggestion[0]) == mean.argmax()


def test_half_precision(rows):
    probabilities, _, labels = rows
    half = jnp.asarray(probabilities, jnp.bfloat16)
    wide = np.asarray(half, np.float32)
    found, expected = (
        cj.cleaning.find_label_issues(given, labels) for given in (half, wide)
    )
    np.testing.assert_allclose(found.score, expected.score, atol=1e-6)


def test_several_blocks(monkeypatch):
    """Of a size that no other test has, so that its programs are traced here."""
    monkeypatch.setattr(reduce, "_CPU_BLOCK_ROWS", 200)
    probabilities, _, labels = made(1, 700)
    found = cj.cleaning.find_label_issues(probabilities, labels)
    logs = pooled(probabilities, labels, halves(probabilities, labels))
    own = logs[np.arange(700), labels]
    np.testing.assert_allclose(found.score, -np.expm1(own), atol=2e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y: (p * 0.5, y), "row 0 of model 0 sums to 0.5"),
        (lambda p, y: (p[0] * 100, y), r"probabilities: .* \[0, 1\]"),
        (lambda p, y: (p, y + 1), "labels: expected classes from 0 to 3, .* holds 4"),
        (lambda p, y: (p[:, 1:], y), "a row for each of the 400 labels"),
        (lambda p, y: (p[:0], y), "at least one model"),
        (lambda p, y: (p[0, 0], y), r"\[N, C\] or \[M, N, C\]"),
        (lambda p, y: (y, p), "Probabilities come first, labels second"),
        (lambda p, y: (p[[0, 1, 0]], y), "models 0 and 2 are the same"),
        (
            lambda p, y: (p, (y + 1) % CLASSES),
            "agree with at most .* fewer than by chance.* from 1",
        ),
        (lambda p, y: (p[..., [1, 2, 3, 0]], y), "in another order than the columns"),
    ],
)
def test_errors(rows, change, message):
    probabilities, _, labels = rows
    with pytest.raises(ValueError, match=message):
        cj.cleaning.find_label_issues(*change(probabilities, labels))


def sure(num_models, num_rows=300, seed=0):
    """Models whose probabilities are 0 and 1 in float32 for many rows.

    Returns:
      probabilities `[M, N, C]`, given labels.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, num_rows)
    logits = 1.5 * rng.normal(size=(num_models, num_rows, CLASSES))
    logits[:, np.arange(num_rows), truth] += 1 + rng.exponential(8, num_rows)
    moved = rng.integers(1, CLASSES, num_rows) * (rng.random(num_rows) < 0.05)
    probabilities = np.float32(special.softmax(12 * logits, axis=2))
    return probabilities, (truth + moved) % CLASSES


def test_models_that_are_certain_have_a_finite_expectation():
    probabilities, labels = sure(5)
    assert np.mean(probabilities.max(axis=2) == 1) > 0.5
    found = cj.cleaning.find_label_issues(probabilities, labels)
    lower, middle, upper = (
        np.asarray(getattr(found, f"expected_{name}"))
        for name in ("lower", "precision", "upper")
    )
    assert np.all((lower >= 0) & (lower <= middle) & (middle <= upper) & (upper <= 1))


def test_errors_whose_correlation_rounds_to_1_have_a_finite_expectation():
    """Of labels that no expert contradicts, the design effect would be 0 / 0."""
    rng = np.random.default_rng(0)
    confidences = np.float32(rng.uniform(0.5, 0.99, (5, 200)))
    outcomes = rng.random((5, 200)) < confidences
    outcomes[:, :100] = True
    shared = cj.cleaning.fit_shared_errors(confidences, outcomes)
    found = ranked_precision.expect(
        dataclasses.replace(shared, log_odds=jnp.full_like(shared.log_odds, 30.0)),
        jnp.asarray(confidences.T),
        jnp.asarray(~outcomes.T),
        jnp.zeros(200),
        jnp.ones(200, bool),
        jnp.float32(0.05),
        CLASSES,
    )
    for values in jax.tree.leaves(found):
        assert np.all((values >= 0) & (values <= 1))


def test_the_share_of_a_label_beside_a_class_that_takes_all():
    """All but one class have a probability that float32 drops beside 1."""
    logs = np.float32([[0, -20, -22, -28], [0, -60, -61, -62], [0, -1, -1, -1]])
    probabilities = np.exp(logs)
    labels = jnp.arange(1, 4, dtype=jnp.int32)
    *_, found = pools.judge(
        (jnp.asarray(probabilities),),
        labels,
        jnp.zeros(3, jnp.int32),
        jnp.full((2, 1), 2.0),
        jnp.full(1, 1e-30),
    )
    own = 2 * np.float64(logs)[np.arange(3), labels]
    others = special.logsumexp(2 * np.float64(logs)[:, 1:], axis=1)
    np.testing.assert_allclose(found, own - others, atol=1e-4)
    assert np.all(np.asarray(found) <= 0)


def test_equal_rows_are_in_both_halves():
    """All in one, the other fit would see no rows, and nothing would be calibrated."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 1000)
    answer = np.where(rng.random(1000) < 0.1, 1 - truth, truth)
    for stated in (0.97, 0.98, 0.99):
        voted = np.eye(2)[answer] * (2 * stated - 1) + 1 - stated
        found = cj.cleaning.find_label_issues(np.float32(voted), truth)
        agreement = (answer == truth).mean()
        np.testing.assert_allclose(found.confidences, agreement, atol=0.03)
        # Rows that are all the same.
        same = np.full((1000, 2), [stated, 1 - stated], np.float32)
        found = cj.cleaning.find_label_issues(same, (answer != truth).astype(int))
        np.testing.assert_allclose(found.confidences, agreement, atol=0.03)


def test_rows_are_numbered_among_their_equals():
    hashed = jnp.asarray([7, 3, 7, 7, 3, 9, 7], jnp.uint32)
    where = jnp.asarray([1, 1, 0, 1, 1, 1, 1], bool)
    found = hashing.number_among_equals(hashed, where)
    np.testing.assert_array_equal(found, [0, 0, 3, 1, 1, 0, 2])
    none = hashing.number_among_equals(hashed[:0], where[:0])
    assert none.shape == (0,)
