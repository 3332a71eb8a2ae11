"""Functions of a few numbers run on the host and compile nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import calib_jax as cj

pytestmark = pytest.mark.once

_compiled: list[str] = []


def _listen(event, duration, *, fun_name="", **_):
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(fun_name)


jax.monitoring.register_event_duration_secs_listener(_listen)


def curve(num_bins=11):
    """A curve as `cascade_curve` gives it; no other test has one of this size."""
    rng = np.random.default_rng(num_bins)
    accuracy = np.float32(0.7 + 0.2 * np.cumsum(rng.random(num_bins + 1))[::-1] / 9)
    share = np.linspace(0, 1, num_bins + 1, dtype=np.float32) ** 2
    return cj.CascadeCurve(
        small_share=jnp.asarray(share),
        accuracy=jnp.asarray(accuracy),
        small_accuracy=jnp.asarray(accuracy[-1]),
        large_accuracy=jnp.asarray(accuracy[0]),
        gain=jnp.asarray(accuracy - accuracy[-1]),
    )


OF_CURVE = {
    "pgr": cj.performance_gap_recovered,
    "apgr": cj.average_performance_gap_recovered,
    "random": cj.random_curve,
    "threshold": lambda c: cj.call_performance_threshold(c, 0.61),
    "not reached": lambda c: cj.call_performance_threshold(c, 1.0),
    "accuracy": lambda c: cj.choose_num_small_bins(c, min_accuracy=c.accuracy[3]),
    "budget": lambda c: cj.choose_num_small_bins(c, max_large_share=0.3),
    "both": lambda c: cj.choose_num_small_bins(
        c, min_accuracy=0.72, max_large_share=0.3
    ),
    "best": cj.choose_num_small_bins,
}
PLANS = {
    "clopper_pearson": lambda: cj.stats.clopper_pearson(7, 31),
    "binomial": lambda: cj.stats.binomial_p_value(7, 31, 0.4),
    "hoeffding": lambda: cj.stats.hoeffding_bentkus_p_value(7.5, 31, 0.4),
    "audit_size": lambda: cj.cleaning.audit_size(0.8, 0.95),
    "audit_bounds": lambda: cj.cleaning.audit_bounds(7, 31, num_flagged=80),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_compile_nothing(name):
    before = len(_compiled)
    PLANS[name]()
    assert _compiled[before:] == []


@pytest.mark.parametrize("name", OF_CURVE)
def test_readings_of_a_curve_compile_nothing_and_are_those_of_jit(name):
    given, function = curve(), OF_CURVE[name]
    if name == "accuracy":
        # Indexing an array of JAX is a program of JAX's own.
        given.accuracy[3].block_until_ready()
    before = len(_compiled)
    found = function(given)
    assert _compiled[before:] == []
    expected = jax.jit(function)(given)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for got, wanted in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        assert isinstance(got, jax.Array) and not got.weak_type
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)


def test_equal_and_unknown_accuracies():
    """No gap is NaN, a gain that is the gap exactly 1, and NaN stays NaN."""
    same = jax.tree.map(jnp.zeros_like, curve())
    assert np.isnan(cj.average_performance_gap_recovered(same))
    assert cj.performance_gap_recovered(curve())[0] == 1
    unknown = jax.tree.map(lambda leaf: leaf * jnp.nan, curve())
    chosen = cj.choose_num_small_bins(unknown, min_accuracy=0.5)
    assert not chosen.feasible and chosen.num_small_bins == 0
    chosen = cj.choose_num_small_bins(unknown, max_large_share=0.5)
    assert not chosen.feasible and chosen.num_small_bins == 11


def test_results_are_copies_where_the_arguments_are():
    made = jax.tree.map(np.array, curve())
    found = cj.random_curve(made)
    share = np.array(found.small_share)
    made.small_share[:] = 7.0
    np.testing.assert_array_equal(found.small_share, share)
    device = jax.devices()[-1]
    there = jax.device_put(curve(), device)
    assert cj.average_performance_gap_recovered(there).devices() == {device}
    assert cj.average_performance_gap_recovered(there).committed
    assert not cj.average_performance_gap_recovered(curve()).committed


def test_values_of_a_device_outside_their_domain_are_unknown():
    found = cj.call_performance_threshold(curve(), jnp.float32(1.5))
    assert np.isnan(found)
    with pytest.raises(ValueError, match="target: expected a number in"):
        cj.call_performance_threshold(curve(), 1.5)
    for arguments in (
        (jnp.float32(-1.0), 9, 0.5),
        (1.0, jnp.int32(-9), 0.5),
        (1.0, 9, jnp.float32(1.5)),
    ):
        assert np.isnan(cj.stats.hoeffding_bentkus_p_value(*arguments))


def test_hoeffding_bentkus_on_the_host_is_that_of_jit():
    rng = np.random.default_rng(0)
    in_jit = jax.jit(cj.stats.hoeffding_bentkus_p_value)
    edges = [(0.0, 0, 0.5), (0.0, 9, 0.0), (9.0, 9, 1.0), (3.0, 9, 1.0), (12.0, 9, 0.3)]
    for _ in range(50):
        rows = int(10 ** rng.uniform(0, 6))
        edges.append((rng.uniform(0, rows) ** rng.random(), rows, rng.random()))
    for total, rows, most in edges:
        found = cj.stats.hoeffding_bentkus_p_value(total, rows, most)
        expected = in_jit(np.float32(total), np.int32(rows), np.float32(most))
        assert isinstance(found, jax.Array) and found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-30)
