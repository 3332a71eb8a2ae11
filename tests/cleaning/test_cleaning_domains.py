"""Values outside their domain, and labels that are not classes, in cleaning.

A wrong value raises for arrays of the host, and is NaN in those of a device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

SIZE, NUM_CLASSES, BAD = 24, 3, 5
RNG = np.random.default_rng(0)
CONFIDENCES = np.float32(RNG.uniform(0.4, 1.0, (2, SIZE)))
PREDICTIONS = RNG.integers(0, NUM_CLASSES, (2, SIZE))
LABELS = (PREDICTIONS[0] + 1) % NUM_CLASSES
PREDICTIONS[1, ::2] = PREDICTIONS[0, ::2]
PREDICTIONS[1, BAD] = PREDICTIONS[0, BAD]
OUTCOMES = np.float32(RNG.random((2, SIZE)) < 0.7)
PROBABILITIES = np.float32(RNG.dirichlet(np.ones(NUM_CLASSES), SIZE))
NOISE = cj.cleaning.uniform_label_noise(0.1, NUM_CLASSES)
EXPERTS = cj.fit_expert_bins(CONFIDENCES, OUTCOMES, num_bins=3)
FLAGGED = np.arange(SIZE) % 2 == 1
ROWS = {
    "confidences": CONFIDENCES,
    "outcomes": OUTCOMES,
    "score": CONFIDENCES[0],
    "is_error": OUTCOMES[0],
    "weights": np.ones(SIZE, np.float32),
    "label_error_probability": CONFIDENCES[1],
    "probabilities": PROBABILITIES,
    "confidence": CONFIDENCES[0],
}
# Each function, the rows that may be wrong in it, and what these make NaN.
FUNCTIONS = {
    "fit_expert_bins": (
        functools.partial(cj.fit_expert_bins, num_bins=3),
        ("confidences", "outcomes"),
        lambda found: jnp.sum(found.table.confidence + found.table.outcome, axis=1)[1],
    ),
    "cleaning_curve": (
        functools.partial(cj.cleaning_curve, score=ROWS["score"]),
        ("is_error", "weights"),
        lambda found: found.recall,
    ),
    "cleaning_interval": (
        functools.partial(cj.cleaning.cleaning_interval, FLAGGED),
        ("is_error",),
        lambda found: jnp.stack(jax.tree.leaves((found.precision, found.recall))),
    ),
    "expected_precision": (
        functools.partial(cj.cleaning.expected_precision, flagged=FLAGGED),
        ("label_error_probability",),
        lambda found: found.precision + found.standard_error,
    ),
    "expected_precision_by_bin": (
        functools.partial(
            cj.cleaning.expected_precision_by_bin,
            cj.equal_width_bins(1),
            ROWS["score"],
            flagged=FLAGGED,
        ),
        ("label_error_probability",),
        lambda found: found.precision + found.standard_error,
    ),
    "expected_false_flags": (
        functools.partial(
            cj.cleaning.expected_false_flags,
            candidates=np.ones(SIZE, bool),
            flagged=FLAGGED,
        ),
        ("confidences",),
        lambda found: jnp.stack([found.if_independent, found.least_precision]),
    ),
    "expert_dependence": (
        functools.partial(cj.cleaning.expert_dependence, OUTCOMES > 0),
        ("confidences",),
        lambda found: found.lift_given_confidence.estimate,
    ),
    "confident_learning": (
        lambda probabilities, where: cj.confident_learning(
            probabilities, LABELS, where=where
        ),
        ("probabilities",),
        lambda found: jnp.where(found.flagged[BAD], 0.0, jnp.nan),
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_rows(function):
    call, names, read = FUNCTIONS[function]
    rows, every = {name: ROWS[name] for name in names}, np.ones(SIZE, bool)
    some = np.arange(SIZE) != BAD
    clean = call(**rows, where=some)
    for name in names:
        wrong = rows[name].copy()
        place = (1, BAD) if name in ("confidences", "outcomes") else (BAD,)
        place = (BAD, 1) if name == "probabilities" else place
        wrong[place] = -1.0 if name == "weights" else 7.0
        shown = (
            f"row {BAD}" if len(place) == 1 else rf"entry \[{place[0]}, {place[1]}\]"
        )
        with pytest.raises(ValueError, match=rf"{name}: expected values in .*{shown}"):
            call(**rows | {name: wrong}, where=every)
        found = call(**rows | {name: jnp.asarray(wrong)}, where=every)
        assert np.isnan(read(found)).all(), name
        # A row that is removed may hold anything.
        same = call(**rows | {name: wrong}, where=some)
        jax.tree.map(np.testing.assert_array_equal, same, clean)


def test_rows_that_are_not_flagged_may_hold_anything():
    error = np.where(FLAGGED, ROWS["label_error_probability"], 7.0)
    found = cj.cleaning.expected_precision(error, FLAGGED)
    np.testing.assert_allclose(found.precision, error[FLAGGED].mean(), rtol=1e-6)


def test_an_unknown_truth_gives_no_recall():
    """A NaN among the rows that are not flagged leaves only the precision known."""
    unknown = jnp.asarray(np.where(np.arange(SIZE) == 4, 7.0, ROWS["is_error"]))
    found = cj.cleaning.cleaning_interval(FLAGGED, unknown)
    assert np.isnan(jax.tree.leaves(found.recall)).all()
    expected = ROWS["is_error"][FLAGGED].mean()
    np.testing.assert_allclose(found.precision.estimate, expected, rtol=1e-6)


@pytest.mark.parametrize("label", [-1, -100])
def test_labels_that_are_not_classes_are_not_contradicted(label):
    labels = np.where(np.arange(SIZE) == BAD, label, LABELS)
    other = np.arange(SIZE) != BAD
    flagged = cj.top1_disagreement(PREDICTIONS, LABELS)
    assert flagged[BAD]
    found = cj.top1_disagreement(PREDICTIONS, labels)
    np.testing.assert_array_equal(found, flagged & other)
    answers = PREDICTIONS, CONFIDENCES
    surely = functools.partial(cj.high_confidence_disagreement, EXPERTS, *answers)
    np.testing.assert_array_equal(surely(labels, 3), flagged & other)
    suggested = cj.suggest_labels(*answers, labels, np.ones(SIZE, bool))
    assert suggested[BAD] == label
    kept = cj.suggest_labels(*answers, LABELS, np.ones(SIZE, bool))
    np.testing.assert_array_equal(suggested[other], kept[other])
    score = cj.cleaning.label_issue_score(*answers, labels)
    np.testing.assert_array_equal(np.isnan(score), ~other)

    issues = cj.confident_learning(PROBABILITIES, labels)
    without = cj.confident_learning(PROBABILITIES, LABELS, where=other)
    assert not issues.flagged[BAD] and issues.suggestion[BAD] == label
    np.testing.assert_array_equal(issues.thresholds, without.thresholds)
    noise = cj.cleaning.estimate_label_noise(PROBABILITIES, labels)
    fewer = cj.cleaning.estimate_label_noise(PROBABILITIES, LABELS, where=other)
    np.testing.assert_array_equal(noise, fewer)
    error = cj.cleaning.label_error_probability(PROBABILITIES, labels, NOISE)
    np.testing.assert_array_equal(np.isnan(error), ~other)
    assert np.isnan(cj.cleaning.expected_precision(error, ~other).precision)


def test_float_labels_are_told_what_to_do():
    with pytest.raises(ValueError, match=r"labels: .*float64\[24\].*\.astype\(int\)"):
        cj.top1_disagreement(PREDICTIONS, LABELS.astype(float))
    with pytest.raises(ValueError, match=r"labels: .*\.astype\(int\)"):
        cj.confident_learning(PROBABILITIES, LABELS.astype(float))


def test_wrong_confidences_of_experts():
    """They flag and suggest nothing."""
    percent = CONFIDENCES.copy()
    percent[1] *= 100
    answers, every = (PREDICTIONS, percent, LABELS), np.ones(SIZE, bool)
    calls = {
        "flags": lambda *rows: cj.high_confidence_disagreement(EXPERTS, *rows, 3),
        "score": cj.cleaning.label_issue_score,
        "suggestion": lambda *rows: cj.suggest_labels(*rows, every),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"confidences: .*entry \[1, 0\] holds"):
            call(*answers)
    found = {name: call(*map(jnp.asarray, answers)) for name, call in calls.items()}
    assert not found["flags"].any() and np.isnan(found["score"]).all()
    sure = np.where(LABELS == PREDICTIONS[0], LABELS, PREDICTIONS[0])
    np.testing.assert_array_equal(found["suggestion"], sure)


@pytest.mark.parametrize("number", [-1, 4])
def test_a_number_of_bins_out_of_range_flags_nothing(number):
    rows = EXPERTS, PREDICTIONS, CONFIDENCES, LABELS
    with pytest.raises(ValueError, match="num_top_bins: expected at"):
        cj.high_confidence_disagreement(*rows, number)
    assert not cj.high_confidence_disagreement(*rows, jnp.int32(number)).any()
    with pytest.raises(ValueError, match="a row for each of the 2 experts"):
        cj.high_confidence_disagreement(EXPERTS, *(x[:1] for x in rows[1:3]), LABELS, 1)
    with pytest.raises(ValueError, match=r"bins.edges: .*got float32\[2, 2\]"):
        cj.cleaning.expected_precision_by_bin(
            EXPERTS.bins, CONFIDENCES[0], CONFIDENCES[0], FLAGGED
        )


def test_noise():
    """Rates, matrices and probabilities outside [0, 1]."""
    with pytest.raises(
        ValueError, match=r"rate: expected a number in \[0, 1\], got 20"
    ):
        cj.cleaning.uniform_label_noise(20.0, NUM_CLASSES)
    assert np.isnan(cj.cleaning.uniform_label_noise(jnp.float32(20), NUM_CLASSES)).all()
    confidence = functools.partial(
        cj.cleaning.true_label_confidence, num_classes=NUM_CLASSES
    )
    with pytest.raises(ValueError, match="rate: expected a number"):
        confidence(ROWS["confidence"], -0.1)
    assert np.isnan(confidence(ROWS["confidence"], jnp.float32(-0.1))).all()
    with pytest.raises(ValueError, match="confidence: .* row 0 holds 93"):
        confidence([93.0, 0.5], 0.1)
    found = confidence(jnp.array([93.0, 0.5]), 0.1)
    np.testing.assert_array_equal(np.isnan(found), [True, False])
    one = confidence(0.5, 0.1)
    assert one.shape == () and one == found[1]

    counts = np.float32([[9, 1, 0], [0, 9, 1], [1, 0, 9]])
    wrong = PROBABILITIES.copy()
    wrong[BAD, 0] = 60.0
    for call in (
        lambda p, noise: cj.cleaning.label_error_probability(p, LABELS, noise),
        cj.cleaning.true_label_probabilities,
    ):
        with pytest.raises(ValueError, match=r"noise: .*entry \[0, 0\] holds 9"):
            call(PROBABILITIES, counts)
        assert np.isnan(call(PROBABILITIES, jnp.asarray(counts))).any()
        with pytest.raises(
            ValueError, match=rf"probabilities: .*\[{BAD}, 0\] holds 60"
        ):
            call(wrong, NOISE)
        found = call(jnp.asarray(wrong), NOISE).reshape(SIZE, -1)
        np.testing.assert_array_equal(
            np.isnan(found).all(axis=1), np.arange(SIZE) == BAD
        )


def test_false_flags_of_dependent_experts():
    """The product of error probabilities bounds nothing; the least of them does."""
    confidence, every = np.full((2, 1000), 0.9, np.float32), np.ones(1000, bool)
    found = cj.cleaning.expected_false_flags(confidence, every, every)
    row = np.arange(1000)
    for second, joint in ((row % 10 == 1, 0), (row % 10 == 0, 100)):
        first = row % 10 == 0
        assert first.mean() == second.mean() == 0.1
        assert np.sum(first & second) == joint
        # Fréchet's lower bound, max(0, .1 + .1 - 1), is 0.
        assert 0 <= joint <= np.round(found.most)
    np.testing.assert_allclose(found.if_independent, 10, rtol=1e-5)
    np.testing.assert_allclose(found.most, 100, rtol=1e-5)


def test_candidates_are_what_would_be_flagged():
    """With a label that no expert predicts, every expert contradicts it."""
    none = np.full_like(LABELS, NUM_CLASSES)
    candidates = cj.high_confidence_disagreement(
        EXPERTS, PREDICTIONS, CONFIDENCES, none, 2
    )
    flagged = cj.high_confidence_disagreement(
        EXPERTS, PREDICTIONS, CONFIDENCES, LABELS, 2
    )
    assert 0 < flagged.sum() <= candidates.sum() < SIZE
    assert not (flagged & ~candidates).any()


@pytest.mark.parametrize("chance", [0.0, 1.0, 1.5])
def test_chances_of_a_plan(chance):
    with pytest.raises(ValueError, match=r"chance: expected a number in [\[(]0, 1"):
        cj.cleaning.audit_size(0.8, 0.9, chance=chance)


def test_a_plan_without_flags():
    plan = cj.cleaning.audit_size(0.8, 0.9, num_flagged=0)
    assert (plan.num_audited, plan.num_wrong, plan.feasible) == (0, 1, False)
    assert plan.chance == 0
    # Even if all are wrong the bound is not reached.
    plan = cj.cleaning.audit_size(0.8, 0.9, max_audited=5)
    assert (plan.num_audited, plan.num_wrong, plan.feasible) == (5, 6, False)
    assert cj.cleaning.audit_bounds(5, 5).lower < 0.8


def test_a_noise_matrix_has_rows_that_sum_to_1():
    """Its transpose, and the half of one, are refused; on a device they give NaN."""
    noise, given = np.float32([[0.95, 0.05], [0.4, 0.6]]), np.float32([[0.3, 0.7]])
    for function, more in (
        (cj.cleaning.true_label_probabilities, ()),
        (cj.cleaning.label_error_probability, ([0],)),
    ):
        assert np.isfinite(function(given, *more, noise)).all()
        with pytest.raises(ValueError, match=r"row 0 sums to 1\.35.*noise\.T"):
            function(given, *more, noise.T)
        with pytest.raises(ValueError, match=r"noise: .*row 0 sums to 0\.5\.$"):
            function(given, *more, 0.5 * noise)
        assert np.isnan(function(given, *more, jnp.asarray(noise.T))).all()


WIDE = np.array([5_000_000_001, 5_000_000_002])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: cj.repair_labels(x, [False, True], [0, 0]), "labels"),
        (lambda x: cj.repair_labels([0, 0], [False, True], x), "suggestion"),
        (lambda x: cj.top1_disagreement([[0, 1]], x), "labels"),
        (lambda x: cj.top1_disagreement(x[None], [0, 1]), "predictions"),
        (
            lambda x: cj.suggest_labels([[0, 1]], [[0.9, 0.9]], x, [True, True]),
            "labels",
        ),
        (lambda x: cj.cleaning.label_issue_score(x[None], [[0.9] * 2], x), "pred"),
        (lambda x: cj.confident_learning(np.eye(2), x), "labels"),
    ],
)
def test_class_numbers_beyond_int32_are_not_made_equal(call, name):
    with pytest.raises(ValueError, match=f"{name}.* holds 5000000001"):
        call(WIDE)


def test_class_numbers_beyond_int32_on_a_device_are_no_class():
    wide = jnp.asarray(np.uint32([4_000_000_001, 1]))
    found = cj.top1_disagreement([[0, 0]], wide)
    np.testing.assert_array_equal(found, [False, True])


def test_strings_are_no_flags():
    for call in (
        lambda: cj.repair_labels([0], [True], [1], drop="False"),
        lambda: cj.fit_platt([0.0, 1.0], [0, 1], smooth_targets="False"),
    ):
        with pytest.raises(ValueError, match="expected True or False, got 'False'"):
            call()


def test_no_experts():
    nothing = np.zeros((0, 2))
    for function, more in (
        (cj.cleaning.label_issue_score, ()),
        (cj.suggest_labels, ([True, False],)),
    ):
        with pytest.raises(ValueError, match="predictions: expected at least one"):
            function(nothing.astype(int), nothing, [0, 1], *more)
