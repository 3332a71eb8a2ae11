"""Properties that every public function has, over the registry."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from registry import ROWS, assert_same, cases, example, leaves, spoil, take

import calib_jax as cj
from calib_jax._core import records

ALL = [case for case in registry.CASES if case.make is not None]
DEVICE = [case for case in ALL if not case.host]
OF_ROWS = [case for case in ALL if case.rows]
FEW = [case for case in ALL if not case.again]


def run(case, arguments):
    """The result, after checking its dtypes, the same with x64, and its records."""
    result = case(**arguments)
    if case.host:
        assert not any(isinstance(x, jax.Array) for x in jax.tree.leaves(result))
        return None
    for leaf in jax.tree.leaves(result):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype in (jnp.float32, jnp.int32, bool)
        # A weak type would make a function that takes the result trace again.
        assert not leaf.weak_type
    for part in jax.tree.leaves(result, is_leaf=records.is_record):
        if records.is_record(part):
            records.check("result", part)
    return result


def at(tree, index):
    """Entries of every array, by NumPy: JAX would compile a program to index."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def test_registry_is_complete():
    exported = {
        name
        for name, value in registry.public_names().items()
        if not isinstance(value, type) and name != "calibration.newton"
    }
    assert {case.name for case in registry.CASES} == exported


@cases(OF_ROWS)
@pytest.mark.once
def test_permutation(case):
    arguments = example(case)
    order = np.random.default_rng(1).permutation(ROWS)
    before, after = run(case, arguments), run(case, take(case, arguments, order))
    if case.host:
        return
    rows, whole = case.split(before)
    moved, same = case.split(after)
    assert_same(moved, at(rows, order), exact=True)
    assert_same(same, whole, exact=case.exact)


# 8 of 40 examples are masked and the weights of the others add up to 24, so the result
# it is compared with needs no other program.
PADDED = ROWS + 16


def without_counts(tree):
    """Without row counts, which tell a weight of 2 from two rows."""
    counted = dataclasses.is_dataclass(tree) and hasattr(tree, "count")
    return dataclasses.replace(tree, count=None) if counted else tree


@cases([c for c in ALL if c.where and c.masked is None and not c.again])
def test_masked_and_weighted(case):
    rng = np.random.default_rng(2)
    index = rng.permutation(PADDED)
    copies = np.zeros(PADDED, int)
    if not case.weights:
        copies[index[:ROWS]] = 1
        mask = {"where": copies > 0}
    elif not case.twice:
        copies[index[:ROWS]] = 1
    else:
        copies[index[:4]], copies[index[4:20]] = 2, 1
    if case.weights:
        where, weights = np.ones(PADDED, bool), copies.astype(float)
        where[index[-8:]] = False
        weights[index[-8:]] = np.resize([1.0, np.nan, np.inf, -1.0], 8)
        mask = {"where": where, "weights": weights}
    arguments = example(case, PADDED)
    removed = np.flatnonzero(copies == 0)
    dirty = {k: spoil(arguments[k], removed, axis) for k, axis in case.rows.items()}
    actual = run(case, {**arguments, **dirty, **mask})
    expected = run(case, take(case, arguments, np.repeat(np.arange(PADDED), copies)))
    if case.host:
        return
    rows, whole = case.split(actual)
    rows = at(rows, copies > 0)
    clean_rows, clean = case.split(expected)
    if copies.max() > 1:
        whole, clean = without_counts(whole), without_counts(clean)
    assert_same(rows, clean_rows, exact=True)
    assert_same(whole, clean, exact=case.exact)


@cases([case for case in ALL if case.masked])
def test_masked_tokens(case):
    arguments = example(case)
    size = registry.NUM_TOKENS
    dropped = np.array([1, size - 1])
    kept = np.setdiff1d(np.arange(size), dropped)
    dirty = {k: spoil(arguments[k], dropped, axis) for k, axis in case.masked.items()}
    where = np.broadcast_to(np.isin(np.arange(size), kept), (ROWS, size)).copy()
    where[3] = False
    actual = run(case, {**arguments, **dirty, "where": where})
    short = {k: np.take(arguments[k], kept, axis) for k, axis in case.masked.items()}
    expected = jax.tree.map(np.array, run(case, {**arguments, **short}))
    for leaf in jax.tree.leaves(expected):
        leaf[3] = np.nan if leaf.dtype.kind == "f" else 0
    assert_same(actual, expected, exact=False, rtol=1e-6)


OF_CLASSES = ("fit_vector", "fit_dirichlet", "fit_ensemble_temperature")
OF_CLASSES = tuple(f"calibration.{name}" for name in OF_CLASSES)
OVER_CLASSES = ("scaled_softmax", "top1", "fit_temperature", "calibrate-temperature")


