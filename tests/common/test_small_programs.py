"""Plain calls on few rows: padded to a size bucket, and what never is."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax.sharding import NamedSharding, PartitionSpec
from registry import assert_same, cases, example, spoil

import calib_jax as cj
from calib_jax._core import small_programs
from calib_jax._core.small_programs import Passes

pytestmark = pytest.mark.once

# On both sides of sizes after padding: 16, 32, ..., 512, 576.
ROW = [small_programs.RowArgument.parse("scores")]
SIZES = [1, 15, 16, 17, 63, 64, 65, 257, 513, 520, 521]
OF_ROWS = [case for case in registry.CASES if case.rows and not case.host]

_compiled = []


def _listen(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(event)


jax.monitoring.register_event_duration_secs_listener(_listen)


def num_compiled():
    """How many programs XLA has compiled, those of single operations too."""
    return len(_compiled)


def unpadded(monkeypatch):
    monkeypatch.setattr(
        small_programs, "pad", lambda given, leaves, rows, passes: (given, None)
    )


def test_sizes_after_padding():
    sizes = [small_programs.bucket(n) for n in range(1, 2**15 + 1)]
    assert sizes[:1] == [16] and sizes[-1] == 2**15
    ratio = np.array(sizes) / np.arange(1, 2**15 + 1)
    assert ratio.min() == 1 and ratio[16:].max() < 2 and ratio[512:].max() < 1.125
    powers = {16, 32, 64, 128, 256, 512}
    assert set(sizes) == powers | {
        2**k // 8 * j for k in range(9, 15) for j in range(9, 17)
    }


def masked(case, arguments, num_rows):
    """Arguments with rows that `where` removes and that hold garbage."""
    removed = np.arange(num_rows) % 4 == 1
    dirty = {
        name: spoil(arguments[name], np.flatnonzero(removed), axis)
        for name, axis in case.rows.items()
    }
    return {**arguments, **dirty, "where": ~removed}


@cases([case for case in OF_ROWS if not case.again])
def test_padded_as_not_padded(case, monkeypatch):
    """Every function, with rows that are masked where it takes a mask."""
    arguments = example(case, 19)
    if case.where and case.masked is None:
        arguments = masked(case, arguments, 19)
    found = case(**arguments)
    unpadded(monkeypatch)
    assert_same(found, case(**arguments), exact=False, rtol=2e-6)


def rows_of(size, seed=0):
    rng = np.random.default_rng([size, seed])
    logits, labels = registry.class_rows(rng, size)
    scores, other = (registry.tied(rng, size) for _ in range(2))
    right, by_large = rng.random(size) < scores, rng.random(size) < 0.8
    keep = np.arange(size) % 5 != 2
    scores, right = np.where(keep, scores, np.nan), right.astype(float)
    right[~keep] = np.nan
    weights = np.where(keep, rng.integers(0, 4, size), -1.0)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    logits, probabilities = (
        np.where(keep[:, None], x, np.nan) for x in (logits, probabilities)
    )
    return {
        "logits": logits,
        "probabilities": probabilities,
        "labels": labels,
        "scores": scores,
        "right": right,
        "other": other,
        "by_large": by_large,
        "keep": keep,
        "weights": weights,
    }


def exact_results(rows, router):
    """From sums of integers, or row by row: bit for bit the same."""
    where, weights = {"where": rows["keep"]}, {"weights": rows["weights"]}
    pair = rows["scores"], rows["right"]
    both = rows["scores"], rows["other"]
    models = router, rows["scores"], rows["right"], rows["by_large"]
    confidences = [rows["scores"], rows["other"]]
    outcomes = [rows["right"], rows["by_large"].astype(float)]
    return {
        "error": cj.expected_calibration_error(*pair, **where),
        "table": cj.reliability_table(router.bins, *pair, **where, **weights),
        "bins": cj.equal_count_bins(rows["scores"], **where),
        "histogram": cj.fit_histogram(*pair, **where, num_bins=4)[0],
        "router": cj.fit_router(*both, **where, **weights),
        "curve": cj.cascade_curve(*models, **where, **weights),
        "experts": cj.fit_expert_bins(confidences, outcomes, **where),
        "issues": cj.confident_learning(rows["probabilities"], rows["labels"], **where),
        "best": cj.top1(rows["logits"], 1.5),
        "best of some": cj.top1(rows["logits"], class_where=rows["logits"] > 0),
    }


def rounded_results(rows):
    """From sums of floats, whose order depends on the number of rows."""
    where, weights = {"where": rows["keep"]}, {"weights": rows["weights"]}
    pair = rows["scores"], rows["right"]
    logits = rows["logits"], rows["labels"]
    return {
        "loss": cj.brier_score(*pair, **where, **weights),
        "area": cj.area_under_roc(*pair, **where, **weights),
        "temperature": cj.fit_temperature(*logits, **where, **weights)[0],
        "platt": cj.fit_platt(*pair, **where, **weights)[0],
        "softmax": cj.scaled_softmax(rows["logits"], 1.5),
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.filterwarnings("ignore::calib_jax.calibration.ConvergenceWarning")
def test_padded_as_under_jit(size):
    """Padded plain calls give what the general program gives for the exact size."""
    rows = rows_of(size)
    rng = np.random.default_rng(size)
    router = cj.fit_router(rng.random(99), rng.random(99), num_bins=5)
    # Quick to compile; in one size, the program with every optimisation.
    options = small_programs.options([1.0], ROW, Passes.ONE) if size != 65 else ()
    jit = functools.partial(jax.jit, compiler_options=dict(options))
    found = exact_results(rows, router)
    expected = jit(exact_results)(rows, router)
    for name in found:
        assert_same(found[name], expected[name], exact=True)
    if size not in (15, 65, 521):
        return
    found, expected = rounded_results(rows), jit(rounded_results)(rows)
    for name in found:
        assert_same(found[name], expected[name], exact=False, rtol=1e-5)


def test_group_sizes_share_programs():
    """20 groups of other sizes: a program for each function and size after padding."""
    sizes = np.random.default_rng(0).permutation(np.linspace(100, 500, 20).astype(int))
    buckets = {small_programs.bucket(int(size)) for size in sizes}
    assert len(buckets) == 3

    def measure(rows):
        logits, keep = rows["logits"], {"where": rows["keep"]}
        params, _ = cj.fit_temperature(logits, rows["labels"], **keep)
        best = cj.top1(logits, params)
        right = np.asarray(best.prediction) == rows["labels"]
        return cj.expected_calibration_error(best.confidence, right, **keep)

    jax.clear_caches()
    before = num_compiled()
    for size in sizes:
        measure(rows_of(size, seed=1))
    assert num_compiled() - before == 3 * len(buckets)
    for size in sizes[::-1]:
        measure(rows_of(size, seed=2))
    assert num_compiled() - before == 3 * len(buckets)


def service():
    """Functions that a service calls with batches of any size."""
    rng = np.random.default_rng(0)
    scores, other = rng.random(100), rng.random(100)
    router = cj.fit_router(scores, other)
    histogram, _ = cj.fit_histogram(scores, scores > other)
    chain = cj.cascade.fit_chain([scores, other])
    experts = cj.fit_expert_bins([scores, other], [scores > other] * 2)
    temperature = cj.Temperature(temperature=np.float32(1.5))

    def answers(rows):
        guesses = np.stack([rows["labels"], rows["labels"] + 1])
        return guesses, [rows["other"]] * 2, rows["labels"]

    return {
        "calibrate": lambda rows: cj.calibrate(temperature, rows["logits"]),
        "calibrate-platt": lambda rows: cj.calibrate(
            cj.Platt(slope=2.0, intercept=0.5), rows["other"]
        ),
        "calibrate-histogram": lambda rows: cj.calibrate(histogram, rows["other"]),
        "top1": lambda rows: cj.top1(rows["logits"], temperature),
        "choice_logits": lambda rows: cj.choice_logits(rows["logits"], [1, 2]),
        "log_odds": lambda rows: cj.log_odds(rows["other"]),
        "bin_index": lambda rows: cj.bin_index(router.bins, rows["other"]),
        "use_small": lambda rows: cj.use_small(router, rows["other"], 4),
        "chain_answers": lambda rows: cj.cascade.chain_answers(
            chain, [rows["other"]] * 2, [3]
        ),
        "top1_disagreement": lambda rows: cj.top1_disagreement(
            answers(rows)[0], rows["labels"]
        ),
        "high_confidence_disagreement": lambda rows: cj.high_confidence_disagreement(
            experts, *answers(rows), 3
        ),
        "label_issue_score": lambda rows: cj.cleaning.label_issue_score(*answers(rows)),
        "suggest_labels": lambda rows: cj.suggest_labels(*answers(rows), rows["keep"]),
        "repair_labels": lambda rows: cj.repair_labels(
            rows["labels"], rows["keep"], rows["labels"]
        ),
        "expected_calibration_error": lambda rows: cj.expected_calibration_error(
            rows["other"], rows["by_large"]
        ),
        "likelihood_scores": lambda rows: cj.confidence.likelihood_scores(
            np.minimum(rows["logits"], 0.0), where=~np.isnan(rows["logits"])
        ),
    }


@pytest.mark.parametrize("name", service())
def test_batches_share_programs(name):
    """One program for batches of 1 to 16, and one for each power of two from there."""
    function = service()[name]
    batches = [rows_of(size) for size in range(1, 65)]
    jax.block_until_ready(function(batches[0]))
    jax.clear_caches()
    before = num_compiled()
    results = [jax.block_until_ready(function(rows)) for rows in batches]
    assert num_compiled() - before == 3
    for rows in batches[::7]:
        jax.block_until_ready(function(rows))
    assert num_compiled() - before == 3
    for size, result in enumerate(results, 1):
        for leaf in jax.tree.leaves(result):
            assert leaf.shape[:1] in ((), (size,))


def test_a_batch_of_a_cascade_that_defers():
    """Rows added are never sent to the large model."""
    router = cj.fit_router([0.6, 0.9], [0.9, 0.9], num_bins=2)
    one = cj.Temperature(temperature=np.float32(1))
    x = np.linspace(-2, 2, 21, dtype=np.float32)

    def answer(x):
        return cj.defer(
            lambda x: jnp.stack([x, -x], axis=1),
            lambda x: jnp.stack([x + 3, -x], axis=1),
            x,
            small_params=one,
            large_params=one,
            router=router,
            num_small_bins=1,
            capacity=15,
        )

    assert_same(answer(x), jax.jit(answer)(x), exact=True)


def test_threads():
    scores = np.random.default_rng(0).random(40).astype(np.float32)
    expected = np.asarray(cj.log_odds(scores))
    found = {}

    def work(size):
        found[size] = np.asarray(cj.log_odds(scores[:size]))

    jax.clear_caches()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for size in range(1, 41):
        np.testing.assert_array_equal(found[size], expected[:size])


@pytest.mark.parametrize("size", [16, 50, 60_000])
def test_a_buffer_may_be_reused(size):
    """Overwritten at once, while the program of the first values may still run."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(size, 10)).astype(np.float32)
    labels = rng.integers(0, 10, size).astype(np.int32)
    expected = cj.fit_temperature(logits, labels)[0].temperature, cj.top1(logits)
    given = logits.copy(), labels.copy()
    best = cj.top1(given[0])
    params, _ = cj.fit_temperature(*given)
    given[0][:], given[1][:] = np.nan, 0
    assert_same((params.temperature, best), expected, exact=True)
    np.testing.assert_array_equal(np.isnan(given[0]), True)


