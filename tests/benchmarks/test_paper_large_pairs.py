"""Table 2 of benchmarks/paper against float64, example by example."""

import numpy as np
import pytest
import reference

import calib_jax as cj
from calib_jax import plots

pytest.importorskip("rich")

import jax  # noqa: E402

from benchmarks.paper import large_pairs  # noqa: E402
from benchmarks.paper.large_pair_numbers import NUM_REMOVALS  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def numbers(paper_section):
    return paper_section("large-pairs").numbers


class Answers:
    """Which examples of a test half each model and the cascade get right."""

    def __init__(self, halves, split, kind, pair):
        first, second = pair
        calibration, test = halves.calibration, halves.test
        confidence = calibration.confidence(kind == 1)[split]
        router = reference.fit_router(confidence[first], confidence[second])
        seen = reference.cascade_curve(
            router, confidence[first], *calibration.correct[split, list(pair)]
        )
        # Among the best, the largest.
        best = np.flatnonzero(seen.accuracy >= seen.accuracy.max() - 1e-9)[-1]
        self.keep = reference.use_small(
            router, test.confidence(kind == 1)[split, first], best
        )
        self.first, self.second = test.correct[split, list(pair)]
        self.cascade = np.where(self.keep, self.first, self.second)
        better = seen.large_accuracy >= seen.small_accuracy - 1e-9
        self.better = self.second if better else self.first
        self.gain = self.cascade.astype(float) - self.better


def each(study):
    """Every pair of every split and kind of confidence."""
    for name, task in study.tasks.items():
        for split in range(study.settings.num_halves):
            for kind in range(2):
                for p, pair in enumerate(task.large_large):
                    answers = Answers(study.halves[name], split, kind, pair)
                    yield name, split, kind, p, answers


def test_accuracies(paper_study, numbers):
    for name, split, kind, p, answers in each(paper_study):
        task = numbers[name]
        for ours, expected in (
            (task.first[split, p], answers.first),
            (task.second[split, p], answers.second),
            (task.better[split, p], answers.better),
            (task.union[split, p], answers.first | answers.second),
            (task.cascade[split, kind, p], answers.cascade),
            (task.first_share[split, kind, p], answers.keep),
            (task.gain[split, kind, p], answers.gain),
        ):
            np.testing.assert_allclose(ours, expected.mean(), atol=1e-6)
        right = [rows.sum() for rows in (answers.first, answers.second)]
        beats = answers.cascade.sum() > max(right)
        assert task.beats_both[split, kind, p] == beats


def test_intervals_are_those_of_the_drawn_examples(paper_study, numbers):
    settings = paper_study.settings
    for name, outputs in paper_study.tasks.items():
        halves = paper_study.halves[name]
        counts = cj.bootstrap(
            jax.random.key(settings.seed),
            lambda rows, *, weights: weights,
            settings.num_draws,
            halves.test.rows[0],
        )
        for p, pair in enumerate(outputs.large_large):
            gains = [Answers(halves, 0, kind, pair).gain for kind in range(2)]
            gains.append(gains[1] - gains[0])
            draws = np.asarray(counts, np.float64) @ np.array(gains).T / len(gains[0])
            np.testing.assert_allclose(
                numbers[name].gain_interval[:, p],
                np.quantile(draws, (0.025, 0.975), axis=0).T,
                atol=1e-6,
            )


def test_cleaned(paper_study, numbers):
    settings = paper_study.settings
    kinds = set()
    for name, outputs in paper_study.tasks.items():
        cleaned, halves = numbers[name].cleaned, paper_study.halves[name]
        if outputs.prediction is None:
            assert cleaned is None
            continue
        for split in range(settings.num_halves):
            rows = halves.test.rows[split]
            for p, pair in enumerate(outputs.large_large):
                others = [m for m in range(len(outputs.models)) if m not in pair]
                experts = reference.fit_expert_bins(
                    halves.calibration.calibrated[split][others],
                    halves.calibration.correct[split][others],
                )
                flagged = reference.high_confidence_disagreement(
                    experts,
                    outputs.prediction[others][:, rows],
                    halves.test.calibrated[split][others],
                    outputs.label[rows],
                    10,
                )
                removed = [np.zeros_like(flagged), flagged, None, None]
                if outputs.is_error is not None:
                    removed[2] = outputs.is_error[rows]
                answers = Answers(halves, split, 1, pair)
                for c, drop in enumerate(removed):
                    ours = {
                        field: getattr(cleaned, field)[split, c, p]
                        for field in ("removed", "first", "second", "cascade", "gain")
                    }
                    if drop is not None:
                        kinds.add(c)
                        _check_left(ours, answers, drop)
                    elif c == 2:
                        assert np.isnan(list(ours.values())).all()
                    else:
                        _check_random(ours, answers, flagged)
    assert kinds == {0, 1, 2}


def _check_left(ours, answers, drop):
    np.testing.assert_allclose(ours["removed"], drop.mean(), atol=1e-6)
    for field in ("first", "second", "cascade", "gain"):
        expected = getattr(answers, field)[~drop].mean()
        np.testing.assert_allclose(ours[field], expected, atol=1e-6)


def _check_random(ours, answers, flagged):
    """Near the overall mean, within the error of sampling without replacement."""
    size, count = len(flagged), flagged.sum()
    np.testing.assert_allclose(ours["removed"], count / size, atol=1e-6)
    part = count / (size - count) / (size - 1) / NUM_REMOVALS
    for field in ("first", "second", "cascade", "gain"):
        rows = getattr(answers, field).astype(float)
        error = np.sqrt(rows.var() * part)
        assert abs(ours[field] - rows.mean()) <= 5 * error + 1e-6


def test_report(paper_study, numbers):
    section = large_pairs.describe(paper_study, numbers)
    text = section.text
    assert "nan" not in text
    for name, task in numbers.items():
        for p, pair in enumerate(task.pairs):
            title = f"{paper_study.tasks[name].title}: {' + '.join(pair)}"
            accuracy, gain, *cleaned = (
                row for row in text.splitlines() if row.startswith(f"| {title} |")
            )
            assert f"{100 * task.cascade[:, 1, p].mean():.2f} ± " in accuracy
            assert f"{100 * task.gain[:, 1, p].mean() + 0.0:.2f} ± " in gain
            conditions = 0
            if task.cleaned:
                conditions = np.sum(~np.isnan(task.cleaned.gain[0, :, p]))
            assert len(cleaned) == conditions
    assert len(section.claims) == 2
    with plots.style():
        for draw in section.figures.values():
            assert draw(False).axes