@pytest.mark.parametrize("shape", ["[C]", "[N, C]"])
@cases([case for case in DEVICE if str(case) in OVER_CLASSES])
def test_masked_classes(case, shape):
    """Masked classes, whatever they hold, change nothing."""
    arguments = example(case)
    name = "x" if case.name == "calibrate" else "logits"
    logits, classes = arguments[name], registry.NUM_CLASSES
    wide = np.insert(logits, [1, classes], 0.0, axis=1)
    mask = np.ones(classes + 2, bool)
    mask[[1, classes + 1]] = False
    wide = spoil(wide, np.flatnonzero(~mask), 1)
    places = np.flatnonzero(mask)
    given = {**arguments, name: wide}
    if "labels" in given:
        given["labels"] = places[given["labels"]]
    given["class_where"] = mask if shape == "[C]" else np.tile(mask, (ROWS, 1))
    actual, expected = run(case, given), run(case, arguments)
    if case.name == "fit_temperature":
        actual, expected = case.split(actual), case.split(expected)
    elif case.name == "top1":
        np.testing.assert_array_equal(actual.prediction, places[expected.prediction])
        actual, expected = actual.confidence, expected.confidence
    else:
        np.testing.assert_array_equal(actual[:, ~mask], 0.0)
        actual = actual[:, mask]
    assert_same(actual, expected, exact=False, rtol=2e-6)


MONOTONE = {
    "affine": lambda s: 8 * s - 3,
    "cube": lambda s: s**3,
    "log": lambda s: np.log(s.astype(np.float32)),
    "negative": lambda s: -1 / s.astype(np.float32),
    "tiny": lambda s: s * 2.0**-110,
    "huge": lambda s: (s - 0.5) * 2.0**127,
}


@pytest.mark.parametrize("name", MONOTONE)
def test_monotone_maps_keep_bins(name):
    rng = np.random.default_rng(3)
    scores = rng.integers(1, 64, ROWS) / 64
    outcomes, errors = registry.partial(rng, ROWS), registry.partial(rng, ROWS)

    def membership(scores):
        bins = cj.equal_count_bins(scores, registry.NUM_BINS)
        params, _ = cj.fit_histogram(scores, outcomes, num_bins=registry.NUM_BINS)
        curve = cj.cleaning_curve(scores, errors)
        return {
            "index": cj.bin_index(bins, scores),
            "histogram": params.values,
            "calibrated": cj.calibrate(params, scores),
            "curve": (curve.flagged_share, curve.precision, curve.recall),
            "area": cj.area_under_roc(scores, outcomes),
        }

    mapped = membership(MONOTONE[name](scores))
    assert_same(mapped, membership(scores), exact=True)


def stack(*leaves):
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
        return jnp.stack(leaves)
    return np.stack(leaves)


@cases([case for case in FEW if not case.host])
@pytest.mark.once
def test_jit_of_vmap_is_loop(case):
    """The user's own jit of vmap over all arrays gives what single calls give."""
    batch = [example(case), example(case, seed=1)]
    function, _ = case.traced(batch[0])
    arrays = [case.traced(arguments)[1] for arguments in batch]
    if jax.tree.leaves(arrays[0]):
        together = jax.jit(jax.vmap(function))(jax.tree.map(stack, *arrays))
    else:
        together = at(jax.jit(function)(arrays[0]), None)
        batch = batch[:1]
    for number, arguments in enumerate(batch):
        expected = case(**arguments)
        actual = at(together, number)
        if case.name.startswith("fit_") and isinstance(expected, tuple):
            actual, expected = case.split(actual), case.split(expected)
        assert_same(actual, expected, exact=False)


def float32(x):
    return x.astype(np.float32) if x.dtype == float else x


REPRESENTATIONS = {
    "list": lambda x: x.tolist(),
    "float32": float32,
    "int32": lambda x: x.astype(np.int32) if x.dtype.kind == "i" else x,
    "JAX": lambda x: jnp.asarray(float32(x)),
    "transposed": lambda x: np.asfortranarray(x),
}


@cases(DEVICE)
@pytest.mark.once
def test_one_trace_per_shape(case):
    """Lists, NumPy arrays, JAX arrays, Python and NumPy numbers share a program."""
    if num_traces_of_representations(case):
        # After many programs JAX drops a trace before the program made from it.
        jax.clear_caches()
        assert num_traces_of_representations(case) == 0


