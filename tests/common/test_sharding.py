"""Rows sharded over 8 devices: the same results, and no row leaves its device."""

import dataclasses
import functools
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from registry import assert_same, spoil, take

import calib_jax as cj
from calib_jax._core import reduce

# More rows than counters in a histogram of `registry.NUM_BINS - 1` edges.
NUM_ROWS = 8 * 2500
NUM_REMOVED = 1001
SHAPES = {"8": ((8,), ("rows",)), "4x2": ((4, 2), ("rows", "other"))}
CASES = [c for c in registry.CASES if c.rows and not c.host and not c.again]
# Functions without such a case, because their programs take long to compile or their
# results depend on the order of the rows, are called in one way.
COVERED = {case.name for case in CASES}
OTHERS = {
    case.name: case
    for case in reversed(registry.CASES)
    if case.arrays and not case.host and case.name not in COVERED
}
# These take long to compile: called in one way on each mesh.
LONG = ("fit_", "advantage", "cascade", "confident", "reliability", "equal_count")
LONG += ("defer", "update_")
# The bound is the root of a sum of logarithms, which a program for several devices may
# round to the next float.
BISECTED = {"cascade.control_accuracy_drop"}
# Its weights are exponentials of sums over rows.
ROUGH = {"cleaning.fit_shared_errors": 1e-3}
SORTS = {"calibration.fit_isotonic", "cleaning_curve", "area_under_roc", "defer"}
SORTS |= {"metrics.kolmogorov_smirnov_test", "metrics.sweep_calibration_error"}
SORTS |= {f"metrics.{k}_calibration_error" for k in ("kolmogorov_smirnov", "kuiper")}
SORTS |= {"metrics.kuiper_test"}
SORTS |= {
    f"metrics.{name}"
    for name in cj.metrics.__all__
    if name.startswith(("area_under_risk", "area_under_gen", "excess_area", "risk_cov"))
}
COLLECTIVE = re.compile(
    r"= (\(?[^=]*?\)?) "
    r"(all-gather|all-to-all|collective-permute|ragged-all-to-all|all-reduce|"
    r"reduce-scatter|collective-broadcast)(?:-start)?\("
)


pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks on every device, the last one partly filled."""
    monkeypatch.setattr(reduce, "_CPU_BLOCK_ROWS", 900)


def example(case):
    """Arguments, with masked garbage if there are masks, and the result without it."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    arguments = case.make(rng, NUM_ROWS)
    removed = rng.choice(NUM_ROWS, NUM_REMOVED, replace=False)
    kept = np.setdiff1d(np.arange(NUM_ROWS), removed)
    if not case.where or case.masked:
        return arguments, case(**arguments), np.arange(NUM_ROWS)
    expected = case(**take(case, arguments, kept))
    for name, axis in case.rows.items():
        arguments[name] = spoil(arguments[name], removed, axis)
    arguments["where"] = np.isin(np.arange(NUM_ROWS), kept)
    return arguments, expected, kept


def shard(case, arguments, mesh):
    """Rows over the first axis of the mesh; the rest as NumPy arrays and scalars."""
    axes = {**case.rows, "where": 0}
    placed = dict(arguments)
    for name in axes.keys() & arguments.keys():
        sharding = NamedSharding(mesh, PartitionSpec(*[None] * axes[name], "rows"))
        value = jax.tree.map(narrow, arguments[name])
        placed[name] = jax.device_put(value, sharding)
    return placed


def narrow(value):
    value = value.astype(np.float32) if value.dtype == float else value
    return value.astype(np.int32) if value.dtype == np.int64 else value


def check(case, actual, expected, kept, mesh):
    rows, whole = case.split(actual)
    expected_rows, expected_whole = case.split(expected)
    for leaf in jax.tree.leaves(rows):
        wanted = NamedSharding(mesh, PartitionSpec("rows"))
        assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim), leaf.sharding
        assert leaf.sharding.mesh.axis_types == mesh.axis_types
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[kept], rows)
    assert_same(rows, expected_rows, exact=False, rtol=1e-6)
    exact = case.exact and case.name not in BISECTED
    rtol = ROUGH.get(case.name, 1e-6)
    assert_same(whole, expected_whole, exact=exact, rtol=rtol)


def assert_no_rows_move(program):
    moved = []
    for shapes, operation in COLLECTIVE.findall(program):
        sizes = [
            int(np.prod([int(n) for n in dims.split(",") if n]))
            for dims in re.findall(r"\[([0-9,]*)\]", shapes)
        ]
        assert sizes, shapes
        moved.append((operation, max(sizes)))
    few = NUM_ROWS // 8 // 4
    for operation, size in moved:
        # Histograms and sums are added up; anything else that moves is a few numbers.
        limit = NUM_ROWS if operation in ("all-reduce", "reduce-scatter") else few
        assert size < limit, moved


