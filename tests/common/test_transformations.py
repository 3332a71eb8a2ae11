"""Every public function inside JAX's transformations, where compiler options fail.

A plain call pads its rows and compiles with few optimisations; in a trace it must do
neither. `test_properties` runs every function under `jit` of `vmap`, `test_export`
exports it, and `test_shard_map` runs it there. Here it is traced in the others.
"""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registry
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from registry import assert_same, cases, example

import calib_jax as cj
from calib_jax._core import small_programs

pytestmark = pytest.mark.once

CASES = [case for case in registry.CASES if case.make is not None and not case.host]


def of_floats(result):
    """A number that depends on every float of a result."""
    return sum(jnp.sum(leaf) for leaf in registry.kit.floating(result))


def mapped(function, arrays):
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
    specs = PartitionSpec()
    return jax.shard_map(
        function, mesh=mesh, in_specs=(specs,), out_specs=specs, check_vma=False
    )(arrays)


def one_more_axis(arrays):
    return jax.tree.map(lambda leaf: leaf[None], arrays)


# Each calls a function of arrays once in its transformation.
TRANSFORMATIONS = {
    "jit": lambda f, x: jax.jit(f)(x),
    "checkpoint": lambda f, x: jax.checkpoint(f)(x),
    "grad": lambda f, x: jax.grad(lambda scale: scale * of_floats(f(x)))(1.0),
    "vmap": lambda f, x: jax.vmap(f)(one_more_axis(x)),
    "vmap of constants": lambda f, x: jax.vmap(lambda _: f(x))(jnp.arange(2)),
    "scan": lambda f, x: lax.scan(lambda c, _: (c, f(x)), 0, None, length=2)[1],
    "cond": lambda f, x: lax.cond(True, f, f, x),
    "fori_loop": lambda f, x: lax.fori_loop(
        0, 2, lambda _, total: total + of_floats(f(x)), 0.0
    ),
    "pmap": lambda f, x: jax.pmap(f)(one_more_axis(x)),
    "shard_map": mapped,
}


@cases([case for case in CASES if not case.again])
def test_traced_in_each(case):
    """All of them inside one trace: `test_runs_in_each` has them outermost."""
    arguments = example(case)
    function, arrays = case.traced(arguments)
    whole = jax.eval_shape(function, arrays)

    def everything(arrays):
        return {
            name: transform(function, arrays)
            for name, transform in TRANSFORMATIONS.items()
            if jax.tree.leaves(arrays) or name not in ("vmap", "pmap")
        }

    found = jax.make_jaxpr(everything, return_shape=True)(arrays)[1]
    for name in ("jit", "checkpoint", "cond", "shard_map"):
        assert jax.tree.structure(found[name]) == jax.tree.structure(whole)
        assert jax.tree.leaves(found[name]) == jax.tree.leaves(whole)
    # Arrays of the host are constants of the trace, not tracers: compiler options would
    # fail.
    jax.make_jaxpr(lambda: case(**arguments))()


FEW = ["top1", "use_small"]


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@cases([case for case in CASES if str(case) in FEW])
def test_runs_in_each(case, name):
    """On numbers, not only traced: the transformation is the outermost one."""
    function, arrays = case.traced(example(case))
    expected = function(arrays)
    found = TRANSFORMATIONS[name](function, arrays)
    if name == "grad":
        expected = jnp.asarray(of_floats(expected), jnp.float32)
    elif name == "fori_loop":
        expected = 2 * jnp.asarray(of_floats(expected), jnp.float32)
    elif name in ("vmap", "vmap of constants", "scan", "pmap"):
        found = jax.tree.map(lambda leaf: leaf[0], found)
    assert_same(found, expected, exact=False)


def test_only_outside_any_trace():
    """Also where the arrays are constants, which say nothing of the trace."""
    constant = np.ones(3, np.float32)
    seen = {}
    for name, transform in TRANSFORMATIONS.items():

        def look(x, name=name):
            leaves = jax.tree.leaves(x)
            seen[name] = small_programs.is_plain([]), small_programs.is_plain(leaves)
            return x

        transform(look, jnp.ones(3))
    assert seen == dict.fromkeys(TRANSFORMATIONS, (False, False))
    assert small_programs.is_plain([constant, jnp.ones(3), jax.random.key(0)])
    with jax.disable_jit():
        assert not small_programs.is_plain([constant])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_not_on_a_mesh(kind):
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        assert not small_programs.is_plain([np.ones(3)])
        found = cj.top1(np.eye(3, dtype=np.float32))
    assert_same(found, cj.top1(np.eye(3, dtype=np.float32)), exact=True)


def test_imported_while_tracing():
    """The module still knows what is outside of the trace that imported it."""
    name = "small_programs_of_a_trace"
    spec = importlib.util.spec_from_file_location(
        f"calib_jax._core.{name}", small_programs.__file__
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module

    def load(x):
        spec.loader.exec_module(module)
        assert not module.is_plain([])
        return x

    try:
        jax.jit(load)(1.0)
        assert module.is_plain([])
    finally:
        del sys.modules[spec.name]