def num_traces_of_representations(case):
    arguments = example(case)
    expected = run(case, arguments)
    before = registry.num_compiled()
    for change in REPRESENTATIONS.values():
        given = dict(arguments)
        for name, value in arguments.items():
            if isinstance(value, np.ndarray) and case.name != "bootstrap":
                given[name] = change(value)
        assert_same(run(case, given), expected, exact=True)
    for name, value in arguments.items():
        if isinstance(value, (bool, str)):
            continue
        numbers = []
        if isinstance(value, float):
            numbers = [np.float32(value), np.float64(value), jnp.float32(value)]
            numbers += [np.array(value)]
        elif isinstance(value, int):
            numbers = [np.int64(value), np.int16(value)]
        elif name in ("num_small_bins", "num_top_bins", "num_bins"):
            numbers = [int(value), np.int64(value), np.uint8(value)]
        for number in numbers:
            if name in ("lower", "upper") and isinstance(number, jax.Array):
                continue
            assert_same(run(case, {**arguments, name: number}), expected, exact=False)
    return registry.num_compiled() - before


def test_integers_are_temperatures():
    logits, _ = registry.class_rows(np.random.default_rng(0), ROWS)
    expected = cj.top1(logits, 2.0)
    before = registry.num_compiled()
    assert_same(cj.top1(logits, 2), expected, exact=True)
    assert_same(cj.top1(logits.astype(np.float32).tolist(), 2), expected, exact=True)
    assert registry.num_compiled() == before


def test_no_trace_inside_a_users_jit():
    """A user's function is traced once per shape; traced counts are not shapes."""
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def answer(router, scores, budget):
        return cj.use_small(router, scores, budget)

    rng = np.random.default_rng(4)
    router = registry.router(rng)
    for budget in range(registry.NUM_BINS + 1):
        scores = registry.tied(rng, ROWS).astype(np.float32)
        expected = cj.use_small(router, scores, budget)
        assert_same(answer(router, scores, budget), expected, exact=True)


HALF = [c for c in FEW if {"logits", "probabilities"} & c.rows.keys() and not c.host]
HALF = [(c, jnp.bfloat16) for c in HALF]
HALF += [(c, jnp.float16) for c in FEW if c.name in ("top1", "choice_logits")]


@pytest.mark.parametrize(("case", "dtype"), HALF, ids=str)
def test_half_precision_logits(case, dtype):
    """Half-precision logits give what the same values give in float32."""
    arguments = example(case)
    (name,) = {"logits", "probabilities", "x"} & arguments.keys()
    half = np.asarray(arguments[name]).astype(dtype)
    actual = case(**{**arguments, name: half})
    if case.name == "choice_logits":
        assert actual.dtype == dtype
        expected = case(**{**arguments, name: half.astype(np.float32)}).astype(dtype)
        assert_same(actual, expected, exact=True)
        return
    expected = run(case, {**arguments, name: half.astype(np.float32)})
    if case.name == "fit_temperature":
        actual, expected = case.split(actual), case.split(expected)
    assert_same(actual, expected, exact=False, rtol=1e-6)


NAN = np.nan
NOTHING = {
    # The documented result without rows, where it is not all zeros.
    "equal_count_bins": np.inf,
    "expected_calibration_error": NAN,
    "maximum_calibration_error": NAN,
    "brier_score": NAN,
    "log_loss": NAN,
    "area_under_roc": NAN,
    "metrics.smooth_calibration_error": NAN,
    "cleaning.expected_precision_interval": NAN,
    "metrics.risk_coverage_curve": NAN,
    "metrics.area_under_risk_coverage": NAN,
    "metrics.excess_area_under_risk_coverage": NAN,
    "metrics.area_under_generalised_risk_coverage": NAN,
    "cascade_curve": NAN,
    "cascade.committee_curve": NAN,
    "confident_learning": np.inf,
}
FITS = "fit_temperature", "fit_platt", "fit_histogram", "calibration.fit_beta"
FITS += ("calibration.fit_isotonic",)


