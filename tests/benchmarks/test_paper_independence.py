"""The independence section of benchmarks/paper against float64, by another route."""

import jax
import numpy as np
import pytest
import reference

for extra in ("matplotlib", "mlxtend", "rich"):
    pytest.importorskip(extra)

import calib_jax as cj  # noqa: E402
from benchmarks.paper import expert_pairs, independence  # noqa: E402
from benchmarks.paper.independence_measures import Measured, Pair  # noqa: E402
from calib_jax import plots  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def trained(paper_study, paper_section):
    evaluated = paper_section("independence")
    (trained,) = evaluated.trained
    num_steps = independence.num_steps(paper_study)
    assert len(evaluated.steps) == num_steps == len(trained.test)
    return trained


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("independence").numbers


@pytest.fixture(scope="module")
def cases(trained, numbers):
    """Every pair and its numbers, degrees first, then habits."""
    pairs = expert_pairs.pairs(trained)
    measured = jax.tree.map(
        lambda first, then: np.concatenate(
            [first[0], then[0].reshape(-1, *then.shape[3:])]
        ),
        numbers.pairs,
        numbers.habit,
    )
    count = len(expert_pairs.SECOND) + 2 * len(expert_pairs.HABITUAL)
    assert {len(part) for part in (*pairs, *measured)} == {count}
    return [
        (Pair(*(part[i] for part in pairs)), Measured(*(part[i] for part in measured)))
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def confidences(cases):
    """Float32, since bins are cut from them: `[2, n]` on both parts, by pair."""
    pairs = [pair for pair, _ in cases]
    temperature = np.float32(
        [
            [
                reference.fit_temperature(logits, pair.calibration_labels)
                for logits in pair.calibration
            ]
            for pair in pairs
        ]
    )
    by_pair = jax.jit(jax.vmap(jax.vmap(cj.top1)))
    before, after = (
        np.asarray(by_pair(np.stack(part), temperature).confidence)
        for part in (
            [pair.calibration for pair in pairs],
            [pair.test for pair in pairs],
        )
    )
    return list(zip(before, after, strict=True))


def share(which, of):
    return np.nan if not of.any() else which[of].mean()


def assert_all_close(measured, expected, atol=1e-5):
    for name, value in expected.items():
        np.testing.assert_allclose(
            getattr(measured, name), value, rtol=1e-5, atol=atol, err_msg=name
        )


def test_likeness(cases):
    for pair, measured in cases:
        prediction = pair.test.argmax(-1)
        wrong = prediction != pair.truth
        joint = (wrong[0] & wrong[1]).mean()
        expected = {
            "accuracy": 1 - wrong.mean(axis=1),
            "agreement": (prediction[0] == prediction[1]).mean(),
            "joint_error": joint,
            "lift": joint / wrong[0].mean() / wrong[1].mean(),
        }
        assert_all_close(measured, expected)


def test_cleaning(paper_study, numbers, cases, confidences):
    settings = paper_study.settings
    assert numbers.num_top_bins == 10 and settings.num_bins == 15
    for (pair, measured), (before, after) in zip(cases, confidences, strict=True):
        prediction = pair.test.argmax(-1)
        known = pair.calibration.argmax(-1) == pair.calibration_labels
        experts = reference.fit_expert_bins(before, known, settings.num_bins)
        flagged = reference.high_confidence_disagreement(
            experts, prediction, after, pair.given, numbers.num_top_bins
        )
        is_error = pair.given != pair.truth
        # Most suspect first: contradicted by both, ranked by the least confidence.
        score = np.where(prediction == pair.given, -after, after).min(axis=0)
        count = round(settings.flipped_share * len(score))
        most = score >= np.sort(score)[::-1][count - 1]
        expected = {
            "flagged": flagged.mean(),
            "precision": share(is_error, flagged),
            "recall": share(flagged, is_error & ~pair.is_habit),
            "habit_recall": share(flagged, is_error & pair.is_habit),
            "matched_precision": is_error[most].mean(),
        }
        assert_all_close(measured, expected)


def test_cascades(paper_study, cases, confidences):
    for (pair, measured), (before, after) in zip(cases, confidences, strict=True):
        known = pair.calibration.argmax(-1) == pair.calibration_labels
        right = pair.test.argmax(-1) == pair.truth
        router = reference.fit_router(*before, paper_study.settings.num_bins)
        chosen_on = reference.cascade_curve(router, before[0], *known)
        best = np.flatnonzero(chosen_on.accuracy >= chosen_on.accuracy.max() - 1e-9)[-1]
        first_is_better = known[0].sum() >= known[1].sum()
        single = right[0 if first_is_better else 1].mean()
        curve = reference.cascade_curve(router, after[0], *right)
        expected = {
            "gain": curve.accuracy[best] - single,
            "union_gain": (right[0] | right[1]).mean() - single,
        }
        assert_all_close(measured, expected, atol=1e-6)


def test_one_network_twice(numbers):
    pairs = numbers.pairs
    assert numbers.degrees[0] == "the same network"
    np.testing.assert_array_equal(pairs.agreement[:, 0], 1)
    np.testing.assert_allclose(pairs.joint_error[:, 0], 1 - pairs.accuracy[:, 0, 0])
    np.testing.assert_allclose(pairs.gain[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(pairs.union_gain[:, 0], 0, atol=1e-6)
    # All other pairs have two different networks.
    assert np.all(pairs.agreement[:, 1:] < 1)


def test_labels(paper_study, trained):
    truth, (at_random, both) = trained.truth, trained.given
    settings = paper_study.settings
    assert np.sum(at_random != truth) == round(settings.flipped_share * len(truth))
    digit, label = expert_pairs.HABIT
    habit = trained.is_habit
    of_digit = round(expert_pairs.HABIT_SHARE * np.sum(truth == digit))
    assert habit.sum() == of_digit > 0
    assert np.all(truth[habit] == digit) and np.all(both[habit] == label)
    np.testing.assert_array_equal(both[~habit], at_random[~habit])
    known, learned = trained.calibration_labels
    changed = known != learned
    assert np.all(known[changed] == digit) and np.all(learned[changed] == label)
    assert changed.sum() == round(expert_pairs.HABIT_SHARE * np.sum(known == digit))


def test_order_of_degrees(numbers):
    """Counts by a loop, where a tie is neither."""
    for i, cause in enumerate(independence.CAUSES):
        for j, effect in enumerate(independence.EFFECTS):
            x, y = (getattr(numbers.pairs, name)[0] for name in (cause, effect))
            opposite = same = 0
            for a in range(len(x)):
                for b in range(a):
                    opposite += (x[a] < x[b] and y[a] > y[b]) or (
                        x[a] > x[b] and y[a] < y[b]
                    )
                    same += (x[a] < x[b] and y[a] < y[b]) or (
                        x[a] > x[b] and y[a] > y[b]
                    )
            assert list(numbers.ordered[i, j]) == [opposite, same]


def test_description(paper_study, numbers):
    section = independence.describe(paper_study, numbers)
    text = section.text + "".join(claim.evidence for claim in section.claims)
    assert "nan" not in text.lower()
    rows = 2 * len(numbers.degrees) + 2 * len(numbers.habitual)
    assert text.count("\n| ") == 3 + rows
    assert f"{100 * numbers.pairs.joint_error[0, 1]:.1f} ± 0.0" in text
    for dark in (False, True):
        with plots.style(dark=dark):
            figure = section.figures["independence"](dark)
            assert len(figure.axes) == 3
