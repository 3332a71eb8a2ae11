"""Fits of streams against float64 and the fits of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import registry
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from test_real_data import load_scores, log

import calib_jax as cj

# The registry runs the same functions in 64-bit mode.
pytestmark = pytest.mark.once

SIZE, NUM_CLASSES = 200, 4
COARSE = np.linspace(-3, 3, 25)


def batches(*arrays, size=SIZE):
    """Batches of one size; the last is padded with masked garbage."""
    for start in range(0, len(arrays[0]), size):
        parts = [array[start : start + size] for array in arrays]
        missing = size - len(parts[0])
        mask = np.arange(size) < len(parts[0])
        for number, part in enumerate(parts):
            filled = np.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1))
            parts[number] = registry.spoil(filled, np.flatnonzero(~mask), 0)
        yield *parts, mask


def stream(state, *arrays, size=SIZE, **more):
    temperature = isinstance(state, cj.streaming.TemperatureSummary)
    update = (
        cj.streaming.update_temperature if temperature else cj.streaming.update_platt
    )
    for *parts, mask in batches(*arrays, size=size):
        state = update(state, *parts, where=mask, **more)
    return state


def same(first, second):
    return jax.tree.all(
        jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), first, second)
    )


def relative(actual, expected):
    return np.max(np.abs(np.asarray(actual, float) / np.asarray(expected) - 1))


def class_rows(num_rows=950, seed=0):
    logits, labels = registry.class_rows(np.random.default_rng(seed), num_rows)
    return logits.astype(np.float32), labels


def scored(kind, num_rows=950, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=num_rows)
    scores = {
        "mean logits": 25 + 2 * x,
        "log-likelihoods": -1000 * rng.random(num_rows),
        "confidences": 1 / (1 + np.exp(-2 * x - 2)),
        "tied": np.round(2 * x) / 2,
        "heavy tails": np.sinh(3 * x),
    }[kind].astype(np.float32)
    x = (scores - np.median(scores)) / np.subtract(*np.percentile(scores, [75, 25]))
    outcomes = rng.random(num_rows) < 1 / (1 + np.exp(-np.clip(1.5 * x, -9, 9) - 0.4))
    return scores, np.where(rng.random(num_rows) < 0.1, 0.3, outcomes)


def test_temperature():
    logits, labels = class_rows()
    state = stream(cj.streaming.init_temperature(COARSE), logits, labels)
    params, fit = cj.streaming.fit_temperature(state)
    exact = reference.fit_temperature(logits, labels)
    error = relative(params.temperature, exact)
    # The points have the spacing of the default grid.
    assert error < 6e-5
    assert error < fit.estimated_error < 20 * error + 2e-6
    assert fit.lower < exact < fit.upper
    assert fit.converged and fit.status == cj.FitStatus.CONVERGED
    likely = reference.softmax(logits, exact)[np.arange(len(labels)), labels]
    np.testing.assert_allclose(fit.loss, -np.mean(np.log(likely)), rtol=1e-6)


def test_temperature_of_weighted_rows_and_some_classes():
    rng = np.random.default_rng(1)
    logits, labels = class_rows(SIZE)
    weights = rng.integers(0, 4, SIZE).astype(np.float32)
    classes = np.array([True, True, False, True])
    keep = (labels != 2) & (weights > 0)
    dirty = registry.spoil(logits, np.flatnonzero(~keep), 0)
    dirty[:, 2] = np.nan
    exact = reference.fit_temperature(
        logits[keep], labels[keep], weights=weights[keep], class_where=classes
    )
    for scale in (1.0, 1e30):
        state = cj.streaming.init_temperature(COARSE)
        state = cj.streaming.update_temperature(
            state,
            dirty,
            labels,
            where=keep,
            weights=scale * weights,
            class_where=classes,
        )
        params, fit = cj.streaming.fit_temperature(state)
        assert relative(params.temperature, exact) < 1e-4
        assert fit.lower < exact < fit.upper


FACTS = {
    "right": (4 * np.eye(NUM_CLASSES), np.arange(4)),
    "worse than chance": (4 * np.eye(NUM_CLASSES), (np.arange(4) + 1) % 4),
    "constant": (np.ones((4, 4)), np.arange(4)),
    "no such label": (np.eye(NUM_CLASSES), np.array([0, 1, 2, 4])),
    "not a number": (np.eye(NUM_CLASSES) * np.nan, np.arange(4)),
    "no rows": (np.zeros((0, 4)), np.zeros(0, int)),
}


@pytest.mark.parametrize("fact", FACTS)
def test_temperature_statuses(fact):
    logits, labels = FACTS[fact]
    logits = logits.astype(np.float32)
    state = stream(cj.streaming.init_temperature(COARSE), logits, labels)
    params, fit = cj.streaming.fit_temperature(state)
    filled = np.zeros((SIZE, NUM_CLASSES), np.float32), np.zeros(SIZE, int)
    filled[0][: len(labels)], filled[1][: len(labels)] = logits, labels
    mask = np.arange(SIZE) < len(labels)
    expected, report = cj.fit_temperature(*filled, where=mask)
    assert fit.status == report.status
    assert params.temperature == expected.temperature
    assert not fit.converged and np.isinf(fit.estimated_error) and np.isnan(fit.loss)
    assert fit.lower <= params.temperature <= fit.upper


def test_an_optimum_outside_the_grid():
    logits, labels = class_rows()
    exact = reference.fit_temperature(logits, labels)
    for shift, end in ((-4, -1), (4, 0)):
        state = stream(cj.streaming.init_temperature(COARSE + shift), logits, labels)
        params, fit = cj.streaming.fit_temperature(state)
        assert not fit.converged and fit.status == cj.FitStatus.MAX_STEPS
        grid_end = np.exp(state.log_temperatures[end])
        np.testing.assert_allclose(params.temperature, grid_end, rtol=1e-6)
        assert fit.lower <= exact <= fit.upper
    both = cj.streaming.merge(
        state, stream(cj.streaming.init_temperature(COARSE), logits, labels)
    )
    params, fit = cj.streaming.fit_temperature(both)
    assert fit.status == cj.FitStatus.INVALID_VALUES and params.temperature == 1


def test_merging_is_associative():
    first, second = scored("tied"), class_rows()
    rng, pair = np.random.default_rng(1), cj.streaming.init_cascade()
    states = [
        [stream(cj.streaming.init_temperature(COARSE), *(x[k::3] for x in second))]
        + [cj.streaming.update_cascade(pair, *rng.random((4, SIZE)))]
        + [stream(cj.streaming.init_platt(), *(x[k::3] for x in first))]
        for k in range(3)
    ]
    for a, b, c in zip(*states, strict=True):
        left = cj.streaming.merge(cj.streaming.merge(a, b), c)
        assert same(left, cj.streaming.merge(b, cj.streaming.merge(c, a)))
        # On devices, by integer sums.
        mesh = Mesh(jax.devices()[:3], "devices")
        spec = PartitionSpec("devices")
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), a, b, c)
        add = jax.shard_map(
            lambda state: cj.streaming.psum(
                jax.tree.map(lambda leaf: leaf[0], state), "devices"
            ),
            mesh=mesh,
            in_specs=spec,
            out_specs=PartitionSpec(),
            check_vma=False,
        )
        placed = jax.device_put(stacked, NamedSharding(mesh, spec))
        assert same(jax.jit(add)(placed), left)
    # The order and batching of scores do not matter either.
    order = np.random.default_rng(0).permutation(len(first[0]))
    whole = stream(cj.streaming.init_platt(), *(x[order] for x in first))
    assert same(whole, left)
    with pytest.raises(ValueError, match="second: expected 8192 buckets.*got 512"):
        cj.streaming.merge(left, cj.streaming.init_platt(512))
    with pytest.raises(ValueError, match="second: expected PlattSummary"):
        cj.streaming.merge(left, cj.streaming.init_temperature())


KINDS = ["mean logits", "log-likelihoods", "confidences", "tied", "heavy tails"]


@pytest.mark.parametrize("kind", KINDS)
def test_platt(kind):
    rows = scored(kind)
    params, fit = cj.streaming.fit_platt(stream(cj.streaming.init_platt(), *rows))
    exact = reference.fit_platt(*rows)
    assert relative([params.slope, params.intercept], exact) < 2e-4
    found = params.slope, params.intercept
    apart = reference.platt(found, rows[0]) - reference.platt(exact, rows[0])
    error = np.max(np.abs(apart))
    assert error < 6e-5 and error < 2 * fit.estimated_error + 1e-6
    if kind == "tied":
        assert relative(found, exact) < 1e-5


SIDES = {
    "separable": (np.arange(6.0), [0, 0, 0, 1, 1, 1]),
    "falling": (np.arange(6.0), [1, 1, 1, 0, 0, 0]),
    "separable within a bucket": (25 + np.arange(6.0) / 64, [0, 0, 0, 1, 1, 1]),
    "reversed": (np.arange(6.0), [1, 1, 0, 1, 0, 0]),
    "one class": (np.arange(6.0), [1, 1, 1, 1, 1, 1]),
    "constant": (np.full(6, 0.7), [0, 1, 1, 0, 1, 1]),
    "not a number": (np.array([0, 1, 2, 3, 4, np.nan]), [0, 1, 0, 1, 0, 1]),
    "no rows": (np.zeros(0), []),
}


@pytest.mark.parametrize("side", SIDES)
def test_platt_statuses(side):
    scores, outcomes = (np.array(x, np.float32) for x in SIDES[side])
    params, fit = cj.streaming.fit_platt(
        stream(cj.streaming.init_platt(), scores, outcomes)
    )
    filled = np.zeros((2, SIZE), np.float32)
    filled[:, : len(scores)] = scores, outcomes
    mask = np.arange(SIZE) < len(scores)
    expected, report = cj.fit_platt(*filled, where=mask)
    assert fit.status == report.status
    # Without a finite optimum the slope is at the end of its range for standardised
    # scores.
    np.testing.assert_allclose(
        [params.slope, params.intercept],
        [expected.slope, expected.intercept],
        rtol=1e-4,
    )
    assert np.isinf(fit.estimated_error) == (not report.converged)


def test_platt_of_weighted_rows():
    rng = np.random.default_rng(1)
    scores, outcomes = scored("confidences", SIZE)
    weights = rng.integers(0, 4, SIZE).astype(np.float32)
    weights[:9] = 1
    keep = np.arange(SIZE) >= 9
    dirty = registry.spoil(scores, np.flatnonzero(~keep | (weights == 0)), 0)
    exact = reference.fit_platt(scores, outcomes, keep, weights)
    for scale in (1.0, 1e30):
        state = cj.streaming.update_platt(
            cj.streaming.init_platt(),
            dirty,
            outcomes,
            where=keep,
            weights=scale * weights,
        )
        params, _ = cj.streaming.fit_platt(state)
        assert relative([params.slope, params.intercept], exact) < 2e-4
    bad = cj.streaming.update_platt(
        state, dirty, outcomes, where=keep, weights=-jnp.asarray(weights)
    )
    assert cj.streaming.fit_platt(bad)[1].status == cj.FitStatus.INVALID_VALUES


@pytest.mark.parametrize("size", [511, 256, 1000, 2**20])
def test_wrong_number_of_buckets(size):
    with pytest.raises(ValueError, match="num_buckets: expected .*got"):
        cj.streaming.init_platt(size)


def test_too_few_temperatures():
    with pytest.raises(
        ValueError, match="log_temperatures: expected at least 4, got 3"
    ):
        cj.streaming.init_temperature([0.0, 1.0, 2.0])


def test_sharded_rows():
    """Rows on 8 devices; for scores see test_sharding.py."""
    mesh = Mesh(jax.devices(), "rows")
    sharding = NamedSharding(mesh, PartitionSpec("rows"))
    place = lambda *arrays: [jax.device_put(x, sharding) for x in arrays]  # noqa: E731
    logits, labels = class_rows(SIZE)
    fits = [
        cj.streaming.fit_temperature(
            cj.streaming.update_temperature(
                cj.streaming.init_temperature(COARSE), *rows
            )
        )
        for rows in ((logits, labels), place(logits, labels.astype(np.int32)))
    ]
    temperatures = [params.temperature for params, _ in fits]
    np.testing.assert_allclose(*temperatures, rtol=1e-6)


def test_real_logits(data_folder, record_property):
    data = np.load(data_folder / "vision" / "cifar100.npz")
    rows = log(data["wideresnet_16_4_probs"]), data["label"].astype(np.int32)
    exact = reference.fit_temperature(*rows)
    for num_points, most in ((49, 6e-5), (97, 1e-6)):
        state = cj.streaming.init_temperature(np.linspace(-6, 6, num_points))
        params, fit = cj.streaming.fit_temperature(stream(state, *rows, size=2500))
        error = relative(params.temperature, exact)
        record_property(f"{num_points} points", float(error))
        assert error < most
        assert fit.lower < exact < fit.upper


@pytest.mark.parametrize(
    ("folder", "name"),
    [("language", "mmlu_llama_train"), ("language", "gsm8k_llama_train")]
    + [("vision", "imagenet")],
)
def test_real_scores(folder, name, data_folder, record_property):
    (scores, correct), _ = load_scores(data_folder, folder, name, None)
    for model, rows in enumerate(zip(scores, correct, strict=True)):
        rows = rows[0].astype(np.float32), rows[1]
        state = stream(cj.streaming.init_platt(), *rows, size=5000)
        params, _ = cj.streaming.fit_platt(state)
        exact = reference.fit_platt(*rows)
        error = relative([params.slope, params.intercept], exact)
        record_property(f"model {model}", float(error))
        assert error < 1e-4