@cases([case for case in FEW if case.rows])
@pytest.mark.once
def test_no_rows(case):
    arguments = example(case)
    empty = take(case, arguments, np.zeros(0, int))
    result = run(case, empty)
    if case.host:
        return
    rows, whole = case.split(result)
    assert all(leaf.shape[0] == 0 for leaf in leaves(rows))
    if case.name in (*FITS, *OF_CLASSES):
        params, report = result
        assert int(report.status) == cj.FitStatus.CONSTANT
        assert not report.converged and np.isnan(report.loss)
        values = {"temperature": 1.0, "slope": 0.0, "values": 0.5}
        for name, value in values.items():
            if hasattr(params, name):
                np.testing.assert_array_equal(getattr(params, name), value)
        assert all(np.isfinite(leaf).all() for leaf in leaves(params)[-1:])
    elif case.name in ("fit_router", "fit_expert_bins"):
        parts = leaves((result.table, result.bins))
        # NaN is the squared error of experts, which is not known.
        found = {x for leaf in parts for x in leaf.ravel() if not np.isnan(x)}
        assert found <= {0.0, np.inf}
        last_first = np.arange(registry.NUM_BINS)[::-1]
        np.testing.assert_array_equal(np.atleast_2d(result.order)[0], last_first)
    elif hasattr(result, "num_small_bins"):
        assert not result.feasible
        assert result.num_rows == 0
        np.testing.assert_array_equal(result.bound, 1)
    elif case.name == "stats.betting_p_value":
        assert result == 1
    elif case.name == "cascade.fit_arbiter":
        arbiter, report = result
        assert leaves(arbiter) == [0, 0, 0] and not report.helps
        assert np.isnan(report.gain) and np.isnan(report.standard_error)
    elif case.name == "cleaning.cleaning_interval":
        for share in (result.flagged_share, result.precision, result.recall):
            np.testing.assert_array_equal(leaves(share), [NAN, 0, 1])
    elif case.name in ("cleaning.expected_precision", "cleaning.expected_false_flags"):
        assert result.num_flagged == 0 and np.isnan(result.standard_error)
        assert all(np.isnan(leaf) or leaf == 0 for leaf in leaves(whole))
    elif case.name == "cleaning.fit_shared_errors":
        assert result.num_rows == 0
        for leaf in leaves((result.weight, result.recalibration)):
            assert np.isnan(leaf).all()
    elif case.name == "cleaning.expert_dependence":
        assert result.counts.num_rows == result.num_joint_errors == 0
        np.testing.assert_array_equal(result.error_rate, NAN)
        for lift in (result.lift, result.lift_given_confidence):
            np.testing.assert_array_equal(leaves(lift), [NAN, 0, np.inf])
    else:
        nothing = NOTHING.get(case.name, NAN if "metrics." in case.name else 0)
        for leaf in leaves(whole):
            np.testing.assert_array_equal(leaf, nothing)


@cases([case for case in FEW if case.rows])
@pytest.mark.once
def test_one_row(case):
    """One row is the smallest table."""
    arguments = take(case, example(case), np.array([3]))
    result = run(case, arguments)
    if case.host:
        return
    rows, whole = case.split(result)
    assert all(leaf.shape[0] == 1 for leaf in leaves(rows))
    many_rows, many = case.split(run(case, example(case)))
    # Rows do not affect each other.
    if case.name != "confident_learning":
        assert_same(rows, at(many_rows, slice(3, 4)), exact=False, rtol=1e-6)
    shapes = [leaf.shape for leaf in leaves(whole)]
    if case.name not in ("cleaning_curve", "metrics.risk_coverage_curve"):
        assert shapes == [leaf.shape for leaf in leaves(many)]
    if case.name in ("expected_calibration_error", "maximum_calibration_error"):
        gap = np.float32(arguments["scores"]) - np.float32(arguments["outcomes"])
        np.testing.assert_allclose(whole, np.abs(gap)[0], rtol=1e-6)
    elif case.name == "equal_count_bins":
        np.testing.assert_array_equal(whole.edges, np.inf)
    elif case.name in ("fit_temperature", "fit_platt"):
        assert not result[1].converged or "smooth" in str(case)
        assert all(np.isfinite(leaf).all() for leaf in leaves(result[0]))
    elif case.name == "cascade_curve":
        assert result.small_share[0] == 0 and result.small_share[-1] == 1
    elif case.name in ("reliability_table", "advantage_table"):
        assert leaves(result.count)[0].sum() == 1


def test_a_short_bootstrap():
    def draw(size):
        rows = np.ones(size, np.float32)
        return cj.bootstrap(jax.random.key(0), registry.weighted_mean, 3, rows)

    np.testing.assert_array_equal(draw(1), 1.0)
    with pytest.raises(ValueError, match="arrays"):
        draw(0)


# Quick to compile, each with arithmetic of its own.
BOTH_PRECISIONS = """
top1 sequence_log_likelihood-mean equal_count_bins-max_bins equal_width_bins brier_score
random_curve average_performance_gap_recovered call_performance_threshold
choose_num_small_bins repair_labels top1_disagreement cleaning_curve area_under_roc
metrics.rank_correlation log_odds confidence.log_odds_from_log
""".split()


def test_each_name_for_both_precisions_is_a_case():
    assert set(BOTH_PRECISIONS) <= {str(case) for case in DEVICE}


@cases([case for case in DEVICE if str(case) in BOTH_PRECISIONS])
def test_x64_changes_nothing(case):
    arguments = example(case)
    results = []
    for on in (False, True):
        with jax.enable_x64(on):
            results.append(jax.tree.map(np.asarray, run(case, arguments)))
    assert_same(*results, exact=True)
