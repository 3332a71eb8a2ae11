"""The ranking section of benchmarks/label_errors, on made-up outputs and judgements."""

import numpy as np
import paper_data
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("cleanlab")

from benchmarks.kit import report  # noqa: E402
from benchmarks.label_errors import ranking, ranking_cases  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = paper_data.write(tmp_path_factory.mktemp("outputs"))
    rng = np.random.default_rng(0)
    with np.load(folder / "vision/cifar10.npz") as file:
        label, guess = file["label"], file["rater_guess"]
        wrong = file["rater_votes"][:, 0] == 1
    votes = rng.multinomial(5, [0.1] * 10, len(label))
    votes[np.arange(len(label)), np.where(wrong, guess, label)] += 40
    np.savez(folder / "vision/cifar10h.npz", votes=votes)
    steps = []
    ranked = ranking.evaluate(
        folder, seed=0, num_splits=2, num_resamples=20, advance=steps.append
    )
    assert len(steps) == len(ranked)
    return ranked


def test_average_precision_by_hand():
    score, is_error = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 0], bool)
    weights = np.array([[1, 1, 1, 1], [0, 1, 2, 1]])
    precision = ranking._average_precision(score, is_error, weights)
    np.testing.assert_allclose(precision, [(1 + 2 / 3) / 2, 2 / 3])


def test_every_case_is_ranked(found):
    names = {one.title for one in found}
    assert names == {
        "ImageNet, ReaL",
        "CIFAR-10H, majority",
        "CIFAR-10, votes",
        "CIFAR-10, flipped",
        "Emotion (4 options), flipped",
    }
    for one in found:
        assert 0 < one.num_wrong < one.num_judged
        chance = one.num_wrong / one.num_judged
        for name, score in one.calibrated.items():
            assert score.low <= score.high and set(one.raw) >= {name}
        best = max(score.average_precision for score in one.calibrated.values())
        assert best > 1.5 * chance
        pool = one.calibrated.get(ranking.ranking_scores.POOL)
        assert (pool is None) == one.title.startswith("ImageNet")
        if pool is not None:
            assert pool.behind == pool.behind_low == pool.behind_high == 0
        assert (len(one.foretold) > 0) == (pool is not None and one.is_complete)


def test_flipped_labels_are_a_given_share():
    from benchmarks.kit.outputs import Outputs

    label = np.zeros(4000, np.int32)
    task = Outputs(
        name="made",
        title="Made",
        models=("one",),
        confidence=np.full((1, 4000), 0.9, np.float32),
        score=np.zeros((1, 4000), np.float32),
        correct=np.ones((1, 4000), bool),
        prediction=label[None],
        label=label,
    )
    case = ranking_cases._flipped(task, 5, seed=0)
    wrong = case.outputs.label != label
    np.testing.assert_array_equal(case.outputs.is_error, wrong)
    np.testing.assert_array_equal(case.outputs.correct[0], ~wrong)
    assert abs(wrong.mean() - ranking_cases.FLIPPED) < 0.01
    assert set(case.outputs.label[wrong]) == {1, 2, 3, 4}


def test_differences_are_counted():
    found = ranking._counted(np.array([0.1, -0.25, np.nan, 0.0]))
    assert found == {"num": 3, "above": 1, "below": 1, "low": "-25.0", "high": "10.0"}
    assert ranking._counted(np.array([]))["num"] == 0


def test_the_pool_is_compared_with_the_best_score(found):
    told = ranking.describe(found)["behind"]
    with_pool = [one for one in found if "pool" in one.calibrated]
    ahead = [
        one.title
        for one in with_pool
        if max(s.average_precision for s in one.calibrated.values())
        > one.calibrated["pool"].average_precision
    ]
    assert told["num_cases"] == len(with_pool)
    assert len(told["cases"]) == len(ahead)


def test_the_section_says_what_was_found(found):
    template = ranking_cases.Path(ranking.__file__).with_name("ranking.md.jinja")
    text = report.render(template, num_splits=2, ranking=ranking.describe(found))
    for one in found:
        assert f"| {one.title}, {one.num_models} |" in text
    assert "nan" not in text
