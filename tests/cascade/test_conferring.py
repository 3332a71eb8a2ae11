"""Cascades whose models confer: the answer of the better one where both were asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import NAN, close, equal

import calib_jax as cj

pytestmark = pytest.mark.once

# Two bins of four rows, the second kept first. Where the models differ the arbiter is
# right in rows 0, 2, 4 and 6, and wrong in row 5.
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], np.float32)
SMALL = np.array([1, 0, 0, 0, 1, 1, 0, 1], bool)
LARGE = np.array([0, 0, 1, 0, 0, 0, 1, 1], bool)
CONFERRED = np.array([1, 0, 1, 0, 1, 0, 1, 1], bool)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def router():
    bins = cj.equal_width_bins(2)
    return cj.fit_router(SCORES, np.where(SCORES < 0.5, 0.9, 0.5), bins=bins)


def curve(router, **more):
    rows = SCORES, SMALL, LARGE
    return cj.cascade_curve(router, *rows, conferred_outcome=CONFERRED, **more)


def test_curve_of_models_that_confer(router):
    equal(router.order, [1, 0])
    found = curve(router)
    close(found.small_share, [0, 0.5, 1])
    close(found.accuracy, [5 / 8, 5 / 8, 4 / 8])
    close([found.small_accuracy, found.large_accuracy], [4 / 8, 3 / 8])
    close(found.gap, -1 / 8)
    # The ends are the two models alone: the cascade gains where the large one loses.
    close(cj.performance_gap_recovered(found), [-1, -1, 0])
    close(cj.average_performance_gap_recovered(found), -0.75)
    random = cj.random_curve(found)
    close(random.accuracy, [3 / 8, 3.5 / 8, 4 / 8])
    close(cj.average_performance_gap_recovered(random), 0.5)
    # The large model's accuracy is reached without a call.
    chosen = cj.choose_num_small_bins(found, min_accuracy=found.large_accuracy)
    equal(chosen.num_small_bins, 2)
    equal(cj.choose_num_small_bins(found).num_small_bins, 1)


def test_the_gap_is_recovered_by_fewer_calls(router):
    """The small model is right on 1/4, the large on 1/2, both together on 3/4."""
    small, large = np.arange(8) % 4 == 0, np.arange(8) % 4 > 1
    found = cj.cascade_curve(
        router, SCORES, small, large, conferred_outcome=small | large
    )
    close(found.accuracy, [0.75, 0.5, 0.25])
    close(cj.performance_gap_recovered(found), [2, 1, 0])
    close(cj.average_performance_gap_recovered(found), 1)
    close(cj.call_performance_threshold(found, 1.0), 0.5)
    chosen = cj.choose_num_small_bins(found, min_accuracy=found.large_accuracy)
    equal(chosen.num_small_bins, 1)


def test_curve_with_weights_masks_and_partial_credit(router):
    rng = np.random.default_rng(0)
    small, large, answer = rng.random((3, 8)).astype(np.float32)
    weights, where = rng.random(8).astype(np.float32), np.arange(8) != 3
    masked = np.where(where, answer, NAN)
    found = cj.cascade_curve(
        router,
        SCORES,
        small,
        large,
        conferred_outcome=masked,
        where=where,
        weights=weights,
    )
    w = np.where(where, weights, 0).astype(float)
    kept = np.array([SCORES > 1, SCORES > 0.5, SCORES > 0])
    close(found.accuracy, np.where(kept, small, answer) @ w / w.sum(), rtol=1e-6)
    close(found.large_accuracy, large @ w / w.sum(), rtol=1e-6)
    close(found.gap, (large - small) @ w / w.sum(), rtol=1e-6)
    close(found.gain, (~kept * (answer - small)) @ w / w.sum(), rtol=1e-6)


def test_the_large_answer_as_the_conferred_one_changes_nothing(router):
    rows = router, SCORES, SMALL, LARGE
    plain, same = (
        cj.cascade_curve(*rows, conferred_outcome=given) for given in (None, LARGE)
    )
    assert plain.gap is None and same.gap == plain.gain[0]
    for name in ("small_share", "accuracy", "large_accuracy", "gain"):
        equal(getattr(same, name), getattr(plain, name))
    equal(*map(cj.performance_gap_recovered, (plain, same)))


def test_derivatives_of_a_curve(router):
    """By the weight of a row: exact sums alone would have none."""

    def read(weights):
        found = curve(router, weights=weights)
        return jnp.stack([found.accuracy[1], found.large_accuracy, found.gap])

    found = jax.jacobian(read)(jnp.ones(8))
    answer = np.where(SCORES > 0.5, SMALL, CONFERRED) / 1.0
    expected = [(x - x.mean()) / 8 for x in (answer, LARGE / 1, LARGE / 1 - SMALL)]
    close(found, expected, rtol=1e-5, atol=1e-6)


def test_conferred_outcomes_are_checked_like_the_others(router):
    rows = router, SCORES, SMALL, LARGE
    with pytest.raises(ValueError, match=r"conferred_outcome: .* row 2 holds 3"):
        cj.cascade_curve(*rows, conferred_outcome=np.array([0, 1, 3, 0, 1, 0, 1, 0.0]))
    with pytest.raises(ValueError, match=r"conferred_outcome"):
        cj.cascade_curve(*rows, conferred_outcome=CONFERRED[:4])
    broken = np.where(np.arange(8) == 2, NAN, 1.0)
    assert np.isnan(cj.cascade_curve(*rows, conferred_outcome=broken).accuracy).all()


def test_a_curve_is_saved_with_its_gap(router, tmp_path):
    found = curve(router)
    cj.save(tmp_path / "curve.json", found)
    equal(cj.load(tmp_path / "curve.json").gap, found.gap)
