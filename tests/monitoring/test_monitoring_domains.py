"""Values outside [0, 1] where drift and accuracy on new rows are measured.

A wrong value raises for arrays of the host, and is NaN in those of a device.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

SIZE, BAD = 24, 5
RNG = np.random.default_rng(0)
CONFIDENCE = np.float32(RNG.permutation(SIZE) / SIZE)
RIGHT = RNG.random(SIZE) < CONFIDENCE
ROUTER = cj.fit_router(CONFIDENCE, 0.5 + 0.5 * CONFIDENCE, num_bins=2)
BEFORE = {
    "reference_confidence": CONFIDENCE,
    "reference_small_outcome": np.float32(RIGHT),
    "reference_large_outcome": np.float32(RIGHT),
}
AFTER = {"small_confidence": CONFIDENCE, "large_confidence": CONFIDENCE}
FUNCTIONS = {
    "estimated_accuracy": (
        functools.partial(cj.monitoring.estimated_accuracy, ROUTER),
        BEFORE,
        AFTER,
        # The large model may be unknown where it was not asked.
        lambda found: found.by_confidence.estimate[0] + found.by_bins.estimate[0],
    ),
    "calibration_drift": (
        functools.partial(
            cj.monitoring.calibration_drift,
            jax.random.key(0),
            ROUTER.bins,
            reference_outcomes=RIGHT,
            outcomes=RIGHT,
            num_resamples=9,
        ),
        {"reference_scores": CONFIDENCE},
        {"scores": CONFIDENCE},
        lambda found: found.p_value,
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_rows(function):
    call, before, after, read = FUNCTIONS[function]
    rows, some = before | after, np.arange(SIZE) != BAD
    every = {"reference_where": some | True, "where": some | True}
    for name in rows:
        wrong = np.where(some, rows[name], 7.0).astype(np.float32)
        with pytest.raises(
            ValueError, match=rf"{name}: .*in \[0, 1\], row {BAD} holds 7"
        ):
            call(**rows | {name: wrong}, **every)
        found = call(**rows | {name: jnp.asarray(wrong)}, **every)
        if name == "large_confidence":
            assert np.isnan(found.by_confidence.estimate[0])
            assert np.isfinite(found.by_bins.estimate).all()
        else:
            assert np.isnan(read(found))
        # Each sample has its own mask; a row that is removed may hold anything.
        mask = "reference_where" if name in before else "where"
        masks = every | {mask: some}
        same, clean = (
            call(**rows | {name: part}, **masks) for part in (wrong, rows[name])
        )
        jax.tree.map(np.testing.assert_array_equal, same, clean)


def test_other_scores_may_drift():
    """Bins, ranks and shares do not need confidences."""
    scores = 100 * CONFIDENCE - 50
    bins = cj.equal_count_bins(scores, 2)
    found = cj.monitoring.occupancy_drift(
        jax.random.key(0), bins, scores, scores, num_resamples=9
    )
    assert found.stability_index == 0 and found.p_value == 1
    with pytest.raises(ValueError, match=r"bins.edges: .*got float32\[3, 1\]"):
        cj.monitoring.occupancy_drift(
            jax.random.key(0),
            jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), bins),
            scores,
            scores,
        )


def test_several_monitors_are_not_one():
    monitor = cj.monitoring.init_monitor(jax.random.key(0), CONFIDENCE, num_bins=2)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), monitor)
    for read in (
        cj.monitoring.read_monitor,
        lambda state: cj.monitoring.update_monitor(
            jax.random.key(1), state, CONFIDENCE
        ),
    ):
        with pytest.raises(ValueError, match=r"state.edges: .*\[3, 1\].*jax.vmap"):
            read(several)