def test_committed_arrays_stay_where_they_are():
    device = jax.devices()[-1]
    logits = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    given = jax.device_put(logits, device)
    before = registry.num_compiled()
    found = cj.top1(given)
    # Of its own size: not padded.
    cj.top1(jax.device_put(logits[:49], device))
    assert registry.num_compiled() == before + 2
    assert found.confidence.committed and found.confidence.devices() == {device}
    assert_same(found, cj.top1(logits), exact=True)
    assert not cj.top1(logits).confidence.committed


def test_sharded_arrays_stay_where_they_are():
    mesh = jax.make_mesh((8,), ("rows",))
    sharding = NamedSharding(mesh, PartitionSpec("rows"))
    logits = np.random.default_rng(0).normal(size=(40, 10)).astype(np.float32)
    given = jax.device_put(logits, sharding)
    rows = [small_programs.RowArgument.parse("logits N C")]
    padded = small_programs.pad({"logits": given}, [given], rows, Passes.ONE)
    assert padded == ({"logits": given}, None)
    assert not small_programs.is_plain([given])
    found = cj.scaled_softmax(given)
    assert found.sharding.is_equivalent_to(sharding, 2)
    assert_same(found, cj.scaled_softmax(logits), exact=False)


def test_large_arrays_are_not_padded():
    rows = [small_programs.RowArgument.parse(text) for text in ("x N ... C", "where")]

    def size(*shape, passes=Passes.ONE):
        x = np.zeros(shape, bool)
        given = {"x": x, "where": None}
        given, num_rows = small_programs.pad(given, [x], rows, passes)
        assert (num_rows is None) == (given["where"] is None)
        return given["x"].shape[0]

    assert size(513, 2) == size(513, 2, 3) == 576
    assert size(0, 2) == 0 and size(3) == 3
    assert size(2**15 - 1, 1) == 2**15 and size(2**15 + 1, 1) == 2**15 + 1
    most = 2**18 // 16
    assert size(15, most + 1) == 16 and size(17, most) == 17
    assert (
        size(17, most, passes=Passes.FEW) == 32
        and size(17, 2 * most, passes=Passes.FEW) == 17
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float32, np.float64])
def test_no_nan_comes_from_the_rows_added(dtype):
    """JAX's check for NaN passes, in any dtype."""
    rng = np.random.default_rng(0)
    scores = rng.random(21).astype(dtype)
    probabilities = np.stack([scores, 1 - scores], axis=1)
    noise = [[0.9, 0.1], [0.2, 0.8]]
    with jax.debug_nans(True), jax.debug_infs(True):
        cj.log_odds(scores)
        cj.top1(probabilities)
        cj.scaled_softmax(probabilities)
        cj.cleaning.true_label_probabilities(probabilities, noise)