@pytest.mark.parametrize("mesh", ["Auto-8", "Explicit-4x2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_sharded_rows(case, mesh):
    """Called plainly and inside the user's own jit, whose program is inspected."""
    axis_type, _, shape = mesh.partition("-")
    sizes, names = SHAPES[shape]
    types = (getattr(AxisType, axis_type),) * len(sizes)
    mesh = jax.make_mesh(sizes, names, axis_types=types)
    arguments, expected, kept = example(case)
    placed = shard(case, arguments, mesh)
    both = not case.name.startswith(LONG)
    if both or axis_type == "Explicit":
        check(case, case(**placed), expected, kept, mesh)
    if both or axis_type == "Auto":
        function, arrays = case.traced(placed)
        compiled = jax.jit(function).lower(arrays).compile()
        check(case, compiled(arrays), expected, kept, mesh)
        if case.name not in SORTS:
            assert_no_rows_move(compiled.as_text())


@pytest.mark.parametrize("case", OTHERS.values(), ids=str)
def test_other_functions_take_sharded_rows(case):
    """With the rows of the property tests, only the sharded program is a new one."""
    mesh = jax.make_mesh((4, 2), ("rows", "other"), axis_types=(AxisType.Explicit,) * 2)
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    arguments = case.make(rng, registry.ROWS)
    expected = case(**arguments)
    axes = {k: axis for k, axis in case.arrays.items() if np.ndim(arguments[k]) > axis}
    placed = shard(dataclasses.replace(case, rows=axes), arguments, mesh)
    assert_same(case(**placed), expected, exact=False)


@pytest.fixture(params=["Auto", "Explicit"])
def small_mesh(request):
    types = (getattr(AxisType, request.param),) * 2
    return jax.make_mesh((4, 2), ("rows", "other"), axis_types=types)


def test_one_bin(small_mesh):
    """No edge depends on the scores, which still tell where to run."""
    sharding = NamedSharding(small_mesh, PartitionSpec("rows"))
    scores, outcomes = jax.device_put(
        (np.float32([0.2, 0.6] * 4), np.ones(8)), sharding
    )
    assert cj.equal_count_bins(scores, 1).edges.shape == (0,)
    error = cj.expected_calibration_error(scores, outcomes, num_bins=1)
    np.testing.assert_allclose(error, 0.6, rtol=1e-6)


def test_one_row_over_classes(small_mesh):
    """Results of one row have no axis on which its classes were sharded."""
    logits = np.random.default_rng(0).normal(size=8).astype(np.float32)
    tokens = np.int32([3])
    for spec, row in (("rows",), logits), ((None, "rows"), logits[None]):
        placed = jax.device_put(row, NamedSharding(small_mesh, PartitionSpec(*spec)))
        for function in (
            cj.top1,
            cj.scaled_softmax,
            lambda x: cj.choice_logits(x, [5, 1]),
        ):
            assert_same(function(placed), function(row), exact=False)
    spec = PartitionSpec(None, None, "rows")
    placed = jax.device_put(logits[None, None], NamedSharding(small_mesh, spec))
    for function in cj.sequence_mean_logit, cj.sequence_log_likelihood:
        expected = function(logits[None, None], tokens[None])
        assert_same(function(placed, tokens[None]), expected, exact=False)


def test_router_with_guarantee(small_mesh):
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(2, 512)).astype(np.float32)
    rows = small, large, small > 0, large > -1, small < 3

    def found(rows):
        choose = functools.partial(cj.cascade.control_regret, max_regret=0.1)
        key = jax.random.key(0)
        return cj.cascade.fit_router_with_guarantee(
            key, *rows[:4], choose, fit=cj.fit_platt, num_bins=5, where=rows[4]
        )

    sharding = NamedSharding(small_mesh, PartitionSpec("rows"))
    placed = found(jax.device_put(rows, sharding))
    assert_same(placed, found(rows), exact=False)


def test_paths_follow_the_arrays():
    """Rows on one device take its path, however many devices the process has."""

    def program(scores):
        return str(
            jax.make_jaxpr(lambda scores: cj.equal_count_bins(scores, 5))(scores)
        )

    def lanes(scores):
        return reduce._blocks(scores)[0]

    assert jax.device_count() == 8
    scores = jnp.linspace(0, 1, 64)
    assert "sort[" in program(scores) and "while[" not in program(scores)
    assert lanes(scores) == 1
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("rows")
    placed = jax.device_put(scores, NamedSharding(mesh, rows))
    for found in placed, jax.jit(lambda scores: scores * 2)(placed), 1 - placed:
        assert "sort[" not in program(found) and "while[" in program(found)
        assert lanes(found) == 8
    # In the user's own jit the mesh is known, too.
    assert jax.jit(lanes)(placed) == 8
    inside = jax.shard_map(
        lambda scores: jnp.full(1, lanes(scores)),
        mesh=mesh,
        in_specs=rows,
        out_specs=rows,
    )
    np.testing.assert_array_equal(inside(placed), np.ones(8))


def test_the_program_check_sees_rows_move():
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    rows = jax.device_put(
        np.zeros(NUM_ROWS, np.float32), NamedSharding(mesh, PartitionSpec("rows"))
    )
    for function in (jnp.sort, jnp.flip, lambda x: jnp.roll(x, 3000)):
        program = jax.jit(function).lower(rows).compile().as_text()
        with pytest.raises(AssertionError):
            assert_no_rows_move(program)
    assert_no_rows_move(jax.jit(jnp.sum).lower(rows).compile().as_text())
