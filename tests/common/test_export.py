"""`jax.export` with a symbolic number of rows: one program for batches of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax import export
from registry import ROWS, all_rows, assert_same, cases, example

import calib_jax as cj
from calib_jax._core import reduce

pytestmark = pytest.mark.once

# Rows are drawn, or pooled along lanes, by programs made for their number.
DRAWN = {
    "calibration.fit_isotonic",
    "bootstrap",
    "bootstrap_interval",
    "cascade_interval",
    "cascade.cascade_savings",
    "cascade.router_difference_interval",
    "stats.bootstrap_reliability",
    "cascade.fit_router_with_guarantee",
}
CASES = [case for case in registry.CASES if case.arrays and not case.host]
EXPORTED = [case for case in CASES if case.name not in DRAWN and not case.again]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks of rows, the last one partly filled."""
    monkeypatch.setattr(reduce, "_CPU_BLOCK_ROWS", 10)


def exported(case, function, arrays):
    (size,) = export.symbolic_shape("n")

    def shaped(name):
        axis = case.arrays.get(name)

        def of_leaf(leaf):
            shape = [size if k == axis else n for k, n in enumerate(leaf.shape)]
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        return jax.tree.map(of_leaf, arrays[name])

    return export.export(jax.jit(function))({name: shaped(name) for name in arrays})


@cases(EXPORTED)
def test_batches_of_any_size(case, monkeypatch):
    function, arrays = case.traced(example(case))
    program = exported(case, function, arrays)
    # Plain calls share their programs with other tests.
    monkeypatch.undo()
    # What is deployed gives each row an answer; the rest takes longer to compile.
    deployed = case.split is all_rows
    for num_rows in (ROWS, 3) if deployed else (ROWS,):
        arguments = example(case, num_rows)
        found = program.call(case.traced(arguments)[1])
        assert_same(found, case(**arguments), exact=False)


def test_more_rows_than_a_block(monkeypatch):
    """Blocks of their usual size, and several symbolic axes."""
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.random(100_000), jnp.float32)
    outcomes = scores > 0.4
    (size,) = export.symbolic_shape("n")
    shapes = [jax.ShapeDtypeStruct((size,), x.dtype) for x in (scores, outcomes)]
    program = export.export(jax.jit(cj.expected_calibration_error))(*shapes)
    expected = cj.expected_calibration_error(scores, outcomes)
    assert program.call(scores, outcomes) == expected


def test_batches_and_lengths():
    """Sequences of any number and length, and leading axes of any size."""
    rng = np.random.default_rng(0)
    sizes = export.symbolic_shape("b, t")
    logits = jax.ShapeDtypeStruct((*sizes, 5), jnp.float32)
    tokens = jax.ShapeDtypeStruct(sizes, jnp.int32)
    functions = cj.sequence_mean_logit, cj.sequence_log_likelihood
    programs = [export.export(jax.jit(f))(logits, tokens) for f in functions]
    best = export.export(jax.jit(cj.top1))(logits)
    for shape in (4, 9), (2, 150):
        logits = jnp.asarray(rng.normal(size=(*shape, 5)), jnp.float32)
        tokens = jnp.asarray(rng.integers(0, 5, shape), jnp.int32)
        for function, program in zip(functions, programs, strict=True):
            found = program.call(logits, tokens)
            assert_same(found, function(logits, tokens), exact=False)
        assert_same(best.call(logits), cj.top1(logits), exact=False)


@cases([case for case in CASES if case.name in DRAWN])
def test_resampling_asks_for_the_number_of_rows(case):
    function, arrays = case.traced(example(case))
    with pytest.raises(ValueError, match=r"\w+: expected a known number of rows, got"):
        exported(case, function, arrays)