def test_options_follow_the_device_and_the_size():
    few, many = np.zeros(100), np.zeros((2**9, 2**10 + 1))

    def options(array, passes=Passes.ONE, rows=ROW):
        return small_programs.options([array, 1.0], rows, passes)

    lightest, light = options(few), options(few, Passes.MANY)
    assert set(light) < set(lightest)
    assert options(many) == options(few, Passes.ALL_OPTIMISED) == ()
    assert options(np.zeros(2**9 + 1), Passes.FEW) == light
    assert options(many[:, 2:]) == light
    assert options(np.zeros(2**14 + 1)) == ()
    assert options(np.zeros((30, 1000))) == light
    assert options(np.zeros((30, 1000)), rows=[]) == lightest
    assert small_programs.accepted(lightest) == dict(lightest)
    assert small_programs.accepted((("xla_no_such_option", 1), *light)) == dict(light)
    assert small_programs.accepted(()) is None
    device = jax.devices()[-1]
    with jax.default_device(device):
        assert options(few, Passes.FEW) == lightest
        assert cj.log_odds([0.5]).devices() == {device}


def test_transfers_are_explicit():
    """Arrays of a device are padded on the host, and go back when told to."""
    scores = jnp.asarray(np.random.default_rng(0).random(21), jnp.float32)
    right, logits = scores > 0.5, jnp.stack([scores, 1 - scores], axis=1)
    expected = cj.expected_calibration_error(scores, right)
    with jax.transfer_guard("disallow"):
        found = cj.expected_calibration_error(scores, right)
        top = cj.top1(logits)
        params, _ = cj.fit_platt(scores, right)
    assert found == expected and top.confidence.shape == (21,) and params.slope > 0


def test_keys_whose_words_depend_on_the_number_of_rows():
    """They are drawn for the rows as they are, as under jit."""
    rng = np.random.default_rng(0)
    scores = np.float32(rng.random(300))
    right, bins = rng.random(300) < scores, cj.equal_width_bins(5)
    key = jax.random.key(0, impl="rbg")

    def null_error(scores):
        return cj.calibration_error_interval(
            key, bins, scores, right, num_resamples=100
        ).null_error

    np.testing.assert_allclose(
        null_error(scores), jax.jit(null_error)(scores), rtol=1e-6
    )
